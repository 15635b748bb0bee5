"""Whether the search tree of an .mmdb file is one, so that walking all of it ends.

Nodes that lead back, or two ways to each node, make a file of some bytes a tree of 2^128 networks, through which the
reader goes for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geocli.databases.database import Database

SEPARATOR_BYTES = 16
"""Zeros between the search tree and the data."""
MAX_WAYS = 8
"""How often each node may be met on average: 2002::/16 and a few others lead to the tree of IPv4 as well."""


def check_tree(database: Database) -> None:
    """Walk the tree level by level, in time and memory that its size bounds.

    Raises:
        ValueError: it does not fit into its file, is deeper than addresses have bits, or is a graph.
        OSError: the file cannot be read.

    """
    metadata = database.reader.metadata()
    node_count, width = metadata.node_count, metadata.record_size // 4
    if not 0 < node_count * width <= database.file.size_bytes - SEPARATOR_BYTES:
        raise ValueError("its search tree does not fit into the file")
    nodes = np.memmap(database.file.path, np.uint8, "r", shape=(node_count, width))
    level, met = np.zeros(1, np.uint32), 1
    for _ in range(32 if database.only_ipv4 else 128):
        records = _records(nodes[level])
        level = records[records < node_count]
        met += len(level)
        if not len(level):
            return
        if met > MAX_WAYS * (node_count + 1):
            raise ValueError("its search tree leads to the same nodes again and again")
    raise ValueError("its search tree is deeper than addresses have bits")


def _records(nodes: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return the left and the right records of nodes (MaxMind DB specification 2.0, node layout)."""
    columns = nodes.T.astype(np.uint32)
    half = len(columns) // 2
    left, right = columns[:3], columns[-3:]
    both = [part[0] << 16 | part[1] << 8 | part[2] for part in (left, right)]
    if half == 3 and len(columns) == 7:  # 28 bits: the byte in the middle has the highest four of each
        both = [both[0] | (columns[3] & 0xF0) << 20, both[1] | (columns[3] & 0x0F) << 24]
    elif half == 4:
        both = [part[0] << 24 | part[1] << 16 | part[2] << 8 | part[3] for part in (columns[:4], columns[4:])]
    return np.concatenate(both)
