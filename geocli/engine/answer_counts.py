"""Count rows by the numbers of their answers, and distinct addresses, exactly up to a bound."""

from __future__ import annotations

from ctypes import byref, sizeof
from typing import TYPE_CHECKING

from geocli.engine.blocks import Block, offsets
from geocli.engine.kernel import FIRST_NUMBER, Row, address_of, allocated, kernel, numbering

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from geocli.engine.answer_keys import Key
    from geocli.engine.block_answers import BlockAnswers
    from geocli.engine.numbered_answers import NumberedAnswers

MAX_ADDRESSES = 5 << 19
"""Addresses take 64 MB, a hash table of which five eighths are used."""


class DistinctAddresses:
    """The addresses that occurred so far.

    Attributes:
        is_full: whether there were more than `MAX_ADDRESSES`, so that further ones are not counted.

    """

    def __init__(self) -> None:
        self.is_full = False
        self._seen, self._rows = numbering(MAX_ADDRESSES), bytearray()

    def add(self, native: Any, size: int, counts: Any) -> None:
        """Count the addresses of a block that did not occur before, by the numbers of their answers.

        Args:
            native: the block for the kernel.
            size: the number of its addresses.
            counts: memory of 64-bit counts, by number.

        """
        new = self._collect(native, size)
        first = address_of(self._rows) + Row.number.offset if new else 0
        kernel().count(first, new, sizeof(Row) // 4, address_of(counts))

    def add_texts(self, addresses: Sequence[bytes]) -> list[int]:
        """Return the positions of addresses, in canonical form, that did not occur before."""
        block = Block.joined(addresses, [b""] * len(addresses))
        numbers = offsets(range(FIRST_NUMBER, FIRST_NUMBER + len(addresses)))
        new = self._collect(block.for_kernel(numbers=numbers, prefixes=bytearray(len(addresses))), len(addresses))
        words = memoryview(self._rows).cast("I")[: new * sizeof(Row) // 4]
        return [number - FIRST_NUMBER for number in words[Row.number.offset // 4 :: sizeof(Row) // 4]]

    def _collect(self, native: Any, size: int) -> int:
        """Write rows for the addresses of a block that did not occur before; return how many there are."""
        self.is_full = self.is_full or self._seen.count + size > MAX_ADDRESSES
        if self.is_full or not size:
            return 0
        if len(self._rows) < size * sizeof(Row):
            self._rows = bytearray(size * sizeof(Row))
        new: int = kernel().collect(byref(self._seen), byref(native), address_of(self._rows), 0)
        return new


class AnswerCounts:
    """Counts of the answers of one table."""

    def __init__(self, answers: NumberedAnswers) -> None:
        self.answers = answers
        self._lines, self._addresses = (allocated(8 * answers.engine.max_numbers) for _ in range(2))

    def add(self, block_answers: BlockAnswers, distinct: object) -> None:
        """Count the answers of a block; and its distinct addresses, if `distinct` is a table of them."""
        kernel().count(address_of(block_answers.numbers), len(block_answers.numbers), 1, address_of(self._lines))
        if isinstance(distinct, DistinctAddresses):
            distinct.add(block_answers.native, len(block_answers.block), self._addresses)

    def take(self) -> Iterator[tuple[Key, int, int]]:
        """Return the keys of answers that were counted, with lines and distinct addresses, and begin again."""
        end = self.answers.engine.next_number
        lines, addresses = (memoryview(memory).cast("Q") for memory in (self._lines, self._addresses))
        for number, count in enumerate(lines[FIRST_NUMBER:end].tolist(), FIRST_NUMBER):
            if count:
                yield self.answers.key(number), count, addresses[number]
                lines[number] = addresses[number] = 0
