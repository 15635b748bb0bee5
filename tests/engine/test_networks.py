"""The walk over all networks of a database gives the same with the kernel and without it."""

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
from geocli.engine.networks import NETWORKS_PER_CALL, networks
from geocli.errors import DatabaseError
from tests.helpers.databases import CITIES, NETWORKS, build
from tests.helpers.search_trees import SEPARATOR_BYTES, SIZES, Trie, metadata, node_bytes

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


def scalar_networks(database: Database) -> Iterator[tuple[int, int, int]]:
    """Walk without the kernel."""
    return module._walk(database)  # noqa: SLF001 (used where there is no kernel)


def compare(database: Database) -> None:
    """Compare both walks with each other, and with the records that the reader finds."""
    walked, bits = list(networks(database)), 32 if database.only_ipv4 else 128
    sizes = [1 << (bits - prefix) for _, prefix, _ in walked]

    assert walked == list(scalar_networks(database))
    assert 0 == walked[0][0]
    assert [address + size for (address, *_), size in zip(walked, sizes, strict=True)] == [
        *(address for _, (address, *_) in pairwise(walked)),
        1 << bits,
    ]
    for address, prefix, offset in walked:
        text = text_of(address, bits)
        # Here the reader returns prefix lengths of IPv4.
        if bits == 128 and address >> 32 == 0:
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
    """Of any record size, with nested networks, and aliases of the IPv4 addresses."""
    compare(opened(Trie(prefixes).alias(*aliases).write(tmp_path / f"{next(_paths)}.mmdb", size)))


@PER_TEST
@given(prefixes=st.sets(IPV4, max_size=10), size=st.sampled_from(SIZES))
def test_any_ipv4_tree(tmp_path: Path, prefixes: set[str], size: int) -> None:
    """With 32 levels."""
    compare(opened(Trie(prefixes, ip_version=4).write(tmp_path / f"{next(_paths)}.mmdb", size)))


def test_databases_of_mmdb_writer(tmp_path: Path) -> None:
    """The databases that most tests use."""
    compare(opened(build(tmp_path / "a.mmdb", CITIES | NETWORKS)))


def test_more_networks_than_one_call_returns(tmp_path: Path) -> None:
    """The next call continues the walk."""
    prefixes = [f"{at >> 8 & 255}.{at & 255}.128.0/17" for at in range(3000)]
    database = opened(Trie(prefixes, ip_version=4).write(tmp_path / "a.mmdb", 24))
    walked = list(networks(database))

    assert NETWORKS_PER_CALL < len(walked)
    assert walked == list(scalar_networks(database))
    assert 3000 == sum(offset > 0 for *_, offset in walked)


@PER_TEST
@given(
    size=st.sampled_from(SIZES),
    changes=st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 255)), min_size=1, max_size=30),
)
def test_a_damaged_tree(tmp_path: Path, size: int, changes: list[tuple[int, int]]) -> None:
    """Both walks give the same networks up to the damage, or the check has found shared nodes."""
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
    walks = [until_damage(islice(walk(database), 10_000)) for walk in (networks, scalar_networks)]

    assert walks[0] == walks[1]
    if not walks[0][1] and len(walks[0][0]) < 10_000:
        check_tree(database)


def until_damage(walk: Iterator[tuple[int, int, int]]) -> tuple[list[tuple[int, int, int]], bool]:
    """Return the networks before any damage, in whole calls, and whether there is damage."""
    before = list[tuple[int, int, int]]()
    try:
        before.extend(walk)
    except DatabaseError:
        return before[: len(before) // NETWORKS_PER_CALL * NETWORKS_PER_CALL], True
    return before, False


@pytest.mark.parametrize("size", SIZES)
def test_a_loop_is_damage(tmp_path: Path, size: int) -> None:
    """The walk fails once an address has no more bits."""
    path = tmp_path / "a.mmdb"
    path.write_bytes(node_bytes(0, 1, size) + bytes(SEPARATOR_BYTES) + b"\xe0" * 64 + metadata(1, size, 4))
    for walk in (networks, scalar_networks):
        with pytest.raises(DatabaseError, match="deeper than addresses have bits"):
            list(walk(opened(path)))


def test_a_file_truncated_after_opening(tmp_path: Path) -> None:
    """Is an error."""
    path = Trie(["1.2.3.0/24"]).write(tmp_path / "a.mmdb", 24)
    database = opened(path)
    path.write_bytes(path.read_bytes()[:20])
    for walk in (networks, scalar_networks):
        with pytest.raises(DatabaseError):
            list(walk(database))
