"""Targets of output: a regular file is replaced; a pipe, a device or a descriptor is written to.

A link to a regular file, or a dangling one, is itself replaced, since another user may have created it.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from errno import EISDIR

from geocli.files.ownership import MAX_LINKS

OWN_DESCRIPTORS = "/proc/self/fd"
MAX_MODE = 0o644
"""Mode of a file in a directory that other users can write to."""


def open_special(path: str) -> int | None:
    """Open a pipe, a device, or a descriptor of this process, such as /dev/stdout.

    Returns:
        A descriptor to write to; None if a regular file is to be created or replaced.

    """
    if not os.path.basename(path):
        raise IsADirectoryError(EISDIR, os.strerror(EISDIR), path)
    if (number := _own_descriptor(path)) is not None:
        return os.dup(number)
    try:
        mode = os.stat(path).st_mode
    except OSError:  # it does not exist; any other error will also prevent a new file
        return None
    if stat.S_ISREG(mode):
        return None
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):  # replaced meanwhile; regular files are never written to
        os.close(descriptor)
        return None
    return descriptor


def _own_descriptor(path: str) -> int | None:
    """Return the descriptor of this process that a path leads to, None if it leads to a file.

    Opening /dev/stdout again would overwrite the beginning of a file to which a shell appends.
    """
    for _ in range(MAX_LINKS):
        directory, name = os.path.split(path)
        with suppress(OSError):
            if name.isdecimal() and os.path.samefile(directory, OWN_DESCRIPTORS):
                return int(name)
        if not os.path.islink(path):
            return None
        path = os.path.join(directory, os.readlink(path))
    return None


def inherit_rights(descriptor: int, path: str) -> None:
    """Give a new file the mode of the one that it replaces, and the owner if no other user can write to the directory.

    Other users who can may have put a file of their own there, or one that all users can write; then the new file
    belongs to this user, and gets no more permissions than 0644.
    """
    status = os.lstat(path)
    mode = stat.S_IMODE(status.st_mode) & 0o777
    if stat.S_ISLNK(status.st_mode):
        mode = os.stat(path).st_mode & MAX_MODE | 0o600
    elif not (_is_private(os.path.dirname(path) or ".") and _give(descriptor, status)):
        mode &= MAX_MODE
    os.fchmod(descriptor, mode)


def _is_private(directory: str) -> bool:
    """Return whether only this user and root can write to a directory."""
    status = os.stat(directory)
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _give(descriptor: int, owner: os.stat_result) -> bool:
    """Change the owner and the group of a file, and return whether that was permitted."""
    status = os.fstat(descriptor)
    if (status.st_uid, status.st_gid) != (owner.st_uid, owner.st_gid):
        try:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        except PermissionError:
            return False
    return True
