"""Keys of answers: the values of some fields, by which addresses are counted and selected."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, TypeAlias

from geocli.engine.kernel import FIRST_NUMBER, allocated
from geocli.formats.rows import json_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Key: TypeAlias = tuple[Any, ...]


class AnswerKeys:
    """The key of each answer, by its number; each key is stored once."""

    def __init__(self, fields: Sequence[str], max_numbers: int) -> None:
        self._fields = fields
        self._key_numbers: dict[Key, int] = {}
        self._keys: list[Key] = []
        self._numbers = memoryview(allocated(4 * max_numbers)).cast("I")

    def add(self, numbers: Sequence[int], values: Mapping[str, Sequence[Any]]) -> None:
        """Store the keys of answers, whose fields are given as columns; fields without a column are unknown."""
        if not self._fields:
            return
        columns = [column_of(values, name, len(numbers)) for name in self._fields]
        for number, key in zip(numbers, zip(*columns, strict=True), strict=True):
            if key not in self._key_numbers:
                self._key_numbers[key] = len(self._keys)
                self._keys.append(key)
            self._numbers[number] = self._key_numbers[key]

    def counts(self, numbers: Iterable[int]) -> Counter[Key]:
        """Count the keys of answers; numbers that are not those of answers are left out."""
        counts = Counter[Key]()
        for number, count in Counter(numbers).items():
            if number >= FIRST_NUMBER:
                counts[self.key(number)] += count
        return counts

    def key(self, number: int) -> Key:
        """Return the key of an answer."""
        return self._keys[self._numbers[number]]


def column_of(values: Mapping[str, Sequence[Any]], name: str, count: int) -> Sequence[Any]:
    """Return the values of a field or trait, which can be compared; lists and maps as JSON."""
    field, _, trait = name.partition(".")
    if field not in values:
        return [False if field == "cached" else None] * count
    if field != "traits":
        return values[field]
    return [comparable((traits or {}).get(trait) if trait else traits) for traits in values[field]]


def comparable(value: Any) -> Any:
    """Return a value of a trait, lists and maps as JSON."""
    return json_text(value) if isinstance(value, list | dict) else value
