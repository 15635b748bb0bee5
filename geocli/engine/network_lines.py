"""Lines of a list of networks: each range of addresses as the fewest prefixes, or as its first and last address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    Numbers: TypeAlias = tuple[int, ...]
    """The number of a scope, then the offset of the record, or its class, in each database; 0 for none."""
    Judge: TypeAlias = Callable[[Numbers], int]
    """Returns the value of a combination of classes: `UNSELECTED`, or a larger number."""

BITS = {4: 32, 6: 128}
"""Bits of an address, by the version of IP."""
UNJUDGED, UNSELECTED, SELECTED = range(3)
"""Values of combinations, as in the kernel; those from `SELECTED` on are selected."""


class Span(NamedTuple):
    """A range of addresses, and their records."""

    first: int
    last: int
    numbers: Numbers


class Run(NamedTuple):
    """A range of addresses with the same value."""

    first: int
    last: int
    value: int


class Lines:
    """The form of lines, and the lines of ranges in Python.

    Attributes:
        before: what each line begins with.
        is_range: whether lines have the first and the last address, not a prefix.
        shortest: the shortest prefix length.
        tails: what lines end with, by the value of a range less `SELECTED`.

    """

    def __init__(self, before: str = "", *, is_range: bool = False, shortest: int = 0) -> None:
        self.before, self.is_range, self.shortest = before.encode(), is_range, shortest
        self.tails: list[bytes] = []

    def text(self, run: Run, version: int) -> bytes:
        """Return the lines of a range of addresses."""
        tail = self.tails[run.value - SELECTED]
        make = IPv4Address if version == 4 else IPv6Address
        if self.is_range:
            return b"%b%b%b" % (self.before, f"{make(run.first)}-{make(run.last)}".encode(), tail)
        parts = prefixes(run.first, run.last, BITS[version], self.shortest)
        return b"".join(b"%b%b%b" % (self.before, f"{make(first)}/{length}".encode(), tail) for first, length in parts)


def prefixes(first: int, last: int, bits: int, shortest: int = 0) -> Iterator[tuple[int, int]]:
    """Return the fewest networks of a range: the first address and the prefix length of each.

    >>> list(prefixes(1, 8, 32))
    [(1, 32), (2, 31), (4, 30), (8, 32)]
    """
    while first <= last:
        zeros = (first & -first).bit_length() - 1 if first else bits
        free = min(zeros, (last - first + 1).bit_length() - 1, bits - shortest)
        yield first, bits - free
        first += 1 << free
