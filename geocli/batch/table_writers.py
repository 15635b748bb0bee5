"""Write tables: their rows with appended cells, another table, JSON lines, or only answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geocli.batch.table_dialect import CR, NO_CR
from geocli.errors import SettingsError
from geocli.formats.rows import Output, json_text
from geocli.models import CSV_FIELDS
from geocli.sanitize import safe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from geocli.batch.table_head import Head

    Writer: TypeAlias = "RawWriter | AnswerWriter | TableWriter | ObjectWriter"


APPENDED_FIELDS = tuple(name for name in CSV_FIELDS if name != "ip")
"""Fields appended by default, without the address."""
GEO = "geo"
"""Key of the answer in JSON."""


def writer_of(head: Head, format_: str | None, prefixes: Sequence[str], fields: Sequence[str] | None) -> Writer:
    """Return a writer, by default in the table's own format; raise SettingsError if an appended name exists already."""
    if format_ == "value":
        return AnswerWriter(Output("value", fields, end=""), prefixes)
    if format_ == "jsonl":
        return ObjectWriter(head, prefixes, fields)
    added = [prefix + name for prefix in prefixes for name in fields or APPENDED_FIELDS]
    is_same = head.kind == "csv" and (format_ == "tsv") == (head.dialect.delimiter == "\t")
    if format_ is None or is_same:
        return RawWriter(head, len(prefixes), added, fields or APPENDED_FIELDS)
    return TableWriter(head, len(prefixes), added, Output(format_, fields or APPENDED_FIELDS, with_header=False))


def _check_new(names: Sequence[str], head: Head, count: int) -> None:
    if both := [name for name in names if name in head.names]:
        hint = "choose other names with --prefix, as in --prefix geo_"
        if count > 1:
            hint = "choose other fields with -F, or one -c and --prefix"
        raise SettingsError(", ".join(map(safe, both)), f"in the input already; {hint}", origin=head.kind)


class RawWriter:
    """Unchanged rows with appended cells.

    This writer and the others have these attributes and methods:

    Attributes:
        output: output format of answers.
        end: text after the last answer of a row; None to write all ends of lines, blank lines and comments unchanged.

    """

    end: bytes | None = None

    def __init__(self, head: Head, count: int, added: Sequence[str], fields: Sequence[str]) -> None:
        _check_new(added, head, count)
        cut = head.dialect.delimiter
        format_ = "csv" if head.kind == "csv" else "words"
        self.output = Output(format_, fields, with_header=False, before=cut, end="", separator=cut)
        self._head, self._added, self._separators = head, added, [b""] * (count - 1)
        self._delimiter, self._width = cut.encode(), head.width

    def head(self) -> bytes:
        """Return the head of the table, with the names of the new columns."""
        return self._head.with_names(self._added) if self._head.names else b"".join(self._head.lines)

    def extended(self, text: bytes) -> bytes:
        """Add the new names to further heads in a chunk."""
        return self._head.extended(text, self._added)

    def row(self, cells: list[str], raw: bytes) -> list[bytes]:
        """Return the row, filled up where it is too short."""
        missing = self._width - len(cells)
        return [raw + self._delimiter * missing if missing > 0 else raw, *self._separators]


class AnswerWriter:
    """Only answers, one line for each row."""

    end: bytes | None = b"\n"

    def __init__(self, output: Output, prefixes: Sequence[str]) -> None:
        self.output, self._prefixes = output, prefixes
        self.before = [b"", *[output.separator.encode()] * (len(prefixes) - 1)]
        """Text to write before each answer of a row."""

    def head(self) -> bytes:
        """Return the names of the fields, if the format has them."""
        if self.output.format not in {"csv", "tsv"}:
            return b""
        names = [safe(f"{prefix}{name}") for prefix in self._prefixes for name in self.output.names]
        return f"{self.output.separator.join(map(self.output.quoted, names))}\n".encode()

    def row(self, *_: object) -> list[bytes]:
        """Return separators."""
        return self.before


class TableWriter:
    """Rows of a table in another dialect."""

    end: bytes | None = b"\n"

    def __init__(self, head: Head, count: int, added: Sequence[str], output: Output) -> None:
        _check_new(added, head, count)
        self._names = [*head.names, *added] if head.names else []
        self._separators, self._width = [b""] * (count - 1), head.width
        self._cut, self._format = output.separator, output.format
        self.output = Output(output.format, output.names, with_header=False, before=self._cut, end="")

    def head(self) -> bytes:
        """Return the names of all columns."""
        return self._joined(self._names) + b"\n" if self._names else b""

    def row(self, cells: list[str], _: bytes) -> list[bytes]:
        """Return the cells of a row."""
        missing = [""] * (self._width - len(cells))
        return [self._joined([*cells, *missing]), *self._separators]

    def _joined(self, cells: Sequence[str]) -> bytes:
        return self._cut.join(map(self._cell, cells)).encode("utf-8", "surrogateescape")

    def _cell(self, text: str) -> str:
        text = text.replace(NO_CR, CR)
        if self._format == "tsv":
            return text if text.isprintable() else safe(text)
        return '"' + text.replace('"', '""') + '"' if any(char in text for char in ',"\r\n') else text


class ObjectWriter:
    """A JSON object for each row: its cells, then the answers."""

    end: bytes | None = b"}\n"

    def __init__(self, head: Head, prefixes: Sequence[str], fields: Sequence[str] | None) -> None:
        answers = [prefix + GEO for prefix in prefixes]
        _check_new(answers, head, len(prefixes))
        self.output = Output("jsonl", fields, end="")
        names = [_as_unicode(name) for name in head.names]
        keys = [name if name and name not in names[:at] else f"{at + 1}" for at, name in enumerate(names)]
        self._keys = [f"{json_text(key)}: " for key in keys]
        self._first, *self._separators = [f"{json_text(name)}: ".encode() for name in answers]
        self._separators = [b", " + key for key in self._separators]

    def head(self) -> bytes:
        """Return nothing, since each line has keys."""
        return b""

    def row(self, cells: list[str], _: bytes) -> list[bytes]:
        """Return an object that is still open; cells without a name of their own have their number as a key."""
        keys = [*self._keys, *(f'"{number}": ' for number in range(len(self._keys) + 1, len(cells) + 1))]
        texts = map(_as_unicode, cells)
        members = [f"{key}{json_text(text)}, " for key, text in zip(keys, texts, strict=False)]
        return [f"{{{''.join(members)}".encode() + self._first, *self._separators]


def _as_unicode(cell: str) -> str:
    """Return a cell as a string of JSON, in which bytes that are not UTF-8 are U+FFFD."""
    return cell.replace(NO_CR, CR).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
