"""Addresses whose dots or colons are spelled in another way: defanged, or encoded as in a URL."""

from __future__ import annotations

import re

from geocli.addresses import DEFANGED, ENCODED_COLON, is_address
from geocli.batch.ipv4_context import DOT, ESCAPE, MAX_ESCAPE_BYTES, is_host_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_COLON = rb"(?:\[::?\]|:|%3[Aa])"
ANCHOR = re.compile(rb"(?<=[0-9])(?!\.)%b(?=[0-9])|\[::?\]|(?<=[0-9A-Fa-f])%%3[Aa](?=[0-9A-Fa-f]|%%3[Aa])" % DOT)
"""A dot or a colon that is spelled so."""
_SPELLED = re.compile(
    rb"[0-9]{1,3}(?:%b[0-9]{1,3}){3}(?![0-9])|(?:[0-9A-Fa-f]{1,4}|(?=:))(?:%b{1,2}[0-9A-Fa-f]{1,4})+(?:%b%b)?"
    % (DOT, _COLON, _COLON, _COLON)
)
MAX_BYTES = 80
"""No such address is longer."""
_GROUP_BEFORE = re.compile(rb"[0-9A-Fa-f](?:%3[Aa]|\[:\])\Z")
_MORE = re.compile(rb"%b[0-9]|\w" % DOT)


def spans(text: bytes, anchors: Iterable[int]) -> list[tuple[int, int]]:
    """Return where addresses around some anchors begin and end."""
    found: list[tuple[int, int]] = []
    last = 0
    for at in anchors:
        if at < last:
            continue
        for match in _SPELLED.finditer(text, max(at - MAX_BYTES, last), at + MAX_BYTES):
            if match.start() > at:
                break
            if match.end() > at:
                if _is_address(text, *match.span()):
                    found.append(match.span())
                last = match.end()
                break
    return found


def _is_address(text: bytes, start: int, end: int) -> bool:
    """Return whether a match is an address with unusual spelling, rather than part of a word or a longer number."""
    before, after = text[max(start - MAX_ESCAPE_BYTES, 0) : start], text[end : end + MAX_BYTES]
    if _is_in_word(before, after) or _MORE.match(after):
        return False
    is_ipv4 = b":" not in text[start:end] and b"%" not in text[start:end]
    if is_host_name(after) if is_ipv4 else (after[:1] == b":" or _GROUP_BEFORE.search(before)):
        return False
    candidate = text[start:end].decode("latin-1")
    spellings = (*DEFANGED, ENCODED_COLON)
    return any(spelling in candidate.lower() for spelling in spellings) and is_address(candidate)


def _is_in_word(before: bytes, after: bytes) -> bool:
    last = before[-1:]
    is_inside = last.isalnum() or (last and last in b"_.:")
    return bool(is_inside and not ESCAPE.search(before)) or after[:1].isalnum() or after[:1] == b"_"
