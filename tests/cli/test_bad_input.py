"""Whatever is broken, geocli reports it in one line, exits with the right status, and answers if it can."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.helpers.command_output import complaint, complaints, objects
from tests.helpers.data_directories import dirty
from tests.helpers.databases import CITIES, build

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow

COMMANDS = [
    ("lookup", "81.2.69.160"),
    ("lookup", "--cached-only", "81.2.69.160"),
    ("batch",),
    ("flush",),
    ("re-resolve", "--all"),
    ("stats",),
    ("stats", "--check"),
    ("clear", "--yes"),
]
"""Troubles of the data directory."""
ALL_COMMANDS = [
    *COMMANDS,
    ("lookup", "-f", "table", "81.2.69.160"),
    ("lookup", "--no-cache", "81.2.69.160"),
    ("batch", "--cached-only"),
    ("flush", "--json"),
    ("re-resolve",),
    ("stats", "-f", "table"),
    ("stats", "-f", "prometheus"),
    ("db", "list"),
    ("db", "verify"),
]
"""More defects of the data directory and others."""
UNPRIVILEGED = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner")
"""Runs a program of root to which file permissions apply."""


def _is_well_behaved(run: subprocess.CompletedProcess[bytes]) -> bool:
    """Return whether a run ended with a documented status, and printed only lines of geocli's."""
    lines = complaints(run)
    return (
        run.returncode in {0, 1, 2, 3, 4, 75}
        and not any("internal error" in line for line in lines)
        and len(lines) == len(set(lines))
        and all(line.isprintable() for line in lines)
    )


@pytest.fixture
def limited(located: Geocli) -> Geocli:
    """Return geocli run as a user to whom file permissions apply."""
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root may write everywhere, and setpriv (util-linux) is not installed")
        located.command = (*UNPRIVILEGED, *located.command)  # type: ignore[assignment]
    return located


# the data directory


def _is_a_file(path: Path) -> None:
    path.touch()


def _is_below_a_file(path: Path) -> None:
    path.parent.joinpath("file").touch()
    path.symlink_to(path.parent / "file" / "data")


def _is_a_dangling_link(path: Path) -> None:
    path.symlink_to("/nonexistent/data")


def _is_a_loop(path: Path) -> None:
    path.symlink_to(path.name)


