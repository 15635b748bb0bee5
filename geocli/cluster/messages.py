"""Messages between the coordinator and its workers: jobs and results of parts."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from geocli.errors import GeocliError, SettingsError
from geocli.immutable import Value
from geocli.models import ENGLISH
from geocli.resolvers.mmdb import MmdbResolver
from geocli.resolvers.registries import RirResolver
from geocli.settings import COMMAND_LINE
from geocli.version import __version__

if TYPE_CHECKING:
    from geocli.batch.missing_addresses import LineCounts
    from geocli.batch.request import BatchRequest
    from geocli.cache import GeoCache
    from geocli.cluster.splits import Part
    from geocli.resolvers.protocols import Source


class SharedDatabase(Value):
    """A database of which all workers need the same content."""

    path: str
    """Path on the coordinator, and perhaps on workers."""
    digest: str
    """SHA-256 of its content, in hex."""
    copy: str
    """URL of a copy, which is made when a worker does not have the database."""


class Job(Value):
    """The common context of all parts of a batch."""

    request: BatchRequest
    databases: tuple[SharedDatabase, ...]
    """The databases in the order in which they are asked."""
    sources: tuple[Source, ...]
    """All sources, with the files that the journal names."""
    work: str
    """URL of the directory for the rows of parts that are not complete."""
    language: str = ENGLISH
    version: str = __version__

    def key(self, part: Part) -> str:
        """Return a digest of a part, its input, and everything else that its rows depend on."""
        rows = self.request.replace(jobs=1).as_dict()
        labels, digests = [label for label, _ in self.sources], [database.digest for database in self.databases]
        return sha256(repr((self.version, rows, labels, digests, self.language, part.as_dict())).encode()).hexdigest()


def job_of(cache: GeoCache, request: BatchRequest, work: str) -> Job:
    """Return the job of a batch with the sources of a cache; for `work` see `Job`.

    Raises DatabaseError if a database cannot be read; SettingsError if other sources than databases are configured.
    """
    sources, problems = cache.sources()
    mmdb, *built_in = cache.chain.resolvers
    is_unknown = not all(isinstance(resolver, RirResolver) for resolver in built_in)
    if cache.chain.services or is_unknown or not isinstance(mmdb, MmdbResolver):
        raise SettingsError("--cluster", "only databases can be asked; name them with --db", origin=COMMAND_LINE)
    mmdb.databases(problems.append)
    if problems:
        raise problems[0]
    digests = {file.path: label.rpartition("@")[2] for label, file in sources if file is not None}
    return Job(
        request=request.replace(files=(), output=None),
        databases=tuple(
            SharedDatabase(path=path, digest=digest, copy=f"{work}/{digest}") for path, digest in digests.items()
        ),
        sources=tuple(sources),
        work=work,
        language=mmdb.language,
    )


class PartResult(Value):
    """The result of a part."""

    begin: int
    """Offset of its first record."""
    stop: int | None
    """Offset of the end of its last record; None for compressed input."""
    rows: str
    """Name of the file with the rows."""
    frames: bytes
    """Answers as frames of the journal, compressed (RFC 1950)."""
    counts: dict[str, int]
    """Rows by country, if they are counted."""
    lines: LineCounts
    exit_status: int
    """Exit status of a batch of this part alone."""
    problems: tuple[GeocliError, ...]
    """Problems with sources."""
