"""What `lookup` and `flush` do once their options are known; knows no option parser.

So the plain forms, which shells and cron run all day, need not load one.
"""

from __future__ import annotations

import os
import sys

from geocli.console import close_output, complain, write
from geocli.errors import AddressError, BusyError, GeocliError, ResolveError, SettingsError, StoreError
from geocli.immutable import Value
from geocli.logs import is_verbose, timed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from typing import TypeAlias

    from geocli.bulk.pipeline import BatchReport, BatchRequest, ClusterRequest
    from geocli.cache import GeoCache, Mode
    from geocli.empty_fields import EmptyFields
    from geocli.models import Entry
    from geocli.settings import Settings

    Answer: TypeAlias = Callable[..., BatchReport]


MEGABYTE = 1_000_000


class Problems:
    """Says what is wrong with each file or service once, and remembers what the command must exit with because of them.

    A database or a service that fails, or a store that cannot be read, leaves answers poorer, not lost: what these
    cost is seen from the entries.
    """

    def __init__(self, *, is_silent: bool = False) -> None:
        """Begin without problems, to be told to users or not."""
        self.status = 0
        self._is_silent = is_silent
        self._failure = ResolveError.exit_status
        self._said: set[str] = set()

    def __call__(self, problem: GeocliError) -> None:
        """Take note of a problem."""
        name = getattr(problem, "row", None) or getattr(problem, "path", None) or getattr(problem, "service", problem)
        key = str(name)
        if key not in self._said:
            self._said.add(key)
            if not self._is_silent:
                complain(problem)
        if isinstance(problem, ResolveError):
            self._failure = max(self._failure, problem.exit_status)
        elif problem.exit_status >= StoreError.exit_status and not isinstance(problem, StoreError):
            self.status = max(self.status, problem.exit_status)

    def exit_status(self, status: int) -> int:
        """Return what a command exits with: at least this, and 75 if a source that failed asked for patience."""
        return max(self.status, self._failure if status == ResolveError.exit_status else status)

    def weigh(self, problem: GeocliError) -> None:
        """Take note of a problem that is the command's own, and decides what it exits with."""
        self(problem)
        self.status = max(self.status, problem.exit_status)


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


def open_cache(chosen: Settings, problems: Problems) -> GeoCache:
    """Return the cache that the settings name; root becomes the owner of its directory before anything there is opened.

    What only root can read is read before: the keys of web services, and which directories of databases there are.
    """
    from geocli.cache import GeoCache
    from geocli.files.ownership import other_owner

    if (owner := other_owner(chosen.data_dir)) is None:
        return GeoCache(chosen=chosen, on_problem=problems)
    from geocli.privileges import become

    chosen = chosen.replace(database_dirs=tuple(filter(os.path.isdir, chosen.database_dirs)))
    cache = GeoCache(chosen=chosen, on_problem=problems)
    if cache.chain.services:
        from geocli.resolvers.services import read_keys

        read_keys(cache.chain.services)
    become(owner, chosen.data_dir)
    return cache


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
        _complain_of(empty, chosen, request.mode)
    return problems.exit_status(max((_status(entry, request.mode) for entry in found), default=0))


def _complain_of(empty: EmptyFields, chosen: Settings, mode: Mode) -> None:
    """Say which of the chosen fields no resolved row has."""
    for text in empty.complaints(can_update=not chosen.databases and mode != "cached-only"):
        complain(text)


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


def batch(
    chosen: Settings, request: BatchRequest, machines: ClusterRequest | None = None, *, shows_progress: bool | None
) -> int:
    """Answer a batch, and return the exit status.

    Args:
        chosen: the settings.
        request: what is asked.
        machines: on which it runs; default: on this one.
        shows_progress: whether to show how far it is; default: if somebody sees it, and the rows are not in the way.

    """
    from contextlib import nullcontext
    from functools import partial

    from geocli.bulk.inputs import total_bytes
    from geocli.bulk.pipeline import run

    workers: AbstractContextManager[None] = nullcontext()
    if machines is not None and machines.workers:
        from geocli.bulk.forking import loaded_workers

        workers = loaded_workers()
    problems = Problems()
    if shows_progress is None:
        shows_progress = sys.stderr.isatty() and not (request.output is None and sys.stdout.isatty())
    with open_cache(chosen, problems) as cache, workers, timed("batch", files=list(request.files)) as facts:
        if is_verbose():
            facts["sources"] = ", ".join(label for label, _ in cache.sources(is_labeled=False)[0])
        answer: Answer
        if machines is None:
            answer, total = partial(run, cache, request), total_bytes(request.files)
        else:
            answer, total = _divided(cache, request, machines)
        if shows_progress:
            from geocli.formats.progress import progress

            with progress(total) as on_read:
                report = answer(on_read)
        else:
            report = answer()
    if request.is_counted:
        from geocli.formats.tables import print_summary

        print_summary(report.counts)
    _complain_of(report.empty, chosen, request.mode)
    if request.mode != "no-cache":
        _flush_long_journal(chosen)
    return problems.exit_status(report.exit_status)


def _flush_long_journal(chosen: Settings) -> None:
    """Flush a journal past its limit, which no cron does; who reads the output need not wait, and nobody hears of it.

    What keeps it from that is for the next flush, and for `stats --check`.
    """
    from contextlib import suppress

    from geocli.storage import dirty_bytes

    if dirty_bytes(chosen.data_dir) <= chosen.journal_limit_mb * MEGABYTE:
        return
    impatient = chosen.replace(lock_timeout_seconds=0, busy_timeout_seconds=0)
    with suppress(GeocliError, OSError, MemoryError, KeyboardInterrupt):
        close_output()
        with open_cache(impatient, Problems(is_silent=True)) as cache:
            cache.flush_dirty()


def _divided(cache: GeoCache, request: BatchRequest, machines: ClusterRequest) -> tuple[Answer, int]:
    """Return what answers a batch on many machines, and how many bytes it reads."""
    try:
        from geocli.bulk.cluster import ClusterBatch
    except ImportError as error:
        reason = f"needs Dask ({error}); get it with: pip install '.[cluster]' in a clone of geocli"
        raise SettingsError("--cluster", reason, origin="command line") from error
    batch = ClusterBatch(cache, request, machines)
    return batch.run, batch.size_bytes


def flush(chosen: Settings, *, wait_seconds: float = 0, as_json: bool = False, is_verbose: bool = False) -> int:
    """Flush, say what was done if somebody wants to know, and return the exit status."""
    with open_cache(chosen, Problems()) as cache:
        try:
            report = cache.flush_dirty(wait_seconds=wait_seconds)
        except BusyError as error:
            if error.path.endswith("flush.lock") and not wait_seconds:
                return 0  # another flush is at it
            raise
    tell(
        report, f"{report.flushed} entries flushed in {report.duration_seconds:g} s", as_json=as_json, always=is_verbose
    )
    return 0


def tell(report: Value, sentence: str, *, as_json: bool, always: bool = False) -> None:
    """Report what was done: as JSON on standard output, or a sentence for people, or nothing for cron."""
    if as_json:
        from geocli.formats.rows import json_text

        write(json_text(report.as_dict()).encode() + b"\n")
    elif always or sys.stderr.isatty():
        print(sentence, file=sys.stderr)  # noqa: T201 (for people)
