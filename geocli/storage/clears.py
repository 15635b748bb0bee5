"""Clears: events in the order of segments, which delete rows and hide older entries that are not yet stored.

The transaction of a clear also stores its number. Readers and appenders compare it: older entries that are not yet
stored are cleared, too, and no entry that was read before may be appended or used after it.
"""

from __future__ import annotations

from geocli.immutable import Value
from geocli.models import settle
from geocli.timestamps import instant_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeAlias

    from geocli.models import Entry

    SegmentEntry: TypeAlias = tuple[int | None, Entry]
    """The number of a segment, None for the journal, and one of its entries."""


class Clear(Value):
    """One clear: the rows of all earlier segments that meet each of the conditions."""

    number: int = 0
    """Position in the order of segments: those with lower numbers are earlier. 0 until it is stored."""
    only_unresolved: bool = False
    """Whether only unresolved rows are cleared."""
    resolved_before: str | None = None
    """Only rows that were resolved before this instant are cleared; None for all."""

    @property
    def is_whole(self) -> bool:
        """Whether everything is cleared."""
        return not self.only_unresolved and self.resolved_before is None

    def covers_time(self, resolved_at: str | None) -> bool:
        """Return whether a row that was resolved at an instant meets the condition of time."""
        return self.resolved_before is None or (bool(resolved_at) and str(resolved_at) < self.resolved_before)

    def covers(self, segment: int | None, entry: Entry) -> bool:
        """Return whether an entry of a segment is cleared; the journal, None, is later than every clear."""
        is_earlier = segment is not None and segment < self.number
        is_selected = not self.only_unresolved or entry.status == "unresolved"
        resolved_at = None if entry.resolved_at is None else instant_text(entry.resolved_at)
        return is_earlier and is_selected and self.covers_time(resolved_at)


def newest_of(entries: Iterable[SegmentEntry], clears: Sequence[Clear]) -> Entry | None:
    """Return the newest entry of an address that was not cleared.

    The entries are those of the address, the newest first; no more are read than needed.
    """
    newest = None
    for number, entry in entries:
        if any(clear.covers(number, entry) for clear in clears):
            continue
        newest = newest or entry
        if entry.status != "unresolved":
            return settle(entry, newest)
    return newest
