"""Parse and classify IP addresses.

`parse` is the only definition of how an address may be written: in arguments, lists, CSV cells and JSON values, and in
candidates that the log scanner finds.
"""

from __future__ import annotations

from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from geocli.errors import AddressError
from geocli.immutable import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Address: TypeAlias = IPv4Address | IPv6Address

REGISTRIES_AT = "2025-10-09"
"""Date of the IANA special-purpose address registries that `SPECIAL` follows."""

SPECIAL = """
0.0.0.0/32          unspecified
0.0.0.0/8           reserved
10.0.0.0/8          private
100.64.0.0/10       shared
127.0.0.0/8         loopback
169.254.0.0/16      link-local
172.16.0.0/12       private
192.0.0.9/32        global
192.0.0.10/32       global
192.0.0.0/24        reserved
192.0.2.0/24        documentation
192.88.99.2/32      reserved
192.168.0.0/16      private
198.18.0.0/15       benchmarking
198.51.100.0/24     documentation
203.0.113.0/24      documentation
224.0.0.0/4         multicast
240.0.0.0/4         reserved
::/128              unspecified
::1/128             loopback
64:ff9b::/96        nat64
64:ff9b:1::/48      private
2001::/32           teredo
2001:1::1/128       global
2001:1::2/128       global
2001:1::3/128       global
2001:2::/48         benchmarking
2001:3::/32         global
2001:4:112::/48     global
2001:20::/28        global
2001:30::/28        global
2001:db8::/32       documentation
2001::/23           reserved
2002::/16           6to4
3fff::/20           documentation
2000::/3            global
fc00::/7            private
fe80::/10           link-local
fec0::/10           private
ff00::/8            multicast
::/0                reserved
"""
"""Networks with their scopes; the first match counts.

These are the IANA IPv4 and IPv6 special-purpose address registries (RFC 6890), multicast (RFC 5771, RFC 4291), the
site-local addresses of RFC 3879, and the IPv6 addresses that IANA has not opened for unicast, all outside 2000::/3. A
network of `EMBEDDED_AT` has the scope of the embedded IPv4 address.
"""
EMBEDDED_AT = {"nat64": 96, "teredo": 96, "6to4": 16}
"""First bit of the IPv4 address in an IPv6 address: RFC 6052, 2.1; RFC 4380, 4 (the client); RFC 3056, 2."""
ISATAP = 0x5EFE
"""First half of an interface identifier that ends in an IPv4 address, without the bits u and g (RFC 5214, 6.1)."""


DEFANGED = {"[.]": ".", "(.)": ".", "{.}": ".", "[dot]": ".", "[:]": ":", "[::]": "::"}
"""Spellings of dots and colons in threat reports, which prevent links."""
ENCODED_COLON = "%3a"
"""A colon in a URL's query (RFC 3986, 2.1)."""
QUOTES = "\"'`"
BRACKETS = {"[": "]", "(": ")", "<": ">", "{": "}"}
TAG = "ipv6:"
"""Tag of IPv6 addresses in mail, case-insensitive (RFC 5321, 4.1.3)."""
_OCTETS = {str(number): number for number in range(256)}
"""Octets of an IPv4 address by their text, which has no leading zeros."""
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")


def parse(text: str) -> Address:
    """Parse an address as people and logs write it.

    White space, quotes, brackets, a port, a zone (`%eth0`) and the tag `IPv6:` are dropped, and defanged dots and
    colons (`[.]`, `[:]`) replaced. An IPv4-mapped IPv6 address is the embedded IPv4 address (RFC 4291, 2.5.5.2).

    >>> parse(" [fe80::1%eth0]:22 "), parse("::ffff:10.0.0.1"), parse("127[.]0[.]0[.]1:80")
    (IPv6Address('fe80::1'), IPv4Address('10.0.0.1'), IPv4Address('127.0.0.1'))

    Raises:
        AddressError: this is not an address; the reason names what it may be instead.

    """
    return parse_with_text(text)[1]


