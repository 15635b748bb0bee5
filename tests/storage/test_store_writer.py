"""Writing the store: schema and migrations, segments stored exactly once, and files that are not a store."""

from __future__ import annotations

import os
import resource
import sqlite3
import stat
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlite_utils import Database

from geocli.errors import BusyError, JournalError, StoreError
from geocli.models import Place
from geocli.storage.clears import Clear
from geocli.storage.disk_space import BLOCK_ROWS as BLOCK
from geocli.storage.journal import Journal
from geocli.storage.migrations import MIGRATIONS
from geocli.storage.segments import Segment
from geocli.storage.sqlite_errors import MAX_PATH_BYTES
from geocli.storage.store import SCHEMA_VERSION, Store
from geocli.storage.store_writer import StoreWriter
from tests.helpers.data_directories import local
from tests.helpers.entries import AT, SOURCES, resolved, unresolved
from tests.helpers.journals import framed
from tests.helpers.processes import in_child
from tests.helpers.stores import change, select, stored_entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from geocli.models import Entry
    from geocli.storage.directory import DataDirectory
    from geocli.storage.frames import Frame

CONTRACT = [
    *(("ip", "TEXT"), ("status", "TEXT"), ("scope", "TEXT"), ("country_code", "TEXT"), ("country_name", "TEXT")),
    *(("region", "TEXT"), ("city", "TEXT"), ("postal_code", "TEXT"), ("latitude", "REAL"), ("longitude", "REAL")),
    *(("time_zone", "TEXT"), ("asn", "INTEGER"), ("org", "TEXT"), ("source", "TEXT"), ("prefix_len", "INTEGER")),
    *(("built_at", "TEXT"), ("resolved_at", "TEXT"), ("retry_at", "TEXT"), ("generation", "INTEGER")),
    *(("traits", "TEXT"), ("segment", "INTEGER"), ("tried_segment", "INTEGER")),
    ("answered_by", "INTEGER"),
]
EARLIER, LATER = AT - timedelta(hours=1), AT + timedelta(hours=1)
PARIS = Place(country_code="FR", city="Paris")


@pytest.fixture
def writer(directory: DataDirectory) -> Iterator[StoreWriter]:
    with closing(StoreWriter(directory, busy_timeout_seconds=0)) as opened:
        yield opened


def segment(number: int = 1, uuid: str = "") -> Segment:
    uuid = uuid or f"uuid-{number}"
    return Segment(name=f"journal.{number}-{uuid}.draining", number=number, uuid=uuid)


def apply(
    writer: StoreWriter, *entries: Entry, number: int = 1, uuid: str = "", oldest: int = 1, at: datetime = AT
) -> int:
    """Store a segment of one frame."""
    return writer.apply(segment(number, uuid), framed(entries), lambda: at, oldest=oldest)


def older_store(directory: DataDirectory, version: int, *statements: str) -> str:
    """Create a store of an older schema, and return its path."""
    directory.prepare()
    path = directory.file("geocli.db")
    with closing(sqlite3.connect(path)) as connection:
        for migrate in MIGRATIONS[:version]:
            migrate(Database(connection, execute_plugins=False))
        connection.commit()
    change(path, f"PRAGMA user_version = {version}", *statements)
    return path


def applied(writer: StoreWriter) -> list[int]:
    return [number for (number,) in select(writer.path, "SELECT number FROM applied_segments ORDER BY 1")]


def refusal(directory: DataDirectory) -> str:
    """Return the error of opening a store, without its path."""
    with pytest.raises(StoreError) as caught:
        StoreWriter(directory, busy_timeout_seconds=0)
    assert (directory.file("geocli.db"), 4) == (caught.value.path, caught.value.exit_status)
    return str(caught.value).removeprefix(f"{caught.value.path}: ")


def test_table_is_as_documented(writer: StoreWriter) -> None:
    """The table has the documented columns, with their types and order, and the address as its key."""
    actual = select(writer.path, "SELECT name, type, pk FROM pragma_table_info('geo_cache')")
    assert [(name, kind, int(name == "ip")) for name, kind in CONTRACT] == actual


