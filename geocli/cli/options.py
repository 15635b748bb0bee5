"""Options that several commands share, declared once."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated

import typer

from geocli import settings
from geocli.errors import SettingsError
from geocli.immutable import Value
from geocli.languages import language_of
from geocli.models import check_fields

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from typing import Any

    from geocli.api_arguments import Mode, Which
    from geocli.bulk.pipeline import BatchRequest, ClusterRequest

SOURCES = "Sources"
OUTPUT = "Output"

Fields = Annotated[
    str | None,
    typer.Option("-F", "--fields", metavar="A,B,...", help="Fields to show, also traits.NAME.", rich_help_panel=OUTPUT),
]
Databases = Annotated[
    list[str] | None,
    typer.Option("--db", metavar="FILE", help="Ask this .mmdb file and no other; repeatable.", rich_help_panel=SOURCES),
]
CachedOnly = Annotated[bool, typer.Option("--cached-only", help="Never ask a source.", rich_help_panel=SOURCES)]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither read nor write the cache.", rich_help_panel=SOURCES)]
Refresh = Annotated[
    bool, typer.Option("--refresh", help="Ask the sources even if the answer is cached.", rich_help_panel=SOURCES)
]
Lang = Annotated[
    str | None,
    typer.Option(
        "--lang",
        metavar="LANG",
        help="Names in this language, such as de; English where there is none.",
        rich_help_panel=SOURCES,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=OUTPUT)]


class Globals(Value):
    """The options before the command."""

    data_dir: str | None = None
    """As `--data-dir` names it."""
    config: str | None = None
    """As `--config` names it."""

    def settings(self, databases: Sequence[str] | None = None) -> settings.Settings:
        """Return the settings that these options and those of the command amount to."""
        return settings.load(config=self.config, data_dir=self.data_dir, databases=databases or ())


def chosen(ctx: typer.Context, databases: Sequence[str] | None = None) -> settings.Settings:
    """Return the settings for a command."""
    options: Globals = ctx.obj
    return options.settings(databases)


def mode_of(*, cached_only: bool, no_cache: bool, refresh: bool) -> Mode:
    """Return where answers are to come from.

    Raises:
        SettingsError: the options contradict each other.

    """
    modes: dict[Mode, bool] = {"cached-only": cached_only, "no-cache": no_cache, "refresh": refresh}
    named = [mode for mode, is_named in modes.items() if is_named]
    if len(named) > 1:
        raise SettingsError(" and ".join(f"--{mode}" for mode in named), "contradict each other", origin="command line")
    return named[0] if named else "cache"


def in_language(chosen: settings.Settings, lang: str | None, mode: Mode) -> tuple[settings.Settings, Mode]:
    """Return the settings and the mode for names in a language; default: the configured one.

    Answers with names in another language are neither read from the cache nor written to it.

    Raises:
        SettingsError: the text is not a language, or the cache alone is to be read in another one.

    """
    if lang is None or (language := language_of(lang, "--lang")) == chosen.language:
        return chosen, mode
    if mode == "cached-only":
        reason = f"contradict each other: the names in the cache are for the language {chosen.language}"
        raise SettingsError("--lang and --cached-only", reason, origin="command line")
    return chosen.replace(language=language), "no-cache"


def selection(*, unresolved: bool, older_than: str | None, everything: bool) -> Which:
    """Return which rows to resolve again: `due`, `unresolved`, `all`, or the age of the youngest of them.

    Raises:
        SettingsError: the options contradict each other.

    """
    if unresolved + everything + bool(older_than) > 1:
        raise SettingsError("--unresolved, --older-than, --all", "choose one of them", origin="command line")
    if older_than:
        return duration_of(older_than)
    return "unresolved" if unresolved else "all" if everything else "due"


def fields_of(text: str | None) -> tuple[str, ...] | None:
    """Return the fields that a comma-separated text names.

    Raises:
        SettingsError: one is unknown.

    """
    return None if text is None else check_fields([name.strip() for name in text.split(",")])


def duration_of(text: str) -> timedelta:
    """Read a duration like `30d`, `12h`, `90m`, `45s` or `2w`.

    >>> duration_of("2w")
    datetime.timedelta(days=14)

    Raises:
        SettingsError: the text is none.

    """
    from datetime import timedelta

    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
    number, unit = text[:-1], text[-1:]
    try:
        if number.isascii() and number.isdecimal():
            return timedelta(**{units[unit]: int(number)})
    except (KeyError, OverflowError):
        pass
    raise SettingsError(text, "not a duration like 30d, 12h, 90m or 45s", origin="command line")


def bytes_of(text: str) -> int:
    """Read a number of bytes like `64MB`, `512kB`, `1GiB` or `4096`.

    Raises:
        SettingsError: the text is none.

    """
    number = text.rstrip("kKMGiB ")
    factor = _BYTES.get(text[len(number) :].strip().lower().removesuffix("b"))
    if not (factor and number.isascii() and number.isdecimal() and int(number)):
        raise SettingsError(text, "not a size like 64MB, 512kB or 1GiB", origin="command line")
    return int(number) * factor


_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}


def cluster_request(address: str | None, *, block_size: str | None, merge: bool, resume: bool) -> ClusterRequest | None:
    """Return on which machines a batch is to run; None for this one alone.

    Raises:
        SettingsError: there are options for more machines, but not which, or Dask is not installed.

    """
    given = {"--block-size": block_size, "--merge": merge, "--resume": resume}
    if address is None:
        if wrong := next((name for name, value in given.items() if value), None):
            raise SettingsError(wrong, "goes with --cluster only", origin="command line")
        return None
    kind, _, number = address.partition(":")
    if kind == "local" and not (number.isascii() and number.isdecimal() and int(number)):
        raise SettingsError(f"--cluster {address}", "say how many workers, as in local:4", origin="command line")
    from geocli.bulk.pipeline import ClusterRequest

    more: dict[str, Any] = {} if block_size is None else {"block_bytes": bytes_of(block_size)}
    return ClusterRequest(address=address, is_merged=merge, is_resumed=resume, **more)


def batch_request(
    files: Sequence[str],
    *,
    form: str | None,
    delimiter: str | None,
    null: bool,
    format_: str | None,
    jobs: int | None,
    **others: Any,
) -> BatchRequest:
    """Return what a batch is asked, if its options go together.

    Raises:
        SettingsError: they contradict each other, or the input.

    """
    from geocli.bulk.pipeline import BatchRequest

    is_extract = others["is_extract"]
    forms = sorted({"log" if is_extract else form_of(path) for path in files})
    if form is None and len(forms) > 1:
        raise SettingsError("-i", f"the files look like {' and '.join(forms)}; say which", origin="command line")
    form = form or forms[0]
    given = {"-c": others["column"], "--prefix": others["prefix"], "--delimiter": delimiter, "-0": null, "-f": format_}
    fitting = _FITTING[form] | ({"-f"} if is_extract else set())
    wrong = [name for name, value in given.items() if value and name not in fitting]
    if wrong or (is_extract and form != "log"):
        name = (*wrong, "--extract")[0]
        raise SettingsError(name, f"does not go with {form} input", origin="command line")
    return BatchRequest(
        files=tuple(files),
        input=form,
        delimiter=_delimiter_of(delimiter, files[0]),
        end="\0" if null else "\n",
        format=format_ or "csv",
        jobs=jobs or len(os.sched_getaffinity(0)),
        **others,
    )


ENDINGS = {"csv": "csv", "tsv": "csv", "jsonl": "jsonl", "ndjson": "jsonl", "log": "log"}
"""The form that the ending of a file's name stands for."""
LOG_NAMES = frozenset({"syslog", "messages", "secure", "maillog"})
"""Logs without an ending, beside those that end in `_log`."""
ROTATED = re.compile(r"(?:[.-](?:[0-9]+|old))+\Z")
"""What logrotate and others append."""
_FITTING = {
    "list": {"-0", "-f"},
    "csv": {"-c", "--prefix", "--delimiter"},
    "jsonl": {"-c", "--prefix"},
    "log": set[str](),
}
"""The options that go with some forms of input only."""


def _delimiter_of(text: str | None, path: str) -> str:
    r"""Return what divides cells: as named, `tab` and `\t` too, else by the ending of the file's name."""
    if text is None:
        return "\t" if _unrotated(path).endswith(".tsv") else ","
    found = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(found) != 1 or not found.isascii() or found in '"\r\n\0':
        raise SettingsError("--delimiter", f"{text!r} is not one character", origin="command line")
    return found


def form_of(path: str) -> str:
    """Return the form of input that a file's name stands for, also if it was rotated: `access.log-20261126.gz`."""
    name = _unrotated(path)
    if name in LOG_NAMES or name.endswith("_log"):
        return "log"
    return ENDINGS.get(name.rpartition(".")[2], "list") if "." in name else "list"


def _unrotated(path: str) -> str:
    return ROTATED.sub("", os.path.basename(path).lower().removesuffix(".gz"))
