"""What tests of the command line share: a terminal, locks held by others, and reading what was said."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import sqlite3
import subprocess
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from geocli.storage.directory import DataDirectory
from geocli.storage.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import IO

    from geocli.models import Entry
    from tests.conftest import Geocli

PATIENCE_SECONDS = 60
"""How long something is waited for that comes at once, unless it never comes."""
STYLE = re.compile(r"\x1b\[[0-9;]*m")
"""What sets a colour or a weight on a terminal (ECMA-48, SGR)."""
COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[;m]")
TERMINAL = {"TERM": "xterm-256color", "COLUMNS": "240", "NO_COLOR": "", "FORCE_COLOR": "", "GITHUB_ACTIONS": ""}


def complaint(run: subprocess.CompletedProcess[bytes]) -> str:
    """Return the one line on standard error, without what every such line begins with."""
    (line,) = run.stderr.decode().splitlines()
    assert line.startswith("geocli: ")
    return line.removeprefix("geocli: ")


def complaints(run: subprocess.CompletedProcess[bytes]) -> list[str]:
    """Return the lines on standard error, each of which must be one of ours."""
    lines = run.stderr.decode().splitlines()
    assert [] == [line for line in lines if not line.startswith("geocli: ")]
    return [line.removeprefix("geocli: ") for line in lines]


def objects(data: bytes) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in data.splitlines()]


def dirty(geocli: Geocli) -> list[Entry]:
    """Return what is in the journal."""
    return list(Journal(DataDirectory(str(geocli.data_dir))).dirty())


def stored(geocli: Geocli, columns: str = "ip") -> list[tuple[Any, ...]]:
    """Return what is in the store, by address."""
    with closing(sqlite3.connect(geocli.data_dir / "geocli.db")) as db:
        return db.execute(f"SELECT {columns} FROM geo_cache ORDER BY ip").fetchall()


def on_terminal(geocli: Geocli, *arguments: str, environ: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a command with a terminal for all its streams, and return its exit status and what is shown.

    The data directory exists, because root is told on a terminal when it is created.
    """
    geocli.data_dir.mkdir(mode=0o700, exist_ok=True)
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [*geocli.command, *arguments],
        stdin=its,
        stdout=its,
        stderr=its,
        env={name: text for name, text in {**geocli.environ, **TERMINAL, **(environ or {})}.items() if text},
    )
    os.close(its)
    shown = b""
    try:
        while data := os.read(ours, 1 << 16):
            shown += data
    except OSError:  # how Linux says that nobody has the terminal open any more
        pass
    finally:
        os.close(ours)
    return process.wait(PATIENCE_SECONDS), shown.decode().replace("\r\n", "\n")


def words(text: str) -> list[list[str]]:
    """Return the words of each line that has some, without styles."""
    return [line.split() for line in STYLE.sub("", text).splitlines() if line.split()]


def read_line(stream: IO[bytes] | None) -> bytes:
    """Return the next line of an unbuffered pipe as soon as it is there."""
    assert stream is not None
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([stream], [], [], PATIENCE_SECONDS)
        assert ready, f"nothing came after {line!r}"
        byte = os.read(stream.fileno(), 1)
        assert byte, f"the pipe was closed after {line!r}"
        line += byte
    return line


def wait_for(condition: Callable[[], object]) -> None:
    """Look again and again until something is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock as another process would."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
