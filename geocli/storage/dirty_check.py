"""Check for dirty entries without opening a file; every cached lookup does this."""

from __future__ import annotations

import os
from contextlib import suppress
from stat import S_ISREG

STORE, JOURNAL, SEGMENT_SUFFIX = "geocli.db", "journal", ".draining"
"""Names of the SQLite file and of the journal, and the suffix of sealed segments."""
STRETCH_BYTES = 1 << 19
"""Bytes of a journal that are summarised, and searched, at a time."""


def is_dirty(directory: str) -> bool:
    """Return whether there is a segment, or a journal that is not empty.

    Costs one `lstat` and one listing, and imports nothing.
    """
    try:
        status = os.lstat(f"{directory}/{JOURNAL}")
        if status.st_size > 0 or not S_ISREG(status.st_mode):
            return True
    except FileNotFoundError:
        pass
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return False
    return any(map(is_segment, names))


def is_segment(name: str) -> bool:
    """Return whether a file name is that of a sealed segment."""
    return name.startswith(f"{JOURNAL}.") and name.endswith(SEGMENT_SUFFIX)


def dirty_bytes(directory: str) -> int:
    """Return the size of the journal and its segments, 0 for those that cannot be examined."""
    size_bytes = 0
    with suppress(OSError):
        for name in os.listdir(directory):
            if name == JOURNAL or is_segment(name):
                with suppress(OSError):
                    size_bytes += os.lstat(f"{directory}/{name}").st_size
    return size_bytes


def has_answers(directory: str) -> bool:
    """Return whether there may be dirty entries to read; raise StorageError if the directory cannot be read.

    As `is_dirty`, but False if the directory is not one, or the journal not a file: an append reports these.
    """
    journal = f"{directory}/{JOURNAL}"
    try:
        return is_dirty(directory) and (os.path.isfile(journal) or not os.path.lexists(journal))
    except NotADirectoryError:
        return False
    except OSError as error:
        from geocli.errors import StorageError

        raise StorageError(directory, f"cannot be listed: {error.strerror}") from error
