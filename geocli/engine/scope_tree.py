"""The scopes of special addresses as a search tree, in which an address is found as in those of databases."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from functools import cache
from ipaddress import ip_network

from geocli.addresses import EMBEDDED_AT, ranges

WITH_IPV4 = ("::/96", "::ffff:0:0/96")
"""Other networks in which an IPv6 address contains an IPv4 address: compatible and mapped ones (RFC 4291, 2.5.5)."""
GLOBAL = 1
SCOPES = (None, None, *sorted({name for version in (4, 6) for *_, name in ranges(version)} - {"global", *EMBEDDED_AT}))
"""Scopes by number, from `GLOBAL` on, which is for addresses that are not special."""
EMBEDDED = len(SCOPES)
"""Number for addresses that contain an IPv4 address."""


@cache
def scope_records(version: int) -> array[int]:
    """Return the left and the right record of each node, as `tree_nodes.nodes` does. Offsets of data are scopes."""
    *special, last = ranges(version)
    embedding = [(int(net[0]), int(net[-1]), "6to4") for net in map(ip_network, WITH_IPV4) if version == 6]
    spans = [*special, *embedding, last]
    edges = sorted({edge for first, last, _ in spans for edge in (first, last + 1)})
    nodes: list[int] = []

    def grow(first: int, bits: int) -> int:
        """Add the node for the addresses that begin with `first` and differ in some bits; return it, or `~` a leaf."""
        at = bisect_left(edges, first + 1)
        if not bits or at == len(edges) or edges[at] >= first + (1 << bits):
            return ~_number(next((name for first_, last, name in spans if first_ <= first <= last), "global"))
        node = len(nodes)
        nodes.extend((0, 0))
        nodes[node] = grow(first, bits - 1)
        nodes[node + 1] = grow(first | 1 << (bits - 1), bits - 1)
        return node // 2

    grow(0, 32 if version == 4 else 128)
    return array("I", [record if record >= 0 else len(nodes) // 2 + ~record for record in nodes])


def _number(name: str) -> int:
    if name in EMBEDDED_AT:
        return EMBEDDED
    return GLOBAL if name == "global" else SCOPES.index(name)
