"""A minute of concurrent commands, after which no acknowledged answer is lost.

Thirty writers, four flushers, and a program that locks the store, while processes are killed and stopped.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Event, Lock
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.helpers.command_output import objects
from tests.helpers.geocli_process import Geocli
from tests.helpers.system_call_faults import leftovers
from tests.helpers.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

SECONDS = 60
WRITERS, FLUSHERS = 30, 4
BATCH_LINES, BATCH_FILES = 20, 3
"""Each file is a block of its own: its rows are printed once they are appended, before the next file is read."""
IMPATIENT = {"GEOCLI_BUSY_TIMEOUT": "0.2"}
"""Less than the store is locked at most, so that some flushes are turned away."""
LOCKER = """
import random, sqlite3, sys, time
chance = random.Random(5)  # for the reader
while True:
    how = chance.choice(["BEGIN IMMEDIATE"] * 4 + ["BEGIN EXCLUSIVE"] * 4 + ["alone", "reader"])
    db = sqlite3.connect(sys.argv[1], timeout=1, isolation_level=None)
    try:
        if how == "alone":
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("BEGIN" if how == "reader" else "BEGIN EXCLUSIVE" if how == "alone" else how)
        db.execute("SELECT COUNT(*) FROM geo_cache").fetchone()
        time.sleep(chance.uniform(1, 4) if how == "reader" else chance.uniform(0, 1))
        print(how, flush=True)
    except sqlite3.OperationalError:
        print("turned away", flush=True)
    finally:
        db.close()
    time.sleep(chance.uniform(0, 0.3))
"""
Rows = dict[str, tuple[str, str | None]]
"""Status and country by address."""


class Outcome(NamedTuple):
    """What became of a process."""

    command: str
    ips: frozenset[str]
    status: int
    stdout: bytes
    stderr: bytes

    def acknowledged(self) -> Rows:
        """Return what it acknowledged: nothing if it reported a problem with the journal, or if a lookup was killed."""
        is_promised = self.status == 0 or (
            self.command == "batch" and self.status < 0 and b"journal" not in self.stderr
        )
        return _rows(self.stdout.rpartition(b"\n")[0]) if is_promised else {}

    def is_odd(self) -> bool:
        """Return whether it ended other than with success, a kill, or a temporary failure."""
        return self.status not in {0, 75, -signal.SIGKILL} or b"Traceback" in self.stderr


def _rows(lines: bytes) -> Rows:
    return {row["ip"]: (row["status"], row["country_code"]) for row in objects(lines)}


class Crowd:
    """Processes that run at the same time, any of which may be struck."""

    def __init__(self, geocli: Geocli) -> None:
        """Begin without processes."""
        self.geocli = geocli
        self.is_over = Event()
        self._running: dict[subprocess.Popen[bytes], str] = {}
        self._lock = Lock()

    def run(self, command: str, *arguments: str, ips: Iterable[str] = ()) -> Outcome:
        """Run a command until it ends or is killed."""
        process = self.geocli.start(command, *arguments, stdin=subprocess.DEVNULL)
        with self._lock:
            self._running[process] = command
        try:
            stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
            process.wait()
            with self._lock:
                del self._running[process]
        return Outcome(command, frozenset(ips), process.returncode, stdout, stderr)

    def strike(self, chance: random.Random) -> Counter[str]:
        """Kill processes, or stop them for a while, until all is over."""
        struck: Counter[str] = Counter()
        while not self.is_over.wait(chance.uniform(0.02, 0.15)):
            with self._lock:
                victims = sorted(self._running.items(), key=lambda item: item[0].pid)
            process, command = chance.choice(victims or [(None, "")])
            if process is None or process.poll() is not None:
                continue
            is_stopped = chance.random() < 0.25
            process.send_signal(signal.SIGSTOP if is_stopped else signal.SIGKILL)
            if is_stopped:
                self.is_over.wait(chance.uniform(0, 0.5))
                process.send_signal(signal.SIGCONT)
                struck["stopped"] += 1
            struck[command] += not is_stopped
        return struck


def _lookups(crowd: Crowd, writer: int) -> list[Outcome]:
    """Look up two addresses in each turn: one of this process alone, and one of all."""
    chance = random.Random(writer)  # noqa: S311 (chance, not secrets)
    outcomes: list[Outcome] = []
    while not crowd.is_over.is_set():
        own = f"8.{writer}.{len(outcomes) // 250}.{len(outcomes) % 250}"
        ips = own, f"9.9.9.{chance.randrange(200)}"
        outcomes.append(crowd.run("lookup", *ips, ips=ips))
    return outcomes


def _batches(crowd: Crowd, writer: int) -> list[Outcome]:
    """Look up the lines of some files a turn."""
    outcomes: list[Outcome] = []
    paths = [crowd.geocli.data_dir.parent / f"{writer}.{number}" for number in range(BATCH_FILES)]
    while not crowd.is_over.is_set():
        ips = [f"9.{100 + writer}.{len(outcomes)}.{line}" for line in range(BATCH_FILES * BATCH_LINES)]
        for number, path in enumerate(paths):
            path.write_text("\n".join(ips[number::BATCH_FILES]))
        outcomes.append(crowd.run("batch", "-f", "jsonl", *map(str, paths), ips=ips))
    return outcomes


def _flushes(crowd: Crowd) -> list[Outcome]:
    outcomes = []
    while not crowd.is_over.is_set():
        outcomes.append(crowd.run("flush"))
    return outcomes


@contextmanager
def _locking(store: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Lock the store repeatedly, as another program."""
    locker = subprocess.Popen([sys.executable, "-c", LOCKER, store], stdout=subprocess.PIPE)
    try:
        yield locker
    finally:
        locker.kill()
        locker.wait()


