"""Getting databases from a server, and checking those that were got: a real server on loopback."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import re
import subprocess
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from werkzeug import Request, Response

from geocli.databases.updates import installed, update, verify
from geocli.errors import BusyError, DatabaseError, DownloadError, HashMismatchError, SettingsError, UpdateError
from geocli.settings import Settings
from tests.building import build

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_httpserver import HTTPServer

    from tests.conftest import Geocli

NAME = "dbip-city-lite"
NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
THIS_MONTH, LAST_MONTH = (f"/free/{NAME}-2026-{month}.mmdb.gz" for month in ("03", "02"))
MODIFIED = "Sun, 01 Mar 2026 05:06:07 GMT"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach loopback directly, whatever proxy this machine has."""
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
    """Return a function that makes the bytes of a database, by default one that knows 8.8.8.8."""

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
    """Make sure that a directory holds a database as it was, its sound hash, and nothing half done."""
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
        """A database is unpacked into a directory made for it, with its hash, and the time the server says."""
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
        """A newer database takes the place of the old one, by a rename: who has it open keeps the old one."""
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
    def test_month_that_is_not_there_yet(
        self, chosen: Settings, content: Callable[..., bytes], httpserver: HTTPServer, now: datetime, months: list[str]
    ) -> None:
        """Before this month's file is up, last month's is got."""
        first, second = (f"/free/{NAME}-{month}.mmdb.gz" for month in months)
        httpserver.expect_ordered_request(first).respond_with_data(status=HTTPStatus.NOT_FOUND)
        httpserver.expect_ordered_request(second).respond_with_data(gzip.compress(content()))
        assert [NAME] == update([NAME], chosen, now)
        assert [first, second] == [request.path for request, _ in httpserver.log]
        httpserver.check()

    @pytest.mark.parametrize("last_modified", ["yesterday", "", "Sun, 99 Mar 2026 05:06:07 GMT"])
    def test_time_that_is_none(
        self,
        chosen: Settings,
        directory: Path,
        content: Callable[..., bytes],
        httpserver: HTTPServer,
        last_modified: str,
    ) -> None:
        """A time that cannot be read does not keep a sound database out."""
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
    """Make a database larger by bytes between its data and its metadata."""
    head, marker, metadata = data.rpartition(b"\xab\xcd\xefMaxMind.com")
    return head + os.urandom(size_bytes) + marker + metadata


def flipped(data: bytes) -> bytes:
    """Flip a bit of the CRC at the end of gzip data (RFC 1952, 2.3.1)."""
    return data[:-8] + bytes([data[-8] ^ 1]) + data[-7:]


def redirect(httpserver: HTTPServer) -> Callable[[Request], Response]:
    return lambda _: Response(
        status=HTTPStatus.MOVED_PERMANENTLY, headers={"Location": httpserver.url_for("/elsewhere.gz")}
    )


