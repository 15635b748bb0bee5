"""A cell or value with several addresses: one of them is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocli.addresses import scope
from geocli.batch.several_addresses import chosen, reader
from geocli.errors import AddressError

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address


@pytest.mark.parametrize(
    ("text", "public", "first", "last"),
    [
        ("8.8.8.8", "8.8.8.8", "8.8.8.8", "8.8.8.8"),
        ("10.0.0.1, 8.8.8.8, 1.1.1.1, 192.168.1.1", "8.8.8.8", "10.0.0.1", "192.168.1.1"),
        ("10.0.0.1 8.8.8.8", "8.8.8.8", "10.0.0.1", "8.8.8.8"),
        ("10.0.0.1;8.8.8.8", "8.8.8.8", "10.0.0.1", "8.8.8.8"),
        ("10.0.0.1,10.0.0.2", "10.0.0.1", "10.0.0.1", "10.0.0.2"),
        ("unknown, 8.8.8.8", "8.8.8.8", "8.8.8.8", "8.8.8.8"),
        ("-, 10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("_hidden, 8.8.8.8:4711", "8.8.8.8", "8.8.8.8", "8.8.8.8"),
        ("[2001:218::1]:443, 8.8.8.8", "2001:218::1", "2001:218::1", "8.8.8.8"),
        (", 8.8.8.8,", "8.8.8.8", "8.8.8.8", "8.8.8.8"),
        ("for=8.8.8.8", "8.8.8.8", "8.8.8.8", "8.8.8.8"),
        ("for=10.0.0.1, For=8.8.8.8;proto=https;by=203.0.113.43", "8.8.8.8", "10.0.0.1", "8.8.8.8"),
        ('for="[2001:218::1]:4711"', "2001:218::1", "2001:218::1", "2001:218::1"),
        ("for=unknown, for=8.8.8.8;host=example.com", "8.8.8.8", "8.8.8.8", "8.8.8.8"),
    ],
)
def test_one_of_several_addresses_is_chosen(text: str, public: str, first: str, last: str) -> None:
    """By default the first public one; the separators and parameters are those of proxies."""
    assert [public, first, last] == [str(reader(pick)(text)) for pick in ("public", "first", "last")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "unknown",
        "8.8.8.8 example.com",
        "Chrome 126.0.0.0 x",
        "a=8.8.8.8",
        "by=8.8.8.8",
        "10.0.0.1 - 10.0.0.9",
        "10.0.0.0/8",
        "8.8.8.8=",
        ",",
    ],
)
def test_a_string_with_other_words_has_no_address(text: str) -> None:
    """The error is that of the whole string, which is unchanged."""
    for pick in ("public", "first", "last"):
        with pytest.raises(AddressError):
            reader(pick)(text)
        assert text == chosen(text, reader(pick))


@given(
    addresses=st.lists(st.ip_addresses(), min_size=1, max_size=5),
    separators=st.lists(st.sampled_from([",", ", ", ";", " ", " , "]), min_size=5, max_size=5),
)
def test_any_addresses_are_read(addresses: list[IPv4Address | IPv6Address], separators: list[str]) -> None:
    """The first public one is the first with no scope."""
    mapped = [getattr(address, "ipv4_mapped", None) or address for address in addresses]
    text = "".join(f"{address}{separator}" for address, separator in zip(addresses, separators, strict=False))
    public = next((address for address in mapped if scope(address) is None), mapped[0])

    assert [public, mapped[0], mapped[-1]] == [reader(pick)(text) for pick in ("public", "first", "last")]
