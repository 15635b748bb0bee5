"""Install .mmdb files: the new one is checked, then replaces the old one atomically."""

from __future__ import annotations

import os
import re
import zlib
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from errno import EINVAL
from gzip import BadGzipFile, GzipFile
from hashlib import file_digest, md5
from stat import S_ISDIR, S_ISREG
from typing import IO, TYPE_CHECKING, Any, cast

from geocli.databases.database import Database
from geocli.databases.discovery import SUFFIX, examine
from geocli.databases.tree_nodes import check_tree
from geocli.errors import DatabaseError, HashMismatchError, UpdateError
from geocli.files import temporary
from geocli.files.atomic import replacing, write_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SIDECAR = ".sha256"
"""Suffix of the file with the hash of a database, as `sha256sum --check` reads it; with two during a replacement."""
MAX_SIDECAR_BYTES, DIGEST_CHARS = 4096, 64
_DIGEST = re.compile(rf"^[0-9a-f]{{{DIGEST_CHARS}}}(?=  )", re.MULTILINE)
COPY_BYTES = 1 << 18
KNOWN_ADDRESSES = ("8.8.8.8", "1.1.1.1", "193.0.6.139")
"""Addresses of which a database of places or networks must know one."""
_COMPLETE = ("city", "country", "asn", "enterprise", "isp")


class _OlderError(Exception):
    """The installed database is newer."""


@contextmanager
def unpacked(url: str, body: Any) -> Iterator[IO[bytes]]:
    """Decompress gzip as it is read; raise UpdateError if it is not gzip, damaged, or truncated."""
    try:
        with GzipFile(fileobj=body) as data:
            yield cast("IO[bytes]", data)
    except EOFError as error:
        raise UpdateError(url, "truncated") from error
    except (BadGzipFile, zlib.error) as error:
        raise UpdateError(url, f"not gzip: {error.args[0]}") from error  # `replacing` adds the path to an OSError


def install(  # noqa: PLR0913 (the metadata of a download)
    data: IO[bytes],
    path: str,
    *,
    url: str,
    max_bytes: int,
    expected_md5: str | None = None,
    last_modified: str | None = None,
) -> bool:
    """Install a database and its hash, unless the installed one is newer; return whether it was installed.

    `expected_md5` is its digest in hex, if known; `last_modified`, the header of the server, becomes the time of the
    file.

    Raises:
        UpdateError: it is not usable, or larger than `max_bytes`; the old file is unchanged, and `url` is named.

    """
    try:
        with replacing(path, is_ours=True) as (descriptor, part):
            actual_md5 = _copy(data, descriptor, url, max_bytes)
            if expected_md5 is not None and actual_md5 != expected_md5:
                raise HashMismatchError(url, expected=expected_md5, actual=actual_md5, algorithm="MD5")
            _check(url, part, path)
            _set_time(part, last_modified)
            digest = hash_of(part)
            # If this process is killed now, the sidecar has the hash of either file.
            _write_sidecar(path, [digest, *_digests_before(path)])
    except _OlderError:
        return False
    _write_sidecar(path, [digest])
    return True


def _copy(data: IO[bytes], descriptor: int, url: str, max_bytes: int) -> str:
    digest, size_bytes = md5(usedforsecurity=False), 0
    while chunk := data.read(COPY_BYTES):
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise UpdateError(url, f"larger than {max_bytes} bytes when decompressed")
        write_all(descriptor, chunk)
        digest.update(chunk)
    return digest.hexdigest()


def _check(url: str, part: str, path: str) -> None:
    """Check that a new database is readable, knows addresses, and is not older than the installed one."""
    try:
        new = Database(examine(part))
        check_tree(new)
        is_known = any(new.reader.get(address) for address in KNOWN_ADDRESSES)
        is_complete = any(word in os.path.basename(path).lower() for word in _COMPLETE)
        if not is_known and not is_complete:
            is_known = next(iter(new.reader), None) is not None
    except (DatabaseError, RuntimeError, ValueError) as error:
        raise UpdateError(url, f"not a usable database: {error}") from error
    if not is_known:
        addresses = ", ".join(KNOWN_ADDRESSES) if is_complete else "any address"
        raise UpdateError(url, f"a database without {addresses}")
    with suppress(DatabaseError):  # the installed one is missing or damaged
        old = Database(examine(path))
        if new.built_at and old.built_at and new.built_at < old.built_at:
            raise _OlderError


