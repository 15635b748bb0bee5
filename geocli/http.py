"""HTTP requests with limits on time, size and redirects, whatever the server does."""

from __future__ import annotations

import json
from contextlib import suppress
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

from geocli.backoff import requested_seconds, seconds_of
from geocli.errors import TOO_MANY_REQUESTS
from geocli.immutable import Value
from geocli.sanitize import public_url, shorten
from geocli.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime
    from typing import Self

    OnRead = Callable[[int, int | None], None]

MAX_REDIRECTS = 5
_NOT_URLS = (
    *(requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema),
    *(urllib3.exceptions.LocationValueError, UnicodeError),
)
MAX_DIGITS = 20
"""Longest number in a header."""
BLOCK_BYTES = 1 << 16


class HttpError(Exception):
    """A request failed; the text contains no secret. If `is_final`, an immediate retry would fail as well."""

    def __init__(self, reason: str, response: requests.Response | None = None, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.is_final = reason, is_final
        self.status = None if response is None else response.status_code
        self._waits = [] if response is None else [response.headers.get(name, "") for name in ("Retry-After", "X-Ttl")]

    def pause_seconds(self, now: datetime) -> float | None:
        """Return the pause that the server requests, in Retry-After or in ip-api.com's X-Ttl; None without one."""
        return requested_seconds(self._waits, now)


def error_of(response: requests.Response) -> HttpError:
    """Return the error for a status."""
    if response.is_redirect:
        return HttpError("redirected, which is not followed", response)
    is_busy = response.status_code == TOO_MANY_REQUESTS
    return HttpError("too many requests" if is_busy else f"HTTP {response.status_code}", response)


def json_of(body: bytes | str) -> Any:
    """Parse JSON; raise ValueError if it is not UTF-8, or has a duplicate key or an unpaired surrogate."""
    parsed = json.loads(body if isinstance(body, str) else body.decode(), object_pairs_hook=_object)
    json.dumps(parsed, ensure_ascii=False).encode()  # fails on unpaired surrogates
    return parsed


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):  # undefined (RFC 8259, 4)
        raise ValueError("duplicate key in an object")
    return members


class Limits(Value):
    """Limits of a request."""

    connect_seconds: float = 10.0
    """Time to connect."""
    idle_seconds: float = 60.0
    """Time between two reads of a response, and for its header."""
    whole_seconds: float = 3600.0
    """Time from the request to the last byte, including redirects."""
    max_bytes: int = 4 << 30
    """Size of the body as sent; of a download also after decompression."""
    pauses_seconds: tuple[float, ...] = (1, 5, 25)
    """Pauses before the retries of a download after a failure of the network or the server."""

    @classmethod
    def within(cls, seconds: float, max_bytes: int) -> Self:
        """Return the limits of a request that must end within some time."""
        return cls(connect_seconds=seconds, idle_seconds=seconds, whole_seconds=seconds, max_bytes=max_bytes)


