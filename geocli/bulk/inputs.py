"""Lines in: blocks of addresses as they arrive, each line remembered by its place."""

from __future__ import annotations

import os
import sys
from codecs import BOM_UTF8
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_BYTES = 64 * 1024
"""What one read asks for; a pipe gives what it has, so that lines that trickle in are answered at once."""
MOST_LINE_BYTES = 4096
"""A longer line is no address; what is beyond this is dropped."""


def blocks(path: str, end: bytes) -> Iterator[list[str]]:
    """Return the lines of a file, as many at a time as have arrived, without their ends.

    Args:
        path: of the file; `-` is standard input.
        end: what ends a line; the last one may lack it. A carriage return before it is dropped too.

    Raises:
        OSError: the file cannot be read.

    """
    with _opened(path) as descriptor:
        yield from _lines(descriptor, end)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = sys.stdin.fileno() if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    except OSError as error:  # of a read, which does not say of what
        error.filename = "standard input" if path == "-" else path
        raise
    finally:
        if path != "-":
            os.close(descriptor)


def _lines(descriptor: int, end: bytes) -> Iterator[list[str]]:
    rest, mark = b"", BOM_UTF8
    while data := os.read(descriptor, READ_BYTES):
        *lines, rest = (rest + data).removeprefix(mark).split(end)
        mark = b""
        rest = rest[: MOST_LINE_BYTES + 1]
        if lines:
            yield [_text(line) for line in lines]
    if rest:
        yield [_text(rest)]


def _text(line: bytes) -> str:
    r"""Decode a line; bytes that are not UTF-8 become `\xff`, and what is too long ends in `…`."""
    text = line[:MOST_LINE_BYTES].removesuffix(b"\r").decode("utf-8", "backslashreplace")
    return text if len(line) <= MOST_LINE_BYTES else text + "…"
