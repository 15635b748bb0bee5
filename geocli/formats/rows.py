"""Rows: entries rendered as CSV, TSV, JSON lines, JSON, bare values, or labels in a log; in UTF-8."""

from __future__ import annotations

from itertools import chain, repeat
from operator import attrgetter

from geocli.json_coding import encode_basestring_ascii, parse_json, readable_json
from geocli.models import CSV_FIELDS, JSON_FIELDS, reader
from geocli.sanitize import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence
    from typing import Any

    from geocli.models import Entry, Place
    from geocli.selection import Selection

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""Prefixes of cells that spreadsheets evaluate as formulas (CWE-1236)."""
SIMPLE = r"\w[\w ./-]*"
"""Pattern of strings that no format escapes or quotes, unless one of these characters is the separator."""
MAX_CELLS, MAX_PATTERNS = 10_000, 50_000
"""Cells of a field that are remembered, since most names of places recur; rows that are, since most places do."""
PER_ADDRESS = frozenset({"ip", "network", "resolved_at"})
"""Fields that differ between entries with the same answer."""
_IN_COMMON = frozenset({"scope", "source", "built_at", "cached", "error"})
"""Other fields that are not of the place."""
_MARK = "\ud800"
"""Stands for a cell that differs; a surrogate, which no rendered text contains."""


class Output:
    """Renders entries in one format: a header, then any number of blocks. A line is its cells, joined."""

    def __init__(  # noqa: PLR0913 (the parts of a line)
        self,
        format_: str,
        fields: Sequence[str] | None = None,
        *,
        with_header: bool = True,
        before: str = "",
        end: str = "\n",
        separator: str = ",",
    ) -> None:
        r"""Prepare to render lines.

        Args:
            format_: `csv`, `tsv`, `jsonl`, `json`, `value`, `label`, which is ` [London, GB]`, or `words`, which are
                cells without quotes, as in logs, where `-` is unknown.
            fields: names of the cells; default: those of the format.
            with_header: whether CSV and TSV begin with the names.
            before: prefix of every line.
            end: suffix of every line.
            separator: between cells of CSV, or between words.

        """
        self.format = format_
        self.names = tuple(fields or _DEFAULTS[format_])
        self.cell_names = (*self.names, "scope") if format_ == "label" else self.names
        """The fields of a line, in the order of its cells."""
        self.end = end
        self._before = before
        self.separator = {"csv": separator, "words": separator, "label": ", "}.get(format_, "\t")
        """Separator of cells."""
        self._is_simple = self._match_of_simple_cells()
        self._marks = ('"', self.separator, *(f"\n{start}" for start in FORMULA_STARTS))
        """Strings in a cell that make it differ from its value."""
        self._keys = _json_keys(self.names)
        self._read = reader(self.cell_names)
        self._cells = {name: _Cells(self.cell) for name in self.cell_names}
        self._columns = [None if name in PER_ADDRESS else self._cells[name] for name in self.cell_names]
        self._own_names = tuple(filter(PER_ADDRESS.__contains__, self.cell_names))
        self._read_common = attrgetter("status", *filter(_IN_COMMON.__contains__, self.cell_names))
        self._patterns: dict[Hashable, tuple[str, Place]] = {}
        """Rows of entries with the same answer, with placeholders for the cells that differ."""
        self.unknown = {"json": "null", "jsonl": "null", "words": "-"}.get(format_, "")
        """Cell of an unknown value."""
        self.blank = '""' if (format_, len(self.names), before) == ("csv", 1, "") else ""
        """Line of a single empty cell; an empty line would not be a row of CSV."""
        self.is_plain = format_ in {"csv", "tsv", "value"} and not (before or self.blank)
        """Whether a line is just its cells with separators."""
        self.header = self._header() if with_header else b""
        self.key_fields: tuple[str, ...] = ()
        """Fields by which entries are counted and selected; they are read even if lines do not contain them."""
        self.selection: Selection | None = None
        """Selects the entries to write; default: all."""
        self.has_answers = True
        """Whether answers are written, rather than selected input alone."""

    def _match_of_simple_cells(self) -> Callable[[str], object] | None:
        """Return the function that matches simple strings, None if their cells may differ from them."""
        if self.is_json or self.format == "words":
            return None
        import re

        match = re.compile(SIMPLE).fullmatch
        return None if match(f"_{self.separator}") else match

    def _header(self) -> bytes:
        if self.format not in {"csv", "tsv"}:
            return b""
        return f"{self.separator.join(map(safe, self.names))}{self.end}".encode()

    @property
    def fields(self) -> frozenset[str]:
        """Fields of entries that lines contain."""
        return frozenset(name.partition(".")[0] for name in self.cell_names)

    @property
    def is_json(self) -> bool:
        """Whether cells are values of JSON."""
        return self.format in {"json", "jsonl"}

    def block(self, entries: Iterable[Entry]) -> bytes:
        """Return the lines of entries; for `json`, the whole document."""
        if self.format == "json":
            inner = ",\n  ".join(self.line([*map(self.cell, self._read(entry))]) for entry in entries)
            return f"[\n  {inner}\n]{self.end}".encode()
        return "".join(f"{self.line([*map(self.cell, self._read(entry))])}{self.end}" for entry in entries).encode()

    def rows(self, entries: Sequence[Entry], ips: Sequence[str] | None = None) -> list[bytes]:
        """Return the line of each entry; `ips` are written instead of their addresses."""
        ips = [entry.ip for entry in entries] if ips is None else ips
        columns = [self._own_cells(name, entries, ips) for name in self._own_names]
        cells = list(zip(*columns, strict=True)) if columns else [()] * len(entries)
        if columns and not self.is_uniform:
            return [self._row(entry, own).encode() for entry, own in zip(entries, cells, strict=True)]
        # Most places recur: what is the same in all their rows is rendered once.
        lines, patterns, read_common = [], self._patterns, self._read_common
        for entry, own in zip(entries, cells, strict=True):
            key = id(entry.place), read_common(entry)
            pattern, _ = patterns.get(key) or self._pattern(key, entry)
            lines.append((pattern % own).encode())
        return lines

    def _own_cells(self, name: str, entries: Sequence[Entry], ips: Sequence[str]) -> Sequence[str]:
        """Return the cells of a field in `PER_ADDRESS`."""
        read = reader((name,))
        values = ips if name == "ip" else [read(entry)[0] for entry in entries]
        return values if self._are_plain(values) else list(map(self.cell, values))

    def _pattern(self, key: Hashable, entry: Entry) -> tuple[str, Place]:
        """Return a row with placeholders for the cells that differ; it is remembered with the place, to keep its id."""
        if len(self._patterns) >= MAX_PATTERNS:
            self._patterns.clear()
        marks = repeat(_MARK, len(self._own_names))
        pattern = self._row(entry, marks).replace("%", "%%").replace(_MARK, "%s"), entry.place
        self._patterns[key] = pattern
        return pattern

    def _row(self, entry: Entry, own: Iterable[str]) -> str:
        """Return the line of an entry; the cells of fields in `PER_ADDRESS` are given."""
        rest = iter(own)
        cells = [
            next(rest) if texts is None else texts[value] if type(value) is str else self.cell(value)
            for texts, value in zip(self._columns, self._read(entry), strict=True)
        ]
        return f"{self.line(cells)}{self.end}"

    @property
    def is_uniform(self) -> bool:
        """Whether a line is the same text around its cells, whatever these are."""
        return self.format != "label" and not self.blank

    def glue(self, position: int) -> str:
        """Return the text between a cell and the preceding one in a uniform line."""
        if self.is_json:
            return self._keys[position]
        return self.separator if position and self.is_uniform else ""

    def traits_cell(self, members: str) -> str:
        """Return a cell of `traits` that has some rendered members."""
        return f'"{{{members}}}"' if self.format == "csv" else self.quoted(f"{{{members}}}")

    def trait_member(self, name: str, value: Any) -> str:
        """Return a rendered member of `traits`."""
        text = json_text({name: value})[1:-1]
        return text.replace('"', '""') if self.format == "csv" else text

    def cells(self, name: str, values: Sequence[Any]) -> Sequence[str]:
        """Return a column of cells; the field must not be a trait."""
        # These values seldom recur, so they are not remembered.
        if name in {"latitude", "longitude", "asn"}:
            if None not in values:
                return list(map(repr, values))
            return [self.unknown if value is None else repr(value) for value in values]
        texts = ["" if value is None else value for value in values] if None in values else values
        if self._are_plain(texts):
            return texts
        return list(map(self._cells[name].__getitem__, values))

    def _are_plain(self, texts: Sequence[Any]) -> bool:
        """Return whether values are strings that are cells as they are."""
        if not self._is_simple or {*map(type, texts)} != {str}:
            return False
        lines = "\n".join(("", *texts))
        return (
            lines.replace("\n", "").isprintable()
            and lines.count("\n") == len(texts)
            and not any(mark in lines for mark in self._marks)
        )

    def cell(self, value: Any) -> str:
        """Return the cell of a value in its JSON form."""
        if value is None:
            return self.unknown
        if not isinstance(value, str):
            return repr(value) if type(value) in {float, int} else self.quoted(json_text(value))
        if self._is_simple and self._is_simple(value):
            return value
        if self.is_json:
            return json_text(value)
        text = safe(value)
        if self.format in {"csv", "tsv"} and value.startswith(FORMULA_STARTS) and not _is_number(value):
            text = "'" + text
        return self.quoted(text)

    def quoted(self, text: str) -> str:
        """Return a cell of CSV, quoted if necessary (RFC 4180); a word has no separator."""
        if self.format == "words":
            return text.replace(self.separator, "+") or self.unknown
        if self.format == "csv" and ('"' in text or self.separator in text):
            return '"' + text.replace('"', '""') + '"'
        return text

    def line(self, cells: Sequence[str]) -> str:
        """Return the line of cells, without its end."""
        if self.is_plain:
            return self.separator.join(cells)
        if self.is_json:
            return f"{self._before}{''.join(chain.from_iterable(zip(self._keys, cells, strict=True)))}}}"
        if self.format == "label":
            *names, scope = cells
            return f" [{', '.join(filter(None, names)) or scope or 'unknown'}]"
        return self._before + self.separator.join(cells) or self.blank


class _Cells(dict[object, str]):
    """Cells of one field by value, each rendered once."""

    def __init__(self, render: Callable[[Any], str]) -> None:
        super().__init__()
        self._render = render

    def __missing__(self, value: object) -> str:
        if len(self) >= MAX_CELLS:
            self.clear()
        self[value] = cell = self._render(value)
        return cell


def _json_keys(names: Sequence[str]) -> list[str]:
    return [f"{', ' if number else '{'}{json_text(name)}: " for number, name in enumerate(names)]


def json_text(value: object) -> str:
    """Return JSON on one line, in which every character that could control a terminal is escaped."""
    text = readable_json(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else encode_basestring_ascii(char)[1:-1] for char in text)


class JsonText(str):
    """JSON of a list or a map, which stands for it in a key."""

    __slots__ = ()


def restored(value: object) -> object:
    """Return the list or the map that a JsonText stands for; any other value as it is."""
    return parse_json(value) if isinstance(value, JsonText) else value


def value_text(value: object) -> str:
    """Return a value as people read it: a string as it is, nothing for None, JSON for anything else."""
    return "" if value is None else value if isinstance(value, str) else json_text(value)


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
    "words": CSV_FIELDS,
    "label": ("city", "country_code"),
}
FORMATS = tuple(name for name in _DEFAULTS if name not in {"label", "words"})
