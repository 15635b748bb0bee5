"""The problems that an operator is told, with a remedy."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from geocli.cache import GeoCache
from geocli.health import notes, unhealthy
from geocli.stats import DatabaseStats, Stats
from geocli.storage.directory import DataDirectory
from geocli.storage.disk_space import free_bytes
from geocli.storage.journal import Journal
from geocli.storage.journal_reader import JournalStatus
from tests.helpers.command_output import complaints
from tests.helpers.data_directories import local
from tests.helpers.databases import CITIES, build
from tests.helpers.entries import resolved
from tests.helpers.locks import locked_file
from tests.helpers.system_call_faults import SCENARIOS, copied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.helpers.clock import Clock
    from tests.helpers.geocli_process import Geocli

GB, JP = "81.2.69.160", "2001:218::1"
LAG = timedelta(minutes=5)
NOWHERE = DataDirectory("/nonexistent/geocli")


@pytest.fixture
def cache(geocli: Geocli, clock: Clock) -> Iterator[GeoCache]:
    with GeoCache(settings=geocli.settings(), clock=clock, on_problem=lambda _: None) as opened:
        yield opened


class TestUnhealthy:
    AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
    JOURNAL = JournalStatus(entries=0, size_bytes=0, oldest_at=None, segments=0, quarantined_bytes=0)
    WELL = Stats(at=AT, statuses={}, by="country", top=[], journal=JOURNAL, last_flush=None, databases=[], problems=[])
    CITY = DatabaseStats(name="City", path="/x/City.mmdb", size_bytes=1, built_at=AT)

    @pytest.mark.parametrize(
        "stats",
        [
            WELL,
            WELL.replace(journal=JOURNAL.replace(oldest_at=AT - timedelta(minutes=5), entries=1)),
            WELL.replace(last_flush=("2026-06-01T12:05:00Z", 1, 0.1)),
            WELL.replace(databases=[CITY, CITY.replace(built_at=AT - timedelta(days=35)), CITY.replace(built_at=None)]),
        ],
        ids=["empty", "dirty for 5 minutes", "flushed a moment ahead", "35 days old, and without a date"],
    )
    def test_all_is_well(self, stats: Stats) -> None:
        """Within the limits there are no problems."""
        assert [] == unhealthy(stats, NOWHERE, LAG)

    @pytest.mark.parametrize(
        ("stats", "reason"),
        [
            (
                WELL.replace(journal=JOURNAL.replace(oldest_at=AT - timedelta(minutes=5, seconds=1))),
                "the journal was last flushed before 2026-06-01T11:54:59Z; does cron run geocli flush?",
            ),
            (
                WELL.replace(journal=JOURNAL.replace(oldest_at=AT - timedelta(hours=1), segments=2)),
                (
                    "the journal was last flushed before 2026-06-01T11:00:00Z (2 sealed segments are waiting); "
                    "does cron run geocli flush?"
                ),
            ),
            (
                WELL.replace(journal=JOURNAL.replace(oldest_at=AT - timedelta(hours=1), segments=1)),
                (
                    "the journal was last flushed before 2026-06-01T11:00:00Z (1 sealed segment is waiting); "
                    "does cron run geocli flush?"
                ),
            ),
            (
                WELL.replace(journal=JOURNAL.replace(oldest_at=AT + timedelta(days=7305))),
                "the journal has answers of 2046-06-01T12:00:00Z, which is in the future; is the clock right?",
            ),
            (
                WELL.replace(journal=JOURNAL.replace(quarantined_bytes=17)),
                "17 damaged bytes are in journal.bad; check the disk, then delete the file",
            ),
            (
                WELL.replace(databases=[CITY.replace(built_at=AT - timedelta(days=35, seconds=1))]),
                "/x/City.mmdb: built on 2026-04-27, older than 35 days; perhaps: geocli db update",
            ),
            (
                WELL.replace(databases=[CITY.replace(built_at=None, error="/x/City.mmdb: empty")]),
                "/x/City.mmdb: empty",
            ),
            (
                WELL.replace(journal=None, problems=["/d/geocli.db: file is not a database"]),
                "/d/geocli.db: file is not a database",
            ),
            (
                WELL.replace(last_flush=("2026-06-01T12:05:01Z", 1, 0.1)),
                "the last flush was at 2026-06-01T12:05:01Z, which is in the future; is the clock right?",
            ),
        ],
        ids=[
            *("lag", "segments", "segment", "future", "quarantine"),
            *("old database", "bad database", "bad store", "future flush"),
        ],
    )
    def test_problem_and_remedy(self, stats: Stats, reason: str) -> None:
        """Each problem is one line, with a remedy."""
        assert [reason] == unhealthy(stats, NOWHERE, LAG)

    def test_all_problems(self, cache: GeoCache, geocli: Geocli, clock: Clock) -> None:
        """All problems are reported, each once; with higher limits, fewer."""
        build(geocli.db_dir / "old.mmdb", CITIES, build_epoch=1_700_000_000)
        cache.lookup(GB)
        (geocli.data_dir / "journal.bad").write_bytes(b"x" * 9)
        (geocli.data_dir / "geocli.db").write_bytes(b"\xff" * 8192)
        clock.forward(minutes=10)
        reasons = unhealthy(cache.stats(), cache.directory, LAG)
        starts = [f"{geocli.data_dir}/geocli.db: ", "the journal was", "9 damaged bytes", f"{geocli.db_dir}/old.mmdb: "]
        assert [True] * 4 == [reason.startswith(start) for reason, start in zip(reasons, starts, strict=True)]
        assert reasons[0:1] + reasons[2:] == unhealthy(cache.stats(), cache.directory, timedelta(minutes=10))

    def test_left_over_segment_counts_as_lag(self, cache: GeoCache, clock: Clock) -> None:
        """A sealed segment that was never stored is as old as its oldest entry."""
        cache.lookup(GB)
        cache.journal.seal()
        clock.forward(minutes=6)
        cache.lookup(JP)
        (reason,) = unhealthy(cache.stats(), cache.directory, LAG)
        assert "2026-06-01T12:00:00Z" in reason


@contextmanager
def locked(data_dir: Path, how: str) -> Iterator[None]:
    """Hold the store as another program does."""
    with closing(sqlite3.connect(data_dir / "geocli.db", isolation_level=None)) as db:
        if how == "EXCLUSIVE":
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute(f"BEGIN {how}")
        yield


@contextmanager
def mounted(data_dir: Path, *options: str) -> Iterator[None]:
    """Put a file system over the data directory, where that is permitted."""
    ran = subprocess.run(["mount", *options, str(data_dir)], capture_output=True, text=True, check=False)
    if ran.returncode:
        pytest.skip(f"needs the right to mount: {ran.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(data_dir)], check=True)


@contextmanager
def read_only(data_dir: Path) -> Iterator[None]:
    with mounted(data_dir, "--bind", str(data_dir)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(data_dir)], check=True)
        yield


@contextmanager
def immutable(data_dir: Path) -> Iterator[None]:
    """Make the store a file that not even root can write."""
    store = str(data_dir / "geocli.db")
    ran = subprocess.run(["chattr", "+i", store], capture_output=True, text=True, check=False)
    if ran.returncode:
        pytest.skip(f"needs a file system with the attribute i: {ran.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", store], check=True)


@contextmanager
def full(data_dir: Path) -> Iterator[None]:
    with mounted(data_dir, "-t", "tmpfs", "-o", "size=64k,mode=700", "none"):
        yield


@contextmanager
def replaced(path: Path, make: Callable[[Path], object]) -> Iterator[None]:
    """Put something else in a file's place."""
    path.unlink()
    make(path)
    yield


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 999")


