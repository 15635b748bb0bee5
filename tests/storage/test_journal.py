"""The dirty journal: append, seal, replay, discard, quarantine, and errors of its files."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import stat
import subprocess
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import TYPE_CHECKING

import pytest

from geocli.errors import BusyError, JournalError
from geocli.models import Place
from geocli.storage.directory import DataDirectory
from geocli.storage.frames import Frame, encode, pack
from geocli.storage.journal import Journal
from geocli.storage.journal_reader import JournalStatus
from geocli.storage.recovery import Damage
from geocli.storage.segments import Segment
from tests.helpers.data_directories import local
from tests.helpers.entries import AT, SOURCES, resolved, unresolved
from tests.helpers.journals import put
from tests.helpers.locks import locked_by_process
from tests.helpers.processes import in_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.helpers.geocli_process import Geocli

LEFT_OVER = Segment(
    name="journal.3-6f1c1e0e-3a36-4a39-9a2c-0f6f1f0f3b11.draining",
    number=3,
    uuid="6f1c1e0e-3a36-4a39-9a2c-0f6f1f0f3b11",
)


def frame(*addresses: str) -> bytes:
    return b"".join(encode(payload) for payload in pack(map(resolved, addresses)))


def contents(directory: DataDirectory, name: str = "journal") -> bytes:
    return Path(directory.file(name)).read_bytes()


def dirty(journal: Journal) -> list[str]:
    return [entry.ip for entry in journal.dirty()]


def replayed(journal: Journal, segment: Segment | None) -> list[str]:
    assert segment is not None
    frames = [item for _, item in journal.replay(segment) if isinstance(item, Frame)]
    return [entry.ip for frame in frames for entry in frame.entries()]


def device(path: str) -> None:
    """Create a device that is always full; needs root."""
    if os.geteuid() != 0:
        pytest.skip("only root makes devices")
    with suppress(PermissionError):
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
        return
    pytest.skip("no devices can be made here")


def listening(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(os.path.dirname(path), os.O_RDONLY)  # because a socket's path is at most 107 bytes long
        listener.bind(f"/proc/self/fd/{here}/{os.path.basename(path)}")
        os.close(here)


def linked(path: str) -> None:
    Path(path).with_name("elsewhere").write_bytes(frame("9.9.9.9"))
    os.link(Path(path).with_name("elsewhere"), path)


NO_REGULAR_FILES = [
    pytest.param(os.mkdir, "cannot be appended to: Is a directory", id="directory"),
    pytest.param(
        lambda path: os.symlink("elsewhere", path),
        "cannot be appended to: a symbolic link; move it away",
        id="symbolic link",
    ),
    pytest.param(
        lambda path: os.symlink("/dev/full", path),
        "cannot be appended to: a symbolic link; move it away",
        id="link to /dev/full",
    ),
    pytest.param(os.mkfifo, "not a regular file, or one with a hard link; move it away", id="FIFO"),
    pytest.param(device, "not a regular file, or one with a hard link; move it away", id="/dev/full"),
    pytest.param(listening, "cannot be appended to: No such device or address", id="socket"),
]


def test_append_writes_frames(directory: DataDirectory, journal: Journal) -> None:
    """Entries are appended as frames, in the order of the calls, and read back in it."""
    journal.append([resolved("1.1.1.1"), resolved("1.1.1.2")])
    journal.append([resolved("1.1.1.3")])
    assert frame("1.1.1.1", "1.1.1.2") + frame("1.1.1.3") == contents(directory)
    assert [resolved("1.1.1.1"), resolved("1.1.1.2"), resolved("1.1.1.3")] == list(journal.dirty())


def test_append_of_nothing_creates_nothing(directory: DataDirectory, journal: Journal) -> None:
    """Without entries there is no journal, no lock and no directory."""
    journal.append([])
    assert not os.path.exists(directory.path)


def test_entry_larger_than_any_frame_is_an_error(directory: DataDirectory, journal: Journal) -> None:
    """An entry that could not be read back is not acknowledged, and nothing of it is written."""
    with pytest.raises(JournalError, match=r"/journal: an entry of 20\d{5} bytes does not fit into a frame$"):
        journal.append([resolved(place=Place(traits={"note": "x" * 2_000_000}))])
    assert not os.path.exists(directory.file("journal"))


def test_journal_is_private(directory: DataDirectory, journal: Journal) -> None:
    """Only the owner can read the journal and its lock."""
    journal.append([resolved()])
    modes = {name: stat.S_IMODE(os.stat(directory.file(name)).st_mode) for name in directory.names()}
    assert {"journal": 0o600, "journal.lock": 0o600} == modes


@pytest.mark.parametrize("tail", [b"G1 0000", b"garbage", b"\0" * 100, frame("1.1.1.1")[:-1]])
def test_append_after_a_torn_tail_begins_a_line(directory: DataDirectory, journal: Journal, tail: bytes) -> None:
    """After a torn frame, the next frame begins a line, and nothing is truncated."""
    put(directory, frame("9.9.9.9") + tail)
    journal.append([resolved("1.1.1.2")])
    assert frame("9.9.9.9") + tail + b"\n" + frame("1.1.1.2") == contents(directory)
    assert "1.1.1.2" == dirty(journal)[-1]


@pytest.mark.parametrize(("make", "reason"), NO_REGULAR_FILES)
def test_journal_must_be_a_regular_file(
    directory: DataDirectory, journal: Journal, make: Callable[[str], None], reason: str
) -> None:
    """Anything else is an error that names it; it is neither written nor removed."""
    directory.prepare()
    make(directory.file("journal"))
    before = os.lstat(directory.file("journal"))
    with pytest.raises(JournalError) as caught:
        journal.append([resolved()])
    assert f"{directory.file('journal')}: {reason}" == str(caught.value)
    assert (directory.file("journal"), 4) == (caught.value.path, caught.value.exit_status)
    assert before == os.lstat(directory.file("journal"))
    assert not os.path.exists(directory.file("elsewhere"))


def test_journal_must_have_one_name(directory: DataDirectory, journal: Journal) -> None:
    """A journal that is also a file elsewhere is not written to."""
    directory.prepare()
    linked(directory.file("journal"))
    with pytest.raises(JournalError, match="not a regular file, or one with a hard link; run geocli flush"):
        journal.append([resolved()])
    assert frame("9.9.9.9") == contents(directory, "elsewhere")


def test_refused_journal_leaves_no_descriptor(directory: DataDirectory, journal: Journal) -> None:
    """After an error the descriptors are closed and the lock is free."""
    directory.prepare()
    os.mkfifo(directory.file("journal"))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(JournalError):
            journal.append([resolved()])
    assert before == len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(("make", "_"), [*NO_REGULAR_FILES[:1], *NO_REGULAR_FILES[3:]])
def test_only_a_regular_file_is_read(
    directory: DataDirectory, journal: Journal, make: Callable[[str], None], _: str
) -> None:
    """Reading anything else fails immediately or finds nothing, without a leaked descriptor."""
    directory.prepare()
    make(directory.file("journal"))

    def read() -> None:
        signal.alarm(3)  # which ends the process, if a device is read that never ends
        before = len(os.listdir("/proc/self/fd"))
        for _attempt in range(3):
            try:
                assert [] == dirty(journal)
            except JournalError as error:
                assert str(error).startswith(f"{directory.file('journal')}: ")  # noqa: PT017 (or no error at all)
        assert before == len(os.listdir("/proc/self/fd"))

    assert 0 == in_child(read)


def test_fifo_with_a_writer_is_not_read(directory: DataDirectory, journal: Journal) -> None:
    """A FIFO that another program has open for writing neither blocks a lookup nor makes it fail."""
    directory.prepare()
    os.mkfifo(directory.file("journal"))
    writer = os.open(directory.file("journal"), os.O_RDWR)
    try:
        with suppress(JournalError):
            assert {} == journal.newest(["1.1.1.1"])
    finally:
        os.close(writer)


@pytest.mark.parametrize(("make", "_"), [NO_REGULAR_FILES[0], NO_REGULAR_FILES[1], *NO_REGULAR_FILES[3:]])
def test_only_a_regular_file_is_sealed(
    directory: DataDirectory, journal: Journal, make: Callable[[str], None], _: str
) -> None:
    """Anything else is dirty, and an error: if it were renamed, it would never be removed."""
    directory.prepare()
    make(directory.file("journal"))
    assert journal.is_dirty()
    with pytest.raises(JournalError) as caught:
        journal.seal()
    assert f"{directory.file('journal')}: not a regular file; move it away" == str(caught.value)
    assert [] == journal.segments()
    assert os.path.lexists(directory.file("journal"))


def test_full_disk_is_an_error(directory: DataDirectory) -> None:
    """A partial write is truncated as a whole, with an error; earlier frames stay."""
    Journal(directory).append([resolved("1.1.1.1")])
    before = contents(directory)

    def append_with_little_room() -> None:
        everything = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, everything[1]))
        size = len(frame("1.1.1.2"))
        with pytest.raises(JournalError, match=f"only 10 of {size} bytes were written; is the disk full"):
            Journal(directory).append([resolved("1.1.1.2")])
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before), everything[1]))
        with pytest.raises(JournalError, match=r"journal: cannot be appended to: File too large$"):
            Journal(directory).append([resolved("1.1.1.2")])
        resource.setrlimit(resource.RLIMIT_FSIZE, everything)

    assert 0 == in_child(append_with_little_room)
    assert before == contents(directory)


@pytest.mark.parametrize("room_bytes", [0, 10])
def test_lookup_on_a_full_disk_does_not_claim_success(located: Geocli, room_bytes: int) -> None:
    """When the journal has no space, lookup prints its answer, reports that it was not stored, and exits with 4."""
    located.data_dir.mkdir(mode=0o700)
    journal = located.data_dir / "journal"
    journal.write_bytes(b"\n" * 2_000_000)
    process = located.start("lookup", "-f", "value", "-F", "country_code", "-")
    limit = 2_000_000 + room_bytes
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    output, errors = process.communicate(b"81.2.69.160\n", timeout=60)
    assert (4, b"GB\n") == (process.returncode, output)
    assert errors.startswith(f"geocli: {journal}: ".encode())
    assert 1 == errors.count(b"\n")
    assert b"\n" * 2_000_000 == journal.read_bytes()


class Faulty(DataDirectory):
    """A data directory on a failing disk: writes to the journal, or its name, cannot be synced."""

    def __init__(self, path: str, fault: str) -> None:
        super().__init__(path, allow_network_fs=True)
        self.fault = fault

    def open(self, name: str, flags: int) -> int:
        if name == "journal" and self.fault == "journal":
            return os.open("/proc/self/comm", os.O_RDWR)  # a regular file that no system syncs
        return super().open(name, flags)

    def sync(self) -> None:
        if self.fault == "directory":
            raise OSError(5, os.strerror(5))
        super().sync()


@pytest.mark.parametrize(("fault", "reason"), [("journal", "Invalid argument"), ("directory", "Input/output error")])
def test_failed_sync_is_never_believed_later(tmp_path: Path, fault: str, reason: str) -> None:
    """After a sync that failed, later ones may lie: nothing more is acknowledged, also when they succeed."""

    def append() -> None:  # in a child, whose name in /proc is overwritten
        directory = Faulty(str(tmp_path / "data"), fault)
        journal = Journal(directory)
        with pytest.raises(JournalError, match=f"/journal: cannot be appended to: {reason}$"):
            journal.append([resolved("1.1.1.1")])
        directory.fault = ""
        with pytest.raises(JournalError) as caught:
            journal.append([resolved("1.1.1.2")])
        why = f"an earlier sync failed ({reason}), so later ones are unreliable"
        assert f"{directory.file('journal')}: {why}" == str(caught.value)

    assert 0 == in_child(append)


@pytest.mark.parametrize("do", [lambda journal: journal.append([resolved()]), lambda journal: journal.seal()])
def test_held_lock_is_busy(directory: DataDirectory, do: Callable[[Journal], None]) -> None:
    """A process that cannot get the journal's lock in time names the holder, and changes nothing."""
    put(directory, frame("1.1.1.1"))
    with locked_by_process(directory, "journal.lock"), pytest.raises(BusyError, match=r"/journal\.lock: busy: "):
        do(Journal(directory, lock_timeout_seconds=0.03))
    assert frame("1.1.1.1") == contents(directory)


