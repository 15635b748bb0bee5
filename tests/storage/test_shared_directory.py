"""A data directory of several users: each of them can use all files, regardless of the creator, and no one else."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.helpers.command_output import complaint, complaints, objects
from tests.helpers.data_directories import stored_rows
from tests.helpers.geocli_process import Geocli
from tests.helpers.other_users import GROUP, IS_ROOT, MEMBER, as_user
from tests.helpers.waiting import read_line

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

PERMANENT_FILES = {"geocli.db", "geocli.db-shm", "geocli.db-wal", "flush.lock", "journal.lock", "journal.bad"}
READER = (
    "import sqlite3, sys\n"
    "rows = sqlite3.connect(sys.argv[1]).execute('SELECT ip FROM geo_cache')\n"
    "print(next(rows), flush=True)\n"
    "sys.stdin.read()\n"
)
needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root, to become another user")


def _shared(shared: Path, owner: int) -> Geocli:
    """Return geocli with a data directory for a group."""
    geocli = Geocli(shared)
    geocli.data_dir.mkdir()
    os.chown(geocli.data_dir, owner, GROUP)
    geocli.data_dir.chmod(0o2770)
    return geocli


def _rights(geocli: Geocli) -> dict[str, str]:
    """Return the files of a group directory with a wrong group or wrong permissions."""
    status = {path.name: path.lstat() for path in geocli.data_dir.iterdir()}
    modes = {name: f"{entry.st_gid} {stat.filemode(entry.st_mode)}" for name, entry in status.items()}
    return {name: mode for name, mode in modes.items() if mode != f"{GROUP} -rw-rw----"}


@contextmanager
def _reading(geocli: Geocli) -> Iterator[None]:
    """Keep the store open as a user, so that the WAL files of SQLite stay."""
    geocli_command, python = geocli.command, geocli.command[:-2]
    geocli.command = python  # type: ignore[assignment]
    try:
        reader = geocli.start("-c", READER, str(geocli.data_dir / "geocli.db"), bufsize=0)
    finally:
        geocli.command = geocli_command
    with reader:
        assert read_line(reader.stdout)
        assert {"geocli.db-shm", "geocli.db-wal"} <= set(os.listdir(geocli.data_dir))
        try:
            yield
        finally:
            reader.kill()


def _damaged(geocli: Geocli) -> None:
    with open(geocli.data_dir / "journal", "ab") as journal:
        journal.write(b"garbage\n")


def _does(geocli: Geocli, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command that must succeed without a word."""
    run = geocli(*arguments, stdin=stdin)
    assert (0, b"") == (run.returncode, run.stderr)
    assert {} == _rights(geocli)
    return run


@needs_root
@pytest.mark.parametrize("owner", [0, MEMBER], ids=["root's directory", "the user's directory"])
@pytest.mark.parametrize("first", ["root", "user"])
def test_root_and_a_user_share_a_directory(shared: Path, first: str, owner: int) -> None:
    """Whoever creates which file first, both look up, batch and flush, and read the entries of the other."""
    root = _shared(shared, owner)
    user = as_user(root)
    one_user, other_user = (root, user) if first == "root" else (user, root)

    _does(one_user, "lookup", "8.8.8.8")
    _does(other_user, "lookup", "1.1.1.1")
    assert ["AU", "US"] == [_does(one_user, "lookup", "--cached-only", "-f", "value", ip).stdout.decode().strip()
                            for ip in ("1.1.1.1", "8.8.8.8")]  # fmt: skip
    _does(one_user, "flush")
    with _reading(one_user):
        _does(other_user, "batch", stdin=b"9.9.9.9\n193.0.6.139\n")
        _damaged(other_user)
        assert f"{root.data_dir}/journal.bad: 8 damaged bytes were quarantined" == complaint(other_user("flush"))
        assert {} == _rights(root)
    with _reading(other_user):
        _does(one_user, "batch", stdin=b"200.3.14.10\n")
        _damaged(one_user)
        assert f"{root.data_dir}/journal.bad: 8 damaged bytes were quarantined" == complaint(one_user("flush"))
        assert {} == _rights(root)
    ips = ["1.1.1.1", "193.0.6.139", "200.3.14.10", "8.8.8.8", "9.9.9.9"]
    for run in (one_user, other_user):
        actual = objects(_does(run, "lookup", "--cached-only", *ips).stdout)
        assert [("AU", True), ("NL", True), ("UY", True), ("US", True), ("US", True)] == [
            (entry["country_code"], entry["cached"]) for entry in actual
        ]
        _does(run, "re-resolve", "--all")
    assert ips == [ip for (ip,) in stored_rows(root)]
    assert b"garbage\n" * 2 == (root.data_dir / "journal.bad").read_bytes()
    assert set() == set(os.listdir(root.data_dir)) - PERMANENT_FILES - {"re-resolve.lock"}


