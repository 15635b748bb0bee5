"""MaxMind's editions: the account by the settings of geoipupdate, and a server on loopback that has them."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import subprocess
import tarfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from geocli.databases import maxmind
from geocli.databases.update import installed, update
from geocli.errors import DownloadError, HashMismatchError, RateLimitError, SettingsError, UpdateError
from geocli.http import Limits
from geocli.settings import Settings
from tests.helpers.databases import LONDON, build

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_httpserver import HTTPServer

    from tests.helpers.geocli_process import Geocli

EDITION = "GeoLite2-City"
NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
MODIFIED = datetime(2026, 3, 27, 9, 8, 7, tzinfo=UTC)
METADATA, DOWNLOAD = "/geoip/updates/metadata", f"/geoip/databases/{EDITION}/download"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect to loopback directly."""
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def conf(tmp_path: Path, httpserver: HTTPServer) -> Path:
    """Write geoipupdate's settings for a server on loopback."""
    path = tmp_path / "GeoIP.conf"
    path.write_text(
        f"AccountID 42\nLicenseKey secret\nEditionIDs {EDITION} GeoLite2-ASN\nHost {httpserver.url_for('/')}"
    )
    return path


@pytest.fixture
def chosen(tmp_path: Path, conf: Path, httpserver: HTTPServer) -> Settings:
    return Settings(
        data_dir=str(tmp_path / "data"),
        update_dir=str(tmp_path / "own"),
        maxmind_dir=str(tmp_path / "GeoIP"),
        geoip_conf=str(conf),
        has_maxmind_account=True,
        dbip_url=httpserver.url_for("/free"),
        lock_timeout_seconds=0,
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "GeoIP"


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    """Build the newest database."""
    path = build(tmp_path / "new.mmdb", {"8.8.8.0/24": LONDON}, edition=EDITION, build_epoch=1_780_000_001)
    return path.read_bytes()


@pytest.fixture
def old(directory: Path) -> bytes:
    """Install an older database."""
    directory.mkdir()
    path = build(directory / f"{EDITION}.mmdb", {"8.8.8.0/24": LONDON}, edition=EDITION, build_epoch=1_780_000_000)
    return path.read_bytes()


def member(name: str, content: bytes = b"", **header: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in header.items():
        setattr(info, field, value)
    return info, content


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Pack an archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def archive_of(data: bytes, name: str = f"{EDITION}_20260327/{EDITION}.mmdb") -> bytes:
    """Pack a database as MaxMind does."""
    folder = member(f"{EDITION}_20260327", type=tarfile.DIRTYPE)
    return gzip.compress(tar(folder, member(f"{EDITION}_20260327/LICENSE.txt", b"text\n" * 99), member(name, data)))


def announce(server: HTTPServer, md5: str, edition: str = EDITION) -> None:
    """Let a server announce the newest build."""
    metadata = {"databases": [{"edition_id": edition, "date": "2026-03-27", "md5": md5}]}
    server.expect_request(METADATA, query_string=f"edition_id={edition}").respond_with_json(metadata)


def offer(server: HTTPServer, data: bytes, packed: bytes | None = None, edition: str = EDITION) -> None:
    """Let a server offer a build."""
    announce(server, hashlib.md5(data, usedforsecurity=False).hexdigest(), edition)
    stamp = MODIFIED.strftime("%a, %d %b %Y %H:%M:%S GMT")
    server.expect_request(
        f"/geoip/databases/{edition}/download", query_string="date=20260327&suffix=tar.gz"
    ).respond_with_data(archive_of(data) if packed is None else packed, headers={"Last-Modified": stamp})


def passwords(server: HTTPServer) -> set[str | None]:
    """Return the credentials that a server received, as user:password."""
    result = [request.authorization for request, _ in server.log]
    return {f"{authorization.username}:{authorization.password}" if authorization else None for authorization in result}


class TestUpdate:
    def test_new(self, chosen: Settings, directory: Path, data: bytes, httpserver: HTTPServer) -> None:
        """A database is extracted from its archive, with its hash in the sidecar, and nothing else is written."""
        offer(httpserver, data)
        assert [EDITION] == update([EDITION], chosen, NOW)
        assert [".geocli-update.lock", f"{EDITION}.mmdb", f"{EDITION}.mmdb.sha256"] == sorted(os.listdir(directory))
        path = directory / f"{EDITION}.mmdb"
        assert (data, MODIFIED.timestamp()) == (path.read_bytes(), path.stat().st_mtime)
        digest = hashlib.sha256(data).hexdigest()
        assert f"{digest}  {EDITION}.mmdb\n" == (directory / f"{EDITION}.mmdb.sha256").read_text()
        assert {"42:secret"} == passwords(httpserver)

    def test_newer(self, chosen: Settings, directory: Path, data: bytes, old: bytes, httpserver: HTTPServer) -> None:
        """A newer build replaces the old one; open readers keep the old one."""
        offer(httpserver, data)
        with (directory / f"{EDITION}.mmdb").open("rb") as reader:
            assert [EDITION] == update([EDITION], chosen, NOW)
            assert old == reader.read()
        assert data == (directory / f"{EDITION}.mmdb").read_bytes()

    def test_unchanged(self, chosen: Settings, old: bytes, httpserver: HTTPServer) -> None:
        """The build that is installed is not downloaded again."""
        announce(httpserver, hashlib.md5(old, usedforsecurity=False).hexdigest().upper())
        assert [] == update([EDITION], chosen, NOW)
        assert [METADATA] == [request.path for request, _ in httpserver.log]

    def test_replaced_by_geoipupdate(
        self, chosen: Settings, directory: Path, data: bytes, old: bytes, httpserver: HTTPServer
    ) -> None:
        """The hash of an earlier file is renewed if the present file is the newest build."""
        offer(httpserver, data)
        assert [EDITION] == update([EDITION], chosen, NOW)
        (directory / f"{EDITION}.mmdb").write_bytes(old)
        httpserver.clear()
        announce(httpserver, hashlib.md5(old, usedforsecurity=False).hexdigest())
        assert [] == update([EDITION], chosen, NOW)
        digest = hashlib.sha256(old).hexdigest()
        assert f"{digest}  {EDITION}.mmdb\n" == (directory / f"{EDITION}.mmdb.sha256").read_text()

    def test_redirect(
        self, chosen: Settings, directory: Path, data: bytes, httpserver: HTTPServer, secure: HTTPServer
    ) -> None:
        """The archive may be on another server, by https, which does not get the key."""
        offer(secure, data)
        announce(httpserver, hashlib.md5(data, usedforsecurity=False).hexdigest())
        there = secure.url_for(f"{DOWNLOAD}?date=20260327&suffix=tar.gz")
        httpserver.expect_request(DOWNLOAD).respond_with_data(status=302, headers={"Location": there})
        assert [EDITION] == update([EDITION], chosen, NOW)
        assert data == (directory / f"{EDITION}.mmdb").read_bytes()
        assert ({"42:secret"}, {None}) == (passwords(httpserver), passwords(secure))

    def test_edition_with_few_addresses(
        self, chosen: Settings, directory: Path, tmp_path: Path, httpserver: HTTPServer
    ) -> None:
        """A database of proxies need not have the well-known addresses, but some."""
        edition = "GeoIP-Residential-Proxy"
        record = {"anonymizer_confidence": 95, "provider_name": "x"}
        data = build(tmp_path / "new.mmdb", {"2001:480::/64": record}, edition=edition).read_bytes()
        offer(httpserver, data, edition=edition)
        assert [edition] == update([edition], chosen, NOW)
        assert data == (directory / f"{edition}.mmdb").read_bytes()

    def test_proxy(self, chosen: Settings, conf: Path, directory: Path, data: bytes, httpserver: HTTPServer) -> None:
        """The proxy of GeoIP.conf is used for all servers."""
        proxy = urlsplit(httpserver.url_for("/")).netloc
        conf.write_text(f"AccountID 42\nLicenseKey secret\nEditionIDs x\nHost http://maxmind.invalid\nProxy {proxy}\n")
        offer(httpserver, data)
        assert [EDITION] == update([EDITION], chosen, NOW)
        assert data == (directory / f"{EDITION}.mmdb").read_bytes()


LARGE = 40 * (1 << 20)
BOMBS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "no gzip": (lambda data: data, "not gzip: "),
    "cut": (lambda data: archive_of(data)[:-300], "truncated"),
    "no archive": (gzip.compress, "not a tar archive: "),
    "nothing": (lambda _: gzip.compress(b""), "not a tar archive: "),
    "no database": (lambda _: gzip.compress(tar(member("a.txt", b"x"))), "an archive without a database"),
    "directory": (
        lambda _: gzip.compress(tar(member("a.mmdb", type=tarfile.DIRTYPE))),
        "an archive without a database",
    ),
    "link": (
        lambda _: gzip.compress(tar(member("a.mmdb", type=tarfile.SYMTYPE, linkname="/etc/passwd"))),
        "an archive without a database",
    ),
    "short archive": (lambda data: gzip.compress(tar(member("a.mmdb", data))[: len(data)]), "not a tar archive: "),
    "numbers that are none": (
        lambda _: gzip.compress(tar(member("a", b"x", pax_headers={"GNU.sparse.map": "a,b", "GNU.sparse.size": "x"}))),
        "not a tar archive: ",
    ),
    "large file first": (
        lambda data: gzip.compress(tar(member("a.txt", bytes(LARGE)), member("a.mmdb", data))),
        "an archive without a database at its beginning",
    ),
    "large header": (
        lambda data: gzip.compress(tar(member("a.mmdb", data, pax_headers={"comment": "x" * LARGE}))),
        "an archive without a database at its beginning",
    ),
    "large database": (lambda data: gzip.compress(tar(member("a.mmdb", data + bytes(LARGE)))), "larger than 16777216"),
}


class TestBadAnswers:
    """Whatever the server sends, the old database stays."""

    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(max_bytes=1 << 24)

    @pytest.mark.parametrize(("pack", "reason"), BOMBS.values(), ids=BOMBS)
    def test_archive(  # noqa: PLR0913, PLR0917 (fixtures)
        self,
        chosen: Settings,
        directory: Path,
        data: bytes,
        old: bytes,
        httpserver: HTTPServer,
        limits: Limits,
        pack: Callable[[bytes], bytes],
        reason: str,
    ) -> None:
        """An invalid archive, or a decompression bomb, is an error, and no temporary file remains."""
        offer(httpserver, data, pack(data))
        with pytest.raises(UpdateError, match=rf"{re.escape(DOWNLOAD)}.*: {reason}"):
            update([EDITION], chosen, NOW, limits=limits)
        assert old == (directory / f"{EDITION}.mmdb").read_bytes()
        assert [".geocli-update.lock", f"{EDITION}.mmdb"] == sorted(os.listdir(directory))

    def test_sparse_file(
        self, chosen: Settings, directory: Path, data: bytes, old: bytes, httpserver: HTTPServer
    ) -> None:
        """A sparse file, which could be larger than its transfer, is not accepted as the database."""
        sparse = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)}
        map_ = b"1\n0\n5\n".ljust(512, b"\0") + b"data!"
        packed = gzip.compress(tar(member("a.mmdb", map_, pax_headers={**sparse, "GNU.sparse.name": "a.mmdb"})))
        offer(httpserver, data, packed)
        with pytest.raises(UpdateError, match=r"an archive without a database$"):
            update([EDITION], chosen, NOW)
        assert old == (directory / f"{EDITION}.mmdb").read_bytes()

    def test_name_that_leads_elsewhere(
        self, chosen: Settings, directory: Path, tmp_path: Path, data: bytes, httpserver: HTTPServer
    ) -> None:
        """The name in the archive does not matter."""
        before = set(os.listdir(tmp_path))
        offer(httpserver, data, gzip.compress(tar(member("../evil.mmdb", data))))
        assert [EDITION] == update([EDITION], chosen, NOW)
        assert data == (directory / f"{EDITION}.mmdb").read_bytes()
        assert before | {"GeoIP"} == set(os.listdir(tmp_path))

    def test_other_hash(
        self, chosen: Settings, directory: Path, data: bytes, old: bytes, httpserver: HTTPServer
    ) -> None:
        """A database with another MD5 than announced is an error with both."""
        offer(httpserver, data, archive_of(data + b"x"))
        expected, actual = (hashlib.md5(content, usedforsecurity=False).hexdigest() for content in (data, data + b"x"))
        with pytest.raises(HashMismatchError, match=rf": MD5 is {actual}, expected {expected}$"):
            update([EDITION], chosen, NOW)
        assert old == (directory / f"{EDITION}.mmdb").read_bytes()

    @pytest.mark.parametrize("records", [{"9.9.9.0/24": LONDON}, {}], ids=["others", "nothing"])
    def test_useless_database(  # noqa: PLR0913, PLR0917 (fixtures)
        self, chosen: Settings, directory: Path, tmp_path: Path, old: bytes, httpserver: HTTPServer, records: Any
    ) -> None:
        """A database without the expected addresses is an error, also with the right hash."""
        offer(httpserver, build(tmp_path / "new.mmdb", records, edition=EDITION).read_bytes())
        with pytest.raises(UpdateError, match=r"a database without 8\.8\.8\.8|not a usable database"):
            update([EDITION], chosen, NOW)
        assert old == (directory / f"{EDITION}.mmdb").read_bytes()

    @pytest.mark.parametrize(
        "text",
        [
            "<html>",
            "[]",
            "{}",
            '{"databases": []}',
            '{"databases": 7}',
            '{"databases": [7]}',
            '{"databases": [{"edition_id": "GeoLite2-ASN", "date": "2026-03-27", "md5": "%s"}]}' % ("0" * 32),
            '{"databases": [{"edition_id": "GeoLite2-City", "date": 20260327, "md5": "%s"}]}' % ("0" * 32),
            '{"databases": [{"edition_id": "GeoLite2-City", "date": "../../../x", "md5": "%s"}]}' % ("0" * 32),
            '{"databases": [{"edition_id": "GeoLite2-City", "date": "2026-03-27", "md5": "x"}]}',
            '{"databases": [{"edition_id": "GeoLite2-City", "date": "2026-03-27", "md5": null}]}',
            "[" * 50_000,
            '{"databases": "' + "x" * 100_000 + '"}',
        ],
        ids=lambda text: text[:90],
    )
    def test_metadata(self, chosen: Settings, directory: Path, old: bytes, httpserver: HTTPServer, text: str) -> None:
        """A response without the newest build is an error, and nothing is downloaded."""
        httpserver.expect_request(METADATA).respond_with_data(text)
        with pytest.raises(UpdateError, match=rf"{METADATA}.*: does not name the newest build of {EDITION}$"):
            update([EDITION], chosen, NOW)
        assert [METADATA] == [request.path for request, _ in httpserver.log]
        assert old == (directory / f"{EDITION}.mmdb").read_bytes()

    def test_wrong_key(self, chosen: Settings, httpserver: HTTPServer) -> None:
        """A wrong key is an error that does not contain the key."""
        httpserver.expect_request(METADATA).respond_with_data(status=401)
        with pytest.raises(DownloadError, match=r"HTTP 401; check the account ID and the licence key$") as caught:
            update([EDITION], chosen, NOW)
        assert "secret" not in str(caught.value)

    def test_too_many_requests(self, chosen: Settings, data: bytes, httpserver: HTTPServer) -> None:
        """After 429, as after too many downloads in a day, no request is sent until the time is over."""
        announce(httpserver, hashlib.md5(data, usedforsecurity=False).hexdigest())
        httpserver.expect_request(DOWNLOAD).respond_with_data(status=429, headers={"Retry-After": "7200"})
        for _ in range(2):
            with pytest.raises(RateLimitError, match=r"try again after 2026-03-31T14:00:00Z$"):
                update([EDITION], chosen, NOW)
        assert [METADATA, DOWNLOAD] == [request.path for request, _ in httpserver.log]


