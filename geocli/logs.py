"""Events on standard error, with `-v`; structlog is imported only then."""

from __future__ import annotations

import sys
from time import monotonic

from geocli.errors import BusyError, GeocliError, StorageError, StoreError
from geocli.sanitize import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping
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
    texts = ((name, ", ".join(value) if isinstance(value, list) else value) for name, value in event.items())
    return {name: safe(value) if isinstance(value, str) else value for name, value in texts}


def is_verbose() -> bool:
    """Return whether events are logged."""
    return _state["is_verbose"]


def log(event: str, **facts: Any) -> None:
    """Log an event, with `-v`."""
    if is_verbose():
        import structlog

        structlog.get_logger().info(event, **facts)


class Timed:
    """Logs an event with its duration when a block ends without an error; gives a dict to which facts can be added."""

    # Not a generator, which would cost three times as much for each address.

    def __init__(self, event: str, **facts: Any) -> None:
        self._event, self._facts = event, facts
        self._started_at = monotonic()

    def __enter__(self) -> dict[str, Any]:
        """Return the facts."""
        return self._facts

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Log the event."""
        if kind is None and is_verbose():
            log(self._event, **self._facts, seconds=round(monotonic() - self._started_at, 6))


def raise_or_log(problem: GeocliError) -> None:
    """Raise a problem that may lose answers, and log any other; the default of a GeoCache."""
    if isinstance(problem, StorageError | BusyError) and not isinstance(problem, StoreError):
        raise problem
    log("problem", error=str(problem))
