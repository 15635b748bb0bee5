r"""Inputs divided into parts of about the same size, which can be answered one by one, on any machine.

A part has the records that begin in some range of bytes, so nobody reads a file to divide it: whoever answers a
part looks for the line that begins first in its range, and reads on to the end of the last one. In CSV a line may begin
within a cell. Whether it does is guessed from how well both readings of what follows fit the header; the part before
knows, because it reads on to the end of its last record, and if that is not where this one was taken to begin, this one
is answered again from there: see `Part.begin`.
"""

from __future__ import annotations

import zlib
from codecs import BOM_UTF8
from collections import deque
from contextlib import contextmanager
from itertools import chain, pairwise
from typing import TYPE_CHECKING, NamedTuple

from geocli.bulk.forms import CsvForm
from geocli.bulk.inputs import READ_BYTES, refuse_others, whole_lines
from geocli.bulk.pipeline import OTHER_COLUMNS
from geocli.errors import InputError, OpenCellError, SettingsError
from geocli.immutable import Value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from fsspec import AbstractFileSystem

    from geocli.bulk.forms import Form
    from geocli.bulk.pipeline import BatchRequest

GUESS_BYTES = 64 * 1024
"""So much of a part shows whether it begins within a cell."""
MOST_OPEN_BYTES = 1 << 20
"""A longer record of CSV with newlines in its cells is not divided, since a quote may be astray there."""
TIMES = ("mtime", "LastModified", "last_modified", "created")
"""Under one of these names a file system says when a file was modified."""


