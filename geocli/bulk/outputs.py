"""Entries to CSV, TSV, JSON lines, JSON, bare values, or labels in a text; in UTF-8."""

from __future__ import annotations

import json
from itertools import chain
from json.encoder import encode_basestring

from geocli.entries import CSV_FIELDS, JSON_FIELDS, reader
from geocli.text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from geocli.entries import Entry

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that starts like this for a formula (CWE-1236)."""
JSON = frozenset({"json", "jsonl"})


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
            end: what goes after its last one, `\n` or `\0` at least.
            separator: what stands between the cells of CSV.

        """
        self.format = format_
        self.names = tuple(fields or _DEFAULTS[format_])
        self.before, self.end = before, end
        self._separator = {"csv": separator, "label": ", "}.get(format_, "\t")
        self._keys = [f'{", " if number else "{"}{json_text(name)}: ' for number, name in enumerate(self.names)]
        self._read = reader((*self.names, "scope") if format_ == "label" else self.names)
        has_header = with_header and format_ in {"csv", "tsv"}
        self.header = f"{self._separator.join(map(safe, self.names))}{end}".encode() if has_header else b""
        """What goes before all blocks."""

    def block(self, entries: Iterable[Entry]) -> bytes:
        """Return the lines of some entries, each with its end; for `json`, the whole document."""
        if self.format == "json":
            inner = ",\n  ".join(self.line(self.cells(entry)) for entry in entries)
            return f"[\n  {inner}\n]{self.end}".encode()
        return "".join(f"{self.line(self.cells(entry))}{self.end}" for entry in entries).encode()

    def cells(self, entry: Entry) -> list[str]:
        """Return the texts of the fields of an entry."""
        return [*map(self.cell, self._read(entry))]

    def cell(self, what: Any) -> str:
        """Return the text of a field whose JSON form is given."""
        if self.format in JSON:
            return json_text(what)
        text = safe(what) if isinstance(what, str) else _text(what)
        if self.format not in {"csv", "tsv"}:
            return text
        if isinstance(what, str) and what.startswith(FORMULA_STARTS) and not _is_number(what):
            text = "'" + text
        if self.format == "csv" and ('"' in text or self._separator in text):
            return '"' + text.replace('"', '""') + '"'
        return text

    def line(self, cells: Sequence[str]) -> str:
        """Return a line of these cells, without its end."""
        if self.format in JSON:
            return f"{self.before}{''.join(chain.from_iterable(zip(self._keys, cells, strict=True)))}}}"
        if self.format == "label":
            *said, scope = cells
            return f"{self.before} [{', '.join(filter(None, said)) or scope or 'unknown'}]"
        if len(cells) == 1 and self.format == "csv":  # a line without anything is no row
            return self.before + (cells[0] or '""')
        return self.before + self._separator.join(cells)


def json_text(what: object) -> str:
    """Return JSON on one line, in which all that could do something to a terminal is escaped."""
    text = encode_basestring(what) if isinstance(what, str) else json.dumps(what, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _text(what: Any) -> str:
    if isinstance(what, bool | dict | list):
        return json_text(what)
    return "" if what is None else str(what)


_DEFAULTS: dict[str, Sequence[str]] = {
    "csv": CSV_FIELDS,
    "tsv": CSV_FIELDS,
    "json": JSON_FIELDS,
    "jsonl": JSON_FIELDS,
    "value": ("country_code",),
    "label": ("city", "country_code"),
}
FORMATS = tuple(name for name in _DEFAULTS if name != "label")
