"""Entries to CSV, TSV, JSON lines, JSON, bare values, or labels in a text; in UTF-8."""

from __future__ import annotations

import json
import re
from itertools import chain
from json.encoder import encode_basestring

from geocli.models import CSV_FIELDS, JSON_FIELDS, reader
from geocli.sanitize import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from geocli.models import Entry

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that starts like this for a formula (CWE-1236)."""
SIMPLE = re.compile(r"\w[\w ./-]*")
"""Most texts: no format has anything to escape or to quote in them, if none of these characters separates cells."""
MOST_CELLS = 10_000
"""So many cells are rendered once; most names of places come again and again."""


class Output:
    """Renders entries in one format: a header, then any number of blocks. A line is a join of its cells."""

    def __init__(  # noqa: PLR0913 (what a line looks like)
        self,
        format_: str,
        fields: Sequence[str] | None = None,
        *,
        with_header: bool = True,
        before: str = "",
        end: str = "\n",
        separator: str = ",",
    ) -> None:
        r"""Choose what lines look like.

        Args:
            format_: `csv`, `tsv`, `jsonl`, `json`, `value`, or `label`, which is ` [London, GB]`.
            fields: the names of the cells; default: those of the format.
            with_header: whether CSV and TSV begin with the names.
            before: what goes before the first cell of a line.
            end: what goes after its last one.
            separator: what stands between the cells of CSV.

        """
        self.format = format_
        self.names = tuple(fields or _DEFAULTS[format_])
        self.end = end
        self._before = before
        self.separator = {"csv": separator, "label": ", "}.get(format_, "\t")
        """What stands between cells."""
        self._shows_simple_as_is = not (self.is_json or SIMPLE.fullmatch(f"_{self.separator}"))
        self._keys = [f"{', ' if number else '{'}{json_text(name)}: " for number, name in enumerate(self.names)]
        self.cell_names = (*self.names, "scope") if format_ == "label" else self.names
        """The fields that a line is made of, in the order of its cells."""
        self._read = reader(self.cell_names)
        self._cells = {name: _Cells(self.cell) for name in self.cell_names}
        self._nothing = "null" if self.is_json else ""
        self.blank = '""' if format_ == "csv" and len(self.names) == 1 and not before else ""
        """What stands for a line without anything, which is no row of CSV."""
        self.is_plain = format_ in {"csv", "tsv", "value"} and not (before or self.blank)
        """Whether a line is its cells with separators between them, and no more."""
        has_header = with_header and format_ in {"csv", "tsv"}
        self.header = f"{self.separator.join(map(safe, self.names))}{end}".encode() if has_header else b""
        """What goes before all blocks."""

    @property
    def fields(self) -> frozenset[str]:
        """The fields of entries that a line is made of."""
        return frozenset(name.partition(".")[0] for name in self.cell_names)

    @property
    def is_json(self) -> bool:
        """Whether a cell is a value of JSON, rather than bare text."""
        return self.format in {"json", "jsonl"}

    def block(self, entries: Iterable[Entry]) -> bytes:
        """Return the lines of some entries, each with its end; for `json`, the whole document."""
        if self.format == "json":
            inner = ",\n  ".join(self.line([*map(self.cell, self._read(entry))]) for entry in entries)
            return f"[\n  {inner}\n]{self.end}".encode()
        return "".join(f"{self.line([*map(self.cell, self._read(entry))])}{self.end}" for entry in entries).encode()

    def row(self, entry: Entry, prefix: str) -> bytes:
        """Return the line of an entry with its end; what is shown behind its address may be a prefix length."""
        values = zip(self.cell_names, self._read(entry), strict=True)
        cells = [self.cell(f"{value}{prefix}" if name == "ip" else value) for name, value in values]
        return f"{self.line(cells)}{self.end}".encode()

    def lines(
        self, values: Mapping[str, Sequence[Any]], cells: Mapping[str, Sequence[str]], count: int
    ) -> Iterable[str]:
        """Return the lines of answers, without their ends.

        Args:
            values: fields in their JSON form, side by side; None where unknown.
            cells: fields that are rendered already, which count before `values`.
            count: the number of answers.

        """
        columns = [self._column(name, values, cells, count) for name in self.cell_names]
        return map(self.separator.join if self.is_plain else self.line, zip(*columns, strict=True))

    def _column(
        self, name: str, values: Mapping[str, Sequence[Any]], cells: Mapping[str, Sequence[str]], count: int
    ) -> Sequence[str]:
        if name in cells:
            return cells[name]
        field, _, trait = name.partition(".")
        if field not in values:
            return [self._nothing] * count
        if field == "traits":
            return [self.cell((traits or {}).get(trait) if trait else traits) for traits in values[field]]
        return self.cells(name, values[field])

    def cells(self, name: str, values: Sequence[Any]) -> Sequence[str]:
        """Return the cells of a field, which is no trait, of some answers."""
        if name in {"latitude", "longitude", "asn"}:  # which seldom come again
            if None not in values:
                return list(map(repr, values))
            return [self._nothing if value is None else repr(value) for value in values]
        return list(map(self._cells[name].__getitem__, values))

    def cell(self, what: Any) -> str:
        """Return the cell of a field whose JSON form is given."""
        if what is None:
            return self._nothing
        if not isinstance(what, str):
            return repr(what) if type(what) in {float, int} else self.quoted(json_text(what))
        if self._shows_simple_as_is and SIMPLE.fullmatch(what):
            return what
        if self.is_json:
            return json_text(what)
        text = safe(what)
        if self.format in {"csv", "tsv"} and what.startswith(FORMULA_STARTS) and not _is_number(what):
            text = "'" + text
        return self.quoted(text)

    def quoted(self, text: str) -> str:
        """Quote a cell of CSV that needs it (RFC 4180)."""
        if self.format == "csv" and ('"' in text or self.separator in text):
            return '"' + text.replace('"', '""') + '"'
        return text

    def line(self, cells: Sequence[str]) -> str:
        """Return a line of these cells, without its end."""
        if self.is_plain:
            return self.separator.join(cells)
        if self.is_json:
            return f"{self._before}{''.join(chain.from_iterable(zip(self._keys, cells, strict=True)))}}}"
        if self.format == "label":
            *said, scope = cells
            return f" [{', '.join(filter(None, said)) or scope or 'unknown'}]"
        return self._before + self.separator.join(cells) or self.blank


class _Cells(dict[object, str]):
    """The cells of one field by what they say, each rendered once."""

    def __init__(self, render: Callable[[Any], str]) -> None:
        super().__init__()
        self._render = render

    def __missing__(self, what: object) -> str:
        if len(self) >= MOST_CELLS:
            self.clear()
        self[what] = cell = self._render(what)
        return cell


def json_text(what: object) -> str:
    """Return JSON on one line, in which all that could do something to a terminal is escaped."""
    text = encode_basestring(what) if isinstance(what, str) else _ENCODER.encode(what)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


_ENCODER = json.JSONEncoder(ensure_ascii=False)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_DEFAULTS: dict[str, Sequence[str]] = {
    "csv": CSV_FIELDS,
    "tsv": CSV_FIELDS,
    "json": JSON_FIELDS,
    "jsonl": JSON_FIELDS,
    "value": ("country_code",),
    "label": ("city", "country_code"),
}
FORMATS = tuple(name for name in _DEFAULTS if name != "label")
