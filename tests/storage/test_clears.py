"""A clear is an event with an order: cleared rows do not come back, and are not answered from any cache."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from geocli.cache import GeoCache
from geocli.errors import JournalError
from geocli.storage.clears import Clear
from geocli.storage.flush import Flush
from geocli.storage.journal import Journal
from geocli.storage.store import Store
from tests.helpers.data_directories import dirty, local, stored_rows
from tests.helpers.databases import CITIES, build
from tests.helpers.entries import AT, resolved, unresolved
from tests.helpers.fake_sources import GREAT_BRITAIN, JAPAN, Source, WebSource
from tests.helpers.stores import change, select, stored_entries
from tests.helpers.waiting import read_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from geocli.addresses import Address
    from geocli.models import Answer
    from geocli.resolvers.protocols import Report
    from geocli.storage.directory import DataDirectory
    from geocli.storage.segments import Segment
    from tests.helpers.clock import Clock
    from tests.helpers.geocli_process import Geocli

GB, JP, NOWHERE = "81.2.69.160", "2001:218::1", "81.3.0.1"


class Interrupted(Source):
    """Calls a function once, while it is asked for an address."""

    def __init__(self, places: dict[str, Any]) -> None:
        super().__init__(places)
        self.at: str | None = None
        self.event: Callable[[], object] = lambda: None

    def resolve(self, address: Address, report: Report) -> Answer | None:
        """Answer after the event."""
        if str(address) == self.at:
            self.at = None
            self.event()
        return super().resolve(address, report)


@pytest.fixture
def source() -> Interrupted:
    return Interrupted({GB: GREAT_BRITAIN, JP: JAPAN})


@pytest.fixture
def opened(geocli: Geocli, clock: Clock, source: Interrupted) -> Callable[..., GeoCache]:
    """Return a function that opens caches of one data directory, each as another process would."""
    return lambda **options: GeoCache(settings=geocli.settings(), clock=clock, **{"resolvers": [source], **options})


def flushed(geocli: Geocli) -> list[str]:
    """Return the addresses that are in the store when all is flushed."""
    assert 0 == geocli("flush").returncode
    return [ip for (ip,) in stored_rows(geocli)]


@pytest.mark.parametrize("which", ["all", "due", timedelta()])
def test_re_resolve_does_not_restore_cleared_rows(
    opened: Callable[..., GeoCache], geocli: Geocli, source: Interrupted, which: Any
) -> None:
    """Rows that are cleared while they are re-resolved stay deleted; a row that is looked up afterwards stays."""
    cache, other_cache = opened(), opened()
    list(cache.lookup_batch([GB, JP, NOWHERE]))
    cache.flush_dirty()
    source.label, source.at = "atlas@2", GB

    def event() -> None:
        assert 3 == other_cache.clear()
        source.places[NOWHERE] = GREAT_BRITAIN
        other_cache.lookup(NOWHERE)

    source.event = event
    cache.re_resolve(which)
    assert [NOWHERE] == flushed(geocli)


def test_re_resolve_updates_the_rows_that_a_partial_clear_left(
    opened: Callable[..., GeoCache], geocli: Geocli, source: Interrupted
) -> None:
    """Rows that a partial clear left get their new answers, and no source is asked twice."""
    cache, other_cache = opened(), opened()
    list(cache.lookup_batch([GB, JP, NOWHERE]))
    cache.flush_dirty()
    source.label, source.at, source.event = "atlas@2", GB, lambda: other_cache.clear(unresolved=True)
    source.lookups.clear()
    source.places = {GB: JAPAN, JP: JAPAN, NOWHERE: JAPAN}
    cache.re_resolve("all")
    assert sorted([GB, JP, NOWHERE]) == sorted(source.lookups)
    assert sorted([GB, JP]) == sorted(flushed(geocli))
    assert {"JP"} == {country for (country,) in stored_rows(geocli, "country_code")}


def test_a_long_lived_cache_drops_cleared_entries(
    opened: Callable[..., GeoCache], geocli: Geocli, source: Interrupted
) -> None:
    """After a clear by another process, an address is not cached: it is resolved and appended again."""
    cache = opened()
    for is_flushed in (True, False):
        cache.lookup(GB)
        assert cache.lookup(GB).cached
        if is_flushed:
            cache.flush_dirty()
        assert (0, b"1 rows deleted\n") == _outcome(geocli, "clear", "--yes")
        source.lookups.clear()
        assert not cache.lookup(GB).cached
        assert [GB] == source.lookups
        assert [GB] == flushed(geocli)


def _outcome(geocli: Geocli, *arguments: str) -> tuple[int, bytes]:
    ran = geocli(*arguments)
    assert b"" == ran.stderr
    return ran.returncode, ran.stdout


def test_a_long_lived_cache_notices_a_partial_clear(opened: Callable[..., GeoCache], source: Interrupted) -> None:
    """Unresolved rows that another process cleared are resolved again immediately."""
    cache, other_cache = opened(), opened()
    list(cache.lookup_batch([GB, NOWHERE]))
    assert 1 == other_cache.clear_negative()
    source.places[NOWHERE] = JAPAN
    assert (True, False) == (cache.lookup(GB).cached, cache.lookup(NOWHERE).cached)
    assert JAPAN == cache.lookup(NOWHERE).place


def test_preloaded_entries_are_cleared(opened: Callable[..., GeoCache]) -> None:
    """Entries preloaded from the store have the revision of the store at that time."""
    cache, other_cache = opened(), opened()
    cache.lookup(GB)
    cache.flush_dirty()
    assert 1 == other_cache.load_from_db()
    assert 1 == cache.clear()
    assert not other_cache.lookup(GB).cached


def test_an_answer_during_a_clear_is_appended_and_requested_once(
    opened: Callable[..., GeoCache], geocli: Geocli, source: Interrupted, clock: Clock
) -> None:
    """An answer during a clear by another process counts as later, and is not merged with earlier entries."""
    web = WebSource({NOWHERE: JAPAN})
    cache, other_cache = opened(services=[web]), opened(services=[web])
    assert JAPAN == cache.lookup(NOWHERE).place  # which is fresh for its lifetime
    cache.flush_dirty()
    clock.forward(days=1)
    source.label, source.at, source.event = "atlas@2", NOWHERE, other_cache.clear
    source.lookups.clear()
    (entry,) = cache.lookup_batch([NOWHERE])
    assert (JAPAN, False) == (entry.place, entry.cached)
    assert ([NOWHERE], 2) == (source.lookups, len(web.requests))
    assert [NOWHERE] == flushed(geocli)
    assert [("resolved", "JP")] == stored_rows(geocli, "status, country_code")


@pytest.mark.parametrize("count", [3, 6000], ids=["short", "long"])
def test_a_running_batch_appends_cleared_answers_again(geocli: Geocli, count: int) -> None:
    """Answers that were appended and cleared are appended when they occur again; all rows are printed."""
    build(geocli.db_dir / "GeoLite2-City.mmdb", CITIES)
    block = b"".join(b"81.2.%d.%d\n" % (number >> 8, number & 255) for number in range(count))
    batch = geocli.start("batch", "-f", "value", "-F", "ip", "-", bufsize=0)
    assert batch.stdin is not None
    assert batch.stdout is not None
    batch.stdin.write(block)
    assert block.splitlines() == [read_line(batch.stdout).rstrip() for _ in range(count)]
    assert (0, b"%d rows deleted\n" % count) == _outcome(geocli, "clear", "--yes")
    assert [] == flushed(geocli)
    batch.stdin.write(block)
    batch.stdin.close()
    assert block.splitlines() == batch.stdout.read().splitlines()
    assert 0 == batch.wait(60)
    assert count == len(flushed(geocli))


def test_a_refreshing_batch_appends_cleared_answers_again(geocli: Geocli, source: Interrupted) -> None:
    """Answers of web services that a batch remembers are requested again after a clear."""
    from geocli.batch.lists_and_logs import ListForm
    from geocli.batch.row_maker import RowMaker
    from geocli.formats.rows import Output

    web = WebSource({GB: JAPAN})
    with GeoCache(settings=geocli.settings(), resolvers=[source], services=[web]) as cache:
        maker = RowMaker(cache, "refresh", ListForm(Output("value", ("country_code",))))
        for _ in range(2):
            assert b"JP\n" == b"".join(maker.one_by_one(GB.encode() + b"\n").data)
        assert 1 == len(web.requests)
        assert (0, b"1 rows deleted\n") == _outcome(geocli, "clear", "--yes")
        assert b"JP\n" == b"".join(maker.one_by_one(GB.encode() + b"\n").data)
    assert 2 == len(web.requests)
    assert [GB] == flushed(geocli)


# segments that are left over


class Stuck(Journal):
    """Can discard no segment, as if killed before it."""

    def discard(self, segment: Segment) -> None:
        raise JournalError(segment.name, "cannot be discarded: Read-only file system")


def flush(directory: DataDirectory, journal: Journal | None = None) -> Flush:
    return Flush(directory, journal or Journal(directory), lambda: AT, 0, lambda _: None)


OLD = AT - timedelta(days=9)
ENTRIES = [resolved("1.1.1.1"), unresolved("1.1.1.2"), resolved("1.1.1.3", resolved_at=OLD)]
ENTRIES += [unresolved("1.1.1.4", resolved_at=OLD)]
CLEARS = [
    (Clear(), []),
    (Clear(only_unresolved=True), ["1.1.1.1", "1.1.1.3"]),
    (Clear(resolved_before="2026-06-01T12:00:00Z"), ["1.1.1.1", "1.1.1.2"]),
    (Clear(only_unresolved=True, resolved_before="2026-06-01T12:00:00Z"), ["1.1.1.1", "1.1.1.2", "1.1.1.3"]),
]


@pytest.mark.parametrize(("conditions", "remaining"), CLEARS)
def test_a_segment_that_reappears_after_a_clear_is_cleared(
    directory: DataDirectory, conditions: Clear, remaining: list[str]
) -> None:
    """A segment from before the clear that reappears later restores nothing, also for lookups."""
    journal = Journal(directory)
    journal.append(ENTRIES)
    sealed = journal.seal(1)
    assert sealed is not None
    shutil.move(directory.file(sealed.name), directory.file("elsewhere"))
    journal.append([resolved("1.1.1.9")])
    flush(directory).clear(conditions)
    journal.append([unresolved("1.1.1.8")])
    flush(directory).run()
    shutil.move(directory.file("elsewhere"), directory.file(sealed.name))
    with closing(Store(directory.file("geocli.db"))) as store:
        ips = [entry.ip for entry in ENTRIES]
        for other_ips in ([], [f"9.9.9.{number}" for number in range(20)]):  # searched for, and by an index
            assert remaining == sorted(Journal(directory).newest([*ips, *other_ips], store.clears()))
    flush(directory).run()
    assert sorted([*remaining, *(["1.1.1.9"] if remaining else []), "1.1.1.8"]) == sorted(stored_entries(directory))


@pytest.mark.parametrize(("conditions", "remaining"), CLEARS)
def test_a_clear_that_is_killed_at_its_end_has_happened(
    directory: DataDirectory, conditions: Clear, remaining: list[str]
) -> None:
    """If segments cannot be removed after the rows were deleted, the next flush removes them, and stores none."""
    journal = Stuck(directory)
    journal.append(ENTRIES)
    assert len(ENTRIES) - len(remaining) == flush(directory, journal).clear(conditions)
    assert remaining == sorted(stored_entries(directory))
    assert [] != journal.segments()
    with closing(Store(directory.file("geocli.db"))) as store:
        assert remaining == sorted(Journal(directory).newest([entry.ip for entry in ENTRIES], store.clears()))
    flush(directory).run()
    assert remaining == sorted(stored_entries(directory))
    assert [] == journal.segments()


def test_dirty_rows_are_counted_once(directory: DataDirectory) -> None:
    """Each cleared address counts once, in whatever places it was."""
    journal = Journal(directory)
    journal.append(ENTRIES)
    flush(directory).run()
    for _ in range(3):
        journal.append([*ENTRIES[:2], resolved("1.1.1.5")])
        journal.seal()
    assert 5 == flush(directory).clear(Clear())
    assert {} == stored_entries(directory)
    assert not journal.is_dirty()


def test_damage_is_quarantined_when_all_is_cleared(directory: DataDirectory) -> None:
    """Bytes that are not frames are quarantined, also if all frames are cleared."""
    Journal(directory).append(ENTRIES)
    with open(directory.file("journal"), "ab") as journal:
        journal.write(b"garbage\n")
    assert 4 == flush(directory).clear(Clear())
    assert b"garbage\n" == Path(directory.file("journal.bad")).read_bytes()


def test_records_of_clears_are_deleted_without_older_segments(directory: DataDirectory) -> None:
    """The last clear is recorded permanently, others as long as there are older segments."""
    journal = Journal(directory)
    for number in range(3):
        journal.append(ENTRIES)
        flush(directory).clear(Clear(only_unresolved=number < 2))
    journal.append(ENTRIES)
    flush(directory).run()
    ((number,),) = select(directory.file("geocli.db"), "SELECT number FROM clears")
    with closing(Store(directory.file("geocli.db"))) as store:
        assert [Clear(number=number)] == store.clears()
    assert 4 == len(stored_entries(directory))


def test_a_clear_that_fails_changes_nothing(directory: DataDirectory) -> None:
    """If the store refuses, rows and journal stay as they were."""
    journal = Journal(directory)
    journal.append(ENTRIES)
    flush(directory).run()
    journal.append([resolved("1.1.1.5")])
    change(
        directory.file("geocli.db"),
        "CREATE TRIGGER refuse BEFORE DELETE ON geo_cache BEGIN SELECT RAISE(ABORT, 'not this one'); END",
    )
    for conditions in (Clear(), Clear(only_unresolved=True)):
        with pytest.raises(Exception, match="not this one; nothing was changed"):
            flush(directory).clear(conditions)
    flush(directory).run()
    assert [f"1.1.1.{number}" for number in range(1, 6)] == sorted(stored_entries(directory))


# room


def test_clearing_everything_writes_little_and_frees_the_space(directory: DataDirectory) -> None:
    """The WAL of a clear is a small part of the store, and afterwards the file is as small as a new one."""
    journal = Journal(directory)
    journal.append(resolved(f"8.{a}.{b}.1") for a in range(100) for b in range(200))
    flush(directory).run()
    path = directory.file("geocli.db")
    before = os.path.getsize(path)
    assert before > 3 << 20
    with closing(Store(path)) as reader:  # so that the log is not removed with the last connection
        assert 20_000 == len(reader.query("SELECT 1 FROM geo_cache"))
        assert 20_000 == flush(directory).clear(Clear())
        assert 0 == len(reader.query("SELECT 1 FROM geo_cache"))
        assert os.path.getsize(f"{path}-wal") == 0
    assert os.path.getsize(path) < 200 << 10
    assert [("ok",)] == select(path, "PRAGMA integrity_check")


def test_dirty_entries_are_cleared_without_being_stored(geocli: Geocli) -> None:
    """Everything is cleared without the room that a flush would take: no row is written."""
    journal = Journal(local(geocli.data_dir))
    journal.append(resolved(f"8.{a}.{b}.1") for a in range(20) for b in range(200))
    assert (0, b"4000 rows deleted\n") == _outcome(geocli, "clear", "--yes")
    assert [] == dirty(geocli)
    assert os.path.getsize(geocli.data_dir / "geocli.db") < 200 << 10


def test_an_unreadable_segment_does_not_prevent_a_clear(geocli: Geocli) -> None:
    """It is reported, and cleared once it can be read."""
    geocli("lookup", "8.8.8.8")
    geocli("flush")
    segment = geocli.data_dir / "journal.9-00000000-0000-4000-8000-000000000000.draining"
    segment.mkdir()
    cleared = geocli("clear", "--yes")

    assert (0, b"1 rows deleted\n") == (cleared.returncode, cleared.stdout)
    assert f"geocli: {segment}: ".encode() in cleared.stderr
    assert [] == stored_rows(geocli, "ip")
