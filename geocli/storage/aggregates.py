"""Count the rows of the store, on all cores if there are many."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import closing
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

from geocli.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MIN_SPAN_ROWS = 100_000
"""Rows for a thread; fewer are counted faster than it starts."""


def tally(
    store: Store, column: str | None, statuses: Sequence[str]
) -> tuple[dict[str, int], Counter[str | int | None]]:
    """Count all rows by status and by the values of a column, with as many threads as there are cores.

    Without a column no sorting is needed. The statuses are counted even without rows; others follow.
    """
    sums = ", ".join("SUM(status = ?)" for _ in statuses)
    grouped = f"SELECT {column}, {sums}, COUNT(*) FROM geo_cache WHERE rowid BETWEEN ? AND ? GROUP BY 1"
    alone = f"SELECT NULL, {sums}, COUNT(*) FROM geo_cache WHERE rowid BETWEEN ? AND ?"
    by_status, by_value = dict.fromkeys(statuses, 0), Counter[str | int | None]()
    for value, *numbers, count in _in_spans(store, alone if column is None else grouped, statuses):
        by_value[value] += count
        for status, number in zip(statuses, numbers, strict=True):
            by_status[status] += number or 0
    if by_value.total() > sum(by_status.values()):  # another program wrote other statuses
        marks = ", ".join("?" * len(statuses))
        sql = f"SELECT status, COUNT(*) FROM geo_cache WHERE status NOT IN ({marks}) GROUP BY 1"
        by_status |= {str(status): number for status, number in store.query(sql, statuses)}
    return by_status, by_value


def _in_spans(store: Store, sql: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Query as many spans of the table as there are cores, in parallel, each with its own connection."""
    ends = "SELECT (SELECT MIN(rowid) FROM geo_cache), (SELECT MAX(rowid) FROM geo_cache)"
    ((first, last),) = list(store.query(ends)) or [(None, None)]
    if first is None:
        return
    count = min(len(os.sched_getaffinity(0)), -(-(last - first + 1) // MIN_SPAN_ROWS))
    borders = [first + number * (last - first + 1) // count for number in range(count + 1)]
    spans = [(*values, start, end - 1) for start, end in pairwise(borders)]
    if count == 1:
        yield from store.query(sql, spans[0])
        return

    def ask(span: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with closing(Store(store.path)) as part:
            return list(part.query(sql, span))

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(count) as pool:
        yield from chain.from_iterable(pool.map(ask, spans))


def organisations(store: Store, asns: Sequence[int]) -> dict[int, str]:
    """Return the known names of organisations by the numbers of their autonomous systems."""
    marks = ", ".join("?" * len(asns))
    rows = store.query(f"SELECT asn, MAX(org) FROM geo_cache WHERE asn IN ({marks}) GROUP BY 1", asns)
    return {asn: str(org) for asn, org in rows if org is not None}
