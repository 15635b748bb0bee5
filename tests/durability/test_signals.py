"""SIGINT, SIGTERM and a closed pipe at any moment: printed answers are stored, and no temporary file remains."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile
import termios
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers.data_directories import dirty
from tests.helpers.system_call_faults import (
    DIRTY,
    LINE,
    SCENARIOS,
    STORED,
    Scenario,
    check,
    leftovers,
    missing,
    prepared,
    rows,
    traced,
)
from tests.helpers.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
HANGUP = pytest.param(
    signal.SIGHUP, marks=pytest.mark.skipif(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, reason="under nohup")
)
ROWS = b"9.9.9.9\n81.2.69.160\n193.0.6.139\n"
RUNS: dict[str, tuple[Scenario, str]] = {
    "file": (Scenario(("batch", "-f", "value", "-F", "ip", "-o", "{home}/out/rows"), ROWS), ".*"),
    "pipe": (Scenario(("batch", "-f", "value", "-F", "ip"), ROWS), "write|fdatasync|fsync"),
    "flush": (SCENARIOS["flush"], "rename|fdatasync|unlink"),
}
"""Commands, and patterns for the names of their system calls that are interrupted."""


def _shell_status(returncode: int) -> int:
    """Return the exit status as a shell shows it: 128 and the number of the signal that ended the process."""
    return returncode if returncode >= 0 else 128 - returncode


def _check_is_kept(geocli: Geocli, printed: bytes) -> None:
    """Run a flush, and check that all completely printed rows are stored, and no temporary file remains."""
    ran = geocli("flush")
    assert (0, b"", b"") == (ran.returncode, ran.stdout, ran.stderr)
    assert {line.decode() for line in printed.split(b"\n")[:-1]} <= set(rows(geocli))
    assert [] == leftovers(geocli)


# at each call that changes something


def _prepared(home: Path, scenario: Scenario) -> tuple[Geocli, Path]:
    """Return geocli, and the output file of an earlier run, alone in its directory."""
    geocli, out = prepared(home, scenario), home / "out" / "rows"
    out.parent.mkdir()
    out.write_bytes(b"old")
    return geocli, out


@cache
def _calls(run: str) -> list[tuple[str, int]]:
    """Return each call to interrupt: its name, and its number among the calls with that name."""
    scenario, pattern = RUNS[run]
    with tempfile.TemporaryDirectory() as warm, tempfile.TemporaryDirectory() as home:
        geocli, _ = _prepared(Path(warm), scenario)
        arguments = [text.format(home=warm) for text in scenario.arguments]
        bytecode = {"PYTHONDONTWRITEBYTECODE": ""}  # created now, so that all later runs open the same files
        assert 0 == geocli(*arguments, stdin=scenario.stdin, environ=bytecode).returncode
        geocli, _ = _prepared(Path(home), scenario)
        assert 0 == traced(geocli, scenario)[0].returncode
        numbers: Counter[str] = Counter()
        result = []
        for line in LINE.finditer((Path(home) / "calls").read_text(errors="replace")):
            numbers[line["name"]] += 1
            is_ours = home in line["rest"] or (line["name"], line["rest"][:2]) == ("write", "1<")
            is_change = line["name"] not in {"openat", "fcntl"} or "O_CREAT" in line["rest"]
            if is_ours and is_change and re.fullmatch(pattern, line["name"]):
                result.append((line["name"], numbers[line["name"]]))
        return [call for call in result if call[0] not in {"pwrite64", "fchown"}]  # SQLite's, to make its files


def _interrupted(geocli: Geocli, scenario: Scenario, name: str, how: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command that gets a signal in one of its calls."""
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "signal=none", "-e", f"trace={name}"]
    arguments = [text.format(home=geocli.data_dir.parent) for text in scenario.arguments]
    command = [*strace, "-e", f"inject={name}:{how}", *geocli.command, *arguments]
    return subprocess.run(
        command, input=scenario.stdin, capture_output=True, env=geocli.environ, timeout=60, check=False
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise tests with the traced calls."""
    if "call" in metafunc.fixturenames:
        metafunc.parametrize(("run", "call"), [] if missing() else list(_cases()))


def _cases() -> Iterator[object]:
    for run in RUNS:
        for name, number in _calls(run):
            yield pytest.param(run, (name, number), id=f"{run}-{name}-{number}")


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
@BOTH
def test_interrupted_at_a_call(tmp_path: Path, run: str, call: tuple[str, int], number: signal.Signals) -> None:
    """The command prints nothing; the output file is old or complete, and every printed row is stored."""
    scenario, (name, which) = RUNS[run][0], call
    geocli, out = _prepared(tmp_path, scenario)

    ran = _interrupted(geocli, scenario, name, f"signal={number.name}:when={which}")

    assert (128 + number, b"") == (_shell_status(ran.returncode), ran.stderr)
    assert ["rows"] == os.listdir(out.parent)
    assert out.read_bytes() in {b"old", ROWS}
    printed = ran.stdout + out.read_bytes().removeprefix(b"old")
    check(geocli, {STORED, DIRTY, *(line.decode() for line in printed.split(b"\n")[:-1])})


# at any other moment


@pytest.fixture
def many(located: Geocli) -> Path:
    """Write a list of addresses that takes some time."""
    path = located.data_dir.parent / "many"
    path.write_text("".join(f"81.{2 + (n >> 16)}.{n >> 8 & 255}.{n & 255}\n" for n in range(250_000)))
    return path


@BOTH
@pytest.mark.parametrize("after_seconds", [0.0, 0.03, 0.06, 0.1])
def test_interrupted_between_rows(located: Geocli, many: Path, number: signal.Signals, after_seconds: float) -> None:
    """Rows that were written to a redirected file before the signal are stored."""
    path = many.with_name("rows")
    with path.open("wb") as out, located.start("batch", "-f", "value", "-F", "ip", str(many), stdout=out) as process:
        wait_for(lambda: path.stat().st_size)
        time.sleep(after_seconds)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)

    assert (128 + number, b"") == (_shell_status(process.returncode), errors)
    assert 0 < path.stat().st_size < many.stat().st_size
    _check_is_kept(located, path.read_bytes())


@BOTH
def test_interrupted_without_a_reader(located: Geocli, many: Path, number: signal.Signals) -> None:
    """A batch that cannot write its rows ends immediately, and rows that are read later are stored."""
    with located.start("batch", "-f", "value", "-F", "ip", str(many)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        wait_for(lambda: _waiting_bytes(process.stdout.fileno()) >= 1 << 16)  # type: ignore[union-attr]
        process.send_signal(number)
        process.wait(60)
        printed = process.stdout.read()
        assert (128 + number, b"") == (_shell_status(process.returncode), process.stderr.read())

    _check_is_kept(located, printed)


def _waiting_bytes(pipe: int) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), "little")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, HANGUP])
def test_interrupted_while_it_waits_for_input(located: Geocli, number: signal.Signals) -> None:
    """The old output file is unchanged, no temporary file remains, and answers are stored."""
    out = located.data_dir.parent / "out" / "rows"
    out.parent.mkdir()
    out.write_bytes(b"old")
    with located.start("batch", "-o", str(out), bufsize=0) as process:
        assert process.stdin is not None
        process.stdin.write(b"81.2.69.160\n")
        wait_for(lambda: dirty(located))
        process.send_signal(number)
        printed, errors = process.communicate(timeout=60)

    assert (128 + number, b"", b"") == (_shell_status(process.returncode), printed, errors)
    assert (b"old", ["rows"]) == (out.read_bytes(), os.listdir(out.parent))
    _check_is_kept(located, b"81.2.69.160\n")


@BOTH
def test_a_signal_that_the_caller_ignores_is_ignored(located: Geocli, number: signal.Signals) -> None:
    """Signals that were ignored at the start, as by `nohup`, stay ignored."""
    out = located.data_dir.parent / "rows"
    script = f'trap "" {number.name.removeprefix("SIG")}; exec "$@"'
    located.command = ("sh", "-c", script, "sh", *located.command)  # type: ignore[assignment]
    with located.start("batch", "-f", "value", "-F", "ip", "-o", str(out), bufsize=0) as process:
        assert process.stdin is not None
        process.stdin.write(b"81.2.69.160\n")
        wait_for(lambda: dirty(located))
        process.send_signal(number)
        outcome = process.communicate(timeout=60)

    assert (0, (b"", b"")) == (process.returncode, outcome)
    assert b"81.2.69.160\n" == out.read_bytes()


# a reader that has enough

needs_bash = pytest.mark.skipif(not shutil.which("bash"), reason="needs bash, which tells the statuses of a pipeline")


@needs_bash
@pytest.mark.parametrize(
    "pipeline",
    [
        '"$@" batch --no-header -F ip {many}',
        'cat {many} | "$@" batch --no-header -F ip',
        'yes 81.2.0.0 | "$@" batch --no-header -F ip',
        'yes 81.2.0.0 | "$@" batch -f jsonl -F ip',
    ],
)
def test_head_of_a_million_lines(located: Geocli, tmp_path: Path, pipeline: str) -> None:
    """The batch exits with 141 without a message; the row is stored, and most of the million is not looked up."""
    many = tmp_path / "many"
    if "{many}" in pipeline:
        many.write_text("".join(f"81.{2 + (n >> 16)}.{n >> 8 & 255}.{n & 255}\n" for n in range(1_000_000)))
    script = f'{pipeline.format(many=many)} | head -n 1; echo "${{PIPESTATUS[@]}}"'
    ran = subprocess.run(
        ["bash", "-c", script, "bash", *located.command],
        env=located.environ,
        capture_output=True,
        timeout=60,
        check=False,
    )
    row, statuses = ran.stdout.splitlines()

    assert b"" == ran.stderr
    assert b"81.2.0.0" in row
    assert ["141", "0"] == statuses.decode().split()[-2:]
    assert len(dirty(located)) < 100_000
    _check_is_kept(located, b"81.2.0.0\n")
