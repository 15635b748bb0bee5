"""The walk of many addresses through a search tree, against the reader that walks it for one."""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from maxminddb_rust import InvalidDatabaseError
from mmdb_writer import METADATA_MAGIC, Encoder

from geocli.bulk.tree import NOTHING, SEPARATOR_BYTES, Tree
from geocli.databases.database import Database
from geocli.databases.discovery import examine
from geocli.errors import DatabaseError
from tests.building import CITIES, NETWORKS, build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Address: TypeAlias = IPv4Address | IPv6Address

SIZES = (24, 28, 32)
HALF = (1 << 64) - 1
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
"""Where MaxMind lets IPv6 trees go on with the IPv4 addresses."""
SOME = (
    *("0.0.0.1", "1.2.3.4", "81.2.69.160", "255.255.255.255"),
    *("::", "::1", "2001:218::1", "2001::8.8.8.8", "ffff::"),
)


class Trie:
    """A search tree to be written as it is, with as much room in it as a test wants."""

    def __init__(self, networks: Iterable[str], ip_version: int = 6) -> None:
        """Put in a record for each network, those of smaller networks over those of larger ones."""
        self.ip_version = ip_version
        self.nodes: list[list[int | None]] = [[None, None]]
        """The two children of each node: another node, `~` the number of a record, or nothing."""
        self.records = 0
        for prefix in sorted(networks, key=lambda prefix: int(prefix.partition("/")[2]) + 96 * (":" not in prefix)):
            self._put(prefix, ~self.records)
            self.records += 1

    def _put(self, prefix: str, child: int) -> None:
        *path, last = self._bits(prefix)
        node = 0
        for bit in path:
            node = self._next(node, bit)
        self.nodes[node][last] = child

    def _next(self, node: int, bit: int) -> int:
        """Return the node below, which is made, with what is known above it, where there is none."""
        below = self.nodes[node][bit]
        if below is None or below < 0:
            self.nodes.append([below, below])
            self.nodes[node][bit] = below = len(self.nodes) - 1
        return below

    def _bits(self, prefix: str) -> list[int]:
        network = ip_network(prefix, strict=False)
        width = 32 if self.ip_version == 4 else 128
        length = network.prefixlen + width - network.max_prefixlen
        number = int(network.network_address)
        return [number >> (width - 1 - depth) & 1 for depth in range(length)]

    def alias(self, *prefixes: str) -> Trie:
        """Let networks go on where the IPv4 addresses begin."""
        root = 0
        for _ in range(96):
            root = self._next(root, 0)
        for prefix in prefixes:
            self._put(prefix, root)
        return self

    def write(self, path: Path, record_size: int, *, spare_nodes: int = 0, spare_bytes: int = 0) -> Path:
        """Write a database; nodes but the first come after some spare ones, records after some spare bytes."""
        node_count = len(self.nodes) + spare_nodes
        first = node_count + SEPARATOR_BYTES + spare_bytes

        def number(child: int | None) -> int:
            if child is None:
                return node_count
            return first + 8 * ~child if child < 0 else child + spare_nodes

        nodes = [packed(number(left), number(right), record_size) for left, right in self.nodes]
        node_bytes = record_size // 4
        with path.open("wb") as out:
            out.write(nodes[0])
            out.seek(node_bytes * (1 + spare_nodes))
            out.write(b"".join(nodes[1:]))
            out.seek(node_count * node_bytes + SEPARATOR_BYTES + spare_bytes)
            out.write(b"".join(b"\xe1\x41n\xc4" + record.to_bytes(4, "big") for record in range(self.records)))
            out.write(metadata(node_count, record_size, self.ip_version))
        return path


