"""The owner of a directory, and the users who could replace it while it is used.

Like sshd with StrictModes, this examines every directory on the path, and every link that is followed.
"""

from __future__ import annotations

import os
import stat

from geocli.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINKS = 40
"""Links that the kernel follows (path_resolution(7))."""


def owner_of(path: str) -> os.stat_result:
    """Return the status of a directory, or of its nearest parent that exists.

    Raises StorageError if any user could replace it; or, if this is root, a user who does not own it.
    """
    status, replacers = os.lstat("/"), list[tuple[int, str]]()
    for parent, directory, entry in _steps(os.path.abspath(path)):
        is_sticky = bool(directory.st_mode & stat.S_ISVTX)
        if directory.st_mode & stat.S_IWOTH and not is_sticky:
            raise _refused(path, f"any user could replace it, in {parent}; chmod o-w {parent}, or chmod +t")
        replacers.append((directory.st_uid, parent))
        if entry is not None and is_sticky and directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            replacers.append((entry.st_uid, parent))
        status = entry if entry is not None and not stat.S_ISLNK(entry.st_mode) else directory
    if os.geteuid() == 0:
        for user, parent in replacers:
            if user not in {0, status.st_uid}:
                raise _refused(path, f"user {user} could replace it, in {parent}; chown one of the two")
    return status


def other_owner(path: str) -> os.stat_result | None:
    """Return the status of a directory that belongs to another user, if this is root; else None.

    Also None for a directory that is refused: each access to it reports why.
    """
    if os.geteuid() != 0:
        return None
    try:
        status = owner_of(path)
    except StorageError:
        return None
    return status if status.st_uid else None


def check_owner(path: str) -> None:
    """Check that this user may use a directory; raises like `owner_of`, and for root if another user owns it.

    That user could make root write elsewhere by links. The command line becomes that user; a library must not, since
    all threads of a process share its user.
    """
    owner = owner_of(path).st_uid
    if os.geteuid() == 0 != owner:
        raise _refused(path, f"it belongs to user {owner}; run this as that user")


def _refused(path: str, reason: str) -> StorageError:
    return StorageError(path, f"cannot be used as data directory: {reason}")


def _steps(path: str) -> Iterator[tuple[str, os.stat_result, os.stat_result | None]]:
    """Yield the path and the status of each parent directory, with the status of the next entry, None if missing."""
    here, names, links = "/", path.split("/")[::-1], 0
    directory = os.lstat(here)
    while names:
        if (name := names.pop()) in {"", "."}:
            continue
        there = os.path.dirname(here) if name == ".." else os.path.join(here, name)
        try:
            entry = os.lstat(there)
        except OSError:  # missing, or its parent is not searchable
            yield here, directory, None
            return
        if name != "..":
            yield here, directory, entry
        if not stat.S_ISLNK(entry.st_mode):
            here, directory = there, entry
            continue
        links += 1
        target = os.readlink(there)
        if links > MAX_LINKS:
            return
        if target.startswith("/"):
            here, directory = "/", os.lstat("/")
        names += target.split("/")[::-1]
