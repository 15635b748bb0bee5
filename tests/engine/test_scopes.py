"""The kernel finds the same scopes as the scalar path."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocli import addresses
from geocli.databases.database import Database
from geocli.databases.discovery import examine
from geocli.engine import networks as networks_of
from geocli.engine.search_tree import SCOPES
from tests.helpers.kernel_walks import Walk, Walker
from tests.helpers.search_trees import Trie

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    Address: TypeAlias = IPv4Address | IPv6Address


def edges(version: int) -> list[Address]:
    """Return the first and last address of each special range, and their neighbours."""
    kind = IPv4Address if version == 4 else IPv6Address
    highest = (1 << (32 if version == 4 else 128)) - 1
    ends = [end + step for first, last, _ in addresses.ranges(version) for end in (first, last) for step in (-1, 0, 1)]
    return [kind(number) for number in sorted({0, highest, *ends}) if 0 <= number <= highest]


def scopes(walker: Walker, checked: Iterable[Address]) -> list[str | None]:
    walks = walker.walk([str(address) for address in checked])
    return [SCOPES[walk.scope] if isinstance(walk, Walk) else "embedded" for walk in walks]


def expected(checked: Sequence[Address]) -> list[str | None]:
    return [
        "embedded"
        if addresses.embedded(address) is not None or (address.version == 6 and 1 < int(address) < 1 << 64)
        else addresses.scope(address)
        for address in checked
    ]


@pytest.mark.parametrize("version", [4, 6])
def test_every_edge(version: int) -> None:
    """Before and after the table is filled; addresses that embed an IPv4 address are left to the scalar path."""
    walker, checked = Walker([], has_scopes=True), edges(version)

    assert expected(checked) == scopes(walker, checked)
    assert expected(checked) == scopes(walker, reversed(checked))[::-1]


def test_every_edge_with_larger_and_smaller_networks(tmp_path: Path) -> None:
    """No entry of the table covers two scopes, however large the networks of a database are."""
    for number, networks in enumerate(
        (["0.0.0.0/1", "128.0.0.0/1"], ["0.0.0.0/1", "128.0.0.0/2"], ["10.0.0.0/7", "100.64.0.0/9"])
    ):
        path = Trie(networks, ip_version=4).write(tmp_path / f"{number}.mmdb", 24)
        walker, checked = Walker([Database(examine(str(path)))], has_scopes=True), edges(4)
        for _ in range(2):
            assert expected(checked) == scopes(walker, checked)
            assert expected(checked) == scopes(walker, reversed(checked))[::-1]


WALKER = Walker([], has_scopes=True)


@given(st.lists(st.ip_addresses(), max_size=20))
def test_any_addresses(checked: list[Address]) -> None:
    """Of both families, in any order."""
    assert expected(checked) == scopes(WALKER, checked)


def test_each_ipv4_network_has_one_scope() -> None:
    """They cover all addresses without gaps, and no special range begins or ends within one."""
    networks = list(networks_of.Walker(()).spans(4))
    borders = {int(address) for address in edges(4)}

    assert all(before.last + 1 == after.first for before, after in pairwise(networks))
    assert (0, (1 << 32) - 1) == (networks[0].first, networks[-1].last)
    for first, last, (kind,) in networks:
        assert first == first & ~(last - first)
        inside = [at for at in borders if first <= at <= last]
        for number in (first, last, *inside):
            assert SCOPES[kind] == addresses.scope(IPv4Address(number))
