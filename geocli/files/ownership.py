"""Whose a directory is, and who else could exchange it for another one while it is used.

As sshd does with StrictModes, every directory on the way is examined, and every link that is followed.
"""

from __future__ import annotations

import os
import stat

from geocli.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINKS = 40
"""As the kernel follows (path_resolution(7))."""


def owner_of(path: str) -> os.stat_result:
    """Return what a directory is, or the nearest one above it that exists.

    Raises:
        StorageError: everybody could exchange it for another one; or, if this is root, a user who does not own it.

    """
    found, exchangers = os.lstat("/"), list[tuple[int, str]]()
    for place, directory, entry in _way(os.path.abspath(path)):
        is_sticky = bool(directory.st_mode & stat.S_ISVTX)
        if directory.st_mode & stat.S_IWOTH and not is_sticky:
            raise _refused(path, f"everybody could exchange it, by {place}; chmod o-w {place}, or chmod +t")
        exchangers.append((directory.st_uid, place))
        if entry is not None and is_sticky and directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            exchangers.append((entry.st_uid, place))
        found = entry if entry is not None and not stat.S_ISLNK(entry.st_mode) else directory
    if os.geteuid() == 0:
        for user, place in exchangers:
            if user not in {0, found.st_uid}:
                raise _refused(path, f"user {user} could exchange it, by {place}; chown one of the two")
    return found


def other_owner(path: str) -> os.stat_result | None:
    """Return what a directory is that belongs to another user, if this is root; else None.

    Also None for a directory that is refused: each access to it says why.
    """
    if os.geteuid() != 0:
        return None
    try:
        found = owner_of(path)
    except StorageError:
        return None
    return found if found.st_uid else None


def check_owner(path: str) -> None:
    """Make sure that a directory may be used by this user.

    Raises:
        StorageError: as `owner_of`; or this is root, and the directory is another user's, who could let root write
            elsewhere by links. Only the command line may become that user: a library may not, since the user belongs
            to the whole process.

    """
    owner = owner_of(path).st_uid
    if os.geteuid() == 0 != owner:
        raise _refused(path, f"it belongs to user {owner}; run this as that user")


def _refused(path: str, reason: str) -> StorageError:
    return StorageError(path, f"cannot be the data directory: {reason}")


def _way(path: str) -> Iterator[tuple[str, os.stat_result, os.stat_result | None]]:
    """Yield each directory on the way to a path, with what the next name in it is; None if that is missing."""
    here, names, links = "/", path.split("/")[::-1], 0
    directory = os.lstat(here)
    while names:
        if (name := names.pop()) in {"", "."}:
            continue
        there = os.path.dirname(here) if name == ".." else os.path.join(here, name)
        try:
            entry = os.lstat(there)
        except OSError:  # missing, or its directory may not be searched
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
