"""Options of `batch --cluster`."""

from __future__ import annotations

from geocli.immutable import Value


class ClusterRequest(Value):
    """The machines, the parts and the output of a divided batch."""

    address: str
    """Address of the scheduler, or `local:N` for N workers on this machine."""
    block_bytes: int = 64_000_000
    """Size of a part."""
    is_merged: bool = False
    """Whether the output is one file, instead of a directory of parts."""
    is_resumed: bool = False
    """Whether to keep complete parts of an earlier run."""

    @property
    def workers(self) -> int | None:
        """Number of workers to start on this machine; None with a scheduler."""
        kind, _, number = self.address.partition(":")
        return int(number) if kind == "local" else None
