"""The records of databases: each is read, mapped and rendered once, then merged with those of other databases.

Which database a field is from depends on what each of them has: where the place is, a network, its organisation, and
which traits. So a recipe is made once for each combination, by the merge rule of `entries`, and holds for all records
that are combined like this.
"""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from geocli.bulk.tree import NOTHING
from geocli.entries import ENGLISH, WHERE_FIELDS, Answer, Place, instant_text
from geocli.errors import DatabaseError
from geocli.merging import merge
from geocli.resolvers.mmdb import record_at
from geocli.resolvers.mmdb_schemas import place_from, shapes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from geocli.bulk.outputs import Output
    from geocli.databases.discovery import Database
    from geocli.resolvers.mmdb_schemas import Shape

    Columns: TypeAlias = dict[str, Sequence[Any]]

READ_TOGETHER = 128
"""Records that are mapped together: these are still in the processor's cache when they are."""
RECORD_BYTES = 500
"""Memory of a record that is kept, about."""


class Kind(NamedTuple):
    """What a record has; it decides what is taken from it."""

    knows_where: bool
    has_asn: bool
    has_org: bool
    traits: tuple[str, ...]
    """Names of its traits; of one database alone, without traits in the output, only whether it has any."""
    is_there: bool = True
    """Whether there is a record, be it one in which everything is unknown."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known, or there is no record."""
        return not any((self.knows_where, self.has_asn, self.has_org, self.traits))


class Recipe(NamedTuple):
    """How records of some kinds are merged; databases are numbered from 0."""

    answer: Answer | None
    """Source and build of the merged answer; None if no record has anything."""
    sources: int
    """The databases that it is from: bit i stands for the i-th."""
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

    def answers(self) -> list[Answer | None]:
        """Return the answer of the databases to each address, made of `values`."""
        base = self.recipe.answer
        names = [name for name in self.values if name in Place.field_names]
        rows = zip(*(self.values[name] for name in names), strict=True) if names else repeat((), len(self.positions))
        return [base and base.replace(place=Place(**dict(zip(names, row, strict=True)))) for row in rows]


