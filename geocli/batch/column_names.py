"""Usual names of columns and keys that hold addresses."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_ADDRESSES = ("ip", "ipaddress", "ipaddr", "ipv4", "ipv6", "ipv4address", "ipv6address", "ipport", "address", "addr")
_ENDINGS = ("ip", "ipaddress", "ipaddr", "addr", "address")
_SOURCES = ("src", "source", "client", "remote", "peer", "caller", "user", "visitor", "login", "attacker", "host")
_DESTINATIONS = ("dst", "dest", "destination", "server", "target")
USUAL_NAMES = {
    name: rank
    for rank, name in enumerate(
        (
            *_ADDRESSES,
            *(f"{who}{ending}" for who in _SOURCES for ending in _ENDINGS),
            *("cip", "src", "saddr", "idorigh", "remotehost", "rhost"),
            *(f"{who}{ending}" for who in _DESTINATIONS for ending in _ENDINGS),
            *("sip", "dst", "daddr", "idresph"),
        )
    )
}
"""Names in lower case without punctuation, the most telling first: `ip`, those of sources, those of destinations."""


def usual_name(names: Sequence[str]) -> str | None:
    """Return the name that is most probably that of the addresses, None if no name is usual.

    >>> usual_name(["date", "dst_ip", "Src IP"])
    'Src IP'
    """
    ranks = {name: rank for name in names if (rank := USUAL_NAMES.get(_plain(name))) is not None}
    return min(ranks, key=lambda name: (name != "ip", ranks[name]), default=None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
