"""The records of several databases, merged; see `record_reader` for those of one.

Which database a field is from depends on what each of them has: where the place is, a network, its organisation, and
which traits. So a recipe is made once for each combination, by the merge rule of `entries`, and holds for all records
that are combined like this.
"""

from __future__ import annotations

from itertools import groupby, repeat
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from geocli.engine.record_reader import NO_KIND, NOTHING, RECORD_BYTES, Groups, RecordReader, Table
from geocli.merging import merge
from geocli.models import ENGLISH, WHERE_FIELDS, Answer, Place
from geocli.timestamps import instant_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from geocli.engine.record_reader import Group, Kind
    from geocli.engine.search_tree import SearchTree
    from geocli.formats.rows import Output

    Columns: TypeAlias = dict[str, Sequence[Any]]


class Recipe(NamedTuple):
    """How records of some kinds are merged; databases are numbered from 0."""

    answer: Answer | None
    """Source and build of the merged answer; None if no record has anything."""
    sources: int
    """The databases that it is from, or that have an empty record, if no record has anything: bit i is the i-th."""
    fields: Mapping[str, int]
    """The database of each field."""
    traits: Mapping[str, int]
    """The database of each trait, in their order."""


class Merged(NamedTuple):
    """Addresses whose records were merged by the same recipe."""

    positions: Sequence[int]
    """Which of the addresses these are."""
    recipe: Recipe
    values: Columns
    """Fields in their JSON form, None where unknown: all of them for the journal, or where no place is known; else
    those without a cell."""
    cells: Mapping[str, Sequence[str]]
    """Fields that are rendered."""
    columns: Sequence[tuple[tuple[str, ...], Group, Sequence[int]]]
    """Instead of `cells`: names of neighbouring fields of one database, records with their cells, and rows of these."""
    rendered: Callable[[str], Sequence[str]]
    """Returns the cells of a field, if it is rendered."""

    def answers(self) -> list[Answer | None]:
        """Return the answer of the databases to each address, made of `values`."""
        base = self.recipe.answer
        names = [name for name in self.values if name in Place.field_names]
        rows = zip(*(self.values[name] for name in names), strict=True) if names else repeat((), len(self.positions))
        # Traits that nobody asks for stay as the recipe has them, since they make their database a source.
        unread: dict[str, Any] = {} if base is None or "traits" in names else {"traits": base.place.traits}
        return [base and base.replace(place=Place(**dict(zip(names, row, strict=True)), **unread)) for row in rows]


