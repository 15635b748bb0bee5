"""Input is read in whole lines, as they arrive, from files, pipes and gzip."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from select import poll
from typing import TYPE_CHECKING

import pytest

from geocli.batch import reader
from geocli.batch.reader import (
    ELLIPSIS,
    ENOUGH_LINES,
    FIRST_BYTES,
    MAX_BYTES,
    MAX_LINES,
    READ_BYTES,
    SHOWN_BYTES,
    lines,
    opened,
    size_bytes,
    whole_lines,
)
from geocli.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

MAX_LINE_BYTES = 4096


def _chunks(
    path: Path, end: bytes = b"\n", max_bytes: int = MAX_LINE_BYTES, on_wait: Callable[[], None] = lambda: None
) -> Generator[bytes]:
    with opened(str(path), on_wait) as read:
        yield from whole_lines(read, end, max_bytes)


def _read(path: Path, end: bytes = b"\n", max_bytes: int = MAX_LINE_BYTES) -> bytes:
    return b"".join(_chunks(path, end, max_bytes))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", b""),
        (b"a", b"a\n"),
        (b"a\nb\n", b"a\nb\n"),
        (b"\n\n", b"\n\n"),
        (b"\xef\xbb\xbfa\n", b"a\n"),
        (b"a\r\nb", b"a\r\nb\n"),
        (b"\xff\0\n", b"\xff\0\n"),
    ],
)
def test_whole_lines(tmp_path: Path, data: bytes, expected: bytes) -> None:
    """All bytes except a byte order mark; the last line is terminated."""
    path = tmp_path / "file"
    path.write_bytes(data)

    assert expected == _read(path)


@pytest.mark.parametrize(("end", "count"), [(b"\n", MAX_LINES), (b"\n", MAX_LINES + 1), (b"\0", 3 * MAX_LINES)])
def test_no_chunk_has_very_many_lines(tmp_path: Path, end: bytes, count: int) -> None:
    """The answers to short lines take much more memory than the lines."""
    path = tmp_path / "file"
    path.write_bytes(end * count)
    chunks = list(_chunks(path, end))

    assert end * count == b"".join(chunks)
    assert (count > MAX_LINES) == (len(chunks) > 1)
    assert max(map(len, chunks)) <= MAX_LINES


def test_lines_that_end_in_nul(tmp_path: Path) -> None:
    """A newline is then an ordinary byte."""
    path = tmp_path / "file"
    path.write_bytes(b"a\nb\0c")

    assert b"a\nb\0c\0" == _read(path, b"\0")


@pytest.mark.parametrize(
    "size", [MAX_LINE_BYTES - 1, MAX_LINE_BYTES, MAX_LINE_BYTES + 1, 2 * MAX_LINE_BYTES, 200_000, 5_000_000]
)
def test_a_long_line_is_cut_and_its_neighbours_are_not(tmp_path: Path, size: int) -> None:
    """Lines that are too long are cut to `SHOWN_BYTES` and an ellipsis."""
    path = tmp_path / "file"
    path.write_bytes(b"before\n" + b"x" * size + b"\nafter\n" + b"y" * size)
    cut = b"%b" if size <= MAX_LINE_BYTES else b"%b" + ELLIPSIS
    shown = min(size, SHOWN_BYTES)

    assert [b"before", cut % (b"x" * shown), b"after", cut % (b"y" * shown), b""] == _read(path).split(b"\n")


COMPRESS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
compressed = pytest.mark.parametrize("suffix", COMPRESS)


@compressed
@pytest.mark.parametrize("parts", [[b"a\nb"], [b"a\n", b"b"], [b"", b"a\nb", b""]])
def test_compressed_files(tmp_path: Path, parts: list[bytes], suffix: str) -> None:
    """One member or several, as one file."""
    path = tmp_path / f"file{suffix}"
    path.write_bytes(b"".join(map(COMPRESS[suffix], parts)))

    assert b"a\nb\n" == _read(path)


@compressed
@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-9],
        lambda data: data[:100] + bytes([data[100] ^ 255]) + data[101:],
        lambda _: b"plain\n",
    ],
)
def test_damaged_compressed_files(tmp_path: Path, spoil: object, suffix: str) -> None:
    """An error that names the file, instead of wrong lines."""
    path = tmp_path / f"file{suffix}"
    assert callable(spoil)
    path.write_bytes(spoil(COMPRESS[suffix](os.urandom(1000))))

    with pytest.raises(InputError, match=str(path)):
        _read(path)


@pytest.mark.parametrize(("name", "reason"), [("missing", "No such file"), (".", "Is a directory")])
def test_unreadable_files(tmp_path: Path, name: str, reason: str) -> None:
    """The error names the file and the reason."""
    with pytest.raises(InputError, match=reason):
        _read(tmp_path / name)


def test_lines_come_before_the_pipe_is_waited_for(tmp_path: Path) -> None:
    """Lines that have arrived are returned, and `on_wait` is called before a read that may block."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    written = threading.Event()
    waited: list[None] = []

    def write() -> None:
        with pipe.open("wb", buffering=0) as stream:
            stream.write(b"a\nb")
            written.wait(60)
            stream.write(b"c\n")

    writer = threading.Thread(target=write)
    writer.start()
    chunks = _chunks(pipe, on_wait=lambda: waited.append(None))

    assert b"a\n" == next(chunks)
    waited.clear()
    threading.Timer(0.05, written.set).start()
    assert b"bc\n" == next(chunks)
    assert [] == list(chunks)
    assert waited
    writer.join()


