"""Trace the system calls of a command with strace, and let one of them fail, hold it, or kill the command before it.

Each command is run once under strace to find its calls, so that none is missed when the code changes. A call is
identified by its number among calls of the same name. Runs are deterministic, unless one of them compiles a module
for the first time.
"""

from __future__ import annotations

import compileall
import os
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import geocli as package
from tests.helpers.geocli_process import Geocli
from tests.helpers.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

STORED, DIRTY = "8.8.8.8", "1.1.1.1"
"""Addresses in the store, and in the journal, before each fault."""
COUNTRIES = {STORED: "US", DIRTY: "AU", "9.9.9.9": "US", "81.2.69.160": "GB", "193.0.6.139": "NL", "200.3.14.10": "UY"}
"""Countries of all addresses that are looked up."""
PERMANENT_FILES = {
    *("digests", "digests.part", "geocli.db", "geocli.db-shm", "geocli.db-wal"),
    *("flush.lock", "journal.lock", "re-resolve.lock"),
}
"""Files that may be in a data directory without dirty entries."""
NAMELESS = "a file without a name"
"""A file opened with O_TMPFILE; where this is not supported, it has a temporary name."""
PRINTED = "standard output"
"""Writes of answers are also traced."""
TRACED = (
    *("openat", "write", "pwrite64", "pwritev", "ftruncate", "fallocate", "fsync", "fdatasync", "fchmod", "fchown"),
    *(
        "mkdir",
        "mkdirat",
        "chmod",
        "fchmodat",
        "rename",
        "renameat",
        "renameat2",
        "link",
        "linkat",
        "unlink",
        "unlinkat",
    ),
    *("flock", "fcntl"),
)
compileall.compile_dir(Path(package.__file__).parent, quiet=1)
DELAYS_SECONDS = (0.05, 0.5, 5.0)
"""Delays of a call before strace is stopped; longer ones are tried if that was too late."""
LINE = re.compile(r"^(?P<pid>\d+) +(?P<name>\w+)\((?P<rest>.*)$", re.MULTILINE)


class Scenario(NamedTuple):
    """A command, and the commands that prepare its data directory."""

    arguments: tuple[str, ...]
    stdin: bytes = b""
    before: tuple[tuple[str, ...], ...] = (("lookup", STORED), ("flush",), ("lookup", DIRTY))
    prepare: Callable[[Geocli], object] = lambda _: None
    """Called before each run, after the data directory was restored."""
    places: tuple[str, ...] = ("data",)
    """Directories in the home whose files are traced."""

    def promised(self) -> set[str]:
        """Return the addresses that must be in the table, whatever happens to the command."""
        return {command[1] for command in self.before if command[0] == "lookup"}


SCENARIOS = {
    "lookup": Scenario(("lookup", "9.9.9.9", "81.2.69.160")),
    "batch": Scenario(("batch", "-f", "value", "-F", "ip", "-", "{home}/more"), b"9.9.9.9\n81.2.69.160\n"),
    "flush": Scenario(("flush",)),
    "first lookup": Scenario(("lookup", "9.9.9.9", "81.2.69.160"), before=()),
    "first flush": Scenario(("flush",), before=(("lookup", DIRTY),)),
}


class Call(NamedTuple):
    """A system call on a file of the data directory, or on standard output."""

    name: str
    number: int
    file: str
    """Name in the data directory; `.` for the directory itself, `segment` for any segment."""
    is_change: bool
    """Whether it changes a file; other calls can fail as well."""

    def __str__(self) -> str:
        """Return the call as part of a test id."""
        return f"{self.name}-{self.number}"


@cache
def missing() -> str | None:
    """Return why faults cannot be injected here, None if they can."""
    if not shutil.which("strace"):
        return "needs Debian's package strace"
    traced = subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return None if traced.returncode == 0 else "needs the right to trace processes"


@cache
def _template(before: tuple[tuple[str, ...], ...]) -> tempfile.TemporaryDirectory[str]:
    """Create a data directory by these commands, once."""
    home = tempfile.TemporaryDirectory()
    geocli = Geocli(Path(home.name))
    for arguments in before:
        assert geocli(*arguments).returncode == 0
    return home


def prepared(home: Path, scenario: Scenario) -> Geocli:
    """Return geocli with the data directory of a scenario."""
    geocli = Geocli(home)
    (home / "more").write_text("193.0.6.139\n")
    if scenario.before:
        copied(scenario, geocli)
    scenario.prepare(geocli)
    return geocli


def copied(scenario: Scenario, geocli: Geocli) -> None:
    """Copy the data directory that the preparing commands made."""
    shutil.copytree(Path(_template(scenario.before).name) / "data", geocli.data_dir)


