"""HTTP requests that end: bounded in time, in bytes and in redirects, whatever the server does."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from io import BufferedReader, BytesIO, RawIOBase
from queue import Empty, SimpleQueue
from socket import SHUT_RDWR, gaierror, socket
from threading import Thread, Timer
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection

from geocli.errors import TOO_MANY_REQUESTS
from geocli.immutable import Value
from geocli.sanitize import public_url, shorten
from geocli.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    OnRead = Callable[[int, int | None], None]

MAX_REDIRECTS = 5
_NOT_URLS = (
    *(requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema),
    *(urllib3.exceptions.LocationValueError, UnicodeError),
)
MAX_DIGITS = 20
"""Longer numbers in headers are neither lengths nor seconds."""
BLOCK_BYTES = 1 << 16


class HttpError(Exception):
    """A request failed. Its text never has a password or a key in it."""

    def __init__(self, reason: str, response: requests.Response | None = None, *, is_final: bool = False) -> None:
        """Take the reason, the response if there was one, and whether the same request would fail again in a moment."""
        super().__init__(reason)
        self.reason, self.is_final = reason, is_final
        self.status = None if response is None else response.status_code
        self._waits = [] if response is None else [response.headers.get(name, "") for name in ("Retry-After", "X-Ttl")]

    def pause_seconds(self, now: datetime) -> float | None:
        """Return how long the server asks to wait, None if it does not say, or names a time that is over.

        Seconds or a date in Retry-After (RFC 9110, 10.2.3), else seconds in ip-api.com's X-Ttl.
        """
        found = (seconds_of(text) or _seconds_until(text, now) for text in self._waits)
        return next((seconds for seconds in found if seconds > 0), None)


def seconds_of(text: str) -> float | None:
    """Return the integer in a header, None if there is none."""
    return float(text) if text.isascii() and text.isdecimal() else None


def _seconds_until(text: str, now: datetime) -> float:
    """Return the seconds until a date in one of HTTP's three forms (RFC 9110, 5.6.7), 0 if it is none."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError, TypeError):
        return 0
    return ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()


def error_of(response: requests.Response) -> HttpError:
    """Return the error that a status means."""
    if response.is_redirect:
        return HttpError("redirected, which is not followed", response)
    is_busy = response.status_code == TOO_MANY_REQUESTS
    return HttpError("too many requests" if is_busy else f"HTTP {response.status_code}", response)


def json_of(body: bytes | str) -> Any:
    """Parse JSON that has one meaning.

    Raises:
        ValueError: it is not JSON, not UTF-8, has a key twice in an object, or half a character.
        RecursionError: it is nested too deeply.

    """
    parsed = json.loads(body if isinstance(body, str) else body.decode(), object_pairs_hook=_object)
    json.dumps(parsed, ensure_ascii=False).encode()  # fails on half a surrogate pair
    return parsed


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(made := dict(pairs)) < len(pairs):  # what that means is undefined (RFC 8259, 4)
        raise ValueError("a key stands twice in an object")
    return made


class Limits(Value):
    """What a request may cost."""

    connect_seconds: float = 10.0
    """Until the server is reached."""
    idle_seconds: float = 60.0
    """Between two pieces of an answer; its head must be complete within this, too."""
    whole_seconds: float = 3600.0
    """From the request to the last byte, over all redirects."""
    max_bytes: int = 4 << 30
    """Size of the body as it is sent; of a download also when it is unpacked."""
    pauses_seconds: tuple[float, ...] = (1, 5, 25)
    """Before a download is tried again, after the network or the server failed."""


