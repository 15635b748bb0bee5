"""Counts lines without an address, and says what to try."""

from __future__ import annotations

from geocli.batch.recognition import by_line
from geocli.immutable import Value
from geocli.sanitize import shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from geocli.batch.rows import Rows


MAX_EXAMINED = 8
"""Lines of a block that are examined for the form that they look like."""
NOT_AN_ADDRESS = "not an IP address"
"""The reason of lines of which nothing else is known."""


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
    like: str = ""
    """The form of input that one of the lines without an address looks like, unless it is that of a list."""

    @classmethod
    def of(cls, rows: Rows, *, is_list: bool) -> LineCounts:
        """Count rows, each of which is the answer to a line; it may look like another form if it is of a list."""
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
            like=_form_like([rows.entries[at].ip for at in invalid[:MAX_EXAMINED]]) if is_list else "",
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
            like=self.like or later.like,
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
    shown, advice = shorten(first.text) or "empty", _advice(first, form)
    return f"{invalid} of {lines} lines had no address; first: {file}{place}: {shown}: {advice}"


def _advice(counts: LineCounts, form: str) -> str:
    """Return why the first line has no address, and what to try."""
    if counts.like and (counts.reason == NOT_AN_ADDRESS or by_line(counts.text).input == counts.like):
        return f"it looks like {counts.like} input; try: -i {counts.like}"
    if form != "list" and not counts.text:
        return "no address there; choose another column or key: -c NAME"
    return counts.reason


def _form_like(lines: Iterable[str]) -> str:
    """Return the form that lines look like, the first that is not a list; else nothing."""
    return next((form for line in lines if (form := by_line(line).input) != "list"), "")
