"""The leaves of search trees: addresses with the same one have the same record and prefix length."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geocli.databases import leaves, tree_nodes
from geocli.databases.database import Database
from geocli.databases.discovery import examine
from geocli.databases.leaves import Leaves
from geocli.errors import DatabaseError, ResolveError
from geocli.resolvers.mmdb import MANY_RECORDS, MmdbResolver, ask
from tests.helpers.databases import CITIES, build
from tests.helpers.search_trees import SIZES, Trie

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from geocli.addresses import Address

LONDON, FIRST = IPv4Address("81.2.69.160"), IPv4Address("81.2.67.0")
FRENCH = {"81.2.69.0/24": {"country_code": "FR"}}
ALIASES = ("::ffff:0:0/96", "2002::/16", "2001::/32")
_paths = count()
IPV4 = st.builds(
    lambda number, length: f"{IPv4Address(number >> 32 - length << 32 - length)}/{length}",
    st.integers(0, (1 << 32) - 1),
    st.integers(1, 32),
)
IPV6 = st.builds(
    lambda number, length: f"{IPv6Address(number >> 128 - length << 128 - length)}/{length}",
    st.integers(0, (1 << 128) - 1),
    st.integers(1, 128),
)


def opened(path: Path) -> Database:
    return Database(examine(str(path)))


def probes(prefixes: Iterable[str]) -> Iterator[Address]:
    """Return the first and last address of each network, and their neighbours."""
    for network in map(ip_network, prefixes):
        make = IPv4Address if network.version == 4 else IPv6Address
        first, last = int(network[0]), int(network[-1])
        numbers = {0, first - 1, first, first + 1, last - 1, last, last + 1}
        yield from (make(number) for number in sorted(numbers) if 0 <= number < 1 << network.max_prefixlen)


def read(database: Database, address: Address) -> Any:
    """Return what the reader does for an address."""
    try:
        return database.read(address)
    except DatabaseError as error:
        return str(error)


def compare(database: Database, addresses: Iterable[Address]) -> None:
    """Check that addresses with the same leaf have the same record, and those of the same network the same leaf."""
    leaves = Leaves(database)
    first_of: dict[Any, Address] = {}
    leaf_of: dict[Any, Any] = {}
    for address in addresses:
        if database.only_ipv4 and address.version == 6:
            continue
        leaf, record = leaves.leaf(address), read(database, address)
        assert read(database, first_of.setdefault(leaf, address)) == record
        if not isinstance(record, str):
            network = ip_network(f"{address}/{record[1]}", strict=False)
            assert leaf_of.setdefault(network, leaf) == leaf


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prefixes=st.lists(IPV4 | IPV6, min_size=1, max_size=8, unique=True),
    aliases=st.sets(st.sampled_from(ALIASES)),
    size=st.sampled_from(SIZES),
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=3),
)
def test_any_tree(
    tmp_path: Path, prefixes: list[str], aliases: set[str], size: int, damage: list[tuple[float, int]]
) -> None:
    """Of IPv6, with aliases of the IPv4 addresses, also with damaged nodes."""
    tree = Trie(prefixes).alias(*aliases)
    path = tree.write(tmp_path / f"{next(_paths)}.mmdb", size)
    data = bytearray(path.read_bytes())
    for place, mask in damage:
        data[int(place * len(tree.nodes) * size // 4)] ^= mask
    path.write_bytes(data)

    compare(opened(path), probes([*prefixes, *ALIASES]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prefixes=st.lists(IPV4, min_size=1, max_size=8, unique=True), size=st.sampled_from(SIZES))
def test_any_tree_of_ipv4(tmp_path: Path, prefixes: list[str], size: int) -> None:
    """With 32 levels."""
    compare(opened(Trie(prefixes, 4).write(tmp_path / f"{next(_paths)}.mmdb", size)), probes(prefixes))


def test_a_replaced_file_is_refused(tmp_path: Path) -> None:
    """Its tree is not that of the records that are read."""
    path = build(tmp_path / "a.mmdb", FRENCH)
    database = opened(path)
    build(tmp_path / "b.mmdb", CITIES).rename(path)

    with pytest.raises(DatabaseError, match="was replaced meanwhile"):
        Leaves(database)


@pytest.mark.parametrize("is_replaced", [False, True])
def test_many_records(tmp_path: Path, *, is_replaced: bool) -> None:
    """The answers are those of the records, also if the file is replaced before its tree would be read."""
    path = build(tmp_path / "a.mmdb", CITIES)
    resolver, database, problems = MmdbResolver(files=[str(path)]), opened(path), list[ResolveError]()
    resolver.sources(None, problems.append)
    first, *rest = [*[LONDON] * (MANY_RECORDS + 1), *(FIRST + number for number in range(1000))]
    actual = [resolver.resolve(first, problems.append)]
    if is_replaced:
        build(tmp_path / "b.mmdb", FRENCH).rename(path)
    actual += [resolver.resolve(address, problems.append) for address in rest]

    assert [ask(database, address) for address in (first, *rest)] == actual
    assert [] == problems


def test_addresses_without_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree is read only if there are many with one, since finding no record takes less."""
    trees = []

    def nodes(database: Database) -> array[int]:
        trees.append(database.name)
        return tree_nodes.nodes(database)

    monkeypatch.setattr(leaves, "nodes", nodes)
    path = build(tmp_path / "a.mmdb", CITIES)
    resolver, problems = MmdbResolver(files=[str(path)]), list[ResolveError]()
    resolver.sources(None, problems.append)
    for address, expected in ((IPv4Address("0.0.0.0"), []), (LONDON, ["GeoLite2-City"])):  # noqa: S104 (not bound)
        for _ in range(MANY_RECORDS + 1):
            resolver.resolve(address, problems.append)
        assert expected == trees


