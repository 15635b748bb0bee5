"""What a worker does: it answers a part by the ordinary pipeline, and hands back what it learned in frames.

Its databases are those of whoever gave the part, to the byte, where they lie or as copies; it never touches a cache.
"""

from __future__ import annotations

import os
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from zlib import compressobj, decompressobj

from geocli.bulk.flow import Flow
from geocli.bulk.pipeline import BatchReport
from geocli.cache import GeoCache
from geocli.cluster.messages import Done
from geocli.cluster.splits import is_local, located, records_of
from geocli.databases.discovery import digest_of, examine
from geocli.errors import ClusterError, DatabaseError, GeocliError, MissingDatabaseError
from geocli.resolvers.mmdb import MmdbResolver
from geocli.resolvers.registries import RirResolver
from geocli.settings import Settings
from geocli.storage.frames import encode, payload_at
from geocli.storage.journal import Journal
from geocli.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from geocli.bulk.rows import Rows
    from geocli.cluster.messages import Job, SentDatabase
    from geocli.cluster.splits import Part
    from geocli.databases.discovery import DatabaseFile
    from geocli.models import Entry
    from geocli.resolvers.protocols import Labels, Report, Resolver, Source
    from geocli.storage.tombstones import Clear

APPEND_BYTES = 4 << 20
"""About so much goes to the journal with one sync."""
PACKED = 1
"""How hard zlib tries: frames get a quarter as long in little time."""


def answer(job: Job, part: Part, scratch: str, on_written: Callable[[], None] = lambda: None) -> Done:
    """Answer a part, and write its rows to a file of their own.

    Args:
        job: what is asked.
        part: of which records.
        scratch: a directory of this worker's own, for copies of databases.
        on_written: called when all is written that is to be on disk when this returns.

    Raises:
        InputError: the part cannot be read.
        DatabaseError: a database is not what it should be.
        MissingDatabaseError: this worker has no such database, and there is no copy yet.
        ClusterError: the rows cannot be written, or this worker has another release of geocli or its data.

    """
    if job.version != __version__:
        raise ClusterError("a worker", f"has geocli {__version__}, not {job.version}")
    with _lock:
        if job not in _desks:
            _desks.clear()  # what was kept for another batch
            _desks[job] = _Desk(job, scratch)
        desk = _desks[job]
        resolvers = desk.resolvers()
    return desk.answer(part, resolvers, on_written)


class _Desk:
    """Keeps from one part of a batch to the next what both need."""

    def __init__(self, job: Job, scratch: str) -> None:
        self._job, self._scratch = job, scratch
        self._files: dict[str, DatabaseFile] = {}
        self._answers: dict[str, Any] = {}

    def resolvers(self) -> list[Resolver]:
        """Return who is asked, after making sure that they are the same as everywhere."""
        files = [self._file(sent) for sent in self._job.databases]
        named = [source for source in self._job.sources if source[1] is not None]
        others = [source for source in self._job.sources if source[1] is None]
        if others and others != (ours := RirResolver().sources(None, _raise)):
            raise ClusterError("a worker", f"has {ours[0][0]}, not {others[0][0]}")
        mmdb = _SameDatabases(files, named, self._job.language)
        return [mmdb, RirResolver()] if others else [mmdb]

    def _file(self, sent: SentDatabase) -> DatabaseFile:
        """Return a file with the right bytes, copied if there is none."""
        known = self._files.get(sent.digest)
        if known is None or _examined(known.path) != known:
            own = os.path.join(self._scratch, f"geocli-{sent.digest}", os.path.basename(sent.path))
            known = _checked(sent.path, sent.digest) or _checked(own, sent.digest) or _copied(sent, own)
            self._files[sent.digest] = known
        return known

    def answer(self, part: Part, resolvers: Sequence[Resolver], on_written: Callable[[], None]) -> Done:
        system, directory = located(self._job.work)
        name = f"part-{part.number:06}-{uuid4().hex}"
        report, problems, frames = BatchReport(), list[GeocliError](), Frames()
        cache = GeoCache(
            settings=Settings(data_dir=os.path.join(self._scratch, "none"), language=self._job.language),
            journal=frames,
            resolvers=resolvers,
            on_problem=problems.append,
        )
        try:
            with system.open(f"{directory}/{name}", "wb") as out:
                begin, stop = self._written(part, cache, out, report)
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
        return Done(
            begin=begin,
            stop=stop,
            rows=name,
            frames=frames.packed(),
            counts=dict(report.counts),
            exit_status=report.exit_status,
            problems=tuple(problems),
        )

    def _written(self, part: Part, cache: GeoCache, out: Any, report: BatchReport) -> tuple[int, int | None]:
        """Write the rows of a part, and return where its records began and ended."""
        request = self._job.request
        form = request.form()

        def put(group: Sequence[Rows]) -> None:
            for rows in group:
                out.writelines(rows.data)
                report.count(rows, request)

        with records_of(part, form, request.end.encode()) as records:
            chunks = records.chunks()
            if part.has_header:
                out.write(form.output.header)
            with Flow(cache, form, request.mode, request.jobs, put) as flow:
                flow.answers = self._answers.get(form.output.end)
                for chunk in chunks:
                    flow.push(chunk)
                self._answers[form.output.end] = flow.answers
            return records.begin, records.stop


