"""Find the newest dirty entries of addresses without parsing all of the journal.

A few addresses are searched for in the bytes, newest first, and only the frames that contain them are parsed. A
process that looks up more gets an index, which remembers how far each file was read. A journal too large for the index
is read to its end.

Only sound frames count: an entry in a frame that a flush would repair is found once it is in the store.
"""

from __future__ import annotations

import os
from functools import lru_cache

from geocli.models import settle
from geocli.storage.clears import newest_of
from geocli.storage.dirty_check import STRETCH_BYTES
from geocli.storage.frames import HEADER_BYTES, MAGIC, MAX_BYTES, payload_at, unpack_or_none
from geocli.storage.journal_index import Index, mark
from geocli.storage.journal_outline import outlines
from geocli.storage.journal_summaries import is_absent
from geocli.storage.segments import FilePrefix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from typing import BinaryIO, TypeAlias

    from geocli.models import Entry
    from geocli.storage.clears import Clear, SegmentEntry
    from geocli.storage.frames import Frame
    from geocli.storage.journal_index import Mark
    from geocli.storage.segments import NumberedFile

    FrameReader: TypeAlias = Callable[[BinaryIO, int], Frame | None]

SEARCHED_ADDRESSES = 8
"""Addresses that are searched for. An index takes as long as searching for about twenty."""
OVERLAP_BYTES = 64
"""Overlap of the stretches that are searched, longer than any address."""


class DirtyEntries:
    """Finds the newest dirty entries of addresses. May be shared by threads: two may read the same bytes twice."""

    def __init__(self) -> None:
        self._lookups = 0
        self._index = Index()
        self._absent: dict[str, list[Mark]] = {}
        """For each address that was not found, the searched parts of files."""

    def newest(
        self, addresses: Collection[str], files: Sequence[NumberedFile], clears: Sequence[Clear] = ()
    ) -> dict[str, Entry]:
        """Return the newest entry of each address that has one, except cleared ones; the last file is the newest."""
        self._lookups += sum(ip not in self._absent for ip in addresses)
        if self._lookups <= SEARCHED_ADDRESSES:
            return self._search(addresses, files, clears)
        opened = [file for _, file in files]
        index = self._index if self._index.continues(opened) else Index()
        index.read(opened)
        self._index = index
        if index.is_full:
            return read_through(addresses, files, clears)
        return index.newest(addresses, [number for number, _ in files], clears)

    def _search(
        self, addresses: Collection[str], files: Sequence[NumberedFile], clears: Sequence[Clear]
    ) -> dict[str, Entry]:
        """Search the bytes, the last file first, without those in which an address was not found before."""
        frame_at = lru_cache(SEARCHED_ADDRESSES)(_frame_at)  # several addresses may be in one frame
        # The last frame may be incomplete, since another process appends it.
        marks = [mark(file, max(_size_of(file) - MAX_BYTES - HEADER_BYTES - OVERLAP_BYTES, 0)) for _, file in files]
        newest = {}
        for ip in addresses:
            searched_before = self._absent.get(ip, [])
            begins = [
                next((searched[1] for searched in searched_before if searched == mark(file, searched[1])), 0)
                for _, file in files
            ]
            if entry := newest_of(_entries_backwards(ip, files, begins, frame_at), clears):
                newest[ip] = entry
            else:
                self._absent[ip] = marks
        return newest


def _entries_backwards(
    ip: str, files: Sequence[NumberedFile], begins: Sequence[int], frame_at: FrameReader
) -> Iterator[SegmentEntry]:
    """Return the entries of an address, the newest first; one may come twice. Files are searched from offsets on."""
    for (number, file), begin in zip(reversed(files), reversed(begins), strict=True):
        for offset in _offsets_backwards(ip.encode(), file, begin):
            if frame := frame_at(file, offset):
                for name, place, prefix_len in reversed(frame.rows):
                    if name == ip:
                        yield number, frame.shape(place).replace(ip=ip, prefix_len=prefix_len)


def _size_of(file: BinaryIO) -> int:
    return file.size_bytes if isinstance(file, FilePrefix) else os.fstat(file.fileno()).st_size


def _offsets_backwards(needle: bytes, file: BinaryIO, begin: int) -> Iterator[int]:
    """Return the offsets of an address as a whole JSON string, or a word of one, the last first; few before `begin`."""
    descriptor, size_bytes = file.fileno(), _size_of(file)
    for start in range((size_bytes - 1) // STRETCH_BYTES * STRETCH_BYTES, begin - STRETCH_BYTES, -STRETCH_BYTES):
        if is_absent(needle, descriptor, start):
            continue
        chunk = os.pread(descriptor, min(STRETCH_BYTES + OVERLAP_BYTES, size_bytes - start), start)
        end = len(chunk)
        # `in` skips most bytes, `rfind` none, so stretches without the address take half the time.
        while needle in chunk and (at := chunk.rfind(needle, 0, end)) >= 0:
            end = at + len(needle) - 1
            if chunk[at - 1 : at] in {b'"', b" "} and chunk[at + len(needle) : at + len(needle) + 1] in {b'"', b" "}:
                yield start + at


def _frame_at(file: BinaryIO, offset: int) -> Frame | None:
    """Return the sound frame of a file around an offset, None if there is none."""
    begin = max(offset - MAX_BYTES - HEADER_BYTES, 0)
    descriptor = file.fileno()
    before = os.pread(descriptor, offset - begin, begin)
    start = before.rfind(MAGIC)
    while start >= 0:
        payload = payload_at(os.pread(descriptor, HEADER_BYTES + MAX_BYTES, begin + start))
        if payload is not None:
            return unpack_or_none(payload) if begin + start + HEADER_BYTES + len(payload) > offset else None
        start = before.rfind(MAGIC, 0, start)
    return None


def read_through(
    addresses: Collection[str], files: Sequence[NumberedFile], clears: Sequence[Clear] = ()
) -> dict[str, Entry]:
    """Return the newest entry of each address by reading files to their ends, in bounded memory."""
    ips, checked = set(addresses), set[bytes]()
    newest: dict[str, Entry] = {}
    for number, file in files:
        for payload, _, rows in outlines([file]):
            if ips.isdisjoint(ip for ip, _, _ in rows) or not (frame := unpack_or_none(payload, checked)):
                continue
            for ip, place, prefix_len in frame.rows:
                if ip in ips:
                    entry = frame.shape(place).replace(ip=ip, prefix_len=prefix_len)
                    if not any(clear.covers(number, entry) for clear in clears):
                        newest[ip] = settle(newest.get(ip), entry)
    return newest
