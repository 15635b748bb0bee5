"""Clearing as an event in the order of segments: what was forgotten, and until which of them."""

from __future__ import annotations

from geocli.immutable import Value
from geocli.timestamps import instant_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime

    from geocli.models import Entry


class Clear(Value):
    """What was cleared: the rows of all earlier segments that meet each of the conditions."""

    number: int = 0
    """Its number in the order of segments: those with lower numbers are earlier. 0 until it has happened."""
    only_unresolved: bool = False
    """Whether only rows without an answer were cleared."""
    resolved_before: str | None = None
    """Only rows that were resolved before this instant were cleared; None for all."""

    @property
    def is_whole(self) -> bool:
        """Whether everything was cleared."""
        return not self.only_unresolved and self.resolved_before is None

    def covers_time(self, resolved_at: str | None) -> bool:
        """Return whether a row that was resolved at an instant meets the condition of time."""
        return self.resolved_before is None or (bool(resolved_at) and str(resolved_at) < self.resolved_before)

    def covers(self, segment: int | None, entry: Entry) -> bool:
        """Return whether an entry was cleared.

        Args:
            segment: the number of its segment, None for the journal, which is later than all that was cleared.
            entry: the entry.

        """
        is_earlier = segment is not None and segment < self.number
        is_chosen = not self.only_unresolved or entry.status == "unresolved"
        return is_earlier and is_chosen and self.covers_time(_text(entry.resolved_at))


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant_text(instant)
