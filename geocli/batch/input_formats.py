"""The forms of input: what of a chunk should be addresses, and what of it is written before each answer."""

from __future__ import annotations

from itertools import accumulate, chain
from typing import Protocol

from geocli.addresses import is_address
from geocli.batch import address_scanner
from geocli.batch.reader import MOST_LINE_BYTES
from geocli.engine.blocks import Block, offsets, zeros
from geocli.errors import SettingsError
from geocli.formats.rows import Output
from geocli.models import CSV_FIELDS
from geocli.sanitize import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_RECORD_BYTES = 4 << 20
"""A longer row, object or line of a log is cut short."""
MOST_CELL_BYTES = 2 << 20
"""A quote that is not closed within so many bytes opens no cell."""
DEFAULT_COLUMN = "ip"
OTHER_DELIMITERS = ";\t|"
"""If the only column has one of these in its name, it is more than one column."""
END = b"end of records"
"""A row of one cell that is not in a file, but behind it."""
CR, NO_CR = "\r", "\ufffe"
"""The csv module takes a carriage return for an end, also within a row; so it is shown a character instead."""


class Form(Protocol):
    """How chunks of input become blocks, and answers become lines."""

    most_bytes: int
    """A longer line is cut short."""
    output: Output
    """What lines look like."""
    adds_end: bool
    """Whether a last line without an end gets one."""

    def begin(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Take what a file begins with, and return the rest in chunks that can be cut by themselves."""

    def cut(self, chunk: bytes, *, is_large: bool = False) -> Block:
        """Find the addresses of a chunk; by the kernel, if it is large. Safe in any thread."""


class ListForm:
    """An address a line."""

    most_bytes = MOST_LINE_BYTES
    adds_end = True

    def __init__(self, output: Output) -> None:
        r"""Take what lines look like; lines of input end as they do, in `\n` or `\0`."""
        self.output = output
        self._end = output.end.encode()

    def begin(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Return the chunks as they are."""
        return chunks

    def cut(self, chunk: bytes, *, is_large: bool = False) -> Block:
        """Return an address for each line; a carriage return before its end is not part of it."""
        if is_large:
            from geocli.engine.kernel import kernel

            count = chunk.count(self._end)
            block = Block(chunk, zeros(count), zeros(count))
            kernel().split(block.pointer(), self._end[0])
            return block
        lines = lines_of(chunk, self._end)
        starts = offsets(accumulate((len(line) + 1 for line in lines[:-1]), initial=0))
        if self._end == b"\n":
            lines = [line.removesuffix(b"\r") for line in lines]
        return Block(chunk, starts, offsets(start + len(line) for start, line in zip(starts, lines, strict=True)))


class LogForm:
    """Any text; answers are inserted behind addresses, or take their places in a list."""

    most_bytes = MOST_RECORD_BYTES

    def __init__(self, output: Output, *, is_extract: bool) -> None:
        """Choose what answers look like, and whether only they are written."""
        self.output, self._is_extract = output, is_extract
        self.adds_end = is_extract

    def begin(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Return the chunks as they are."""
        return chunks

    def cut(self, chunk: bytes, *, is_large: bool = False) -> Block:
        """Return the addresses of a text, and all that is around them, to the byte.

        A network is answered as its first address is.
        """
        if is_large:
            from geocli.batch import kernel_scanner

            found = kernel_scanner.spans(chunk)
        else:
            found = address_scanner.spans(chunk)
        if self._is_extract:
            return Block(chunk, *found, only_addresses=True)
        bounds = offsets((0,)) + found.stops
        return Block(
            chunk,
            *found,
            copy_starts=bounds[:-1],
            copy_ends=found.stops,
            tail=chunk[bounds[-1] :],
            only_addresses=True,
            is_labelled=True,
        )


class CsvForm:
    """Rows of CSV (RFC 4180), to which cells are appended."""

    most_bytes = MOST_RECORD_BYTES
    adds_end = True

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
        appended = [self._prefix + name for name in self._fields]
        if both := [name for name in appended if name in header]:
            hint = "choose other names with --prefix, as in --prefix geo_"
            raise SettingsError(", ".join(map(safe, both)), f"in the input already; {hint}", origin="csv")
        if self._with_header:
            names = self._delimiter.join(self.output.quoted(safe(name)) for name in appended)
            self.output.header = b"%b%b%b%b" % (raw, self._byte, names.encode(), end.encode())
        rest = first[len(raw) + len(end) :]
        return chain([rest] if rest else [], whole)

    def _records(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Return chunks that end where a record ends, rather than in a cell with a newline in it."""
        rest = b""
        for chunk in chunks:
            rest += chunk
            whole = self.whole_bytes(rest) or (len(rest) if len(rest) > MOST_CELL_BYTES else 0)
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

        csv.field_size_limit(2 * MOST_RECORD_BYTES)
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
        at, width, byte = self._at, self._width, self._byte
        is_plain = b'"' not in chunk and b"\r" not in chunk.replace(b"\r\n", b"")
        if is_plain and is_large:
            from geocli.engine.kernel import kernel

            starts, ends, begins, stops, padding = (zeros(chunk.count(b"\n")) for _ in range(5))
            block = Block(chunk, starts, ends, copy_starts=begins, copy_ends=stops, padding=padding, delimiter=byte)
            kernel().cells(block.pointer(), at, width)
            return block
        if is_plain:
            rows = lines_of(chunk.replace(b"\r\n", b"\n"))
            missing = [width - 1 - row.count(byte) for row in rows]
            texts = [row.split(byte, at + 1)[at] if row.count(byte) >= at else b"" for row in rows]
        else:
            records = self._read(chunk)
            rows = [raw for _, raw in records]
            missing = [width - max(len(cells), 1) for cells, _ in records]
            texts = [cells[at].encode("utf-8", "surrogateescape") if at < len(cells) else b"" for cells, _ in records]
        return Block.joined(texts, rows, offsets(max(count, 0) for count in missing), byte)


def _place_of(column: str | None, header: Sequence[str]) -> int:
    """Return the place of a column by its name."""
    name = column or (header[0] if len(header) == 1 else DEFAULT_COLUMN)
    if odd := [cell for cell in header if is_address(cell)]:
        reason = f"{safe(odd[0])} is no name of a column: there must be a header; without one it is a log: -i log"
        raise SettingsError("input", reason, origin="csv")
    if (
        len(header) == 1
        and column is None
        and (cut := next((char for char in OTHER_DELIMITERS if char in header[0]), None))
    ):
        reason = f"one column, {safe(header[0])}; is it divided by something else? --delimiter {cut!r}"
        raise SettingsError("input", reason, origin="csv")
    places = [at for at, one in enumerate(header) if one == name]
    if len(places) == 1:
        return places[0]
    reason = f"{len(places)} columns have this name" if places else "there is no such column"
    listed = ", ".join(map(safe, header))
    raise SettingsError(f"-c {safe(name)}", f"{reason}; the columns are: {listed}", origin="csv")


def lines_of(chunk: bytes, end: bytes = b"\n") -> list[bytes]:
    """Return the lines of a chunk, which ends where one does, without their ends."""
    lines = chunk.split(end)
    lines.pop()
    return lines
