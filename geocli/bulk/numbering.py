"""Numbers to the numbers that were given to them: a sorted array, which takes many questions at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNKNOWN = -1
"""The number of a key that has none."""


class Numbering:
    """A map from keys to numbers."""

    def __init__(self) -> None:
        """Begin without keys."""
        self._pairs = np.zeros(1, np.uint64), np.full(1, UNKNOWN)

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._pairs[0]) - 1

    def get(self, keys: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
        """Return the numbers of keys, `UNKNOWN` where there is none. Safe while another thread adds some."""
        known, numbers = self._pairs
        at = np.searchsorted(known, keys, side="right") - 1
        return np.where(known[at] == keys, numbers[at], UNKNOWN)

    def add(self, keys: NDArray[np.unsignedinteger], numbers: NDArray[np.signedinteger]) -> None:
        """Give numbers to keys that are new, sorted, and there once."""
        at = np.searchsorted(self._pairs[0], keys, side="right")
        self._pairs = np.insert(self._pairs[0], at, keys), np.insert(self._pairs[1], at, numbers)

    def dense(self, keys: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
        """Return the numbers of keys; those that are new get the next ones, from 0 on."""
        found = self.get(keys)
        is_new = found == UNKNOWN
        if is_new.any():
            new, which = np.unique(keys[is_new], return_inverse=True)
            numbers = np.arange(len(new)) + len(self)
            self.add(new, numbers)
            found[is_new] = numbers[which]
        return found