class Records:
    """Reads and merges the records of some databases. For one thread at a time."""

    def __init__(
        self,
        databases: Sequence[Database],
        output: Output,
        *,
        with_values: bool,
        with_traits: bool,
        language: str = ENGLISH,
    ) -> None:
        """Choose what is wanted of records.

        Args:
            databases: in the order in which they are asked.
            output: renders their fields.
            with_values: whether `Merged.values` has all fields, rather than those without a cell.
            with_traits: whether traits are among them.
            language: of names.

        """
        self._databases, self._output = databases, output
        self._with_values, self._with_traits = with_values, with_traits
        self._recipes: dict[tuple[tuple[Kind, ...], tuple[int, ...]], Recipe] = {}
        with_names = with_traits or len(databases) > 1  # traits alone make a database a source, too
        options = {"with_traits": with_traits, "with_names": with_names}
        self._readers = [_Reader(database, output, language, **options) for database in databases]
        self._tables = [_Table(reader) for reader in self._readers]

    @property
    def size_bytes(self) -> int:
        """Memory of the records that are kept, about."""
        return sum(map(len, self._tables)) * RECORD_BYTES

    def merged(self, offsets: Sequence[Sequence[int]], texts: Sequence[str]) -> Iterator[Merged]:
        """Merge the records of addresses; those with a damaged record are left out.

        Args:
            offsets: for each database where the records of the addresses begin, as `Tree.walk` returns them.
            texts: the addresses; different ones have different combinations of records.

        """
        if len(offsets) == 1:
            return self._of_one(offsets[0], texts)
        return self._of_several(offsets, texts)

    def _of_one(self, offsets: Sequence[int], texts: Sequence[str]) -> Iterator[Merged]:
        """Return records that are not kept, since the caller keeps what comes of each."""
        groups = _Groups(self._output)
        there = [position for position, offset in enumerate(offsets) if offset != NOTHING]
        groups[NO_KIND].keys += [position for position, offset in enumerate(offsets) if offset == NOTHING]
        ordered = sorted(there, key=offsets.__getitem__)  # records that lie together are read together
        self._readers[0].read(ordered, list(map(texts.__getitem__, ordered)), groups)
        for group in groups.values():
            if group.kind is not None and group.keys:
                yield self._merge(self._recipe((group.kind,), ()), group.keys, [group], None)

    def _of_several(self, offsets: Sequence[Sequence[int]], texts: Sequence[str]) -> Iterator[Merged]:
        for table, column in zip(self._tables, offsets, strict=True):
            table.read(column, texts)
        found = [
            map(table.groups_by_offset.__getitem__, column) for table, column in zip(self._tables, offsets, strict=True)
        ]
        combinations: dict[tuple[_Group, ...], list[int]] = {}
        for position, groups in enumerate(zip(*found, strict=True) if found else repeat((), len(texts))):
            combinations.setdefault(groups, []).append(position)
        for groups, positions in combinations.items():
            kinds = tuple(group.kind for group in groups if group.kind is not None)
            if len(kinds) < len(groups):
                continue  # damaged: the scalar path reports it
            rows = [
                list(map(table.rows_by_offset.__getitem__, map(column.__getitem__, positions)))
                for table, column in zip(self._tables, offsets, strict=True)
            ]
            for asns, which in _by_network(kinds, groups, rows):
                chosen = rows if len(which) == len(positions) else [[row[at] for at in which] for row in rows]
                yield self._merge(self._recipe(kinds, asns), [positions[at] for at in which], groups, chosen)

    def _recipe(self, kinds: tuple[Kind, ...], asns: tuple[int, ...]) -> Recipe:
        """Find out what is from which database by merging their numbers, from 1 on, in place of their values."""
        if (kinds, asns) in self._recipes:
            return self._recipes[kinds, asns]
        whole: Answer | None = None
        sources = 0
        for bit, (kind, database) in enumerate(zip(kinds, self._databases, strict=True)):
            if kind.is_empty:
                continue
            place = Place(
                country_code=bit + 1 if kind.knows_where else None,  # type: ignore[arg-type]  # for all of where
                asn=(asns[bit] if asns else bit + 1) if kind.has_asn else None,
                org=bit + 1 if kind.has_org else None,  # type: ignore[arg-type]
                traits=dict.fromkeys(kind.traits, bit) or None,
            )
            answer = Answer(place=place, source=database.name, built_at=database.built_at)
            both = answer if whole is None else merge(whole, answer)
            sources = 1 << bit if both is answer else sources | (both is not whole) << bit
            whole = both
        if whole is None:
            sources = sum(kind.is_there << bit for bit, kind in enumerate(kinds))
        self._recipes[kinds, asns] = recipe = _made(kinds, whole, sources)
        return recipe

    def _merge(
        self, recipe: Recipe, positions: Sequence[int], groups: Sequence[_Group], rows: Sequence[Sequence[int]] | None
    ) -> Merged:
        """Put together what the recipe takes from records, those in the given rows of the groups, or all of them."""
        if recipe.answer is None:
            return Merged(positions, recipe, {}, {})

        def column(bit: int, values: Sequence[Any]) -> Sequence[Any]:
            return values if rows is None else list(map(values.__getitem__, rows[bit]))

        count = len(positions)
        values: Columns = {"status": ["resolved"] * count, "source": [recipe.answer.source] * count}
        if recipe.answer.built_at:
            values["built_at"] = [instant_text(recipe.answer.built_at)] * count
        has_all = self._with_values or not recipe.answer.knows_where
        for name, bit in recipe.fields.items():
            if has_all or name == "country_code":
                values[name] = column(bit, groups[bit].values[name])
        if self._with_traits and recipe.traits:
            columns = [
                [traits[name] for traits in column(bit, groups[bit].traits)] for name, bit in recipe.traits.items()
            ]
            values["traits"] = [dict(zip(recipe.traits, row, strict=True)) for row in zip(*columns, strict=True)]
        cells = {
            name: column(bit, groups[bit].cells[name])
            for name, bit in recipe.fields.items()
            if name in self._output.cell_names
        }
        return Merged(positions, recipe, values, cells)


