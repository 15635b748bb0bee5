"""Flush moves dirty entries to the store, in order and exactly once, whatever fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from geocli.cache import GeoCache
from geocli.errors import BusyError, JournalError, StorageError, StoreError
from geocli.models import Place
from geocli.storage.flush import Flush, FlushReport
from geocli.storage.frames import encode, pack
from geocli.storage.journal import Journal
from geocli.storage.store import Store
from geocli.storage.store_writer import StoreWriter
from tests.helpers.clock import Clock
from tests.helpers.data_directories import local
from tests.helpers.databases import CITIES, build
from tests.helpers.entries import AT, resolved, unresolved
from tests.helpers.fake_sources import JAPAN, Source
from tests.helpers.journals import put, segment_name
from tests.helpers.locks import locked_by_process
from tests.helpers.processes import in_child
from tests.helpers.stores import change, select, stored_entries

if TYPE_CHECKING:
    from geocli.models import Entry
    from geocli.storage.directory import DataDirectory
    from geocli.storage.segments import Segment
    from tests.helpers.geocli_process import Geocli


def city(ip: str, name: str, **changes: Any) -> Entry:
    return resolved(ip, place=Place(city=name), **changes)


def flush(directory: DataDirectory, journal: Journal | None = None, *, wait_seconds: float = 0) -> FlushReport:
    journal = journal or Journal(directory, lock_timeout_seconds=0)
    return Flush(directory, journal, Clock(), 0).run(wait_seconds)


def frames(*entries: Entry) -> bytes:
    return b"".join(encode(payload) for entry in entries for payload in pack([entry]))


def dirty_files(directory: DataDirectory) -> list[str]:
    return sorted(name for name in directory.names() if name == "journal" or name.endswith(".draining"))


def test_flush_moves_the_journal_into_the_store(directory: DataDirectory, journal: Journal) -> None:
    """Dirty entries are in the store, and only there; the report has their number."""
    journal.append([resolved("1.1.1.1"), unresolved("1.1.1.2")])
    assert FlushReport(flushed=2, segments=1) == flush(directory)
    expected = [resolved("1.1.1.1", cached=True), unresolved("1.1.1.2", cached=True)]
    assert expected == list(stored_entries(directory).values())
    assert [] == dirty_files(directory)
    assert not journal.is_dirty()


def test_duration_is_by_the_clock(directory: DataDirectory, journal: Journal) -> None:
    """The report and the store have the duration, by the given clock."""

    class Ticking(Clock):
        def __call__(self) -> Any:
            self.forward(seconds=1.5)
            return super().__call__()

    journal.append([resolved()])
    report = Flush(directory, journal, Ticking(), 0).run()
    assert 0 == report.duration_seconds % 1.5
    assert report.duration_seconds >= 1.5


@pytest.mark.parametrize("is_there", [False, True], ids=["no directory", "empty journal"])
def test_idle_flush_creates_nothing(directory: DataDirectory, *, is_there: bool) -> None:
    """Without dirty entries there is nothing to report, and no file is created, not even a lock."""
    if is_there:
        put(directory, b"")
    assert FlushReport() == flush(directory)
    assert is_there is os.path.exists(directory.path)
    assert (["journal"] if is_there else []) == directory.names()


def test_idle_flush_loads_nothing_heavy(tmp_path: Path) -> None:
    """With nothing dirty no database library is loaded."""
    code = (
        "import sys\n"
        "from geocli.storage.directory import DataDirectory\n"
        "from geocli.storage.flush import Flush\n"
        "from geocli.storage.journal import Journal\n"
        "directory, before = DataDirectory(sys.argv[1]), set(sys.modules)\n"
        "Flush(directory, Journal(directory), print, 0).run()\n"
        "print(*{'sqlite3', 'sqlite_utils', 'uuid'} & (set(sys.modules) - before))\n"
    )
    process = subprocess.run([sys.executable, "-c", code, str(tmp_path / "data")], capture_output=True, check=True)
    assert b"\n" == process.stdout


def test_idle_flush_is_silent(geocli: Geocli) -> None:
    """With nothing dirty `flush` prints nothing, exits with 0, and makes nothing."""
    process = geocli("flush")
    assert (0, b"", b"") == (process.returncode, process.stdout, process.stderr)
    assert not geocli.data_dir.exists()


def test_left_over_segments_come_first(directory: DataDirectory) -> None:
    """Leftover segments are stored before the journal, by number, so that the last answer counts."""
    put(directory, frames(city("1.1.1.1", "third"), city("1.1.1.2", "third")), segment_name(10))
    put(directory, frames(city("1.1.1.1", "second"), city("1.1.1.3", "second")), segment_name(9))
    put(directory, frames(city("1.1.1.1", "fourth")))
    report = flush(directory)
    actual = {ip: entry.place.city for ip, entry in stored_entries(directory).items()}
    assert {"1.1.1.1": "fourth", "1.1.1.2": "third", "1.1.1.3": "second"} == actual
    assert FlushReport(flushed=5, segments=3) == report
    assert [] == dirty_files(directory)


def test_left_over_segments_alone_are_stored(directory: DataDirectory) -> None:
    """Without a journal, leftover segments are stored."""
    put(directory, frames(resolved()), segment_name(3))
    assert FlushReport(flushed=1, segments=1) == flush(directory)
    assert ["81.2.69.160"] == list(stored_entries(directory))
    assert FlushReport() == flush(directory)


def test_last_flush_counts_all_its_segments(directory: DataDirectory, journal: Journal) -> None:
    """The store has the number of entries of the whole flush, not of its last segment alone."""
    put(directory, frames(resolved("1.1.1.1"), resolved("1.1.1.2")), segment_name(3))
    journal.append([resolved("1.1.1.3")])
    flush(directory)
    with closing(Store(directory.file("geocli.db"))) as store:
        assert ("2026-06-01T12:00:00Z", 3, 0.0) == store.last_flush()


def test_segments_of_later_flushes_have_larger_numbers(directory: DataDirectory, journal: Journal) -> None:
    """The order of segments outlasts the segments: each flush begins after the last one's number."""
    for expected in range(1, 4):
        journal.append([resolved()])
        flush(directory)
        path = directory.file("geocli.db")
        assert [(expected,)] == select(path, "SELECT number FROM applied_segments")


