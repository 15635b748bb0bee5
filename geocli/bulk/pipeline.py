"""Blocks of lines to rows, in their order, in bounded memory."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from itertools import chain
from typing import TYPE_CHECKING

from geocli.bulk.inputs import blocks
from geocli.bulk.outputs import Output
from geocli.console import complain, write
from geocli.errors import BusyError, ResolveError, SettingsError, StorageError
from geocli.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from geocli.cache import GeoCache, Mode
    from geocli.entries import Entry


class BatchRequest(Value):
    """What is to be read, how it is to be answered, and where the rows go."""

    files: tuple[str, ...] = ("-",)
    """Paths to read in turn; `-` is standard input."""
    format: str = "csv"
    """`csv`, `tsv`, `jsonl` or `value`."""
    fields: tuple[str, ...] | None = None
    """The fields of a row; default: those of the format."""
    with_header: bool = True
    """Whether CSV and TSV begin with the names of the fields."""
    end: str = "\n"
    """What ends a line, on both sides."""
    output: str | None = None
    """File to write; default: standard output."""
    is_strict: bool = False
    """Whether a line without an answer makes the exit status 1."""
    mode: Mode = "cache"
    """Where answers come from."""


def run(cache: GeoCache, request: BatchRequest) -> int:
    """Answer line by line, as they arrive, and return the exit status.

    The rows of a block are written when its answers are on disk.
    """
    if request.mode == "cached-only":  # so that the journal is short when it is searched
        with suppress(BusyError, StorageError):
            cache.flush_dirty()
    output = Output(request.format, request.fields, with_header=request.with_header, end=request.end)
    status = 0
    unread: list[int] = []
    with _sink(request.output) as put:
        put(output.header)
        for lines in chain.from_iterable(_read(path, request, unread) for path in request.files):
            found = list(cache.lookup_batch(lines, mode=request.mode))
            put(output.block(found))
            status = max([status, *(_status(entry, request) for entry in found)])
        if unread and request.output is not None:
            raise SettingsError(request.output, "left as it was, because not all input could be read", origin="batch")
    return max([status, *unread])


def _read(path: str, request: BatchRequest, unread: list[int]) -> Iterator[list[str]]:
    """Return the lines of a file; one that cannot be read is named, and the next one is read all the same."""
    try:
        yield from blocks(path, request.end.encode())
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}")
        unread.append(SettingsError.exit_status)


def _status(entry: Entry, request: BatchRequest) -> int:
    """Return what a line adds to the exit status: 3 if somebody who failed might know, 1 with `--strict`."""
    if entry.status == "unresolved" and entry.error is not None and request.mode != "cached-only":
        return ResolveError.exit_status
    return int(request.is_strict and entry.status in {"unresolved", "invalid"})


@contextmanager
def _sink(path: str | None) -> Iterator[Callable[[bytes], None]]:
    """Return what rows are given to: standard output, or a file that is put in place when complete."""
    if path is None:
        yield write
        return
    from geocli.storage.files import replacing, write_all

    with replacing(path) as (descriptor, _):
        yield lambda data: write_all(descriptor, data)
