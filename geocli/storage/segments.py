"""Sealed journals, which wait for a flush."""

from __future__ import annotations

import os
import stat
from errno import EINVAL

from geocli.files.ownership import check_owner
from geocli.immutable import Value
from geocli.storage.dirty_check import JOURNAL, SEGMENT_SUFFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import ExitStack
    from typing import BinaryIO

MAX_DIGITS = 18
"""Of a segment's number, which SQLite must hold."""


class Segment(Value):
    """A sealed journal, `journal.N-UUID.draining`."""

    name: str
    """Its file name."""
    number: int
    """N; segments are stored in the order of their numbers."""
    uuid: str
    """Names the segment for ever, so that it is stored once."""


def next_segment(number: int) -> Segment:
    """Return a segment of that number under a name that no other one ever has."""
    from uuid import uuid4

    uuid = str(uuid4())
    return Segment(name=f"{JOURNAL}.{number}-{uuid}{SEGMENT_SUFFIX}", number=number, uuid=uuid)


def segments_among(names: Iterable[str]) -> list[Segment]:
    """Return the segments among the names of files, oldest first."""
    found = []
    for name in names:
        number, dash, uuid = name.removeprefix(f"{JOURNAL}.").removesuffix(SEGMENT_SUFFIX).partition("-")
        is_number = number.isdecimal() and len(number) <= MAX_DIGITS
        if name.startswith(f"{JOURNAL}.") and name.endswith(SEGMENT_SUFFIX) and dash and is_number:
            found.append(Segment(name=name, number=int(number), uuid=uuid))
    return sorted(found, key=lambda segment: segment.number)


def opened(path: str) -> BinaryIO:
    """Open a journal or a segment to read it.

    Raises:
        OSError: it cannot be opened, or is not a regular file, which might never end.
        StorageError: its directory is refused.

    """
    check_owner(os.path.dirname(path))
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    raise OSError(EINVAL, f"{'a directory' if stat.S_ISDIR(mode) else 'not a regular file'}; move it away", path)


class SegmentFile:
    """A segment as a stream that is open while it is read, since there may be more segments than descriptors.

    One that was flushed meanwhile is empty: its entries are in the store, for those who read the store after this.
    """

    def __init__(self, path: str, reading: ExitStack) -> None:
        """Name the file; what `reading` holds open is closed before this is opened."""
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

    def fileno(self) -> int:
        """Return the descriptor, which is valid until another segment is read."""
        return self._opened().fileno()

    def seek(self, offset_bytes: int) -> int:
        """Go to an offset from the beginning; each reading begins with this."""
        return self._opened().seek(offset_bytes)

    def tell(self) -> int:
        """Return the offset."""
        return self._opened().tell()

    def read(self, count: int) -> bytes:
        """Return the next bytes."""
        return self._opened().read(count)

    def readline(self, count: int) -> bytes:
        """Return the next line with its newline, or the first `count` bytes of it."""
        return self._opened().readline(count)
