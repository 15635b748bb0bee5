"""`geocli lookup`."""

from collections.abc import Iterator
from typing import Annotated, Literal

import typer

from geocli.cli import options
from geocli.cli.options import OUTPUT, option


def lookup(
    ctx: typer.Context,
    addresses: Annotated[
        list[str], typer.Argument(metavar="ADDRESS...", help="Addresses, networks or ranges; - reads standard input.")
    ],
    format_: Annotated[
        Literal["table", "json", "jsonl", "csv", "tsv", "value"] | None,
        option(
            OUTPUT,
            "-f",
            "--format",
            text="table, json, jsonl, csv, tsv or value; default: table on a terminal, else jsonl.",
            metavar="FORMAT",
        ),
    ] = None,
    fields: options.Fields = None,
    db: options.Databases = None,
    cached_only: options.CachedOnly = False,
    no_cache: options.NoCache = False,
    refresh: options.Refresh = False,
    lang: options.Lang = None,
    top: Annotated[
        int | None, option(OUTPUT, "--top", text="Answers in the table of a network; default: 10.", metavar="N", min=1)
    ] = None,
    quiet: Annotated[bool, option(OUTPUT, "-q", "--quiet", text="Print nothing, only set the exit status.")] = False,
) -> int:
    """Look up IP addresses.

    Exits with 1 if an address is unknown to all sources, 2 if one is invalid,
    3 if a database failed and no other source could answer.
    """
    from geocli.cli.run_lookup import lookup as run

    mode = options.mode_of(cached_only=cached_only, no_cache=no_cache, refresh=refresh)
    settings, mode = options.in_language(options.settings_of(ctx, db), lang, mode)
    names = options.fields_of(fields)
    texts = _lines_of_standard_input() if addresses == ["-"] else addresses
    return run(texts, settings, format_=format_, fields=names, mode=mode, is_quiet=quiet, top=top)


def _lines_of_standard_input() -> Iterator[str]:
    from geocli.batch.reader import lines

    return lines("-")
