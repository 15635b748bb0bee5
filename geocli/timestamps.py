"""Instants as text: ISO 8601, in UTC, with seconds."""

from __future__ import annotations

from datetime import UTC, datetime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import timedelta


def instant_text(instant: datetime) -> str:
    """Write an instant as ISO 8601 with seconds and `Z`."""
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def earlier(now: datetime, age: timedelta) -> datetime:
    """Return the instant that is so long ago, or the first one there is."""
    try:
        return now - age
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def instant(text: str | None) -> datetime | None:
    """Read what `instant_text` wrote; None stays None.

    Raises:
        ValueError: the text is no instant, or does not say in which zone.

    """
    if text is None:
        return None
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    try:
        return found.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is out of range") from error
