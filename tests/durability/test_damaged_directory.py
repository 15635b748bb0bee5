"""An unusable data directory: answers are printed, the problem is reported once, and no file is damaged or lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from geocli.storage.flush import Flush
from geocli.storage.journal import Journal
from tests.helpers.clock import Clock
from tests.helpers.command_output import complaint, complaints, objects
from tests.helpers.data_directories import local, stored_rows
from tests.helpers.entries import resolved
from tests.helpers.other_users import IS_ROOT
from tests.helpers.populated_directory import (
    ANSWERS,
    BATCH,
    COMMANDS,
    DIRTY,
    LEFT_OVER,
    OTHER,
    STORED,
    is_all_there,
    prepared,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from geocli.storage.frames import Frame
    from geocli.storage.recovery import Damage
    from geocli.storage.segments import Segment
    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow


@pytest.fixture
def troubled(tmp_path: Path) -> Geocli:
    """Run geocli on a directory with answers in the store, in a segment and in the journal."""
    return prepared(tmp_path)


def _identity(path: Path) -> tuple[int, ...]:
    """Return properties by which to detect that a file was replaced or written."""
    status = path.lstat()
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns


def _identities(geocli: Geocli) -> dict[str, tuple[int, ...]]:
    """Return those of all files except the one in which SQLite notes readers."""
    return {path.name: _identity(path) for path in geocli.data_dir.iterdir() if path.name != "geocli.db-shm"}


def test_directory_that_is_not_mounted(troubled: Geocli, tmp_path: Path) -> None:
    """While its link is dangling, answers come with exit status 4, and nothing is created; later all is there."""
    disk, away = tmp_path / "disk", tmp_path / "away"
    troubled.data_dir.rename(disk)
    troubled.data_dir.symlink_to(disk)
    disk.rename(away)
    runs = {name: troubled(*arguments, stdin=stdin) for name, (arguments, stdin) in COMMANDS.items()}

    for command, count in ANSWERS.items():
        assert (4, count) == (runs[command].returncode, len(objects(runs[command].stdout)))
        reason = "cannot be used as data directory: No such file or directory"
        assert f"{troubled.data_dir}: {reason}" == complaint(runs[command])
    assert [] == [run for run in runs.values() if b"internal error" in run.stderr or run.returncode not in {0, 4}]
    assert not disk.exists()
    away.rename(disk)
    is_all_there(troubled, {STORED, LEFT_OVER, DIRTY})


def test_directory_that_was_removed(troubled: Geocli) -> None:
    """The next lookup creates a new one, in which later answers are stored."""
    shutil.rmtree(troubled.data_dir)
    runs = {name: troubled(*arguments, stdin=stdin) for name, (arguments, stdin) in COMMANDS.items()}

    assert dict.fromkeys(COMMANDS, (0, b"")) == {name: (run.returncode, run.stderr) for name, run in runs.items()}
    promised = {entry["ip"] for name in ("lookup", "batch") for entry in objects(runs[name].stdout)}
    is_all_there(troubled, promised)


def _symbolic_link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def _link_to_a_device(path: Path, _: Path) -> None:
    path.symlink_to("/dev/full")


def _pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def _directory(path: Path, _: Path) -> None:
    path.mkdir()


def _device(path: Path, _: Path) -> None:
    if not IS_ROOT:
        pytest.skip("only root makes devices")
    with suppress(PermissionError):
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
        return
    pytest.skip("no devices can be made here")


@pytest.mark.parametrize(
    "make", [_symbolic_link, _link_to_a_device, _pipe, _directory, _device], ids=lambda make: make.__name__.strip("_")
)
def test_journal_that_is_not_a_file(troubled: Geocli, tmp_path: Path, make: Callable[[Path, Path], None]) -> None:
    """Answers come with exit status 4, segments are stored, and the journal is not touched."""
    journal, target = troubled.data_dir / "journal", tmp_path / "other"
    target.write_bytes(b"precious")
    journal.rename(tmp_path / "away")
    make(journal, target)
    before = _identity(journal)
    runs = {name: troubled(*arguments, stdin=stdin) for name, (arguments, stdin) in COMMANDS.items()}

    assert before == _identity(journal)
    assert b"precious" == target.read_bytes()
    for command, count in ANSWERS.items():
        assert (4, count) == (runs[command].returncode, len(objects(runs[command].stdout)))
    assert 4 == runs["flush"].returncode == runs["re-resolve"].returncode
    for command in ("lookup", "batch", "flush"):
        assert complaint(runs[command]).startswith(f"{journal}: "), command
    assert {LEFT_OVER, STORED} == {ip for (ip,) in stored_rows(troubled)}
    assert 0 == runs["stats"].returncode
    journal.rmdir() if journal.is_dir() else journal.unlink()
    (tmp_path / "away").rename(journal)
    is_all_there(troubled, {STORED, LEFT_OVER, DIRTY})


@pytest.mark.parametrize("fault", ["journal", "directory"])
def test_re_resolve_reports_the_problem_once(troubled: Geocli, fault: str) -> None:
    """Neither the answers nor the flush after them can be stored, for one reason, which is one line."""
    if fault == "journal":
        (troubled.data_dir / "journal").unlink()
        os.mkfifo(troubled.data_dir / "journal")
    else:
        troubled.data_dir.chmod(0o777)
    run = troubled("re-resolve", "--all")

    assert (4, b"") == (run.returncode, run.stdout)
    assert complaint(run).startswith(f"{troubled.data_dir}{'/journal' if fault == 'journal' else ''}: ")


def test_journal_with_another_name_is_not_written_and_is_flushed(troubled: Geocli, tmp_path: Path) -> None:
    """As in a backup made of hard links: no answer is appended to it, a flush stores it, and then all is well."""
    backup = tmp_path / "backup"
    backup.hardlink_to(troubled.data_dir / "journal")
    before = backup.read_bytes(), stat.filemode(backup.stat().st_mode)
    lookup = troubled("lookup", "-F", "city", STORED, OTHER)
    batch = troubled("batch", "-f", "jsonl", "-F", "city", stdin=BATCH)

    assert (4, 2, 768) == (lookup.returncode, len(objects(lookup.stdout)), len(objects(batch.stdout)))
    assert complaint(lookup) == complaint(batch)
    assert complaint(lookup).startswith(f"{troubled.data_dir}/journal: not a regular file, or one with a hard link; ")
    is_all_there(troubled, {STORED, LEFT_OVER, DIRTY})
    again = troubled("lookup", OTHER)
    assert (0, b"") == (again.returncode, again.stderr)
    assert before == (backup.read_bytes(), stat.filemode(backup.stat().st_mode))
    is_all_there(troubled, {STORED, LEFT_OVER, DIRTY, OTHER})


class Linked(Journal):
    """Gets another name while it is flushed: the journal before it is sealed, and each segment while it is read."""

    links: list[Path]

    def _link(self, path: str) -> None:
        self.links.append(Path(path).parent.with_name(f"link-{len(self.links)}"))
        os.link(path, self.links[-1])

    def seal(self, at_least: int = 1) -> Segment | None:
        self._link(self._directory.file("journal"))
        return super().seal(at_least)

    def replay(self, segment: Segment, start: int = 0) -> Iterator[tuple[int, Frame | Damage]]:
        for number, result in enumerate(super().replay(segment, start)):
            if not number:
                self._link(self._directory.file(segment.name))
            yield result


def test_journal_that_gets_another_name_while_it_is_flushed(tmp_path: Path) -> None:
    """All of it is stored, its names in the data directory are removed, and the other names keep the content."""
    directory = local(tmp_path / "data")
    journal = Linked(directory)
    journal.links = []
    journal.append([resolved("1.1.1.1")])
    first = (tmp_path / "data" / "journal").read_bytes()
    Journal(directory).seal()
    journal.append([resolved("1.1.1.2")])
    second = (tmp_path / "data" / "journal").read_bytes()
    report = Flush(directory, journal, Clock(), 0).run()

    assert (2, 2, 0) == (report.flushed, report.segments, report.dropped_bytes)
    assert [first, second, second] == [link.read_bytes() for link in journal.links]
    assert {"geocli.db", "flush.lock", "journal.lock"} == set(directory.names())
    with closing(sqlite3.connect(directory.file("geocli.db"))) as db:
        assert [("1.1.1.1",), ("1.1.1.2",)] == db.execute("SELECT ip FROM geo_cache ORDER BY ip").fetchall()


@pytest.fixture
def mounted(troubled: Geocli, tmp_path: Path) -> Geocli:
    """Run geocli in a mount namespace in which the data directory is on NFS."""
    if not IS_ROOT or not shutil.which("unshare"):
        pytest.skip("needs root and unshare (util-linux), to mount a list of mounts for one process")
    device = troubled.data_dir.stat().st_dev
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"23 1 {os.major(device)}:{os.minor(device)} / / rw - nfs4 server:/here rw,vers=4.2\n")
    script = f'mount --bind "{mountinfo}" /proc/$$/mountinfo && exec "$@"'
    troubled.command = ("unshare", "--mount", "sh", "-c", script, "sh", *troubled.command)  # type: ignore[assignment]
    if troubled("--version").returncode != 0:
        pytest.skip("nothing can be mounted over the list of mounts here")
    return troubled


def test_every_command_rejects_a_network_file_system(mounted: Geocli, tmp_path: Path) -> None:
    """Answers come with exit status 4 and a line that names the setting; with that, all entries are stored."""
    before = _identities(mounted)
    runs = {name: mounted(*arguments, stdin=stdin) for name, (arguments, stdin) in COMMANDS.items()}

    assert ANSWERS == {name: len(objects(runs[name].stdout)) for name in ANSWERS}
    reason = (
        "on a network file system (nfs4), on which locks are unreliable; use a local directory, or set allow_network_fs"
    )
    for command in ("lookup", "batch", "flush", "re-resolve"):
        assert 4 == runs[command].returncode, command
        line = f"{mounted.data_dir}: cannot be used as data directory: {reason} = true"
        assert {line} == set(complaints(runs[command])), command
    assert before == _identities(mounted)
    (tmp_path / "config.toml").write_text("system_databases = false\nallow_network_fs = true\n")
    assert 0 == mounted("lookup", OTHER).returncode
    is_all_there(mounted, {STORED, LEFT_OVER, DIRTY, OTHER})
