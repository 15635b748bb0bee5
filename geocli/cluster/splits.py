"""Splits input into parts of about the same size, which can be answered in any order on any machine.

A part consists of the records that begin in a range of bytes, so input is not read to be split: the reader of a part
searches for the first line that begins in its range, and reads up to the end of its last record. In CSV, a line may
begin inside a cell. Whether it does is guessed by how well both readings of the following bytes match the header. The
part before finds out, since it reads up to the end of its last record; if this part was assumed to begin elsewhere, it
is read again from there: see `Part.begin`.
"""

from __future__ import annotations

import zlib
from contextlib import contextmanager
from itertools import pairwise
from lzma import LZMAError
from typing import TYPE_CHECKING

from geocli.batch.input_detection import completed
from geocli.batch.lists_and_logs import named_errors
from geocli.batch.reader import READ_BYTES, check_encoding, compression_of, whole_lines
from geocli.batch.run import OTHER_COLUMNS
from geocli.batch.tables import CsvForm
from geocli.errors import InputError, OpenCellError, SettingsError
from geocli.immutable import Value
from geocli.settings import COMMAND_LINE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from fsspec import AbstractFileSystem

    from geocli.batch.lists_and_logs import Form
    from geocli.batch.request import BatchRequest

GUESS_BYTES = 64 * 1024
"""Bytes of a part by which it is guessed whether it begins inside a cell."""
MAX_OPEN_BYTES = 1 << 20
"""Maximum size of a record of CSV with newlines in its cells; in a longer one a quote is probably missing."""
TIME_KEYS = ("mtime", "LastModified", "last_modified", "created")
"""Keys under which file systems return the modification time."""


class Part(Value):
    """Records of one file that one task answers."""

    number: int
    """Index of the part, in the order of the input."""
    name: str
    """File as named by the user."""
    url: str
    """URL of the file for all machines."""
    size_bytes: int
    modified: str
    """Modification time of the file, in the format of its file system."""
    start: int
    """Offset at or after which the first line begins."""
    stop: int | None
    """Offset before which the last line begins; None for a compressed file, which is one part."""
    begin: int | None = None
    """Offset of the first record; None until the part before it has been read."""
    head: bytes = b""
    """Head of a table, with its first row."""
    has_header: bool = False
    """Whether the rows begin with the header of the output."""

    def __str__(self) -> str:
        """Return the part as error messages name it."""
        span = "whole file" if self.stop is None else f"bytes {self.start} to {self.stop}"
        return f"part {self.number} ({self.name}, {span})"

    @property
    def is_whole(self) -> bool:
        """Whether the part is a whole file, which is read as on one machine."""
        return not self.start and (self.stop is None or self.stop == self.size_bytes)

    @property
    def share_bytes(self) -> int:
        """Size of the part."""
        return self.size_bytes if self.stop is None else self.stop - self.start


def split(request: BatchRequest, block_bytes: int) -> list[Part]:
    """Return the parts of all files, of `block_bytes` each; a compressed file is one part.

    Raises InputError if a file cannot be read, or has other columns than the one before; SettingsError if a column is
    unknown.
    """
    parts: list[Part] = []
    columns: tuple[str, ...] | None = None
    for name in request.files:
        form = request.form()
        file, begin, head = _examine(name, form)
        has_header = bool(form.output.header)
        if has_header and columns is not None and columns != form.columns:
            raise InputError(name, OTHER_COLUMNS)
        ranges = _ranges(file, begin, block_bytes)
        if len(ranges) == 1:
            begin, head = 0, b""
        for start, stop in ranges:
            part = file.replace(number=len(parts), start=start, stop=stop, head=head)
            if start == begin:
                part = part.replace(begin=begin, has_header=has_header and columns is None)
            parts.append(part)
        columns = form.columns if has_header and columns is None else columns
    return parts