class Records:
    """Reads and merges the records of some databases. For one thread at a time."""

    def __init__(
        self,
        trees: Sequence[SearchTree],
        output: Output,
        *,
        with_values: bool,
        with_traits: bool,
        language: str = ENGLISH,
    ) -> None:
        """Choose what is wanted of records.

        Args:
            trees: of the databases, in the order in which they are asked.
            output: renders their fields.
            with_values: whether `Merged.values` has all fields, rather than those without a cell.
            with_traits: whether traits are among them.
            language: of names.

        """
        self._databases, self._output = [tree.database for tree in trees], output
        self._with_values, self._with_traits = with_values, with_traits
        self._is_uniform = output.is_uniform and "traits" not in output.fields
        self._recipes: dict[tuple[tuple[Kind, ...], tuple[int, ...]], Recipe] = {}
        with_names = with_traits or len(trees) > 1  # traits alone make a database a source, too
        options = {"with_traits": with_traits, "with_names": with_names}
        self._readers = [RecordReader(tree, output, language, **options) for tree in trees]
        self._tables = [Table(reader, has_all=with_values) for reader in self._readers]

    @property
    def size_bytes(self) -> int:
        """Memory of the records that are kept, about."""
        kept_bytes = sum(map(len, self._tables)) * RECORD_BYTES
        return kept_bytes + sum(reader.large_bytes for reader in self._readers)

    def merged(self, offsets: Sequence[Sequence[int]], count: int, address: Callable[[int], str]) -> Iterator[Merged]:
        """Merge the records of addresses; those with a damaged record are left out.

        Args:
            offsets: for each database where the records of the addresses begin, as `Tree.walk` returns them.
            count: the number of addresses; different ones have different combinations of records.
            address: returns one of them.

        """
        if not offsets:
            return iter([self._merge(self._recipe((), ()), range(count), (), None)])
        if len(offsets) == 1:
            return self._of_one(offsets[0], address)
        return self._of_several(offsets, address)

    def _of_one(self, offsets: Sequence[int], address: Callable[[int], str]) -> Iterator[Merged]:
        """Return records that are not kept, since the caller keeps what comes of each."""
        groups = Groups(self._output, has_all=self._with_values)
        there = [position for position, offset in enumerate(offsets) if offset != NOTHING]
        groups[NO_KIND].keys += [position for position, offset in enumerate(offsets) if offset == NOTHING]
        ordered = sorted(there, key=offsets.__getitem__)  # records that lie together are read together
        own = list(map(offsets.__getitem__, ordered))
        self._readers[0].read(ordered, own, lambda place: address(ordered[place]), groups)
        for group in groups.values():
            if group.kind is not None and group.keys:
                yield self._merge(self._recipe((group.kind,), ()), group.keys, [group], None)

    def _of_several(self, offsets: Sequence[Sequence[int]], address: Callable[[int], str]) -> Iterator[Merged]:
        for table, column in zip(self._tables, offsets, strict=True):
            table.read(column, address)
        for groups, positions in self._combinations(offsets).items():
            kinds = tuple(group.kind for group in groups if group.kind is not None)
            if len(kinds) < len(groups):
                continue  # damaged: the scalar path reports it
            rows = [
                list(map(table.rows_by_offset.__getitem__, map(column.__getitem__, positions)))
                for table, column in zip(self._tables, offsets, strict=True)
            ]
            for asns, members in _by_network(kinds, groups, rows):
                selected = rows if len(members) == len(positions) else [[row[at] for at in members] for row in rows]
                yield self._merge(self._recipe(kinds, asns), [positions[at] for at in members], groups, selected)

    def _combinations(self, offsets: Sequence[Sequence[int]]) -> dict[tuple[Group, ...], list[int]]:
        """Return the positions of addresses by the groups of their records."""
        columns = [
            map(table.groups_by_offset.__getitem__, column) for table, column in zip(self._tables, offsets, strict=True)
        ]
        combinations: dict[tuple[Group, ...], list[int]] = {}
        for position, groups in enumerate(zip(*columns, strict=True)):
            combinations.setdefault(groups, []).append(position)
        return combinations

    def _recipe(self, kinds: tuple[Kind, ...], asns: tuple[int, ...]) -> Recipe:
        """Find the database of each field by merging answers that have database numbers, from 1 on, as values."""
        if (kinds, asns) in self._recipes:
            return self._recipes[kinds, asns]
        whole: Answer | None = None
        sources = 0
        for bit, (kind, database) in enumerate(zip(kinds, self._databases, strict=True)):
            if kind.is_empty:
                continue
            place = _numbered_place(bit, kind, asns[bit] if asns else bit + 1)
            answer = Answer(place=place, source=database.name, built_at=database.built_at)
            both = answer if whole is None else merge(whole, answer)
            sources = 1 << bit if both is answer else sources | (both is not whole) << bit
            whole = both
        if whole is None:
            sources = sum(kind.is_there << bit for bit, kind in enumerate(kinds))
        self._recipes[kinds, asns] = recipe = _made(kinds, whole, sources)
        return recipe

    def _merge(
        self, recipe: Recipe, positions: Sequence[int], groups: Sequence[Group], rows: Sequence[Sequence[int]] | None
    ) -> Merged:
        """Combine what the recipe takes from the given rows of the groups, or from all rows."""
        if recipe.answer is None:
            return Merged(positions, recipe, {}, {}, (), lambda _: ())
        selection = _Selection(recipe, groups, rows)
        values = self._values(recipe.answer, selection, len(positions))
        if rows is None or not self._is_uniform:
            cells = {name: selection.cells(name) for name in self._output.fields if name in recipe.fields}
            return Merged(positions, recipe, values, cells, (), selection.cells)
        runs = groupby(self._output.cell_names, key=lambda name: recipe.fields.get(name, -1))
        columns = [(tuple(run), groups[bit], rows[bit]) for bit, run in runs if bit >= 0]
        return Merged(positions, recipe, values, {}, columns, selection.cells)

    def _values(self, answer: Answer, selection: _Selection, count: int) -> Columns:
        """Return the fields of merged records in their JSON form, as far as they are needed."""
        values: Columns = {"status": ["resolved"] * count, "source": [answer.source] * count}
        if answer.built_at:
            values["built_at"] = [instant_text(answer.built_at)] * count
        has_all = self._with_values or not answer.knows_where
        for name in selection.recipe.fields:
            if has_all or name in self._output.key_fields:
                values[name] = selection.values(name)
        if self._with_traits and selection.recipe.traits:
            values["traits"] = selection.traits()
        return values