@pytest.mark.parametrize(
    ("ip_version", "networks"),
    [
        (4, ("81.2.0.0/17", "81.2.128.0/18", "81.2.224.0/19")),
        (6, ("81.2.0.0/17", "81.2.128.0/18", "81.2.224.0/19", "2001:db8::/33")),
        (4, ("0.0.0.0/1", "128.0.0.0/2")),
        (6, ("0.0.0.0/0",)),
        (6, ("::/1", "8000::/2")),
    ],
)
def test_networks_with_one_record(tmp_path: Path, networks: tuple[str, ...], ip_version: int) -> None:
    """Each answer has the prefix length of its own network, also where all of IPv4 is one network."""
    path = build(tmp_path / "a.mmdb", {each: {"country_code": "FR"} for each in networks}, ip_version=ip_version)
    resolver, database, problems = MmdbResolver(files=[str(path)]), opened(path), list[ResolveError]()
    resolver.sources(None, problems.append)
    for _ in range(MANY_RECORDS):
        resolver.resolve(LONDON, problems.append)
    addresses = [*probes(networks), LONDON, IPv6Address("2001:db8::1")]
    addresses = [address for address in addresses if address.version == 4 or not database.only_ipv4]

    assert [ask(database, address) for address in addresses] == [
        resolver.resolve(address, problems.append) for address in addresses
    ]
    assert [] == problems


def test_answers_of_a_replaced_file_are_dropped(tmp_path: Path) -> None:
    """Also if many addresses were looked up in both."""
    path = build(tmp_path / "a.mmdb", CITIES)
    resolver, problems, codes = MmdbResolver(files=[str(path)]), list[ResolveError](), []
    for _ in range(2):
        resolver.sources(None, problems.append)
        answers = [resolver.resolve(LONDON, problems.append) for _ in range(MANY_RECORDS + 1)]
        codes += [{answer and answer.place.country_code for answer in answers}]
        build(tmp_path / "b.mmdb", FRENCH).rename(path)

    assert [{"GB"}, {"FR"}] == codes
    assert [] == problems
