"""Answers by number: their lines, places, sources and labels, in memory that the kernel reads."""

from __future__ import annotations

import os
from array import array
from ctypes import byref
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from geocli.engine.answer_keys import AnswerKeys
from geocli.engine.blocks import zeros
from geocli.engine.journal_places import Places
from geocli.engine.kernel import (
    FIRST_NUMBER,
    IS_SINGLE,
    RENDERED,
    SINGLE,
    TABLE_BITS,
    Column,
    Engine,
    Numbering,
    Tree,
    address_of,
    allocated,
    kernel,
)
from geocli.engine.rendering import Renderer
from geocli.engine.special_ranges import special_ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geocli.engine.database_records import Merged
    from geocli.engine.record_reader import Group
    from geocli.engine.search_tree import SearchTree
    from geocli.formats.rows import Output

NUMBERS, NUMBERS_OF_SEVERAL = 1 << 18, 1 << 20
"""Numbers of answers from one database, and from several, whose records come in many combinations."""
SPARE_NUMBERS = 100_000
"""Minimum of free numbers: a block may need as many as it has addresses."""
ARENA_BYTES, FULL_ARENA_BYTES = 1 << 29, 64 << 20
"""Address space for rendered text, of which only written pages take memory, and the size at which it counts as full."""


class NumberedAnswers:
    """Rendered answers of one list of databases.

    Attributes:
        engine: the kernel's handle.
        generation: what the answers are fresh for, as `Chain.generation` returns it.
        keys: the values of the key fields of each answer.
        rendered: renders lines, and notes which fields had values.
        places: answers as the journal encodes them; None if they are not appended to it.

    """

    def __init__(self, trees: Sequence[SearchTree], output: Output, generation: str, *, is_kept: bool) -> None:
        """Allocate the memory of the kernel for these search trees, whose order is that of the sources' bits."""
        self.generation = generation
        self.rendered = Renderer(output)
        self._kernel = kernel()
        self._numbers = NUMBERS if len(trees) < 2 else NUMBERS_OF_SEVERAL
        self._memory: dict[str, Any] = {
            "table": allocated(4 << TABLE_BITS),
            "table_prefixes": allocated(1 << TABLE_BITS),
            "states": allocated(self._numbers),
            "sources": allocated(4 * self._numbers),
            "lines": allocated(8 * self._numbers),
            "fragments": allocated(8 * self._numbers),
            "arena": allocated(ARENA_BYTES),
        }
        self._memory["states"][SINGLE] = IS_SINGLE
        self._sources = memoryview(self._memory["sources"]).cast("I")
        self.keys = AnswerKeys(output.key_fields, self._numbers)
        tables = [allocated(2 * 16 * self._numbers) for _ in range(max(len(trees), 1))]
        slots = {"mask": 2 * self._numbers - 1, "capacity": self._numbers}
        numberings = (Numbering * len(tables))(*(Numbering(slots=address_of(table), **slots) for table in tables))
        native_trees = (Tree * len(trees))(*(tree.tree for tree in trees))
        ranges, *range_memory = special_ranges()
        # The kernel has only the addresses of these: they must live as long as the engine.
        self._referenced = trees, native_trees, numberings, tables, range_memory
        self.engine = Engine(
            secret=(int.from_bytes(os.urandom(8)), *(int.from_bytes(os.urandom(8)) | 1 for _ in range(2))),
            database_count=len(trees),
            trees=address_of(native_trees),
            numberings=address_of(numberings),
            ranges=ranges,
            arena_bytes=ARENA_BYTES,
            next_number=FIRST_NUMBER,
            max_numbers=self._numbers,
            **{name: address_of(memory) for name, memory in self._memory.items()},
        )
        self.places = Places(self.engine, self._memory["arena"], self._numbers) if is_kept else None

    @property
    def is_full(self) -> bool:
        """Whether new answers should go to new memory."""
        return bool(
            self.engine.next_number > self._numbers - SPARE_NUMBERS or self.engine.arena_used > FULL_ARENA_BYTES
        )

    def sources(self, number: int) -> int:
        """Return the bits of the databases that an answer is from."""
        return self._sources[number]

    def next_number(self) -> int | None:
        """Reserve a number for one answer; None if all are in use."""
        number: int = self.engine.next_number
        if number >= self._numbers:
            return None
        self.engine.next_number += 1
        return number

    def settle(self, numbers: Sequence[int], states: bytearray) -> None:
        """Publish the states of answers, of which all else is complete."""
        which = array("I", numbers)
        self._kernel.settle(byref(self.engine), address_of(which), address_of(states), len(which))

    def note_sources(self, numbers: Iterable[int], sources: int) -> None:
        """Store the bits of the databases that answers are from."""
        for number in numbers:
            self._sources[number] = sources

    def render(self, numbers: Sequence[int], merged: Merged, sources: int) -> int:
        """Render answers with these numbers, and return their state."""
        values = merged.values
        is_added = self._join if merged.columns else self._add_lines
        if not is_added(array("I", numbers), merged, has_network=bool(sources)):
            return IS_SINGLE
        self.note_sources(numbers, sources)
        if self.places and not self.places.add(numbers, values):
            return IS_SINGLE
        self.keys.add(numbers, values)
        return RENDERED

    def _add_lines(self, numbers: array[int], merged: Merged, *, has_network: bool) -> bool:
        """Render the line of each answer; return whether there was room."""
        count, cells, rendered = len(numbers), merged.cells, merged.rendered
        lines = self.rendered.lines(merged.values, cells, count, has_network=has_network, rendered=rendered)
        text, ends = b"".join(lines), array("Q", accumulate(map(len, lines)))
        arguments = byref(self.engine), address_of(numbers), count, text, address_of(ends)
        return bool(self._kernel.render(*arguments))

    def _join(self, numbers: array[int], merged: Merged, *, has_network: bool) -> bool:
        """Render what the lines of all answers have in common, and let the kernel put them together."""
        if not all(self._store(group, names) for names, group, _ in merged.columns):
            return False
        line = self.rendered.frame(merged, has_network=has_network)
        rows = [array("I", column) for *_, column in merged.columns]
        offsets = [group.offsets[names] for names, group, _ in merged.columns]
        pointers = [Column(*map(address_of, memory)) for memory in zip(offsets, rows, strict=True)]
        columns = (Column * len(pointers))(*pointers)
        answers = byref(self.engine), address_of(numbers), len(numbers)
        return bool(self._kernel.join(*answers, line, len(line), address_of(columns), len(columns)))

    def _store(self, group: Group, names: tuple[str, ...]) -> bool:
        """Store the cells of fields, joined, of records that are new; return whether there was room."""
        offsets = group.offsets.setdefault(names, array("I"))
        new = zip(*(group.cells[name][len(offsets) :] for name in names), strict=True)
        texts = self.rendered.joined(names, new)
        ends, added = array("Q", accumulate(map(len, texts))), zeros(len(texts))
        pointers = address_of(ends), len(texts), address_of(added)
        has_room = bool(self._kernel.store(byref(self.engine), b"".join(texts), *pointers))
        offsets.extend(added if has_room else ())
        return has_room
