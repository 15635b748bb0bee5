"""Check that the search tree of an .mmdb file is a tree.

With cycles, or two paths to each node, a file of a few bytes has 2^128 networks, and a walk through it never ends.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from geocli.databases.tree_nodes import nodes

if TYPE_CHECKING:
    from geocli.databases.database import Database

MAX_PATHS = 8
"""Maximum of the average number of paths to a node: 2002::/16 and a few others lead to the tree of IPv4 as well."""


def check_tree(database: Database) -> None:
    """Walk the tree level by level, in time and memory limited by its size.

    Raises:
        ValueError: it does not fit into its file, is deeper than addresses, or is not a tree.

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
