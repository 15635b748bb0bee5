"""What a batch has found out, to the journal: each address once a run, and each place once an append."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from geocli.bulk.rows import NO_PREFIX
from geocli.storage.frames import HEADER_BYTES, TARGET_BYTES, payload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from geocli.bulk.answers import Answers
    from geocli.bulk.rows import Rows

SEEN_BITS = 20
"""So many addresses are remembered as kept, as a power of 2; of two that meet in one slot the later one is."""
ROW_BYTES = len('["",1234,128],')
"""What a row takes in a frame beside its address."""
IPV4_BYTES, IPV6_BYTES = len("255.255.255.255"), 39
IPV4_MAPPED = np.uint64(0xFFFF)
MOST_PLACES = TARGET_BYTES // len('{"status":"special"},')
"""So many places may be in one frame."""
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)
"""Two odd numbers that spread addresses over the slots (Knuth, The Art of Computer Programming 3, 6.4)."""


class Keeper:
    """Packs what is new in rows into frames. For one thread."""

    def __init__(self) -> None:
        """Begin with nothing kept."""
        self._seen = np.zeros((1 << SEEN_BITS, 2), np.uint64)

    def payloads(self, head: str, group: Sequence[Rows]) -> Iterator[bytes]:
        """Return payloads with what is new in rows that have the same `answers`.

        An address that was kept before in this run is left out, unless it has been forgotten: that takes
        one row more in the journal, and changes nothing.

        Args:
            head: as `frames.head` returns it.
            group: whose addresses go together; a place comes once, and again only where a frame ends.

        """
        new = [self._new(rows) for rows in group]
        found = np.concatenate([found for found, _, _ in new])
        texts = np.concatenate([texts for _, texts, _ in new])
        widths = np.concatenate([widths for _, _, widths in new])
        order = np.argsort(found >> 8, kind="stable")
        if len(order):
            yield from _Packer(head, group[0].answers, found[order], texts[order], widths[order]).payloads()

    def _new(self, rows: Rows) -> tuple[NDArray[np.int32], NDArray[Any], NDArray[np.int64]]:
        """Return the answers, texts and most bytes of the addresses that were not yet kept, and remember them."""
        places = np.flatnonzero(rows.found >> 8)
        halves = rows.parsed.both_halves()[places]
        slots = ((halves * _MIX).sum(axis=1, dtype=np.uint64) >> np.uint64(64 - SEEN_BITS)).astype(np.intp)
        is_new = (self._seen[slots] != halves).any(axis=1)
        self._seen[slots[is_new]] = halves[is_new]
        places, high, low = places[is_new], halves[is_new, 0], halves[is_new, 1]
        widths = np.where((high == 0) & (low >> np.uint64(32) == IPV4_MAPPED), IPV4_BYTES, IPV6_BYTES)
        texts = np.fromiter(rows.parsed.texts, object, len(rows.parsed.texts))[places]
        return rows.found[places], texts, widths


class _Packer:
    """Addresses that are sorted by their answers, to be divided into frames."""

    def __init__(
        self, head: str, answers: Answers, found: NDArray[np.int32], texts: NDArray[Any], widths: NDArray[np.int64]
    ) -> None:
        self._head, self._texts = head, texts
        self._lengths = found & NO_PREFIX
        numbers = found >> 8
        self._is_first = np.diff(numbers, prepend=-1) != 0
        self._place_of = np.cumsum(self._is_first) - 1
        self._places: list[bytes] = answers.rendered.places[numbers[self._is_first]].tolist()
        self._place_bytes = np.fromiter(map(len, self._places), np.int64, len(self._places)) + 1
        self._ends = np.cumsum(ROW_BYTES + widths + np.where(self._is_first, self._place_bytes[self._place_of], 0))

    def payloads(self) -> Iterator[bytes]:
        """Return payloads of at most 64 KiB, but for places that alone are larger."""
        room = TARGET_BYTES - HEADER_BYTES - len(self._head) - len(',"places":[],"rows":[]}\n')
        start = 0
        while start < len(self._texts):
            repeated = 0 if self._is_first[start] else int(self._place_bytes[self._place_of[start]])
            before = int(self._ends[start - 1]) if start else 0
            end = max(int(np.searchsorted(self._ends, before + room - repeated, side="right")), start + 1)
            yield self._payload(start, end)
            start = end

    def _payload(self, start: int, end: int) -> bytes:
        """Return the rows from one to another, with the places that they need."""
        first, last = int(self._place_of[start]), int(self._place_of[end - 1])
        middles, tails = _row_texts()
        pieces: list[bytes] = [b""] * (3 * (end - start))
        pieces[::3] = self._texts[start:end].tolist()
        pieces[1::3] = middles[self._place_of[start:end] - first].tolist()
        pieces[2::3] = tails[self._lengths[start:end]].tolist()
        return payload(self._head, b",".join(self._places[first : last + 1]), b'["%b' % b"".join(pieces)[: -len(',["')])


@cache
def _row_texts() -> tuple[NDArray[Any], NDArray[Any]]:
    """Return what stands behind an address in a row: by the number of its place, then by the length of its prefix."""
    middles = np.array([b'",%d,' % number for number in range(MOST_PLACES)], object)
    tails = np.array([b'%d],["' % length for length in range(NO_PREFIX + 1)], object)
    tails[NO_PREFIX] = b'null],["'
    return middles, tails
