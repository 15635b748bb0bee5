"""Flush: move the dirty journal into the store, exactly once, whatever is killed and wherever."""

from __future__ import annotations

from contextlib import closing
from functools import partial

from geocli.errors import JournalError, StoreError
from geocli.storage.frames import Frame
from geocli.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from geocli.errors import StorageError
    from geocli.storage.files import DataDirectory
    from geocli.storage.journal import Journal, Segment
    from geocli.storage.writer import StoreWriter

LOCK = "flush.lock"
MOST_DAMAGE_BYTES = 16 << 20
"""Damage beyond this is put into quarantine before its segment is read to the end."""


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
        self, directory: DataDirectory, journal: Journal, now: Callable[[], datetime], busy_timeout_seconds: float
    ) -> None:
        """Name what is to be flushed; nothing is touched before `run`."""
        self._directory, self._journal, self._now = directory, journal, now
        self._busy_timeout_seconds = busy_timeout_seconds
        self._flushed = self._segments = self._dropped_bytes = 0

    def run(self, wait_seconds: float = 0) -> FlushReport:
        """Flush. With nothing dirty, no database is opened and nothing heavy is imported.

        Raises:
            BusyError: another flush is running, or another program keeps the store or the journal locked.
            StorageError: something could not be stored; it is kept, and the next flush tries again.

        """
        if not self._journal.is_dirty():
            return FlushReport()
        with self._directory.locked(LOCK, wait_seconds):
            from geocli.storage.writer import StoreWriter

            began = self._now()
            with closing(StoreWriter(self._directory, busy_timeout_seconds=self._busy_timeout_seconds)) as writer:
                problems = self._drain(writer, self._journal.segments())
                sealed = self._journal.seal(writer.next_number())
                problems += self._drain(writer, [sealed] if sealed else [])
        if problems:
            raise problems[0]
        return FlushReport(
            flushed=self._flushed,
            segments=self._segments,
            dropped_bytes=self._dropped_bytes,
            duration_seconds=round((self._now() - began).total_seconds(), 3),
        )

    def _drain(self, writer: StoreWriter, segments: Iterable[Segment]) -> list[StorageError]:
        """Store and discard each segment; one that cannot be does not hold up the next."""
        problems: list[StorageError] = []
        for segment in segments:
            oldest = min((present.number for present in self._journal.segments()), default=segment.number)
            damage: list[bytes] = []
            frames = self._frames(segment, damage)
            aside = partial(self._set_aside, damage)
            try:
                self._flushed += writer.apply(segment, frames, self._now, oldest=oldest, before_commit=aside)
                self._journal.discard(segment)
                self._segments += 1
            except (JournalError, StoreError) as error:
                problems.append(error)
        return problems

    def _frames(self, segment: Segment, damage: list[bytes]) -> Iterator[Frame]:
        """Return the frames of a segment, and gather all else as damage."""
        size_bytes = 0
        for found in self._journal.replay(segment):
            if isinstance(found, Frame):
                yield found
                continue
            damage.append(found.data)
            size_bytes += len(found.data)
            if size_bytes > MOST_DAMAGE_BYTES:
                self._set_aside(damage)
                size_bytes = 0

    def _set_aside(self, damage: list[bytes]) -> None:
        """Put damage into quarantine, as late as possible: a segment that is not stored comes again."""
        self._dropped_bytes += self._journal.quarantine(damage)
        damage.clear()
