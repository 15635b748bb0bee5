"""The walk over all networks of databases gives the same with the kernel and without it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import count, islice, pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geocli.addresses import scope
from geocli.databases.database import Database
from geocli.databases.discovery import examine
from geocli.databases.tree_nodes import check_tree
from geocli.engine.kernel_walk import SPANS_TOGETHER, KernelWalker, walker
from geocli.engine.networks import Span, Walker
from geocli.engine.search_tree import EMBEDDED, GLOBAL, SCOPES
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


def networks(database: Database) -> Iterator[Span]:
    """Walk with the kernel."""
    return KernelWalker([database]).spans(version_of(database))


def scalar_networks(database: Database) -> Iterator[Span]:
    """Walk without the kernel."""
    return Walker([database]).spans(version_of(database))


def version_of(database: Database) -> int:
    return 4 if database.only_ipv4 else 6


def compare(database: Database) -> None:
    """Compare both walks with each other, and with the records that the reader finds."""
    walked, bits = list(networks(database)), 32 if database.only_ipv4 else 128
    scopes = {span[:2] for span in Walker(()).spans(version_of(database))}

    assert walked == list(scalar_networks(database))
    assert 0 == walked[0].first
    assert [span.last + 1 for span in walked] == [*(span.first for _, span in pairwise(walked)), 1 << bits]
    for first, last, (number, offset) in walked:
        address = IPv4Address(first) if bits == 32 else IPv6Address(first)
        assert number in {EMBEDDED, SCOPES.index(scope(address), GLOBAL)}
        # Here the reader returns prefix lengths of IPv4.
        if bits == 128 and first >> 32 == 0:
            continue
        record, length = database.reader.get_with_prefix_len(text_of(first, bits))
        network = ip_network(f"{text_of(first, bits)}/{length}", strict=False)
        assert (first, last) == (int(network[0]), int(network[-1])) or (first, last) in scopes
        assert int(network[0]) <= first <= last <= int(network[-1])
        assert (record is None) == (offset == 0)


def text_of(address: int, bits: int) -> str:
    return str(IPv4Address(address) if bits == 32 else IPv6Address(address))


@pytest.mark.slow
@PER_TEST
@given(
    prefixes=st.sets(IPV4 | IPV6, max_size=10), aliases=st.sets(st.sampled_from(ALIASES)), size=st.sampled_from(SIZES)
)
def test_any_ipv6_tree(tmp_path: Path, prefixes: set[str], aliases: set[str], size: int) -> None:
    """Of any record size, with nested networks, and aliases of the IPv4 addresses."""
    compare(opened(Trie(prefixes).alias(*aliases).write(tmp_path / f"{next(_paths)}.mmdb", size)))


@pytest.mark.slow
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
    prefixes = [f"{11 + (at >> 8) & 255}.{at & 255}.128.0/17" for at in range(3000)]
    database = opened(Trie(prefixes, ip_version=4).write(tmp_path / "a.mmdb", 24))
    walked = list(networks(database))

    assert SPANS_TOGETHER < len(walked)
    assert walked == list(scalar_networks(database))
    assert 3000 == sum(offset > 0 for *_, (_, offset) in walked)


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


def until_damage(walk: Iterator[Span]) -> tuple[list[Span], bool]:
    """Return the networks before any damage, in whole calls, and whether there is damage."""
    before = list[Span]()
    try:
        before.extend(walk)
    except DatabaseError:
        return before[: len(before) // SPANS_TOGETHER * SPANS_TOGETHER], True
    return before, False


@pytest.mark.parametrize("size", SIZES)
def test_a_loop_is_damage(tmp_path: Path, size: int) -> None:
    """The walk fails once an address has no more bits."""
    path = tmp_path / "a.mmdb"
    path.write_bytes(node_bytes(0, 1, size) + bytes(SEPARATOR_BYTES) + b"\xe0" * 64 + metadata(1, size, 4))
    for walk in (networks, scalar_networks):
        with pytest.raises(DatabaseError, match="its search tree is not a tree"):
            list(walk(opened(path)))


@pytest.mark.slow
@PER_TEST
@given(
    trees=st.lists(
        st.tuples(st.booleans(), st.sets(IPV4, max_size=6), st.sets(IPV6, max_size=6)), min_size=1, max_size=3
    ),
    bounds=st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)).map(sorted),
    skips_embedded=st.booleans(),
)
def test_several_trees(
    tmp_path: Path, trees: list[tuple[bool, set[str], set[str]]], bounds: list[IPv6Address], *, skips_embedded: bool
) -> None:
    """Each span has one record in each tree, those of IPv4 alone too; a walk may begin and end anywhere."""
    databases = [
        opened(
            Trie(ipv4 | ipv6 if has_ipv6 else ipv4, ip_version=6 if has_ipv6 else 4).write(
                tmp_path / f"{next(_paths)}.mmdb", 24
            )
        )
        for has_ipv6, ipv4, ipv6 in trees
    ]
    first, last = map(int, bounds)
    ranges = [(4, first >> 96, last >> 96), (6, first, last)]
    for version, lowest, highest in ranges:
        spans = list(KernelWalker(databases).spans(version, lowest, highest, skips_embedded=skips_embedded))

        assert spans == list(Walker(databases).spans(version, lowest, highest, skips_embedded=skips_embedded))
        for span in spans:
            for address in (span.first, span.last):
                assert span.numbers[1:] == tuple(offset_of(database, version, address) for database in databases)
        if not skips_embedded:
            assert (lowest, highest) == (spans[0].first, spans[-1].last)
            assert all(span.last + 1 == after.first for span, after in pairwise(spans))


def offset_of(database: Database, version: int, address: int) -> int:
    """Return the offset of the record of an address, as a walk of one tree finds it."""
    if version == 6 and database.only_ipv4:
        return 0
    ((_, _, (_, offset)),) = Walker([database]).spans(version, address, address)
    text = text_of(address, 32 if version == 4 else 128)
    assert (database.reader.get(text) is None) == (offset == 0)
    return offset


def test_the_kernel_walks_where_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python does where it is not."""
    databases = [opened(build(tmp_path / "a.mmdb", CITIES))]

    assert type(walker(databases)) is KernelWalker
    monkeypatch.setattr("geocli.engine.kernel_walk.load", lambda: None)
    assert type(walker(databases)) is Walker


def test_a_file_truncated_after_opening(tmp_path: Path) -> None:
    """Is an error."""
    path = Trie(["1.2.3.0/24"]).write(tmp_path / "a.mmdb", 24)
    database = opened(path)
    path.write_bytes(path.read_bytes()[:20])
    for walk in (networks, scalar_networks):
        with pytest.raises(DatabaseError):
            list(walk(database))
