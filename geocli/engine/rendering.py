"""Render records and recipes as texts, from which the kernel assembles lines, and places of the journal.

The text of a record has a column for each cell and member; that of a recipe consists of pieces, which refer to columns.
"""

from __future__ import annotations

import re
import struct
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

from geocli.engine.kernel import ADDRESS, COLUMN_END, FRAGMENT, LINKED, NETWORK, TEXT_END, TIME
from geocli.engine.search_tree import GLOBAL, SCOPES
from geocli.models import IANA, WHERE_FIELDS
from geocli.storage.place_encoding import SHARED_MEMBERS, SHARED_TRAITS, member_texts
from geocli.timestamps import instant_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, TypeAlias

    from geocli.engine.recipes import Group, Kind, Recipe
    from geocli.formats.rows import Output

    ColumnTexts: TypeAlias = Callable[[Group], Sequence[str]]

_OWN_MEMBERS = tuple(sorted(WHERE_FIELDS - SHARED_MEMBERS))
_MARKS = {kind: chr(0xD800 + kind) for kind in (ADDRESS, NETWORK, TIME, FRAGMENT)}
"""Placeholders for fields and fragments: surrogates, which no text contains."""
_MARK = re.compile(f"([{''.join(_MARKS.values())}])")
_PIECE = struct.Struct("=IBBHHH")


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


class Texts(NamedTuple):
    """The texts of answers with one recipe."""

    members: Mapping[str, str]
    """Fields with the same value in all of them, such as the status."""
    pieces: tuple[bytes, bytes, bytes]
    """The line; and for the journal, the part of the place that belongs to one answer, and the shared part."""


class Renderer:
    """Renders answers in one format.

    Attributes:
        resolved_by: names of the sources of resolved answers.

    """

    def __init__(self, output: Output, *, is_kept: bool) -> None:
        self._output, self._is_kept = output, is_kept
        quote = '"' if output.is_json else ""
        self._fields = {
            "ip": f"{quote}{_MARKS[ADDRESS]}{quote}",
            # The kernel adds the quotes, which a missing network does not have.
            "network": _MARKS[NETWORK],
            "resolved_at": f"{quote}{_MARKS[TIME]}{quote}",
            "cached": "false",
        }
        self._filled = {"ip", "status", "source", "resolved_at", "cached"}
        self._used: set[tuple[Layout, int]] = set()
        self.resolved_by: set[str] = set()

    @property
    def filled(self) -> set[str]:
        """Fields of the output that some resolved answer has."""
        names = self._output.cell_names
        return self._filled | {names[position] for layout, position in self._used if position in layout.filled}

    def texts(self, scope: int, recipe: Recipe, layouts: Sequence[Layout]) -> Texts:
        """Return the texts of answers with a recipe to addresses of a scope, from records with these layouts."""
        members = _members(scope, recipe)
        line = self._line(members, recipe, layouts)
        if not self._is_kept:
            return Texts(members, (line, b"", b""))
        return Texts(members, (line, _place(members["status"], recipe, layouts), _group(members, recipe)))

    def _line(self, members: dict[str, str], recipe: Recipe, layouts: Sequence[Layout]) -> bytes:
        is_resolved = members["status"] == "resolved"
        fields = self._fields
        # A label has no comma for a missing field.
        if self._output.format == "label" and not recipe.sources:
            fields = fields | {"network": ""}
        cells, columns = list[str](), list[Column]()
        for position, name in enumerate(self._output.cell_names):
            own = self._columns(position, name, recipe, layouts)
            columns += own
            cells.append(fields[name] if name in fields else self._cell(name, own, members))
            if is_resolved and own:
                self._used.add((layouts[own[0].record], position))
        if is_resolved:
            self.resolved_by.update(members["source"].split("+"))
            self._filled |= {"built_at"} & members.keys() | ({"network"} if recipe.sources else set())
        return encoded(f"{self._output.line(cells)}{self._output.end}", columns)

    def _cell(self, name: str, columns: Sequence[Column], members: Mapping[str, str]) -> str:
        """Return a cell that consists of columns of a record, or is the same in all answers."""
        if name == "traits" and columns:
            return self._output.traits_cell(", ".join(_MARKS[FRAGMENT] for _ in columns))
        return _MARKS[FRAGMENT] if columns else self._output.cell(members.get(name))

    @staticmethod
    def _columns(position: int, name: str, recipe: Recipe, layouts: Sequence[Layout]) -> list[Column]:
        """Return the columns of a cell; none if it is empty, or not from a record."""
        field, _, trait = name.partition(".")
        if name == "traits":
            return [column for own, source in recipe.traits.items() if (column := layouts[source].column("trait", own))]
        source = recipe.traits.get(trait) if field == "traits" else recipe.fields.get(name)
        if source is None or name in layouts[source].kind.empty_cells:
            return []
        column = layouts[source].column("cell", position)
        return [column] if column else []


