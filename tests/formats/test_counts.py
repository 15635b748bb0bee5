"""Tables of counts: values come before bars."""

from __future__ import annotations

import pytest

from geocli.formats.counts import groups_of, print_groups
from tests.helpers.screens import screen

COUNTS = {("GB", "Andrews & Arnold Ltd", 20712): 2, ("US", None, None): 1}


@pytest.mark.parametrize(
    ("fields", "width", "names", "bar_cells"),
    [
        (1, 80, ["country_code", "lines", "addresses", "share"], 30),
        (1, 60, ["country_code", "lines", "addresses", "share"], 10),
        (2, 80, ["country_code", "org", "lines", "addresses", "share"], 7),
        (3, 80, ["country_code", "org", "asn", "lines", "addresses", "share"], 0),
        (3, 40, ["country_c…", "lines", "addresses", "share"], 0),
    ],
)
def test_bars_take_what_the_values_leave(
    monkeypatch: pytest.MonkeyPatch, fields: int, width: int, names: list[str], bar_cells: int
) -> None:
    """They are shorter, or left out, before a value is cut."""
    counts = {values[:fields]: count for values, count in COUNTS.items()}
    groups = groups_of(("country_code", "org", "asn")[:fields], counts, counts, top=None, is_exact=True)
    shown = screen(monkeypatch, width, lambda: print_groups(groups, "table", None, with_header=True))
    header, _, first, *_ = filter(str.strip, shown.splitlines())

    assert names == header.split()
    assert bar_cells == first.count("█")
