"""How networks and ranges may be written."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocli.address_ranges import AddressRange, is_readable, parse
from geocli.errors import AddressError


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("192.0.2.0/24", "192.0.2.0/24"),
        (" 192.0.2.7/24 ", "192.0.2.0/24"),
        ('"192.0.2.0/24"', "192.0.2.0/24"),
        ("192.0.2.0/255.255.255.0", "192.0.2.0/24"),
        ("192.0.2[.]0/24", "192.0.2.0/24"),
        ("2001:DB8::1/32", "2001:db8::/32"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("192.0.2.1-192.0.2.9", "192.0.2.1-192.0.2.9"),
        ("192.0.2.1 - 192.0.2.9", "192.0.2.1-192.0.2.9"),
        ("192.0.2.1\t-192.0.2.9", "192.0.2.1-192.0.2.9"),
        ("::ffff:192.0.2.1-192.0.2.9", "192.0.2.1-192.0.2.9"),
        ("2001:db8::-2001:0DB8::f", "2001:db8::-2001:db8::f"),
    ],
)
def test_networks_and_ranges(text: str, canonical: str) -> None:
    """They are read with decoration, and written in canonical form."""
    parsed = parse(text)

    assert isinstance(parsed, AddressRange)
    assert canonical == parsed.text
    assert is_readable(text)


@pytest.mark.parametrize("text", ["192.0.2.1/32", "192.0.2.1-192.0.2.1", "::ffff:192.0.2.1/128", "192.0.2.1"])
def test_a_single_address(text: str) -> None:
    """It is an address, not a network."""
    assert ip_address("192.0.2.1") == parse(text)


def test_host_bits() -> None:
    """A network that is not written with its first address remembers how."""
    parsed = parse("192.0.2.7/24")

    assert isinstance(parsed, AddressRange)
    assert "192.0.2.7/24" == parsed.as_written
    assert not getattr(parse("192.0.2.0/24"), "as_written", None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("192.0.2.0/33", "not a network: the prefix length is not a number from 0 to 32"),
        ("2001:db8::/129", "not a network: the prefix length is not a number from 0 to 128"),
        ("192.0.2.0/", "not a network"),
        ("192.0.2.0/x", "not a network"),
        ("192.0.2.0/24/24", "not a network"),
        ("192.0.2.9-192.0.2.1", "not a range: it ends before it begins"),
        ("192.0.2.9-2001:db8::", "not a range: its ends are of different families"),
        ("192.0.2.9-", "not an IP address"),
        ("10.0.0.0/8 x", "not a network"),
        ("2026-11-30", ""),
        ("example.com/24", ""),
        ("", "no address in it"),
    ],
)
def test_anything_else(text: str, reason: str) -> None:
    """The reason names what is wrong."""
    with pytest.raises(AddressError) as caught:
        parse(text)
    assert reason in caught.value.reason
    assert not is_readable(text)


@given(address=st.ip_addresses(), data=st.data())
def test_any_network(address: object, data: st.DataObject) -> None:
    """The bounds are those of `ipaddress`."""
    text = f"{address}/{data.draw(st.integers(0, 31 if ':' not in str(address) else 95))}"
    network, parsed = ip_network(text, strict=False), parse(text)

    assert isinstance(parsed, AddressRange)
    assert (int(network[0]), int(network[-1]), network.version) == (parsed.first, parsed.last, parsed.version)
    assert str(network) == parsed.text
    assert bool(parsed.as_written) is (network[0] != address)