class BoundedSession(requests.Session):
    """A session of `requests` with limits, for one thread. It reuses connections, but stores no cookies."""

    def __init__(self, limits: Limits, *, follows: bool = False, on_read: OnRead = lambda _count, _total: None) -> None:
        """Create a session; if it follows redirects to https, the password is only sent to the first server.

        `on_read` is called with the size of each read of a body, and the size of the body, None if unknown.
        """
        super().__init__()
        self._limits, self._follows = limits, follows
        self.max_redirects = MAX_REDIRECTS
        self._adapter = _Adapter(limits, on_read)
        for scheme in ("http://", "https://"):
            self.mount(scheme, self._adapter)
        self.headers["User-Agent"] = f"geocli/{__version__}"
        self.headers["Accept-Encoding"] = "identity"  # the size of a compressed body is unlimited

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        """Send a request, and return the response; with `stream`, reading its body may raise HttpError, too.

        Raises:
            HttpError: a limit was exceeded, a redirect is not followed, status 429, or a failure of the server.

        """
        is_streamed = options.get("stream", False)
        options |= {
            "allow_redirects": self._follows,
            "stream": True,  # else a response whose body fails could not be closed
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
            raise failure from None  # the text of the cause may contain a password
        return response

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return the target of a redirect, None if there is none; raise HttpError if it is not https."""
        target = super().get_redirect_target(resp)
        if target is not None and self._follows and not urljoin(resp.url, target).startswith("https://"):
            url = shorten(public_url(urljoin(resp.url, target)))
            raise HttpError(f"redirected to {url}, which is not https", is_final=True)
        return target


def _check_status(response: requests.Response) -> None:
    """Raise the errors of all servers; the meaning of 4xx depends on the server."""
    status = response.status_code
    if response.is_redirect or status == TOO_MANY_REQUESTS or status >= requests.codes.server_error:
        raise error_of(response)


class _Adapter(HTTPAdapter):
    """Sends requests, and shuts their sockets down at the deadline.

    The timeout of a read does not limit a request: in one call, `http.client` reads headers, interim responses, chunk
    extensions and trailers without end, as long as bytes arrive in time. So a timer shuts a duplicate of each socket
    down, which ends any read, and also a TLS handshake.
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
        for duplicate in tuple(self._sockets.values()):
            with suppress(OSError):  # already disconnected
                duplicate.shutdown(SHUT_RDWR)

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        if not issubclass(pool.ConnectionCls, _Connection):
            pool.ConnectionCls = type("Connection", (_Connection, pool.ConnectionCls), {"watch": self._watch})
        return pool

    def _watch(self, connection: HTTPConnection, opened: socket) -> None:
        for closed in [watched for watched in self._sockets if watched is connection or watched.sock is None]:
            self._sockets.pop(closed).close()
        self._sockets[connection] = opened.dup()
        if monotonic() >= self._ends:  # resolving the name or connecting took too long
            self._shut_down()

    def send(self, *arguments: Any, **options: Any) -> requests.Response:
        result: SimpleQueue[requests.Response | Exception] = SimpleQueue()

        def ask() -> None:
            try:
                result.put(super(_Adapter, self).send(*arguments, **options))
            except Exception as error:  # noqa: BLE001 (raised again by the waiting thread)
                result.put(error)

        # Resolving a name has no timeout, nor is the number of its addresses limited.
        Thread(target=ask, daemon=True).start()
        try:
            response = result.get(timeout=max(0, min(self._ends - monotonic(), self._limits.idle_seconds)))
        except Empty:
            failure = self.failure(TimeoutError())
            self._shut_down()
            raise failure from None
        if isinstance(response, Exception):
            raise response
        if response.is_redirect:  # `requests` would read the body
            response.close()
            response.raw = BytesIO()
        else:
            response.raw = BufferedReader(_Body(response, self, self._limits.max_bytes, self._on_read), BLOCK_BYTES)
        return response

    @property
    def is_late(self) -> bool:
        return monotonic() >= self._ends

    def failure(self, error: Exception) -> HttpError:
        """Translate an exception of any library."""
        if isinstance(error, HttpError):
            return error
        chain = _causes(error)
        if self.is_late or _has(chain, TimeoutError):
            return self._timeout(chain)
        if isinstance(error, requests.TooManyRedirects):
            return HttpError(f"redirected more than {MAX_REDIRECTS} times", is_final=True)
        if isinstance(error, _NOT_URLS):
            return HttpError(f"not a URL of http or https ({type(error).__name__})", is_final=True)
        # The deepest cause has the reason; the texts of the others contain the URL.
        reason = next(
            (cause.strerror for cause in reversed(chain) if isinstance(cause, OSError) and cause.strerror), None
        )
        return HttpError(f"request failed: {reason or type(chain[-1]).__name__}", is_final=_has(chain, gaierror))

    def _timeout(self, chain: Sequence[BaseException]) -> HttpError:
        limits = self._limits
        if self.is_late or limits.idle_seconds >= limits.whole_seconds:
            return HttpError(f"no complete answer within {limits.whole_seconds:g} s", is_final=True)
        is_unconnected = _has(chain, urllib3.exceptions.ConnectTimeoutError)
        seconds = limits.connect_seconds if is_unconnected else limits.idle_seconds
        return HttpError(f"no complete answer within {seconds:g} s")


def _causes(error: BaseException) -> list[BaseException]:
    """Return an exception and its causes, the deepest last."""
    chain = [error]
    while inner := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(inner)
    return chain


def _has(chain: Iterable[BaseException], kind: type[BaseException]) -> bool:
    return any(isinstance(error, kind) for error in chain)


class _Connection(HTTPConnection):
    """A connection whose sockets are watched, also during the TLS handshake."""

    watch: Callable[[HTTPConnection, socket], None]

    def _new_conn(self) -> socket:
        opened = super()._new_conn()
        self.watch(self, opened)
        return opened


class _Body(RawIOBase):
    """The bytes of a body as sent, with a limit on their number."""

    def __init__(self, response: requests.Response, adapter: _Adapter, max_bytes: int, on_read: OnRead) -> None:
        length = response.headers.get("Content-Length", "")
        self._total = int(length) if seconds_of(length) is not None and len(length) < MAX_DIGITS else None
        self._raw, self._adapter, self._max_bytes, self._on_read = response.raw, adapter, max_bytes, on_read
        self._size_bytes = 0
        self._check(self._total or 0)

    def _check(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            raise HttpError(f"answer of more than {self._max_bytes} bytes", is_final=True)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            data: bytes = self._raw.read1(len(buffer), decode_content=False)
        except Exception as error:  # noqa: BLE001 (whatever a library raises is translated)
            raise self._adapter.failure(error) from None
        if self._adapter.is_late:  # the end of a socket that was shut down is not the end of the body
            raise self._adapter.failure(TimeoutError())
        self._size_bytes += len(data)
        self._check(self._size_bytes)
        buffer[: len(data)] = data
        self._on_read(len(data), self._total)
        return len(data)

    def close(self) -> None:
        self._raw.close()  # closes the connection, too, unless all was read
        super().close()
