"""Files as they were at some moment, while others append to them."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, BinaryIO, TypeAlias

    Numbered: TypeAlias = tuple[int | None, BinaryIO]
    """The number of a segment, None for the journal, and the open file."""


class Beginning:
    """The first bytes of a file, as a stream."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        """Take a file, and how much of it may be read."""
        self._file, self.size_bytes = file, size_bytes
        self.fileno, self.seek = file.fileno, file.seek

    def read(self, count: int) -> bytes:
        """Return the next bytes, no more than there are."""
        return self._file.read(max(min(count, self.size_bytes - self._file.tell()), 0))


def sizes_of(files: Sequence[Numbered]) -> dict[tuple[int, int], int]:
    """Return the size of each file that has bytes, by device and inode."""
    found = [os.fstat(file.fileno()) for _, file in files]
    return {(one.st_dev, one.st_ino): one.st_size for one in found if one.st_size}


def beginnings(files: Sequence[Numbered], sizes: Mapping[tuple[int, int], int] | None) -> Sequence[Numbered]:
    """Return those of the files that had a size, to be read up to it; without sizes all of them, to their ends."""
    if sizes is None:
        return files
    streams: list[Any] = []
    for number, file in files:
        found = os.fstat(file.fileno())
        if size_bytes := sizes.get((found.st_dev, found.st_ino)):
            streams.append((number, Beginning(file, size_bytes)))
    return streams