def test_store_is_in_wal_mode_and_has_its_version(writer: StoreWriter) -> None:
    """Other programs can read while it is written, and find the version of the schema."""
    assert [("wal",)] == select(writer.path, "PRAGMA journal_mode")
    assert [(SCHEMA_VERSION,)] == select(writer.path, "PRAGMA user_version")
    assert len(MIGRATIONS) == SCHEMA_VERSION


def test_store_is_private(directory: DataDirectory, writer: StoreWriter) -> None:
    """Only the owner can read the store and the other files of SQLite."""
    apply(writer, resolved())
    modes = {name: stat.S_IMODE(os.stat(directory.file(name)).st_mode) for name in directory.names()}
    assert dict.fromkeys(["geocli.db", "geocli.db-wal", "geocli.db-shm"], 0o600) == modes


def test_existing_store_is_kept(directory: DataDirectory) -> None:
    """Opening the store again changes nothing in it."""
    with closing(StoreWriter(directory)) as writer:
        apply(writer, resolved())
    before = Path(writer.path).read_bytes()
    with closing(StoreWriter(directory)):
        pass
    assert before == Path(writer.path).read_bytes()


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_older_store_is_migrated_in_place(directory: DataDirectory, mode: str) -> None:
    """All rows of a store of version 1 are there afterwards, with empty new columns."""
    path = older_store(
        directory,
        1,
        "INSERT INTO geo_cache (ip, status, country_code, city, latitude, asn, source, prefix_len, resolved_at) "
        "VALUES ('1.1.1.1', 'resolved', 'GB', 'London', 51.5142, 20712, 'rir', 24, '2026-06-01T12:00:00Z'), "
        "('1.1.1.2', 'resolved', 'FR', NULL, NULL, NULL, 'rir', NULL, '2026-06-01T12:00:00Z')",
        "INSERT INTO geo_cache (ip, status, retry_at) VALUES ('1.1.1.3', 'unresolved', '2026-06-01T13:00:00Z')",
        "INSERT INTO applied_segments VALUES ('uuid-7', 7, '2026-06-01T12:00:00Z')",
        "INSERT INTO last_flush VALUES (1, '2026-06-01T12:00:00Z', 3, 0.5)",
        f"PRAGMA journal_mode = {mode}",
    )
    inode = os.stat(path).st_ino
    old = ", ".join(name for name, _ in CONTRACT[:-5])
    before = select(path, f"SELECT {old} FROM geo_cache")
    with closing(StoreWriter(directory)) as writer:
        assert 8 == writer.next_number()
        assert 0 == apply(writer, resolved("1.1.1.1", place=PARIS), uuid="uuid-7", number=7)
    assert inode == os.stat(path).st_ino
    assert before == select(path, f"SELECT {old} FROM geo_cache")
    new = ", ".join(name for name, _ in CONTRACT[-5:])
    assert [(3,)] == select(path, f"SELECT COUNT(*) FROM geo_cache WHERE COALESCE({new}) IS NULL")
    assert CONTRACT == select(path, "SELECT name, type FROM pragma_table_info('geo_cache')")
    assert [(SCHEMA_VERSION,)] == select(path, "PRAGMA user_version")
    actual = stored_entries(directory)["1.1.1.1"]
    assert ("London", 51.5142, 20712, "") == (
        actual.place.city,
        actual.place.latitude,
        actual.place.asn,
        actual.generation,
    )


def test_migrated_rows_take_new_answers(directory: DataDirectory) -> None:
    """A row of an older store is replaced by the next answer, with all columns."""
    older_store(directory, 1, "INSERT INTO geo_cache (ip, status, city) VALUES ('1.1.1.1', 'resolved', 'Paris')")
    with closing(StoreWriter(directory)) as writer:
        apply(writer, resolved("1.1.1.1"))
    assert {"1.1.1.1": resolved("1.1.1.1", cached=True)} == stored_entries(directory)