class _SameDatabases(MmdbResolver):
    """Asks databases that have been checked, and says that they are those of whoever started the batch."""

    def __init__(self, files: Sequence[DatabaseFile], sources: Sequence[Source], language: str) -> None:
        super().__init__(files=[file.path for file in files], language=language)
        self._checked, self._sources = [file.identity for file in files], list(sources)

    def sources(self, known: Labels | None, report: Report) -> list[Any]:
        del known, report
        if wrong := [
            file.path
            for (_, file), identity in zip(super().sources(None, _raise), self._checked, strict=True)
            if file.identity != identity
        ]:
            raise DatabaseError(wrong[0], "was replaced meanwhile")
        return self._sources


class Frames(Journal):
    """A journal in memory, from which another machine's is appended to."""

    def __init__(self) -> None:
        """Begin without frames."""
        self._packer = compressobj(PACKED)
        self._pieces: list[bytes] = []
        self._lock = Lock()

    def append_packed(self, payloads: Iterable[bytes], is_current: Callable[[], bool] = lambda: True) -> bool:  # noqa: ARG002
        """Keep entries that are packed already."""
        with self._lock:
            self._pieces += (self._packer.compress(encode(payload)) for payload in payloads)
        return True

    def newest(self, addresses: Collection[str], clears: Sequence[Clear] = ()) -> dict[str, Entry]:  # noqa: ARG002
        """Return nothing: what was appended goes to another machine, and none of it is the cache's."""
        return {}

    def with_retry_times(self) -> set[str]:
        """Return nothing, likewise."""
        return set()

    def freeze(self) -> None:
        """Do nothing: nothing is read."""

    def packed(self) -> bytes:
        """Return all frames, compressed; nothing can be appended any more."""
        return b"".join([*self._pieces, self._packer.flush()])


def unpacked(frames: bytes) -> Iterator[list[bytes]]:
    """Return the payloads of packed frames, so many at a time as one sync is for.

    Raises:
        ValueError: these are not the bytes that were packed.

    """
    unpacker = decompressobj()
    rest = b""
    while not unpacker.eof:
        more = unpacker.decompress(frames, APPEND_BYTES)
        frames = unpacker.unconsumed_tail
        whole, end, rest = (rest + more).rpartition(b"\n")
        payloads = [payload_at(frame + end) for frame in whole.split(b"\n")] if end else []
        if None in payloads or not (more or unpacker.eof):
            raise ValueError("damaged on the way")
        yield [payload for payload in payloads if payload is not None]
    if rest:
        raise ValueError("damaged on the way")


def _examined(path: str) -> DatabaseFile | None:
    with suppress(DatabaseError):
        return examine(path)
    return None


def _checked(path: str, digest: str) -> DatabaseFile | None:
    """Return a file if these are its bytes."""
    file = _examined(path)
    with suppress(DatabaseError):
        if file is not None and digest_of(path) == digest and _examined(path) == file:
            return file
    return None


def _copied(sent: SentDatabase, path: str) -> DatabaseFile:
    """Copy a database, and make sure that it is the right one."""
    system, source = located(sent.copy)
    if not system.exists(source):
        raise MissingDatabaseError(sent.path, "a worker has no such database")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    beside = f"{path}.{uuid4().hex}"
    system.get_file(source, beside)
    os.replace(beside, path)
    if (file := _checked(path, sent.digest)) is None:
        raise DatabaseError(sent.path, "the copy that a worker got has other bytes")
    return file


def _raise(problem: GeocliError) -> None:
    raise problem


_desks: dict[Job, _Desk] = {}
_lock = Lock()
