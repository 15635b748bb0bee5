"""Events on standard error, for those who ask with `-v`; structlog is loaded for them alone."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from time import monotonic

from geocli.errors import BusyError, GeocliError, StorageError, StoreError
from geocli.sanitize import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping
    from typing import Any

_state = {"is_verbose": False}


def be_verbose() -> None:
    """Write events from now on: for people on a terminal, as JSON lines otherwise.

    No control character is passed on: `safe` and JSON escape them.
    """
    import structlog

    _state["is_verbose"] = True
    by_time = structlog.processors.TimeStamper
    for_people: list[Any] = [
        by_time("%H:%M:%S", utc=False),
        _harmless,
        structlog.dev.ConsoleRenderer(colors=False),
    ]
    for_programs: list[Any] = [structlog.processors.add_log_level, by_time("iso"), structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=for_people if sys.stderr.isatty() else for_programs,
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _harmless(_: object, __: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    return {name: safe(what) if isinstance(what, str) else what for name, what in event.items()}


def is_verbose() -> bool:
    """Tell whether events are written."""
    return _state["is_verbose"]


def log(event: str, **facts: Any) -> None:
    """Write an event, if somebody asked for events."""
    if is_verbose():
        import structlog

        structlog.get_logger().info(event, **facts)


@contextmanager
def timed(event: str, **facts: Any) -> Iterator[dict[str, Any]]:
    """Write an event at the end of a block, with how many seconds it took; yields facts, to be added to."""
    began = monotonic()
    yield facts
    log(event, **facts, seconds=round(monotonic() - began, 6))


def raise_or_log(problem: GeocliError) -> None:
    """Raise if an answer may be lost, and log all else; what a GeoCache does with problems by default.

    Raises:
        GeocliError: the problem.

    """
    if isinstance(problem, StorageError | BusyError) and not isinstance(problem, StoreError):
        raise problem
    log("problem", error=str(problem))
