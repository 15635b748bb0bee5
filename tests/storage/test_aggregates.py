"""Counting rows of a store, also of one that is large enough for several threads."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from geocli.models import Place
from geocli.storage.aggregates import MIN_SPAN_ROWS, organisations, tally
from geocli.storage.store import Store
from tests.helpers.entries import resolved
from tests.helpers.stores import change
from tests.storage.test_store import fill

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(str(tmp_path / "geocli.db"))) as opened:
        yield opened


def test_rows_are_counted_by_status_and_by_a_column(store: Store) -> None:
    """Unknown values are counted, too; so are wanted statuses without rows, and statuses of other programs."""
    countries = ["GB", "FR", "FR", "DE", "DE", None]
    fill(store.path, *(resolved(str(n), place=Place(country_code=code)) for n, code in enumerate(countries)))
    change(store.path, "UPDATE geo_cache SET status = 'odd' WHERE country_code = 'GB'")
    statuses = {"resolved": 5, "special": 0, "odd": 1}

    assert (statuses, {"DE": 2, "FR": 2, None: 1, "GB": 1}) == tally(store, "country_code", ("resolved", "special"))
    assert (statuses, {None: 6}) == tally(store, None, ("resolved", "special"))


def test_organisations_have_names(store: Store) -> None:
    """Names of the AS numbers that were counted, if any row has one."""
    places = [Place(asn=1, org="One"), Place(asn=1), Place(asn=2), Place(asn=3, org="Three")]
    fill(store.path, *(resolved(str(number), place=place) for number, place in enumerate(places)))
    assert {1: "One"} == organisations(store, [1, 2])
    assert {} == organisations(store, [])


@pytest.mark.parametrize("rows", [MIN_SPAN_ROWS - 1, MIN_SPAN_ROWS, 3 * MIN_SPAN_ROWS + 1])
def test_rows_of_a_large_store_are_counted_once(store: Store, rows: int) -> None:
    """Although each thread counts a part."""
    fill(store.path, resolved("1.1.1.1", place=Place(country_code="GB")))
    numbers = f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows})"
    values = "SELECT n, 'special', 'C' || (n % 3) FROM numbers"
    change(store.path, f"INSERT INTO geo_cache (ip, status, country_code) {numbers} {values}")
    expected = {f"C{number}": len(range(number or 3, rows + 1, 3)) for number in range(3)}

    statuses, countries = tally(store, "country_code", ("resolved", "special"))
    assert ({"resolved": 1, "special": rows}, {"GB": 1, **expected}) == (statuses, countries)
