"""Servers on loopback that violate HTTP: they break off, send slowly, endlessly, or nothing."""

from __future__ import annotations

import gzip
import re
import socket
import tempfile
import time
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from pytest_httpserver import HTTPServer

from tests.helpers.databases import build

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from typing import Any


@contextmanager
def serving(answer: Callable[[socket.socket, Event], object], context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Run a server that answers each request by a function, with an event for the end of the test; yield its URL."""
    stop = Event()

    def serve(listening: socket.socket) -> None:
        while not stop.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                stream = context.wrap_socket(connection, server_side=True) if context else connection
                with stream:
                    _read_request(stream)
                    answer(stream, stop)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        try:
            yield f"{'https' if context else 'http'}://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            stop.set()
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def _read_request(stream: socket.socket) -> None:
    """Read a request with its body, since closing a connection with unread data resets it."""
    data = stream.recv(1 << 16)
    while data.startswith((b"GET ", b"POST ")) and b"\r\n\r\n" not in data and (piece := stream.recv(1 << 16)):
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
    while len(body) < size and (piece := stream.recv(1 << 16)):
        body += piece


def dribble(connection: socket.socket, stop: Event, data: bytes, drop: bytes = b"x") -> None:
    """Send data, then a drop every hundredth of a second, until the test ends."""
    connection.sendall(data)
    while not stop.is_set():
        connection.sendall(drop)
        time.sleep(0.01)


def pour(connection: socket.socket, stop: Event, data: bytes, repeated: bytes) -> None:
    """Send data, then more as fast as it is read, until the test ends."""
    connection.sendall(data)
    while not stop.is_set():
        connection.sendall(repeated)


def reset(connection: socket.socket) -> None:
    """Close a connection as a crashed machine does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LATE = "no complete answer within "
LARGE = "answer of more than "


def drip(data: bytes, drop: bytes = b"x") -> Callable[[Any, Event], object]:
    return lambda connection, stop: dribble(connection, stop, data, drop)


def flood(data: bytes, repeated: bytes) -> Callable[[Any, Event], object]:
    return lambda connection, stop: pour(connection, stop, data, repeated)


def send(*pieces: bytes) -> Callable[[Any, Event], object]:
    return lambda connection, _: connection.sendall(b"".join(pieces))


MISBEHAVIOUR: dict[str, tuple[Callable[[Any, Event], object], str]] = {
    "silence": (lambda _, stop: stop.wait(60), LATE),
    "slow status": (drip(b"HTTP/1.1 2"), LATE),
    "slow header": (drip(HEAD + b"X: "), LATE),
    "slow headers": (drip(HEAD, b"X: y\r\n" * 2), "request failed: HTTPException|" + LATE),
    "interim responses": (flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), LATE),
    "slow interim headers": (drip(b"HTTP/1.1 100 Continue\r\n", b"X: y\r\n"), LATE),
    "endless header": (flood(HEAD + b"X: ", b"x" * 4096), "request failed: LineTooLong"),
    "endless headers": (flood(HEAD, b"X: y\r\n"), "request failed: HTTPException"),
    "10,000 headers": (send(HEAD, b"X: y\r\n" * 10_000, b"\r\n"), "request failed: HTTPException"),
    "slow body": (drip(HEAD + b"\r\n"), LATE),
    "slow body with a length": (drip(HEAD + b"Content-Length: 900\r\n\r\n"), LATE),
    "stalled body": (lambda connection, stop: (send(HEAD, b"\r\nx")(connection, stop), stop.wait(60)), LATE),
    "slow size of a chunk": (drip(CHUNKED, b"0"), LATE),
    "slow extension of a chunk": (drip(CHUNKED + b"1;x="), LATE),
    "endless extension of a chunk": (flood(CHUNKED + b"1;x=", b"x" * 4096), "request failed: "),
    "slow trailer": (drip(CHUNKED + b"0\r\nX: "), LATE),
    "slow trailers": (drip(CHUNKED + b"0\r\n", b"X: y\r\n"), LATE),
    "endless trailers": (flood(CHUNKED + b"0\r\n", b"X: y\r\n"), LATE),
    "small chunks": (drip(CHUNKED, b"1\r\nx\r\n"), LATE),
    "endless body": (flood(HEAD + b"\r\n", b"x" * 4096), LARGE),
    "endless chunks": (flood(CHUNKED, b"100\r\n" + b"x" * 256 + b"\r\n"), LARGE),
    "too long": (send(HEAD, b"Content-Length: 1000001\r\n\r\n"), LARGE),
    "length without an end": (send(HEAD, b"Content-Length: ", b"9" * 5000, b"\r\n\r\n", b"x" * 500_000), LARGE),
    "two lengths": (
        send(HEAD, b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nxxxxx"),
        "request failed: InvalidHeader",
    ),
    "cut short": (send(HEAD, b"Content-Length: 500\r\n\r\nxxx"), "request failed: IncompleteRead"),
    "chunk cut short": (send(CHUNKED, b"20\r\nxxx"), "request failed: IncompleteRead"),
    "no size of a chunk": (send(CHUNKED, b"zz\r\nxxx\r\n"), "request failed: "),
    "no HTTP": (send(b"220 mail.example.com ESMTP\r\n"), "request failed: BadStatusLine"),
    "nothing": (send(), "request failed: RemoteDisconnected"),
    "reset": (lambda connection, _: reset(connection), "request failed: Connection reset by peer|request failed: "),
    "redirect": (send(b"HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:1/\r\n\r\n"), "redirected, which is not followed"),
    "redirect to a file": (
        send(b"HTTP/1.1 302 x\r\nLocation: file:///etc/passwd\r\n\r\n"),
        "redirected, which is not followed",
    ),
    "redirect with a slow body": (
        drip(b"HTTP/1.1 302 x\r\nLocation: https://127.0.0.1:1/\r\n\r\n"),
        "redirected, which is not followed",
    ),
    "429": (send(b"HTTP/1.1 429 ", b"x" * 9999, b"\r\n\r\n"), "too many requests"),
    "503": (send(b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n"), "HTTP 503"),
}


DATABASE = "dbip-country-lite"


@cache
def database(code: str) -> bytes:
    """Return a database with one country for all addresses."""
    with tempfile.TemporaryDirectory() as home:
        records = {"0.0.0.0/0": {"country": {"iso_code": code, "names": {"en": code}}}}
        edition = "DBIP-Country-Lite"
        return build(Path(home) / "database.mmdb", records, edition=edition, build_epoch=1_780_000_000).read_bytes()


@cache
def _mirror() -> HTTPServer:
    """Serve such databases instead of DB-IP, until this process exits."""
    server = HTTPServer("127.0.0.1", 0)
    for code in ("CA", "MX"):
        compressed = gzip.compress(database(code), mtime=0)
        server.expect_request(re.compile(f"/{code}/{DATABASE}-.*gz")).respond_with_data(compressed)
    server.start()
    return server


def database_url(code: str) -> str:
    """Return the URL from which `db update` downloads the database of CA or MX."""
    return _mirror().url_for(f"/{code}")


def seconds_for(reason: str, short_seconds: float) -> float:
    """Return a limit of a whole request: a short one only where a request that takes too long is expected."""
    return short_seconds if LATE in reason else 30.0
