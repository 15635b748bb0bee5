"""The last answer counts, whichever segments are left over, whenever they reappear, and whatever clocks show."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from geocli.databases.discovery import digest_of
from geocli.errors import GeocliError, JournalError
from geocli.models import Place
from geocli.storage.flush import Flush
from geocli.storage.journal import Journal
from geocli.storage.store_writer import StoreWriter
from tests.helpers.clock import Clock
from tests.helpers.command_output import objects
from tests.helpers.data_directories import local, stored_rows
from tests.helpers.databases import LONDON, QUOTED, TOKYO, build
from tests.helpers.entries import resolved, unresolved
from tests.helpers.stores import change, select, stored_entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from geocli.models import Entry
    from geocli.storage.directory import DataDirectory
    from geocli.storage.frames import Frame
    from geocli.storage.recovery import Damage
    from geocli.storage.segments import Segment
    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow

ADDRESSES = ("81.2.69.160", "2001:218::1")
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 (where syncs cost nothing)
FAULTS = ("readable", "unreadable", "killed while it is read", "killed before it is discarded")
"""What may happen to a segment in a flush."""
ANSWERS = st.tuples(st.sampled_from(ADDRESSES), st.booleans(), st.integers(-90, 90))
"""An address, whether the source has an answer, and the minutes by which the clock is moved before."""
IN_NO_REGISTRY = "2e00::1"
"""An unallocated address, which the built-in registries do not have."""


class KilledError(BaseException):
    """Ends a flush immediately, like SIGKILL: no code of geocli catches it."""


class Troubled(Journal):
    """A journal of whose segments any may be unreadable, or the one at which the flush is killed."""

    def __init__(self, directory: DataDirectory) -> None:
        super().__init__(directory, lock_timeout_seconds=0)
        self.stop_faults()

    def stop_faults(self) -> None:
        """Stop injecting faults."""
        self.fault: Callable[[], str] = lambda: "readable"
        self.is_killed_when_sealed = False
        self.dies_at: set[str] = set()

    def seal(self, at_least: int = 1) -> Segment | None:
        sealed = super().seal(at_least)
        if self.is_killed_when_sealed:
            raise KilledError
        return sealed

    def replay(self, segment: Segment, start: int = 0) -> Iterator[tuple[int, Frame | Damage]]:
        fault = self.fault()
        if fault == "unreadable":
            raise JournalError(segment.name, "cannot be read: Input/output error")
        yield from super().replay(segment, start)
        if fault == "killed while it is read":
            raise KilledError
        if fault == "killed before it is discarded":
            self.dies_at.add(segment.uuid)

    def discard(self, segment: Segment) -> None:
        if segment.uuid in self.dies_at:
            raise KilledError
        super().discard(segment)


def _last(answers: list[Entry]) -> Entry:
    """Return the expected entry after these answers: the last good one, with the retry time of a later failure."""
    good = [number for number, entry in enumerate(answers) if entry.status == "resolved"]
    if not good or good[-1] == len(answers) - 1:
        return answers[-1]
    answer, last_try = answers[good[-1]], answers[-1]
    return answer.replace(retry_at=last_try.retry_at, generation=last_try.generation, answered_by=answer.generation)


class OrderMachine(RuleBasedStateMachine):
    """Answers and flushes in any order, with faults of disks, other programs and SIGKILL."""

    @initialize()
    def begin(self) -> None:
        """Begin with an empty store."""
        self.home = tempfile.TemporaryDirectory(dir=IN_MEMORY)
        self.directory = local(Path(self.home.name) / "data")
        StoreWriter(self.directory).close()
        self.journal = Troubled(self.directory)
        self.clock = Clock()
        self.answers: dict[str, list[Entry]] = {}
        self.newest: dict[str, int] = {}

    @rule(answers=st.lists(ANSWERS, max_size=3), faults=st.lists(st.sampled_from(FAULTS), max_size=4))
    def minute(self, answers: list[tuple[str, bool, int]], faults: list[str]) -> None:
        """Keep answers, then flush, as cron does, while something is wrong with some of the segments."""
        for answer in answers:
            self._answer(*answer)
        rest = iter(faults)
        self.journal.fault = lambda: next(rest, "readable")
        self._flush()

    def _answer(self, ip: str, is_known: bool, minutes: int) -> None:  # noqa: FBT001 (drawn)
        """Keep an answer that no other is like; the clock may have been set back before it."""
        self.clock.forward(minutes=minutes)
        number = sum(map(len, self.answers.values()))
        about: dict[str, Any] = {"resolved_at": self.clock(), "generation": f"rir@{number}"}
        if is_known:
            entry = resolved(ip, place=Place(asn=number), **about)
        else:
            entry = unresolved(ip, retry_at=self.clock() + timedelta(hours=1, seconds=number), **about)
        self.journal.append([entry])
        self.answers.setdefault(ip, []).append(entry)

    def _flush(self, during: AbstractContextManager[object] | None = None) -> None:
        with during or nullcontext(), suppress(GeocliError, KilledError):
            Flush(self.directory, self.journal, self.clock, 0).run()
        self.journal.stop_faults()
        actual = {
            ip: entry.place.asn for ip, entry in stored_entries(self.directory).items() if entry.place.asn is not None
        }
        assert {} == {ip: number for ip, number in self.newest.items() if actual.get(ip, -1) < number}
        self.newest = actual

    @rule()
    def flush_killed_when_sealed(self) -> None:
        """Flush, and be killed when the journal has just become a segment."""
        self.journal.is_killed_when_sealed = True
        self._flush()

    @rule()
    def flush_of_a_locked_store(self) -> None:
        """Flush while another program writes to the store."""
        connection = sqlite3.connect(self.directory.file("geocli.db"), isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        self._flush(closing(connection))

    @precondition(lambda self: self.answers)
    @rule(ip=st.sampled_from(ADDRESSES))
    def flush_of_a_store_that_refuses(self, ip: str) -> None:
        """Flush while the store takes no row of an address, so that segments with it are left over."""
        path = self.directory.file("geocli.db")
        when = f"BEFORE {{}} ON geo_cache WHEN NEW.ip = '{ip}' BEGIN SELECT RAISE(ABORT, 'refused'); END"
        change(path, *(f"CREATE TRIGGER no_{verb} {when.format(verb)}" for verb in ("INSERT", "UPDATE")))
        self._flush()
        change(path, "DROP TRIGGER no_INSERT", "DROP TRIGGER no_UPDATE")

    def teardown(self) -> None:
        """Flush without faults, and compare the table with the answers."""
        if not hasattr(self, "home"):
            return
        with self.home:
            self._flush()
            expected = {ip: _last(answers).replace(cached=True) for ip, answers in self.answers.items()}
            assert expected == stored_entries(self.directory)
            assert not self.journal.is_dirty()


TestOrder = OrderMachine.TestCase
TestOrder.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)


def test_failed_re_resolve_keeps_the_answer_and_sets_the_retry_time(geocli: Geocli) -> None:
    """A row without a new answer keeps its place and its time, and gets a retry time and sources."""
    path = geocli.db_dir / "GeoLite2-City.mmdb"
    build(path, {"2e00::/32": TOKYO, "81.2.69.0/24": LONDON}, build_epoch=1_780_000_000)
    geocli("lookup", IN_NO_REGISTRY)
    geocli("flush")
    columns = "country_code, city, source, resolved_at"
    before = stored_rows(geocli, columns)
    build(path, {"81.2.69.0/24": LONDON}, build_epoch=1_780_000_001)

    again = geocli("re-resolve")

    assert (0, b"", b"") == (again.returncode, again.stdout, again.stderr)
    assert [("JP", "Tokyo")] == [row[:2] for row in before]
    assert before == stored_rows(geocli, columns)
    ((is_to_come, sources),) = select(
        f"{geocli.data_dir}/geocli.db",
        "SELECT retry_at > resolved_at, sources FROM geo_cache JOIN generations ON generations.id = generation",
    )
    assert (1, f"GeoLite2-City@{digest_of(str(path))}") == (is_to_come, sources.split(",")[0])
    (entry,) = objects(geocli("lookup", IN_NO_REGISTRY).stdout)
    assert ("Tokyo", True) == (entry["city"], entry["cached"])


@pytest.mark.parametrize("first", ["unreadable", "refused"])
def test_leftover_segment_does_not_change_later_answers(located: Geocli, first: str) -> None:
    """An answer from before a database was replaced, which could not be stored then, does not change later ones."""
    directory = local(located.data_dir)
    located("lookup", "81.2.69.160", "2001:218::1")
    segment = Journal(directory).seal()
    assert segment is not None
    path = Path(directory.file(segment.name))
    content = path.read_bytes()
    if first == "unreadable":
        path.unlink()
        path.mkdir()
    else:
        StoreWriter(directory).close()
        when = "WHEN NEW.ip = '2001:218::1' BEGIN SELECT RAISE(ABORT, 'refused'); END"
        change(directory.file("geocli.db"), f"CREATE TRIGGER refuse BEFORE INSERT ON geo_cache {when}")
    build(located.db_dir / "GeoLite2-City.mmdb", {"81.2.69.0/24": QUOTED}, build_epoch=1_780_000_001)
    located("lookup", "81.2.69.160")
    assert 4 == located("flush").returncode
    assert [("81.2.69.160", "US")] == stored_rows(located, "ip, country_code")

    if first == "unreadable":
        path.rmdir()
        path.write_bytes(content)
    else:
        change(directory.file("geocli.db"), "DROP TRIGGER refuse")
    healed = located("flush")

    assert (0, b"", b"") == (healed.returncode, healed.stdout, healed.stderr)
    assert [("2001:218::1", "JP"), ("81.2.69.160", "US")] == stored_rows(located, "ip, country_code")
    assert [] == Journal(directory).segments()
