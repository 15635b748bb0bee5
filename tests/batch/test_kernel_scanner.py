"""The kernel's scanner stays within the text and its room, and remembers what it was told."""

from __future__ import annotations

import ctypes
import json
from concurrent.futures import ThreadPoolExecutor
from mmap import PAGESIZE
from pathlib import Path

import pytest

from geocli.batch import address_scanner, kernel_scanner
from geocli.batch.address_scanner import Spans
from geocli.batch.kernel_scanner import SETS, WAYS, Room, Scanner
from geocli.engine.blocks import offsets
from geocli.engine.kernel import Addresses, address_of, address_of_bytes, allocated, kernel

LINES = [json.loads(line)["line"].encode() for line in (Path(__file__).parent / "text-cases.jsonl").open()]
AGENT = (
    b'81.2.69.160 - - [25/Nov/2026:13:22:11 +0000] "GET / HTTP/1.1" 200 612 "-" "Mozilla/5.0 (X11) Chrome/%d.0.0.0"\n'
)
PROT_NONE, PROT_READ_WRITE = 0, 3


def protect(address: int, protection: int) -> None:
    """Change what may be done with a page of memory."""
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address), ctypes.c_size_t(PAGESIZE), protection) == 0


@pytest.mark.parametrize("is_at_end", [False, True])
def test_nothing_outside_the_text_is_read(is_at_end: bool) -> None:  # noqa: FBT001 a parameter
    """Before and behind the text is memory that nobody may read."""
    pages = allocated(3 * PAGESIZE)
    begin = address_of(pages)
    room, reader = Room(64), Scanner()
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
        block = room.block(line)
        block.text = begin + at
        protect(begin, PROT_NONE)
        protect(begin + 2 * PAGESIZE, PROT_NONE)
        try:
            assert reader.scan(line, block, room.doubts)
        finally:
            protect(begin, PROT_READ_WRITE)
            protect(begin + 2 * PAGESIZE, PROT_READ_WRITE)
        assert address_scanner.spans(line) == found(block)


def found(block: Addresses) -> Spans:
    """Return the spans of a block."""
    column = ctypes.c_uint32 * block.count
    starts, ends, stops = (offsets(column.from_address(at)[:]) for at in (block.starts, block.ends, block.stops))
    return Spans(starts, ends, stops)


@pytest.mark.parametrize("text", [b"1.2.3.4 ", b"Node/1.2.3.4 ", b"2001:db8::1 ", b"1[.]2[.]3[.]4 ", b":: "])
@pytest.mark.parametrize("room", [0, 1, 2, 7])
def test_nothing_is_written_behind_the_room(text: bytes, room: int) -> None:
    """The scanner says that there is not enough, and whoever called it begins anew with more."""
    text *= 100
    columns, doubts = [bytearray(b"\xff" * 4 * (room + 1)) for _ in range(3)], bytearray(b"\xff" * 8 * (room + 1))
    starts, ends, stops = map(address_of, columns)
    block = Addresses(
        text=address_of_bytes(text), text_bytes=len(text), room=room, starts=starts, ends=ends, stops=stops
    )

    assert not Scanner().scan(text, block, memoryview(doubts).cast("I"))
    assert [b"\xff" * 4] * 3 == [column[-4:] for column in columns]
    assert doubts[-8:] == b"\xff" * 8


def test_a_text_with_more_addresses_than_there_is_room_for() -> None:
    """More room is made for it."""
    text = b"1.2.3.4 " * 2 * kernel_scanner.FIRST_ROOM

    assert 2 * kernel_scanner.FIRST_ROOM == len(kernel_scanner.spans(text).starts)


def test_what_was_decided_once_is_remembered() -> None:
    """Python is asked about a user agent once, not for each line that has it."""
    text, room, reader = AGENT % 126 * 3, Room(64), Scanner()
    first, second = room.block(text), room.block(text)

    assert kernel().scan(ctypes.byref(reader.rules), ctypes.byref(first), address_of(room.doubts)) == 3
    assert reader.scan(text, first, room.doubts)
    assert kernel().scan(ctypes.byref(reader.rules), ctypes.byref(second), address_of(room.doubts)) == 0
    assert found(first).starts == found(second).starts[:3] == offsets([0, len(text) // 3, 2 * len(text) // 3])


def test_more_user_agents_than_can_be_remembered() -> None:
    """Old ones are forgotten; what is found stays the same."""
    lines = [AGENT % number for number in range(2 * SETS * WAYS)]

    for _ in range(2):
        assert len(lines) == len(kernel_scanner.spans(b"".join(lines)).starts)


def test_threads_do_not_share_what_they_remember() -> None:
    """Each has a scanner of its own."""
    texts = [b"\n".join(line.replace(b"198.51", b"%d.51" % number) for line in LINES) for number in range(40)]

    with ThreadPoolExecutor(4) as pool:
        assert [*map(address_scanner.spans, texts)] == [*pool.map(kernel_scanner.spans, texts)]
