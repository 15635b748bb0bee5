"""The process that workers on this machine are forked from; it imports their modules while this one imports Dask."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.util import get_temp_dir
from shutil import rmtree
from time import monotonic
from typing import TYPE_CHECKING, Any

from geocli.errors import ClusterError
from geocli.signals import termination_raises

if TYPE_CHECKING:
    from collections.abc import Iterator

LOADED = (
    __name__,
    "geocli.cluster.worker",
    "geocli.engine.lookup_table",
    "geocli.engine.journal_packing",
    "geocli.cluster.local_cluster",
)
DELAY_SECONDS = 5
"""Time that workers have to start after a signal that ends the run."""
# Imported objects live until exit, and Dask has 116,000 of them; this is imported in workers, too.
gc.set_threshold(200_000)


@contextmanager
def loaded_workers() -> Iterator[None]:
    """Start the process, which ends with this one; raise ClusterError if this user cannot execute Python."""
    if not os.access(sys.executable, os.X_OK, effective_ids=True):
        reason = f"user {os.geteuid()}, the owner of the data directory, cannot execute it to start workers"
        raise ClusterError(sys.executable, reason, exit_status=1)
    with termination_raises():
        # Errors are reported by exceptions, in one line.
        os.environ |= {"DASK_LOGGING__DISTRIBUTED": "critical", "PYTHONWARNINGS": "ignore"}
        try:
            # If the path of its socket is too long, workers are spawned instead.
            with suppress(OSError):
                _start()
                os.environ["DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD"] = "forkserver"
            yield
        finally:
            # The directory contains the socket.
            rmtree(get_temp_dir(), ignore_errors=True)


def _start() -> None:
    """Start the process with SIGINT blocked, so that Ctrl-C does not reach workers."""
    multiprocessing.get_context("forkserver").set_forkserver_preload([*LOADED])
    # It unblocks all signals when it starts, so it must start before SIGINT is blocked.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def signals_delayed(timeout_seconds: float) -> Iterator[None]:
    """Deliver signals that end a run after the block; processes that it starts never get SIGINT.

    Does nothing outside the main thread, which alone gets signals. The block may raise TimeoutError, if it takes too
    long in total or after a signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    deadlines = [monotonic() + timeout_seconds]

    def check(*_: object) -> None:
        if caught or signal.SIGINT in signal.sigpending():
            deadlines.append(monotonic() + DELAY_SECONDS)
        if monotonic() > min(deadlines):
            raise TimeoutError("timed out")

    handlers: dict[int, Any] = {signal.SIGALRM: check}
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup, for one, ignores SIGHUP.
        if signal.getsignal(ending) != signal.SIG_IGN:
            handlers[ending] = lambda number, _: caught.append(number)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in caught:
            signal.raise_signal(number)