def test_damage_is_reported_and_quarantined(directory: DataDirectory) -> None:
    """Bytes that are not frames are counted, and quarantined before their segment is deleted."""
    put(directory, frames(resolved("1.1.1.1")) + b"garbage\nmore\n" + frames(resolved("1.1.1.2")))
    assert FlushReport(flushed=2, segments=1, dropped_bytes=13) == flush(directory)
    assert b"garbage\nmore\n" == Path(directory.file("journal.bad")).read_bytes()
    assert ["1.1.1.1", "1.1.1.2"] == list(stored_entries(directory))


def test_damage_that_cannot_be_quarantined_keeps_its_segment(directory: DataDirectory) -> None:
    """While the quarantine cannot be written, the entries are stored, and the segment stays for its damage."""
    put(directory, frames(resolved("1.1.1.1")) + b"garbage\n")
    os.mkdir(directory.file("journal.bad"))
    with pytest.raises(JournalError, match=r"/journal\.bad: cannot be quarantined: Is a directory$"):
        flush(directory)
    assert ["1.1.1.1"] == list(stored_entries(directory))
    assert [name.endswith(".draining") for name in dirty_files(directory)] == [True]
    os.rmdir(directory.file("journal.bad"))
    assert FlushReport(flushed=0, segments=1, dropped_bytes=8) == flush(directory)


