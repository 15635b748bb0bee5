"""`lookup`, after its options are parsed."""

from __future__ import annotations

import os
import sys

from geocli.cli.session import Problems, complain_of_empty_fields, open_cache
from geocli.console import complain, write
from geocli.errors import AddressError, ResolveError
from geocli.logs import Timed
from geocli.models import Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from geocli.api_arguments import Mode
    from geocli.settings import Settings


def lookup(
    texts: Iterable[str],
    settings: Settings,
    *,
    format_: str | None = None,
    fields: tuple[str, ...] | None = None,
    mode: Mode = "cache",
    is_quiet: bool = False,
    top: int | None = None,
) -> int:
    """Look up addresses and networks, print the entries unless `is_quiet`, and return the exit status.

    `top` is the number of answers in the table of a network.
    """
    problems = Problems()
    format_ = format_ or ("table" if sys.stdout.isatty() else "jsonl")
    with open_cache(settings.replace(service_wait_seconds=0.0), problems) as cache, Timed("looked up") as facts:
        entries = list(cache.lookup_batch(texts, mode=mode))
        facts |= {"addresses": len(entries), "cached": sum(entry.cached for entry in entries)}
        networks_status = None
        if _has_invalid(entries):
            from geocli.cli.run_network_lookup import NetworksOutput
            from geocli.engine.network_lookup import with_networks

            items = with_networks(cache, entries, mode)
            entries = _entries(items)
            if len(entries) < len(items):
                output = NetworksOutput(cache, mode, format_, fields, top)
                networks_status = output.check(items) if is_quiet else output.write(items)
    prints_entries = not is_quiet and networks_status is None
    if prints_entries:
        _print(entries, format_, fields, cache.now)
    _complain_of_invalid(entries)
    if prints_entries:
        _complain_of_empty(entries, fields, settings, mode)
    return problems.exit_status(max([networks_status or 0, *(_status(entry, mode) for entry in entries)]))


def _entries(items: Iterable[object]) -> list[Entry]:
    return [item for item in items if isinstance(item, Entry)]


def _has_invalid(entries: Iterable[Entry]) -> bool:
    return any(entry.status == "invalid" for entry in entries)


def _complain_of_empty(entries: Sequence[Entry], fields: Sequence[str] | None, settings: Settings, mode: Mode) -> None:
    """Report chosen fields that are empty in all entries."""
    if not fields:
        return
    from geocli.empty_fields import EmptyFields

    empty = EmptyFields(fields)
    empty.see(entries)
    complain_of_empty_fields(empty, settings, mode)


def _complain_of_invalid(entries: Iterable[Entry]) -> None:
    for entry in entries:
        if entry.status == "invalid":
            complain(AddressError(entry.ip, _reason(entry)))


def _reason(entry: Entry) -> str:
    """Return why a string is not an address."""
    if os.path.isfile(entry.ip):
        from shlex import quote

        return f"a file, not an address; to look up the addresses in it: geocli batch {quote(entry.ip)}"
    return entry.error or ""


def _status(entry: Entry, mode: Mode) -> int:
    if entry.status == "invalid":
        return AddressError.exit_status
    if entry.status == "unresolved":
        return ResolveError.exit_status if entry.error and mode != "cached-only" else 1
    return 0


def _print(entries: Sequence[Entry], format_: str, fields: tuple[str, ...] | None, now: Callable[[], datetime]) -> None:
    if format_ == "table":
        from geocli.formats.cards import print_entries

        print_entries(entries, fields, now())
        return
    from geocli.formats.rows import Output

    output = Output(format_, fields)
    write(output.header + output.block(entries))
