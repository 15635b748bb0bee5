"""Wait for events, with a time limit that only a failing test reaches."""

from __future__ import annotations

import os
import select
import time
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_SECONDS = 60
"""Time limit for events that normally occur immediately."""


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def read_line(stream: IO[bytes] | None) -> bytes:
    """Return the next line of an unbuffered pipe, as soon as it has arrived."""
    assert stream is not None
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([stream], [], [], PATIENCE_SECONDS)
        assert ready, f"nothing came after {line!r}"
        byte = os.read(stream.fileno(), 1)
        assert byte, f"the pipe was closed after {line!r}"
        line += byte
    return line
