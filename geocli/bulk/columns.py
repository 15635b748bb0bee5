"""What the records of one database say, column by column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from geocli.bulk.decoding import DOUBLE, FLOAT, READABLE, STRING, Leaf, OddError
from geocli.bulk.numbering import Numbering
from geocli.bulk.tree import NOTHING, SEPARATOR_BYTES
from geocli.entries import WHERE_FIELDS
from geocli.errors import DatabaseError
from geocli.resolvers.conversions import SHORT, Degrees, text_of
from geocli.resolvers.countries import country_name
from geocli.resolvers.mmdb import fields_of, mapping_of, record_at

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence

    from numpy.typing import NDArray

    from geocli.bulk.decoding import Decoder
    from geocli.databases.discovery import Database
    from geocli.resolvers.conversions import Conversion

    Mapped: TypeAlias = tuple[dict[str, tuple[Leaf, Conversion]], dict[str, Any], bool]

Said: TypeAlias = dict[str, Any]
"""What is known of a place, who says so, and since when, by field; instants as text."""
Columns: TypeAlias = dict[str, "NDArray[Any]"]
"""The same of many places, side by side; None for what is not known."""
UNKNOWN, DAMAGED = 0, 1
"""The profiles of a record that says nothing, and of one that cannot be read."""
SAID_BYTES = 250
"""About what is taken by a record that is kept, beside its texts."""


class Profile(NamedTuple):
    """What kind of things a record says."""

    fields: frozenset[str]
    """The fields of a place that it knows."""
    traits: tuple[str, ...]
    """The names of its traits, in their order."""


class Profiles(dict[Profile | None, int]):
    """The numbers of profiles, None for what cannot be read; a new one gets the next number."""

    def __init__(self) -> None:
        """Begin with `UNKNOWN` and `DAMAGED`."""
        super().__init__()
        self.by_number: list[Profile | None] = []
        for profile in (Profile(frozenset(), ()), None):
            self[profile]

    def __missing__(self, profile: Profile | None) -> int:
        """Give a number to a profile."""
        self[profile] = number = len(self.by_number)
        self.by_number.append(profile)
        return number


class Table:
    """The records of one database that were met, by number, 0 for none."""

    def __init__(
        self,
        database: Database,
        decoder: Decoder,
        profiles: Profiles,
        wanted: Container[str] | None,
        *,
        with_traits: bool,
    ) -> None:
        """Take what to read.

        Args:
            database: whose records these are.
            decoder: reads many of them.
            profiles: to which new ones are added.
            wanted: the fields of places that somebody asks for; None for all of them.
            with_traits: whether somebody asks for traits.

        """
        self._database, self._decoder, self._wanted, self._with_traits = database, decoder, wanted, with_traits
        self._known = profiles
        self._mappings: dict[int, Mapped | None] = {}
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._numbers = Numbering()
        self.columns: Columns = {}
        self.profiles = np.full(1, UNKNOWN, np.int64)

    @property
    def size_bytes(self) -> int:
        """About how much memory is taken by what is kept."""
        return len(self._numbers) * SAID_BYTES + self._decoder.size_bytes

    def numbers(
        self, offsets: NDArray[np.uint32], texts: Sequence[bytes], places: NDArray[np.intp]
    ) -> NDArray[np.int32]:
        """Return the numbers of the records of the addresses at some places of texts."""
        found, said = np.zeros(len(offsets), np.int32), np.flatnonzero(offsets != NOTHING)
        before = len(self._numbers)
        found[said] = self._numbers.dense(offsets[said].astype(np.uint64)) + 1
        new = np.flatnonzero(found > before)
        if len(new):
            one_of_each = np.empty(len(self._numbers) - before, np.intp)
            one_of_each[found[new] - before - 1] = new
            one_of_each = one_of_each[np.argsort(offsets[one_of_each])]  # what lies together is read together
            self._add(found[one_of_each], offsets[one_of_each], texts, places[one_of_each])
        return found

    def said(self, number: int) -> Said:
        """Return what one record says, but for its origin; if nobody asks for traits, their names stand for them."""
        said = {name: column[number] for name, column in self.columns.items() if column[number] is not None}
        profile = self._known.by_number[self.profiles[number]]
        if profile and profile.traits:
            said.setdefault("traits", dict.fromkeys(profile.traits))
        return said

    def _add(
        self,
        numbers: NDArray[np.int32],
        offsets: NDArray[np.uint32],
        texts: Sequence[bytes],
        places: NDArray[np.intp],
    ) -> None:
        most = len(self._numbers) + 1
        if most > len(self.profiles):
            self.profiles = grown(self.profiles, most)
            self.columns = {name: grown(column, most) for name, column in self.columns.items()}
        try:
            for shape, template, which, read in self._decoder.groups(offsets.astype(np.int64) - SEPARATOR_BYTES):
                mapping = self._mapping(shape, template)
                if mapping is None:
                    self._ask(numbers[which], texts, places[which])
                else:
                    vague = which[self._take(numbers[which], *mapping, read)]
                    self._ask(numbers[vague], texts, places[vague])
        except OddError:
            self._ask(numbers, texts, places)

    def _mapping(self, shape: int, template: object) -> Mapped | None:
        """Return how the records of a shape are mapped; None if each is to be mapped by itself."""
        if shape not in self._mappings:
            mapping = mapping_of(template)
            self._mappings[shape] = None
            if mapping is not None:
                said = {name: value for name, value in mapping[0].items() if isinstance(value[0], Leaf)}
                fields = {name: value for name, value in said.items() if self._is_wanted(name)}
                read = [leaf for leaf, _ in fields.values()] + [*mapping[1].values()] * self._with_traits
                if all(isinstance(leaf, Leaf) and leaf.type in READABLE for leaf in read):
                    self._mappings[shape] = fields, mapping[1], len(fields) < len(said)
        return self._mappings[shape]

    def _is_wanted(self, name: str) -> bool:
        return self._wanted is None or name in self._wanted or name not in WHERE_FIELDS

    def _take(
        self,
        numbers: NDArray[np.int32],
        fields: Mapping[str, tuple[Leaf, Conversion]],
        traits: Mapping[str, Leaf],
        is_partial: bool,  # noqa: FBT001 (as it comes from a mapping)
        read: Callable[[Leaf], list[Any]],
    ) -> NDArray[np.intp]:
        """Take what records of one shape say, and return which of them say nothing, unless it is what was not read."""
        values = {name: _converted(leaf, conversion, read(leaf)) for name, (leaf, conversion) in fields.items()}
        _complete(values)
        if self._with_traits and traits:
            said = [_finite(leaf, read(leaf)) for leaf in traits.values()]
            values["traits"] = [dict(zip(traits, row, strict=True)) for row in zip(*said, strict=True)]
        masks = np.zeros(len(numbers), np.int64)
        for bit, (name, column) in enumerate(values.items()):
            self._column(name)[numbers] = column
            masks |= (np.array([what is not None for what in column]) if None in column else 1) << np.int64(bit)
        names = [name for name in values if name != "traits"]
        is_vague = np.zeros(len(numbers), np.bool_)
        for mask in set(masks.tolist()):
            known = frozenset(name for bit, name in enumerate(names) if mask >> bit & 1)
            self.profiles[numbers[masks == mask]] = self._profile(known, tuple(traits))
            if (is_partial and known.isdisjoint(WHERE_FIELDS)) or (traits and not self._with_traits and not known):
                is_vague |= masks == mask
        return np.flatnonzero(is_vague)

    def _ask(self, numbers: NDArray[np.int32], texts: Sequence[bytes], places: NDArray[np.intp]) -> None:
        """Ask the reader for records one by one."""
        for number, at in zip(numbers.tolist(), places.tolist(), strict=True):
            try:
                said = fields_of(record_at(self._database, texts[at].decode())[0])
            except DatabaseError:
                self.profiles[number] = DAMAGED
                continue
            self.profiles[number] = self._profile(frozenset(said) - {"traits"}, tuple(said.get("traits", ())))
            for name, what in said.items():
                self._column(name)[number] = what

    def _column(self, name: str) -> NDArray[Any]:
        return column_of(self.columns, name, len(self.profiles))

    def _profile(self, fields: frozenset[str], traits: tuple[str, ...]) -> int:
        return self._known[Profile(fields, traits)]


def _converted(leaf: Leaf, conversion: Conversion, values: list[Any]) -> list[Any]:
    """Convert values, each distinct text once, and none that certainly stay as they are."""
    if leaf.type == STRING:
        if conversion is text_of:
            return values if all(values) else [text or None for text in values]
        converted = {text: conversion(text) for text in set(values)}
        return list(map(converted.__getitem__, values))
    if leaf.type in {DOUBLE, FLOAT} and isinstance(conversion, Degrees):
        with np.errstate(over="ignore", invalid="ignore"):
            numbers = np.array(values)
            stay = (np.abs(numbers) <= conversion.most) & (np.rint(numbers * SHORT) / SHORT == numbers)
        return [what if stays else conversion(what) for what, stays in zip(values, stay.tolist(), strict=True)]
    return list(map(conversion, values))


def column_of(columns: Columns, name: str, count: int) -> NDArray[Any]:
    """Return a column for what is known of so many places; a new one says nothing."""
    if name not in columns:
        columns[name] = np.full(count, None, object)
    return columns[name]


def side_by_side(places: Sequence[Said]) -> Columns:
    """Return what is known of some places by field."""
    columns: Columns = {}
    for at, said in enumerate(places):
        for name, what in said.items():
            column_of(columns, name, len(places))[at] = what
    return columns


def grown(column: NDArray[Any], least: int) -> NDArray[Any]:
    """Return a copy with more room: whoever reads the old one meanwhile finds in it what there was."""
    longer = np.full(max(2 * len(column), least, 1024), None if column.dtype == object else 0, column.dtype)
    longer[: len(column)] = column
    return longer


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
