"""Every state-changing system call of lookup, batch and flush, killed or failing, one test a call.

The calls are found by running each command once under strace, so that none is forgotten when the code
changes. Recovery is what cron does anyway: `geocli flush`.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Geocli

if TYPE_CHECKING:
    from collections.abc import Iterator

STORED, DIRTY = "8.8.8.8", "1.1.1.1"
"""What is in the store, and in the journal, before each fault."""
SCENARIOS: dict[str, tuple[tuple[str, ...], bytes]] = {
    "lookup": (("lookup", "9.9.9.9", "81.2.69.160"), b""),
    "batch": (("batch", "-f", "value", "-F", "ip"), b"9.9.9.9\n81.2.69.160\n193.0.6.139\n"),
    "flush": (("flush",), b""),
}
COUNTRIES = {STORED: "US", DIRTY: "AU", "9.9.9.9": "US", "81.2.69.160": "GB", "193.0.6.139": "NL"}
CHANGING = (
    "openat,write,pwrite64,pwritev,rename,renameat,renameat2,unlink,unlinkat,"
    "ftruncate,fallocate,fsync,fdatasync,fchmod,fchown,mkdir,flock"
)
ERRORS = {
    "openat": ("EACCES", "EMFILE", "ENOSPC", "EROFS"),
    "write": ("EIO", "ENOSPC", "EDQUOT", "EAGAIN"),
    "pwrite64": ("EIO", "ENOSPC", "EDQUOT"),
    "rename": ("EIO", "ENOSPC", "EACCES", "EROFS"),
    "unlink": ("EIO", "EACCES", "EROFS"),
    "ftruncate": ("EIO", "EINTR"),
    "fsync": ("EIO", "ENOSPC", "EDQUOT", "EINTR"),
    "fdatasync": ("EIO", "ENOSPC", "EDQUOT", "EINTR"),
    "flock": ("ENOLCK", "EINTR", "EIO"),
}
KEPT = {"geocli.db", "geocli.db-shm", "geocli.db-wal", "flush.lock", "journal.lock"}


def _strace(*options: str) -> list[str]:
    return ["strace", "-f", "-qq", "-e", f"trace={CHANGING}", "-e", "signal=none", *options]


@cache
def _missing() -> str | None:
    """Say why faults cannot be injected here, None if they can."""
    if not shutil.which("strace"):
        return "needs Debian's package strace"
    traced = subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return None if traced.returncode == 0 else "needs the right to trace processes"


@cache
def _template() -> tempfile.TemporaryDirectory[str]:
    """Make a data directory with one answer in the store and one in the journal, once."""
    home = tempfile.TemporaryDirectory()
    geocli = Geocli(Path(home.name))
    for arguments in (("lookup", STORED), ("flush",), ("lookup", DIRTY)):
        assert geocli(*arguments).returncode == 0
    return home


def _prepared(home: Path) -> Geocli:
    """Return geocli with one answer in the store and one in the journal."""
    geocli = Geocli(home)
    shutil.copytree(Path(_template().name) / "data", geocli.data_dir)
    for name in [name for name in geocli.environ if name.startswith("COV")]:
        del geocli.environ[name]  # coverage is seen elsewhere, and doubles the time of these processes
    return geocli


def _traced(geocli: Geocli, scenario: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    arguments, stdin = SCENARIOS[scenario]
    command = [*_strace(*options), *geocli.command, *arguments]
    environ = {**geocli.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, input=stdin, capture_output=True, env=environ, timeout=60, check=False)


@cache
def _calls(scenario: str) -> list[tuple[str, int]]:
    """Return each state-changing call on the data directory: its name, and its number among those of its name."""
    with tempfile.TemporaryDirectory() as home:
        geocli = _prepared(Path(home))
        log = Path(home) / "calls"
        assert _traced(geocli, scenario, "-y", "-o", str(log)).returncode == 0
        found, numbers = [], dict.fromkeys(CHANGING.split(","), 0)
        for line in log.read_text(errors="replace").splitlines():
            name = re.sub(r"^\d+ +", "", line).partition("(")[0]
            numbers[name] += 1
            changes = name != "openat" or "O_CREAT" in line
            if str(geocli.data_dir) in line and changes:
                found.append((name, numbers[name]))
        return found


pytestmark = pytest.mark.skipif(_missing() is not None, reason=str(_missing()))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each call that is found, and of each error that it may give."""
    names = [name for name in ("scenario", "call", "error") if name in metafunc.fixturenames]
    if "scenario" in names:
        cases = [] if _missing() else _failing() if "error" in names else _killed()
        metafunc.parametrize(names, list(cases))


