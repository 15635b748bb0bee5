"""The kernel's scanner stays within the text and its buffers, and caches decisions."""

from __future__ import annotations

import ctypes
import json
from concurrent.futures import ThreadPoolExecutor
from mmap import PAGESIZE
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from geocli.batch import address_scanner, kernel_scanner
from geocli.batch.address_scanner import Spans
from geocli.batch.kernel_scanner import SETS, WAYS, Scanner
from geocli.engine.blocks import NO_ROW, Block, offsets, zeros
from geocli.engine.kernel import address_of, allocated, kernel

if TYPE_CHECKING:
    from array import array

    from geocli.engine.kernel import Addresses

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
    scanner = Scanner()
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
        spans, doubts = memory(64)
        block = Block(line, *spans).for_kernel()
        block.text = begin + at
        protect(begin, PROT_NONE)
        protect(begin + 2 * PAGESIZE, PROT_NONE)
        try:
            assert scanner.scan(line, block, spans, doubts)
        finally:
            protect(begin, PROT_READ_WRITE)
            protect(begin + 2 * PAGESIZE, PROT_READ_WRITE)
        assert address_scanner.spans(line) == found(spans, block)


def memory(room: int) -> tuple[Spans, array[int]]:
    """Return memory for spans, and for doubts about them."""
    return Spans(zeros(room), zeros(room), zeros(room)), zeros(2 * room)


def found(spans: Spans, block: Addresses) -> Spans:
    """Return the spans of a block."""
    return Spans(*(column[: block.count] for column in spans))


@pytest.mark.parametrize("text", [b"1.2.3.4 ", b"Node/1.2.3.4 ", b"2001:db8::1 ", b"1[.]2[.]3[.]4 ", b":: "])
@pytest.mark.parametrize("capacity", [0, 1, 2, 7])
def test_nothing_is_written_past_the_end_of_the_buffers(text: bytes, capacity: int) -> None:
    """The scanner returns False, and the caller repeats the call with larger buffers."""
    text *= 100
    spans, doubts = (
        Spans(*(offsets([NO_ROW]) * (capacity + 1) for _ in range(3))),
        offsets([NO_ROW]) * 2 * (capacity + 1),
    )
    block = Block(text, *spans).for_kernel()
    block.room = capacity

    assert not Scanner().scan(text, block, spans, doubts)
    assert [NO_ROW] * 3 == [column[-1] for column in spans]
    assert doubts[-2:] == offsets([NO_ROW, NO_ROW])


def test_buffers_grow_with_the_number_of_addresses() -> None:
    """Buffers grow until the addresses of the text fit."""
    text = b"1.2.3.4 " * 2 * kernel_scanner.FIRST_ROOM

    assert 2 * kernel_scanner.FIRST_ROOM == len(kernel_scanner.spans(text).starts)


def test_decisions_are_cached() -> None:
    """Python decides about a user agent once, not for each line that has it."""
    text, scanner = AGENT % 126 * 3, Scanner()
    (first, doubts), (second, _) = memory(64), memory(64)
    blocks = [Block(text, *spans).for_kernel() for spans in (first, second)]

    assert kernel().scan(ctypes.byref(scanner.rules), ctypes.byref(blocks[0]), address_of(doubts)) == 3
    assert scanner.scan(text, blocks[0], first, doubts)
    assert kernel().scan(ctypes.byref(scanner.rules), ctypes.byref(blocks[1]), address_of(doubts)) == 0
    addresses = offsets([0, len(text) // 3, 2 * len(text) // 3])
    assert found(first, blocks[0]).starts == found(second, blocks[1]).starts[:3] == addresses


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
