"""What the records of several databases say together, for many addresses at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geocli.bulk.columns import DAMAGED, UNKNOWN, Columns, Profiles, Said, Table, column_of
from geocli.bulk.decoding import Decoder
from geocli.bulk.layouts import Lines
from geocli.entries import WHERE_FIELDS, all_traits, instant_text, taken
from geocli.resolvers.mmdb import ONLY_TRAITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from geocli.bulk.layouts import Layout
    from geocli.bulk.outputs import Output
    from geocli.bulk.tree import Tree
    from geocli.databases.discovery import Database
    from geocli.entries import Known


class Merged:
    """What databases say together, for each of some addresses."""

    def __init__(self, is_damaged: NDArray[np.bool_]) -> None:
        """Begin with nothing said, knowing which records cannot be read, of which nothing is."""
        count = len(is_damaged)
        self.is_damaged = is_damaged
        self.columns: Columns = {}
        """All that is known; where it is written already, only what is counted."""
        self.segments: list[NDArray[Any]] = []
        """What is written, by position, as bytes."""
        self.is_written = np.zeros(count, np.bool_)
        """Where that is known."""
        self.sources = np.zeros(count, np.uint32)
        """Which databases it is from: bit i stands for the i-th. 0 if nobody says anything of use."""
        self.knows_where = np.zeros(count, np.bool_)
        """Whether it is known where the place is."""

    def put(self, name: str, at: NDArray[np.intp] | int, what: Any) -> None:
        """Enter what is known at some places."""
        column_of(self.columns, name, len(self.sources))[at] = what


class _Recipe(NamedTuple):
    """How to merge records that have these profiles."""

    fields: Mapping[str, int]
    """By field, which database has it."""
    traits: Mapping[str, int]
    """Likewise for traits, in their order."""
    traits_of: int | None
    """The database that has exactly these traits, if one does."""
    constants: Said
    """What is the same for all of them."""
    sources: int
    layout: Layout | None
    """How their lines are put together; None if these are to be made of what is known."""


class Records:
    """Asks databases for their records."""

    def __init__(self, databases: Sequence[Database], trees: Sequence[Tree], output: Output, *, is_kept: bool) -> None:
        """Take the databases in their order, with their trees, what lines look like, and whether all else is wanted."""
        wanted = output.fields | {"country_code"}
        with_traits = is_kept or "traits" in wanted
        self._with_traits = with_traits
        self._profiles = Profiles()
        self._origins: list[Said] = [
            {"status": "resolved", "source": database.name}
            | ({"built_at": instant_text(database.built_at)} if database.built_at else {})
            for database in databases
        ]
        ignored = ONLY_TRAITS if len(databases) == 1 and not with_traits else frozenset[str]()
        self._tables = [
            Table(
                database,
                Decoder(*tree.data, ignored),
                self._profiles,
                None if is_kept else wanted,
                with_traits=with_traits,
            )
            for database, tree in zip(databases, trees, strict=True)
        ]
        self._recipes: dict[tuple[int, ...], _Recipe | None] = {}
        is_written = output.is_plain and len(databases) > 1 and not with_traits
        self._lines = Lines(output, self._tables) if is_written else None

    @property
    def size_bytes(self) -> int:
        """About how much memory is taken by what is kept of records."""
        return sum(table.size_bytes for table in self._tables) + (self._lines.size_bytes if self._lines else 0)

    def merged(self, offsets: NDArray[np.uint32], texts: Sequence[bytes], places: NDArray[np.intp]) -> Merged:
        """Return what the databases say together, as `entries.merge` has it.

        Args:
            offsets: where the data of each database begin, as `Tree.walk` returns them, with shape (n, databases).
            texts: addresses.
            places: which of them have these records.

        """
        numbers = np.empty(offsets.shape, np.intp)
        profiles = np.empty(offsets.shape, np.int64)
        for bit, table in enumerate(self._tables):
            numbers[:, bit] = table.numbers(offsets[:, bit], texts, places)
            profiles[:, bit] = table.profiles[numbers[:, bit]]
        merged = Merged((profiles == DAMAGED).any(axis=1))
        kinds = np.zeros(len(offsets), np.int64)
        for column in profiles.T:
            _, kinds = np.unique(kinds * len(self._profiles) + column, return_inverse=True)
        order = np.argsort(kinds, kind="stable")
        for which in np.split(order, np.flatnonzero(np.diff(kinds[order])) + 1):
            if not merged.is_damaged[which[0]]:
                self._merge(merged, tuple(profiles[which[0]].tolist()), which, numbers[which])
        if len(self._tables) == 1:  # whoever calls keeps what comes of this
            self._tables[0].forget()
        return merged

    def _merge(self, merged: Merged, kind: tuple[int, ...], which: NDArray[np.intp], numbers: NDArray[np.intp]) -> None:
        """Merge records that have the same profiles."""
        if kind not in self._recipes:
            self._recipes[kind] = self._recipe(kind)
        recipe = self._recipes[kind]
        if recipe is None:
            self._merge_by_rows(merged, which, numbers)
            return
        merged.sources[which] = recipe.sources
        merged.knows_where[which] = knows_where(recipe.fields)
        if self._lines and recipe.layout:
            merged.is_written[which] = True
            merged.segments = merged.segments or [np.full(len(merged.sources), None) for _ in recipe.layout]
            for segment, texts in zip(merged.segments, self._lines.segments(recipe.layout, numbers), strict=True):
                segment[which] = texts
            merged.put("status", which, recipe.constants["status"])
            if (bit := recipe.fields.get("country_code")) is not None:
                merged.put("country_code", which, self._tables[bit].columns["country_code"][numbers[:, bit]])
            return
        for name, what in recipe.constants.items():
            merged.put(name, which, what)
        for name, bit in recipe.fields.items():
            merged.put(name, which, self._tables[bit].columns[name][numbers[:, bit]])
        if self._with_traits and recipe.traits:
            merged.put("traits", which, self._traits(recipe, numbers))

    def _traits(self, recipe: _Recipe, numbers: NDArray[np.intp]) -> NDArray[Any]:
        if recipe.traits_of is not None:
            return self._tables[recipe.traits_of].columns["traits"][numbers[:, recipe.traits_of]]
        found = {bit: self._tables[bit].columns["traits"][numbers[:, bit]] for bit in set(recipe.traits.values())}
        rows = np.empty(len(numbers), object)
        rows[:] = [{name: found[bit][at][name] for name, bit in recipe.traits.items()} for at in range(len(numbers))]
        return rows

    def _recipe(self, kind: tuple[int, ...]) -> _Recipe | None:
        """Find out who says what, by merging numbers of databases as if they were what these say; None if it varies."""
        known = self._profiles.by_number
        whole: Said = {}
        sources = 0
        for bit, number in enumerate(kind):
            profile = known[number]
            if number == UNKNOWN or profile is None:
                continue
            said: Said = dict.fromkeys(profile.fields, bit) | self._origins[bit]
            if profile.traits:
                said["traits"] = dict.fromkeys(profile.traits, bit)
            if "asn" in whole and "org" not in whole and {"asn", "org"} <= profile.fields:
                return None  # it matters whether both name the same network
            both = joined(whole, said) if whole else said
            sources |= (both is not whole) << bit
            whole = both
        traits = whole.pop("traits", {})
        constants: Said = {name: whole.pop(name) for name in ("status", "source", "built_at") if name in whole}
        same = [bit for bit in set(traits.values()) if (one := known[kind[bit]]) and one.traits == tuple(traits)]
        traits_of = same[0] if set(traits.values()) == set(same) and same else None
        layout = self._lines.layout(whole, constants) if self._lines and knows_where(whole) else None
        return _Recipe(whole, traits, traits_of, constants, sources, layout)

    def _merge_by_rows(self, merged: Merged, which: NDArray[np.intp], numbers: NDArray[np.intp]) -> None:
        """Merge records one by one."""
        for at, row in zip(which.tolist(), numbers.tolist(), strict=True):
            whole: Said = {}
            for bit, number in enumerate(row):
                if said := self._tables[bit].said(number):
                    said |= self._origins[bit]
                    both = joined(whole, said) if whole else said
                    merged.sources[at] |= (both is not whole) << bit
                    whole = both
            merged.knows_where[at] = knows_where(whole)
            for name, what in whole.items():
                merged.put(name, at, what)


def joined(first: Said, second: Said) -> Said:
    """Add to what one source says what it lacks and another has."""
    names = taken(_known(first), _known(second))
    traits = all_traits(*((knows_where(said), said.get("traits", {})) for said in (first, second)))
    if not names and traits == first.get("traits", {}):
        return first
    said = {**first, **{name: second[name] for name in names & second.keys()}}
    said["source"] = f"{first['source']}+{second['source']}"
    said.pop("traits", None)
    if traits:
        said["traits"] = traits
    if "built_at" in second:
        said.setdefault("built_at", second["built_at"])
    return said


def _known(said: Said) -> Known:
    return knows_where(said), said.get("asn"), said.get("org")


def knows_where(said: Mapping[str, Any]) -> bool:
    """Tell whether it is known where a place is."""
    return not WHERE_FIELDS.isdisjoint(said)