class Part(Value):
    """Records of one file that are answered together."""

    number: int
    """From 0 on; the parts are in the order of the input."""
    name: str
    """The file, as the user names it."""
    url: str
    """Where everybody finds it."""
    size_bytes: int
    """Of the file."""
    modified: str
    """When the file was modified, as its file system says it."""
    start: int
    """The first line begins at this byte or behind it."""
    stop: int | None
    """The last line begins before this byte; None for all of a file that is unpacked."""
    begin: int | None = None
    """Where the first record is known to begin; None before the part before it has been answered."""
    head: bytes = b""
    """The header of CSV, to which a part is read as if it stood behind it."""
    has_header: bool = False
    """Whether the rows get the header of the whole output."""

    def __str__(self) -> str:
        """Name it as an error does."""
        where = "all of it" if self.stop is None else f"bytes {self.start} to {self.stop}"
        return f"part {self.number} ({self.name}, {where})"

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its file, which is then read as on one machine."""
        return not self.start and (self.stop is None or self.stop == self.size_bytes)

    @property
    def share_bytes(self) -> int:
        """How much of its file it is."""
        return self.size_bytes if self.stop is None else self.stop - self.start


class _File(NamedTuple):
    """What is divided."""

    name: str
    url: str
    size_bytes: int
    modified: str


def divided(request: BatchRequest, block_bytes: int) -> list[Part]:
    """Return the parts of all files.

    Args:
        request: what is asked.
        block_bytes: how long a part is; files that end in `.gz` are one part each.

    Raises:
        InputError: a file cannot be read, or has other columns than those before it.
        SettingsError: standard input is among the files, or CSV has no such column.

    """
    parts: list[Part] = []
    header = b""
    for name in request.files:
        form = request.form()
        file, begin, head = _examined(name, form)
        new = form.output.header
        if header and new and header.split() != new.split():
            raise InputError(name, OTHER_COLUMNS)
        starts = [0] if name.endswith(".gz") else list(range(begin, file.size_bytes, block_bytes))
        if len(starts) < 2:
            ranges, begin, head = [(0, None if name.endswith(".gz") else file.size_bytes)], 0, b""
        else:
            ranges = list(pairwise([*starts, file.size_bytes]))
        for start, stop in ranges:
            part = Part(**file._asdict(), number=len(parts), start=start, stop=stop, head=head)
            is_first = start == begin
            parts.append(part.replace(begin=begin, has_header=bool(new) and not header) if is_first else part)
        header = header or new
    return parts


def _examined(name: str, form: Form) -> tuple[_File, int, bytes]:
    """Look at a file, let the form read its header, and return where its rows begin and what that header is."""
    if name == "-":
        raise SettingsError("--cluster", "the workers cannot read standard input; name files", origin="command line")
    with reading(name):
        system, path = located(name)
        size_bytes, modified = _stamp(system, path)
        with unpacked(system, path) as stream:
            begin, head = _head(name, stream, form)
    deque(form.begin(iter([head] if head else [])), maxlen=0)
    return _File(name, system.unstrip_protocol(path), size_bytes, modified), begin, head


def _stamp(system: AbstractFileSystem, path: str) -> tuple[int, str]:
    """Return the size of a file, and when it was modified."""
    system.invalidate_cache()
    found = system.info(path)
    if found["type"] != "file" or found["size"] is None:
        raise OSError("not a file whose size is known")
    return found["size"], next((str(found[time]) for time in TIMES if found.get(time)), "")


def _head(name: str, stream: BinaryIO, form: Form) -> tuple[int, bytes]:
    """Return how long what comes before the rows is, and the header of CSV in it."""
    data = stream.read(READ_BYTES)
    refuse_others(name, data)
    text = data.removeprefix(BOM_UTF8)
    begin = len(data) - len(text)
    if not isinstance(form, CsvForm):
        return begin, b""
    begin += len(text) - len(text := text.lstrip(b"\r\n"))
    while not (length := form.first_bytes(text)) and (data := stream.read(READ_BYTES)):
        text += data
        if len(text) > MOST_OPEN_BYTES:
            raise OpenCellError(name, "the header does not end within 1 MiB")
    return begin + (length or len(text)), text[: length or len(text)]


class Records:
    """The records of a part."""

    def __init__(self, stream: BinaryIO, part: Part, form: Form, end: bytes) -> None:
        """Find out where they begin and end.

        Args:
            stream: its file, which can be read from any place.
            part: which of them.
            form: cuts records.
            end: what ends a line.

        """
        self._stream, self._part, self._form, self._end = stream, part, form, end
        if isinstance(form, CsvForm) and part.head:
            deque(form.begin(iter([part.head])), maxlen=0)
        self.begin = self._guessed(self._line_from(part.start)) if part.begin is None else part.begin
        """Where the first one begins."""
        self.stop = None if part.stop is None else max(self._line_from(part.stop), self.begin)
        """Where the last one ends, which is certain when all have been read; None for what is unpacked."""

    def _guessed(self, begin: int) -> int:
        """Return where the first record seems to begin: with a line, or behind a cell that reaches beyond it."""
        if not isinstance(self._form, CsvForm):
            return begin
        self._seek(begin)
        lines = self._got(GUESS_BYTES)
        lines = lines[: lines.rfind(b"\n") + 1]
        behind = self._form.first_bytes(b'"' + lines) - 1
        is_behind = behind >= 0 and self._form.fitting(lines[behind:]) > self._form.fitting(lines)
        return begin + behind if is_behind else begin

    def _line_from(self, offset: int) -> int:
        """Return where the first line begins that begins at a byte or behind it."""
        if not offset:
            return 0
        self._seek(offset - 1)
        while data := self._got(READ_BYTES):
            if (at := data.find(self._end)) >= 0:
                return offset + at
            offset += len(data)
        return offset - 1

    def chunks(self) -> Iterator[bytes]:
        """Let the form read the header, and return the rows in chunks that can be cut by themselves."""
        form = self._form
        self._seek(self.begin)
        self._left = None if self.stop is None else self.stop - self.begin
        mark = b"" if self.begin else BOM_UTF8
        lines = whole_lines(
            self._read, self._end, form.most_bytes, adds_end=form.adds_end, mark=mark, first_bytes=READ_BYTES
        )
        if isinstance(form, CsvForm) and not self._part.is_whole:
            lines = chain([self._part.head], self._whole(form, lines))
        return form.begin(lines)

    def _seek(self, offset: int) -> None:
        with reading(self._part.name):
            self._stream.seek(offset)

    def _got(self, count: int) -> bytes:
        with reading(self._part.name):
            return self._stream.read(count)

    def _read(self, count: int) -> bytes:
        """Read on up to the end of the part."""
        if self._left is None:
            return self._got(count)
        data = self._got(min(count, self._left))
        if self._left and not data:
            raise InputError(self._part.name, "shorter than it was")
        self._left -= len(data)
        return data

    def _whole(self, form: CsvForm, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Return chunks that end where a record ends, the last one perhaps behind the last line of the part."""
        rest = b""
        for chunk in chunks:
            rest += chunk
            whole = form.whole_bytes(rest)
            yield rest[:whole]
            rest = self._not_too_long(rest[whole:])
        in_part_bytes = len(rest)
        while rest:
            data = self._got(READ_BYTES)
            rest = self._not_too_long(rest + data)
            if length := form.first_bytes(rest) if data else len(rest):
                yield rest[:length] if rest.endswith(b"\n", 0, length) else rest + b"\n"
                self.stop = (self.stop or 0) + length - in_part_bytes
                return

    def _not_too_long(self, rest: bytes) -> bytes:
        if len(rest) > MOST_OPEN_BYTES:
            reason = "a quote is not closed within 1 MiB; mend it, or choose a --block-size as large as the file"
            raise OpenCellError(self._part.name, reason)
        return rest


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what file systems say into an InputError."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(name, getattr(error, "strerror", None) or str(error)) from error
    except (ImportError, ValueError) as error:  # of a protocol that is not known, or needs a package
        raise InputError(name, str(error)) from error


def located(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a path or a URL, and its path there."""
    from fsspec.core import url_to_fs

    found: tuple[AbstractFileSystem, str] = url_to_fs(url)
    return found


def is_local(system: AbstractFileSystem) -> bool:
    """Tell whether files are those of this machine, which are not on disk before they are synced."""
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(system, LocalFileSystem)


def unpacked(system: AbstractFileSystem, path: str) -> BinaryIO:
    """Open a file; one that ends in `.gz` is unpacked."""
    stream: BinaryIO = system.open(path, "rb", compression="gzip" if path.endswith(".gz") else None)
    return stream


@contextmanager
def records_of(part: Part, form: Form, end: bytes) -> Iterator[Records]:
    """Open the file of a part.

    Raises:
        InputError: it cannot be read, or is not the file that was divided.

    """
    with reading(part.name):
        system, path = located(part.url)
        _check(system, path, part)
        stream = unpacked(system, path)
    with stream:
        yield Records(stream, part, form, end)
        with reading(part.name):
            _check(system, path, part)


def _check(system: AbstractFileSystem, path: str, part: Part) -> None:
    if _stamp(system, path) != (part.size_bytes, part.modified):
        raise OSError("changed meanwhile")