def packed(left: int, right: int, record_size: int) -> bytes:
    """Return a node (MaxMind DB spec, node layout)."""
    if record_size != 28:
        return left.to_bytes(record_size // 8, "big") + right.to_bytes(record_size // 8, "big")
    middle = left >> 24 << 4 | right >> 24
    return (left & 0xFFFFFF).to_bytes(3, "big") + bytes([middle]) + (right & 0xFFFFFF).to_bytes(3, "big")


def metadata(node_count: int, record_size: int, ip_version: int) -> bytes:
    said: dict[str, Any] = {
        "node_count": node_count,
        "record_size": record_size,
        "ip_version": ip_version,
        "database_type": "Test",
        "languages": ["en"],
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1_780_000_000,
        "description": {"en": "Test"},
    }
    return METADATA_MAGIC + Encoder(cache=False).encode_meta(said)


def opened(path: Path) -> Database:
    return Database(examine(str(path)))


def numbers(addresses: Sequence[Address]) -> NDArray[np.unsignedinteger]:
    """Return addresses of one family as the tree takes them."""
    found = [int(address) for address in addresses]
    if addresses[0].version == 4:
        return np.array(found, np.uint32)
    return np.array([[number >> 64, number & HALF] for number in found], np.uint64)


def edges(prefixes: Iterable[str]) -> list[Address]:
    """Return the first and last address of each network, and those before and behind them."""
    found: list[Address] = []
    for network in map(ip_network, prefixes):
        most = (1 << network.max_prefixlen) - 1
        first, last = int(network[0]), int(network[-1])
        kind = IPv4Address if network.version == 4 else IPv6Address
        found += [kind(at) for at in (first - 1, first, first + 1, last - 1, last, last + 1) if 0 <= at <= most]
    return found


def compare(database: Database, addresses: Iterable[Address]) -> None:
    """Walk all addresses together, then each by the reader, and compare prefixes and records."""
    tree = Tree.of(database)
    every = list(addresses)
    for version in (4,) if database.only_ipv4 else (4, 6):
        if not (asked := [address for address in every if address.version == version]):
            continue
        offsets, lengths = (column.tolist() for column in tree.walk(numbers(asked)))
        said = [database.reader.get_with_prefix_len(str(address)) for address in asked]

        assert [(str(address), length) for address, (_, length) in zip(asked, said, strict=True)] == [
            (str(address), length) for address, length in zip(asked, lengths, strict=True)
        ]
        assert [record is None for record, _ in said] == [offset == NOTHING for offset in offsets]
        pairs = {(str(record), offset) for (record, _), offset in zip(said, offsets, strict=True)}
        assert len(pairs) == len({record for record, _ in pairs})
        assert len(pairs) == len({offset for _, offset in pairs})


@pytest.mark.parametrize("record_size", SIZES)
def test_every_edge_of_every_network_in_an_ipv6_tree(tmp_path: Path, record_size: int) -> None:
    """Of both families, and of the networks that are other names of the IPv4 addresses."""
    database = opened(Trie([*IPV4, *IPV6]).alias(*ALIASES).write(tmp_path / "a.mmdb", record_size))
    behind = [*edges(IPV4), *map(ip_address, SOME)]
    others = [
        IPv6Address(base | int(address) << shift)
        for address in behind
        if isinstance(address, IPv4Address)
        for base, shift in ((0, 0), (0xFFFF << 32, 0), (0x2002 << 112, 80), (0x2001 << 112, 64))
    ]

    compare(database, [*behind, *edges(IPV6), *edges(ALIASES), *others])


@pytest.mark.parametrize("record_size", SIZES)
def test_every_edge_of_every_network_in_an_ipv4_tree(tmp_path: Path, record_size: int) -> None:
    """With 32 levels instead of 128."""
    database = opened(Trie(IPV4, ip_version=4).write(tmp_path / "a.mmdb", record_size))

    compare(database, [*edges(IPV4), *map(IPv4Address, SOME[:4])])


@pytest.mark.parametrize("ip_version", [4, 6])
def test_what_mmdb_writer_writes(tmp_path: Path, ip_version: int) -> None:
    """Databases as all other tests have them."""
    networks = {name: what for name, what in {**CITIES, **NETWORKS}.items() if ip_version == 6 or ":" not in name}
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
def test_numbers_up_to_the_largest_that_a_record_holds(
    tmp_path: Path, record_size: int, spare_nodes: int, spare_bytes: int
) -> None:
    """No bit of a record is lost; the files are mostly holes."""
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
def test_an_ipv4_address_wherever_its_96_zeros_end(tmp_path: Path, networks: list[str]) -> None:
    """Nothing may be there, or a record for more than all of IPv4."""
    database = opened(Trie(networks).write(tmp_path / "a.mmdb", 24))

    compare(database, [*map(ip_address, SOME), *edges(networks)])


def test_no_addresses_have_no_records(tmp_path: Path) -> None:
    """Of neither family."""
    tree = Tree.of(opened(Trie(IPV4).write(tmp_path / "a.mmdb", 24)))
    for none in (np.zeros(0, np.uint32), np.zeros((0, 2), np.uint64)):
        assert [[], []] == [column.tolist() for column in tree.walk(none)]


networks_v4 = st.tuples(st.ip_addresses(v=4), st.integers(1, 32)).map(lambda drawn: f"{drawn[0]}/{drawn[1]}")
networks_v6 = st.tuples(st.ip_addresses(v=6), st.integers(1, 128)).map(lambda drawn: f"{drawn[0]}/{drawn[1]}")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    networks=st.sets(networks_v4 | networks_v6, max_size=12),
    aliases=st.sets(st.sampled_from(ALIASES)),
    record_size=st.sampled_from(SIZES),
    asked=st.lists(st.ip_addresses(), max_size=12),
)
def test_any_tree_and_any_address(
    tmp_path: Path, networks: set[str], aliases: set[str], record_size: int, asked: list[Address]
) -> None:
    """Networks that contain each other, in any order, and addresses near them and far away."""
    found = {str(ip_network(prefix, strict=False)) for prefix in networks}
    trie = Trie(found).alias(*aliases)

    compare(opened(trie.write(tmp_path / "a.mmdb", record_size)), [*edges(found), *asked])


