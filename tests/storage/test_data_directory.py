"""The data directory: access, ownership of its files, its locks, and files that are replaced."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import stat
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest

from geocli.errors import BusyError, StorageError
from geocli.files.atomic import replacing, write_all
from geocli.files.file_checks import NETWORK_FILE_SYSTEMS
from geocli.storage.directory import DataDirectory
from tests.helpers.data_directories import local
from tests.helpers.locks import locked_by_process
from tests.helpers.processes import in_child, orphaned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IS_ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")
SOMEBODY = 54321
CREATE = os.O_RDWR | os.O_CREAT


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=["umask 000", "umask 022", "umask 077"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode_of(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def mounted(path: Path, kind: str, mountinfo: Path) -> DataDirectory:
    """Return a data directory as it would be on a file system of some kind."""
    path.mkdir(exist_ok=True)
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mountinfo.write_text(
        "22 1 0:999 / /elsewhere rw,relatime shared:1 - nfs4 server:/elsewhere rw\n"
        f"23 1 {number} / /here rw,relatime shared:2 master:1 - {kind} server:/here rw,vers=4.2\n"
    )
    return DataDirectory(str(path), mountinfo=str(mountinfo))


@pytest.mark.usefixtures("umask")
def test_missing_directory_is_created_private(tmp_path: Path) -> None:
    """A missing data directory is created, with its parents, for its owner alone."""
    path = tmp_path / "state" / "geocli"
    actual = local(path).prepare()
    assert 0o700 == stat.S_IMODE(actual.st_mode) == mode_of(path)
    assert os.path.samestat(actual, path.stat())


def test_umask_does_not_lock_the_owner_out(tmp_path: Path) -> None:
    """A directory that is made can be used by its owner, also with a umask that takes the owner's rights."""
    path = tmp_path / "data"

    def make_with_odd_umask() -> None:
        os.umask(0o377)
        local(path).prepare()

    assert 0 == in_child(make_with_odd_umask)
    assert 0o700 == mode_of(path)


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755, 0o2770])
def test_existing_directory_is_unchanged(tmp_path: Path, mode: int) -> None:
    """An existing directory keeps its mode."""
    tmp_path.chmod(mode)
    local(tmp_path).prepare()
    assert mode == mode_of(tmp_path)


def test_link_to_a_directory_is_followed(tmp_path: Path) -> None:
    """The data directory may be a symbolic link to a directory elsewhere."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to("disk")
    os.close(local(tmp_path / "data").open("journal", CREATE))
    assert ["journal"] == os.listdir(tmp_path / "disk")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(Path.touch, "not a directory", id="file"),
        pytest.param(os.mkfifo, "not a directory", id="FIFO"),
        pytest.param(lambda path: path.symlink_to("gone"), "No such file or directory", id="link to nothing"),
        pytest.param(lambda path: path.symlink_to(path), "Too many levels of symbolic links", id="link to itself"),
    ],
)
def test_only_a_directory_is_accepted(directory: DataDirectory, make: Callable[[Path], None], reason: str) -> None:
    """Anything but a directory is an error that names it, and is not changed."""
    make(Path(directory.path))
    before = os.lstat(directory.path)
    with pytest.raises(StorageError) as caught:
        directory.prepare()
    assert f"{directory.path}: cannot be used as data directory: {reason}" == str(caught.value)
    assert directory.path == caught.value.path
    assert 4 == caught.value.exit_status
    assert before == os.lstat(directory.path)


def test_directory_below_a_file_is_an_error(tmp_path: Path) -> None:
    """A directory that cannot be created is an error with the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"/file/data: cannot be used as data directory: Not a directory$"):
        local(tmp_path / "file" / "data").prepare()


