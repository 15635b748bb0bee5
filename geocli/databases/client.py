"""Downloads, from servers that may be slow, busy, wrong, or hostile: in bounded time and size, by https."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from io import BufferedReader, RawIOBase
from socket import gaierror
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from geocli import __version__
from geocli.entries import instant, instant_text
from geocli.errors import DownloadError, RateLimitError, UpdateError
from geocli.storage.files import replacing, write_all
from geocli.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    Read = Callable[[int, int | None], None]

MOST_REDIRECTS = 5
PIECE_BYTES = 1 << 16
SHORTEST_WAIT, LONGEST_WAIT = timedelta(hours=1), timedelta(days=1)
"""After 429: without a time in the answer, and whatever the answer says."""
MOST_DIGITS = 20
"""No file has a length of so many digits."""
_HINTS = {401: "; are the account's number and its licence key right?"}


class Limits(Value):
    """What a download may cost."""

    connect_seconds: float = 10.0
    """Until the server is reached."""
    idle_seconds: float = 60.0
    """Between two pieces of an answer."""
    whole_seconds: float = 3600.0
    """From the request to the last byte."""
    most_bytes: int = 4 << 30
    """As it is sent, and when it is unpacked."""
    pauses_seconds: tuple[float, ...] = (1, 5, 25)
    """Before it is begun anew, after the network or the server failed."""


class Waits:
    """Servers that answered 429, kept in a file, so that the next runs leave them alone, too."""

    def __init__(self, path: str, now: datetime) -> None:
        """Name the file, and the time in UTC."""
        self._path, self._now = path, now

    def check(self, url: str) -> None:
        """Make sure that a server may be asked.

        Raises:
            RateLimitError: not yet.

        """
        until = self._read().get(_server(url))
        if until is not None:
            raise RateLimitError(_server(url), "not asked, because it had too many requests", retry_at=until)

    def note(self, url: str, retry_after: str | None) -> datetime:
        """Remember that a server wants to be left alone, and return until when.

        Args:
            url: what it was asked.
            retry_after: the header of its answer: seconds, or an instant (RFC 9110, 10.2.3).

        """
        until = self._now + min(max(self._pause(retry_after), timedelta()), LONGEST_WAIT)
        waits = self._read() | {_server(url): until}
        with replacing(self._path) as (descriptor, _):
            write_all(descriptor, json.dumps({server: instant_text(when) for server, when in waits.items()}).encode())
        return until

    def _pause(self, retry_after: str | None) -> timedelta:
        try:
            return timedelta(seconds=int(retry_after or ""))
        except (ValueError, OverflowError):
            pass
        try:
            return parsedate_to_datetime(retry_after or "") - self._now
        except (ValueError, TypeError):
            return SHORTEST_WAIT

    def _read(self) -> dict[str, datetime]:
        """Return the waits that are not over; a time beyond all waits was noted by a clock that was wrong."""
        try:
            with open(self._path, "rb") as file:
                noted = json.loads(file.read(PIECE_BYTES)).items()
            waits = {server: instant(text) for server, text in noted}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}
        return {
            server: until
            for server, until in waits.items()
            if until is not None and self._now < until <= self._now + LONGEST_WAIT
        }


def _server(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class Answer:
    """An answer to a request, with a body that is not read yet."""

    def __init__(self, response: requests.Response, body: _Body) -> None:
        """Take what `requests` returned."""
        self.is_modified = response.status_code != requests.codes.not_modified
        """Whether there is something newer than what was asked for."""
        self.last_modified = response.headers.get("Last-Modified")
        """When the server says that the file was changed."""
        self.body = BufferedReader(body, PIECE_BYTES)
        """The bytes as they were sent; reading them raises what `Client.get` raises."""


class Client:
    """Asks servers over HTTP."""

    def __init__(self, waits: Waits, limits: Limits, on_read: Read = lambda _count, _total: None) -> None:
        """Take which servers want to be left alone, what a download may cost, and who is told of it.

        Args:
            waits: asked before, and told after each request.
            limits: for each request.
            on_read: told how many bytes were read, and of how many, if that is known.

        """
        self._waits, self._limits, self._on_read = waits, limits, on_read
        self.auth: tuple[str, str] | None = None
        """User and password; told to no other server than the one that is asked."""
        self.proxy: str | None = None
        """URL of a proxy; default: as the environment says."""

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[Answer]:
        """Ask for a URL; redirects are followed to https alone.

        Raises:
            RateLimitError: the server wants to be left alone for a while, now or since an earlier run.
            DownloadError: the network or the server failed.
            UpdateError: the answer takes too long, is too large, or leads to where nobody should go.

        """
        until = monotonic() + self._limits.whole_seconds
        with requests.Session() as session:
            with _translated(url):
                self._waits.check(url)
                session.headers["User-Agent"] = f"geocli/{__version__}"
                asked = {"Accept-Encoding": "identity", **(headers or {})}
                response = self._followed(session, url, asked, until)
            with response:
                self._check_status(url, response)
                size_bytes = _length(response)
                if size_bytes is not None and size_bytes > self._limits.most_bytes:
                    raise UpdateError(url, f"{size_bytes} bytes, more than {self._limits.most_bytes}")
                yield Answer(response, _Body(url, response, self._limits, until, self._on_read))

    def _followed(
        self, session: requests.Session, url: str, headers: Mapping[str, str], until: float
    ) -> requests.Response:
        where = url
        for _ in range(MOST_REDIRECTS + 1):
            response = self._asked(
                session, where, headers, self.auth if _server(where) == _server(url) else None, until
            )
            if not response.is_redirect:
                return response
            response.close()
            where = urljoin(where, response.headers["Location"])
            if urlsplit(where).scheme != "https":
                raise UpdateError(url, f"redirected to {where}, which is not https")
        raise UpdateError(url, f"redirected more than {MOST_REDIRECTS} times")

    def _asked(
        self,
        session: requests.Session,
        url: str,
        headers: Mapping[str, str],
        auth: tuple[str, str] | None,
        until: float,
    ) -> requests.Response:
        """Return the head of an answer; from a thread, since a server may send it byte by byte for ever."""
        found: list[requests.Response | Exception] = []

        def ask() -> None:
            try:
                found.append(
                    session.get(
                        url,
                        headers=headers,
                        auth=auth,
                        proxies={"http": self.proxy, "https": self.proxy} if self.proxy else None,
                        stream=True,
                        timeout=(self._limits.connect_seconds, self._limits.idle_seconds),
                        allow_redirects=False,
                    )
                )
            except Exception as error:  # noqa: BLE001 (raised again by whoever waits)
                found.append(error)

        thread = Thread(target=ask, daemon=True)
        thread.start()
        thread.join(max(min(until - monotonic(), 2 * self._limits.idle_seconds), 0))
        if not found:
            raise DownloadError(url, "no answer in time")
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    def _check_status(self, url: str, response: requests.Response) -> None:
        status = response.status_code
        reason = f"HTTP {status} {response.reason}{_HINTS.get(status, '')}"
        if status == requests.codes.too_many_requests:
            raise RateLimitError(url, reason, retry_at=self._waits.note(url, response.headers.get("Retry-After")))
        if status not in {requests.codes.ok, requests.codes.not_modified}:
            raise DownloadError(url, reason, status=status)


def _length(response: requests.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < MOST_DIGITS else None


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:  # which `requests` says of a URL that is none
        raise UpdateError(url, f"cannot be downloaded: {error}") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        if (reason := _unresolved(error)) is not None:  # trying again in a moment changes nothing
            raise UpdateError(url, f"cannot be downloaded: {urlsplit(url).hostname}: {reason}") from error
        raise DownloadError(url, f"cannot be downloaded: {error}") from error


def _unresolved(error: BaseException | None) -> str | None:
    """Return why the name of a server has no address, None if that is not what went wrong."""
    while error is not None and not isinstance(error, gaierror):
        error = error.__cause__ or error.__context__
    return None if error is None else error.strerror


class _Body(RawIOBase):
    """A body that ends in time, and before it is too long."""

    def __init__(self, url: str, response: requests.Response, limits: Limits, until: float, on_read: Read) -> None:
        self._url, self._raw, self._limits, self._until, self._on_read = url, response.raw, limits, until, on_read
        self._length, self._size_bytes = _length(response), 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read what has arrived, once something has."""
        with _translated(self._url):
            data: bytes = self._raw.read1(len(buffer), decode_content=False)
        self._size_bytes += len(data)
        if self._size_bytes > self._limits.most_bytes:
            raise UpdateError(self._url, f"more than {self._limits.most_bytes} bytes")
        if monotonic() > self._until:
            raise UpdateError(self._url, f"not complete after {self._limits.whole_seconds:g} s")
        buffer[: len(data)] = data
        self._on_read(len(data), self._length)
        return len(data)
