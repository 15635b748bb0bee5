"""The Typer app: the commands, the options before them, and what usage errors print."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from geocli import logs
from geocli.cli import batch, clear, db, docs, flush, lookup, options, re_resolve, stats
from geocli.console import complain, guard, write
from geocli.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Class of the copy of Click within Typer, which is not that of the package click."""


class Group(TyperGroup):
    """Maps errors of all commands to a line on stderr and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command, and exit with its status."""
        raise typer.Exit(guard(lambda: self._invoke(ctx), is_verbose=logs.is_verbose))

    def _invoke(self, ctx: Any) -> int:
        try:
            status = super().invoke(ctx)
        except typer.Exit as exit_:
            return exit_.exit_code
        except UsageError as error:
            return _explain(error)
        return status if isinstance(status, int) else 0


def _explain(error: Any) -> int:
    """Print a usage error, and return the exit status."""
    path = error.ctx.command_path if error.ctx else "geocli"
    name = path.removeprefix("geocli").strip() or "options"
    message = error.format_message().rstrip(".")
    if message.startswith("No such command") and path == "geocli":
        message += "; to look up an address: geocli lookup ADDRESS"
    option = getattr(error, "option_name", None)
    if error.ctx and error.ctx.parent and any(option in param.opts for param in error.ctx.find_root().command.params):
        message += f"; place it before the command: geocli {option} {name}"
    # The message is empty if help was printed instead.
    if message:
        complain(f"{name}: {message}; see {path} -h")
    return int(error.exit_code)


app = typer.Typer(
    name="geocli",
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("lookup")(lookup.lookup)
app.command("batch")(batch.batch)
app.command("flush")(flush.flush)
app.command("re-resolve")(re_resolve.re_resolve)
app.command("stats")(stats.stats)
app.add_typer(db.app, name="db")
app.command("clear")(clear.clear)
app.command("docs")(docs.docs)


def _show_version(value: bool) -> None:
    if value:
        write(f"geocli {__version__}\n".encode())
        raise typer.Exit


def _refuse_color(value: bool) -> None:
    if value:
        os.environ["NO_COLOR"] = "1"


@app.callback(invoke_without_command=True)
def start(
    ctx: typer.Context,
    data_dir: Annotated[str | None, typer.Option(metavar="DIR", help="Directory of the journal and the store.")] = None,
    config: Annotated[str | None, typer.Option(metavar="FILE", help="Read only this configuration file.")] = None,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log events to stderr.")] = False,
    no_color: Annotated[
        bool, typer.Option("--no-color", callback=_refuse_color, is_eager=True, help="Print without colours.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Look up where IP addresses are, and keep every answer."""
    del version, no_color
    ctx.obj = options.Globals(data_dir=data_dir, config=config)
    if verbose:
        logs.be_verbose()
    if ctx.invoked_subcommand is None:
        # Typer prints the help as it returns it.
        ctx.get_help()


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default the process's own, and return the exit status."""
    try:
        return int(get_command(app).main(arguments, prog_name="geocli", standalone_mode=False) or 0)
    except UsageError as error:
        # Only errors in the options before the command get here.
        return _explain(error)
