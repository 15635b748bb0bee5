"""Locks of files end with their holders, whatever prevents these from closing them."""

from __future__ import annotations

import os
import sys
from itertools import count
from typing import TYPE_CHECKING

import pytest

from geocli.files import locks
from geocli.files.locks import FileLock
from geocli.storage import directory
from tests.helpers.data_directories import local
from tests.helpers.processes import in_child

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType
    from typing import Any

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # Python's word on what is not closed
TRACED = {locks.__file__, directory.__file__}


def opened(path: Path) -> FileLock:
    return FileLock(lambda: os.open(path, os.O_RDWR | os.O_CREAT))


def is_interrupted(number: int, run: Callable[[], object]) -> bool:
    """Raise KeyboardInterrupt before a line of the traced modules, as a signal would; return whether there is one."""
    left = number

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in TRACED:
            return None
        left -= event == "line"
        if left == 0 and event == "line":
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_a_lock_ends_with_its_object(tmp_path: Path) -> None:
    """A lock that nothing refers to any more is free, although it was not closed."""
    first, second = opened(tmp_path / "lock"), opened(tmp_path / "lock")
    assert first.acquire()
    assert not second.acquire()
    del first

    assert second.acquire()
    second.close()


def test_an_interruption_at_any_line_leaves_no_lock(tmp_path: Path) -> None:
    """A process that catches Ctrl-C, or has a handler that raises, goes on without holding the lock."""
    data = local(tmp_path / "data")

    def hold() -> None:
        with data.locked("lock", 0):
            pass

    def interrupt() -> None:
        hold()
        for number in count(1):
            if not is_interrupted(number, hold):
                break
            hold()  # raises BusyError if the lock is held
        assert number > 20

    # In a process of its own, since tracing may interrupt where no signal does, before a block releases its lock.
    assert 0 == in_child(interrupt)
