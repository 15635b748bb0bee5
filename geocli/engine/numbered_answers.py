"""Answers by number: their recipes and the rendered texts of their records, in memory shared with the kernel."""

from __future__ import annotations

from array import array
from ctypes import byref
from itertools import accumulate
from struct import Struct
from typing import TYPE_CHECKING, Any

from geocli.engine.answer_keys import AnswerKeys
from geocli.engine.blocks import zeros
from geocli.engine.kernel import (
    FIRST_NUMBER,
    FIRST_RECIPE,
    IS_SINGLE,
    NO_RECORD_KIND,
    RENDERED,
    SINGLE,
    TABLE_BITS,
    Engine,
    Numbering,
    Recipe,
    RecordNumbers,
    Tree,
    address_of,
    allocated,
    kernel,
    numbering,
)
from geocli.engine.rendering import Renderer
from geocli.engine.search_tree import EMBEDDED, scope_trees

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geocli.engine.answer_keys import Key
    from geocli.engine.recipes import Recipe as Merged
    from geocli.engine.rendering import Texts
    from geocli.engine.search_tree import SearchTree
    from geocli.formats.rows import Output

NUMBERS, NUMBERS_OF_SEVERAL = 1 << 18, 3 << 18
"""Maximum number of records of a database, and of answers from one; of combinations of records of several."""
SPARE_NUMBERS = 100_000
"""Number of answers for which there must be space: a block may need one for each of its addresses."""
MAX_RECIPES = 1 << 14
"""Maximum number of recipes."""
ARENA_BYTES, FULL_ARENA_BYTES = 1 << 29, 64 << 20
"""Address space for rendered text, of which only written pages take memory, and the size at which it counts as full."""
_TEXT = Struct("III")
"""Header of a record's text, as in the kernel. The arena begins with the text of no record: zeros."""


class RecordTable:
    """The records of one database by number, which the kernel assigns.

    Attributes:
        offsets, positions, kinds, asns, texts: columns of the records.

    """

    def __init__(self, native: RecordNumbers) -> None:
        """Allocate the memory of a structure of the kernel."""
        memory = allocated(20 * (NUMBERS + 2))
        columns = [memoryview(memory).cast("I")[column::5] for column in range(5)]
        self.offsets, self.positions, self.kinds, self.asns, self.texts = columns
        self.kinds[0] = NO_RECORD_KIND
        native.numbering = self._numbering = numbering(NUMBERS)
        native.by_number = address_of(memory)
        self._native, self._read = native, 2

    def unread(self) -> range:
        """Return the numbers of records that were added since the last call."""
        numbers = range(self._read, self._native.numbering.count + 2)
        self._read = numbers.stop
        return numbers


