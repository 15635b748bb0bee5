"""What `batch` does once its options are parsed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from geocli.cli.session import Problems, complain_of_empty_fields, open_cache
from geocli.console import close_output
from geocli.errors import GeocliError, SettingsError
from geocli.logs import is_verbose, timed

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    from geocli.bulk.pipeline import BatchReport, BatchRequest, ClusterRequest
    from geocli.cache import GeoCache
    from geocli.settings import Settings

    Answer: TypeAlias = Callable[..., BatchReport]

MEGABYTE = 1_000_000


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
        from geocli.cluster.forkserver import loaded_workers

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
    complain_of_empty_fields(report.empty, chosen, request.mode)
    if request.mode != "no-cache":
        _flush_long_journal(chosen)
    return problems.exit_status(report.exit_status)


def _flush_long_journal(chosen: Settings) -> None:
    """Flush a journal past its limit, which no cron does; who reads the output need not wait, and nobody hears of it.

    What keeps it from that is for the next flush, and for `stats --check`.
    """
    from contextlib import suppress

    from geocli.storage.dirty_check import dirty_bytes

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
        from geocli.cluster.coordinator import ClusterBatch
    except ImportError as error:
        reason = f"needs Dask ({error}); get it with: pip install '.[cluster]' in a clone of geocli"
        raise SettingsError("--cluster", reason, origin="command line") from error
    batch = ClusterBatch(cache, request, machines)
    return batch.run, batch.size_bytes
