"""Read input: whole lines of a file or of standard input, in chunks of the lines that have arrived."""

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
    from bz2 import BZ2File
    from collections.abc import Callable, Iterator, Sequence
    from gzip import GzipFile
    from io import BufferedReader
    from lzma import LZMAFile

    Read = Callable[[int], bytes]

FIRST_BYTES, READ_BYTES, MAX_BYTES = 96 * 1024, 768 * 1024, 3 * 1024 * 1024
"""Size of the first read, of a read in the background, and of the largest read. A small first read lets the first rows
appear early, and costs little if the reader of the output then closes the pipe."""
ENOUGH_LINES = 30_000
"""Lines of a chunk above which reads do not grow: larger chunks would be no faster per line."""
WAIT_MS = 1
"""Milliseconds to wait for more from a pipe that has given much, but less than a full read."""
PIPE_BYTES = 1024 * 1024
"""Capacity requested for an input pipe, so that its writer waits less often."""
MAX_LINE_BYTES = 4096
"""Maximum length of a line of a list; longer lines cannot be addresses, and are cut."""
MAX_LINES, MAX_SEPARATORS = 75_000, 300_000
"""Maximum number of lines in a chunk, and of dots and colons (and so of addresses) in a large chunk."""
SAMPLES, SAMPLE_BYTES = 16, 2048
"""Number and size of the samples from which lines, dots and colons are estimated."""
SHOWN_BYTES = 4096
"""Length to which a line that is too long is cut."""
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz"}
"""Formats of compressed files by their suffixes, as fsspec names them."""
ELLIPSIS = "…".encode()
UNSUPPORTED = re.compile(
    rb"(?P<zcat>\x1f\x8b\x08)|(?P<bzcat>BZh[1-9](?:1AY&SY|\x17rE8P\x90))|(?P<xzcat>\xfd7zXZ\0)"
    rb"|(?P<zstdcat>\x28\xb5\x2f\xfd)|(?P<lz4cat>\x04\x22\x4d\x18)|(?P<funzip>PK\x03\x04)"
    rb"|(?P<iconv>\xff\xfe.\0|\xfe\xff\0|\0\0\xfe\xff|(?:[ -~]\0){4}|(?:\0[ -~]){4})",
    re.DOTALL,
)
"""First bytes of compressed files (such as RFC 1952 and 8878), UTF-16 and UTF-32, by the program that converts them.

UTF-16 without a byte order mark is recognised by four ASCII characters.
"""
SUFFIXES = {"zcat": ".gz", "bzcat": ".bz2", "xzcat": ".xz"}
"""Suffixes of compressed files that are decompressed, by these programs."""
MAX_MAGIC_BYTES = 10
"""Maximum length of these."""


def whole_lines(  # noqa: PLR0913 (how to read, how to cut, and a callback)
    read: Read,
    end: bytes,
    max_bytes: int,
    *,
    adds_end: bool = True,
    bom: bytes = BOM_UTF8,
    first_bytes: int = FIRST_BYTES,
    on_read: Callable[[int], None] = lambda _: None,
) -> Iterator[bytes]:
    """Return the input in chunks of whole lines.

    Args:
        read: takes a number of bytes, and returns what is available of them; nothing at the end.
        end: line terminator.
        max_bytes: maximum length of a line; a longer one is cut to `SHOWN_BYTES` and an ellipsis.
        adds_end: whether to terminate the last line if it is not terminated.
        bom: byte order mark to remove from the beginning.
        first_bytes: size of the first read; sizes double until there are enough lines.
        on_read: called with the number of bytes of each read.

    Raises:
        InputError: the file cannot be read.

    """
    rest = b""
    wanted_bytes = first_bytes
    while data := read(wanted_bytes):
        on_read(len(data))
        if bom:
            data, rest = rest + data, b""
            # Until then, only part of the mark may have arrived.
            if len(data) >= len(bom) or end in data:
                data, bom = data.removeprefix(bom), b""
        whole_bytes = data.rfind(end) + 1
        chunk = b""
        if whole_bytes:
            chunk, rest = b"".join((rest, memoryview(data)[:whole_bytes])), data[whole_bytes:]
            chunk = _shortened(chunk, end, max_bytes)
        else:
            rest += data
        count = _estimated_count(chunk, end)
        # Count the lines of a full read, since this one may have returned less.
        if count * wanted_bytes < ENOUGH_LINES * len(data):
            wanted_bytes = min(2 * wanted_bytes, MAX_BYTES)
        if chunk:
            yield from _halves(chunk, end, count)
        if len(rest) > max_bytes:
            rest = rest[: max_bytes + 1]
    if rest:
        yield _shortened(rest + end, end, max_bytes).removesuffix(b"" if adds_end else end)