def recognised(request: BatchRequest) -> BatchRequest:
    """Return a request with the form of the input, by the first line of the first file if need be.

    Raises InputError if the file cannot be read; SettingsError for standard input, or an option for other forms.
    """
    if "-" in request.files:
        raise SettingsError("--cluster", "workers cannot read standard input; name files", origin=COMMAND_LINE)
    name = request.files[0]
    with input_errors(name), open_decompressed(*resolve_url(name)) as stream:
        return completed(request, stream.read)[0]


def _ranges(file: Part, begin: int, block_bytes: int) -> list[tuple[int, int | None]]:
    """Return the first and the last offset of each part."""
    if compression_of(file.name):
        return [(0, None)]
    starts = range(begin, file.size_bytes, block_bytes)
    return list(pairwise([*starts, file.size_bytes])) if len(starts) > 1 else [(0, file.size_bytes)]


def _examine(name: str, form: Form) -> tuple[Part, int, bytes]:
    """Let the form read the head of a file; return it as one part, the offset of its first row, the head of a table."""
    with input_errors(name), named_errors(name):
        system, path = resolve_url(name)
        size_bytes, modified = _stamp(system, path)
        with open_decompressed(system, path) as stream:
            begin, head = _head(name, stream, form)
    url = system.unstrip_protocol(path)
    file = Part(number=0, name=name, url=url, size_bytes=size_bytes, modified=modified, start=0, stop=None)
    return file, begin, head


def _stamp(system: AbstractFileSystem, path: str) -> tuple[int, str]:
    """Return the size and the modification time of a file."""
    system.invalidate_cache()
    info = system.info(path)
    if info["type"] != "file" or info["size"] is None:
        raise OSError("not a file of known size")
    return info["size"], next((str(info[key]) for key in TIME_KEYS if info.get(key)), "")


def _head(name: str, stream: BinaryIO, form: Form) -> tuple[int, bytes]:
    """Return the offset of the first row, and what the form must read of a table before any of its rows."""
    text = stream.read(READ_BYTES)
    check_encoding(name, text)
    if not isinstance(form, CsvForm):
        form.begin(iter([text[: text.rfind(b"\n") + 1]]))
        return len(form.bom) if form.bom and text.startswith(form.bom) else 0, b""
    while (size := form.read_head(text)) is None and (data := stream.read(READ_BYTES)):
        text += data
        if len(text) > MAX_OPEN_BYTES:
            raise OpenCellError(name, "the header does not end within 1 MiB")
    if size is None:
        size = form.read_head(text, is_all=True) or 0
    # The first row may decide what the head means.
    return size, text[: size + form.dialect.bytes_to_row(text[size:])]


