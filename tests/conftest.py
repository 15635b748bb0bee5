"""Fixtures: geocli as a process, with and without databases; a clock; a shared directory; an https server."""

from __future__ import annotations

import os
import posix
import shutil
import signal
import ssl
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
from pytest_httpserver import HTTPServer

from tests.helpers.clock import Clock
from tests.helpers.databases import CITIES, NETWORKS, build
from tests.helpers.geocli_process import Geocli

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# A shell ignores the signal in its background jobs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
USER_VARIABLES = ("GEOCLI_", "GEOIPUPDATE_", "XDG_", "NO_COLOR", "FORCE_COLOR")
"""Prefixes of variables of the user who runs the tests, which must not affect them."""
for name in [name for name in os.environ if name.startswith(USER_VARIABLES)]:
    del os.environ[name]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Start the processes that tests are generated from without coverage, which makes system calls of its own."""
    with _unmeasured_processes():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure coverage of the processes of marked tests alone, since it triples the time that a process takes."""
    with ExitStack() as unmeasured:
        if item.get_closest_marker("measured") is None:
            unmeasured.enter_context(_unmeasured_processes())
            if item.get_closest_marker("slow"):
                unmeasured.enter_context(_unmeasured_forks())
        return (yield)


@contextmanager
def _unmeasured_processes() -> Iterator[None]:
    """Let coverage ignore the processes that are started in this context."""
    config = os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
    yield
    if config is not None:
        os.environ["COVERAGE_PROCESS_CONFIG"] = config


@contextmanager
def _unmeasured_forks() -> Iterator[None]:
    """Let forked processes end without saving what coverage has measured in them and in their parent."""
    exit_measured, os._exit = os._exit, posix._exit  # noqa: SLF001
    yield
    os._exit = exit_measured


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def geocli(tmp_path: Path) -> Geocli:
    """Return geocli without databases."""
    return Geocli(tmp_path)


@pytest.fixture
def located(geocli: Geocli) -> Geocli:
    """Return geocli with a City and an ASN database."""
    build(geocli.db_dir / "GeoLite2-City.mmdb", CITIES, build_epoch=1_780_000_000)
    build(geocli.db_dir / "GeoLite2-ASN.mmdb", NETWORKS, edition="GeoLite2-ASN", build_epoch=1_780_000_000)
    return geocli


@pytest.fixture
def shared() -> Iterator[Path]:
    """Create a directory that other users can access."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def secure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HTTPServer]:
    """Run an https server on loopback, with a trusted certificate."""
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
