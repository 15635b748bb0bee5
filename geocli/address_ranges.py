"""Networks and ranges of addresses: `192.0.2.0/24`, `2001:db8::/32`, `192.0.2.1-192.0.2.9`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from geocli import addresses
from geocli.addresses import QUOTES, refanged
from geocli.errors import AddressError
from geocli.immutable import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from geocli.addresses import Address

MAPPED = IPv6Network("::ffff:0:0/96")
"""IPv4-mapped addresses (RFC 4291, 2.5.5.2)."""
LOW_BITS = 0xFFFFFFFF
"""Those of an IPv4 address."""


class AddressRange(Value):
    """Consecutive addresses of a family, more than one."""

    version: int
    """Of IP."""
    first: int
    last: int
    text: str
    """Canonical: a network, or the first and the last address, joined by a hyphen."""
    as_written: str = ""
    """The network as it is written, if the address before its prefix length is not the first one."""


class Part(NamedTuple):
    """Addresses of a range that have one answer."""

    version: int
    """Of IP."""
    first: int
    last: int
    key: tuple[int, ...]
    """The same for parts with the same answer."""


def parse(text: str) -> Address | AddressRange:
    """Parse an address, a network or a range; one of a single address is that address.

    >>> str(parse("192.0.2.1/32")), parse("192.0.2.7/24").text, parse("2001:db8::1 - 2001:db8::f").text
    ('192.0.2.1', '192.0.2.0/24', '2001:db8::1-2001:db8::f')

    Raises:
        AddressError: this is none of them; the reason says what it may be instead.

    """
    try:
        return addresses.parse(text)
    except AddressError:
        bare = refanged(text.strip().strip(QUOTES))
        before, slash, length = bare.partition("/")
        first, hyphen, last = bare.partition("-")
        if slash and (address := _address(before)):
            return _network(text, address, length)
        if hyphen and (begin := _address(first)) and (end := _address(last)):
            return _range(text, begin, end)
        raise


def is_readable(text: str) -> bool:
    """Return whether `parse` accepts a string."""
    try:
        parse(text)
    except AddressError:
        return False
    return True


def _address(text: str) -> Address | None:
    """Return an address without decoration; an IPv4-mapped one as it is."""
    try:
        return ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None


def single_address(text: str) -> Address | None:
    """Return the address of a network or a range that has only one; None for any other string."""
    try:
        parsed = parse(text) if "/" in text or "-" in text else None
    except AddressError:
        return None
    return None if isinstance(parsed, AddressRange) else parsed


def _network(text: str, address: Address, length: str) -> Address | AddressRange:
    try:
        network = ip_network(f"{address}/{length.strip()}", strict=False)
    except ValueError:
        reason = f"not a network: the prefix length is not a number from 0 to {address.max_prefixlen}"
        raise AddressError(text, reason) from None
    as_written = "" if network.network_address == address else f"{address}/{length.strip()}"
    if isinstance(network, IPv6Network) and network.subnet_of(MAPPED):
        network = ip_network((int(network.network_address) & LOW_BITS, network.prefixlen - MAPPED.prefixlen))
    if network.prefixlen == network.max_prefixlen:
        return network.network_address
    first, last = int(network[0]), int(network[-1])
    return AddressRange(version=network.version, first=first, last=last, text=str(network), as_written=as_written)


def _range(text: str, begin: Address, end: Address) -> Address | AddressRange:
    first, last = (addresses.parse(str(address)) for address in (begin, end))
    if first.version != last.version:
        raise AddressError(text, "not a range: its ends are of different families")
    if int(first) > int(last):
        raise AddressError(text, "not a range: it ends before it begins")
    if first == last:
        return first
    return AddressRange(version=first.version, first=int(first), last=int(last), text=f"{first}-{last}")


def address(version: int, number: int) -> Address:
    """Return the address of a family with a number."""
    return IPv4Address(number) if version == 4 else IPv6Address(number)
