"""What a batch has found out, to the journal: each address once a run, and each place once an append."""

from __future__ import annotations

from operator import concat
from typing import TYPE_CHECKING, Any

import numpy as np

from geocli.bulk.rows import NO_PREFIX
from geocli.storage.frames import HEADER_BYTES, TARGET_BYTES, payload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from geocli.bulk.rendered import Rendered
    from geocli.bulk.rows import Found

SEEN_BITS = 20
"""So many addresses can be remembered as kept, as a power of 2."""
FREE, FULL = -1, 5 << SEEN_BITS >> 3
"""Marks a slot without an address; with more addresses than this, a table is emptied."""
ROW_BYTES = len('["",1234,128],')
"""What a row takes in a frame beside its addresses."""
MOST_BYTES = {1: len("255.255.255.255 "), 2: 40}
"""What the text of an address takes at most with what divides it from the next, by the words of its number."""
NUMBERS = [b'",%d,' % number for number in range(TARGET_BYTES // len('{"asn":1},'))]
LENGTHS = [b'%d],["' % length for length in range(NO_PREFIX)] + [b'null],["']
"""What stands behind the addresses of a row: by the number of their place, then by the length of its prefix."""
MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
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
            rendered = group[0].answers.rendered
            order = _sorted(rendered.groups, found)
            yield from _Packer(head, rendered, found[order], texts[order], widths[order]).payloads()

    def _new(self, one: Found) -> Iterator[tuple[NDArray[np.int32], NDArray[Any], NDArray[np.int64]]]:
        """Return the answers, texts and most bytes of the addresses that were not yet kept, and remember them."""
        for at, numbers, _ in one.parsed.families():
            found = one.cells[at]
            places = np.flatnonzero(found >> 8)
            keys = numbers[places]
            words = [*keys.T] if keys.ndim > 1 else [keys]
            if len(words) not in self._seen:
                self._seen[len(words)] = _Seen(words)
            if len(new := places[self._seen[len(words)].add(words)]):
                texts = np.fromiter(one.parsed.texts, object, len(one.parsed.texts))[at][new]
                yield found[new], texts, np.full(len(new), MOST_BYTES[len(words)])


class _Seen:
    """The last addresses of a family: a hash table with linear probing, emptied when it gets full."""

    def __init__(self, words: Sequence[NDArray[np.unsignedinteger]]) -> None:
        """Begin without addresses, which consist of such words."""
        self._slots = [np.zeros(1 << SEEN_BITS, word.dtype) for word in words]
        self._owners = np.full(1 << SEEN_BITS, FREE, np.int32)
        self._count = 0

    def add(self, words: Sequence[NDArray[np.unsignedinteger]]) -> NDArray[np.bool_]:
        """Note addresses, and return which of them were not noted before.

        Args:
            words: those of the addresses side by side, the highest first.

        """
        if self._count + len(words[0]) > FULL:
            self._owners[:], self._count = FREE, 0
        is_new = np.zeros(len(words[0]), np.bool_)
        rest, slots = np.arange(len(is_new)), self._hashed(words)
        while len(rest):
            is_free = self._owners[slots] == FREE
            free, free_slots = rest[is_free], slots[is_free]
            self._owners[free_slots] = free  # of several for one slot the last one gets it
            is_owner = self._owners[free_slots] == free
            owners, own_slots = free[is_owner], free_slots[is_owner]
            is_new[owners] = True
            differs = np.zeros(len(rest), np.bool_)
            for noted, word in zip(self._slots, words, strict=True):
                noted[own_slots] = word[owners]
                differs |= noted[slots] != word[rest]
            rest, slots = rest[differs], (slots[differs] + 1) & ((1 << SEEN_BITS) - 1)
        self._count += int(is_new.sum())
        return is_new

    @staticmethod
    def _hashed(words: Sequence[NDArray[np.unsignedinteger]]) -> NDArray[np.int64]:
        mixed = np.zeros(len(words[0]), np.uint64)
        for word, mix in zip(words, MIX, strict=False):
            mixed += word * mix
        return (mixed >> np.uint64(64 - SEEN_BITS)).astype(np.int64)


def _sorted(groups: NDArray[np.int32], found: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the places of answers in the order of their groups, then numbers, then prefixes."""
    numbers, is_there = found >> 8, np.zeros(len(groups), np.bool_)
    is_there[numbers] = True
    there = np.flatnonzero(is_there)
    ranks = np.empty(len(groups), np.uint16 if len(there) < 1 << 16 else np.int32)  # numpy sorts the former in no time
    ranks[there[np.argsort(groups[there], kind="stable")]] = np.arange(len(there))
    order = np.argsort((found & NO_PREFIX).astype(np.uint8), kind="stable")
    return order[np.argsort(ranks[numbers[order]], kind="stable")]


class _Packer:
    """Addresses that are sorted by the groups of their answers, then by their answers, to be divided into frames."""

    def __init__(
        self, head: str, rendered: Rendered, found: NDArray[np.int32], texts: NDArray[Any], widths: NDArray[np.int64]
    ) -> None:
        self._head, self._texts, self._lengths = head, texts, found & NO_PREFIX
        self._numbers, self._places = found >> 8, rendered.places
        self._groups = rendered.groups[self._numbers]
        self._shared = [b'%b,"places":[' % text.encode()[:-1] for text in rendered.shared]
        self._begins_group, self._begins_place, self._begins_row = (
            np.diff(keys, prepend=-1) != 0 for keys in (self._groups, self._numbers, found)
        )
        self._starts = self._frames(widths)
        for begins in (self._begins_group, self._begins_place, self._begins_row):
            begins[self._starts] = True
        self._place_of = np.cumsum(self._begins_place) - 1

    def _frames(self, widths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where frames begin of at most 64 KiB, but for places that alone are larger."""
        firsts = np.flatnonzero(self._begins_place)
        place_bytes = np.repeat(
            np.fromiter(map(len, self._places[self._numbers[firsts]].tolist()), np.int64, len(firsts)) + 1,
            np.diff(np.append(firsts, len(widths))),
        )
        shared_bytes = np.array([*map(len, self._shared)])[self._groups] + len("]},")
        alone = widths + ROW_BYTES + place_bytes + shared_bytes
        ends = np.cumsum(
            widths + self._begins_row * ROW_BYTES + self._begins_place * place_bytes + self._begins_group * shared_bytes
        )
        room = TARGET_BYTES - HEADER_BYTES - len(self._head) - len(',"places":[]}],"rows":[[]}\n')
        starts, start = [], 0
        while start < len(widths):
            starts.append(start)
            start = max(int(np.searchsorted(ends, ends[start] - alone[start] + room, side="right")), start + 1)
        return np.array(starts)

    def payloads(self) -> Iterator[bytes]:
        """Return the payloads."""
        ends = np.append(self._starts[1:], len(self._texts))
        places, rows = self._place_pieces(), self._row_pieces(ends - 1)
        first_places, last_places = 2 * self._place_of[self._starts], 2 * self._place_of[ends - 1] + 2
        for first, last, start, end in zip(
            first_places.tolist(), last_places.tolist(), self._starts.tolist(), ends.tolist(), strict=True
        ):
            yield payload(self._head, [*places[first:last], b"]}"], [b'["', *rows[2 * start : 2 * end]])

    def _place_pieces(self) -> list[bytes]:
        """Return two pieces for each place of a frame: what goes before it, and the place."""
        own = self._places[self._numbers[self._begins_place]].tolist()
        before = np.full(len(own), b",", object)
        for starts, pattern in ((np.flatnonzero(self._begins_group), b"]},%b"), (self._starts, b"%b")):
            before[self._place_of[starts]] = [pattern % self._shared[at] for at in self._groups[starts].tolist()]
        return _alternating(before, own)

    def _row_pieces(self, lasts: NDArray[np.int64]) -> list[bytes]:
        """Return two pieces for each address: itself, and what goes between it and the next one of a frame."""
        firsts = np.flatnonzero(self._begins_row)
        counts = np.diff(np.append(self._starts, len(self._texts)))
        numbers = (self._place_of - np.repeat(self._place_of[self._starts], counts))[firsts].tolist()
        after = np.full(len(self._texts), b" ", object)
        lengths = self._lengths[firsts].tolist()
        after[np.append(firsts[1:], len(after)) - 1] = [
            *map(concat, map(NUMBERS.__getitem__, numbers), map(LENGTHS.__getitem__, lengths))
        ]
        after[lasts] = [text.removesuffix(b',["') for text in after[lasts].tolist()]
        return _alternating(self._texts, after.tolist())


def _alternating(first: NDArray[Any], second: list[bytes]) -> list[bytes]:
    pieces = 2 * second
    pieces[::2], pieces[1::2] = first.tolist(), second
    return pieces