def _members(scope: int, recipe: Recipe) -> dict[str, str]:
    """Return the fields with the same value in all answers with a recipe."""
    answer = recipe.answer
    if scope == GLOBAL and answer is None:
        return {"status": "unresolved"}
    built_at = {"built_at": instant_text(answer.built_at)} if answer and answer.built_at else {}
    source = answer.source if answer else IANA
    if scope == GLOBAL:
        return {"status": "resolved", "source": source, **built_at}
    return {"status": "special", "scope": str(SCOPES[scope]), "source": source, **built_at}


def _place(status: str, recipe: Recipe, layouts: Sequence[Layout]) -> bytes:
    """Return the part of a place in the journal that belongs to one answer, at least the status."""
    own, mark = _own_members(recipe), _MARKS[FRAGMENT]
    traits = ",".join(mark for name in own if "." in name)
    members = [mark for name in own if name in {"asn", "org"}] + ([f'"traits":{{{traits}}}'] if traits else [])
    text = ",".join(members) or member_texts("status", [status])[0]
    columns = [layouts[source].column("member", name) for name, source in own.items()]
    return encoded(f"{{{mark if 'place' in own else ''}{text}}}", [column for column in columns if column])


def _own_members(recipe: Recipe) -> dict[str, int]:
    """Return the sources of the members of a place that belong to one answer; traits may be shared with the country."""
    sharing = recipe.fields.get("country_code")
    place = {} if sharing is None else {"place": sharing}
    networks = {name: recipe.fields[name] for name in ("asn", "org") if name in recipe.fields}
    own = ((name, source) for name, source in recipe.traits.items() if source != sharing or name not in SHARED_TRAITS)
    return place | networks | {f"traits.{name}": source for name, source in own}


def _group(members: dict[str, str], recipe: Recipe) -> bytes:
    """Return the part of a place that answers share in the journal, without the closing brace."""
    text = "".join(member_texts(name, [value], ",")[0] for name, value in members.items())
    source = recipe.fields.get("country_code")
    if source is None:
        return encoded(f"{{{text}", [])
    return encoded(f"{{{text}{_MARKS[FRAGMENT]}", [Column(source, 0, kind=LINKED)])


def encoded(text: str, columns: Sequence[Column]) -> bytes:
    """Encode text as pieces for the kernel; neighbouring columns of one record are written together."""
    *parts, end = _MARK.split(text)
    pieces: list[tuple[bytes, int, Column, int]] = []
    rest = iter(columns)
    nothing = Column(0, 0)
    for literal, mark in zip(parts[::2], parts[1::2], strict=True):
        kind = ord(mark) - 0xD800
        column = next(rest) if kind == FRAGMENT else nothing
        if pieces and kind == FRAGMENT:
            before, last_kind, first, last = pieces[-1]
            own = column.record, column.number, column.glue
            if last_kind == FRAGMENT and (first.record, last + 1, literal) == own:
                pieces[-1] = before, kind, first, column.number
                continue
        pieces.append((literal.encode(), column.kind if kind == FRAGMENT else kind, column, column.number))
    packs = [
        _PIECE.pack(len(literal), kind, column.record, column.number, last, len(column.glue.encode())) + literal
        for literal, kind, column, last in pieces
    ]
    return b"".join((*packs, _PIECE.pack(len(end.encode()), TEXT_END, 0, 0, 0, 0), end.encode()))