def parse_with_text(text: str) -> tuple[str, Address]:
    """Return the canonical text of an address, which is that of `str`, and the address, as `parse` does."""
    bare = text.strip()
    try:
        # This and `canonical_text` do what `ipaddress` does, in less time.
        return bare, IPv4Address(bytes(map(_OCTETS.__getitem__, bare.split("."))))
    except (ValueError, KeyError):
        address = _parse_others(text, bare)
    return canonical_text(address), address


def _parse_others(text: str, bare: str) -> Address:
    """Parse what is not a bare IPv4 address."""
    try:
        address = _strict(bare)
    except ValueError:
        bare = refanged(_unquoted(bare))
        try:
            address = _strict(_without_decoration(bare))
        except ValueError:
            from geocli.mistaken_addresses import reason

            raise AddressError(text, reason(bare, parse)) from None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.scope_id is not None:
            return IPv6Address(int(address))
    return address


def _strict(text: str) -> Address:
    """Read an address, as `ipaddress.ip_address` does, or raise ValueError."""
    if ":" not in text:
        return IPv4Address(text)
    groups = text.split(":")
    digits = "".join([group.zfill(4) for group in groups])
    is_plain = len(groups) == 8 and len(digits) == 32 and all(groups) and _HEX_DIGITS.issuperset(digits)
    return IPv6Address(int(digits, 16) if is_plain else text)


def canonical_text(address: Address) -> str:
    """Return an address as `str` does (RFC 5952 for IPv6)."""
    if address.version == 6:
        digits = f"{int(address):032x}"
        groups = [digits[at : at + 4] for at in range(0, 32, 4)]
        if "0000" not in groups:
            return ":".join([group.lstrip("0") for group in groups])
    return str(address)


def is_address(text: str) -> bool:
    """Return whether `parse` accepts a string."""
    try:
        parse(text)
    except AddressError:
        return False
    return True


def network_length(text: bytes, length: int) -> int | None:
    """Return the prefix length of a network by its canonical first address; None if they are not a network.

    They are not if a host bit is set: firewalls write a port after a slash, `198.51.100.7/25`. The length of an
    IPv4-mapped address counts the 96 bits before the IPv4 address.
    """
    try:
        address = parse(text.decode("latin-1"))
    except AddressError:
        return None
    if isinstance(address, IPv4Address) and text.count(b":") > 1:
        length -= 96
    width = address.max_prefixlen
    return length if 0 <= length <= width and not int(address) & ((1 << (width - length)) - 1) else None


def refanged(text: str) -> str:
    """Replace defanged and URL-encoded dots and colons.

    >>> refanged("198[.]51[DOT]100{.}7"), refanged("2001%3Adb8%3A%3A1")
    ('198.51.100.7', '2001:db8::1')
    """
    if any(bracket in text for bracket in "[({"):
        text = text.replace("[DOT]", "[dot]").replace("[Dot]", "[dot]")
        for spelling, plain in DEFANGED.items():  # at the start, [::] is an address in brackets
            text = text[:1] + text[1:].replace(spelling, plain)
    if ":" not in text:  # else the percent sign begins a zone
        text = text.replace(ENCODED_COLON.upper(), ":").replace(ENCODED_COLON, ":")
    return text


def scope(address: Address) -> str | None:
    """Return the purpose of a special address (`private`, `loopback`, ...), None for a global one.

    Source: the IANA registries as of `REGISTRIES_AT`.

    >>> scope(parse("100.64.0.1")), scope(parse("8.8.8.8")), scope(parse("64:ff9b::10.0.0.1"))
    ('shared', None, 'private')
    """
    name = _range_name(address)
    if name == "global":
        return None
    return scope(_embedded(address, name)) if name in EMBEDDED_AT else name


def _range_name(address: Address) -> str:
    number = int(address)
    for first, last, name in _ranges_of_octet(address.version, number >> (address.max_prefixlen - 8)):
        if first <= number <= last:
            return name
    return "global"


