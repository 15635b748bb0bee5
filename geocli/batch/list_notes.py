"""Lines of feeds: an address, perhaps with a note (`192.0.2.1,malware`, `192.0.2.1 # scanner`), or a comment."""

from __future__ import annotations

import re

from geocli.address_ranges import is_readable
from geocli.batch.reader import MAX_LINE_BYTES
from geocli.sanitize import decoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

COMMENTS = (b"#", b";", b"//")
"""Prefixes of comments."""
ADDRESS_CHARS = b"0123456789ABCDEFabcdef.:"
"""Characters of lines with an address alone, as nearly all are."""
_RANGE = re.compile(rb"[ \t]*([0-9A-Fa-f:.]+[ \t]*-[ \t]*[0-9A-Fa-f:.]+)(?:[ \t,;#|]|\Z)")
"""A possible range, and a separator before a note."""
_WITH_NOTE = re.compile(rb"[ \t]*([^\s,;#|]+)[ \t,;#|]")
"""A candidate for an address, and separators before a note."""


def unusual_lines(lines: Iterable[bytes]) -> list[bytes]:
    """Return the lines that may be comments, or have notes."""
    return [line for line in lines if not line or line.translate(None, ADDRESS_CHARS)]


def is_comment(line: bytes) -> bool:
    """Return whether a line is blank or a comment; with a carriage return in it, it is several lines."""
    content = line.strip()
    return not content or (content.startswith(COMMENTS) and b"\r" not in content)


def before_note(text: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Return the span of a possible address in a line with a note; None if there is no note.

    The line is given by its offsets. One that was cut has no note, since the rest of it may be anything.
    """
    if end - start > MAX_LINE_BYTES:
        return None
    match = _RANGE.match(text, start, end)
    if match is None or not is_readable(match[1].decode()):
        match = _WITH_NOTE.match(text, start, end)
    return match.span(1) if match else None


def with_notes(lines: Iterable[bytes]) -> dict[bytes, bytes]:
    """Return the address in each line with a note, by line."""
    spans = {line: span for line in lines if (span := before_note(line, 0, len(line)))}
    addresses = {line: line[start:end] for line, (start, end) in spans.items()}
    return {line: address for line, address in addresses.items() if is_readable(decoded(address))}
