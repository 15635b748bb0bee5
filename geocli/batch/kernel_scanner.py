"""Find addresses in large texts with the kernel, which leaves doubtful ones to `geocli.batch.address_scanner`.

The kernel uses the tables of `geocli.batch.ipv4_boundaries`, and caches the decisions of this module.
"""

from __future__ import annotations

import ctypes
from functools import cache
from threading import local
from typing import TYPE_CHECKING

from geocli.batch import defanged, ipv4_boundaries, ipv4_context, ipv6_context
from geocli.batch.address_scanner import IN_RUN, Spans, candidate_start, prefix_end, span_in_run
from geocli.batch.ipv4_boundaries import AFTER, BEFORE, BEFORE_SMALL, BETWEEN, DIGITS, FIRST_NUMBERS, HEX, LETTERS, WORD
from geocli.batch.software_versions import NEAR_BYTES, is_product
from geocli.engine.blocks import Block, zeros
from geocli.engine.kernel import address_of, allocated, declared, kernel, secret

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence

    from geocli.engine.kernel import Addresses

FIRST_ROOM = 1 << 16
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
    if not hasattr(_thread, "scanner"):
        _thread.scanner, _thread.room = Scanner(), FIRST_ROOM
    while True:
        room: int = _thread.room
        spans, doubts = Spans(zeros(room), zeros(room), zeros(room)), zeros(2 * room)
        block = Block(text, *spans).for_kernel()
        if _thread.scanner.scan(text, block, spans, doubts):
            for column in spans:
                del column[block.count :]
            return spans
        _thread.room *= 2


_thread = local()
"""The scanner of each thread, and the number of addresses for which it allocates memory."""


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

    def scan(self, text: bytes, block: Addresses, spans: Spans, doubts: array[int]) -> bool:
        """Write the spans of the addresses and networks in text; return False if there is too little room.

        Args:
            text: the text.
            block: the text and the spans as a block, whose count is set.
            spans: their memory.
            doubts: memory for two numbers for each span.

        """
        pointers = ctypes.byref(self.rules), ctypes.byref(block), address_of(doubts)
        if (count := kernel().scan(*pointers)) < 0:
            return False
        self._decide(text, block, spans, _pairs(doubts, count))
        for position, _ in _pairs(doubts, kernel().trim(*pointers)):
            stop = prefix_end(text, spans.starts[position], spans.ends[position])
            # An address may begin within what looks like a prefix length.
            if position + 1 == block.count or stop <= spans.starts[position + 1]:
                spans.stops[position] = stop
        return True

    def _decide(self, text: bytes, block: Addresses, spans: Spans, doubts: Sequence[tuple[int, int]]) -> None:
        """Decide which doubtful spans are addresses."""
        positions_by_anchor = {}
        for position, kind in doubts:
            start, end = spans.starts[position], spans.ends[position]
            if kind == _CANDIDATE:
                address_start = self._candidate_start(text, block, start, end)
                _put(spans, position, None if address_start is None else (address_start, end))
            elif kind == _RUN:
                _put(spans, position, span_in_run(text, start, end))
            else:
                positions_by_anchor[start] = position
        for start, end in defanged.spans(text, positions_by_anchor):
            position = next(position for anchor, position in positions_by_anchor.items() if start <= anchor < end)
            _put(spans, position, (start, end))
            # Preceding spans may begin within this one.
            while position and spans.starts[position - 1] >= start:
                position -= 1
                _put(spans, position, None)

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


def _put(spans: Spans, position: int, span: tuple[int, int] | None) -> None:
    """Replace a span; None makes it empty, and the kernel drops empty spans."""
    start = spans.starts[position]
    spans.starts[position], spans.ends[position] = span or (start, start)


def _pairs(doubts: array[int], count: int) -> list[tuple[int, int]]:
    numbers = doubts[: 2 * count]
    return list(zip(numbers[::2], numbers[1::2], strict=True))
