"""Reading the store: answers, and errors for files that are not a store."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from geocli.errors import BusyError, StoreError
from geocli.models import Entry, Place
from geocli.re_resolve import AHEAD, OF_GENERATION
from geocli.storage import aggregates
from geocli.storage.segments import Segment
from geocli.storage.store import LOCKED_SECONDS, SCHEMA_VERSION, SELECT, Store
from geocli.storage.store_rows import STATEMENT_ADDRESSES as BLOCK
from geocli.storage.store_writer import StoreWriter
from tests.helpers.data_directories import local
from tests.helpers.entries import AT, resolved, unresolved
from tests.helpers.journals import framed
from tests.helpers.stores import change
from tests.helpers.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUESTIONS: list[tuple[Callable[[Store], Any], Any]] = [
    (lambda store: store.get(["1.1.1.1"]), {}),
    (lambda store: list(store.entries("ORDER BY ip")), []),
    (lambda store: store.due("1", (), 0, 10), []),
    (lambda store: store.generations(), {}),
    (lambda store: aggregates.tally(store, "status", ("resolved",)), ({"resolved": 0}, {})),
    (lambda store: store.last_flush(), None),
]
each_question = pytest.mark.parametrize(
    ("ask", "nothing"),
    QUESTIONS,
    ids=["get", "entries", "due", "generations", "tally", "last_flush"],
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Name a store in a directory with a name that a URI would have to quote."""
    (tmp_path / "a b%20?#&=").mkdir()
    return str(tmp_path / "a b%20?#&=" / "geocli.db")


@pytest.fixture
def store(path: str) -> Iterator[Store]:
    with closing(Store(path, busy_timeout_seconds=0)) as opened:
        yield opened


def fill(path: str, *entries: Entry) -> None:
    with closing(StoreWriter(local(Path(path).parent))) as writer:
        number = writer.next_number()
        segment = Segment(name="", number=number, uuid=str(number))
        writer.apply(segment, framed(entries), lambda: AT, oldest=number)


@each_question
def test_missing_store_has_no_rows(store: Store, ask: Callable[[Store], Any], nothing: Any) -> None:
    """Without a store there are no rows, and none is created."""
    assert nothing == ask(store)
    assert [] == os.listdir(Path(store.path).parent)


@each_question
def test_older_store_is_read_without_migration(store: Store, ask: Callable[[Store], Any], nothing: Any) -> None:
    """A store of an older schema is read before a flush has migrated it, and unchanged until then."""
    fill(store.path, resolved("1.1.1.1"))
    expected = ask(store)
    store.close()
    change(store.path, "DROP TABLE clears", "DROP TABLE segment_offsets", "PRAGMA user_version = 4")
    before = Path(store.path).read_bytes()
    assert nothing != ask(store)
    assert expected == ask(store)
    assert before == Path(store.path).read_bytes()


@each_question
@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_newer_store_is_rejected_and_unchanged(
    store: Store, ask: Callable[[Store], Any], nothing: Any, mode: str
) -> None:
    """A store of a newer geocli is an error with a remedy, and is not changed."""
    del nothing
    fill(store.path, resolved("1.1.1.1"))
    change(store.path, "PRAGMA user_version = 99", f"PRAGMA journal_mode = {mode}")
    before = Path(store.path).read_bytes()
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            ask(store)
        reason = f"written by a newer geocli (schema 99, this one supports {SCHEMA_VERSION}); update geocli"
        assert (f"{store.path}: {reason}", 4) == (str(caught.value), caught.value.exit_status)
    assert before == Path(store.path).read_bytes()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(os.mkdir, "not a regular file; move it away", id="directory"),
        pytest.param(
            lambda path: Path(path).write_bytes(b"no database " * 999),
            "file is not a database; nothing was changed; restore a backup",
            id="text",
        ),
    ],
)
@each_question
def test_anything_but_a_store_is_an_error(
    store: Store, ask: Callable[[Store], Any], nothing: Any, make: Callable[[str], None], reason: str
) -> None:
    """Anything but a store is an error that names it, each time."""
    del nothing
    make(store.path)
    for _ in range(2):
        with pytest.raises(StoreError, match=f"^{re.escape(store.path)}: {reason}"):
            ask(store)


