"""What the records of several databases say together, for many addresses at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from geocli.bulk.decoding import DOUBLE, FLOAT, READABLE, Decoder, Leaf, OddError
from geocli.bulk.numbering import UNKNOWN as NO_NUMBER
from geocli.bulk.numbering import Numbering
from geocli.bulk.tree import NOTHING, SEPARATOR_BYTES
from geocli.entries import WHERE_FIELDS, all_traits, instant_text, taken
from geocli.errors import DatabaseError
from geocli.resolvers.countries import country_name
from geocli.resolvers.mmdb import ONLY_TRAITS, fields_of, mapping_of, record_at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from geocli.bulk.tree import Tree
    from geocli.databases.discovery import Database
    from geocli.entries import Known
    from geocli.resolvers.mmdb import Conversion

    Mapped: TypeAlias = tuple[dict[str, tuple[Leaf, Conversion]], dict[str, Any]]

Said: TypeAlias = dict[str, Any]
"""What is known of a place, who says so, and since when, by field; instants as text."""
Columns: TypeAlias = dict[str, "NDArray[Any]"]
"""The same of many places, side by side; None for what is not known."""
UNKNOWN, DAMAGED = 0, 1
"""The profiles of a record that says nothing, and of one that cannot be read."""
SAID_BYTES, TEXT_BYTES = 300, 150
"""About what is taken by a record that is kept, and by a text."""


class Profile(NamedTuple):
    """What kind of things a record says."""

    fields: frozenset[str]
    """The fields of a place that it knows."""
    traits: tuple[str, ...]
    """The names of its traits, in their order."""


class Merged(NamedTuple):
    """What databases say together, for each of some addresses."""

    columns: Columns
    """All that is known."""
    sources: NDArray[np.uint32]
    """Which databases it is from: bit i stands for the i-th. 0 if nobody says anything of use."""
    knows_where: NDArray[np.bool_]
    """Whether it is known where the place is."""
    is_damaged: NDArray[np.bool_]
    """Whether a record cannot be read; then nothing else is said."""


class _Recipe(NamedTuple):
    """How to merge records that have these profiles."""

    fields: Mapping[str, int]
    """By field, which database has it."""
    traits: Mapping[str, int]
    """Likewise for traits."""
    constants: Said
    """What is the same for all of them."""
    sources: int


class Records:
    """Asks databases for their records."""

    def __init__(self, databases: Sequence[Database], trees: Sequence[Tree], *, with_traits: bool) -> None:
        """Take the databases in their order, with their trees, and whether anybody asks for traits."""
        self._with_traits = with_traits
        self._profiles: dict[Profile | None, int] = {Profile(frozenset(), ()): UNKNOWN, None: DAMAGED}
        self._origins: list[Said] = [
            {"status": "resolved", "source": database.name}
            | ({"built_at": instant_text(database.built_at)} if database.built_at else {})
            for database in databases
        ]
        ignored = ONLY_TRAITS if len(databases) == 1 and not with_traits else frozenset[str]()
        self._tables = [
            _Table(database, Decoder(*tree.data, ignored), self._profiles, with_traits=with_traits)
            for database, tree in zip(databases, trees, strict=True)
        ]
        self._recipes: dict[tuple[int, ...], _Recipe | None] = {}

    @property
    def size_bytes(self) -> int:
        """About how much memory is taken by what is kept of records."""
        return sum(table.size_bytes for table in self._tables)

    def merged(self, offsets: NDArray[np.uint32], texts: Sequence[bytes]) -> Merged:
        """Return what the databases say together, as `entries.merge` has it.

        Args:
            offsets: where the data of each database begin, as `Tree.walk` returns them, with shape (n, databases).
            texts: addresses that have these records.

        """
        numbers = np.empty(offsets.shape, np.intp)
        profiles = np.empty(offsets.shape, np.int64)
        for bit, table in enumerate(self._tables):
            numbers[:, bit] = table.numbers(offsets[:, bit], texts)
            profiles[:, bit] = table.profiles[numbers[:, bit]]
        count = len(texts)
        merged = Merged({}, np.zeros(count, np.uint32), np.zeros(count, np.bool_), (profiles == DAMAGED).any(axis=1))
        kinds = np.zeros(count, np.int64)
        for column in profiles.T:
            _, kinds = np.unique(kinds * len(self._profiles) + column, return_inverse=True)
        for number in range(int(kinds.max(initial=-1)) + 1):
            which = np.flatnonzero(kinds == number)
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
        for name, what in recipe.constants.items():
            _column(merged.columns, name, len(merged.sources))[which] = what
        for name, bit in recipe.fields.items():
            _column(merged.columns, name, len(merged.sources))[which] = self._tables[bit].columns[name][numbers[:, bit]]
        if self._with_traits and recipe.traits:
            _column(merged.columns, "traits", len(merged.sources))[which] = self._traits(recipe, numbers)

    def _traits(self, recipe: _Recipe, numbers: NDArray[np.intp]) -> NDArray[Any]:
        found = {bit: self._tables[bit].columns["traits"][numbers[:, bit]] for bit in set(recipe.traits.values())}
        (first, *others) = found.values()
        if not others and len(first[0]) == len(recipe.traits):  # none of them is left out
            return first
        rows = np.empty(len(numbers), object)
        rows[:] = [{name: found[bit][at][name] for name, bit in recipe.traits.items()} for at in range(len(numbers))]
        return rows

    def _recipe(self, kind: tuple[int, ...]) -> _Recipe | None:
        """Find out who says what, by merging numbers of databases as if they were what these say; None if it varies."""
        known = [*self._profiles]
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
        return _Recipe(whole, traits, constants, sources)

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
                _column(merged.columns, name, len(merged.sources))[at] = what


class _Table:
    """The records of one database that were met, by number, 0 for none."""

    def __init__(
        self, database: Database, decoder: Decoder, profiles: dict[Profile | None, int], *, with_traits: bool
    ) -> None:
        self._database, self._decoder, self._with_traits = database, decoder, with_traits
        self._known = profiles
        self._mappings: dict[int, Mapped | None] = {}
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._numbers = Numbering()
        self._numbers.add(np.array([NOTHING], np.uint64), np.zeros(1, np.int64))
        self.columns: Columns = {}
        self.profiles = np.full(1, UNKNOWN, np.int64)

    @property
    def size_bytes(self) -> int:
        return len(self._numbers) * SAID_BYTES + len(self._decoder.texts) * TEXT_BYTES

    def numbers(self, offsets: NDArray[np.uint32], texts: Sequence[bytes]) -> NDArray[np.int64]:
        """Return the numbers of the records of some addresses."""
        found = self._numbers.get(offsets)
        new = np.flatnonzero(found == NO_NUMBER)
        if len(new):
            distinct, first = np.unique(offsets[new], return_index=True)
            numbers = np.arange(len(distinct)) + len(self._numbers)
            self._numbers.add(distinct, numbers)
            self._add(numbers, distinct, [texts[at].decode() for at in new[first].tolist()])
            found[new] = self._numbers.get(offsets[new])
        return found

    def said(self, number: int) -> Said:
        """Return what one record says, but for its origin; if nobody asks for traits, their names stand for them."""
        said = {name: column[number] for name, column in self.columns.items() if column[number] is not None}
        profile = [*self._known][self.profiles[number]]
        if profile and profile.traits:
            said.setdefault("traits", dict.fromkeys(profile.traits))
        return said

    def _add(self, numbers: NDArray[np.intp], offsets: NDArray[np.uint32], texts: Sequence[str]) -> None:
        if len(self._numbers) > len(self.profiles):
            self.profiles = grown(self.profiles, len(self._numbers))
            self.columns = {name: grown(column, len(self._numbers)) for name, column in self.columns.items()}
        try:
            for shape, template, which, read in self._decoder.groups(offsets.astype(np.int64) - SEPARATOR_BYTES):
                mapping = self._mapping(shape, template)
                if mapping is None:
                    self._ask(numbers[which], [texts[at] for at in which.tolist()])
                else:
                    self._take(numbers[which], *mapping, read)
        except OddError:
            self._ask(numbers, texts)

    def _mapping(self, shape: int, template: object) -> Mapped | None:
        """Return how the records of a shape are mapped; None if each is to be mapped by itself."""
        if shape not in self._mappings:
            mapping = mapping_of(template)
            self._mappings[shape] = None
            if mapping is not None:
                fields = {name: value for name, value in mapping[0].items() if isinstance(value[0], Leaf)}
                read = [leaf for leaf, _ in fields.values()] + [*mapping[1].values()] * self._with_traits
                if all(isinstance(leaf, Leaf) and leaf.type in READABLE for leaf in read):
                    self._mappings[shape] = fields, mapping[1]
        return self._mappings[shape]

    def _take(
        self,
        numbers: NDArray[np.intp],
        fields: Mapping[str, tuple[Leaf, Conversion]],
        traits: Mapping[str, Leaf],
        read: Callable[[Leaf], list[Any]],
    ) -> None:
        """Take what records of one shape say."""
        values = {name: list(map(conversion, read(leaf))) for name, (leaf, conversion) in fields.items()}
        _complete(values)
        if self._with_traits and traits:
            said = [_finite(leaf, read(leaf)) for leaf in traits.values()]
            values["traits"] = [dict(zip(traits, row, strict=True)) for row in zip(*said, strict=True)]
        masks = np.zeros(len(numbers), np.int64)
        for bit, (name, column) in enumerate(values.items()):
            self._column(name)[numbers] = column
            masks |= (np.array([what is not None for what in column]) if None in column else 1) << np.int64(bit)
        names = [name for name in values if name != "traits"]
        for mask in set(masks.tolist()):
            known = frozenset(name for bit, name in enumerate(names) if mask >> bit & 1)
            self.profiles[numbers[masks == mask]] = self._profile(known, tuple(traits))

    def _ask(self, numbers: NDArray[np.intp], texts: Sequence[str]) -> None:
        """Ask the reader for records one by one."""
        for number, text in zip(numbers.tolist(), texts, strict=True):
            try:
                said = fields_of(record_at(self._database, text)[0])
            except DatabaseError:
                self.profiles[number] = DAMAGED
                continue
            self.profiles[number] = self._profile(frozenset(said) - {"traits"}, tuple(said.get("traits", ())))
            for name, what in said.items():
                self._column(name)[number] = what

    def _column(self, name: str) -> NDArray[Any]:
        return _column(self.columns, name, len(self.profiles))

    def _profile(self, fields: frozenset[str], traits: tuple[str, ...]) -> int:
        return self._known.setdefault(Profile(fields, traits), len(self._known))


def _column(columns: Columns, name: str, count: int) -> NDArray[Any]:
    if name not in columns:
        columns[name] = np.full(count, None, object)
    return columns[name]


def side_by_side(places: Sequence[Said]) -> Columns:
    """Return what is known of some places by field."""
    columns: Columns = {}
    for at, said in enumerate(places):
        for name, what in said.items():
            _column(columns, name, len(places))[at] = what
    return columns


def _complete(values: dict[str, list[Any]]) -> None:
    """Add what follows from other fields, as `fields_of` does."""
    if "country_code" in values and (None in (names := values.get("country_name", [None]))):
        codes = values["country_code"]
        names = names if len(names) == len(codes) else [None] * len(codes)
        values["country_name"] = [name or country_name(code) for name, code in zip(names, codes, strict=True)]
    if isps := values.pop("isp", None):
        orgs = values.get("org", [None] * len(isps))
        values["org"] = [org or isp for org, isp in zip(orgs, isps, strict=True)]


def _finite(leaf: Leaf, values: list[Any]) -> list[Any]:
    if leaf.type in {DOUBLE, FLOAT} and not np.isfinite(values).all():
        raise OddError
    return values


def grown(column: NDArray[Any], least: int) -> NDArray[Any]:
    """Return a copy with more room: whoever reads the old one meanwhile finds in it what there was."""
    longer = np.full(max(2 * len(column), least, 1024), None if column.dtype == object else 0, column.dtype)
    longer[: len(column)] = column
    return longer


def joined(first: Said, second: Said) -> Said:
    """Add to what one source says what it lacks and another has."""
    names = taken(_known(first), _known(second))
    traits = all_traits(*((knows_where(said), said.get("traits", {})) for said in (first, second)))
    if not names and traits == first.get("traits", {}):
        return first
    said = {**first, **{name: second[name] for name in names & second.keys()}}
    said["source"] = f"{first['source']}+{second['source']}"
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
