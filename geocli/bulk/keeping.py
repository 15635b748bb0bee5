"""What a batch has found out, to the journal: each address once a run, and each place once an append."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geocli.bulk.numbering import NO_PREFIX, hashed
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
ROW_BYTES = len("[12345,1234,128],")
"""What a row takes in a frame beside its addresses."""
COUNTS = [b"[%d," % count for count in range(TARGET_BYTES // len("::,") + 1)]
NUMBERS = [b"%d," % number for number in range(TARGET_BYTES // len('{"asn":1},') + 1)]
LENGTHS = [b"%d]," % length for length in range(NO_PREFIX)] + [b"null],"]
"""What a row is made of: how many addresses, the number of their place, and the length of its prefix."""
OCTETS = np.array([[b"%d%c" % (octet, end) for octet in range(256)] for end in b". "], "S4").view(np.uint32)
"""The text of each byte of an IPv4 address, and of the last one, with what follows it."""
IPV6 = np.dtype("S39")
"""The text of an IPv6 address."""


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
        rendered = group[0].answers.rendered
        new: dict[int, list[tuple[NDArray[np.int32], NDArray[Any]]]] = {}
        for one in group:
            for found, addresses in self._new(one):
                new.setdefault(addresses.ndim, []).append((found, addresses))
        for family in new.values():
            found, addresses = map(np.concatenate, zip(*family, strict=True))
            order = _sorted(rendered.groups, found)
            texts = (_ipv4_texts if addresses.ndim == 1 else _ipv6_texts)(addresses[order])
            yield from _Packer(head, rendered, found[order], texts).payloads()

    def _new(self, one: Found) -> Iterator[tuple[NDArray[np.int32], NDArray[Any]]]:
        """Return the answers and addresses of each family that were not yet kept, and remember them.

        Those of IPv4 are numbers; those of IPv6 have shape (n, 1), and are texts.
        """
        for at, numbers, texts in one.parsed.families() if one.parsed else ():
            found = one.cells[at]
            places = np.flatnonzero(found >> 8)
            words = [*numbers[places].T] if numbers.ndim > 1 else [numbers[places]]
            if len(words) not in self._seen:
                self._seen[len(words)] = _Seen(words)
            new = places[self._seen[len(words)].add(words)]
            if len(new):
                is_ipv4 = numbers.ndim == 1
                yield found[new], numbers[new] if is_ipv4 else np.array([[texts[at]] for at in new.tolist()], IPV6)


def _ipv4_texts(numbers: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return the texts of addresses, each with a blank behind it and zeros in between that mean nothing."""
    octets = numbers.astype(">u4").view(np.uint8).reshape(-1, 4)
    found = OCTETS[0][octets]
    found[:, 3] = OCTETS[1][octets[:, 3]]
    return np.asarray(found.view(np.uint8))


def _ipv6_texts(texts: NDArray[np.bytes_]) -> NDArray[np.uint8]:
    """Return texts in the same way."""
    found = np.full((len(texts), IPV6.itemsize + 1), ord(" "), np.uint8)
    found[:, :-1] = texts.view(np.uint8)
    return found


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
        rest, slots = np.arange(len(is_new)), hashed(words, 1 << SEEN_BITS)
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

    def __init__(self, head: str, rendered: Rendered, found: NDArray[np.int32], texts: NDArray[np.uint8]) -> None:
        self._head, self._lengths = head, found & NO_PREFIX
        self._texts, self._text_ends = texts[texts != 0].tobytes(), np.cumsum((texts != 0).sum(axis=1))
        self._numbers, self._places = found >> 8, rendered.places
        self._groups = rendered.groups[self._numbers]
        self._shared = [b'%b,"places":[' % text[:-1] for text in rendered.shared]
        self._begins_group, self._begins_place, self._begins_row = (
            np.diff(keys, prepend=-1) != 0 for keys in (self._groups, self._numbers, found)
        )
        self._starts = self._frames()
        for begins in (self._begins_group, self._begins_place, self._begins_row):
            begins[self._starts] = True
        self._place_of, self._row_of = np.cumsum(self._begins_place) - 1, np.cumsum(self._begins_row) - 1

    def _frames(self) -> NDArray[np.int64]:
        """Return where frames begin of at most 64 KiB, but for places that alone are larger."""
        firsts, count = np.flatnonzero(self._begins_place), len(self._numbers)
        place_bytes = np.repeat(
            np.fromiter(map(len, self._places[self._numbers[firsts]].tolist()), np.int64, len(firsts)) + 1,
            np.diff(np.append(firsts, count)),
        )
        shared_bytes = np.array([*map(len, self._shared)])[self._groups] + len("]},")
        ends = self._text_ends + np.cumsum(
            self._begins_row * ROW_BYTES + self._begins_place * place_bytes + self._begins_group * shared_bytes
        )
        alone = np.diff(self._text_ends, prepend=0) + ROW_BYTES + place_bytes + shared_bytes
        room = TARGET_BYTES - HEADER_BYTES - len(self._head) - len(',"ips":"","places":[]}],"rows":[[]}\n')
        starts, start = [], 0
        while start < count:
            starts.append(start)
            start = max(int(np.searchsorted(ends, ends[start] - alone[start] + room, side="right")), start + 1)
        return np.array(starts)

    def payloads(self) -> Iterator[bytes]:
        """Return the payloads."""
        starts, lasts = self._starts, np.append(self._starts[1:], len(self._numbers)) - 1
        text_starts = np.append(0, self._text_ends)[starts]
        places, rows = self._place_pieces(), self._row_pieces()
        text_ends = self._text_ends[lasts] - 1
        place_starts, place_ends = 2 * self._place_of[starts], 2 * self._place_of[lasts] + 2
        row_starts, row_ends = 3 * self._row_of[starts], 3 * self._row_of[lasts] + 3
        spans = np.stack([text_starts, text_ends, place_starts, place_ends, row_starts, row_ends], axis=1)
        for text, text_end, place, place_end, row, row_end in spans.tolist():
            frame_rows = [*rows[row : row_end - 1], rows[row_end - 1].removesuffix(b",")]
            yield payload(self._head, [*places[place:place_end], b"]}"], frame_rows, self._texts[text:text_end])

    def _place_pieces(self) -> list[bytes]:
        """Return two pieces for each place of a frame: what goes before it, and the place."""
        own = self._places[self._numbers[self._begins_place]].tolist()
        before = np.full(len(own), b",", object)
        for starts, pattern in ((np.flatnonzero(self._begins_group), b"]},%b"), (self._starts, b"%b")):
            before[self._place_of[starts]] = [pattern % self._shared[at] for at in self._groups[starts].tolist()]
        return _alternating(before.tolist(), own)

    def _row_pieces(self) -> list[bytes]:
        """Return three pieces for each row of a frame."""
        firsts = np.flatnonzero(self._begins_row)
        counts = np.diff(np.append(firsts, len(self._numbers)))
        sizes = np.diff(np.append(self._starts, len(self._numbers)))
        places = (self._place_of - np.repeat(self._place_of[self._starts], sizes))[firsts]
        columns = (COUNTS, counts), (NUMBERS, places), (LENGTHS, self._lengths[firsts])
        return _alternating(*([*map(texts.__getitem__, numbers.tolist())] for texts, numbers in columns))


def _alternating(*columns: list[bytes]) -> list[bytes]:
    """Return the first piece of each column, then the second ones, and so on."""
    pieces = len(columns) * columns[0]
    for number, column in enumerate(columns):
        pieces[number :: len(columns)] = column
    return pieces