def test_flush_command_warns_of_damage(geocli: Geocli) -> None:
    """`flush` reports on standard error how much was quarantined and where, and exits with 0."""
    put(local(geocli.data_dir), frames(resolved()) + b"garbage\n")
    process = geocli("flush", "--json")
    assert 0 == process.returncode
    report = json.loads(process.stdout)
    assert ["flushed", "segments", "dropped_bytes", "duration_seconds"] == list(report)
    assert (1, 1, 8) == (report["flushed"], report["segments"], report["dropped_bytes"])
    assert f"geocli: {geocli.data_dir}/journal.bad: 8 damaged bytes were quarantined\n" == process.stderr.decode()


def test_segment_that_cannot_be_read_does_not_block_the_next(directory: DataDirectory, journal: Journal) -> None:
    """All other segments are stored, and the error names the one that was not."""
    directory.prepare()
    os.mkdir(directory.file(segment_name(2)))
    put(directory, frames(resolved("1.1.1.3")), segment_name(3))
    put(directory, frames(resolved("1.1.1.1")), segment_name(1))
    journal.append([resolved("1.1.1.4")])
    for _ in range(2):
        with pytest.raises(JournalError) as caught:
            flush(directory)
        assert f"{directory.file(segment_name(2))}: cannot be read: a directory; move it away" == str(caught.value)
    assert ["1.1.1.1", "1.1.1.3", "1.1.1.4"] == list(stored_entries(directory))
    assert [segment_name(2)] == dirty_files(directory)


def test_segment_rejected_by_sqlite_does_not_block_the_next(directory: DataDirectory, journal: Journal) -> None:
    """A segment with a row that the store rejects stays; the others are stored, and the error is reported."""
    StoreWriter(directory).close()
    refuse = "BEFORE INSERT ON geo_cache WHEN NEW.ip = '1.1.1.1' BEGIN SELECT RAISE(ABORT, 'not this one'); END"
    change(directory.file("geocli.db"), f"CREATE TRIGGER refuse {refuse}")
    put(directory, frames(resolved("1.1.1.1")), segment_name(1))
    put(directory, frames(resolved("1.1.1.2")), segment_name(2))
    journal.append([resolved("1.1.1.3")])
    with pytest.raises(StoreError, match=r"/geocli\.db: not this one; nothing was changed"):
        flush(directory)
    assert ["1.1.1.2", "1.1.1.3"] == list(stored_entries(directory))
    assert [segment_name(1)] == dirty_files(directory)
    change(directory.file("geocli.db"), "DROP TRIGGER refuse")
    assert FlushReport(flushed=1, segments=1) == flush(directory)


def test_late_segment_does_not_undo_newer_rows(directory: DataDirectory) -> None:
    """A segment that could not be read when later ones were stored adds new rows, and changes no newer ones."""
    directory.prepare()
    os.mkdir(directory.file(segment_name(1)))
    later = AT + timedelta(hours=1)
    put(directory, frames(city("1.1.1.1", "new", resolved_at=later)), segment_name(2))
    with pytest.raises(JournalError):
        flush(directory)
    os.rmdir(directory.file(segment_name(1)))
    put(directory, frames(city("1.1.1.1", "old"), city("1.1.1.2", "old")), segment_name(1))
    flush(directory)
    assert {"1.1.1.1": "new", "1.1.1.2": "old"} == {ip: e.place.city for ip, e in stored_entries(directory).items()}


@pytest.mark.parametrize(
    ("damage", "repair"),
    [
        ("UPDATE applied_segments SET number = number | 1 << 61", "UPDATE applied_segments SET number = 1"),
        ("INSERT INTO clears VALUES (9223372036854775807, 0, NULL)", "DELETE FROM clears"),
    ],
    ids=["flipped bit", "highest number"],
)
def test_no_segment_gets_a_number_after_which_it_would_not_be_found(
    directory: DataDirectory, journal: Journal, damage: str, repair: str
) -> None:
    """Where the numbers of the store are damaged, the journal stays, and the error has a remedy."""
    journal.append([resolved("1.1.1.1")])
    flush(directory)
    change(directory.file("geocli.db"), damage)
    journal.append([resolved("1.1.1.2")])
    with pytest.raises(StoreError, match=r"geocli\.db: damaged: a segment or a clear has the number \d+; restore"):
        flush(directory)
    assert ["journal"] == dirty_files(directory)
    change(directory.file("geocli.db"), repair)
    assert FlushReport(flushed=1, segments=1) == flush(directory)


