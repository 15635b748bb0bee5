"""A Dask cluster on this machine that other users cannot connect to.

All servers listen on loopback with TLS, by keys that are created for this run. Dask's servers for dashboards and
metrics, which answer plain HTTP without authentication, are not started.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from distributed import Nanny, Scheduler, Security, SpecCluster, Worker
from distributed.worker_memory import parse_memory_limit

if TYPE_CHECKING:
    from typing import Any

HOST, PROTOCOL = "127.0.0.1", "tls://"


class _WithoutHttp:
    """A server of Dask without an HTTP server."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Do nothing."""


class _SilentScheduler(_WithoutHttp, Scheduler):
    pass


class _SilentWorker(_WithoutHttp, Worker):
    pass


class LocalCluster(SpecCluster):
    """A scheduler in this process, and workers of one thread each, which end with it."""

    def __init__(self, n_workers: int) -> None:
        """Start the cluster; raise OSError or RuntimeError if a worker cannot be started.

        Dask's `temporary-directory`, where workers write files, should be private.
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
