"""Choose an address of several, as in `X-Forwarded-For: 10.0.0.1, 8.8.8.8`."""

from __future__ import annotations

import re
from functools import partial

from geocli.address_ranges import is_readable
from geocli.addresses import parse, scope
from geocli.errors import AddressError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from geocli.addresses import Address

_BETWEEN = re.compile(r"[\s,;]+")
_SEVERAL = re.compile(r"[,;=]|\S\s+\S")
"""Occurs in every string with several addresses."""
_FORWARDED = re.compile(r"(?:(?P<is_for>for)|by|host|proto)=", re.IGNORECASE)
"""Parameters of the header Forwarded (RFC 7239, 4)."""
_UNKNOWN = re.compile(r"unknown|-|_[\w.-]+", re.IGNORECASE)
"""Placeholders of proxies for an address (RFC 7239, 6)."""


def reader(pick: str) -> Callable[[str], Address]:
    """Return a function that reads a string with one address or several, as `addresses.parse` reads one.

    It picks the address that is `first` or `last`, or for `public` the first public one, or else the first.
    """
    return partial(_read, pick)


def has_address(text: str) -> bool:
    """Return whether a string has one address or several, or is a network or a range."""
    try:
        _read("first", text)
    except AddressError:
        return is_readable(text)
    return True


def chosen(text: str, read: Callable[[str], Address]) -> str:
    """Return the address that a function reads of several; any other string, such as a range, unchanged."""
    if _SEVERAL.search(text) is None:
        return text
    try:
        return str(read(text))
    except AddressError:
        return text


def _read(pick: str, text: str) -> Address:
    """Read a string with one address or several; raise AddressError if there is none, or something else.

    >>> str(_read("public", "10.0.0.1, 8.8.8.8")), str(_read("public", 'for="[2001:218::1]:4711";proto=https'))
    ('8.8.8.8', '2001:218::1')
    """
    try:
        return parse(text)
    except AddressError:
        addresses = _several(text)
        if not addresses:
            raise
    if pick == "public":
        return next((address for address in addresses if scope(address) is None), addresses[0])
    return addresses[-1 if pick == "last" else 0]


def _several(text: str) -> list[Address]:
    """Return the addresses in a string; nothing if it has anything else but parameters and placeholders."""
    # The hyphen of a range is not a placeholder between two addresses.
    if _SEVERAL.search(text) is None or ("-" in text and is_readable(text)):
        return []
    try:
        return [*_addresses([piece for piece in _BETWEEN.split(text) if piece])]
    except AddressError:
        return []


def _addresses(pieces: list[str]) -> Iterator[Address]:
    for piece in pieces:
        parameter = _FORWARDED.match(piece)
        if parameter is None or parameter["is_for"]:
            value = piece[parameter.end() :].strip('"') if parameter else piece
            if not _UNKNOWN.fullmatch(value):
                yield parse(value)