@needs_root
def test_roots_cron_leaves_a_users_directory_to_the_user(shared: Path) -> None:
    """In the private directory of a user, files that root creates belong to the user, who can use them."""
    root = Geocli(shared)
    root.data_dir.mkdir(mode=0o700)
    os.chown(root.data_dir, MEMBER, MEMBER)
    user = as_user(root)
    root("lookup", "8.8.8.8")
    _damaged(root)
    root("flush")
    with _reading(root):
        runs = [user("lookup", "--cached-only", "8.8.8.8"), user("lookup", "1.1.1.1"), user("flush")]
        _damaged(user)
        os.chown(root.data_dir / "journal", MEMBER, MEMBER)
        root("batch", stdin=b"9.9.9.9\n")
        runs += [user("flush"), user("stats")]
        files = {path.name: path.stat() for path in root.data_dir.iterdir()}

    assert [0] * 5 == [run.returncode for run in runs]
    assert [f"{root.data_dir}/journal.bad: 8 damaged bytes were quarantined"] == [
        line for run in runs for line in complaints(run)
    ]
    assert dict.fromkeys(PERMANENT_FILES, (MEMBER, MEMBER, 0o600)) == {
        name: (actual.st_uid, actual.st_gid, stat.S_IMODE(actual.st_mode)) for name, actual in files.items()
    }
    assert ["1.1.1.1", "8.8.8.8", "9.9.9.9"] == [ip for (ip,) in stored_rows(root)]


@needs_root
@pytest.mark.parametrize("mode", [0o700, 0o755], ids=oct)
def test_directory_of_another_user(shared: Path, mode: int) -> None:
    """Without write access, answers are printed, with a message for each inaccessible file, and exit status 4."""
    root = Geocli(shared)
    root.data_dir.mkdir()
    root("lookup", "8.8.8.8")
    root("flush")
    root("lookup", "1.1.1.1")
    root.data_dir.chmod(mode)
    before = {path.name: (path.stat().st_mtime_ns, path.stat().st_mode) for path in root.data_dir.iterdir()}
    user = as_user(root)
    lookup = user("lookup", "-f", "value", "8.8.8.8", "9.9.9.9")
    batch = user("batch", "-f", "value", stdin=b"8.8.8.8\n" * 600 + b"9.9.9.9\n" * 600)
    processes = [user("flush"), user("stats"), user("re-resolve", "--all")]

    assert (4, b"US\nUS\n") == (lookup.returncode, lookup.stdout)
    assert (4, b"US\n" * 1200) == (batch.returncode, batch.stdout)
    for run in (lookup, batch):
        lines = complaints(run)
        assert f"{root.data_dir}/journal.lock: cannot be locked: Permission denied" == lines[-1]
        assert 2 >= len(lines) == len({line.split(": ")[0] for line in lines})
    assert [] == [run for run in processes if b"internal error" in run.stderr or run.returncode not in {0, 4}]
    assert before == {path.name: (path.stat().st_mtime_ns, path.stat().st_mode) for path in root.data_dir.iterdir()}
    assert 0 == root("flush").returncode
    assert ["1.1.1.1", "8.8.8.8"] == [ip for (ip,) in stored_rows(root)]


@pytest.mark.parametrize("is_shared", [False, True], ids=["private", "shared"])
@pytest.mark.parametrize("umask", ["000", "022", "077"])
def test_umask_has_no_effect(shared: Path, umask: str, *, is_shared: bool) -> None:
    """Each file, including those of SQLite, is for the owner alone, or for the group of the directory."""
    geocli = Geocli(shared)
    if is_shared:
        geocli.data_dir.mkdir()
        geocli.data_dir.chmod(0o2770)
    geocli.command = ("sh", "-c", f'umask {umask}; exec "$@"', "sh", *Geocli.command)  # type: ignore[assignment]
    geocli("lookup", "8.8.8.8")
    _damaged(geocli)
    flush = geocli("flush")
    with _reading(geocli):
        geocli("batch", stdin=b"1.1.1.1\n")
        journal = stat.S_IMODE((geocli.data_dir / "journal").stat().st_mode)
        again = geocli("flush")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in geocli.data_dir.iterdir()}

    mode = 0o660 if is_shared else 0o600
    assert (0, 0, b"") == (flush.returncode, again.returncode, again.stderr)
    assert dict.fromkeys(PERMANENT_FILES, mode) == modes
    assert mode == journal
    assert (0o2770 if is_shared else 0o700) == stat.S_IMODE(geocli.data_dir.stat().st_mode)
