"""Read the journal and its segments, without a lock."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from errno import ELOOP
from stat import S_ISREG

from geocli.errors import JournalError, StorageError
from geocli.files.file_checks import is_at
from geocli.immutable import Value
from geocli.storage.dirty_check import JOURNAL, is_dirty
from geocli.storage.segments import MAX_NUMBER, SegmentFile, opened, prefixes, segments_among, sizes_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime
    from typing import Any

    from geocli.models import Entry
    from geocli.storage.clears import Clear
    from geocli.storage.directory import DataDirectory
    from geocli.storage.frames import Frame
    from geocli.storage.journal_lookup import DirtyEntries
    from geocli.storage.recovery import Damage
    from geocli.storage.segments import NumberedFile, Segment

QUARANTINE = "journal.bad"


class JournalStatus(Value):
    """State of the journal and its segments."""

    entries: int
    """Number of entries in complete frames, whose digests are not checked."""
    size_bytes: int
    """Size of the journal and its segments."""
    oldest_at: datetime | None
    """Time of resolution of the oldest entry; UTC."""
    segments: int
    quarantined_bytes: int
    """Size of `journal.bad`, the damaged bytes."""


class JournalReader:
    """Reads the dirty entries of a data directory, without a lock; methods raise JournalError if that fails."""

    def __init__(self, directory: DataDirectory) -> None:
        self._directory = directory
        self._entries: DirtyEntries | None = None
        self._frozen: dict[tuple[int, int], int] | None = None

    def is_dirty(self) -> bool:
        """Return whether a flush has something to store: a segment, or a journal that is not empty."""
        try:
            return is_dirty(self._directory.path)
        except OSError as error:
            raise self._error(f"cannot be examined: {error.strerror}") from error

    def segments(self) -> list[Segment]:
        """Return the segments that are not yet discarded, oldest first."""
        with self._errors("listed"):
            return segments_among(self._directory.names())

    def next_number(self, at_least: int = 1) -> int:
        """Return the lowest number from `at_least` on that is higher than those of all segments."""
        segments = self.segments()
        if segments and segments[-1].number >= MAX_NUMBER:
            raise JournalError(self._directory.file(segments[-1].name), "has the highest number; move it away")
        return max(at_least, *(segment.number + 1 for segment in segments), 1)

    def replay(self, segment: Segment, start: int = 0) -> Iterator[tuple[int, Frame | Damage]]:
        """Read a segment from an offset; each item comes with the offset from which to continue."""
        from geocli.storage.recovery import scan

        path = self._directory.file(segment.name)
        with self._errors("read", path), opened(path) as file:
            yield from scan(file, start)

    def dirty(self) -> Iterator[Entry]:
        """Read all dirty entries, oldest first, without a lock."""
        from geocli.storage.frames import Frame
        from geocli.storage.recovery import scan

        with self._files() as files:
            for _, file in files:
                for _, frame in scan(file):
                    if isinstance(frame, Frame):
                        yield from frame.entries()

    @contextmanager
    def _files(self) -> Iterator[list[NumberedFile]]:
        """Yield the segments with their numbers, oldest first, then the journal.

        The journal is opened first: a flush may seal it meanwhile.
        """
        with self._errors("read"), ExitStack() as stack:
            journal = None
            with suppress(FileNotFoundError):
                journal = stack.enter_context(opened(self._directory.file(JOURNAL)))
            files: list[Any] = []
            reading = stack.enter_context(ExitStack())
            for segment in self.segments():
                path = self._directory.file(segment.name)
                if journal is None or not is_at(path, journal.fileno()):
                    files.append((segment.number, SegmentFile(path, reading)))
            yield files if journal is None else [*files, (None, journal)]

    def newest(self, addresses: Collection[str], clears: Sequence[Clear] = ()) -> dict[str, Entry]:
        """Return the newest dirty entry of each address that has one; no file is read if none is dirty.

        `clears` are those of the store, which was read before; their entries are left out.
        """
        frozen = self._frozen
        if not addresses or frozen == {} or not self.is_dirty():
            return {}
        from geocli.storage.journal_lookup import DirtyEntries

        self._entries = self._entries or DirtyEntries()
        with self._files() as files:
            return self._entries.newest(addresses, prefixes(files, frozen), clears)

    def freeze(self) -> None:
        """Restrict `newest` to the current files until `thaw`, so that a batch does not read what it appends."""
        with self._files() as files:
            self._frozen = sizes_of(files)

    def thaw(self) -> None:
        """Let `newest` read all dirty entries again."""
        self._frozen = None

    def with_retry_times(self) -> set[str]:
        """Return the addresses of dirty answers that have a retry time, such as those of services."""
        from geocli.storage.journal_outline import with_retry_times

        with self._files() as files:
            return with_retry_times(files)

    def distinct(self) -> Iterator[set[str]]:
        """Return the dirty addresses, each once, in sets of bounded size."""
        from geocli.storage.journal_outline import distinct

        with self._files() as files:
            yield from distinct([file for _, file in files])

    def status(self) -> JournalStatus:
        """Count the dirty entries."""
        from geocli.storage.journal_outline import count

        names = [segment.name for segment in self.segments()]
        with self._files() as files:
            entries, oldest_at = count([file for _, file in files])
        return JournalStatus(
            entries=entries,
            size_bytes=sum(map(self._size_bytes, [JOURNAL, *names])),
            oldest_at=oldest_at,
            segments=len(names),
            quarantined_bytes=self._size_bytes(QUARANTINE),
        )

    def _size_bytes(self, name: str) -> int:
        try:
            status = os.lstat(self._directory.file(name))
        except OSError:
            return 0
        return status.st_size if S_ISREG(status.st_mode) else 0

    def _error(self, reason: str) -> JournalError:
        return JournalError(self._directory.file(JOURNAL), reason)

    @contextmanager
    def _errors(self, verb: str, path: str | None = None) -> Iterator[None]:
        """Translate errors of the operating system and of the directory to a JournalError."""
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
