"""The kernel's walk through a search tree finds the prefixes and records that the reader finds."""

from __future__ import annotations

import os
from ctypes import byref
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from maxminddb_rust import InvalidDatabaseError

from geocli.databases.database import Database
from geocli.databases.discovery import examine
from geocli.engine.kernel import Tree as NativeTree
from geocli.engine.kernel import address_of, kernel
from geocli.engine.search_tree import GLOBAL, SearchTree
from geocli.errors import DatabaseError
from tests.helpers.databases import CITIES, NETWORKS, build
from tests.helpers.kernel_walks import Walk, Walker
from tests.helpers.search_trees import SEPARATOR_BYTES, SIZES, Trie, metadata, node_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    Address: TypeAlias = IPv4Address | IPv6Address

IPV4 = (
    *("0.0.0.0/32", "1.0.0.0/24", "1.0.1.0/32", "1.0.1.1/32", "8.0.0.0/9", "8.8.0.0/15", "8.8.0.0/16", "8.8.128.0/17"),
    *("81.2.68.0/23", "81.2.69.0/24", "81.2.69.128/25", "81.2.69.160/27", "81.2.69.160/31", "81.2.69.160/32"),
    *("128.0.0.0/2", "150.1.2.3/32", "200.0.0.0/7", "223.255.255.255/32", "224.0.0.0/4", "255.255.255.255/32"),
)
IPV6 = (
    *("::1/128", "2000::/3", "2001:218::/32", "2001:218:ffff::/48", "2001:db8::/33", "2400::/12", "2400:8000::/17"),
    *("2400:8000::/63", "2400:8000::/64", "2400:8000::/65", "2400:8000::8000:0:0:0/128", "2400:8000:0:1::/127"),
    *("3fff::/16", "8000::/1", "fe80::/10", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"),
)
ALIASES = ("::ffff:0:0/96", "2002::/16", "2001::/32")
"""Networks under which the IPv6 trees of MaxMind repeat the IPv4 addresses."""
SOME = (
    *("0.0.0.1", "1.2.3.4", "81.2.69.160", "255.255.255.255"),
    *("::", "::1", "2001:218::1", "2001::8.8.8.8", "ffff::"),
)


def opened(path: Path) -> Database:
    return Database(examine(str(path)))


def edges(prefixes: Iterable[str]) -> list[Address]:
    """Return the first and last address of each network, and their neighbours."""
    addresses: list[Address] = []
    for network in map(ip_network, prefixes):
        highest = (1 << network.max_prefixlen) - 1
        first, last = int(network[0]), int(network[-1])
        kind = IPv4Address if network.version == 4 else IPv6Address
        numbers = (first - 1, first, first + 1, last - 1, last, last + 1)
        addresses += [kind(number) for number in numbers if 0 <= number <= highest]
    return addresses


def compare(database: Database, addresses: Iterable[Address]) -> None:
    """Compare the prefixes and records of addresses with those that the reader finds."""
    texts = [str(address) for address in addresses]
    walked = dict(zip(texts, Walker([database]).walk(texts), strict=True))
    walks = {text: walk for text, walk in walked.items() if isinstance(walk, Walk)}

    assert ["unread"] * (len(walked) - len(walks)) == [walk for walk in walked.values() if isinstance(walk, str)]
    assert [] == [text for text in walked.keys() - walks.keys() if not may_embed(text)]
    if database.only_ipv4:
        assert {Walk(GLOBAL, (0,), 0)} >= {walk for text, walk in walks.items() if ":" in text}
        walks = {text: walk for text, walk in walks.items() if ":" not in text}
    records = {text: database.reader.get_with_prefix_len(text) for text in walks}
    assert {text: records[text][1] for text in walks} == {text: walk.prefix for text, walk in walks.items()}
    assert [records[text][0] is None for text in walks] == [walk.offsets == (0,) for walk in walks.values()]
    pairs = {(str(records[text][0]), walk.offsets) for text, walk in walks.items()}
    assert len(pairs) == len({record for record, _ in pairs})
    assert len(pairs) == len({offset for _, offset in pairs})


def may_embed(text: str) -> bool:
    """Return whether the kernel leaves an address to Python: it may embed an IPv4 address, or is not canonical."""
    address = ip_address(text)
    return text == "2001::8.8.8.8" or (address.version == 6 and 0xFFFF < int(address) < 1 << 64)


@pytest.mark.parametrize("record_size", SIZES)
def test_every_edge_of_every_network_in_an_ipv6_tree(tmp_path: Path, record_size: int) -> None:
    """Of both families, and of the aliases of the IPv4 addresses."""
    database = opened(Trie([*IPV4, *IPV6]).alias(*ALIASES).write(tmp_path / "a.mmdb", record_size))
    addresses = [*edges(IPV4), *map(ip_address, SOME)]
    aliases = [
        IPv6Address(base | int(address) << shift)
        for address in addresses
        if isinstance(address, IPv4Address)
        for base, shift in ((0, 0), (0xFFFF << 32, 0), (0x2002 << 112, 80), (0x2001 << 112, 64))
    ]

    compare(database, [*addresses, *edges(IPV6), *edges(ALIASES), *aliases])


@pytest.mark.parametrize("record_size", SIZES)
def test_every_edge_of_every_network_in_an_ipv4_tree(tmp_path: Path, record_size: int) -> None:
    """With 32 levels instead of 128."""
    database = opened(Trie(IPV4, ip_version=4).write(tmp_path / "a.mmdb", record_size))

    compare(database, [*edges(IPV4), *map(IPv4Address, SOME[:4])])


@pytest.mark.parametrize("ip_version", [4, 6])
def test_databases_of_mmdb_writer(tmp_path: Path, ip_version: int) -> None:
    """The databases that most tests use."""
    networks = {name: record for name, record in {**CITIES, **NETWORKS}.items() if ip_version == 6 or ":" not in name}
    database = opened(build(tmp_path / "a.mmdb", networks, ip_version=ip_version))

    compare(database, [*edges(networks), *map(ip_address, SOME)])


@pytest.mark.parametrize(
    ("record_size", "spare_nodes", "spare_bytes"),
    [
        (24, 0, 0xFF_0000),
        (24, 0xFF_0000, 0),
        (28, 0, 0xFFF_0000),
        (28, 0xFFF_0000, 0),
        (28, 0x100_0000, 0x100_0000),
        (32, 0, 0x7FFF_FFFF),
        (32, 0, 0xFFFF_0000),
        (32, 0x1000_0000, 0x1000_0000),
    ],
)
def test_the_largest_values_of_tree_records(
    tmp_path: Path, record_size: int, spare_nodes: int, spare_bytes: int
) -> None:
    """No bit is lost. The files are sparse."""
    trie = Trie(["81.2.69.160/32", "81.2.69.0/24", "2001:218::/32", "ffff::/16"]).alias(*ALIASES)
    path = trie.write(tmp_path / "a.mmdb", record_size, spare_nodes=spare_nodes, spare_bytes=spare_bytes)
    try:
        compare(opened(path), [*edges(["81.2.69.160/32", "81.2.69.0/24", "2001:218::/32"]), *map(ip_address, SOME)])
    finally:
        path.unlink()


@pytest.mark.parametrize(
    "networks",
    [
        [],
        ["2001:218::/32"],
        ["::/1"],
        ["::/8"],
        ["::/64"],
        ["::/95"],
        ["::/96"],
        ["0.0.0.0/1"],
        ["::/1", "8000::/1"],
        ["::/64", "81.2.69.0/24"],
    ],
)
def test_ipv4_addresses_in_trees_with_short_ipv6_prefixes(tmp_path: Path, networks: list[str]) -> None:
    """There may be no record, or one for a network that contains all IPv4 addresses."""
    database = opened(Trie(networks).write(tmp_path / "a.mmdb", 24))

    compare(database, [*map(ip_address, SOME), *edges(networks)])


def test_a_block_without_addresses(tmp_path: Path) -> None:
    """Has no walks."""
    assert [] == Walker([opened(Trie(IPV4).write(tmp_path / "a.mmdb", 24))]).walk([])


networks_v4 = st.tuples(st.ip_addresses(v=4), st.integers(1, 32)).map(lambda drawn: f"{drawn[0]}/{drawn[1]}")
networks_v6 = st.tuples(st.ip_addresses(v=6), st.integers(1, 128)).map(lambda drawn: f"{drawn[0]}/{drawn[1]}")


@pytest.mark.slow
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    networks=st.sets(networks_v4 | networks_v6, max_size=12),
    aliases=st.sets(st.sampled_from(ALIASES)),
    record_size=st.sampled_from(SIZES),
    addresses=st.lists(st.ip_addresses(), max_size=12),
)
def test_any_tree_and_any_address(
    tmp_path: Path, networks: set[str], aliases: set[str], record_size: int, addresses: list[Address]
) -> None:
    """Nested networks in any order, with addresses at their edges and elsewhere."""
    prefixes = {str(ip_network(prefix, strict=False)) for prefix in networks}
    trie = Trie(prefixes).alias(*aliases)

    compare(opened(trie.write(tmp_path / "a.mmdb", record_size)), [*edges(prefixes), *addresses])


