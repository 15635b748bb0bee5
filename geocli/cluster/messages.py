"""What goes to a worker, and what comes back."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from geocli.errors import GeocliError, SettingsError
from geocli.immutable import Value
from geocli.models import ENGLISH
from geocli.resolvers.mmdb import MmdbResolver
from geocli.resolvers.registries import RirResolver
from geocli.version import __version__

if TYPE_CHECKING:
    from geocli.bulk.pipeline import BatchRequest
    from geocli.cache import GeoCache
    from geocli.cluster.splits import Part
    from geocli.resolvers.protocols import Source


class SentDatabase(Value):
    """A database that must be the same everywhere."""

    path: str
    """Where it lies, and may lie on a worker too."""
    digest: str
    """SHA-256 of its bytes, in hex."""
    copy: str
    """URL of a copy, which is made when a worker has no such file."""


class Job(Value):
    """What all parts of a batch have in common."""

    request: BatchRequest
    """What is asked."""
    databases: tuple[SentDatabase, ...]
    """In the order in which they are asked."""
    sources: tuple[Source, ...]
    """All who are asked, with the files that the journal is to name."""
    work: str
    """URL of the directory for rows that are not yet in place."""
    language: str = ENGLISH
    """Of names."""
    version: str = __version__
    """Of geocli."""

    def key(self, part: Part) -> str:
        """Return what stands for a part, its input, and all that its rows depend on."""
        rows = self.request.replace(jobs=1).as_dict()
        labels, digests = [label for label, _ in self.sources], [database.digest for database in self.databases]
        return sha256(repr((self.version, rows, labels, digests, self.language, part.as_dict())).encode()).hexdigest()


def job_of(cache: GeoCache, request: BatchRequest, work: str) -> Job:
    """Return what all parts of a batch have in common.

    Args:
        cache: who would answer it on this machine.
        request: what is asked.
        work: as in the job.

    Raises:
        DatabaseError: a database cannot be read.
        SettingsError: others than databases would be asked.

    """
    sources, problems = cache.sources()
    mmdb, *others = cache.chain.resolvers
    are_others = cache.chain.services or not all(isinstance(other, RirResolver) for other in others)
    if are_others or not isinstance(mmdb, MmdbResolver):
        raise SettingsError("--cluster", "only databases can be asked; name them with --db", origin="command line")
    mmdb.databases(problems.append)
    if problems:
        raise problems[0]
    digests = {file.path: label.rpartition("@")[2] for label, file in sources if file is not None}
    return Job(
        request=request.replace(files=(), output=None),
        databases=tuple(
            SentDatabase(path=path, digest=digest, copy=f"{work}/{digest}") for path, digest in digests.items()
        ),
        sources=tuple(sources),
        work=work,
        language=mmdb.language,
    )


class Done(Value):
    """What came of a part."""

    begin: int
    """Where its first record began."""
    stop: int | None
    """Where its last one ended; None for what was unpacked."""
    rows: str
    """Name of the file with the rows."""
    frames: bytes
    """Its answers in frames of the journal, compressed (RFC 1950)."""
    counts: dict[str, int]
    """Rows by country, if somebody asked for them."""
    exit_status: int
    """As of a batch."""
    problems: tuple[GeocliError, ...]
    """What was wrong with sources."""