def _soak(geocli: Geocli) -> tuple[list[Outcome], Counter[str], Counter[str]]:
    """Return how all processes ended, which were killed or stopped, and what the locking program did."""
    crowd = Crowd(geocli)
    with _locking(geocli.data_dir / "geocli.db") as locker, ThreadPoolExecutor(WRITERS + FLUSHERS + 1) as pool:
        try:
            write = (_lookups, _lookups, _batches)
            workers = [pool.submit(write[writer % 3], crowd, writer) for writer in range(WRITERS)]
            workers += [pool.submit(_flushes, crowd) for _ in range(FLUSHERS)]
            striker = pool.submit(crowd.strike, random.Random(0))  # noqa: S311 (the same)
            crowd.is_over.wait(SECONDS)
        finally:
            crowd.is_over.set()
        outcomes = [outcome for worker in workers for outcome in worker.result()]
        locker.kill()
        locked = Counter(locker.communicate()[0].decode().splitlines())
        return outcomes, striker.result(), locked


def _stored(geocli: Geocli) -> Rows:
    with closing(sqlite3.connect(geocli.data_dir / "geocli.db")) as db:
        assert [("ok",)] == db.execute("PRAGMA integrity_check").fetchall()
        rows = db.execute("SELECT ip, status, country_code FROM geo_cache")
        return {ip: (status, country) for ip, status, country in rows}


def test_a_minute_of_everything_loses_nothing(tmp_path: Path) -> None:
    """The answers that thirty writers printed are in the table, as the sources have them, and nothing else."""
    geocli = Geocli(tmp_path)
    assert [0, 0] == [geocli(*arguments).returncode for arguments in (("lookup", "8.8.8.8"), ("flush",))]
    quiet = dict(geocli.environ)
    geocli.environ |= IMPATIENT

    outcomes, struck, locked = _soak(geocli)
    acknowledged = {ip: row for outcome in outcomes for ip, row in outcome.acknowledged().items()}
    ips = {ip for outcome in outcomes for ip in outcome.ips}

    geocli.environ = quiet
    recovered = geocli("flush")
    stored = _stored(geocli)
    truth = geocli("batch", "--no-cache", "-f", "jsonl", stdin="\n".join(stored).encode())

    assert [] == [outcome for outcome in outcomes if outcome.is_odd()]
    assert (0, b"", b"") == (recovered.returncode, recovered.stdout, recovered.stderr)
    assert {} == {ip: row for ip, row in acknowledged.items() if stored.get(ip) != row}
    assert _rows(truth.stdout) == stored
    assert set(stored) <= ips | {"8.8.8.8"}
    assert [] == leftovers(geocli)
    assert len(acknowledged) > 1000
    assert any(outcome.status < 0 and outcome.acknowledged() for outcome in outcomes)
    assert ("flush", 75) in {(outcome.command, outcome.status) for outcome in outcomes}
    assert {"lookup", "batch", "flush", "stopped"} == {event for event, times in struck.items() if times}
    assert {"BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "reader"} <= set(locked)