def hash_of(path: str, algorithm: str = "sha256") -> str:
    """Return the hash of a regular file, in hex."""
    with open(path, "rb", opener=_open_regular) as file:
        return file_digest(file, algorithm).hexdigest()


def _open_regular(path: str, flags: int) -> int:
    """Open a regular file; a FIFO or a device might block, or never end."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if S_ISREG(mode) or S_ISDIR(mode):  # `open` raises for a directory
        return descriptor
    os.close(descriptor)
    raise OSError(EINVAL, "not a regular file", path)


def _write_sidecar(path: str, digests: Iterable[str]) -> None:
    with replacing(f"{path}{SIDECAR}", is_ours=True) as (descriptor, _):
        lines = (f"{digest}  {os.path.basename(path)}\n" for digest in dict.fromkeys(digests))
        write_all(descriptor, "".join(lines).encode())


def _recorded(path: str) -> str:
    """Return the content of a database's sidecar."""
    with open(f"{path}{SIDECAR}", "rb", opener=_open_regular) as file:
        return file.read(MAX_SIDECAR_BYTES).decode("ascii", "replace")


def _digests_before(path: str) -> list[str]:
    """Return the recorded hashes of the installed database, else its actual one."""
    try:
        return _DIGEST.findall(_recorded(path))
    except FileNotFoundError:
        with suppress(FileNotFoundError):
            return [hash_of(path)]
    return []


def check_sidecar(path: str) -> bool:
    """Return whether there is a recorded hash of a database; raise HashMismatchError if it differs from the actual one.

    During a replacement there are two, of the old file and of the new one.
    """
    while True:
        try:
            recorded = _recorded(path)
        except FileNotFoundError:
            return False
        if (actual := hash_of(path)) in _DIGEST.findall(recorded):
            return True
        if recorded == _recorded(path):  # else an update replaced both files meanwhile
            raise HashMismatchError(path, expected=recorded[:DIGEST_CHARS], actual=actual)


def renew_sidecar(path: str) -> None:
    """Update the recorded hash of a sound database that another program replaced, such as geoipupdate."""
    try:
        check_sidecar(path)
    except HashMismatchError:
        _write_sidecar(path, [hash_of(path)])


def _set_time(path: str, last_modified: str | None) -> None:
    """Set the time of a file to that of the server, for the next If-Modified-Since."""
    with suppress(ValueError, TypeError, OverflowError):
        stamp = parsedate_to_datetime(last_modified or "").timestamp()
        os.utime(path, (stamp, stamp))


def sweep(directory: str) -> None:
    """Remove the temporary files of killed updates, and fix their sidecars; the caller holds the lock."""
    names = os.listdir(directory)
    for target in {temporary.target_of(name) for name in names}:
        if target and _OURS.fullmatch(target):
            temporary.sweep(directory, target)
    for name in names:
        if name.endswith(f"{SUFFIX}{SIDECAR}"):
            with suppress(OSError):  # of another program, or of a removed database
                _fix_sidecar(os.path.join(directory, name.removesuffix(SIDECAR)))


def _fix_sidecar(path: str) -> None:
    """Drop the hash of the other file, if an update was killed while it replaced the database."""
    digests = _DIGEST.findall(_recorded(path))
    if len(digests) > 1 and (actual := hash_of(path)) in digests:
        _write_sidecar(path, [actual])


_OURS = re.compile(rf".+{SUFFIX}({SIDECAR})?|\.geocli-backoff-.+\.json|\.geocli-update\.json")
"""Files that updates write, or wrote in version 0.1.0."""
