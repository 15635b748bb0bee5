"""Rows of a segment that go into the store together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geocli.storage.frames import Frame

    Numbered = tuple[int, bool, str | None]
    """Number of a place in the table `places`, whether somebody knew, and when to ask again."""
    Row = tuple[str, int, int | None, str | None, int]
    """Address, number of its place, prefix length, when it was resolved, and number of its generation."""


class Block:
    """Rows that are upserted together: the last one of each address, but nothing found hides no good answer."""

    def __init__(self) -> None:
        """Begin without rows."""
        self.known: dict[str, Row] = {}
        self.unknown: dict[str, Row] = {}
        self.tried: dict[str, tuple[str | None, int]] = {}

    def __len__(self) -> int:
        """Return the number of addresses."""
        return len(self.known) + len(self.unknown)

    def add(self, frame: Frame, places: list[Numbered], generation: int, *, with_unknown: bool = True) -> None:
        """Add the rows of a frame, which are later than those that are here; those without an answer if they count."""
        at = frame.at or None
        for ip, number, prefix_len in frame.rows:
            place, is_known, retry_at = places[number]
            row = ip, place, prefix_len, at, generation
            if is_known:
                self.known[ip] = row
                if self.tried:
                    self.unknown.pop(ip, None)
                    self.tried.pop(ip, None)
                continue
            if not with_unknown:
                continue
            self.tried[ip] = retry_at, generation
            if ip not in self.known:
                self.unknown[ip] = row
