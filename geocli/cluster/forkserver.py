"""Workers on this machine are forked from a process that loads what they need while this one still loads Dask."""

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
HELD_SECONDS = 5
"""So long workers may take to start when somebody wants that to end."""
gc.set_threshold(200_000)  # there, too, what is imported is no garbage; Dask is 116,000 objects


@contextmanager
def loaded_workers() -> Iterator[None]:
    """Start that process; it ends with this one, and forks no worker before somebody asks.

    Raises:
        ClusterError: this user, whom root became, cannot run Python.

    """
    if not os.access(sys.executable, os.X_OK, effective_ids=True):
        reason = f"user {os.geteuid()}, who owns the data directory, cannot run it, nor start workers with it"
        raise ClusterError(sys.executable, reason, exit_status=1)
    with termination_raises():
        os.environ |= {"DASK_LOGGING__DISTRIBUTED": "critical", "PYTHONWARNINGS": "ignore"}  # one line here says it
        try:
            with suppress(OSError):  # the path of its socket may be too long; then workers load by themselves
                _start()
                os.environ["DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD"] = "forkserver"
            yield
        finally:
            rmtree(get_temp_dir(), ignore_errors=True)  # with the socket that it listens on


def _start() -> None:
    """Start a process that Ctrl-C does not reach, as it does not reach what is forked from it."""
    multiprocessing.get_context("forkserver").set_forkserver_preload([*LOADED])
    resource_tracker.ensure_running()  # which lets all signals through when it starts
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def held_back(patience_seconds: float) -> Iterator[None]:
    """Let signals that end a run come when this is over; processes that are started meanwhile never get SIGINT.

    In another thread than the main one, which hears no signals, it does nothing.

    Raises:
        TimeoutError: in the block, if that takes too long, or goes on for too long after a signal.

    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    ends = [monotonic() + patience_seconds]

    def look(*_: object) -> None:
        if caught or signal.SIGINT in signal.sigpending():
            ends.append(monotonic() + HELD_SECONDS)
        if monotonic() > min(ends):
            raise TimeoutError("that took too long")

    handlers: dict[int, Any] = {signal.SIGALRM: look}
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) != signal.SIG_IGN:  # as under nohup
            handlers[ending] = lambda came, _: caught.append(came)
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
        for came in caught:
            signal.raise_signal(came)