@pytest.mark.parametrize("version", range(SCHEMA_VERSION + 1))
def test_every_version_is_migrated_to_the_same_schema(directory: DataDirectory, tmp_path: Path, version: int) -> None:
    """A store of any age has the same tables afterwards as a new one."""
    schema = "SELECT type, name, tbl_name FROM sqlite_master ORDER BY 1, 2"
    path = older_store(directory, version)
    new = local(tmp_path / "new")
    for location in (directory, new):
        StoreWriter(location).close()
    assert select(new.file("geocli.db"), schema) == select(path, schema)
    assert 5 < len(select(path, schema))


def test_migration_that_fails_changes_nothing(directory: DataDirectory) -> None:
    """A store that cannot be migrated as a whole is unchanged, and of its old version."""
    path = older_store(directory, 1, "CREATE TABLE source_files (anything)")
    schema = "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2"
    before = select(path, schema)
    assert refusal(directory).startswith("table [source_files] already exists") or "already exists" in refusal(
        directory
    )
    assert before == select(path, schema)
    assert [(1,)] == select(path, "PRAGMA user_version")


def test_database_of_another_program_is_unchanged(directory: DataDirectory) -> None:
    """A database with a table of the same name that is not a store is an error, and unchanged."""
    directory.prepare()
    path = directory.file("geocli.db")
    change(path, "CREATE TABLE geo_cache (mine)", "INSERT INTO geo_cache VALUES (1)")
    assert "an SQLite file of another program; move it away" == refusal(directory)
    assert [(1,)] == select(path, "SELECT mine FROM geo_cache")


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_newer_store_is_rejected_and_unchanged(directory: DataDirectory, mode: str) -> None:
    """A store of a newer geocli is unchanged, byte for byte, and the error has a remedy."""
    StoreWriter(directory).close()
    path = directory.file("geocli.db")
    change(path, "PRAGMA user_version = 99", f"PRAGMA journal_mode = {mode}")
    before = Path(path).read_bytes()
    expected = f"written by a newer geocli (schema 99, this one supports {SCHEMA_VERSION}); update geocli"
    assert expected == refusal(directory)
    assert before == Path(path).read_bytes()
    assert ["geocli.db"] == directory.names()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(os.mkdir, "cannot be opened: not a regular file", id="directory"),
        pytest.param(
            lambda path: os.symlink("elsewhere.db", path),
            "cannot be opened: not a regular file",
            id="symbolic link",
        ),
        pytest.param(
            lambda path: Path(path).write_text("this is no database, however long one looks at it " * 99),
            "file is not a database; nothing was changed; restore a backup, or move it away with its "
            "-wal and -shm, and the next flush creates a new one",
            id="text",
        ),
        pytest.param(
            lambda path: Path(path).write_bytes(b"SQLite format 3\0" + b"\xff" * 5000),
            "file is not a database; nothing was changed; restore a backup, or move it away with its "
            "-wal and -shm, and the next flush creates a new one",
            id="header alone",
        ),
    ],
)
def test_anything_but_a_store_is_rejected_and_unchanged(
    directory: DataDirectory, make: Callable[[str], None], reason: str
) -> None:
    """Anything else is an error that names it; it is never replaced."""
    directory.prepare()
    path = directory.file("geocli.db")
    make(path)
    before = os.lstat(path).st_ino, os.lstat(path).st_size, os.lstat(path).st_mtime_ns
    assert reason == refusal(directory)
    assert before == (os.lstat(path).st_ino, os.lstat(path).st_size, os.lstat(path).st_mtime_ns)
    assert ["geocli.db"] == directory.names()


