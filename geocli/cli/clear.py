"""`geocli clear`: forget rows."""

from __future__ import annotations

from typing import Annotated

import typer

from geocli.cli import options
from geocli.cli.session import Problems, open_cache
from geocli.console import write
from geocli.errors import SettingsError


def clear(
    ctx: typer.Context,
    unresolved: Annotated[bool, typer.Option("--unresolved", help="Only rows that nobody knows.")] = False,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Only rows resolved longer ago, like 90d.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Forget all rows, without being asked.")] = False,
) -> int:
    """Forget rows: those that nobody knows, old ones, or all of them with --yes."""
    if not (unresolved or older_than or yes):
        raise SettingsError(
            "clear", "say what to forget: --unresolved, --older-than AGE, or all with --yes", origin="command line"
        )
    age = options.duration_of(older_than) if older_than else None
    with open_cache(options.chosen(ctx), Problems()) as cache:
        cleared = cache.clear(unresolved=unresolved, older_than=age)
    write(f"{cleared} rows forgotten\n".encode())
    return 0
