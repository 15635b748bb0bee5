"""`lookup`, after its options are parsed."""

from __future__ import annotations

import sys

from geocli.cli.session import Problems, complain_of_empty_fields, open_cache
from geocli.console import complain, write
from geocli.errors import AddressError, ResolveError
from geocli.immutable import Value
from geocli.logs import timed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from geocli.api_arguments import Mode
    from geocli.models import Entry
    from geocli.settings import Settings


class LookupRequest(Value):
    """Where answers come from, and how they are printed."""

    format: str | None = None
    """`table`, `json`, `jsonl`, `csv`, `tsv` or `value`; default: a table on a terminal, else JSON lines."""
    fields: tuple[str, ...] | None = None
    """Fields to print; default: those of the format."""
    mode: Mode = "cache"
    is_quiet: bool = False
    """Whether only errors are printed."""


def lookup(texts: Iterable[str], settings: Settings, request: LookupRequest | None = None) -> int:
    """Look up addresses, print the entries, and return the exit status."""
    request = request or LookupRequest()
    problems = Problems()
    with open_cache(settings.replace(service_wait_seconds=0.0), problems) as cache, timed("looked up") as facts:
        entries = list(cache.lookup_batch(texts, mode=request.mode))
        facts |= {"addresses": len(entries), "cached": sum(entry.cached for entry in entries)}
    if not request.is_quiet:
        _print(entries, request, cache.now)
    for entry in entries:
        if entry.status == "invalid":
            complain(AddressError(entry.ip, entry.error or ""))
    if request.fields and not request.is_quiet:
        from geocli.empty_fields import EmptyFields

        empty = EmptyFields(request.fields)
        empty.see(entries)
        complain_of_empty_fields(empty, settings, request.mode)
    return problems.exit_status(max((_status(entry, request.mode) for entry in entries), default=0))


def _status(entry: Entry, mode: Mode) -> int:
    if entry.status == "invalid":
        return AddressError.exit_status
    if entry.status == "unresolved":
        return ResolveError.exit_status if entry.error and mode != "cached-only" else 1
    return 0


def _print(entries: Sequence[Entry], request: LookupRequest, now: Callable[[], datetime]) -> None:
    format_ = request.format or ("table" if sys.stdout.isatty() else "jsonl")
    if format_ == "table":
        from geocli.formats.cards import print_entries
        from geocli.settings import shows_flags

        print_entries(entries, request.fields, now(), with_flags=sys.stdout.isatty() and shows_flags())
        return
    from geocli.formats.rows import Output

    output = Output(format_, request.fields)
    write(output.header + output.block(entries))
