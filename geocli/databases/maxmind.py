"""MaxMind's databases, for those who have an account, by the settings of MaxMind's geoipupdate.

The package pygeoipupdate reads them. It is not used to download: it follows redirects to plain http, has no limit for
the size of what it gets and unpacks, puts files into place that nobody has opened, and knows no waiting after 429.
"""

from __future__ import annotations

import json
import re
import tarfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from geocli.databases.install import digest_of, install, renew_sidecar, unpacked
from geocli.errors import SettingsError, UpdateError
from geocli.immutable import Value
from geocli.sanitize import may_be_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pygeoipupdate import Config

    from geocli.databases.download import Client
    from geocli.settings import Settings

EDITION = re.compile(r"(GeoLite2|GeoIP2?)(-[A-Za-z0-9]+)+")
"""What MaxMind's databases are called."""
METADATA_BYTES = 1 << 16
"""The answer that says which build is the newest is not larger than this."""
BEFORE_BYTES = 1 << 22
"""In an archive, the licence and the like before the database are not larger than this."""


_VALUE = re.compile(r"'(?![a-z0-9+.-]{1,8}'$).*'|(?<=proxy type: )(?![a-z0-9]{1,8}$).*")
"""A value that an error of pygeoipupdate shows, unless it is the scheme of a URL."""


class Account(Value):
    """Who asks MaxMind, where, and for what."""

    auth: tuple[str, str]
    """Number of the account, and its licence key."""
    host: str
    """URL of the server, without a slash at its end."""
    proxy: str | None
    """URL of the proxy to use."""
    editions: tuple[str, ...]
    """Databases that geoipupdate would get."""


def account(chosen: Settings) -> Account:
    """Return the account, the server and the editions that GeoIP.conf and `GEOIPUPDATE_*` name.

    Raises:
        SettingsError: they name no account, or say what cannot be.

    """
    from pathlib import Path

    from pygeoipupdate import Config, ConfigError

    origin, otherwise = chosen.geoip_conf or "GEOIPUPDATE_*", "without an account: geocli db update dbip-city-lite"
    if not chosen.has_maxmind_account:
        reason = "needs the AccountID, LicenseKey and EditionIDs of an account, where this user can read them"
        raise SettingsError("MaxMind", f"{reason}; {otherwise}", origin=origin)
    path = Path(chosen.geoip_conf) if chosen.geoip_conf else None
    try:
        said = Config.from_file(path, database_directory=Path(chosen.maxmind_dir))
        _check_places(said, chosen.maxmind_dir)
    except (ConfigError, ValueError) as error:
        said_why = _VALUE.sub("'…'", str(error)) if isinstance(error, ConfigError) else "a URL or number that is none"
        reason = str(error) if isinstance(error, UnicodeError) else said_why
        raise SettingsError("MaxMind", f"{reason}; {otherwise}", origin=origin) from None
    auth = str(said.account_id), said.license_key
    return Account(auth=auth, host=said.host.rstrip("/"), proxy=said.proxy, editions=said.edition_ids)


def _check_places(said: Config, directory: str) -> None:
    """Refuse a licence key where something else belongs that messages show; nothing that is refused is shown.

    Raises:
        ConfigError: an edition, the host or the directory cannot be one.

    """
    from pygeoipupdate import ConfigError

    if any(map(may_be_key, said.edition_ids)):
        raise ConfigError("one of the `EditionIDs` is not the name of an edition")
    if may_be_key(urlsplit(said.host).hostname or ""):
        raise ConfigError("`Host` is not the name of a host")
    if may_be_key(directory):
        raise ConfigError("`DatabaseDirectory` is not the path of a directory")


def update_edition(client: Client, host: str, edition: str, path: str, most_bytes: int) -> bool:
    """Bring an edition up to date, and tell whether it was replaced.

    Raises:
        UpdateError: it could not be; the old file is still in place.
        OSError: it cannot be written, likewise.

    """
    date, expected_md5 = _newest(client, f"{host}/geoip/updates/metadata?edition_id={edition}", edition)
    try:
        if digest_of(path, "md5") == expected_md5:
            renew_sidecar(path)
            return False
    except FileNotFoundError:
        pass
    url = f"{host}/geoip/databases/{edition}/download?date={date}&suffix=tar.gz"
    with client.get(url) as response, unpacked(url, response.raw) as tar, _member(url, tar, most_bytes) as data:
        return install(
            data,
            path,
            url=url,
            most_bytes=most_bytes,
            expected_md5=expected_md5,
            last_modified=response.headers.get("Last-Modified"),
        )


def _newest(client: Client, url: str, edition: str) -> tuple[str, str]:
    """Return the date of the newest build, as YYYYMMDD, and the MD5 digest of its database."""
    with client.get(url) as response:
        text = response.raw.read(METADATA_BYTES + 1)
    try:
        said: Any = json.loads(text[:METADATA_BYTES])
        (found,) = (each for each in said["databases"] if each["edition_id"] == edition)
        date, digest = found["date"].replace("-", ""), found["md5"].lower()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UpdateError(url, f"does not say which build of {edition} is the newest") from error
    if not (re.fullmatch(r"[0-9]{8}", date) and re.fullmatch(r"[0-9a-f]{32}", digest)):
        raise UpdateError(url, f"does not say which build of {edition} is the newest")
    return date, digest


class _Part:
    """A stream of which only so much may be read."""

    def __init__(self, url: str, stream: IO[bytes], left_bytes: int) -> None:
        self._url, self._stream, self.left_bytes = url, stream, left_bytes

    def read(self, size: int) -> bytes:
        """Read as the stream does."""
        if size > self.left_bytes:
            raise UpdateError(self._url, "an archive without a database at its beginning")
        data = self._stream.read(size)
        self.left_bytes -= len(data)
        return data


@contextmanager
def _member(url: str, stream: IO[bytes], most_bytes: int) -> Iterator[IO[bytes]]:
    """Find the database in a tar archive, of which nothing else is written anywhere."""
    part = _Part(url, stream, BEFORE_BYTES)
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", part), mode="r|") as archive:
            for member in archive:
                if member.isreg() and not member.issparse() and member.name.endswith(".mmdb"):
                    part.left_bytes = most_bytes + BEFORE_BYTES
                    yield cast("IO[bytes]", archive.extractfile(member))
                    return
    except (tarfile.TarError, ValueError, OverflowError) as error:  # of numbers in headers that are none
        raise UpdateError(url, f"not a tar archive: {error}") from error
    raise UpdateError(url, "an archive without a database")
