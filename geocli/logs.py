"""Events on standard error, with `-v`; structlog is imported only then."""

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
    """Log events from now on: as text on a terminal, else as JSON lines.

    Both escape control characters: by `safe`, and as JSON does.
    """
    import structlog

    _state["is_verbose"] = True
    timestamp = structlog.processors.TimeStamper
    text: list[Any] = [
        timestamp("%H:%M:%S", utc=False),
        _harmless,
        structlog.dev.ConsoleRenderer(colors=False),
    ]
    json: list[Any] = [structlog.processors.add_log_level, timestamp("iso"), structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=text if sys.stderr.isatty() else json,
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _harmless(_: object, __: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    return {name: safe(value) if isinstance(value, str) else value for name, value in event.items()}


def is_verbose() -> bool:
    """Return whether events are logged."""
    return _state["is_verbose"]


def log(event: str, **facts: Any) -> None:
    """Log an event, with `-v`."""
    if is_verbose():
        import structlog

        structlog.get_logger().info(event, **facts)


@contextmanager
def timed(event: str, **facts: Any) -> Iterator[dict[str, Any]]:
    """Log an event at the end of a block, with its duration; yields a dict to which facts can be added."""
    started_at = monotonic()
    yield facts
    log(event, **facts, seconds=round(monotonic() - started_at, 6))


def raise_or_log(problem: GeocliError) -> None:
    """Raise a problem that may lose answers, and log any other; the default of a GeoCache.

    Raises:
        GeocliError: the problem.

    """
    if isinstance(problem, StorageError | BusyError) and not isinstance(problem, StoreError):
        raise problem
    log("problem", error=str(problem))
