"""Counts of a batch, as tables."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from geocli.countries import country_name
from geocli.formats.tables import Column, Listing, open_console, share_text, show

if TYPE_CHECKING:
    from collections.abc import Mapping

_SUMMARY = (
    Column("", is_fixed=True),
    Column("country"),
    Column("rows", is_number=True, is_fixed=True),
    Column("share", is_number=True, is_fixed=True),
)


def print_summary(counts: Mapping[str, int]) -> None:
    """Print the number of rows of each country and status to standard error."""
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [(code, country_name(code) or "", f"{count:,}", share_text(count, total)) for code, count in ordered]
    table = Listing(columns=_SUMMARY, rows=(*rows, ("all", "", f"{total:,}", "")))
    show(open_console(sys.stderr), table)
