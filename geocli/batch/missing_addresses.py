"""Count lines without an address, and suggest a remedy."""

from __future__ import annotations

from collections import Counter

from geocli.addresses import parse
from geocli.batch.input_detection import by_line
from geocli.batch.list_notes import before_note
from geocli.errors import AddressError
from geocli.immutable import Value
from geocli.sanitize import decoded, safe, shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geocli.batch.request import BatchRequest
    from geocli.batch.row_maker import Rows
    from geocli.models import Entry


MAX_EXAMINED = 8
"""Lines of a block that are examined for the form that they look like."""
MAX_SCANNED = 1000
"""Lines of a block that are scanned for addresses, which lines of a log have here and there."""
NOT_AN_ADDRESS = "not an IP address"
"""The reason for lines without a specific one."""


class LineCounts(Value):
    """Counts of the lines of a list, the rows of CSV, or the objects of JSON lines."""

    lines: int = 0
    """Number of lines."""
    comments: int = 0
    """Comments and blank lines of a list."""
    invalid: int = 0
    """Lines without an address."""
    first: int | None = None
    """Index of the first line without an address."""
    text: str = ""
    """Text of this line."""
    reason: str = ""
    """Why this is not an address."""
    like: str = ""
    """The form of input that one of the lines without an address looks like, unless it is that of a list."""

    @classmethod
    def of(cls, rows: Rows, *, per_line: int = 1, is_list: bool = False) -> LineCounts:
        """Count lines by the entries of their answers.

        A line has no address if none of its answers, whose number is `per_line`, has one. The lines of a list may look
        like another form.
        """
        invalid = _invalid_lines(rows, per_line)
        first, entry = invalid[0] if invalid else (None, None)
        return cls(
            lines=(len(rows.entries) if rows.found is None else len(rows.found.block)) // per_line,
            comments=sum(entry.status == "comment" for entry in rows.entries),
            invalid=len(invalid),
            first=first,
            text=entry.ip if entry else "",
            reason=(entry.error or "") if entry else "",
            like=_form_like([entry.ip for _, entry in invalid[:MAX_SCANNED]]) if is_list else "",
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


def _invalid_lines(rows: Rows, per_line: int) -> list[tuple[int, Entry]]:
    """Return the lines of which no answer is of an address, and the first entry of each."""
    positions = rows.positions or range(len(rows.entries))
    pairs = zip(positions, rows.entries, strict=True)
    invalid = [(position // per_line, entry) for position, entry in pairs if entry.status == "invalid"]
    if per_line == 1:
        return invalid
    answers = Counter(line for line, _ in invalid)
    first_entries = dict(reversed(invalid))
    return [(line, first_entries[line]) for line in answers if answers[line] == per_line]


def has_no_address(counts: Mapping[str, LineCounts]) -> bool:
    """Return whether there are lines other than comments, and none has an address."""
    lines = sum(each.lines - each.comments for each in counts.values())
    return 0 < lines == sum(each.invalid for each in counts.values())


def complaint(counts: Mapping[str, LineCounts], request: BatchRequest) -> str | None:
    """Return a sentence about the lines without an address, by the counts of each file, or with several; else None."""
    name, first = next(((name, each) for name, each in counts.items() if each.invalid), ("", LineCounts()))
    if first.first is None:
        return request.advice or None if request.input == "list" else None
    invalid = sum(each.invalid for each in counts.values())
    lines = sum(each.lines - each.comments for each in counts.values())
    noun = "value" if request.has_arrays else "row" if request.input == "csv" else "line"
    file = "" if name == "-" else f"{name}, "
    shown, advice = shorten(first.text) or "empty", _advice(first, request)
    return f"{invalid} of {lines} {noun}s had no address; first: {file}{noun} {first.first + 1}: {shown}: {advice}"


def _advice(counts: LineCounts, request: BatchRequest) -> str:
    """Return why the first line has no address, and a remedy."""
    if request.input == "list":
        return _advice_for_list(counts)
    if not counts.text:
        return f"no address there; {request.advice or 'choose another column or key: -c NAME'}"
    if request.input == "jsonl" and counts.text.startswith("{"):
        return _reason_of_object(counts.text, request)
    return f"{NOT_AN_ADDRESS}; {request.advice}" if request.advice else counts.reason


def _advice_for_list(counts: LineCounts) -> str:
    if "\r" in counts.text.strip():
        return "lines end in carriage returns alone; replace them with: tr '\\r' '\\n'"
    if "\0" in counts.text:
        return "lines end in NUL; try: -0"
    if counts.like and (counts.reason == NOT_AN_ADDRESS or by_line(counts.text).input == counts.like):
        return f"it looks like {counts.like} input; try: -i {counts.like}"
    return _reason_before_note(counts.text) or counts.reason


def _reason_of_object(text: str, request: BatchRequest) -> str:
    """Return why a line of JSON, or a value that is an object, has no address."""
    from geocli.batch.json_keys import parsed_object
    from geocli.batch.table_writers import GEO

    content = parsed_object(text)
    if not content:
        return "not a JSON object on one line"
    key = next((key for key in content if key == f"{request.prefix}{GEO}" or key.endswith(f"_{GEO}")), None)
    if key is None:
        return "an object; choose a key in it: -c NAME"
    return f"its key {safe(key)} is not an answer of geocli; choose another one: --prefix NAME_"


def _reason_before_note(text: str) -> str:
    """Return why what is before a note is not an address, if it has dots or colons as an address or a name has."""
    line = text.encode("utf-8", "replace")
    start, end = before_note(line, 0, len(line)) or (0, 0)
    try:
        if not {*b".:"}.isdisjoint(line[start:end]):
            parse(decoded(line[start:end]))
    except AddressError as error:
        return error.reason
    return ""


def _form_like(lines: Sequence[str]) -> str:
    """Return the form that lines look like, the first that is not a list; else nothing."""
    forms = (by_line(line).input for line in lines[:MAX_EXAMINED])
    if (form := next((form for form in forms if form != "list"), "")) or len(lines) <= MAX_EXAMINED:
        return form
    from geocli.batch.address_scanner import starts_of_addresses

    return "log" if starts_of_addresses("\n".join(lines).encode("utf-8", "replace")) else ""
