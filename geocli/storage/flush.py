"""Flush: move the journal into the store, exactly once, whenever the process is killed."""

from __future__ import annotations

import os
from contextlib import closing, contextmanager, suppress

from geocli.errors import BusyError, JournalError, StoreError
from geocli.fork_safety import postponed
from geocli.immutable import Value
from geocli.storage.dirty_check import STORE
from geocli.storage.journal_reader import QUARANTINE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from geocli.errors import StorageError
    from geocli.storage.clears import Clear
    from geocli.storage.directory import DataDirectory
    from geocli.storage.frames import Frame
    from geocli.storage.journal import Journal
    from geocli.storage.segments import Segment
    from geocli.storage.store_writer import StoreWriter

LOCK = "flush.lock"


class FlushReport(Value):
    """Result of a flush."""

    flushed: int = 0
    """Stored entries."""
    segments: int = 0
    """Discarded segments."""
    dropped_bytes: int = 0
    """Damaged bytes, which are now in `journal.bad`."""
    duration_seconds: float = 0.0


class Flush:
    """One flush: leftover segments, oldest first, then the current journal."""

    def __init__(
        self,
        directory: DataDirectory,
        journal: Journal,
        now: Callable[[], datetime],
        busy_timeout_seconds: float,
        on_problem: Callable[[StorageError], None] = lambda _: None,
    ) -> None:
        """`on_problem` is called with damage, and with all problems but the one that `run` raises."""
        self._directory, self._journal, self._now = directory, journal, now
        self._busy_timeout_seconds = busy_timeout_seconds
        self._on_problem = on_problem
        self._flushed = self._segments = self._dropped_bytes = 0
        self._is_damaged = False
        self._offset_bytes = 0
        """Offset in its segment of the frame that was read last."""

    def run(self, wait_seconds: float = 0) -> FlushReport:
        """Flush, and migrate a store of an older schema. With nothing to do, no heavy module is imported.

        Raises:
            BusyError: another flush is running, or another program locked the store or the journal.
            StorageError: some entries could not be stored; the next flush tries again.

        """
        if not self._journal.is_dirty() and not self._is_outdated():
            return FlushReport()
        with self._writing(wait_seconds) as writer:
            began = self._now()
            problems = self._drain_all(writer)
        self._report_damage()
        if problems:
            first = problems[0]
            self._report([problem for problem in problems if str(problem) != str(first)])
            raise first
        return FlushReport(
            flushed=self._flushed,
            segments=self._segments,
            dropped_bytes=self._dropped_bytes,
            duration_seconds=round(max((self._now() - began).total_seconds(), 0), 3),
        )

    def clear(self, conditions: Clear, wait_seconds: float = 0) -> int:
        """Delete stored and dirty entries, and return their number.

        Dirty entries are stored before rows are selected, but not if all are deleted, which needs no disk space.

        Raises:
            BusyError: a flush is running, or another program locked the store or the journal.
            StorageError: nothing was deleted.

        """
        if not self._journal.is_dirty() and not os.path.exists(self._directory.file(STORE)):
            return 0
        with self._writing(wait_seconds) as writer:
            problems = [] if conditions.is_whole else self._drain_all(writer)
            count = writer.clear(self._journal, conditions)
            if conditions.is_whole:
                writer.give_back()
            problems += self._drain(writer, self._journal.segments())
        self._report_damage()
        self._report(problems)
        return count

    def _report(self, problems: Iterable[StorageError]) -> None:
        """Report problems, those with the same text once."""
        for problem in {str(problem): problem for problem in problems}.values():
            self._on_problem(problem)

    @contextmanager
    def _writing(self, wait_seconds: float) -> Iterator[StoreWriter]:
        """Open the store for writing, under the lock of flushes."""
        with self._directory.locked(LOCK, wait_seconds), postponed():
            from geocli.storage.store_writer import StoreWriter

            self._directory.sweep()
            with closing(StoreWriter(self._directory, busy_timeout_seconds=self._busy_timeout_seconds)) as writer:
                yield writer

    def _drain_all(self, writer: StoreWriter) -> list[StorageError]:
        problems = self._drain(writer, self._journal.segments())
        sealed = self._journal.seal(writer.next_number())
        return problems + self._drain(writer, [sealed] if sealed else [])

    def _report_damage(self) -> None:
        if self._dropped_bytes:
            reason = f"{self._dropped_bytes} damaged bytes were quarantined"
            self._on_problem(StoreError(self._directory.file(QUARANTINE), reason))

    def _is_outdated(self) -> bool:
        """Return whether the store needs a migration; errors are left to a flush with something to store."""
        path = self._directory.file(STORE)
        if not os.path.exists(path):
            return False
        from geocli.storage.store import Store

        with suppress(StoreError, BusyError), closing(Store(path, busy_timeout_seconds=0)) as store:
            return store.is_outdated()
        return False

    def _drain(self, writer: StoreWriter, segments: Iterable[Segment]) -> list[StorageError]:
        """Store and discard each segment; one that fails does not block the next."""
        from geocli.storage.recovery import Damage

        problems: list[StorageError] = []
        for segment in segments:
            oldest = min((present.number for present in self._journal.segments()), default=segment.number)
            self._is_damaged = False
            try:
                count = self._store(writer, segment, oldest)
                self._flushed += count
                if self._is_damaged or not count:  # an earlier flush may have stored it, and been killed
                    damage = (item.data for _, item in self._journal.replay(segment) if isinstance(item, Damage))
                    self._dropped_bytes += self._journal.quarantine(damage)
                self._journal.discard(segment)
                self._segments += 1
            except (JournalError, StoreError) as error:
                problems.append(error)
        return problems

    def _store(self, writer: StoreWriter, segment: Segment, oldest: int) -> int:
        """Store a segment in one transaction, or in several if there is little disk space."""
        from geocli.storage.disk_space import DiskSpace

        count, space = 0, DiskSpace(writer.path)
        while not writer.is_applied(segment):
            frames = self._frames(segment, writer.stored_bytes(segment))
            try:
                count += writer.apply(
                    segment, frames, self._now, oldest=oldest, offset=lambda: self._offset_bytes, space=space
                )
            except StoreError as error:
                if not (error.is_full and space.shrink()):
                    raise
        return count

    def _frames(self, segment: Segment, start: int) -> Iterator[Frame]:
        from geocli.storage.frames import Frame

        self._offset_bytes = start
        self._is_damaged = self._is_damaged or start > 0  # there may be damage before the stored part
        for end, item in self._journal.replay(segment, start):
            if isinstance(item, Frame):
                yield item
            else:
                self._is_damaged = True
            self._offset_bytes = end
