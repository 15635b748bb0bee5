"""Finding dirty entries in the journal and its segments without parsing all of them.

A few addresses are searched for in the bytes, newest first, and only the frames that name them are read. A process
that asks for more gets an index, which remembers how far each file was read, and from then on reads what is new.

Only sound frames count: an entry in a frame that a flush would repair is found once it is in the store.
"""

from __future__ import annotations

import json
import os
from functools import lru_cache

from geocli.models import settle
from geocli.storage.frames import HEADER_BYTES, MAGIC, MOST_BYTES, loaded, payload_at, rows_of, unpack
from geocli.storage.recovery import regions
from geocli.storage.snapshots import Beginning
from geocli.timestamps import instant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from datetime import datetime
    from typing import BinaryIO, TypeAlias

    from geocli.models import Entry
    from geocli.storage.frames import Frame
    from geocli.storage.tombstones import Clear

    Row: TypeAlias = tuple[str, int, int | None]
    """Address, number of its place, and prefix length."""
    Numbered: TypeAlias = tuple[int | None, BinaryIO]
    """The number of a segment, None for the journal, and the open file."""
    Found: TypeAlias = tuple[int | None, Entry]
    """The number of a segment, and an entry in it."""
    Indexed: TypeAlias = tuple["_Page", int, int | None, "Indexed | None"]
    """Where a row is, number of its place, prefix length, and the row of the same address before it."""
    FrameReader: TypeAlias = Callable[[BinaryIO, int], Frame | None]

SEARCHED_ADDRESSES = 8
"""More addresses are found faster by an index, which takes as long as searching for about twenty."""
CHUNK_BYTES = 1 << 18
"""Bytes that are searched at a time."""
OVERLAP_BYTES = 64
"""Chunks overlap by more than the length of an address."""
MAX_ROWS, MAX_PAYLOAD_BYTES = 500_000, 128 << 20
"""Beyond either the index is given up, which would take 250 MB, and each call reads the files."""
PART_BYTES = 8 << 20
"""Distinct addresses are counted in parts, of about 60 MB in memory for so much of a journal."""
MARK_BYTES = 64
"""Bytes at both ends of what was read by which a file is recognised, since inode numbers are reused."""


class DirtyEntries:
    """Finds the newest dirty entries of addresses. May be shared by threads: two may read the same bytes twice."""

    def __init__(self) -> None:
        """Begin without having read anything."""
        self._asked = 0
        self._index = _Index()

    def newest(
        self, addresses: Collection[str], files: Sequence[Numbered], clears: Sequence[Clear] = ()
    ) -> dict[str, Entry]:
        """Return the newest entry of each address that has one.

        Args:
            addresses: canonical texts.
            files: segments, oldest first, and the journal.
            clears: what was cleared, whose entries are left out.

        """
        self._asked += len(addresses)
        if self._asked <= SEARCHED_ADDRESSES:
            return search(addresses, files, clears)
        opened = [file for _, file in files]
        index = self._index if self._index.continues(opened) else _Index()
        index.read(opened)
        self._index = index
        if index.is_full:
            return read_through(addresses, files, clears)
        return index.newest(addresses, [number for number, _ in files], clears)


def with_retry_times(files: Sequence[Numbered]) -> set[str]:
    """Return the addresses of entries that were found, and are to be asked for again at some time."""
    found: set[str] = set()
    for _, file in files:
        for _, _, payload in regions(file):
            if isinstance(payload, bytes) and b'"retry_at"' in payload and (frame := _unpacked(payload)):
                places = [loaded(place) for place in frame.places]
                is_timed = [place["status"] != "unresolved" and "retry_at" in place for place in places]
                found |= {ip for ip, number, _ in frame.rows if is_timed[number]}
    return found


def search(addresses: Collection[str], files: Sequence[Numbered], clears: Sequence[Clear] = ()) -> dict[str, Entry]:
    """Return the newest entry of each address by searching the bytes of files, the last file first."""
    frame_at = lru_cache(SEARCHED_ADDRESSES)(_frame_at)  # several addresses may be in one frame
    found = {ip: _settled(_entries_backwards(ip, files, frame_at), clears) for ip in addresses}
    return {ip: entry for ip, entry in found.items() if entry is not None}


