"""Temporary files, which are locked while they are written: unlocked ones belong to killed processes."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from functools import partial
from time import sleep

from geocli.files.locks import FileLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPORARY_DIGITS, TEMPORARY_SUFFIX = 12, ".part"
"""Random hexadecimal digits and suffix, appended to the name of the target file."""
MAKING_SECONDS, MAKING_POLLS = 1.0, 100
"""Time to wait for a file that is being created to lose its temporary name, and number of checks."""


@contextmanager
def temporary(path: str, mode: int) -> Iterator[tuple[int, str]]:
    """Create a temporary file in the directory of another, and yield a descriptor and its path.

    On any error it is removed.
    """
    lock: FileLock | None = None
    part = ""
    # A signal may be received as soon as the file exists, so creating it is in the block, too.
    try:
        while lock is None:
            part = f"{path}.{os.urandom(TEMPORARY_DIGITS // 2).hex()}{TEMPORARY_SUFFIX}"
            lock = _made_and_locked(part, mode)
        yield lock.descriptor, part
    except BaseException:
        with suppress(OSError):  # renamed, or not created
            os.unlink(part)
        raise
    finally:
        if lock is not None:
            lock.close()


def _made_and_locked(path: str, mode: int) -> FileLock | None:
    """Create and lock a file; return None if it was swept before it was locked."""
    lock = FileLock(partial(os.open, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
    is_free = True
    with suppress(OSError):  # without locks, `sweep` removes nothing
        is_free = lock.acquire()
    if is_free and lock.is_at(path):
        return lock
    lock.close()
    return None


def target_of(name: str) -> str | None:
    """Return the name of the target of a temporary file, None for other files."""
    target, dot, digits = name.removesuffix(TEMPORARY_SUFFIX).rpartition(".")
    is_temporary = dot and name.endswith(TEMPORARY_SUFFIX) and len(digits) == TEMPORARY_DIGITS
    return target if is_temporary and not digits.strip("0123456789abcdef") else None


def sweep(directory: str, target: str | None = None) -> None:
    """Remove unlocked temporary files, of one target or of all, which killed processes left."""
    for name in os.listdir(directory):
        its_target = target_of(name)
        if its_target is not None and target in {None, its_target}:
            with suppress(OSError):  # it belongs to another user
                _remove_unlocked(os.path.join(directory, name))


def wait_until_made(descriptor: int, directory: str, name: str) -> None:
    """Wait until an open file has lost its temporary name, also if the process that created it was killed."""
    sweep(directory, name)
    polls = MAKING_POLLS if any(target_of(part) == name for part in os.listdir(directory)) else 0
    while polls and os.fstat(descriptor).st_nlink > 1:
        sleep(MAKING_SECONDS / MAKING_POLLS)
        polls -= 1


def _remove_unlocked(path: str) -> None:
    lock = FileLock(partial(os.open, path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK))
    try:
        if stat.S_ISREG(os.fstat(lock.descriptor).st_mode) and lock.acquire() and lock.is_at(path):
            os.unlink(path)
    finally:
        lock.close()
