"""Walk search trees with the kernel: the scopes and the record offsets of addresses."""

from __future__ import annotations

import struct
from ctypes import byref
from typing import TYPE_CHECKING, NamedTuple

from geocli.databases.tree_nodes import SEPARATOR_BYTES
from geocli.engine.block_answers import BlockAnswers
from geocli.engine.blocks import Block, zeros
from geocli.engine.kernel import (
    FIRST_KIND,
    FIRST_RECIPE,
    MISSING,
    RENDERED,
    SINGLE,
    UNREAD,
    Recipe,
    Tree,
    address_of,
    kernel,
)
from geocli.engine.lookup_table import LookupTable
from geocli.engine.search_tree import GLOBAL
from geocli.formats.rows import Output

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geocli.databases.database import Database

EVERYTHING = bytearray(struct.pack(">II", 1 + GLOBAL, 1 + GLOBAL) + bytes(SEPARATOR_BYTES))
"""A search tree with one node, in which no address is special."""


class Walk(NamedTuple):
    """The result of a walk."""

    scope: int
    """Index in `SCOPES`."""
    offsets: tuple[int, ...]
    """Offset of the record in each database; 0 for no record."""
    prefix: int
    """Longest prefix length of the databases."""


class Walker:
    """Walks the trees of databases for many addresses."""

    def __init__(self, databases: Sequence[Database], *, has_scopes: bool = False) -> None:
        """Map the databases; without scopes no address is special."""
        self.table = LookupTable(databases, None, Output("csv", ("ip",)), is_kept=False).answers
        if not has_scopes:
            self._scopes = (Tree * 2)(*[Tree(address_of(EVERYTHING), len(EVERYTHING), 1, record_bits=32)] * 2)
            self.table.engine.scopes = address_of(self._scopes)
        self._width = len(databases)
        self._walks: dict[int, tuple[int, tuple[int, ...]]] = {}

    def walk(self, texts: Iterable[str]) -> list[Walk | str]:
        """Return the walks; "unread" for addresses the kernel cannot parse, "single" for those of the scalar path."""
        addresses = [text.encode() for text in texts]
        answers = BlockAnswers(self.table, Block.joined(addresses, [b""] * len(addresses)))
        if self._find(answers):
            self._add(answers)
        assert not self._find(answers)
        return [self._walk(number, prefix) for number, prefix in zip(answers.numbers, answers.prefixes, strict=True)]

    def _walk(self, number: int, prefix: int) -> Walk | str:
        assert number != MISSING
        return {UNREAD: "unread", SINGLE: "single"}.get(number) or Walk(*self._walks[number], prefix)

    def _find(self, answers: BlockAnswers) -> int:
        missing: int = kernel().find(byref(self.table.engine), byref(answers.native))
        return missing

    def _add(self, answers: BlockAnswers) -> None:
        engine, width = self.table.engine, self._width
        first = engine.next_number
        kernel().add(byref(engine), byref(answers.native))
        numbers = range(first, engine.next_number)
        rows = [self.table.row(number) for number in numbers]
        combinations = zeros(len(rows) * (1 + 2 * width))
        for table in self.table.records:
            for number in table.unread():
                table.kinds[number] = FIRST_KIND
        added = kernel().combine(byref(engine), first, address_of(combinations))
        assert added <= len(rows)
        recipes = (Recipe * engine.recipe_count).from_address(engine.recipes)
        for recipe in recipes[FIRST_RECIPE:]:
            recipe.state, recipe.sources = RENDERED, (1 << width) - 1
        kernel().settle(byref(engine), first)
        for answer, (_, *records, scope) in zip(numbers, rows, strict=True):
            own = zip(self.table.records, records, strict=True)
            self._walks[answer] = scope, tuple(table.offsets[number] if number else 0 for table, number in own)