def test_damaged_store_is_rejected_and_unchanged(directory: DataDirectory) -> None:
    """Damaged pages are an error when they are read; the store is neither deleted nor recreated."""
    with closing(StoreWriter(directory)) as writer:
        apply(writer, *(resolved(f"10.0.{n >> 8}.{n & 255}") for n in range(2000)))
    path = Path(writer.path)
    data = bytearray(path.read_bytes())
    for page in range(2 * 4096, len(data), 4096):
        data[page : page + 64] = b"\xff" * 64
    path.write_bytes(data)
    inode = path.stat().st_ino
    with pytest.raises(StoreError, match="malformed; nothing was changed; restore a backup"):  # noqa: SIM117
        with closing(StoreWriter(directory)) as writer:
            apply(writer, resolved("10.0.0.1"), number=2)
    assert (inode, bytes(data)) == (path.stat().st_ino, path.read_bytes())


def test_store_in_a_refused_directory_is_an_error_of_the_directory(tmp_path: Path) -> None:
    """The directory is examined before the store is made."""
    tmp_path.chmod(0o777)
    with pytest.raises(Exception, match="cannot be used as data directory: writable by all users"):
        StoreWriter(local(tmp_path))
    assert [] == os.listdir(tmp_path)


@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE"])
def test_locked_store_is_busy(directory: DataDirectory, writer: StoreWriter, how: str) -> None:
    """While another program writes, storing and deleting are refused, and nothing has changed."""
    apply(writer, resolved("1.1.1.1"))
    with closing(sqlite3.connect(writer.path, isolation_level=None)) as connection:
        connection.execute(f"BEGIN {how}")
        attempts: list[Callable[[], object]] = [
            lambda: apply(writer, resolved("1.1.1.2"), number=2),
            lambda: writer.clear(Journal(directory), Clear()),
        ]
        for attempt in attempts:
            with pytest.raises(BusyError) as caught:
                attempt()
            expected = f"{writer.path}: busy: another process held it for 0 s; try again later"
            assert (expected, 75) == (str(caught.value), caught.value.exit_status)
    assert [("1.1.1.1",)] == select(writer.path, "SELECT ip FROM geo_cache")
    assert 1 == apply(writer, resolved("1.1.1.2"), number=2)


def test_locked_store_is_not_migrated(directory: DataDirectory) -> None:
    """A store that another program locks is not migrated, and not damaged."""
    path = older_store(directory, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BusyError, match=r"geocli\.db: busy: another process held it for 0\.01 s"):
            StoreWriter(directory, busy_timeout_seconds=0.01)
    assert [(1,)] == select(path, "PRAGMA user_version")
    StoreWriter(directory).close()
    assert [(SCHEMA_VERSION,)] == select(path, "PRAGMA user_version")


def test_path_that_is_too_long_for_sqlite(tmp_path: Path) -> None:
    """The error says so, and what to do, for the first length that SQLite refuses; one less is a store."""
    room = MAX_PATH_BYTES - len(f"{tmp_path}/{'d' * 200}//geocli.db")
    longest, longer = (local(tmp_path / ("d" * 200) / ("d" * size)) for size in (room, room + 1))
    StoreWriter(longest).close()
    assert "path of more than 504 bytes; use another data directory" in refusal(longer)


@pytest.mark.parametrize(("seconds", "milliseconds"), [(0.25, 250), (999_999_999, 2_000_000_000)])
def test_sqlite_waits_for_locks(directory: DataDirectory, seconds: float, milliseconds: int) -> None:
    """Also if it is to wait longer than SQLite can count, and after a checkpoint, which does not wait."""
    with closing(StoreWriter(directory, busy_timeout_seconds=seconds)) as writer:
        for _ in range(2):
            with writer.transaction() as db:
                assert [(milliseconds,)] == db.execute("PRAGMA busy_timeout").fetchall()
            writer.checkpoint()


