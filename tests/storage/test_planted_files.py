"""Files that an attacker planted under names that geocli or SQLite will open: rejected by name, and untouched."""

from __future__ import annotations

import gzip
import json
import os
import socket
import stat
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from geocli.backoff import BackOff
from geocli.errors import StorageError
from tests.helpers.clock import Clock
from tests.helpers.command_output import complaints, objects
from tests.helpers.data_directories import local
from tests.helpers.databases import LONDON, build
from tests.helpers.populated_directory import ANSWERS, COMMANDS, DIRTY, LEFT_OVER, STORED, is_all_there, prepared

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_httpserver import HTTPServer

    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow

PRECIOUS = b"precious\n"
PATIENCE_SECONDS = 30
"""How long a command may take that must not wait at all."""
ALL = {**COMMANDS, "clear": (("clear", "--yes"), b""), "check": (("stats", "--check"), b"")}


def _fifo(path: Path, _: Path) -> None:
    os.mkfifo(path)


def _link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def _dangling_link(path: Path, target: Path) -> None:
    path.symlink_to(target.with_name("made"))


def _link_to_a_device(path: Path, _: Path) -> None:
    path.symlink_to("/dev/full")


def _directory(path: Path, _: Path) -> None:
    path.mkdir()


def _hard_link(path: Path, target: Path) -> None:
    path.hardlink_to(target)


