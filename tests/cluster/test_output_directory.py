"""The output directory: complete parts are kept, incomplete ones removed, and other files are never touched."""

from __future__ import annotations

import json
import subprocess
import sys
from errno import EBADF
from typing import TYPE_CHECKING, Any

import pytest

from geocli.batch.missing_addresses import LineCounts
from geocli.batch.request import BatchRequest
from geocli.cluster.messages import PartResult, SharedDatabase
from geocli.cluster.output_directory import CompletedPart, OutputDirectory
from geocli.errors import BusyError, ClusterError, SettingsError
from tests.helpers import system_call_faults as faults

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.slow

KEYS = ("a", "b", "c")


def _directory(output: Path | str, *, is_merged: bool = False, **options: Any) -> OutputDirectory:
    return OutputDirectory(BatchRequest(**options), str(output), is_merged=is_merged)


def _opened(
    directory: OutputDirectory, keys: Sequence[str] = KEYS, *, is_resumed: bool = False
) -> dict[int, CompletedPart]:
    with directory.opened(keys, is_resumed=is_resumed) as completed:
        return completed


def _result(home: Path, number: int, rows: bytes) -> PartResult:
    """Write rows as a worker does."""
    name = f"part-{number:06}-0123"
    (home / "_geocli" / name).write_bytes(rows)
    return PartResult(
        begin=8 * number,
        stop=8 * number + 8,
        rows=name,
        frames=b"",
        counts={"GB": 1},
        lines=LineCounts(lines=1),
        exit_status=0,
        problems=(),
    )


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """Return a directory in which a run completed two of three parts."""
    home = tmp_path / "out"
    directory = _directory(home)
    assert {} == _opened(directory)
    for number in (0, 2):
        directory.commit(number, KEYS[number], _result(home, number, b"rows %d\n" % number))
    (home / "_geocli" / "part-000001-0456").write_bytes(b"half of")
    return home


def _names(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir())


def test_parts_are_committed_and_recorded(interrupted: Path) -> None:
    """A complete part is a file with its number, and a record of what it was made from."""
    assert ["_geocli", "part-000000.csv", "part-000002.csv"] == _names(interrupted)
    assert b"rows 2\n" == (interrupted / "part-000002.csv").read_bytes()
    note = json.loads((interrupted / "_geocli" / "part-000002.json").read_bytes())
    assert {
        "key": "c",
        "begin": 16,
        "stop": 24,
        "size_bytes": 7,
        "counts": {"GB": 1},
        "lines": LineCounts(lines=1).as_dict(),
        "exit_status": 0,
    } == note


def test_a_later_run_finds_complete_parts(interrupted: Path) -> None:
    """Recorded parts are kept; files that were written but not committed are removed."""
    completed = _opened(_directory(interrupted), is_resumed=True)

    assert {0: "a", 2: "c"} == {number: note.key for number, note in completed.items()}
    assert ["part-000000.json", "part-000002.json"] == _names(interrupted / "_geocli")


@pytest.mark.parametrize("damage", ["key", "size", "note", "rows"])
def test_a_part_that_differs_from_its_record_is_run_again(interrupted: Path, damage: str) -> None:
    """A part with another key, other rows, or an unreadable record is not complete."""
    keys = ("a", "b", "other") if damage == "key" else KEYS
    if damage == "size":
        (interrupted / "part-000002.csv").write_bytes(b"rows")
    if damage == "note":
        (interrupted / "_geocli" / "part-000002.json").write_bytes(b'{"key"')
    if damage == "rows":
        (interrupted / "part-000002.csv").unlink()

    assert [0] == list(_opened(_directory(interrupted), keys, is_resumed=True))
    assert ["_geocli", "part-000000.csv"] == _names(interrupted)


def test_parts_beyond_the_input_are_removed(interrupted: Path) -> None:
    """Parts beyond a shorter input are removed; other files stay."""
    (interrupted / "notes.txt").write_text("mine")

    _opened(_directory(interrupted), KEYS[:1], is_resumed=True)

    assert ["_geocli", "notes.txt", "part-000000.csv"] == _names(interrupted)


def test_a_directory_without_complete_parts_counts_as_empty(tmp_path: Path) -> None:
    """A directory without complete parts, as when no scheduler answered, can be used without --resume."""
    for _ in range(2):
        assert {} == _opened(_directory(tmp_path / "out"))


def test_a_directory_with_other_content_is_refused(interrupted: Path, tmp_path: Path) -> None:
    """A directory with other content is refused, as are parts of an earlier run without --resume."""
    before = _names(interrupted)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "part-000000.csv").write_text("another program's")

    with pytest.raises(SettingsError, match="out is not empty; --resume continues an earlier run, or choose"):
        _opened(_directory(interrupted))
    with pytest.raises(SettingsError, match="foreign is not empty, and not of an earlier run; choose another name"):
        _opened(_directory(foreign), is_resumed=True)

    assert before == _names(interrupted)
    assert ["part-000000.csv"] == _names(foreign)


def test_only_parts_and_records_are_left_at_the_end(interrupted: Path) -> None:
    """Copies of databases, and rows of failed attempts, are removed."""
    directory = _directory(interrupted)
    database = interrupted.parent / "x.mmdb"
    database.write_bytes(b"database")
    sent = SharedDatabase(path=str(database), digest="0123", copy=f"{directory.work}/0123")
    directory.upload(sent)
    assert b"database" == (interrupted / "_geocli" / "0123").read_bytes()
    database.unlink()
    directory.upload(sent)

    directory.finish(3)

    assert ["part-000000.json", "part-000002.json"] == _names(interrupted / "_geocli")