class NumberedAnswers:
    """Rendered answers of one list of databases.

    Attributes:
        engine: the kernel's handle.
        generation: generation of the answers, as `Chain.generation` returns it.
        keys: the values of the key fields of each answer.
        rendered: renders lines, and records which fields had values.
        is_kept: whether answers are appended to the journal.
        records: the records of each database.

    """

    def __init__(self, trees: Sequence[SearchTree], output: Output, generation: str, *, is_kept: bool) -> None:
        """Allocate memory for these search trees; bit i of `sources` is the i-th tree."""
        self.generation, self.is_kept = generation, is_kept
        self.rendered = Renderer(output, is_kept=is_kept)
        self._kernel = kernel()
        self._numbers = NUMBERS if len(trees) < 2 else NUMBERS_OF_SEVERAL
        self._width = len(trees) + 2
        self._memory = self._allocate(has_keys=bool(output.key_fields))
        self._answers = memoryview(self._memory["answers"]).cast("I")
        self._recipes = (Recipe * MAX_RECIPES)()
        keys = self._memory.get("keys") or b""
        self.keys = AnswerKeys(output.key_fields, memoryview(keys).cast("I"))
        numbered = [numbering(self._numbers if level else NUMBERS) for level in range(max(len(trees), 1))]
        self._numberings = (Numbering * len(numbered))(*numbered)
        native_trees = (Tree * len(trees))(*(tree.tree for tree in trees))
        self._native_records = (RecordNumbers * len(trees))()
        self.records = [RecordTable(native) for native in self._native_records]
        sizes = {"recipe_keys": 4 * MAX_RECIPES, "group_keys": self._numbers, "label_keys": 4 * self._numbers}
        key_tables = {name: numbering(size) for name, size in sizes.items()}
        # The kernel has only the addresses of these: they must live as long as the engine.
        self._referenced = trees, native_trees, numbered, key_tables
        self.engine = Engine(
            database_count=len(trees),
            trees=address_of(native_trees),
            numberings=address_of(self._numberings),
            records=address_of(self._native_records),
            recipes=address_of(self._recipes),
            **key_tables,
            recipe_count=FIRST_RECIPE,
            max_recipes=MAX_RECIPES,
            scopes=address_of(scope_trees()[0]),
            embedded=EMBEDDED,
            arena_used=_TEXT.size,
            arena_bytes=ARENA_BYTES,
            next_number=FIRST_NUMBER,
            max_numbers=self._numbers,
            **{name: address_of(memory) for name, memory in self._memory.items()},
        )

    def _allocate(self, *, has_keys: bool) -> dict[str, Any]:
        """Return the memory of the kernel by its name in `Engine`."""
        memory: dict[str, Any] = {
            "table": allocated(4 << TABLE_BITS),
            "states": allocated(self._numbers),
            "answers": allocated(4 * self._width * self._numbers),
            "arena": allocated(ARENA_BYTES),
        }
        if self.is_kept:
            memory["groups"] = allocated(4 * self._numbers)
        if has_keys:
            memory["keys"] = allocated(4 * self._numbers)
        memory["states"][SINGLE] = IS_SINGLE
        return memory

    @property
    def is_full(self) -> bool:
        """Whether a new object should replace this one."""
        tables = [*self._numberings, *(records.numbering for records in self._native_records)]
        return (
            self.engine.arena_used > FULL_ARENA_BYTES
            or self.engine.next_number > self._numbers - SPARE_NUMBERS
            or any(table.count > table.capacity - SPARE_NUMBERS for table in tables)
        )

    def sources(self, number: int) -> int:
        """Return the bits of the databases that an answer is from."""
        return int(self._recipes[self.row(number)[0]].sources)

    def state(self, number: int) -> int:
        """Return the state of an answer."""
        return int(self._memory["states"][number])

    def row(self, number: int) -> list[int]:
        """Return the recipe of an answer, and the texts of its records, in databases and a registry."""
        return self._answers[number * self._width : (number + 1) * self._width].tolist()

    def key(self, number: int) -> Key:
        """Return the values of the key fields of an answer."""
        return self.keys.key(number, self._labels)

    def _labels(self, number: int) -> tuple[int, list[int]]:
        """Return the recipe of an answer, and the labels of its records."""
        recipe, *texts = self.row(number)
        return recipe, [_TEXT.unpack_from(self._memory["arena"], offset)[1] for offset in texts]

    def store(
        self, texts: Sequence[str], width: int, links: Sequence[int] = (), labels: Sequence[int] = ()
    ) -> array[int] | None:
        """Store the texts of records.

        Args:
            texts: texts of `width` columns, each followed by `COLUMN_END`.
            width: the number of columns.
            links: for each text the offset of a text that several records share.
            labels: for each text its part of the key, as `AnswerKeys.labels` returns it.

        Returns:
            Their offsets; None if there is no space for all.

        """
        text, offsets = "".join(texts).encode(), zeros(len(texts))
        memory = array("I", links), array("I", labels), offsets
        pointers = map(address_of, memory)
        is_stored = self._kernel.store(byref(self.engine), text, len(text), len(texts), width, *pointers)
        return offsets if is_stored else None

    def add_recipe(self, number: int, recipe: Merged, state: int, texts: Texts) -> None:
        """Set a recipe; if there is no space for its texts, its answers are left to the scalar path.

        Args:
            number: number of the recipe.
            recipe: sources of the fields.
            state: state of its answers.
            texts: texts of its answers.

        """
        start, text = self.engine.arena_used, b"".join(texts.pieces)
        if start + len(text) > ARENA_BYTES:
            return
        self._memory["arena"][start : start + len(text)] = text
        self.engine.arena_used += len(text)
        offsets = accumulate(map(len, texts.pieces[:-1]), initial=start)
        sharing = recipe.fields.get("country_code", len(self.records))
        labelled = self.keys.add(number, recipe, texts.members)
        self._recipes[number] = Recipe(*offsets, recipe.sources, labelled, state, sharing)

    def add_answer(self, recipe: int, texts: Sequence[int]) -> int:
        """Add an answer by its recipe and the texts of its records; return its number, or `SINGLE`."""
        number: int = self.engine.next_number
        if number >= self._numbers:
            return SINGLE
        self.engine.next_number += 1
        start = number * self._width
        self._answers[start : start + 1 + len(texts)] = memoryview(array("I", [recipe, *texts]))
        self._kernel.settle(byref(self.engine), number)
        return number if self.state(number) == RENDERED else SINGLE