class TestBadAnswers:
    """Whatever a server sends, the old database stays in place, whole, with its hash."""

    @pytest.mark.parametrize(
        ("pack", "reason"),
        [
            (lambda _: b"<!DOCTYPE html><html>Please sign in</html>", "not gzip: "),
            (lambda _: b"", "ends in the middle"),
            (lambda data: data, "not gzip: "),
            (lambda data: gzip.compress(data)[:-400], "ends in the middle"),
            (lambda data: gzip.compress(data)[:-1], "ends in the middle"),
            (lambda data: flipped(gzip.compress(data)), "not gzip: "),
            (lambda _: gzip.compress(b"<!DOCTYPE html>"), "no usable database: "),
            (lambda _: gzip.compress(b""), "no usable database: "),
            (lambda data: gzip.compress(data[: len(data) // 2]), "no usable database: "),
        ],
        ids=["HTML", "nothing", "not packed", "cut", "cut by a byte", "CRC", "packed HTML", "packed nothing", "half"],
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
        """A body that is not a whole, packed database is refused, and the error names the URL and the reason."""
        httpserver.expect_request(THIS_MONTH).respond_with_data(pack(content()))
        with pytest.raises(UpdateError) as caught:
            update([NAME], chosen, NOW)
        url = httpserver.url_for(THIS_MONTH)
        assert f"{url}: {reason}" == str(caught.value)[: len(f"{url}: {reason}")]
        assert (url, 3) == (caught.value.url, caught.value.exit_status)
        assert_kept(directory, old)

    def test_knows_nothing(
        self, chosen: Settings, directory: Path, content: Callable[..., bytes], httpserver: HTTPServer, old: bytes
    ) -> None:
        """A database that knows none of the addresses that everybody knows is refused."""
        httpserver.expect_request(THIS_MONTH).respond_with_data(gzip.compress(content(network="9.9.9.0/24")))
        expected = f"{httpserver.url_for(THIS_MONTH)}: a database that does not know 8.8.8.8, 1.1.1.1, 193.0.6.139"
        with pytest.raises(UpdateError) as caught:
            update([NAME], chosen, NOW)
        assert expected == str(caught.value)
        assert_kept(directory, old)

    def test_wrong_length(
        self, chosen: Settings, directory: Path, content: Callable[..., bytes], httpserver: HTTPServer, old: bytes
    ) -> None:
        """A body that is shorter than the server said is refused, although what came is a whole database."""
        packed = gzip.compress(content())
        headers = {"Content-Length": str(len(packed) + 10), "Connection": "close"}
        httpserver.expect_request(THIS_MONTH).respond_with_handler(lambda _: Response([packed], headers=headers))
        with pytest.raises(DownloadError, match=r"cannot be downloaded: .*(IncompleteRead|broken)"):
            update([NAME], chosen, NOW)
        assert_kept(directory, old)

    def test_redirect(
        self, chosen: Settings, directory: Path, content: Callable[..., bytes], httpserver: HTTPServer, old: bytes
    ) -> None:
        """A redirect is refused, not followed: it could lead to plain http, or to somebody's sign-in page."""
        httpserver.expect_request(THIS_MONTH).respond_with_handler(redirect(httpserver))
        httpserver.expect_request("/elsewhere.gz").respond_with_data(gzip.compress(content()))
        with pytest.raises(DownloadError, match=r"HTTP 301 MOVED PERMANENTLY$") as caught:
            update([NAME], chosen, NOW)
        assert caught.value.status == HTTPStatus.MOVED_PERMANENTLY
        assert [THIS_MONTH] == [request.path for request, _ in httpserver.log]
        assert_kept(directory, old)

    @pytest.mark.parametrize("status", [403, 410, 429, 500, 503])
    def test_status(self, chosen: Settings, directory: Path, httpserver: HTTPServer, old: bytes, status: int) -> None:
        """Any other status is an error that says it, and last month's file is not asked for."""
        httpserver.expect_request(THIS_MONTH).respond_with_data(status=status)
        with pytest.raises(DownloadError, match=rf"{THIS_MONTH}: HTTP {status} [A-Z ]+$") as caught:
            update([NAME], chosen, NOW)
        assert status == caught.value.status
        assert [THIS_MONTH] == [request.path for request, _ in httpserver.log]
        assert_kept(directory, old)

    def test_neither_month(self, chosen: Settings, directory: Path, httpserver: HTTPServer, old: bytes) -> None:
        """If the server has neither month's file, the error names last month's."""
        for path in (THIS_MONTH, LAST_MONTH):
            httpserver.expect_request(path).respond_with_data(status=HTTPStatus.NOT_FOUND)
        with pytest.raises(DownloadError, match=rf"{LAST_MONTH}: HTTP 404 NOT FOUND$"):
            update([NAME], chosen, NOW)
        assert_kept(directory, old)

    def test_nobody_listens(self, chosen: Settings, directory: Path, httpserver: HTTPServer, old: bytes) -> None:
        """A server that is down is an error that names the URL."""
        url = httpserver.url_for("/free")
        httpserver.stop()
        try:
            with pytest.raises(DownloadError, match=rf"^{url}/.*: cannot be downloaded: .*refused") as caught:
                update([NAME], chosen, NOW)
        finally:
            httpserver.start()
        assert caught.value.status is None
        assert_kept(directory, old)

    @pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1", "http://"])
    def test_url_that_is_none(self, chosen: Settings, directory: Path, old: bytes, url: str) -> None:
        """A mirror's address that is no URL for a download is an error that names it."""
        with pytest.raises(DownloadError, match=rf"^{url}/.*: cannot be downloaded: "):
            update([NAME], chosen.replace(dbip_url=url), NOW)
        assert_kept(directory, old)


class TestWhich:
    def test_unknown_name(self, chosen: Settings, directory: Path) -> None:
        """A name that is none of the databases is refused before anything is touched."""
        expected = "command line: GeoIP9: unknown database; known: dbip-city-lite, dbip-country-lite, dbip-asn-lite"
        with pytest.raises(SettingsError) as caught:
            update([NAME, "GeoIP9"], chosen, NOW)
        assert expected == str(caught.value)
        assert not directory.exists()

    def test_default_is_city_and_asn(
        self, chosen: Settings, directory: Path, content: Callable[..., bytes], httpserver: HTTPServer
    ) -> None:
        """Where nothing is installed yet, city and ASN are got."""
        for name in ("dbip-city-lite", "dbip-asn-lite"):
            httpserver.expect_request(f"/free/{name}-2026-03.mmdb.gz").respond_with_data(gzip.compress(content()))
        assert ["dbip-city-lite", "dbip-asn-lite"] == update([], chosen, NOW)
        assert ["dbip-city-lite", "dbip-asn-lite"] == installed(str(directory))

    def test_default_is_what_is_installed(
        self, chosen: Settings, directory: Path, content: Callable[..., bytes], httpserver: HTTPServer
    ) -> None:
        """What was installed before is brought up to date, and nothing else."""
        path = "/free/dbip-country-lite-2026-03.mmdb.gz"
        httpserver.expect_request(path).respond_with_data(gzip.compress(content()))
        update(["dbip-country-lite"], chosen, NOW)
        assert ["dbip-country-lite"] == update([], chosen, NOW)
        assert [path] * 2 == [request.path for request, _ in httpserver.log]
        assert ["dbip-country-lite"] == installed(str(directory))

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
        """A directory with the name of the database is an error, and nothing half done is left."""
        (directory / f"{NAME}.mmdb" / "x").mkdir(parents=True)
        httpserver.expect_request(THIS_MONTH).respond_with_data(gzip.compress(content()))
        with pytest.raises(UpdateError, match="Is a directory"):
            update([NAME], chosen, NOW)
        assert [] == [name for name in os.listdir(directory) if name.endswith(".part")]


class TestVerify:
    @pytest.fixture
    def path(self, chosen: Settings, directory: Path, content: Callable[..., bytes], httpserver: HTTPServer) -> Path:
        """Return a database that was installed just now."""
        httpserver.expect_request(THIS_MONTH).respond_with_data(gzip.compress(content()))
        update([NAME], chosen, NOW)
        return directory / f"{NAME}.mmdb"

    def test_sound(self, path: Path) -> None:
        """A sound database is read to its end, and its networks are counted."""
        assert verify(str(path)) == 1

    def test_without_a_hash(self, path: Path) -> None:
        """A database that somebody else installed has no hash, and is read all the same."""
        os.unlink(f"{path}.sha256")
        assert verify(str(path)) == 1

    def test_other_bytes(self, path: Path) -> None:
        """A flipped bit, which no reader notices, is found by the hash, and the error says both."""
        data = path.read_bytes()
        changed = data.replace(b"US", b"UA")
        path.write_bytes(changed)
        with pytest.raises(HashMismatchError) as caught:
            verify(str(path))
        expected, actual = (hashlib.sha256(each).hexdigest() for each in (data, changed))
        assert f"{path}: SHA-256 is {actual}, expected {expected}" == str(caught.value)
        assert (expected, actual) == (caught.value.expected, caught.value.actual)

    def test_other_hash(self, path: Path) -> None:
        """A sidecar that holds anything but the hash is a mismatch, too."""
        (path.parent / f"{path.name}.sha256").write_bytes(b"\xff no hash\n")
        with pytest.raises(HashMismatchError):
            verify(str(path))

    def test_damaged(self, path: Path) -> None:
        """Without a hash, damage that keeps the file from being read to its end is found, and it is named."""
        os.unlink(f"{path}.sha256")
        data = path.read_bytes()
        start, end = data.index(b"\0" * 16) + 16, data.index(b"\xab\xcd\xefMaxMind.com")
        path.write_bytes(data[:start] + b"\x5f" + b"\xff" * (end - start - 1) + data[end:])
        with pytest.raises(DatabaseError, match=rf"^{path}: damaged: .*; install it anew$"):
            verify(str(path))

    def test_missing(self, tmp_path: Path) -> None:
        """A file that is not there is an error that names it."""
        with pytest.raises(DatabaseError, match=rf"^{tmp_path}/none\.mmdb: cannot be read: No such file"):
            verify(str(tmp_path / "none.mmdb"))


class TestCommands:
    def test_update_then_lookup(self, geocli: Geocli, content: Callable[..., bytes], httpserver: HTTPServer) -> None:
        """`db update` is silent in cron, and the next lookup asks the new database."""
        (geocli.db_dir.parent / "config.toml").write_text(
            f'system_databases = false\ndbip_url = "{httpserver.url_for("/free")}"\n'
        )
        httpserver.expect_request(re.compile(rf"/free/{NAME}-20[0-9-]+\.mmdb\.gz")).respond_with_data(
            gzip.compress(content({"country_code": "AQ"}))
        )
        done = geocli("db", "update", NAME, environ={"NO_PROXY": "*"})
        assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)
        assert b"AQ\n" == geocli("lookup", "-f", "value", "-F", "country_code", "8.8.8.8").stdout
        done = geocli("db", "verify")
        assert (0, f"{geocli.db_dir}/{NAME}.mmdb: 1 networks, sound\n".encode()) == (done.returncode, done.stdout)

    def test_failure(self, geocli: Geocli, httpserver: HTTPServer) -> None:
        """A failed `db update` is one line, and exit status 3."""
        (geocli.db_dir.parent / "config.toml").write_text(
            f'system_databases = false\ndbip_url = "{httpserver.url_for("/free")}"\n'
        )
        done = geocli("db", "update", NAME, environ={"NO_PROXY": "*"})
        (line,) = done.stderr.decode().splitlines()
        assert line.startswith(f"geocli: {httpserver.url_for('/free')}/{NAME}-")
        assert (3, b"") == (done.returncode, done.stdout)
