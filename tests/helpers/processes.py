"""Run code in child processes."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def in_child(body: Callable[[], object]) -> int | None:
    """Run a function in a child process, and return its exit status, negative for a signal."""
    child = get_context("fork").Process(target=body)
    child.start()
    child.join(60)
    child.kill()  # in case it is still running
    child.join()
    return child.exitcode


@contextmanager
def orphaned(body: Callable[[Callable[[], object]], object]) -> Iterator[None]:
    """Run a function in a child process, which forks and is killed when it calls its argument.

    The grandchild, which has inherited all open files, lives until the context ends.
    """
    reader, writer = os.pipe()

    def fork_and_die() -> None:
        if not os.fork():
            os.close(writer)
            os.write(forked, b"\n")
            os.read(reader, 1)
            os._exit(0)
        os.read(is_forked, 1)
        os.kill(os.getpid(), signal.SIGKILL)

    is_forked, forked = os.pipe()
    pid = os.fork()
    if not pid:
        body(fork_and_die)
        os._exit(0)
    try:
        assert -signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        yield
    finally:
        for descriptor in (reader, writer, is_forked, forked):
            os.close(descriptor)