def test_world_writable_directory_is_an_error_of_the_journal(tmp_path: Path) -> None:
    """What is wrong with the directory reaches the user as an error of the journal, with the directory's name."""
    tmp_path.chmod(0o777)
    with pytest.raises(JournalError) as caught:
        Journal(local(tmp_path)).append([resolved()])
    reason = "cannot be used as data directory: writable by all users; use a directory of your own, or chmod o-w"
    assert f"{tmp_path}: {reason}" == str(caught.value)


def test_lock_file_of_another_kind_is_an_error_of_the_journal(directory: DataDirectory, journal: Journal) -> None:
    """A lock that cannot be taken is an error that names its file."""
    directory.prepare()
    os.mkdir(directory.file("journal.lock"))
    with pytest.raises(JournalError) as caught:
        journal.append([resolved()])
    assert f"{directory.file('journal.lock')}: cannot be locked: Is a directory" == str(caught.value)


def test_threads_and_journals_append_at_once(directory: DataDirectory) -> None:
    """Frames that several threads append concurrently, to one journal or several, are whole and in order."""
    shared = Journal(directory, lock_timeout_seconds=60)
    start = Barrier(6)

    def append(number: int) -> None:
        journal = shared if number % 2 else Journal(directory, lock_timeout_seconds=60)
        start.wait(60)
        for count in range(10):
            journal.append([resolved(f"10.0.{number}.{count}"), resolved(f"10.1.{number}.{count}")])

    threads = [Thread(target=append, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    actual = dirty(shared)
    for number in range(6):
        expected = [f"10.{half}.{number}.{count}" for count in range(10) for half in (0, 1)]
        assert expected == [address for address in actual if address.split(".")[2] == str(number)]
    assert 120 == len(actual)
    assert [] == [line for line in contents(directory).split(b"\n") if line and not line.startswith(b"G1 ")]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param({}, False, id="nothing"),
        pytest.param({"journal.lock": b"", "journal.bad": b"x", "geocli.db": b"x"}, False, id="other files"),
        pytest.param({"journal": b""}, False, id="an empty journal"),
        pytest.param({"journal": b"x"}, True, id="a journal"),
        pytest.param({LEFT_OVER.name: b""}, True, id="a segment alone"),
        pytest.param({"journal": b"", LEFT_OVER.name: b"x"}, True, id="a segment and an empty journal"),
    ],
)
def test_is_dirty(directory: DataDirectory, journal: Journal, names: dict[str, bytes], expected: bool) -> None:  # noqa: FBT001
    """There is something to flush when there is a segment, or a journal that is not empty."""
    for name, data in names.items():
        put(directory, data, name)
    assert expected is journal.is_dirty()
    assert sorted(names) == sorted(directory.names())


