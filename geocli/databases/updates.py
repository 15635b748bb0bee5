"""Getting .mmdb files, so that at every moment the old one or the new one is there, whole and tried."""

from __future__ import annotations

import os
import zlib
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import file_digest
from typing import TYPE_CHECKING

import requests
import urllib3

from geocli.databases.discovery import SUFFIX, Database, examine
from geocli.errors import DatabaseError, DownloadError, HashMismatchError, SettingsError, UpdateError
from geocli.storage.files import DataDirectory, replacing, write_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geocli.settings import Settings

NAMES = ("dbip-city-lite", "dbip-country-lite", "dbip-asn-lite")
"""Databases that need no account."""
DEFAULT_NAMES = ("dbip-city-lite", "dbip-asn-lite")
ATTRIBUTION = "IP geolocation by DB-IP (https://db-ip.com), CC BY 4.0"
"""What the licence asks those to show who show the data."""
TIMEOUT_SECONDS = (10, 60)
"""To connect, and between two pieces of the body."""
MOST_BYTES = 4 << 30
"""A database that is larger than this when unpacked is refused."""
PIECE_BYTES = 1 << 16
TRIED_ADDRESSES = ("8.8.8.8", "1.1.1.1", "193.0.6.139")
"""A database that knows none of these is not put in place."""


def update(names: Sequence[str], chosen: Settings, now: datetime) -> list[str]:
    """Bring databases up to date, and return the names of those that were replaced.

    Args:
        names: of `NAMES`; default: those that are installed, else `DEFAULT_NAMES`.
        chosen: says where to, and from where.
        now: the time; this month's file is tried first, then last month's.

    Raises:
        SettingsError: a name is unknown.
        UpdateError: a database could not be brought up to date; the old one is still in place.
        BusyError: another update is running.

    """
    directory = chosen.update_dir
    wanted = names or installed(directory) or DEFAULT_NAMES
    for name in wanted:
        if name not in NAMES:
            raise SettingsError(name, f"unknown database; known: {', '.join(NAMES)}", origin="command line")
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
        with DataDirectory(directory).locked(".geocli-update.lock", chosen.lock_timeout_seconds):
            return [name for name in wanted if _update_one(name, directory, chosen.dbip_url, now)]
    except OSError as error:
        raise UpdateError(error.filename or directory, error.strerror or str(error)) from error


def installed(directory: str) -> list[str]:
    """Return the names of the databases that a directory holds."""
    return [name for name in NAMES if os.path.exists(os.path.join(directory, name + SUFFIX))]


def _update_one(name: str, directory: str, base_url: str, now: datetime) -> bool:
    path = os.path.join(directory, name + SUFFIX)
    months = (now, now.replace(day=1) - timedelta(days=1))
    this_month, last_month = (f"{base_url}/{name}-{month:%Y-%m}{SUFFIX}.gz" for month in months)
    try:
        return _fetch(this_month, path)
    except DownloadError as error:
        if error.status != requests.codes.not_found:
            raise
    return _fetch(last_month, path)


def _fetch(url: str, path: str) -> bool:
    """Put what a URL has into place, and tell whether it was newer than what is there."""
    headers = {"Accept-Encoding": "identity"}
    if os.path.exists(path):
        modified_at = datetime.fromtimestamp(os.stat(path).st_mtime, UTC)
        headers["If-Modified-Since"] = format_datetime(modified_at, usegmt=True)
    with (
        _translated(url),
        requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS, allow_redirects=False) as response,
    ):
        if response.status_code == requests.codes.not_modified:
            return False
        if response.status_code != requests.codes.ok:
            raise DownloadError(url, f"HTTP {response.status_code} {response.reason}", status=response.status_code)
        with replacing(path) as (descriptor, beside):
            for piece in _unpacked(url, response.raw.stream(PIECE_BYTES, decode_content=False)):
                write_all(descriptor, piece)
            _try(url, beside)
            _write_sidecar(path, beside)
            _keep_time(beside, response.headers.get("Last-Modified"))
    return True


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise DownloadError(url, f"cannot be downloaded: {error}") from error


def _unpacked(url: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack gzip piece by piece; what grows beyond all bounds is refused before it is written."""
    unpacker, size_bytes = zlib.decompressobj(wbits=31), 0
    try:
        for piece in pieces:
            data = unpacker.decompress(piece, PIECE_BYTES * 16)
            while data:
                size_bytes += len(data)
                if size_bytes > MOST_BYTES:
                    raise UpdateError(url, f"larger than {MOST_BYTES} bytes when unpacked")
                yield data
                data = unpacker.decompress(unpacker.unconsumed_tail, PIECE_BYTES * 16)
    except zlib.error as error:
        raise UpdateError(url, f"not gzip: {error}") from error
    if not unpacker.eof:
        raise UpdateError(url, "ends in the middle")


def _try(url: str, path: str) -> None:
    """Open a database, and ask it for addresses that everybody knows."""
    try:
        database = Database(examine(path))
        records = [database.reader.get(address) for address in TRIED_ADDRESSES]
    except (DatabaseError, RuntimeError, ValueError) as error:
        raise UpdateError(url, f"no usable database: {error}") from error
    if not any(records):
        raise UpdateError(url, f"a database that does not know {', '.join(TRIED_ADDRESSES)}")


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _write_sidecar(path: str, beside: str) -> None:
    """Write the hash in the form that `sha256sum --check` reads."""
    with replacing(f"{path}.sha256") as (descriptor, _):
        write_all(descriptor, f"{_sha256(beside)}  {os.path.basename(path)}\n".encode())


def _keep_time(path: str, last_modified: str | None) -> None:
    """Give the file the time that the server says, for the next If-Modified-Since."""
    try:
        stamp = parsedate_to_datetime(last_modified or "").timestamp()
    except (ValueError, TypeError):
        return
    os.utime(path, (stamp, stamp))


def verify(path: str) -> int:
    """Compare a database with the hash that was written when it was installed, then read all of it.

    Returns:
        The number of its networks.

    Raises:
        HashMismatchError: the bytes are others than those that were installed.
        DatabaseError: it cannot be read to its end.

    """
    database = Database(examine(path))
    try:
        with open(f"{path}.sha256", encoding="ascii", errors="replace") as file:
            expected = file.read(64)
    except FileNotFoundError:
        expected = ""
    if expected and expected != (actual := _sha256(path)):
        raise HashMismatchError(path, expected=expected, actual=actual)
    try:
        return sum(1 for _ in database.reader)
    except (RuntimeError, ValueError) as error:
        raise DatabaseError(path, f"damaged: {error}; install it anew") from error
