"""Getting databases from a server, and checking those that were got: a real server on loopback."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import re
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from werkzeug import Request, Response

from geocli.databases.install import check_sidecar
from geocli.databases.update import installed, update
from geocli.errors import (
    BusyError,
    DownloadError,
    HashMismatchError,
    RateLimitError,
    SettingsError,
    UpdateError,
)
from geocli.http import Limits
from geocli.settings import Settings
from tests.helpers import system_call_faults as faults
from tests.helpers.databases import build
from tests.helpers.misbehaving_servers import dribble, reset, serving
from tests.helpers.terminals import on_terminal
from tests.helpers.waiting import wait_for

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from threading import Event

    from pytest_httpserver import HTTPServer

    from tests.helpers.geocli_process import Geocli

NAME = "dbip-city-lite"
NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
THIS_MONTH, LAST_MONTH = (f"/free/{NAME}-2026-{month}.mmdb.gz" for month in ("03", "02"))
ONCE = Limits(pauses_seconds=())
MODIFIED = "Sun, 01 Mar 2026 05:06:07 GMT"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect to loopback directly, even if this machine has a proxy."""
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def chosen(tmp_path: Path, httpserver: HTTPServer) -> Settings:
    return Settings(
        data_dir=str(tmp_path / "data"),
        update_dir=str(tmp_path / "databases"),
        dbip_url=httpserver.url_for("/free"),
        lock_timeout_seconds=0,
    )


@pytest.fixture
def directory(chosen: Settings, tmp_path: Path) -> Path:
    """Return the directory that databases are installed in."""
    assert chosen.update_dir == str(tmp_path / "databases")
    return tmp_path / "databases"


@pytest.fixture
def content(tmp_path: Path) -> Callable[..., bytes]:
    """Return a function that returns the bytes of a database, by default one with 8.8.8.8."""

    def make(record: Any = None, network: str = "8.8.8.0/24") -> bytes:
        path = build(tmp_path / "made.mmdb", {network: record or {"country": {"iso_code": "US"}}}, edition="DBIP")
        return path.read_bytes()

    return make


@pytest.fixture
def old(directory: Path, content: Callable[..., bytes]) -> bytes:
    """Install a database with its hash, from the first of March, and return its bytes."""
    directory.mkdir()
    data = content({"country": {"iso_code": "CA"}})
    path = directory / f"{NAME}.mmdb"
    path.write_bytes(data)
    (directory / f"{NAME}.mmdb.sha256").write_text(f"{hashlib.sha256(data).hexdigest()}  {NAME}.mmdb\n")
    stamp = datetime(2026, 3, 1, 5, 6, 7, tzinfo=UTC).timestamp()
    os.utime(path, (stamp, stamp))
    return data


def assert_kept(directory: Path, data: bytes) -> None:
    """Check that a directory has a database unchanged, its hash, and no temporary file."""
    assert data == (directory / f"{NAME}.mmdb").read_bytes()
    assert [".geocli-update.lock", f"{NAME}.mmdb", f"{NAME}.mmdb.sha256"] == sorted(os.listdir(directory))
    assert_hash_is_accepted(directory)


def assert_hash_is_accepted(directory: Path) -> None:
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", f"{NAME}.mmdb.sha256"], cwd=directory, capture_output=True, check=False
    )
    assert (0, f"{NAME}.mmdb: OK\n".encode()) == (checked.returncode, checked.stdout)