def test_directory_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """A data directory that is a file is an error for all methods."""
    (tmp_path / "file").touch()
    journal = Journal(local(tmp_path / "file"))
    path = f"{tmp_path}/file"
    for ask, reason in (
        (journal.is_dirty, "/journal: cannot be examined: Not a directory"),
        (journal.segments, ": cannot be listed: Not a directory"),
        (journal.status, ": cannot be listed: Not a directory"),
        (lambda: dirty(journal), "/journal: cannot be read: Not a directory"),
    ):
        with pytest.raises(JournalError) as caught:
            ask()
        assert f"{path}{reason}" == str(caught.value)


def test_seal_renames_the_journal(directory: DataDirectory, journal: Journal) -> None:
    """A sealed journal has a number and a UUID in its name, the same content, and is no longer appended to."""
    journal.append([resolved("1.1.1.1")])
    segment = journal.seal(7)
    assert segment is not None
    journal.append([resolved("1.1.1.2")])
    assert (7, f"journal.7-{segment.uuid}.draining") == (segment.number, segment.name)
    assert 36 == len(segment.uuid)
    assert frame("1.1.1.1") == contents(directory, segment.name)
    assert frame("1.1.1.2") == contents(directory)
    assert ["1.1.1.1"] == replayed(journal, segment)
    assert [segment] == journal.segments()


