"""Encode the answers of a batch as payloads of the journal: each address once per run, each place once per frame."""

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
"""Slots of the hash table of packed addresses, which is emptied when five eighths are used."""
ENVELOPE_BYTES = len(',"ips":"","places":[]}],"rows":[[]}\n')


class JournalPacker:
    """Encodes answers to addresses that are new in this run. Not thread-safe."""

    def __init__(self) -> None:
        self._seen = allocated(16 * SEEN_SLOTS)
        self._count = 0
        self._out = bytearray(2 * TARGET_BYTES)

    def payloads(self, head: str, blocks: Sequence[BlockAnswers]) -> Iterator[bytes]:
        """Yield payloads with the new answers of blocks, which must be of one table.

        Addresses that were packed before in this run are left out. The memory of these is bounded: an address may be
        packed again after half a million others, which costs one more row and is otherwise harmless.

        Args:
            head: beginning of each payload, as `frames.head` returns it.
            blocks: blocks to pack together, so that they share places.

        Raises:
            ValueError: a payload exceeds the maximum size of a frame.

        """
        answers = blocks[0].answers
        if not answers.is_kept:
            return
        engine, calls = answers.engine, kernel()
        packer = Packer(address_of(self._seen), SEEN_SLOTS - 1, self._count, SEEN_SLOTS // 8 * 5)
        total = sum(len(block.block) for block in blocks)
        rows, ordered = bytearray(total * sizeof(Row)), bytearray(total * sizeof(Row))
        count = 0
        for block in blocks:
            count = calls.collect(byref(packer), byref(engine), byref(block.native), address_of(rows), count)
        self._count = packer.count
        numbers, groups = engine.next_number, engine.group_keys.count
        starts = zeros(max(256, numbers, groups))
        calls.sort(byref(engine), address_of(rows), address_of(ordered), count, address_of(starts), numbers, groups)
        start, head_bytes = address_of(ordered), head.encode("ascii")
        max_bytes = TARGET_BYTES - HEADER_BYTES - len(head_bytes) - ENVELOPE_BYTES
        while count:
            packed, payload = self._payload(engine, start, count, head_bytes, max_bytes)
            start, count = start + packed * sizeof(Row), count - packed
            yield payload

    def _payload(self, engine: Engine, start: int, count: int, head: bytes, max_bytes: int) -> tuple[int, bytes]:
        """Return how many of the sorted rows fit into the next payload, and the payload."""
        size_bytes = c_uint64()
        arguments = byref(engine), start, count, head, len(head), max_bytes
        packed = kernel().payload(*arguments, address_of(self._out), len(self._out), byref(size_bytes))
        if size_bytes.value > MAX_BYTES:
            raise ValueError(f"an entry of {size_bytes.value} bytes does not fit into a frame")
        if size_bytes.value > len(self._out):
            self._out = bytearray(size_bytes.value)
            return self._payload(engine, start, count, head, max_bytes)
        return packed, bytes(memoryview(self._out)[: size_bytes.value])
