"""Modules that frequent commands must not import."""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING, Any

import pytest
from typer.main import get_command

from geocli.cli.app import COMMANDS, app
from geocli.databases.digest_cache import SETTLED_NS
from tests.helpers.databases import CITIES, build
from tests.helpers.imported_modules import HEAVY, imported_by
from tests.helpers.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build databases that are old enough for their digests to be cached."""
    directory = tmp_path_factory.mktemp("settled")
    path = build(directory / "GeoLite2-City.mmdb", CITIES)
    wait_for(lambda: time_ns() - path.stat().st_ctime_ns > SETTLED_NS)
    return directory


@pytest.fixture
def installed(geocli: Geocli, settled: Path) -> Geocli:
    """Run geocli with these databases."""
    geocli.environ["GEOCLI_DB_DIR"] = str(settled)
    return geocli


@pytest.fixture
def stored(installed: Geocli) -> Geocli:
    """Store an answer."""
    assert installed("lookup", "81.2.69.160").returncode == 0
    assert installed("flush").returncode == 0
    return installed


def test_a_hit_imports_nothing_heavy(stored: Geocli) -> None:
    """A lookup that the store answers imports sqlite3, and none of the packages."""
    imported = imported_by(stored, "lookup", "81.2.69.160")

    assert "sqlite3" in imported
    assert set() == imported & (HEAVY | {"maxminddb_rust", "geocli.languages"})


def test_an_address_without_a_command_imports_nothing_heavy(stored: Geocli) -> None:
    """`geocli 8.8.8.8` is as fast as `geocli lookup 8.8.8.8`."""
    assert imported_by(stored, "81.2.69.160") == imported_by(stored, "lookup", "81.2.69.160")


def test_an_idle_flush_imports_nothing_heavy(stored: Geocli) -> None:
    """A flush with nothing to do imports no package."""
    imported = imported_by(stored, "flush")

    assert "geocli.storage.flush" in imported
    assert set() == imported & (HEAVY | {"maxminddb_rust", "geocli.storage.store_writer", "geocli.storage.frames"})


@pytest.mark.parametrize(("arguments", "most"), [(("lookup", "81.2.69.160"), 40), (("flush",), 46)])
def test_the_most_frequent_commands_import_few_modules(stored: Geocli, arguments: tuple[str, ...], most: int) -> None:
    """A module of geocli takes 0.1 to 0.4 ms of each start, however small it is."""
    modules = {name for name in imported_by(stored, *arguments) if name.startswith("geocli")}

    assert most >= len(modules)


def test_a_miss_answered_by_a_database_imports_only_its_reader(stored: Geocli) -> None:
    """A lookup that an .mmdb file answers imports its reader, too."""
    imported = imported_by(stored, "lookup", "81.2.69.161")

    assert "maxminddb_rust" in imported
    assert set() == imported & HEAVY


def test_a_flush_into_a_store_of_the_current_schema_needs_no_sqlite_utils(stored: Geocli) -> None:
    """Once the schema exists, a flush imports only sqlite3."""
    assert stored("lookup", "81.2.69.162").returncode == 0

    assert "sqlite_utils" not in imported_by(stored, "flush")


def test_a_service_is_imported_when_it_is_asked(installed: Geocli) -> None:
    """A hit, or a miss answered by a database, does not import a configured service."""
    installed.environ |= {"GEOCLI_IP_API": "true", "GEOCLI_ACCOUNT_ID": "1", "GEOCLI_LICENSE_KEY_FILE": "/key"}
    assert installed("lookup", "81.2.69.160").returncode == 0
    assert installed("flush").returncode == 0
    hit, miss = (imported_by(installed, "lookup", f"81.2.69.{number}") for number in (160, 161))

    assert set() == hit & (HEAVY | {"maxminddb_rust"})
    assert set() == miss & (HEAVY | {"geocli.http", "geocli.backoff"})


@pytest.mark.parametrize(
    "arguments", [("stats",), ("lookup", "-f", "csv", "81.2.69.160"), ("flush", "--json"), ("batch", "/dev/null")]
)
def test_a_form_with_options_imports_typer_and_no_other_heavy_package(
    stored: Geocli, arguments: tuple[str, ...]
) -> None:
    """The option parser imports no tables, logs, downloads or kernel."""
    imported = imported_by(stored, *arguments)

    assert "typer" in imported
    assert set() == imported & {
        *("ctypes", "rich", "structlog", "sqlite_utils", "geoip2", "requests", "pydantic"),
        *("html", "json", "geocli.formats.terminal"),
    }


@pytest.mark.parametrize("command", ["stats", "batch"])
def test_a_command_imports_no_other_command(stored: Geocli, command: str) -> None:
    """The options of a command are declared, and parsed, without those of the others."""
    imported = imported_by(stored, command, *(["/dev/null"] if command == "batch" else []))
    modules = {f"geocli.cli.{name.replace('-', '_')}" for name in COMMANDS}

    assert {f"geocli.cli.{command}"} == imported & modules


def test_no_annotation_of_a_command_is_a_string() -> None:
    """Typer would compile and evaluate each of them twice."""
    root: Any = get_command(app)
    commands = [root, *root.commands.values(), *root.commands["db"].commands.values()]
    callbacks = [command.callback for command in commands if command.callback]

    assert len(callbacks) > len(COMMANDS)
    assert [] == [
        (callback.__name__, name)
        for callback in callbacks
        for name, annotation in callback.__annotations__.items()
        if isinstance(annotation, str)
    ]