def test_each_seal_has_a_larger_number(directory: DataDirectory, journal: Journal) -> None:
    """Segments are numbered in order, after leftover ones, each with a UUID of its own."""
    put(directory, b"", LEFT_OVER.name)
    sealed = []
    for at_least in (1, 9, 2):
        journal.append([resolved()])
        sealed.append(journal.seal(at_least))
    actual = [segment for segment in sealed if segment is not None]
    assert [4, 9, 10] == [segment.number for segment in actual]
    assert [LEFT_OVER, *actual] == journal.segments()
    assert 4 == len({segment.uuid for segment in journal.segments()})


@pytest.mark.parametrize("data", [None, b""])
def test_nothing_dirty_is_not_sealed(directory: DataDirectory, journal: Journal, data: bytes | None) -> None:
    """Without a journal, or with an empty one, there is no segment."""
    if data is not None:
        put(directory, data)
    assert journal.seal() is None
    assert [] == journal.segments()


class Overtaken(DataDirectory):
    """Somebody else seals the journal while this one waits for the lock."""

    other: Journal

    def locked(self, name: str, timeout_seconds: float):  # type: ignore[no-untyped-def] # noqa: ANN201
        self.other.seal()
        return super().locked(name, timeout_seconds)


def test_journal_sealed_by_another_process_is_not_dirty(directory: DataDirectory, journal: Journal) -> None:
    """Of two that seal at the same time, one gets the segment, and the other nothing."""
    journal.append([resolved()])
    overtaken = Overtaken(directory.path, allow_network_fs=True)
    overtaken.other = journal
    assert Journal(overtaken).seal() is None
    assert 1 == len(journal.segments())


