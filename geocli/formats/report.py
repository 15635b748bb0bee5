"""A page about a batch or the cache: one static HTML file with pictures and a table for each.

It needs the extra `report`: pygal draws the charts, and jinja2 fills `report.html`, where all text is escaped.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from geocli.countries import country_name
from geocli.databases.licences import ATTRIBUTIONS
from geocli.databases.titles import title_of
from geocli.errors import SettingsError
from geocli.files.atomic import output_to
from geocli.formats.svg_map import STYLE, classes, country_map
from geocli.formats.terminal import ago, share_text
from geocli.immutable import Value
from geocli.sanitize import safe
from geocli.settings import COMMAND_LINE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from geocli.stats import DatabaseStats

TEMPLATE = os.path.join(os.path.dirname(__file__), "report.html")
TOP = 15
"""Number of countries, networks and cities that are shown."""
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


class Report(Value):
    """The contents of a page."""

    title: str
    """The names of the files, or of the cache."""
    at: datetime
    """Time of the report; UTC."""
    rows: str
    """Unit of the counts: `lines` or `addresses`."""
    total: int
    """Number of all rows."""
    facts: Sequence[tuple[str, str]]
    """Other totals: names and numbers."""
    countries: Mapping[str, int]
    """Rows by country code."""
    networks: Mapping[str, int]
    """Rows by the name of the network."""
    cities: Mapping[str, int]
    """Rows by the name of the city."""
    without_place: Mapping[str, int]
    """Rows without a place, by their kind."""
    step: timedelta = MINUTE
    """Length of a step of the time line."""
    times: Sequence[tuple[datetime, int]] = ()
    """Steps of the time line: their beginning, and lines."""
    databases: Sequence[DatabaseStats] = ()
    """Databases in their order."""


class Section(NamedTuple):
    """A picture and its table."""

    title: str
    picture: str
    """SVG; empty for a table alone."""
    columns: Sequence[str]
    """Names of the columns; all but the first have numbers."""
    rows: Sequence[Sequence[str]]
    note: str = ""
    legend: Sequence[tuple[str, str]] = ()
    """Classes of colours, and their meanings."""


def check_requirements() -> None:
    """Raise SettingsError if the libraries of a report are not installed."""
    try:
        import jinja2  # noqa: F401
        import pygal  # noqa: F401
    except ImportError as error:
        reason = f"needs pygal and jinja2 ({error}); get them with: pip install '.[report]' in a clone of geocli"
        raise SettingsError("--report", reason, origin=COMMAND_LINE) from error


def write_report(report: Report, path: str) -> None:
    """Replace a file with the page."""
    from jinja2 import Environment
    from markupsafe import Markup

    with open(TEMPLATE, encoding="utf-8") as file:
        template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(file.read())
    text = template.render(
        title=safe(report.title),
        at=f"{report.at:%Y-%m-%d %H:%M} UTC",
        facts=[(report.rows, f"{report.total:,}"), *report.facts],
        sections=[section._replace(picture=Markup(section.picture)) for section in _sections(report)],  # noqa: S704 (made here)
        databases=[_database(database, report.at) for database in report.databases],
        built_in=ATTRIBUTIONS["rir"],
        attributions=dict.fromkeys(filter(None, (database.attribution for database in report.databases))),
        style=Markup(STYLE),  # noqa: S704 (a constant)
    )
    with output_to(path) as put:
        put(text.encode())


def _sections(report: Report) -> Iterator[Section]:
    yield _countries(report)
    if report.times:
        yield _times(report)
    if report.networks:
        yield _bars(report, "Networks", "network", report.networks)
    if report.cities:
        yield _bars(report, "Cities", "city", report.cities)
    if report.without_place:
        yield _bars(report, "Special and unresolved", "kind", report.without_place)


def _countries(report: Report) -> Section:
    names = {f"{country_name(code) or code}": count for code, count in report.countries.items()}
    legend = [
        (f"class-{number}", f"{least:,}" if least == most else f"{least:,} to {most:,}")
        for number, least, most in classes(report.countries)
    ]
    return Section(
        "Countries",
        country_map(report.countries, report.total),
        ("country", report.rows, "share"),
        _ranked(names, report.total),
        _note(names),
        legend,
    )


def _times(report: Report) -> Section:
    from geocli.formats.svg_charts import time_chart

    pattern = "%Y-%m-%d" if report.step >= DAY else "%Y-%m-%d %H:%M"
    labels = [_time_text(at, report.step) for at, _ in report.times]
    counts = [count for _, count in report.times]
    rows = [(f"{at:{pattern}}", f"{count:,}") for at, count in report.times]
    return Section(
        "Time", time_chart(labels, counts), ("from", "lines"), rows, f"One bar is {_step_text(report.step)}."
    )


def _bars(report: Report, title: str, column: str, values: Mapping[str, int]) -> Section:
    from geocli.formats.svg_charts import bar_chart

    top = _top(values)
    picture = bar_chart([safe(name) for name, _ in top], [count for _, count in top])
    return Section(title, picture, (column, report.rows, "share"), _ranked(values, report.total), _note(values))


def _top(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOP]


def _ranked(counts: Mapping[str, int], total: int) -> list[tuple[str, str, str]]:
    return [(safe(name), f"{count:,}", share_text(count, total)) for name, count in _top(counts)]


def _note(counts: Mapping[str, int]) -> str:
    return f"{len(counts) - TOP:,} more are not shown." if len(counts) > TOP else ""


def _time_text(at: datetime, step: timedelta) -> str:
    return f"{at:%Y-%m-%d}" if step >= DAY else f"{at:%m-%d %H:%M}"


def _step_text(step: timedelta) -> str:
    for unit, length in (("day", DAY), ("hour", HOUR), ("minute", MINUTE)):
        if step >= length:
            number = step // length
            return f"{number} {unit}{'s' if number > 1 else ''}"
    return str(step)


def _database(database: DatabaseStats, now: datetime) -> dict[str, Any]:
    built = database.built_at.date().isoformat() if database.built_at else ""
    return {
        "title": title_of(database.name),
        "built": built,
        "age": ago(database.built_at, now),
        "error": database.error,
    }