def written(path: Path, left: int, right: int, node_count: int = 1, *, record_size: int = 24) -> Database:
    """Return an IPv4 database whose nodes all have the same two children, with 64 bytes of data."""
    tree = node_bytes(left, right, record_size) * node_count
    path.write_bytes(tree + bytes(SEPARATOR_BYTES) + b"\xe0" * 64 + metadata(node_count, record_size, 4))
    return opened(path)


@pytest.mark.parametrize("record_size", SIZES)
@pytest.mark.parametrize("offset", [1, 8, 15, 1 << 20])
def test_a_tree_record_that_points_outside_the_data_is_damage(tmp_path: Path, record_size: int, offset: int) -> None:
    """Before the data section, or after the end of the file; addresses of other records are unaffected."""
    walker = Walker([written(tmp_path / "a.mmdb", 1 + 16, 1 + offset, record_size=record_size)])

    assert [Walk(GLOBAL, (16,), 1), "single"] == walker.walk(["1.2.3.4", "200.2.3.4"])


@pytest.mark.parametrize(("left", "right"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_loop_ends_and_is_damage(tmp_path: Path, left: int, right: int) -> None:
    """A walk ends after as many steps as an address has bits."""
    walker = Walker([written(tmp_path / "a.mmdb", left, right, node_count=2)])

    assert ["single"] * 3 == walker.walk(["1.2.3.4", "255.255.255.255", "8.8.8.8"])
    assert ["single"] * 3 == walker.walk(["1.2.3.4", "255.255.255.255", "8.8.8.8"])


def test_one_damaged_tree_of_several_leaves_addresses_to_the_scalar_path(tmp_path: Path) -> None:
    """That answers from the other databases, and reports the damage."""
    sound = opened(Trie(IPV4, ip_version=4).write(tmp_path / "sound.mmdb", 24))
    walker = Walker([sound, written(tmp_path / "a.mmdb", 1 + 16, 0)])
    below, above = walker.walk(["1.2.3.4", "255.255.255.255"])

    assert isinstance(below, Walk)
    assert (16, "single") == (below.offsets[1], above)


def accepts_tree(size_bytes: int, node_count: int, record_size: int, ip_version: int, data: bytes = b"") -> bool:
    """Return whether the kernel accepts a tree in a file of this size."""
    memory = bytearray(data or bytes(max(size_bytes, 1)))
    tree = NativeTree(address_of(memory), size_bytes, node_count, record_size, ip_version)
    return bool(kernel().open(byref(tree)))


@pytest.mark.parametrize(
    ("node_count", "record_size", "ip_version"),
    [(0, 24, 6), (-1, 24, 6), (1 << 20, 24, 6), (1 << 30, 32, 6), (1, 26, 6), (1, 0, 6), (1, 64, 6), (1, 24, 5)],
)
def test_metadata_that_do_not_match_the_file_are_damage(
    tmp_path: Path, node_count: int, record_size: int, ip_version: int
) -> None:
    """Too many nodes, or a record size or address family that is not in the specification."""
    data = Trie(IPV4).write(tmp_path / "a.mmdb", 24).read_bytes()

    assert not accepts_tree(len(data), node_count, record_size, ip_version, data)
    assert accepts_tree(len(data), 1, 24, 6, data)


@pytest.mark.parametrize(
    ("node_count", "record_size", "ip_version"), [(0, 24, 6), (1 << 20, 24, 6), (1, 26, 6), (1, 24, 5)]
)
def test_a_database_with_such_metadata_is_an_error(
    tmp_path: Path, node_count: int, record_size: int, ip_version: int
) -> None:
    """When it is opened, or when its tree is mapped."""
    path = tmp_path / "a.mmdb"
    path.write_bytes(bytes(1000) + metadata(node_count, record_size, ip_version))

    with pytest.raises(DatabaseError):
        SearchTree(opened(path))


@pytest.mark.parametrize(("name", "value"), [("node_count", 1), ("record_size", 24), ("ip_version", 6)])
def test_a_number_of_33_bits_is_not_truncated(tmp_path: Path, name: str, value: int) -> None:
    """Metadata may have 64-bit integers where the specification has 32-bit ones."""
    path = tmp_path / "a.mmdb"
    data = metadata(1, 24, 6)
    at = data.index(name.encode()) + len(name)
    size = data[at] & 0x1F
    assert value == int.from_bytes(data[at + 1 : at + 1 + size])
    path.write_bytes(bytes(1000) + data[:at] + b"\x08\2" + (1 << 32 | value).to_bytes(8) + data[at + 1 + size :])

    with pytest.raises(DatabaseError):
        SearchTree(opened(path))


@pytest.mark.parametrize("record_size", SIZES)
@pytest.mark.parametrize("node_count", [1, 2, 1000])
def test_a_tree_may_not_reach_the_end_of_its_file(node_count: int, record_size: int) -> None:
    """At least the 16 zeros of the separator follow it; metadata do not count."""
    min_bytes = node_count * record_size // 4 + SEPARATOR_BYTES
    sizes = (16, min_bytes - 1, min_bytes, min_bytes + 1)

    assert [False, False, True, True] == [accepts_tree(size, node_count, record_size, 6) for size in sizes]


def test_a_truncated_file_is_damage(tmp_path: Path) -> None:
    """Wherever it is truncated: it has no metadata, and with those of the whole file, the tree does not fit."""
    path = Trie([*IPV4, *IPV6]).write(tmp_path / "a.mmdb", 24)
    data = path.read_bytes()
    node_count = opened(path).reader.metadata().node_count
    for size_bytes in (1, 3, 100, node_count * 6, node_count * 6 + SEPARATOR_BYTES - 1):
        path.write_bytes(data[:size_bytes])
        with pytest.raises(DatabaseError):
            opened(path)
        assert not accepts_tree(size_bytes, node_count, 24, 6, data)


def test_data_after_the_end_of_a_file_are_damage(tmp_path: Path) -> None:
    """Only the first record is within the truncated file."""
    path = Trie([*IPV4, *IPV6]).write(tmp_path / "a.mmdb", 24)
    walker = Walker([opened(path)])
    texts = sorted({str(address) for address in edges(IPV4)})
    whole = walker.walk(texts)
    cut = Walker([opened(path)])
    (tree,) = (NativeTree * 1).from_address(cut.table.engine.trees)
    tree.size_bytes = tree.node_count * 6 + SEPARATOR_BYTES + 20

    assert [walk if isinstance(walk, Walk) and walk.offsets[0] < 20 else "single" for walk in whole] == cut.walk(texts)
    assert 1 < len({walk.offsets for walk in whole if isinstance(walk, Walk) and walk.offsets[0] >= 20})


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.rename(path)


def touched(path: Path) -> None:
    os.utime(path, (1, 1))


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (replaced, "was replaced meanwhile"),
        (touched, "was replaced meanwhile"),
        (longer, "was replaced meanwhile"),
        (removed, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_replaced_after_opening_is_an_error(tmp_path: Path, change: Callable[[Path], None], reason: str) -> None:
    """Its offsets would be those of another file."""
    path = Trie(IPV4).write(tmp_path / "a.mmdb", 24)
    database = opened(path)
    change(path)

    with pytest.raises(DatabaseError) as caught:
        SearchTree(database)
    assert (f"{path}: {reason}", str(path)) == (str(caught.value), caught.value.path)


def test_a_pipe_that_replaces_the_file_does_not_block(tmp_path: Path) -> None:
    """It is an error."""
    path = Trie(IPV4).write(tmp_path / "a.mmdb", 24)
    database = opened(path)
    path.unlink()
    os.mkfifo(path)

    with pytest.raises(DatabaseError):
        SearchTree(database)


def test_a_tree_is_read_from_the_mapped_file(tmp_path: Path) -> None:
    """Also after the file was replaced."""
    path = Trie(["81.2.69.0/24"]).write(tmp_path / "a.mmdb", 24)
    walker = Walker([opened(path)])
    texts = [str(address) for address in edges(["81.2.69.0/24"])]
    before = walker.walk(texts)
    Trie(["98.0.0.0/8"]).write(tmp_path / "b.mmdb", 24).rename(path)

    assert before == walker.walk(texts)


@pytest.mark.slow
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    record_size=st.sampled_from(SIZES),
    changes=st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 255)), min_size=1, max_size=30),
    addresses=st.lists(st.ip_addresses(), max_size=6),
)
def test_a_damaged_tree_gives_no_other_records_than_the_reader(
    tmp_path: Path, record_size: int, changes: list[tuple[int, int]], addresses: list[Address]
) -> None:
    """An address has the prefix that the reader finds, or the tree is damaged."""
    path = Trie([*IPV4[:8], *IPV6[:6]]).write(tmp_path / "a.mmdb", record_size)
    data = bytearray(path.read_bytes())
    size_bytes = opened(path).reader.metadata().node_count * record_size // 4
    for at, byte in changes:
        data[at % size_bytes] = byte
    path.write_bytes(data)
    try:
        database = opened(path)
        walker = Walker([database])
    except DatabaseError:
        return
    texts = [*map(str, addresses), *SOME]
    for text, walk in zip(texts, walker.walk(texts), strict=True):
        try:
            record, length = database.reader.get_with_prefix_len(text)
        except (InvalidDatabaseError, ValueError):
            continue
        if walk == "single":
            # In a loop, the reader ends at the last bit without an error.
            assert record is not None or length == ip_address(text).max_prefixlen
        elif isinstance(walk, Walk):
            assert (length, record is None) == (walk.prefix, walk.offsets == (0,))
        else:
            assert may_embed(text)
