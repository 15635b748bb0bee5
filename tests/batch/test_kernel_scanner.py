"""The kernel's scanner stays within the text and its buffers, and caches decisions."""

from __future__ import annotations

import ctypes
import json
from concurrent.futures import ThreadPoolExecutor
from mmap import PAGESIZE
from pathlib import Path

import pytest

from geocli.batch import address_scanner, kernel_scanner
from geocli.batch.address_scanner import Spans
from geocli.batch.kernel_scanner import SETS, WAYS, Scanner, SpanBuffers
from geocli.engine.blocks import offsets
from geocli.engine.kernel import Addresses, address_of, address_of_bytes, allocated, kernel

LINES = [json.loads(line)["line"].encode() for line in (Path(__file__).parent / "text-cases.jsonl").open()]
AGENT = (
    b'81.2.69.160 - - [25/Nov/2026:13:22:11 +0000] "GET / HTTP/1.1" 200 612 "-" "Mozilla/5.0 (X11) Chrome/%d.0.0.0"\n'
)
PROT_NONE, PROT_READ_WRITE = 0, 3


def protect(address: int, protection: int) -> None:
    """Set the access rights of a page of memory."""
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address), ctypes.c_size_t(PAGESIZE), protection) == 0


@pytest.mark.parametrize("is_at_end", [False, True])
def test_nothing_outside_the_text_is_read(is_at_end: bool) -> None:  # noqa: FBT001 a parameter
    """The pages before and after the text are protected."""
    pages = allocated(3 * PAGESIZE)
    begin = address_of(pages)
    buffers, scanner = SpanBuffers(64), Scanner()
    for line in [
        *LINES,
        b"",
        b"1.2.3.4",
        b".",
        b":",
        b"::",
        b"[",
        b"%3",
        b"1.2.3.",
        b"/1.2.3.4/24",
        b"1.2.3.4/",
        b"2::/",
    ]:
        at = 2 * PAGESIZE - len(line) if is_at_end else PAGESIZE
        pages[at : at + len(line)] = line
        block = buffers.block(line)
        block.text = begin + at
        protect(begin, PROT_NONE)
        protect(begin + 2 * PAGESIZE, PROT_NONE)
        try:
            assert scanner.scan(line, block, buffers.doubts)
        finally:
            protect(begin, PROT_READ_WRITE)
            protect(begin + 2 * PAGESIZE, PROT_READ_WRITE)
        assert address_scanner.spans(line) == spans_of(block)


def spans_of(block: Addresses) -> Spans:
    """Return the spans of a block."""
    column = ctypes.c_uint32 * block.count
    starts, ends, stops = (offsets(column.from_address(at)[:]) for at in (block.starts, block.ends, block.stops))
    return Spans(starts, ends, stops)


@pytest.mark.parametrize("text", [b"1.2.3.4 ", b"Node/1.2.3.4 ", b"2001:db8::1 ", b"1[.]2[.]3[.]4 ", b":: "])
@pytest.mark.parametrize("capacity", [0, 1, 2, 7])
def test_nothing_is_written_past_the_end_of_the_buffers(text: bytes, capacity: int) -> None:
    """The scanner returns False, and the caller repeats the call with larger buffers."""
    text *= 100
    columns = [bytearray(b"\xff" * 4 * (capacity + 1)) for _ in range(3)]
    doubts = bytearray(b"\xff" * 8 * (capacity + 1))
    starts, ends, stops = map(address_of, columns)
    block = Addresses(
        text=address_of_bytes(text), text_bytes=len(text), room=capacity, starts=starts, ends=ends, stops=stops
    )

    assert not Scanner().scan(text, block, memoryview(doubts).cast("I"))
    assert [b"\xff" * 4] * 3 == [column[-4:] for column in columns]
    assert doubts[-8:] == b"\xff" * 8


def test_buffers_grow_with_the_number_of_addresses() -> None:
    """Buffers grow until the addresses of the text fit."""
    text = b"1.2.3.4 " * 2 * kernel_scanner.FIRST_CAPACITY

    assert 2 * kernel_scanner.FIRST_CAPACITY == len(kernel_scanner.spans(text).starts)


def test_decisions_are_cached() -> None:
    """Python decides about a user agent once, not for each line that has it."""
    text, buffers, scanner = AGENT % 126 * 3, SpanBuffers(64), Scanner()
    first, second = buffers.block(text), buffers.block(text)

    assert kernel().scan(ctypes.byref(scanner.rules), ctypes.byref(first), address_of(buffers.doubts)) == 3
    assert scanner.scan(text, first, buffers.doubts)
    assert kernel().scan(ctypes.byref(scanner.rules), ctypes.byref(second), address_of(buffers.doubts)) == 0
    assert spans_of(first).starts == spans_of(second).starts[:3] == offsets([0, len(text) // 3, 2 * len(text) // 3])


def test_the_cache_of_decisions_is_bounded() -> None:
    """Old decisions are replaced; the addresses found stay the same."""
    lines = [AGENT % number for number in range(2 * SETS * WAYS)]

    for _ in range(2):
        assert len(lines) == len(kernel_scanner.spans(b"".join(lines)).starts)


def test_each_thread_has_a_cache_of_its_own() -> None:
    """Threads scan at the same time."""
    texts = [b"\n".join(line.replace(b"198.51", b"%d.51" % number) for line in LINES) for number in range(40)]

    with ThreadPoolExecutor(4) as pool:
        assert [*map(address_scanner.spans, texts)] == [*pool.map(kernel_scanner.spans, texts)]
