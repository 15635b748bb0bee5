"""Bytes in: whole lines of a file or of standard input, as many at a time as have arrived."""

from __future__ import annotations

import os
import re
import sys
from codecs import BOM_UTF8
from contextlib import contextmanager, suppress
from errno import EIO
from functools import partial

from geocli.errors import InputError
from geocli.sanitize import decoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Read = Callable[[int], bytes]

FIRST_BYTES, READ_BYTES, MAX_BYTES = 96 * 1024, 768 * 1024, 3 * 1024 * 1024
"""What the first read asks for, what one does that nobody waits for, and what one does at the most. So the first rows
come soon, and whoever wants no more of them leaves before much is answered. A pipe gives what it has, so that lines
that trickle in are answered at once."""
FULL_LINES = 30_000
"""So many lines are enough for a chunk: more of them are answered no faster together."""
MORE_MS = 1
"""Whoever has written much to a pipe, but not as much as is asked for, has so long to go on."""
PIPE_BYTES = 1024 * 1024
"""The pipe that is read from is made so large, if it may be: whoever writes to it waits less."""
MAX_LINE_BYTES = 4096
"""A longer line of a list is no address; what is beyond this is dropped."""
MAX_LINES, MAX_MARKS = 75_000, 300_000
"""No chunk has more lines than this, and no large one of several lines more dots and colons, so many addresses."""
SAMPLES, SAMPLE_BYTES = 16, 2048
"""Places of a chunk in which lines, dots and colons are counted."""
SHOWN_BYTES = 4096
"""What is left of a line that is too long."""
ELLIPSIS = "…".encode()
OTHERS = re.compile(
    rb"(?P<zcat>\x1f\x8b\x08)|(?P<bzcat>BZh[1-9](?:1AY&SY|\x17rE8P\x90))|(?P<xzcat>\xfd7zXZ\0)"
    rb"|(?P<zstdcat>\x28\xb5\x2f\xfd)|(?P<iconv>\xff\xfe.\0|\xfe\xff\0|\0\0\xfe\xff)",
    re.DOTALL,
)
"""What a packed file begins with (RFC 1952, RFC 8878), or one in UTF-16 or UTF-32, and the tool for it."""
MARK_BYTES = 10
"""No such mark is longer."""


def whole_lines(  # noqa: PLR0913 (what is read, how it is cut, and who is told of it)
    read: Read,
    end: bytes,
    max_bytes: int,
    *,
    adds_end: bool = True,
    mark: bytes = BOM_UTF8,
    first_bytes: int = FIRST_BYTES,
    on_read: Callable[[int], None] = lambda _: None,
) -> Iterator[bytes]:
    """Return what can be read in chunks of whole lines.

    Args:
        read: what is there of so many bytes, nothing at the end.
        end: what ends a line.
        max_bytes: a longer line is cut to `SHOWN_BYTES` and an ellipsis.
        adds_end: whether the last line gets an end if it lacks it.
        mark: what the first line may begin with, and is left out.
        first_bytes: what the first read asks for; each one asks for twice as much, until there are enough lines.
        on_read: told how many bytes were read.

    Raises:
        InputError: the file cannot be read.

    """
    rest = b""
    wanted_bytes = first_bytes
    while data := read(wanted_bytes):
        on_read(len(data))
        if mark:
            data, rest = rest + data, b""
            if len(data) >= len(mark) or end in data:  # else the mark may not be there yet
                data, mark = data.removeprefix(mark), b""
        whole_bytes = data.rfind(end) + 1
        chunk = b""
        if whole_bytes:
            chunk, rest = b"".join((rest, memoryview(data)[:whole_bytes])), data[whole_bytes:]
            chunk = _shortened(chunk, end, max_bytes)
        else:
            rest += data
        count = _about(chunk, end)
        if count * wanted_bytes < FULL_LINES * len(data):  # it may have got less than it asked for
            wanted_bytes = min(2 * wanted_bytes, MAX_BYTES)
        if chunk:
            yield from _halves(chunk, end, count)
        if len(rest) > max_bytes:
            rest = rest[: max_bytes + 1]
    if rest:
        yield _shortened(rest + end, end, max_bytes).removesuffix(b"" if adds_end else end)