def _is_for_anybody(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def _has_a_directory_for_a_journal(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "journal").mkdir()


def _has_a_link_for_a_journal(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "journal").symlink_to("/etc/passwd")


def _has_a_pipe_for_a_journal(path: Path) -> None:
    path.mkdir(mode=0o700)
    os.mkfifo(path / "journal")


def _has_a_directory_for_a_lock(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "journal.lock").mkdir()


def _has_garbage_for_a_store(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "geocli.db").write_bytes(b"no database at all" * 1000)


def _has_a_directory_for_a_store(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "geocli.db").mkdir()


def _has_another_program_s_store(path: Path) -> None:
    path.mkdir(mode=0o700)
    with closing(sqlite3.connect(path / "geocli.db")) as db:
        db.execute("CREATE TABLE geo_cache (x)")
        db.execute("PRAGMA user_version = 2")


def _has_a_segment_that_is_a_directory(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "journal.1-00000000-0000-4000-8000-000000000000.draining").mkdir()


BROKEN = [
    *(_is_a_file, _is_below_a_file, _is_a_dangling_link, _is_a_loop, _is_for_anybody),
    *(_has_a_directory_for_a_journal, _has_a_link_for_a_journal, _has_a_pipe_for_a_journal),
    *(_has_a_directory_for_a_lock, _has_garbage_for_a_store, _has_a_directory_for_a_store),
    *(_has_another_program_s_store, _has_a_segment_that_is_a_directory),
]
BROKEN_ALL_ROUND = {_is_a_file, _has_a_directory_for_a_journal, _has_garbage_for_a_store, _has_another_program_s_store}
"""One trouble of each kind, in which every command is run in all of its ways."""


@pytest.mark.parametrize("breaks", BROKEN, ids=lambda breaks: breaks.__name__.strip("_"))
def test_a_broken_data_directory_prints_no_traceback(located: Geocli, breaks: Callable[[Path], None]) -> None:
    """Every command ends with a documented status, and reports each problem once, in a line."""
    breaks(located.data_dir)
    commands = ALL_COMMANDS if breaks in BROKEN_ALL_ROUND else COMMANDS
    runs = {arguments: located(*arguments, stdin=b"81.2.69.160\n") for arguments in commands}

    assert {} == {arguments: run for arguments, run in runs.items() if not _is_well_behaved(run)}


@pytest.mark.parametrize("breaks", BROKEN, ids=lambda breaks: breaks.__name__.strip("_"))
def test_a_broken_data_directory_does_not_prevent_answers(located: Geocli, breaks: Callable[[Path], None]) -> None:
    """Lookup answers from the databases; the exit status is 4 if, and only if, the answer cannot be stored."""
    breaks(located.data_dir)
    run = located("lookup", "-F", "city", "81.2.69.160")

    assert [{"city": "London"}] == objects(run.stdout)
    lines = complaints(run)
    if run.returncode == 0:
        unread = tuple(f"{located.data_dir}/{name}" for name in ("geocli.db: ", "journal.1-"))
        assert [] == [line for line in lines if not line.startswith(unread)]
        assert b"81.2.69.160" in (located.data_dir / "journal").read_bytes()
    else:
        assert 4 == run.returncode
        assert lines


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [
        (_is_a_file, "not a directory"),
        (_is_for_anybody, "writable by all users; use a directory of your own, or chmod o-w"),
    ],
    ids=["file", "all users"],
)
def test_the_reason_is_reported(located: Geocli, breaks: Callable[[Path], None], reason: str) -> None:
    """The error names the directory and a remedy."""
    breaks(located.data_dir)
    run = located("lookup", "-f", "value", "81.2.69.160")

    assert (4, b"GB\n") == (run.returncode, run.stdout)
    assert f"{located.data_dir}: cannot be used as data directory: {reason}" in complaints(run)


def test_a_journal_that_is_not_a_file_is_not_touched(located: Geocli) -> None:
    """A link may point to a file of another user."""
    target = located.data_dir.with_name("precious")
    target.write_bytes(b"precious")
    located.data_dir.mkdir(mode=0o700)
    (located.data_dir / "journal").symlink_to(target)
    lookup, flush = located("lookup", "81.2.69.160"), located("flush")

    assert (4, 4) == (lookup.returncode, flush.returncode)
    assert complaint(lookup).startswith(f"{located.data_dir}/journal: ")
    assert f"{located.data_dir}/journal: not a regular file; move it away" == complaint(flush)
    assert b"precious" == target.read_bytes()


@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_a_data_directory_without_permissions(limited: Geocli, mode: int) -> None:
    """Answers are printed, exit status 4 tells that they are not stored, and no command prints a traceback."""
    limited.data_dir.mkdir()
    limited.data_dir.chmod(mode)
    try:
        run = limited("lookup", "-f", "value", "81.2.69.160")
        runs = [limited(*arguments, stdin=b"81.2.69.160\n") for arguments in COMMANDS]
    finally:
        limited.data_dir.chmod(0o700)

    assert (4, b"GB\n") == (run.returncode, run.stdout)
    assert f"{limited.data_dir}/journal.lock: cannot be locked: Permission denied" == complaints(run)[-1]
    assert [] == [run for run in runs if not _is_well_behaved(run)]


def test_lookups_with_a_read_only_data_directory_answer(limited: Geocli) -> None:
    """SQLite cannot open a store in WAL mode there, so the databases are asked, and the answer is not stored."""
    limited("lookup", "81.2.69.160")
    limited("flush")
    limited.data_dir.chmod(0o500)
    try:
        run = limited("lookup", "-F", "city", "81.2.69.160")
    finally:
        limited.data_dir.chmod(0o700)

    assert [{"city": "London"}] == objects(run.stdout)
    assert (4 if complaints(run) else 0) == run.returncode


# a full disk


