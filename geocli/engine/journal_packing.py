"""Encode the answers of a batch as payloads of the journal: each address once per run, each place once per frame."""

from __future__ import annotations

from ctypes import byref, sizeof
from typing import TYPE_CHECKING

from geocli.engine.blocks import zeros
from geocli.engine.kernel import Row, Writer, address_of, kernel, numbering
from geocli.storage.frames import HEADER_BYTES, MAX_BYTES, TARGET_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geocli.engine.block_answers import BlockAnswers

MAX_SEEN = 5 << 17
"""Number of addresses that are remembered, in 16 MB."""
BEFORE_ADDRESSES, BEFORE_PLACES, AFTER_PLACES = b',"ips":"', b'","places":[', b']}],"rows":[[]}\n'
ENVELOPE_BYTES = len(BEFORE_ADDRESSES + BEFORE_PLACES + AFTER_PLACES)


class JournalPacker:
    """Encodes answers to addresses that are new in this run. Not thread-safe."""

    def __init__(self) -> None:
        self._seen = numbering(MAX_SEEN)
        self._texts = [bytearray(TARGET_BYTES), bytearray(TARGET_BYTES)]

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
        engine, calls = byref(answers.engine), kernel()
        total = sum(len(block.block) for block in blocks)
        rows, ordered = bytearray(total * sizeof(Row)), bytearray(total * sizeof(Row))
        count = 0
        for block in blocks:
            count = calls.collect(byref(self._seen), byref(block.native), address_of(rows), count)
        numbers, groups = answers.engine.next_number, answers.engine.group_keys.count
        starts = zeros(max(256, numbers, groups))
        calls.sort(engine, address_of(rows), address_of(ordered), count, address_of(starts), numbers, groups)
        start, max_bytes = address_of(ordered), TARGET_BYTES - HEADER_BYTES - len(head) - ENVELOPE_BYTES
        while count:
            writers = [Writer(to=address_of(text), room=len(text)) for text in self._texts]
            packed = calls.payload(engine, start, count, max_bytes, *map(byref, writers))
            sizes = [writer.used for writer in writers]
            if len(head) + ENVELOPE_BYTES + sum(sizes) > MAX_BYTES:
                raise ValueError(f"an entry of {sum(sizes)} bytes does not fit into a frame")
            if any(size > len(text) for size, text in zip(sizes, self._texts, strict=True)):
                self._texts = [bytearray(max(size, TARGET_BYTES)) for size in sizes]
                continue
            start, count = start + packed * sizeof(Row), count - packed
            addresses, places = (memoryview(text)[:size] for text, size in zip(self._texts, sizes, strict=True))
            yield b"".join((head.encode("ascii"), BEFORE_ADDRESSES, addresses, BEFORE_PLACES, places))
