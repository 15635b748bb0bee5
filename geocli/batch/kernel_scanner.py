"""Find addresses in large texts with the kernel, which leaves doubtful ones to `geocli.batch.address_scanner`.

The kernel uses the tables of `geocli.batch.ipv4_boundaries`, and caches the decisions of this module.
"""

from __future__ import annotations

import ctypes
from array import array
from functools import cache
from threading import local
from typing import TYPE_CHECKING

from geocli.batch import defanged, ipv4_boundaries, ipv4_context, ipv6_context
from geocli.batch.address_scanner import IN_RUN, Spans, candidate_start, prefix_end, span_in_run
from geocli.batch.ipv4_boundaries import AFTER, BEFORE, BEFORE_SMALL, BETWEEN, DIGITS, FIRST_NUMBERS, HEX, LETTERS, WORD
from geocli.batch.software_versions import NEAR_BYTES, is_product
from geocli.engine.kernel import Addresses, address_of, address_of_bytes, allocated, declared, kernel, secret

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST_CAPACITY = 1 << 16
"""Number of addresses for which a thread first allocates memory."""
SETS, WAYS, SLOT_BYTES = 1024, 4, 192
"""Dimensions of the set-associative cache of decisions."""
_CANDIDATE, _RUN, _DEFANGED = range(3)
"""Kinds of doubtful spans, as in the kernel."""
_NEAR, _WINDOW = range(2)
"""Kinds of cache keys, as in the kernel."""
_REJECTED, _OPEN, _ACCEPTED = range(1, 4)
"""Cached decisions, as in the kernel; `_ACCEPTED` plus the offset of the address in the candidate."""
_PROPERTIES = (
    *(DIGITS, HEX, WORD, LETTERS, BETWEEN, BEFORE_SMALL),
    bytes(set(range(256)) - set(WORD + ipv6_context.ESCAPE_ENDS)),
    IN_RUN,
)
"""The bytes with each property, in the order of the bits in the kernel."""
_COLUMN = ctypes.POINTER(ctypes.c_uint32)


class _Rules(ctypes.Structure):
    """`struct scanner` of kernel.c."""

    _fields_ = declared(
        "char* before after endings firsts properties",
        "void* memory",
        "u64[3] secret",
        "u64 set_mask",
        "u32 max_between near_bytes quote_bytes before_bytes after_bytes max_run_bytes",
    )


def spans(text: bytes) -> Spans:
    """Return what `address_scanner.spans` returns. The kernel must be available."""
    if not hasattr(_thread, "buffers"):
        _thread.scanner, _thread.buffers = Scanner(), SpanBuffers(FIRST_CAPACITY)
    while not _thread.scanner.scan(text, block := _thread.buffers.block(text), _thread.buffers.doubts):
        _thread.buffers = SpanBuffers(2 * block.room)
    return Spans(*_thread.buffers.columns(block.count))


class SpanBuffers:
    """Memory to which the kernel writes spans."""

    def __init__(self, capacity: int) -> None:
        self._capacity, self._columns = capacity, [allocated(4 * capacity) for _ in range(3)]
        self.doubts = memoryview(allocated(8 * capacity)).cast("I")
        """Pairs of the position and the kind of doubtful spans."""

    def block(self, text: bytes) -> Addresses:
        """Return a block of this text without addresses."""
        starts, ends, stops = map(address_of, self._columns)
        at, size = address_of_bytes(text), len(text)
        return Addresses(text=at, text_bytes=size, room=self._capacity, starts=starts, ends=ends, stops=stops)

    def columns(self, count: int) -> list[array[int]]:
        """Return copies of the first starts, ends and stops."""
        return [array("I", column[: 4 * count]) for column in self._columns]


_thread = local()
"""The scanner and the buffers of each thread."""


@cache
def _tables() -> tuple[bytes, ...]:
    firsts = {number.removesuffix(b".").decode() for number in FIRST_NUMBERS}
    return (
        ipv4_boundaries.decision_table(BEFORE),
        ipv4_boundaries.decision_table(AFTER),
        ipv4_boundaries.word_endings(),
        bytes(str(number) in firsts for number in range(256)),
        bytes(sum(1 << bit for bit, members in enumerate(_PROPERTIES) if byte in members) for byte in range(256)),
    )