def test_a_segment_with_the_highest_number_has_no_successor(directory: DataDirectory, journal: Journal) -> None:
    """The journal is not sealed until it has been moved away."""
    directory.prepare()
    last = directory.file("journal.999999999999999999-x.draining")
    os.mkdir(last)
    journal.append([resolved("1.1.1.1")])
    with pytest.raises(JournalError, match="has the highest number; move it away"):
        flush(directory)
    os.rmdir(last)
    assert FlushReport(flushed=1, segments=1) == flush(directory)


@pytest.mark.parametrize(
    "damage",
    [
        "INSERT INTO applied_segments VALUES ('x', 'words', NULL)",
        "DROP INDEX idx_generations_sources; INSERT INTO generations (sources) SELECT sources FROM generations",
    ],
    ids=["number in words", "generation twice"],
)
def test_odd_rows_of_other_tables_do_not_prevent_a_flush(
    directory: DataDirectory, journal: Journal, damage: str
) -> None:
    """Newer answers replace older ones."""
    for name in ("older", "old"):
        journal.append([city("1.1.1.1", name)])
        flush(directory)
    for statement in damage.split(";"):
        change(directory.file("geocli.db"), statement)
    journal.append([city("1.1.1.1", "new")])
    assert FlushReport(flushed=1, segments=1) == flush(directory)
    assert "new" == stored_entries(directory)["1.1.1.1"].place.city


PAYLOAD: dict[str, Any] = {
    "at": "2026-06-01T12:00:00Z", "generation": "",
    "places": [{"status": "resolved"}], "rows": [["9.9.9.9", 0, 8]],
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="nothing odd"),
        pytest.param({"at": "0001-01-01T00:00:00+10:00"}, id="before the year 1"),
        pytest.param({"at": "2026-06-01T12:00:00"}, id="no time zone"),
        pytest.param({"at": ""}, id="no instant"),
        pytest.param({"files": [["/a.mmdb", 1 << 63, 2, 3, "City@1"]]}, id="member of an earlier release"),
        pytest.param({"places": ["text"]}, id="places are texts"),
        pytest.param({"places": [{}]}, id="no status"),
        pytest.param({"places": [{"status": "resolved", "traits": {}}]}, id="no traits"),
        pytest.param({"places": [{"status": "resolved", "traits": {"a": "\ud800"}}]}, id="lone surrogate in traits"),
        pytest.param({"places": [{"status": "resolved", "city": "\ud800"}]}, id="lone surrogate"),
        pytest.param({"places": [{"status": "resolved", "latitude": float("nan")}]}, id="no number"),
        pytest.param({"places": [{"status": "resolved", "asn": 1 << 70}]}, id="huge number"),
        pytest.param({"places": [{"status": "resolved", "later": 1}]}, id="newer field"),
        pytest.param({"rows": [["9.9.9.9", 0, 1 << 70]]}, id="huge length"),
        pytest.param({"rows": [["9.9.9.9", 7, 8]]}, id="no such place"),
        pytest.param({"rows": []}, id="no rows"),
    ],
)
def test_no_frame_can_stop_a_flush(directory: DataDirectory, changes: dict[str, Any]) -> None:
    """A frame with a valid digest and any content is stored or quarantined, as are all others."""
    odd = encode(json.dumps(PAYLOAD | changes).encode())
    put(directory, frames(resolved("1.1.1.1")) + odd + frames(resolved("1.1.1.2")))
    report = flush(directory)
    actual = stored_entries(directory)
    assert {"1.1.1.1", "1.1.1.2"} == set(actual) - {"9.9.9.9"}
    if "9.9.9.9" not in actual and changes != {"rows": []}:
        assert odd == Path(directory.file("journal.bad")).read_bytes()
        assert len(odd) == report.dropped_bytes
    assert [] == dirty_files(directory)