def test_segments_are_those_with_such_names(directory: DataDirectory, journal: Journal) -> None:
    """Segments come in the order of their numbers, not of their names; other files are ignored."""
    for name in (
        "journal.10-b.draining",
        "journal.9-a.draining",
        "journal.x-a.draining",
        "journal.-a.draining",
        "journal.5.draining",
        "journal.5-a.drained",
        "journal.²-a.draining",
        "2-a.draining",
        "journal.bad",
        "journal.lock",
    ):
        put(directory, b"", name)
    actual = [(segment.number, segment.uuid, segment.name) for segment in journal.segments()]
    assert [(9, "a", "journal.9-a.draining"), (10, "b", "journal.10-b.draining")] == actual


def test_replay_returns_frames_and_damage(directory: DataDirectory, journal: Journal) -> None:
    """A segment is read in its order: frames as such, all else as damage."""
    put(directory, frame("1.1.1.1") + b"garbage\n" + frame("1.1.1.2"), LEFT_OVER.name)
    kinds = [Frame, Damage, Frame]
    assert kinds == [type(actual) for _, actual in journal.replay(LEFT_OVER)]
    assert ["1.1.1.1", "1.1.1.2"] == replayed(journal, LEFT_OVER)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda _: None, "No such file or directory", id="gone"),
        pytest.param(os.mkdir, "a directory; move it away", id="directory"),
        pytest.param(lambda path: os.symlink("journal", path), "a symbolic link; move it away", id="link"),
    ],
)
def test_segment_that_cannot_be_read_is_an_error(
    directory: DataDirectory, journal: Journal, make: Callable[[str], None], reason: str
) -> None:
    """A segment that is gone or no file is an error that names it, and leaves no descriptor."""
    put(directory, frame("1.1.1.1"))
    make(directory.file(LEFT_OVER.name))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(JournalError) as caught:
        list(journal.replay(LEFT_OVER))
    assert f"{directory.file(LEFT_OVER.name)}: cannot be read: {reason}" == str(caught.value)
    assert before == len(os.listdir("/proc/self/fd"))


