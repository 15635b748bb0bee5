"""Records of one database: each is read, mapped and rendered once, those of one kind side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from geocli.engine.search_tree import MAX_RECORDS
from geocli.errors import DatabaseError
from geocli.models import WHERE_FIELDS, Place
from geocli.resolvers.mmdb_schemas import place_from, shapes

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from geocli.engine.search_tree import SearchTree
    from geocli.formats.rows import Output
    from geocli.resolvers.mmdb_schemas import Shape

    Columns: TypeAlias = Mapping[str, Sequence[Any]]

NOTHING = 0
"""The offset of an address without a record; data begin behind 16 zeros, so that no record is there."""
LARGE_RECORD_BYTES, MAX_LARGE_BYTES = 8192, 64 << 20
"""Of records that are larger than the first, no more than the second is kept in all."""
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


NO_KIND = Kind(knows_where=False, has_asn=False, has_org=False, traits=(), is_there=False)
"""The kind of a record that is not there."""
_FIELDS = Place.field_names - {"traits"}
_WHERE_FIELDS = ("country_code", *WHERE_FIELDS)
"""The one that is nearly always known comes first, so that the others are not looked at."""
_MERGED_FIELDS = {"asn"}
"""Fields whose values decide how records are merged, even if they are not written."""
_DAMAGED = object()
_UNNAMED = ("",)
"""Stands for the names of traits that nobody asks for."""


class Group:
    """Records of one kind, side by side."""

    def __init__(self, kind: Kind | None, output: Output, *, has_all: bool) -> None:
        self.kind = kind
        """None for damaged records."""
        self.keys: list[int] = []
        """What the caller knows the records by."""
        needed = _MERGED_FIELDS | (_FIELDS & set(output.key_fields))
        names = _FIELDS if has_all or (kind and not kind.knows_where) else needed
        self.values: dict[str, list[Any]] = {name: [] for name in names}
        self.cells: dict[str, list[str]] = {name: [] for name in _FIELDS if name in output.cell_names}
        self.traits: list[dict[str, Any]] = []
        self.offsets: dict[tuple[str, ...], array[int]] = {}
        """Where the cells of some fields, joined, are kept in the arena of the table, by name."""


class Groups(dict["Kind | None", Group]):
    """The groups of some records by their kind."""

    def __init__(self, output: Output, *, has_all: bool) -> None:
        """Choose whether groups have all fields, rather than `_MERGED_FIELDS` where a place is known."""
        super().__init__()
        self._output, self._has_all = output, has_all

    def __missing__(self, kind: Kind | None) -> Group:
        """Add a group for a kind."""
        self[kind] = group = Group(kind, self._output, has_all=self._has_all)
        return group


class RecordReader:
    """Reads, maps and renders the records of one database."""

    def __init__(self, tree: SearchTree, output: Output, language: str, *, with_traits: bool, with_names: bool) -> None:
        self._tree, self.output, self._language = tree, output, language
        self._with_traits, self._with_names = with_traits, with_names
        self.large_bytes = 0
        """Size of the large records that were read."""

    def read(self, keys: Sequence[int], offsets: Sequence[int], address: Callable[[int], str], groups: Groups) -> None:
        """Add the records of addresses to groups.

        Args:
            keys: become those of the records.
            offsets: of the records.
            address: returns the address of a record by its place among these.
            groups: what is added to.

        """
        for start in range(0, len(keys), MAX_RECORDS):
            block = slice(start, start + MAX_RECORDS)
            self._take(keys[block], self._records(offsets[block], start, address), groups)

    def _records(self, offsets: Sequence[int], start: int, address: Callable[[int], str]) -> list[Any]:
        records = self._tree.records(offsets, self._language)
        for position, known in enumerate(records):
            if known is not None:
                continue
            try:
                record, _, size_bytes = self._tree.database.read(address(start + position))
            except DatabaseError:
                record = _DAMAGED
            else:
                if size_bytes > LARGE_RECORD_BYTES and self._is_full(size_bytes):
                    record = _DAMAGED  # the scalar path answers
            records[position] = record
        return records

    def _is_full(self, size_bytes: int) -> bool:
        self.large_bytes += size_bytes
        return self.large_bytes > MAX_LARGE_BYTES

    def _take(self, keys: Sequence[int], records: Sequence[Any], groups: Groups) -> None:
        sound = [None if record is _DAMAGED else record for record in records]
        for shape in shapes(sound, self._language, with_traits=self._with_names):
            names = shape.trait_names() if self._with_names else _has_traits(shape, records)
            traits = shape.traits() if self._with_traits else None
            own = list(map(keys.__getitem__, shape.positions))
            for kind, which in _kinds(shape, names):
                self._add(groups[kind], own, shape, traits, which)
        groups[None].keys += [key for key, record in zip(keys, records, strict=True) if record is _DAMAGED]

    def _add(
        self,
        group: Group,
        keys: Sequence[int],
        shape: Shape,
        traits: Sequence[dict[str, Any]] | None,
        rows: Sequence[int],
    ) -> None:
        """Add some rows of columns to a group."""
        nothing = [None] * len(rows)

        def chosen(column: Sequence[Any] | None) -> Sequence[Any]:
            if column is None:
                return nothing
            return column if len(rows) == len(keys) else list(map(column.__getitem__, rows))

        group.keys.extend(chosen(keys))
        for name, values in group.values.items():
            values.extend(chosen(shape.field(name)))
        for name, cells in group.cells.items():
            cells.extend(self.output.cells(name, chosen(shape.field(name))))
        if traits is not None:
            group.traits.extend(chosen(traits))


class Table:
    """Records of one database that are kept."""

    def __init__(self, reader: RecordReader, *, has_all: bool) -> None:
        self._reader = reader
        self._groups = Groups(reader.output, has_all=has_all)
        self.groups_by_offset = {NOTHING: self._groups[NO_KIND]}
        self.rows_by_offset = {NOTHING: 0}

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.rows_by_offset)

    def read(self, offsets: Sequence[int], address: Callable[[int], str]) -> None:
        """Read the records that are not yet here."""
        known = self.rows_by_offset
        new = {offset: position for position, offset in enumerate(offsets) if offset not in known}
        ordered = sorted(new)  # records that lie together are read together
        counts = {kind: len(group.keys) for kind, group in self._groups.items()}
        self._reader.read(ordered, ordered, lambda place: address(new[ordered[place]]), self._groups)
        for kind, group in self._groups.items():
            first = counts.get(kind, 0)
            added = group.keys[first:]
            self.groups_by_offset |= dict.fromkeys(added, group)
            self.rows_by_offset |= zip(added, range(first, len(group.keys)), strict=True)


def _kinds(shape: Shape, names: Sequence[tuple[str, ...]]) -> Iterable[tuple[Kind, Sequence[int]]]:
    """Return the kinds of records of a shape that have these names of traits, and the rows of each."""
    flags = [_is_known(shape, chosen) for chosen in (_WHERE_FIELDS, ("asn",), ("org",))]
    if all(len(set(column)) == 1 for column in (*flags, names)):
        return [(Kind(*(column[0] for column in (*flags, names))), range(len(names)))]  # type: ignore[arg-type]
    rows: dict[Kind, list[int]] = {}
    for row, kind in enumerate(map(Kind, *flags, names)):
        rows.setdefault(kind, []).append(row)
    return rows.items()


def _is_known(shape: Shape, names: Iterable[str]) -> Sequence[bool]:
    """Return whether each record has one of some fields."""
    columns = []
    for column in filter(None, map(shape.field, names)):
        if None not in column:
            return [True] * len(column)
        columns.append(column)
    return [any(value is not None for value in row) for row in zip(*columns, strict=True)] or [False] * len(
        shape.positions
    )


def _has_traits(shape: Shape, records: Sequence[Any]) -> Sequence[tuple[str, ...]]:
    """Return `_UNNAMED` for records that have traits alone; of those with a field it does not matter."""
    known = _is_known(shape, (*_WHERE_FIELDS, *_FIELDS))
    if all(known):
        return [()] * len(known)
    return [
        () if is_known or not place_from(records[position]).traits else _UNNAMED
        for is_known, position in zip(known, shape.positions, strict=True)
    ]