class TestUpdate:
    def test_new_file(
        self, chosen: Settings, directory: Path, content: Callable[..., bytes], httpserver: HTTPServer
    ) -> None:
        """A database is decompressed into a new directory, with its hash, and the server's modification time."""
        data = content()
        httpserver.expect_oneshot_request(THIS_MONTH, "GET").respond_with_data(
            gzip.compress(data), headers={"Last-Modified": MODIFIED}
        )
        assert [NAME] == update([NAME], chosen, NOW)
        assert_kept(directory, data)
        expected = datetime(2026, 3, 1, 5, 6, 7, tzinfo=UTC)
        assert expected.timestamp() == (directory / f"{NAME}.mmdb").stat().st_mtime
        assert [0o644] * 2 == [(directory / f"{NAME}{end}").stat().st_mode & 0o777 for end in (".mmdb", ".mmdb.sha256")]
        assert "If-Modified-Since" not in httpserver.log[0][0].headers
        httpserver.check()

    def test_newer_file(
        self, chosen: Settings, directory: Path, content: Callable[..., bytes], httpserver: HTTPServer, old: bytes
    ) -> None:
        """A newer database replaces the old one atomically: open readers keep the old one."""
        data = content()
        httpserver.expect_oneshot_request(THIS_MONTH).respond_with_data(gzip.compress(data))
        with (directory / f"{NAME}.mmdb").open("rb") as reader:
            assert [NAME] == update([NAME], chosen, NOW)
            assert old == reader.read()
        assert_kept(directory, data)

    def test_not_modified(self, chosen: Settings, directory: Path, httpserver: HTTPServer, old: bytes) -> None:
        """If the server has nothing newer than the file's time, nothing is downloaded."""
        httpserver.expect_oneshot_request(THIS_MONTH, headers={"If-Modified-Since": MODIFIED}).respond_with_data(
            status=HTTPStatus.NOT_MODIFIED
        )
        assert [] == update([NAME], chosen, NOW)
        assert_kept(directory, old)
        httpserver.check()

    @pytest.mark.parametrize(
        ("now", "months"),
        [
            (NOW, ["2026-03", "2026-02"]),
            (datetime(2026, 1, 1, tzinfo=UTC), ["2026-01", "2025-12"]),
            (datetime(2024, 3, 1, tzinfo=UTC), ["2024-03", "2024-02"]),
        ],
    )
    def test_unpublished_month(
        self, chosen: Settings, content: Callable[..., bytes], httpserver: HTTPServer, now: datetime, months: list[str]
    ) -> None:
        """Before this month's file is published, last month's is installed."""
        first, second = (f"/free/{NAME}-{month}.mmdb.gz" for month in months)
        httpserver.expect_ordered_request(first).respond_with_data(status=HTTPStatus.NOT_FOUND)
        httpserver.expect_ordered_request(second).respond_with_data(gzip.compress(content()))
        assert [NAME] == update([NAME], chosen, now)
        assert [first, second] == [request.path for request, _ in httpserver.log]
        httpserver.check()

    @pytest.mark.parametrize("last_modified", ["yesterday", "", "Sun, 99 Mar 2026 05:06:07 GMT"])
    def test_invalid_time(
        self,
        chosen: Settings,
        directory: Path,
        content: Callable[..., bytes],
        httpserver: HTTPServer,
        last_modified: str,
    ) -> None:
        """An invalid modification time does not prevent the installation."""
        data = content()
        httpserver.expect_request(THIS_MONTH).respond_with_data(
            gzip.compress(data), headers={"Last-Modified": last_modified}
        )
        assert [NAME] == update([NAME], chosen, NOW)
        assert_kept(directory, data)

    def test_answer_in_pieces(
        self, chosen: Settings, directory: Path, content: Callable[..., bytes], httpserver: HTTPServer
    ) -> None:
        """A database of a few megabytes, sent without its length, arrives whole."""
        padded = pad(content(), 5_000_000)
        packed = gzip.compress(padded, 1)
        httpserver.expect_request(THIS_MONTH).respond_with_handler(
            lambda _: Response(packed[start : start + 999] for start in range(0, len(packed), 999))
        )
        assert [NAME] == update([NAME], chosen, NOW)
        assert_kept(directory, padded)


def pad(data: bytes, size_bytes: int) -> bytes:
    """Enlarge a database by bytes between its data and its metadata."""
    head, marker, metadata = data.rpartition(b"\xab\xcd\xefMaxMind.com")
    return head + os.urandom(size_bytes) + marker + metadata


def flipped(data: bytes) -> bytes:
    """Flip a bit of the CRC at the end of gzip data (RFC 1952, 2.3.1)."""
    return data[:-8] + bytes([data[-8] ^ 1]) + data[-7:]


def redirect(httpserver: HTTPServer) -> Callable[[Request], Response]:
    return lambda _: Response(
        status=HTTPStatus.MOVED_PERMANENTLY, headers={"Location": httpserver.url_for("/elsewhere.gz")}
    )


GZIP_BEGINS = b"HTTP/1.1 200 OK\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\3"
"""The head of an answer, and the header of its body (RFC 1952, 2.3)."""