def _by_network(
    kinds: tuple[Kind, ...], groups: Sequence[_Group], rows: Sequence[Sequence[int]]
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


class _Group:
    """Records of one kind, side by side."""

    def __init__(self, kind: Kind | None, output: Output) -> None:
        self.kind = kind
        """None for damaged records."""
        self.keys: list[int] = []
        """What the caller knows the records by."""
        self.values: dict[str, list[Any]] = {name: [] for name in _FIELDS}
        self.cells: dict[str, list[str]] = {name: [] for name in _FIELDS if name in output.cell_names}
        self.traits: list[dict[str, Any]] = []


class _Groups(dict["Kind | None", _Group]):
    """The groups of some records by their kind."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def __missing__(self, kind: Kind | None) -> _Group:
        self[kind] = group = _Group(kind, self._output)
        return group


class _Reader:
    """Reads, maps and renders the records of one database."""

    def __init__(
        self, database: Database, output: Output, language: str, *, with_traits: bool, with_names: bool
    ) -> None:
        self._database, self.output, self._language = database, output, language
        self._with_traits, self._with_names = with_traits, with_names

    def read(self, keys: Sequence[int], texts: Sequence[str], groups: _Groups) -> None:
        """Add the records of addresses to groups.

        Args:
            keys: become those of the records.
            texts: the addresses.
            groups: what is added to.

        """
        for start in range(0, len(keys), READ_TOGETHER):
            block = slice(start, start + READ_TOGETHER)
            self._take(keys[block], self._records(texts[block]), groups)

    def _records(self, texts: Sequence[str]) -> list[Any]:
        try:
            return list(map(self._database.reader.get, texts))
        except (RuntimeError, ValueError):  # one of them is damaged
            return [self._record(text) for text in texts]

    def _record(self, text: str) -> Any:
        try:
            return record_at(self._database, text)[0]
        except DatabaseError:
            return _DAMAGED

    def _take(self, keys: Sequence[int], records: Sequence[Any], groups: _Groups) -> None:
        sound = [None if record is _DAMAGED else record for record in records]
        for shape in shapes(sound, self._language, with_traits=self._with_names):
            fields = shape.fields()
            names = shape.trait_names() if self._with_names else _has_traits(shape, fields, records)
            traits = shape.traits() if self._with_traits else None
            own = list(map(keys.__getitem__, shape.positions))
            for kind, which in _kinds(fields, names):
                self._add(groups[kind], own, fields, traits, which)
        groups[None].keys += [key for key, record in zip(keys, records, strict=True) if record is _DAMAGED]

    def _add(
        self,
        group: _Group,
        keys: Sequence[int],
        fields: Columns,
        traits: Sequence[dict[str, Any]] | None,
        rows: Sequence[int],
    ) -> None:
        """Add some rows of columns to a group."""
        nothing = [None] * len(rows)

        def chosen(column: Sequence[Any]) -> Sequence[Any]:
            return column if len(rows) == len(keys) else list(map(column.__getitem__, rows))

        group.keys.extend(chosen(keys))
        for name, values in group.values.items():
            column = chosen(fields[name]) if name in fields else nothing
            values.extend(column)
            if name in group.cells:
                group.cells[name].extend(self.output.cells(name, column))
        if traits is not None:
            group.traits.extend(chosen(traits))


class _Table:
    """Records of one database that are kept."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._groups = _Groups(reader.output)
        self.groups_by_offset = {NOTHING: self._groups[NO_KIND]}
        self.rows_by_offset = {NOTHING: 0}

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.rows_by_offset)

    def read(self, offsets: Sequence[int], texts: Sequence[str]) -> None:
        """Read the records that are not yet here."""
        new = {offset: text for offset, text in zip(offsets, texts, strict=True) if offset not in self.rows_by_offset}
        ordered = sorted(new)  # records that lie together are read together
        counts = {kind: len(group.keys) for kind, group in self._groups.items()}
        self._reader.read(ordered, list(map(new.__getitem__, ordered)), self._groups)
        for kind, group in self._groups.items():
            first = counts.get(kind, 0)
            added = group.keys[first:]
            self.groups_by_offset |= dict.fromkeys(added, group)
            self.rows_by_offset |= zip(added, range(first, len(group.keys)), strict=True)


NO_KIND = Kind(knows_where=False, has_asn=False, has_org=False, traits=(), is_there=False)
"""The kind of a record that is not there."""
_FIELDS = Place.field_names - {"traits"}
_DAMAGED = object()
_UNNAMED = ("",)
"""Stands for the names of traits that nobody asks for."""


def _kinds(fields: Columns, names: Sequence[tuple[str, ...]]) -> Iterable[tuple[Kind, Sequence[int]]]:
    """Return the kinds of records that have these fields and names of traits, and the rows of each."""
    flags = [_is_known(fields, chosen, len(names)) for chosen in (WHERE_FIELDS, ("asn",), ("org",))]
    if all(len(set(column)) == 1 for column in (*flags, names)):
        return [(Kind(*(column[0] for column in (*flags, names))), range(len(names)))]  # type: ignore[arg-type]
    rows: dict[Kind, list[int]] = {}
    for row, kind in enumerate(map(Kind, *flags, names)):
        rows.setdefault(kind, []).append(row)
    return rows.items()


def _is_known(fields: Columns, names: Iterable[str], count: int) -> Sequence[bool]:
    """Return whether each record has one of some fields."""
    columns = [fields[name] for name in names if name in fields]
    if any(None not in column for column in columns):
        return [True] * count
    return [any(value is not None for value in row) for row in zip(*columns, strict=True)] or [False] * count


def _has_traits(shape: Shape, fields: Columns, records: Sequence[Any]) -> Sequence[tuple[str, ...]]:
    """Return `_UNNAMED` for records that have traits alone; of those with a field it does not matter."""
    known = _is_known(fields, _FIELDS, len(shape.positions))
    if all(known):
        return [()] * len(known)
    return [
        () if is_known or not place_from(records[position]).traits else _UNNAMED
        for is_known, position in zip(known, shape.positions, strict=True)
    ]
