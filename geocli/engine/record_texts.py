"""Texts of records, of which the kernel puts lines and places together: a column for each cell and member."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

from geocli.engine.kernel import COLUMN_END, FRAGMENT
from geocli.models import WHERE_FIELDS
from geocli.storage.place_encoding import SHARED_MEMBERS, SHARED_TRAITS, member_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, TypeAlias

    from geocli.engine.record_reader import Group, Kind
    from geocli.formats.rows import Output

    Texts: TypeAlias = Callable[[Group], Sequence[str]]

_OWN_MEMBERS = tuple(sorted(WHERE_FIELDS - SHARED_MEMBERS))


class Span(NamedTuple):
    """A column of the text of a record, which a text contains."""

    record: int
    """The place of the record among those of an answer."""
    column: int
    glue: str = ""
    """What stands before the column in the text of the record, and is left out where it is the first one."""
    kind: int = FRAGMENT


class Layout:
    """The columns of the texts of records of one kind.

    Attributes:
        filled: positions of cells that some record has.

    """

    def __init__(self, output: Output, number: int, kind: Kind, *, is_kept: bool) -> None:
        """Choose the columns.

        Args:
            output: what lines look like.
            number: of the database.
            kind: of the records.
            is_kept: whether answers go to the journal.

        """
        self.kind, self.filled = kind, set[int]()
        self._output, self._number, self._is_kept = output, number, is_kept
        self._columns: dict[tuple[str, str | int], tuple[int, str]] = {}
        self._pattern = ""
        self._texts: list[Texts] = []
        for position, name in enumerate(output.cell_names):
            if name == "traits" and kind.traits:
                self.filled.add(position)
            elif kind.has(name):
                self._add("cell", position, output.glue(position), self._cells(position, name))
        for name in kind.traits if "traits" in output.cell_names else ():
            self._add("trait", name, ", ", _trait_texts(name, output.trait_member))
        if is_kept:
            self._add_members()

    def _add_members(self) -> None:
        kind = self.kind
        # The record of the place shares these traits with others; where another one is that, they are like all others.
        is_sharing = kind.knows_where and not self._number and "country_is_registered" not in kind.traits
        if kind.knows_where:
            self._add("member", "place", "", *(_member_texts(name, ",") for name in _OWN_MEMBERS))
        for name in ("asn", "org"):
            if kind.has(name):
                self._add("member", name, "", _member_texts(name))
        for name in kind.traits:
            if not (is_sharing and name in SHARED_TRAITS):
                self._add("member", f"traits.{name}", ",", _member_texts(f"traits.{name}"))

    def _add(self, use: str, name: str | int, glue: str, *texts: Texts) -> None:
        self._columns[use, name] = len(self._columns), glue
        self._pattern += f"{glue.replace('%', '%%')}{'%s' * len(texts)}{COLUMN_END}"
        self._texts += texts

    def _cells(self, position: int, name: str) -> Texts:
        nothing = self._output.cell(None)

        def cells(group: Group) -> Sequence[str]:
            is_trait = name.startswith("traits.")  # which may be maps and lists
            values = group.field(name)
            column = list(map(self._output.cell, values)) if is_trait else self._output.cells(name, values)
            if position not in self.filled and any(cell != nothing for cell in column):
                self.filled.add(position)
            return column

        return cells

    def span(self, use: str, name: str | int) -> Span | None:
        """Return a column: `cell` and its position, `trait` and its name, or `member` and its name; None without it."""
        found = self._columns.get((use, name))
        return Span(self._number, *found) if found else None

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self._columns)

    def texts(self, group: Group) -> list[str]:
        """Return the texts of records."""
        if not self._texts:
            return [self._pattern] * len(group.keys)
        columns = [texts(group) for texts in self._texts]
        return list(map(self._pattern.__mod__, zip(*columns, strict=True)))

    def shared(self, group: Group) -> Sequence[str]:
        """Return what the places of many records share in the journal."""
        if not (self._is_kept and self.kind.knows_where):
            return [""] * len(group.keys)
        columns = [_member_texts(name, ",")(group) for name in sorted(WHERE_FIELDS & SHARED_MEMBERS)]
        traits = [_member_texts(f"traits.{name}")(group) for name in self.kind.traits if name in SHARED_TRAITS]
        inner: Iterator[str] = map(",".join, zip(*traits, strict=True)) if traits else repeat("")
        end = '"traits":{%s},' if traits else "%s"
        return [f"{code}{name}{end % own}" for code, name, own in zip(*columns, inner, strict=False)]


def _member_texts(name: str, end: str = "") -> Texts:
    return lambda group: member_texts(name.removeprefix("traits."), group.field(name), end)


def _trait_texts(name: str, render: Callable[[str, Any], str]) -> Texts:
    return lambda group: [render(name, value) for value in group.trait(name)]