class Scanner:
    """Finds addresses in texts. Not thread-safe."""

    def __init__(self) -> None:
        self._memory = allocated(SETS * WAYS * SLOT_BYTES)
        self.rules = _Rules(
            *_tables(),
            memory=address_of(self._memory),
            secret=secret(),
            set_mask=SETS - 1,
            max_between=ipv4_boundaries.MAX_BETWEEN,
            near_bytes=NEAR_BYTES,
            quote_bytes=ipv4_context.QUOTE_BYTES,
            before_bytes=ipv4_context.BEFORE_BYTES,
            after_bytes=ipv4_context.AFTER_BYTES,
            max_run_bytes=ipv6_context.MAX_RUN_BYTES,
        )

    def scan(self, text: bytes, block: Addresses, doubts: memoryview) -> bool:
        """Write the spans of the addresses and networks in text; return False if the buffers are too small.

        The text, its block and the memory for doubtful spans are those of `SpanBuffers`.
        """
        rules, native, pairs = ctypes.byref(self.rules), ctypes.byref(block), address_of(doubts)
        count = kernel().scan(rules, native, pairs)
        if count < 0:
            return False
        spans = _BlockSpans(block)
        self._decide(text, block, spans, _pairs(doubts, count))
        prefixes = _pairs(doubts, kernel().trim(rules, native, pairs))
        spans.count = block.count
        for position, _ in prefixes:
            spans.put_prefix(position, prefix_end(text, spans.starts[position], spans.ends[position]))
        return True

    def _decide(self, text: bytes, block: Addresses, spans: _BlockSpans, doubts: Sequence[tuple[int, int]]) -> None:
        """Decide which doubtful spans are addresses."""
        positions_by_anchor = {}
        for position, kind in doubts:
            start, end = spans.starts[position], spans.ends[position]
            if kind == _CANDIDATE:
                address_start = self._candidate_start(text, block, start, end)
                spans.put(position, None if address_start is None else (address_start, end))
            elif kind == _RUN:
                spans.put(position, span_in_run(text, start, end))
            else:
                positions_by_anchor[start] = position
        for start, end in defanged.spans(text, positions_by_anchor):
            position = next(position for anchor, position in positions_by_anchor.items() if start <= anchor < end)
            spans.put(position, (start, end))
            spans.drop_before(position)

    def _candidate_start(self, text: bytes, block: Addresses, start: int, end: int) -> int | None:
        """Return what `candidate_start` returns, and let the kernel cache the decision."""

        def remember(kind: int, decision: int) -> None:
            kernel().remember(ctypes.byref(self.rules), ctypes.byref(block), start, end, kind, decision)

        if start >= NEAR_BYTES and text[start - 1] == ord("/"):
            is_version = is_product(text[start - NEAR_BYTES : end + 1], end - start)
            remember(_NEAR, _REJECTED if is_version else _OPEN)
            if is_version:
                return None
        address_start = candidate_start(text, start, end)
        remember(_WINDOW, _REJECTED if address_start is None else _ACCEPTED + address_start - start)
        return address_start


class _BlockSpans:
    """The spans of a block."""

    def __init__(self, block: Addresses) -> None:
        self.count: int = block.count
        self.starts, self.ends, self.stops = (
            ctypes.cast(at, _COLUMN) for at in (block.starts, block.ends, block.stops)
        )

    def put(self, position: int, span: tuple[int, int] | None) -> None:
        """Replace a span; None makes it empty, and the kernel drops empty spans."""
        start = self.starts[position]
        self.starts[position], self.ends[position] = span or (start, start)

    def put_prefix(self, position: int, stop: int) -> None:
        """Extend a span by its prefix length, unless an address begins within that."""
        if position + 1 == self.count or stop <= self.starts[position + 1]:
            self.stops[position] = stop

    def drop_before(self, position: int) -> None:
        """Drop the preceding spans that begin within this one."""
        for earlier in range(position - 1, -1, -1):
            if self.starts[earlier] < self.starts[position]:
                return
            self.put(earlier, None)


def _pairs(doubts: memoryview, count: int) -> list[tuple[int, int]]:
    numbers = doubts[: 2 * count].tolist()
    return list(zip(numbers[::2], numbers[1::2], strict=True))
