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


class _Kinds(dict[Kind | None, int]):
    """The numbers of kinds, None for a damaged record; a new one gets the next number."""

    def __init__(self) -> None:
        super().__init__()
        self.by_number: list[Kind | None] = []

    def __missing__(self, kind: Kind | None) -> int:
        self[kind] = number = len(self.by_number)
        self.by_number.append(kind)
        return number


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
        self._databases, self._output, self._language = databases, output, language
        self._with_values, self._with_traits = with_values, with_traits
        self._kinds = _Kinds()
        self._recipes: dict[tuple[tuple[Kind, ...], tuple[int, ...]], Recipe] = {}
        self._tables = self._new_tables()

    def _new_tables(self) -> list[_Table]:
        with_names = self._with_traits or len(self._databases) > 1  # names decide whether a database is a source
        options = {"with_traits": self._with_traits, "with_names": with_names}
        language = self._language
        return [_Table(database, self._output, self._kinds, language, **options) for database in self._databases]

    @property
    def size_bytes(self) -> int:
        """Memory of the records that are kept, about."""
        return sum(len(table.kinds) for table in self._tables) * RECORD_BYTES

    def merged(self, offsets: Sequence[Sequence[int]], texts: Sequence[str]) -> Iterator[Merged]:
        """Merge the records of addresses; those with a damaged record are left out.

        Args:
            offsets: for each database where the records of the addresses begin, as `Tree.walk` returns them.
            texts: the addresses; different ones have different combinations of records.

        """
        rows = [table.rows(column, texts) for table, column in zip(self._tables, offsets, strict=True)]
        kinds = [list(map(table.kinds.__getitem__, row)) for table, row in zip(self._tables, rows, strict=True)]
        groups: dict[tuple[int, ...], list[int]] = {}
        for position, numbers in enumerate(zip(*kinds, strict=True) if kinds else repeat((), len(texts))):
            groups.setdefault(numbers, []).append(position)
        for numbers, positions in groups.items():
            combination = tuple(kind for number in numbers if (kind := self._kinds.by_number[number]))
            if len(combination) < len(numbers):
                continue  # damaged: the scalar path reports it
            for asns, which in self._by_network(combination, positions, rows):
                yield self._merge(self._recipe(combination, asns), which, rows)
        if len(self._tables) == 1:  # the caller keeps what comes of each record
            self._tables = self._new_tables()

    def _by_network(
        self, kinds: tuple[Kind, ...], positions: list[int], rows: Sequence[Sequence[int]]
    ) -> Iterator[tuple[tuple[int, ...], list[int]]]:
        """Divide addresses by the networks that the databases name, where it matters whether these are the same.

        That is where one names a network without its organisation, which another one may add.
        """
        if not any(kind.has_asn and not kind.has_org for kind in kinds) or not any(kind.has_org for kind in kinds):
            yield (), positions
            return
        groups: dict[tuple[int, ...], list[int]] = {}
        for position in positions:
            asns = (table.values["asn"][row[position]] for table, row in zip(self._tables, rows, strict=True))
            groups.setdefault(tuple(asns), []).append(position)
        yield from groups.items()

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
                country_code=bit + 1 if kind.knows_where else None,  # type: ignore[arg-type]  # stands for all of where
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
        self._recipes[kinds, asns] = recipe = self._made(kinds, whole, sources)
        return recipe

    @staticmethod
    def _made(kinds: tuple[Kind, ...], whole: Answer | None, sources: int) -> Recipe:
        fields: dict[str, int] = {}
        place = whole.place if whole else Place()
        if place.country_code is not None:
            fields |= dict.fromkeys(WHERE_FIELDS, int(place.country_code) - 1)
        if place.asn is not None:
            fields["asn"] = next(bit for bit, kind in enumerate(kinds) if kind.has_asn)
        if place.org is not None:
            fields["org"] = int(place.org) - 1
        return Recipe(whole, sources, fields, place.traits or {})

    def _merge(self, recipe: Recipe, positions: Sequence[int], rows: Sequence[Sequence[int]]) -> Merged:
        """Put together what the recipe takes from the records of some addresses."""
        chosen = [list(map(row.__getitem__, positions)) for row in rows]
        values: Columns = {}
        if recipe.answer is not None:
            values = {"status": ["resolved"] * len(positions), "source": [recipe.answer.source] * len(positions)}
            if recipe.answer.built_at:
                values["built_at"] = [instant_text(recipe.answer.built_at)] * len(positions)
        knows_where = "country_code" in recipe.fields
        for name, bit in recipe.fields.items():
            if self._with_values or name == "country_code" or not knows_where:
                values[name] = list(map(self._tables[bit].values[name].__getitem__, chosen[bit]))
        if self._with_traits and recipe.traits:
            values["traits"] = self._traits(recipe, chosen)
        cells = {
            name: list(map(self._tables[bit].cells[name].__getitem__, chosen[bit]))
            for name, bit in recipe.fields.items()
            if name in self._output.cell_names
        }
        return Merged(positions, recipe, values, cells)

    def _traits(self, recipe: Recipe, chosen: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
        """Return the traits of addresses, each from the database that the recipe takes it from."""
        columns = [[self._tables[bit].traits[row][name] for row in chosen[bit]] for name, bit in recipe.traits.items()]
        return [dict(zip(recipe.traits, row, strict=True)) for row in zip(*columns, strict=True)]


class _Table:
    """The records of one database, by row; row 0 stands for no record."""

    def __init__(  # noqa: PLR0913 (as for all of them)
        self, database: Database, output: Output, kinds: _Kinds, language: str, *, with_traits: bool, with_names: bool
    ) -> None:
        self._database, self._output, self._numbers, self._language = database, output, kinds, language
        self._with_traits, self._with_names = with_traits, with_names
        self._rows = {NOTHING: 0}
        self.kinds: list[int] = []
        """The number of each record's kind."""
        self.values: dict[str, list[Any]] = {name: [] for name in _FIELDS}
        self.cells: dict[str, list[str]] = {name: [] for name in _FIELDS if name in output.cell_names}
        self.traits: list[dict[str, Any]] = []
        self._add([kinds[NO_KIND]], {}, [{}])

    def rows(self, offsets: Sequence[int], texts: Sequence[str]) -> list[int]:
        """Return the rows of the records of some addresses."""
        new = {offset: text for offset, text in zip(offsets, texts, strict=True) if offset not in self._rows}
        ordered = sorted(new)  # records that lie together are read together
        for start in range(0, len(ordered), READ_TOGETHER):
            together = ordered[start : start + READ_TOGETHER]
            self._take(together, [self._read(new[offset]) for offset in together])
        return list(map(self._rows.__getitem__, offsets))

    def _read(self, text: str) -> Any:
        try:
            return record_at(self._database, text)[0]
        except DatabaseError:
            return _DAMAGED

    def _take(self, offsets: Sequence[int], records: Sequence[Any]) -> None:
        """Map and render records."""
        self._rows |= dict.fromkeys(offsets, 0)
        sound = [None if record is _DAMAGED else record for record in records]
        for shape in shapes(sound, self._language, with_traits=self._with_names):
            first, fields = len(self.kinds), shape.fields()
            names = shape.trait_names() if self._with_names else _has_traits(shape, fields, records)
            self._add(self._kinds_of(fields, names), fields, shape.traits() if self._with_traits else [])
            self._rows |= zip(map(offsets.__getitem__, shape.positions), range(first, len(self.kinds)), strict=True)
        for offset in (offset for offset, record in zip(offsets, records, strict=True) if record is _DAMAGED):
            self._rows[offset] = len(self.kinds)
            self._add([self._numbers[None]], {}, [{}])

    def _kinds_of(self, fields: Columns, names: Sequence[tuple[str, ...]]) -> list[int]:
        """Return the numbers of the kinds of records that have these fields and traits."""
        count = len(names)
        where, asn, org = (_is_known(fields, chosen, count) for chosen in (WHERE_FIELDS, ("asn",), ("org",)))
        return [self._numbers[kind] for kind in map(Kind, where, asn, org, names)]

    def _add(self, kinds: list[int], fields: Columns, traits: list[dict[str, Any]]) -> None:
        nothing = [None] * len(kinds)
        self.kinds += kinds
        self.traits += traits
        for name, values in self.values.items():
            values.extend(fields.get(name, nothing))
        for name, cells in self.cells.items():
            cells.extend(self._output.cells(name, fields.get(name, nothing)))


NO_KIND = Kind(knows_where=False, has_asn=False, has_org=False, traits=(), is_there=False)
"""The kind of a record that is not there."""
_FIELDS = Place.field_names - {"traits"}
_DAMAGED = object()
_UNNAMED = ("",)
"""Stands for the names of traits that nobody asks for."""


def _is_known(fields: Columns, names: Iterable[str], count: int) -> Sequence[bool]:
    """Return whether each record has one of some fields."""
    columns = [fields[name] for name in names if name in fields]
    if any(None not in column for column in columns):
        return [True] * count
    return [any(value is not None for value in row) for row in zip(*columns, strict=True)] or [False] * count


def _has_traits(shape: Shape, fields: Columns, records: Sequence[Any]) -> list[tuple[str, ...]]:
    """Return `_UNNAMED` for records that may have traits alone, as far as it matters: those without any field."""
    known = _is_known(fields, _FIELDS, len(shape.positions))
    return [
        () if is_known or not place_from(records[position]).traits else _UNNAMED
        for is_known, position in zip(known, shape.positions, strict=True)
    ]
