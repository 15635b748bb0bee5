"""Counts of a batch: as tables with bars for people, and as CSV or JSON for programs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from geocli.countries import country_name
from geocli.files.atomic import output_to
from geocli.formats.rows import Output, json_text, restored
from geocli.formats.terminal import BLUE, Column, Listing, bars_of, open_console, share_text, show, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from geocli.formats.terminal import Cell

SHARE_DIGITS = 6
"""Decimal places of a share, of which 1 is the whole."""
_SUMMARY = (
    Column("", is_fixed=True),
    Column("country"),
    Column("rows", is_number=True, is_fixed=True),
    Column("share", is_number=True, is_fixed=True),
)


class Groups(NamedTuple):
    """Rows by the values of some fields, most frequent first."""

    fields: tuple[str, ...]
    rows: Sequence[tuple[tuple[Any, ...], int, int]]
    """Values, lines and distinct addresses."""
    total_lines: int
    """Number of lines, including those of groups that are left out."""
    hidden: int
    """Number of groups that are left out."""
    is_exact: bool
    """Whether all distinct addresses were counted."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return (*self.fields, "lines", "addresses" if self.is_exact else "addresses_at_least", "share")


def groups_of(
    fields: Sequence[str],
    lines: Mapping[tuple[Any, ...], int],
    addresses: Mapping[tuple[Any, ...], int],
    *,
    top: int | None,
    is_exact: bool,
) -> Groups:
    """Return the largest groups, by default all, from the lines and distinct addresses by values of the fields.

    Groups of equal size are in the order of their values.
    """
    ordered = sorted(lines, key=lambda values: (-lines[values], [(value is None, str(value)) for value in values]))
    rows = [(values, lines[values], addresses.get(values, 0)) for values in ordered[:top]]
    return Groups(tuple(fields), rows, sum(lines.values()), len(ordered) - len(rows), is_exact)


def print_groups(groups: Groups, format_: str | None, output: str | None, *, with_header: bool) -> None:
    """Print groups in a format, by default a table on a terminal, else CSV; or replace a file with them."""
    format_ = format_ or ("table" if output is None and sys.stdout.isatty() else "csv")
    if format_ == "table" and output is None:
        console = open_console()
        show(console, _table(groups, console), complete="-f jsonl")
        return
    if format_ == "table":
        text = text_of(lambda console: [_table(groups, console)])
    else:
        text = _text(groups, format_, with_header=with_header)
    with output_to(output) as put:
        put(text.encode())


def _text(groups: Groups, format_: str, *, with_header: bool) -> str:
    shares = (round(lines / groups.total_lines, SHARE_DIGITS) for _, lines, _ in groups.rows)
    rows = [
        (*map(restored, values), lines, count, share)
        for (values, lines, count), share in zip(groups.rows, shares, strict=True)
    ]
    if format_ in {"json", "jsonl"}:
        objects = [json_text(dict(zip(groups.columns, row, strict=True))) for row in rows]
        return "\n".join([*objects, ""]) if format_ == "jsonl" else "[\n  " + ",\n  ".join(objects) + "\n]\n"
    output = Output(format_, groups.columns)
    header = output.header.decode() if with_header else ""
    return header + "".join(f"{output.line([*map(output.cell, row)])}\n" for row in rows)


def _table(groups: Groups, console: Console) -> Listing:
    labels = [
        (
            *(_name(field, value) for field, value in zip(groups.fields, values, strict=True)),
            f"{lines:,}",
            f"{addresses:,}{'' if groups.is_exact else '+'}",
            share_text(lines, groups.total_lines),
        )
        for values, lines, addresses in groups.rows
    ]
    names = (*groups.fields, "lines", "addresses", "share")
    bars = bars_of([lines for _, lines, _ in groups.rows], console, (names, *labels))
    rows: list[tuple[Cell, ...]] = [(*label, (bar, BLUE)) for label, bar in zip(labels, bars, strict=True)]
    if groups.hidden:
        lines = groups.total_lines - sum(lines for _, lines, _ in groups.rows)
        rest = f"{groups.hidden:,} more"
        rows.append(
            (rest, *[""] * (len(groups.fields) - 1), f"{lines:,}", "", share_text(lines, groups.total_lines), "")
        )
    count = len(groups.fields)
    columns = [Column(name, is_number=at >= count, is_fixed=at >= count) for at, name in enumerate(names)]
    return Listing(columns=(*columns, Column("", is_minor=True)), rows=tuple(rows))


def _name(field: str, value: Any) -> str:
    if value is None:
        return f"no {field}"
    if field == "asn":
        return f"AS{value}"
    if field == "country_code":
        return f"{value} {country_name(str(value)) or ''}".strip()
    return str(value).lower() if isinstance(value, bool) else str(value)


def print_summary(counts: Mapping[str, int]) -> None:
    """Print the number of rows of each country and status to standard error."""
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [(code, country_name(code) or "", f"{count:,}", share_text(count, total)) for code, count in ordered]
    table = Listing(columns=_SUMMARY, rows=(*rows, ("all", "", f"{total:,}", "")))
    show(open_console(sys.stderr), table)