class BoundedSession(requests.Session):
    """A session of `requests` for one thread, whose requests end. It keeps connections, but no cookies."""

    def __init__(self, limits: Limits, *, follows: bool = False, on_read: OnRead = lambda _count, _total: None) -> None:
        """Take the limits.

        Args:
            limits: what each request may cost.
            follows: whether redirects are followed, to https alone; a password is sent to the first server alone.
            on_read: told how many bytes of the body were read, and of how many, if that is known.

        """
        super().__init__()
        self._limits, self._follows = limits, follows
        self.max_redirects = MAX_REDIRECTS
        self._adapter = _Adapter(limits, on_read)
        for scheme in ("http://", "https://"):
            self.mount(scheme, self._adapter)
        self.headers["User-Agent"] = f"geocli/{__version__}"
        self.headers["Accept-Encoding"] = "identity"  # what is compressed can be small and grow

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        """Send a request, and return the response; with `stream`, reading its body raises HttpError likewise.

        Raises:
            HttpError: no answer within the limits, a redirect that is not followed, 429, or a failure of the server.

        """
        is_streamed = options.get("stream", False)
        options |= {
            "allow_redirects": self._follows,
            "stream": True,  # so that a response whose body fails can be closed
            "timeout": (self._limits.connect_seconds, self._limits.idle_seconds),
        }
        response = None
        self._adapter.begin()
        try:
            response = super().request(*arguments, **options)
            _check_status(response)
            if not is_streamed and response.content is not None:
                self._adapter.end()
        except Exception as error:  # noqa: BLE001 (whatever a library raises is translated)
            failure = self._adapter.failure(error)
            if response is not None:
                response.close()
            self.close()
            raise failure from None  # its text may have a password in it
        return response

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return where a response redirects to, None if it does not.

        Raises:
            HttpError: to anything but https.

        """
        target = super().get_redirect_target(resp)
        if target is not None and self._follows and not urljoin(resp.url, target).startswith("https://"):
            shown = shorten(public_url(urljoin(resp.url, target)))
            raise HttpError(f"redirected to {shown}, which is not https", is_final=True)
        return target


def _check_status(response: requests.Response) -> None:
    """Refuse what no caller can use; what 4xx means depends on the server."""
    status = response.status_code
    if response.is_redirect or status == TOO_MANY_REQUESTS or status >= requests.codes.server_error:
        raise error_of(response)


class _Adapter(HTTPAdapter):
    """Sends requests, and shuts the sockets down when the time of a request is up.

    A timeout of a read does not bound a request: inside one call, `http.client` reads on and on through headers,
    interim responses, extensions of chunks and trailers, as long as a byte arrives in time. So each socket has a
    duplicate here, by which a timer ends the connection, in whichever read, and also during the TLS handshake.
    """

    def __init__(self, limits: Limits, on_read: OnRead) -> None:
        super().__init__()
        self._limits, self._on_read = limits, on_read
        self._sockets: dict[HTTPConnection, socket] = {}
        self._ends, self._timer = 0.0, Timer(0, self._shut_down)

    def begin(self) -> None:
        self.end()
        self._ends = monotonic() + self._limits.whole_seconds
        self._timer = Timer(self._limits.whole_seconds, self._shut_down)
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        self._timer.cancel()

    def close(self) -> None:
        self.end()
        self._shut_down()
        super().close()
        while self._sockets:
            self._sockets.popitem()[1].close()

    def _shut_down(self) -> None:
        self._ends = min(self._ends, monotonic())
        for each in tuple(self._sockets.values()):
            with suppress(OSError):  # not connected any more
                each.shutdown(SHUT_RDWR)

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        if not issubclass(pool.ConnectionCls, _Connection):
            pool.ConnectionCls = type("Connection", (_Connection, pool.ConnectionCls), {"watch": self._watch})
        return pool

    def _watch(self, connection: HTTPConnection, opened: socket) -> None:
        for other in [each for each in self._sockets if each is connection or each.sock is None]:
            self._sockets.pop(other).close()
        self._sockets[connection] = opened.dup()
        if monotonic() >= self._ends:  # after a name server, or a connection, that took too long
            self._shut_down()

    def send(self, *arguments: Any, **options: Any) -> requests.Response:
        came: SimpleQueue[requests.Response | Exception] = SimpleQueue()

        def ask() -> None:
            try:
                came.put(super(_Adapter, self).send(*arguments, **options))
            except Exception as error:  # noqa: BLE001 (raised again by the waiting thread)
                came.put(error)

        # Nothing bounds the look-up of a name, or the number of its addresses that are tried.
        Thread(target=ask, daemon=True).start()
        try:
            response = came.get(timeout=max(0, min(self._ends - monotonic(), self._limits.idle_seconds)))
        except Empty:
            failure = self.failure(TimeoutError())
            self._shut_down()
            raise failure from None
        if isinstance(response, Exception):
            raise response
        if response.is_redirect:  # a body that nobody reads, but `requests` would
            response.close()
            response.raw = BytesIO()
        else:
            response.raw = BufferedReader(_Body(response, self, self._limits.max_bytes, self._on_read), BLOCK_BYTES)
        return response

    @property
    def is_late(self) -> bool:
        return monotonic() >= self._ends

    def failure(self, error: Exception) -> HttpError:
        """Return what an exception of any library below means."""
        if isinstance(error, HttpError):
            return error
        chain: list[BaseException] = [error]  # the deepest one says why, the others have the URL in their texts
        while inner := chain[-1].__cause__ or chain[-1].__context__:
            chain.append(inner)
        if self.is_late or any(isinstance(each, TimeoutError) for each in chain):
            is_whole = self.is_late or self._limits.idle_seconds >= self._limits.whole_seconds
            seconds = self._limits.whole_seconds if is_whole else self._limits.idle_seconds
            if not is_whole and any(isinstance(each, urllib3.exceptions.ConnectTimeoutError) for each in chain):
                seconds = self._limits.connect_seconds
            return HttpError(f"no complete answer within {seconds:g} s", is_final=is_whole)
        if isinstance(error, requests.TooManyRedirects):
            return HttpError(f"redirected more than {MAX_REDIRECTS} times", is_final=True)
        if isinstance(error, _NOT_URLS):
            return HttpError(f"not a URL of http or https ({type(error).__name__})", is_final=True)
        reason = next((each.strerror for each in reversed(chain) if isinstance(each, OSError) and each.strerror), None)
        is_final = any(isinstance(each, gaierror) for each in chain)
        return HttpError(f"request failed: {reason or type(chain[-1]).__name__}", is_final=is_final)


class _Connection(HTTPConnection):
    """A connection whose sockets are watched, from before the TLS handshake on."""

    watch: Callable[[HTTPConnection, socket], None]

    def _new_conn(self) -> socket:
        opened = super()._new_conn()
        self.watch(self, opened)
        return opened


class _Body(RawIOBase):
    """The bytes of a body as they are sent, so many at most."""

    def __init__(self, response: requests.Response, adapter: _Adapter, max_bytes: int, on_read: OnRead) -> None:
        length = response.headers.get("Content-Length", "")
        self._total = int(length) if seconds_of(length) is not None and len(length) < MAX_DIGITS else None
        self._raw, self._adapter, self._max_bytes, self._on_read = response.raw, adapter, max_bytes, on_read
        self._size_bytes = 0
        self._check(self._total or 0)

    def _check(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            raise HttpError(f"an answer of more than {self._max_bytes} bytes", is_final=True)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            data: bytes = self._raw.read1(len(buffer), decode_content=False)
        except Exception as error:  # noqa: BLE001 (whatever a library raises is translated)
            raise self._adapter.failure(error) from None
        if self._adapter.is_late:  # a socket that is shut down may look like the end of a body
            raise self._adapter.failure(TimeoutError())
        self._size_bytes += len(data)
        self._check(self._size_bytes)
        buffer[: len(data)] = data
        self._on_read(len(data), self._total)
        return len(data)

    def close(self) -> None:
        self._raw.close()  # and the connection, unless all was read
        super().close()
