"""The task of a worker: answers a part by the ordinary pipeline, and returns new answers as frames.

Its databases have the same content as those of the coordinator, under the same paths or as copies; it has no cache.
"""

from __future__ import annotations

import os
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from zlib import compressobj, decompressobj

from geocli.batch.missing_addresses import LineCounts
from geocli.batch.run import BatchReport
from geocli.batch.scheduler import Scheduler
from geocli.cache import GeoCache
from geocli.cluster.messages import PartResult
from geocli.cluster.splits import is_local, open_part, resolve_url
from geocli.databases.discovery import digest_of, examine
from geocli.errors import ClusterError, DatabaseError, GeocliError, MissingDatabaseError, fail
from geocli.resolvers.mmdb import MmdbResolver
from geocli.resolvers.registries import RirResolver
from geocli.settings import Settings
from geocli.storage.frames import encode, payload_at
from geocli.storage.journal import Journal
from geocli.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from geocli.batch.row_maker import Rows
    from geocli.cluster.messages import Job, SharedDatabase
    from geocli.cluster.splits import Part
    from geocli.databases.discovery import DatabaseFile
    from geocli.models import Entry
    from geocli.resolvers.protocols import Labels, Report, Resolver, Source
    from geocli.storage.clears import Clear

APPEND_BYTES = 4 << 20
"""Approximate bytes that are appended to the journal with one sync."""
COMPRESSION_LEVEL = 1
"""The fastest level of zlib compresses frames to a quarter."""


def run_part(job: Job, part: Part, scratch: str, on_written: Callable[[], None] = lambda: None) -> PartResult:
    """Answer a part, and write its rows to a file.

    Copies of databases go to the directory `scratch`. `on_written` is called before the rows are synced.

    Raises:
        InputError: the part cannot be read.
        DatabaseError: a database has changed.
        MissingDatabaseError: this worker does not have a database, and there is no copy yet.
        ClusterError: the rows cannot be written, or this worker has another version of geocli or its built-in data.

    """
    if job.version != __version__:
        raise ClusterError("a worker", f"has geocli {__version__}, not {job.version}")
    with _lock:
        if job not in _states:
            _states.clear()
            _states[job] = _JobState(job, scratch)
        state = _states[job]
        resolvers = state.resolvers()
    return state.run_part(part, resolvers, on_written)


class _JobState:
    """State of a worker that is shared by the parts of a job."""

    def __init__(self, job: Job, scratch: str) -> None:
        self._job, self._scratch = job, scratch
        self._files: dict[str, DatabaseFile] = {}
        self._answers: dict[tuple[str, str, str], Any] = {}

    def resolvers(self) -> list[Resolver]:
        """Return the resolvers, or raise an error if they are not those of the coordinator."""
        files = [self._file(database) for database in self._job.databases]
        databases = [source for source in self._job.sources if source[1] is not None]
        built_in = [source for source in self._job.sources if source[1] is None]
        if built_in and built_in != (own := RirResolver().sources(None, fail)):
            raise ClusterError("a worker", f"has {own[0][0]}, not {built_in[0][0]}")
        mmdb = _VerifiedDatabases(files, databases, self._job.language)
        return [mmdb, RirResolver()] if built_in else [mmdb]

    def _file(self, database: SharedDatabase) -> DatabaseFile:
        """Return a file with the content of a database; copy it if there is none."""
        file = self._files.get(database.digest)
        if file is None or _examine(file.path) != file:
            copy = os.path.join(self._scratch, f"geocli-{database.digest}", os.path.basename(database.path))
            file = _verify(database.path, database.digest) or _verify(copy, database.digest) or _copy(database, copy)
            self._files[database.digest] = file
        return file

    def run_part(self, part: Part, resolvers: Sequence[Resolver], on_written: Callable[[], None]) -> PartResult:
        system, directory = resolve_url(self._job.work)
        name = f"part-{part.number:06}-{uuid4().hex}"
        report, problems, journal = BatchReport(self._job.request), list[GeocliError](), MemoryJournal()
        cache = GeoCache(
            settings=Settings(data_dir=os.path.join(self._scratch, "none"), language=self._job.language),
            journal=journal,
            resolvers=resolvers,
            on_problem=problems.append,
        )
        try:
            with system.open(f"{directory}/{name}", "wb") as out:
                begin, stop = self._write_rows(part, cache, out, report)
                on_written()
                if is_local(system):
                    out.flush()
                    os.fsync(out.fileno())
        except BaseException as error:
            with suppress(OSError):
                system.rm_file(f"{directory}/{name}")
            if isinstance(error, OSError):
                raise ClusterError(self._job.work, f"a worker cannot write there: {error}", exit_status=1) from error
            raise
        report.finish(self._job.request)
        return PartResult(
            begin=begin,
            stop=stop,
            rows=name,
            frames=journal.compressed(),
            counts=dict(report.counts),
            lines=report.lines.get(part.name, LineCounts()),
            exit_status=report.exit_status,
            problems=tuple(problems),
        )

    def _write_rows(self, part: Part, cache: GeoCache, out: Any, report: BatchReport) -> tuple[int, int | None]:
        """Write the rows of a part, and return the offsets of its first record and of the end of its last one."""
        request = self._job.request
        form = request.form()

        def put(group: Sequence[Rows]) -> None:
            for rows in group:
                out.writelines(rows.data)
                report.count(part.name, rows, request)

        with open_part(part, form, request.end.encode()) as reader:
            blocks = reader.blocks()
            if part.has_header:
                out.write(form.output.header)
            with Scheduler(cache, form, request.mode, request.jobs, put) as scheduler:
                output = form.output
                style = output.format, output.separator, output.end
                scheduler.answers = self._answers.get(style)
                for block in blocks:
                    scheduler.push(block)
                self._answers[style] = scheduler.answers
            return reader.begin, reader.stop


