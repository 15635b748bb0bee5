"""The special addresses among many (IANA special-purpose address registries)."""

from __future__ import annotations

from functools import cache
from ipaddress import IPv4Address, summarize_address_range
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from geocli.addresses import EMBEDDED_AT, ranges, scope

if TYPE_CHECKING:
    from numpy.typing import NDArray

GLOBAL = 0
SCOPES = (None, *sorted({name for version in (4, 6) for *_, name in ranges(version)} - {"global", *EMBEDDED_AT}))
"""What a special address is for, by number; `GLOBAL` is none."""
EMBEDDING = len(SCOPES)
"""The number of addresses that stand for an IPv4 address, whose scope and place the scalar path finds out."""
_NUMBERS = {str(name): number for number, name in enumerate(SCOPES)}
_NUMBERS |= {"global": GLOBAL, **dict.fromkeys(EMBEDDED_AT, EMBEDDING)}


def scopes(addresses: NDArray[np.unsignedinteger]) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Find out which addresses are special.

    Args:
        addresses: as `Tree.walk` takes them.

    Returns:
        The number of each address's scope, or `EMBEDDING`, as uint32; and the length in bits of a prefix that has it,
        as uint8.

    """
    if addresses.ndim == 1:
        starts, numbers, lengths = _ipv4_prefixes()
        at = np.searchsorted(starts, addresses, side="right") - 1
        return numbers[at], lengths[at]
    found = np.zeros(len(addresses), np.uint32)
    for first, last, name in reversed(ranges(6)):
        found[_reaches(addresses, first) & ~_reaches(addresses, last + 1)] = _NUMBERS[name]
    return found, np.full(len(addresses), 128, np.uint8)


@cache
def _ipv4_prefixes() -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint8]]:
    """Divide all of IPv4 into prefixes of one scope each: their first addresses, scopes and lengths, in order."""
    edges = sorted({0, 1 << 32, *(edge for first, last, _ in ranges(4) for edge in (first, last + 1))})
    spans = [(IPv4Address(first), IPv4Address(after - 1)) for first, after in pairwise(edges)]
    networks = [network for span in spans for network in summarize_address_range(*span)]
    return (
        np.array([int(network[0]) for network in networks], np.uint32),
        np.array([SCOPES.index(scope(network[0])) for network in networks], np.uint32),
        np.array([network.prefixlen for network in networks], np.uint8),
    )


def _reaches(addresses: NDArray[np.unsignedinteger], least: int) -> NDArray[np.bool_]:
    """Tell which IPv6 addresses are not smaller than a number."""
    high, low = addresses.T
    least_high, least_low = np.uint64(least >> 64 & (1 << 64) - 1), np.uint64(least & (1 << 64) - 1)
    if least >> 128:
        return np.zeros(len(addresses), np.bool_)
    found: NDArray[np.bool_] = (high > least_high) | ((high == least_high) & (low >= least_low))
    return found
