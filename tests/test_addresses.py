"""Addresses are parsed as people and logs write them; special ones are found by the IANA registries."""

from __future__ import annotations

from datetime import date
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geocli.addresses import (
    REGISTRIES_AT,
    canonical_text,
    embedded,
    for_services,
    is_address,
    parse,
    parse_with_text,
    scope,
)
from geocli.errors import AddressError

if TYPE_CHECKING:
    from collections.abc import Callable

    from geocli.addresses import Address

ADDRESSES: st.SearchStrategy[Address] = st.ip_addresses()


class TestParse:
    @pytest.mark.parametrize(
        ("canonical", "text"),
        [
            ("81.2.69.160", "81.2.69.160"),
            ("81.2.69.160", "  81.2.69.160\r\n"),
            ("81.2.69.160", "\t81.2.69.160\u00a0\u3000"),
            ("81.2.69.160", "81.2.69.160:443"),
            ("81.2.69.160", " 81.2.69.160:0 "),
            ("81.2.69.160", "81.2.69.160:65535"),
            ("0.0.0.0", "0.0.0.0:1"),  # noqa: S104 (read, not bound)
            ("2001:218::1", "2001:218::1"),
            ("2001:218::1", "2001:0218:0:0:0000:0:0:1"),
            ("2001:218::abcd", "2001:218::ABCD"),
            ("2001:218::1", "[2001:218::1]"),
            ("2001:218::1", "[2001:218::1]:443"),
            ("2001:218::1", " [2001:218::1]:65535\n"),
            ("2001:218::1:80", "2001:218::1:80"),
            ("fe80::1", "fe80::1%eth0"),
            ("fe80::1", "[fe80::1%25]"),
            ("fe80::1", "[fe80::1%eth0]:22"),
            ("81.2.69.160", "::ffff:81.2.69.160"),
            ("81.2.69.160", "::FFFF:5102:45a0"),
            ("81.2.69.160", "[::ffff:81.2.69.160]:443"),
            ("81.2.69.160", "::ffff:81.2.69.160%eth0"),
            ("::5102:45a0", "::81.2.69.160"),
            ("64:ff9b::5102:45a0", "64:ff9b::81.2.69.160"),
        ],
    )
    def test_forms(self, canonical: str, text: str) -> None:
        """White space, brackets, a port, a zone and the IPv4-mapped form are all read."""
        assert ip_address(canonical) == parse(text)
        assert canonical == str(parse(text))

    @pytest.mark.parametrize(
        ("reason", "text"),
        [
            ("no address in it", ""),
            ("no address in it", " \t\r\n"),
            ("leading zeros are refused, because some programs read such numbers as octal", "010.8.8.8"),
            ("leading zeros are refused, because some programs read such numbers as octal", "8.8.8.00"),
            ("leading zeros are refused, because some programs read such numbers as octal", "8.8.8.08:53"),
            ("not an IP address: a part is larger than 255", "8.8.8.256"),
            ("not an IP address: a part is larger than 255", "99999999999999999999.8.8.8"),
            ("not an IP address: the port is not a number from 0 to 65535", "8.8.8.8:65536"),
            ("not an IP address: the port is not a number from 0 to 65535", "8.8.8.8:1000000000"),
            ("not an IP address: the port is not a number from 0 to 65535", "8.8.8.8:"),
            ("not an IP address: the port is not a number from 0 to 65535", "8.8.8.8:http"),
            ("not an IP address: the port is not a number from 0 to 65535", "8.8.8.8:-1"),
            ("not an IP address: the port is not a number from 0 to 65535", "8.8.8.8:80:90"),
            ("not an IP address: the port is not a number from 0 to 65535", "8.8.8.8:8\u0660"),
            ("a network, not an address; give one address of it", "10.0.0.0/8"),
            ("a network, not an address; give one address of it", "2001:218::/32"),
            ("a host name, not an address; try: dig +short example.com | geocli batch", "example.com"),
            ("a host name, not an address; try: dig +short a-b_c.example. | geocli batch", " a-b_c.example. "),
            ("a host name, not an address; try: dig +short localhost | geocli batch", "localhost"),
            ("a host name, not an address; try: dig +short 4.3.2.x1 | geocli batch", "4.3.2.x1"),
            ("a URL, not an address; look up its host: 81.2.69.160", "http://81.2.69.160/"),
            ("a URL, not an address; look up its host: 2001:218::1", "https://[2001:218::1]:8443/a?b"),
            ("a URL, not an address; try: dig +short example.com | geocli batch", "ftp://me@example.com:21/x"),
            ("a URL, not an address; look up its host", "file:///etc/hosts"),
            ("an autonomous system number; its networks: geocli networks --asn 15169", "AS15169"),
            ("an autonomous system number; its networks: geocli networks --asn 15169", "asn 15169"),
            ("a hardware address, not an IP address", "00:1B:44:11:3a:b7"),
            ("a hardware address, not an IP address", "00-1b-44-11-3a-b7"),
            ("a hardware address, not an IP address", "001b.4411.3ab7"),
            ("an e-mail address, not an IP address", "ada@example.com"),
            ("not an IP address", "8.8.8"),
            ("not an IP address", "1346520480"),
            ("a range; write its last address, too: 8.8.8.0-8.8.8.255", "8.8.8.0-255"),
            ("a host name, not an address; try: dig +short 8.8.8.0-x | geocli batch", "8.8.8.0-x"),
            ("not an IP address", "8..8.8"),
            ("not an IP address", "8.8.8.8.8"),
            ("not an IP address", "8.8.8.8%eth0"),
            ("not an IP address", "8.8.8.\u0668"),
            ("not an IP address", "[8.8.8.8"),
            ("not an IP address", "8.8.8.8]:80"),
            ("not an IP address", "(8.8.8.8):80"),
            ("not an IP address", "(8.8.8.8]"),
            ("not an IP address", "\"8.8.8.8'"),
            ("not an IP address", '""8.8.8.8""'),
            ("not an IP address", "8[.]8[.]8[.]8[.]8"),
            ("not an IP address", "IPv6:"),
            ("not an IP address", "IPv6:8.8.8.8"),
            ("not an IP address", "IPv6:2001:218::1::"),
            ("not an IP address", "1:2:3:4:5:6:7:8:65536"),
            ("not an IP address", "1:2:3:4:5:6:7:8:"),
            ("not an IP address", "1:2:3:4:5:6:7:8:9:10"),
            ("not an IP address", "::ffff:8.8.8.8:http"),
            ("not an IP address: a part is larger than 255", "8[.]8[.]8[.]256"),
            ("a host name, not an address; try: dig +short example.com | geocli batch", "example[.]com"),
            ("an integer; if it is an IPv4 address, write 8.8.8.8", "0x08080808"),
            ("a wildcard; write the network: 193.0.6.0/24", "193.0.6.*"),
            ("a wildcard; write the network: 10.0.0.0/8", "10.*.*.*"),
            ("not an IP address", "10.0.*"),
            ("several addresses; give each one by itself", "8.8.8.8, 2001:218::1"),
            ("several addresses; give each one by itself", "8.8.8.8\t1.1.1.1:53"),
            ("not an IP address", "8.8.8.8 and 1.1.1.1"),
            ("not an IP address", "8.8.8.8,"),
            ("not an IP address", "[2001:218::1"),
            ("not an IP address", "2001:218::1]"),
            ("not an IP address", "[2001:218::1]80"),
            ("not an IP address", "[2001:218::1]:"),
            ("not an IP address", "[2001:218::1]:65536"),
            ("not an IP address", "[[2001:218::1]]"),
            ("not an IP address", "[]"),
            ("not an IP address", "2001::218::1"),
            ("not an IP address", "fe80::1%"),
            ("not an IP address", "münchen.de"),
            ("not an IP address", "-.-"),
            ("not an IP address", "..."),
            ("not an IP address", "$(reboot).example.com"),
            ("not an IP address", "a." * 127 + "com"),
        ],
    )
    def test_other_strings_are_errors_with_a_reason(self, reason: str, text: str) -> None:
        """The message tells what the string may be instead; the string is unchanged."""
        with pytest.raises(AddressError) as caught:
            parse(text)
        assert reason == caught.value.reason
        assert text == caught.value.text

    @given(
        ADDRESSES,
        st.sampled_from(["", " ", "\t", "\r\n"]),
        st.sampled_from(["", "%eth0", "%1"]),
        st.none() | st.integers(0, 0xFFFF),
    )
    def test_every_address_is_read_back(self, address: Address, space: str, zone: str, port: int | None) -> None:
        """Any address survives any decoration."""
        if isinstance(address, IPv4Address):
            text = f"{address}" if port is None else f"{address}:{port}"
        else:
            text = f"[{address}{zone}]" if port is None else f"[{address}{zone}]:{port}"
        expected = getattr(address, "ipv4_mapped", None) or address
        assert expected == parse(space + text + space)
        assert (str(expected), expected) == parse_with_text(space + text + space)

    @settings(max_examples=500)
    @given(
        st.lists(
            st.sampled_from(["0", "1", "99", "255", "256", "00", "01", "+1", "1_0", "", "²", "\u0661"]), max_size=5
        )
    )
    def test_octets_are_those_of_ipaddress(self, octets: list[str]) -> None:
        """Which refuses leading zeros, signs, underscores and digits of other scripts."""
        text = ".".join(octets)
        try:
            expected = IPv4Address(text)
        except ValueError:
            assert not is_address(text)
        else:
            assert expected == parse(text)

    @settings(max_examples=500)
    @given(
        st.lists(st.sampled_from(["0", "00A1", "ffff", "12345", "+1", "1_0", "0x1", "", "g", "\u0661"]), max_size=9)
        | st.lists(st.sampled_from(["0", "a", "0db8", "FFFF"]), min_size=8, max_size=8)
    )
    def test_groups_are_those_of_ipaddress(self, groups: list[str]) -> None:
        """Which refuses signs, underscores and digits of other scripts."""
        text = ":".join(["", *groups] if len(groups) < 2 else groups)
        try:
            expected = IPv6Address(text)
        except ValueError:
            assert not is_address(text)
        else:
            assert (expected.ipv4_mapped or expected) == parse(text)

    @given(st.ip_addresses() | st.integers(0, 0xFFFF).map(lambda number: IPv6Address(number << 64 | number)))
    def test_the_canonical_text_is_that_of_ipaddress(self, address: IPv4Address | IPv6Address) -> None:
        """It is the key of the cache."""
        assert str(address) == canonical_text(address)

    @given(st.ip_addresses(v=4))
    def test_a_mapped_address_is_the_one_inside(self, address: IPv4Address) -> None:
        """An address has one key, in any spelling."""
        assert address == parse(f"::ffff:{address}")
        assert address == parse(f"::ffff:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}")

    @settings(max_examples=500)
    @given(
        st.text()
        | st.text(st.sampled_from("0123456789abf.:[]%/ -x"))
        | st.builds("{}{}".format, ADDRESSES, st.text(max_size=3))
    )
    @example("\ud800")
    @example("[\0::]")
    def test_any_text_is_an_address_or_an_error(self, text: str) -> None:
        """Any string is parsed or an AddressError, and the canonical form is parsed again."""
        try:
            address = parse(text)
        except AddressError as error:
            assert text == error.text  # noqa: PT017 (most texts are errors)
            assert error.reason  # noqa: PT017
        else:
            assert address == parse(str(address))


