"""Entries for tests of the journal, the store and the cache."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from geocli.models import Entry, Place

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
SOURCES = "GeoLite2-City@1780000000, rir@3.3.170"
IN_LONDON = Place(
    country_code="GB", city="London", latitude=51.5142, longitude=-0.0931, asn=20712, traits={"isp": "Andrews & Arnold"}
)


def resolved(ip: str = "81.2.69.160", **changes: Any) -> Entry:
    """Return a resolved entry, with some attributes changed."""
    fields: dict[str, Any] = {"place": IN_LONDON, "source": "GeoLite2-City", "prefix_len": 27, "built_at": AT}
    return Entry(ip=ip, status="resolved", **{**fields, "resolved_at": AT, "generation": SOURCES, **changes})


def unresolved(ip: str = "81.2.69.160", **changes: Any) -> Entry:
    """Return an unresolved entry, with some attributes changed."""
    return Entry(ip=ip, status="unresolved", **{"resolved_at": AT, "generation": SOURCES, **changes})