def test_concurrent_readers(writer: StoreWriter) -> None:
    """Concurrent readers see all of a segment or nothing."""
    counts: list[Any] = []

    def frames() -> Iterator[Frame]:
        yield from framed([resolved(f"10.0.{n >> 8}.{n & 255}") for n in range(BLOCK)])
        counts.append(select(writer.path, "SELECT COUNT(*) FROM geo_cache"))
        yield from framed([resolved("1.1.1.1")])
        counts.append(select(writer.path, "SELECT COUNT(*) FROM geo_cache"))

    assert BLOCK + 1 == writer.apply(segment(), frames(), lambda: AT, oldest=1)
    assert [[(0,)], [(0,)], [(BLOCK + 1,)]] == [*counts, select(writer.path, "SELECT COUNT(*) FROM geo_cache")]


def test_concurrent_writers(directory: DataDirectory, writer: StoreWriter) -> None:
    """Concurrent writers wait, so that rows read in the transaction are still valid."""

    def frames() -> Iterator[Frame]:
        with closing(sqlite3.connect(writer.path, timeout=0)) as connection:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                connection.execute("DELETE FROM applied_segments")
            yield from framed([resolved()])

    assert 1 == writer.apply(segment(), frames(), lambda: AT, oldest=1)
    assert ["81.2.69.160"] == list(stored_entries(directory))


def test_all_of_an_entry_is_stored(directory: DataDirectory, writer: StoreWriter) -> None:
    """All fields are stored, in readable columns."""
    full = resolved(
        place=Place(
            country_code="GB", country_name="United Kingdom", region="England", city="Łódź", postal_code="EC1A",
            latitude=51.5, longitude=-0.09, time_zone="Europe/London", asn=4_294_967_295, org="A & B",
            traits={"isp": "Żaba", "is_anonymous": False, "nested": {"a": [1, None]}},
        ),
        scope="global", retry_at=LATER,
    )  # fmt: skip
    apply(writer, full)
    assert {full.ip: full.replace(cached=True)} == stored_entries(directory)
    (row,) = select(writer.path, f"SELECT {', '.join(name for name, _ in CONTRACT)} FROM geo_cache")
    assert (
        *("81.2.69.160", "resolved", "global", "GB", "United Kingdom", "England", "Łódź", "EC1A", 51.5, -0.09),
        *("Europe/London", 4_294_967_295, "A & B", "GeoLite2-City", 27, "2026-06-01T12:00:00Z"),
        *("2026-06-01T12:00:00Z", "2026-06-01T13:00:00Z", 1),
        '{"isp": "Żaba", "is_anonymous": false, "nested": {"a": [1, null]}}',
        *(1, 1, None),
    ) == row


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(resolved(place=Place(traits={}), built_at=None, resolved_at=None, generation=""), id="no traits"),
        pytest.param(resolved(place=Place(), source=None, prefix_len=None), id="nothing known"),
        pytest.param(resolved(place=Place(city="\0'\";--\n", org="")), id="odd text"),
        pytest.param(resolved(place=Place(asn=(1 << 63) - 1, latitude=-90)), id="large numbers"),
        pytest.param(resolved("2001:db8::1"), id="IPv6"),
    ],
)
def test_odd_entries_are_stored(directory: DataDirectory, writer: StoreWriter, entry: Entry) -> None:
    """An entry with any missing fields is stored, and does not affect others."""
    assert 2 == apply(writer, entry, resolved("1.1.1.1"))
    actual = stored_entries(directory)[entry.ip]
    assert entry.replace(cached=True, place=entry.place.replace(traits=None)) == actual.replace(
        place=actual.place.replace(traits=None)
    )


def test_segment_is_stored_once(directory: DataDirectory, writer: StoreWriter) -> None:
    """A segment that was stored before is not stored again, nor even read."""

    def unread() -> Iterator[Frame]:
        pytest.fail("the segment is read")
        yield

    assert 1 == apply(writer, resolved("1.1.1.1"), number=3, uuid="a")
    assert 1 == apply(writer, resolved("1.1.1.1", place=PARIS), number=4, uuid="b")
    assert 0 == writer.apply(segment(3, "a"), unread(), lambda: LATER, oldest=3)
    assert "Paris" == stored_entries(directory)["1.1.1.1"].place.city
    assert [("2026-06-01T12:00:00Z", 2)] == select(writer.path, "SELECT finished_at, entries FROM last_flush")


