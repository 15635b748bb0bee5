"""What is written when a user names a file: the file's name is taken over, but for pipes, devices and descriptors.

A link to a regular file, or to nothing, is replaced itself: whoever made it may not decide which file is written.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from errno import EISDIR

MAX_LINKS = 40
"""As the kernel follows (path_resolution(7))."""
OWN_DESCRIPTORS = "/proc/self/fd"
WIDEST = 0o644
"""The mode of a file in a directory that other users can write to."""


def open_special(path: str) -> int | None:
    """Open what is not replaced: a pipe, a device, or a descriptor of this process, like /dev/stdout.

    Returns:
        A descriptor to write to; None if a regular file is to take the name.

    Raises:
        OSError: it cannot be opened, or is a directory.

    """
    if not os.path.basename(path):
        raise IsADirectoryError(EISDIR, os.strerror(EISDIR), path)
    if (number := _own_descriptor(path)) is not None:
        return os.dup(number)
    try:
        mode = os.stat(path).st_mode
    except OSError:  # nothing, also behind a link; else making the file fails for the same reason
        return None
    if stat.S_ISREG(mode):
        return None
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):  # exchanged since: a file is only ever replaced
        os.close(descriptor)
        return None
    return descriptor


def _own_descriptor(path: str) -> int | None:
    """Return the descriptor that a path leads to by its links, None if it leads to none.

    To open /dev/stdout again would write over the beginning of a file that a shell appends to.
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

    Where others can, they may have put a file of theirs there, or one that everybody may write: the new file is this
    user's own, and not wider than 0644.

    Raises:
        OSError: the file that is replaced is gone, or the mode cannot be set.

    """
    found = os.lstat(path)
    mode = stat.S_IMODE(found.st_mode) & 0o777
    if stat.S_ISLNK(found.st_mode):
        mode = os.stat(path).st_mode & WIDEST | 0o600
    elif not (_is_private(os.path.dirname(path) or ".") and _give(descriptor, found)):
        mode &= WIDEST
    os.fchmod(descriptor, mode)


def _is_private(directory: str) -> bool:
    """Return whether no other user but root can write to a directory."""
    found = os.stat(directory)
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _give(descriptor: int, owner: os.stat_result) -> bool:
    """Give a file an owner and a group, and return whether that was allowed."""
    found = os.fstat(descriptor)
    if (found.st_uid, found.st_gid) != (owner.st_uid, owner.st_gid):
        try:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        except PermissionError:
            return False
    return True
