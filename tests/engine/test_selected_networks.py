"""An address is in the networks of a selection if a lookup of it returns an entry that is selected."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, collapse_addresses, ip_address, ip_network
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geocli.addresses import embedded
from geocli.cache import GeoCache
from geocli.databases.database import Database
from geocli.databases.discovery import examine
from geocli.engine import kernel_walk
from geocli.engine.networks import Lines, Walker
from geocli.engine.selected_networks import SelectedNetworks
from geocli.resolvers.mmdb_schemas import place_from
from geocli.selection import selection_of
from tests.helpers.record_families import FAMILIES
from tests.helpers.search_trees import SIZES, Trie

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geocli.selection import Selection

    Network: TypeAlias = Any
    """A network of `ipaddress`, of either family."""

_paths = count()
PER_TEST = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
PREFIXES = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(1, 32)),
    st.tuples(st.ip_addresses(v=6), st.integers(1, 128)),
).map(lambda drawn: str(ip_network(f"{drawn[0]}/{drawn[1]}", strict=False)))
DATABASES = st.sampled_from(sorted(FAMILIES)).flatmap(
    lambda family: st.tuples(
        st.just(family),
        st.sampled_from((4, 6)),
        st.dictionaries(PREFIXES, st.integers(0, len(FAMILIES[family]) - 1), min_size=1, max_size=8),
    )
)
SELECTIONS = st.sampled_from(
    [
        {"countries": ["NL"]},
        {"countries": ["NL,BE"], "excluded": ["asn=1103"]},
        {"asns": ["1103"]},
        {"only": ["org=surf b.v."]},
        {"only": ["city=Delft,Amsterdam"], "excluded": ["country_code=GB"]},
        {"only": ["continent_code=EU"]},
        {"only": ["is_anonymous=true"]},
        {"only": ["country_is_registered=true"]},
        {"only": ["traits.type=education"]},
        {"only": ["latitude=5,52"]},
        {"only": ["city="], "countries": ["NL"]},
        {"only": ["country_name=Netherlands"], "asns": ["15169,1103"]},
        {"only": ["scope=private,documentation"]},
        {"only": ["status=unresolved"]},
        {"only": ["status=special"]},
        {"only": ["source=GeoLite2-City,ipinfo-lite"]},
        {"excluded": ["country_code=NL,GB"]},
        {"excluded": ["asn=1103"], "only": ["status=resolved"]},
    ]
).map(lambda options: selection_of(**options))


def opened(path: Path) -> Database:
    return Database(examine(str(path)))


def written(tmp_path: Path, drawn: Sequence[tuple[str, int, dict[str, int]]], size: int) -> list[Path]:
    paths = []
    for family, version, prefixes in drawn:
        chosen = {
            prefix: FAMILIES[family][number] for prefix, number in prefixes.items() if version == 6 or ":" not in prefix
        }
        tree = Trie(chosen, ip_version=version)
        if version == 6:
            tree.alias("::ffff:0:0/96", "2002::/16")
        path = tmp_path / f"{next(_paths)}.mmdb"
        paths.append(tree.write(path, size, records=chosen, edition=family))
    return paths


def networks_of(selected: SelectedNetworks, *, is_apart: bool = False) -> list[Network]:
    lines = [selected.lines(version, Lines(), lambda _: "\n", is_apart=is_apart) for version in (4, 6)]
    return [ip_network(line) for parts in lines for line in b"".join(parts).decode().split()]


def in_python(databases: Sequence[Database], selection: Selection, monkeypatch: pytest.MonkeyPatch) -> SelectedNetworks:
    with monkeypatch.context() as patch:
        patch.setattr("geocli.engine.kernel_walk.load", lambda: None)
        selected = SelectedNetworks(databases, selection, (), "en")
    assert type(selected._walker) is Walker  # noqa: SLF001 (this is what is tested)
    return selected


def probes(networks: Sequence[Network], prefixes: Sequence[str], others: Sequence[Any]) -> list[str]:
    """Return addresses in and around networks, less those of IPv6 that contain one of IPv4."""
    edges = set(others)
    for network in (*networks, *map(ip_network, prefixes)):
        first, last = int(network[0]), int(network[-1])
        make = IPv4Address if network.version == 4 else IPv6Address
        edges |= {
            make(number) for number in (first - 1, first, last, last + 1) if 0 <= number < 1 << network.max_prefixlen
        }
    return [
        str(address)
        for address in edges
        if not (address.version == 6 and (int(address) >> 32 in {0, 0xFFFF} or embedded(address)))
    ]


@pytest.mark.slow
@PER_TEST
@given(drawn=st.lists(DATABASES, min_size=1, max_size=3), selection=SELECTIONS, data=st.data())
def test_membership_is_that_of_a_lookup(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    drawn: list[tuple[str, int, dict[str, int]]],
    selection: Selection,
    data: st.DataObject,
) -> None:
    """For databases of each family, several of them, and addresses of both families; with and without the kernel."""
    others = data.draw(st.lists(st.ip_addresses(), max_size=8))
    paths = written(tmp_path, drawn, data.draw(st.sampled_from(SIZES)))
    databases = [opened(path) for path in paths]
    networks = networks_of(SelectedNetworks(databases, selection, (), "en"))
    asked = probes(networks, [prefix for *_, prefixes in drawn for prefix in prefixes], others)
    with GeoCache(tmp_path / "data", databases=paths) as cache:
        entries = list(cache.lookup_batch(asked, mode="no-cache"))

    for text, entry in zip(asked, entries, strict=True):
        address = ip_address(text)
        assert (text, selection.matches(entry)) == (text, any(address in network for network in networks))
    assert networks == [*sorted(n for n in networks if n.version == 4), *sorted(n for n in networks if n.version == 6)]
    assert networks == networks_of(in_python(databases, selection, monkeypatch))


@pytest.mark.slow
@PER_TEST
@given(drawn=st.lists(DATABASES, min_size=1, max_size=2), selection=SELECTIONS)
def test_neighbours_are_merged_to_the_fewest_networks(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    drawn: list[tuple[str, int, dict[str, int]]],
    selection: Selection,
) -> None:
    """As `ipaddress.collapse_addresses` merges those of the databases, with the kernel and without it."""
    databases = [opened(path) for path in written(tmp_path, drawn, 24)]
    for selected in (SelectedNetworks(databases, selection, (), "en"), in_python(databases, selection, monkeypatch)):
        apart = networks_of(selected, is_apart=True)
        expected = [
            network
            for version in (4, 6)
            for network in collapse_addresses(each for each in apart if each.version == version)
        ]

        assert expected == networks_of(selected)


def test_more_combinations_than_a_table_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are judged in Python, with the same result."""
    drawn = [("GeoLite2-City", 6, {"1.2.3.0/24": 0, "2001:db8::/32": 1}), ("GeoLite2-ASN", 6, {"1.2.3.128/25": 0})]
    databases = [opened(path) for path in written(tmp_path, drawn, 24)]
    selection = selection_of(countries=["NL"], excluded=["asn=1103"])
    assert selection is not None
    expected = networks_of(SelectedNetworks(databases, selection, (), "en"))
    monkeypatch.setattr(kernel_walk, "MAX_COMBINATIONS", 10)

    assert [ip_network("1.2.3.0/25"), ip_network("2001:db8::/32")] == expected
    assert expected == networks_of(SelectedNetworks(databases, selection, (), "en"))