@pytest.mark.parametrize("error", [JournalError("journal", "cannot be read"), KeyboardInterrupt()])
def test_segment_is_stored_as_a_whole_or_not_at_all(writer: StoreWriter, error: BaseException) -> None:
    """If a segment cannot be read to its end, nothing of it is stored, nor recorded as stored."""

    def torn() -> Iterable[Frame]:
        yield from framed([resolved(f"10.0.{n >> 8}.{n & 255}") for n in range(BLOCK)])
        raise error

    with pytest.raises(type(error)):
        writer.apply(segment(), torn(), lambda: AT, oldest=1)
    for table in ("geo_cache", "applied_segments", "generations", "last_flush"):
        assert [(0,)] == select(writer.path, f"SELECT COUNT(*) FROM {table}")
    assert 1 == apply(writer, resolved())


def test_last_entry_of_an_address_counts(directory: DataDirectory, writer: StoreWriter) -> None:
    """Within a segment and from one to the next, the later entry of an address takes the earlier one's place."""
    apply(writer, resolved(), resolved(place=PARIS), resolved("1.1.1.1"))
    assert ["London", "Paris"] == [entry.place.city for entry in stored_entries(directory).values()]
    apply(writer, resolved("1.1.1.1", place=PARIS, resolved_at=EARLIER), number=2)  # no clock decides
    assert ["Paris", "Paris"] == [entry.place.city for entry in stored_entries(directory).values()]


NOBODY = unresolved(resolved_at=LATER, retry_at=LATER + timedelta(hours=1), generation="rir@4")
NOTED = resolved(retry_at=NOBODY.retry_at, generation="rir@4", answered_by=SOURCES)


@pytest.mark.parametrize("in_one_segment", [True, False])
@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        pytest.param(resolved(), NOBODY, NOTED, id="known, then unknown"),
        pytest.param(NOBODY, resolved(), resolved(), id="unknown, then known"),
        pytest.param(unresolved(retry_at=AT), NOBODY, NOBODY, id="unknown twice"),
        pytest.param(resolved(), resolved(place=PARIS), resolved(place=PARIS), id="known twice"),
    ],
)
def test_unresolved_entries_never_hide_a_good_answer(  # noqa: PLR0913 (fixtures and cases)
    directory: DataDirectory, writer: StoreWriter, first: Entry, then: Entry, expected: Entry, *, in_one_segment: bool
) -> None:
    """A later unresolved entry only sets the retry time and the sources of a good answer."""
    if in_one_segment:
        apply(writer, first, then)
    else:
        apply(writer, first)
        apply(writer, then, number=2)
    assert {first.ip: expected.replace(cached=True)} == stored_entries(directory)


def test_good_answer_of_an_earlier_block_is_not_hidden(directory: DataDirectory, writer: StoreWriter) -> None:
    """Also in a segment so large that it is stored in parts, nothing found never hides a good answer."""
    frames = [
        *framed([resolved(), *(resolved(str(number)) for number in range(BLOCK - 1))]),
        *framed([NOBODY, resolved("0", place=PARIS)]),
    ]
    assert BLOCK + 2 == writer.apply(segment(), frames, lambda: AT, oldest=1)
    actual = stored_entries(directory)
    assert (NOTED.replace(cached=True), "Paris") == (actual[NOTED.ip], actual["0"].place.city)
    assert BLOCK == len(actual)