def moved_away(data_dir: Path) -> None:
    data_dir.rename(data_dir.parent / "moved")
    data_dir.touch()


@contextmanager
def changed(data_dir: Path, act: Callable[[Path], object]) -> Iterator[None]:
    """Leave the data directory as something made it."""
    act(data_dir)
    yield


MOVE = "restore a backup, or move it away with its -wal and -shm, and the next flush creates a new one"
STATES: dict[str, tuple[Callable[[Path], AbstractContextManager[None]], str]] = {
    "IMMEDIATE": (
        lambda data: locked(data, "IMMEDIATE"),
        "{data}/geocli.db: locked by another program; fuser -v",
    ),
    "EXCLUSIVE": (
        lambda data: locked(data, "EXCLUSIVE"),
        "{data}/geocli.db: locked by another program; fuser -v",
    ),
    "flush hangs": (
        lambda data: locked_file(data / "flush.lock"),
        "{data}/flush.lock: a flush is running, or hangs; fuser -v",
    ),
    "no database": (
        lambda data: replaced(data / "geocli.db", lambda path: path.write_bytes(b"no database" * 999)),
        f"{{data}}/geocli.db: file is not a database; nothing was changed; {MOVE}",
    ),
    "newer schema": (
        lambda data: replaced(data / "geocli.db", newer),
        "{data}/geocli.db: written by a newer geocli (schema 999, this one supports",
    ),
    "journal is a link": (
        lambda data: replaced(data / "journal", lambda path: path.symlink_to("/dev/full")),
        "{data}/journal: cannot be read: a symbolic link; move it away",
    ),
    "journal is a FIFO": (
        lambda data: replaced(data / "journal", os.mkfifo),
        "{data}/journal: cannot be read: not a regular file; move it away",
    ),
    "journal is a directory": (
        lambda data: replaced(data / "journal", os.mkdir),
        "{data}/journal: cannot be read: a directory; move it away",
    ),
    "journal has two names": (
        lambda data: changed(data, lambda data: os.link(data / "journal", data.parent / "other")),
        "{data}/journal: has a hard link, so appends are refused; run geocli flush",
    ),
    "writable by all": (
        lambda data: changed(data, lambda data: data.chmod(0o777)),
        "{data}: cannot be used as data directory: writable",
    ),
    "store is read-only": (
        immutable,
        "{data}/geocli.db: attempt to write a readonly database; nothing was changed; make it writable",
    ),
    "disk is read-only": (read_only, "{data}: the file system is read-only; remount it writable"),
    "full": (full, "{data}: the disk is full, 64 KiB are free; free some space"),
    "no directory": (
        lambda data: changed(data, moved_away),
        "{data}: cannot be used as data directory: not a directory",
    ),
    "damage": (
        lambda data: changed(data, lambda data: (data / "journal.bad").write_bytes(b"12345678")),
        "8 damaged bytes are in journal.bad; check the disk, then delete the file",
    ),
    "damage that cannot be moved": (
        lambda data: changed(data, lambda data: os.mkfifo(data / "journal.bad")),
        "{data}/journal.bad: not a regular file; move it away; until then damaged segments stay",
    ),
    "a segment that cannot be read": (
        lambda data: changed(data, lambda data: os.mkdir(data / "journal.1-a.draining")),
        "{data}/journal.1-a.draining: cannot be read: a directory; move it away",
    ),
}


