"""Dialects of tables: the division of rows into cells."""

from __future__ import annotations

from typing import NamedTuple

from geocli.batch.lists_and_logs import MAX_RECORD_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    Record: TypeAlias = tuple[list[str], bytes, bytes]
    """The cells of a row, or nothing for a blank line or a comment; the line without its end; its end."""
    Cells: TypeAlias = Iterator[tuple[list[str], int]]

MAX_CELL_BYTES = 2 << 20
"""A quote that is not closed within this size opens no cell."""
END = b"end of records"
"""A row of one cell that is appended to a chunk, to see whether its last record is complete."""
CR, NO_CR = "\r", "\ufffe"
"""The csv module takes a carriage return for a line end, also within a row, so it is shown another character."""
COMMENT = "#"


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
        """Return the records of whole lines; a quote that is not closed opens no cell."""
        return self._records(chunk, self._closed_cells)

    def _records(self, chunk: bytes, cells_of: Callable[[list[str]], Cells]) -> Iterator[Record]:
        raws, lines = chunk.split(b"\n"), chunk.decode("utf-8", "surrogateescape").split("\n")
        is_ended = not raws[-1]
        if is_ended:
            raws.pop()
            lines.pop()
        last, count = 0, len(raws)
        for cells, stop in cells_of(lines):
            raw = raws[last] if stop == last + 1 else b"\n".join(raws[last:stop])
            end = b"\n" if is_ended or stop < count else b""
            if raw.endswith(b"\r"):
                raw, end = raw[:-1], b"\r" + end
            yield cells, raw, end
            last = stop

    def _closed_cells(self, lines: list[str]) -> Cells:
        """Return the cells of each record, and the number of lines up to its end; an open quote ends with its line."""
        start = 0
        while start < len(lines):
            last = start
            for cells, stop in self._cells([*lines[start:], END.decode()]):
                if start + stop > len(lines):  # the row that was appended, or an open cell with it
                    break
                last = start + stop
                yield cells, last
            if last < len(lines):
                yield self._cells_of_line(lines[last].removesuffix(CR)), last + 1
            start = last + 1

    def _cells(self, lines: list[str]) -> Cells:
        """Return the cells of each record, and the number of lines up to its end."""
        if self.quotes != "cells":
            for number, line in enumerate(lines, 1):
                yield self._cells_of_line(line.removesuffix(CR)), number
            return
        import csv

        csv.field_size_limit(2 * MAX_RECORD_BYTES)
        source = _Lines(lines)
        reader = csv.reader(source.with_comments() if self.has_comments else source.all(), delimiter=self.delimiter)
        for cells in reader:
            yield cells, reader.line_num
            source.is_at_start = True

    def _cells_of_line(self, line: str) -> list[str]:
        if not line or (self.has_comments and line.startswith(COMMENT)):
            return []
        if self.quotes != "none" and '"' in line:
            import csv

            return next(csv.reader([line.replace(CR, NO_CR)], delimiter=self.delimiter))
        return line.split(self.delimiter)

    def whole_bytes(self, chunk: bytes) -> int:
        """Return the size of the whole records of whole lines: all, but for one whose last cell is open."""
        if self.quotes != "cells" or b'"' not in chunk:
            return len(chunk)
        # An open cell would contain the row that is appended.
        *_, (cells, raw, _) = self._records(chunk + END, self._cells)
        return len(chunk) if cells == [END.decode()] else len(chunk) + len(END) - len(raw)

    def first_bytes(self, chunk: bytes) -> int:
        """Return the size of the first record of whole lines, with its end; 0 if it is incomplete."""
        records = self._records(chunk + END, self._cells)
        _, raw, end = next(records)
        return len(raw) + len(end) if next(records, None) else 0

    def bytes_to_row(self, chunk: bytes) -> int:
        """Return the size of whole lines up to the end of the first row."""
        size = 0
        for cells, raw, end in self.records(chunk):
            size += len(raw) + len(end)
            if cells:
                break
        return size


class _Lines:
    """Lines as the csv module reads them."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self.is_at_start = True
        """Whether the next line begins a record."""

    def all(self) -> Iterator[str]:
        """Return the lines."""
        return (f"{line.removesuffix(CR).replace(CR, NO_CR)}\n" for line in self._lines)

    def with_comments(self) -> Iterator[str]:
        """Return the lines, and blank lines instead of comments between records."""
        for line, read in zip(self._lines, self.all(), strict=True):
            is_comment = self.is_at_start and line.startswith(COMMENT)
            self.is_at_start = False
            yield "\n" if is_comment else read
