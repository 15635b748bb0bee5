"""The dirty journal: what was answered and is not yet in the store.

A file to which every command appends under a lock, with one write and one sync, before it prints. A flush
seals it, which is a rename, replays the sealed segment into the store, and discards it.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, contextmanager, suppress
from errno import ELOOP
from itertools import chain

from geocli.errors import JournalError, StorageError
from geocli.storage import JOURNAL, is_dirty
from geocli.storage.files import write_all
from geocli.storage.frames import Frame, pack, parts
from geocli.storage.scanning import Damage, scan
from geocli.storage.segments import next_segment, opened, segments_among
from geocli.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from datetime import datetime
    from typing import BinaryIO

    from geocli.entries import Entry
    from geocli.storage.dirty import DirtyEntries
    from geocli.storage.files import DataDirectory
    from geocli.storage.segments import Segment

LOCK, QUARANTINE = "journal.lock", "journal.bad"


class JournalStatus(Value):
    """What is dirty."""

    entries: int
    """Entries in sound frames."""
    size_bytes: int
    """Bytes of the journal and its segments."""
    oldest_at: datetime | None
    """When the oldest entry was resolved; UTC."""
    segments: int
    """Sealed segments that are not yet in the store."""
    quarantined_bytes: int
    """Size of `journal.bad`: bytes that were no frames."""


class Journal:
    """Appends, seals, replays, discards, quarantines; safe for any number of processes and threads."""

    def __init__(self, directory: DataDirectory, *, lock_timeout_seconds: float = 10) -> None:
        """Name the journal of a data directory; nothing is touched before it is used."""
        self._directory = directory
        self._lock_timeout_seconds = lock_timeout_seconds
        self._failed: str | None = None
        self._entries: DirtyEntries | None = None

    def append(self, entries: Iterable[Entry]) -> None:
        """Keep entries. They are on disk when this returns, whatever happens to the machine then.

        Args:
            entries: each with `resolved_at` and `generation`.

        Raises:
            JournalError: they may not be on disk.
            BusyError: another process held the journal for too long.

        """
        self.append_packed(pack(entries))

    def append_packed(self, payloads: Iterable[bytes]) -> None:
        """Keep entries that are packed already; raises the same."""
        try:
            data = b"".join(chain.from_iterable(map(parts, payloads)))
        except ValueError as error:
            raise self._error(str(error)) from error
        if not data:
            return
        with self._errors("appended to"), self._directory.locked(LOCK, self._lock_timeout_seconds):
            descriptor = self._open(JOURNAL)
            size_bytes = os.fstat(descriptor).st_size
            try:
                self._write(descriptor, data, size_bytes)
                self._sync(descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, size_bytes)  # nobody may read what may be gone tomorrow
                raise
            finally:
                os.close(descriptor)

    def _open(self, name: str) -> int:
        path = self._directory.file(name)
        try:
            return self._directory.open(name, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        except StorageError as error:
            if name == JOURNAL and error.path == path and os.path.isfile(path):  # which a flush renames
                raise JournalError(path, "not a regular file with one name; run geocli flush") from error
            raise

    def _write(self, descriptor: int, data: bytes, size_bytes: int) -> None:
        """Write with one call; take back what was cut short. The caller holds the lock."""
        if self._failed:
            raise self._error(f"an earlier sync failed ({self._failed}), and no later one can be believed")
        if size_bytes and os.pread(descriptor, 1, size_bytes - 1) != b"\n":
            data = b"\n" + data  # somebody died in the middle of a frame
        written_bytes = os.write(descriptor, data)
        if written_bytes != len(data):
            os.ftruncate(descriptor, size_bytes)
            raise self._error(f"only {written_bytes} of {len(data)} bytes could be written; is the disk full?")

    def _sync(self, descriptor: int) -> None:
        """Put frames and the journal's name on disk. The caller holds the lock."""
        try:
            os.fdatasync(descriptor)
            self._directory.sync()
        except OSError as error:
            self._failed = error.strerror or str(error)
            raise

    def is_dirty(self) -> bool:
        """Tell whether a flush has something to do: a segment, or a journal that is not empty.

        Raises:
            JournalError: the directory cannot be read.

        """
        try:
            return is_dirty(self._directory.path)
        except OSError as error:
            raise self._error(f"cannot be looked at: {error.strerror}") from error

    def seal(self, at_least: int = 1) -> Segment | None:
        """Set the dirty frames aside under a name of their own, so that they can be stored.

        Appends after this call go to a new journal. The rename is on disk when it returns.

        Args:
            at_least: the number that the segment gets, or a larger one if there are segments.

        Returns:
            The sealed segment, or None when nothing is dirty.

        Raises:
            JournalError: the journal is not a regular file, or the directory cannot be written.
            BusyError: another process held the journal for too long.

        """
        path = self._directory.file(JOURNAL)
        with self._errors("sealed"):
            if not os.path.lexists(path):
                return None
            with self._directory.locked(LOCK, self._lock_timeout_seconds):
                try:
                    found = os.lstat(path)
                except FileNotFoundError:  # sealed meanwhile
                    return None
                if not stat.S_ISREG(found.st_mode):
                    raise self._error("not a regular file; move it away")
                if not found.st_size:
                    return None
                segment = next_segment(max(at_least, *(present.number + 1 for present in self.segments()), 1))
                os.rename(path, self._directory.file(segment.name))
                self._directory.sync()
                return segment

    def segments(self) -> list[Segment]:
        """Return the sealed segments that are not yet discarded, oldest first.

        Raises:
            JournalError: the directory cannot be read.

        """
        with self._errors("listed"):
            return segments_among(self._directory.names())

    def replay(self, segment: Segment) -> Iterator[Frame | Damage]:
        """Read a segment from its beginning, in bounded memory.

        Raises:
            JournalError: it cannot be read.

        """
        path = self._directory.file(segment.name)
        with self._errors("read", path), opened(path) as stream:
            yield from scan(stream)

    def quarantine(self, pieces: Iterable[bytes]) -> int:
        """Keep bytes that are no frames in `journal.bad`; they are on disk when this returns.

        Returns:
            How many bytes were kept.

        Raises:
            JournalError: they could not be kept, and none of them were.

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
                kept_bytes = os.fstat(descriptor).st_size - size_bytes
            except BaseException:
                os.ftruncate(descriptor, size_bytes)  # the next flush brings all of them again
                raise
            finally:
                os.close(descriptor)
            self._directory.sync()
        return kept_bytes

    def discard(self, segment: Segment) -> None:
        """Remove a segment that is in the store. It is gone from the disk when this returns.

        Raises:
            JournalError: it could not be removed.

        """
        path = self._directory.file(segment.name)
        with self._errors("discarded", path):
            os.unlink(path)
            self._directory.sync()

    def dirty(self) -> Iterator[Entry]:
        """Read all dirty entries, oldest first, without a lock.

        Raises:
            JournalError: the journal cannot be read.

        """
        with self._errors("read"), ExitStack() as stack:
            for frame in chain.from_iterable(map(scan, self._files(stack))):
                if isinstance(frame, Frame):
                    yield from frame.entries()

    def _files(self, stack: ExitStack) -> list[BinaryIO]:
        """Open the segments, oldest first, then the journal.

        The journal is opened first, so that a flush meanwhile hides nothing. What was discarded meanwhile is in
        the store, for those who read the store after this.
        """
        journal = None
        with suppress(FileNotFoundError):
            journal = stack.enter_context(opened(self._directory.file(JOURNAL)))
        files = []
        for segment in self.segments():
            with suppress(FileNotFoundError):
                file = stack.enter_context(opened(self._directory.file(segment.name)))
                if journal is None or not os.path.sameopenfile(file.fileno(), journal.fileno()):
                    files.append(file)
        return files if journal is None else [*files, journal]

    def newest(self, addresses: Collection[str]) -> dict[str, Entry]:
        """Return the newest dirty entry of each address that has one; nothing is read if nothing is dirty.

        Raises:
            JournalError: the journal cannot be read.

        """
        if not addresses or not self.is_dirty():
            return {}
        from geocli.storage.dirty import DirtyEntries

        self._entries = self._entries or DirtyEntries()
        with self._errors("read"), ExitStack() as stack:
            return self._entries.newest(addresses, self._files(stack))

    def status(self) -> JournalStatus:
        """Count what is dirty.

        Raises:
            JournalError: the journal cannot be read.

        """
        from geocli.storage.dirty import count

        names = [segment.name for segment in self.segments()]
        with self._errors("read"), ExitStack() as stack:
            entries, oldest_at = count(self._files(stack))
        return JournalStatus(
            entries=entries,
            size_bytes=sum(map(self._size_bytes, [JOURNAL, *names])),
            oldest_at=oldest_at,
            segments=len(names),
            quarantined_bytes=self._size_bytes(QUARANTINE),
        )

    def _size_bytes(self, name: str) -> int:
        try:
            return os.lstat(self._directory.file(name)).st_size
        except OSError:
            return 0

    def _error(self, reason: str) -> JournalError:
        return JournalError(self._directory.file(JOURNAL), reason)

    @contextmanager
    def _errors(self, verb: str, path: str | None = None) -> Iterator[None]:
        """Turn what the operating system and the directory say into a JournalError."""
        try:
            yield
        except OSError as error:
            reason = "a symbolic link; move it away" if error.errno == ELOOP else error.strerror or error
            path = path or (error.filename if isinstance(error.filename, str) else self._directory.file(JOURNAL))
            raise JournalError(path, f"cannot be {verb}: {reason}") from error
        except StorageError as error:
            if isinstance(error, JournalError):
                raise
            raise JournalError(error.path, str(error).removeprefix(f"{error.path}: ")) from error
