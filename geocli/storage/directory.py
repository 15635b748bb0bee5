"""The data directory: who may use it, locks, and directory entries that survive a power cut."""

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
"""How often a lock that is held is tried again."""

_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Follow no link, and do not wait for the other end of a FIFO."""


class DataDirectory:
    """The directory of the journal and the store.

    Private (0700) or for a group (2770): files in it can be read by whom the directory lets in.
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
            StorageError: it cannot be made, is no directory, anybody may write to it or exchange it, or it is on a
                network; or this is root, and it is another user's.

        """
        if self._prepared is not None:
            return self._prepared
        check_owner(self.path)
        try:
            found = self._make()
        except OSError as error:
            raise self._error(error.strerror or str(error)) from error
        if not stat.S_ISDIR(found.st_mode):
            raise self._error("not a directory")
        if found.st_mode & stat.S_IWOTH:
            raise self._error("anybody may write to it; use a directory of your own, or chmod o-w")
        if not self._allow_network_fs and (kind := network_file_system(found.st_dev, self._mountinfo)):
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
            make_directory(self.path, 0o700)
            return os.stat(self.path)

    def _error(self, reason: str) -> StorageError:
        return StorageError(self.path, f"cannot be the data directory: {reason}")

    def open(self, name: str, flags: int) -> int:
        """Open a file of the directory, made if `flags` say so with the directory's owner and group rights.

        Args:
            name: of the file.
            flags: as of `os.open`; not O_TRUNC, which would empty a file before it is examined.

        Raises:
            OSError: as `os.open`.
            StorageError: not a regular file with one name.

        """
        directory = self.prepare()
        while True:
            try:
                descriptor = os.open(self.file(name), flags & ~os.O_CREAT | _SAFE)
                break
            except FileNotFoundError:
                if not flags & os.O_CREAT:
                    raise
            with suppress(FileExistsError):  # another process was faster: its file is opened
                self._make_file(name)
        try:
            if os.fstat(descriptor).st_nlink > 1:
                wait_until_made(descriptor, self.path, name)
            check_opened(descriptor, self.file(name))
            self._adopt(descriptor, directory, self._mode(directory))
        except (OSError, StorageError):
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
            if not stat.S_ISREG(os.lstat(self.file(name)).st_mode):
                raise OSError(EINVAL, "not a regular file")
        except FileNotFoundError:
            with suppress(FileExistsError):
                self._make_file(name)

    def _make_file(self, name: str) -> None:
        """Make an empty file, which has its mode and its owner before it has its name.

        Raises:
            FileExistsError: it is there.
            OSError: it cannot be made.

        """
        directory = self.prepare()
        try:
            self._make_nameless(name, directory)
        except FileExistsError:
            raise
        except OSError:  # a file system that cannot make them, or no /proc
            with temporary(self.file(name), 0o600) as (descriptor, path):
                self._give(descriptor, directory, self._mode(directory))
                os.link(path, self.file(name))
                os.unlink(path)

    def _make_nameless(self, name: str, directory: os.stat_result) -> None:
        """Make a file that is gone if its process is killed before it has its name (open(2), O_TMPFILE)."""
        descriptor = os.open(self.path, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            self._give(descriptor, directory, self._mode(directory))
            # Only with a descriptor does os.link call linkat(2), which follows links.
            os.link(f"/proc/self/fd/{descriptor}", self.file(name), src_dir_fd=descriptor)
        finally:
            os.close(descriptor)

    @staticmethod
    def _mode(directory: os.stat_result) -> int:
        return 0o660 if directory.st_mode & stat.S_IWGRP else 0o600

    @staticmethod
    def _adopt(descriptor: int, directory: os.stat_result, mode: int) -> None:
        """Give a file that this user owns the mode, and from root also the group, that the directory asks for."""
        if os.geteuid() in (0, os.fstat(descriptor).st_uid):  # else it is another user's
            DataDirectory._give(descriptor, directory, mode)

    @staticmethod
    def _give(descriptor: int, directory: os.stat_result, mode: int) -> None:
        found = os.fstat(descriptor)
        if stat.S_IMODE(found.st_mode) != mode:
            os.fchmod(descriptor, mode)
        if os.geteuid() == 0 and (found.st_uid, found.st_gid) != (0, directory.st_gid):
            os.fchown(descriptor, 0, directory.st_gid)

    def sweep(self) -> None:
        """Remove what processes that were killed left behind; what another process still writes is kept.

        Raises:
            StorageError: the directory cannot be listed.

        """
        try:
            sweep(self.path)
        except OSError as error:
            raise StorageError(self.path, f"cannot be listed: {error.strerror}") from error

    def sync(self) -> None:
        """Put the directory's entries on disk, or raise OSError."""
        sync_directory(self.path)

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
        """Hold the lock of a file that is never renamed or unlinked.

        Raises:
            BusyError: another process held it for longer than `timeout_seconds`.
            StorageError: the lock file cannot be made or opened.

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
                if is_free and lock.is_at(self.file(name)):  # else removed meanwhile: the next file counts
                    return lock
                if not is_free and waited_seconds >= timeout_seconds:
                    raise BusyError(self.file(name), timeout_seconds)  # noqa: TRY301 (closed below)
            except BaseException:
                lock.close()
                raise
            lock.close()
            sleep(POLL_SECONDS)
            waited_seconds += POLL_SECONDS
