"""Count distinct addresses, exactly up to a bound."""

from __future__ import annotations

import os
from ctypes import byref, sizeof
from typing import TYPE_CHECKING

from geocli.engine.blocks import Block
from geocli.engine.kernel import FIRST_NUMBER, Engine, Packer, Row, address_of, allocated, kernel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

SLOTS = 1 << 22
"""Slots of the hash table of addresses, of 16 bytes each."""
MAX_ADDRESSES = SLOTS // 8 * 5
_NUMBER_AT = Row.number.offset // 4


class DistinctAddresses:
    """The addresses that occurred so far.

    Attributes:
        is_full: whether there were more than `MAX_ADDRESSES`, so that further ones are not counted.

    """

    def __init__(self) -> None:
        self.is_full = False
        self._seen = allocated(16 * SLOTS)
        secret = (int.from_bytes(os.urandom(8)), *(int.from_bytes(os.urandom(8)) | 1 for _ in range(2)))
        self._engine = Engine(secret=secret)
        self._rows = bytearray()
        self._packer = Packer(seen=address_of(self._seen), mask=SLOTS - 1, capacity=MAX_ADDRESSES)

    def add(self, native: Any, count: int) -> list[int]:
        """Return the numbers of the answers to addresses of a block that did not occur before.

        Args:
            native: the block for the kernel.
            count: the number of its addresses.

        """
        if self.is_full or not count:
            return []
        if self._packer.count + count > MAX_ADDRESSES:
            self.is_full = True
            return []
        if len(self._rows) < count * sizeof(Row):
            self._rows = bytearray(count * sizeof(Row))
        new = kernel().collect(byref(self._packer), byref(self._engine), byref(native), address_of(self._rows), 0)
        words = memoryview(self._rows).cast("I")[: new * sizeof(Row) // 4]
        return words[_NUMBER_AT :: sizeof(Row) // 4].tolist()

    def add_texts(self, addresses: Sequence[bytes]) -> list[int]:
        """Return the positions of addresses, in canonical form, that did not occur before."""
        block = Block.joined(addresses, [b""] * len(addresses))
        numbers = block.starts.__class__("I", range(FIRST_NUMBER, FIRST_NUMBER + len(addresses)))
        native = block.for_kernel(numbers, bytearray(len(addresses)))
        return [number - FIRST_NUMBER for number in self.add(native, len(addresses))]