def _killed() -> Iterator[object]:
    for scenario in SCENARIOS:
        for name, number in _calls(scenario):
            yield pytest.param(scenario, (name, number), id=f"{scenario}-{name}-{number}")


def _failing() -> Iterator[object]:
    for scenario in SCENARIOS:
        for name, number in _calls(scenario):
            for error in ERRORS.get(name, ("EIO",)):
                yield pytest.param(scenario, (name, number), error, id=f"{scenario}-{name}-{number}-{error}")


def _rows(geocli: Geocli) -> dict[str, str]:
    with closing(sqlite3.connect(geocli.data_dir / "geocli.db")) as db:
        assert [("ok",)] == db.execute("PRAGMA integrity_check").fetchall()
        return dict(db.execute("SELECT ip, country_code FROM geo_cache"))


def _acknowledged(ran: subprocess.CompletedProcess[bytes], scenario: str) -> set[str]:
    """Return what a command has promised to keep: a batch each row that it printed, a lookup if it exited with 0."""
    shown = set(re.findall(r"\d+\.\d+\.\d+\.\d+", ran.stdout.decode()))
    is_promised = ran.returncode == 0 or (scenario == "batch" and ran.returncode < 0)
    return {STORED, DIRTY} | (shown if is_promised else set())


def _check(geocli: Geocli, acknowledged: set[str]) -> None:
    """Recover as cron does, and compare the table with what was promised."""
    recovered = geocli("flush")
    rows = _rows(geocli)

    assert (0, b"", b"") == (recovered.returncode, recovered.stdout, recovered.stderr)
    assert acknowledged <= set(rows)
    assert {ip: COUNTRIES[ip] for ip in rows} == rows
    assert [] == sorted(set(os.listdir(geocli.data_dir)) - KEPT)


def test_killed_before_a_call(tmp_path: Path, scenario: str, call: tuple[str, int]) -> None:
    """Whoever is killed there has lost nothing that was acknowledged, and left nothing behind."""
    geocli = _prepared(tmp_path)
    name, number = call

    ran = _traced(geocli, scenario, "-o", "/dev/null", "-e", f"inject={name}:signal=SIGKILL:when={number}")

    _check(geocli, _acknowledged(ran, scenario))


@pytest.mark.parametrize("call", ["rename:1", "fdatasync:1", "fdatasync:2", "unlink:1"])
def test_recovering_flush_killed_too(tmp_path: Path, call: str) -> None:
    """A flush that recovers from a killed one may be killed as well."""
    geocli = _prepared(tmp_path)
    name, number = call.split(":")

    for _ in range(2):
        _traced(geocli, "flush", "-o", "/dev/null", "-e", f"inject={name}:signal=SIGKILL:when={number}")

    _check(geocli, {STORED, DIRTY})


def test_call_that_fails(tmp_path: Path, scenario: str, call: tuple[str, int], error: str) -> None:
    """Who cannot write says so in a line, does not claim success, and loses nothing."""
    geocli = _prepared(tmp_path)
    name, number = call

    ran = _traced(geocli, scenario, "-o", "/dev/null", "-e", f"inject={name}:error={error}:when={number}")

    assert b"Traceback" not in ran.stderr
    assert b"internal error" not in ran.stderr
    if name in {"fsync", "fdatasync"} and scenario != "flush" and error != "EINTR":  # which Python asks again
        assert ran.returncode == 4
        assert os.strerror(getattr(errno, error)).encode() in ran.stderr
    _check(geocli, _acknowledged(ran, scenario))
