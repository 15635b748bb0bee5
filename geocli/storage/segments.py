"""Segments, which are sealed journals, and files of the journal as they were at some moment."""

from __future__ import annotations

import os
import stat
from errno import EINVAL

from geocli.files.ownership import check_owner
from geocli.immutable import Value
from geocli.storage.dirty_check import JOURNAL, SEGMENT_SUFFIX, is_segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import ExitStack
    from typing import Any, BinaryIO, TypeAlias

    NumberedFile: TypeAlias = tuple[int | None, BinaryIO]
    """The number of a segment, None for the journal, and the open file."""

MAX_DIGITS = 18
"""Digits of a segment's number that fit into an integer of SQLite."""
MAX_NUMBER = 10**MAX_DIGITS - 1


class Segment(Value):
    """A sealed journal, `journal.N-UUID.draining`."""

    name: str
    number: int
    """N; segments are stored in the order of their numbers."""
    uuid: str
    """Identifies the segment, so that it is stored once."""


def next_segment(number: int) -> Segment:
    """Return a segment with a number and a unique name."""
    from uuid import uuid4

    uuid = str(uuid4())
    return Segment(name=f"{JOURNAL}.{number}-{uuid}{SEGMENT_SUFFIX}", number=number, uuid=uuid)


def segments_among(names: Iterable[str]) -> list[Segment]:
    """Return the segments among file names, oldest first."""
    segments = []
    for name in filter(is_segment, names):
        number, dash, uuid = name.removeprefix(f"{JOURNAL}.").removesuffix(SEGMENT_SUFFIX).partition("-")
        if dash and number.isdecimal() and len(number) <= MAX_DIGITS:
            segments.append(Segment(name=name, number=int(number), uuid=uuid))
    return sorted(segments, key=lambda segment: segment.number)


def opened(path: str) -> BinaryIO:
    """Open a journal or a segment for reading; raise StorageError if its directory is refused."""
    check_owner(os.path.dirname(path))
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    raise OSError(EINVAL, f"{'a directory' if stat.S_ISDIR(mode) else 'not a regular file'}; move it away", path)


class SegmentFile:
    """A segment as a stream that is only open while it is read: there may be more segments than descriptors.

    A segment that was flushed meanwhile is empty: its entries are in the store, which is read afterwards.
    """

    def __init__(self, path: str, reading: ExitStack) -> None:
        """`reading` has the segment that is open; it is closed before this one is opened."""
        self._path, self._reading = path, reading
        self._file: BinaryIO | None = None

    def _opened(self) -> BinaryIO:
        if self._file is None or self._file.closed:
            self._reading.close()
            try:
                file = opened(self._path)
            except FileNotFoundError:
                file = open(os.devnull, "rb")  # noqa: SIM115 (closed by `reading`)
            self._file = self._reading.enter_context(file)
        return self._file

    def __getattr__(self, name: str) -> Any:
        """Return a method of the open file, valid until another segment is read; `seek` before the first read."""
        return getattr(self._opened(), name)


class FilePrefix:
    """The first bytes of a file, as a stream."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file, self.size_bytes = file, size_bytes

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the file."""
        return getattr(self._file, name)

    def read(self, count: int) -> bytes:
        """Return the next bytes, up to the end of the prefix."""
        return self._file.read(max(min(count, self.size_bytes - self._file.tell()), 0))


def sizes_of(files: Sequence[NumberedFile]) -> dict[tuple[int, int], int]:
    """Return the size of each file that is not empty, by device and inode."""
    statuses = [os.fstat(file.fileno()) for _, file in files]
    return {(status.st_dev, status.st_ino): status.st_size for status in statuses if status.st_size}


def prefixes(files: Sequence[NumberedFile], sizes: Mapping[tuple[int, int], int] | None) -> Sequence[NumberedFile]:
    """Return the files that had a size, cut to it; without sizes all of them, whole."""
    if sizes is None:
        return files
    streams: list[Any] = []
    for number, file in files:
        status = os.fstat(file.fileno())
        if size_bytes := sizes.get((status.st_dev, status.st_ino)):
            streams.append((number, FilePrefix(file, size_bytes)))
    return streams
