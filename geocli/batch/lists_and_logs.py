"""Divide input into addresses and the text around them: lists and logs."""

from __future__ import annotations

from codecs import BOM_UTF8
from contextlib import contextmanager
from itertools import accumulate
from typing import Protocol

from geocli.batch.list_notes import before_note
from geocli.batch.reader import MAX_LINE_BYTES
from geocli.engine.blocks import Block, offsets, zeros
from geocli.errors import SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from geocli.formats.rows import Output

MAX_RECORD_BYTES = 4 << 20
"""Maximum size of a row, an object or a line of a log; longer ones are cut."""

DEFAULT_COLUMN = "ip"
"""The column or key of addresses, unless another one is chosen."""

KINDS = ("csv", "zeek", "w3c", "jsonl")
"""Origins of errors about the contents of a file."""


@contextmanager
def named_errors(path: str) -> Iterator[None]:
    """Name the file in errors about its contents, and in the commands that they suggest."""
    try:
        yield
    except SettingsError as error:
        if error.origin not in KINDS:
            raise
        from shlex import quote

        source, file = ("standard input", "FILE") if path == "-" else (path, quote(path))
        name = "" if error.name == "input" else error.name
        raise SettingsError(name, error.reason.replace("FILE", file), origin=source) from error


class Form(Protocol):
    """Divides chunks of input into blocks, and renders answers as lines. The defaults are for tables and JSON lines."""

    output: Output
    """Output format."""
    max_bytes: int = MAX_RECORD_BYTES
    """Maximum length of a line; longer ones are cut."""
    columns: tuple[str, ...] = ()
    """Names of the columns of a table, which are the same in all files."""
    adds_end: bool = True
    """Whether to terminate a last line that is not terminated."""
    has_notes: bool = False
    """Whether addresses may have notes, or be comments."""
    has_networks: bool = True
    """Whether networks and ranges are looked up, not their first addresses."""
    bom: bytes = b""
    """The byte order mark to remove from the beginning; that of a table or of JSON lines is part of the first line."""

    def begin(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Read the head of a file, if any, and return the rest in chunks that can be divided separately."""
        return chunks

    def cut(self, chunk: bytes, *, is_large: bool = False) -> Block:
        """Return a chunk as a block; with the kernel if it is large. Thread-safe."""


class ListForm(Form):
    """Lines with an address, which may be followed by a note, or with a comment."""

    max_bytes = MAX_LINE_BYTES
    has_notes = True
    bom = BOM_UTF8

    def __init__(self, output: Output) -> None:
        r"""Use an output format, whose line terminator, `\n` or `\0`, is also that of the input."""
        self.output = output
        self._end = output.end.encode()

    def cut(self, chunk: bytes, *, is_large: bool = False) -> Block:
        """Return an address for each line, without a carriage return at its end."""
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


class LogForm(Form):
    """Any text; answers are inserted after addresses, or written alone as rows."""

    has_networks = False
    bom = BOM_UTF8

    def __init__(self, output: Output, *, is_extract: bool) -> None:
        """Use an output format, and choose whether to write only answers."""
        self.output, self._is_extract = output, is_extract
        self.adds_end = is_extract

    def cut(self, chunk: bytes, *, is_large: bool = False) -> Block:
        """Return the addresses in text, and all text around them.

        The answer to a network is that to its first address.
        """
        # The patterns of the scanners are compiled for logs alone.
        if is_large:
            from geocli.batch.kernel_scanner import spans
        else:
            from geocli.batch.address_scanner import spans
        addresses = spans(chunk)
        if self._is_extract:
            return Block(chunk, *addresses, only_addresses=True)
        bounds = offsets((0,)) + addresses.stops
        return Block(
            chunk,
            *addresses,
            copy_starts=bounds[:-1],
            copy_ends=addresses.stops,
            tail=chunk[bounds[-1] :],
            only_addresses=True,
            is_labelled=True,
        )


def lines_of(chunk: bytes, end: bytes = b"\n") -> list[bytes]:
    """Return the lines of a chunk of whole lines, without their terminators."""
    lines = chunk.split(end)
    lines.pop()
    return lines