def _settled(found: Iterator[Found], clears: Sequence[Clear]) -> Entry | None:
    """Return what entries of an address come to, the newest first; no more are read than count."""
    newest = None
    for number, entry in found:
        if any(clear.covers(number, entry) for clear in clears):
            continue
        newest = newest or entry
        if entry.status != "unresolved":
            return settle(entry, newest)
    return newest


def _entries_backwards(ip: str, files: Sequence[Numbered], frame_at: FrameReader) -> Iterator[Found]:
    """Return the entries of an address, the newest first; one may come twice."""
    for number, file in reversed(files):
        size_bytes = file.size_bytes if isinstance(file, Beginning) else os.fstat(file.fileno()).st_size
        for at in _positions_backwards(ip.encode(), file, size_bytes):
            if frame := frame_at(file, at):
                for name, place, prefix_len in reversed(frame.rows):
                    if name == ip:
                        yield number, frame.shape(place).replace(ip=ip, prefix_len=prefix_len)


def _positions_backwards(needle: bytes, file: BinaryIO, size_bytes: int) -> Iterator[int]:
    """Return where an address stands in a file as a whole JSON string or word of one, the last place first."""
    for start in range((size_bytes - 1) // CHUNK_BYTES * CHUNK_BYTES, -1, -CHUNK_BYTES):
        chunk = os.pread(file.fileno(), min(CHUNK_BYTES + OVERLAP_BYTES, size_bytes - start), start)
        end = len(chunk)
        # `find` skips most bytes, `rfind` none: what is nowhere in a chunk is decided in half the time
        while needle in chunk and (at := chunk.rfind(needle, 0, end)) >= 0:
            end = at + len(needle) - 1
            if chunk[at - 1 : at] in {b'"', b" "} and chunk[at + len(needle) : at + len(needle) + 1] in {b'"', b" "}:
                yield start + at


def _frame_at(file: BinaryIO, at: int) -> Frame | None:
    """Return the sound frame of a file around an offset, None if there is none."""
    begin = max(at - MOST_BYTES - HEADER_BYTES, 0)
    descriptor = file.fileno()
    before = os.pread(descriptor, at - begin, begin)
    start = before.rfind(MAGIC)
    while start >= 0:
        payload = payload_at(os.pread(descriptor, HEADER_BYTES + MOST_BYTES, begin + start))
        if payload is not None:
            return _unpacked(payload) if begin + start + HEADER_BYTES + len(payload) > at else None
        start = before.rfind(MAGIC, 0, start)
    return None


def _unpacked(payload: bytes, known: set[bytes] | None = None) -> Frame | None:
    try:
        return unpack(payload, known)
    except ValueError:
        return None


def outline(payload: bytes) -> tuple[str, list[Row]]:
    """Return when the entries of a payload were resolved, as a frame has it, and its rows; its places are not read.

    Raises:
        ValueError: it is not JSON, or not of the right form.

    """
    head, _, rest = payload.partition(b',"places":[')
    _, _, rows = rest.rpartition(b'],"rows":[')
    try:
        try:
            said = json.loads(b'%b,"rows":[%b' % (head, rows))
        except ValueError:  # not written as geocli does, but JSON perhaps
            said = json.loads(payload)
        _instant(said["at"])
        return said["at"], rows_of(said["rows"], said.get("ips"))
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(repr(error)) from error


@lru_cache(64)
def _instant(at: str) -> datetime | None:
    return instant(at or None)


def count(files: Sequence[BinaryIO]) -> tuple[int, datetime | None]:
    """Return how many entries sound frames hold, and when the oldest of them was resolved."""
    entries, instants = 0, set[str]()
    for _, at, rows in _outlines(files):
        entries += len(rows)
        instants.add(at)
    return entries, min(filter(None, map(instant, instants - {""})), default=None)


def _outlines(files: Sequence[BinaryIO]) -> Iterator[tuple[bytes, str, list[Row]]]:
    for file in files:
        file.seek(0)
        for _, _, payload in regions(file):
            if isinstance(payload, bytes):
                try:
                    at, rows = outline(payload)
                except ValueError:
                    continue
                yield payload, at, rows


def read_through(
    addresses: Collection[str], files: Sequence[Numbered], clears: Sequence[Clear] = ()
) -> dict[str, Entry]:
    """Return the newest entry of each address by reading files to their ends, in bounded memory."""
    wanted, known = set(addresses), set[bytes]()
    found: dict[str, Entry] = {}
    for number, file in files:
        for payload, _, rows in _outlines([file]):
            if wanted.isdisjoint(name for name, _, _ in rows) or not (frame := _unpacked(payload, known)):
                continue
            for name, place, prefix_len in frame.rows:
                if name in wanted:
                    entry = frame.shape(place).replace(ip=name, prefix_len=prefix_len)
                    if not any(clear.covers(number, entry) for clear in clears):
                        found[name] = settle(found.get(name), entry)
    return found


def distinct(files: Sequence[BinaryIO], part_bytes: int = PART_BYTES) -> Iterator[set[str]]:
    """Return the addresses of files, each once, in sets of bounded size: the files are read once for each."""
    parts = 1 + sum(os.fstat(file.fileno()).st_size for file in files) // part_bytes
    for part in range(parts):
        yield {ip for _, _, rows in _outlines(files) for ip, _, _ in rows if hash(ip) % parts == part}


class _Page:
    """A payload of a file, by its place among the files, that is read when an entry of it is wanted."""

    def __init__(self, payload: bytes, file: int) -> None:
        self.file = file
        self._payload: bytes | None = payload
        self._frame: Frame | None = None

    def entry(self, ip: str, number: int, prefix_len: int | None, known: set[bytes]) -> Entry | None:
        """Return an entry, None if the payload is not of the right form."""
        if self._payload is not None:
            frame = _unpacked(self._payload, known)
            self._frame, self._payload = frame and frame.replace(rows=[]), None
        return None if self._frame is None else self._frame.shape(number).replace(ip=ip, prefix_len=prefix_len)


class _Index:
    """The rows of files by their addresses."""

    def __init__(self) -> None:
        self._rows: dict[str, Indexed] = {}
        self._known: set[bytes] = set()
        self._row_count = self._payload_bytes = 0
        self._marks: list[tuple[tuple[int, int], int, bytes]] = []
        """Device and inode of each file, how many bytes of it were read, and some of these."""

    @property
    def is_full(self) -> bool:
        """Whether the index was given up."""
        return self._row_count > MAX_ROWS or self._payload_bytes > MAX_PAYLOAD_BYTES

    def continues(self, files: Sequence[BinaryIO]) -> bool:
        """Return whether what was read of the first files is still there."""
        return len(self._marks) <= len(files) and all(
            mark == _mark(file, read_bytes)
            for mark, file in zip(self._marks, files, strict=False)
            for _, read_bytes, _ in [mark]
        )

    def read(self, files: Sequence[BinaryIO]) -> None:
        """Read what was appended since the last call, and files that are new."""
        marks = []
        for number, file in enumerate(files):
            read_bytes = self._marks[number][1] if number < len(self._marks) else 0
            marks.append(_mark(file, self._read(number, file, read_bytes)))
        self._marks = marks

    def _read(self, number: int, file: BinaryIO, start: int) -> int:
        """Read a file from an offset on, and return where its last sound frame ends."""
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
        found = {ip: _settled(self._entries_backwards(ip, numbers), clears) for ip in addresses if ip in self._rows}
        return {ip: entry for ip, entry in found.items() if entry is not None}

    def _entries_backwards(self, ip: str, numbers: Sequence[int | None]) -> Iterator[Found]:
        row = self._rows.get(ip)
        while row is not None:
            page, place, prefix_len, row = row
            if entry := page.entry(ip, place, prefix_len, self._known):
                yield numbers[page.file], entry


def _mark(file: BinaryIO, read_bytes: int) -> tuple[tuple[int, int], int, bytes]:
    found = os.fstat(file.fileno())
    ends = max(read_bytes - MARK_BYTES, 0)
    known = os.pread(file.fileno(), min(MARK_BYTES, read_bytes), 0) + os.pread(file.fileno(), read_bytes - ends, ends)
    return (found.st_dev, found.st_ino), read_bytes, known
