"""Keys of answers: the values of fields by which addresses are counted and selected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from geocli.formats.rows import JsonText, json_text
from geocli.json_coding import parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from geocli.engine.recipes import Group, Kind, Recipe

Key: TypeAlias = tuple[Any, ...]

_ALL_TRAITS = object()
"""Stands for the traits of several records."""


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
        self._recipes: dict[int, tuple[Recipe, Mapping[str, str]]] = {}
        """The recipes of answers, with their common members."""
        self._keys: dict[int, Key] = {}
        self._plans: dict[int, Sequence[tuple[int | None, Any]]] = {}
        """For recipes, where their fields are."""

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
        self._recipes[number] = recipe, members
        sources = {source for name in self._fields for source in _sources(recipe, name)}
        return sum(1 << source for source in sources)

    def key(self, number: int, labels_of: Callable[[int], tuple[int, Sequence[int]]]) -> Key:
        """Return the key of an answer; `labels_of` returns its recipe, and the labels of its records."""
        key = self._keys.get(self._numbers[number])
        if key is None:
            recipe_number, labels = labels_of(number)
            plan = self._plans.get(recipe_number)
            if plan is None:
                plan = self._plans[recipe_number] = self._plan(*self._recipes[recipe_number])
            key = tuple([value if source is None else self._values[labels[source]][column]
                         for column, (source, value) in enumerate(plan)])  # fmt: skip
            if _ALL_TRAITS in key:
                key = self._with_traits(key, recipe_number, labels)
            self._keys[self._numbers[number]] = key
        return key

    def _plan(self, recipe: Recipe, members: Mapping[str, str]) -> Sequence[tuple[int | None, Any]]:
        """Return the source of each field; where it is the same for all answers of a recipe, None and the value."""
        plan: list[tuple[int | None, Any]] = []
        for name in self._fields:
            sources = _sources(recipe, name)
            if not sources:
                plan.append((None, False if name == "cached" else members.get(name)))
            else:
                plan.append((None, _ALL_TRAITS) if name == "traits" else (sources[0], None))
        return plan

    def _with_traits(self, key: Key, recipe_number: int, labels: Sequence[int]) -> Key:
        """Return a key with the traits of all records."""
        recipe, _ = self._recipes[recipe_number]
        column = self._fields.index("traits")
        traits = {source: parse_json(self._values[labels[source]][column]) for source in set(recipe.traits.values())}
        merged = json_text({trait: traits[source][trait] for trait, source in recipe.traits.items()})
        return tuple(merged if value is _ALL_TRAITS else value for value in key)


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
