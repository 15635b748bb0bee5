"""`geocli batch`: a list of addresses through a pipe."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from geocli import actions
from geocli.commands import options


def batch(
    ctx: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE...]", help="Lists of addresses, one a line; - or nothing: standard input."),
    ] = None,
    format_: Annotated[
        Literal["csv", "tsv", "jsonl", "value"],
        typer.Option("-f", "--format", help="Format of the rows.", rich_help_panel=options.OUTPUT),
    ] = "csv",
    fields: options.Fields = None,
    no_header: Annotated[
        bool, typer.Option("--no-header", help="No header line (csv, tsv).", rich_help_panel=options.OUTPUT)
    ] = False,
    null: Annotated[bool, typer.Option("-0", "--null", help="Lines end in NUL, on both sides.")] = False,
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
    db: options.Databases = None,
    cached_only: options.CachedOnly = False,
    no_cache: options.NoCache = False,
    refresh: options.Refresh = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a line was unresolved or invalid.")] = False,
) -> int:
    """Where are the addresses of a list? One row out for each line in, in the same order."""
    from geocli.bulk.pipeline import BatchRequest, run

    if not files and sys.stdin.isatty():
        ctx.get_help()  # which prints it
        return 2
    request = BatchRequest(
        files=tuple(files or ["-"]),
        format=format_,
        fields=options.fields_of(fields),
        with_header=not no_header,
        end="\0" if null else "\n",
        output=output,
        is_strict=strict,
        mode=options.mode_of(cached_only=cached_only, no_cache=no_cache, refresh=refresh),
    )
    problems = actions.Problems()
    with actions.open_cache(options.chosen(ctx, db), problems) as cache:
        return max(run(cache, request), problems.status)
