"""A batch on many machines: Dask gives parts to workers, and their answers come back to this machine's journal.

The scheduler runs a part again whose worker dies, and each attempt writes a file of its own; one of them is put in
place here, after its answers are on disk. So each row is there once, whatever fails.
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

from geocli.bulk.inputs import total_bytes
from geocli.bulk.pipeline import BatchReport
from geocli.cluster.forkserver import held_back
from geocli.cluster.local_cluster import LocalCluster
from geocli.cluster.messages import Done, job_of
from geocli.cluster.output_directory import PartDirectory
from geocli.cluster.splits import divided
from geocli.cluster.worker import answer, unpacked
from geocli.errors import ClusterError, GeocliError, MissingDatabaseError, OpenCellError, SettingsError
from geocli.signals import termination_raises

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from geocli.bulk.pipeline import BatchRequest, ClusterRequest
    from geocli.cache import GeoCache
    from geocli.cluster.messages import Job
    from geocli.cluster.output_directory import Note
    from geocli.cluster.splits import Part

ATTEMPTS = 3
"""So often a part is tried that cannot be answered, or whose worker dies; of a scheduler elsewhere, as it is set."""
AHEAD = 3
"""So many parts for each thread of the workers are given out and not yet in place."""
LEAST_BYTES = 8_000_000
"""Parts do not get shorter than this, if nobody asks for it, only because there are more workers."""
TURNS = 8
"""So many parts each of several workers gets, if these are not too short, so that all end at about the same time."""
LOOK_SECONDS = 2
"""After so long without news the cluster is looked at."""
GRACE_SECONDS = 0.2
"""So long workers may take to end when something is wrong."""
LOST = (OSError, RuntimeError, CancelledError)
"""What Dask raises where a scheduler is lost."""
GO_ON = "with --resume a new run goes on from here"
SETTINGS = {
    "distributed.scheduler.allowed-failures": ATTEMPTS - 1,
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,  # Dask's 64 kB cost a fourth of the time
    "distributed.worker.profile.enabled": False,  # what it samples each 10 ms nobody looks at
    "distributed.admin.tick.interval": "500ms",
}
"""For workers on this machine, which take orders from nobody who has not the keys that are made for them."""


class ClusterBatch:
    """A batch that is divided, and can be run."""

    def __init__(self, cache: GeoCache, request: BatchRequest, cluster: ClusterRequest) -> None:
        """Divide the input, and look at the sources.

        Raises:
            InputError: a file cannot be read.
            DatabaseError: a database cannot be read.
            SettingsError: something is asked that workers cannot do.

        """
        if request.output is None:
            raise SettingsError("--cluster", "say with -o where the rows go", origin="command line")
        if request.mode == "cached-only":
            raise SettingsError("--cached-only", "cannot be used with --cluster", origin="command line")
        self.cluster, self._cache = cluster, cache
        self.directory = PartDirectory(request, request.output, is_merged=cluster.is_merged)
        self.parts = divided(request, _shared_out(cluster, total_bytes(request.files)))
        self.job = job_of(cache, request, self.directory.work)
        self.size_bytes = sum(part.share_bytes for part in self.parts)
        """Bytes of input."""

    def run(self, on_read: Callable[[int], None] = lambda _: None) -> BatchReport:
        """Answer all parts, and return when the rows are in place and the answers are on disk.

        Args:
            on_read: told how many bytes of input are done.

        Raises:
            ClusterError: a part failed, or the cluster did.
            BusyError: another batch writes to the same directory, or another program keeps a lock of the cache.
            StorageError: answers could not be kept.

        """
        keys = [self.job.key(part) for part in self.parts]
        with self.directory.begun(keys, is_resumed=self.cluster.is_resumed) as notes:
            left = [part for part in self.parts if part.number not in notes]
            for part in self.parts:
                if part.number in notes:
                    on_read(part.share_bytes)
            if left:
                with termination_raises(), _connected(self.cluster) as client:
                    run = _Run(client, self, notes)
                    for part, done in run.answered(left):
                        self._keep(part, done)
                        notes[part.number] = self.directory.place(part.number, keys[part.number], done)
                        on_read(part.share_bytes)
            self._check(notes)
            self.directory.finish(len(keys))
        report = BatchReport()
        for note in notes.values():
            report.raise_to(note.exit_status)
            report.counts.update(note.counts)
        return report

    def _keep(self, part: Part, done: Done) -> None:
        """Put the answers of a part on disk."""
        for problem in done.problems:
            self._cache.on_problem(problem)
        try:
            for payloads in unpacked(done.frames):
                self._cache.journal.append_packed(payloads)
        except (ValueError, zlib.error) as error:
            raise ClusterError(str(part), f"its answers: {error}; {GO_ON}") from error

    def _check(self, notes: Mapping[int, Note]) -> None:
        """Make sure that no row is missing, and none is there twice."""
        for before, part in pairwise(self.parts):
            if part.begin is None and notes[part.number].begin != notes[before.number].stop:
                raise ClusterError(str(part), "does not begin where the one before it ends; run without --resume")


class _Run:
    """Gives out parts, and takes what comes of them."""

    def __init__(self, client: Client, batch: ClusterBatch, notes: Mapping[int, Note]) -> None:
        self._client, self._batch, self._notes = client, batch, notes
        self._out: dict[int, Future[Done]] = {}
        self._held: dict[int, tuple[Part, Done | None]] = {}
        """What is answered, where it is not known yet whether it begins where it was taken to begin."""
        self._attempts: Counter[int] = Counter()
        self._news: Queue[tuple[Part, Future[Done]]] = Queue()
        self._id = uuid4().hex[:8]

    def answered(self, parts: Sequence[Part]) -> Iterator[tuple[Part, Done]]:
        """Return each part with what came of it; the caller notes it before the next one is returned."""
        left = deque(parts)
        try:
            while left or self._out or self._held:
                most = AHEAD * max(self._threads(), 1) if left else 0
                while left and len(self._out) + len(self._held) < most:
                    self._submit(left.popleft())
                part, future = self._arrived()
                del self._out[part.number]
                self._take(part, future)
                yield from self._ready(part.number)
        finally:
            if self._out and self._client.status == "running":
                self._client.cancel(list(self._out.values()))

    def _submit(self, part: Part) -> None:
        self._attempts[part.number] += 1
        name = f"geocli-{self._id}-{part.number}-{self._attempts[part.number]}"
        future = self._client.submit(_answered, self._batch.job, part, key=name, pure=False)
        self._out[part.number] = future
        future.add_done_callback(lambda future: self._news.put((part, future)))

    def _arrived(self) -> tuple[Part, Future[Done]]:
        """Wait for the next part that is answered, or failed."""
        idle_seconds = 0
        while True:
            with suppress(Empty):
                return self._news.get(timeout=LOOK_SECONDS)
            idle_seconds = self._idle(idle_seconds, LOOK_SECONDS)

    def _result(self, future: Future[Done]) -> Done:
        """Return what a part came to; if its worker died before it told, another one does it again meanwhile."""
        seconds, idle_seconds = LOOK_SECONDS, 0
        while True:
            try:
                return future.result(timeout=seconds)
            except TimeoutError:
                idle_seconds = self._idle(idle_seconds, seconds)
                seconds *= 2
            except LOST as error:
                raise self._lost("the scheduler is lost") from error

    def _idle(self, idle_seconds: int, more_seconds: int) -> int:
        """Return for how long there has been no worker, after some more time without news."""
        idle_seconds = 0 if self._threads() else idle_seconds + more_seconds
        if idle_seconds >= _patience_seconds():
            raise self._lost(f"there was no worker for {idle_seconds} s")
        return idle_seconds

    def _threads(self) -> int:
        try:
            return sum(self._client.nthreads().values())
        except LOST as error:
            raise self._lost("the scheduler is lost") from error

    def _lost(self, reason: str) -> ClusterError:
        return ClusterError(self._batch.cluster.address, f"{reason}; {GO_ON}")

    def _take(self, part: Part, future: Future[Done]) -> None:
        """Hold what came of a part, or give it out again."""
        if future.status in {"cancelled", "lost"}:
            raise self._lost("the scheduler is lost")
        if future.status == "finished":
            self._held[part.number] = part, self._result(future)
            return
        error = future.exception()
        if isinstance(error, OpenCellError) and part.begin is None:
            self._held[part.number] = part, None  # it was cut within a cell, perhaps
            return
        if isinstance(error, KilledWorker):
            advice = "perhaps for want of memory; choose a smaller --block-size, or give them more"
            raise ClusterError(str(part), f"all workers died that tried it, {advice}; {GO_ON}")
        if self._attempts[part.number] >= ATTEMPTS or isinstance(error, OpenCellError):
            reason = str(error) if isinstance(error, GeocliError) else f"{type(error).__name__}: {error}"
            status = getattr(error, "exit_status", ClusterError.exit_status)
            raise ClusterError(str(part), f"{reason}; {GO_ON}", exit_status=status)
        if isinstance(error, MissingDatabaseError):
            self._batch.directory.provide(next(one for one in self._batch.job.databases if one.path == error.path))
        self._submit(part)

    def _ready(self, number: int) -> Iterator[tuple[Part, Done]]:
        """Return a part if it begins where it should, and those that waited for it; else give it out again."""
        while number in self._held and (begin := self._begin(*self._held[number])) is not None:
            part, done = self._held.pop(number)
            if done is None or done.begin != begin:
                if done is not None:
                    self._batch.directory.drop(done)
                self._submit(part.replace(begin=begin))
                return
            yield part, done
            number += 1

    def _begin(self, part: Part, done: Done | None) -> int | None:
        """Return where a part must begin, None if nobody knows yet."""
        if part.begin is not None:
            return part.begin
        if done is not None and self._batch.job.request.input != "csv":
            return done.begin
        before = self._notes.get(part.number - 1)
        return None if before is None else before.stop


def _shared_out(cluster: ClusterRequest, size_bytes: int | None) -> int:
    """Return how long parts are: for workers on this machine, so long that all of them get the same."""
    if not size_bytes or not cluster.workers:
        return cluster.block_bytes
    least_bytes = min(cluster.block_bytes, LEAST_BYTES)
    turns = -(-size_bytes // (cluster.block_bytes * cluster.workers))
    if cluster.workers > 1:
        turns = max(turns, min(TURNS, size_bytes // (least_bytes * cluster.workers)))
    return max(-(-size_bytes // (turns * cluster.workers)), least_bytes)


def _answered(job: Job, part: Part) -> Done:
    """Run on a worker, which begins with the next part while the rows of this one go to the disk."""
    return answer(job, part, get_worker().local_directory, secede)


def _patience_seconds() -> float:
    """Return how long the user wants to wait for a cluster."""
    return float(dask.utils.parse_timedelta(dask.config.get("distributed.comm.timeouts.connect")))


@contextmanager
def _connected(request: ClusterRequest) -> Iterator[Client]:
    """Connect to a scheduler, or start one with workers on this machine, which end with it."""
    logging.disable(logging.CRITICAL)  # what is wrong is said here, in one line
    if request.workers:
        with _local(request) as cluster, Client(cluster, set_as_default=False) as client:
            yield client
        return
    address = request.address
    try:
        client = Client(address, timeout=_patience_seconds(), set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ClusterError(address, f"no scheduler answers: {error}") from error
    except ValueError as error:
        raise SettingsError(f"--cluster {address}", str(error), origin="command line") from error
    with client:
        yield client


@contextmanager
def _local(request: ClusterRequest) -> Iterator[LocalCluster]:
    """Start workers with a private directory; signals that end the run wait until these can be ended in order."""
    others = active_children()
    with ExitStack() as stack:
        directory = stack.enter_context(TemporaryDirectory(prefix="geocli-", ignore_cleanup_errors=True))
        stack.enter_context(dask.config.set(SETTINGS | {"temporary-directory": directory}))
        with held_back(_patience_seconds()):
            try:
                cluster = stack.enter_context(LocalCluster(n_workers=request.workers or 0))
            except LOST as error:
                for process in {*active_children()} - {*others}:
                    process.kill()
                raise ClusterError(request.address, f"its workers cannot start: {error}") from error
        try:
            yield cluster
        except BaseException:
            cluster.sync(_end, cluster)
            raise


async def _end(cluster: LocalCluster) -> None:
    """End workers in the middle of parts that nobody wants any more."""
    await gather(*(worker.close(timeout=GRACE_SECONDS) for worker in cluster.workers.values()), return_exceptions=True)