def test_database_in_a_directory_that_is_not_utf_8(geocli: Geocli) -> None:
    """Answers of a database whose path is not UTF-8 are stored like others."""
    odd = os.fsdecode(bytes(geocli.db_dir) + b"\xff")
    geocli.db_dir.rename(odd)
    build(Path(odd) / "GeoLite2-City.mmdb", CITIES)
    environ = {"GEOCLI_DB_DIR": odd}
    answer = geocli("lookup", "-f", "value", "-F", "country_code", "81.2.69.160", environ=environ)
    assert (0, b"GB\n") == (answer.returncode, answer.stdout)
    process = geocli("flush", environ=environ)
    assert (0, b"", b"") == (process.returncode, process.stdout, process.stderr)
    assert "GB" == stored_entries(local(geocli.data_dir))["81.2.69.160"].place.country_code


def test_second_flush_is_busy(directory: DataDirectory, journal: Journal) -> None:
    """While another flush runs, this one leaves everything to it."""
    journal.append([resolved()])
    with locked_by_process(directory, "flush.lock"), pytest.raises(BusyError, match=r"/flush\.lock: busy: "):
        flush(directory)
    assert ["journal"] == dirty_files(directory)
    assert not os.path.exists(directory.file("geocli.db"))


@pytest.mark.parametrize(("arguments", "status"), [((), 0), (("--wait", "0.02"), 75)])
def test_second_flush_command_is_silent_unless_it_waits(
    geocli: Geocli, arguments: tuple[str, ...], status: int
) -> None:
    """A second flush exits with 0 and prints nothing; with `--wait`, it reports that it waited in vain."""
    directory = local(geocli.data_dir)
    Journal(directory).append([resolved()])
    with locked_by_process(directory, "flush.lock"):
        process = geocli("flush", *arguments)
    lock = geocli.data_dir / "flush.lock"
    complaint = f"geocli: {lock}: busy: another process held it for 0.02 s; try again later\n"
    assert (status, b"", complaint if status else "") == (process.returncode, process.stdout, process.stderr.decode())


def test_flush_waits_for_another(directory: DataDirectory, journal: Journal) -> None:
    """With `wait_seconds`, a flush starts as soon as the other ends."""
    journal.append([resolved()])
    reports: list[FlushReport] = []
    with locked_by_process(directory, "flush.lock") as lock:
        waiting = Thread(target=lambda: reports.append(flush(directory, wait_seconds=60)))
        waiting.start()
        lock.kill()
        waiting.join(60)
    assert [FlushReport(flushed=1, segments=1)] == reports


