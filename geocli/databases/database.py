"""An open .mmdb file, read with care: any of its bytes may be damaged."""

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
"""Size of a record as `size_of` measures it; MaxMind's largest take about 3,000. Larger ones could not be kept."""
TOO_LARGE = f"a record of more than {MAX_RECORD_BYTES} bytes"
MAX_STEPS = 1000
"""Networks without a record that are looked at before the first record."""
MAX_REFUSED, SLOW_SECONDS = 100, 0.001
"""Records that were too large, or that took this long and were damaged: then a database is not asked any more."""


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


def _name(text: str) -> str:
    kept = (char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in text)
    return "".join(kept).strip("-")


def _built_at(build_epoch: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(build_epoch, UTC)
    except (ValueError, OverflowError, OSError):
        return None
