"""An unusable store: answers are printed, the problem is reported once, the store is unchanged, and nothing is lost."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest

from geocli.storage.journal import Journal
from tests.helpers.command_output import complaint, objects
from tests.helpers.data_directories import dirty, local
from tests.helpers.other_users import unprivileged
from tests.helpers.populated_directory import COMMANDS, DIRTY, LEFT_OVER, STORED, is_all_there, prepared
from tests.helpers.stores import change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow


@pytest.fixture
def troubled(tmp_path: Path) -> Geocli:
    """Run geocli on a directory with answers in the store, in a segment and in the journal."""
    return prepared(tmp_path)


@contextmanager
def _written_by_another(geocli: Geocli) -> Iterator[None]:
    with closing(sqlite3.connect(geocli.data_dir / "geocli.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def _held_by_another(geocli: Geocli) -> Iterator[None]:
    """Lock out readers, too, by the exclusive locking mode of WAL (sqlite.org/pragma.html)."""
    with closing(sqlite3.connect(geocli.data_dir / "geocli.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def _without_its_header(geocli: Geocli) -> Iterator[None]:
    with open(geocli.data_dir / "geocli.db", "r+b") as store:
        header = store.read(100)
        store.seek(0)
        store.write(b"\xff" * 100)
        store.flush()
        yield
        store.seek(0)
        store.write(header)


@contextmanager
def _not_a_database(geocli: Geocli) -> Iterator[None]:
    store = geocli.data_dir / "geocli.db"
    store.rename(geocli.data_dir.with_name("away"))
    store.write_bytes(b"this is no database, however long one looks at it\n" * 99)
    yield
    geocli.data_dir.with_name("away").replace(store)


@contextmanager
def _read_only(geocli: Geocli) -> Iterator[None]:
    (geocli.data_dir / "geocli.db").chmod(0o400)
    before = geocli.command
    unprivileged(geocli)
    yield
    geocli.command = before
    (geocli.data_dir / "geocli.db").chmod(0o600)


@contextmanager
def _of_a_newer_geocli(geocli: Geocli) -> Iterator[None]:
    path = str(geocli.data_dir / "geocli.db")
    with closing(sqlite3.connect(path)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
    change(path, "PRAGMA user_version = 99")
    yield
    change(path, f"PRAGMA user_version = {version}")


class Trouble(NamedTuple):
    """A state of the store, with the exit status of each command, and the beginning of its only message, if any."""

    make: Callable[[Geocli], AbstractContextManager[None]]
    answering: tuple[int, str | None]
    writing: tuple[int, str | None]
    problem: str | None


BUSY, UNLOCKED = (75, "busy: another process held it for 0.02 s"), (0, None)
NO_DATABASE, NEWER = "file is not a database", "written by a newer geocli (schema 99"
TROUBLES = {
    "written by another": Trouble(_written_by_another, UNLOCKED, BUSY, None),
    "held by another": Trouble(
        _held_by_another, (0, "locked by another program; asking the sources instead"), BUSY, "busy"
    ),
    "header destroyed": Trouble(_without_its_header, (0, NO_DATABASE), (4, NO_DATABASE), NO_DATABASE),
    "not a database": Trouble(_not_a_database, (0, NO_DATABASE), (4, NO_DATABASE), NO_DATABASE),
    "read-only": Trouble(_read_only, UNLOCKED, (4, "attempt to write a readonly database"), None),
    "newer schema": Trouble(_of_a_newer_geocli, (0, NEWER), (4, NEWER), NEWER),
}


def _exit_and_message(geocli: Geocli, run: subprocess.CompletedProcess[bytes]) -> tuple[int, str | None]:
    """Return the exit status of a run, and its only message about the store."""
    if not run.stderr:
        return run.returncode, None
    return run.returncode, complaint(run).removeprefix(f"{geocli.data_dir}/geocli.db: ")


def _identity(geocli: Geocli) -> tuple[int, bytes]:
    """Return the inode and the content of the store, read by a process without locks on it."""
    path = geocli.data_dir / "geocli.db"
    return path.stat().st_ino, subprocess.run(["cat", path], capture_output=True, check=True).stdout


@pytest.mark.parametrize("name", TROUBLES)
def test_store_in_trouble(troubled: Geocli, name: str) -> None:
    """Each command reports the problem once, segments stay, the store is unchanged, and later all is stored."""
    trouble = TROUBLES[name]
    sealed = {segment.name for segment in Journal(local(troubled.data_dir)).segments()}
    promised = {STORED, LEFT_OVER, DIRTY}
    with trouble.make(troubled):
        before = _identity(troubled)
        runs = {name: troubled(*arguments, stdin=stdin) for name, (arguments, stdin) in COMMANDS.items()}
        assert before == _identity(troubled)
        assert sealed <= set(os.listdir(troubled.data_dir))
        assert {LEFT_OVER, DIRTY} <= {entry.ip for entry in dirty(troubled)}

    outcomes = {name: _exit_and_message(troubled, run) for name, run in runs.items()}
    expected = dict.fromkeys(COMMANDS, trouble.writing) | dict.fromkeys(("lookup", "batch"), trouble.answering)
    for command, (status, line) in (expected | {"stats": (0, None)}).items():
        assert status == outcomes[command][0], command
        assert (outcomes[command][1] or "").startswith(line or ""), command
        assert (line is None) is (outcomes[command][1] is None), command
    problems = json.loads(runs["stats"].stdout)["problems"]
    assert [trouble.problem] * bool(trouble.problem) == [
        trouble.problem for line in problems if str(trouble.problem) in line
    ]
    for command in ("lookup", "batch"):
        actual = objects(runs[command].stdout)
        assert {"London", 'Winston, "Salem"'} >= {entry["city"] for entry in actual}
        promised |= {entry["ip"] for entry in actual}
    is_all_there(troubled, promised)