def test_discard_removes_the_segment(directory: DataDirectory, journal: Journal) -> None:
    """A discarded segment is gone; to discard it again is an error that names it."""
    put(directory, b"", LEFT_OVER.name)
    journal.discard(LEFT_OVER)
    assert [] == directory.names()
    with pytest.raises(JournalError) as caught:
        journal.discard(LEFT_OVER)
    assert f"{directory.file(LEFT_OVER.name)}: cannot be discarded: No such file or directory" == str(caught.value)


def test_quarantine_keeps_bytes(directory: DataDirectory, journal: Journal) -> None:
    """Bytes that are not frames are appended to a private file, a line for each piece, and their number is returned."""
    assert 8 == journal.quarantine([b"one\n", b"two"])
    assert 7 == journal.quarantine([b"\0\xffthree"[1:]])
    assert b"one\ntwo\n\xffthree\n" == contents(directory, "journal.bad")
    assert 0o600 == stat.S_IMODE(os.stat(directory.file("journal.bad")).st_mode)


def test_nothing_to_quarantine_makes_no_file(directory: DataDirectory, journal: Journal) -> None:
    """Without damage there is no quarantine."""
    assert 0 == journal.quarantine([])
    assert not os.path.exists(directory.path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(os.mkdir, "cannot be quarantined: Is a directory", id="directory"),
        pytest.param(os.mkfifo, "not a regular file, or one with a hard link; move it away", id="FIFO"),
        pytest.param(device, "not a regular file, or one with a hard link; move it away", id="/dev/full"),
        pytest.param(
            lambda path: os.symlink("x", path), "cannot be quarantined: a symbolic link; move it away", id="link"
        ),
    ],
)
def test_quarantine_that_cannot_be_written_is_an_error(
    directory: DataDirectory, journal: Journal, make: Callable[[str], None], reason: str
) -> None:
    """Bytes that cannot be quarantined are an error, so that their segment stays."""
    directory.prepare()
    make(directory.file("journal.bad"))
    with pytest.raises(JournalError) as caught:
        journal.quarantine([b"bad"])
    assert f"{directory.file('journal.bad')}: {reason}" == str(caught.value)


def test_partial_write_to_the_quarantine_is_an_error(directory: DataDirectory, journal: Journal) -> None:
    """Partly written bytes are removed, so that the next flush does not write a part twice."""
    directory.prepare()

    def quarantine_with_little_room() -> None:
        everything = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, everything[1]))
        with pytest.raises(JournalError, match=r"journal\.bad: cannot be quarantined: File too large$"):
            journal.quarantine([b"x", b"x" * 100])
        resource.setrlimit(resource.RLIMIT_FSIZE, everything)

    assert 0 == in_child(quarantine_with_little_room)
    assert 0 == os.path.getsize(directory.file("journal.bad"))


def test_dirty_entries_are_those_of_segments_then_of_the_journal(directory: DataDirectory, journal: Journal) -> None:
    """Oldest first: segments by number, then the journal; damage is skipped."""
    put(directory, frame("1.1.1.2") + b"garbage\n", "journal.10-b.draining")
    put(directory, frame("1.1.1.1"), "journal.9-a.draining")
    put(directory, b"garbage\n" + frame("1.1.1.3"))
    assert ["1.1.1.1", "1.1.1.2", "1.1.1.3"] == dirty(journal)


