"""Downloads from servers that misbehave: real ones, on loopback."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from werkzeug import Request, Response

from geocli import __version__
from geocli.databases.download import Client
from geocli.errors import DownloadError, RateLimitError, UpdateError
from geocli.http import Limits
from geocli.storage.directory import DataDirectory
from tests.helpers.misbehaving_servers import dribble, reset, seconds_for, serving

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path
    from threading import Event

    from pytest_httpserver import HTTPServer

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
IMPATIENT = Limits(connect_seconds=5, idle_seconds=5, whole_seconds=0.3, max_bytes=1000)
HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect to loopback directly, even if this machine has a proxy."""
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def place(tmp_path: Path) -> DataDirectory:
    return DataDirectory(str(tmp_path / "databases"))


def body(client: Client, url: str) -> bytes:
    with client.get(url) as response:
        return response.raw.read()


class TestAnswers:
    def test_body(self, place: DataDirectory, httpserver: HTTPServer) -> None:
        """A body arrives unchanged, and the callback gets each piece and the total."""
        httpserver.expect_request("/x").respond_with_data(b"a" * 100_000, headers={"Last-Modified": "then"})
        reads: list[tuple[int, int | None]] = []
        client = Client(place, NOW, Limits(), lambda *counts: reads.append(counts))
        with client.get(httpserver.url_for("/x")) as response:
            assert (b"a" * 100_000, 200, "then") == (
                response.raw.read(),
                response.status_code,
                response.headers["Last-Modified"],
            )
        assert f"geocli/{__version__}" == httpserver.log[0][0].headers["User-Agent"]
        assert {100_000} == {sum(count for count, _ in reads), *(total for _, total in reads)}

    def test_encoded_body_is_not_decoded(self, place: DataDirectory, httpserver: HTTPServer) -> None:
        """Content-Encoding is not decoded: the hash of a database is that of the transferred bytes."""
        httpserver.expect_request("/x", headers={"Accept-Encoding": "identity"}).respond_with_data(
            b"\x1f\x8bpacked", headers={"Content-Encoding": "gzip"}
        )
        assert b"\x1f\x8bpacked" == body(Client(place, NOW, Limits()), httpserver.url_for("/x"))

    def test_chunks(self, place: DataDirectory, httpserver: HTTPServer) -> None:
        """A body of unknown length arrives, too."""
        httpserver.expect_request("/x").respond_with_handler(lambda _: Response(iter([b"abc"] * 1000)))
        assert b"abc" * 1000 == body(Client(place, NOW, Limits()), httpserver.url_for("/x"))

    def test_not_modified(self, place: DataDirectory, httpserver: HTTPServer) -> None:
        """304 is not an error."""
        httpserver.expect_request("/x", headers={"If-Modified-Since": "then"}).respond_with_data(status=304)
        with Client(place, NOW, Limits()).get(httpserver.url_for("/x"), {"If-Modified-Since": "then"}) as response:
            assert 304 == response.status_code

    @pytest.mark.parametrize(
        ("status", "message"),
        [
            (401, "HTTP 401; check the account ID and the licence key"),
            (403, "HTTP 403"),
            (500, "HTTP 500"),
            (204, "HTTP 204"),
            (304, "HTTP 304"),
            (206, "HTTP 206"),
            (302, "HTTP 302"),
        ],
    )
    def test_other_statuses(self, place: DataDirectory, httpserver: HTTPServer, status: int, message: str) -> None:
        """Any other status, also a redirect to nowhere, is an error with the status."""
        httpserver.expect_request("/x").respond_with_data(status=status)
        with pytest.raises(DownloadError) as caught:
            body(Client(place, NOW, Limits()), url := httpserver.url_for("/x"))
        assert (f"{url}: {message}", status, 3) == (str(caught.value), caught.value.status, caught.value.exit_status)


def redirecting(to: str) -> Callable[[Request], Response]:
    return lambda _: Response(status=HTTPStatus.FOUND, headers={"Location": to})