def test_a_compressed_file_is_read_in_large_pieces(tmp_path: Path) -> None:
    """The cost of a block is shared by many lines, however little gzip decompresses at a time."""
    path = tmp_path / "access.log.gz"
    path.write_bytes(gzip.compress(os.urandom(8 * FIRST_BYTES)))

    with opened(str(path)) as read:
        sizes = [len(read(2 * FIRST_BYTES)) for _ in range(5)]

    assert [2 * FIRST_BYTES] * 4 + [0] == sizes


def test_lines_before_damage_are_returned_before_the_error(tmp_path: Path) -> None:
    """All of them."""
    path = tmp_path / "access.log.gz"
    path.write_bytes(gzip.compress(b"a\n" * 100_000, mtime=0)[:-1])
    chunks: list[bytes] = []

    with pytest.raises(InputError, match="damaged"):
        chunks.extend(_chunks(path))

    assert b"a\n" * 100_000 == b"".join(chunks)


@pytest.mark.parametrize("line", [b"1.1.1.1,8.8.8.8,9.9.9.9," * 9 + b"\n", b"1::1 2::2 3::3 " * 40 + b"\n"])
def test_no_large_chunk_has_very_many_addresses(tmp_path: Path, line: bytes) -> None:
    """However few lines it has."""
    path = tmp_path / "file"
    path.write_bytes(line * (4 * MAX_BYTES // len(line)))
    chunks = list(_chunks(path))

    assert path.read_bytes() == b"".join(chunks)
    assert max(map(len, chunks)) <= READ_BYTES + len(line)


def test_a_read_waits_only_once_for_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although further waits would bring more."""
    first_bytes = 16 * 1024  # less than the default capacity of a pipe
    monkeypatch.setattr(reader, "FIRST_BYTES", first_bytes)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDWR)
    os.write(pipe, b"x" * first_bytes)

    class _Poll:
        def __init__(self) -> None:
            self._poll = poll()
            self.register = self._poll.register

        def poll(self, wait_ms: int | None = None) -> list[tuple[int, int]]:
            if wait_ms:
                os.write(pipe, b"x")
            return self._poll.poll(wait_ms)

    monkeypatch.setattr("select.poll", _Poll)
    with opened(str(path)) as read:
        data = read(2 * first_bytes)
    os.close(pipe)

    assert first_bytes + 1 == len(data)


def test_one_ctrl_d_ends_the_input_from_a_terminal() -> None:
    """Another read would wait for a second one."""
    ours, theirs = os.openpty()
    os.write(ours, b"8.8.8.8\n\x04")

    assert b"8.8.8.8\n" == _read(Path(os.ttyname(theirs)))
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        *(
            (compress(text), f"compressed; pipe it through {reason}$")
            for text in (b"8.8.8.8\n", b"")
            for compress, reason in (
                (partial(gzip.compress, mtime=0), "zcat, or name a file ending in .gz"),
                (bz2.compress, "bzcat, or name a file ending in .bz2"),
                (lzma.compress, "xzcat, or name a file ending in .xz"),
                (lambda text: b"\x28\xb5\x2f\xfd" + text, "zstdcat"),
                (lambda text: b"\x04\x22\x4d\x18" + text, "lz4cat"),
                (lambda text: b"PK\x03\x04" + text, "funzip"),
            )
        ),
        *(
            ("\ufeff8.8.8.8\n".encode(encoding), f"in {reason}; convert it with iconv -f {reason} -t UTF-8$")
            for encoding, reason in (
                ("utf-16-le", "UTF-16"),
                ("utf-16-be", "UTF-16"),
                ("utf-32-le", "UTF-32"),
                ("utf-32-be", "UTF-32"),
            )
        ),
        ("8.8.8.8\n".encode("utf-16-le"), "in UTF-16LE; convert it with iconv -f UTF-16LE -t UTF-8$"),
        ("8.8.8.8\n".encode("utf-16-be"), "in UTF-16BE; convert it with iconv -f UTF-16BE -t UTF-8$"),
    ],
)
def test_compressed_input_and_utf_16_are_errors(tmp_path: Path, data: bytes, reason: str) -> None:
    """The message names the program that converts it."""
    path = tmp_path / "access.log"
    path.write_bytes(data)

    with pytest.raises(InputError, match=reason):
        _read(path)


@contextmanager
def _slowly(path: Path, data: bytes) -> Iterator[None]:
    """Write to a pipe, byte by byte."""
    os.mkfifo(path)

    def write() -> None:
        with path.open("wb", buffering=0) as stream, suppress(BrokenPipeError):
            for at in range(len(data)):
                stream.write(data[at : at + 1])
                time.sleep(0.005)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        writer.join()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xef\xbb\xbfa\nb\n", b"a\nb\n"),
        (b"\xef\xbb\xbf\xef\xbb\xbfa\n", b"\xef\xbb\xbfa\n"),
        (b"\n\xef\xbb\xbfa\n", b"\n\xef\xbb\xbfa\n"),
        (b"\xef\xbb", b"\xef\xbb\n"),
        (b"\xef\xbb\xbf", b""),
    ],
)
def test_a_byte_order_mark_may_arrive_byte_by_byte(tmp_path: Path, data: bytes, expected: bytes) -> None:
    """One is removed, at the beginning."""
    with _slowly(tmp_path / "pipe", data):
        assert expected == _read(tmp_path / "pipe")


def test_a_compressed_pipe_is_read_as_it_arrives(tmp_path: Path) -> None:
    """What can be decompressed so far is returned."""
    path = tmp_path / "pipe.gz"
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDWR)
    chunks = _chunks(path)
    for lines_written in (b"8.8.8.8\n", b"9.9.9.9\n" * 9):
        os.write(pipe, gzip.compress(lines_written))
        assert lines_written == next(chunks)
    os.close(pipe)
    chunks.close()


def test_a_non_blocking_pipe_is_waited_for(tmp_path: Path) -> None:
    """Another program that shares the pipe may have made it non-blocking."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    with opened(f"/dev/fd/{pipe}") as read:
        threading.Timer(0.05, os.write, (pipe, b"8.8.8.8\n")).start()
        assert b"8.8.8.8\n" == read(100)
    os.close(pipe)


def test_compressed_input_is_detected_byte_by_byte(tmp_path: Path) -> None:
    """Input that was compressed twice gets no hint to name it `.gz`, since it is named so already."""
    with (
        _slowly(tmp_path / "pipe", bz2.compress(b"8.8.8.8\n")),
        pytest.raises(InputError, match="compressed; pipe it through bzcat"),
    ):
        _read(tmp_path / "pipe")

    twice = tmp_path / "twice.gz"
    twice.write_bytes(gzip.compress(gzip.compress(b"8.8.8.8\n")))
    with pytest.raises(InputError, match=r"compressed; pipe it through zcat$"):
        _read(twice)


def test_bytes_are_counted(tmp_path: Path) -> None:
    """The progress bar ends at the size of the file."""
    path = tmp_path / "file"
    path.write_bytes(b"a\n" * 300_000)
    read: list[int] = []

    with opened(str(path)) as read_file:
        list(whole_lines(read_file, b"\n", MAX_LINE_BYTES, on_read=read.append))

    assert size_bytes(str(path)) == sum(read) == 600_000
    assert size_bytes(str(tmp_path)) is None
    assert size_bytes(str(tmp_path / "missing")) is None


@pytest.mark.parametrize(
    ("line_bytes", "expected"),
    [(14, 8 * FIRST_BYTES), (200, MAX_BYTES), (1_000_000, MAX_BYTES), (MAX_BYTES + 1, MAX_BYTES)],
)
def test_reads_get_larger_until_there_are_enough_lines(line_bytes: int, expected: int) -> None:
    """The first rows appear early, and the cost of a block is shared by many lines."""
    requested: list[int] = []

    source = BytesIO((b"x" * (line_bytes - 1) + b"\n") * (6 * MAX_BYTES // line_bytes))

    def read(count: int) -> bytes:
        requested.append(count)
        return source.read(count)

    chunks = list(whole_lines(read, b"\n", 2 * MAX_BYTES))

    assert requested[:2] == [FIRST_BYTES, 2 * FIRST_BYTES]
    assert {expected} == set(requested[6:])
    assert all(chunk.count(b"\n") < 2 * ENOUGH_LINES for chunk in chunks)


def test_a_list_is_text(tmp_path: Path) -> None:
    """Without line terminators; bytes that are not UTF-8 are escaped."""
    path = tmp_path / "file"
    path.write_bytes(b"a\r\n\xff\n\nb")

    assert ["a", "\\xff", "", "b"] == list(lines(str(path)))
