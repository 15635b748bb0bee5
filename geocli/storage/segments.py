"""Sealed journals, which wait for a flush."""

from __future__ import annotations

import os
import stat
from errno import EINVAL

from geocli.storage import JOURNAL, SEGMENT_SUFFIX
from geocli.storage.ownership import check_owner
from geocli.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
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
