"""Find .mmdb files, and open them with care."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
from marshal import dumps
from time import thread_time

from geocli.errors import DatabaseError
from geocli.immutable import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from ipaddress import IPv4Address, IPv6Address
    from typing import Any, TypeAlias

    from maxminddb_rust import Reader

    Identity: TypeAlias = tuple[str, int, int, int, int, int]

SUFFIX = ".mmdb"
MAX_TYPE_CHARS = 256
MAX_RECORD_BYTES = 32 * 1024
"""Size of a record as `size_of` measures it; MaxMind's largest take about 3,000. Larger ones could not be kept."""
TOO_LARGE = f"a record of more than {MAX_RECORD_BYTES} bytes"
MAX_STEPS = 1000
"""Networks without a record that are looked at before the first record."""
MAX_REFUSED, SLOW_SECONDS = 100, 0.001
"""Records that were too large, or that took this long and were damaged: then a database is not asked any more."""
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


class Database:
    """An open database."""

    def __init__(self, file: DatabaseFile) -> None:
        """Open a file.

        Raises:
            DatabaseError: it is no database, cannot be read, or is not the file that was looked at.

        """
        from maxminddb_rust import InvalidDatabaseError, open_database

        try:
            self.reader: Reader = open_database(file.path)
        except (OSError, InvalidDatabaseError, ValueError) as error:
            raise DatabaseError(file.path, f"not a readable MaxMind DB: {error}") from error
        if examine(file.path, file.directory) != file:
            raise DatabaseError(file.path, "was replaced at this moment; ask again")
        metadata = self.reader.metadata()
        if len(metadata.database_type) > MAX_TYPE_CHARS:  # it would be the source of each answer
            raise DatabaseError(
                file.path, f"not a readable MaxMind DB: its type has more than {MAX_TYPE_CHARS} characters"
            )
        self.file = file
        self._refused = 0
        self.only_ipv4 = metadata.ip_version == 4
        self.name = _name(metadata.database_type) or _name(os.path.basename(file.path).removesuffix(SUFFIX))
        """Its edition: `GeoLite2-City`."""
        self.built_at = _built_at(metadata.build_epoch)
        """When it was built; UTC; None if its metadata hold no date."""

    @property
    def kind(self) -> str | None:
        """The kind of value that the first record is: `map`, `string`; None if there is no record, or none readable."""
        from ipaddress import IPv4Address, IPv6Address

        make, bits = (IPv4Address, 32) if self.only_ipv4 else (IPv6Address, 128)
        number = 0
        with suppress(DatabaseError):
            for _ in range(MAX_STEPS):  # from network to network; iterating the reader may not end
                if number >> bits:
                    break
                record, prefix_len, _ = self.read(make(number))
                if record is not None:
                    return kind_of(record)
                number = (number >> (bits - prefix_len)) + 1 << (bits - prefix_len)
        return None

    def read(self, address: IPv4Address | IPv6Address | str) -> tuple[Any, int, int]:
        """Return the record at an address, the length of the prefix that it holds for, and the size of the record.

        Raises:
            DatabaseError: the database is damaged there, the record is too large, or too many took too long.

        """
        if self._refused >= MAX_REFUSED:
            raise self._damaged(f"more than {MAX_REFUSED} records that take long to read")
        try:
            record, prefix_len = self.reader.get_with_prefix_len(address)
        except (RuntimeError, ValueError) as error:  # maxminddb_rust.InvalidDatabaseError is a RuntimeError
            self._refused += self._is_slow(address)
            raise self._damaged(error) from error
        if (size_bytes := size_of(record)) > MAX_RECORD_BYTES:
            del record  # which the traceback of the error would keep
            self._refused += 1
            raise self._damaged(TOO_LARGE)
        return record, prefix_len, size_bytes

    def _is_slow(self, address: IPv4Address | IPv6Address | str) -> bool:
        """Return whether reading a damaged record takes so long that it must have been made for that."""
        start = thread_time()
        with suppress(RuntimeError, ValueError):
            self.reader.get(address)
        return thread_time() - start > SLOW_SECONDS

    def _damaged(self, reason: object) -> DatabaseError:
        return DatabaseError(self.file.path, f"damaged: {reason}; install it anew")

    @property
    def attribution(self) -> str | None:
        """What its licence asks those to show who show its data, as far as is known."""
        from geocli.databases.licences import attribution_of

        described = " ".join(map(str, self.reader.metadata().description.values()))
        return attribution_of(f"{self.name} {os.path.basename(self.file.path)} {described}")

    def skips(self, address: IPv4Address | IPv6Address) -> bool:
        """Tell whether an address is of a family that is not in the database."""
        return self.only_ipv4 and address.version == 6

    @property
    def order(self) -> tuple[int, int, str]:
        """Sorts databases into the order in which they are asked."""
        return order_of(self.file, self.name)


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


def size_of(record: Any) -> int:
    """Return the size of a record in bytes, in the order of the memory that it takes."""
    return len(dumps(record))


def kind_of(record: object) -> str:
    """Return the kind of value that a record is (MaxMind DB spec, data field format)."""
    return _KINDS[type(record)]


_KINDS: dict[type, str] = {
    dict: "map",
    list: "list",
    str: "string",
    bool: "boolean",
    **dict.fromkeys((int, float), "number"),
    **dict.fromkeys((bytes, bytearray), "bytes"),
}


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


def _name(text: str) -> str:
    kept = (char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in text)
    return "".join(kept).strip("-")


def _built_at(build_epoch: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(build_epoch, UTC)
    except (ValueError, OverflowError, OSError):
        return None
