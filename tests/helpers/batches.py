"""Batches in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geocli.batch.request import BatchRequest
from geocli.batch.run import run
from geocli.batch.scheduler import SMALL_BYTES
from geocli.cache import GeoCache

if TYPE_CHECKING:
    from pathlib import Path

    from geocli.engine.blocks import Block
    from tests.helpers.geocli_process import Geocli

MANY_BYTES = 3 * SMALL_BYTES


class Batch:
    """Answers input in this process; by default with country codes."""

    def __init__(self, geocli: Geocli, home: Path) -> None:
        self._geocli, self._home = geocli, home

    def once(self, data: bytes, **request: Any) -> bytes:
        """Return the output for some input."""
        path, out = self._home / "given", self._home / "out"
        path.write_bytes(data)
        parts = {"fields": ("country_code",), "mode": "no-cache", **request}
        with GeoCache(settings=self._geocli.settings()) as cache:
            run(cache, BatchRequest(files=(str(path),), output=str(out), **parts))
        return out.read_bytes()

    def __call__(self, header: bytes, body: bytes, **request: Any) -> bytes:
        """Return the output for a header and lines, and check that repeated lines have repeated answers.

        The repeated lines are answered by the kernel, the others by the scalar path.
        """
        output = self.once(header + body, **request)
        if body:
            begin = self.once(header, **request)
            count = MANY_BYTES // len(body) + 1
            assert begin + output[len(begin) :] * count == self.once(header + body * count, **request)
        return output


def text_of(block: Block, answer: str) -> bytes:
    """Return the output of a block with the same answer everywhere."""
    copied = (block.copied(position) for position in range(len(block)))
    return b"".join(before + answer.encode() for before in copied) + block.tail
