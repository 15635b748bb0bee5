"""Flush: move the dirty journal into the store, exactly once, whatever is killed and wherever."""

from __future__ import annotations

import os
from collections import deque
from contextlib import closing, contextmanager, suppress

from geocli.errors import BusyError, JournalError, StoreError
from geocli.fork_safety import postponed
from geocli.immutable import Value
from geocli.storage.dirty_check import STORE
from geocli.storage.frames import Frame
from geocli.storage.journal_reader import QUARANTINE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from geocli.errors import StorageError
    from geocli.storage.directory import DataDirectory
    from geocli.storage.journal import Journal
    from geocli.storage.segments import Segment
    from geocli.storage.store_writer import StoreWriter
    from geocli.storage.tombstones import Clear

LOCK = "flush.lock"


class FlushReport(Value):
    """What a flush did."""

    flushed: int = 0
    """Entries that are in the store now."""
    segments: int = 0
    """Segments that were discarded."""
    dropped_bytes: int = 0
    """Bytes that were no frames, and are in `journal.bad` now."""
    duration_seconds: float = 0.0
    """How long it took."""


class Flush:
    """One flush: the segments that were left over, oldest first, then what is dirty now."""

    def __init__(
        self,
        directory: DataDirectory,
        journal: Journal,
        now: Callable[[], datetime],
        busy_timeout_seconds: float,
        on_problem: Callable[[StorageError], None] = lambda _: None,
    ) -> None:
        """Name what is to be flushed, and who hears of damage and of problems besides the one that `run` raises."""
        self._directory, self._journal, self._now = directory, journal, now
        self._busy_timeout_seconds = busy_timeout_seconds
        self._on_problem = on_problem
        self._flushed = self._segments = self._dropped_bytes = 0
        self._is_damaged = False
        self._offset_bytes = 0
        """Where in its segment the frame begins that was asked for last."""

    def run(self, wait_seconds: float = 0) -> FlushReport:
        """Flush, and migrate a store of an older schema. With nothing to do, nothing heavy is imported.

        Raises:
            BusyError: another flush is running, or another program keeps the store or the journal locked.
            StorageError: something could not be stored; it is kept, and the next flush tries again.

        """
        if not self._journal.is_dirty() and not self._is_outdated():
            return FlushReport()
        with self._writing(wait_seconds) as writer:
            began = self._now()
            problems = self._drain_all(writer)
        self._tell_of_damage()
        if problems:
            others = {str(problem): problem for problem in problems if str(problem) != str(problems[0])}
            deque(map(self._on_problem, others.values()), maxlen=0)
            raise problems[0]
        return FlushReport(
            flushed=self._flushed,
            segments=self._segments,
            dropped_bytes=self._dropped_bytes,
            duration_seconds=round(max((self._now() - began).total_seconds(), 0), 3),
        )

    def clear(self, wanted: Clear, wait_seconds: float = 0) -> int:
        """Forget what is in the store and in the journal, all or some of it, and return how many rows that were.

        What is dirty becomes rows before some of them are chosen; if all is forgotten, it needs no room for that.

        Raises:
            BusyError: a flush is running, or another program keeps the store or the journal locked.
            StorageError: nothing was forgotten.

        """
        if not self._journal.is_dirty() and not os.path.exists(self._directory.file(STORE)):
            return 0
        with self._writing(wait_seconds) as writer:
            from geocli.storage.clear import clear

            problems = [] if wanted.is_whole else self._drain_all(writer)
            count = clear(writer, self._journal, wanted)
            if wanted.is_whole:
                writer.give_back()
            problems += self._drain(writer, self._journal.segments())
        self._tell_of_damage()
        deque(map(self._on_problem, {str(problem): problem for problem in problems}.values()), maxlen=0)
        return count

    @contextmanager
    def _writing(self, wait_seconds: float) -> Iterator[StoreWriter]:
        """Write the store while no other flush does."""
        with self._directory.locked(LOCK, wait_seconds), postponed():
            from geocli.storage.store_writer import StoreWriter

            self._directory.sweep()
            with closing(StoreWriter(self._directory, busy_timeout_seconds=self._busy_timeout_seconds)) as writer:
                yield writer

    def _drain_all(self, writer: StoreWriter) -> list[StorageError]:
        problems = self._drain(writer, self._journal.segments())
        sealed = self._journal.seal(writer.next_number())
        return problems + self._drain(writer, [sealed] if sealed else [])

    def _tell_of_damage(self) -> None:
        if self._dropped_bytes:
            reason = f"{self._dropped_bytes} damaged bytes were set aside"
            self._on_problem(StoreError(self._directory.file(QUARANTINE), reason))

    def _is_outdated(self) -> bool:
        """Return whether the store is to be migrated; errors are for a flush that has something to store."""
        path = self._directory.file(STORE)
        if not os.path.exists(path):
            return False
        from geocli.storage.store import Store

        with suppress(StoreError, BusyError), closing(Store(path, busy_timeout_seconds=0)) as store:
            return store.is_outdated()
        return False

    def _drain(self, writer: StoreWriter, segments: Iterable[Segment]) -> list[StorageError]:
        """Store and discard each segment; one that cannot be does not hold up the next."""
        problems: list[StorageError] = []
        for segment in segments:
            oldest = min((present.number for present in self._journal.segments()), default=segment.number)
            self._is_damaged = False
            try:
                stored = self._store(writer, segment, oldest)
                self._flushed += stored
                if self._is_damaged or not stored:  # which may have been stored before, and killed then
                    self._dropped_bytes += self._journal.quarantine(self._damage(segment))
                self._journal.discard(segment)
                self._segments += 1
            except (JournalError, StoreError) as error:
                problems.append(error)
        return problems

    def _store(self, writer: StoreWriter, segment: Segment, oldest: int) -> int:
        """Store a segment in one transaction, or where there is little room on the disk in several."""
        from geocli.storage.disk_space import Room

        stored, room = 0, Room(writer.path)
        while not writer.is_applied(segment):
            frames = self._frames(segment, writer.stored_bytes(segment))
            try:
                stored += writer.apply(
                    segment, frames, self._now, oldest=oldest, offset=lambda: self._offset_bytes, room=room
                )
            except StoreError as error:
                if not (error.is_full and room.shrink()):
                    raise
        return stored

    def _frames(self, segment: Segment, start: int) -> Iterator[Frame]:
        self._offset_bytes = start
        self._is_damaged = self._is_damaged or start > 0  # perhaps before what is stored already
        for end, found in self._journal.replay_from(segment, start):
            if isinstance(found, Frame):
                yield found
            else:
                self._is_damaged = True
            self._offset_bytes = end

    def _damage(self, segment: Segment) -> Iterator[bytes]:
        return (found.data for found in self._journal.replay(segment) if not isinstance(found, Frame))
