"""The directory of parts: what is done stays, what is not is removed, and nobody else's files are touched."""

from __future__ import annotations

import json
import subprocess
import sys
from errno import EBADF
from typing import TYPE_CHECKING, Any

import pytest

from geocli.bulk.pipeline import BatchRequest
from geocli.cluster.messages import PartResult, SharedDatabase
from geocli.cluster.output_directory import CompletedPart, OutputDirectory
from geocli.errors import BusyError, ClusterError, SettingsError
from tests import faults

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KEYS = ("a", "b", "c")


def _directory(output: Path | str, *, is_merged: bool = False, **asked: Any) -> OutputDirectory:
    return OutputDirectory(BatchRequest(**asked), str(output), is_merged=is_merged)


def _begun(
    directory: OutputDirectory, keys: Sequence[str] = KEYS, *, is_resumed: bool = False
) -> dict[int, CompletedPart]:
    with directory.opened(keys, is_resumed=is_resumed) as done:
        return done


def _done(home: Path, number: int, rows: bytes) -> PartResult:
    """Write rows as a worker does."""
    name = f"part-{number:06}-0123"
    (home / "_geocli" / name).write_bytes(rows)
    return PartResult(
        begin=8 * number, stop=8 * number + 8, rows=name, frames=b"", counts={"GB": 1}, exit_status=0, problems=()
    )


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """Leave what a run leaves that had two of three parts in place."""
    home = tmp_path / "out"
    directory = _directory(home)
    assert {} == _begun(directory)
    for number in (0, 2):
        directory.commit(number, KEYS[number], _done(home, number, b"rows %d\n" % number))
    (home / "_geocli" / "part-000001-0456").write_bytes(b"half of")
    return home


def _names(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir())


def test_rows_are_put_in_place_and_noted(half: Path) -> None:
    """A part is a file with its number, and a note of what it was made from."""
    assert ["_geocli", "part-000000.csv", "part-000002.csv"] == _names(half)
    assert b"rows 2\n" == (half / "part-000002.csv").read_bytes()
    note = json.loads((half / "_geocli" / "part-000002.json").read_bytes())
    assert {
        "key": "c",
        "begin": 16,
        "stop": 24,
        "size_bytes": 7,
        "counts": {"GB": 1},
        "exit_status": 0,
    } == note


def test_a_later_run_finds_what_is_done(half: Path) -> None:
    """What is noted stays, and what was written and never put in place goes."""
    done = _begun(_directory(half), is_resumed=True)

    assert {0: "a", 2: "c"} == {number: note.key for number, note in done.items()}
    assert ["part-000000.json", "part-000002.json"] == _names(half / "_geocli")


@pytest.mark.parametrize("damage", ["key", "size", "note", "rows"])
def test_a_part_that_is_not_what_was_noted_is_made_again(half: Path, damage: str) -> None:
    """Other input or settings, other rows, or a note that cannot be read: then the part is not done."""
    keys = ("a", "b", "other") if damage == "key" else KEYS
    if damage == "size":
        (half / "part-000002.csv").write_bytes(b"rows")
    if damage == "note":
        (half / "_geocli" / "part-000002.json").write_bytes(b'{"key"')
    if damage == "rows":
        (half / "part-000002.csv").unlink()

    assert [0] == list(_begun(_directory(half), keys, is_resumed=True))
    assert ["_geocli", "part-000000.csv"] == _names(half)


def test_parts_that_there_are_no_more_are_removed(half: Path) -> None:
    """A shorter input leaves no rows of a longer one behind; files that are not ours stay."""
    (half / "notes.txt").write_text("mine")

    _begun(_directory(half), KEYS[:1], is_resumed=True)

    assert ["_geocli", "notes.txt", "part-000000.csv"] == _names(half)


def test_a_directory_in_which_nothing_was_answered_is_empty(tmp_path: Path) -> None:
    """As when no scheduler answered: the next run needs no other name."""
    for _ in range(2):
        assert {} == _begun(_directory(tmp_path / "out"))


def test_a_directory_with_something_in_it_is_left_alone(half: Path, tmp_path: Path) -> None:
    """Nothing is mixed with what is there, unless it is ours and that is asked for."""
    before = _names(half)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "part-000000.csv").write_text("another program's")

    with pytest.raises(SettingsError, match="out is not empty; --resume continues an earlier run, or choose"):
        _begun(_directory(half))
    with pytest.raises(SettingsError, match="foreign is not empty, and not of an earlier run; choose another name"):
        _begun(_directory(foreign), is_resumed=True)

    assert before == _names(half)
    assert ["part-000000.csv"] == _names(foreign)


def test_at_the_end_only_parts_and_notes_are_left(half: Path) -> None:
    """Copies of databases, and rows of attempts that failed, are removed."""
    directory = _directory(half)
    database = half.parent / "x.mmdb"
    database.write_bytes(b"database")
    sent = SharedDatabase(path=str(database), digest="0123", copy=f"{directory.work}/0123")
    directory.upload(sent)
    assert b"database" == (half / "_geocli" / "0123").read_bytes()
    database.unlink()
    directory.upload(sent)

    directory.finish(3)

    assert ["part-000000.json", "part-000002.json"] == _names(half / "_geocli")


