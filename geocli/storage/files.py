"""The data directory: who may use it, locks, and directory entries that survive a power cut."""

from __future__ import annotations

import fcntl
import os
import stat
from _thread import allocate_lock
from contextlib import contextmanager, nullcontext, suppress
from errno import EINVAL
from time import sleep

from geocli.errors import BusyError, StorageError, TerminatedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "afs", "fuse.sshfs", "fuse.glusterfs")
"""Where locks or syncs are not what they are on a local disk."""
POLL_SECONDS = 0.01
"""How often a lock that is held is tried again."""


_umask_lock = allocate_lock()


@contextmanager
def _group_rights() -> Iterator[None]:
    """Let files be made with the rights that are asked for: one that is made and never adopted shuts nobody out."""
    with _umask_lock:  # the umask is the whole process's
        umask = os.umask(0)
        try:
            yield
        finally:
            os.umask(umask)


def _sync(path: str) -> None:
    """Put a directory's entries on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DataDirectory:
    """The directory of the journal and the store.

    Private (0700) or for a group (2770): files in it can be read by whom the directory lets in, and belong
    to its owner also when root makes them.
    """

    def __init__(self, path: str, *, allow_network_fs: bool = False, mountinfo: str = "/proc/self/mountinfo") -> None:
        """Name a directory; nothing is touched before `prepare`."""
        self.path = os.path.abspath(path)
        self._allow_network_fs = allow_network_fs
        self._mountinfo = mountinfo
        self._prepared: os.stat_result | None = None

    def file(self, name: str) -> str:
        """Return the path of a file in the directory."""
        return os.path.join(self.path, name)

    def prepare(self) -> os.stat_result:
        """Make the directory if it is missing, make sure that it can be trusted, and return what it is.

        Raises:
            StorageError: it cannot be made, is no directory, anybody may write to it, or it is on a network.

        """
        if self._prepared is not None:
            return self._prepared
        try:
            found = self._make()
        except OSError as error:
            raise self._error(error.strerror or str(error)) from error
        if not stat.S_ISDIR(found.st_mode):
            raise self._error("not a directory")
        if found.st_mode & stat.S_IWOTH:
            raise self._error("anybody may write to it; use a directory of your own, or chmod o-w")
        if not self._allow_network_fs and (kind := self._network_file_system(found.st_dev)):
            raise self._error(
                f"on a network file system ({kind}), where locks are not safe; "
                "use a local directory, or set allow_network_fs = true"
            )
        self._prepared = found
        return found

    def _make(self) -> os.stat_result:
        try:
            return os.stat(self.path)
        except FileNotFoundError:
            missing = [self.path]
            while not os.path.lexists(parent := os.path.dirname(missing[-1])):
                missing.append(parent)
            for path in reversed(missing):  # each of them private, whatever the umask
                with suppress(FileExistsError):
                    os.mkdir(path, 0o700)
                    os.chmod(path, 0o700)
                    with suppress(PermissionError):  # of a parent that may not be listed
                        _sync(os.path.dirname(path))
            return os.stat(self.path)

    def _error(self, reason: str) -> StorageError:
        return StorageError(self.path, f"cannot be the data directory: {reason}")

    def _network_file_system(self, device: int) -> str | None:
        """Return the type of the file system if it is a network's (proc(5), /proc/pid/mountinfo)."""
        wanted = f"{os.major(device)}:{os.minor(device)}"
        try:
            with open(self._mountinfo, encoding="utf-8", errors="replace") as lines:
                rows = (line.partition(" - ") for line in lines)
                kinds = {after.split(" ")[0] for before, _, after in rows if before.split()[2:3] == [wanted]}
        except OSError:
            return None
        return next((kind for kind in sorted(kinds) if kind in NETWORK_FILE_SYSTEMS), None)

    def open(self, name: str, flags: int) -> int:
        """Open a file of the directory, made if `flags` say so with the directory's owner and group rights.

        Raises:
            OSError: as `os.open`.

        """
        directory = self.prepare()
        mode = 0o660 if directory.st_mode & stat.S_IWGRP else 0o600
        with _group_rights() if flags & os.O_CREAT and mode == 0o660 else nullcontext():
            descriptor = os.open(self.file(name), flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        try:
            self._adopt(descriptor, directory, mode)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def create(self, name: str) -> None:
        """Make a file if it is missing; one that is there is not opened.

        SQLite's locks are POSIX locks, and a process loses those of a file when it closes any descriptor of
        it (https://sqlite.org/howtocorrupt.html, 2.2).

        Raises:
            OSError: it cannot be made, or is there and no regular file.

        """
        try:
            os.close(self.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            if not stat.S_ISREG(os.lstat(self.file(name)).st_mode):
                raise OSError(EINVAL, "not a regular file") from None

    @staticmethod
    def _adopt(descriptor: int, directory: os.stat_result, mode: int) -> None:
        """Give a file that this user owns the rights, and from root also the owner, that the directory asks for."""
        found, user = os.fstat(descriptor), os.geteuid()
        if user not in (0, found.st_uid) or not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            return  # another user's, or a link to a file that is none of ours
        if stat.S_IMODE(found.st_mode) != mode:
            os.fchmod(descriptor, mode)
        if user == 0 and (found.st_uid, found.st_gid) != (directory.st_uid, directory.st_gid):
            os.fchown(descriptor, directory.st_uid, directory.st_gid)

    def sync(self) -> None:
        """Put the directory's entries on disk.

        Raises:
            OSError: they may not be there.

        """
        _sync(self.path)

    def names(self) -> list[str]:
        """Return the names in the directory, none if it is not there yet.

        Raises:
            OSError: it cannot be read.

        """
        try:
            return os.listdir(self.path)
        except FileNotFoundError:
            return []

    @contextmanager
    def locked(self, name: str, timeout_seconds: float) -> Iterator[None]:
        """Hold a lock, by `flock` on a file that is never renamed or unlinked.

        The kernel frees it when the process dies. Not `fcntl`: those locks end when any descriptor of the
        file is closed.

        Raises:
            BusyError: another process held it for longer than `timeout_seconds`.
            StorageError: the lock file cannot be made or opened.

        """
        try:
            descriptor = self._lock(name, timeout_seconds)
        except OSError as error:
            raise StorageError(self.file(name), f"cannot be locked: {error.strerror}") from error
        try:
            yield
        finally:
            os.close(descriptor)

    def _lock(self, name: str, timeout_seconds: float) -> int:
        waited_seconds = 0.0
        while True:
            descriptor = self.open(name, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), os.stat(self.file(name))):
                    return descriptor
            except FileNotFoundError:
                pass  # removed meanwhile: the next one counts
            except BlockingIOError:
                if waited_seconds >= timeout_seconds:
                    os.close(descriptor)
                    raise BusyError(self.file(name), timeout_seconds) from None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            sleep(POLL_SECONDS)
            waited_seconds += POLL_SECONDS


@contextmanager
def locked_directory(path: str) -> Iterator[None]:
    """Hold a lock of a directory that may be removed, without a file in it; where there are no locks, without one.

    Raises:
        BusyError: another process holds it.
        OSError: it cannot be opened.

    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(path, 0) from None
        except OSError:  # as of NFS, which locks only what is open for writing
            pass
        if not (os.path.exists(path) and os.path.samestat(os.fstat(descriptor), os.stat(path))):
            raise BusyError(path, 0)  # who had the lock removed it
        yield
    finally:
        os.close(descriptor)


@contextmanager
def told_of_termination() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise meanwhile, so that what is half done is put in order; in the main thread alone."""
    import signal

    def stop(number: int, _: object) -> None:
        raise TerminatedError(number)

    caught = []
    with suppress(ValueError):  # in another thread, which hears no signals
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # whoever started us may ignore it, as nohup does
                signal.signal(number, stop)
                caught.append(number)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def replacing(path: str, mode: int = 0o644) -> Iterator[tuple[int, str]]:
    """Write a file beside another, and put it in its place when all of it is on disk.

    Yields a descriptor to write to, and the path that the file has until then. On any error the old file
    stays as it was. A link is followed, and what is no regular file, like a pipe, is simply written to.

    Raises:
        OSError: the file cannot be written or renamed.

    """
    target = os.path.realpath(path)
    is_file = os.path.isfile(target) or not os.path.exists(target)
    beside = f"{target}.{os.urandom(6).hex()}.part" if is_file else target
    flags = os.O_WRONLY | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if is_file else 0)
    with told_of_termination():
        try:
            with open(os.open(beside, flags, mode), "wb", buffering=0) as stream:
                yield stream.fileno(), beside
                if is_file:
                    os.fsync(stream.fileno())
            if is_file:
                os.replace(beside, target)
        except BaseException as error:
            if is_file:
                with suppress(FileNotFoundError):
                    os.unlink(beside)
            if isinstance(error, OSError) and error.filename in {None, beside}:
                error.filename = path
            raise


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes to a descriptor, however many calls it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