def _socket(path: Path, _: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(path.parent, os.O_RDONLY)  # because the path of a socket has at most 107 bytes
        listener.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


KINDS = [_fifo, _link, _dangling_link, _link_to_a_device, _directory, _hard_link, _socket]
NAMES = ["geocli.db", "geocli.db-journal", "geocli.db-wal", "geocli.db-shm"]
LOCKS = {"journal.lock": {"lookup", "batch", "flush", "re-resolve", "clear"}, "flush.lock": {"flush", "clear"}}
"""The commands that take each lock."""


def _identity(path: Path) -> tuple[int, int, int, int]:
    status = path.lstat()
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns


class Planted:
    """A data directory with answers everywhere, and something planted under one of its names."""

    def __init__(self, home: Path, name: str, plant: Callable[[Path, Path], None]) -> None:
        self.geocli = prepared(home)
        self.path, self.other, self.away = self.geocli.data_dir / name, home / "other", home / "away"
        self.other.write_bytes(PRECIOUS)
        with suppress(FileNotFoundError):
            self.path.rename(self.away)
        plant(self.path, self.other)
        self.before = _identity(self.path)

    def run(self, command: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command, which must end soon."""
        arguments, stdin = ALL[command]
        return subprocess.run(
            [*self.geocli.command, *arguments],
            input=stdin,
            capture_output=True,
            env=self.geocli.environ,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def check_untouched(self) -> None:
        """Check that neither the planted file nor its target was written."""
        assert self.before == _identity(self.path)
        assert PRECIOUS == self.other.read_bytes()
        assert not self.other.with_name("made").exists()

    def put_back(self) -> None:
        """Remove the planted file, as the error advises."""
        self.path.rmdir() if self.path.is_dir() and not self.path.is_symlink() else self.path.unlink()
        with suppress(FileNotFoundError):
            self.away.rename(self.path)


@pytest.mark.parametrize("plant", KINDS, ids=lambda plant: plant.__name__.strip("_"))
@pytest.mark.parametrize("name", NAMES)
def test_nothing_planted_is_opened_by_sqlite(tmp_path: Path, name: str, plant: Callable[[Path, Path], None]) -> None:
    """Lookups answer from the sources, writing commands fail with 4, each names the file, and it is untouched."""
    planted = Planted(tmp_path, name, plant)
    runs = {command: planted.run(command) for command in ALL}
    planted.check_untouched()

    for command, count in ANSWERS.items():
        assert (0, count) == (runs[command].returncode, len(objects(runs[command].stdout))), command
        assert {str(planted.path)} == {line.split(": ")[0] for line in complaints(runs[command])}, command
    for command in ("flush", "re-resolve", "clear"):
        assert (4, b"") == (runs[command].returncode, runs[command].stdout), command
        assert str(planted.path) == complaints(runs[command])[0].split(": ")[0], command
    assert any(line.startswith(f"{planted.path}: ") for line in json.loads(runs["stats"].stdout)["problems"])
    assert 1 == runs["check"].returncode
    assert str(planted.path) in runs["check"].stdout.decode() + runs["check"].stderr.decode()
    ips = {entry["ip"] for command in ANSWERS for entry in objects(runs[command].stdout)}
    planted.put_back()
    is_all_there(planted.geocli, {STORED, LEFT_OVER, DIRTY} | ips)


@pytest.mark.parametrize("plant", KINDS, ids=lambda plant: plant.__name__.strip("_"))
@pytest.mark.parametrize("name", LOCKS)
def test_nothing_planted_is_a_lock(tmp_path: Path, name: str, plant: Callable[[Path, Path], None]) -> None:
    """Commands that take the lock fail with 4 and name it; answers are printed, and nothing is touched or lost."""
    planted = Planted(tmp_path, name, plant)
    runs = {command: planted.run(command) for command in ("lookup", "batch", "flush", "re-resolve", "clear")}
    planted.check_untouched()

    assert ANSWERS == {command: len(objects(runs[command].stdout)) for command in ANSWERS}
    for command in LOCKS[name]:
        assert 4 == runs[command].returncode, command
        assert str(planted.path) == complaints(runs[command])[0].split(": ")[0], command
    planted.put_back()
    assert (0, b"") == ((healed := planted.geocli("flush")).returncode, healed.stderr)


@pytest.mark.parametrize("plant", KINDS, ids=lambda plant: plant.__name__.strip("_"))
def test_nothing_planted_is_a_lock_of_re_resolve(tmp_path: Path, plant: Callable[[Path, Path], None]) -> None:
    """Asking again fails with 4 and names its lock."""
    planted = Planted(tmp_path, "re-resolve.lock", plant)
    run = planted.run("re-resolve")
    planted.check_untouched()

    assert (4, b"") == (run.returncode, run.stdout)
    assert [str(planted.path)] == [line.split(": ")[0] for line in complaints(run)]


@pytest.mark.parametrize("plant", KINDS, ids=lambda plant: plant.__name__.strip("_"))
@pytest.mark.parametrize("name", ["journal", "journal.3-planted.draining"])
def test_nothing_planted_is_a_journal(tmp_path: Path, name: str, plant: Callable[[Path, Path], None]) -> None:
    """Nothing is written through the name of a journal or a segment, and no command waits for its other end."""
    planted = Planted(tmp_path, name, plant)
    runs = {command: planted.run(command) for command in COMMANDS}

    assert PRECIOUS == planted.other.read_bytes()
    assert not planted.other.with_name("made").exists()
    assert ANSWERS == {command: len(objects(runs[command].stdout)) for command in ANSWERS}
    if plant is not _hard_link:  # a flush only reads that, and takes this name of it away
        planted.check_untouched()
        assert 4 == runs["flush"].returncode
        assert complaints(runs["flush"])[0].startswith(f"{planted.path}: ")


@pytest.mark.parametrize("plant", KINDS, ids=lambda plant: plant.__name__.strip("_"))
@pytest.mark.parametrize("name", ["backoff-web.json", "backoff-web.json.part", "backoff.lock"])
def test_nothing_planted_is_a_pause_file(tmp_path: Path, name: str, plant: Callable[[Path, Path], None]) -> None:
    """A pause is neither read from the planted file nor written through it; the process still observes it."""
    (tmp_path / "data").mkdir(mode=0o700)
    target = tmp_path / "other"
    target.write_bytes(PRECIOUS)
    plant(tmp_path / "data" / name, target)
    back_off = BackOff(local(tmp_path / "data"), "backoff-web")

    assert back_off.pause(Clock()()) is None
    back_off.failed(Clock()(), "HTTP 500", 500, None)
    assert back_off.pause(Clock()()) is not None
    assert PRECIOUS == target.read_bytes()
    assert not target.with_name("made").exists()


@pytest.mark.parametrize("plant", KINDS, ids=lambda plant: plant.__name__.strip("_"))
def test_a_file_that_is_opened_is_examined_first(tmp_path: Path, plant: Callable[[Path, Path], None]) -> None:
    """Whatever name a file of the directory has, it is opened only as a regular file with one name."""
    (tmp_path / "data").mkdir(mode=0o700)
    target = tmp_path / "other"
    target.write_bytes(PRECIOUS)
    plant(tmp_path / "data" / "any", target)
    before = len(os.listdir("/proc/self/fd"))

    for flags in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_CREAT | os.O_APPEND):
        with pytest.raises((OSError, StorageError)) as caught:
            local(tmp_path / "data").open("any", flags)
        assert f"{tmp_path}/data/any" in str(caught.value)
    assert PRECIOUS == target.read_bytes()
    assert not target.with_name("made").exists()
    assert before == len(os.listdir("/proc/self/fd"))


DATABASE = "dbip-city-lite.mmdb"


@pytest.mark.parametrize("plant", KINDS, ids=lambda plant: plant.__name__.strip("_"))
@pytest.mark.parametrize("name", [DATABASE, f"{DATABASE}.sha256", ".geocli-update.lock"])
def test_nothing_planted_is_updated(
    geocli: Geocli, tmp_path: Path, httpserver: HTTPServer, name: str, plant: Callable[[Path, Path], None]
) -> None:
    """`db update` and `db verify` end soon: the planted file is reported or replaced, and nothing else is."""
    data = build(tmp_path / "made.mmdb", {"8.8.8.0/24": LONDON}).read_bytes()
    path = f"/dbip-city-lite-{datetime.now(UTC):%Y-%m}.mmdb.gz"
    httpserver.expect_request(path).respond_with_data(gzip.compress(data))
    environ = {"GEOCLI_DBIP_URL": httpserver.url_for("/"), "NO_PROXY": "*"}
    target = tmp_path / "other"
    target.write_bytes(PRECIOUS)
    plant(geocli.db_dir / name, target)
    update = geocli("db", "update", "dbip-city-lite", environ=environ)
    verify = geocli("db", "verify", str(geocli.db_dir / DATABASE))

    assert PRECIOUS == target.read_bytes()
    assert not target.with_name("made").exists()
    if update.returncode:
        assert complaints(update)[0].startswith(f"{geocli.db_dir}/{name}: ")
        assert verify.returncode or name == ".geocli-update.lock"
    else:
        assert (0, b"") == (verify.returncode, verify.stderr)
        assert stat.S_ISREG((geocli.db_dir / name).lstat().st_mode)
        assert data == (geocli.db_dir / DATABASE).read_bytes()