@pytest.mark.parametrize("state", STATES)
def test_unwritable_states(geocli: Geocli, state: str) -> None:
    """Each state in which answers cannot be stored is reported with a remedy, and the exit status is 1."""
    geocli.environ |= {"GEOCLI_BUSY_TIMEOUT": "0", "GEOCLI_LOCK_TIMEOUT": "0"}
    copied(SCENARIOS["flush"], geocli)
    make, reason = STATES[state]
    with make(geocli.data_dir):
        ran = geocli("stats", "--check", "--max-lag", "0s")
    assert 1 == ran.returncode
    assert 1 == sum(line.startswith(reason.format(data=geocli.data_dir)) for line in complaints(ran)), complaints(ran)


@pytest.mark.parametrize(
    ("version", "is_named"),
    [
        ((3, 6, 23), False), ((3, 7, 0), True), ((3, 40, 1), True), ((3, 44, 5), True), ((3, 44, 6), False),
        ((3, 44, 7), True), ((3, 50, 6), True), ((3, 50, 7), False), ((3, 51, 2), True), ((3, 51, 3), False),
        ((3, 53, 0), False),
    ],
)  # fmt: skip
def test_sqlite_with_the_wal_reset_bug(version: tuple[int, int, int], *, is_named: bool) -> None:
    """An SQLite in which a third program's writes can damage a store is named."""
    text = ".".join(map(str, version))
    assert [f"note: SQLite {text} has the WAL-reset bug"] * is_named == [
        note.partition(",")[0] for note in notes(version)
    ]


def test_low_disk_space_is_reported_before_a_flush(located: Geocli) -> None:
    """Free space below the estimate for storing the dirty entries is reported beforehand, with both figures."""
    directory = local(located.data_dir)
    Journal(directory).append([resolved()])
    free = free_bytes(located.data_dir.as_posix())
    entries = free // 600 + 1
    journal = TestUnhealthy.JOURNAL.replace(entries=entries)
    (reason,) = unhealthy(TestUnhealthy.WELL.replace(journal=journal), directory, LAG)
    stem = rf"{located.data_dir}: \d+ KiB are free, and {entries} entries of the journal may take \d+ KiB in the store"
    assert re.fullmatch(rf"{stem}; free some space", reason)
    journal = TestUnhealthy.JOURNAL.replace(entries=entries // 2)
    assert [] == unhealthy(TestUnhealthy.WELL.replace(journal=journal), directory, LAG)


def test_a_wal_kept_by_a_reader_is_reported(located: Geocli) -> None:
    """A large WAL of the store is reported while a reader keeps it, and not while a flush writes it."""
    journal = Journal(local(located.data_dir))
    journal.append([resolved("1.1.1.1")])
    assert 0 == located("flush").returncode
    journal.append(resolved(f"8.{a}.{b}.1") for a in range(100) for b in range(300))
    log = located.data_dir / "geocli.db-wal"
    with closing(sqlite3.connect(located.data_dir / "geocli.db")) as reader:
        rows = reader.execute("SELECT * FROM geo_cache UNION ALL SELECT * FROM geo_cache")
        assert rows.fetchone()
        assert 0 == located("flush").returncode
        size = f"{log.stat().st_size / (1 << 20):.1f}"
        warning = f"{log}: {size} MiB, kept large by a program that reads the store; fuser -v {log} names it"
        assert warning in complaints(located("stats", "--check"))
        with locked_file(located.data_dir / "flush.lock"):
            assert warning not in complaints(located("stats", "--check"))
        rows.close()  # or the connection would stay
    journal.append([resolved("1.1.1.2")])
    assert 0 == located("flush").returncode
    assert warning not in complaints(located("stats", "--check"))
