"""Render records as texts, from which the kernel assembles lines and places: a column for each cell and member."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

from geocli.engine.kernel import COLUMN_END, FRAGMENT
from geocli.models import WHERE_FIELDS
from geocli.storage.place_encoding import SHARED_MEMBERS, SHARED_TRAITS, member_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, TypeAlias

    from geocli.engine.recipes import Group, Kind
    from geocli.formats.rows import Output

    ColumnTexts: TypeAlias = Callable[[Group], Sequence[str]]

_OWN_MEMBERS = tuple(sorted(WHERE_FIELDS - SHARED_MEMBERS))


class Column(NamedTuple):
    """A reference to a column in the text of a record."""

    record: int
    """Index of the record in an answer."""
    number: int
    glue: str = ""
    """Separator before the column in the text of the record, which is omitted before the first column."""
    kind: int = FRAGMENT


class Layout:
    """The columns of the texts of records of one kind.

    Attributes:
        filled: positions of cells that are not empty in some record.

    """

    def __init__(self, output: Output, number: int, kind: Kind, *, is_kept: bool) -> None:
        """Choose the columns.

        Args:
            output: output format.
            number: number of the database.
            kind: kind of the records.
            is_kept: whether answers are appended to the journal.

        """
        self.kind, self.filled = kind, set[int]()
        self._output, self._number, self._is_kept = output, number, is_kept
        self._columns: dict[tuple[str, str | int], tuple[int, str]] = {}
        self._pattern = ""
        self._texts: list[ColumnTexts] = []
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
        # Only the first database shares these traits of its places.
        is_sharing = kind.has_place and not self._number and "country_is_registered" not in kind.traits
        if kind.has_place:
            self._add("member", "place", "", *(_member_texts(name, ",") for name in _OWN_MEMBERS))
        for name in ("asn", "org"):
            if kind.has(name):
                self._add("member", name, "", _member_texts(name))
        for name in kind.traits:
            if not (is_sharing and name in SHARED_TRAITS):
                self._add("member", f"traits.{name}", ",", _member_texts(f"traits.{name}"))

    def _add(self, use: str, name: str | int, glue: str, *texts: ColumnTexts) -> None:
        self._columns[use, name] = len(self._columns), glue
        self._pattern += f"{glue.replace('%', '%%')}{'%s' * len(texts)}{COLUMN_END}"
        self._texts += texts

    def _cells(self, position: int, name: str) -> ColumnTexts:
        nothing = self._output.cell(None)

        def cells(group: Group) -> Sequence[str]:
            is_trait = name.startswith("traits.")  # which may be maps and lists
            values = group.field(name)
            column = list(map(self._output.cell, values)) if is_trait else self._output.cells(name, values)
            if position not in self.filled and any(cell != nothing for cell in column):
                self.filled.add(position)
            return column

        return cells

    def column(self, use: str, name: str | int) -> Column | None:
        """Return a column: `cell` and its position, `trait` and its name, or `member` and its name; None without it."""
        column = self._columns.get((use, name))
        return Column(self._number, *column) if column else None

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self._columns)

    def texts(self, group: Group) -> list[str]:
        """Return the texts of records."""
        if not self._texts:
            return [self._pattern] * len(group.numbers)
        columns = [texts(group) for texts in self._texts]
        return list(map(self._pattern.__mod__, zip(*columns, strict=True)))

    def shared(self, group: Group) -> Sequence[str]:
        """Return the parts of places that many records share in the journal; none if they share nothing."""
        if not (self._is_kept and self.kind.has_place):
            return ()
        columns = [_member_texts(name, ",")(group) for name in sorted(WHERE_FIELDS & SHARED_MEMBERS)]
        traits = [_member_texts(f"traits.{name}")(group) for name in self.kind.traits if name in SHARED_TRAITS]
        inner: Iterator[str] = map(",".join, zip(*traits, strict=True)) if traits else repeat("")
        end = '"traits":{%s},' if traits else "%s"
        return [f"{code}{name}{end % own}" for code, name, own in zip(*columns, inner, strict=False)]


def _member_texts(name: str, end: str = "") -> ColumnTexts:
    return lambda group: member_texts(name.removeprefix("traits."), group.field(name), end)


def _trait_texts(name: str, render: Callable[[str, Any], str]) -> ColumnTexts:
    return lambda group: [render(name, value) for value in group.field(f"traits.{name}")]
