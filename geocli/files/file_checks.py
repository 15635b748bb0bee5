"""Files and file systems that are safe to use: local file systems, and regular files without hard links.

Opening a FIFO blocks forever, and a link of either kind leads to a file that may belong to another program. SQLite
opens any of them, so its files are checked first.
"""

from __future__ import annotations

import os
import stat

from geocli.errors import StorageError, StoreError

NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "afs", "fuse.sshfs", "fuse.glusterfs")
"""File systems on which locks or syncs are unreliable."""
COMPANIONS = ("-journal", "-wal", "-shm")
"""Suffixes of the files that SQLite opens with a database (https://sqlite.org/tempfiles.html)."""
MOVE_AWAY = "move it away"
_LINKED = f"has a hard link; {MOVE_AWAY}, or replace it by a copy"


def refusal(status: os.stat_result) -> str | None:
    """Return why a file is refused, with advice; None for a regular file without hard links."""
    if not stat.S_ISREG(status.st_mode):
        return f"not a regular file; {MOVE_AWAY}"
    return _LINKED if status.st_nlink > 1 else None


def is_at(path: str, descriptor: int) -> bool:
    """Return whether a path leads to an open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def check_opened(descriptor: int, path: str) -> None:
    """Raise StorageError unless an open file is regular and has no hard links."""
    if refusal(os.fstat(descriptor)):
        raise StorageError(path, f"not a regular file, or one with a hard link; {MOVE_AWAY}")


def examine(path: str) -> os.stat_result | None:
    """Return the status of the file of a database, None if it does not exist.

    Raises StoreError if it is not a regular file, has hard links, or cannot be examined.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(path, f"cannot be opened: {error.strerror}") from error
    if reason := refusal(status):
        raise StoreError(path, reason)
    return status


def check_store(path: str) -> bool:
    """Check the files that SQLite opens for a database, and return whether it exists.

    Raises StoreError if one of them is not a regular file, or has hard links.
    """
    statuses = [examine(path + suffix) for suffix in ("", *COMPANIONS)]
    return statuses[0] is not None


def network_file_system(device: int, mountinfo: str) -> str | None:
    """Return the type of a network file system (proc(5), /proc/pid/mountinfo), None for local ones."""
    device_id = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open(mountinfo, encoding="utf-8", errors="replace") as lines:
            rows = (line.partition(" - ") for line in lines)
            kinds = {after.split(" ")[0] for before, _, after in rows if before.split()[2:3] == [device_id]}
    except OSError:
        return None
    return next((kind for kind in sorted(kinds) if kind in NETWORK_FILE_SYSTEMS), None)
