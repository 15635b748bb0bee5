"""Damaged bytes are in `journal.bad`, once, counted by `stats`, reported once, and other files are safe."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from geocli.errors import StorageError
from geocli.formats.terminal import size_text
from geocli.storage.flush import Flush
from geocli.storage.frames import encode, pack
from geocli.storage.journal import Journal
from geocli.storage.store_writer import StoreWriter
from tests.helpers.clock import Clock
from tests.helpers.command_output import complaint, complaints
from tests.helpers.data_directories import dirty, local, stored_rows
from tests.helpers.entries import resolved
from tests.helpers.other_users import IS_ROOT, unprivileged
from tests.helpers.processes import in_child
from tests.helpers.stores import stored_entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from geocli.storage.segments import Segment
    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow

GARBAGE = b"garbage\n"
SILENT = (0, b"", b"")


def _outcome(geocli: Geocli, *arguments: str) -> tuple[int, bytes, bytes]:
    run = geocli(*arguments)
    return run.returncode, run.stdout, run.stderr


def _append(geocli: Geocli, data: bytes) -> None:
    with open(geocli.data_dir / "journal", "ab") as journal:
        journal.write(data)


def _quarantined(geocli: Geocli) -> list[int]:
    """Return the number of quarantined bytes in each machine-readable form of `stats`, and check that for people."""
    outputs = {form: geocli("stats", "-f", form).stdout.decode() for form in ("json", "prometheus", "table")}
    (sample,) = [line for line in outputs["prometheus"].splitlines() if line.startswith("geocli_journal_quarantined_")]
    size_bytes = json.loads(outputs["json"])["journal"]["quarantined_bytes"]
    lines = [line.split(maxsplit=1) for line in outputs["table"].splitlines() if line.strip().startswith("quarantined")]
    assert ([["quarantined", size_text(size_bytes)]] if size_bytes else []) == [
        [*map(str.strip, line)] for line in lines
    ]
    return [size_bytes, int(sample.split()[1])]


def test_damage_is_quarantined_counted_and_reported_once(located: Geocli) -> None:
    """A flipped bit and garbage are byte for byte in `journal.bad`, counted in each form, and reported by one flush."""
    bad, journal = located.data_dir / "journal.bad", located.data_dir / "journal"
    located("lookup", "81.2.69.160")
    located("batch", stdin=b"".join(b"98.0.0.%d\n" % number for number in range(256)))
    located("lookup", "2001:218::1")
    first, batch, last = journal.read_bytes().splitlines(keepends=True)
    damage = batch[:3000] + bytes([batch[3000] ^ 4]) + batch[3001:] + GARBAGE
    journal.write_bytes(first + damage + last)
    warned = located("flush")

    assert (0, b"") == (warned.returncode, warned.stdout)
    assert f"{bad}: {len(damage)} damaged bytes were quarantined" == complaint(warned)
    assert damage == bad.read_bytes()
    assert [("2001:218::1",), ("81.2.69.160",)] == stored_rows(located)
    assert [len(damage)] * 2 == _quarantined(located)

    assert SILENT == _outcome(located, "flush")
    located("lookup", "98.0.0.1")
    assert SILENT == _outcome(located, "flush")
    located("lookup", "98.0.0.2")
    _append(located, GARBAGE)
    assert f"{bad}: {len(GARBAGE)} damaged bytes were quarantined" == complaint(located("flush"))
    assert damage + GARBAGE == bad.read_bytes()
    assert [len(damage + GARBAGE)] * 2 == _quarantined(located)
    bad.unlink()
    assert [0] * 2 == _quarantined(located)
    assert SILENT == _outcome(located, "flush")


@pytest.mark.parametrize("number", [1, 3])
def test_damage_is_reported_together_with_other_errors(geocli: Geocli, number: int) -> None:
    """A flush that could not store another segment reports both; the next one reports only the remaining error."""
    geocli("lookup", "8.8.8.8")
    _append(geocli, GARBAGE)
    (geocli.data_dir / "journal").rename(geocli.data_dir / "journal.2-b.draining")
    (geocli.data_dir / f"journal.{number}-a.draining").mkdir()
    both, again = geocli("flush"), geocli("flush")

    assert (4, 4) == (both.returncode, again.returncode)
    assert complaint(again).startswith(f"{geocli.data_dir}/journal.{number}-a.draining: ")
    expected = {f"{geocli.data_dir}/journal.bad: {len(GARBAGE)} damaged bytes were quarantined", complaint(again)}
    assert expected == set(complaints(both))
    assert GARBAGE == (geocli.data_dir / "journal.bad").read_bytes()
    assert [("8.8.8.8",)] == stored_rows(geocli)


class Killed(Journal):
    """Is killed by kill -9 at one step of a flush that found damage."""

    step = ""

    def _die_at(self, step: str) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)

    def quarantine(self, pieces: Iterable[bytes]) -> int:
        self._die_at("before it is kept")
        count = super().quarantine(pieces)
        self._die_at("when it is kept")
        return count

    def discard(self, segment: Segment) -> None:
        self._die_at("before the segment goes")
        super().discard(segment)


@pytest.mark.parametrize("step", ["before it is kept", "when it is kept", "before the segment goes"])
def test_killed_flush_loses_no_damage(geocli: Geocli, step: str) -> None:
    """Whenever it is killed, the next flush stores all entries, and the damage is quarantined, whole, at most twice."""
    geocli("lookup", "8.8.8.8", "1.1.1.1")
    _append(geocli, GARBAGE)
    directory = local(geocli.data_dir)
    killed = Killed(directory)
    killed.step = step
    assert -signal.SIGKILL == in_child(lambda: Flush(directory, killed, Clock(), 0).run())
    recovered = geocli("flush")

    assert (0, b"") == (recovered.returncode, recovered.stdout)
    damage = (geocli.data_dir / "journal.bad").read_bytes()
    assert damage in {GARBAGE, GARBAGE * 2}
    assert {f"{geocli.data_dir}/journal.bad: {len(GARBAGE)} damaged bytes were quarantined"} >= set(
        complaints(recovered)
    )
    assert [("1.1.1.1",), ("8.8.8.8",)] == stored_rows(geocli)
    assert SILENT == _outcome(geocli, "flush")
    assert [len(damage)] * 2 == _quarantined(geocli)


@pytest.mark.parametrize(
    ("rows", "damage"),
    [
        pytest.param(2000, GARBAGE, id="of the store"),
        pytest.param(1, b"no frame " * 40_000 + b"\n", id="of the quarantine"),
    ],
)
def test_damage_is_not_multiplied_by_flushes_that_fail(tmp_path: Path, rows: int, damage: bytes) -> None:
    """While the disk is too full for the store or the quarantine, repeated flushes make no further copies."""
    directory = local(tmp_path / "data")
    StoreWriter(directory).close()
    addresses = [f"10.0.{number >> 8}.{number & 255}" for number in range(rows)]
    frames = b"".join(map(encode, pack(map(resolved, addresses))))
    Path(directory.file("journal")).write_bytes(frames + damage)

    def flush() -> int:
        return Flush(directory, Journal(directory), Clock(), 0).run().dropped_bytes

    def flush_with_little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        for _ in range(3):
            with pytest.raises(StorageError):
                flush()

    assert 0 == in_child(flush_with_little_room)
    assert len(damage) == flush()
    assert damage == Path(directory.file("journal.bad")).read_bytes()
    assert set(addresses) == set(stored_entries(directory))


def _link(path: Path, target: Path) -> None:
    path.hardlink_to(target)


def _symbolic_link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def _directory(path: Path, _: Path) -> None:
    path.mkdir()


def _device(minor: int) -> Callable[[Path, Path], None]:
    def make(path: Path, _: Path) -> None:
        if not IS_ROOT:
            pytest.skip("only root makes devices")
        with suppress(PermissionError):
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, minor))
            return
        pytest.skip("no devices can be made here")

    return make


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(_link, id="hard link"),
        pytest.param(_symbolic_link, id="symbolic link"),
        pytest.param(_directory, id="directory"),
        pytest.param(_device(7), id="/dev/full"),
        pytest.param(_device(3), id="/dev/null"),
    ],
)
def test_quarantine_that_is_a_foreign_file(geocli: Geocli, make: Callable[[Path, Path], None]) -> None:
    """It is an error that names it; the file is not written, the segment stays, and later all is quarantined."""
    bad, target = geocli.data_dir / "journal.bad", geocli.data_dir.with_name("other")
    target.write_bytes(b"precious\n")
    geocli("lookup", "8.8.8.8")
    _append(geocli, GARBAGE)
    make(bad, target)
    runs = [geocli("flush"), geocli("lookup", "-f", "value", "1.1.1.1"), geocli("flush")]

    assert [4, 0, 4] == [run.returncode for run in runs]
    assert [True, True] == [complaint(run).startswith(f"{bad}: ") for run in runs[::2]]
    assert (b"AU\n", b"") == (runs[1].stdout, runs[1].stderr)
    assert b"precious\n" == target.read_bytes()
    assert target.stat().st_mode & 0o777 == 0o644 & ~_umask()

    bad.rmdir() if bad.is_dir() else bad.unlink()
    _check_stored_later(geocli, ["1.1.1.1", "8.8.8.8"])


def _umask() -> int:
    os.umask(umask := os.umask(0))
    return umask


def _check_stored_later(geocli: Geocli, addresses: list[str]) -> None:
    """Flush without obstacles, and check that all dirty entries are stored."""
    healed = geocli("flush")
    assert (0, b"") == (healed.returncode, healed.stdout)
    assert f"{geocli.data_dir}/journal.bad: {len(GARBAGE)} damaged bytes were quarantined" == complaint(healed)
    assert GARBAGE == (geocli.data_dir / "journal.bad").read_bytes()
    assert addresses == [address for (address,) in stored_rows(geocli)]
    assert [] == dirty(geocli)
    assert SILENT == _outcome(geocli, "flush")


def test_quarantine_that_is_a_pipe_gets_nothing(geocli: Geocli) -> None:
    """Whoever has a FIFO of that name open does not get the bytes, which would be gone."""
    bad = geocli.data_dir / "journal.bad"
    geocli("lookup", "8.8.8.8")
    _append(geocli, GARBAGE)
    os.mkfifo(bad)
    reader = os.open(bad, os.O_RDONLY | os.O_NONBLOCK)
    try:
        run = geocli("flush")
        received = os.read(reader, 100)
    finally:
        os.close(reader)

    assert (4, b"") == (run.returncode, run.stdout)
    assert complaint(run).startswith(f"{bad}: ")
    assert b"" == received
    bad.unlink()
    _check_stored_later(geocli, ["8.8.8.8"])


def test_quarantine_that_may_not_be_written(geocli: Geocli) -> None:
    """It is an error with the reason, and nothing is lost."""
    bad = geocli.data_dir / "journal.bad"
    geocli("lookup", "8.8.8.8")
    _append(geocli, GARBAGE)
    bad.touch()
    if IS_ROOT:
        os.chown(bad, 65534, 65534)  # else it would be made writable again
    bad.chmod(0o444)
    unprivileged(geocli)
    run = geocli("flush")

    if run.returncode == 0:  # an owner can make the file writable again
        assert not IS_ROOT
        assert GARBAGE == bad.read_bytes()
        return
    assert (4, b"") == (run.returncode, run.stdout)
    assert f"{bad}: cannot be quarantined: Permission denied" == complaint(run)
    bad.unlink()
    _check_stored_later(geocli, ["8.8.8.8"])
