"""CSV input (RFC 4180), to whose rows cells are appended."""

from __future__ import annotations

from itertools import chain

from geocli.addresses import is_address
from geocli.batch.column_names import usual_name
from geocli.batch.input_formats import DEFAULT_COLUMN, MAX_RECORD_BYTES, lines_of
from geocli.engine.blocks import Block, offsets, zeros
from geocli.errors import SettingsError
from geocli.formats.rows import Output
from geocli.models import CSV_FIELDS
from geocli.sanitize import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_CELL_BYTES = 2 << 20
"""A quote that is not closed within so many bytes opens no cell."""
OTHER_DELIMITERS = ";\t|"
"""If the only column has one of these in its name, it is more than one column."""
END = b"end of records"
"""A row of one cell that is not in a file, but behind it."""
CR, NO_CR = "\r", "\ufffe"
"""The csv module takes a carriage return for an end, also within a row; so it is shown a character instead."""


class CsvForm:
    """Rows of CSV (RFC 4180), to which cells are appended."""

    max_bytes = MAX_RECORD_BYTES
    adds_end, has_notes = True, False

    def __init__(
        self, column: str | None, fields: Sequence[str] | None, *, delimiter: str, prefix: str, with_header: bool
    ) -> None:
        """Choose the column of the addresses, the fields to append and a prefix of their names, what divides cells."""
        self._column, self._delimiter, self._prefix, self._with_header = column, delimiter, prefix, with_header
        self._fields = fields or tuple(name for name in CSV_FIELDS if name != "ip")
        self._byte = delimiter.encode()
        self._at = self._width = 0
        self.output = self._output_of("\n")

    def _output_of(self, end: str) -> Output:
        cut = self._delimiter
        return Output("csv", self._fields, with_header=False, before=cut, end=end, separator=cut)

    def begin(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Read the header, choose the column, and return the rest in whole records.

        Raises:
            SettingsError: the column is missing or ambiguous, or what is to be appended is there already.

        """
        whole = self._records(chunks)
        first = next((rest for part in whole if (rest := part.lstrip(b"\r\n"))), b"")
        (header, raw), *_ = self._read(first) or [([], b"")]
        if not header:
            return whole
        if b"\r" in raw.replace(b"\r\n", b""):
            hint = "; try: tr '\\r' '\\n' < FILE | geocli batch -i csv"
            raise SettingsError("input", f"its rows end in carriage returns alone{hint}", origin="csv")
        end = "\r\n" if first[len(raw) :].startswith(b"\r\n") else "\n"
        self.output = self._output_of(end)
        self._at, self._width = _place_of(self._column, header), len(header)
        names = self._appended(header)
        if self._with_header:
            self.output.header = b"%b%b%b%b" % (raw, self._byte, names.encode(), end.encode())
        rest = first[len(raw) + len(end) :]
        return chain([rest] if rest else [], whole)

    def _appended(self, header: Sequence[str]) -> str:
        """Return the cells that the header gets."""
        names = [self._prefix + name for name in self._fields]
        if both := [name for name in names if name in header]:
            hint = "choose other names with --prefix, as in --prefix geo_"
            raise SettingsError(", ".join(map(safe, both)), f"in the input already; {hint}", origin="csv")
        return self._delimiter.join(self.output.quoted(safe(name)) for name in names)

    def _records(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Return chunks that end where a record ends, rather than in a cell with a newline in it."""
        rest = b""
        for chunk in chunks:
            rest += chunk
            whole = self.whole_bytes(rest) or (len(rest) if len(rest) > MAX_CELL_BYTES else 0)
            if whole:
                yield rest[:whole]
                rest = rest[whole:]
        if rest:
            yield rest

    def whole_bytes(self, chunk: bytes) -> int:
        """Return how much of a chunk of whole lines is whole records: all, but for one whose last cell is open."""
        if b'"' not in chunk:
            return len(chunk)
        *_, (last, raw) = self._read(chunk + END)  # which an open cell would swallow
        return len(chunk) if last == [END.decode()] else len(chunk) + len(END) - len(raw)

    def first_bytes(self, chunk: bytes) -> int:
        """Return the length of the first record of a chunk of whole lines, with its end; 0 if that is not there."""
        (_, raw), *others = self._read(chunk + END)
        return len(raw) + (2 if chunk.startswith(b"\r", len(raw)) else 1) if others else 0

    def fitting(self, chunk: bytes) -> float:
        """Return the share of the records of a chunk that have as many cells as the header, which has been read."""
        widths = [len(cells) for cells, _ in self._read(chunk[: self.whole_bytes(chunk)])]
        return widths.count(self._width) / len(widths)

    def _read(self, chunk: bytes) -> list[tuple[list[str], bytes]]:
        """Return the cells of each record with its bytes, without its end."""
        import csv

        csv.field_size_limit(2 * MAX_RECORD_BYTES)
        lines = chunk.decode("utf-8", "surrogateescape").removesuffix("\n").split("\n")
        plain = (f"{line.removesuffix(CR).replace(CR, NO_CR)}\n" for line in lines)
        reader = csv.reader(plain, delimiter=self._delimiter)
        found, last = [], 0
        for cells in reader:
            raw = "\n".join(lines[last : reader.line_num]).removesuffix(CR)
            found.append((cells, raw.encode("utf-8", "surrogateescape")))
            last = reader.line_num
        return found

    def cut(self, chunk: bytes, *, is_large: bool = False) -> Block:
        """Return the cell of each row, and before it the row, filled up where it is too short."""
        is_plain = b'"' not in chunk and b"\r" not in chunk.replace(b"\r\n", b"")
        if not is_plain:
            return self._cut_quoted(chunk)
        return self._cut_natively(chunk) if is_large else self._cut_plain(chunk)

    def _cut_natively(self, chunk: bytes) -> Block:
        from geocli.engine.kernel import kernel

        starts, ends, begins, stops, padding = (zeros(chunk.count(b"\n")) for _ in range(5))
        block = Block(chunk, starts, ends, copy_starts=begins, copy_ends=stops, padding=padding, delimiter=self._byte)
        kernel().cells(block.pointer(), self._at, self._width)
        return block

    def _cut_plain(self, chunk: bytes) -> Block:
        at, byte = self._at, self._byte
        rows = lines_of(chunk.replace(b"\r\n", b"\n"))
        missing = offsets(max(self._width - 1 - row.count(byte), 0) for row in rows)
        texts = [row.split(byte, at + 1)[at] if row.count(byte) >= at else b"" for row in rows]
        return Block.joined(texts, rows, missing, byte)

    def _cut_quoted(self, chunk: bytes) -> Block:
        at, records = self._at, self._read(chunk)
        missing = offsets(max(self._width - max(len(cells), 1), 0) for cells, _ in records)
        texts = [cells[at].encode("utf-8", "surrogateescape") if at < len(cells) else b"" for cells, _ in records]
        return Block.joined(texts, [raw for _, raw in records], missing, self._byte)


def _place_of(column: str | None, header: Sequence[str]) -> int:
    """Return the index of a column by its name."""
    if odd := [cell for cell in header if is_address(cell)]:
        reason = f"{safe(odd[0])} is no name of a column: there must be a header; without one it is a log: -i log"
        raise SettingsError("input", reason, origin="csv")
    is_only = len(header) == 1
    if is_only and column is None and (cut := next((char for char in OTHER_DELIMITERS if char in header[0]), None)):
        reason = f"one column, {safe(header[0])}; is it divided by something else? --delimiter {cut!r}"
        raise SettingsError("input", reason, origin="csv")
    name = column or (header[0] if is_only else usual_name(header) or DEFAULT_COLUMN)
    count = header.count(name)
    if count != 1:
        raise _ambiguous(name, count, header)
    return header.index(name)


def _ambiguous(name: str, count: int, header: Sequence[str]) -> SettingsError:
    reason = f"{count} columns have this name" if count else "there is no such column"
    listed = ", ".join(map(safe, header))
    return SettingsError(f"-c {safe(name)}", f"{reason}; the columns are: {listed}", origin="csv")