def _halves(chunk: bytes, end: bytes, count: int) -> Iterator[bytes]:
    """Divide a chunk of very many lines or addresses, whose answers would take much more room than they do."""
    at = chunk.find(end, len(chunk) // 2) + len(end)
    is_dense = count > MAX_LINES or (len(chunk) > READ_BYTES and _about(chunk, b".", b":") > MAX_MARKS)
    if not is_dense or at in {0, len(chunk)}:
        yield chunk
    else:
        for half in (chunk[:at], chunk[at:]):
            yield from _halves(half, end, _about(half, end))


def _about(chunk: bytes, *marks: bytes) -> int:
    """Return how many marks a chunk has; if it is large, by samples of it, since to count takes long."""
    step = len(chunk) // SAMPLES
    if step <= SAMPLE_BYTES:
        return sum(map(chunk.count, marks))
    starts = range(0, SAMPLES * step, step)
    found = sum(chunk.count(mark, start, start + SAMPLE_BYTES) for mark in marks for start in starts)
    return found * len(chunk) // (SAMPLES * SAMPLE_BYTES)


def lines(path: str) -> Iterator[str]:
    """Return the lines of a list of addresses, as they arrive.

    Raises:
        InputError: the file cannot be read.

    """
    with opened(path) as read:
        for chunk in whole_lines(read, b"\n", MAX_LINE_BYTES):
            yield from (decoded(line.removesuffix(b"\r")) for line in chunk.split(b"\n")[:-1])


def _shortened(chunk: bytes, end: bytes, max_bytes: int) -> bytes:
    """Cut lines that are too long. A line that is has no end in some window of half that size."""
    half = max_bytes // 2
    if all(chunk.find(end, at, at + half) >= 0 for at in range(0, len(chunk) - half, half)):
        return chunk
    lines = chunk.split(end)
    return end.join(line if len(line) <= max_bytes else line[:SHOWN_BYTES] + ELLIPSIS for line in lines)


@contextmanager
def opened(path: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[Read]:
    """Open a file, and return what reads it; one that ends in `.gz` is unpacked.

    Args:
        path: of the file; `-` is standard input.
        on_wait: called before a read that may take long.

    Raises:
        InputError: the file cannot be read.

    """
    name = "standard input" if path == "-" else path
    try:
        descriptor = sys.stdin.fileno() if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(name, error.strerror or str(error)) from error
    try:
        _widen(descriptor)
        yield _Reader(name, descriptor, on_wait)
    finally:
        if path != "-":
            os.close(descriptor)


class _Reader:
    """Reads a file: as much as is asked for, or as there is already."""

    def __init__(self, name: str, descriptor: int, on_wait: Callable[[], None]) -> None:
        from select import POLLIN, poll

        self._name, self._on_wait = name, on_wait
        self._arrived = poll()
        self._arrived.register(descriptor, POLLIN)
        self._once = _unpacked(descriptor) if name.endswith(".gz") else partial(os.read, descriptor)
        self._head, self._is_ended = b"", False
        self._failure: OSError | None = None

    def __call__(self, count: int) -> bytes:
        """Return what there is, nothing at the end; what came before a failure comes first."""
        if not self._arrived.poll(0):
            self._on_wait()
        data = b"".join(self._pieces(count))
        if self._failure and not data:
            raise InputError(self._name, self._failure.strerror or str(self._failure)) from self._failure
        if len(self._head) < MARK_BYTES:
            self._head += data[:MARK_BYTES]
            refuse_others(self._name, self._head)
        return data

    def _pieces(self, count: int) -> Iterator[bytes]:
        got, wait_ms = 0, MORE_MS
        while got < count and not (self._is_ended or self._failure):
            if got and not self._arrived.poll(0):
                if got < FIRST_BYTES or not self._arrived.poll(wait_ms):
                    return
                wait_ms = 0
            try:
                piece = self._once(count - got)
            except BlockingIOError:  # whoever has the other end may have made it so
                self._arrived.poll()
                continue
            except OSError as error:
                self._failure = error
                return
            got += len(piece)
            self._is_ended = not piece  # a terminal would ask for a second Ctrl-D
            yield piece


def refuse_others(name: str, data: bytes) -> None:
    """Look at what a file begins with.

    Raises:
        InputError: it is packed, or in UTF-16 or UTF-32.

    """
    found = OTHERS.match(data)
    if found and found["iconv"]:
        encoding = "UTF-32" if b"\0\0" in {data[:2], data[2:4]} else "UTF-16"
        raise InputError(name, f"in {encoding}; convert it with iconv -f {encoding} -t UTF-8")
    if found:
        others = ", or name a file that ends in .gz" if found["zcat"] and not name.endswith(".gz") else ""
        raise InputError(name, f"packed; unpack it with {found.lastgroup}{others}")


def _widen(descriptor: int) -> None:
    from fcntl import F_SETPIPE_SZ, fcntl

    with suppress(OSError):  # no pipe, or no more room for pipes
        fcntl(descriptor, F_SETPIPE_SZ, PIPE_BYTES)


def _unpacked(descriptor: int) -> Read:
    """Return what reads a gzip file (RFC 1952); one that is damaged or cut short is an OSError."""
    import zlib
    from gzip import GzipFile
    from io import BufferedReader, FileIO

    class Arrived(BufferedReader):
        """Reads what there is, rather than wait for all of a large piece."""

        def read(self, size: int | None = -1, /) -> bytes:
            return self.read1(size) if size and size > 2 else super().read(size)  # 2: of a header

    stream = GzipFile(fileobj=Arrived(FileIO(descriptor, closefd=False)))

    def read(count: int) -> bytes:
        try:
            return stream.read1(count)
        except (EOFError, zlib.error) as error:
            raise OSError(EIO, f"damaged: {error}") from error

    return read


def size_bytes(path: str) -> int | None:
    """Return how large a regular file is, None for what has no size that is known."""
    import stat

    with suppress(OSError):
        found = os.fstat(sys.stdin.fileno()) if path == "-" else os.stat(path)
        return found.st_size if stat.S_ISREG(found.st_mode) else None
    return None


def total_bytes(paths: Sequence[str]) -> int | None:
    """Return how many bytes will be read of some files together, None if that is not known of all."""
    sizes = [None if path.endswith(".gz") else size_bytes(path) for path in paths]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None
