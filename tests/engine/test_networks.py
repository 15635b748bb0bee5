"""The networks of a database come in the order of their addresses, alike with the kernel and without it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from itertools import count, islice, pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geocli.databases.database import Database
from geocli.databases.discovery import examine
from geocli.databases.tree_check import check_tree
from geocli.engine import networks as module
from geocli.engine.networks import READ_TOGETHER, networks
from geocli.errors import DatabaseError
from tests.helpers.databases import CITIES, NETWORKS, build
from tests.helpers.search_trees import SEPARATOR_BYTES, SIZES, Trie, metadata, packed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_paths = count()
ALIASES = ("::ffff:0:0/96", "2002::/16", "2001::/32")
IPV4 = st.tuples(st.ip_addresses(v=4), st.integers(1, 32)).map(lambda drawn: f"{drawn[0]}/{drawn[1]}")
IPV6 = st.tuples(st.ip_addresses(v=6), st.integers(1, 128)).map(lambda drawn: f"{drawn[0]}/{drawn[1]}")
PER_TEST = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def opened(path: Path) -> Database:
    return Database(examine(str(path)))


def walked(database: Database) -> Iterator[tuple[int, int, int]]:
    """Walk without the kernel."""
    return module._walked(database)  # noqa: SLF001 (what is done where there is no kernel)


def compare(database: Database) -> None:
    """Compare both ways with each other, and with the networks that the reader has records for."""
    found, bits = list(networks(database)), 32 if database.only_ipv4 else 128
    sizes = [1 << (bits - prefix) for _, prefix, _ in found]

    assert found == list(walked(database))
    assert 0 == found[0][0]
    assert [address + size for (address, *_), size in zip(found, sizes, strict=True)] == [
        *(address for _, (address, *_) in pairwise(found)),
        1 << bits,
    ]
    for address, prefix, offset in found:
        text = text_of(address, bits)
        if bits == 128 and address >> 32 == 0:  # where the reader counts the bits of IPv4
            continue
        record, length = database.reader.get_with_prefix_len(text)
        assert (length, record is None) == (prefix, offset == 0)


def text_of(address: int, bits: int) -> str:
    return str(IPv4Address(address) if bits == 32 else IPv6Address(address))


@PER_TEST
@given(
    prefixes=st.sets(IPV4 | IPV6, max_size=10), aliases=st.sets(st.sampled_from(ALIASES)), size=st.sampled_from(SIZES)
)
def test_any_ipv6_tree(tmp_path: Path, prefixes: set[str], aliases: set[str], size: int) -> None:
    """Of any record size, with networks that contain each other, and more ways to those of IPv4."""
    compare(opened(Trie(prefixes).alias(*aliases).write(tmp_path / f"{next(_paths)}.mmdb", size)))


@PER_TEST
@given(prefixes=st.sets(IPV4, max_size=10), size=st.sampled_from(SIZES))
def test_any_ipv4_tree(tmp_path: Path, prefixes: set[str], size: int) -> None:
    """Which ends after 32 bits."""
    compare(opened(Trie(prefixes, ip_version=4).write(tmp_path / f"{next(_paths)}.mmdb", size)))


def test_what_mmdb_writer_writes(tmp_path: Path) -> None:
    """Databases as all other tests have them."""
    compare(opened(build(tmp_path / "a.mmdb", CITIES | NETWORKS)))


def test_more_networks_than_one_call_finds(tmp_path: Path) -> None:
    """A walk goes on where it was."""
    prefixes = [f"{at >> 8 & 255}.{at & 255}.128.0/17" for at in range(3000)]
    database = opened(Trie(prefixes, ip_version=4).write(tmp_path / "a.mmdb", 24))
    found = list(networks(database))

    assert READ_TOGETHER < len(found)
    assert found == list(walked(database))
    assert 3000 == sum(offset > 0 for *_, offset in found)


@PER_TEST
@given(
    size=st.sampled_from(SIZES),
    changes=st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 255)), min_size=1, max_size=30),
)
def test_a_damaged_tree(tmp_path: Path, size: int, changes: list[tuple[int, int]]) -> None:
    """Both ways find the same until the damage, or the check has found that it is a graph."""
    path = Trie(["1.2.3.0/24", "8.0.0.0/7", "2001:218::/32", "fe80::/10"]).write(
        tmp_path / f"{next(_paths)}.mmdb", size
    )
    data = bytearray(path.read_bytes())
    tree_bytes = opened(path).reader.metadata().node_count * size // 4
    for at, byte in changes:
        data[at % tree_bytes] = byte
    path.write_bytes(data)
    try:
        database = opened(path)
    except DatabaseError:
        return
    ways = [until_damage(islice(walk(database), 10_000)) for walk in (networks, walked)]

    assert ways[0] == ways[1]
    if not ways[0][1] and len(ways[0][0]) < 10_000:
        check_tree(database)


def until_damage(found: Iterator[tuple[int, int, int]]) -> tuple[list[tuple[int, int, int]], bool]:
    """Return networks, and whether damage is behind them."""
    before = list[tuple[int, int, int]]()
    try:
        before.extend(found)
    except DatabaseError:
        return before[: len(before) // READ_TOGETHER * READ_TOGETHER], True
    return before, False


@pytest.mark.parametrize("size", SIZES)
def test_a_loop_is_damage(tmp_path: Path, size: int) -> None:
    """It is found as soon as an address has no more bits."""
    path = tmp_path / "a.mmdb"
    path.write_bytes(packed(0, 1, size) + bytes(SEPARATOR_BYTES) + b"\xe0" * 64 + metadata(1, size, 4))
    for walk in (networks, walked):
        with pytest.raises(DatabaseError, match="deeper than addresses have bits"):
            list(walk(opened(path)))


def test_a_file_that_was_cut_meanwhile(tmp_path: Path) -> None:
    """Is no longer the one that was opened."""
    path = Trie(["1.2.3.0/24"]).write(tmp_path / "a.mmdb", 24)
    database = opened(path)
    path.write_bytes(path.read_bytes()[:20])
    for walk in (networks, walked):
        with pytest.raises(DatabaseError):
            list(walk(database))
