"""Texts of many addresses are read as each of them would be by itself."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geocli import addresses
from geocli.bulk.parsing import Parsed, numbers
from geocli.errors import AddressError
from geocli.sanitize import decoded

PARTS = st.sampled_from(["0", "1", "9", "10", "99", "100", "199", "255", "256", "300", "999", "1000", "01", "001", ""])
ODD = st.lists(PARTS, min_size=3, max_size=5).map(".".join)
DECORATED = st.sampled_from(
    ["{}", " {} ", "{}\r", "{}:443", "[{}]", "[{}]:80", "{}%eth0", "::ffff:{}", "{}/24", "\xa0{}"]
)
ADDRESSES = st.ip_addresses().map(str)
GROUPS = st.sampled_from(["0", "1", "a", "A", "0a", "ab", "ABCD", "abcd", "00ab", "0000", "", "102", "304", "1.2.3.4"])
SPELLINGS = st.lists(GROUPS, min_size=7, max_size=9).map(":".join)
LINES = st.one_of(
    ADDRESSES,
    ODD,
    SPELLINGS,
    st.tuples(DECORATED, ADDRESSES).map(lambda both: both[0].format(both[1])),
    st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=20),
).map(str.encode)
BLOCKS = st.lists(LINES, max_size=30)


@settings(max_examples=400, deadline=None)
@given(BLOCKS)
def test_plain_addresses_are_those_of_the_standard_library(lines: list[bytes]) -> None:
    """Four numbers up to 255 without leading zeros, and nothing else in the line."""
    found, is_plain = numbers(b"".join(line + b"\n" for line in lines))
    expected: list[int | None] = []
    for line in lines:
        try:
            expected.append(int(IPv4Address(line.decode("latin-1"))))
        except ValueError:
            expected.append(None)

    assert expected == [
        number if plain else None for number, plain in zip(found.tolist(), is_plain.tolist(), strict=True)
    ]


@settings(max_examples=400, deadline=None)
@given(BLOCKS)
@example([b"a:2:3:4:5:6:1.2.3.4", b"a:2:3::5:6:7:08", b"A:2:3:4:5:6:7:8", b"a:0:0:2::3:4", b"a:2:3:4:5:6:7:8"] * 2)
def test_all_others_are_read_like_one_alone(lines: list[bytes]) -> None:
    """Ports, brackets, zones and mapped addresses come out as their canonical text, what is none as it was."""
    parsed = Parsed(lines)
    expected: list[tuple[str, int] | None] = []
    for line in lines:
        try:
            address = addresses.parse(decoded(line))
        except AddressError:
            expected.append(None)
        else:
            expected.append((str(address), int(address)))
    halves = iter(parsed.halves.tolist())
    actual: list[tuple[str, int] | None] = []
    for at, text in enumerate(parsed.texts):
        if parsed.is_ipv4[at]:
            actual.append((text.decode(), int(parsed.numbers[at])))
        elif parsed.is_ipv6[at]:
            high, low = next(halves)
            actual.append((text.decode(), high << 64 | low))
        else:
            assert text == lines[at]
            actual.append(None)

    assert expected == actual


def test_no_lines() -> None:
    """An empty block is a block."""
    found, is_plain = numbers(b"")

    assert ([], []) == (found.tolist(), is_plain.tolist())


def test_families_come_apart() -> None:
    """Each family with its places; addresses of one family alone are not copied."""
    places, found, texts = zip(*Parsed([b"1.2.3.4", b"x", b"2001:db8::1", b"5.6.7.8"]).families(), strict=True)

    assert [[0, 3], [2]] == [np.asarray(place).tolist() for place in places]
    assert [(2,), (1, 2)] == [one.shape for one in found]
    assert ([b"1.2.3.4", b"5.6.7.8"], [b"2001:db8::1"]) == texts


@given(st.lists(st.tuples(st.ip_addresses() | st.just("x"), st.integers(0, 128)), max_size=20))
def test_networks(asked: list[tuple[IPv4Address | IPv6Address | str, int]]) -> None:
    """Each address with its prefix is in the network that `ipaddress` says it is in."""
    lengths = [min(length, 32) if isinstance(address, IPv4Address) else length for address, length in asked]
    parsed = Parsed([str(address).encode() for address, _ in asked])
    expected = [
        "" if address == "x" else str(ip_network(f"{text.decode()}/{length}", strict=False))
        for (address, _), text, length in zip(asked, parsed.texts, lengths, strict=True)
        if not (isinstance(address, IPv6Address) and address.ipv4_mapped)
    ]
    found = parsed.networks(np.array(lengths, np.int32))

    assert expected == [
        network.decode()
        for network, (address, _) in zip(found, asked, strict=True)
        if not (isinstance(address, IPv6Address) and address.ipv4_mapped)
    ]