class TestWhich:
    def test_default_editions(self, chosen: Settings, data: bytes, httpserver: HTTPServer) -> None:
        """If nothing is installed, the editions in GeoIP.conf are installed; later the installed ones."""
        for edition in (EDITION, "GeoLite2-ASN"):
            offer(httpserver, data, edition=edition)
        assert [EDITION, "GeoLite2-ASN"] == update([], chosen, NOW)
        assert ["GeoLite2-ASN", EDITION] == installed(chosen)
        assert [] == update([], chosen, NOW)

    def test_foreign_files_are_unchanged(self, chosen: Settings, old: bytes) -> None:
        """A database of MaxMind that geocli did not install is not updated."""
        assert old
        assert [] == installed(chosen)

    def test_both(self, chosen: Settings, tmp_path: Path, data: bytes, httpserver: HTTPServer) -> None:
        """Those of DB-IP are in geocli's directory, those of MaxMind in that of geoipupdate."""
        offer(httpserver, data)
        httpserver.expect_request("/free/dbip-asn-lite-2026-03.mmdb.gz").respond_with_data(gzip.compress(data))
        assert ["dbip-asn-lite", EDITION] == update(["dbip-asn-lite", EDITION], chosen, NOW)
        assert ["dbip-asn-lite", EDITION] == installed(chosen)
        assert (tmp_path / "own" / "dbip-asn-lite.mmdb").exists()
        assert (tmp_path / "GeoIP" / f"{EDITION}.mmdb").exists()

    @pytest.mark.parametrize(
        "name", ["GeoLite2", "GeoLite2-", "GeoLite2-../x", "geolite2-city", "GeoIP2-a b", "GeoIP2-é"]
    )
    def test_invalid_names(self, chosen: Settings, directory: Path, name: str) -> None:
        """Invalid edition names are an error before any request."""
        with pytest.raises(SettingsError, match="unknown database"):
            update([name], chosen, NOW)
        assert not directory.exists()