@pytest.mark.skipif(IS_ROOT, reason="root may write anywhere")
def test_directory_that_may_not_be_created_is_an_error(tmp_path: Path) -> None:
    """A directory that this user may not create is an error with the reason."""
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match=r"/data: cannot be used as data directory: Permission denied$"):
        local(tmp_path / "data").prepare()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_world_writable_directory_is_an_error(tmp_path: Path, mode: int) -> None:
    """A directory that all users can write to is an error, with the remedy."""
    tmp_path.chmod(mode)
    with pytest.raises(StorageError) as caught:
        local(tmp_path).prepare()
    reason = "writable by all users; use a directory of your own, or chmod o-w"
    assert f"{tmp_path}: cannot be used as data directory: {reason}" == str(caught.value)
    assert [] == os.listdir(tmp_path)


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p"])
def test_network_file_system_is_an_error(tmp_path: Path, kind: str) -> None:
    """On a network file system, locks and syncs are unreliable: it is an error that names the setting."""
    with pytest.raises(StorageError) as caught:
        mounted(tmp_path / "data", kind, tmp_path / "mountinfo").prepare()
    reason = (
        f"on a network file system ({kind}), on which locks are unreliable; "
        "use a local directory, or set allow_network_fs = true"
    )
    assert f"{tmp_path}/data: cannot be used as data directory: {reason}" == str(caught.value)
    assert kind in NETWORK_FILE_SYSTEMS


@pytest.mark.parametrize("kind", ["ext4", "btrfs", "tmpfs", "fuse.mergerfs"])
def test_local_file_system_is_accepted(tmp_path: Path, kind: str) -> None:
    """A local file system is accepted, whatever else is mounted."""
    directory = mounted(tmp_path / "data", kind, tmp_path / "mountinfo")
    assert os.path.samestat(os.stat(directory.path), directory.prepare())


def test_network_file_system_is_accepted_if_allowed(tmp_path: Path) -> None:
    """A setting allows a network file system."""
    mounted(tmp_path / "data", "nfs", tmp_path / "mountinfo")
    allowed = DataDirectory(str(tmp_path / "data"), allow_network_fs=True, mountinfo=str(tmp_path / "mountinfo"))
    assert os.path.samestat(os.stat(allowed.path), allowed.prepare())


@pytest.mark.parametrize("text", [None, b"", b"\n", b"\xff - \xff\n", b"1 2 3 no dash\n"])
def test_unreadable_mountinfo_is_not_an_error(tmp_path: Path, text: bytes | None) -> None:
    """Without information about mounts, the directory is accepted."""
    if text is not None:
        (tmp_path / "mountinfo").write_bytes(text)
    directory = DataDirectory(str(tmp_path), mountinfo=str(tmp_path / "mountinfo"))
    assert os.path.samestat(os.stat(directory.path), directory.prepare())


def test_directory_is_examined_once(directory: DataDirectory) -> None:
    """The same answer is given again, at no cost."""
    assert directory.prepare() is directory.prepare()


def test_directory_that_was_removed_is_created_again(tmp_path: Path) -> None:
    """A long-lived process goes on, with a directory as private as the first one."""
    directory = local(tmp_path / "data")
    for _ in range(2):
        with directory.locked("lock", 0):
            assert 0o700 == mode_of(directory.path)
        shutil.rmtree(directory.path)


def test_path_is_absolute() -> None:
    """A relative path means the directory that was current when it was given."""
    assert f"{os.getcwd()}/data" == DataDirectory("data/.").path
    assert f"{os.getcwd()}/data/journal" == DataDirectory("data").file("journal")


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize(("directory_mode", "mode"), [(0o700, 0o600), (0o755, 0o600), (0o2770, 0o660), (0o770, 0o660)])
def test_files_have_the_permissions_of_the_directory(tmp_path: Path, directory_mode: int, mode: int) -> None:
    """Files are for the owner alone, or for the group if it may write to the directory, with any umask."""
    tmp_path.chmod(directory_mode)
    os.close(local(tmp_path).open("journal", CREATE))
    assert mode == mode_of(tmp_path / "journal")


def test_rights_of_a_file_follow_the_directory(directory: DataDirectory) -> None:
    """A file from before the directory was given to a group gets the group's rights."""
    os.close(directory.open("journal", CREATE))
    Path(directory.path).chmod(0o2770)
    os.close(local(Path(directory.path)).open("journal", os.O_RDWR))
    assert 0o660 == mode_of(directory.file("journal"))


