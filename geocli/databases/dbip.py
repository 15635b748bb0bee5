"""DB-IP's databases, for which no account is needed: one file a month, by its date."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from geocli.databases.discovery import SUFFIX
from geocli.databases.install import check_sidecar, install, unpacked
from geocli.errors import DownloadError, HashMismatchError

if TYPE_CHECKING:
    from geocli.databases.download import Client

NAMES = ("dbip-city-lite", "dbip-country-lite", "dbip-asn-lite")


def update(  # noqa: PLR0913, PLR0917 (one download)
    client: Client, base_url: str, name: str, path: str, now: datetime, max_bytes: int
) -> bool:
    """Update a database to this month's file, else to last month's, and return whether it was replaced.

    After an UpdateError the old file is unchanged.
    """
    months = (now, now.replace(day=1) - timedelta(days=1))
    this_month, last_month = (f"{base_url}/{name}-{month:%Y-%m}{SUFFIX}.gz" for month in months)
    try:
        return _fetch(client, this_month, path, max_bytes)
    except DownloadError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
    return _fetch(client, last_month, path, max_bytes)


def _fetch(client: Client, url: str, path: str, max_bytes: int) -> bool:
    """Replace a database by the file at a URL, and return whether that was newer."""
    with client.get(url, _since(path)) as response:
        if response.status_code == HTTPStatus.NOT_MODIFIED:
            return False
        last_modified = response.headers.get("Last-Modified")
        with unpacked(url, response.raw) as data:
            return install(data, path, url=url, max_bytes=max_bytes, last_modified=last_modified)


def _since(path: str) -> dict[str, str]:
    """Return the header that asks for a newer file than the installed one, if that is unchanged."""
    try:
        check_sidecar(path)
        modified_at = datetime.fromtimestamp(os.stat(path).st_mtime, UTC)
    except (FileNotFoundError, HashMismatchError):
        return {}
    return {"If-Modified-Since": format_datetime(modified_at, usegmt=True)}
