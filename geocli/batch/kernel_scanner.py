"""Addresses in large texts, found by the kernel, which leaves what is doubtful to `geocli.batch.address_scanner`.

The kernel takes the tables of `geocli.batch.boundaries`, and remembers what this module tells it of candidates.
"""

from __future__ import annotations

import ctypes
import secrets
from array import array
from functools import cache
from threading import local
from typing import TYPE_CHECKING

from geocli.batch import boundaries, ipv4_context, ipv6_context, spellings
from geocli.batch.address_scanner import IN_RUN, Spans, candidate_start, prefix_end, span_in_run
from geocli.batch.boundaries import AFTER, BEFORE, BEFORE_SMALL, BETWEEN, DIGITS, FIRST_NUMBERS, HEX, LETTERS, WORD
from geocli.batch.versions import NEAR_BYTES, is_product
from geocli.engine.kernel import Addresses, address_of, address_of_bytes, allocated, kernel

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST_ROOM = 1 << 16
"""Room for addresses that a thread begins with."""
SETS, WAYS, SLOT_BYTES = 1024, 4, 192
"""Size of the table of remembered answers."""
_CANDIDATE, _RUN, _SPELLED = range(3)
_NEAR, _WINDOW = range(2)
_IS_NONE, _IS_OPEN, _IS_ADDRESS = range(1, 4)
"""Kinds of doubts, of questions and of answers, as in the kernel."""
_PROPERTIES = (
    *(DIGITS, HEX, WORD, LETTERS, BETWEEN, BEFORE_SMALL),
    bytes(set(range(256)) - set(WORD + ipv6_context.ESCAPE_ENDS)),
    IN_RUN,
)
"""The bytes that have each of the properties of the kernel."""
_U8, _U32, _U64, _POINTER = ctypes.c_uint8, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
_COLUMN = ctypes.POINTER(_U32)


class _Rules(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_char_p) for name in ("before", "after", "endings", "firsts", "properties")),
        ("memory", _POINTER),
        *((name, _U64) for name in ("secret", "set_mask")),
        *((name, _U32) for name in ("max_between", "near_bytes", "quote_bytes", "before_bytes", "after_bytes")),
        ("max_run_bytes", _U32),
    )


def spans(text: bytes) -> Spans:
    """Return what `address_scanner.spans` returns. The kernel must be there."""
    if not hasattr(_own, "room"):
        _own.scanner, _own.room = Scanner(), Room(FIRST_ROOM)
    while not _own.scanner.scan(text, block := _own.room.block(text), _own.room.doubts):
        _own.room = Room(2 * block.room)
    return Spans(*_own.room.columns(block.count))


class Room:
    """Memory for the addresses of a block."""

    def __init__(self, room: int) -> None:
        self._room, self._columns = room, [allocated(4 * room) for _ in range(3)]
        self.doubts = memoryview(allocated(8 * room)).cast("I")

    def block(self, text: bytes) -> Addresses:
        """Return a block without addresses."""
        starts, ends, stops = map(address_of, self._columns)
        at, size = address_of_bytes(text), len(text)
        return Addresses(text=at, text_bytes=size, room=self._room, starts=starts, ends=ends, stops=stops)

    def columns(self, count: int) -> list[array[int]]:
        """Return copies of the starts, ends and stops of some addresses."""
        return [array("I", column[: 4 * count]) for column in self._columns]


_own = local()
"""The scanner of each thread, and its room."""


@cache
def _tables() -> tuple[bytes, ...]:
    firsts = {number.removesuffix(b".").decode() for number in FIRST_NUMBERS}
    return (
        boundaries.decision_table(BEFORE),
        boundaries.decision_table(AFTER),
        boundaries.word_endings(),
        bytes(str(number) in firsts for number in range(256)),
        bytes(sum(1 << bit for bit, members in enumerate(_PROPERTIES) if byte in members) for byte in range(256)),
    )


