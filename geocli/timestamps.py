"""Instants as text: ISO 8601, in UTC, with seconds."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import timedelta


@lru_cache(16)  # entries that are resolved together have the same instants
def instant_text(instant: datetime) -> str:
    """Format an instant as ISO 8601 with seconds and `Z`."""
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def earlier(now: datetime, age: timedelta) -> datetime:
    """Return the instant before `now` by an age; the first representable one if that is earlier."""
    try:
        return now - age
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def instant(text: str | None) -> datetime | None:
    """Parse an instant as `instant_text` formats it, or raise ValueError, as without a time zone; None stays None."""
    if text is None:
        return None
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    try:
        return parsed.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is out of range") from error
