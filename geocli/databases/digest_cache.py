"""Labels of database files by their status, so that unchanged files are not hashed again.

They are in a file of the data directory, for all processes. Each line is `LABEL DEVICE INODE SIZE MTIME_NS CTIME_NS
PATH`. Without the file, or if it is damaged, labels are computed again.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from time import time_ns

from geocli.errors import BusyError, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from geocli.databases.discovery import DatabaseFile, Identity
    from geocli.storage.directory import DataDirectory

FILE_NAME = "digests"
SETTLED_NS = 2_000_000_000
"""Time after which a change also changes the times of a file; labels of newer files are not written."""
MAX_BYTES = 1 << 20
"""Maximum size of the file."""
MAX_LINES = 1000
"""Maximum number of labels; the oldest are dropped."""
HEX_DIGITS = frozenset("0123456789abcdef")


class Digests:
    """The labels of database files, by path, device, inode, size and times."""

    def __init__(
        self, path: str, directory: Callable[[], DataDirectory], clock_ns: Callable[[], int] = time_ns
    ) -> None:
        """The file is read when a label is first needed; the clock is that of the file system, in ns since 1970."""
        self._path, self._directory, self._clock_ns = os.path.join(path, FILE_NAME), directory, clock_ns
        self._labels: dict[Identity, str] | None = None
        self._unsaved: dict[Identity, str] = {}

    def get(self, file: DatabaseFile) -> str | None:
        """Return the label of a file, None if it is unknown."""
        if self._labels is None:
            self._labels = self._read()
        return self._labels.get(file.identity)

    def remember(self, file: DatabaseFile, label: str) -> None:
        """Store the label of a file in memory; `save` writes it for other processes."""
        self._labels = {**(self._labels or {}), file.identity: label}
        if self._clock_ns() - file.ctime_ns > SETTLED_NS and file.path.isprintable():
            self._unsaved[file.identity] = label

    def save(self) -> None:
        """Write new labels, creating the data directory; those of recently changed files are left out."""
        if self._unsaved:
            unsaved, self._unsaved = self._unsaved, {}
            with suppress(OSError, StorageError, BusyError):  # this process has them in memory
                self._write({**self._read(), **unsaved})

    def _read(self) -> dict[Identity, str]:
        """Return the labels on disk, none if this is not a regular file."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return {}
        try:
            status = os.fstat(descriptor)
            is_ours = stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES
            data = os.read(descriptor, MAX_BYTES) if is_ours else b""
        finally:
            os.close(descriptor)
        return dict(filter(None, map(_parsed, os.fsdecode(data).split("\n"))))

    def _write(self, labels: dict[Identity, str]) -> None:
        newest = {identity[0]: (identity, label) for identity, label in labels.items()}  # one for each path
        lines = _lines(list(newest.values())[-MAX_LINES:])
        directory, name = self._directory(), f"{FILE_NAME}.part"
        with directory.locked(name, 0):  # if another process is writing, the next process writes these
            with open(directory.open(name, os.O_WRONLY), "wb") as part:
                part.truncate()
                part.write(os.fsencode("".join(lines)))
            os.replace(directory.file(name), self._path)


def _lines(labels: Iterable[tuple[Identity, str]]) -> Iterable[str]:
    for (path, *numbers), label in labels:
        yield f"{label} {' '.join(map(str, numbers))} {path}\n"


def _parsed(line: str) -> tuple[Identity, str] | None:
    """Return the label of a line, None if the line is malformed."""
    try:
        label, device, inode, size_bytes, mtime_ns, ctime_ns, path = line.split(" ", 6)
        digest = label.rpartition("@")[2]
        if len(digest) != 64 or not HEX_DIGITS.issuperset(digest):
            return None
        return (path, int(device), int(inode), int(size_bytes), int(mtime_ns), int(ctime_ns)), label
    except ValueError:
        return None