def test_two_flushes_at_once_store_everything_once(geocli: Geocli) -> None:
    """Of several flushes that start together, each entry is stored by one, and none fails."""
    journal = Journal(local(geocli.data_dir))
    for number in range(50):
        journal.append([resolved(f"10.0.0.{number}")])
        if number % 10 == 0:
            journal.seal()
    processes = [geocli.start("flush", "--json") for _ in range(4)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [(0, b"")] * 4 == [(p.returncode, errors) for p, (_, errors) in zip(processes, outputs, strict=True)]
    assert 50 == sum(json.loads(output)["flushed"] for output, _ in outputs if output)
    assert 50 == len(stored_entries(local(geocli.data_dir)))
    assert [] == dirty_files(local(geocli.data_dir))


def test_flush_during_appends_loses_nothing(directory: DataDirectory) -> None:
    """Everything appended while flushes run is in the store after the last of them, exactly once."""

    def append(number: int) -> None:
        journal = Journal(directory, lock_timeout_seconds=60)
        for count in range(15):
            journal.append([resolved(f"10.0.{number}.{count}")])

    writers = [Thread(target=append, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    patient = Journal(directory, lock_timeout_seconds=60)
    flushed = 0
    while any(writer.is_alive() for writer in writers):
        flushed += flush(directory, patient).flushed
    flushed += flush(directory, patient).flushed
    assert 60 == flushed == len(stored_entries(directory))


def test_locked_store_leaves_the_journal(directory: DataDirectory, journal: Journal) -> None:
    """While another program locks the store, flush is busy, and dirty entries stay."""
    StoreWriter(directory).close()
    journal.append([resolved("1.1.1.1")])
    with closing(sqlite3.connect(directory.file("geocli.db"), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(BusyError, match=r"/geocli\.db: busy: another process held it for 0 s"):
                flush(directory)
    assert ["1.1.1.1"] == [entry.ip for entry in journal.dirty()]
    assert FlushReport(flushed=1, segments=1) == flush(directory)


def test_flush_command_on_a_locked_store_exits_with_75(geocli: Geocli) -> None:
    """`flush` reports that the store is locked, exits with 75, and dirty entries stay."""
    directory = local(geocli.data_dir)
    StoreWriter(directory).close()
    Journal(directory).append([resolved()])
    with closing(sqlite3.connect(directory.file("geocli.db"), isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        process = geocli("flush", environ={"GEOCLI_BUSY_TIMEOUT": "0"})
    expected = f"geocli: {geocli.data_dir}/geocli.db: busy: another process held it for 0 s; try again later\n"
    assert (75, b"", expected) == (process.returncode, process.stdout, process.stderr.decode())
    assert 1 == Journal(directory).status().entries


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param("PRAGMA user_version = 99", "written by a newer geocli", id="newer"),
        pytest.param(
            "DROP TABLE generations",
            "no such table: generations; nothing was changed; another program has changed its tables; restore a backup",
            id="no table",
        ),
    ],
)
def test_store_that_cannot_be_written_leaves_the_journal(
    directory: DataDirectory, journal: Journal, spoil: str, reason: str
) -> None:
    """A store that this geocli cannot write is an error, and dirty entries stay."""
    StoreWriter(directory).close()
    change(directory.file("geocli.db"), spoil)
    journal.append([resolved()])
    for _ in range(2):
        with pytest.raises(StoreError, match=rf"/geocli\.db: {reason}"):
            flush(directory)
    assert [resolved()] == list(journal.dirty())


def test_journal_that_is_not_a_file_is_an_error_after_the_rest(directory: DataDirectory) -> None:
    """Anything but a file is an error, after the leftover segments are stored."""
    put(directory, frames(resolved()), segment_name(1))
    os.mkdir(directory.file("journal"))
    with pytest.raises(JournalError, match=r"/journal: not a regular file; move it away$"):
        flush(directory)
    assert ["81.2.69.160"] == list(stored_entries(directory))
    assert ["journal"] == dirty_files(directory)


def test_busy_journal_is_left_for_the_next_flush(directory: DataDirectory, journal: Journal) -> None:
    """A flush that cannot seal the journal in time stores the leftover segments, and names the lock holder."""
    put(directory, frames(resolved("1.1.1.1")), segment_name(1))
    journal.append([resolved("1.1.1.2")])
    with locked_by_process(directory, "journal.lock"), pytest.raises(BusyError, match=r"/journal\.lock: busy: "):
        flush(directory)
    assert ["1.1.1.1"] == list(stored_entries(directory))
    assert ["journal"] == dirty_files(directory)


class Killed(Journal):
    """Is killed by kill -9 at one step of a flush, before it."""

    step = ""

    def _die_at(self, step: str) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)

    def segments(self) -> list[Segment]:
        if super().segments():
            self._die_at("sealed")
        return super().segments()

    def discard(self, segment: Segment) -> None:
        self._die_at("committed")
        super().discard(segment)
        self._die_at("discarded")


@pytest.mark.parametrize(("step", "flushed", "segments"), [("sealed", 2, 1), ("committed", 0, 1), ("discarded", 0, 0)])
def test_killed_flush_is_finished_by_the_next(
    directory: DataDirectory, journal: Journal, step: str, flushed: int, segments: int
) -> None:
    """Wherever a flush is killed, the next one finishes it, and no segment is stored twice."""
    journal.append([resolved("1.1.1.1"), resolved("1.1.1.2")])
    killed = Killed(directory)
    killed.step = step
    assert -signal.SIGKILL == in_child(lambda: flush(directory, killed))
    if flushed == 0:
        change(directory.file("geocli.db"), "UPDATE geo_cache SET city = 'Paris' WHERE ip = '1.1.1.1'")
    assert FlushReport(flushed=flushed, segments=segments) == flush(directory)
    cities = [entry.place.city for entry in stored_entries(directory).values()]
    assert ["London" if flushed else "Paris", "London"] == cities
    assert [] == dirty_files(directory)


def test_reappearing_segment_is_not_stored_again(directory: DataDirectory, journal: Journal) -> None:
    """A segment that a power cut restores after it was discarded does not change later rows."""
    journal.append([city("1.1.1.1", "old")])
    sealed = journal.seal()
    assert sealed is not None
    shutil.copy(directory.file(sealed.name), directory.file("copy"))
    flush(directory)
    change(directory.file("geocli.db"), "UPDATE geo_cache SET city = 'new'")
    os.rename(directory.file("copy"), directory.file(sealed.name))
    assert FlushReport(flushed=0, segments=1) == flush(directory)
    assert "new" == stored_entries(directory)["1.1.1.1"].place.city


class Sticky(Journal):
    """Cannot remove segments."""

    def discard(self, segment: Segment) -> None:
        raise JournalError(segment.name, "cannot be discarded: Read-only file system")


def test_segment_that_cannot_be_removed_is_an_error(directory: DataDirectory, journal: Journal) -> None:
    """Segments that are stored but cannot be removed are an error, and are only removed by the next flush."""
    put(directory, frames(resolved("1.1.1.1")), segment_name(1))
    journal.append([resolved("1.1.1.2")])
    with pytest.raises(StorageError, match=f"^{segment_name(1)}: cannot be discarded: Read-only file system$"):
        flush(directory, Sticky(directory))
    assert ["1.1.1.1", "1.1.1.2"] == list(stored_entries(directory))
    assert FlushReport(flushed=0, segments=2) == flush(directory)


class Visited:
    """A clock that lets another program read the store, and close it, whenever the time is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_visited = False

    def __call__(self) -> datetime:
        if self.is_visited:
            program = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM geo_cache').fetchall()"
            subprocess.run([sys.executable, "-c", program, str(self.path)], check=True)
        return AT


def test_flush_of_a_process_that_reads_is_not_undone_by_a_third(tmp_path: Path) -> None:
    """A cache that has its store open flushes; another program's last close must not take the flush along."""
    clock = Visited(tmp_path / "geocli.db")
    with GeoCache(str(tmp_path), resolvers=[Source(everywhere=JAPAN)], clock=clock) as cache:
        cache.lookup("8.8.8.8")
        cache.flush_dirty()
        assert cache.stats().statuses["resolved"] == 1  # so that the store is open
        cache.lookup("9.9.9.9")
        clock.is_visited = True

        assert cache.flush_dirty().flushed == 1

        assert cache.stats().statuses["resolved"] == 2
    assert {"8.8.8.8", "9.9.9.9"} == set(stored_entries(local(tmp_path)))