def started(geocli: Geocli, *arguments: str, environ: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run a command in its own directory, to which relative paths refer."""
    where = geocli.db_dir.parent / "elsewhere"
    where.mkdir(exist_ok=True)
    command = [*geocli.command, *arguments]
    return subprocess.run(command, env={**geocli.environ, **environ}, cwd=where, capture_output=True, check=False)


class TestAccount:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "the `EditionIDs` option is required"),
            ("AccountID YOUR_ACCOUNT_ID_HERE\n", "invalid account ID format"),
            ("EditionIDs x\nLicenseKey y\n", "the `AccountID` option is required"),
            ("EditionIDs x\nAccountID 1\n", "the `LicenseKey` option is required"),
            ("AccountID 1\nHost ftp://x\n", "Host scheme must be http or https, got 'ftp'"),
            ("Nonsense 1\n", "unknown option on line 1"),
            ("AccountID 1\xff\n", "'utf-8' codec can't decode"),
        ],
    )
    def test_settings_that_cannot_be(
        self, chosen: Settings, conf: Path, directory: Path, text: str, reason: str
    ) -> None:
        """What is wrong with GeoIP.conf is an error that names it, before anything is touched."""
        conf.write_bytes(text.encode("latin-1"))
        with pytest.raises(SettingsError) as caught:
            update(["dbip-asn-lite", EDITION], chosen, NOW)
        assert str(caught.value).startswith(f"{conf}: MaxMind: {reason}")
        assert str(caught.value).endswith("; without an account: geocli db update dbip-city-lite")
        assert not directory.exists()

    @pytest.mark.slow
    @pytest.mark.parametrize("key", ["abc123_ABCdefGHI456jklMNOpqrSTU789_mmk", "AbCdEf123456"])
    @pytest.mark.parametrize(
        "line",
        [
            *("AccountID {key}", "EditionIDs {key}", "EditionIDs GeoLite2-City {key}", "Host {key}", "Host {key}:443"),
            *(
                "Host https://{key}/",
                "Proxy {key}://x",
                "Proxy http://me:{key}@:x/",
                "Proxy x:{key}",
                "{key} x",
                "{key}",
            ),
            *(
                "ProxyUserPassword {key}\nProxy x",
                "Parallelism {key}",
                "RetryFor {key}",
                "RetryFor {key}'",
                "LockFile {key}",
            ),
            *("PreserveFileTimes {key}", "DatabaseDirectory {key}", "LicenseKey {key}\nLicenseKey {key}"),
        ],
    )
    def test_a_key_on_a_wrong_line(
        self, geocli: Geocli, conf: Path, httpserver: HTTPServer, line: str, key: str
    ) -> None:
        """The key on any line of GeoIP.conf is never shown, not even with -v."""
        httpserver.expect_request(re.compile("")).respond_with_data(status=404)
        lines = {"AccountID": "42", "LicenseKey": "secret", "EditionIDs": EDITION, "Host": httpserver.url_for("/")}
        name = line.partition(" ")[0]
        other_lines = "".join(f"{setting} {value}\n" for setting, value in lines.items() if setting != name)
        conf.write_text(f"{other_lines}{line.replace('{key}', key)}\n")
        conf.chmod(0o600)
        environ = {"GEOIPUPDATE_CONF_FILE": str(conf), "NO_PROXY": "", "GEOCLI_LOCK_TIMEOUT": "0"}
        geocli.environ.pop("GEOCLI_DB_DIR")
        for arguments in (
            ("-v", "db", "update"),
            ("-v", "db", "update", EDITION),
            ("db", "list"),
            ("lookup", "8.8.8.8"),
        ):
            process = started(geocli, *arguments, environ=environ)
            assert key.lower() not in (process.stdout + process.stderr).decode().lower()

    def test_a_key_in_place_of_the_directory(self, chosen: Settings) -> None:
        """A directory that may be a key is neither created nor shown."""
        with pytest.raises(SettingsError, match="MaxMind: `DatabaseDirectory` is not the path of a directory;"):
            maxmind.account(chosen.replace(maxmind_dir="abc123_ABCdefGHI456jklMNOpqrSTU789_mmk"))

    @pytest.mark.slow
    def test_a_key_in_place_of_its_file(self, geocli: Geocli) -> None:
        """The same holds for settings of geocli and for variables."""
        key = "abc123_ABCdefGHI456jklMNOpqrSTU789_mmk"
        for environ in (
            {"GEOIPUPDATE_LICENSE_KEY_FILE": key, "GEOIPUPDATE_ACCOUNT_ID": "1", "GEOIPUPDATE_EDITION_IDS": EDITION},
            {"GEOCLI_ACCOUNT_ID": key},
            {"GEOCLI_ACCOUNT_ID": "1", "GEOCLI_LICENSE_KEY_FILE": key, "GEOCLI_BUILT_IN_DATA": "false"},
        ):
            for arguments in (("-v", "db", "update", EDITION), ("-v", "lookup", "8.8.8.8")):
                process = geocli(*arguments, environ=environ)
                assert key not in (process.stdout + process.stderr).decode()

    @pytest.mark.slow
    @pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o604])
    @pytest.mark.parametrize("is_file", [True, False])
    def test_a_key_that_others_can_read(  # noqa: PLR0913, PLR0917 (fixtures)
        self,
        geocli: Geocli,
        conf: Path,
        data: bytes,
        httpserver: HTTPServer,
        mode: int,
        is_file: bool,  # noqa: FBT001
    ) -> None:
        """GeoIP.conf, or a key file named by a variable, is reported once, and used."""
        offer(httpserver, data)
        environ = {"NO_PROXY": "*", "GEOIPUPDATE_CONF_FILE": str(conf)}
        path = conf
        if is_file:
            path = conf.with_name("key")
            path.write_text("secret\n")
            environ["GEOIPUPDATE_LICENSE_KEY_FILE"] = str(path)
            conf.chmod(0o644)
        path.chmod(mode)
        process = geocli("db", "update", EDITION, environ=environ)
        warning = f"geocli: {path}: other users can read this key; run: chmod o-r\n" if mode & 0o004 else ""
        assert (0, warning) == (process.returncode, process.stderr.decode())

    @pytest.mark.parametrize("is_file", [True, False])
    def test_no_account(self, chosen: Settings, conf: Path, is_file: bool) -> None:  # noqa: FBT001 (parametrized)
        """Without an account the error names how to get one."""
        without = chosen.replace(geoip_conf=str(conf) if is_file else "", has_maxmind_account=False)
        with pytest.raises(SettingsError) as caught:
            update([EDITION], without, NOW)
        expected = ": MaxMind: needs the AccountID, LicenseKey and EditionIDs of an account, readable by this user; "
        expected += "without an account: geocli db update dbip-city-lite"
        assert f"{conf if is_file else 'GEOIPUPDATE_*'}{expected}" == str(caught.value)

    def test_environment(self, chosen: Settings, conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The variables of geoipupdate override its file, and the key may be in a file of its own."""
        (tmp_path / "key").write_text("other\n")
        monkeypatch.setenv("GEOIPUPDATE_LICENSE_KEY_FILE", str(tmp_path / "key"))
        monkeypatch.setenv("GEOIPUPDATE_EDITION_IDS", "GeoIP2-ISP")
        monkeypatch.setenv("GEOIPUPDATE_HOST", "example.com/")
        actual = maxmind.account(chosen)
        assert (("42", "other"), ("GeoIP2-ISP",)) == (actual.auth, actual.editions)
        assert ("https://example.com", None) == (actual.host, actual.proxy)
        assert conf.exists()


class TestCommand:
    def test_by_the_environment_alone(
        self, geocli: Geocli, data: bytes, httpserver: HTTPServer, tmp_path: Path
    ) -> None:
        """`geocli db update` silently installs the editions in the variables of geoipupdate, and lookups use them."""
        (tmp_path / "key").touch(mode=0o600)
        (tmp_path / "key").write_text("secret\n")
        offer(httpserver, data)
        environ = {
            "NO_PROXY": "*",
            "GEOIPUPDATE_ACCOUNT_ID": "42",
            "GEOIPUPDATE_LICENSE_KEY_FILE": str(tmp_path / "key"),
            "GEOIPUPDATE_EDITION_IDS": EDITION,
            "GEOIPUPDATE_HOST": httpserver.url_for("/"),
        }
        process = geocli("db", "update", environ=environ)
        assert (0, b"", b"") == (process.returncode, process.stdout, process.stderr)
        assert b"GB\tGeoLite2-City\n" == geocli("lookup", "-f", "value", "-F", "country_code,source", "8.8.8.8").stdout
        process = geocli("-v", "db", "update", environ=environ)
        assert b"nothing replaced" == process.stderr.splitlines()[-1]

    def test_attribution(self, geocli: Geocli, conf: Path, data: bytes, httpserver: HTTPServer) -> None:
        """After an update the attribution required by MaxMind's licence is printed."""
        offer(httpserver, data)
        process = geocli("-v", "db", "update", EDITION, environ={"NO_PROXY": "*", "GEOIPUPDATE_CONF_FILE": str(conf)})
        attribution = b"This product includes GeoLite data created by MaxMind, available from https://www.maxmind.com"
        assert [b"GeoLite2-City replaced", attribution] == process.stderr.splitlines()[-2:]
