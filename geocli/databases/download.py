"""Download files; after too many requests, the server is not asked for a while, also by later runs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import requests

from geocli.backoff import BackOff
from geocli.errors import TOO_MANY_REQUESTS, DownloadError, RateLimitError, UpdateError
from geocli.http import BoundedSession, HttpError, Limits, error_of
from geocli.sanitize import public_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from geocli.http import OnRead
    from geocli.storage.directory import DataDirectory

BACK_OFF = ".geocli-backoff-"
"""Prefix of the files with the pauses of servers."""
PAUSE_SECONDS = 3600.0
"""Pause after status 429 without a time."""
_HINTS = {401: "; check the account ID and the licence key"}


class Client:
    """Downloads files.

    Attributes:
        auth: user and password, which are only sent to the server of the URL.
        proxy: URL of a proxy; default: that of the environment.

    """

    def __init__(
        self, directory: DataDirectory, now: datetime, limits: Limits, on_read: OnRead = lambda _count, _total: None
    ) -> None:
        """The caller holds the lock of the directory; `on_read` is called with the size of each read, and the total."""
        self._directory, self._now, self._limits, self._on_read = directory, now, limits, on_read
        self.auth: tuple[str, str] | None = None
        self.proxy: str | None = None

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[requests.Response]:
        """Request a URL, and yield the response, of status 200 or 304; only redirects to https are followed.

        `headers` make the request conditional; without them, 304 is an error.

        Raises:
            RateLimitError: too many requests, now or in an earlier run.
            DownloadError: the network or the server failed.
            UpdateError: the response takes too long, is too large, or redirects to another scheme than https.

        """
        scheme, _, rest = public_url(url).partition("://")
        host = rest.partition("/")[0]
        back_off = BackOff(self._directory, f"{BACK_OFF}{host}", lock=None, first_pause_seconds=PAUSE_SECONDS)
        if paused := back_off.pause(self._now):
            raise RateLimitError(f"{scheme}://{host}", f"not asked: {paused[0].reason}", retry_at=paused[0].until)
        proxies = {"http": self.proxy, "https": self.proxy} if self.proxy else None
        expected = {requests.codes.ok} | ({requests.codes.not_modified} if headers else set())
        try:
            with (
                BoundedSession(self._limits, follows=True, on_read=self._on_read) as session,
                session.get(url, headers=headers, auth=self.auth, proxies=proxies, stream=True) as response,
            ):
                if response.status_code not in expected:
                    raise error_of(response)
                yield response
        except HttpError as error:
            raise self._failure(url, error, back_off) from None

    def _failure(self, url: str, error: HttpError, back_off: BackOff) -> UpdateError:
        pause_seconds = error.pause_seconds(self._now)
        if error.status == TOO_MANY_REQUESTS or (error.status and pause_seconds):
            until = back_off.failed(self._now, error.reason, error.status, pause_seconds)
            return RateLimitError(url, error.reason, retry_at=until, status=error.status)
        if error.is_final and error.status is None:
            return UpdateError(url, error.reason)
        return DownloadError(url, f"{error.reason}{_HINTS.get(error.status or 0, '')}", status=error.status)
