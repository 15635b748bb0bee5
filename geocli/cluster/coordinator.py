"""The coordinator of a batch on a cluster: submits parts to workers, and appends their answers to the journal.

The scheduler runs a part again when its worker dies. Each attempt writes a file of its own; the coordinator moves one
of them to the output after its answers are on disk, so that each row is written exactly once, whatever fails.
"""

from __future__ import annotations

import logging
import zlib
from asyncio import gather
from collections import Counter, deque
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from multiprocessing import active_children
from queue import Empty, Queue
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import uuid4

import dask
from distributed import Client, Future, KilledWorker, get_worker, secede

from geocli.batch.reader import total_bytes
from geocli.batch.run import BatchReport
from geocli.cluster.forkserver import signals_delayed
from geocli.cluster.local_cluster import LocalCluster
from geocli.cluster.messages import job_of
from geocli.cluster.output_directory import OutputDirectory
from geocli.cluster.splits import recognised, split
from geocli.cluster.worker import payloads_of, run_part
from geocli.errors import ClusterError, GeocliError, MissingDatabaseError, OpenCellError, SettingsError
from geocli.settings import COMMAND_LINE
from geocli.signals import termination_raises

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from geocli.batch.request import BatchRequest
    from geocli.cache import GeoCache
    from geocli.cluster.messages import Job, PartResult
    from geocli.cluster.output_directory import CompletedPart
    from geocli.cluster.request import ClusterRequest
    from geocli.cluster.splits import Part

MAX_ATTEMPTS = 3
"""Attempts at a part that fails, or whose worker dies; of another scheduler, its setting decides about the latter."""
PARTS_AHEAD = 3
"""Parts for each thread of the workers that are submitted, but not complete."""
MIN_PART_BYTES = 8_000_000
"""Size below which parts are not shortened to give all workers the same share."""
PARTS_PER_WORKER = 8
"""Parts for each of several workers, unless they become too short, so that all finish at about the same time."""
POLL_SECONDS = 2
"""Time without a result after which the cluster is checked."""
GRACE_SECONDS = 0.2
"""Time that workers have to exit after an error."""
LOST_ERRORS = (OSError, RuntimeError, CancelledError)
"""Exceptions of Dask when the scheduler is lost."""
RESUME_HINT = "to continue, run again with --resume"
LOCAL_CONFIG = {
    "distributed.scheduler.allowed-failures": MAX_ATTEMPTS - 1,
    # Dask's 64 kB take a quarter of the time.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
    # Profiles, sampled every 10 ms, are not used.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
}
"""Configuration of Dask for workers on this machine."""


class ClusterBatch:
    """A batch whose input is split."""

    def __init__(self, cache: GeoCache, request: BatchRequest, cluster: ClusterRequest) -> None:
        """Split the input, and check the sources.

        Raises InputError or DatabaseError if a file cannot be read; SettingsError if an option or a source cannot be
        used.
        """
        filters = "--only, --except, --country and --asn"
        insight = {"--count-by": request.count_by, "--report": request.report, filters: request.selection}
        if refused := next((name for name, value in insight.items() if value), None):
            raise SettingsError(refused, "cannot be used with --cluster", origin=COMMAND_LINE)
        output = request.output
        if output is None:
            raise SettingsError("--cluster", "needs -o, where the rows go", origin=COMMAND_LINE)
        if request.mode == "cached-only":
            raise SettingsError("--cached-only", "cannot be used with --cluster", origin=COMMAND_LINE)
        self.cluster, self._cache = cluster, cache
        request = recognised(request)
        self.directory = OutputDirectory(request, output, is_merged=cluster.is_merged)
        self.parts = split(request, _part_bytes(cluster, total_bytes(request.files)))
        self.job = job_of(cache, request, self.directory.work)
        self.size_bytes = sum(part.share_bytes for part in self.parts)
        """Size of the input."""

    def run(self, on_read: Callable[[int], None] = lambda _: None) -> BatchReport:
        """Answer all parts; when this returns, the rows are complete and the answers on disk.

        `on_read` is called with the size of each part that is complete.

        Raises:
            ClusterError: a part failed, or the cluster did.
            BusyError: another batch is running in the same directory, or another program locks the cache.
            StorageError: answers cannot be appended to the journal.

        """
        keys = [self.job.key(part) for part in self.parts]
        with self.directory.opened(keys, is_resumed=self.cluster.is_resumed) as completed:
            for number in completed:
                on_read(self.parts[number].share_bytes)
            if parts := [part for part in self.parts if part.number not in completed]:
                with termination_raises(), _connected(self.cluster) as client:
                    for part, result in _Run(client, self, completed).results(parts):
                        self._append(part, result)
                        completed[part.number] = self.directory.commit(part.number, keys[part.number], result)
                        on_read(part.share_bytes)
            self._check(completed)
            self.directory.finish(len(keys))
        report = BatchReport(self.job.request)
        for part in self.parts:
            part_done = completed[part.number]
            report.raise_to(part_done.exit_status)
            report.counts.update(part_done.counts)
            report.add_lines(part.name, part_done.lines)
        report.check_addresses()
        return report

    def _append(self, part: Part, result: PartResult) -> None:
        """Append the answers of a part to the journal, and report its problems."""
        for problem in result.problems:
            self._cache.on_problem(problem)
        try:
            for payloads in payloads_of(result.frames):
                self._cache.journal.append_packed(payloads)
        except (ValueError, zlib.error) as error:
            raise ClusterError(str(part), f"its answers: {error}; {RESUME_HINT}") from error

    def _check(self, completed: Mapping[int, CompletedPart]) -> None:
        """Check that no row is missing or duplicated."""
        for before, part in pairwise(self.parts):
            if part.begin is None and completed[part.number].begin != completed[before.number].stop:
                raise ClusterError(str(part), "does not begin where the part before ends; run again without --resume")