def test_file_with_two_hard_links_is_an_error_and_unchanged(directory: DataDirectory, tmp_path: Path) -> None:
    """A file with a second hard link may belong to another program: it is not opened, and its permissions stay."""
    directory.prepare()
    (tmp_path / "elsewhere").touch(mode=0o644)
    os.link(tmp_path / "elsewhere", directory.file("journal"))
    before = mode_of(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=r"/journal: not a regular file, or one with a hard link; move it away$"):
        directory.open("journal", CREATE)
    assert before == mode_of(tmp_path / "elsewhere")


def test_symbolic_link_is_refused(directory: DataDirectory, tmp_path: Path) -> None:
    """A symbolic link in the directory is not followed, and nothing is made where it points."""
    directory.prepare()
    os.symlink(tmp_path / "target", directory.file("journal"))
    with pytest.raises(OSError, match="symbolic link") as caught:
        directory.open("journal", CREATE)
    assert errno.ELOOP == caught.value.errno
    assert not (tmp_path / "target").exists()


def test_programs_that_are_started_inherit_no_file(directory: DataDirectory) -> None:
    """The descriptors of the directory's files are closed in a program that is started."""
    descriptor = directory.open("journal", CREATE)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_file_whose_rights_cannot_be_set_is_not_left_open() -> None:
    """If a file cannot be given the right mode, opening it fails, and no descriptor is left."""
    proc = local(Path(f"/proc/{os.getpid()}"))  # whose files have an owner, but fixed modes
    proc.prepare()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(PermissionError):
        proc.open("comm", os.O_RDWR)
    assert len(before) == len(os.listdir("/proc/self/fd"))


@as_root
def test_root_gives_files_to_the_group_of_its_directory(tmp_path: Path) -> None:
    """Files that root creates in a group's directory belong to that group, also without a setgid bit."""
    os.chown(tmp_path, 0, SOMEBODY)
    tmp_path.chmod(0o770)
    os.close(local(tmp_path).open("journal", CREATE))
    status = (tmp_path / "journal").stat()
    assert (0, SOMEBODY) == (status.st_uid, status.st_gid)


@as_root
def test_root_makes_no_file_in_a_users_directory(directory: DataDirectory, tmp_path: Path) -> None:
    """The user could let root write elsewhere: nothing is opened, made, or given away."""
    directory.prepare()
    os.chown(directory.path, SOMEBODY, SOMEBODY)
    (tmp_path / "secret").touch(mode=0o600)
    os.link(tmp_path / "secret", directory.file("journal"))
    for name in ("journal", "journal.lock"):
        with pytest.raises(StorageError, match=f"it belongs to user {SOMEBODY}; run this as that user$"):
            local(Path(directory.path)).open(name, CREATE)
    assert 0 == (tmp_path / "secret").stat().st_uid
    assert ["journal"] == os.listdir(directory.path)


@as_root
def test_member_of_the_group_opens_files_of_others(shared: Path) -> None:
    """A member of the group opens files of others, and leaves their permissions."""
    os.chown(shared, 0, SOMEBODY)
    shared.chmod(0o2770)
    os.close(local(shared).open("journal", CREATE))

    def become_a_member() -> None:
        os.setgroups([])
        os.setgid(SOMEBODY)
        os.setuid(SOMEBODY)
        descriptor = local(shared).open("journal", CREATE | os.O_APPEND)
        assert 5 == os.write(descriptor, b"hello")

    assert 0 == in_child(become_a_member)
    assert b"hello" == (shared / "journal").read_bytes()
    assert (0, SOMEBODY, 0o660) == (
        (shared / "journal").stat().st_uid,
        (shared / "journal").stat().st_gid,
        mode_of(shared / "journal"),
    )


