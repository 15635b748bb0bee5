"""The forms of input: what of a chunk should be addresses, and what of it is written before each answer."""

from __future__ import annotations

from codecs import BOM_UTF8
from itertools import accumulate
from typing import Protocol

from geocli.batch import address_scanner
from geocli.batch.feeds import before_note
from geocli.batch.reader import MAX_LINE_BYTES
from geocli.engine.blocks import Block, offsets, zeros

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from geocli.formats.rows import Output

MAX_RECORD_BYTES = 4 << 20
"""A longer row, object or line of a log is cut short."""


DEFAULT_COLUMN = "ip"
"""The column or key of addresses, unless another one is chosen."""


class Form(Protocol):
    """How chunks of input become blocks, and answers become lines."""

    max_bytes: int
    """A longer line is cut short."""
    output: Output
    """What lines look like."""
    columns: tuple[str, ...]
    """Names of the columns of a table, which are the same in all files."""
    adds_end: bool
    """Whether a last line without an end gets one."""
    has_notes: bool
    """Whether addresses may have notes, or be comments."""
    bom: bytes
    """The byte order mark to remove from the beginning."""

    def begin(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Take what a file begins with, and return the rest in chunks that can be cut by themselves."""

    def cut(self, chunk: bytes, *, is_large: bool = False) -> Block:
        """Find the addresses of a chunk; by the kernel, if it is large. Safe in any thread."""


class ListForm:
    """An address a line, which may have a note, or a comment."""

    max_bytes = MAX_LINE_BYTES
    adds_end = has_notes = True
    columns: tuple[str, ...] = ()
    bom = BOM_UTF8

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
            block = Block(chunk, zeros(count), zeros(count), before_note=before_note)
            kernel().split(block.pointer(), self._end[0])
            return block
        lines = lines_of(chunk, self._end)
        starts = offsets(accumulate((len(line) + 1 for line in lines[:-1]), initial=0))
        if self._end == b"\n":
            lines = [line.removesuffix(b"\r") for line in lines]
        ends = offsets(start + len(line) for start, line in zip(starts, lines, strict=True))
        return Block(chunk, starts, ends, before_note=before_note)


class LogForm:
    """Any text; answers are inserted behind addresses, or take their places in a list."""

    max_bytes = MAX_RECORD_BYTES
    has_notes = False
    columns: tuple[str, ...] = ()
    bom = BOM_UTF8

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


def lines_of(chunk: bytes, end: bytes = b"\n") -> list[bytes]:
    """Return the lines of a chunk, which ends where one does, without their ends."""
    lines = chunk.split(end)
    lines.pop()
    return lines
