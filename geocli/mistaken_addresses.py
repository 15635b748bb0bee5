"""Say why a string is not an IP address, and what it may be instead."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from geocli.errors import AddressError

if TYPE_CHECKING:
    from collections.abc import Callable

AS_NUMBER = r"(?i:ASN? ?)([0-9]{1,10})"
OTHER_KINDS = {
    "a hardware address": r"(?:[0-9A-Fa-f]{1,2}[:-]){5}[0-9A-Fa-f]{1,2}|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}",
    "an e-mail address": r"[^\s@/:]+@[^\s@/:]+\.[^\s@/:]+",
}
"""Patterns of strings that are often mistaken for IP addresses."""
INTEGER = r"0[Xx]([0-9A-Fa-f]{8})"
"""Integers that some programs write instead of IPv4 addresses."""
SHORT_RANGE = r"((?:[0-9]{1,3}\.){3})([0-9]{1,3})-([0-9]{1,3})"
"""A range in the last part, as scanners of networks read it."""
WILDCARD = r"((?:[0-9]{1,3}\.){1,3})(?:\*\.){0,2}\*"
SEVERAL = re.compile(r"[\s,;]+")
"""Between several addresses."""


def reason(text: str, parse: Callable[[str], object]) -> str:
    """Return why a string is not an address; `parse` parses one, or raises AddressError."""
    if not text:
        return "no address in it"
    octets = text.partition(":")[0].split(".")
    if len(octets) == 4 and all(octet.isascii() and octet.isdigit() for octet in octets):
        return _reason_of_octets(octets)
    if text.partition("/")[2].isdecimal():
        return "a network, not an address; give one address of it"
    return _other_spelling(text, parse) or _kind(text, parse) or "not an IP address"


def _other_spelling(text: str, parse: Callable[[str], object]) -> str | None:
    """Return how to write what a string means: an integer, a range, a wildcard or several addresses."""
    if integer := re.fullmatch(INTEGER, text, re.ASCII):
        return f"an integer; if it is an IPv4 address, write {'.'.join(map(str, bytes.fromhex(integer[1])))}"
    if short := re.fullmatch(SHORT_RANGE, text, re.ASCII):
        return f"a range; write its last address, too: {short[1]}{short[2]}-{short[1]}{short[3]}"
    if (wildcard := re.fullmatch(WILDCARD, text, re.ASCII)) and text.count(".") == 3:
        octets = wildcard[1].rstrip(".").split(".")
        network = ".".join([*octets, *["0"] * (4 - len(octets))])
        return f"a wildcard; write the network: {network}/{8 * len(octets)}"
    pieces = SEVERAL.split(text)
    if len(pieces) > 1:
        with suppress(AddressError):
            for piece in pieces:
                parse(piece)
            return "several addresses; give each one by itself"
    return None


def _kind(text: str, parse: Callable[[str], object]) -> str | None:
    """Return the kind of a string that is often mistaken for an address."""
    if number := re.fullmatch(AS_NUMBER, text, re.ASCII):
        return f"an autonomous system number; its networks: geocli networks --asn {number[1]}"
    if kind := next((kind for kind, pattern in OTHER_KINDS.items() if re.fullmatch(pattern, text, re.ASCII)), None):
        return f"{kind}, not an IP address"
    if "://" in text:
        return f"a URL, not an address; {_hint_at_host(text, parse)}"
    return f"a host name, not an address; try: dig +short {text} | geocli batch" if _is_host_name(text) else None


def _hint_at_host(url: str, parse: Callable[[str], object]) -> str:
    """Return how to look up the host of a URL (RFC 3986, 3.2)."""
    host = re.split(r"[/?#\\]", url.partition("://")[2])[0].rpartition("@")[2]
    with suppress(AddressError):
        return f"look up its host: {parse(host)}"
    name = host.partition(":")[0]
    return f"try: dig +short {name} | geocli batch" if _is_host_name(name) else "look up its host"


def _reason_of_octets(octets: list[str]) -> str:
    if any(octet != "0" and octet.startswith("0") for octet in octets):
        return "leading zeros are refused, because some programs read such numbers as octal"
    if any(int(octet[:4]) > 0xFF for octet in octets):
        return "not an IP address: a part is larger than 255"
    return "not an IP address: the port is not a number from 0 to 65535"


def _is_host_name(text: str) -> bool:
    """Return whether a string could be a host name (RFC 1123, 2.1)."""
    labels = text.rstrip(".").split(".")
    return (
        len(text) <= 253
        and text.isascii()
        and not labels[-1].isdigit()
        and all(label.strip("-") == label and label.replace("-", "").replace("_", "").isalnum() for label in labels)
    )