def test_names_are_those_in_the_directory(directory: DataDirectory) -> None:
    """The directory is read each time; a missing one has no files, and is not created."""
    assert [] == directory.names()
    assert not os.path.exists(directory.path)
    for name in ("journal", "journal.lock"):
        os.close(directory.open(name, CREATE))
    assert ["journal", "journal.lock"] == sorted(directory.names())


def test_sync_needs_a_directory(directory: DataDirectory) -> None:
    """It succeeds on an existing directory, and fails otherwise."""
    with pytest.raises(FileNotFoundError):
        directory.sync()
    directory.prepare()
    directory.sync()


@pytest.mark.parametrize("timeout_seconds", [0, 0.05])
def test_held_lock_is_busy(directory: DataDirectory, timeout_seconds: float) -> None:
    """A lock that another process holds is an error that names it, and says to try again later."""
    with (
        locked_by_process(directory, "journal.lock"),
        pytest.raises(BusyError) as caught,
        directory.locked("journal.lock", timeout_seconds),
    ):
        pytest.fail("two hold the lock")
    path = directory.file("journal.lock")
    assert f"{path}: busy: another process held it for {timeout_seconds:g} s; try again later" == str(caught.value)
    assert (path, timeout_seconds, 75) == (caught.value.path, caught.value.waited_seconds, caught.value.exit_status)


def test_lock_of_another_thread_is_busy(directory: DataDirectory) -> None:
    """Two threads of one process exclude each other as two processes do."""
    with (
        directory.locked("journal.lock", 0),
        pytest.raises(BusyError),
        directory.locked("journal.lock", 0),
    ):
        pytest.fail("two hold the lock")


def test_other_locks_are_free(directory: DataDirectory) -> None:
    """Locks of different names do not exclude each other."""
    with locked_by_process(directory, "flush.lock"), directory.locked("journal.lock", 0):
        pass


def test_killed_holder_frees_the_lock(directory: DataDirectory) -> None:
    """When the holder is killed by kill -9, the lock is free."""
    with locked_by_process(directory, "journal.lock") as holder:
        holder.kill()
        holder.join()
        assert -9 == holder.exitcode
        with directory.locked("journal.lock", 0):
            pass


def test_waiting_ends_when_the_holder_does(directory: DataDirectory) -> None:
    """Whoever waits gets the lock once it is free."""
    locked: list[bool] = []

    def wait() -> None:
        with directory.locked("journal.lock", 60):
            locked.append(True)

    with locked_by_process(directory, "journal.lock") as holder:
        waiter = Thread(target=wait)
        waiter.start()
        assert [] == locked
        holder.kill()
        waiter.join(60)
    assert [True] == locked


