"""Fixtures: a data directory, databases, and geocli as a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
from pytest_httpserver import HTTPServer

from geocli.settings import Settings, load
from tests.helpers.databases import CITIES, NETWORKS, build

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for what a shell starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
CALLERS = ("GEOCLI_", "GEOIPUPDATE_", "XDG_", "NO_COLOR", "FORCE_COLOR")
"""How the names of variables begin which are the caller's, and say nothing to any test."""
for name in [name for name in os.environ if name.startswith(CALLERS)]:
    del os.environ[name]


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 6, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


class Geocli:
    """Runs geocli as a process, with a home, a data directory and databases of its own."""

    command = (sys.executable, "-m", "geocli")

    def __init__(self, home: Path, *, is_measured: bool = True) -> None:
        """Make the databases' directory and the configuration; without coverage a process takes a third of the time."""
        self.data_dir = home / "data"
        self.db_dir = home / "databases"
        self.db_dir.mkdir()
        config = home / "config.toml"
        config.write_text("system_databases = false\n")
        dropped = ("PYTHON",) if is_measured else ("PYTHON", "COV")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        self.environ = {
            **kept,
            "HOME": str(home),
            "GEOCLI_CONFIG": str(config),
            "GEOCLI_DATA_DIR": str(self.data_dir),
            "GEOCLI_DB_DIR": str(self.db_dir),
            "COLUMNS": "80",
        }

    def __call__(
        self, *arguments: str, stdin: bytes = b"", environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end, and return what it wrote, as bytes."""
        return subprocess.run(
            [*self.command, *arguments],
            input=stdin,
            capture_output=True,
            env={**self.environ, **(environ or {})},
            timeout=60,
            check=False,
        )

    def start(self, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
        """Start a command, with pipes to and from it."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen([*self.command, *arguments], env=self.environ, **(pipes | options))  # type: ignore[call-overload, no-any-return]

    def settings(self) -> Settings:
        """Return the settings that such a process has."""
        return load(self.environ)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def geocli(request: pytest.FixtureRequest, tmp_path: Path) -> Geocli:
    """Run geocli without any database."""
    return Geocli(tmp_path, is_measured=request.node.get_closest_marker("unmeasured") is None)


@pytest.fixture
def located(geocli: Geocli) -> Geocli:
    """Run geocli with a City and an ASN database."""
    build(geocli.db_dir / "GeoLite2-City.mmdb", CITIES, build_epoch=1_780_000_000)
    build(geocli.db_dir / "GeoLite2-ASN.mmdb", NETWORKS, edition="GeoLite2-ASN", build_epoch=1_780_000_000)
    return geocli


@pytest.fixture
def shared() -> Iterator[Path]:
    """Make a directory that other users of the machine can get to."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def secure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HTTPServer]:
    """Run a server for https on loopback, whose certificate is trusted."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    server = HTTPServer(host="localhost", ssl_context=context)
    server.start()
    yield server
    server.clear()
    server.stop()