@pytest.mark.parametrize("resolved_at", [EARLIER, AT, LATER])
@pytest.mark.parametrize(
    ("late", "row", "expected"),
    [
        pytest.param(resolved(place=PARIS), resolved(), resolved(), id="known, known"),
        pytest.param(unresolved(retry_at=AT, generation="rir@1"), resolved(), resolved(), id="unknown, known"),
        pytest.param(unresolved(generation="rir@1"), NOBODY, NOBODY, id="unknown twice"),
        pytest.param(resolved(), NOBODY, NOTED, id="known, then unknown"),
    ],
)
def test_late_segment_changes_no_newer_rows(  # noqa: PLR0913 (fixtures and cases)
    directory: DataDirectory, writer: StoreWriter, late: Entry, row: Entry, expected: Entry, *, resolved_at: datetime
) -> None:
    """A leftover segment has the same result as if it had been stored in its turn, whatever the clock was."""
    if expected is NOTED:
        expected = NOTED.replace(resolved_at=resolved_at)
    apply(writer, row, number=2)
    late = late.replace(resolved_at=resolved_at)
    assert 2 == apply(writer, late, resolved("1.1.1.1", resolved_at=EARLIER), number=1)
    actual = stored_entries(directory)
    assert expected.replace(cached=True) == actual[row.ip]
    assert resolved("1.1.1.1", resolved_at=EARLIER, cached=True) == actual["1.1.1.1"]


def test_stored_segments_are_recorded_while_there_are_older_ones(writer: StoreWriter) -> None:
    """Stored segments are recorded as long as an older segment is on disk, and then deleted from the record."""
    for number in (5, 6, 7):
        apply(writer, resolved(), number=number, oldest=4)
    assert [5, 6, 7] == applied(writer)
    apply(writer, resolved(), number=4, oldest=4)
    assert [4, 5, 6, 7] == applied(writer)
    apply(writer, resolved(), number=8, oldest=8)
    assert [8] == applied(writer)


def test_next_number_is_larger_than_all_that_were_stored(directory: DataDirectory, writer: StoreWriter) -> None:
    """A new segment gets a number after all those that were stored, also in another run."""
    assert 1 == writer.next_number()
    apply(writer, resolved(), number=9)
    assert 10 == writer.next_number()
    with closing(StoreWriter(directory)) as another:
        assert 10 == another.next_number()


def test_last_flush_is_recorded(directory: DataDirectory, writer: StoreWriter) -> None:
    """The store has the end of the last flush, its number of entries, and its duration."""
    instants = iter([AT, AT + timedelta(seconds=2.5)])
    writer.apply(segment(), framed([resolved()]), lambda: next(instants), oldest=1)
    with closing(Store(directory.file("geocli.db"))) as store:
        assert ("2026-06-01T12:00:02Z", 1, 2.5) == store.last_flush()


def test_each_generation_is_stored_once(writer: StoreWriter) -> None:
    """Rows with the same sources share a number for them, across segments."""
    apply(writer, resolved("1"), resolved("2", generation="rir@4"), resolved("3"))
    apply(writer, resolved("4", generation="rir@4"), number=2)
    numbers = dict(select(writer.path, "SELECT ip, generation FROM geo_cache"))
    assert {SOURCES, "rir@4"} == {sources for (sources,) in select(writer.path, "SELECT sources FROM generations")}
    assert numbers["1"] == numbers["3"] != numbers["2"] == numbers["4"]


def test_kept_answer_keeps_its_source(directory: DataDirectory, writer: StoreWriter) -> None:
    """A failed attempt is recorded with its sources; the source of the answer stays."""
    apply(writer, resolved())
    apply(writer, unresolved(generation="rir@4"), number=2)
    entry = stored_entries(directory)["81.2.69.160"]
    assert ("resolved", "rir@4", SOURCES) == (entry.status, entry.generation, entry.answered_by)
    apply(writer, unresolved(generation=SOURCES), number=3)
    assert (SOURCES, "") == (
        stored_entries(directory)["81.2.69.160"].generation,
        stored_entries(directory)["81.2.69.160"].answered_by,
    )
    apply(writer, unresolved(generation="rir@4"), number=4)
    apply(writer, resolved(generation="rir@5"), number=5)
    assert ("rir@5", "") == (
        stored_entries(directory)["81.2.69.160"].generation,
        stored_entries(directory)["81.2.69.160"].answered_by,
    )


