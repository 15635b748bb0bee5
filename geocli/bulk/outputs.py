"""Entries to CSV, TSV, JSON lines, JSON or bare values, in UTF-8."""

from __future__ import annotations

import json
from functools import partial

from geocli.entries import CSV_FIELDS, JSON_FIELDS, as_json, value
from geocli.text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from geocli.entries import Entry

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that starts like this for a formula (CWE-1236)."""


class Output:
    """Renders entries in one format: a header, then any number of blocks, then a footer."""

    def __init__(
        self, format_: str, fields: Sequence[str] | None = None, *, with_header: bool = True, end: str = "\n"
    ) -> None:
        r"""Choose `csv`, `tsv`, `jsonl`, `json` or `value`, the fields, and what ends a line (`\n` or `\0`)."""
        self._names = tuple(fields or _DEFAULTS[format_])
        self._end = end
        self._rows = partial(_ROWS[format_], self._names)
        self._is_json = format_ == "json"
        has_header = with_header and format_ in {"csv", "tsv"}
        separator = "," if format_ == "csv" else "\t"
        self.header = f"{separator.join(map(safe, self._names))}{end}".encode() if has_header else b""
        """What goes before all blocks."""

    def block(self, entries: Iterable[Entry]) -> bytes:
        """Return the lines of some entries, each with its end; for `json`, the whole document."""
        rows = self._rows(entries)
        if self._is_json:
            inner = ",\n".join(f"  {row}" for row in rows)
            return f"[\n{inner}\n]{self._end}".encode()
        return "".join(f"{row}{self._end}" for row in rows).encode()


def _csv(names: Sequence[str], entries: Iterable[Entry]) -> Iterable[str]:
    import csv
    import io

    for entry in entries:
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(_cells(names, entry))
        yield text.getvalue()


def _tsv(names: Sequence[str], entries: Iterable[Entry]) -> Iterable[str]:
    return ("\t".join(_cells(names, entry)) for entry in entries)


def _values(names: Sequence[str], entries: Iterable[Entry]) -> Iterable[str]:
    return ("\t".join(safe(_text(value(entry, name))) for name in names) for entry in entries)


def _json(names: Sequence[str], entries: Iterable[Entry]) -> Iterable[str]:
    return (json_text(as_json(entry, names)) for entry in entries)


def json_text(what: object) -> str:
    """Return JSON on one line, in which all that could do something to a terminal is escaped."""
    text = json.dumps(what, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def _cells(names: Sequence[str], entry: Entry) -> list[str]:
    return [_cell(value(entry, name)) for name in names]


def _cell(what: Any) -> str:
    text = _text(what)
    if isinstance(what, str) and text.startswith(FORMULA_STARTS) and not _is_number(text):
        return "'" + safe(text)
    return safe(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _text(what: Any) -> str:
    if what is None:
        return ""
    if isinstance(what, bool):
        return "true" if what else "false"
    return json_text(what) if isinstance(what, dict | list) else str(what)


_ROWS: dict[str, Callable[[Sequence[str], Iterable[Entry]], Iterable[str]]] = {
    "csv": _csv,
    "tsv": _tsv,
    "json": _json,
    "jsonl": _json,
    "value": _values,
}
_DEFAULTS: dict[str, Sequence[str]] = {
    "csv": CSV_FIELDS,
    "tsv": CSV_FIELDS,
    "json": JSON_FIELDS,
    "jsonl": JSON_FIELDS,
    "value": ("country_code",),
}
FORMATS = tuple(_ROWS)