def written(path: Path, left: int, right: int, node_count: int = 1, *, record_size: int = 24) -> Database:
    """Return an IPv4 database whose nodes all have the same two children, with 64 bytes of data."""
    tree = packed(left, right, record_size) * node_count
    path.write_bytes(tree + bytes(SEPARATOR_BYTES) + b"\xe0" * 64 + metadata(node_count, record_size, 4))
    return opened(path)


@pytest.mark.parametrize("record_size", SIZES)
@pytest.mark.parametrize("offset", [1, 8, 15, 1 << 20])
def test_a_record_that_points_to_no_data_is_damage(tmp_path: Path, record_size: int, offset: int) -> None:
    """Between the tree and the data, or behind the end of the file; addresses on the other side have their record."""
    path = tmp_path / "a.mmdb"
    tree = Tree.of(written(path, 1 + 16, 1 + offset, record_size=record_size))

    assert [[16], [1]] == [column.tolist() for column in tree.walk(numbers([IPv4Address("1.2.3.4")]))]
    with pytest.raises(DatabaseError, match="damaged: its search tree points to where no data are"):
        tree.walk(numbers([IPv4Address("1.2.3.4"), IPv4Address("200.2.3.4")]))


@pytest.mark.parametrize(("left", "right"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_loop_ends_and_is_damage(tmp_path: Path, left: int, right: int) -> None:
    """Whoever walks into it comes to an end after as many steps as an address has bits."""
    tree = Tree.of(written(tmp_path / "a.mmdb", left, right, node_count=2))

    with pytest.raises(DatabaseError, match=r"a\.mmdb: damaged: "):
        tree.walk(numbers([IPv4Address("1.2.3.4"), IPv4Address("255.255.255.255"), IPv4Address(0)]))


@pytest.mark.parametrize(
    ("node_count", "record_size", "ip_version"),
    [(0, 24, 6), (-1, 24, 6), (1 << 20, 24, 6), (1 << 40, 32, 6), (1, 26, 6), (1, 0, 6), (1, 64, 6), (1, 24, 5)],
)
def test_metadata_that_do_not_fit_the_file_are_damage(
    tmp_path: Path, node_count: int, record_size: int, ip_version: int
) -> None:
    """More nodes than bytes, records of a size or a family that nobody writes."""
    path = Trie(IPV4).write(tmp_path / "a.mmdb", 24)

    with pytest.raises(DatabaseError, match=r"a\.mmdb: damaged: its search tree does not fit into the file"):
        Tree(examine(str(path)), node_count, record_size, ip_version)


def test_a_file_that_was_cut_short_is_damage(tmp_path: Path) -> None:
    """Wherever it was cut: it has no metadata then, and its tree, read with those of the whole file, no data."""
    path = Trie([*IPV4, *IPV6]).write(tmp_path / "a.mmdb", 24)
    data = path.read_bytes()
    node_count = opened(path).reader.metadata().node_count
    for size_bytes in (1, 3, 100, node_count * 6, node_count * 6 + SEPARATOR_BYTES):
        path.write_bytes(data[:size_bytes])
        with pytest.raises(DatabaseError):
            opened(path)
        with pytest.raises(DatabaseError, match="does not fit into the file"):
            Tree(examine(str(path)), node_count, 24, 6)
    path.write_bytes(data[: node_count * 6 + SEPARATOR_BYTES + 8])  # with one record
    tree = Tree(examine(str(path)), node_count, 24, 6)
    with pytest.raises(DatabaseError, match="points to where no data are"):
        tree.walk(numbers(edges(IPV4)))


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
def test_another_file_than_the_one_that_was_opened_is_refused(
    tmp_path: Path, change: Callable[[Path], None], reason: str
) -> None:
    """Offsets of one file mean nothing in another."""
    path = Trie(IPV4).write(tmp_path / "a.mmdb", 24)
    database = opened(path)
    change(path)

    with pytest.raises(DatabaseError) as caught:
        Tree.of(database)
    assert (f"{path}: {reason}", str(path)) == (str(caught.value), caught.value.path)


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    """Opening it would otherwise never end."""
    path = Trie(IPV4).write(tmp_path / "a.mmdb", 24)
    database = opened(path)
    path.unlink()
    os.mkfifo(path)

    with pytest.raises(DatabaseError):
        Tree.of(database)


def test_a_tree_is_read_from_the_file_that_was_mapped(tmp_path: Path) -> None:
    """Also after another one has taken its place."""
    path = Trie(["81.2.69.0/24"]).write(tmp_path / "a.mmdb", 24)
    database = opened(path)
    tree = Tree.of(database)
    before = [column.tolist() for column in tree.walk(numbers(edges(["81.2.69.0/24"])))]
    Trie(["98.0.0.0/8"]).write(tmp_path / "b.mmdb", 24).rename(path)

    assert before == [column.tolist() for column in tree.walk(numbers(edges(["81.2.69.0/24"])))]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    record_size=st.sampled_from(SIZES),
    changes=st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 255)), min_size=1, max_size=30),
    asked=st.lists(st.ip_addresses(), max_size=6),
)
def test_a_damaged_tree_never_says_what_the_reader_does_not(
    tmp_path: Path, record_size: int, changes: list[tuple[int, int]], asked: list[Address]
) -> None:
    """Whatever the bytes of a tree are, an address has the prefix that the reader finds, or there is an error."""
    path = Trie([*IPV4[:8], *IPV6[:6]]).write(tmp_path / "a.mmdb", record_size)
    data = bytearray(path.read_bytes())
    size_bytes = opened(path).reader.metadata().node_count * record_size // 4
    for at, byte in changes:
        data[at % size_bytes] = byte
    path.write_bytes(data)
    database = opened(path)
    tree = Tree.of(database)
    for address in [*asked, *map(ip_address, SOME)]:
        try:
            record, length = database.reader.get_with_prefix_len(str(address))
        except (InvalidDatabaseError, ValueError):
            continue
        try:
            offsets, lengths = tree.walk(numbers([address]))
        except DatabaseError:
            assert record is not None or length == address.max_prefixlen  # a loop, which the reader leaves at its end
            continue
        assert (length, record is None) == (lengths[0], offsets[0] == NOTHING)
