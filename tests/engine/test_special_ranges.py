"""The kernel finds the scope of an address that a lookup finds, and no prefix has two."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocli import addresses
from geocli.databases.database import Database
from geocli.databases.discovery import examine
from geocli.engine.special_ranges import SCOPES, special_ranges
from tests.helpers.kernel_walks import Walk, Walker
from tests.helpers.search_trees import Trie

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    Address: TypeAlias = IPv4Address | IPv6Address


def edges(version: int) -> list[Address]:
    """Return the first and last address of each special range, and those before and behind them."""
    kind = IPv4Address if version == 4 else IPv6Address
    most = (1 << (32 if version == 4 else 128)) - 1
    ends = [end + step for first, last, _ in addresses.ranges(version) for end in (first, last) for step in (-1, 0, 1)]
    return [kind(number) for number in sorted({0, most, *ends}) if 0 <= number <= most]


def scopes(walker: Walker, asked: Iterable[Address]) -> list[str | None]:
    return [
        SCOPES[walk.scope] if isinstance(walk, Walk) else "embedded"
        for walk in walker.walk([str(one) for one in asked])
    ]


def expected(asked: Sequence[Address]) -> list[str | None]:
    return [
        "embedded"
        if addresses.embedded(address) is not None or (address.version == 6 and 0xFFFF < int(address) < 1 << 64)
        else addresses.scope(address)
        for address in asked
    ]


@pytest.mark.parametrize("version", [4, 6])
def test_every_edge(version: int) -> None:
    """Of each range; an address that embeds one of IPv4 is left to a lookup. The second time the table has them."""
    walker, asked = Walker([], has_scopes=True), edges(version)

    assert expected(asked) == scopes(walker, asked)
    assert expected(asked) == scopes(walker, reversed(asked))[::-1]


def test_every_edge_with_records_for_more_or_less(tmp_path: Path) -> None:
    """The table has no answer for addresses of two scopes, however large or small the networks of a database are."""
    for number, networks in enumerate(
        (["0.0.0.0/1", "128.0.0.0/1"], ["0.0.0.0/1", "128.0.0.0/2"], ["10.0.0.0/7", "100.64.0.0/9"])
    ):
        path = Trie(networks, ip_version=4).write(tmp_path / f"{number}.mmdb", 24)
        walker, asked = Walker([Database(examine(str(path)))], has_scopes=True), edges(4)
        for _ in range(2):
            assert expected(asked) == scopes(walker, asked)
            assert expected(asked) == scopes(walker, reversed(asked))[::-1]


WALKER = Walker([], has_scopes=True)


@given(st.lists(st.ip_addresses(), max_size=20))
def test_any_addresses(asked: list[Address]) -> None:
    """Of both families, whatever was asked before."""
    assert expected(asked) == scopes(WALKER, asked)


def test_ipv4_prefixes_of_one_scope_have_one_scope() -> None:
    """They follow each other without a gap, and no special range begins or ends within one."""
    _, (starts, kinds, lengths, *_) = special_ranges()
    networks = [ip_network(pair) for pair in zip(map(IPv4Address, starts), lengths, strict=True)]
    borders = {int(address) for address in edges(4)}

    assert [int(after[0]) for _, after in pairwise(networks)] == [int(one[-1]) + 1 for one, _ in pairwise(networks)]
    assert (0, (1 << 32) - 1) == (int(networks[0][0]), int(networks[-1][-1]))
    for network, kind in zip(networks, kinds, strict=True):
        inside = [at for at in borders if int(network[0]) <= at <= int(network[-1])]
        for number in (int(network[0]), int(network[-1]), *inside):
            assert SCOPES[kind] == addresses.scope(ip_address(number))
