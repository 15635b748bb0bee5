"""When a cached entry is fresh, and when its address is due."""

from __future__ import annotations

from datetime import timedelta

from geocli.addresses import scope
from geocli.models import IANA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from geocli.addresses import Address
    from geocli.models import Entry

RETRY_AFTER = (timedelta(hours=1), timedelta(days=1), timedelta(weeks=1))
"""Pauses before an unresolved address is due: after the first, the second and each later time."""
MAX_LIFETIME = timedelta(days=366)
"""Longest lifetime of an answer; a later retry time was set by a wrong clock."""


def next_retry_at(cached: Entry | None, now: datetime) -> datetime:
    """Return when an unresolved address is due: in an hour, then a day, then a week."""
    waited = timedelta()
    if cached is not None and cached.retry_at is not None and cached.resolved_at is not None:
        # The `resolved_at` of a resolved entry is that of its answer, not that of the last try.
        waited = RETRY_AFTER[0] if cached.status == "resolved" else cached.retry_at - cached.resolved_at
    return now + next((pause for pause in RETRY_AFTER if pause > waited), RETRY_AFTER[-1])


def is_of(entry: Entry, generation: str) -> bool:
    """Return whether all sources of an answer are among those of a generation, with the same content."""
    if entry.source in {None, IANA}:
        return True
    names, answered_by = set((entry.source or "").split("+")), (entry.answered_by or entry.generation).split(", ")
    labels = {label for label in answered_by if label.partition("@")[0] in names}
    return labels <= set(generation.split(", ")) and names <= {label.partition("@")[0] for label in labels}


def hits(cached: Mapping[str, Entry], by_ip: Mapping[str, Address], generation: str, now: datetime) -> dict[str, Entry]:
    """Return the fresh ones of cached entries, by canonical address."""
    return {
        ip: entry for ip, entry in cached.items() if ip in by_ip and is_hit(entry, scope(by_ip[ip]), generation, now)
    }


def is_hit(entry: Entry, scope: str | None, generation: str, now: datetime) -> bool:
    """Return whether an entry is fresh: of the current generation and the scope of its address, and not due."""
    if (entry.status == "special") != (scope is not None) or entry.scope != scope:
        return False
    return entry.generation == generation and (entry.retry_at is None or _is_ahead(entry, now))


def _is_ahead(entry: Entry, now: datetime) -> bool:
    """Return whether the retry time is in the future, and was not set by a wrong clock."""
    latest = now + (RETRY_AFTER[-1] if entry.status == "unresolved" else MAX_LIFETIME)
    return entry.retry_at is not None and now < entry.retry_at <= latest


def kept_until(entry: Entry, services: Collection[str], now: datetime) -> datetime | None:
    """Return when the answer of a web service expires, None if it has expired, or is not one.

    `services` are the labels of the configured services.
    """
    if entry.status != "resolved" or not _is_ahead(entry, now):
        return None
    names, answered_by = (entry.source or "").split("+"), (entry.answered_by or entry.generation).split(", ")
    # Earlier releases recorded services by their names alone, or not at all; those answers were paid for, too.
    services_by_label = {label: label.partition("@")[0] for label in services}
    is_of_service = any(
        name in names and {"", name, label} & set(answered_by) for label, name in services_by_label.items()
    )
    return entry.retry_at if is_of_service else None