class _Run:
    """Submits parts, and returns their results."""

    def __init__(self, client: Client, batch: ClusterBatch, completed: Mapping[int, CompletedPart]) -> None:
        self._client, self._batch, self._completed = client, batch, completed
        self._submitted: dict[int, Future[PartResult]] = {}
        self._unverified: dict[int, tuple[Part, PartResult | None]] = {}
        """Results that were perhaps assumed to begin at the wrong offset."""
        self._attempts: Counter[int] = Counter()
        self._finished: Queue[tuple[Part, Future[PartResult]]] = Queue()
        self._id = uuid4().hex[:8]

    def results(self, parts: Sequence[Part]) -> Iterator[tuple[Part, PartResult]]:
        """Return parts with their results; the caller must complete each before it asks for the next."""
        waiting = deque(parts)
        try:
            while waiting or self._submitted or self._unverified:
                max_ahead = PARTS_AHEAD * max(self._threads(), 1) if waiting else 0
                while waiting and len(self._submitted) + len(self._unverified) < max_ahead:
                    self._submit(waiting.popleft())
                part, future = self._next_finished()
                del self._submitted[part.number]
                self._accept(part, future)
                yield from self._verified(part.number)
        finally:
            if self._submitted and self._client.status == "running":
                self._client.cancel(list(self._submitted.values()))

    def _submit(self, part: Part) -> None:
        self._attempts[part.number] += 1
        name = f"geocli-{self._id}-{part.number}-{self._attempts[part.number]}"
        future = self._client.submit(_run_part, self._batch.job, part, key=name, pure=False)
        self._submitted[part.number] = future
        future.add_done_callback(lambda future: self._finished.put((part, future)))

    def _next_finished(self) -> tuple[Part, Future[PartResult]]:
        """Wait for the next part that has a result, or failed."""
        idle_seconds = 0
        while True:
            with suppress(Empty):
                return self._finished.get(timeout=POLL_SECONDS)
            idle_seconds = self._idle(idle_seconds, POLL_SECONDS)

    def _result(self, future: Future[PartResult]) -> PartResult:
        """Return the result of a part; if its worker died before sending it, another one runs the part again."""
        seconds, idle_seconds = POLL_SECONDS, 0
        while True:
            try:
                return future.result(timeout=seconds)
            except TimeoutError:
                idle_seconds = self._idle(idle_seconds, seconds)
                seconds *= 2
            except LOST_ERRORS as error:
                raise self._lost("the scheduler is lost") from error

    def _idle(self, idle_seconds: int, more_seconds: int) -> int:
        """Return how long there has been no worker, after some more time without a result."""
        idle_seconds = 0 if self._threads() else idle_seconds + more_seconds
        if idle_seconds >= _timeout_seconds():
            raise self._lost(f"there was no worker for {idle_seconds} s")
        return idle_seconds

    def _threads(self) -> int:
        try:
            return sum(self._client.nthreads().values())
        except LOST_ERRORS as error:
            raise self._lost("the scheduler is lost") from error

    def _lost(self, reason: str) -> ClusterError:
        return ClusterError(self._batch.cluster.address, f"{reason}; {RESUME_HINT}")

    def _accept(self, part: Part, future: Future[PartResult]) -> None:
        """Keep the result of a part, or submit the part again."""
        if future.status in {"cancelled", "lost"}:
            raise self._lost("the scheduler is lost")
        if future.status == "finished":
            self._unverified[part.number] = part, self._result(future)
            return
        error = future.exception()
        if isinstance(error, OpenCellError) and part.begin is None:
            # Perhaps it begins inside a cell.
            self._unverified[part.number] = part, None
            return
        if isinstance(error, KilledWorker):
            advice = "perhaps for lack of memory; choose a smaller --block-size, or give workers more memory"
            raise ClusterError(str(part), f"every worker that tried it died, {advice}; {RESUME_HINT}")
        if self._attempts[part.number] >= MAX_ATTEMPTS or isinstance(error, OpenCellError):
            reason = str(error) if isinstance(error, GeocliError) else f"{type(error).__name__}: {error}"
            status = getattr(error, "exit_status", ClusterError.exit_status)
            raise ClusterError(str(part), f"{reason}; {RESUME_HINT}", exit_status=status)
        if isinstance(error, MissingDatabaseError):
            databases = {database.path: database for database in self._batch.job.databases}
            self._batch.directory.upload(databases[error.path])
        self._submit(part)

    def _verified(self, number: int) -> Iterator[tuple[Part, PartResult]]:
        """Return a part that begins at the right offset, and those that waited for it; submit a wrong one again."""
        while number in self._unverified and (begin := self._begin(*self._unverified[number])) is not None:
            part, result = self._unverified.pop(number)
            if result is None or result.begin != begin:
                if result is not None:
                    self._batch.directory.discard(result)
                self._submit(part.replace(begin=begin))
                return
            yield part, result
            number += 1

    def _begin(self, part: Part, result: PartResult | None) -> int | None:
        """Return where a part must begin, None if that is still unknown."""
        if part.begin is not None:
            return part.begin
        if result is not None and self._batch.job.request.input != "csv":
            return result.begin
        before = self._completed.get(part.number - 1)
        return None if before is None else before.stop