class TestBadAnswers:
    """After any bad response, the old database and its hash are unchanged."""

    @pytest.mark.parametrize(
        ("pack", "reason"),
        [
            (lambda _: b"<!DOCTYPE html><html>Please sign in</html>", "not gzip: Not a gzipped file (b'<!')"),
            (lambda _: b"", "not a usable database: "),
            (lambda data: data, "not gzip: "),
            (lambda data: gzip.compress(data)[:-400], "truncated"),
            (lambda data: gzip.compress(data)[:-1], "truncated"),
            (lambda data: flipped(gzip.compress(data)), "not gzip: CRC check failed"),
            (lambda _: gzip.compress(b"<!DOCTYPE html>"), "not a usable database: "),
            (lambda _: gzip.compress(b""), "not a usable database: "),
            (lambda data: gzip.compress(data[: len(data) // 2]), "not a usable database: "),
            (lambda data: gzip.compress(data) + b"<html>", "not gzip: Not a gzipped file (b'<h')"),
            (lambda data: gzip.compress(data + bytes(3_000_000)), "larger than 1000000 bytes when decompressed"),
            (
                lambda data: gzip.compress(data) + gzip.compress(bytes(3_000_000)),
                "larger than 1000000 bytes when decompressed",
            ),
            (lambda data: gzip.compress(data).ljust(1_000_001), "answer of more than 1000000 bytes"),
        ],
        ids=[
            *("HTML", "nothing", "not packed", "cut", "cut by a byte", "CRC", "packed HTML", "packed nothing", "half"),
            *("trailing data", "bomb", "trailing bomb", "too long"),
        ],
    )
    def test_body(  # noqa: PLR0913, PLR0917 (fixtures)
        self,
        chosen: Settings,
        directory: Path,
        content: Callable[..., bytes],
        httpserver: HTTPServer,
        old: bytes,
        pack: Callable[[bytes], bytes],
        reason: str,
    ) -> None:
        """A body that is not a whole compressed database is an error with the URL and the reason."""
        httpserver.expect_request(THIS_MONTH).respond_with_data(pack(content()))
        with pytest.raises(UpdateError) as caught:
            update([NAME], chosen, NOW, limits=Limits(max_bytes=1_000_000))
        url = httpserver.url_for(THIS_MONTH)
        assert f"{url}: {reason}" == str(caught.value)[: len(f"{url}: {reason}")]
        assert (url, 3) == (caught.value.url, caught.value.exit_status)
        assert_kept(directory, old)

    def test_without_known_addresses(
        self, chosen: Settings, directory: Path, content: Callable[..., bytes], httpserver: HTTPServer, old: bytes
    ) -> None:
        """A database without any of the well-known addresses is an error."""
        httpserver.expect_request(THIS_MONTH).respond_with_data(gzip.compress(content(network="9.9.9.0/24")))
        expected = f"{httpserver.url_for(THIS_MONTH)}: a database without 8.8.8.8, 1.1.1.1, 193.0.6.139"
        with pytest.raises(UpdateError) as caught:
            update([NAME], chosen, NOW)
        assert expected == str(caught.value)
        assert_kept(directory, old)

    def test_wrong_length(
        self, chosen: Settings, directory: Path, content: Callable[..., bytes], httpserver: HTTPServer, old: bytes
    ) -> None:
        """A body shorter than announced is an error, although it is a whole database."""
        packed = gzip.compress(content())
        headers = {"Content-Length": str(len(packed) + 10), "Connection": "close"}
        httpserver.expect_request(THIS_MONTH).respond_with_handler(lambda _: Response([packed], headers=headers))
        with pytest.raises(DownloadError, match=r"request failed: IncompleteRead$"):
            update([NAME], chosen, NOW, limits=ONCE)
        assert_kept(directory, old)

    def test_redirect(
        self, chosen: Settings, directory: Path, content: Callable[..., bytes], httpserver: HTTPServer, old: bytes
    ) -> None:
        """A redirect to plain http is not followed: it could lead to a sign-in page."""
        httpserver.expect_request(THIS_MONTH).respond_with_handler(redirect(httpserver))
        httpserver.expect_request("/elsewhere.gz").respond_with_data(gzip.compress(content()))
        with pytest.raises(UpdateError, match=r"redirected to .*/elsewhere\.gz, which is not https$"):
            update([NAME], chosen, NOW)
        assert [THIS_MONTH] == [request.path for request, _ in httpserver.log]
        assert_kept(directory, old)

    @pytest.mark.parametrize("size_bytes", [0, 500_000], ids=["empty blocks", "full blocks"])
    def test_endless_body(self, chosen: Settings, directory: Path, old: bytes, size_bytes: int) -> None:
        """An endless gzip stream is aborted, also if it decompresses to nothing."""
        size = min(size_bytes, 65535).to_bytes(2, "little")
        block = b"\0" + size + bytes(255 - byte for byte in size) + bytes(min(size_bytes, 65535))
        block *= max(1, 65535 // len(block))

        def send(connection: socket.socket, _: object) -> None:
            connection.sendall(GZIP_BEGINS)
            while True:
                connection.sendall(block)

        with serving(send) as url, pytest.raises(UpdateError, match=r"more than 1000000 bytes|larger than 1000000"):
            update([NAME], chosen.replace(dbip_url=url), NOW, limits=Limits(max_bytes=1_000_000))
        assert_kept(directory, old)

    def test_slow_body(self, chosen: Settings, directory: Path, old: bytes) -> None:
        """A server that sends a byte now and then is not waited for till it is done."""

        def send(connection: socket.socket, stop: Event) -> None:
            dribble(connection, stop, GZIP_BEGINS + b"\0\xff\xff\0\0")

        with serving(send) as url, pytest.raises(UpdateError, match=r"no complete answer within 0\.3 s"):
            update([NAME], chosen.replace(dbip_url=url), NOW, limits=Limits(whole_seconds=0.3))
        assert_kept(directory, old)

    def test_too_many_requests(
        self, chosen: Settings, directory: Path, content: Callable[..., bytes], httpserver: HTTPServer, old: bytes
    ) -> None:
        """After 429 the next runs send no request until the time is over."""
        httpserver.expect_oneshot_request(THIS_MONTH).respond_with_data(status=429, headers={"Retry-After": "600"})
        data = content()
        httpserver.expect_request(THIS_MONTH).respond_with_data(gzip.compress(data))
        for wait in (0, 1, 599):
            with pytest.raises(RateLimitError, match=r"try again after 2026-03-31T12:10:00Z$"):
                update([NAME], chosen, NOW + timedelta(seconds=wait))
        assert 1 == len(httpserver.log)
        assert old == (directory / f"{NAME}.mmdb").read_bytes()
        assert [NAME] == update([NAME], chosen, NOW + timedelta(seconds=600))
        assert data == (directory / f"{NAME}.mmdb").read_bytes()

    @pytest.mark.parametrize("status", [403, 410, 500, 503])
    def test_status(self, chosen: Settings, directory: Path, httpserver: HTTPServer, old: bytes, status: int) -> None:
        """Any other status is an error that contains it, and last month's file is not requested."""
        httpserver.expect_request(THIS_MONTH).respond_with_data(status=status)
        with pytest.raises(DownloadError, match=rf"{THIS_MONTH}: HTTP {status}$") as caught:
            update([NAME], chosen, NOW, limits=ONCE)
        assert status == caught.value.status
        assert [THIS_MONTH] == [request.path for request, _ in httpserver.log]
        assert_kept(directory, old)

    @pytest.mark.parametrize("failures", [1, 2, 3])
    def test_retried(
        self, chosen: Settings, directory: Path, content: Callable[..., bytes], old: bytes, failures: int
    ) -> None:
        """Transfers that the network or the server aborts are retried up to a limit, until one is complete."""
        packed, requests = gzip.compress(data := content()), 0

        def send(connection: socket.socket, _: Event) -> None:
            nonlocal requests
            requests += 1
            if requests == 1:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed[:100])
                reset(connection)
            elif requests <= failures:
                connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed)

        limits = Limits(pauses_seconds=(0, 0))
        with serving(send) as url:
            if failures <= 2:
                assert [NAME] == update([NAME], chosen.replace(dbip_url=url), NOW, limits=limits)
            else:
                with pytest.raises(DownloadError, match=r"HTTP 503$"):
                    update([NAME], chosen.replace(dbip_url=url), NOW, limits=limits)
        assert min(failures + 1, 3) == requests
        assert_kept(directory, data if failures <= 2 else old)

    def test_neither_month(self, chosen: Settings, directory: Path, httpserver: HTTPServer, old: bytes) -> None:
        """If the server has neither month's file, the error names last month's."""
        for path in (THIS_MONTH, LAST_MONTH):
            httpserver.expect_request(path).respond_with_data(status=HTTPStatus.NOT_FOUND)
        with pytest.raises(DownloadError, match=rf"{LAST_MONTH}: HTTP 404$"):
            update([NAME], chosen, NOW)
        assert_kept(directory, old)

    def test_unreachable_server(self, chosen: Settings, directory: Path, httpserver: HTTPServer, old: bytes) -> None:
        """An unreachable server is an error with the URL."""
        url = httpserver.url_for("/free")
        httpserver.stop()
        try:
            with pytest.raises(DownloadError, match=rf"^{url}/.*: request failed: Connection refused$") as caught:
                update([NAME], chosen, NOW, limits=ONCE)
        finally:
            httpserver.start()
        assert caught.value.status is None
        assert_kept(directory, old)

    @pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1", "http://"])
    def test_invalid_url(self, chosen: Settings, directory: Path, old: bytes, url: str) -> None:
        """An invalid URL of a mirror is an error with the URL."""
        with pytest.raises(UpdateError, match=rf"^{url}/.*: not a URL of http or https "):
            update([NAME], chosen.replace(dbip_url=url), NOW)
        assert_kept(directory, old)


class TestWhich:
    def test_unknown_name(self, chosen: Settings, directory: Path) -> None:
        """An unknown name of a database is an error before anything is touched."""
        expected = "command line: GeoIP9: unknown database; known: dbip-city-lite, dbip-country-lite, dbip-asn-lite, "
        expected += "GeoLite2-City and other editions of MaxMind"
        with pytest.raises(SettingsError) as caught:
            update([NAME, "GeoIP9"], chosen, NOW)
        assert expected == str(caught.value)
        assert not directory.exists()

    def test_default_is_city_and_asn(
        self, chosen: Settings, content: Callable[..., bytes], httpserver: HTTPServer
    ) -> None:
        """Where nothing is installed yet, city and ASN are got."""
        for name in ("dbip-city-lite", "dbip-asn-lite"):
            httpserver.expect_request(f"/free/{name}-2026-03.mmdb.gz").respond_with_data(gzip.compress(content()))
        assert ["dbip-city-lite", "dbip-asn-lite"] == update([], chosen, NOW)
        assert ["dbip-city-lite", "dbip-asn-lite"] == installed(chosen)

    def test_default_is_what_is_installed(
        self, chosen: Settings, content: Callable[..., bytes], httpserver: HTTPServer
    ) -> None:
        """Installed databases are updated, and no others."""
        path = "/free/dbip-country-lite-2026-03.mmdb.gz"
        httpserver.expect_request(path).respond_with_data(gzip.compress(content()))
        update(["dbip-country-lite"], chosen, NOW)
        assert ["dbip-country-lite"] == update([], chosen, NOW)
        assert [path] * 2 == [request.path for request, _ in httpserver.log]
        assert ["dbip-country-lite"] == installed(chosen)

    def test_one_at_a_time(self, chosen: Settings, directory: Path, old: bytes) -> None:
        """While another update runs, this one is refused."""
        with (directory / ".geocli-update.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(BusyError, match=r"\.geocli-update\.lock: busy"):
                update([NAME], chosen, NOW)
        assert_kept(directory, old)

    def test_directory_that_cannot_be_made(self, chosen: Settings, tmp_path: Path) -> None:
        """A directory that cannot be made is an error that names it."""
        (tmp_path / "file").touch()
        with pytest.raises(UpdateError, match=rf"^{tmp_path}/file/below: Not a directory$"):
            update([NAME], chosen.replace(update_dir=str(tmp_path / "file" / "below")), NOW)

    def test_directory_in_place_of_the_file(
        self, chosen: Settings, directory: Path, content: Callable[..., bytes], httpserver: HTTPServer
    ) -> None:
        """A directory with the name of the database is an error, and no temporary file remains."""
        (directory / f"{NAME}.mmdb" / "x").mkdir(parents=True)
        httpserver.expect_request(THIS_MONTH).respond_with_data(gzip.compress(content()))
        with pytest.raises(UpdateError, match="Is a directory"):
            update([NAME], chosen, NOW)
        assert [] == [name for name in os.listdir(directory) if name.endswith(".part")]


class TestOldFile:
    """Installed files, and files left by a killed update."""

    def test_damaged_file_is_downloaded_again(
        self, chosen: Settings, directory: Path, content: Callable[..., bytes], httpserver: HTTPServer, old: bytes
    ) -> None:
        """A file that is not the installed one any more is not considered up to date."""
        (directory / f"{NAME}.mmdb").write_bytes(old.replace(b"CA", b"CB"))
        stamp = datetime(2026, 3, 1, 5, 6, 7, tzinfo=UTC).timestamp()
        os.utime(directory / f"{NAME}.mmdb", (stamp, stamp))
        httpserver.expect_request(THIS_MONTH).respond_with_data(gzip.compress(data := content()))
        assert [NAME] == update([NAME], chosen, NOW)
        assert "If-Modified-Since" not in httpserver.log[0][0].headers
        assert_kept(directory, data)

    def test_older_build_is_not_installed(
        self, chosen: Settings, directory: Path, tmp_path: Path, httpserver: HTTPServer, old: bytes
    ) -> None:
        """A database that was built before the installed one does not replace it."""
        older = build(tmp_path / "made.mmdb", {"8.8.8.0/24": {"country_code": "US"}}, build_epoch=1_500_000_000)
        httpserver.expect_request(THIS_MONTH).respond_with_data(gzip.compress(older.read_bytes()))
        assert [] == update([NAME], chosen, NOW)
        assert_kept(directory, old)

    def test_file_that_cannot_be_opened_is_replaced(
        self, chosen: Settings, directory: Path, content: Callable[..., bytes], httpserver: HTTPServer, old: bytes
    ) -> None:
        """A file that is not a database is replaced by one."""
        (directory / f"{NAME}.mmdb").write_bytes(old[:100])
        httpserver.expect_request(THIS_MONTH).respond_with_data(gzip.compress(data := content()))
        assert [NAME] == update([NAME], chosen, NOW)
        assert_kept(directory, data)

    def test_killed(self, geocli: Geocli, content: Callable[..., bytes], httpserver: HTTPServer) -> None:
        """A killed update leaves the old file, and the next one restarts and removes its temporary files."""
        path = geocli.db_dir / f"{NAME}.mmdb"
        path.write_bytes(old := content({"country_code": "CA"}))
        with under_way(geocli, content()) as process:
            process.kill()
        assert old == path.read_bytes()
        httpserver.expect_request(PATTERN).respond_with_data(gzip.compress(data := content()))
        assert 0 == geocli(*command(geocli, httpserver.url_for("/free")), environ={"NO_PROXY": "*"}).returncode
        assert data == path.read_bytes()
        assert [".geocli-update.lock", path.name, f"{path.name}.sha256"] == sorted(os.listdir(geocli.db_dir))

    @pytest.mark.slow
    @pytest.mark.parametrize("has_hash", [True, False])
    @pytest.mark.parametrize("number", [1, 2, 3])
    @pytest.mark.skipif(faults.missing() is not None, reason=str(faults.missing()))
    def test_killed_while_files_are_replaced(
        self,
        geocli: Geocli,
        content: Callable[..., bytes],
        httpserver: HTTPServer,
        number: int,
        has_hash: bool,  # noqa: FBT001 (parametrized)
    ) -> None:
        """Before whichever rename it is killed, the database is the old or the new one, and sound; then settled."""
        path = geocli.db_dir / f"{NAME}.mmdb"
        path.write_bytes(old := content({"country_code": "CA"}))
        if has_hash:
            (geocli.db_dir / f"{NAME}.mmdb.sha256").write_text(f"{hashlib.sha256(old).hexdigest()}  {NAME}.mmdb\n")
        httpserver.expect_request(PATTERN).respond_with_data(gzip.compress(new := content()))
        arguments = command(geocli, httpserver.url_for("/free"))
        inject = f"inject=/^rename:signal=KILL:when={number}"
        strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=/^rename", "-e", inject]
        environ = {**geocli.environ, "NO_PROXY": "*"}
        killed = subprocess.run([*strace, *geocli.command, *arguments], env=environ, capture_output=True, check=False)
        assert -9 == killed.returncode
        assert (old if number < 3 else new) == path.read_bytes()
        verified = geocli("db", "verify")
        assert (0, f"{path}: 1 networks, sound; records: map\n".encode()) == (verified.returncode, verified.stdout)
        assert 0 == geocli(*arguments, environ={"NO_PROXY": "*"}).returncode
        assert_kept(geocli.db_dir, new)

    @pytest.mark.parametrize("is_replaced", [True, False])
    def test_sidecar_of_two_hashes(
        self,
        chosen: Settings,
        directory: Path,
        httpserver: HTTPServer,
        old: bytes,
        is_replaced: bool,  # noqa: FBT001 (parametrized)
    ) -> None:
        """The sidecar of a killed update is corrected also without a newer build; damage is still detected."""
        digests = [hashlib.sha256(data).hexdigest() for data in (b"new", old if is_replaced else b"old")]
        sidecar = directory / f"{NAME}.mmdb.sha256"
        sidecar.write_text("".join(f"{digest}  {NAME}.mmdb\n" for digest in digests))
        httpserver.expect_request(THIS_MONTH).respond_with_data(status=HTTPStatus.NOT_MODIFIED)
        if is_replaced:
            assert [] == update([NAME], chosen, NOW)
            assert_kept(directory, old)
        else:
            with pytest.raises(DownloadError, match=r"HTTP 304$"):  # that was not requested, for a damaged file
                update([NAME], chosen, NOW)
            with pytest.raises(HashMismatchError, match="expected " + digests[0]):
                check_sidecar(str(directory / f"{NAME}.mmdb"))

    def test_checking_while_it_is_replaced(
        self, chosen: Settings, directory: Path, content: Callable[..., bytes], httpserver: HTTPServer, old: bytes
    ) -> None:
        """Whoever checks a database during updates never finds it damaged."""
        assert old
        versions = [content({"country": {"iso_code": code}}) for code in ("US", "DE", "FR", "GB")] * 3
        for data in versions:
            httpserver.expect_oneshot_request(THIS_MONTH).respond_with_data(gzip.compress(data))
        checked, is_over = 0, threading.Event()

        def check() -> None:
            nonlocal checked
            while not is_over.is_set():
                assert check_sidecar(str(directory / f"{NAME}.mmdb"))
                checked += 1

        with ThreadPoolExecutor() as pool:
            checking = pool.submit(check)
            for _ in versions:
                update([NAME], chosen, NOW)
            is_over.set()
            checking.result()
        assert checked

    def test_foreign_files(
        self, chosen: Settings, directory: Path, content: Callable[..., bytes], httpserver: HTTPServer, old: bytes
    ) -> None:
        """Downloads of other programs, and databases with other names, are unchanged."""
        names = [f"{NAME}.mmdb.part", f"{NAME}.mmdb.0123.part", "x.csv.0123456789ab.part", "City.mmdb"]
        for name in names:
            (directory / name).write_bytes(old)
        (directory / f"{NAME}.mmdb.0123456789ab.part").touch()
        (directory / f"{NAME}.mmdb.sha256.0123456789ab.part").touch()
        httpserver.expect_request(THIS_MONTH).respond_with_data(gzip.compress(content()))
        assert [NAME] == update([NAME], chosen, NOW)
        expected = [".geocli-update.lock", f"{NAME}.mmdb", f"{NAME}.mmdb.sha256", *names]
        assert sorted(expected) == sorted(os.listdir(directory))

    def test_stopped(self, geocli: Geocli, content: Callable[..., bytes]) -> None:
        """A stopped update removes its temporary files."""
        path = geocli.db_dir / f"{NAME}.mmdb"
        path.write_bytes(old := content({"country_code": "CA"}))
        with under_way(geocli, content()) as process:
            process.terminate()
            assert 143 == process.wait(10)
        assert old == path.read_bytes()
        assert [".geocli-update.lock", path.name] == sorted(os.listdir(geocli.db_dir))


@contextmanager
def under_way(geocli: Geocli, data: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """Yield an update that has written a part of the response of a stalled server."""
    packed = gzip.compress(pad(data, 1_000_000), 1)

    def send(connection: socket.socket, stop: Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + packed[:900_000])
        stop.wait(60)

    with serving(send) as url, geocli.start(*command(geocli, url)) as process:
        wait_for(lambda: any(part.stat().st_size for part in geocli.db_dir.glob("*.part")))
        yield process


def is_free(lock: Path) -> bool:
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


PATTERN = re.compile(rf"/free/{NAME}-20[0-9-]+\.mmdb\.gz")


def command(geocli: Geocli, url: str) -> list[str]:
    """Return the command that updates a database from a mirror."""
    (geocli.db_dir.parent / "config.toml").write_text(f'system_databases = false\ndbip_url = "{url}"\n')
    return ["db", "update", NAME]


@pytest.mark.measured
class TestCommands:
    def test_update_then_lookup(self, geocli: Geocli, content: Callable[..., bytes], httpserver: HTTPServer) -> None:
        """`db update` is silent in cron, and the next lookup uses the new database."""
        httpserver.expect_request(PATTERN).respond_with_data(gzip.compress(content({"country_code": "AQ"})))
        process = geocli(*command(geocli, httpserver.url_for("/free")), environ={"NO_PROXY": "*"})
        assert (0, b"", b"") == (process.returncode, process.stdout, process.stderr)
        assert b"AQ\n" == geocli("lookup", "-f", "value", "-F", "country_code", "8.8.8.8").stdout
        process = geocli("db", "verify")
        assert (0, f"{geocli.db_dir}/{NAME}.mmdb: 1 networks, sound; records: map\n".encode()) == (
            process.returncode,
            process.stdout,
        )

    def test_failure(self, geocli: Geocli, httpserver: HTTPServer) -> None:
        """A failed `db update` is one line, and exit status 3."""
        httpserver.expect_request(PATTERN).respond_with_data(status=403)
        process = geocli(*command(geocli, httpserver.url_for("/free")), environ={"NO_PROXY": "*"})
        (line,) = process.stderr.decode().splitlines()
        assert line.startswith(f"geocli: {httpserver.url_for('/free')}/{NAME}-")
        assert (3, b"") == (process.returncode, process.stdout)

    def test_one_fails(self, geocli: Geocli, content: Callable[..., bytes], httpserver: HTTPServer) -> None:
        """The others are updated; the exit status is the most severe one."""
        httpserver.expect_request(re.compile("/free/dbip-asn-.*")).respond_with_data(status=429)
        httpserver.expect_request(re.compile("/free/dbip-country-.*")).respond_with_data(b"<html>")
        httpserver.expect_request(PATTERN).respond_with_data(gzip.compress(content()))
        names = ["dbip-country-lite", NAME, "dbip-asn-lite"]
        command(geocli, httpserver.url_for("/free"))
        process = geocli("db", "update", *names, environ={"NO_PROXY": "*"})
        bad, busy = process.stderr.decode().splitlines()
        assert ("not gzip" in bad, "too many requests; try again" in busy) == (True, True)
        assert (75, b"") == (process.returncode, process.stdout)
        assert [f"{NAME}.mmdb"] == [path.name for path in geocli.db_dir.glob("*.mmdb")]

    def test_busy_server_is_reported_once(self, geocli: Geocli, httpserver: HTTPServer) -> None:
        """For several databases there is one message, and exit status 75."""
        httpserver.expect_request(re.compile("/free/.*")).respond_with_data(status=429)
        command(geocli, httpserver.url_for("/free"))
        for _ in range(2):
            process = geocli("db", "update", NAME, environ={"NO_PROXY": "*"})
            assert (75, 1) == (process.returncode, process.stderr.count(b"\n"))
        process = geocli("db", "update", "dbip-asn-lite", "dbip-country-lite", environ={"NO_PROXY": "*"})
        assert (75, 1) == (process.returncode, process.stderr.count(b"\n"))
        assert 1 == len(httpserver.log)

    def test_two_at_once(self, geocli: Geocli) -> None:
        """While one update waits for its server, another one ends with 'try again later'."""
        with serving(lambda _, stop: stop.wait(60)) as url, geocli.start(*command(geocli, url)) as first:
            lock = geocli.db_dir / ".geocli-update.lock"
            wait_for(lambda: lock.exists() and not is_free(lock))
            second = geocli("db", "update", "dbip-asn-lite", environ={"GEOCLI_LOCK_TIMEOUT": "0.05"})
            first.kill()
        assert (75, b"") == (second.returncode, second.stdout)
        assert second.stderr.startswith(f"geocli: {lock}: busy: another process held it for 0.05 s".encode())

    def test_no_space(self, geocli: Geocli, content: Callable[..., bytes], httpserver: HTTPServer) -> None:
        """A database larger than the free space is an error, the old one stays, and the others are updated."""
        path = geocli.db_dir / f"{NAME}.mmdb"
        path.write_bytes(old := content({"country_code": "CA"}))
        httpserver.expect_request(PATTERN).respond_with_data(gzip.compress(pad(content(), 100_000)))
        httpserver.expect_request(re.compile("/free/dbip-asn-.*")).respond_with_data(gzip.compress(content()))
        command(geocli, httpserver.url_for("/free"))
        program = ["sh", "-c", 'ulimit -f 64; exec "$@"', "sh", *geocli.command, "db", "update", NAME, "dbip-asn-lite"]
        process = subprocess.run(program, env={**geocli.environ, "NO_PROXY": "*"}, capture_output=True, check=False)
        assert f"geocli: {path}: File too large\n".encode() == process.stderr
        assert (3, old) == (process.returncode, path.read_bytes())
        assert {path.name, "dbip-asn-lite.mmdb"} == {actual.name for actual in geocli.db_dir.glob("*.mmdb")}
        assert [] == list(geocli.db_dir.glob("*.part"))

    def test_progress(self, geocli: Geocli, content: Callable[..., bytes], httpserver: HTTPServer) -> None:
        """On a terminal there is a bar with name, size and rate, then a list of the replaced files."""
        httpserver.expect_request(PATTERN).respond_with_data(gzip.compress(pad(content(), 1_000_000)))
        status, output = on_terminal(
            geocli, *command(geocli, httpserver.url_for("/free")), environ={"NO_PROXY": "*", "COLUMNS": "120"}
        )
        assert re.search(rf"{NAME} .*1\.0 MB of 1\.0 MB", output)
        assert output.endswith(f"{NAME} replaced\nIP geolocation by DB-IP (https://db-ip.com), CC BY 4.0\n")
        assert 0 == status
