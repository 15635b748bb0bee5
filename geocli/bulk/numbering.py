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
        self._count += len(keys)
        if 3 * self._count > 2 * len(self._table[0]):
            old_keys, old_numbers = self._table
            there = np.flatnonzero(old_numbers != UNKNOWN)
            table = _table((2 * self._count).bit_length())
            _enter(table, old_keys[there], old_numbers[there])
            self._table = table
        _enter(self._table, keys.astype(np.uint64), numbers)

    def dense(self, keys: NDArray[np.unsignedinteger]) -> NDArray[np.int32]:
        """Return the numbers of keys; those that are new get the next ones, from 0 on."""
        found = self.get(keys)
        is_new = found == UNKNOWN
        if is_new.any():
            new, which = np.unique(keys[is_new], return_inverse=True)
            numbers = np.arange(len(new)) + len(self)
            self.add(new, numbers)
            found[is_new] = numbers[which]
        return found


def _table(bits: int) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Return slots for keys, and their numbers."""
    return np.zeros(1 << bits, np.uint64), np.full(1 << bits, UNKNOWN, np.int32)


def hashed(words: Sequence[NDArray[np.unsignedinteger]], slots: int) -> NDArray[np.int64]:
    """Return in which of so many slots, a power of 2, keys are to be looked for first; they consist of such words."""
    first, *others = words
    mixed = first ^ KEYS[0]
    _mix(mixed)
    for word in others:
        mixed ^= word
        _mix(mixed)
    mixed >>= np.uint64(65 - slots.bit_length())
    found: NDArray[np.int64] = mixed.view(np.int64)
    return found


def _mix(words: NDArray[np.uint64]) -> None:
    words *= KEYS[1]
    words ^= words >> np.uint64(32)
    words *= KEYS[2]


def _enter(
    table: tuple[NDArray[np.uint64], NDArray[np.int32]],
    keys: NDArray[np.uint64],
    numbers: NDArray[np.signedinteger],
) -> None:
    """Enter keys, each in the first free slot; a key before its number, since others may read meanwhile."""
    slots, known = table
    owners = np.empty(len(slots), np.int64)
    rest, at = np.arange(len(keys)), hashed([keys], len(slots))
    while len(rest):
        is_free = known[at] == UNKNOWN
        owners[at[is_free]] = rest[is_free]  # of several for one slot the last one gets it
        is_owner = is_free & (owners[at] == rest)
        slots[at[is_owner]] = keys[rest[is_owner]]
        known[at[is_owner]] = numbers[rest[is_owner]]
        rest, at = rest[~is_owner], (at[~is_owner] + 1) & (len(slots) - 1)