def test_store_below_a_file_is_an_error(tmp_path: Path) -> None:
    """The error has the reason why it cannot be opened."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError) as caught:
        Store(f"{tmp_path}/file/geocli.db").get(["1.1.1.1"])
    assert f"{tmp_path}/file/geocli.db: cannot be opened: Not a directory" == str(caught.value)


def test_damaged_pages_are_an_error(store: Store) -> None:
    """Rows on damaged pages are an error, not a wrong answer."""
    fill(store.path, *(resolved(f"10.0.{n >> 8}.{n & 255}") for n in range(2000)))
    data = bytearray(Path(store.path).read_bytes())
    for page in range(2 * 4096, len(data), 4096):
        data[page : page + 64] = b"\xff" * 64
    Path(store.path).write_bytes(data)
    with pytest.raises(StoreError, match="malformed"):
        store.get(["10.0.0.1"])


@each_question
def test_store_locked_by_another_program_is_busy(store: Store, ask: Callable[[Store], Any], nothing: Any) -> None:
    """A store that another program locks for reading is busy."""
    fill(store.path, resolved("1.1.1.1"))
    with closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BusyError, match=r"/geocli\.db: busy: another process held it for") as caught:
            ask(store)
        assert 75 == caught.value.exit_status
    assert nothing != ask(store)


def test_locked_store_is_waited_for_once(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After waiting for the lock in vain, the store is not read for some time, and then again."""
    monkeypatch.setattr("geocli.storage.store.LOCKED_SECONDS", LOCKED_SECONDS / 5)
    fill(path, resolved("1.1.1.1"))
    with closing(Store(path, busy_timeout_seconds=0.2)) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            with pytest.raises(BusyError):
                store.get(["1.1.1.1"])
        with pytest.raises(BusyError):
            store.get(["1.1.1.1"])

        def is_found() -> bool:
            with suppress(BusyError):
                return ["1.1.1.1"] == list(store.get(["1.1.1.1"]))
            return False

        wait_for(is_found)


def test_writers_do_not_disturb_readers(store: Store) -> None:
    """While another program writes, the earlier rows are read."""
    fill(store.path, resolved("1.1.1.1"))
    with closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("DELETE FROM geo_cache")
        assert ["1.1.1.1"] == list(store.get(["1.1.1.1"]))
        connection.execute("COMMIT")
    assert {} == store.get(["1.1.1.1"])


def test_connection_can_only_read(store: Store) -> None:
    """Nothing can be written through the connection of a reader."""
    fill(store.path, resolved())
    connection = store.connection()
    assert connection is not None
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM geo_cache")


def test_connection_is_reused(store: Store) -> None:
    """The file is opened once, and again after `close`."""
    fill(store.path, resolved())
    first = store.connection()
    assert first is store.connection()
    store.close()
    store.close()
    assert first is not store.connection()


def test_store_that_is_replaced_is_opened_again(store: Store) -> None:
    """After another file took its place the new one is read, and none once it is removed."""
    fill(store.path, resolved("1.1.1.1"))
    assert ["1.1.1.1"] == list(store.get(["1.1.1.1", "1.1.1.2"]))
    replacement = Path(store.path).with_name("other")
    replacement.mkdir()
    fill(str(replacement / "geocli.db"), resolved("1.1.1.2"))
    for leftover in Path(store.path).parent.glob("geocli.db-*"):
        leftover.unlink()
    os.replace(replacement / "geocli.db", store.path)
    assert ["1.1.1.2"] == list(store.get(["1.1.1.1", "1.1.1.2"]))
    os.unlink(store.path)
    assert {} == store.get(["1.1.1.1", "1.1.1.2"])


def test_store_created_later_is_found(store: Store) -> None:
    """A reader without a store finds it as soon as it is created."""
    assert {} == store.get(["1.1.1.1"])
    fill(store.path, resolved("1.1.1.1"))
    assert ["1.1.1.1"] == list(store.get(["1.1.1.1"]))


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(resolved(), id="resolved"),
        pytest.param(unresolved(retry_at=AT + timedelta(hours=1)), id="unresolved"),
        pytest.param(Entry(ip="10.0.0.1", status="special", scope="private", source="iana"), id="special"),
        pytest.param(resolved("2001:218::1", place=Place(city="東京", traits={"a": [1, "ü"]})), id="not ASCII"),
    ],
)
def test_entries_are_read_back(store: Store, entry: Entry) -> None:
    """An entry is read as it was stored, and marked as cached."""
    fill(store.path, entry)
    assert {entry.ip: entry.replace(cached=True)} == store.get([entry.ip])


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 1])
def test_any_number_of_addresses_is_looked_up(store: Store, count: int) -> None:
    """Addresses are looked up in blocks, none is lost between them, and unknown ones are missing."""
    addresses = [f"10.0.{number >> 8}.{number & 255}" for number in range(count)]
    fill(store.path, *map(resolved, addresses), resolved("1.1.1.1"))
    assert set(addresses) == set(store.get([*addresses, "9.9.9.9"]))


