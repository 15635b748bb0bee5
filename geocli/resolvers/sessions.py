"""HTTP within bounds: of time, of size, to no other place; whatever goes wrong is a ServiceError."""

from __future__ import annotations

from io import BytesIO
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

import requests
import urllib3

from geocli import __version__
from geocli.errors import TOO_MANY_REQUESTS, ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Reply = TypeVar("Reply")

PIECE_BYTES = 4096


def within(service: str, seconds: float, ask: Callable[[], Reply]) -> Reply:
    """Call, and return what comes of it, if it comes in time.

    In a thread of its own, which is left behind if it takes too long: nothing else bounds how long the look-up
    of a name, or a header that trickles in, may take.

    Raises:
        ServiceError: nothing came in time, or the call failed, in whatever way.

    """
    came: SimpleQueue[tuple[Reply] | Exception] = SimpleQueue()

    def call() -> None:
        try:
            came.put((ask(),))
        except Exception as error:  # noqa: BLE001 (whatever a library raises is passed on)
            came.put(error)

    Thread(target=call, daemon=True).start()
    try:
        found = came.get(timeout=seconds)
    except Empty:
        raise _late(service, seconds) from None
    if isinstance(found, Exception):
        raise _translated(service, seconds, found) from None  # its text may have a key in it
    return found[0]


def _late(service: str, seconds: float) -> ServiceError:
    return ServiceError(service, f"no answer within {seconds:g} s")


def _translated(service: str, seconds: float, error: Exception) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, requests.Timeout):
        return _late(service, seconds)
    if isinstance(error, requests.JSONDecodeError) or not isinstance(error, OSError | urllib3.exceptions.HTTPError):
        return ServiceError(service, f"an answer that cannot be read ({type(error).__name__})")
    return ServiceError(service, f"cannot be asked: {_root(error)}")


def _root(error: BaseException) -> str:
    """Return what the operating system says at the bottom of an error; the texts above it have URLs in them."""
    reason = type(error).__name__
    inner: BaseException | None = error
    while inner is not None:
        reason = (inner.strerror if isinstance(inner, OSError) else None) or reason
        inner = inner.__cause__ or inner.__context__
    return reason


class BoundedSession(requests.Session):
    """A session that reads so many bytes at most, and follows nobody elsewhere."""

    def __init__(self, service: str, *, seconds: float, most_bytes: int) -> None:
        """Take the name of the service, how long an answer may take, and how large it may be."""
        super().__init__()
        self._service, self._seconds, self._most_bytes = service, seconds, most_bytes
        self.headers["User-Agent"] = f"geocli/{__version__}"
        self.headers["Accept-Encoding"] = "identity"  # what is packed can be small and grow

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        """Send a request, and return the response with its whole body.

        Raises:
            ServiceError: the service asks for patience, has failed, points elsewhere, or says too much.

        """
        deadline = monotonic() + self._seconds
        options |= {"allow_redirects": False, "stream": True, "timeout": self._seconds}
        with super().request(*arguments, **options) as response:
            self._check(response)
            body = b""
            for piece in response.raw.stream(PIECE_BYTES, decode_content=False):
                body += piece
                if len(body) > self._most_bytes:
                    raise ServiceError(self._service, f"an answer of more than {self._most_bytes} bytes")
                if monotonic() > deadline:
                    raise _late(self._service, self._seconds)
        response.raw = BytesIO(body)
        response.encoding = "utf-8"
        return response

    def _check(self, response: requests.Response) -> None:
        status = response.status_code
        if status == TOO_MANY_REQUESTS or status >= requests.codes.server_error:
            reason = "too many requests" if status == TOO_MANY_REQUESTS else f"HTTP {status}"
            pause_seconds = seconds(response, "Retry-After") or seconds(response, "X-Ttl")
            raise ServiceError(self._service, reason, status=status, retry_after_seconds=pause_seconds)
        if requests.codes.multiple_choices <= status < requests.codes.bad_request:
            raise ServiceError(self._service, "points elsewhere, where it is not followed", status=status)


def seconds(response: requests.Response, header: str) -> float | None:
    """Return the whole number in a header, None if there is none."""
    text = response.headers.get(header, "")
    return float(text) if text.isascii() and text.isdecimal() else None


def checked(said: Any) -> Any:
    """Return what a service said, if all of it is text that UTF-8 can say: JSON can have half a character.

    Raises:
        ValueError: it is not; or RecursionError.

    """
    import json

    json.dumps(said, ensure_ascii=False).encode()
    return said