class _VerifiedDatabases(MmdbResolver):
    """Asks databases whose content has been checked, under the names that they have on the coordinator."""

    def __init__(self, files: Sequence[DatabaseFile], sources: Sequence[Source], language: str) -> None:
        super().__init__(files=[file.path for file in files], language=language)
        self._identities, self._sources = [file.identity for file in files], list(sources)

    def sources(self, labels: Labels | None, report: Report) -> list[Any]:
        del labels, report
        if replaced := [
            file.path
            for (_, file), identity in zip(super().sources(None, fail), self._identities, strict=True)
            if file.identity != identity
        ]:
            raise DatabaseError(replaced[0], "was replaced meanwhile")
        return self._sources


class MemoryJournal(Journal):
    """A journal in memory, which the coordinator appends to its own."""

    def __init__(self) -> None:
        self._compressor = compressobj(COMPRESSION_LEVEL)
        self._pieces: list[bytes] = []
        self._lock = Lock()

    def append_packed(self, payloads: Iterable[bytes], is_current: Callable[[], bool] = lambda: True) -> bool:  # noqa: ARG002
        """Compress and keep payloads."""
        with self._lock:
            self._pieces += (self._compressor.compress(encode(payload)) for payload in payloads)
        return True

    def newest(self, addresses: Collection[str], clears: Sequence[Clear] = ()) -> dict[str, Entry]:  # noqa: ARG002
        """Return nothing: a worker has no cache to read from."""
        return {}

    def with_retry_times(self) -> set[str]:
        """Return nothing: a worker has no cache to read from."""
        return set()

    def freeze(self) -> None:
        """Do nothing, since nothing is read."""

    def compressed(self) -> bytes:
        """Return all frames, compressed; after that nothing can be appended."""
        return b"".join([*self._pieces, self._compressor.flush()])


def payloads_of(frames: bytes) -> Iterator[list[bytes]]:
    """Return the payloads of compressed frames, in lists to append with one sync; raise ValueError for damage."""
    decompressor = decompressobj()
    rest = b""
    while not decompressor.eof:
        data = decompressor.decompress(frames, APPEND_BYTES)
        frames = decompressor.unconsumed_tail
        whole, end, rest = (rest + data).rpartition(b"\n")
        payloads = [payload_at(frame + end) for frame in whole.split(b"\n")] if end else []
        if None in payloads or not (data or decompressor.eof):
            raise ValueError("damaged in transit")
        yield [payload for payload in payloads if payload is not None]
    if rest:
        raise ValueError("damaged in transit")


def _examine(path: str) -> DatabaseFile | None:
    with suppress(DatabaseError):
        return examine(path)
    return None


def _verify(path: str, digest: str) -> DatabaseFile | None:
    """Return a file if it has this digest."""
    with suppress(DatabaseError):
        file = examine(path)
        if digest_of(path) == digest and examine(path) == file:
            return file
    return None


def _copy(database: SharedDatabase, path: str) -> DatabaseFile:
    """Copy a database, and verify the copy."""
    system, source = resolve_url(database.copy)
    if not system.exists(source):
        raise MissingDatabaseError(database.path, "a worker does not have this database")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{uuid4().hex}"
    system.get_file(source, temporary)
    os.replace(temporary, path)
    if (file := _verify(path, database.digest)) is None:
        raise DatabaseError(database.path, "the copy that a worker received is damaged")
    return file


_states: dict[Job, _JobState] = {}
"""State of the current job."""
_lock = Lock()
