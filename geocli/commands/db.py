"""`geocli db`: the .mmdb databases at hand, getting them, checking them."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from geocli import actions, logs
from geocli.commands import options
from geocli.console import write
from geocli.errors import GeocliError

app = typer.Typer(help="The .mmdb databases at hand, getting them, checking them.", no_args_is_help=True)


@app.command("list")
def list_(
    ctx: typer.Context,
    format_: Annotated[
        Literal["table", "json"] | None, typer.Option("-f", "--format", help="Default: table on a terminal, else json.")
    ] = None,
) -> int:
    """List the databases that are found, in the order in which they are asked."""
    from geocli import rendering
    from geocli.bulk.outputs import json_text
    from geocli.cache import utc_now
    from geocli.upkeep import databases

    found = databases(options.chosen(ctx))
    if (format_ or ("table" if sys.stdout.isatty() else "json")) == "table":
        rendering.print_databases(found, utc_now())
    else:
        write(json_text(rendering.databases_json(found)).encode() + b"\n")
    return 0


@app.command("update")
def update(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="dbip-city-lite, dbip-country-lite, dbip-asn-lite.")
    ] = None,
) -> int:
    """Download databases that are newer than those installed. Default: those that were installed before."""
    from geocli.cache import utc_now
    from geocli.databases import updates

    replaced = updates.update(names or (), options.chosen(ctx), utc_now())
    if sys.stderr.isatty() or logs.is_verbose():
        print(f"{', '.join(replaced) or 'nothing'} replaced. {updates.ATTRIBUTION}", file=sys.stderr)  # noqa: T201 (for people)
    return 0


@app.command("verify")
def verify(
    ctx: typer.Context,
    files: Annotated[list[str] | None, typer.Argument(metavar="[FILE...]", help="Default: all that are found.")] = None,
) -> int:
    """Compare databases with the hash that was written when they were installed, then read all of each."""
    from geocli.databases.updates import verify as verify_file
    from geocli.upkeep import databases

    problems = actions.Problems()
    found = files or [row.path for row in databases(options.chosen(ctx))]
    if not found:
        write(b"no .mmdb file was found\n")
    for path in found:
        try:
            write(f"{path}: {verify_file(path)} networks, sound\n".encode(errors="backslashreplace"))
        except GeocliError as error:
            problems(error)
            problems.status = max(problems.status, error.exit_status)
    return problems.status
