"""What is kept on disk: the journal and the store."""

from __future__ import annotations

import os
from contextlib import suppress
from stat import S_ISREG

STORE, JOURNAL, SEGMENT_SUFFIX = "geocli.db", "journal", ".draining"
"""The SQLite file; the file that answers are appended to; the end of the names of its sealed segments."""
STRETCH_BYTES = 1 << 19
"""Bytes of a journal that are summarised, and searched, at a time."""


def is_dirty(directory: str) -> bool:
    """Return whether something is not yet in the store: a segment, or a journal that is not empty.

    Costs one stat and one listing, and imports nothing: each cached lookup asks it.

    Raises:
        OSError: the directory cannot be read.

    """
    try:
        found = os.lstat(f"{directory}/{JOURNAL}")
        if found.st_size > 0 or not S_ISREG(found.st_mode):
            return True
    except FileNotFoundError:
        pass
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return False
    return any(name.startswith(f"{JOURNAL}.") and name.endswith(SEGMENT_SUFFIX) for name in names)


def dirty_bytes(directory: str) -> int:
    """Return the size of the journal and its segments, 0 for what cannot be looked at."""
    size_bytes = 0
    with suppress(OSError):
        for name in os.listdir(directory):
            if name == JOURNAL or (name.startswith(f"{JOURNAL}.") and name.endswith(SEGMENT_SUFFIX)):
                with suppress(OSError):
                    size_bytes += os.lstat(f"{directory}/{name}").st_size
    return size_bytes


def has_answers(directory: str) -> bool:
    """Return whether answers may be read that are not yet in the store.

    As `is_dirty`, but what is not a directory has none, nor has anything but a file in the journal's place: appending
    reports these.

    Raises:
        StorageError: the directory cannot be read.

    """
    journal = f"{directory}/{JOURNAL}"
    try:
        return is_dirty(directory) and (os.path.isfile(journal) or not os.path.lexists(journal))
    except NotADirectoryError:
        return False
    except OSError as error:
        from geocli.errors import StorageError

        raise StorageError(directory, f"cannot be listed: {error.strerror}") from error
