"""Which answers are selected, by their number: each key is judged once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geocli.engine.kernel import FIRST_NUMBER, NEW, RENDERED, allocated
from geocli.formats.rows import restored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geocli.engine.answer_keys import Key
    from geocli.engine.numbered_answers import NumberedAnswers
    from geocli.selection import Selection


class Verdicts:
    """Judges answers by a selection. For one thread at a time.

    Attributes:
        selected: by number, whether an answer is selected; of those that were there at the last call of `update`.

    """

    def __init__(self, answers: NumberedAnswers, selection: Selection, key_fields: Sequence[str]) -> None:
        self.answers, self._selection = answers, selection
        self._columns = [key_fields.index(name) for name in selection.fields]
        self.selected = allocated(answers.engine.max_numbers)
        self._by_key: dict[Key, bool] = {}
        self._next, self._open = FIRST_NUMBER, list[int]()
        """The first number that was not looked at, and those before it whose answers were not complete."""

    def update(self) -> None:
        """Judge the answers that are new."""
        end: int = self.answers.engine.next_number
        new, self._open, self._next = [*self._open, *range(self._next, end)], [], end
        for number in new:
            state = self.answers.state(number)
            if state == NEW:
                self._open.append(number)
            elif state == RENDERED:
                self.selected[number] = self._is_selected(self.answers.key(number))

    def _is_selected(self, key: Key) -> bool:
        own = tuple(key[column] for column in self._columns)
        if own not in self._by_key:
            self._by_key[own] = self._selection.admits(list(map(restored, own)))
        return self._by_key[own]
