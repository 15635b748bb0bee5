"""Count the lines of a log by time."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MONTHS = {name: number for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}
"""Names of months in logs, which are English."""
_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_TIME = re.compile(
    rb"^(?:"
    rb"(?:.*?[^0-9A-Za-z./-])??(?:"
    rb"(?P<common>[0-3][0-9]/" + _MONTH + rb"/[0-9]{4}:[0-2][0-9]:[0-5][0-9])"
    rb"|(?P<iso>(?:19|20)[0-9]{2}[-/][01][0-9][-/][0-3][0-9][T ][0-2][0-9]:[0-5][0-9])"
    rb"|(?P<syslog>" + _MONTH + rb" [ 0-3]?[0-9] [0-2][0-9]:[0-5][0-9])(?=:[0-5][0-9])"
    rb")"
    rb"|(?:.*?[\"\s{,](?:ts|time|timestamp|epoch)\"?[:=] ?\"?)??"
    rb"(?P<epoch>1[0-9]{9})(?=(?:[0-9]{3})?(?:[.][0-9]+)?[\",}\s])"
    rb")",
    re.MULTILINE,
)
"""The first time of a line, to the minute: of web servers, ISO 8601, syslog; seconds since 1970, first or named."""
STEPS = (
    *(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 180, 720)),
    *(timedelta(days=days) for days in (1, 7, 28, 91, 364)),
)
MAX_STEPS = 48
"""Largest number of steps on a time line."""
EPOCH = datetime(1970, 1, 5, tzinfo=UTC)
"""A Monday, from which steps are counted."""


class Timeline:
    """Lines by the minute of their first time; lines without a time are not counted."""

    def __init__(self, now: datetime) -> None:
        # The dates of syslog have no year.
        self._now = now
        self._texts: Counter[tuple[str, bytes]] = Counter()

    def add(self, text: bytes) -> None:
        """Count lines."""
        self._texts.update((match.lastgroup or "", match[match.lastgroup or 0]) for match in _TIME.finditer(text))

    def steps(self) -> tuple[timedelta, list[tuple[datetime, int]]]:
        """Return the length of a step, and the beginning of each with its lines, without gaps; empty without times."""
        minutes: Counter[datetime] = Counter()
        for (kind, text), count in self._texts.items():
            if (at := self._read(kind, text)) is not None:
                minutes[at] += count
        if not minutes:
            return STEPS[0], []
        first, last = min(minutes), max(minutes)
        step = next((step for step in STEPS if (last - first) / step < MAX_STEPS), STEPS[-1])
        counts = Counter[int]()
        for at, count in minutes.items():
            counts[(at - EPOCH) // step] += count
        numbers = range(min(counts), max(counts) + 1)[-MAX_STEPS * 2 :]
        return step, [(EPOCH + number * step, counts[number]) for number in numbers]

    def _read(self, kind: str, text: bytes) -> datetime | None:
        """Return the minute of a time; its offset from UTC is left out, as the log has local times."""
        read: dict[str, Callable[[bytes], datetime]] = {
            "common": _common,
            "iso": lambda iso: datetime.fromisoformat(iso.decode().replace("/", "-")).replace(tzinfo=UTC),
            "syslog": self._syslog,
            "epoch": lambda seconds: datetime.fromtimestamp(int(seconds) // 60 * 60, UTC),
        }
        try:
            return read[kind](text)
        except ValueError:
            return None

    def _syslog(self, text: bytes) -> datetime:
        """Return a time in the year before now, or at most a day after it."""
        month, day, time = text.split()
        hour, minute = time.split(b":")
        parts = MONTHS[month], int(day), int(hour), int(minute)
        latest = self._now + timedelta(days=1)
        at = datetime(latest.year, *parts, tzinfo=UTC)
        return at if at <= latest else datetime(latest.year - 1, *parts, tzinfo=UTC)


def _common(text: bytes) -> datetime:
    day, month, rest = text.split(b"/")
    year, hour, minute = map(int, rest.split(b":"))
    return datetime(year, MONTHS[month], int(day), hour, minute, tzinfo=UTC)
