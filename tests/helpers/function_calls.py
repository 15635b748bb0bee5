"""Count calls of functions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


def count_calls(name: str, run: Callable[[], object]) -> int:
    """Return how often functions with this name are called by `run`."""
    count = 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        count += event == "call" and frame.f_code.co_name == name

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count
