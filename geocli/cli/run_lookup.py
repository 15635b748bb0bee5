"""What `lookup` does once its options are parsed; imports no option parser, for the fast path of `__main__`."""

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
    """How the answers to a lookup are to be found and shown."""

    format: str | None = None
    """`table`, `json`, `jsonl`, `csv`, `tsv` or `value`; default: a table on a terminal, else JSON lines."""
    fields: tuple[str, ...] | None = None
    """The fields to show; default: those of the format."""
    mode: Mode = "cache"
    """Where answers come from."""
    is_quiet: bool = False
    """Whether nothing is printed but errors."""


def lookup(texts: Iterable[str], chosen: Settings, request: LookupRequest | None = None) -> int:
    """Look addresses up, print the entries, and return the exit status."""
    request = request or LookupRequest()
    problems = Problems()
    with open_cache(chosen.replace(service_wait_seconds=0.0), problems) as cache, timed("looked up") as facts:
        found = list(cache.lookup_batch(texts, mode=request.mode))
        facts |= {"addresses": len(found), "cached": sum(entry.cached for entry in found)}
    if not request.is_quiet:
        show(found, request, cache.now)
    for entry in found:
        if entry.status == "invalid":
            complain(AddressError(entry.ip, entry.error or ""))
    if request.fields and not request.is_quiet:
        from geocli.empty_fields import EmptyFields

        empty = EmptyFields(request.fields)
        empty.see(found)
        complain_of_empty_fields(empty, chosen, request.mode)
    return problems.exit_status(max((_status(entry, request.mode) for entry in found), default=0))


def _status(entry: Entry, mode: Mode) -> int:
    if entry.status == "invalid":
        return AddressError.exit_status
    if entry.status == "unresolved":
        return ResolveError.exit_status if entry.error and mode != "cached-only" else 1
    return 0


def show(found: Sequence[Entry], request: LookupRequest, now: Callable[[], datetime]) -> None:
    """Print entries in the format that was asked for."""
    format_ = request.format or ("table" if sys.stdout.isatty() else "jsonl")
    if format_ == "table":
        from geocli.formats.cards import print_entries
        from geocli.settings import shows_flags

        print_entries(found, request.fields, now(), with_flags=sys.stdout.isatty() and shows_flags())
        return
    from geocli.formats.rows import Output

    output = Output(format_, request.fields)
    write(output.header + output.block(found))
