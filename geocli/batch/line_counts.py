"""Counts lines without an address, and says what to try."""

from __future__ import annotations

from geocli.batch.recognition import by_line
from geocli.immutable import Value
from geocli.sanitize import shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from geocli.batch.rows import Rows


class LineCounts(Value):
    """Counts of the lines of a list, the rows of CSV, or the objects of JSON lines."""

    lines: int = 0
    """All lines."""
    comments: int = 0
    """Comments and blank lines of a list."""
    invalid: int = 0
    """Lines without an address."""
    first: int | None = None
    """Index of the first of these."""
    text: str = ""
    """Its text."""
    reason: str = ""
    """Why this is not an address."""

    @classmethod
    def of(cls, rows: Rows) -> LineCounts:
        """Count rows, each of which is the answer to a line."""
        positions = rows.positions or range(len(rows.entries))
        invalid = [at for at, entry in enumerate(rows.entries) if entry.status == "invalid"]
        first = rows.entries[invalid[0]] if invalid else None
        return cls(
            lines=len(rows.entries) if rows.found is None else len(rows.found.block),
            comments=sum(entry.status == "comment" for entry in rows.entries),
            invalid=len(invalid),
            first=positions[invalid[0]] if invalid else None,
            text=first.ip if first else "",
            reason=(first.error or "") if first else "",
        )

    def __add__(self, later: LineCounts) -> LineCounts:
        """Add the counts of the lines that follow."""
        first = self
        if self.first is None and later.first is not None:
            first = later.replace(first=self.lines + later.first)
        return first.replace(
            lines=self.lines + later.lines,
            comments=self.comments + later.comments,
            invalid=self.invalid + later.invalid,
        )


def has_no_address(counts: Mapping[str, LineCounts]) -> bool:
    """Return whether there are lines other than comments, and none has an address."""
    lines = sum(each.lines - each.comments for each in counts.values())
    return 0 < lines == sum(each.invalid for each in counts.values())


def complaint(counts: Mapping[str, LineCounts], form: str) -> str | None:
    """Return a line about the lines without an address, None if all have one.

    Args:
        counts: the counts of each file.
        form: the form of the input.

    """
    name, first = next(((name, each) for name, each in counts.items() if each.invalid), ("", LineCounts()))
    if first.first is None:
        return None
    invalid = sum(each.invalid for each in counts.values())
    lines = sum(each.lines - each.comments for each in counts.values())
    place = f"{'row' if form == 'csv' else 'line'} {first.first + 1}"
    file = "" if name == "-" else f"{name}, "
    shown, advice = shorten(first.text) or "empty", _advice(first.text, first.reason, form)
    return f"{invalid} of {lines} lines had no address; first: {file}{place}: {shown}: {advice}"


def _advice(text: str, reason: str, form: str) -> str:
    """Return why a line has no address, and what to try."""
    if form == "list":
        other = by_line(text).input
        return f"it looks like {other} input; try: -i {other}" if other != "list" else reason
    return reason if text else "no address there; choose another column or key: -c NAME"
