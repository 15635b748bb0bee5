"""A Dask cluster on this machine that nobody else can see, give orders to, or read.

Everything that listens does so on loopback, and speaks TLS with keys that are made for this run: Dask's servers for
dashboards and metrics, which speak plain HTTP to whoever asks, are not started.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from distributed import Nanny, Scheduler, Security, SpecCluster, Worker
from distributed.worker_memory import parse_memory_limit

if TYPE_CHECKING:
    from typing import Any

HOST, PROTOCOL = "127.0.0.1", "tls://"


class _SilentScheduler(Scheduler):
    """A scheduler without an HTTP server."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Start none."""


class _SilentWorker(Worker):
    """A worker without an HTTP server."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Start none."""


class LocalCluster(SpecCluster):
    """A scheduler in this process, and workers of one thread each, which end with it."""

    def __init__(self, n_workers: int) -> None:
        """Start them; Dask's `temporary-directory`, in which they keep files, should be private.

        Raises:
            OSError: they cannot be started; or RuntimeError.

        """
        security = Security.temporary()
        shared = {"host": HOST, "protocol": PROTOCOL, "security": security, "dashboard": False}
        worker = {
            **shared,
            "nthreads": 1,
            "memory_limit": parse_memory_limit("auto", 1, n_workers, logger=logging.getLogger(__name__)),
            "worker_class": _SilentWorker,
            "silence_logs": logging.WARNING,
        }
        super().__init__(  # type: ignore[no-untyped-call]
            scheduler={"cls": _SilentScheduler, "options": {**shared, "port": 0}},
            workers={number: {"cls": Nanny, "options": worker} for number in range(n_workers)},
            security=security,
            silence_logs=logging.WARNING,
        )