class Scanner:
    """Finds addresses in texts; for one thread at a time."""

    def __init__(self) -> None:
        self._memory = allocated(SETS * WAYS * SLOT_BYTES)
        self.rules = _Rules(
            *_tables(),
            memory=address_of(self._memory),
            secret=secrets.randbits(64),
            set_mask=SETS - 1,
            max_between=boundaries.MAX_BETWEEN,
            near_bytes=NEAR_BYTES,
            quote_bytes=ipv4_context.QUOTE_BYTES,
            before_bytes=ipv4_context.BEFORE_BYTES,
            after_bytes=ipv4_context.AFTER_BYTES,
            max_run_bytes=ipv6_context.MAX_RUN_BYTES,
        )

    def scan(self, text: bytes, block: Addresses, doubts: memoryview) -> bool:
        """Write where the addresses of a text and the prefix lengths of networks are; return whether there was room.

        Args:
            text: that of the block.
            block: has room for addresses.
            doubts: room for as many pairs of numbers (format `I`).

        """
        rules, shared, pairs = ctypes.byref(self.rules), ctypes.byref(block), address_of(doubts)
        count = kernel().scan(rules, shared, pairs)
        if count < 0:
            return False
        spans = _BlockSpans(block)
        self._decide(text, block, spans, _pairs(doubts, count))
        odd = _pairs(doubts, kernel().trim(rules, shared, pairs))
        spans.count = block.count
        for position, _ in odd:
            spans.put_prefix(position, prefix_end(text, spans.starts[position], spans.ends[position]))
        return True

    def _decide(self, text: bytes, block: Addresses, spans: _BlockSpans, doubts: Sequence[tuple[int, int]]) -> None:
        """Decide what is doubtful."""
        slots = {}
        for position, kind in doubts:
            start, end = spans.starts[position], spans.ends[position]
            if kind == _CANDIDATE:
                found = self._candidate_start(text, block, start, end)
                spans.put(position, None if found is None else (found, end))
            elif kind == _RUN:
                spans.put(position, span_in_run(text, start, end))
            else:
                slots[start] = position
        for start, end in spellings.spans(text, slots):
            position = next(slot for at, slot in slots.items() if start <= at < end)
            spans.put(position, (start, end))
            spans.drop_before(position)

    def _candidate_start(self, text: bytes, block: Addresses, start: int, end: int) -> int | None:
        def remember(kind: int, answer: int) -> None:
            kernel().remember(ctypes.byref(self.rules), ctypes.byref(block), start, end, kind, answer)

        if start >= NEAR_BYTES and text[start - 1] == ord("/"):
            is_version = is_product(text[start - NEAR_BYTES : end + 1], end - start)
            remember(_NEAR, _IS_NONE if is_version else _IS_OPEN)
            if is_version:
                return None
        found = candidate_start(text, start, end)
        remember(_WINDOW, _IS_NONE if found is None else _IS_ADDRESS + found - start)
        return found


class _BlockSpans:
    """The spans of a block."""

    def __init__(self, block: Addresses) -> None:
        self.count: int = block.count
        self.starts, self.ends, self.stops = (
            ctypes.cast(at, _COLUMN) for at in (block.starts, block.ends, block.stops)
        )

    def put(self, position: int, span: tuple[int, int] | None) -> None:
        """Replace a span; an empty one is dropped by the kernel."""
        start = self.starts[position]
        self.starts[position], self.ends[position] = span or (start, start)

    def put_prefix(self, position: int, stop: int) -> None:
        """Let a span have a prefix length, if no address begins in that."""
        if position + 1 == self.count or stop <= self.starts[position + 1]:
            self.stops[position] = stop

    def drop_before(self, position: int) -> None:
        """Drop the spans before one that begin in it."""
        for at in range(position - 1, -1, -1):
            if self.starts[at] < self.starts[position]:
                return
            self.put(at, None)


def _pairs(doubts: memoryview, count: int) -> list[tuple[int, int]]:
    numbers = doubts[: 2 * count].tolist()
    return list(zip(numbers[::2], numbers[1::2], strict=True))
