"""Requests to servers that misbehave in every way: real ones, on loopback, with and without TLS."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from werkzeug import Response

from geocli.http import BoundedSession, HttpError, Limits, json_of
from tests.helpers.misbehaving_servers import HEAD, MISBEHAVIOUR, dribble, drip, seconds_for, send, serving
from tests.helpers.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from threading import Event

    from pytest_httpserver import HTTPServer

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
LIMITS = Limits(connect_seconds=5, idle_seconds=5, whole_seconds=0.3, max_bytes=1000)
ANSWERED = LIMITS.replace(whole_seconds=30)
"""Limits of requests that are answered, on however busy a machine."""
LATE = "no complete answer within 0.3 s"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect to loopback directly, even if this machine has a proxy."""
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def context(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Return the TLS context of a server, with a trusted certificate."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.parametrize("is_secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("name", MISBEHAVIOUR)
def test_every_request_ends(context: ssl.SSLContext, name: str, is_secure: bool) -> None:  # noqa: FBT001
    """Whatever a server does, one error has the reason, and no read continues after it."""
    answer, reason = MISBEHAVIOUR[name]
    before = set(threading.enumerate())
    with serving(answer, context if is_secure else None) as url:
        server = set(threading.enumerate()) - before
        limits = LIMITS.replace(whole_seconds=seconds_for(reason, LIMITS.whole_seconds))
        with BoundedSession(limits) as session, pytest.raises(HttpError) as caught:
            session.get(url)
        assert caught.value.reason.startswith(tuple(reason.split("|")))
        wait_for(lambda: set(threading.enumerate()) - before <= server)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda connection, stop: dribble(connection, stop, b"\x16\x03\x03\x00\x50\x02", b"\0"), LATE),
        (lambda _, stop: stop.wait(60), LATE),
        (send(b"HTTP/1.1 200 OK\r\n\r\n"), "request failed: [SSL"),
    ],
    ids=["slow", "silent", "plain"],
)
@pytest.mark.usefixtures("context")
def test_handshake(answer: Callable[[Any, Event], object], reason: str) -> None:
    """The time limit includes the TLS handshake."""
    limits = LIMITS if reason == LATE else ANSWERED
    with serving(answer) as url, BoundedSession(limits) as session, pytest.raises(HttpError) as caught:
        session.get(url.replace("http:", "https:"))
    assert caught.value.reason.startswith(reason)


@pytest.fixture
def full() -> Iterator[str]:
    """Return the URL of a server that never accepts: its backlog is full, so Linux drops further attempts."""
    with socket.socket() as listener, ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting.enter_context(socket.create_connection(listener.getsockname()))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (LIMITS.replace(connect_seconds=0.2, whole_seconds=30), "no complete answer within 0.2 s"),
        (LIMITS, LATE),
    ],
    ids=["connection", "whole"],
)
def test_connection_that_times_out(full: str, limits: Limits, reason: str) -> None:
    """A server that cannot be reached in time is an error with the time limit."""
    with BoundedSession(limits) as session, pytest.raises(HttpError) as caught:
        session.get(full)

    assert reason == caught.value.reason


def test_interrupted_stream() -> None:
    """A body without a length that is shut down in the middle is late, rather than short."""
    with serving(drip(HEAD + b"\r\n", b"x")) as url, BoundedSession(LIMITS) as session:
        response = session.get(url, stream=True)
        with pytest.raises(HttpError, match=LATE):
            response.raw.read()


def test_time_of_all_redirects(context: ssl.SSLContext) -> None:
    """Redirects share the time of the request."""

    def later(connection: socket.socket, stop: Event) -> None:
        stop.wait(0.1)
        connection.sendall(b"HTTP/1.1 302 x\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")

    limits = LIMITS.replace(whole_seconds=0.25)
    late = pytest.raises(HttpError, match=r"no complete answer within 0\.25 s")
    with serving(later, context) as url, BoundedSession(limits, follows=True) as session, late:
        session.get(url)


def test_a_request_after_another(httpserver: HTTPServer) -> None:
    """A connection is reused for the next request, which has its own time limit and no cookies."""
    httpserver.expect_request("/x").respond_with_handler(lambda _: Response("x", headers={"Set-Cookie": "a=b"}))
    with BoundedSession(ANSWERED) as session:
        for _ in range(20):
            assert b"x" == session.get(httpserver.url_for("/x")).content
        assert [] == list(session.cookies)
    assert all("Cookie" not in request.headers for request, _ in httpserver.log)


def test_compressed_body(httpserver: HTTPServer) -> None:
    """What a server calls an encoding is not undone: it can be small, and grow."""
    bomb = gzip.compress(bytes(900_000))
    httpserver.expect_request("/x").respond_with_data(bomb, headers={"Content-Encoding": "gzip"})
    with BoundedSession(ANSWERED) as session:
        assert bomb == session.get(httpserver.url_for("/x")).content


@pytest.mark.parametrize(
    ("retry_after", "x_ttl", "seconds"),
    [
        ("120", "", 120),
        ("Tue, 31 Mar 2026 12:02:00 GMT", "", 120),
        ("Tuesday, 31-Mar-26 12:02:00 GMT", "", 120),
        ("Tue Mar 31 12:02:00 2026", "", 120),
        ("Tue, 31 Mar 2026 14:02:00 +0200", "", 120),
        ("9" * 400, "", float("inf")),
        ("", "7", 7),
        ("soon", "7", 7),
        ("5", "7", 5),
        *((text, "", None) for text in ("", "0", "-5", "1.5", "soon", "٣", "Tue, 31 Mar 2020 12:02:00 GMT")),
        *((text, "", None) for text in ("Tue, 99 Mar 2026 12:02:00 GMT", "Mon, 01 Jan 99999 00:00:00 GMT", "1e3")),
    ],
)
def test_pause(httpserver: HTTPServer, retry_after: str, x_ttl: str, seconds: float | None) -> None:
    """Each form of Retry-After is parsed, then X-Ttl of ip-api.com; invalid and past times are ignored."""
    headers = {"Retry-After": retry_after.encode().decode("latin-1"), "X-Ttl": x_ttl}
    httpserver.expect_request("/x").respond_with_data(status=429, headers=headers)
    with BoundedSession(ANSWERED) as session, pytest.raises(HttpError) as caught:
        session.get(httpserver.url_for("/x"))
    assert (429, seconds) == (caught.value.status, caught.value.pause_seconds(NOW))
    if seconds == 120 and "Mar" in retry_after:
        later = (NOW + timedelta(seconds=90)).astimezone(timezone(timedelta(hours=5)))
        assert 30 == caught.value.pause_seconds(later)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"\xff\xfe{\0}\0", b'"\xff"', b'"\\ud800"', b'{"a": 1, "a": 1}', b'[{"b": {"a": 1, "a": 2}}]'),
        *(b"[" * 100_000, b"1" * 5000, b"<html>", b"{} {}", b"\xef\xbb\xbf{}"),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_json_with_more_than_one_meaning(body: bytes) -> None:
    """What is not JSON, or not the same to every reader, is refused."""
    with pytest.raises((ValueError, RecursionError)):
        json_of(body)