def test_lock_is_freed_after_an_error(directory: DataDirectory) -> None:
    """An error under the lock passes through, frees the lock, and leaves the file and no descriptor."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyError), directory.locked("journal.lock", 0):
        raise KeyError
    inode = os.stat(directory.file("journal.lock")).st_ino
    with directory.locked("journal.lock", 0):
        assert inode == os.stat(directory.file("journal.lock")).st_ino
    assert before == len(os.listdir("/proc/self/fd"))


class Meddled(DataDirectory):
    """Somebody removes or replaces the lock file just after it was opened, a few times."""

    def __init__(self, path: Path, meddle: Callable[[str], None]) -> None:
        super().__init__(str(path), allow_network_fs=True)
        self.meddle = meddle
        self.left = 2

    def open(self, name: str, flags: int) -> int:
        descriptor = super().open(name, flags)
        if self.left:
            self.left -= 1
            self.meddle(self.file(name))
        return descriptor


def replaced(path: str) -> None:
    Path(f"{path}.new").touch()
    os.rename(f"{path}.new", path)


@pytest.mark.parametrize("meddle", [replaced, os.unlink], ids=["replaced", "removed"])
def test_lock_on_a_replaced_file_is_taken_again(tmp_path: Path, meddle: Callable[[str], None]) -> None:
    """If the locked file was replaced, the lock excludes no other process, so the new file is locked."""
    directory = Meddled(tmp_path, meddle)
    before = len(os.listdir("/proc/self/fd"))
    with directory.locked("journal.lock", 1), pytest.raises(BusyError), local(tmp_path).locked("journal.lock", 0):
        pytest.fail("two hold the lock")
    assert 0 == directory.left
    assert before == len(os.listdir("/proc/self/fd"))


def looped(path: str) -> None:
    os.unlink(path)
    os.symlink(path, path)


def test_lock_file_that_cannot_be_examined_is_an_error(tmp_path: Path) -> None:
    """If it cannot be determined whether the file was replaced, that is an error, and no descriptor leaks."""
    before = len(os.listdir("/proc/self/fd"))
    with (
        pytest.raises(StorageError, match=r"/journal\.lock: cannot be locked: Too many levels of symbolic links$"),
        Meddled(tmp_path, looped).locked("journal.lock", 1),
    ):
        pytest.fail("nothing is locked")
    assert before == len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(os.mkdir, "Is a directory", id="directory"),
        pytest.param(lambda path: os.symlink("x", path), "Too many levels of symbolic links", id="symbolic link"),
    ],
)
def test_lock_file_must_be_a_file(directory: DataDirectory, make: Callable[[str], None], reason: str) -> None:
    """Something else in the lock file's place is an error that names it."""
    directory.prepare()
    make(directory.file("journal.lock"))
    with pytest.raises(StorageError) as caught, directory.locked("journal.lock", 0):
        pytest.fail("nothing is locked")
    assert f"{directory.file('journal.lock')}: cannot be locked: {reason}" == str(caught.value)


def test_lock_in_a_directory_that_is_refused(tmp_path: Path) -> None:
    """The directory is examined before anything is made in it."""
    tmp_path.chmod(0o777)
    with pytest.raises(StorageError, match="writable by all users"), local(tmp_path).locked("journal.lock", 0):
        pytest.fail("nothing is locked")
    assert [] == os.listdir(tmp_path)


@pytest.mark.parametrize("old", [None, b"old"])
def test_replacing_is_atomic(tmp_path: Path, old: bytes | None) -> None:
    """Until everything is written, the old file is there; then the new one, without a temporary file."""
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    with replacing(str(path)) as (descriptor, beside):
        write_all(descriptor, b"new")
        assert b"new" == Path(beside).read_bytes()
        assert (str(tmp_path), ".part") == (os.path.dirname(beside), os.path.splitext(beside)[1])
        assert old == (path.read_bytes() if path.exists() else None)
    assert b"new" == path.read_bytes()
    assert ["file"] == os.listdir(tmp_path)


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_replacing_sets_the_mode(tmp_path: Path, umask: int, mode: int) -> None:
    """The new file has the requested mode, less the umask."""
    with replacing(str(tmp_path / "file"), mode):
        pass
    assert mode & ~umask == mode_of(tmp_path / "file")


def fail_to_replace(path: Path, error: type[BaseException]) -> None:
    with replacing(str(path)) as (descriptor, _):
        write_all(descriptor, b"new")
        raise error


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_replacing_keeps_the_old_file_on_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    """After any error the old file is unchanged, without a temporary file or a leaked descriptor."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(error):
        fail_to_replace(path, error)
    assert b"old" == path.read_bytes()
    assert ["file"] == os.listdir(tmp_path)
    assert before == len(os.listdir("/proc/self/fd"))


def test_replacing_a_directory_fails(tmp_path: Path) -> None:
    """What cannot be renamed is removed."""
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError), replacing(str(tmp_path / "file")):
        pass
    assert ["file"] == os.listdir(tmp_path)


def test_replacing_in_a_missing_directory_fails(tmp_path: Path) -> None:
    """If no file can be created, the error names the requested file."""
    with pytest.raises(FileNotFoundError) as caught, replacing(str(tmp_path / "gone" / "file")):
        pytest.fail("nothing can be written")
    assert f"{tmp_path}/gone/file" == caught.value.filename


@pytest.mark.parametrize("error", [None, KeyError])
def test_replacing_a_pipe_writes_to_it(tmp_path: Path, error: type[Exception] | None) -> None:
    """A file that is not regular, such as a pipe, is written to, and stays, also after an error."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if error:
        with pytest.raises(error):
            fail_to_replace(path, error)
    else:
        with replacing(str(path)) as (descriptor, _):
            write_all(descriptor, b"new")
    assert b"new" == os.read(reader, 10)
    os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert ["pipe"] == os.listdir(tmp_path)


