"""`crontab.example` under the machine's own cron."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "crontab.example"
LINES = EXAMPLE.read_text().splitlines()
JOBS = [line for line in LINES if "$GEOCLI" in line]
PID_FILE = Path("/run/crond.pid")

needs_cron = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("cron") or not shutil.which("crontab"),
    reason="needs root and Debian's package cron, whose daemon is started and whose crontab is put back",
)


def _crontab(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["crontab", *arguments], input=text, capture_output=True, text=True, check=False)


@pytest.fixture
def crontab() -> Iterator[None]:
    """Save root's crontab, and restore it, or remove it if there was none."""
    before = _crontab("-l")
    yield
    if before.returncode == 0:
        _crontab("-", text=before.stdout)
    else:
        _crontab("-r")
    assert before.stdout == _crontab("-l").stdout


def _is_running() -> bool:
    try:
        return "cron" in Path(f"/proc/{int(PID_FILE.read_text())}/comm").read_text()
    except (OSError, ValueError):
        return False


@pytest.fixture
def daemon() -> Iterator[None]:
    """Run cron, unless it is running."""
    if _is_running():
        yield
        return
    process = subprocess.Popen(["cron", "-f"])
    yield
    process.terminate()
    process.wait(10)


def test_every_job_names_its_program_absolutely_and_nothing_else_is_a_job() -> None:
    """The program is one absolute path that a user edits once."""
    assert [line for line in LINES if line.startswith("GEOCLI=/")] == ["GEOCLI=/usr/local/bin/geocli"]
    assert [line for line in LINES if line and line[0] in "*0123456789"] == JOBS


@pytest.mark.parametrize("job", JOBS)
def test_every_job_is_a_command_of_geocli(geocli: Geocli, job: str) -> None:
    """The option parser accepts the commands."""
    arguments = job.split("$GEOCLI ")[1].split()

    assert 0 == geocli(*arguments, "--help").returncode


def _environment(geocli: Geocli) -> str:
    ours = {name: value for name, value in geocli.environ.items() if name.startswith("GEOCLI_")}
    program = Path(geocli.environ["HOME"]) / "geocli"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{EXAMPLE.parent}" exec {" ".join(geocli.command)} "$@"\n')
    program.chmod(0o755)
    return "".join(f"{name}={value}\n" for name, value in {**ours, "GEOCLI": str(program), "MAILTO": '""'}.items())


def _row(path: Path) -> tuple[str, str] | None:
    if not path.exists():
        return None
    with sqlite3.connect(path) as db:
        try:
            rows = db.execute("SELECT ip, country_code FROM geo_cache").fetchall()
        except sqlite3.OperationalError:  # not yet made
            return None
    return rows[0] if rows else None


@needs_cron
@pytest.mark.usefixtures("crontab", "daemon")
def test_the_flush_line_moves_an_answer_into_sqlite_within_the_minute(located: Geocli) -> None:
    """An address is in the store once cron has run the example's flush."""
    flush = next(job for job in JOBS if job.endswith(" flush"))
    assert 0 == _crontab("-", text=_environment(located) + flush + "\n").returncode
    assert 0 == located("lookup", "81.2.69.160").returncode
    deadline = time.monotonic() + 130

    while _row(located.data_dir / "geocli.db") is None and time.monotonic() < deadline:
        time.sleep(0.5)

    assert ("81.2.69.160", "GB") == _row(located.data_dir / "geocli.db")
    assert b"" == located("lookup", "--quiet", "--cached-only", "81.2.69.160").stderr
