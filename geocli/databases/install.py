"""Putting .mmdb files into place, so that at every moment the old one or the new one is there, whole and tried."""

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
from geocli.databases.tree_check import check_tree
from geocli.errors import DatabaseError, HashMismatchError, UpdateError
from geocli.files import temporary
from geocli.files.atomic import replacing, write_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SIDECAR = ".sha256"
"""Added to a database's name: its hash, in the form that `sha256sum --check` reads; two while it is replaced."""
MAX_SIDECAR_BYTES, DIGEST_CHARS = 4096, 64
_DIGEST = re.compile(rf"^[0-9a-f]{{{DIGEST_CHARS}}}(?=  )", re.MULTILINE)
PIECE_BYTES = 1 << 18
TRIED_ADDRESSES = ("8.8.8.8", "1.1.1.1", "193.0.6.139")
"""A database that claims to know where addresses are, or whose, and knows none of these is not put in place."""
_KNOW_ALL = ("city", "country", "asn", "enterprise", "isp")


class _OlderError(Exception):
    """What is installed is newer."""


@contextmanager
def unpacked(url: str, body: Any) -> Iterator[IO[bytes]]:
    """Unpack gzip as it is read.

    Raises:
        UpdateError: it is no gzip, damaged, or ends in the middle.

    """
    try:
        with GzipFile(fileobj=body) as data:
            yield cast("IO[bytes]", data)
    except EOFError as error:
        raise UpdateError(url, "ends in the middle") from error
    except (BadGzipFile, zlib.error) as error:
        raise UpdateError(url, f"not gzip: {error.args[0]}") from error  # `replacing` names the file in an OSError


def install(  # noqa: PLR0913 (what is known of a file)
    data: IO[bytes],
    path: str,
    *,
    url: str,
    most_bytes: int,
    expected_md5: str | None = None,
    last_modified: str | None = None,
) -> bool:
    """Put a database into place, with its hash beside it, and tell whether it is no older than what is there.

    Args:
        data: the database.
        path: where it goes.
        url: where it comes from.
        most_bytes: a larger one is refused before more is written.
        expected_md5: its MD5 digest in hex, if it is known.
        last_modified: when it was changed, as HTTP says it; becomes the time of the file.

    Raises:
        UpdateError: it is not usable; what was there is still in place.
        OSError: it cannot be written, likewise.

    """
    try:
        with replacing(path, is_ours=True) as (descriptor, beside):
            actual_md5 = _copy(data, descriptor, url, most_bytes)
            if expected_md5 is not None and actual_md5 != expected_md5:
                raise HashMismatchError(url, expected=expected_md5, actual=actual_md5, algorithm="MD5")
            _try(url, beside, path)
            _keep_time(beside, last_modified)
            digest = digest_of(beside)
            # Whichever of the two files is there when this process is killed, its hash is in the sidecar.
            _write_sidecar(path, [digest, *_digests_before(path)])
    except _OlderError:
        return False
    _write_sidecar(path, [digest])
    return True


def _copy(data: IO[bytes], descriptor: int, url: str, most_bytes: int) -> str:
    digest, size_bytes = md5(usedforsecurity=False), 0
    while piece := data.read(PIECE_BYTES):
        size_bytes += len(piece)
        if size_bytes > most_bytes:
            raise UpdateError(url, f"larger than {most_bytes} bytes when unpacked")
        write_all(descriptor, piece)
        digest.update(piece)
    return digest.hexdigest()


def _try(url: str, beside: str, path: str) -> None:
    """Open a database, and ask it for addresses that everybody knows, or for the first that it knows."""
    try:
        new = Database(examine(beside))
        check_tree(new)
        is_known = any(new.reader.get(address) for address in TRIED_ADDRESSES)
        knows_all = any(word in os.path.basename(path).lower() for word in _KNOW_ALL)
        if not is_known and not knows_all:
            is_known = next(iter(new.reader), None) is not None
    except (DatabaseError, RuntimeError, ValueError) as error:
        raise UpdateError(url, f"no usable database: {error}") from error
    if not is_known:
        what = f"does not know {', '.join(TRIED_ADDRESSES)}" if knows_all else "knows no address"
        raise UpdateError(url, f"a database that {what}")
    with suppress(DatabaseError):  # what is there is missing or damaged
        old = Database(examine(path))
        if new.built_at and old.built_at and new.built_at < old.built_at:
            raise _OlderError


