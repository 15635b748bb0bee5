"""Divide tables into addresses and rows: CSV (RFC 4180), logs of Zeek, and W3C extended logs."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from geocli.batch import several_addresses
from geocli.batch.lists_and_logs import Form
from geocli.batch.table_columns import places_of, prefixes_of
from geocli.batch.table_dialect import MAX_CELL_BYTES, Dialect
from geocli.batch.table_head import read_head
from geocli.batch.table_writers import RawWriter, writer_of
from geocli.engine.blocks import Block, offsets, zeros
from geocli.errors import SettingsError
from geocli.formats.rows import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from geocli.addresses import Address
    from geocli.batch.table_writers import Writer


class CsvForm(Form):
    """Rows of a table; by default answers are appended as cells, and the rows are otherwise unchanged.

    Output format, header and columns are final when the head has been read.
    """

    def __init__(  # noqa: PLR0913 (options of the command)
        self,
        columns: Sequence[str],
        fields: Sequence[str] | None,
        *,
        delimiter: str = ",",
        format_: str | None = None,
        prefix: str = "",
        with_header: bool = True,
        pick: str = "public",
    ) -> None:
        self._columns, self._fields, self._format, self._with_header = columns, fields, format_, with_header
        self._prefixes = prefixes_of(columns, prefix)
        self.dialect = Dialect(delimiter)
        self._places, self._width = [0], 0
        self._read = several_addresses.reader(pick)
        self._writer: Writer | None = None
        self.output = Output("csv", fields, with_header=False)

    def begin(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Read the head, choose the columns, and return the rest in whole records.

        Raises SettingsError if a column is missing or ambiguous, or a name to append exists already.
        """
        text = b""
        for chunk in chunks:
            text += chunk
            if (size := self.read_head(text)) is not None:
                break
        else:
            size = self.read_head(text, is_all=True) or 0
        rest = text[size:]
        return self._records(chain([rest] if rest else [], chunks))

    def read_head(self, text: bytes, *, is_all: bool = False) -> int | None:
        """Read the head of a table, and return its size; None if more must be read. Errors are those of `begin`."""
        head = read_head(text, self.dialect, self._columns, is_all=is_all)
        if head is None:
            return None
        if not head.width:
            return 0
        if head.names and b"\r" in head.lines[-1].replace(b"\r\n", b""):
            hint = "; try: tr '\\r' '\\n' < FILE | geocli batch -i csv"
            raise SettingsError("input", f"its rows end in carriage returns alone{hint}", origin="csv")
        self.dialect, self._width, self.columns = head.dialect, head.width, head.names
        self._places = places_of(self._columns, head)
        self._writer = writer_of(head, self._format, self._prefixes, self._fields)
        before, self.output = self.output, self._writer.output
        self.output.key_fields, self.output.selection = before.key_fields, before.selection
        self.output.has_answers = before.has_answers
        self.output.header = self._writer.head() if self._with_header else b""
        return head.size

    def _records(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Return chunks of whole records, which do not end in a cell with a newline."""
        rest = b""
        for chunk in chunks:
            rest += chunk
            size = self.dialect.whole_bytes(rest) or (len(rest) if len(rest) > MAX_CELL_BYTES else 0)
            if size:
                yield rest[:size]
                rest = rest[size:]
        if rest:
            yield rest

    def fitting(self, chunk: bytes) -> float:
        """Return the share of records in a chunk with as many cells as the header."""
        widths = [len(cells) for cells, *_ in self.dialect.records(chunk[: self.dialect.whole_bytes(chunk)])]
        return widths.count(self._width) / max(len(widths), 1)

    def cut(self, chunk: bytes, *, is_large: bool = False) -> Block:
        """Return the addresses of each row, and the text to write before and after its answers."""
        if self._writer is None:  # no row has been seen, only comments and blank lines
            return Block(chunk, zeros(0), zeros(0), tail=b"" if self._format else chunk)
        if isinstance(self._writer, RawWriter):
            chunk = self._writer.extended(chunk)
            if is_large and self.dialect.is_plain(chunk):
                return self._cut_natively(chunk)
        block = self._cut_into_cells(chunk, self._writer, self._read if not is_large else None)
        block.read = self._read
        return block

    def _cut_into_cells(self, chunk: bytes, writer: Writer, read: Callable[[str], Address] | None) -> Block:
        """Divide rows into their cells; a function may read those with several addresses."""
        row, places, end = writer.row, self._places, writer.end
        addresses, copied, starts, between = list[str](), list[bytes](), list[int | None](), b""
        no_spans = [None] * (len(places) - 1)
        for cells, raw, line_end in self.dialect.records(chunk):
            if cells:
                first, *rest = row(cells, raw)
                copied.append(between + first)
                copied += rest
                starts.append(len(between))
                starts += no_spans
                addresses += [cells[place] if place < len(cells) else "" for place in places]
                between = line_end if end is None else end
            elif end is None:
                between += raw + line_end
        if read is not None:
            addresses = [several_addresses.chosen(text, read) for text in addresses]
        return Block.joined([text.encode("utf-8", "surrogateescape") for text in addresses], copied, between, starts)

    def _cut_natively(self, chunk: bytes) -> Block:
        from geocli.engine.kernel import address_of, kernel

        places = offsets(self._places)
        starts, ends, begins, stops, padding = (zeros(chunk.count(b"\n") * len(places)) for _ in range(5))
        cut = self.dialect.delimiter.encode()
        block = Block(chunk, starts, ends, copy_starts=begins, copy_ends=stops, padding=padding, delimiter=cut)
        comment = ord("#") if self.dialect.has_comments else 0
        count = kernel().cells(block.pointer(), address_of(places), len(places), self._width, comment)
        for array in (starts, ends, begins, stops, padding):
            del array[count:]
        block.tail = chunk[stops[-1] if count else 0 :]
        block.read = self._read
        return block
