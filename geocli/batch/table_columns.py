"""The columns of a table that hold addresses, and the names of the columns that are added."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geocli.addresses import is_address
from geocli.batch.lists_and_logs import DEFAULT_COLUMN
from geocli.batch.usual_column_names import number_of, usual_name
from geocli.errors import SettingsError
from geocli.sanitize import safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geocli.batch.table_head import Head

OTHER_DELIMITERS = ";\t|,"
"""Delimiters; an only column with one of these in its name is probably several columns."""


def places_of(columns: Sequence[str], head: Head) -> list[int]:
    """Return the indices of the chosen columns; by default, of that with the most usual name.

    Raises SettingsError if a column is missing or ambiguous.
    """
    if not columns:
        only = head.names[0] if head.width == 1 and head.names and not _other_delimiter(head) else None
        columns = [only or usual_name(head.names) or DEFAULT_COLUMN]
    return [_place_of(column, head) for column in columns]


def _place_of(column: str, head: Head) -> int:
    count = head.names.count(column)
    if count == 1:
        return head.names.index(column)
    number = number_of([column])
    if not count and number is not None and number < head.width and not _is_row(head):
        return number
    name = f"-c {safe(column)}"
    if not head.names:
        reason = "there is no header" if number is None else f"the number of columns is {head.width}"
        reason += f"; name the column of addresses by its number: -c {head.place + 1}"
        raise SettingsError("input" if column == DEFAULT_COLUMN else name, reason, origin=head.kind)
    reason = f"{count} columns have this name" if count else "there is no such column"
    listed = ", ".join(map(safe, head.names))
    raise SettingsError(name, f"{reason}; the columns are: {listed}{_hint(column, head)}", origin=head.kind)


def _hint(column: str, head: Head) -> str:
    """Return a hint for a column that is missing or ambiguous."""
    delimiter = _other_delimiter(head)
    if delimiter is None and head.width == 1 and column in head.names[0].split(" "):
        delimiter = " "
    if delimiter is not None:
        return f"; try {'-i tsv' if delimiter == chr(9) else f'--delimiter {delimiter!r}'}"
    if column in head.names:
        return f"; name one by its number, as in -c {head.names.index(column) + 1}"
    from difflib import get_close_matches
    from shlex import quote

    lowered = {name.lower(): name for name in head.names}
    nearest = get_close_matches(column.lower(), lowered, n=1)
    likely = lowered[nearest[0]] if nearest else usual_name(head.names)
    if likely is None:
        return "; choose one with -c" if column == DEFAULT_COLUMN else ""
    return f"; try -c {quote(safe(likely))}"


def _is_row(head: Head) -> bool:
    """Return whether the only name is a row with an address and another delimiter."""
    delimiter = _other_delimiter(head)
    return delimiter is not None and any(map(is_address, head.names[0].split(delimiter)))


def _other_delimiter(head: Head) -> str | None:
    if len(head.names) != 1:
        return None
    delimiters = OTHER_DELIMITERS.replace(head.dialect.delimiter, "")
    return next((delimiter for delimiter in delimiters if delimiter in head.names[0]), None)


def prefixes_of(columns: Sequence[str], prefix: str) -> list[str]:
    """Return the prefix of added names for each column; raise SettingsError if one is chosen for several columns."""
    if len(columns) < 2:
        return [prefix]
    if prefix:
        reason = "cannot be used with several -c, whose own names are the prefixes"
        raise SettingsError("--prefix", reason, origin="command line")
    return [f"{column}_" for column in columns]
