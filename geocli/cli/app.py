"""The Typer app: the commands, the options before them, and what usage errors print."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from geocli import logs
from geocli.cli import is_looked_up, options
from geocli.cli.examples import epilog
from geocli.console import complain, guard, write
from geocli.version import __version__

COMMANDS = ("lookup", "batch", "networks", "flush", "re-resolve", "stats", "db", "clear", "docs")
UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Class of the copy of Click within Typer, which is not that of the package click."""


class Commands(Mapping[str, Any]):
    """The commands by name, each built when it is first needed: building all of them takes 25 ms.

    Attributes:
        shared: options that every command accepts, but does not list in its help.

    """

    def __init__(self) -> None:
        self.shared: Sequence[Any] = ()
        self._built: dict[str, Any] = {}

    def __iter__(self) -> Iterator[str]:
        """Return the names, in the order of the help."""
        return iter(COMMANDS)

    def __len__(self) -> int:
        """Return the number of commands."""
        return len(COMMANDS)

    def __getitem__(self, name: str) -> Any:
        """Return a command."""
        if name not in COMMANDS:
            raise KeyError(name)
        if name not in self._built:
            self._built[name] = command = _command(name)
            _add(command, self.shared)
        return self._built[name]


def _command(name: str) -> Any:
    """Build the command that the module of the same name defines: a function, or a group of commands."""
    word = name.replace("-", "_")
    defined = getattr(import_module(f"geocli.cli.{word}"), word)
    if isinstance(defined, typer.Typer):
        return get_command(defined)
    single = typer.Typer(add_completion=False)
    single.command(name, epilog=epilog(name))(defined)
    return get_command(single)


def _add(command: Any, params: Sequence[Any]) -> None:
    command.params = [*command.params, *params]
    for inner in getattr(command, "commands", {}).values():
        _add(inner, params)


class Group(TyperGroup):
    """Maps errors of all commands to a line on stderr and an exit status; an address as a command is looked up."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": Commands()})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command, and the arguments after it."""
        if is_looked_up(args[0]):
            return "lookup", self.commands["lookup"], args
        return super().resolve_command(ctx, args)

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
    if hint := _hint(error):
        error.possibilities = []  # of similar names
    # The message is empty if help was printed instead.
    if message := error.format_message().rstrip("."):
        complain(f"{name}: {message}{hint}; see {path} -h")
    return int(error.exit_code)


def _hint(error: Any) -> str:
    """Return what to type instead of an unknown command or option."""
    if error.ctx is None:
        return ""
    if hasattr(error, "possibilities"):
        return _hint_for_option(error.ctx, error.option_name)
    if error.ctx.info_name == "networks" and "extra argument" in error.message:
        return "; choose networks with --country NL, --asn 15169 or --only FIELD=VALUE"
    word = next((word for word in sys.argv[1:] if error.message.startswith(f"No such command '{word}'")), "")
    if not word or error.ctx.parent is not None or "Did you mean" in error.message:
        return ""
    return _hint_for_command(error.ctx.command, word)


def _hint_for_command(command: Any, word: str) -> str:
    """Return what to type instead of a word that is not a command."""
    if os.path.isfile(word):
        from shlex import quote

        return f"; to look up the addresses in this file: geocli batch {quote(word)}"
    if word == "help" or _has(command, f"--{word}"):
        return f"; try: geocli --{word}"
    return "; to look up an address: geocli lookup ADDRESS"


def _hint_for_option(ctx: Any, option: str) -> str:
    """Return the option that has this name as a value, or the command that has this option."""
    for param in sorted(ctx.command.params, key=lambda param: "--format" not in param.opts):
        if option.removeprefix("--") in getattr(param.type, "choices", ()):
            return f"; try: {param.opts[0]} {option.removeprefix('--')}"
    commands = getattr(ctx.command, "commands", {}) if ctx.parent is None else {}
    names = [name for name, command in commands.items() if _has(command, option)]
    name = next((name for name in names if name in sys.argv), names[0] if names else None)
    return f"; place it after the command: geocli {name} {option}" if name else ""


def _has(command: Any, option: str) -> bool:
    return any(option in param.opts for param in command.params)


app = typer.Typer(
    name="geocli",
    cls=Group,
    epilog=epilog(""),
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _show_version(value: bool) -> None:
    if value:
        write(f"geocli {__version__}\n".encode())
        raise typer.Exit


def _refuse_color(value: bool) -> None:
    if value:
        os.environ["NO_COLOR"] = "1"


def _log(value: bool) -> None:
    if value:
        logs.be_verbose()


def _set_global(ctx: typer.Context, param: typer.CallbackParam, value: str | None) -> None:
    if value is not None:
        ctx.obj = (ctx.obj or options.Globals()).replace(**{str(param.name): value})


def _global(*names: str, callback: Any, text: str, **more: Any) -> Any:
    return typer.Option(*names, callback=callback, help=text, **more)


@app.callback(invoke_without_command=True)
def start(
    ctx: typer.Context,
    data_dir: Annotated[
        str | None,
        _global("--data-dir", callback=_set_global, text="Directory of the journal and the store.", metavar="DIR"),
    ] = None,
    config: Annotated[
        str | None, _global("--config", callback=_set_global, text="Read only this configuration file.", metavar="FILE")
    ] = None,
    verbose: Annotated[bool, _global("-v", "--verbose", callback=_log, text="Log events to stderr.")] = False,
    no_color: Annotated[
        bool, _global("--no-color", callback=_refuse_color, is_eager=True, text="Print without colours.")
    ] = False,
    version: Annotated[
        bool, _global("--version", callback=_show_version, is_eager=True, text="Print the version.")
    ] = False,
) -> None:
    """Look up where IP addresses are, and keep every answer."""
    del data_dir, config, verbose, no_color, version
    if ctx.invoked_subcommand is None:
        # Typer prints the help as it returns it.
        ctx.get_help()


def command_line() -> Any:
    """Return the commands; each also accepts the global options."""
    root: Any = get_command(app)
    root.commands.shared = [*map(copy, root.params)]
    for param in root.commands.shared:
        param.expose_value, param.hidden = False, True
    return root


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default the process's own, and return the exit status."""
    try:
        return int(command_line().main(arguments, prog_name="geocli", standalone_mode=False) or 0)
    except UsageError as error:
        # Only errors in the options before the command get here.
        return _explain(error)