@pytest.mark.parametrize("number", range(2))
def test_a_place_without_a_country(tmp_path: Path, number: int) -> None:
    """It hides the country of other databases; coordinates of 0, 0 are not a place. So such records differ."""
    places = [{"location": {"latitude": degrees, "longitude": degrees}} for degrees in (0.0, 5.0)]
    records = dict(zip(("11.0.0.0/24", "11.0.1.0/24"), places[::-1] if number else places, strict=True))
    countries = {"11.0.0.0/16": {"country_code": "NL"}}
    databases = [
        opened(Trie(each, ip_version=4).write(tmp_path / f"{name}.mmdb", 24, records=each, edition=name))
        for name, each in (("GeoLite2-City", records), ("a country", countries))
    ]
    selection = selection_of(countries=["NL"])
    assert selection is not None
    networks = networks_of(SelectedNetworks(databases, selection, (), "en"))

    for address in ("11.0.0.0", "11.0.1.0"):
        with GeoCache(tmp_path / "data", databases=[each.file.path for each in databases]) as cache:
            is_selected = selection.matches(cache.lookup(address))
        assert is_selected is any(ip_address(address) in network for network in networks)
    assert 1 == sum(ip_address(address) in network for address in ("11.0.0.0", "11.0.1.0") for network in networks)


def test_few_records_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that differ only in their cities are equal for a selection of countries."""
    city: dict[str, Any] = FAMILIES["GeoLite2-City"][0]
    records = {f"11.0.{number}.0/24": {**city, "city": {"names": {"en": f"City {number}"}}} for number in range(200)}
    path = Trie(records, ip_version=4).write(tmp_path / "a.mmdb", 24, records=records, edition="GeoLite2-City")
    read: list[object] = []
    monkeypatch.setattr(
        "geocli.engine.record_classes.place_from",
        lambda record, language: place_from(read.append(record) or record, language),  # type: ignore[func-returns-value, redundant-expr]
    )
    selection = selection_of(countries=["NL"])
    assert selection is not None

    assert 3 == len(networks_of(SelectedNetworks([opened(path)], selection, (), "en")))
    assert 1 == len(read)
