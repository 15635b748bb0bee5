"""Numbers to the numbers that were given to them: a hash table, which takes many questions at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

UNKNOWN = -1
"""The number of a key that has none."""
NO_PREFIX = 255
"""Stands for the prefix of an answer that names none."""
LEAST_BITS = 10
"""A table has at least so many slots, as a power of 2."""
KEYS = np.frombuffer(os.urandom(24), np.uint64) | np.array([0, 1, 1], np.uint64)
"""Numbers that nobody knows, so that nobody can choose keys that meet in one slot; the last two are odd."""


class Numbering:
    """A map from keys to numbers, by linear probing."""

    def __init__(self) -> None:
        """Begin without keys."""
        self._count = 0
        self._table = _table(LEAST_BITS)

    def __len__(self) -> int:
        """Return how many keys there are."""
        return self._count

    def get(self, keys: NDArray[np.unsignedinteger]) -> NDArray[np.int32]:
        """Return the numbers of keys, in their shape, `UNKNOWN` where there is none; safe while others add some."""
        slots, numbers = self._table
        shape, keys = keys.shape, keys.astype(np.uint64).ravel()
        at = hashed([keys], len(slots))
        found = numbers[at]
        rest = np.flatnonzero(slots[at] != keys)
        while len(rest := rest[found[rest] != UNKNOWN]):
            at[rest] = (at[rest] + 1) & (len(slots) - 1)
            found[rest] = numbers[at[rest]]
            rest = rest[slots[at[rest]] != keys[rest]]
        return found.reshape(shape)

    def add(self, keys: NDArray[np.unsignedinteger], numbers: NDArray[np.signedinteger]) -> None:
        """Give numbers to keys that are new, and there once."""
        self._make_room(len(keys))
        _enter(self._table, keys.astype(np.uint64), numbers)
        self._count += len(keys)

    def dense(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Return the numbers of keys; those that are new get the next ones, from 0 on."""
        found = self.get(keys)
        new = np.flatnonzero(found == UNKNOWN)
        if len(new):
            self._make_room(len(new))
            numbers = _enter(self._table, keys[new], first=self._count)
            found[new] = numbers
            self._count = int(numbers.max()) + 1
        return found

    def _make_room(self, count: int) -> None:
        """Have slots for so many more keys."""
        keys, numbers = self._table
        if 4 * (self._count + count) > len(keys):
            there = np.flatnonzero(numbers != UNKNOWN)
            table = _table((4 * (self._count + count)).bit_length())
            _enter(table, keys[there], numbers[there])
            self._table = table


def _table(bits: int) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Return slots for keys, and their numbers."""
    return np.zeros(1 << bits, np.uint64), np.full(1 << bits, UNKNOWN, np.int32)


def hashed(
    words: Sequence[NDArray[np.unsignedinteger]], slots: int, secret: NDArray[np.uint64] = KEYS
) -> NDArray[np.int64]:
    """Return the first slot to look for each key in.

    Args:
        words: of the keys, side by side.
        slots: their number, a power of 2.
        secret: three numbers, the last two odd.

    """
    first, *others = words
    mixed = first ^ secret[0]
    _mix(mixed, secret)
    for word in others:
        mixed ^= word
        _mix(mixed, secret)
    # Without this, words that differ in their first bits alone meet too often with some secrets.
    mixed ^= mixed >> np.uint64(32)
    mixed *= secret[1]
    mixed >>= np.uint64(65 - slots.bit_length())
    found: NDArray[np.int64] = mixed.view(np.int64)
    return found


def _mix(words: NDArray[np.uint64], secret: NDArray[np.uint64]) -> None:
    words *= secret[1]
    words ^= words >> np.uint64(32)
    words *= secret[2]


def _enter(
    table: tuple[NDArray[np.uint64], NDArray[np.int32]],
    keys: NDArray[np.uint64],
    numbers: NDArray[np.signedinteger] | None = None,
    first: int = 0,
) -> NDArray[np.int32]:
    """Enter keys that are new, each in the first free slot, and return their numbers.

    A key is written before its number, since others may read meanwhile.

    Args:
        table: slots for keys, and their numbers.
        keys: without numbers, the same may be there several times.
        numbers: of the keys; by default they get the next ones from `first` on.
        first: the least number to give.

    """
    slots, known = table
    owners = np.empty(len(slots), np.int64)
    found = np.empty(len(keys), np.int32)
    rest, at = np.arange(len(keys)), hashed([keys], len(slots))
    while len(rest):
        free = np.flatnonzero(known[at] == UNKNOWN)
        owners[at[free]] = rest[free]  # of several for one slot the last one gets it
        winners = free[owners[at[free]] == rest[free]]
        slots[at[winners]] = keys[rest[winners]]
        known[at[winners]] = np.arange(first, first + len(winners)) if numbers is None else numbers[rest[winners]]
        first += len(winners)
        is_entered = slots[at] == keys[rest]
        found[rest[is_entered]] = known[at[is_entered]]
        rest, at = rest[~is_entered], (at[~is_entered] + 1) & (len(slots) - 1)
    return found
