"""Answers of a batch to frames of the journal: each address once a run, and each place once a frame."""

from __future__ import annotations

from ctypes import byref, c_uint64, sizeof
from typing import TYPE_CHECKING

from geocli.engine.blocks import zeros
from geocli.engine.kernel import Packer, Row, address_of, allocated, kernel
from geocli.storage.frames import HEADER_BYTES, MAX_BYTES, TARGET_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geocli.engine.block_answers import BlockAnswers
    from geocli.engine.kernel import Engine

SEEN_SLOTS = 1 << 20
"""Slots for addresses that were packed; with five eighths as many, the table is emptied."""
AROUND_BYTES = len(',"ips":"","places":[]}],"rows":[[]}\n')


class JournalPacker:
    """Packs addresses that are new in a run into payloads of frames. For one thread."""

    def __init__(self) -> None:
        self._seen = allocated(16 * SEEN_SLOTS)
        self._count = 0
        self._out = bytearray(2 * TARGET_BYTES)

    def payloads(self, head: str, blocks: Sequence[BlockAnswers]) -> Iterator[bytes]:
        """Return payloads with what is new among addresses of one table.

        An address that was packed before in this run is left out. After half a million others it may be packed again:
        that takes one row more in the journal, and changes nothing.

        Args:
            head: as `frames.head` returns it.
            blocks: their addresses go together; a place comes once, and again only in another frame.

        Raises:
            ValueError: a payload is larger than a reader takes.

        """
        answers = blocks[0].answers
        places = answers.places
        if places is None:
            return
        engine, calls = answers.engine, kernel()
        packer = Packer.from_buffer_copy(places.packer)
        packer.seen, packer.mask, packer.count = address_of(self._seen), SEEN_SLOTS - 1, self._count
        packer.capacity = SEEN_SLOTS // 8 * 5
        total = sum(len(found.block) for found in blocks)
        rows, other = bytearray(total * sizeof(Row)), bytearray(total * sizeof(Row))
        count = 0
        for found in blocks:
            count = calls.collect(byref(packer), byref(engine), byref(found.native), address_of(rows), count)
        self._count = packer.count
        numbers, groups = engine.next_number, places.group_count
        starts = zeros(max(256, numbers, groups))
        calls.sort(byref(packer), address_of(rows), address_of(other), count, address_of(starts), numbers, groups)
        start, text = address_of(other), head.encode("ascii")
        room = TARGET_BYTES - HEADER_BYTES - len(text) - AROUND_BYTES
        while count:
            packed, payload = self._payload(packer, engine, start, count, text, room)
            start, count = start + packed * sizeof(Row), count - packed
            yield payload

    def _payload(  # noqa: PLR0913, PLR0917 (as the kernel takes them)
        self, packer: Packer, engine: Engine, start: int, count: int, head: bytes, max_bytes: int
    ) -> tuple[int, bytes]:
        """Return how many of the sorted rows go into the next payload, and this."""
        size_bytes = c_uint64()
        arguments = byref(packer), byref(engine), start, count, head, len(head), max_bytes
        packed = kernel().payload(*arguments, address_of(self._out), len(self._out), byref(size_bytes))
        if size_bytes.value > MAX_BYTES:
            raise ValueError(f"an entry of {size_bytes.value} bytes does not fit into a frame")
        if size_bytes.value > len(self._out):
            self._out = bytearray(size_bytes.value)
            return self._payload(packer, engine, start, count, head, max_bytes)
        return packed, bytes(memoryview(self._out)[: size_bytes.value])