def _command(geocli: Geocli, scenario: Scenario, log: Path, *options: str) -> list[str]:
    """Return the command under strace, with a seccomp filter, so that untraced calls run at full speed."""
    names = ",".join(f"?{name}" for name in TRACED)  # `?`: not every architecture has all of them
    strace = ["strace", "-f", "-qq", "--seccomp-bpf", "-y", "-e", f"trace={names}", "-e", "signal=none"]
    return [*strace, "-o", str(log), *options, *geocli.command, *_arguments(geocli, scenario)]


def _arguments(geocli: Geocli, scenario: Scenario) -> list[str]:
    return [text.format(home=geocli.data_dir.parent) for text in scenario.arguments]


def traced(geocli: Geocli, scenario: Scenario, *options: str) -> tuple[subprocess.CompletedProcess[bytes], list[Call]]:
    """Run a command under strace to completion, and return its result and its calls."""
    log = geocli.data_dir.parent / "calls"
    command = _command(geocli, scenario, log, *options)
    ran = subprocess.run(
        command, input=scenario.stdin, capture_output=True, env=geocli.environ, timeout=PATIENCE_SECONDS, check=False
    )
    return ran, read_calls(log.read_text(errors="replace"), geocli.data_dir.parent, scenario.places)


def read_calls(log: str, home: Path, places: tuple[str, ...]) -> list[Call]:
    """Parse the calls on files of these directories from the output of strace."""
    directories = "|".join(re.escape(str(home / place)) for place in places)
    path = re.compile(rf'["<](?:{directories})(?:/([^">]*))?[">]')
    calls, numbers = [], dict.fromkeys(TRACED, 0)
    for line in LINE.finditer(log):
        name, rest = line["name"], line["rest"]
        numbers[name] += 1
        file = PRINTED if name == "write" and rest.startswith("1<") else ""
        if file_match := path.search(rest):
            file = re.sub(r"^journal\..*\.draining$", "segment", file_match[1] or ".")
            file = re.sub(r"\.[0-9a-f]{12}\.part$", ".part", file)
        if "O_TMPFILE" in rest or re.match(r"#\d+", file):
            file = NAMELESS
        if file == "." and (name == "fdatasync" or (name == "openat" and "O_DIRECTORY" not in rest)):
            file = "geocli.db's directory"  # as SQLite syncs it
        is_lock = "F_SETLK" in rest and ("F_RDLCK" in rest or "F_WRLCK" in rest)
        is_change = name != "fcntl" and (name != "openat" or "O_CREAT" in rest or "O_TMPFILE" in rest)
        if file and "LOCK_UN" not in rest and (name != "fcntl" or is_lock):
            calls.append(Call(name, numbers[name], file, is_change and file != PRINTED))
    return calls


def run(geocli: Geocli, scenario: Scenario) -> subprocess.CompletedProcess[bytes]:
    """Run the command of a scenario."""
    return geocli(*_arguments(geocli, scenario), stdin=scenario.stdin)


def calls_of(geocli: Geocli, scenario: Scenario) -> list[Call]:
    """Run a command, and return its calls."""
    ran, calls = traced(geocli, scenario)
    assert ran.returncode == 0
    return calls


@cache
def calls(name: str) -> list[Call]:
    """Return the calls of a scenario."""
    return calls_in(SCENARIOS[name])


@cache
def calls_in(scenario: Scenario) -> list[Call]:
    """Return the calls of a scenario; it runs once before, to compile all modules."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as home:
        geocli = prepared(Path(first), scenario)
        geocli(*_arguments(geocli, scenario), stdin=scenario.stdin)
        return calls_of(prepared(Path(home), scenario), scenario)


def injected(geocli: Geocli, scenario: Scenario, call: Call, fault: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command with one of its calls replaced by a fault of strace."""
    ran, calls = traced(geocli, scenario, "-e", f"inject={call.name}:{fault}:when={call.number}")
    assert call in calls
    return ran


