"""Whether the search tree of an .mmdb file is one, so that walking all of it ends.

Nodes that lead back, or two ways to each node, make a file of some bytes a tree of 2^128 networks, through which the
reader goes for ever.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from geocli.databases.tree_nodes import nodes

if TYPE_CHECKING:
    from geocli.databases.database import Database

MAX_WAYS = 8
"""How often each node may be met on average: 2002::/16 and a few others lead to the tree of IPv4 as well."""


def check_tree(database: Database) -> None:
    """Walk the tree level by level, in time and memory that its size bounds.

    Raises:
        ValueError: it does not fit into its file, is deeper than addresses have bits, or is a graph.
        OSError: the file cannot be read.

    """
    records = nodes(database)
    node_count, level, met = len(records) // 2, array("I", [0]), 1
    for _ in range(32 if database.only_ipv4 else 128):
        pairs = (records[2 * node : 2 * node + 2] for node in level)
        level = array("I", (below for pair in pairs for below in pair if below < node_count))
        met += len(level)
        if not level:
            return
        if met > MAX_WAYS * (node_count + 1):
            raise ValueError("its search tree leads to the same nodes again and again")
    raise ValueError("its search tree is deeper than addresses have bits")
