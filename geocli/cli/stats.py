"""`geocli stats`: what is in the cache, is everything healthy?"""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from geocli.cli import options
from geocli.cli.session import Problems, open_cache
from geocli.errors import SettingsError

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
        int, typer.Option(metavar="N", min=0, help="How many of them to show.", rich_help_panel=options.OUTPUT)
    ] = 10,
    map_: Annotated[
        bool, typer.Option("--map", help="Draw where in the world they are.", rich_help_panel=options.OUTPUT)
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write to a file, put in place when complete.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Exit with 1, and say why, if something is unhealthy.", rich_help_panel=HEALTH),
    ] = False,
    max_lag: Annotated[
        str, typer.Option(metavar="AGE", help="How old a dirty entry may be for --check.", rich_help_panel=HEALTH)
    ] = "5m",
) -> int:
    """What is in the cache, and is everything healthy?"""
    from geocli import health
    from geocli.formats import tables
    from geocli.formats.statistics import print_stats

    if map_ and format_ not in {None, "table"}:
        raise SettingsError("--map", f"does not go with -f {format_}", origin="command line")
    top = 0 if check or format_ == "prometheus" else top  # which name none of them
    with open_cache(options.chosen(ctx), Problems()) as cache:
        found = cache.stats(by=by, top=top, with_countries=map_)
    if check:
        limit = options.chosen(ctx).journal_limit_mb
        reasons = health.unhealthy(found, cache.directory, options.duration_of(max_lag), journal_limit_mb=limit)
        status = tables.print_reasons(reasons)
        if reasons or sys.stderr.isatty():  # a monitor that finds all well hears nothing
            tables.print_reasons(health.notes())
        return status
    print_stats(found, format_, output)
    return 0
