"""Whatever the README shows is run, and its output compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from geocli import settings
from geocli.cli import app
from geocli.entries import FIELDS, FIELDS_ON_REQUEST
from geocli.storage.store import COLUMNS

if TYPE_CHECKING:
    from tests.conftest import Geocli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def _examples() -> list[tuple[str, str]]:
    """Return each command that is shown after `$`, with the output that is shown for it."""
    shown = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", "".join(_blocks("console")), re.MULTILINE)
    return [(command, output) for command, output in shown]


def _comparable(text: str) -> str:
    """Return a text without what differs from run to run: durations, and the white space of tables."""
    return " ".join(re.sub(r'(?<="duration_seconds": )[0-9.]+', "SECONDS", text).split())


def test_the_examples_print_what_is_shown(geocli: Geocli) -> None:
    """The examples, run in their order by a shell, write what the README says, on either stream."""
    scripts = sysconfig.get_path("scripts")
    environ = {**geocli.environ, "PATH": f"{scripts}:{os.environ['PATH']}"}
    for command, output in _examples():
        ran = subprocess.run(["sh", "-c", command], env=environ, capture_output=True, text=True, check=False)

        assert _comparable(output) == _comparable(ran.stdout + ran.stderr), command


def test_there_are_examples_of_every_kind() -> None:
    """The parser of the README finds what a reader sees."""
    assert len(_examples()) >= 15
    assert len(_blocks("sh")) == 2
    assert len(_blocks("python")) == 1


def test_the_python_example_runs(geocli: Geocli, tmp_path: Path) -> None:
    """The tutorial's code prints the country, the rows and the number of flushed entries."""
    code = _blocks("python")[0].replace("/tmp/geocli-example", str(tmp_path / "example"))  # noqa: S108 (replaced)

    ran = subprocess.run(
        [sys.executable, "-c", code], env=geocli.environ, cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert "US rir\n193.0.6.139 resolved\nnonsense invalid\n2\n" == ran.stdout


@pytest.mark.parametrize("name", [*FIELDS, *FIELDS_ON_REQUEST])
def test_every_field_is_documented(name: str) -> None:
    """The table of fields is complete."""
    assert f"`{name}`" in README


@pytest.mark.parametrize("name", COLUMNS)
def test_every_column_is_documented(name: str) -> None:
    """The description of the table geo_cache is complete."""
    section = README.partition("### The table geo_cache")[2].partition("\n## ")[0]

    assert re.search(rf"\b{name}\b", section)


@pytest.mark.parametrize("name", settings._FORMS)  # noqa: SLF001 (the keys themselves)
def test_every_key_of_the_configuration_is_documented(name: str) -> None:
    """The table of keys is complete."""
    assert f"`{name}`" in README


def test_every_command_is_documented() -> None:
    """Each command that Typer knows stands in the README."""
    names = [command.name for command in app.registered_commands]

    assert [] == [name for name in names if f"`{name}" not in README]