class PartReader:
    """Reads the records of a part."""

    def __init__(self, stream: BinaryIO, part: Part, form: Form, end: bytes) -> None:
        """Find the first record and the last one in a file, whose lines end in `end`."""
        self._stream, self._part, self._form, self._end = stream, part, form, end
        if isinstance(form, CsvForm) and part.head:
            form.read_head(part.head, is_all=True)
        self.begin = self._guess_begin(self._line_from(part.start)) if part.begin is None else part.begin
        """Offset of the first record."""
        self.stop = None if part.stop is None else max(self._line_from(part.stop), self.begin)
        """Offset of the end of the last record, final when all have been read; None for a compressed file."""

    def _guess_begin(self, begin: int) -> int:
        """Return where the first record probably begins: at the line, or after a cell that continues in it."""
        if not isinstance(self._form, CsvForm) or self._form.dialect.quotes != "cells":
            return begin
        self._seek(begin)
        lines = self._read_some(GUESS_BYTES)
        lines = lines[: lines.rfind(b"\n") + 1]
        after_cell = self._form.dialect.first_bytes(b'"' + lines) - 1
        is_in_cell = after_cell >= 0 and self._form.fitting(lines[after_cell:]) > self._form.fitting(lines)
        return begin + after_cell if is_in_cell else begin

    def _line_from(self, offset: int) -> int:
        """Return the beginning of the first line at or after an offset."""
        if not offset:
            return 0
        self._seek(offset - 1)
        while data := self._read_some(READ_BYTES):
            if (at := data.find(self._end)) >= 0:
                return offset + at
            offset += len(data)
        return offset - 1

    def blocks(self) -> Iterator[bytes]:
        """Let the form read the header, and return the rows in blocks of whole records."""
        form = self._form
        self._seek(self.begin)
        self._left = None if self.stop is None else self.stop - self.begin
        bom = b"" if self.begin else form.bom
        lines = whole_lines(
            self._read, self._end, form.max_bytes, adds_end=form.adds_end, bom=bom, first_bytes=READ_BYTES
        )
        if isinstance(form, CsvForm) and not self._part.is_whole:
            return self._whole_records(form, lines)
        return lines if self.begin else form.begin(lines)

    def _seek(self, offset: int) -> None:
        with input_errors(self._part.name):
            self._stream.seek(offset)

    def _read_some(self, count: int) -> bytes:
        with input_errors(self._part.name):
            return self._stream.read(count)

    def _read(self, count: int) -> bytes:
        """Read up to the end of the part."""
        if self._left is None:
            return self._read_some(count)
        data = self._read_some(min(count, self._left))
        if self._left and not data:
            raise InputError(self._part.name, "was truncated while it was read")
        self._left -= len(data)
        return data

    def _whole_records(self, form: CsvForm, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Return blocks of whole records; the last record may end after the last line of the part."""
        rest = b""
        for block in blocks:
            rest += block
            whole = form.dialect.whole_bytes(rest)
            yield rest[:whole]
            rest = self._check_open(rest[whole:])
        in_part_bytes = len(rest)
        while rest:
            data = self._read_some(READ_BYTES)
            rest = self._check_open(rest + data)
            if length := form.dialect.first_bytes(rest) if data else len(rest):
                yield rest[:length] if rest.endswith(b"\n", 0, length) else rest + b"\n"
                self.stop = (self.stop or 0) + length - in_part_bytes
                return

    def _check_open(self, rest: bytes) -> bytes:
        if len(rest) > MAX_OPEN_BYTES:
            reason = "a quote is not closed within 1 MiB; repair it, or choose a --block-size as large as the file"
            raise OpenCellError(self._part.name, reason)
        return rest


@contextmanager
def input_errors(name: str) -> Iterator[None]:
    """Turn exceptions of file systems into an InputError."""
    try:
        yield
    except (OSError, EOFError, LZMAError, zlib.error) as error:
        raise InputError(name, getattr(error, "strerror", None) or str(error)) from error
    except (ImportError, ValueError) as error:
        # The protocol is unknown, or needs a package.
        raise InputError(name, str(error)) from error


def resolve_url(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a path or a URL, and the path there."""
    from fsspec.core import url_to_fs

    system, path = url_to_fs(url)
    return system, path


def is_local(system: AbstractFileSystem) -> bool:
    """Return whether a file system is local, so that files have to be synced."""
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(system, LocalFileSystem)


def open_decompressed(system: AbstractFileSystem, path: str) -> BinaryIO:
    """Open a file; a compressed one is decompressed."""
    stream: BinaryIO = system.open(path, "rb", compression=compression_of(path))
    return stream


@contextmanager
def open_part(part: Part, form: Form, end: bytes) -> Iterator[PartReader]:
    """Open a part for reading; raise InputError if the file cannot be read, or was changed."""
    with input_errors(part.name):
        system, path = resolve_url(part.url)
        _check_unchanged(system, path, part)
        stream = open_decompressed(system, path)
    with stream:
        yield PartReader(stream, part, form, end)
        with input_errors(part.name):
            _check_unchanged(system, path, part)


def _check_unchanged(system: AbstractFileSystem, path: str, part: Part) -> None:
    if _stamp(system, path) != (part.size_bytes, part.modified):
        raise OSError("changed during the batch")
