"""Keys of answers: the values of fields by which addresses are counted and selected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from geocli.formats.rows import JsonText, json_text
from geocli.json_coding import parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from geocli.engine.recipes import Group, Kind, Recipe

Key: TypeAlias = tuple[Any, ...]


class AnswerKeys:
    """The key of each answer, by number. Each record has a label, which stands for the values of its fields."""

    def __init__(self, fields: Sequence[str], numbers: Sequence[int]) -> None:
        """Use the memory of the kernel.

        Args:
            fields: fields of keys.
            numbers: for each answer a number that stands for its key.

        """
        self._fields, self._numbers = fields, numbers
        self._labels: dict[Key, int] = {}
        self._values: list[Key] = [(None,) * len(fields)]
        """The values of records by their labels."""
        self._keys: dict[int, Key] = {}
        self._plans: dict[int, Sequence[tuple[int | None, Any]]] = {}
        """For recipes, the source of each field; or None, and the sources of all traits, or the value of the field."""

    def labels(self, kind: Kind, group: Group) -> list[int]:
        """Return the labels of records; none if there are no keys."""
        if not self._fields:
            return []
        columns = [map(comparable, _column(kind, group, name)) for name in self._fields]
        keys = list(zip(*columns, strict=True))
        for key in dict.fromkeys(keys):
            if key not in self._labels:
                self._labels[key] = len(self._values)
                self._values.append(key)
        return [self._labels[key] for key in keys]

    def add(self, number: int, recipe: Recipe, members: Mapping[str, str]) -> int:
        """Add the recipe of answers, and their common members; return the bits of the records with fields of keys."""
        plan, bits = list[tuple[int | None, Any]](), 0
        for name in self._fields:
            sources = _sources(recipe, name)
            bits |= sum(1 << source for source in set(sources))
            if not sources:
                plan.append((None, False if name == "cached" else members.get(name)))
            else:
                plan.append((None, recipe.traits) if name == "traits" else (sources[0], None))
        self._plans[number] = plan
        return bits

    def key(self, number: int, labels_of: Callable[[int], tuple[int, Sequence[int]]]) -> Key:
        """Return the key of an answer; `labels_of` returns its recipe, and the labels of its records."""
        key = self._keys.get(self._numbers[number])
        if key is None:
            recipe, labels = labels_of(number)
            key = tuple([value if source is None else self._values[labels[source]][column]
                         for column, (source, value) in enumerate(self._plans[recipe])])  # fmt: skip
            if "traits" in self._fields:
                key = tuple(self._traits(value, labels) if isinstance(value, dict) else value for value in key)
            self._keys[self._numbers[number]] = key
        return key

    def _traits(self, sources: Mapping[str, int], labels: Sequence[int]) -> str:
        """Return the traits of several records by the source of each."""
        column = self._fields.index("traits")
        traits = {source: parse_json(self._values[labels[source]][column]) for source in set(sources.values())}
        return json_text({trait: traits[source][trait] for trait, source in sources.items()})


def _column(kind: Kind, group: Group, name: str) -> Sequence[Any]:
    """Return a field, a trait, or all traits of records; None for those that do not have it."""
    if not kind.has(name):
        return [None] * len(group.numbers)
    if name != "traits":
        return group.field(name)
    rows = zip(*(group.field(f"traits.{trait}") for trait in kind.traits), strict=True)
    return [dict(zip(kind.traits, row, strict=True)) for row in rows]


def _sources(recipe: Recipe, name: str) -> list[int]:
    """Return the sources of a field or trait."""
    field, _, trait = name.partition(".")
    if name == "traits":
        return list(recipe.traits.values())
    source = recipe.traits.get(trait) if field == "traits" else recipe.fields.get(name)
    return [] if source is None else [source]


def comparable(value: Any) -> Any:
    """Return the value of a trait; lists and maps as JSON."""
    return JsonText(json_text(value)) if isinstance(value, list | dict) else value
