"""Find .mmdb files, without opening them."""

from __future__ import annotations

import os
import stat

from geocli.errors import DatabaseError
from geocli.immutable import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, TypeAlias, TypeVar

    Read = TypeVar("Read")
    Identity: TypeAlias = tuple[str, int, int, int, int, int]

SUFFIX = ".mmdb"
RICHEST_FIRST = ("enterprise", "city", "location", "country", "lite", "isp", "asn")
"""Words in the type of a database; within a directory, databases with more fields come first."""


class DatabaseFile(Value):
    """The status of a file that may be a database."""

    path: str
    """Absolute path."""
    device: int
    """Number of the file system, on which inode numbers are unique."""
    inode: int
    """Changes when the file is replaced."""
    size_bytes: int
    """Never 0."""
    mtime_ns: int
    """Time of modification, in ns since 1970."""
    ctime_ns: int
    """Time of the last change of the file or its status, in ns since 1970; no program can set it."""
    directory: int = 0
    """Position of its directory; directories are used in their order."""

    @property
    def identity(self) -> Identity:
        """Values that change whenever the content does."""
        return self.path, self.device, self.inode, self.size_bytes, self.mtime_ns, self.ctime_ns


def order_of(file: DatabaseFile, name: str) -> tuple[int, int, str]:
    """Return the sort key of a database with a name."""
    rank = next((rank for rank, word in enumerate(RICHEST_FIRST) if word in name.lower()), len(RICHEST_FIRST))
    return file.directory, rank, file.path


def digest_of(path: str) -> str:
    """Return the SHA-256 of a file, in hex; raise DatabaseError if it cannot be read."""
    from hashlib import file_digest

    try:
        with open(path, "rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatabaseError(path, f"cannot be read: {error.strerror}") from error


def examine(path: str, directory: int = 0) -> DatabaseFile:
    """Return the status of a file without opening it, since opening a FIFO would block.

    Raises DatabaseError if it is missing, empty, or not a regular file.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise DatabaseError(path, f"cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise DatabaseError(path, "not a regular file")
    if not status.st_size:
        raise DatabaseError(path, "empty")
    return DatabaseFile(
        path=os.path.abspath(path),
        device=status.st_dev,
        inode=status.st_ino,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        directory=directory,
    )


def find(directories: Iterable[str], report: Callable[[DatabaseError], None]) -> list[DatabaseFile]:
    """Return the databases of directories in their order, files with several links once.

    Missing directories are skipped; files that cannot be databases are reported.
    """
    paths = ((path, at) for at, directory in enumerate(directories) for path in _listed(directory, report))
    files: dict[tuple[int, int], DatabaseFile] = {}
    for file in usable(examine, paths, report):
        files.setdefault((file.device, file.inode), file)
    return list(files.values())


def usable(
    read: Callable[..., Read], arguments: Iterable[tuple[Any, ...]], report: Callable[[DatabaseError], None]
) -> Iterator[Read]:
    """Yield the results of a function that reads databases, called with each of the arguments; errors are reported."""
    for values in arguments:
        try:
            result = read(*values)
        except DatabaseError as error:
            report(error)
        else:
            yield result


def missing(directories: Iterable[str]) -> list[DatabaseError]:
    """Return an error for each configured directory that does not exist."""
    reason = "does not exist, but GEOCLI_DB_DIR or database_dirs names it"
    return [DatabaseError(path, reason) for path in dict.fromkeys(directories) if not os.path.exists(path)]


def _listed(directory: str, report: Callable[[DatabaseError], None]) -> list[str]:
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        report(DatabaseError(directory, f"cannot be listed: {error.strerror}"))
        return []
    return [os.path.join(directory, name) for name in sorted(names) if name.lower().endswith(SUFFIX)]