def test_late_answer_keeps_its_source(directory: DataDirectory, writer: StoreWriter) -> None:
    """An answer of a leftover segment keeps its sources if a later failure was stored before it."""
    apply(writer, unresolved(generation="rir@4"), number=2)
    apply(writer, resolved(), number=1)
    entry = stored_entries(directory)["81.2.69.160"]
    assert ("resolved", "rir@4", SOURCES) == (entry.status, entry.generation, entry.answered_by)


def test_clear_returns_how_many(directory: DataDirectory, writer: StoreWriter) -> None:
    """The rows that meet the conditions are deleted, and counted."""
    apply(writer, resolved("1.1.1.1"), unresolved("1.1.1.2"), resolved("1.1.1.3", resolved_at=EARLIER))
    journal = Journal(directory)
    assert 1 == writer.clear(journal, Clear(resolved_before="2026-06-01T12:00:00Z"))
    assert ["1.1.1.1", "1.1.1.2"] == list(stored_entries(directory))
    assert 2 == writer.clear(journal, Clear())
    assert {} == stored_entries(directory)


def test_killed_writer_leaves_the_store_whole(directory: DataDirectory, writer: StoreWriter) -> None:
    """A process that is killed while it stores a segment leaves the store as before."""
    apply(writer, resolved("1.1.1.1"))
    writer.close()

    def die_in_the_middle() -> None:
        def frames() -> Iterator[Frame]:
            yield from framed([resolved(f"10.0.{n >> 8}.{n & 255}") for n in range(BLOCK)])
            os.kill(os.getpid(), 9)

        StoreWriter(directory).apply(segment(2), frames(), lambda: AT, oldest=1)

    assert -9 == in_child(die_in_the_middle)
    assert ["1.1.1.1"] == list(stored_entries(directory))
    with closing(StoreWriter(directory, busy_timeout_seconds=0)) as another:
        assert 1 == apply(another, resolved("1.1.1.2"), number=2)


@pytest.mark.parametrize("how", ["ABORT", "ROLLBACK", "FAIL"])
def test_segment_that_sqlite_refuses_is_not_stored(writer: StoreWriter, how: str) -> None:
    """Whatever SQLite does with the transaction when it refuses a row, nothing of the segment is stored."""
    change(
        writer.path,
        "CREATE TRIGGER refuse BEFORE INSERT ON geo_cache WHEN NEW.ip = '1.1.1.2' "
        f"BEGIN SELECT RAISE({how}, 'not this one'); END",
    )
    with pytest.raises(StoreError, match="not this one; nothing was changed"):
        apply(writer, resolved("1.1.1.1"), resolved("1.1.1.2"), resolved("1.1.1.3"))
    assert [(0,)] == select(writer.path, "SELECT COUNT(*) FROM geo_cache")
    assert 1 == apply(writer, resolved("1.1.1.1"))


def test_segment_larger_than_the_free_space_is_not_stored(directory: DataDirectory, writer: StoreWriter) -> None:
    """On a full disk nothing of a segment is stored, earlier rows stay, and the segment is stored later."""
    apply(writer, resolved("1.1.1.1"))
    writer.close()
    many = [resolved(str(number)) for number in range(5000)]

    def apply_with_little_room() -> None:
        everything = resource.getrlimit(resource.RLIMIT_FSIZE)
        with closing(StoreWriter(directory)) as cramped:
            resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, everything[1]))
            with pytest.raises(StoreError, match=r"/geocli\.db: .+; nothing was changed"):
                apply(cramped, *many, number=2)
            resource.setrlimit(resource.RLIMIT_FSIZE, everything)

    assert 0 == in_child(apply_with_little_room)
    assert ["1.1.1.1"] == list(stored_entries(directory))
    with closing(StoreWriter(directory)) as roomy:
        assert 5000 == apply(roomy, *many, number=2)
