"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from geocli.errors import SettingsError
from geocli.immutable import Value
from geocli.languages import language_of
from geocli.models import KNOWN_FIELDS, check_fields
from geocli.settings import COMMAND_LINE, load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from geocli.api_arguments import Mode
    from geocli.settings import Settings

SOURCES, OUTPUT, SELECTION = "Sources", "Output", "Selection"
"""Panels of the help."""


def option(panel: str, *names: str, text: str, **more: Any) -> Any:
    """Return an option with a help text in a panel."""
    return typer.Option(*names, help=text, rich_help_panel=panel, **more)


Fields = Annotated[
    list[str] | None,
    option(OUTPUT, "-F", "--fields", text="Fields to print, also traits.NAME; repeatable.", metavar="A,B,..."),
]
OutputFile = Annotated[
    str | None, option(OUTPUT, "-o", "--output", text="Write to a file, replaced when complete.", metavar="FILE")
]
Databases = Annotated[
    list[str] | None, option(SOURCES, "--db", text="Use only this .mmdb file; repeatable.", metavar="FILE")
]
CachedOnly = Annotated[bool, option(SOURCES, "--cached-only", text="Read only the cache.")]
NoCache = Annotated[bool, option(SOURCES, "--no-cache", text="Neither read nor write the cache.")]
Refresh = Annotated[bool, option(SOURCES, "--refresh", text="Ask the sources even if the answer is cached.")]
Lang = Annotated[
    str | None,
    option(SOURCES, "--lang", text="Language of names, such as de; English where a name is missing.", metavar="LANG"),
]
AsJson = Annotated[bool, option(OUTPUT, "--json", text="Print a JSON object.")]


class Globals(Value):
    """The options before the command."""

    data_dir: str | None = None
    config: str | None = None


def settings_of(ctx: typer.Context, databases: Sequence[str] | None = None) -> Settings:
    """Return the settings of a command."""
    options: Globals = ctx.obj or Globals()
    return load(config=options.config, data_dir=options.data_dir, databases=databases or ())


def mode_of(*, cached_only: bool, no_cache: bool, refresh: bool) -> Mode:
    """Return where answers come from."""
    modes: dict[Mode, bool] = {"cached-only": cached_only, "no-cache": no_cache, "refresh": refresh}
    chosen = [mode for mode, is_chosen in modes.items() if is_chosen]
    if len(chosen) > 1:
        raise SettingsError(
            " and ".join(f"--{mode}" for mode in chosen), "contradict each other; choose one", origin=COMMAND_LINE
        )
    return chosen[0] if chosen else "cache"


def in_language(settings: Settings, lang: str | None, mode: Mode) -> tuple[Settings, Mode]:
    """Return the settings and the mode for names in a language; default: the configured one.

    Answers with names in another language are neither read from the cache nor written to it.
    """
    if lang is None or (language := language_of(lang, "--lang")) == settings.language:
        return settings, mode
    if mode == "cached-only":
        reason = f"contradict each other: the names in the cache are for the language {settings.language}"
        raise SettingsError("--lang and --cached-only", reason, origin=COMMAND_LINE)
    return settings.replace(language=language), "no-cache"


def fields_of(lists: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the fields in comma-separated lists, each once; traits of common databases need no prefix."""
    if not lists:
        return None
    names = [name.strip() for name in ",".join(lists).split(",")]
    if not set(KNOWN_FIELDS).issuperset(names):
        from geocli.selection import TRAITS

        names = [f"traits.{name}" if name in TRAITS else name for name in names]
    return tuple(dict.fromkeys(check_fields(names)))


def duration_of(text: str) -> timedelta:
    """Parse a duration like `30d`, `12h`, `90m`, `45s` or `2w`.

    >>> duration_of("2w")
    datetime.timedelta(days=14)
    """
    from datetime import timedelta

    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
    number, unit = text[:-1], text[-1:]
    try:
        if number.isascii() and number.isdecimal():
            return timedelta(**{units[unit]: int(number)})
    except (KeyError, OverflowError):
        pass
    raise SettingsError(text or "empty", "not a duration like 30d, 12h, 90m or 45s", origin=COMMAND_LINE)