@pytest.mark.parametrize("scheme", ["", "memory:/"])
def test_parts_are_merged_in_order(tmp_path: Path, scheme: str) -> None:
    """One file has the rows of all parts, and nothing else is left."""
    output = f"{scheme}{tmp_path}/out.csv"
    directory = _directory(output, is_merged=True)
    _begun(directory)
    for number in (2, 0, 1):
        rows = f"{directory.work}/part-x{number}".removeprefix("file://")
        with directory._system.open(rows, "wb") as stream:  # noqa: SLF001 (as a worker does)
            stream.write(b"rows %d\n" % number)
        done = _done_at(number)
        directory.commit(number, KEYS[number], done)

    directory.finish(3)

    system = directory._system  # noqa: SLF001 (to look at it)
    assert b"rows 0\nrows 1\nrows 2\n" == system.cat_file(output.removeprefix("memory:/"))
    assert ["out.csv"] == [path.rpartition("/")[2] for path in system.ls(str(tmp_path), detail=False)]


def _done_at(number: int) -> PartResult:
    return PartResult(begin=0, stop=0, rows=f"part-x{number}", frames=b"", counts={}, exit_status=0, problems=())


def test_rows_that_cannot_be_seen_here_are_an_error(tmp_path: Path) -> None:
    """A worker that writes to a directory of the same name on another machine is noticed."""
    directory = _directory(tmp_path / "out")
    _begun(directory)

    with pytest.raises(ClusterError, match="is not here; the directory must be shared by all machines"):
        directory.commit(0, "a", _done_at(0))


@pytest.mark.parametrize("is_merged", [False, True])
def test_one_batch_at_a_time_is_in_a_directory(tmp_path: Path, is_merged: bool) -> None:  # noqa: FBT001 (a parameter)
    """Their rows would be mixed; so the second one ends, and the first one's rows are what they are."""
    first, second = (_directory(tmp_path / "out", is_merged=is_merged) for _ in range(2))

    with first.opened(KEYS, is_resumed=False), pytest.raises(BusyError, match=r"out.*: busy: another"):
        _begun(second, is_resumed=True)
    assert {} == _begun(second, is_resumed=True)


def test_a_directory_that_was_removed_meanwhile_is_not_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whoever merged its parts: a lock of what is gone keeps nobody out."""
    monkeypatch.setattr("fcntl.flock", lambda *_: (tmp_path / "out").rmdir())

    with pytest.raises(BusyError):
        _begun(_directory(tmp_path / "out"))


def test_where_there_are_no_locks_a_batch_does_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in NFS, which has none for directories."""

    def refuse(*_: object) -> None:
        raise OSError(EBADF, "Bad file descriptor")

    monkeypatch.setattr("fcntl.flock", refuse)

    assert {} == _begun(_directory(tmp_path / "out"))


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """A file where the directory should be is said to be there."""
    (tmp_path / "out").write_text("a file")

    with pytest.raises(ClusterError, match="out: File exists") as caught:
        _begun(_directory(tmp_path / "out"))
    assert 1 == caught.value.exit_status


def test_an_unknown_protocol_is_an_error() -> None:
    """What fsspec does not know is a wrong option."""
    with pytest.raises(SettingsError, match="-o nowhere://x: Protocol not known: nowhere"):
        _directory("nowhere://x")


@pytest.mark.parametrize(
    ("asked", "ending"),
    [
        ({}, "csv"),
        ({"format": "value"}, "txt"),
        ({"format": "jsonl"}, "jsonl"),
        ({"input": "csv"}, "csv"),
        ({"input": "csv", "delimiter": "\t"}, "tsv"),
        ({"input": "jsonl"}, "jsonl"),
        ({"input": "log"}, "log"),
        ({"input": "log", "is_extract": True, "format": "tsv"}, "tsv"),
    ],
)
def test_parts_are_named_by_what_is_in_them(tmp_path: Path, asked: dict[str, Any], ending: str) -> None:
    """The ending of a part is that of its form, so that other programs read it."""
    directory = _directory(tmp_path / "out", **asked)
    _begun(directory)

    directory.commit(0, "a", _done(tmp_path / "out", 0, b""))

    assert [f"part-000000.{ending}"] == _names(tmp_path / "out")[1:]


FINISH = """
import sys
from pathlib import Path
from tests.test_output_directory import KEYS, _begun, _directory, _done

home = Path(sys.argv[1])
directory = _directory(home)
_begun(directory)
for number, key in enumerate(KEYS):
    directory.commit(number, key, _done(home, number, b"rows"))
directory.finish(len(KEYS))
"""


@pytest.mark.skipif(faults.missing() is not None, reason=str(faults.missing()))
def test_names_of_parts_are_on_disk_in_the_end(tmp_path: Path) -> None:
    """The directory is synced after the last part is in place, and the one above it when it was made."""
    home, log = tmp_path / "above" / "out", tmp_path / "log"
    strace = ["strace", "-f", "-y", "-qq", "-o", str(log), "-e", "trace=?mkdir,?rename,?renameat2,?renameat,fsync"]
    subprocess.run([*strace, sys.executable, "-c", FINISH, str(home)], check=True)

    calls = log.read_text().splitlines()

    made = min(at for at, call in enumerate(calls) if f'mkdir("{home}"' in call)  # fsspec tries again
    placed = max(at for at, call in enumerate(calls) if "rename" in call and f'"{home}/part-' in call)
    assert [] != [call for call in calls[made:placed] if f"<{home.parent}>) = 0" in call]
    assert [] != [call for call in calls[placed:] if f"<{home}>) = 0" in call]