def _halves(chunk: bytes, end: bytes, count: int) -> Iterator[bytes]:
    """Divide a chunk with very many lines or addresses, whose answers would take much more memory than the chunk."""
    middle = chunk.find(end, len(chunk) // 2) + len(end)
    is_dense = count > MAX_LINES or (len(chunk) > READ_BYTES and _estimated_count(chunk, b".", b":") > MAX_SEPARATORS)
    if not is_dense or middle in {0, len(chunk)}:
        yield chunk
    else:
        for half in (chunk[:middle], chunk[middle:]):
            yield from _halves(half, end, _estimated_count(half, end))


def _estimated_count(chunk: bytes, *separators: bytes) -> int:
    """Return how many separators a chunk has; for a large chunk an estimate from samples, which is faster."""
    step = len(chunk) // SAMPLES
    if step <= SAMPLE_BYTES:
        return sum(map(chunk.count, separators))
    starts = range(0, SAMPLES * step, step)
    count = sum(chunk.count(separator, start, start + SAMPLE_BYTES) for separator in separators for start in starts)
    return count * len(chunk) // (SAMPLES * SAMPLE_BYTES)


def lines(path: str) -> Iterator[str]:
    """Yield the lines of a list of addresses as they arrive; raise InputError if the file cannot be read."""
    with opened(path) as read:
        for chunk in whole_lines(read, b"\n", MAX_LINE_BYTES):
            yield from (decoded(line.removesuffix(b"\r")) for line in chunk.split(b"\n")[:-1])


def _shortened(chunk: bytes, end: bytes, max_bytes: int) -> bytes:
    """Cut lines that are too long."""
    half = max_bytes // 2
    # A line that is too long spans at least one window of half its maximum length: lines are split only then.
    if all(chunk.find(end, start, start + half) >= 0 for start in range(0, len(chunk) - half, half)):
        return chunk
    lines = chunk.split(end)
    return end.join(line if len(line) <= max_bytes else line[:SHOWN_BYTES] + ELLIPSIS for line in lines)


@contextmanager
def opened(path: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[Read]:
    """Open a file, `-` for standard input, and return a function that reads it; raise InputError if that fails.

    A file with a suffix of `COMPRESSIONS` is decompressed. `on_wait` is called before a read that may block.
    """
    name = "standard input" if path == "-" else path or "empty path"
    try:
        descriptor = sys.stdin.fileno() if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        from geocli.address_ranges import is_readable

        hint = f"; to look up an address: geocli lookup {path}" if is_readable(path) else ""
        raise InputError(name, f"{error.strerror or error}{hint}") from error
    try:
        _enlarge_pipe(descriptor)
        yield _Reader(name, descriptor, on_wait)
    finally:
        if path != "-":
            os.close(descriptor)


class _Reader:
    """Reads a file without waiting for more than has arrived."""

    def __init__(self, name: str, descriptor: int, on_wait: Callable[[], None]) -> None:
        from select import POLLIN, poll

        self._name, self._on_wait = name, on_wait
        self._arrived = poll()
        self._arrived.register(descriptor, POLLIN)
        compression = compression_of(name)
        self._read_once = _decompressor(descriptor, compression) if compression else partial(os.read, descriptor)
        self._head, self._is_ended = b"", False
        self._failure: OSError | None = None

    def __call__(self, count: int) -> bytes:
        """Return what has arrived, nothing at the end. What was read before a failure is returned first."""
        if not self._arrived.poll(0):
            self._on_wait()
        data = b"".join(self._pieces(count))
        if self._failure and not data:
            raise InputError(self._name, self._failure.strerror or str(self._failure)) from self._failure
        if len(self._head) < MAX_MAGIC_BYTES:
            self._head += data[:MAX_MAGIC_BYTES]
            check_encoding(self._name, self._head)
        return data

    def _pieces(self, count: int) -> Iterator[bytes]:
        size, wait_ms = 0, WAIT_MS
        while size < count and not (self._is_ended or self._failure):
            if size and not self._arrived.poll(0):
                if size < FIRST_BYTES or not self._arrived.poll(wait_ms):
                    return
                wait_ms = 0
            try:
                piece = self._read_once(count - size)
            except BlockingIOError:
                # Another process that shares the file has made it non-blocking.
                self._arrived.poll()
                continue
            except OSError as error:
                self._failure = error
                return
            size += len(piece)
            # A terminal would need a second Ctrl-D to end another read.
            self._is_ended = not piece
            yield piece


def check_encoding(name: str, head: bytes) -> None:
    """Raise InputError if a file is compressed, or in UTF-16 or UTF-32, by its first bytes."""
    match = UNSUPPORTED.match(head)
    if match and match["iconv"]:
        encoding = "UTF-32" if b"\0\0" in {head[:2], head[2:4]} else "UTF-16"
        if head[:1] < b"\xfe" and encoding == "UTF-16":
            encoding += "BE" if head.startswith(b"\0") else "LE"
        raise InputError(name, f"in {encoding}; convert it with iconv -f {encoding} -t UTF-8")
    if match:
        suffix = SUFFIXES.get(match.lastgroup or "")
        hint = f", or name a file ending in {suffix}" if suffix and not name.endswith(suffix) else ""
        raise InputError(name, f"compressed; pipe it through {match.lastgroup}{hint}")


def _enlarge_pipe(descriptor: int) -> None:
    from fcntl import F_SETPIPE_SZ, fcntl

    with suppress(OSError):  # not a pipe, or above the user's limit for pipes
        fcntl(descriptor, F_SETPIPE_SZ, PIPE_BYTES)


def compression_of(name: str) -> str | None:
    """Return the format in which a file is compressed by its name, None for other files."""
    return COMPRESSIONS.get(os.path.splitext(name)[1])


def _decompressor(descriptor: int, compression: str) -> Read:
    """Return a function that reads a compressed file, and raises OSError if it is damaged or truncated."""
    from io import BufferedReader, FileIO

    class AvailableReader(BufferedReader):
        """Returns what has arrived, instead of waiting for a whole block."""

        def read(self, size: int | None = -1, /) -> bytes:
            # The two bytes of a gzip header are needed together.
            return self.read1(size) if size and size > 2 else super().read(size)

    stream, errors = _stream(AvailableReader(FileIO(descriptor, closefd=False)), compression)

    def read(count: int) -> bytes:
        try:
            return stream.read1(count)
        except errors as error:
            raise OSError(EIO, f"damaged: {error}") from error

    return read


def _stream(
    file: BufferedReader, compression: str
) -> tuple[GzipFile | BZ2File | LZMAFile, tuple[type[Exception], ...]]:
    """Return a stream that decompresses, and its exceptions for damaged data other than OSError."""
    if compression == "gzip":
        import zlib
        from gzip import GzipFile

        return GzipFile(fileobj=file), (EOFError, zlib.error)
    if compression == "bz2":
        from bz2 import BZ2File

        return BZ2File(file), (EOFError,)
    from lzma import LZMAError, LZMAFile

    return LZMAFile(file), (EOFError, LZMAError)


def size_bytes(path: str) -> int | None:
    """Return the size of a regular file; None for anything else, whose size is unknown."""
    import stat

    with suppress(OSError):
        status = os.fstat(sys.stdin.fileno()) if path == "-" else os.stat(path)
        return status.st_size if stat.S_ISREG(status.st_mode) else None
    return None


def total_bytes(paths: Sequence[str]) -> int | None:
    """Return how many bytes will be read of these files together; None if one of them is compressed or not a file."""
    sizes = [None if compression_of(path) else size_bytes(path) for path in paths]
    known_sizes = [size for size in sizes if size is not None]
    return sum(known_sizes) if len(known_sizes) == len(sizes) else None
