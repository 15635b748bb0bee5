"""Dialects of tables: the division of rows into cells."""

from __future__ import annotations

from typing import NamedTuple

from geocli.batch.input_formats import MAX_RECORD_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_CELL_BYTES = 2 << 20
"""A quote that is not closed within this size opens no cell."""
END = b"end of records"
"""A row of one cell that is appended to a chunk, to see whether its last record is complete."""
CR, NO_CR = "\r", "\ufffe"
"""The csv module takes a carriage return for a line end, also within a row, so it is shown another character."""
COMMENT = "#"


class Record(NamedTuple):
    """A row of a table."""

    cells: list[str]
    """Empty for blank lines and comments, which are not rows."""
    raw: bytes
    """Without the end of the line."""
    end: bytes


class Dialect(NamedTuple):
    """The syntax of a table."""

    delimiter: str = ","
    quotes: str = "cells"
    """`cells`, as in RFC 4180, where they may have newlines; `lines`, where they may not; or `none`."""
    has_comments: bool = False
    """Whether lines that begin with `#` are comments."""

    def is_plain(self, chunk: bytes) -> bool:
        """Return whether rows can be divided at delimiters alone."""
        if self.quotes == "none":
            return True
        return b'"' not in chunk and b"\r" not in chunk.replace(b"\r\n", b"")

    def records(self, chunk: bytes) -> Iterator[Record]:
        """Return the records of whole lines."""
        lines = chunk.decode("utf-8", "surrogateescape").split("\n")
        ends = [b"\n"] * (len(lines) - 1) + [b""]
        if not lines[-1]:
            lines.pop()
        last = 0
        for cells, stop in self._cells(lines):
            raw = "\n".join(lines[last:stop]).encode("utf-8", "surrogateescape")
            bare = raw.removesuffix(b"\r")
            yield Record(cells, bare, raw[len(bare) :] + ends[stop - 1])
            last = stop

    def _cells(self, lines: list[str]) -> Iterator[tuple[list[str], int]]:
        """Return the cells of each record, and the number of lines up to its end."""
        if self.quotes != "cells":
            for number, line in enumerate(lines, 1):
                yield self._cells_of_line(line.removesuffix(CR)), number
            return
        import csv

        csv.field_size_limit(2 * MAX_RECORD_BYTES)
        source = _Lines(lines, has_comments=self.has_comments)
        for cells in csv.reader(source, delimiter=self.delimiter):
            yield cells, source.count
            source.is_at_start = True

    def _cells_of_line(self, line: str) -> list[str]:
        if not line or (self.has_comments and line.startswith(COMMENT)):
            return []
        if self.quotes == "lines" and '"' in line:
            import csv

            return next(csv.reader([line.replace(CR, NO_CR)], delimiter=self.delimiter))
        return line.split(self.delimiter)

    def whole_bytes(self, chunk: bytes) -> int:
        """Return the size of the whole records of whole lines: all, but for one whose last cell is open."""
        if self.quotes != "cells" or b'"' not in chunk:
            return len(chunk)
        # An open cell would contain the row that is appended.
        *_, last = self.records(chunk + END)
        return len(chunk) if last.cells == [END.decode()] else len(chunk) + len(END) - len(last.raw)

    def first_bytes(self, chunk: bytes) -> int:
        """Return the size of the first record of whole lines, with its end; 0 if it is incomplete."""
        records = self.records(chunk + END)
        first = next(records)
        return len(first.raw) + len(first.end) if next(records, None) else 0

    def bytes_to_row(self, chunk: bytes) -> int:
        """Return the size of whole lines up to the end of the first row."""
        size = 0
        for record in self.records(chunk):
            size += len(record.raw) + len(record.end)
            if record.cells:
                break
        return size


class _Lines:
    """Lines as the csv module reads them; comments between records are blank lines."""

    def __init__(self, lines: list[str], *, has_comments: bool) -> None:
        self._lines, self._has_comments = lines, has_comments
        self.count = 0
        """Lines that were read."""
        self.is_at_start = True
        """Whether the next line begins a record."""

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.count += 1
            is_comment = self.is_at_start and self._has_comments and line.startswith(COMMENT)
            self.is_at_start = False
            yield "\n" if is_comment else f"{line.removesuffix(CR).replace(CR, NO_CR)}\n"
