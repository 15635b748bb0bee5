"""Segments: sealed journals, which the next flush stores."""

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
"""Digits of a segment's number that fit into an integer of SQLite."""


class Segment(Value):
    """A sealed journal, `journal.N-UUID.draining`."""

    name: str
    """File name."""
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
    for name in names:
        number, dash, uuid = name.removeprefix(f"{JOURNAL}.").removesuffix(SEGMENT_SUFFIX).partition("-")
        is_number = number.isdecimal() and len(number) <= MAX_DIGITS
        if name.startswith(f"{JOURNAL}.") and name.endswith(SEGMENT_SUFFIX) and dash and is_number:
            segments.append(Segment(name=name, number=int(number), uuid=uuid))
    return sorted(segments, key=lambda segment: segment.number)


def opened(path: str) -> BinaryIO:
    """Open a journal or a segment for reading.

    Raises:
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

    def fileno(self) -> int:
        """Return the descriptor, valid until another segment is read."""
        return self._opened().fileno()

    def seek(self, offset_bytes: int) -> int:
        """Go to an offset from the beginning; required before the first read."""
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
