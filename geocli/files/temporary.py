"""Temporary files, locked for as long as they are written, so that those of killed processes can be told apart."""

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
"""Random hexadecimal digits and an ending, which the name of a temporary file has after that of its file."""
MAKING_SECONDS, MAKING_POLLS = 1.0, 100
"""How long, and how often, a file that is being made is looked at before its second name counts as planted."""


@contextmanager
def temporary(path: str, mode: int) -> Iterator[tuple[int, str]]:
    """Make a temporary file beside another, and return a descriptor and its path; on any error it is removed.

    Raises:
        OSError: it cannot be made.

    """
    lock: FileLock | None = None
    beside = ""
    try:  # from before it is made on, for a signal may come as soon as it is
        while lock is None:
            beside = f"{path}.{os.urandom(TEMPORARY_DIGITS // 2).hex()}{TEMPORARY_SUFFIX}"
            lock = _made_and_locked(beside, mode)
        yield lock.descriptor, beside
    except BaseException:
        with suppress(OSError):  # renamed, or not made
            os.unlink(beside)
        raise
    finally:
        if lock is not None:
            lock.close()


def _made_and_locked(path: str, mode: int) -> FileLock | None:
    """Make a file and lock it; None if it was swept before it was locked."""
    lock = FileLock(partial(os.open, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
    is_free = True
    with suppress(OSError):  # where there are no locks, `sweep` removes nothing
        is_free = lock.acquire()
    if is_free and lock.is_at(path):
        return lock
    lock.close()
    return None


def target_of(name: str) -> str | None:
    """Return the name of the file that a temporary file is to become, None for all other files."""
    target, dot, digits = name.removesuffix(TEMPORARY_SUFFIX).rpartition(".")
    is_temporary = dot and name.endswith(TEMPORARY_SUFFIX) and len(digits) == TEMPORARY_DIGITS
    return target if is_temporary and not digits.strip("0123456789abcdef") else None


def sweep(directory: str, target: str | None = None) -> None:
    """Remove temporary files that nobody has locked: those of processes that were killed.

    Args:
        directory: where they are.
        target: the name of the file that they were to become; default: any.

    Raises:
        OSError: the directory cannot be read.

    """
    for name in os.listdir(directory):
        found = target_of(name)
        if found is not None and target in {None, found}:
            with suppress(OSError):  # another user's
                _remove_unlocked(os.path.join(directory, name))


def wait_until_made(descriptor: int, directory: str, name: str) -> None:
    """Wait until an open file has lost its temporary name, also if the process that made it was killed.

    Raises:
        OSError: the directory cannot be read.

    """
    sweep(directory, name)
    left = MAKING_POLLS if any(target_of(found) == name for found in os.listdir(directory)) else 0
    while left and os.fstat(descriptor).st_nlink > 1:
        sleep(MAKING_SECONDS / MAKING_POLLS)
        left -= 1


def _remove_unlocked(path: str) -> None:
    lock = FileLock(partial(os.open, path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK))
    try:
        if stat.S_ISREG(os.fstat(lock.descriptor).st_mode) and lock.acquire() and lock.is_at(path):
            os.unlink(path)
    finally:
        lock.close()