SPECIAL = [
    ("unspecified", "0.0.0.0", "0.0.0.0"),  # noqa: S104 (looked up, not bound)
    ("reserved", "0.0.0.1", "0.255.255.255"),
    ("private", "10.0.0.0", "10.255.255.255"),
    ("shared", "100.64.0.0", "100.127.255.255"),
    ("loopback", "127.0.0.0", "127.255.255.255"),
    ("link-local", "169.254.0.0", "169.254.255.255"),
    ("private", "172.16.0.0", "172.31.255.255"),
    ("reserved", "192.0.0.0", "192.0.0.7"),
    ("reserved", "192.0.0.8", "192.0.0.8"),
    ("reserved", "192.0.0.11", "192.0.0.255"),
    ("reserved", "192.0.0.170", "192.0.0.171"),
    ("documentation", "192.0.2.0", "192.0.2.255"),
    ("reserved", "192.88.99.2", "192.88.99.2"),
    ("private", "192.168.0.0", "192.168.255.255"),
    ("benchmarking", "198.18.0.0", "198.19.255.255"),
    ("documentation", "198.51.100.0", "198.51.100.255"),
    ("documentation", "203.0.113.0", "203.0.113.255"),
    ("multicast", "224.0.0.0", "239.255.255.255"),
    ("reserved", "240.0.0.0", "255.255.255.255"),
    ("unspecified", "::", "::"),
    ("loopback", "::1", "::1"),
    ("reserved", "::2", "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("reserved", "64:ff9b::1:0:0", "64:ff9b:0:ffff:ffff:ffff:ffff:ffff"),
    ("private", "64:ff9b::a00:0", "64:ff9b::aff:ffff"),
    ("loopback", "2001::8000:0", "2001::80ff:ffff"),
    ("shared", "2002:6440::", "2002:647f:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("private", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"),
    ("reserved", "100::", "100::ffff:ffff:ffff:ffff"),
    ("reserved", "100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff"),
    ("reserved", "2001:1::", "2001:1::"),
    ("reserved", "2001:1::4", "2001:1:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("benchmarking", "2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff"),
    ("reserved", "2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("reserved", "2001:40::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("documentation", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("documentation", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("reserved", "4000::", "5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("reserved", "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("private", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("reserved", "fe00::", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("link-local", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("private", "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("multicast", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
]
GLOBAL = [
    ("1.0.0.0", "9.255.255.255"),
    ("11.0.0.0", "100.63.255.255"),
    ("100.128.0.0", "126.255.255.255"),
    ("128.0.0.0", "169.253.255.255"),
    ("169.255.0.0", "172.15.255.255"),
    ("172.32.0.0", "191.255.255.255"),
    ("192.0.0.9", "192.0.0.10"),
    ("192.0.1.0", "192.0.1.255"),
    ("192.0.3.0", "192.88.98.255"),
    ("192.31.196.0", "192.31.196.255"),
    ("192.52.193.0", "192.52.193.255"),
    ("192.88.100.0", "192.167.255.255"),
    ("192.169.0.0", "198.17.255.255"),
    ("192.175.48.0", "192.175.48.255"),
    ("198.20.0.0", "198.51.99.255"),
    ("198.51.101.0", "203.0.112.255"),
    ("203.0.114.0", "223.255.255.255"),
    ("64:ff9b::100:0", "64:ff9b::9ff:ffff"),
    ("2001::f600:0", "2001::feff:ffff"),
    ("2002:b00::", "2002:643f:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2000::", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:1::1", "2001:1::3"),
    ("2001:3::", "2001:3:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:4:112::", "2001:4:112:ffff:ffff:ffff:ffff:ffff"),
    ("2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:30::", "2001:3f:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:200::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db9::", "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"),
    ("3000::", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("3fff:1000::", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
]
DISPUTED = [
    *("192.0.0.0/24", "192.88.99.2/32"),  # newer releases of Python have more of the exceptions
    "::ffff:0:0/96",  # `parse` makes IPv4 of it
    "64:ff9b::/96",  # is_reserved of ::/8, is_global by IANA
    *("2001::/23", "2002::/16"),  # Teredo and 6to4: N/A in the registry; Python changed its answer
    "3fff::/20",  # too new for older releases of Python
]


def _is_disputed(address: Address) -> bool:
    return any(address in ip_network(network) for network in DISPUTED)


class TestScope:
    @pytest.mark.parametrize(("expected", "first", "last"), SPECIAL)
    def test_special_addresses(self, expected: str, first: str, last: str) -> None:
        """The first, the middle and the last address of each special block have its scope."""
        low, high = ip_address(first), ip_address(last)
        middle = type(low)((int(low) + int(high)) // 2)
        assert [expected] * 3 == [scope(low), scope(middle), scope(high)]

    @pytest.mark.parametrize(("first", "last"), GLOBAL)
    def test_global_addresses(self, first: str, last: str) -> None:
        """What lies between the special blocks, and the exceptions in them, may be somewhere."""
        assert [None, None] == [scope(ip_address(first)), scope(ip_address(last))]

    @pytest.mark.slow
    @settings(max_examples=1000)
    @given(ADDRESSES.filter(lambda address: not _is_disputed(address)))
    def test_agrees_with_ipaddress(self, address: Address) -> None:
        """Python, which follows the same registries, calls the same addresses global."""
        is_nowhere = address.is_multicast or address.is_reserved or getattr(address, "is_site_local", False)
        assert (address.is_global and not is_nowhere) == (scope(address) is None)

    @given(ADDRESSES.filter(lambda address: not _is_disputed(address)))
    def test_names_agree_with_ipaddress(self, address: Address) -> None:
        """Python has the same loopback, link-local, multicast and unspecified addresses, and agrees on private ones."""
        actual = scope(address)
        assert address.is_loopback == (actual == "loopback")
        assert address.is_link_local == (actual == "link-local")
        assert address.is_multicast == (actual == "multicast")
        assert address.is_unspecified == (actual == "unspecified")
        if actual in {"private", "documentation", "benchmarking"}:
            assert address.is_private or getattr(address, "is_site_local", False) or address.is_reserved

    def test_a_zone_changes_nothing(self) -> None:
        """An address object with a zone has the scope of the address."""
        assert "link-local" == scope(IPv6Address("fe80::1%eth0"))

    def test_the_registries_have_a_date(self) -> None:
        """The code has the date of the registries it follows."""
        assert date(2013, 4, 1) < date.fromisoformat(REGISTRIES_AT)


def nat64(ipv4: IPv4Address) -> IPv6Address:
    """Return the address of RFC 6052, 2.1, with this IPv4 address."""
    return IPv6Address(f"64:ff9b::{ipv4}")


def sixtofour(ipv4: IPv4Address) -> IPv6Address:
    """Return an address of RFC 3056, 2, whose rest embeds another address."""
    high, low = divmod(int(ipv4), 1 << 16)
    return IPv6Address(f"2002:{high:x}:{low:x}:1::10.0.0.1")


def teredo(client: IPv4Address) -> IPv6Address:
    """Return an address of RFC 4380, 4: server, flags, port, and the client with its bits inverted."""
    return IPv6Address(f"2001:0:102:304:8000:63bf:{IPv4Address(int(client) ^ 0xFFFFFFFF)}")


def isatap(ipv4: IPv4Address, *, identifier: str = "0:5efe", prefix: str = "2a00:1450:4000:1") -> IPv6Address:
    """Return an address of RFC 5214, 6.1."""
    return IPv6Address(f"{prefix}:{identifier}:{ipv4}")


class TestEmbedded:
    @pytest.mark.parametrize(("make", "first_bit"), [(nat64, 96), (sixtofour, 16), (teredo, 96)])
    @given(ipv4=st.ip_addresses(v=4))
    def test_each_kind(self, make: Callable[[IPv4Address], IPv6Address], first_bit: int, ipv4: IPv4Address) -> None:
        """NAT64, 6to4 and Teredo addresses embed an IPv4 address, which determines their scope."""
        address = make(ipv4)
        actual = embedded(address)
        assert actual is not None
        assert (ipv4, first_bit, make is teredo) == (actual.ipv4, actual.first_bit, actual.is_obscured)
        assert scope(ipv4) == scope(address)

    @given(ADDRESSES.filter(lambda address: not _is_disputed(address)))
    def test_other_addresses(self, address: Address) -> None:
        """No other address embeds an IPv4 address."""
        assert embedded(address) is None

    @pytest.mark.parametrize("text", ["64:ff9b:1::8.8.8.8", "::8.8.8.8", "::ffff:0:8.8.8.8", "2001:1::8.8.8.8"])
    def test_other_ways_to_embed(self, text: str) -> None:
        """NAT64 for local use (RFC 8215) and IPv4-compatible or translated addresses are themselves special."""
        assert embedded(ip_address(text)) is None
        assert scope(ip_address(text)) in {"private", "reserved"}

    @pytest.mark.parametrize("make", [nat64, sixtofour, teredo])
    def test_services_see_the_ipv4_address_alone(self, make: Callable[[IPv4Address], IPv6Address]) -> None:
        """A service gets the embedded IPv4 address, without the other parts of the IPv6 address."""
        assert IPv4Address("8.8.8.8") == for_services(make(IPv4Address("8.8.8.8")))

    @pytest.mark.parametrize("identifier", ["0:5efe", "200:5efe", "100:5efe", "300:5efe"])
    @given(ipv4=st.ip_addresses(v=4))
    def test_isatap(self, identifier: str, ipv4: IPv4Address) -> None:
        """An ISATAP address is located by its prefix, but a special address in it is shown to no service."""
        address = isatap(ipv4, identifier=identifier)
        assert (None, None) == (embedded(address), scope(address))
        assert (address if scope(ipv4) is None else None) == for_services(address)

    @given(st.ip_addresses(v=4))
    def test_ipv4(self, ipv4: IPv4Address) -> None:
        """An IPv4 address is sent unchanged."""
        assert (None, ipv4) == (embedded(ipv4), for_services(ipv4))