def embedded(address: Address) -> Embedded | None:
    """Return the IPv4 address that is embedded in an address of NAT64, 6to4 or Teredo, None for other addresses.

    >>> str(embedded(parse("2002:808:808::1")).ipv4), str(embedded(parse("2001:0:0:0:0:0:f7f7:f7f7")).ipv4)
    ('8.8.8.8', '8.8.8.8')
    """
    name = _range_name(address) if address.version == 6 else ""
    if name not in EMBEDDED_AT:
        return None
    return Embedded(ipv4=_embedded(address, name), first_bit=EMBEDDED_AT[name], is_obscured=name == "teredo")


def _embedded(address: Address, name: str) -> IPv4Address:
    number = int(address) >> (96 - EMBEDDED_AT[name]) & 0xFFFFFFFF
    return IPv4Address(number ^ 0xFFFFFFFF if name == "teredo" else number)


class Embedded(Value):
    """An IPv4 address that is embedded in an IPv6 address."""

    ipv4: IPv4Address
    first_bit: int
    """Offset in the IPv6 address, in bits."""
    is_obscured: bool
    """Whether the bits are inverted, as in Teredo, so that the IPv6 address has no record in a database."""


def for_services(address: Address) -> Address | None:
    """Return the address that a web service may be asked for, None if there is none.

    Instead of an address with an embedded IPv4 address, that one is asked for. Special addresses that are embedded in
    ISATAP addresses are never sent to a service.
    """
    if inner := embedded(address):
        return inner.ipv4
    number = int(address)
    is_isatap = address.version == 6 and (number >> 32 & 0xFCFFFFFF) == ISATAP
    return None if is_isatap and scope(IPv4Address(number & 0xFFFFFFFF)) else address


@cache
def ranges(version: int) -> list[tuple[int, int, str]]:
    """Return the first and the last address, as integers, and the scope of each network of `SPECIAL`."""
    rows = (line.split() for line in SPECIAL.split("\n")[1:-1] if (":" in line) == (version == 6))
    return [(*_edges(*network.split("/")), name) for network, name in rows]


def _edges(start: str, prefix_len: str) -> tuple[int, int]:
    """Return the first and the last address of a network, as integers; `ip_network` takes seven times as long."""
    first = ip_address(start)
    return int(first), int(first) | (1 << first.max_prefixlen - int(prefix_len)) - 1


@cache
def _ranges_of_octet(version: int, octet: int) -> list[tuple[int, int, str]]:
    """Return the ranges that have addresses with a first octet: of most octets none, or one."""
    width = 24 if version == 4 else 120
    return [span for span in ranges(version) if span[0] >> width <= octet <= span[1] >> width]


def _unquoted(text: str) -> str:
    return text[1:-1].strip() if len(text) > 2 and text[0] == text[-1] and text[0] in QUOTES else text


def _without_decoration(text: str) -> str:
    """Drop brackets, a port and a tag; raise ValueError if they are malformed."""
    closing = BRACKETS.get(text[:1])
    host, port = _host_and_port(text) if closing is None else _in_brackets(text, closing)
    if port is not None and not (port.isascii() and port.isdigit() and int(port[:6]) <= 0xFFFF):
        raise ValueError(text)
    return host[len(TAG) :] if _has_tag(host) and ":" in host[len(TAG) :] else host


def _in_brackets(text: str, closing: str) -> tuple[str, str | None]:
    """Return an address in brackets, and its port, None without one; only square brackets may precede a port."""
    host, bracket, rest = text[1:].partition(closing)
    if not bracket or (rest and not (closing == "]" and rest.startswith(":"))):
        raise ValueError(text)
    return host, rest[1:] if rest else None


def _has_tag(text: str) -> bool:
    return text[: len(TAG)].lower() == TAG


def _host_and_port(text: str) -> tuple[str, str | None]:
    """Return an address without brackets, and its port, None without one.

    After an IPv6 address, a port is unambiguous only after eight groups or an IPv4 address (`::ffff:192.0.2.1:443`).
    """
    start = len(TAG) if _has_tag(text) else 0
    colons = text.count(":", start)
    host, colon, port = text.rpartition(":")
    if (colons == 1 and not start) or (colons == 8 and "::" not in text) or "." in host.rpartition(":")[2]:
        return (host, port) if colon else (text, None)
    return text, None
