"""`geocli re-resolve`."""

from typing import TYPE_CHECKING, Annotated

import typer

from geocli import logs
from geocli.cli import options
from geocli.cli.options import option
from geocli.cli.session import Problems, open_cache, print_report
from geocli.errors import BusyError, SettingsError, StorageError
from geocli.settings import COMMAND_LINE

if TYPE_CHECKING:
    from geocli.api_arguments import Which

ROWS = "Rows"


def re_resolve(
    ctx: typer.Context,
    unresolved: Annotated[
        bool, option(ROWS, "--unresolved", text="All unresolved rows, even before their retry time.")
    ] = False,
    older_than: Annotated[
        str | None, option(ROWS, text="Rows resolved longer ago, like 30d or 12h.", metavar="AGE")
    ] = None,
    everything: Annotated[bool, option(ROWS, "--all", text="All rows.")] = False,
    limit: Annotated[int | None, option(ROWS, text="At most N rows.", metavar="N", min=0)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the rows.")] = False,
    no_flush: Annotated[bool, typer.Option("--no-flush", help="Leave the answers in the journal.")] = False,
    as_json: options.AsJson = False,
) -> int:
    """Resolve rows again: by default unresolved ones whose retry time has come, and stale ones."""
    which = _selection(unresolved=unresolved, older_than=older_than, everything=everything)
    problems = Problems()
    with open_cache(options.settings_of(ctx), problems) as cache:
        try:
            report = cache.re_resolve(which, limit=limit, dry_run=dry_run, flush=not no_flush)
        except (StorageError, BusyError) as error:
            # The lookups may have reported the same error.
            if error.path.endswith("re-resolve.lock") and isinstance(error, BusyError):
                # Another run holds the lock.
                return 0
            problems(error)
            return error.exit_status
    sentence = f"{report.retried} would be retried" if dry_run else report.sentence
    print_report(report, sentence, as_json=as_json, always=logs.is_verbose() or dry_run)
    return problems.status


def _selection(*, unresolved: bool, older_than: str | None, everything: bool) -> "Which":
    """Return which rows to resolve again: `due`, `unresolved`, `all`, or those of at least an age."""
    if unresolved + everything + (older_than is not None) > 1:
        raise SettingsError("--unresolved, --older-than, --all", "choose one of them", origin=COMMAND_LINE)
    if older_than is not None:
        return options.duration_of(older_than)
    return "unresolved" if unresolved else "all" if everything else "due"
