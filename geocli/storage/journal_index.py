"""An index of the journal by address, for processes that look many up; it is read on as the journal grows."""

from __future__ import annotations

import os

from geocli.storage.clears import newest_of
from geocli.storage.frames import unpack_or_none
from geocli.storage.journal_outline import outline
from geocli.storage.recovery import regions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from typing import BinaryIO, TypeAlias

    from geocli.models import Entry
    from geocli.storage.clears import Clear, SegmentEntry
    from geocli.storage.frames import Frame

    IndexedRow: TypeAlias = tuple["_Page", int, int | None, "IndexedRow | None"]
    """Page of the row, number of its place, prefix length, and the previous row of the same address."""
    Mark: TypeAlias = tuple[tuple[int, int], int, bytes]
    """Device and inode of a file, how many bytes of it were read, and the first and last of these."""

MAX_ROWS, MAX_PAYLOAD_BYTES = 500_000, 128 << 20
"""Size of an index that takes 250 MB; a larger one is given up."""
MARK_BYTES = 64
"""Bytes at both ends of the indexed part that identify a file, since inode numbers are reused."""


class _Page:
    """A payload of a file, by the position of the file, that is parsed when one of its entries is looked up."""

    def __init__(self, payload: bytes, file: int) -> None:
        self.file = file
        self._payload: bytes | None = payload
        self._frame: Frame | None = None

    def entry(self, ip: str, number: int, prefix_len: int | None, checked: set[bytes]) -> Entry | None:
        """Return an entry, None if the payload is malformed."""
        if self._payload is not None:
            frame = unpack_or_none(self._payload, checked)
            self._frame, self._payload = frame and frame.replace(rows=[]), None
        return None if self._frame is None else self._frame.shape(number).replace(ip=ip, prefix_len=prefix_len)


class Index:
    """The rows of files by their addresses."""

    def __init__(self) -> None:
        self._rows: dict[str, IndexedRow] = {}
        self._checked: set[bytes] = set()
        self._row_count = self._payload_bytes = 0
        self._marks: list[Mark] = []

    @property
    def is_full(self) -> bool:
        """Whether the index was given up."""
        return self._row_count > MAX_ROWS or self._payload_bytes > MAX_PAYLOAD_BYTES

    def continues(self, files: Sequence[BinaryIO]) -> bool:
        """Return whether the indexed files are the first of these, unchanged."""
        if len(self._marks) > len(files):
            return False
        pairs = zip(self._marks, files, strict=False)
        return all(before == mark(file, before[1]) for before, file in pairs)

    def read(self, files: Sequence[BinaryIO]) -> None:
        """Index new files, and bytes appended since the last call."""
        marks = []
        for number, file in enumerate(files):
            read_bytes = self._marks[number][1] if number < len(self._marks) else 0
            marks.append(mark(file, self._read(number, file, read_bytes)))
        self._marks = marks

    def _read(self, number: int, file: BinaryIO, start: int) -> int:
        """Index a file from an offset on, and return the end of its last sound frame."""
        read_bytes = start
        file.seek(start)
        for _, end, payload in regions(file):
            if isinstance(payload, bytes):
                read_bytes = start + end
                self._add(payload, number)
        return read_bytes

    def _add(self, payload: bytes, file: int) -> None:
        try:
            _, rows = outline(payload)
        except ValueError:
            return
        self._row_count += len(rows)
        self._payload_bytes += len(payload)
        if self.is_full:
            self._rows.clear()
            return
        page = _Page(payload, file)
        for ip, number, prefix_len in rows:
            self._rows[ip] = page, number, prefix_len, self._rows.get(ip)

    def newest(
        self, addresses: Collection[str], numbers: Sequence[int | None], clears: Sequence[Clear]
    ) -> dict[str, Entry]:
        """Return the newest entry of each address that has one; `numbers` are those of the files now."""
        newest = {ip: newest_of(self._entries_backwards(ip, numbers), clears) for ip in addresses if ip in self._rows}
        return {ip: entry for ip, entry in newest.items() if entry is not None}

    def _entries_backwards(self, ip: str, numbers: Sequence[int | None]) -> Iterator[SegmentEntry]:
        row = self._rows.get(ip)
        while row is not None:
            page, place, prefix_len, row = row
            if entry := page.entry(ip, place, prefix_len, self._checked):
                yield numbers[page.file], entry


def mark(file: BinaryIO, read_bytes: int) -> Mark:
    """Return a mark of the first bytes of a file, which is equal as long as they are there."""
    status = os.fstat(file.fileno())
    tail = max(read_bytes - MARK_BYTES, 0)
    ends = os.pread(file.fileno(), min(MARK_BYTES, read_bytes), 0) + os.pread(file.fileno(), read_bytes - tail, tail)
    return (status.st_dev, status.st_ino), read_bytes, ends
