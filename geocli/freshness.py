"""When a cached entry may be repeated, and when asking again makes sense."""

from __future__ import annotations

from datetime import timedelta

from geocli.models import IANA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from geocli.models import Entry

RETRY_AFTER = (timedelta(hours=1), timedelta(days=1), timedelta(weeks=1))
"""How long an address that nobody knows is left alone: after the first, the second and each later time."""
MOST_LIFETIME = timedelta(days=366)
"""No answer holds for longer; a time beyond this is one of a wrong clock."""


def next_retry_at(earlier: Entry | None, now: datetime) -> datetime:
    """Return when an address that nobody knows is to be tried again: in an hour, then a day, then a week."""
    waited = timedelta()
    if earlier is not None and earlier.retry_at is not None and earlier.resolved_at is not None:
        was_known = earlier.status == "resolved"  # its `resolved_at` is that of the good answer
        waited = RETRY_AFTER[0] if was_known else earlier.retry_at - earlier.resolved_at
    return now + next((pause for pause in RETRY_AFTER if pause > waited), RETRY_AFTER[-1])


def is_of(entry: Entry, generation: str) -> bool:
    """Return whether all sources of an answer are among those of a generation, with the same content."""
    if entry.source in {None, IANA}:
        return True
    names, answered_by = set((entry.source or "").split("+")), (entry.answered_by or entry.generation).split(", ")
    labels = {label for label in answered_by if label.partition("@")[0] in names}
    return labels <= set(generation.split(", ")) and names <= {label.partition("@")[0] for label in labels}


def is_hit(entry: Entry, scope: str | None, generation: str, now: datetime) -> bool:
    """Tell whether asking now would say the same: the same sources are there, and no retry time has come.

    Args:
        entry: what the cache holds.
        scope: what the address is for, if it is special.
        generation: the sources that would be asked now.
        now: the time, in UTC.

    """
    if (entry.status == "special") != (scope is not None) or entry.scope != scope:
        return False
    return entry.generation == generation and (entry.retry_at is None or _is_ahead(entry, now))


def _is_ahead(entry: Entry, now: datetime) -> bool:
    """Tell whether the time to ask again is yet to come, and was not set by a wrong clock."""
    most = RETRY_AFTER[-1] if entry.status == "unresolved" else MOST_LIFETIME
    return entry.retry_at is not None and now < entry.retry_at <= now + most


def holds_until(entry: Entry, services: Collection[str], now: datetime) -> datetime | None:
    """Return until when an answer of a web service holds, None if it does not, or if it is none.

    Args:
        entry: what the cache holds.
        services: the labels of the services that can be asked.
        now: the time, in UTC.

    """
    if entry.status != "resolved" or not _is_ahead(entry, now):
        return None
    names, answered_by = (entry.source or "").split("+"), (entry.answered_by or entry.generation).split(", ")
    # Earlier releases noted services by their names alone, or not at all; what was paid for then holds as well.
    asked = {label: label.partition("@")[0] for label in services}
    is_theirs = any(name in names and {"", name, label} & set(answered_by) for label, name in asked.items())
    return entry.retry_at if is_theirs else None