@pytest.mark.parametrize(
    ("column", "value"),
    [("resolved_at", "'yesterday'"), ("built_at", "5"), ("traits", "'{'"), ("retry_at", "x'ff'"), ("city", "x'ff'")],
)
def test_row_that_geocli_never_wrote_is_an_error(store: Store, column: str, value: str) -> None:
    """A row that another program changed to something unreadable is an error."""
    fill(store.path, resolved("1.1.1.1"))
    change(store.path, f"UPDATE geo_cache SET {column} = {value}")
    with pytest.raises(StoreError, match=r"/geocli\.db: unreadable row: ."):
        store.get(["1.1.1.1"])


def test_row_without_its_generation_is_stale(store: Store) -> None:
    """A row without a generation is read, with an empty one."""
    fill(store.path, resolved("1.1.1.1"))
    change(store.path, "DELETE FROM generations")
    assert "" == store.get(["1.1.1.1"])["1.1.1.1"].generation


@pytest.mark.parametrize(
    ("where", "values", "after", "count", "expected"),
    [
        pytest.param("1", (), 0, 9, ["1.1.1.1", "10.0.0.1", "9.9.9.9", "1.1.1.2"], id="all"),
        pytest.param("1", (), 0, 2, ["1.1.1.1", "10.0.0.1"], id="the first page"),
        pytest.param("1", (), 3, 2, ["1.1.1.2"], id="the next page"),
        pytest.param("1", (), 4, 2, [], id="after the last"),
        pytest.param("status = ?", ("unresolved",), 0, 9, ["1.1.1.2"], id="by status"),
        pytest.param("status = ? OR status = ?", ("special", "unresolved"), 3, 9, ["1.1.1.2"], id="two conditions"),
        pytest.param("geo_cache.generation IS ?", (1,), 0, 9, ["1.1.1.1", "1.1.1.2"], id="by generation"),
    ],
)
def test_due_entries_come_in_pages(  # noqa: PLR0913, PLR0917 (fixtures and cases)
    store: Store, where: str, values: tuple[str, ...], after: int, count: int, expected: list[str]
) -> None:
    """The selected entries come in the order of their rows, page by page."""
    special = Entry(ip="10.0.0.1", status="special", scope="private", source="iana")
    fill(store.path, unresolved("1.1.1.2"), resolved("1.1.1.1"), resolved("9.9.9.9", generation="rir@4"), special)
    assert expected == [entry.ip for _, entry in store.due(where, values, after, count)]


def test_generations_and_retry_times_are_those_of_the_rows(store: Store) -> None:
    """Each generation has a number; the retry times come in order, each once."""
    times = [AT + timedelta(hours=hours) for hours in (1, 2, 2)]
    fill(store.path, *(unresolved(f"1.1.1.{n}").replace(retry_at=at) for n, at in enumerate(times)))
    assert [1] == list(store.generations().values())
    first = store.next_retry_at("", "9")
    second = store.next_retry_at(first, "9")
    assert ["2026-06-01T13:00:00Z", "2026-06-01T14:00:00Z"] == [first, second]
    assert ["", ""] == [store.next_retry_at(second, "9"), store.next_retry_at(first, first)]


@pytest.mark.parametrize(
    ("condition", "index"),
    [
        ("geo_cache.generation IS ?", "geo_cache_generation (generation=? AND rowid>?)"),
        (f"retry_at = ? AND {OF_GENERATION}", "geo_cache_retry_at (retry_at=? AND rowid>?)"),
        (AHEAD, "geo_cache_retry_at (retry_at>?)"),
    ],
)
def test_due_rows_are_found_by_an_index(store: Store, condition: str, index: str) -> None:
    """In a table of any size, a page of due rows costs no more than its rows."""
    fill(store.path, resolved("1.1.1.1"))
    values = (*(1 for _ in range(condition.count("?"))), 0)
    clause = f"WHERE ({condition}) AND geo_cache.rowid > ? ORDER BY geo_cache.rowid LIMIT 500"
    plan = [detail for *_, detail in store.query(f"EXPLAIN QUERY PLAN {SELECT}{clause}", values)]
    assert any(index in detail for detail in plan), plan
    assert [] == [detail for detail in plan if detail.startswith("SCAN") or "ORDER BY" in detail]


def test_last_flush_is_read_back(store: Store) -> None:
    """The last flush has an end, a number of entries and a duration."""
    fill(store.path, resolved("1.1.1.1"), resolved("1.1.1.2"))
    assert ("2026-06-01T12:00:00Z", 2, 0.0) == store.last_flush()


def test_store_may_be_used_by_another_thread(store: Store) -> None:
    """Threads that take turns may share a store."""
    fill(store.path, resolved("1.1.1.1"))
    assert ["1.1.1.1"] == list(store.get(["1.1.1.1"]))
    actual: list[str] = []
    thread = Thread(target=lambda: actual.extend(store.get(["1.1.1.1"])))
    thread.start()
    thread.join()
    assert ["1.1.1.1"] == actual