class _Selection(NamedTuple):
    """Rows of groups, merged by a recipe."""

    recipe: Recipe
    groups: Sequence[Group]
    """The group of each database."""
    rows: Sequence[Sequence[int]] | None
    """The rows of each group; None for all of them."""

    def values(self, name: str) -> Sequence[Any]:
        """Return the values of a field of the recipe."""
        bit = self.recipe.fields[name]
        return self._column(bit, self.groups[bit].values[name])

    def cells(self, name: str) -> Sequence[str]:
        """Return the rendered values of a field, none if the recipe does not have it."""
        bit = self.recipe.fields.get(name, -1)
        return self._column(bit, self.groups[bit].cells[name]) if bit >= 0 else ()

    def traits(self) -> list[dict[str, Any]]:
        """Return the traits of each record."""
        names = self.recipe.traits
        columns = [
            [traits[name] for traits in self._column(bit, self.groups[bit].traits)] for name, bit in names.items()
        ]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def _column(self, bit: int, values: Sequence[Any]) -> Sequence[Any]:
        return values if self.rows is None else list(map(values.__getitem__, self.rows[bit]))


def _numbered_place(bit: int, kind: Kind, asn: int) -> Place:
    """Return a place whose values are the number of a database, from 1 on, for the fields that its records have."""
    return Place(
        country_code=bit + 1 if kind.knows_where else None,  # type: ignore[arg-type]  # stands for all location fields
        asn=asn if kind.has_asn else None,
        org=bit + 1 if kind.has_org else None,  # type: ignore[arg-type]
        traits=dict.fromkeys(kind.traits, bit) or None,
    )


def _by_network(
    kinds: tuple[Kind, ...], groups: Sequence[Group], rows: Sequence[Sequence[int]]
) -> Iterator[tuple[tuple[int, ...], Sequence[int]]]:
    """Divide addresses by the networks that the databases name, where it matters whether these are the same.

    That is where one names a network without its organisation, which another one may add.
    """
    count = len(rows[0]) if rows else 0
    if not any(kind.has_asn and not kind.has_org for kind in kinds) or not any(kind.has_org for kind in kinds):
        yield (), range(count)
        return
    networks: dict[tuple[int, ...], list[int]] = {}
    for at in range(count):
        asns = tuple(
            group.values["asn"][row[at]] if kind.has_asn else 0
            for kind, group, row in zip(kinds, groups, rows, strict=True)
        )
        networks.setdefault(asns, []).append(at)
    yield from networks.items()


def _made(kinds: tuple[Kind, ...], whole: Answer | None, sources: int) -> Recipe:
    """Return the recipe that a merged answer of the databases' numbers stands for."""
    fields: dict[str, int] = {}
    place = whole.place if whole else Place()
    if place.country_code is not None:
        fields |= dict.fromkeys(WHERE_FIELDS, int(place.country_code) - 1)
    if place.asn is not None:
        fields["asn"] = next(bit for bit, kind in enumerate(kinds) if kind.has_asn)
    if place.org is not None:
        fields["org"] = int(place.org) - 1
    return Recipe(whole, sources, fields, place.traits or {})


def unmerged(answer: Answer | None) -> Merged:
    """Return an answer that is not made of records, None for an unresolved one."""
    nothing = Recipe(answer, 0, {}, {})
    if answer is None:
        return Merged((0,), nothing, {"status": ["unresolved"]}, {}, (), lambda _: ())
    built_at = {"built_at": [instant_text(answer.built_at)]} if answer.built_at else {}
    fields = {name: [value] for name, value in vars(answer.place).items()}
    values: Columns = {"status": ["resolved"], **fields, "source": [answer.source], **built_at}
    return Merged((0,), nothing, values, {}, (), lambda _: ())
