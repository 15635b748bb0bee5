"""Events on standard error, for those who ask with `-v`; structlog is loaded for them alone."""

from __future__ import annotations

import sys

from geocli.errors import BusyError, GeocliError, StorageError, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_state = {"is_verbose": False}


def be_verbose() -> None:
    """Write events from now on: for people on a terminal, as JSON lines otherwise.

    Neither renderer passes a control character on: `repr` and JSON escape them.
    """
    import structlog

    _state["is_verbose"] = True
    people = structlog.processors.KeyValueRenderer(key_order=["event"])
    renderer = people if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso"), renderer],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def is_verbose() -> bool:
    """Tell whether events are written."""
    return _state["is_verbose"]


def log(event: str, **facts: Any) -> None:
    """Write an event, if somebody asked for events."""
    if is_verbose():
        import structlog

        structlog.get_logger().info(event, **facts)


def raise_or_log(problem: GeocliError) -> None:
    """Raise if an answer may be lost, and log all else; what a GeoCache does with problems by default.

    Raises:
        GeocliError: the problem.

    """
    if isinstance(problem, StorageError | BusyError) and not isinstance(problem, StoreError):
        raise problem
    log("problem", error=str(problem))
