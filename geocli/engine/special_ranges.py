"""Tables by which the kernel finds special addresses (IANA special-purpose address registries)."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from functools import cache
from ipaddress import IPv4Address, IPv4Network, summarize_address_range
from itertools import pairwise

from geocli.addresses import EMBEDDED_AT, ranges, scope
from geocli.engine.kernel import Ranges, address_of

GLOBAL = 0
SCOPES = (None, *sorted({name for version in (4, 6) for *_, name in ranges(version)} - {"global", *EMBEDDED_AT}))
"""Scopes by number; `GLOBAL`, which is None, for all other addresses."""
EMBEDDING = len(SCOPES)
"""Number for addresses that embed an IPv4 address; the scalar path answers them."""
_NUMBERS = {str(name): number for number, name in enumerate(SCOPES)}
_NUMBERS |= {"global": GLOBAL, **dict.fromkeys(EMBEDDED_AT, EMBEDDING)}
_HALF = (1 << 64) - 1


@cache
def special_ranges() -> tuple[Ranges, tuple[array[int], ...]]:
    """Return the ranges, and the arrays that they point to, which the caller keeps alive."""
    networks = _ipv4_networks()
    bounds = [half for first, last, _ in ranges(6) for edge in (first, last) for half in (edge >> 64, edge & _HALF)]
    starts = [int(network[0]) for network in networks]
    memory = (
        array("I", starts),
        array("B", [SCOPES.index(scope(network[0])) for network in networks]),
        array("B", [network.prefixlen for network in networks]),
        array("I", [bisect_right(starts, octet << 24) - 1 for octet in range(257)]),
        array("Q", bounds),
        array("B", [_NUMBERS[name] for *_, name in ranges(6)]),
    )
    *ipv4, ipv6_bounds, ipv6_scopes = map(address_of, memory)
    return Ranges(*ipv4, ipv6_bounds, ipv6_scopes, len(memory[-1]), EMBEDDING), memory


def _ipv4_networks() -> list[IPv4Network]:
    """Return networks of one scope each that cover all IPv4 addresses, in order."""
    edges = sorted({0, 1 << 32, *(edge for first, last, _ in ranges(4) for edge in (first, last + 1))})
    spans = [(IPv4Address(first), IPv4Address(after - 1)) for first, after in pairwise(edges)]
    return [network for span in spans for network in summarize_address_range(*span)]
