"""Hold locks, as another process would."""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from geocli.storage.directory import DataDirectory


@contextmanager
def locked_file(path: Path) -> Iterator[None]:
    """Hold a file lock (flock), which is created if necessary."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def locked_by_process(directory: DataDirectory, name: str) -> Iterator[BaseProcess]:
    """Let a child process hold a lock of a data directory, and return the process."""
    fork = get_context("fork")
    is_held = fork.Event()

    def hold() -> None:
        with directory.locked(name, 0):
            is_held.set()
            signal.pause()

    holder = fork.Process(target=hold)
    holder.start()
    try:
        assert is_held.wait(60)
        yield holder
    finally:
        holder.kill()
        holder.join()
