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
FREE, FULL = -1, 5 << SEEN_BITS >> 3
"""Marks a slot without an address; with more addresses than this, a table is emptied."""
ROW_BYTES = len('["",1234,128],')
"""What a row takes in a frame beside its address."""
MOST_BYTES = {1: len("255.255.255.255"), 2: 39}
"""What the text of an address takes at most, by the words of its number."""
MOST_PLACES = TARGET_BYTES // len('{"status":"special"},')
"""So many places may be in one frame."""
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)
"""Two odd numbers that spread addresses over the slots (Knuth, The Art of Computer Programming 3, 6.4)."""


class Keeper:
    """Packs what is new in rows into frames. For one thread."""

    def __init__(self) -> None:
        """Begin with nothing kept."""
        self._seen: dict[int, _Seen] = {}

    def payloads(self, head: str, group: Sequence[Found]) -> Iterator[bytes]:
        """Return payloads with what is new among addresses that have the same `answers`.

        An address that was kept before in this run is left out. Only after half a million others it may have been
        forgotten: that takes one row more in the journal, and changes nothing.

        Args:
            head: as `frames.head` returns it.
            group: whose addresses go together; a place comes once, and again only where a frame ends.

        """
        new = [family for one in group for family in self._new(one)]
        if new:
            found, texts, widths = map(np.concatenate, zip(*new, strict=True))
            order = np.argsort(found >> 8, kind="stable")
            yield from _Packer(head, group[0].answers, found[order], texts[order], widths[order]).payloads()

    def _new(self, one: Found) -> Iterator[tuple[NDArray[np.int32], NDArray[Any], NDArray[np.int64]]]:
        """Return the answers, texts and most bytes of the addresses that were not yet kept, and remember them."""
        for at, numbers, _ in one.parsed.families():
            found = one.cells[at]
            places = np.flatnonzero(found >> 8)
            keys = numbers[places].astype(np.uint64).reshape(len(places), numbers.ndim)
            seen = self._seen.setdefault(keys.shape[1], _Seen(keys.shape[1]))
            if len(new := places[seen.add(keys)]):
                texts = np.fromiter(one.parsed.texts, object, len(one.parsed.texts))[at][new]
                yield found[new], texts, np.full(len(new), MOST_BYTES[keys.shape[1]])


class _Seen:
    """The last addresses of a family: a hash table with linear probing, emptied when it gets full."""

    def __init__(self, words: int) -> None:
        """Begin without addresses, which are of so many words of 64 bits."""
        self._slots = np.zeros((1 << SEEN_BITS, words), np.uint64)
        self._owners = np.full(1 << SEEN_BITS, FREE, np.int32)
        self._count = 0

    def add(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Note addresses, and return which of them were not noted before."""
        if self._count + len(keys) > FULL:
            self._owners[:], self._count = FREE, 0
        mixed = (keys * _MIX[: keys.shape[1]]).sum(axis=1, dtype=np.uint64)
        slots = (mixed >> np.uint64(64 - SEEN_BITS)).astype(np.intp)
        is_new = np.zeros(len(keys), np.bool_)
        rest = np.arange(len(keys))
        while len(rest):
            free = rest[self._owners[slots[rest]] == FREE]
            self._owners[slots[free]] = free  # of several for one slot the last one gets it
            owners = free[self._owners[slots[free]] == free]
            self._slots[slots[owners]], is_new[owners] = keys[owners], True
            rest = rest[(self._slots[slots[rest]] != keys[rest]).any(axis=1)]
            slots[rest] = (slots[rest] + 1) & ((1 << SEEN_BITS) - 1)
        self._count += int(is_new.sum())
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
