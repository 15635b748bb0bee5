"""`geocli db`: list, update and verify .mmdb databases."""

import sys
from typing import Annotated, Literal

import typer

from geocli import logs
from geocli.cli import options
from geocli.cli.examples import epilog
from geocli.cli.session import Problems
from geocli.console import write
from geocli.errors import GeocliError
from geocli.sanitize import safe

db = typer.Typer(
    name="db",
    epilog=epilog("db"),
    help="List, update and verify .mmdb databases.",
    no_args_is_help=True,
    add_completion=False,
)


@db.command("list", epilog=epilog("db list"))
def list_(
    ctx: typer.Context,
    format_: Annotated[
        Literal["table", "json"] | None, typer.Option("-f", "--format", help="Default: table on a terminal, else json.")
    ] = None,
) -> int:
    """List the databases in the order in which they are asked."""
    from geocli.cache import utc_now
    from geocli.formats import database_list
    from geocli.formats.rows import json_text
    from geocli.formats.statistics import databases_json
    from geocli.stats import databases, missing_directories

    settings = options.settings_of(ctx)
    rows = [*databases(settings), *missing_directories(settings)]
    if (format_ or ("table" if sys.stdout.isatty() else "json")) == "table":
        database_list.print_databases(rows, utc_now())
    else:
        write(json_text(databases_json(rows)).encode() + b"\n")
    return 0


@db.command("update", epilog=epilog("db update"))
def update(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]",
            help="dbip-city-lite, dbip-country-lite, dbip-asn-lite, or an edition of MaxMind, such as GeoLite2-City.",
        ),
    ] = None,
) -> int:
    """Download newer databases.

    Default: those that are installed, else the editions that GeoIP.conf or
    GEOIPUPDATE_EDITION_IDS names, else dbip-city-lite and dbip-asn-lite. A file
    is replaced when the new one is complete and has been tested.
    """
    from geocli.cache import utc_now
    from geocli.databases.update import update as update_databases
    from geocli.formats import database_list, progress
    from geocli.privileges import acting_as_owner

    problems = Problems()
    with progress.bars(of_bytes=True) as on_read:
        replaced = update_databases(
            names or (),
            options.settings_of(ctx),
            utc_now(),
            on_problem=problems.fail,
            warn=problems,
            on_read=on_read,
            acting=acting_as_owner,
        )
    if sys.stderr.isatty() or logs.is_verbose():
        database_list.print_replaced(replaced)
    return problems.status


@db.command("verify", epilog=epilog("db verify"))
def verify(
    ctx: typer.Context,
    files: Annotated[list[str] | None, typer.Argument(metavar="[FILE...]", help="Default: all listed ones.")] = None,
) -> int:
    """Compare databases with their hash at installation, and read every record.

    To replace one by hand, write the new file to the same directory, and rename
    it with mv, as geocli db update does: programs that have a file open crash or
    give wrong answers when it is truncated or overwritten.
    """
    from geocli.databases.verify import verify as verify_file
    from geocli.formats import progress
    from geocli.stats import databases

    problems = Problems()
    paths = files or [row.path for row in databases(options.settings_of(ctx))]
    if not paths:
        write(b"no .mmdb file was found\n")
    for path in paths:
        try:
            with progress.bars(of_bytes=False) as on_read:
                kinds = verify_file(path, on_read)
            records = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
            records = next(iter(kinds)) if len(kinds) == 1 else records
            write(f"{safe(path)}: {kinds.total()} networks, sound; records: {records}\n".encode())
        except GeocliError as error:
            problems.fail(error)
    return problems.status