def test_seal_between_two_reads_hides_and_doubles_nothing(directory: DataDirectory, journal: Journal) -> None:
    """A journal that is sealed and discarded while it is read is read once, to its end."""
    put(directory, frame("1.1.1.0"), LEFT_OVER.name)
    for number in range(1, 4):
        journal.append([resolved(f"1.1.1.{number}", resolved_at=AT + timedelta(seconds=number))])
    actual = journal.dirty()
    first = next(actual).ip
    for segment in (LEFT_OVER, journal.seal()):
        assert segment is not None
        journal.discard(segment)
    assert ["1.1.1.0", "1.1.1.1", "1.1.1.2", "1.1.1.3"] == [first, *(entry.ip for entry in actual)]


class Sealing(DataDirectory):
    """Somebody seals the journal just before the segments are listed."""

    other: Journal

    def names(self) -> list[str]:
        if os.path.exists(self.file("journal")):
            self.other.seal()
        return super().names()


def test_journal_that_is_sealed_while_it_is_read_is_read_once(directory: DataDirectory, journal: Journal) -> None:
    """A journal that becomes a segment between two reads is neither missed nor read twice."""
    journal.append([resolved()])
    sealing = Sealing(directory.path, allow_network_fs=True)
    sealing.other = journal
    assert ["81.2.69.160"] == dirty(Journal(sealing))
    assert 1 == len(journal.segments())


def test_newest_is_the_last_that_was_appended(journal: Journal) -> None:
    """Of the entries of an address the last counts, and other addresses are ignored."""
    journal.append([resolved("1.1.1.1"), resolved("1.1.1.2")])
    journal.seal()
    paris = resolved("1.1.1.1", place=Place(city="Paris"))
    journal.append([paris])
    assert {"1.1.1.1": paris} == journal.newest({"1.1.1.1", "1.1.1.3"})


def test_newest_never_hides_a_good_answer(journal: Journal) -> None:
    """A later unresolved entry keeps the good answer, and adds its retry time."""
    later = unresolved("1.1.1.1", retry_at=AT + timedelta(hours=1), generation="rir@4")
    journal.append([resolved("1.1.1.1")])
    journal.append([later])
    expected = resolved("1.1.1.1", retry_at=later.retry_at, generation="rir@4", answered_by=SOURCES)
    assert {"1.1.1.1": expected} == journal.newest(["1.1.1.1"])


def test_status_of_nothing(directory: DataDirectory, journal: Journal) -> None:
    """Without files all counts are zero, and no file is created."""
    nothing = JournalStatus(entries=0, size_bytes=0, oldest_at=None, segments=0, quarantined_bytes=0)
    assert nothing == journal.status()
    assert not os.path.exists(directory.path)


def test_status_counts_dirty_entries(directory: DataDirectory, journal: Journal) -> None:
    """The status has entries and bytes of journal and segments, the oldest time, and the quarantine."""
    journal.append([resolved("1.1.1.1", resolved_at=None), resolved("1.1.1.2")])
    journal.seal()
    journal.append([resolved("1.1.1.3", resolved_at=AT + timedelta(seconds=5))])
    journal.quarantine([b"bad"])
    sizes = {name: os.path.getsize(directory.file(name)) for name in directory.names()}
    expected = JournalStatus(
        entries=3,
        size_bytes=sum(sizes.values()) - sizes["journal.bad"],
        oldest_at=AT,
        segments=1,
        quarantined_bytes=4,
    )
    assert expected == journal.status()


def test_lookup_reports_an_unusable_journal(located: Geocli) -> None:
    """With a directory instead of a journal, the answer is printed, and the exit status is 4."""
    (located.data_dir / "journal").mkdir(parents=True)
    located.data_dir.chmod(0o700)
    process = located("lookup", "81.2.69.160")
    assert "GB" == json.loads(process.stdout)["country_code"]
    expected = f"geocli: {located.data_dir}/journal: cannot be appended to: Is a directory\n"
    assert (4, expected) == (process.returncode, process.stderr.decode())


def test_files_that_a_frame_names_are_kept(directory: DataDirectory, journal: Journal) -> None:
    """Lines of a journal are readable, with grep, and have the names of their sources."""
    journal.append([resolved()])
    actual = subprocess.run(["grep", "-c", SOURCES, directory.file("journal")], capture_output=True, check=True)
    assert b"1\n" == actual.stdout
