"""The scopes of special addresses as a search tree, so that a walk through databases ends where a scope does."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from functools import cache
from ipaddress import ip_network

from geocli.addresses import EMBEDDED_AT, ranges
from geocli.engine.special_ranges import EMBEDDING, SCOPES

WITH_IPV4 = ("::/96", "::ffff:0:0/96")
"""Other networks in which an IPv6 address contains an IPv4 address: compatible and mapped ones (RFC 4291, 2.5.5)."""
EMBEDDED = EMBEDDING + 1
"""The number for addresses that contain an IPv4 address; numbers of scopes are those of `SCOPES`, plus 1."""


class ScopeTree:
    """A tree whose data offsets are numbers of scopes, plus 1, since offset 0 stands for no data.

    Attributes:
        records: the left and the right record of each node, as in `tree_nodes.nodes`.

    """

    def __init__(self, version: int) -> None:
        self._bits = 32 if version == 4 else 128
        *special, last = ranges(version)
        embedding = [(int(net[0]), int(net[-1]), "6to4") for net in map(ip_network, WITH_IPV4) if version == 6]
        self._ranges = [*special, *embedding, last]
        self._edges = sorted({edge for first, last, _ in self._ranges for edge in (first, last + 1)})
        nodes: list[int] = []
        self._grow(0, self._bits, nodes)
        count = len(nodes) // 2
        self.records = array("I", [record if record >= 0 else count + ~record for record in nodes])

    def _grow(self, first: int, bits: int, nodes: list[int]) -> int:
        """Add the node for the addresses that begin with `first` and differ in some bits; return it, or `~` a leaf."""
        at = bisect_left(self._edges, first + 1)
        if not bits or at == len(self._edges) or self._edges[at] >= first + (1 << bits):
            return ~self._number(first)
        node = len(nodes) // 2
        nodes += (0, 0)
        for side in (0, 1):
            nodes[2 * node + side] = self._grow(first | side << (bits - 1), bits - 1, nodes)
        return node

    def _number(self, address: int) -> int:
        name = next((name for first, last, name in self._ranges if first <= address <= last), "global")
        if name in EMBEDDED_AT:
            return EMBEDDED
        return 1 + (SCOPES.index(name) if name in SCOPES else 0)


@cache
def scope_tree(version: int) -> ScopeTree:
    """Return the tree of a family of addresses."""
    return ScopeTree(version)