@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",),
        ("lookup", "-f", "table", "81.2.69.160"),
        ("lookup", "-f", "value", "81.2.69.160"),
        ("batch",),
        ("flush", "--json"),
        ("stats",),
        ("stats", "-f", "table"),
        ("db", "list"),
        ("db", "list", "-f", "table"),
        ("db", "verify"),
        ("clear", "--yes"),
        ("-h",),
    ],
    ids=" ".join,
)
def test_a_full_standard_output_is_one_line(located: Geocli, arguments: tuple[str, ...]) -> None:
    """When standard output is full, no command exits with 0."""
    with open("/dev/full", "wb") as full, located.start(*arguments, stdout=full) as process:
        _, errors = process.communicate(b"81.2.69.160\n", timeout=60)

    assert (1, b"geocli: standard streams: No space left on device\n") == (process.returncode, errors)


# configuration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("datadir = '/x'", "1: datadir: unknown key; did you mean data_dir?"),
        ("zzz = 1", "1: zzz: unknown key; known: data_dir, database_dirs, "),
        ("data_dir = 1", "1: data_dir: 1 is not a string"),
        ("database_dirs = '/x'", "1: database_dirs: '/x' is not a list of strings"),
        ("lock_timeout_seconds = -1", "1: lock_timeout_seconds: -1 is not a number of seconds"),
        ("busy_timeout_seconds = nan", "1: busy_timeout_seconds: nan is not a number of seconds"),
        ("allow_network_fs = 'yes'", "1: allow_network_fs: 'yes' is not true or false"),
        ("= broken", " configuration: not TOML: "),
        ("a = '\xff'", " configuration: not TOML: "),
    ],
)
@pytest.mark.parametrize("arguments", [("lookup", "81.2.69.160"), ("flush",), ("stats",)], ids=" ".join)
def test_an_unusable_configuration(
    located: Geocli, tmp_path: Path, text: str, expected: str, arguments: tuple[str, ...]
) -> None:
    """The error names the file, the line and the key; the exit status is 2, and nothing is done."""
    config = tmp_path / "config.toml"
    config.write_bytes(text.encode("latin-1"))
    run = located(*arguments)

    assert (2, b"") == (run.returncode, run.stdout)
    assert complaint(run).startswith(f"{config}:{expected}")
    assert not located.data_dir.exists()


@pytest.mark.parametrize(("name", "reason"), [("missing", "No such file or directory"), (".", "Is a directory")])
def test_a_configuration_that_cannot_be_read(located: Geocli, tmp_path: Path, name: str, reason: str) -> None:
    """A named file must exist."""
    run = located("--config", str(tmp_path / name), "stats")

    assert 2 == run.returncode
    assert f"{tmp_path / name}: configuration: cannot be read: {reason}" == complaint(run)


@pytest.mark.parametrize("variable", ["GEOCLI_LOCK_TIMEOUT", "GEOCLI_BUSY_TIMEOUT"])
@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan", "1e12"])
def test_an_unusable_environment(located: Geocli, variable: str, text: str) -> None:
    """The error names the variable."""
    run = located("lookup", "81.2.69.160", environ={variable: text})

    assert (2, b"") == (run.returncode, run.stdout)
    assert f"environment: {variable}: '{text}' is not a number of seconds" == complaint(run)


# databases


def _truncated(path: Path) -> None:
    build(path, CITIES)
    path.write_bytes(path.read_bytes()[:-100])


def _html(path: Path) -> None:
    path.write_bytes(b"<!DOCTYPE html><html><title>404 Not Found</title></html>")


def _empty(path: Path) -> None:
    path.touch()


