"""Find .mmdb files, without opening them."""

from __future__ import annotations

import os
import stat

from geocli.errors import DatabaseError
from geocli.immutable import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeAlias

    Identity: TypeAlias = tuple[str, int, int, int, int, int]

SUFFIX = ".mmdb"
RICHEST_FIRST = ("enterprise", "city", "location", "country", "lite", "isp", "asn")
"""Words in a database's type; of several databases in a directory those that know more are asked first."""


class DatabaseFile(Value):
    """A file that may be a database, as `stat` sees it."""

    path: str
    """Where it is, absolute."""
    device: int
    """The file system that it is on; inode numbers are unique on one file system only."""
    inode: int
    """Changes when the file is replaced."""
    size_bytes: int
    """Never 0."""
    mtime_ns: int
    """When it was last modified, in ns since 1970."""
    ctime_ns: int
    """When it or what `stat` says of it last changed, in ns since 1970; no program can set this time."""
    directory: int = 0
    """Number of the directory that it was found in; directories are asked in their order."""

    @property
    def identity(self) -> Identity:
        """What changes whenever the file does."""
        return self.path, self.device, self.inode, self.size_bytes, self.mtime_ns, self.ctime_ns


def order_of(file: DatabaseFile, name: str) -> tuple[int, int, str]:
    """Return what sorts files of these names into the order in which they are asked."""
    rank = next((rank for rank, word in enumerate(RICHEST_FIRST) if word in name.lower()), len(RICHEST_FIRST))
    return file.directory, rank, file.path


def digest_of(path: str) -> str:
    """Return the SHA-256 of a file, in hex.

    Raises:
        DatabaseError: it cannot be read.

    """
    from hashlib import file_digest

    try:
        with open(path, "rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatabaseError(path, f"cannot be read: {error.strerror}") from error


def examine(path: str, directory: int = 0) -> DatabaseFile:
    """Look at a file without opening it, since opening a FIFO would wait for ever.

    Raises:
        DatabaseError: it is missing, empty, or not a regular file.

    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise DatabaseError(path, f"cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise DatabaseError(path, "not a regular file")
    if not found.st_size:
        raise DatabaseError(path, "empty")
    return DatabaseFile(
        path=os.path.abspath(path),
        device=found.st_dev,
        inode=found.st_ino,
        size_bytes=found.st_size,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
        directory=directory,
    )


def find(directories: Iterable[str], report: Callable[[DatabaseError], None]) -> list[DatabaseFile]:
    """Return the databases of some directories in their order, each file once, however it is linked.

    A directory that is not there is passed over; a file that cannot be one is reported.
    """
    found: dict[tuple[int, int], DatabaseFile] = {}
    for number, directory in enumerate(directories):
        for path in _listed(directory, report):
            try:
                file = examine(path, number)
            except DatabaseError as error:
                report(error)
            else:
                found.setdefault((file.device, file.inode), file)
    return list(found.values())


def missing(directories: Iterable[str]) -> list[DatabaseError]:
    """Return an error for each directory that a user named and that is not there."""
    reason = "not there, but GEOCLI_DB_DIR or database_dirs names it"
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
