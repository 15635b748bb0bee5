"""The records of a database, many at once: their values by the shape that they have in common.

Follows the MaxMind DB File Format Specification, version 2.0, "Output Data Section". Records of one shape have the
same keys in the same order, and values of the same types; so a mapping that was worked out for the shape holds for
all of them, and each field is read for all of them together. What is rare or damaged is left to the reader.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from geocli.bulk.numbering import Numbering

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from mmap import mmap
    from typing import Any

    from numpy.typing import NDArray

    Positions: TypeAlias = NDArray[np.int64]
    """Of the first byte of values, from the beginning of the file."""

POINTER, STRING, DOUBLE, UINT16, UINT32, MAP, INT32, ARRAY, BOOLEAN, FLOAT = 1, 2, 3, 5, 6, 7, 8, 11, 14, 15
READABLE = frozenset({STRING, DOUBLE, UINT16, UINT32, INT32, BOOLEAN, FLOAT})
"""The types of values that are read here."""
OPAQUE = 0
"""Stands for the type of a value that nobody asks for."""
LONG_SIZES = {31: (3, 65821), 30: (2, 285), 29: (1, 29)}
"""Sizes that stand in so many bytes of their own, and what is added to them; the largest first."""
HEADS = np.arange(32)
"""The first five bits of a value: its type, and of a pointer its size too."""
IS_ODD = (HEADS >> 2 != POINTER) | (HEADS == 7)
"""Of which of these a word says no more: no pointers, and those of four bytes of their own."""
SHIFTS = np.choose(HEADS & 3, [16, 8, 0, 0])
"""So many bits of a word are not a pointer's, by its head."""
BASES = np.choose(HEADS & 3, [0, 2048, 526336, 0])
"""What is added to a pointer."""
POINTER_BYTES = 2 + (HEADS & 3)
TYPES = np.where(np.arange(1 << 16) >> 13, np.arange(1 << 16) >> 13, 7 + (np.arange(1 << 16) & 255)).astype(np.int16)
"""Types of values, by their first two bytes."""
MOST_ENTRIES, MOST_DEPTH, MOST_VALUES = 28, 3, 1000
"""A larger map or array, one that lies deeper in others, or a value that holds more others, is left to the reader."""
MOST_TEXTS = 20_000
"""If more are kept, it is time to read them anew."""
TEXT_BYTES = 130
"""About what is taken by a text that is kept, beside its letters."""
MOST_SHAPES = 64
"""If there are more, nothing is won."""
LANGUAGE = "en"
"""Of names in several languages, these are read."""
IN_LANGUAGE = 32
"""Added to the type of what is reached through `names` and `LANGUAGE`."""
NO_KEY, NO_ENTRY = -1, -2
"""Stand for the keys of what is in an array, and of what is not there."""
MIX = np.array([pow(0x9E3779B97F4A7C15, number, 1 << 63) for number in range(1, 2 * MOST_ENTRIES + 2)])
"""Odd numbers that tell the rows of a table of shapes apart."""


class OddError(Exception):
    """The reader is to be asked."""


class Leaf(NamedTuple):
    """Stands for a value in a template."""

    path: tuple[int, ...]
    """The numbers of the entries on the way to it."""
    type: int
    """As the specification numbers it, plus `IN_LANGUAGE`."""


class Level(NamedTuple):
    """Maps and arrays, with their entries side by side."""

    shapes: NDArray[np.int64]
    """The number of the shape of each."""
    values: Positions
    """Where the values of their entries are; those in `LANGUAGE` in place of all names."""
    rows: NDArray[np.int64]
    """The rows in the level below of values that are maps or arrays."""
    below: Level | None
    """What is in these."""


