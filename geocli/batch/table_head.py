"""The head of a table: comments, blank lines and the names of its columns.

The names are a row, as in CSV, or a comment: `#fields` of Zeek, `#Fields:` of W3C's extended log format (IIS,
CloudFront), or the last comment before the rows, as in feeds of abuse.ch.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from geocli.batch.several_addresses import has_address
from geocli.batch.table_dialect import CR, NO_CR, Dialect
from geocli.batch.usual_column_names import number_of, usual_name
from geocli.errors import SettingsError
from geocli.sanitize import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

ZEEK, W3C = re.compile(rb"#fields(?!\w)"), re.compile(rb"#Fields:")
"""Prefixes of the names of columns in logs of Zeek and in W3C extended logs."""
COMMENTS = re.compile(rb"(?m)^(\xef\xbb\xbf)?(#[^\r\n]*)")
"""Comments, the first one possibly after a byte order mark."""
PREFIX = re.compile(rb'(?i)(?:\xef\xbb\xbf)?(?:"?sep=([^\r\n"])"?\r?\n)?')
"""A byte order mark, and the line that tells Excel the delimiter."""
UNKNOWN = ("", "-", "unknown")
"""Placeholders for an address in a row, which headers do not contain."""
SEPARATOR = re.compile(rb"#separator \\x([0-9a-fA-F]{2})\s*\Z")


class Head(NamedTuple):
    """The lines before the rows of a table."""

    size: int
    """Size in bytes."""
    lines: tuple[bytes, ...]
    """Lines, with their terminators."""
    names: tuple[str, ...]
    """Names of the columns; none if the table has no header."""
    width: int
    """The number of columns."""
    dialect: Dialect
    kind: str = "csv"
    """`csv`, `zeek` or `w3c`."""
    place: int = 0
    """Index of the first cell with an address in the first row of a table without a header."""

    def with_names(self, added: Sequence[str]) -> bytes:
        """Return the head with the names of more columns."""
        if self.kind == "csv":
            *before, header = self.lines
            bare = header.rstrip(b"\r\n")
            cells = "".join(f"{self.dialect.delimiter}{quoted(name, self.dialect.delimiter)}" for name in added)
            return b"".join([*before, bare, cells.encode(), header[len(bare) :] or b"\n"])
        return self.extended(b"".join(self.lines), added)

    def extended(self, text: bytes, added: Sequence[str]) -> bytes:
        """Add names of columns to the comments that name the others, as they occur in logs that were joined.

        Raises SettingsError if other columns are named.
        """
        marks = {"csv": (), "zeek": (b"#fields", b"#types"), "w3c": (b"#Fields:",)}[self.kind]
        if not any(mark in text for mark in marks):
            return text
        names = [safe(name).replace(" ", "_") for name in added]
        return COMMENTS.sub(lambda match: (match[1] or b"") + self._extended(match[2], names), text)

    def _extended(self, comment: bytes, added: Sequence[str]) -> bytes:
        marker = (W3C if self.kind == "w3c" else ZEEK).match(comment)
        if marker is not None:
            if (names := _names(comment, marker.end(), self.kind, self.dialect)) != self.names:
                reason = f"other columns follow in the same file: {safe(' '.join(names))}; divide it there"
                raise SettingsError("input", reason, origin=self.kind)
            between = b" " if self.kind == "w3c" else self.dialect.delimiter.encode()
            return between.join([comment, *(name.encode() for name in added)])
        if self.kind == "zeek" and comment.startswith(b"#types"):
            return self.dialect.delimiter.encode().join([comment, *[b"string"] * len(added)])
        return comment


def quoted(text: str, delimiter: str) -> str:
    """Return the name of a column as a cell of CSV."""
    text = safe(text)
    return '"' + text.replace('"', '""') + '"' if '"' in text or delimiter in text else text


def read_head(text: bytes, dialect: Dialect, columns: Sequence[str], *, is_all: bool) -> Head | None:
    """Read the head of a table.

    Args:
        text: what the table begins with.
        dialect: of its rows, unless it is a log of Zeek or in W3C's format.
        columns: the chosen columns; if the first is chosen by its number, there need be no header.
        is_all: whether there is no more.

    Returns:
        The head; None if more must be read, up to the first row after it.

    """
    mark, delimiter = _prefix(text)
    dialect = dialect._replace(delimiter=delimiter or dialect.delimiter)
    bounds, is_complete = _comment_bounds(text, mark, is_all=is_all)
    if not (is_complete or is_all):
        return None
    lines = [text[start:stop] for start, stop in pairwise(bounds)]
    start, at = bounds[-1], bounds[-1] or mark  # the prefix belongs to the first line
    comments = _contents(lines, mark)
    if log_head := _of_log(lines, comments, text[at:]):
        return log_head
    dialect = dialect._replace(has_comments=bool(comments))
    rest = text[at:]
    size = dialect.first_bytes(rest)
    if rest and not size and not is_all:
        return None
    head = _of_table(lines, text[start : at + (size or len(rest))], dialect, columns, at - start)
    # Without names, comments are left to the rows, so that those of several files are written.
    return head if head.names else head._replace(size=mark, lines=(text[:mark],))


def _prefix(text: bytes) -> tuple[int, str]:
    """Return the size of a byte order mark and of Excel's line, and the delimiter that this names, if any."""
    prefix = next(PREFIX.finditer(text))
    return prefix.end(), (prefix[1] or b"").decode("latin-1")


