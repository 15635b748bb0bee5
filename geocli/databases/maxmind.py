"""MaxMind's databases, for users with an account, by the settings of MaxMind's geoipupdate.

The package pygeoipupdate reads these, but does not download: it follows redirects to plain http, does not limit the
size of downloads, installs files without opening them, and does not wait after too many requests.
"""

from __future__ import annotations

import json
import re
import tarfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from geocli.databases.install import hash_of, install, renew_sidecar, unpacked
from geocli.errors import SettingsError, UpdateError
from geocli.immutable import Value
from geocli.sanitize import may_be_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pygeoipupdate import Config, ConfigError

    from geocli.databases.download import Client
    from geocli.settings import Settings

EDITION = re.compile(r"(GeoLite2|GeoIP2?)(-[A-Za-z0-9]+)+")
"""Names of MaxMind's databases."""
MAX_METADATA_BYTES = 1 << 16
"""Maximum size of the metadata of an edition."""
MAX_PREFIX_BYTES = 1 << 22
"""Maximum size of the files before the database in an archive, such as the licence."""


_VALUE = re.compile(r"'(?![a-z0-9+.-]{1,8}'$).*'|(?<=proxy type: )(?![a-z0-9]{1,8}$).*")
"""A value in an error of pygeoipupdate, except the scheme of a URL."""


class Account(Value):
    """An account at MaxMind, with its server and editions."""

    auth: tuple[str, str]
    """Account ID and licence key."""
    host: str
    """URL of the server, without a trailing slash."""
    proxy: str | None
    """URL of the proxy."""
    editions: tuple[str, ...]
    """Databases that geoipupdate would download."""


def account(settings: Settings) -> Account:
    """Return the account of GeoIP.conf and `GEOIPUPDATE_*`; raise SettingsError without one, or for a bad value."""
    from pathlib import Path

    from pygeoipupdate import Config, ConfigError

    origin, otherwise = settings.geoip_conf or "GEOIPUPDATE_*", "without an account: geocli db update dbip-city-lite"
    if not settings.has_maxmind_account:
        reason = "needs the AccountID, LicenseKey and EditionIDs of an account, readable by this user"
        raise SettingsError("MaxMind", f"{reason}; {otherwise}", origin=origin)
    path = Path(settings.geoip_conf) if settings.geoip_conf else None
    try:
        config = Config.from_file(path, database_directory=Path(settings.maxmind_dir))
        _check_secrecy(config, settings.maxmind_dir)
    except (ConfigError, ValueError) as error:
        raise SettingsError("MaxMind", f"{_reason(error)}; {otherwise}", origin=origin) from None
    auth = str(config.account_id), config.license_key
    return Account(auth=auth, host=config.host.rstrip("/"), proxy=config.proxy, editions=config.edition_ids)


def _reason(error: ValueError | ConfigError) -> str:
    """Return the text of an error without the value, which may be a licence key in the wrong place."""
    from pygeoipupdate import ConfigError

    if isinstance(error, UnicodeError):
        return str(error)
    return _VALUE.sub("'…'", str(error)) if isinstance(error, ConfigError) else "an invalid URL or number"


def _check_secrecy(config: Config, directory: str) -> None:
    """Check that no value that messages show may be a licence key."""
    from pygeoipupdate import ConfigError

    if any(map(may_be_key, config.edition_ids)):
        raise ConfigError("one of the `EditionIDs` is not the name of an edition")
    if may_be_key(urlsplit(config.host).hostname or ""):
        raise ConfigError("`Host` is not the name of a host")
    if may_be_key(directory):
        raise ConfigError("`DatabaseDirectory` is not the path of a directory")


def update_edition(client: Client, host: str, edition: str, path: str, max_bytes: int) -> bool:
    """Update an edition, and return whether it was replaced; after an UpdateError the old file is unchanged."""
    date, expected_md5 = _newest(client, f"{host}/geoip/updates/metadata?edition_id={edition}", edition)
    try:
        if hash_of(path, "md5") == expected_md5:
            renew_sidecar(path)
            return False
    except FileNotFoundError:
        pass
    url = f"{host}/geoip/databases/{edition}/download?date={date}&suffix=tar.gz"
    with client.get(url) as response, unpacked(url, response.raw) as tar, _member(url, tar, max_bytes) as data:
        return install(
            data,
            path,
            url=url,
            max_bytes=max_bytes,
            expected_md5=expected_md5,
            last_modified=response.headers.get("Last-Modified"),
        )


def _newest(client: Client, url: str, edition: str) -> tuple[str, str]:
    """Return the date of the newest build, as YYYYMMDD, and the MD5 digest of its database."""
    with client.get(url) as response:
        text = response.raw.read(MAX_METADATA_BYTES + 1)
    try:
        metadata: Any = json.loads(text[:MAX_METADATA_BYTES])
        (build,) = (entry for entry in metadata["databases"] if entry["edition_id"] == edition)
        date, digest = build["date"].replace("-", ""), build["md5"].lower()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UpdateError(url, f"does not name the newest build of {edition}") from error
    if not (re.fullmatch(r"[0-9]{8}", date) and re.fullmatch(r"[0-9a-f]{32}", digest)):
        raise UpdateError(url, f"does not name the newest build of {edition}")
    return date, digest


class _LimitedStream:
    """A stream with a limit on the bytes that may be read."""

    def __init__(self, url: str, stream: IO[bytes], left_bytes: int) -> None:
        self._url, self._stream, self.left_bytes = url, stream, left_bytes

    def read(self, size: int) -> bytes:
        """Read bytes of the stream."""
        if size > self.left_bytes:
            raise UpdateError(self._url, "an archive without a database at its beginning")
        data = self._stream.read(size)
        self.left_bytes -= len(data)
        return data


@contextmanager
def _member(url: str, stream: IO[bytes], max_bytes: int) -> Iterator[IO[bytes]]:
    """Yield the database in a tar archive; nothing is written to disk."""
    limited = _LimitedStream(url, stream, MAX_PREFIX_BYTES)
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", limited), mode="r|") as archive:
            for member in archive:
                if member.isreg() and not member.issparse() and member.name.endswith(".mmdb"):
                    limited.left_bytes = max_bytes + MAX_PREFIX_BYTES
                    yield cast("IO[bytes]", archive.extractfile(member))
                    return
    except (tarfile.TarError, ValueError, OverflowError) as error:  # also of invalid numbers in headers
        raise UpdateError(url, f"not a tar archive: {error}") from error
    raise UpdateError(url, "an archive without a database")
