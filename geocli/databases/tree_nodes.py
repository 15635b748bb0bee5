"""The nodes of a search tree as numbers (MaxMind DB file format, version 2.0, node layout), and a check of them."""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geocli.databases.database import Database

SEPARATOR_BYTES = 16
"""Zeros between the search tree and the data."""
MAX_PATHS = 8
"""Maximum of the average number of paths to a node: 2002::/16 and a few others lead to the tree of IPv4 as well."""
MAX_NODES = 10_000
"""Number of nodes that are converted together; of all at once, the copies would take more time and memory."""
_HIGH, _LOW = bytes(byte >> 4 for byte in range(256)), bytes(byte & 15 for byte in range(256))


def nodes(database: Database) -> array[int]:
    """Return the left and the right record of each node, one after the other.

    A record below the number of nodes is a node. From there on it is the offset of data, which begin with 16 zeros, and
    offset 0 stands for none. Raises ValueError if the tree does not fit into its file, or OSError.
    """
    metadata = database.reader.metadata()
    count, width = metadata.node_count, metadata.record_size // 4
    if not 0 < count * width <= database.file.size_bytes - SEPARATOR_BYTES:
        raise ValueError("its search tree does not fit into the file")
    records = array("I")
    with open(database.file.path, "rb") as file:
        for start in range(0, count, MAX_NODES):
            packed = file.read(min(MAX_NODES, count - start) * width)
            records.frombytes(_words(packed, len(packed) // width, width))
    if len(records) != 2 * count:
        raise ValueError("its search tree does not fit into the file")
    if sys.byteorder == "little":
        records.byteswap()
    return records


def _words(packed: bytes, count: int, width: int) -> bytes | bytearray:
    """Return nodes with records of 32 bits; by slices, since a loop would take seconds."""
    if width == 8:
        return packed[: 8 * count]
    words = bytearray(8 * count)
    for at in range(3):
        words[1 + at :: 8] = packed[at::width]
        words[5 + at :: 8] = packed[width - 3 + at :: width]
    if width == 7:  # the byte in the middle has the highest four bits of each
        words[0::8], words[4::8] = packed[3::7].translate(_HIGH), packed[3::7].translate(_LOW)
    return words


def check_tree(database: Database) -> None:
    """Raise ValueError unless the search tree of a database is a tree; time and memory are limited by its size.

    With cycles, or two paths to each node, a file of a few bytes has 2^128 networks, and a walk through it never ends.
    """
    records = nodes(database)
    node_count, level, visited = len(records) // 2, array("I", [0]), 1
    for _ in range(32 if database.only_ipv4 else 128):
        pairs = (records[2 * node : 2 * node + 2] for node in level)
        level = array("I", (below for pair in pairs for below in pair if below < node_count))
        visited += len(level)
        if not level:
            return
        if visited > MAX_PATHS * (node_count + 1):
            raise ValueError("its search tree leads to the same nodes again and again")
    raise ValueError("its search tree is deeper than addresses have bits")
