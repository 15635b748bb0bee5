"""What `batch --cluster` asks for."""

from __future__ import annotations

from geocli.immutable import Value


class ClusterRequest(Value):
    """On which machines, in what parts, and into what a batch is divided."""

    address: str
    """Of the scheduler, or `local:N` for so many workers here."""
    block_bytes: int = 64_000_000
    """Size of a part."""
    is_merged: bool = False
    """Whether the output is one file, instead of a directory of parts."""
    is_resumed: bool = False
    """Whether parts that an earlier run has done are left as they are."""

    @property
    def workers(self) -> int | None:
        """How many workers are started on this machine; None for those of a scheduler."""
        kind, _, number = self.address.partition(":")
        return int(number) if kind == "local" else None