class TestRedirects:
    def test_to_https(self, place: DataDirectory, httpserver: HTTPServer, secure: HTTPServer) -> None:
        """A redirect to https is followed, without the password."""
        httpserver.expect_request("/x").respond_with_handler(redirecting(secure.url_for("/y")))
        secure.expect_request("/y").respond_with_data(b"there")
        client = Client(place, NOW, Limits())
        client.auth = ("1", "secret")
        assert b"there" == body(client, httpserver.url_for("/x"))
        first, followed = httpserver.log[0][0], secure.log[0][0]
        assert first.authorization is not None
        assert ("secret", None) == (first.authorization.password, followed.authorization)

    def test_on_the_same_server(self, place: DataDirectory, secure: HTTPServer) -> None:
        """A redirect without a host stays on the server, with the password."""
        secure.expect_request("/x").respond_with_handler(redirecting("y"))
        secure.expect_request("/y").respond_with_data(b"there")
        client = Client(place, NOW, Limits())
        client.auth = ("1", "secret")
        assert b"there" == body(client, secure.url_for("/x"))
        assert all(request.authorization is not None for request, _ in secure.log)

    @pytest.mark.parametrize(
        "to", ["http://127.0.0.1:1/y", "//127.0.0.1:1/y", "/y", "ftp://127.0.0.1/y", "file:///etc"]
    )
    def test_to_anything_else(self, place: DataDirectory, httpserver: HTTPServer, to: str) -> None:
        """A redirect to anything but https is refused, and not followed."""
        httpserver.expect_request("/x").respond_with_handler(redirecting(to))
        with pytest.raises(UpdateError, match=r"redirected to .*, which is not https$"):
            body(Client(place, NOW, Limits()), httpserver.url_for("/x"))
        assert ["/x"] == [request.path for request, _ in httpserver.log]

    def test_back_from_https(self, place: DataDirectory, httpserver: HTTPServer, secure: HTTPServer) -> None:
        """A redirect from https to http is an error."""
        httpserver.expect_request("/y").respond_with_data(b"there")
        secure.expect_request("/x").respond_with_handler(redirecting(httpserver.url_for("/y")))
        with pytest.raises(UpdateError, match=r"which is not https$"):
            body(Client(place, NOW, Limits()), secure.url_for("/x"))
        assert [] == httpserver.log

    def test_round_and_round(self, place: DataDirectory, secure: HTTPServer) -> None:
        """Redirects that never end are given up."""
        secure.expect_request("/x").respond_with_handler(redirecting("/x"))
        with pytest.raises(UpdateError, match=r"redirected more than 5 times$"):
            body(Client(place, NOW, Limits()), secure.url_for("/x"))

    def test_untrusted_certificate(
        self, place: DataDirectory, httpserver: HTTPServer, secure: HTTPServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server without a trusted certificate is not used."""
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        httpserver.expect_request("/x").respond_with_handler(redirecting(secure.url_for("/y")))
        with pytest.raises(DownloadError, match=r"request failed: .*certificate verify failed"):
            body(Client(place, NOW, Limits()), httpserver.url_for("/x"))
        assert [] == secure.log


def dribbled_head(connection: socket.socket, stop: Event) -> None:
    dribble(connection, stop, HEAD + b"X: ")


def dribbled_body(connection: socket.socket, stop: Event) -> None:
    dribble(connection, stop, HEAD + b"Content-Length: 500\r\n\r\n")


def silence(_: socket.socket, stop: Event) -> None:
    stop.wait(10)


def endless(connection: socket.socket, _: Event) -> None:
    connection.sendall(HEAD + b"\r\n" + b"x" * 5000)


def declared_too_long(connection: socket.socket, _: Event) -> None:
    connection.sendall(HEAD + b"Content-Length: 1001\r\n\r\n")


def boundless(connection: socket.socket, _: Event) -> None:
    connection.sendall(HEAD + b"Content-Length: " + b"1" * 5000 + b"\r\n\r\n" + b"x" * 5000)


def short(connection: socket.socket, _: Event) -> None:
    connection.sendall(HEAD + b"Content-Length: 500\r\n\r\nxxx")


def short_chunk(connection: socket.socket, _: Event) -> None:
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n20\r\nxxx")


def bad_chunk(connection: socket.socket, _: Event) -> None:
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nxxx\r\n")


def broken_off(connection: socket.socket, _: Event) -> None:
    connection.sendall(HEAD + b"Content-Length: 500\r\n\r\nxxx")
    reset(connection)


def reset_at_once(connection: socket.socket, _: Event) -> None:
    reset(connection)


def no_http(connection: socket.socket, _: Event) -> None:
    connection.sendall(b"220 mail.example.com ESMTP\r\n")


class TestMisbehaviour:
    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (dribbled_head, "no complete answer within 0.3 s"),
            (silence, "no complete answer within 0.3 s"),
            (dribbled_body, "no complete answer within 0.3 s"),
            (endless, "answer of more than 1000 bytes"),
            (declared_too_long, "answer of more than 1000 bytes"),
            (boundless, "answer of more than 1000 bytes"),
            (short, "request failed: "),
            (short_chunk, "request failed: "),
            (bad_chunk, "request failed: "),
            (broken_off, "request failed: "),
            (reset_at_once, "request failed: "),
            (no_http, "request failed: "),
        ],
    )
    def test_is_one_error(self, place: DataDirectory, answer: Callable[[Any, Event], None], reason: str) -> None:
        """Whatever a server does, there is an error in time, with the URL and the reason."""
        limits = IMPATIENT.replace(whole_seconds=seconds_for(reason, IMPATIENT.whole_seconds))
        with serving(answer) as url, pytest.raises(UpdateError) as caught:
            body(Client(place, NOW, limits), url)
        assert str(caught.value).startswith(f"{url}: {reason}")
        assert caught.value.url == url
        assert isinstance(caught.value, DownloadError) == reason.startswith("request failed")

    @pytest.mark.parametrize("answer", [silence, lambda connection, stop: (connection.sendall(HEAD), stop.wait(10))])
    def test_idle(self, place: DataDirectory, answer: Callable[[Any, Event], None]) -> None:
        """A server that stops sending is not waited for until the end of all patience."""
        limits = Limits(idle_seconds=0.1)
        with serving(answer) as url, pytest.raises(DownloadError, match=r"no complete answer within 0\.1 s$"):
            body(Client(place, NOW, limits), url)

    def test_idle_body(self, place: DataDirectory) -> None:
        """The same holds within a body."""

        def stall(connection: socket.socket, stop: Event) -> None:
            connection.sendall(HEAD + b"Content-Length: 500\r\n\r\nxxx")
            stop.wait(10)

        with serving(stall) as url, pytest.raises(DownloadError, match=r"no complete answer within 0\.1 s$"):
            body(Client(place, NOW, Limits(idle_seconds=0.1)), url)

    @pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1/x", "http://", "http://[::1", "http://a..b/"])
    def test_invalid_url(self, place: DataDirectory, url: str) -> None:
        """An invalid URL is an error with the URL."""
        with pytest.raises(UpdateError) as caught:
            body(Client(place, NOW, Limits()), url)
        assert str(caught.value).startswith(f"{url}: not a URL of http or https (")

    def test_server_without_an_address(self, place: DataDirectory) -> None:
        """An unknown host name (RFC 6761, 6.4) is an error with the system's reason, and not retried."""
        with pytest.raises(UpdateError, match=r"//geocli\.invalid/x: request failed: ") as caught:
            body(Client(place, NOW, Limits()), "http://geocli.invalid/x")
        assert not isinstance(caught.value, DownloadError)
        assert "HTTPConnection" not in str(caught.value)


class TestSecrets:
    """Passwords and keys in URLs are sent, and never shown."""

    @pytest.mark.parametrize("secret", ["me:s3cret@", "me:s3c/ret@", "s3cret@"])
    @pytest.mark.parametrize("status", [200, 403, 429, 500])
    def test_in_a_url(self, place: DataDirectory, httpserver: HTTPServer, secret: str, status: int) -> None:
        """An error contains only the server and the path, also in its attributes."""
        httpserver.expect_request("/x").respond_with_data(b"x" * 2000, status)
        host = f"localhost:{httpserver.port}"
        for _ in range(2):
            with pytest.raises(UpdateError) as caught:
                body(Client(place, NOW, IMPATIENT), f"http://{secret}{host}/x?key=s3cret#s3cret")
            assert "ret" not in str(caught.value).replace("secrets", "")
            assert "ret" not in caught.value.url
            assert host in caught.value.url

    def test_in_a_redirect(self, place: DataDirectory, httpserver: HTTPServer) -> None:
        """The signature in a redirect is a secret, too."""
        httpserver.expect_request("/x").respond_with_handler(redirecting("http://me:s3cret@127.0.0.1/y?sign=s3cret"))
        with pytest.raises(UpdateError, match=r": redirected to http://127\.0\.0\.1/y, which is not https$"):
            body(Client(place, NOW, Limits()), httpserver.url_for("/x"))

    @pytest.mark.parametrize("proxy", ["http://me:s3cret@127.0.0.1:1", "http://me:s3cret@", "http://me:s3cret@["])
    def test_in_a_proxy(self, place: DataDirectory, proxy: str) -> None:
        """A proxy that cannot be used is an error without its password."""
        client = Client(place, NOW, Limits())
        client.proxy = proxy
        with pytest.raises(UpdateError) as caught:
            body(client, "http://127.0.0.1:1/x")
        assert "s3cret" not in str(caught.value)


class TestWaits:
    """Servers that answer 429 are not asked, by later runs, too."""

    @pytest.fixture
    def busy(self, httpserver: HTTPServer) -> Callable[..., str]:
        """Return a function that makes a server busy, and returns its URL."""

        def make(**headers: str) -> str:
            named = {name.replace("_", "-"): text for name, text in headers.items()}
            httpserver.expect_oneshot_request("/x").respond_with_data(status=429, headers=named)
            httpserver.expect_request("/x").respond_with_data(b"there")
            return httpserver.url_for("/x")

        return make

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({"Retry_After": "120"}, 120),
            ({"Retry_After": "Tue, 31 Mar 2026 12:02:00 GMT"}, 120),
            ({"Retry_After": "Tuesday, 31-Mar-26 12:02:00 GMT"}, 120),
            ({"Retry_After": "Tue Mar 31 12:02:00 2026"}, 120),
            ({"Retry_After": "1.5"}, 3600),
            ({"Retry_After": "-5"}, 3600),
            ({"Retry_After": "0"}, 3600),
            ({"Retry_After": "Tue, 31 Mar 2020 12:02:00 GMT"}, 3600),
            ({"Retry_After": "soon"}, 3600),
            ({}, 3600),
            ({"Retry_After": "31536000"}, 86400),
            ({"Retry_After": "9" * 30}, 86400),
            ({"Retry_After": "Fri, 31 Mar 2126 12:02:00 GMT"}, 86400),
        ],
    )
    def test_next_runs_wait(
        self,
        place: DataDirectory,
        busy: Callable[..., str],
        httpserver: HTTPServer,
        headers: dict[str, str],
        seconds: int,
    ) -> None:
        """No run asks the server for the time in Retry-After, by default an hour, at most a day; then one does."""
        url, until = busy(**headers), NOW + timedelta(seconds=seconds)
        with pytest.raises(RateLimitError) as caught:
            body(Client(place, NOW, Limits()), url)
        assert f"{url}: too many requests; try again after {until:%Y-%m-%dT%H:%M:%SZ}" == str(caught.value)
        assert (until, 75, 429) == (caught.value.retry_at, caught.value.exit_status, caught.value.status)
        with pytest.raises(RateLimitError, match=rf"^{url[:-2]}: not asked: too many requests; try again"):
            body(Client(place, until - timedelta(seconds=1), Limits()), url)
        assert len(httpserver.log) == 1
        assert b"there" == body(Client(place, until, Limits()), url)

    def test_unavailable_for_a_while(self, place: DataDirectory, httpserver: HTTPServer) -> None:
        """503 with Retry-After has the same effect, and without it the server may be asked again immediately."""
        httpserver.expect_oneshot_request("/x").respond_with_data(status=503)
        httpserver.expect_oneshot_request("/x").respond_with_data(status=503, headers={"Retry-After": "60"})
        url = httpserver.url_for("/x")
        with pytest.raises(DownloadError, match=r"HTTP 503$"):
            body(Client(place, NOW, Limits()), url)
        for reason in ("HTTP 503", "not asked: HTTP 503"):
            with pytest.raises(RateLimitError, match=rf"{reason}; try again after 2026-03-31T12:01:00Z$"):
                body(Client(place, NOW, Limits()), url)
        assert 2 == len(httpserver.log)

    def test_other_servers_are_asked(self, place: DataDirectory, busy: Callable[..., str]) -> None:
        """Only that server is not asked, and there may be several."""
        busy_url = busy()
        with serving(lambda connection, _: connection.sendall(b"HTTP/1.1 429 x\r\n\r\n")) as other_url:
            for url in (busy_url, other_url, busy_url, other_url):
                with pytest.raises(RateLimitError):
                    body(Client(place, NOW, Limits()), url)
        assert b"there" == body(Client(place, NOW, Limits()), busy_url.replace("localhost", "127.0.0.1"))

    def test_times_of_a_wrong_clock(self, place: DataDirectory, busy: Callable[..., str]) -> None:
        """A time further away than the maximum was written with a wrong clock, and is ignored."""
        url = busy()
        with pytest.raises(RateLimitError):
            body(Client(place, NOW + timedelta(days=400), Limits()), url)
        assert b"there" == body(Client(place, NOW, Limits()), url)
