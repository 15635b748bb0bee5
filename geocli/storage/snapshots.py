"""Files as they were at some moment, while other processes append to them."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, BinaryIO, TypeAlias

    NumberedFile: TypeAlias = tuple[int | None, BinaryIO]
    """The number of a segment, None for the journal, and the open file."""


class FilePrefix:
    """The first bytes of a file, as a stream."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file, self.size_bytes = file, size_bytes
        self.fileno, self.seek = file.fileno, file.seek

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
