"""`geocli clear`."""

from typing import Annotated

import typer

from geocli.cli import options
from geocli.cli.session import Problems, open_cache
from geocli.console import write
from geocli.errors import SettingsError
from geocli.settings import COMMAND_LINE


def clear(
    ctx: typer.Context,
    unresolved: Annotated[bool, typer.Option("--unresolved", help="Delete only unresolved rows.")] = False,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Delete only rows resolved longer ago, like 90d.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete all rows, without confirmation.")] = False,
) -> int:
    """Delete cached rows: unresolved ones, old ones, or all of them with --yes."""
    if not (unresolved or yes) and older_than is None:
        reason = "choose rows with --unresolved or --older-than AGE, or delete all with --yes"
        raise SettingsError("clear", reason, origin=COMMAND_LINE)
    age = options.duration_of(older_than) if older_than is not None else None
    with open_cache(options.settings_of(ctx), Problems()) as cache:
        cleared = cache.clear(unresolved=unresolved, older_than=age)
    write(f"{cleared} rows deleted\n".encode())
    return 0