def _part_bytes(cluster: ClusterRequest, size_bytes: int | None) -> int:
    """Return the size of a part; workers on this machine all get the same share."""
    if not size_bytes or not cluster.workers:
        return cluster.block_bytes
    min_bytes = min(cluster.block_bytes, MIN_PART_BYTES)
    parts_per_worker = -(-size_bytes // (cluster.block_bytes * cluster.workers))
    if cluster.workers > 1:
        parts_per_worker = max(parts_per_worker, min(PARTS_PER_WORKER, size_bytes // (min_bytes * cluster.workers)))
    return max(-(-size_bytes // (parts_per_worker * cluster.workers)), min_bytes)


def _run_part(job: Job, part: Part) -> PartResult:
    """Run a part on a worker, which starts the next part while the rows of this one are synced."""
    return run_part(job, part, get_worker().local_directory, secede)


def _timeout_seconds() -> float:
    """Return how long to wait for a cluster, as Dask is configured."""
    return float(dask.utils.parse_timedelta(dask.config.get("distributed.comm.timeouts.connect")))


@contextmanager
def _connected(request: ClusterRequest) -> Iterator[Client]:
    """Connect to a scheduler, or to one on this machine, which is started and stopped."""
    # Errors are reported by exceptions, in one line.
    logging.disable(logging.CRITICAL)
    if request.workers:
        with _local(request) as cluster, Client(cluster, set_as_default=False) as client:
            yield client
        return
    address = request.address
    try:
        client = Client(address, timeout=_timeout_seconds(), set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ClusterError(address, f"no scheduler answers: {error}") from error
    except ValueError as error:
        raise SettingsError(f"--cluster {address}", str(error), origin=COMMAND_LINE) from error
    with client:
        yield client


@contextmanager
def _local(request: ClusterRequest) -> Iterator[LocalCluster]:
    """Start workers in a private directory; signals that end the run are delayed until they can be stopped."""
    children = {*active_children()}
    with ExitStack() as stack:
        directory = stack.enter_context(TemporaryDirectory(prefix="geocli-", ignore_cleanup_errors=True))
        stack.enter_context(dask.config.set(LOCAL_CONFIG | {"temporary-directory": directory}))
        with signals_delayed(_timeout_seconds()):
            try:
                cluster = stack.enter_context(LocalCluster(n_workers=request.workers or 0))
            except LOST_ERRORS as error:
                for process in {*active_children()} - children:
                    process.kill()
                raise ClusterError(request.address, f"its workers cannot start: {error}") from error
        try:
            yield cluster
        except BaseException:
            cluster.sync(_stop_workers, cluster)
            raise


async def _stop_workers(cluster: LocalCluster) -> None:
    """Stop workers that are running parts."""
    await gather(*(worker.close(timeout=GRACE_SECONDS) for worker in cluster.workers.values()), return_exceptions=True)