def _comment_bounds(text: bytes, at: int, *, is_all: bool) -> tuple[list[int], bool]:
    """Return the bounds of comments and blank lines from an offset on, and whether another line follows them."""
    bounds = [0]
    while (end := text.find(b"\n", at) + 1) or (is_all and at < len(text)):
        end = end or len(text)
        line = text[at:end].rstrip(b"\r\n")
        if line and not line.startswith(b"#"):
            return bounds, True
        bounds.append(end)
        at = end
    return bounds, False


def _of_log(lines: Sequence[bytes], comments: Sequence[bytes], rest: bytes) -> Head | None:
    """Return the head of a log of Zeek or in W3C's format."""
    comment = next((each for each in reversed(comments) if ZEEK.match(each) or W3C.match(each)), None)
    if comment is None:
        return None
    if marker := W3C.match(comment):
        row = rest.partition(b"\n")[0]
        delimiter = "\t" if b"\t" in row else " "
        dialect = Dialect(delimiter, quotes="lines" if delimiter == " " else "none", has_comments=True)
        kind, end = "w3c", marker.end()
    else:
        separator = next((match for each in comments if (match := SEPARATOR.match(each))), None)
        delimiter = chr(int(separator[1], 16)) if separator else "\t"
        dialect = Dialect(delimiter, quotes="none", has_comments=True)
        kind, end = "zeek", len("#fields")
    names = _names(comment, end, kind, dialect)
    return Head(sum(map(len, lines)), tuple(lines), names, len(names), dialect, kind)


def _names(comment: bytes, start: int, kind: str, dialect: Dialect) -> tuple[str, ...]:
    text = comment[start:].decode("utf-8", "surrogateescape")
    return tuple(text.split() if kind == "w3c" else text.split(dialect.delimiter)[1:])


def _commented_names(lines: Sequence[bytes], count: int, dialect: Dialect) -> Sequence[str]:
    """Return the names in the last comment before the first row, if their number is this; else an empty list."""
    comment = lines[-1].lstrip(b"# ").rstrip(b"\r\n") if lines and lines[-1].startswith(b"#") else b""
    names = next(dialect.records(comment))[0] if comment else []
    return names if len(names) == count else []


def _contents(lines: Sequence[bytes], mark: int) -> list[bytes]:
    """Return lines without a prefix of some bytes and their terminators; blank lines are left out."""
    return list(filter(None, (line[0 if number else mark :].rstrip(b"\r\n") for number, line in enumerate(lines))))


def _is_unknown(cells: Sequence[str], number: int | None) -> bool:
    """Return whether the cell with a number is there, and blank or a placeholder for an address."""
    return number is not None and number < len(cells) and cells[number].strip().lower() in UNKNOWN


def _names_addresses(names: Sequence[str], cells: Sequence[str], columns: Sequence[str]) -> bool:
    """Return whether names in a comment are those of columns with addresses, and the first cells are not."""
    return not _has_addresses(cells, columns) and _has_addresses(names, columns)


def _has_addresses(names: Sequence[str], columns: Sequence[str]) -> bool:
    return bool(usual_name(names)) or not set(columns).isdisjoint(names)


def _address_index(cells: Sequence[str]) -> int | None:
    """Return the index of the first cell with an address."""
    return next((index for index, cell in enumerate(cells) if has_address(cell)), None)


def _of_table(lines: Sequence[bytes], first: bytes, dialect: Dialect, columns: Sequence[str], mark: int) -> Head:
    """Return the head of a table whose first record is given, with a prefix of some bytes before it."""
    cells = [cell.replace(NO_CR, CR) for cells, *_ in dialect.records(first[mark:]) for cell in cells]
    before = sum(map(len, lines))
    place, number = _address_index(cells), number_of(columns)
    names = _commented_names(lines, len(cells), dialect)
    if place is None and not _is_unknown(cells, number) and not _names_addresses(names, cells, columns):
        return Head(before + len(first), (*lines, first), tuple(cells), len(cells), dialect)
    if names and number is None:
        return Head(before, tuple(lines), tuple(names), len(cells), dialect)
    return Head(0, (), (), len(cells), dialect, place=place or 0)
