"""`geocli batch`: lists, CSV, JSON lines and logs through a pipe."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from geocli import actions
from geocli.commands import options

INPUT = "Input"
Panel = options.OUTPUT


def batch(
    ctx: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE...]", help="Files to read, also .gz; - or nothing: standard input."),
    ] = None,
    input_: Annotated[
        Literal["list", "csv", "jsonl", "log"] | None,
        typer.Option(
            "-i", "--input", help="Form of the input; default: by the file's name, else list.", rich_help_panel=INPUT
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            "-c", "--column", metavar="NAME", help="Column or dotted key of the address [ip].", rich_help_panel=INPUT
        ),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option("--delimiter", metavar="CHAR", help="What divides cells of CSV [,].", rich_help_panel=INPUT),
    ] = None,
    extract: Annotated[
        bool, typer.Option("--extract", help="A row for each address in a log, not the log.", rich_help_panel=INPUT)
    ] = False,
    null: Annotated[
        bool, typer.Option("-0", "--null", help="Lines end in NUL, on both sides (list).", rich_help_panel=INPUT)
    ] = False,
    format_: Annotated[
        Literal["csv", "tsv", "jsonl", "value"] | None,
        typer.Option("-f", "--format", help="Format of the rows [csv].", rich_help_panel=Panel),
    ] = None,
    fields: options.Fields = None,
    prefix: Annotated[
        str,
        typer.Option(
            "--prefix", metavar="TEXT", help="Goes before the names of appended columns.", rich_help_panel=Panel
        ),
    ] = "",
    no_header: Annotated[
        bool, typer.Option("--no-header", help="No header line (csv, tsv).", rich_help_panel=Panel)
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write to a file, put in place when complete.", rich_help_panel=Panel
        ),
    ] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="Count the rows by country, on standard error.", rich_help_panel=Panel)
    ] = False,
    progress: Annotated[
        bool | None,
        typer.Option(
            "--progress/--no-progress", help="Show how far it is [if somebody sees it].", rich_help_panel=Panel
        ),
    ] = None,
    db: options.Databases = None,
    cached_only: options.CachedOnly = False,
    no_cache: options.NoCache = False,
    refresh: options.Refresh = False,
    jobs: Annotated[
        int | None, typer.Option("-j", "--jobs", min=1, metavar="N", help="Threads for large input [the cores].")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a line was unresolved or invalid.")] = False,
) -> int:
    """Where are the addresses of a list, a table or a log? One row out for each line in, in the same order."""
    if not files and sys.stdin.isatty():
        ctx.get_help()  # which prints it
        return 2
    request = options.batch_request(
        files or ["-"],
        input_=input_,
        delimiter=delimiter,
        null=null,
        format_=format_,
        column=column,
        prefix=prefix,
        is_extract=extract,
        fields=options.fields_of(fields),
        with_header=not no_header,
        output=output,
        is_strict=strict,
        is_counted=summary,
        jobs=jobs,
        mode=options.mode_of(cached_only=cached_only, no_cache=no_cache, refresh=refresh),
    )
    return actions.batch(options.chosen(ctx, db), request, shows_progress=progress)
