"""Read, map and render each record of several databases once: in columns, grouped by the fields that records have."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from geocli.engine.kernel import COLUMN_END, FIRST_KIND, NO_RECORD_KIND
from geocli.engine.recipes import Group, Kind
from geocli.engine.rendering import Layout
from geocli.engine.search_tree import MAX_RECORDS
from geocli.errors import DatabaseError
from geocli.models import WHERE_FIELDS, Place
from geocli.resolvers.mmdb_schemas import place_from, shapes
from geocli.resolvers.registries import registered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from geocli.engine.blocks import Block
    from geocli.engine.numbered_answers import NumberedAnswers
    from geocli.engine.search_tree import SearchTree
    from geocli.formats.rows import Output
    from geocli.resolvers.mmdb_schemas import Shape

LARGE_RECORD_BYTES, MAX_LARGE_BYTES = 8192, 64 << 20
"""Size above which a record is large, and the maximum total size of large records in memory."""
NO_KIND = Kind(has_place=False, has_asn=False, has_org=False, traits=(), is_there=False)
"""The kind of a missing record."""
_FIELDS = Place.field_names - {"traits"}
_WHERE_FIELDS = ("country_code", *WHERE_FIELDS)
"""The field that nearly all records have comes first, so that few records need the next ones."""
_UNNAMED = ("",)
"""Replaces the names of traits, if only their existence matters."""


class Records:
    """Reads the records of databases into the memory of answers. Not thread-safe."""

    def __init__(
        self, trees: Sequence[SearchTree], output: Output, answers: NumberedAnswers, language: str, *, with_traits: bool
    ) -> None:
        """Prepare to read records.

        Args:
            trees: the databases, in order of precedence.
            output: renders fields.
            answers: the memory to add them to.
            language: language of names.
            with_traits: whether to read traits.

        """
        self.databases = [tree.database for tree in trees]
        self._trees, self._output, self._answers, self._language = trees, output, answers, language
        # A database with only traits is also a source.
        self._with_names = with_traits or len(trees) > 1
        # Fields whose absence changes the text around their cells.
        self._fitted_cells = () if output.is_uniform else [name for name in output.cell_names if name in _FIELDS]
        self._large_bytes = 0
        self._kinds: dict[Kind, int] = {NO_KIND: NO_RECORD_KIND}
        self._layouts: dict[tuple[int, Kind], Layout] = {}
        self._shared: dict[str, int] = {}
        """Offsets of texts that places share."""
        self._countries: dict[str, tuple[Kind, int] | None] = {}

    def layout(self, source: int, kind: Kind) -> Layout:
        """Return the layout of the records of a database, or of the countries of the registries after them."""
        layout = self._layouts.get((source, kind))
        if layout is None:
            layout = Layout(self._output, source, kind, is_kept=self._answers.is_kept)
            self._layouts[source, kind] = layout
        return layout

    def read(self, block: Block) -> None:
        """Read the records that were added for addresses of a block; damaged ones keep their kind."""
        for source, table in enumerate(self._answers.records):
            # In the order of offsets, so that neighbouring records are read together.
            new = sorted(table.unread(), key=table.offsets.__getitem__)
            for start in range(0, len(new), MAX_RECORDS):
                numbers = new[start : start + MAX_RECORDS]
                records, shape_numbers = self._decoded(source, numbers, block)
                for shape in shapes(records, shape_numbers, self._language):
                    for kind, group in self._groups(shape, numbers, records):
                        self._add(source, kind, group)

    def _decoded(self, source: int, numbers: Sequence[int], block: Block) -> tuple[list[Any], Sequence[int]]:
        """Return records, None for damaged ones, and the numbers of their shapes."""
        table, tree = self._answers.records[source], self._trees[source]
        records, shape_numbers = tree.records([table.offsets[number] for number in numbers], self._language)
        for row, number in enumerate(numbers):
            if records[row] is not None:
                continue
            try:
                record, _, packed = tree.database.read(block.address(table.positions[number]).decode())
            except DatabaseError:
                continue  # the scalar path reports it
            is_large = len(packed) > LARGE_RECORD_BYTES
            self._large_bytes += is_large * len(packed)
            if not is_large or self._large_bytes <= MAX_LARGE_BYTES:  # else the scalar path answers
                records[row] = record
        return records, shape_numbers

    def _groups(self, shape: Shape, numbers: Sequence[int], records: Sequence[Any]) -> Iterator[tuple[Kind, Group]]:
        """Return the records of a shape by their kinds."""
        own = list(map(numbers.__getitem__, shape.positions))
        flags = [_is_known(shape, chosen) for chosen in (_WHERE_FIELDS, ("asn",), ("org",))]
        names = shape.trait_names() if self._with_names else _has_traits(shape, records)
        columns: list[Sequence[Any]] = [*flags, names, self._empty_cells(shape)]
        if all(column.count(column[0]) == len(column) for column in columns):
            yield Kind(*(column[0] for column in columns)), Group(own, partial(_column, shape))
            return
        rows: dict[Kind, list[int]] = {}
        for row, kind in enumerate(map(Kind, *columns)):
            rows.setdefault(kind, []).append(row)
        for kind, chosen in rows.items():
            yield kind, Group([own[row] for row in chosen], partial(_chosen, shape, chosen))

    def _empty_cells(self, shape: Shape) -> Sequence[tuple[str, ...]]:
        """Return the fitted cells that are empty, for each record."""
        nothing = [None] * len(shape.positions)
        columns = {name: shape.field(name) or nothing for name in self._fitted_cells}
        if not columns:
            return [()] * len(shape.positions)
        rows = zip(*columns.values(), strict=True)
        return [tuple(name for name, value in zip(columns, row, strict=True) if value is None) for row in rows]

    def _add(self, source: int, kind: Kind, group: Group) -> None:
        table, number = self._answers.records[source], self._kinds.setdefault(kind, len(self._kinds) + FIRST_KIND - 1)
        for record, text in zip(group.numbers, self._store(source, kind, group) or (), strict=False):
            table.kinds[record], table.texts[record] = number, text
        for record, asn in zip(group.numbers, group.field("asn") if kind.has_asn else (), strict=False):
            table.asns[record] = asn

    def _store(self, source: int, kind: Kind, group: Group) -> Sequence[int] | None:
        """Store the texts of records, and return their offsets; None if there is no space."""
        layout = self.layout(source, kind)
        shared = layout.shared(group)
        new = list(set(shared) - self._shared.keys() - {""})
        offsets = self._answers.store([f"{text}{COLUMN_END}" for text in new], 1)
        if offsets is None:
            return None
        self._shared |= zip(new, offsets, strict=True)
        links = [self._shared.get(text, 0) for text in shared]
        labels = self._answers.keys.labels(kind, group)
        return self._answers.store(layout.texts(group), layout.width, links, labels)

    def country(self, code: str) -> tuple[Kind, int] | None:
        """Return the kind of a country of registration, and the offset of its text; None if there is no space."""
        if code not in self._countries:
            place = registered(code).place
            empty_cells = tuple(name for name in self._fitted_cells if getattr(place, name) is None)
            kind = Kind(has_place=True, has_asn=False, has_org=False, traits=(), empty_cells=empty_cells)
            offsets = self._store(len(self.databases), kind, Group([0], lambda name: [getattr(place, name)]))
            self._countries[code] = (kind, offsets[0]) if offsets else None
        return self._countries[code]

    def kinds(self, numbers: Sequence[int]) -> tuple[Kind, ...]:
        """Return kinds by their numbers."""
        kinds = list(self._kinds)
        return tuple(kinds[number - NO_RECORD_KIND] for number in numbers)


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
    rows = zip(*columns, strict=True)
    return [any(value is not None for value in row) for row in rows] or [False] * len(shape.positions)


def _has_traits(shape: Shape, records: Sequence[Any]) -> Sequence[tuple[str, ...]]:
    """Return `_UNNAMED` for records with only traits; for records with a field it does not matter."""
    known = _is_known(shape, (*_WHERE_FIELDS, *_FIELDS))
    if all(known):
        return [()] * len(known)
    return [
        () if is_known or not place_from(records[position]).traits else _UNNAMED
        for is_known, position in zip(known, shape.positions, strict=True)
    ]
