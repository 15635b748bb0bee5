"""Read and map records of one database in columns, grouped by the fields they have."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from geocli.engine.search_tree import MAX_RECORDS
from geocli.errors import DatabaseError
from geocli.models import WHERE_FIELDS, Place
from geocli.resolvers.mmdb_schemas import place_from, shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from geocli.engine.search_tree import SearchTree
    from geocli.formats.rows import Output
    from geocli.resolvers.mmdb_schemas import Shape

LARGE_RECORD_BYTES, MAX_LARGE_BYTES = 8192, 64 << 20
"""Size above which a record is large, and the maximum total size of large records in memory."""
NOTHING = 0
"""Offset for addresses without a record; no record has it, as data begin after 16 zeros."""


class Kind(NamedTuple):
    """The fields that a record has, which determine the fields that an answer takes from it."""

    has_place: bool
    has_asn: bool
    has_org: bool
    traits: tuple[str, ...]
    """Names of its traits; with one database and no traits in the output, only whether there are any."""
    empty_cells: tuple[str, ...] = ()
    """Fields without a value, if the output has other text around missing cells."""
    is_there: bool = True
    """Whether there is a record, which may be empty."""

    @property
    def is_empty(self) -> bool:
        """Whether the record is empty, or there is none."""
        return not any((self.has_place, self.has_asn, self.has_org, self.traits))

    def has(self, field: str) -> bool:
        """Return whether records of this kind may have a field, or a trait by its name in the output."""
        name, _, trait = field.partition(".")
        if name == "traits":
            return trait in self.traits if trait else bool(self.traits)
        return {"asn": self.has_asn, "org": self.has_org}.get(name, name in WHERE_FIELDS and self.has_place)


NO_KIND = Kind(has_place=False, has_asn=False, has_org=False, traits=(), is_there=False)
"""The kind of a missing record."""
_FIELDS = Place.field_names - {"traits"}
_WHERE_FIELDS = ("country_code", *WHERE_FIELDS)
"""The field that nearly all records have comes first, so that the others need not be examined."""
_UNNAMED = ("",)
"""Replaces the names of traits, if only their existence matters."""


def fitted_cells(output: Output) -> tuple[str, ...]:
    """Return the fields whose absence changes the text around their cells."""
    return () if output.is_uniform else tuple(name for name in output.cell_names if name in _FIELDS)


class Group(NamedTuple):
    """Records of one kind."""

    keys: Sequence[int]
    """Keys of the records, chosen by the caller."""
    field: Callable[[str], Sequence[Any]]
    """Returns a field of each record, or a trait by its name in the output."""


class RecordReader:
    """Reads and maps the records of one database."""

    def __init__(self, tree: SearchTree, output: Output, language: str, *, with_names: bool) -> None:
        self._tree, self._language = tree, language
        self._with_names = with_names
        self._fitted_cells = fitted_cells(output)
        self._large_bytes = 0

    def read(
        self, keys: Sequence[int], offsets: Sequence[int], address: Callable[[int], str]
    ) -> Iterator[tuple[Kind, Group]]:
        """Read records; damaged ones are left out.

        Args:
            keys: keys of the records.
            offsets: offsets of the records.
            address: returns the address of a record by its key.

        """
        for start in range(0, len(keys), MAX_RECORDS):
            block = slice(start, start + MAX_RECORDS)
            yield from self._grouped(keys[block], *self._records(keys[block], offsets[block], address))

    def _records(
        self, keys: Sequence[int], offsets: Sequence[int], address: Callable[[int], str]
    ) -> tuple[list[Any], Sequence[int]]:
        """Return records, None for damaged ones, and their shapes."""
        records, numbers = self._tree.records(offsets, self._language)
        for position, decoded in enumerate(records):
            if decoded is not None:
                continue
            try:
                record, _, packed = self._tree.database.read(address(keys[position]))
            except DatabaseError:
                continue  # the scalar path reports it
            if len(packed) <= LARGE_RECORD_BYTES or not self._is_full(len(packed)):  # else the scalar path answers
                records[position] = record
        return records, numbers

    def _is_full(self, size_bytes: int) -> bool:
        self._large_bytes += size_bytes
        return self._large_bytes > MAX_LARGE_BYTES

    def _grouped(
        self, keys: Sequence[int], records: Sequence[Any], numbers: Sequence[int]
    ) -> Iterator[tuple[Kind, Group]]:
        for shape in shapes(records, numbers, self._language):
            names = shape.trait_names() if self._with_names else _has_traits(shape, records)
            own = list(map(keys.__getitem__, shape.positions))
            for kind, rows in self._kinds(shape, names):
                if len(rows) == len(own):
                    yield kind, Group(own, partial(_column, shape))
                else:
                    yield kind, Group([own[row] for row in rows], partial(_chosen, shape, rows))

    def _kinds(self, shape: Shape, names: Sequence[tuple[str, ...]]) -> Iterable[tuple[Kind, Sequence[int]]]:
        """Return the kinds of records of a shape, and the rows of each kind."""
        flags = [_is_known(shape, chosen) for chosen in (_WHERE_FIELDS, ("asn",), ("org",))]
        columns: list[Sequence[Any]] = [*flags, names, self._empty_cells(shape)]
        if all(column.count(column[0]) == len(column) for column in columns):
            return [(Kind(*(column[0] for column in columns)), range(len(names)))]
        rows: dict[Kind, list[int]] = {}
        for row, kind in enumerate(map(Kind, *columns)):
            rows.setdefault(kind, []).append(row)
        return rows.items()

    def _empty_cells(self, shape: Shape) -> Sequence[tuple[str, ...]]:
        """Return the fitted cells that are empty, for each record."""
        nothing = [None] * len(shape.positions)
        columns = {name: shape.field(name) or nothing for name in self._fitted_cells}
        if not columns:
            return [()] * len(shape.positions)
        rows = zip(*columns.values(), strict=True)
        return [tuple(name for name, value in zip(columns, row, strict=True) if value is None) for row in rows]


def _column(shape: Shape, name: str) -> Sequence[Any]:
    values = shape.trait(name.removeprefix("traits.")) if name.startswith("traits.") else shape.field(name)
    return [None] * len(shape.positions) if values is None else values


def _chosen(shape: Shape, rows: Sequence[int], name: str) -> Sequence[Any]:
    return list(map(_column(shape, name).__getitem__, rows))


def _is_known(shape: Shape, names: Iterable[str]) -> Sequence[bool]:
    """Return whether each record has one of these fields."""
    columns = []
    for column in filter(None, map(shape.field, names)):
        if None not in column:
            return [True] * len(column)
        columns.append(column)
    return [any(value is not None for value in row) for row in zip(*columns, strict=True)] or [False] * len(
        shape.positions
    )


def _has_traits(shape: Shape, records: Sequence[Any]) -> Sequence[tuple[str, ...]]:
    """Return `_UNNAMED` for records with only traits; for records with a field it does not matter."""
    known = _is_known(shape, (*_WHERE_FIELDS, *_FIELDS))
    if all(known):
        return [()] * len(known)
    return [
        () if is_known or not place_from(records[position]).traits else _UNNAMED
        for is_known, position in zip(known, shape.positions, strict=True)
    ]
