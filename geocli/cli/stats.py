"""`geocli stats`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from geocli.cli import options
from geocli.cli.session import Problems, open_cache
from geocli.errors import SettingsError
from geocli.settings import COMMAND_LINE

if TYPE_CHECKING:
    from geocli.settings import Settings
    from geocli.stats import Stats
    from geocli.storage.directory import DataDirectory

HEALTH = "Health"


def stats(
    ctx: typer.Context,
    format_: Annotated[
        Literal["table", "json", "prometheus"] | None,
        typer.Option(
            "-f",
            "--format",
            metavar="FORMAT",
            help="table, json or prometheus; default: table on a terminal, else json.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    by: Annotated[
        Literal["country", "asn", "city", "source"],
        typer.Option(help="What to count rows by.", rich_help_panel=options.OUTPUT),
    ] = "country",
    top: Annotated[
        int, typer.Option(metavar="N", min=0, help="Show the N most frequent ones.", rich_help_panel=options.OUTPUT)
    ] = 10,
    map_: Annotated[
        bool, typer.Option("--map", help="Draw the countries on a map of the world.", rich_help_panel=options.OUTPUT)
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write to a file, replaced when complete.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    report: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write a page with a map and charts (HTML).", rich_help_panel=options.OUTPUT),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Print what is unhealthy; exit with 1 if anything is.", rich_help_panel=HEALTH),
    ] = False,
    max_lag: Annotated[
        str, typer.Option(metavar="AGE", help="Maximum age of a dirty entry for --check.", rich_help_panel=HEALTH)
    ] = "5m",
) -> int:
    """Count cached rows, and check the health of the cache."""
    from geocli.formats.statistics import print_stats

    if map_ and format_ not in {None, "table"}:
        raise SettingsError("--map", f"cannot be used with -f {format_}; it needs -f table", origin=COMMAND_LINE)
    if report is not None:
        return _report(options.settings_of(ctx), report)
    # Neither output shows the most frequent values.
    top = 0 if check or format_ == "prometheus" else top
    settings = options.settings_of(ctx)
    with open_cache(settings, Problems()) as cache:
        counted = cache.stats(by=by, top=top, with_countries=map_)
    if check:
        return _check(counted, cache.directory, max_lag, settings.journal_limit_mb)
    print_stats(counted, format_, output)
    return 0


def _report(settings: Settings, path: str) -> int:
    from geocli.cli.reports import write_cache_report
    from geocli.formats.report import TOP, check_requirements
    from geocli.formats.statistics import print_reasons

    check_requirements()
    with open_cache(settings, Problems()) as cache:
        counted = {by: cache.stats(by=by, top=TOP, with_countries=by == "country") for by in ("country", "asn", "city")}
    print_reasons(counted["country"].problems)
    write_cache_report(counted, path)
    return 0


def _check(counted: Stats, directory: DataDirectory, max_lag: str, journal_limit_mb: int) -> int:
    """Print what is unhealthy, and return the exit status."""
    from geocli import health
    from geocli.formats.statistics import print_reasons

    max_age = options.duration_of(max_lag)
    reasons = health.unhealthy(counted, directory, max_age, journal_limit_mb=journal_limit_mb)
    status = print_reasons(reasons)
    # A monitor gets no output when all is well.
    if reasons or sys.stderr.isatty():
        print_reasons(health.notes())
    return status
