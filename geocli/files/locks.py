"""Locks by `flock`.

The kernel releases such a lock when its process dies. Locks by `fcntl` would be lost when any descriptor of the file
is closed.
"""

from __future__ import annotations

import fcntl
import os
from _weakref import ref  # importing `weakref` takes 1 ms more
from contextlib import contextmanager, suppress
from io import FileIO

from geocli.errors import BusyError
from geocli.files.file_checks import is_at
from geocli.fork_safety import FILE_RANK, ForkAware

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _OpenFiles(ForkAware):
    """The lock files that this process has open; one thread at a time opens or closes any."""

    fork_rank = FILE_RANK

    def __init__(self) -> None:
        super().__init__()
        self.locks: set[ref[FileLock]] = set()

    def after_fork_in_child(self) -> None:
        """Close the copies of the descriptors; the parent keeps its locks."""
        for reference in self.locks:
            if lock := reference():
                lock.close_descriptor()
        self.locks.clear()


_open = _OpenFiles()


class FileLock:
    """An open file, locked or not.

    The lock belongs to the open file, which children share. So it is unlocked before it is closed, and a child closes
    its descriptors at once; else the lock would last as long as the child.

    A signal handler that raises, such as that of Ctrl-C, may prevent the call of `close`. Then a file, but not a
    directory, is closed when nothing refers to this object; else the lock would last as long as the process.
    """

    def __init__(self, open_file: Callable[[], int]) -> None:
        """Open a file or a directory."""
        with _open.fork_lock:
            self.descriptor = open_file()
            self._owner: FileIO | None = None
            with suppress(IsADirectoryError):
                self._owner = FileIO(self.descriptor)
            _open.locks.add(ref(self, _open.locks.discard))

    def acquire(self) -> bool:
        """Lock the file without waiting, and return whether it was free."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def is_at(self, path: str) -> bool:
        """Return whether a path leads to this file."""
        return is_at(path, self.descriptor)

    def close(self) -> None:
        """Unlock and close the file."""
        with _open.fork_lock:
            if ref(self) not in _open.locks:  # closed, or this is a child
                return
            with suppress(OSError):  # the file system has no locks
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)
            _open.locks.discard(ref(self))
            self.close_descriptor()

    def close_descriptor(self) -> None:
        """Close the file, which does not unlock it if another process has the descriptor, too."""
        if self._owner is None:
            os.close(self.descriptor)
        else:
            self._owner.close()


@contextmanager
def locked_directory(path: str) -> Iterator[None]:
    """Hold a lock of a directory that may be removed, without a lock file; raise BusyError if another process has it.

    If the file system has no locks, the block runs without one.
    """
    lock = FileLock(lambda: os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    try:
        with suppress(OSError):  # NFS only locks files that are open for writing
            if not lock.acquire():
                raise BusyError(path, 0)
        if not lock.is_at(path):
            raise BusyError(path, 0)  # removed by the process that had the lock
        yield
    finally:
        lock.close()
