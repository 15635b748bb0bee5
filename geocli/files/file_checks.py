"""What is trusted with answers: file systems of this machine, and in them regular files with one name.

Anything else under a name that is opened was planted, or is a mistake: opening a FIFO waits for ever, and a link of
either kind leads to a file that may not be ours. SQLite opens what it finds, so the names that it will open are
examined before it does.
"""

from __future__ import annotations

import os
import stat

from geocli.errors import StorageError, StoreError

NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "afs", "fuse.sshfs", "fuse.glusterfs")
"""Where locks or syncs are not what they are on a local disk."""
COMPANIONS = ("-journal", "-wal", "-shm")
"""What SQLite adds to the name of a database (https://sqlite.org/tempfiles.html)."""
MOVE_AWAY = "move it away"
_LINKED = f"has another name too (a hard link); {MOVE_AWAY}, or put a copy of it in its place"


def refusal(found: os.stat_result) -> str | None:
    """Return why a file is not opened, and what to do; None if it is regular and has one name."""
    if not stat.S_ISREG(found.st_mode):
        return f"not a regular file; {MOVE_AWAY}"
    return _LINKED if found.st_nlink > 1 else None


def check_opened(descriptor: int, path: str) -> None:
    """Refuse a file that was just opened unless it is regular and has one name.

    Raises:
        StorageError: it is refused.

    """
    if refusal(os.fstat(descriptor)):
        raise StorageError(path, f"not a regular file with one name; {MOVE_AWAY}")


def examine(path: str) -> os.stat_result | None:
    """Return what the file of a database is, None if there is none.

    Raises:
        StoreError: it is not a regular file with one name, or cannot be examined.

    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(path, f"cannot be opened: {error.strerror}") from error
    if reason := refusal(found):
        raise StoreError(path, reason)
    return found


def check_store(path: str) -> bool:
    """Return whether there is a database, if it and what SQLite opens with it are regular files with one name.

    Raises:
        StoreError: one of them is not; the error names it.

    """
    found = [examine(path + suffix) for suffix in ("", *COMPANIONS)]
    return found[0] is not None


def network_file_system(device: int, mountinfo: str) -> str | None:
    """Return the type of a file system if it is a network's (proc(5), /proc/pid/mountinfo), else None."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open(mountinfo, encoding="utf-8", errors="replace") as lines:
            rows = (line.partition(" - ") for line in lines)
            kinds = {after.split(" ")[0] for before, _, after in rows if before.split()[2:3] == [wanted]}
    except OSError:
        return None
    return next((kind for kind in sorted(kinds) if kind in NETWORK_FILE_SYSTEMS), None)