def _directory(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _dangling(path: Path) -> None:
    path.symlink_to("/nonexistent.mmdb")


def _only_a_marker(path: Path) -> None:
    path.write_bytes(b"\xab\xcd\xefMaxMind.com")


DAMAGED = {
    _truncated: "not a readable MaxMind DB: ",
    _html: "not a readable MaxMind DB: ",
    _only_a_marker: "not a readable MaxMind DB: ",
    _empty: "empty",
    _directory: "not a regular file",
    _pipe: "not a regular file",
    _dangling: "cannot be read: No such file or directory",
}
damaged = pytest.mark.parametrize(
    ("damages", "reason"), DAMAGED.items(), ids=[damages.__name__.strip("_") for damages in DAMAGED]
)


@damaged
def test_a_damaged_database_among_others(located: Geocli, damages: Callable[[Path], None], reason: str) -> None:
    """One line names the database, and the others answer: exit status 0."""
    path = located.db_dir / "A.mmdb"
    damages(path)
    run = located("lookup", "-F", "city", "81.2.69.160")

    assert (0, [{"city": "London"}]) == (run.returncode, objects(run.stdout))
    assert complaint(run).startswith(f"{path}: {reason}")


@damaged
def test_a_damaged_database_alone(geocli: Geocli, damages: Callable[[Path], None], reason: str) -> None:
    """The built-in data answer with the country."""
    path = geocli.db_dir / "A.mmdb"
    damages(path)
    run = geocli("lookup", "-F", "country_code,source", "8.8.8.8")

    assert (0, [{"country_code": "US", "source": "rir"}]) == (run.returncode, objects(run.stdout))
    assert complaint(run).startswith(f"{path}: {reason}")


@damaged
@pytest.mark.parametrize("command", ["lookup", "batch"])
def test_a_damaged_database_given_by_db(
    geocli: Geocli, command: str, damages: Callable[[Path], None], reason: str
) -> None:
    """If no other source can answer, the exit status is 3, the entry has the error, and the next lookup asks again."""
    path = geocli.db_dir / "A.mmdb"
    damages(path)
    fields = ("-F", "status,error")
    last = ("81.2.69.160",) if command == "lookup" else ("-f", "jsonl")
    run = geocli(command, "--db", str(path), *fields, *last, stdin=b"81.2.69.160\n")
    (entry,) = objects(run.stdout)

    assert "unresolved" == entry["status"]
    assert f"{path}: {reason}" in f"{entry['error']}"
    assert complaint(run).startswith(f"{path}: {reason}")
    assert 3 == run.returncode
    assert [] == dirty(geocli)


@damaged
def test_a_damaged_database_is_reported_by_checks(geocli: Geocli, damages: Callable[[Path], None], reason: str) -> None:
    """`db verify` and `stats --check` exit with an error and name it; `db list` lists it."""
    path = geocli.db_dir / "A.mmdb"
    damages(path)
    verify, check, listed = geocli("db", "verify"), geocli("stats", "--check"), geocli("db", "list")

    assert (3, 1, 0) == (verify.returncode, check.returncode, listed.returncode)
    assert [True, True] == [complaints(run)[0].startswith(f"{path}: {reason}") for run in (verify, check)]
    assert str(path).encode() in listed.stdout


def test_a_database_without_permissions(limited: Geocli) -> None:
    """One message names the database, and another the field that is empty without it; other databases answer."""
    path = limited.db_dir / "GeoLite2-ASN.mmdb"
    path.chmod(0)
    run = limited("lookup", "-F", "city,asn", "81.2.69.160")

    assert (0, [{"city": "London", "asn": None}]) == (run.returncode, objects(run.stdout))
    failed, empty = complaints(run)
    assert failed.startswith(f"{path}: not a readable MaxMind DB: ")
    assert "asn: empty in every resolved row" == empty


def test_a_database_directory_without_permissions(limited: Geocli) -> None:
    """A line names the database, and the built-in data answer."""
    limited.db_dir.chmod(0)
    try:
        run = limited("lookup", "-F", "source", "8.8.8.8")
    finally:
        limited.db_dir.chmod(0o700)

    assert (0, [{"source": "rir"}]) == (run.returncode, objects(run.stdout))
    assert f"{limited.db_dir}: cannot be listed: Permission denied" == complaint(run)


def test_a_database_that_is_damaged_inside(geocli: Geocli) -> None:
    """Metadata are valid, the tree is not: one line, exit status 3 where no other source may answer, no crash."""
    path = build(geocli.db_dir / "A.mmdb", CITIES)
    data = bytearray(path.read_bytes())
    end = data.rindex(b"\xab\xcd\xefMaxMind.com")
    data[:end] = b"\xff" * end
    path.write_bytes(data)
    run = geocli("lookup", "--db", str(path), "81.2.69.160")

    assert 3 == run.returncode
    assert complaint(run).startswith(f"{path}: damaged: ")