@pytest.mark.parametrize("scheme", ["", "memory:/"])
def test_parts_are_merged_in_order(tmp_path: Path, scheme: str) -> None:
    """The merged file has the rows of all parts, and nothing else remains."""
    output = f"{scheme}{tmp_path}/out.csv"
    directory = _directory(output, is_merged=True)
    _opened(directory)
    for number in (2, 0, 1):
        rows = f"{directory.work}/part-x{number}".removeprefix("file://")
        with directory._system.open(rows, "wb") as stream:  # noqa: SLF001 (as a worker does)
            stream.write(b"rows %d\n" % number)
        result = _result_at(number)
        directory.commit(number, KEYS[number], result)

    directory.finish(3)

    system = directory._system  # noqa: SLF001 (to look at it)
    assert b"rows 0\nrows 1\nrows 2\n" == system.cat_file(output.removeprefix("memory:/"))
    assert ["out.csv"] == [path.rpartition("/")[2] for path in system.ls(str(tmp_path), detail=False)]


def _result_at(number: int) -> PartResult:
    return PartResult(
        begin=0, stop=0, rows=f"part-x{number}", frames=b"", counts={}, lines=LineCounts(), exit_status=0, problems=()
    )


def test_rows_on_another_machine_are_an_error(tmp_path: Path) -> None:
    """A worker that writes to a directory of the same name on another machine is detected."""
    directory = _directory(tmp_path / "out")
    _opened(directory)

    with pytest.raises(ClusterError, match="is not here; the directory must be shared by all machines"):
        directory.commit(0, "a", _result_at(0))


@pytest.mark.parametrize("is_merged", [False, True])
def test_one_batch_at_a_time_uses_a_directory(tmp_path: Path, is_merged: bool) -> None:  # noqa: FBT001 (a parameter)
    """A second batch in the same directory is refused, so that rows do not mix."""
    first, second = (_directory(tmp_path / "out", is_merged=is_merged) for _ in range(2))

    with first.opened(KEYS, is_resumed=False), pytest.raises(BusyError, match=r"out.*: busy: another"):
        _opened(second, is_resumed=True)
    assert {} == _opened(second, is_resumed=True)


def test_a_directory_that_was_removed_is_not_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock on a directory that another batch has merged and removed is worthless."""
    monkeypatch.setattr("fcntl.flock", lambda *_: (tmp_path / "out").rmdir())

    with pytest.raises(BusyError):
        _opened(_directory(tmp_path / "out"))


def test_a_batch_works_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS, for one, has no locks for directories."""

    def refuse(*_: object) -> None:
        raise OSError(EBADF, "Bad file descriptor")

    monkeypatch.setattr("fcntl.flock", refuse)

    assert {} == _opened(_directory(tmp_path / "out"))


def test_a_directory_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    """A file instead of the directory is an error."""
    (tmp_path / "out").write_text("a file")

    with pytest.raises(ClusterError, match="out: File exists") as caught:
        _opened(_directory(tmp_path / "out"))
    assert 1 == caught.value.exit_status


def test_an_unknown_protocol_is_an_error() -> None:
    """A protocol that fsspec does not know is an unusable option."""
    with pytest.raises(SettingsError, match="-o nowhere://x: Protocol not known: nowhere"):
        _directory("nowhere://x")


@pytest.mark.parametrize(
    ("options", "ending"),
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
def test_parts_have_the_extension_of_their_format(tmp_path: Path, options: dict[str, Any], ending: str) -> None:
    """The extension of a part is that of its format, so that other programs can read it."""
    directory = _directory(tmp_path / "out", **options)
    _opened(directory)

    directory.commit(0, "a", _result(tmp_path / "out", 0, b""))

    assert [f"part-000000.{ending}"] == _names(tmp_path / "out")[1:]


FINISH = """
import sys
from pathlib import Path
from tests.cluster.test_output_directory import KEYS, _opened, _directory, _result

home = Path(sys.argv[1])
directory = _directory(home)
_opened(directory)
for number, key in enumerate(KEYS):
    directory.commit(number, key, _result(home, number, b"rows"))
directory.finish(len(KEYS))
"""


@pytest.mark.skipif(faults.missing() is not None, reason=str(faults.missing()))
def test_names_of_parts_are_synced(tmp_path: Path) -> None:
    """The directory is synced after the last part is renamed, and its parent after it was created."""
    home, log = tmp_path / "above" / "out", tmp_path / "log"
    strace = ["strace", "-f", "-y", "-qq", "-o", str(log), "-e", "trace=?mkdir,?rename,?renameat2,?renameat,fsync"]
    subprocess.run([*strace, sys.executable, "-c", FINISH, str(home)], check=True)

    calls = log.read_text().splitlines()

    position = min(at for at, call in enumerate(calls) if f'mkdir("{home}"' in call)  # fsspec tries again
    placed = max(at for at, call in enumerate(calls) if "rename" in call and f'"{home}/part-' in call)
    assert [] != [call for call in calls[position:placed] if f"<{home.parent}>) = 0" in call]
    assert [] != [call for call in calls[placed:] if f"<{home}>) = 0" in call]
