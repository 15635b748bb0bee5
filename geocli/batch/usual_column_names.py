"""Usual names of columns and keys that hold addresses."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_ADDRESSES = (
    *("ip", "ipaddress", "ipaddr", "ipv4", "ipv6", "ipv4address", "ipv6address", "ipv4addr", "ipv6addr"),
    *("ipport", "address", "addr"),
)
_ENDINGS = ("ip", "ipaddress", "ipaddr", "addr", "address")
_SOURCES = ("src", "source", "client", "remote", "peer", "caller", "user", "visitor", "login", "attacker", "host")
_DESTINATIONS = ("dst", "dest", "destination", "server", "target")
USUAL_NAMES = (
    *_ADDRESSES,
    *(f"{role}{ending}" for role in _SOURCES for ending in _ENDINGS),
    *("cip", "ipsrc", "src", "saddr", "idorigh", "remotehost", "rhost", "xforwardedfor", "forwardedfor", "realip"),
    "*ip",
    *(f"{role}{ending}" for role in _DESTINATIONS for ending in _ENDINGS),
    *("sip", "ipdst", "dst", "daddr", "idresph"),
    *("network", "cidr", "ipnetwork", "ipcidr", "iprange", "ipprefix", "ipv4prefix", "ipv6prefix"),
)
"""Names in lower case without punctuation, the most specific first; `*ip` represents names that end in a word `ip`.

Those of networks come last; `prefix` and `netblock` may be lengths.
"""
_RANKS = {name: rank for rank, name in enumerate(USUAL_NAMES)}
_ENDS_IN_IP = r"(?:[ _.:/-](?i:ip)|[a-z0-9]I[Pp])(?:[ _.-]?(?i:v[46]|addr(?:ess)?))?\Z"


def number_of(columns: Sequence[str]) -> int | None:
    """Return the index of the first column if it is chosen by its number, from 1."""
    is_number = bool(columns) and columns[0].isascii() and columns[0].isdecimal() and int(columns[0]) > 0
    return int(columns[0]) - 1 if is_number else None


def usual_name(names: Sequence[str]) -> str | None:
    """Return the name that is most probably that of the addresses, None if no name is usual.

    >>> usual_name(["date", "dst_ip", "Src IP"]), usual_name(["zip", "actorIp"]), usual_name(["zip", "name"])
    ('Src IP', 'actorIp', None)
    """
    ranks = {name: rank for name in names if (rank := _rank(name)) is not None}
    return min(ranks, key=lambda name: (name != "ip", ranks[name]), default=None)


def _rank(name: str) -> int | None:
    rank = _RANKS.get(re.sub(r"[^a-z0-9]", "", name.lower()))
    return _RANKS["*ip"] if rank is None and re.search(_ENDS_IN_IP, name.strip()) else rank