class Decoder:
    """Reads the data section of one database."""

    def __init__(self, data: mmap, start: int, ignored: Container[str] = ()) -> None:
        """Take the whole file, where its data section begins, and the keys of records that nobody asks for."""
        self._start, self._ignored = start, ignored
        self._bases = BASES + start
        octets = np.frombuffer(data, np.uint8)
        stride = np.lib.stride_tricks.as_strided
        self._words = stride(octets[:4].view(">u4"), (len(octets) - 3,), (1,))
        self._floats: dict[int, NDArray[Any]] = {
            DOUBLE: stride(octets[:8].view(">f8"), (len(octets) - 7,), (1,)),
            FLOAT: stride(octets[:4].view(">f4"), (len(octets) - 3,), (1,)),
        }
        self._data = data
        self._texts: dict[int, str] = {}
        """All texts that were read, by where they are."""
        self.size_bytes = 0
        """About how much memory these take."""
        self._numbers = Numbering()
        """The numbers of keys by where they are; of the same text the same number."""
        self._names: dict[str, int] = {}
        self._keys: list[str] = []
        """The texts of keys by these numbers."""
        self._shapes: dict[tuple[int, ...], int] = {}
        self._templates: list[Any] = []

    def groups(self, records: Positions) -> Iterator[tuple[int, Any, NDArray[np.intp], Callable[[Leaf], list[Any]]]]:
        """Divide records by their shapes.

        Args:
            records: where they begin in the data section, in bytes.

        Returns:
            For each shape: its number; a record that has it, with a `Leaf` in place of each value that is no map or
            array; which of the records have it; and what reads a leaf for all of these, if it is `READABLE`.

        Raises:
            OddError: this cannot be done; also when a leaf is read.

        """
        try:
            level = self._level(records + self._start, 0)
        except (IndexError, UnicodeDecodeError) as error:
            raise OddError from error
        if len(shapes := set(level.shapes.tolist())) > MOST_SHAPES:
            raise OddError
        for shape in shapes:
            which = np.flatnonzero(level.shapes == shape)
            yield shape, self._templates[shape], which, partial(self._column, level, which)

    def _level(self, at: Positions, depth: int) -> Level:
        """Find the entries of maps and arrays, what these hold, and so the shape of each."""
        is_map, keys, values = self._entries(at)
        types = np.where(keys == NO_ENTRY, OPAQUE, self._types(values))
        if not depth and (ignored := [number for name, number in self._names.items() if name in self._ignored]):
            types[np.isin(keys, ignored)] = OPAQUE
        if (
            depth
            and (names := self._names.get("names")) is not None
            and (named := (keys == names) & (types == MAP)).any()
        ):
            values[named], types[named] = self._in_language(values[named])
        rows, below = np.zeros(values.shape, np.int64), None
        if (nested := (types == MAP) | (types == ARRAY)).any():
            if depth == MOST_DEPTH:
                raise OddError
            distinct, rows[nested] = np.unique(values[nested], return_inverse=True)
            below = self._level(distinct, depth + 1)
            types[nested] = ~below.shapes[rows[nested]]
        return Level(self._shapes_of(np.concatenate([is_map[:, None], keys, types], axis=1)), values, rows, below)

    def _entries(self, at: Positions) -> tuple[NDArray[np.bool_], NDArray[np.int64], Positions]:
        """Return which of maps and arrays are maps; the numbers of the keys of their entries; and where values are."""
        types, sizes, cursors = self._tokens(at)
        is_map, most = types == MAP, int(sizes.max(initial=0))
        if not (is_map | (types == ARRAY)).all() or most > MOST_ENTRIES:
            raise OddError
        keys = np.full((len(at), most), NO_ENTRY)
        values = np.repeat(at[:, None], most, axis=1)
        for number in range(most):
            active = np.flatnonzero(sizes > number)
            keys[active, number] = NO_KEY
            keyed = active[is_map[active]]
            keys[keyed, number], cursors[keyed] = self._pointed(cursors[keyed])
            values[active, number], cursors[active] = self._pointed(cursors[active])
        return is_map, self._key_numbers(keys), values

    def _in_language(self, at: Positions) -> tuple[Positions, NDArray[np.int64]]:
        """Return where the values in `LANGUAGE` of names in several are, and their types; `IN_LANGUAGE` for none."""
        _, sizes, cursors = self._tokens(at)
        found, types = at.copy(), np.full(len(at), IN_LANGUAGE)
        active = np.flatnonzero(sizes)
        for number in range(MOST_ENTRIES + 1):
            if not len(active):
                return found, types
            keys, value_at = self._pointed(cursors[active])
            values, cursors[active] = self._pointed(value_at)
            is_wanted = self._key_numbers(keys) == self._names.get(LANGUAGE)
            wanted = active[is_wanted]
            found[wanted], types[wanted] = values[is_wanted], IN_LANGUAGE + self._types(values[is_wanted])
            active = active[~is_wanted & (sizes[active] > number + 1)]
        raise OddError

    def _types(self, at: Positions) -> NDArray[np.int64]:
        types: NDArray[np.int64] = TYPES[self._words[at] >> 16].astype(np.int64)
        if (types > FLOAT).any():  # there is no such type
            raise OddError
        return types

    def _tokens(self, at: Positions) -> tuple[NDArray[np.int64], NDArray[np.int64], Positions]:
        """Return the types and sizes of values, and where what follows these begins."""
        words = self._words[at].astype(np.int64)
        types, sizes, starts = TYPES[words >> 16].astype(np.int64), words >> 24 & 31, at + 1 + (words < 1 << 29)
        if len(are_long := np.flatnonzero((sizes >= min(LONG_SIZES)) & (types != POINTER))):
            for size, (count, base) in LONG_SIZES.items():
                is_long = are_long[sizes[are_long] == size]
                are_long = are_long[sizes[are_long] < size]
                sizes[is_long] = base + (self._words[starts[is_long]].astype(np.int64) >> 8 * (4 - count))
                starts[is_long] += count
        return types, sizes, starts

    def _pointed(self, at: Positions) -> tuple[Positions, Positions]:
        """Follow pointers: return where the values are, and where what comes after the pointers begins."""
        words = self._words[at].astype(np.int64)
        heads = words >> 27
        found, after = ((words & 0x07FFFFFF) >> SHIFTS[heads]) + self._bases[heads], at + POINTER_BYTES[heads]
        if len(odd := np.flatnonzero(IS_ODD[heads])):
            is_long = heads[odd] == 7
            long, inline = odd[is_long], odd[~is_long]
            found[long] = self._words[at[long] + 1].astype(np.int64) + self._start
            found[inline], after[inline] = at[inline], self._after(at[inline])
        return found, after

    def _after(self, at: Positions) -> Positions:
        """Return where values end, with all that is in them."""
        ends, left = at.copy(), np.ones(len(at), np.int64)
        active = np.arange(len(at))
        for _ in range(MOST_VALUES):
            types, sizes, starts = self._tokens(ends[active])
            ends[active] = starts + self._skipped(types, sizes)
            left[active] += np.where(types == MAP, 2 * sizes, np.where(types == ARRAY, sizes, 0)) - 1
            active = active[left[active] > 0]
            if not len(active):
                return ends
        raise OddError

    @staticmethod
    def _skipped(types: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many bytes of values follow; of a map or an array none: its entries are values themselves."""
        is_pointer, is_empty = types == POINTER, (types == MAP) | (types == ARRAY) | (types == BOOLEAN)
        return np.where(is_pointer, 1 + (sizes >> 3), np.where(is_empty, 0, sizes))

    def _key_numbers(self, keys: Positions) -> NDArray[np.int64]:
        """Return the numbers of keys by where they are; what is negative stays as it is."""
        found = np.where(keys < 0, keys, self._numbers.get(keys.astype(np.uint64)))
        if len(new := np.array(sorted(set(keys[(found == NO_KEY) & (keys >= 0)].tolist())), np.uint64)):
            names = [self._names.setdefault(text, len(self._names)) for text in self._read(new.astype(np.int64))]
            self._numbers.add(new, np.array(names))
            self._keys = list(self._names)
            return self._key_numbers(keys)
        return found

    def _shapes_of(self, table: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of the shape of each row: whether it is a map, then its keys, then their types."""
        _, first, inverse = np.unique(
            (table * MIX[: table.shape[1]]).sum(axis=1), return_index=True, return_inverse=True
        )
        if len(first) > MOST_SHAPES * MOST_ENTRIES or (table[first][inverse] != table).any():
            raise OddError
        return np.array([self._shape(row) for row in table[first].tolist()])[inverse]

    def _shape(self, row: list[int]) -> int:
        is_map, *entries = row
        count = len(entries) // 2
        keys, types = entries[:count], entries[count:]
        pairs = [(key, what) for key, what in zip(keys, types, strict=True) if key != NO_ENTRY]
        name = (is_map, *(number for pair in pairs for number in pair))
        if name not in self._shapes:
            values = [self._template(number, what) for number, (_, what) in enumerate(pairs)]
            self._shapes[name] = len(self._templates)
            self._templates.append(
                dict(zip([self._keys[key] for key, _ in pairs], values, strict=True)) if is_map else values
            )
        return self._shapes[name]

    def _template(self, number: int, what: int) -> Any:
        """Return the template of an entry by its type, or by what tells the shape of a map or an array."""
        if what < 0:
            return _grafted(self._templates[~what], number)
        if what < IN_LANGUAGE:
            return Leaf((number,), what)
        return {} if what == IN_LANGUAGE else {LANGUAGE: Leaf((number,), what - IN_LANGUAGE)}

    def _column(self, level: Level, which: NDArray[np.intp], leaf: Leaf) -> list[Any]:
        """Read a value of some records."""
        *way, last = leaf.path
        rows = which
        for number in way:
            rows, level = level.rows[rows, number], level.below or level
        at = level.values[rows, last]
        try:
            if leaf.type == STRING:
                return self._read(at)
            numbers: list[Any] = self._numbers_at(at, leaf.type).tolist()
        except (IndexError, UnicodeDecodeError) as error:
            raise OddError from error
        return numbers

    def _read(self, at: Positions) -> list[str]:
        """Return texts, each of which is read once."""
        places = at.tolist()
        found: list[Any] = list(map(self._texts.get, places))
        if None in found:
            if len(self._texts) > MOST_TEXTS:
                self._texts.clear()
                self.size_bytes = 0
                return self._read(at)
            new = list({place for place, text in zip(places, found, strict=True) if text is None})
            types, sizes, starts = self._tokens(np.array(new))
            if (types != STRING).any() or (starts + sizes > len(self._data)).any():
                raise OddError
            spans = zip(starts.tolist(), (starts + sizes).tolist(), strict=True)
            self._texts |= zip(new, [self._data[start:end].decode() for start, end in spans], strict=True)
            self.size_bytes += int(sizes.sum()) + len(new) * TEXT_BYTES
            found = list(map(self._texts.get, places))
        return found

    def _numbers_at(self, at: Positions, type_: int) -> NDArray[Any]:
        _, sizes, starts = self._tokens(at)
        if type_ in self._floats and (sizes == self._floats[type_].itemsize).all():
            floats: NDArray[Any] = self._floats[type_][starts]
            return floats
        if type_ == BOOLEAN and (sizes <= 1).all():
            is_true: NDArray[Any] = sizes == 1
            return is_true
        if type_ not in {UINT16, UINT32, INT32} or (sizes > (2 if type_ == UINT16 else 4)).any():
            raise OddError
        words: NDArray[np.int64] = self._words[starts].astype(np.int64) >> 8 * (4 - sizes)
        return words.astype(np.int32) if type_ == INT32 else words


def _grafted(template: Any, number: int) -> Any:
    """Return the template of a map or an array as that of the entry of another."""
    if isinstance(template, Leaf):
        return Leaf((number, *template.path), template.type)
    if isinstance(template, dict):
        return {key: _grafted(what, number) for key, what in template.items()}
    return [_grafted(what, number) for what in template]
