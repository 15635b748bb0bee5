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
    from geocli.bulk.rows import Found

SEEN_BITS = 20
"""So many addresses can be remembered as kept, as a power of 2."""
PROBES = 16
"""So many slots may take an address; where all are taken, it takes the place of another."""
EMPTY = np.array([0xEFEF_EFEF_EFEF_EFEF, 0xEFEF_EFEF_EFEF_EFEF], np.uint64)
"""An address that is never given out (RFC 4291, 2.4) stands in a free slot."""
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
        self._seen = np.tile(EMPTY, (1 << SEEN_BITS, 1))
        self._owners = np.zeros(1 << SEEN_BITS, np.int32)

    def payloads(self, head: str, group: Sequence[Found]) -> Iterator[bytes]:
        """Return payloads with what is new among addresses that have the same `answers`.

        An address that was kept before in this run is left out. Only of a million others one may have been
        forgotten: that takes one row more in the journal, and changes nothing.

        Args:
            head: as `frames.head` returns it.
            group: whose addresses go together; a place comes once, and again only where a frame ends.

        """
        new = [self._new(one) for one in group]
        found = np.concatenate([found for found, _, _ in new])
        texts = np.concatenate([texts for _, texts, _ in new])
        widths = np.concatenate([widths for _, _, widths in new])
        order = np.argsort(found >> 8, kind="stable")
        if len(order):
            yield from _Packer(head, group[0].answers, found[order], texts[order], widths[order]).payloads()

    def _new(self, one: Found) -> tuple[NDArray[np.int32], NDArray[Any], NDArray[np.int64]]:
        """Return the answers, texts and most bytes of the addresses that were not yet kept, and remember them."""
        places = np.flatnonzero(one.numbers)
        halves = one.parsed.both_halves()[places]
        is_new = self._remember(halves)
        places, high, low = places[is_new], halves[is_new, 0], halves[is_new, 1]
        widths = np.where((high == 0) & (low >> np.uint64(32) == IPV4_MAPPED), IPV4_BYTES, IPV6_BYTES)
        texts = np.fromiter(one.parsed.texts, object, len(one.parsed.texts))[places]
        return one.cells[places], texts, widths

    def _remember(self, halves: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Note addresses, and return which of them were not noted before: hashing with linear probing."""
        slots = ((halves * _MIX).sum(axis=1, dtype=np.uint64) >> np.uint64(64 - SEEN_BITS)).astype(np.intp)
        is_new = np.ones(len(halves), np.bool_)
        rest = np.arange(len(halves))
        for _ in range(PROBES):
            if not len(rest):
                break
            there = self._seen[slots[rest]]
            is_known = (there == halves[rest]).all(axis=1)
            is_free = (there == EMPTY).all(axis=1)
            is_new[rest[is_known]] = False
            taken = rest[is_free]
            self._seen[slots[taken]] = halves[taken]  # of several for one slot the last one gets it
            is_done = is_known | (self._seen[slots[rest]] == halves[rest]).all(axis=1)
            rest = rest[~is_done]
            slots[rest] = (slots[rest] + 1) & ((1 << SEEN_BITS) - 1)
        self._seen[slots[rest]] = halves[rest]
        new = np.flatnonzero(is_new)
        self._owners[slots[new]] = new  # the same address may be there twice
        is_new[new] = self._owners[slots[new]] == new
        return is_new


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
