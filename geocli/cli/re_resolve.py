"""`geocli re-resolve`: try unresolved rows again, refresh stale ones."""

from __future__ import annotations

from typing import Annotated

import typer

from geocli import logs
from geocli.cli import options
from geocli.cli.session import Problems, open_cache, tell
from geocli.errors import BusyError, StorageError

ROWS = "Rows"


def re_resolve(
    ctx: typer.Context,
    unresolved: Annotated[
        bool,
        typer.Option("--unresolved", help="All unresolved rows, also before their retry time.", rich_help_panel=ROWS),
    ] = False,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Rows resolved longer ago, like 30d or 12h.", rich_help_panel=ROWS)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All rows.", rich_help_panel=ROWS)] = False,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="At most so many rows.", rich_help_panel=ROWS)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the rows, and ask nobody.")] = False,
    no_flush: Annotated[bool, typer.Option("--no-flush", help="Leave the answers in the journal.")] = False,
    as_json: options.AsJson = False,
) -> int:
    """Try unresolved rows again when their time has come, and refresh rows that newer sources may know better."""
    which = options.selection(unresolved=unresolved, older_than=older_than, everything=everything)
    problems = Problems()
    with open_cache(options.chosen(ctx), problems) as cache:
        try:
            report = cache.re_resolve(which, limit=limit, dry_run=dry_run, flush=not no_flush)
        except (StorageError, BusyError) as error:  # which the answers may have met before
            if error.path.endswith("re-resolve.lock") and isinstance(error, BusyError):
                return 0  # another run is at it
            problems(error)
            return error.exit_status
    sentence = f"{report.retried} would be retried" if dry_run else report.sentence
    tell(report, sentence, as_json=as_json, always=logs.is_verbose() or dry_run)
    return problems.status