def test_short_write_is_not_the_end(tmp_path: Path) -> None:
    """What one call does not write, the next ones do, or fail: a part is never taken for all."""
    path = tmp_path / "file"

    def write_with_little_room() -> None:
        everything = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, everything[1]))
        with path.open("wb") as file, pytest.raises(OSError, match="File too large"):
            write_all(file.fileno(), bytes(1500))
        resource.setrlimit(resource.RLIMIT_FSIZE, everything)

    assert 0 == in_child(write_with_little_room)
    assert 1000 == path.stat().st_size


def test_files_of_other_threads_respect_the_umask(tmp_path: Path) -> None:
    """The umask belongs to the process: it is never changed while files for a group are created."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o2770)
    (tmp_path / "theirs").mkdir()
    directory, is_done = local(tmp_path / "data"), Event()
    modes = Counter[int]()

    def make_theirs() -> None:
        while not is_done.is_set():
            descriptor = os.open(tmp_path / "theirs" / "file", os.O_WRONLY | os.O_CREAT, 0o666)
            modes[stat.S_IMODE(os.fstat(descriptor).st_mode)] += 1
            os.close(descriptor)
            os.unlink(tmp_path / "theirs" / "file")

    before = os.umask(0o027)
    other_thread = Thread(target=make_theirs)
    other_thread.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: os.close(directory.open(str(n), CREATE)), range(4000)))
    finally:
        is_done.set()
        other_thread.join()
        after = os.umask(before)

    assert 0o027 == after
    assert {0o640} == set(modes)
    assert {0o660} == {mode_of(path) for path in (tmp_path / "data").iterdir()}


class Killed(DataDirectory):
    """A data directory in which the process is killed after it creates a file, before it sets the mode."""

    def _give(self, descriptor: int) -> None:
        del descriptor
        os.kill(os.getpid(), signal.SIGKILL)


class Named(DataDirectory):
    """A data directory on a file system that cannot make files without a name."""

    def _make_nameless(self, name: str) -> None:
        del name
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


class KilledNamed(Named, Killed):
    """Both."""


@pytest.fixture
def grouped(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir()
    path.chmod(0o2770)
    return path


@pytest.mark.parametrize("kind", [DataDirectory, Named])
@pytest.mark.parametrize("umask", [0o077], indirect=True)
def test_file_has_its_mode_before_it_has_its_name(grouped: Path, kind: type[DataDirectory], umask: int) -> None:
    """Nobody ever sees a file of a group's directory that the group may not use."""
    del umask
    modes = set()

    def look(number: int) -> None:
        os.close(kind(str(grouped), allow_network_fs=True).open(str(number), CREATE))

    with ThreadPoolExecutor(4) as pool:
        opened = pool.map(look, [number // 4 for number in range(400)])
        for number in range(100):
            with suppress(FileNotFoundError):
                modes.add(mode_of(grouped / str(number)))
        list(opened)

    assert {0o660} == modes | {mode_of(path) for path in grouped.iterdir()}
    assert {str(number) for number in range(100)} == set(os.listdir(grouped))


@pytest.mark.parametrize(("kind", "remaining"), [(Killed, 0), (KilledNamed, 1)])
def test_file_whose_maker_is_killed_has_no_name(grouped: Path, kind: type[DataDirectory], remaining: int) -> None:
    """Who is killed while making a file leaves nothing under its name, and nothing that a flush does not remove."""
    killed = kind(str(grouped), allow_network_fs=True)

    assert -signal.SIGKILL == in_child(lambda: killed.open("journal", CREATE))

    assert remaining == len(os.listdir(grouped))
    os.close(local(grouped).open("journal", CREATE))
    local(grouped).sweep()
    assert ["journal"] == os.listdir(grouped)
    assert 0o660 == mode_of(grouped / "journal")


def test_temporary_name_is_removed_when_the_file_is_opened(directory: DataDirectory) -> None:
    """A process that is killed between the two names leaves a usable file."""
    os.close(directory.open("journal", CREATE))
    os.link(directory.file("journal"), directory.file("journal.0123456789ab.part"))

    os.close(directory.open("journal", CREATE))

    assert ["journal"] == os.listdir(directory.path)


@pytest.mark.parametrize("kind", [DataDirectory, Named])
def test_file_created_by_another_process_is_used(grouped: Path, kind: type[DataDirectory]) -> None:
    """Of processes that create a file at the same time, all use the first one."""
    directory = kind(str(grouped), allow_network_fs=True)
    with ThreadPoolExecutor(8) as pool:
        descriptors = list(pool.map(lambda _: directory.open("journal", CREATE), range(64)))
    inodes = {os.fstat(descriptor).st_ino for descriptor in descriptors}
    for descriptor in descriptors:
        os.close(descriptor)

    assert {os.stat(grouped / "journal").st_ino} == inodes
    assert ["journal"] == os.listdir(grouped)


# left by killed processes


def begin(path: Path, then: Callable[[], object]) -> None:
    with replacing(str(path)) as (descriptor, _):
        write_all(descriptor, b"half")
        then()


def test_next_run_removes_temporary_files_of_a_killed_one(tmp_path: Path) -> None:
    """Temporary files of killed runs are removed by the next run that writes the same file."""
    path = tmp_path / "rows.csv"
    assert -signal.SIGKILL == in_child(lambda: begin(path, lambda: os.kill(os.getpid(), signal.SIGKILL)))
    assert 1 == len(os.listdir(tmp_path))

    begin(path, lambda: None)

    assert ["rows.csv"] == os.listdir(tmp_path)
    assert b"half" == path.read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        *("rows.csv.part", "rows.csv.0123456789ab", "rows.csv.0123456789AB.part", "rows.csv.0123456789abc.part"),
        *("other.csv.0123456789ab.part", "my.rows.csv.0123456789ab.part", "0123456789ab.part"),
    ],
)
def test_next_run_keeps_unrelated_files(tmp_path: Path, name: str) -> None:
    """Only names of temporary files of this file are removed."""
    (tmp_path / name).touch()

    begin(tmp_path / "rows.csv", lambda: None)

    assert sorted([name, "rows.csv"]) == sorted(os.listdir(tmp_path))


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("rows.csv", path)])
def test_next_run_keeps_other_kinds_of_files(tmp_path: Path, make: Callable[[str], None]) -> None:
    """Anything but a regular file is kept under such a name, and does not block."""
    make(str(tmp_path / "rows.csv.0123456789ab.part"))

    begin(tmp_path / "rows.csv", lambda: None)

    assert ["rows.csv", "rows.csv.0123456789ab.part"] == sorted(os.listdir(tmp_path))


def test_next_run_keeps_temporary_files_in_use(tmp_path: Path) -> None:
    """Two runs that write the same file at the same time both succeed; the last one's file stays."""
    path = tmp_path / "rows.csv"
    with replacing(str(path)) as (first, _):
        begin(path, lambda: None)
        write_all(first, b"first")
        assert b"half" == path.read_bytes()
    assert b"first" == path.read_bytes()
    assert ["rows.csv"] == os.listdir(tmp_path)


def test_child_does_not_lock_temporary_files_of_its_parent(tmp_path: Path) -> None:
    """A child process that outlives its parent does not keep the parent's temporary file locked."""
    with orphaned(lambda die: begin(tmp_path / "rows.csv", die)):
        assert 1 == len(os.listdir(tmp_path))
        begin(tmp_path / "rows.csv", lambda: None)
        assert ["rows.csv"] == os.listdir(tmp_path)
