"""The search trees of databases, mapped for the kernel (MaxMind DB file format, version 2.0), and that of scopes."""

from __future__ import annotations

import marshal
import mmap
import os
from array import array
from bisect import bisect_left
from ctypes import byref
from functools import cache
from ipaddress import ip_network
from struct import pack
from typing import TYPE_CHECKING

from geocli.addresses import EMBEDDED_AT, ranges
from geocli.databases.tree_nodes import SEPARATOR_BYTES
from geocli.engine.kernel import TABLE_BITS, Tree, address_of, allocated, kernel, secret
from geocli.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ctypes import Array
    from typing import Any

    from geocli.databases.database import Database
    from geocli.databases.discovery import DatabaseFile

MAX_RECORDS, MAX_RECORD_BYTES = 2048, 8192
"""Maximum number of records in one call, and the size above which the kernel does not decode one."""
METADATA_MARKER = b"\xab\xcd\xefMaxMind.com"
"""Start of the metadata, where the data section ends."""
REFERENCE_SLOTS = 32_768
"""Size of the hash table for values that records share."""

WITH_IPV4 = ("::/96", "::ffff:0:0/96")
"""Other networks in which an IPv6 address contains an IPv4 address: compatible and mapped ones (RFC 4291, 2.5.5)."""
GLOBAL = 1
SCOPES = (None, None, *sorted({name for version in (4, 6) for *_, name in ranges(version)} - {"global", *EMBEDDED_AT}))
"""Scopes by number, from `GLOBAL` on, which is for addresses that are not special."""
EMBEDDED = len(SCOPES)
"""Number for addresses that contain an IPv4 address."""


class SearchTree:
    """The search tree of a memory-mapped database.

    Attributes:
        database: the database.
        tree: the structure for the kernel.

    """

    def __init__(self, database: Database) -> None:
        """Map an open database.

        Raises:
            DatabaseError: the database is damaged, or was replaced since it was opened.

        """
        self.database, metadata = database, database.reader.metadata()
        self._map = _mapped(database.file)
        self._nodes = [allocated(4 << TABLE_BITS) for _ in (4, 6)]
        self._references, self._out = allocated(24 * REFERENCE_SLOTS), allocated(MAX_RECORDS * (MAX_RECORD_BYTES << 1))
        self.tree = Tree(
            map=address_of(self._map),
            size_bytes=max(self._map.rfind(METADATA_MARKER), 0),
            node_count=metadata.node_count,
            record_bits=metadata.record_size,
            ip_version=metadata.ip_version,
            nodes=(*map(address_of, self._nodes),),
            secret=secret(),
        )
        if not kernel().open(byref(self.tree)):
            reason = "damaged: its search tree does not fit into the file; reinstall it with: geocli db update"
            raise DatabaseError(database.file.path, reason)

    def records(self, offsets: Sequence[int], language: str) -> tuple[list[Any], Sequence[int]]:
        """Return the records at these offsets, and their shapes; None for those that the kernel does not decode.

        Maps with the same shape have the same keys, as `mmdb_schemas.shapes` requires it.

        Of names in several languages, only the name in this language may be included. Records share values, so callers
        must not modify them. Not thread-safe.

        Args:
            offsets: at most `MAX_RECORDS`.
            language: language of names.

        """
        wanted, shapes, code = array("I", offsets), array("Q", bytes(8 * len(offsets))), language.encode()
        references = code, len(code), address_of(self._references), REFERENCE_SLOTS - 1
        out = address_of(shapes), address_of(self._out), len(self._out)
        size_bytes = kernel().decode(byref(self.tree), address_of(wanted), len(wanted), *references, *out)
        records: list[Any] = marshal.loads(memoryview(self._out)[:size_bytes])  # noqa: S302 (written by the kernel)
        return records, shapes


@cache
def scope_records(version: int) -> array[int]:
    """Return the left and the right record of each node of the tree of scopes, which are its offsets of data."""
    *special, last = ranges(version)
    embedding = [(int(net[0]), int(net[-1]), "6to4") for net in map(ip_network, WITH_IPV4) if version == 6]
    spans = [*special, *embedding, last]
    edges = sorted({edge for first, last, _ in spans for edge in (first, last + 1)})
    nodes: list[int] = []

    def grow(first: int, bits: int) -> int:
        """Add the node for the addresses that begin with `first` and differ in some bits; return it, or `~` a leaf."""
        at = bisect_left(edges, first + 1)
        if not bits or at == len(edges) or edges[at] >= first + (1 << bits):
            return ~_number(next((name for first_, last, name in spans if first_ <= first <= last), "global"))
        node = len(nodes)
        nodes.extend((0, 0))
        nodes[node] = grow(first, bits - 1)
        nodes[node + 1] = grow(first | 1 << (bits - 1), bits - 1)
        return node // 2

    grow(0, 32 if version == 4 else 128)
    return array("I", [record if record >= 0 else len(nodes) // 2 + ~record for record in nodes])


def _number(name: str) -> int:
    if name in EMBEDDED_AT:
        return EMBEDDED
    return GLOBAL if name == "global" else SCOPES.index(name)


@cache
def scope_trees() -> tuple[Array[Tree], Sequence[bytearray]]:
    """Return the trees of the scopes of IPv4 and IPv6, and the memory that they point to."""
    records = [scope_records(version) for version in (4, 6)]
    memory = [bytearray(pack(f">{len(each)}I", *each) + bytes(SEPARATOR_BYTES)) for each in records]
    trees = [Tree(address_of(map_), len(map_), len(map_) // 8 - 2, record_bits=32) for map_ in memory]
    return (Tree * 2)(*trees), memory


def _mapped(file: DatabaseFile) -> mmap.mmap:
    """Map a file copy-on-write, since ctypes rejects read-only memory; nothing is written to it."""
    try:
        descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            identity = file.path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
            if identity != file.identity:
                raise DatabaseError(file.path, "was replaced meanwhile")
            return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DatabaseError(file.path, f"cannot be read: {error.strerror}") from error
