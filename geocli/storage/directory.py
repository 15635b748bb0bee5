"""The data directory: permissions, locks, and directory entries that survive a power cut."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from errno import EINVAL
from time import sleep

from geocli.errors import BusyError, StorageError
from geocli.files.atomic import make_directory, sync_directory
from geocli.files.file_checks import check_opened, network_file_system
from geocli.files.locks import FileLock
from geocli.files.ownership import check_owner
from geocli.files.temporary import sweep, temporary, wait_until_made

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

POLL_SECONDS = 0.01
"""Time between two attempts to get a lock."""

_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Follow no link, and do not block on a FIFO."""


class DataDirectory:
    """The directory of the journal and the store.

    It is private (0700) or shared by a group (2770); its files are readable by the same users.
    """

    def __init__(self, path: str, *, allow_network_fs: bool = False, mountinfo: str = "/proc/self/mountinfo") -> None:
        self.path = os.path.abspath(path)
        self._allow_network_fs = allow_network_fs
        self._mountinfo = mountinfo
        self._prepared: os.stat_result | None = None

    def file(self, name: str) -> str:
        """Return the path of a file in the directory."""
        return os.path.join(self.path, name)

    def prepare(self) -> os.stat_result:
        """Create the directory if it does not exist, check that it can be trusted, and return its status.

        Raises:
            StorageError: it cannot be created, is not a directory, is writable or replaceable by other users, or is on
                a network; or this is root, and it belongs to another user.

        """
        if self._prepared is not None:
            return self._prepared
        check_owner(self.path)
        try:
            status = self._make()
        except OSError as error:
            raise self._error(error.strerror or str(error)) from error
        if not stat.S_ISDIR(status.st_mode):
            raise self._error("not a directory")
        if status.st_mode & stat.S_IWOTH:
            raise self._error("writable by all users; use a directory of your own, or chmod o-w")
        if not self._allow_network_fs and (kind := network_file_system(status.st_dev, self._mountinfo)):
            raise self._error(
                f"on a network file system ({kind}), on which locks are unreliable; "
                "use a local directory, or set allow_network_fs = true"
            )
        self._prepared = status
        return status

    def _make(self) -> os.stat_result:
        try:
            return os.stat(self.path)
        except FileNotFoundError:
            make_directory(self.path, 0o700)
            return os.stat(self.path)

    def _error(self, reason: str) -> StorageError:
        return StorageError(self.path, f"cannot be used as data directory: {reason}")

    def open(self, name: str, flags: int) -> int:
        """Open a file of the directory; a new one gets the group and the permissions of the directory.

        `flags` are those of `os.open`, but not O_TRUNC, which would empty a file before it is checked. Raises
        StorageError if it is not a regular file, or has hard links.
        """
        self.prepare()
        while True:
            try:
                descriptor = os.open(self.file(name), flags & ~os.O_CREAT | _SAFE)
                break
            except FileNotFoundError:
                if not flags & os.O_CREAT:
                    raise
            with suppress(FileExistsError):  # another process created it first
                self._make_file(name)
        try:
            if os.fstat(descriptor).st_nlink > 1:
                wait_until_made(descriptor, self.path, name)
            check_opened(descriptor, self.file(name))
            # A file of this user gets the mode, one of root also the group.
            if os.geteuid() in (0, os.fstat(descriptor).st_uid):
                self._give(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def create(self, name: str) -> None:
        """Create a file if it does not exist; an existing one is not opened.

        SQLite uses POSIX locks, and a process loses all locks of a file when it closes any descriptor of it
        (https://sqlite.org/howtocorrupt.html, 2.2).
        """
        try:
            if not stat.S_ISREG(os.lstat(self.file(name)).st_mode):
                raise OSError(EINVAL, "not a regular file")
        except FileNotFoundError:
            with suppress(FileExistsError):
                self._make_file(name)

    def _make_file(self, name: str) -> None:
        """Create an empty file, which gets its mode and its owner before its name."""
        if not os.path.isdir(self.path):  # removed since it was prepared
            self._prepared = None
        self.prepare()
        try:
            self._make_nameless(name)
        except FileExistsError:
            raise
        except OSError:  # not supported by the file system, or no /proc
            with temporary(self.file(name), 0o600) as (descriptor, path):
                self._give(descriptor)
                os.link(path, self.file(name))
                os.unlink(path)

    def _make_nameless(self, name: str) -> None:
        """Create a file that vanishes if its process is killed before it has its name (open(2), O_TMPFILE)."""
        descriptor = os.open(self.path, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            self._give(descriptor)
            # With a descriptor os.link calls linkat(2), which follows links.
            os.link(f"/proc/self/fd/{descriptor}", self.file(name), src_dir_fd=descriptor)
        finally:
            os.close(descriptor)

    def _give(self, descriptor: int) -> None:
        """Give a file the mode of files in the directory, and one of root also the group."""
        directory, status = self.prepare(), os.fstat(descriptor)
        mode = 0o660 if directory.st_mode & stat.S_IWGRP else 0o600
        if stat.S_IMODE(status.st_mode) != mode:
            os.fchmod(descriptor, mode)
        if os.geteuid() == 0 and (status.st_uid, status.st_gid) != (0, directory.st_gid):
            os.fchown(descriptor, 0, directory.st_gid)

    def sweep(self) -> None:
        """Remove the temporary files of killed processes; raise StorageError if the directory cannot be listed."""
        try:
            sweep(self.path)
        except OSError as error:
            raise StorageError(self.path, f"cannot be listed: {error.strerror}") from error

    def sync(self) -> None:
        """Sync the directory's entries to disk, or raise OSError."""
        sync_directory(self.path)

    def names(self) -> list[str]:
        """Return the names in the directory, none if it does not exist."""
        try:
            return os.listdir(self.path)
        except FileNotFoundError:
            return []

    @contextmanager
    def locked(self, name: str, timeout_seconds: float) -> Iterator[None]:
        """Hold the lock of a file that is never renamed or unlinked.

        Raises:
            BusyError: another process held it for longer than `timeout_seconds`.
            StorageError: the lock file cannot be created or opened.

        """
        try:
            lock = self._lock(name, timeout_seconds)
        except OSError as error:
            raise StorageError(self.file(name), f"cannot be locked: {error.strerror}") from error
        try:
            yield
        finally:
            lock.close()

    def _lock(self, name: str, timeout_seconds: float) -> FileLock:
        waited_seconds = 0.0
        while True:
            lock = FileLock(lambda: self.open(name, os.O_RDWR | os.O_CREAT))
            try:
                is_free = lock.acquire()
                if is_free and lock.is_at(self.file(name)):  # else the file was removed meanwhile
                    return lock
                if not is_free and waited_seconds >= timeout_seconds:
                    raise BusyError(self.file(name), timeout_seconds)  # noqa: TRY301 (closed below)
            except BaseException:
                lock.close()
                raise
            lock.close()
            sleep(POLL_SECONDS)
            waited_seconds += POLL_SECONDS
