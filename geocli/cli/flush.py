"""`geocli flush`."""

from typing import Annotated

import typer

from geocli import logs
from geocli.cli import options


def flush(
    ctx: typer.Context,
    as_json: options.AsJson = False,
    wait: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Wait for a flush that is running.")] = 0,
) -> int:
    """Move the journal into SQLite. For cron, every minute: silent unless something is wrong."""
    from geocli.cli.run_flush import flush as run

    return run(options.settings_of(ctx), wait_seconds=wait, as_json=as_json, is_verbose=logs.is_verbose())
