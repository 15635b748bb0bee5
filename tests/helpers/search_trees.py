"""Write databases with given search trees, including malformed ones."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from mmdb_writer import METADATA_MAGIC, Encoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

SIZES = (24, 28, 32)
"""Record sizes in bits."""
SEPARATOR_BYTES = 16
"""Number of zeros between the tree and the data."""


class Trie:
    """A search tree of networks, each with a record."""

    def __init__(self, networks: Iterable[str], ip_version: int = 6) -> None:
        """Add a record for each network; records of smaller networks override those of larger ones."""
        self.ip_version = ip_version
        self.nodes: list[list[int | None]] = [[None, None]]
        """The two children of each node: the index of a node, `~` the number of a record, or None."""
        self.prefixes = sorted(networks, key=lambda prefix: int(prefix.partition("/")[2]) + 96 * (":" not in prefix))
        """The network of each record, by its number."""
        for number, prefix in enumerate(self.prefixes):
            self._put(prefix, ~number)

    def _put(self, prefix: str, child: int) -> None:
        *path, last = self._bits(prefix)
        node = 0
        for bit in path:
            node = self._next(node, bit)
        self.nodes[node][last] = child

    def _next(self, node: int, bit: int) -> int:
        """Return the child node, which is created, and inherits the record of its parent, if there is none."""
        below = self.nodes[node][bit]
        if below is None or below < 0:
            self.nodes.append([below, below])
            self.nodes[node][bit] = below = len(self.nodes) - 1
        return below

    def _bits(self, prefix: str) -> list[int]:
        network = ip_network(prefix, strict=False)
        width = 32 if self.ip_version == 4 else 128
        length = network.prefixlen + width - network.max_prefixlen
        number = int(network.network_address)
        return [number >> (width - 1 - depth) & 1 for depth in range(length)]

    def alias(self, *prefixes: str) -> Trie:
        """Make networks aliases of the IPv4 addresses."""
        root = 0
        for _ in range(96):
            root = self._next(root, 0)
        for prefix in prefixes:
            self._put(prefix, root)
        return self

    def write(  # noqa: PLR0913 (the parts of a file)
        self,
        path: Path,
        record_size: int,
        *,
        spare_nodes: int = 0,
        spare_bytes: int = 0,
        records: Mapping[str, Any] | None = None,
        edition: str = "Test",
    ) -> Path:
        """Write a database, with spare nodes after the first node, and spare bytes before the records.

        Records are by network, by default numbers; values that records share are written once.
        """
        node_count = len(self.nodes) + spare_nodes
        first = node_count + SEPARATOR_BYTES + spare_bytes
        data = b"".join(b"\xe1\x41n\xc4" + number.to_bytes(4, "big") for number in range(len(self.prefixes)))
        offsets: Sequence[int] = range(0, len(data), 8)
        if records is not None:
            encoder = Encoder()
            offsets = [encoder.encode(records[prefix], return_offset=True) for prefix in self.prefixes]
            data = b"".join(encoder.data_list)

        def number(child: int | None) -> int:
            if child is None:
                return node_count
            return first + offsets[~child] if child < 0 else child + spare_nodes

        nodes = [node_bytes(number(left), number(right), record_size) for left, right in self.nodes]
        size = record_size // 4
        with path.open("wb") as out:
            out.write(nodes[0])
            out.seek(size * (1 + spare_nodes))
            out.write(b"".join(nodes[1:]))
            out.seek(node_count * size + SEPARATOR_BYTES + spare_bytes)
            out.write(data)
            out.write(metadata(node_count, record_size, self.ip_version, edition))
        return path


def node_bytes(left: int, right: int, record_size: int) -> bytes:
    """Return a node (MaxMind DB spec, node layout)."""
    if record_size != 28:
        return left.to_bytes(record_size // 8, "big") + right.to_bytes(record_size // 8, "big")
    middle = left >> 24 << 4 | right >> 24
    return (left & 0xFFFFFF).to_bytes(3, "big") + bytes([middle]) + (right & 0xFFFFFF).to_bytes(3, "big")


def metadata(node_count: int, record_size: int, ip_version: int, edition: str = "Test") -> bytes:
    fields: dict[str, Any] = {
        "node_count": node_count,
        "record_size": record_size,
        "ip_version": ip_version,
        "database_type": edition,
        "languages": ["en"],
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1_780_000_000,
        "description": {"en": "Test"},
    }
    return METADATA_MAGIC + Encoder(cache=False).encode_meta(fields)
