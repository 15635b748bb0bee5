"""`batch`, after its options are parsed."""

from __future__ import annotations

import sys
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from geocli.batch.missing_addresses import complaint
from geocli.cli.session import Problems, complain_of_empty_fields, open_cache
from geocli.console import close_output, complain
from geocli.errors import GeocliError, SettingsError
from geocli.formats.progress import progress
from geocli.logs import Timed, is_verbose
from geocli.settings import COMMAND_LINE

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from geocli.batch.request import BatchRequest
    from geocli.batch.run import BatchReport
    from geocli.cache import GeoCache
    from geocli.cluster.request import ClusterRequest
    from geocli.formats.progress import Watcher
    from geocli.settings import Settings

MEGABYTE = 1_000_000


def batch(
    settings: Settings,
    request: BatchRequest,
    cluster: ClusterRequest | None = None,
    *,
    shows_progress: bool | None,
    is_quiet: bool = False,
) -> int:
    """Run a batch on this machine or on a cluster, and return the exit status.

    By default it shows progress if standard error is a terminal, and rows do not go to a terminal, too. If `is_quiet`,
    it reports neither lines without an address nor empty fields.
    """
    problems = Problems()
    if shows_progress is None:
        shows_progress = sys.stderr.isatty() and not (is_quiet or (request.output is None and sys.stdout.isatty()))
    workers = _workers(cluster)
    with open_cache(settings, problems) as cache, workers, Timed("batch", files=list(request.files)) as facts:
        if is_verbose():
            from geocli.engine.kernel import load

            facts["sources"] = ", ".join(label for label, _ in cache.sources(is_labeled=False)[0])
            facts["kernel"] = "missing" if load() is None else "loaded"
        run, total_bytes = _prepared(cache, request, cluster)
        with progress(total_bytes, is_shown=shows_progress) as watcher:
            report = run(watcher)
    _print_counts(report, request, settings, cache)
    if not is_quiet:
        if sentence := complaint(report.lines, report.request):
            complain(sentence)
        complain_of_empty_fields(report.empty, settings, request.mode)
    if request.mode != "no-cache":
        _flush_long_journal(settings)
    return problems.exit_status(report.exit_status)


def _print_counts(report: BatchReport, request: BatchRequest, settings: Settings, cache: GeoCache) -> None:
    """Write the report, the counts and the summary that were requested."""
    if request.report:
        from geocli.cli.reports import write_batch_report
        from geocli.stats import databases

        write_batch_report(report, request, request.report, databases(settings), cache.now())
    if request.count_by:
        from geocli.formats.counts import groups_of, print_groups

        tally = report.tally.reduced(request.count_by)
        groups = groups_of(request.count_by, tally.lines, tally.addresses, top=request.top, is_exact=tally.is_exact)
        print_groups(groups, request.count_format, request.output, with_header=request.with_header)
    if request.is_counted:
        from geocli.formats.counts import print_summary

        print_summary(report.counts)


def _workers(cluster: ClusterRequest | None) -> AbstractContextManager[None]:
    """Return a context with the process that workers on this machine are forked from, if there are to be any."""
    if cluster is None or not cluster.workers:
        return nullcontext()
    from geocli.cluster.forkserver import loaded_workers

    return loaded_workers()


def _prepared(
    cache: GeoCache, request: BatchRequest, cluster: ClusterRequest | None
) -> tuple[Callable[[Watcher], BatchReport], int | None]:
    """Return a function that runs the batch, and the size of its input, if that is known."""
    if cluster is None:
        from geocli.batch.reader import total_bytes
        from geocli.batch.run import run

        return (lambda watcher: run(cache, request, watcher.read, watcher.lines)), total_bytes(request.files)
    try:
        from geocli.cluster.coordinator import ClusterBatch
    except ImportError as error:
        reason = f"needs Dask ({error}); get it with: pip install '.[cluster]' in a clone of geocli"
        raise SettingsError("--cluster", reason, origin=COMMAND_LINE) from error
    cluster_batch = ClusterBatch(cache, request, cluster)
    return (lambda watcher: cluster_batch.run(watcher.read)), cluster_batch.size_bytes


def _flush_long_journal(settings: Settings) -> None:
    """Flush a journal that has grown past its limit; readers of the output do not wait for it.

    Failures are not reported: the next flush or `stats --check` will report them.
    """
    from geocli.storage.dirty_check import dirty_bytes

    if dirty_bytes(settings.data_dir) <= settings.journal_limit_mb * MEGABYTE:
        return
    impatient = settings.replace(lock_timeout_seconds=0, busy_timeout_seconds=0)
    with suppress(GeocliError, OSError, MemoryError, KeyboardInterrupt):
        close_output()
        with open_cache(impatient, Problems(is_silent=True)) as cache:
            cache.flush_dirty()