class Held:
    """A command that is held just before one of its calls, which is made later or never.

    Strace logs the call and delays it. Then strace is stopped, and while it is, the call stays delayed. (A SIGSTOP to
    the command itself would arrive after the call.)
    """

    def __init__(self, geocli: Geocli, scenario: Scenario, call: Call, delay_seconds: float = PATIENCE_SECONDS) -> None:
        """Run the command up to the call, which it can make no earlier than after the delay."""
        log = geocli.data_dir.parent / "held"
        log.unlink(missing_ok=True)
        os.mkfifo(log)
        self._log = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
        self._geocli, self._scenario, self._call, self._read = geocli, scenario, call, ""
        delay = f"inject={call.name}:delay_enter={delay_seconds * 1e6:.0f}:when={call.number}"
        self._strace = subprocess.Popen(
            _command(geocli, scenario, log, "-e", delay),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=geocli.environ,
        )
        self._feed(scenario.stdin)
        self.pid = self._wait()
        self._strace.send_signal(signal.SIGSTOP)
        os.waitpid(self._strace.pid, os.WUNTRACED)

    def _feed(self, data: bytes) -> None:
        assert self._strace.stdin is not None
        self._strace.stdin.write(data)
        self._strace.stdin.close()
        self._strace.stdin = None

    def _wait(self) -> int:
        """Read the log until the call is in it, and return the process that makes it."""
        while True:
            ready, _, _ = select.select([self._log], [], [], PATIENCE_SECONDS)
            data = os.read(self._log, 1 << 16).decode(errors="replace") if ready else ""
            assert data, f"never came to {self._call}: {self._strace.communicate()}"
            self._read += data
            if self._read.count(f" {self._call.name}(") < self._call.number:
                continue
            pids = [line["pid"] for line in LINE.finditer(self._read) if line["name"] == self._call.name]
            if len(pids) >= self._call.number:
                return int(pids[self._call.number - 1])

    def is_before_call(self) -> bool:
        """Return whether the call has not been made yet."""
        ready, _, _ = select.select([self._log], [], [], 0)
        calls = read_calls(self._read, self._geocli.data_dir.parent, self._scenario.places)
        return not ready and self._call == calls[-1]

    def go_on(self) -> subprocess.CompletedProcess[bytes]:
        """Let the command make the call, and continue."""
        self._strace.send_signal(signal.SIGCONT)
        while select.select([self._log], [], [], PATIENCE_SECONDS)[0] and os.read(self._log, 1 << 16):
            pass  # the log must be read, or the command blocks
        return self._ended()

    def kill(self) -> subprocess.CompletedProcess[bytes]:
        """Kill the command before the call; the process is gone when this returns."""
        process = os.pidfd_open(self.pid)
        os.kill(self.pid, signal.SIGKILL)
        self._strace.kill()
        ended, _, _ = select.select([process], [], [], PATIENCE_SECONDS)
        os.close(process)
        assert ended
        return self._ended()

    def _ended(self) -> subprocess.CompletedProcess[bytes]:
        stdout, stderr = self._strace.communicate(timeout=PATIENCE_SECONDS)
        return subprocess.CompletedProcess((), self._strace.returncode, stdout, stderr)

    def __enter__(self) -> Self:
        """Return the held command."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the command if it is still running."""
        if self._strace.poll() is None:
            self.kill()
        os.close(self._log)


@contextmanager
def held(
    home: Path, scenario: Scenario, call: Call, prepare: Callable[[Path, Scenario], Geocli] = prepared
) -> Iterator[tuple[Geocli, Held]]:
    """Hold a command just before one of its calls, as long as the context."""
    for delay_seconds in DELAYS_SECONDS:
        own_home = home / f"{delay_seconds}"
        own_home.mkdir()
        geocli = prepare(own_home, scenario)
        with Held(geocli, scenario, call, delay_seconds) as holding:
            if holding.is_before_call():
                yield geocli, holding
                return
    raise AssertionError(f"never stopped in time before {call}")


def killed(geocli: Geocli, scenario: Scenario, call: Call) -> subprocess.CompletedProcess[bytes]:
    """Run a command that is killed just before one of its calls."""
    with Held(geocli, scenario, call) as holding:
        assert holding.is_before_call()
        return holding.kill()


def acknowledged(ran: subprocess.CompletedProcess[bytes]) -> set[str]:
    """Return the addresses that a command has acknowledged: those printed, if it succeeded or was killed silently.

    A batch acknowledges each row that it prints. A lookup prints just before it exits.
    """
    is_promised = ran.returncode == 0 or (ran.returncode < 0 and not ran.stderr)
    return set(re.findall(r"\d+\.\d+\.\d+\.\d+", ran.stdout.decode())) if is_promised else set()


def rows(geocli: Geocli) -> dict[str, str]:
    """Return the countries in the store, and check its integrity."""
    with closing(sqlite3.connect(geocli.data_dir / "geocli.db")) as db:
        assert [("ok",)] == db.execute("PRAGMA integrity_check").fetchall()
        return dict(db.execute("SELECT ip, country_code FROM geo_cache"))


def leftovers(geocli: Geocli) -> list[str]:
    """Return the files in the data directory that are no longer needed; an empty journal may remain."""
    empty = {path.name for path in geocli.data_dir.glob("journal") if not path.stat().st_size}
    return sorted(set(os.listdir(geocli.data_dir)) - PERMANENT_FILES - empty)


def check(geocli: Geocli, promised: set[str], countries: Mapping[str, str | None] = COUNTRIES) -> None:
    """Run a flush, and compare the table with the acknowledged addresses."""
    recovered = geocli("flush")

    assert (0, b"", b"") == (recovered.returncode, recovered.stdout, recovered.stderr)
    stored = rows(geocli) if promised or (geocli.data_dir / "geocli.db").exists() else {}
    assert promised <= set(stored)
    assert {ip: countries[ip] for ip in stored} == stored
    if geocli.data_dir.exists():
        assert [] == leftovers(geocli)
