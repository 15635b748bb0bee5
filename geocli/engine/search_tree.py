"""The search tree of a database, mapped for the kernel (MaxMind DB file format, version 2.0)."""

from __future__ import annotations

import mmap
import os
from ctypes import byref
from typing import TYPE_CHECKING

from geocli.engine.kernel import TABLE_BITS, Tree, address_of, allocated, kernel
from geocli.errors import DatabaseError

if TYPE_CHECKING:
    from geocli.databases.database import Database
    from geocli.databases.discovery import DatabaseFile


class SearchTree:
    """A search tree in a memory map of its file.

    Attributes:
        tree: the tree as the kernel takes it.

    """

    def __init__(self, database: Database) -> None:
        """Map an open database.

        Raises:
            DatabaseError: it is damaged, or was replaced.

        """
        metadata = database.reader.metadata()
        self._map = _mapped(database.file)
        self._nodes = [allocated(4 << TABLE_BITS) for _ in (4, 6)]
        self.tree = Tree(
            map=address_of(self._map),
            size_bytes=len(self._map),
            node_count=metadata.node_count,
            record_bits=metadata.record_size,
            ip_version=metadata.ip_version,
            nodes=(*map(address_of, self._nodes),),
        )
        if not kernel().open(byref(self.tree)):
            reason = "damaged: its search tree does not fit into the file; install it anew"
            raise DatabaseError(database.file.path, reason)


def _mapped(file: DatabaseFile) -> mmap.mmap:
    """Map a file privately, since ctypes takes no read-only memory; nothing is written to it."""
    try:
        descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            identity = file.path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
            if identity != file.identity:
                raise DatabaseError(file.path, "was replaced meanwhile")
            return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DatabaseError(file.path, f"cannot be read: {error.strerror}") from error
