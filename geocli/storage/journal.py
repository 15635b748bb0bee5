"""The journal: entries that are not yet in the store.

Every command appends to it under a lock, with one write and one sync, before it prints. A flush seals it by a rename,
replays the sealed segment into the store, and discards the segment.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain

from geocli.errors import BusyError, JournalError, StorageError
from geocli.files.atomic import write_all
from geocli.storage.dirty_check import JOURNAL, STRETCH_BYTES
from geocli.storage.journal_reader import QUARANTINE, JournalReader
from geocli.storage.segments import next_segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from geocli.models import Entry
    from geocli.storage.directory import DataDirectory
    from geocli.storage.segments import Segment

LOCK = "journal.lock"


class Journal(JournalReader):
    """Appends, seals, replays, discards and quarantines; safe for any number of processes and threads."""

    def __init__(self, directory: DataDirectory, *, lock_timeout_seconds: float = 10) -> None:
        super().__init__(directory)
        self._lock_timeout_seconds = lock_timeout_seconds
        self._failed: str | None = None

    def append(self, entries: Iterable[Entry], is_current: Callable[[], bool] = lambda: True) -> bool:
        """Append entries with `resolved_at` and `generation`, which are on disk when this returns.

        `is_current` is called under the lock, when no process can append or clear; if it returns False, nothing is
        appended.

        Returns:
            Whether they were appended.

        Raises:
            JournalError: they may not be on disk.
            BusyError: another process held the lock for too long.

        """
        from geocli.storage.frames import pack

        return self.append_packed(pack(entries), is_current)

    def append_packed(self, payloads: Iterable[bytes], is_current: Callable[[], bool] = lambda: True) -> bool:
        """Append payloads; returns and raises like `append`."""
        from geocli.storage.frames import encode

        try:
            data = b"".join(map(encode, payloads))
        except ValueError as error:
            raise self._error(str(error)) from error
        if not data:
            return True
        with self._errors("appended to"), self._directory.locked(LOCK, self._lock_timeout_seconds):
            if not is_current():
                return False
            descriptor = self._open(JOURNAL)
            size_bytes = os.fstat(descriptor).st_size
            try:
                self._write(descriptor, data, size_bytes)
                self._sync(descriptor)
            except OSError:
                # No process may read entries that a power cut may remove.
                with suppress(OSError):
                    os.ftruncate(descriptor, size_bytes)
                raise
            finally:
                os.close(descriptor)
        return True

    def check_lock(self) -> None:
        """Raise StorageError if no append can take the lock."""
        with suppress(BusyError), self._directory.locked(LOCK, 0):
            pass

    def _open(self, name: str) -> int:
        path = self._directory.file(name)
        try:
            return self._directory.open(name, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        except StorageError as error:
            if name == JOURNAL and error.path == path and os.path.isfile(path):  # a flush can rename it
                raise JournalError(path, "not a regular file, or one with a hard link; run geocli flush") from error
            raise

    def _write(self, descriptor: int, data: bytes, size_bytes: int) -> None:
        """Write with one call; undo an incomplete write. The caller holds the lock."""
        if self._failed:
            raise self._error(f"an earlier sync failed ({self._failed}), so later ones are unreliable")
        if size_bytes and os.pread(descriptor, 1, size_bytes - 1) != b"\n":
            data = b"\n" + data  # after a frame that a killed process left incomplete
        if (size_bytes + len(data)) // STRETCH_BYTES > size_bytes // STRETCH_BYTES:
            from geocli.storage.journal_summaries import summary

            with suppress(OSError):  # a search takes longer without it
                data += summary(descriptor, size_bytes, data)
        written_bytes = os.write(descriptor, data)
        if written_bytes != len(data):
            os.ftruncate(descriptor, size_bytes)
            raise self._error(f"only {written_bytes} of {len(data)} bytes were written; is the disk full?")

    def _sync(self, descriptor: int) -> None:
        """Sync the frames and the directory entry to disk. The caller holds the lock."""
        try:
            os.fdatasync(descriptor)
            self._directory.sync()
        except OSError as error:
            self._failed = error.strerror or str(error)
            raise

    def seal(self, at_least: int = 1) -> Segment | None:
        """Rename the journal to a segment, which can be stored; None if the journal is empty.

        Later appends go to a new journal. The rename is on disk when this returns. The number of the segment is
        `at_least`, or larger, and larger than those of other segments.

        Raises:
            JournalError: the journal is not a regular file, or the directory is not writable.
            BusyError: another process held the lock for too long.

        """
        if not os.path.lexists(self._directory.file(JOURNAL)):
            return None
        with self.sealing(at_least) as segment:
            return segment

    @contextmanager
    def sealing(self, at_least: int = 1) -> Iterator[Segment | None]:
        """Seal as `seal` does, and prevent appends until the end of the block."""
        with ExitStack() as stack:
            with self._errors("sealed"):
                stack.enter_context(self._directory.locked(LOCK, self._lock_timeout_seconds))
                segment = self._sealed(at_least)
            yield segment

    def _sealed(self, at_least: int) -> Segment | None:
        """Rename the journal; the caller holds the lock."""
        path = self._directory.file(JOURNAL)
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            raise self._error("not a regular file; move it away")
        if not status.st_size:
            return None
        segment = next_segment(self.next_number(at_least))
        os.rename(path, self._directory.file(segment.name))
        self._directory.sync()
        return segment

    def quarantine(self, pieces: Iterable[bytes]) -> int:
        """Append damaged bytes to `journal.bad`, and return their number; they are on disk when this returns.

        Raises:
            JournalError: nothing was appended.

        """
        rest = iter(pieces)
        if (first := next(rest, None)) is None:
            return 0
        with self._errors("quarantined", self._directory.file(QUARANTINE)):
            descriptor = self._open(QUARANTINE)
            size_bytes = os.fstat(descriptor).st_size
            try:
                for piece in chain([first], rest):
                    write_all(descriptor, piece if piece.endswith(b"\n") else piece + b"\n")
                os.fsync(descriptor)
                added_bytes = os.fstat(descriptor).st_size - size_bytes
            except BaseException:
                os.ftruncate(descriptor, size_bytes)  # the next flush quarantines all of them
                raise
            finally:
                os.close(descriptor)
            self._directory.sync()
        return added_bytes

    def discard(self, segment: Segment) -> None:
        """Remove a stored segment, or raise JournalError. The removal is on disk when this returns."""
        path = self._directory.file(segment.name)
        with self._errors("discarded", path):
            os.unlink(path)
            self._directory.sync()