def digest_of(path: str, algorithm: str = "sha256") -> str:
    """Return the digest of a file, in hex.

    Raises:
        OSError: it cannot be read, or is not a regular file.

    """
    with open(path, "rb", opener=_open_regular) as file:
        return file_digest(file, algorithm).hexdigest()


def _open_regular(path: str, flags: int) -> int:
    """Open a file, but nothing that might never end, or waits for its other end."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if S_ISREG(mode) or S_ISDIR(mode):  # of which Python says what it is
        return descriptor
    os.close(descriptor)
    raise OSError(EINVAL, "not a regular file", path)


def _write_sidecar(path: str, digests: Iterable[str]) -> None:
    with replacing(f"{path}{SIDECAR}", is_ours=True) as (descriptor, _):
        lines = (f"{digest}  {os.path.basename(path)}\n" for digest in dict.fromkeys(digests))
        write_all(descriptor, "".join(lines).encode())


def _recorded(path: str) -> str:
    """Return what a database's sidecar holds.

    Raises:
        OSError: it cannot be read, or is not a regular file.

    """
    with open(f"{path}{SIDECAR}", "rb", opener=_open_regular) as file:
        return file.read(MAX_SIDECAR_BYTES).decode("ascii", "replace")


def _digests_before(path: str) -> list[str]:
    """Return the hashes that the database may have that is there: those that were recorded, else its own."""
    try:
        return _DIGEST.findall(_recorded(path))
    except FileNotFoundError:
        with suppress(FileNotFoundError):
            return [digest_of(path)]
    return []


def check_sidecar(path: str) -> bool:
    """Compare a database with the hash that was written when it was installed; return whether there is one.

    While a database is replaced there are two, of the old file and of the new one.

    Raises:
        HashMismatchError: the bytes are others than those that were installed.
        OSError: one of the two files cannot be read.

    """
    while True:
        try:
            recorded = _recorded(path)
        except FileNotFoundError:
            return False
        if (actual := digest_of(path)) in _DIGEST.findall(recorded):
            return True
        if recorded == _recorded(path):  # else an update replaced both files meanwhile
            raise HashMismatchError(path, expected=recorded[:DIGEST_CHARS], actual=actual)


def renew_sidecar(path: str) -> None:
    """Write the hash of a sound database anew, if there is one of an older file, as when geoipupdate replaced that."""
    try:
        check_sidecar(path)
    except HashMismatchError:
        _write_sidecar(path, [digest_of(path)])


def _keep_time(path: str, last_modified: str | None) -> None:
    """Give the file the time that the server says, for the next If-Modified-Since."""
    with suppress(ValueError, TypeError, OverflowError):
        stamp = parsedate_to_datetime(last_modified or "").timestamp()
        os.utime(path, (stamp, stamp))


def sweep(directory: str) -> None:
    """Remove what updates that were killed left behind, and settle their sidecars; the caller holds the lock."""
    names = os.listdir(directory)
    for target in {temporary.target_of(name) for name in names}:
        if target and _OURS.fullmatch(target):
            temporary.sweep(directory, target)
    for name in names:
        if name.endswith(f"{SUFFIX}{SIDECAR}"):
            with suppress(OSError):  # of another program, or of a database that is gone
                _settle(os.path.join(directory, name.removesuffix(SIDECAR)))


def _settle(path: str) -> None:
    """Let the sidecar name one hash again, if an update was killed while it replaced the database."""
    digests = _DIGEST.findall(_recorded(path))
    if len(digests) > 1 and (actual := digest_of(path)) in digests:
        _write_sidecar(path, [actual])


_OURS = re.compile(rf".+{SUFFIX}({SIDECAR})?|\.geocli-backoff-.+\.json|\.geocli-update\.json")
"""What updates write, or those of version 0.1.0."""
