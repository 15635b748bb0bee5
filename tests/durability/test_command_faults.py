"""Kill every command that changes files before its system calls, and let these fail; completes `test_faults`.

Of calls with the same effect on the same file, one is tested, with one of its errors. With `ALL_FAULTS=1` in the
environment, each call is tested with each error, which takes an hour.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.durability.test_faults import ERRORS, _errors, _kind
from tests.helpers import system_call_faults as faults
from tests.helpers.command_output import complaints
from tests.helpers.misbehaving_servers import DATABASE, database, database_url
from tests.helpers.stores import DUMPS, select
from tests.helpers.system_call_faults import COUNTRIES, DIRTY, PRINTED, STORED, Scenario

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.helpers.geocli_process import Geocli
    from tests.helpers.system_call_faults import Call

IS_COMPLETE = bool(os.environ.get("ALL_FAULTS"))
OLD_ROWS = b"as it was\n"
BATCH = (b"9.9.9.9\n81.2.69.160\n", {"9.9.9.9", "81.2.69.160"})
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(faults.missing() is not None, reason=str(faults.missing())),
]


def _with_old_database(geocli: Geocli) -> None:
    (geocli.db_dir / f"{DATABASE}.mmdb").write_bytes(database("FR"))
    geocli.environ |= {"GEOCLI_DBIP_URL": database_url("CA"), "NO_PROXY": "*"}


def _with_old_output(geocli: Geocli) -> None:
    (geocli.data_dir.parent / "out").mkdir()
    (geocli.data_dir.parent / "out" / "rows").write_bytes(OLD_ROWS)


def _with_old_store(geocli: Geocli, version: int = 1) -> None:
    geocli.data_dir.mkdir(mode=0o700)
    with closing(sqlite3.connect(geocli.data_dir / "geocli.db")) as db:
        db.executescript((DUMPS / f"schema_{version}.sql").read_text())
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("PRAGMA journal_mode = WAL")


OUTPUT = ("-o", "{home}/out/rows")
COMMANDS = {
    "re-resolve": Scenario(("re-resolve", "--all")),
    "clear": Scenario(("clear", "--yes")),
    "clear some": Scenario(("clear", "--older-than", "0s")),
    "batch -o": Scenario(
        ("batch", "-f", "value", "-F", "ip", *OUTPUT),
        BATCH[0],
        prepare=_with_old_output,
        places=("data", "out"),
    ),
    "stats -o": Scenario(("stats", "-f", "prometheus", *OUTPUT), prepare=_with_old_output, places=("data", "out")),
    "db update": Scenario(("db", "update", DATABASE), before=(), prepare=_with_old_database, places=("databases",)),
    "migration": Scenario(("flush",), before=(), prepare=_with_old_store),
    "first batch -o": Scenario(
        ("batch", "-f", "value", "-F", "ip", "--no-header", *OUTPUT),
        BATCH[0],
        before=(),
        prepare=_with_old_output,
        places=("data", "out"),
    ),
}


ALIKE = {"clear some", "first batch -o"}
"""Commands that make the same calls as others in a different order."""


def _commands() -> list[str]:
    return [name for name in COMMANDS if IS_COMPLETE or name not in ALIKE]


def _groups(name: str) -> Iterator[list[Call]]:
    """Return the calls of a command, grouped by their effect and file."""
    calls = [call for call in faults.calls_in(COMMANDS[name]) if call.file != PRINTED]
    for _, group in groupby(sorted(calls, key=_kind), key=_kind):
        yield list(group)


def _killed() -> Iterator[tuple[str, Call]]:
    for name in _commands():
        for group in _groups(name):
            changing = [call for call in group if call.is_change]
            yield from ((name, call) for call in (changing if IS_COMPLETE else changing[-1:]))


def _failing() -> Iterator[tuple[str, Call, str]]:
    for name in _commands():
        for number, group in enumerate(_groups(name)):
            errors = _errors(group[0])
            if IS_COMPLETE:
                yield from ((name, call, error) for call in group for error in errors)
            else:
                yield name, group[0], errors[number % len(errors)]


def _cases(cases: Iterator[tuple[object, ...]], *names: str) -> pytest.MarkDecorator:
    result = [] if faults.missing() else cases
    return pytest.mark.parametrize(names, [pytest.param(*case, id="-".join(map(str, case))) for case in result])


@_cases(_killed(), "name", "call")
def test_command_killed_before_a_call(tmp_path: Path, name: str, call: Call) -> None:
    """A kill loses nothing, leaves nothing half done, and the next run completes the work."""
    geocli = faults.prepared(tmp_path, COMMANDS[name])

    ran = faults.killed(geocli, COMMANDS[name], call)

    assert b"" == ran.stderr
    _check(geocli, name, ran)


@_cases(_failing(), "name", "call", "error")
def test_call_of_a_command_that_fails(tmp_path: Path, name: str, call: Call, error: str) -> None:
    """A failing call is reported in a message, never as success, and the next run completes the work."""
    geocli = faults.prepared(tmp_path, COMMANDS[name])

    ran = faults.injected(geocli, COMMANDS[name], call, f"error={error}")

    assert [] == [line for line in complaints(ran) if "internal error" in line]
    assert ran.returncode == 0 or ran.stderr
    _check(geocli, name, ran)


def _check(geocli: Geocli, name: str, ran: subprocess.CompletedProcess[bytes]) -> None:
    """Compare files and rows with the permitted ones, before and after another run."""
    if name == "db update":
        _check_database(geocli, name, ran)
    elif name == "migration":
        _check_migrated(geocli)
    elif name.startswith("clear"):
        _check_cleared(geocli, name, ran)
    else:
        promised = COMMANDS[name].promised() | (BATCH[1] if "batch" in name and ran.returncode == 0 else set())
        if "-o" in COMMANDS[name].arguments:
            _check_output(geocli, name, ran)
            promised |= BATCH[1] if "batch" in name else set()
        faults.check(geocli, promised)


def _check_output(geocli: Geocli, name: str, ran: subprocess.CompletedProcess[bytes]) -> None:
    """The file is the old one or the complete new one, and no temporary file remains after the next run."""
    out = geocli.data_dir.parent / "out"
    rows = (out / "rows").read_bytes()

    again = faults.run(geocli, COMMANDS[name])

    assert (0, b"") == (again.returncode, again.stderr)
    assert ["rows"] == os.listdir(out)
    new = (out / "rows").read_bytes()
    assert OLD_ROWS not in new
    if "batch" in name:
        assert BATCH[0] in new
        assert rows == new or (ran.returncode != 0 and rows == OLD_ROWS)
    else:
        assert rows.startswith(b"# HELP geocli_cache_entries ") or (ran.returncode != 0 and rows == OLD_ROWS)
        assert rows.count(b"\n") in {1, new.count(b"\n")} or ran.stderr  # unreadable rows are left out


def _check_cleared(geocli: Geocli, name: str, ran: subprocess.CompletedProcess[bytes]) -> None:
    """Check that all selected rows are deleted or none, and all after another run."""
    faults.check(geocli, set())
    actual = set(faults.rows(geocli)) if (geocli.data_dir / "geocli.db").exists() else set()
    assert actual in ([set()] if ran.returncode == 0 else [set(), {STORED, DIRTY}])

    again = faults.run(geocli, COMMANDS[name])

    assert (0, b"") == (again.returncode, again.stderr)
    assert {} == faults.rows(geocli)
    assert geocli("lookup", STORED).returncode == 0
    faults.check(geocli, {STORED}, COUNTRIES)


def _check_migrated(geocli: Geocli) -> None:
    """The store has all its rows, and after the next flush the current schema."""
    with tempfile.TemporaryDirectory() as home:
        template = faults.prepared(Path(home), Scenario((), before=(), prepare=_with_old_store))
        countries = dict(select(str(template.data_dir / "geocli.db"), "SELECT ip, country_code FROM geo_cache"))
    faults.check(geocli, set(countries), countries)
    (version,) = select(str(geocli.data_dir / "geocli.db"), "PRAGMA user_version")
    assert version > (1,)


def _check_database(geocli: Geocli, name: str, ran: subprocess.CompletedProcess[bytes]) -> None:
    """Check that the database is the old or the new one, and valid, and the new one after the next run."""
    path = geocli.db_dir / f"{DATABASE}.mmdb"
    assert path.read_bytes() in ([database("CA")] if ran.returncode == 0 else [database("FR"), database("CA")])
    assert geocli("db", "verify").returncode == 0

    again = faults.run(geocli, COMMANDS[name])

    assert (0, b"") == (again.returncode, again.stderr)
    assert database("CA") == path.read_bytes()
    assert {".geocli-update.lock", path.name, f"{path.name}.sha256"} == set(os.listdir(geocli.db_dir))
    assert geocli("db", "verify").returncode == 0


def test_each_error_is_tried() -> None:
    """Every kind of call has errors."""
    kinds = {call.name for name in COMMANDS for group in _groups(name) for call in group}
    assert all(_errors(call) for name in COMMANDS for (call, *_) in _groups(name)), kinds - set(ERRORS)
