"""Blocks of addresses are parsed as single addresses are."""

from __future__ import annotations

from ctypes import byref
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import accumulate

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geocli import addresses
from geocli.addresses import network_length
from geocli.batch.lists_and_logs import ListForm
from geocli.batch.tables import CsvForm
from geocli.engine.block_answers import Assembly, BlockAnswers
from geocli.engine.blocks import Block, offsets
from geocli.engine.kernel import FIRST_NUMBER, SINGLE, UNREAD, kernel
from geocli.engine.lookup_table import LookupTable
from geocli.errors import AddressError
from geocli.formats.rows import Output
from geocli.sanitize import decoded

PARTS = st.sampled_from(["0", "1", "9", "10", "99", "100", "199", "255", "256", "300", "999", "1000", "01", "001", ""])
ODD = st.lists(PARTS, min_size=3, max_size=5).map(".".join)
DECORATED = st.sampled_from(
    ["{}", " {} ", "{}\r", "{}:443", "[{}]", "[{}]:80", "{}%eth0", "::ffff:{}", "{}/24", "\xa0{}"]
)
ADDRESSES = st.ip_addresses().map(str)
GROUPS = st.sampled_from(["0", "1", "a", "A", "0a", "ab", "ABCD", "abcd", "00ab", "0000", "", "102", "304", "1.2.3.4"])
SPELLINGS = st.lists(GROUPS, min_size=2, max_size=9).map(":".join)
SPARSE = st.lists(st.sampled_from(["0", "0", "1", "ab", "abcd"]), min_size=8, max_size=8).map(":".join)
LINES = st.one_of(
    ADDRESSES,
    ODD,
    SPELLINGS,
    SPARSE,
    SPARSE.map(lambda text: str(IPv6Address(text))),
    st.tuples(DECORATED, ADDRESSES).map(lambda both: both[0].format(both[1])),
    st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=20),
).map(str.encode)
BLOCKS = st.lists(LINES, max_size=30)
PREFIXES = st.integers(0, 128)


@cache
def table(*fields: str, format_: str = "csv") -> LookupTable:
    """Return a table without databases, in which every address but a special one has the same answer."""
    return LookupTable([], None, Output(format_, fields), is_kept=False)


def block(lines: list[bytes]) -> Block:
    return Block.joined(lines, [b""] * len(lines))


def rows(answers: BlockAnswers, format_: str = "csv") -> list[bytes]:
    """Return the lines of a block; those of the scalar path are empty."""
    assembly = Assembly(answers, Output(format_, ("network",)), "", [b"\n"] * len(answers.singles()))
    out = bytearray(64 * len(answers.block) + 64)
    written = assembly.write(out)
    assert assembly.is_complete
    return bytes(out[:written]).split(b"\n")[:-1]


def network_of(address: IPv4Address | IPv6Address, length: int) -> str:
    return str(ip_network((address, min(length, address.max_prefixlen)), strict=False))


