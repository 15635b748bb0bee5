"""`geocli stats`."""

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from geocli.cli import options
from geocli.cli.options import OUTPUT, option
from geocli.cli.session import Problems, open_cache
from geocli.errors import SettingsError
from geocli.settings import COMMAND_LINE, Settings

if TYPE_CHECKING:
    from datetime import timedelta

    from geocli.stats import Stats
    from geocli.storage.directory import DataDirectory

HEALTH = "Health"
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".pdf")
"""Suffixes of pictures that are not written."""


def stats(
    ctx: typer.Context,
    format_: Annotated[
        Literal["table", "json", "prometheus"] | None,
        option(
            OUTPUT,
            "-f",
            "--format",
            text="table, json or prometheus; default: table on a terminal, else json.",
            metavar="FORMAT",
        ),
    ] = None,
    by: Annotated[
        Literal["country", "asn", "city", "source"], option(OUTPUT, text="What to count rows by.")
    ] = "country",
    top: Annotated[int, option(OUTPUT, text="Show the N most frequent ones.", metavar="N", min=0)] = 10,
    map_: Annotated[bool, option(OUTPUT, "--map", text="Draw the countries on a map of the world.")] = False,
    output: options.OutputFile = None,
    report: Annotated[
        str | None, option(OUTPUT, text="Write a page with a map and charts (HTML).", metavar="FILE")
    ] = None,
    check: Annotated[
        bool, option(HEALTH, "--check", text="Print what is unhealthy; exit with 1 if anything is.")
    ] = False,
    max_lag: Annotated[str, option(HEALTH, text="Maximum age of a dirty entry for --check.", metavar="AGE")] = "5m",
) -> int:
    """Count cached rows, and check the health of the cache."""
    from geocli.formats.statistics import print_stats

    if map_:
        _check_map(format_, output or "")
    if report is not None:
        refused = {"--check": check, "--map": map_, "-f": format_, "-o": output}
        if name := next(filter(refused.get, refused), None):
            raise SettingsError("--report", f"cannot be used with {name}", origin=COMMAND_LINE)
        return _report(options.settings_of(ctx), report)
    # Neither output shows the most frequent values.
    top = 0 if check or format_ == "prometheus" else top
    max_age, settings = options.duration_of(max_lag), options.settings_of(ctx)
    with open_cache(settings, Problems()) as cache:
        statistics = cache.stats(by=by, top=top, with_countries=map_)
    if check:
        return _check(statistics, cache.directory, max_age, settings.journal_limit_mb)
    print_stats(statistics, format_, output)
    return 0


def _check_map(format_: str | None, output: str) -> None:
    """Raise SettingsError if a map cannot be written in this format or to this file."""
    if format_ not in {None, "table"}:
        raise SettingsError("--map", f"cannot be used with -f {format_}; it needs -f table", origin=COMMAND_LINE)
    if output.lower().endswith(PICTURES):
        raise SettingsError("--map", "as a picture is an SVG file; name one that ends in .svg", origin=COMMAND_LINE)


def _report(settings: Settings, path: str) -> int:
    from geocli.cli.reports import write_cache_report
    from geocli.formats.report import TOP, check_requirements
    from geocli.formats.statistics import print_reasons

    check_requirements()
    with open_cache(settings, Problems()) as cache:
        statistics = {
            by: cache.stats(by=by, top=TOP, with_countries=by == "country") for by in ("country", "asn", "city")
        }
    print_reasons(statistics["country"].problems)
    write_cache_report(statistics, path)
    return 0


def _check(statistics: "Stats", directory: "DataDirectory", max_age: "timedelta", journal_limit_mb: int) -> int:
    """Print what is unhealthy, and return the exit status."""
    from geocli import health
    from geocli.formats.statistics import print_reasons

    reasons = health.unhealthy(statistics, directory, max_age, journal_limit_mb=journal_limit_mb)
    status = print_reasons(reasons)
    # A monitor gets no output when all is well.
    if reasons or sys.stderr.isatty():
        print_reasons(health.notes())
    return status
