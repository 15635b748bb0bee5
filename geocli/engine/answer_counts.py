"""Count rows and distinct addresses by the numbers of their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geocli.engine.distinct import DistinctAddresses
from geocli.engine.kernel import FIRST_NUMBER, address_of, allocated, kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geocli.engine.answer_keys import Key
    from geocli.engine.block_answers import BlockAnswers
    from geocli.engine.numbered_answers import NumberedAnswers


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