def may_embed(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is left to the scalar path, since it may embed an IPv4 address."""
    is_short = address.version == 6 and 1 < int(address) < 1 << 64
    return is_short or addresses.embedded(address) is not None


@settings(max_examples=400, deadline=None)
@given(BLOCKS)
def test_plain_addresses_are_those_of_the_standard_library(lines: list[bytes]) -> None:
    """IPv4 without leading zeros, IPv6 in the form of RFC 5952 unless it may embed IPv4; and nothing else."""
    actual = BlockAnswers(table("network").answers, block(lines))
    kernel().find(byref(actual.answers.engine), byref(actual.native))
    expected = []
    for line in lines:
        text = line.decode()
        try:
            address = ip_address(text)
        except ValueError:
            expected.append(False)
        else:
            is_mapped = address.version == 6 and 0xFFFF < int(address) < 1 << 64
            expected.append(text == str(address) and "%" not in text and not is_mapped)

    assert expected == [number != UNREAD for number in actual.numbers]


@settings(max_examples=400, deadline=None)
@given(BLOCKS)
@example([b"a:2:3:4:5:6:1.2.3.4", b"a:2:3::5:6:7:08", b"A:2:3:4:5:6:7:8", b"a:0:0:2::3:4", b"a:2:3:4:5:6:7:8"] * 2)
def test_other_spellings_are_parsed_by_python(lines: list[bytes]) -> None:
    """Ports, brackets, zones and mapped addresses become canonical; invalid lines stay as they are."""
    actual = table("ip").find(block(lines))
    expected: list[tuple[bytes, bool]] = []
    for line in lines:
        try:
            address = addresses.parse(decoded(line))
        except AddressError:
            expected.append((line, True))
        else:
            expected.append((str(address).encode(), may_embed(address)))

    assert expected == [
        (text, number == SINGLE) for text, number in zip(actual.block.addresses(), actual.numbers, strict=True)
    ]


@given(st.lists(st.tuples(st.ip_addresses() | SPARSE.map(IPv6Address), PREFIXES), max_size=20), st.booleans())
def test_networks(drawn: list[tuple[IPv4Address | IPv6Address, int]], is_json: bool) -> None:  # noqa: FBT001 (drawn)
    """The network of an address and a prefix length is that of `ipaddress`."""
    format_ = "jsonl" if is_json else "csv"
    known = [(address, length) for address, length in drawn if not may_embed(address)]
    actual = table("network", format_=format_).find(block([str(address).encode() for address, _ in known]))
    for position, (_, length) in enumerate(known):
        actual.prefixes[position] = length
    texts = rows(actual, format_)
    expected = [
        b'{"network": "%s"}' % text.encode() if is_json else text.encode()
        for text in (network_of(*pair) for pair in known)
    ]

    assert expected == texts


def test_answers_without_a_network() -> None:
    """It is null in JSON, and empty in other formats."""
    lines = {
        format_: rows(table("network", format_=format_).find(block([b"1.2.3.4"])), format_)
        for format_ in ("jsonl", "csv")
    }

    assert {"jsonl": [b'{"network": null}'], "csv": [b'""']} == lines


FORMS = st.sampled_from(["{}", "[{}]", "{}:80", " {}", "::ffff:{}"])


@given(st.lists(st.tuples(FORMS, st.ip_addresses(), PREFIXES), max_size=20))
def test_prefix_lengths_stay_with_their_addresses(drawn: list[tuple[str, IPv4Address | IPv6Address, int]]) -> None:
    """In any spelling; that of an IPv4-mapped address becomes one of IPv4."""
    spelled = [(form.format(network_of(address, length).partition("/")[0]), length) for form, address, length in drawn]
    known = [(text.encode(), length, network_length(text.encode(), length)) for text, length in spelled]
    pieces = [piece for text, length, own in known for piece in (text, b"" if own is None else b"/%d" % length)]
    bounds = offsets(accumulate(map(len, pieces), initial=0))
    actual = table("ip").find(Block(b"".join(pieces), bounds[:-1:2], bounds[1::2], bounds[2::2]))
    expected = [
        (str(addresses.parse(text.decode())).encode(), b"" if own is None else b"/%d" % own)
        if is_valid(text)
        else (text, b"")
        for text, _, own in known
    ]

    assert expected == [(actual.block.address(at), actual.block.suffix(at)) for at in range(len(known))]


def is_valid(text: bytes) -> bool:
    try:
        addresses.parse(text.decode())
    except AddressError:
        return False
    return True


def test_no_lines() -> None:
    """Have no rows."""
    actual = table("ip").find(block([]))

    assert ([], [], []) == (actual.numbers.tolist(), actual.singles(), rows(actual))


def test_both_families_in_one_block() -> None:
    """Answers stay in order, also those of invalid lines."""
    actual = table("ip").find(block([b"1.2.3.4", b"x", b"2001:4860::1", b"5.6.7.8"]))

    first, *rest = actual.numbers
    assert first >= FIRST_NUMBER
    assert [SINGLE, first, first] == rest
    assert [1] == actual.singles()


LINE_BYTES = st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"").replace(b"\0", b""))


@pytest.mark.parametrize("end", ["\n", "\0"])
@given(lines=st.lists(LINE_BYTES | st.sampled_from([b"", b"\r", b"\r\r", b"1.2.3.4\r", b"1.2.3.4"]), min_size=1))
def test_lists_are_divided_alike(end: str, lines: list[bytes]) -> None:
    """With and without the kernel; a carriage return is part of a line that ends in NUL."""
    form = ListForm(Output("csv", ("ip",), end=end))
    chunk = b"".join(line + end.encode() for line in lines)
    blocks = [form.cut(chunk, is_large=is_large) for is_large in (False, True)]

    assert [line if end == "\0" else line.removesuffix(b"\r") for line in lines] == blocks[0].addresses()
    assert blocks[0].addresses() == blocks[1].addresses()
    assert [b""] * len(lines) == [
        blocks[1].copied(position) + blocks[1].suffix(position) for position in range(len(lines))
    ]


CELLS = st.text(st.sampled_from("a1.,;\r\t "), max_size=12).map(lambda text: text.replace("\r", "").encode())


@given(
    rows_=st.lists(CELLS | LINE_BYTES.map(lambda line: line.replace(b'"', b"").replace(b"\r", b""))),
    ends=st.lists(st.sampled_from([b"\n", b"\r\n"]), min_size=1),
    header=st.sampled_from([b"ip\n", b"ip,b\n", b"a,ip\n", b"a,b,ip,d\n", b"# x\nip,b\n"]),
    count=st.integers(1, 3),
)
def test_rows_of_csv_are_divided_alike(rows_: list[bytes], ends: list[bytes], header: bytes, count: int) -> None:
    """By the kernel as without it: the cells, the row, and how many cells it is short of."""
    names = header.decode().split("\n")[-2].split(",")
    columns = [*reversed(names)][: min(count, len(names))]
    form = CsvForm(columns, ("city",))
    assert [] == list(form.begin(iter([header])))
    chunk = b"".join(row + ends[at % len(ends)] for at, row in enumerate(rows_))
    small, large = (form.cut(chunk, is_large=is_large) for is_large in (False, True))

    is_row = [bool(row) and not (header.startswith(b"#") and row.startswith(b"#")) for row in rows_]
    assert is_row.count(True) * len(columns) == len(small) == len(large)
    assert small.addresses() == large.addresses()
    assert [small.copied(at) for at in range(len(small))] == [large.copied(at) for at in range(len(large))]
    assert small.tail == large.tail
