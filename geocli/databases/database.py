"""Read .mmdb files, of which any byte may be damaged."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from marshal import dumps
from time import thread_time

from geocli.databases.discovery import SUFFIX, examine, order_of
from geocli.errors import DatabaseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address
    from typing import Any

    from maxminddb_rust import Reader

    from geocli.databases.discovery import DatabaseFile

MAX_TYPE_CHARS = 256
MAX_RECORD_BYTES = 32 * 1024
"""Maximum size of a record as packed by `marshal`; MaxMind's largest have about 3,000. Larger ones exceed a frame."""
TOO_LARGE = f"a record of more than {MAX_RECORD_BYTES} bytes"
MAX_STEPS = 1000
"""Maximum number of networks without a record before the first record."""
MAX_REFUSED, SLOW_SECONDS = 100, 0.001
"""Number of records that are too large, or damaged and this slow, after which a database is not read any more."""


class Database:
    """An open database."""

    def __init__(self, file: DatabaseFile) -> None:
        """Open a file; raise DatabaseError if it is not a database, or not the file that was examined."""
        from maxminddb_rust import InvalidDatabaseError, open_database

        try:
            self.reader: Reader = open_database(file.path)
        except (OSError, InvalidDatabaseError, ValueError) as error:
            raise DatabaseError(file.path, f"not a readable MaxMind DB: {error}") from error
        if examine(file.path, file.directory) != file:
            raise DatabaseError(file.path, "was replaced while it was opened; try again")
        metadata = self.reader.metadata()
        if len(metadata.database_type) > MAX_TYPE_CHARS:  # the type is the source of each answer
            raise DatabaseError(
                file.path, f"not a readable MaxMind DB: its type has more than {MAX_TYPE_CHARS} characters"
            )
        self.file = file
        self._refused = 0
        self.only_ipv4 = metadata.ip_version == 4
        self.name = _name(metadata.database_type) or _name(os.path.basename(file.path).removesuffix(SUFFIX))
        """Edition: `GeoLite2-City`."""
        self.built_at = _built_at(metadata.build_epoch)
        """Build time; UTC; None if the metadata have no date."""

    @property
    def kind(self) -> str | None:
        """Type of the first record: `map`, `string`, ...; None without a readable record."""
        from ipaddress import IPv4Address, IPv6Address

        make, bits = (IPv4Address, 32) if self.only_ipv4 else (IPv6Address, 128)
        number = 0
        with suppress(DatabaseError):
            for _ in range(MAX_STEPS):  # an iteration over a damaged database may not end
                if number >> bits:
                    break
                record, prefix_len, _ = self.read(make(number))
                if record is not None:
                    return kind_of(record)
                number = (number >> (bits - prefix_len)) + 1 << (bits - prefix_len)
        return None

    def read(self, address: IPv4Address | IPv6Address | str) -> tuple[Any, int, bytes]:
        """Return the record of an address, its prefix length, and the record as `marshal` packs it.

        Raises:
            DatabaseError: the record is damaged or too large, or too many records were slow.

        """
        if self._refused >= MAX_REFUSED:
            raise self._damaged(f"more than {MAX_REFUSED} records that are slow to read")
        try:
            record, prefix_len = self.reader.get_with_prefix_len(address)
        except (RuntimeError, ValueError) as error:  # maxminddb_rust.InvalidDatabaseError is a RuntimeError
            self._refused += self._is_slow(address)
            raise self._damaged(error) from error
        packed = dumps(record)
        if len(packed) > MAX_RECORD_BYTES:
            del record  # else the traceback of the error keeps it
            self._refused += 1
            raise self._damaged(TOO_LARGE)
        return record, prefix_len, packed

    def _is_slow(self, address: IPv4Address | IPv6Address | str) -> bool:
        """Return whether reading a damaged record is so slow that the database must be malicious."""
        start = thread_time()
        with suppress(RuntimeError, ValueError):
            self.reader.get(address)
        return thread_time() - start > SLOW_SECONDS

    def _damaged(self, reason: object) -> DatabaseError:
        return DatabaseError(self.file.path, f"damaged: {reason}; reinstall it with: geocli db update")

    @property
    def attribution(self) -> str | None:
        """Attribution that its licence requires, as far as known."""
        from geocli.databases.licences import attribution_of

        described = " ".join(map(str, self.reader.metadata().description.values()))
        return attribution_of(f"{self.name} {os.path.basename(self.file.path)} {described}")

    @property
    def order(self) -> tuple[int, int, str]:
        """Sort key of databases."""
        return order_of(self.file, self.name)


def kind_of(record: object) -> str:
    """Return the type of a record (MaxMind DB specification, data field format)."""
    return _KINDS[type(record)]


_KINDS: dict[type, str] = {
    dict: "map",
    list: "list",
    str: "string",
    bool: "boolean",
    **dict.fromkeys((int, float), "number"),
    **dict.fromkeys((bytes, bytearray), "bytes"),
}


def _name(text: str) -> str:
    chars = (char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in text)
    return "".join(chars).strip("-")


def _built_at(build_epoch: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(build_epoch, UTC)
    except (ValueError, OverflowError, OSError):
        return None
