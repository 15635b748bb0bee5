"""Find addresses whose dots or colons are defanged (`192[.]0[.]2[.]1`) or URL-encoded (`2001%3Adb8%3A%3A1`)."""

from __future__ import annotations

import re

from geocli.addresses import DEFANGED, ENCODED_COLON, is_address
from geocli.batch.ipv4_context import DOT, ESCAPE, MAX_ESCAPE_BYTES, is_host_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_COLON = rb"(?:\[::?\]|:|%3[Aa])"
ANCHOR = re.compile(rb"(?<=[0-9])(?!\.)%b(?=[0-9])|\[::?\]|(?<=[0-9A-Fa-f])%%3[Aa](?=[0-9A-Fa-f]|%%3[Aa])" % DOT)
"""A defanged or URL-encoded dot or colon."""
_ADDRESS = re.compile(
    rb"[0-9]{1,3}(?:%b[0-9]{1,3}){3}(?![0-9])|(?:[0-9A-Fa-f]{1,4}|(?=:))(?:%b{1,2}[0-9A-Fa-f]{1,4})+(?:%b%b)?"
    % (DOT, _COLON, _COLON, _COLON)
)
MAX_BYTES = 80
"""Maximum length of such an address."""
_GROUP_BEFORE = re.compile(rb"[0-9A-Fa-f](?:%3[Aa]|\[:\])\Z")
_CONTINUATION = re.compile(rb"%b[0-9]|\w" % DOT)


def spans(text: bytes, anchors: Iterable[int]) -> list[tuple[int, int]]:
    """Return the start and end of each address around one of the anchors, which are offsets of `ANCHOR` in order."""
    addresses: list[tuple[int, int]] = []
    searched_end = 0
    for anchor in anchors:
        if anchor < searched_end:
            continue
        for match in _ADDRESS.finditer(text, max(anchor - MAX_BYTES, searched_end), anchor + MAX_BYTES):
            if match.start() > anchor:
                break
            if match.end() > anchor:
                if _is_address(text, *match.span()):
                    addresses.append(match.span())
                searched_end = match.end()
                break
    return addresses


def _is_address(text: bytes, start: int, end: int) -> bool:
    """Return whether a match is a defanged or encoded address, rather than part of a word or of a longer number."""
    before, after = text[max(start - MAX_ESCAPE_BYTES, 0) : start], text[end : end + MAX_BYTES]
    if _is_in_word(before, after) or _CONTINUATION.match(after):
        return False
    is_ipv4 = b":" not in text[start:end] and b"%" not in text[start:end]
    if is_host_name(after) if is_ipv4 else (after[:1] == b":" or _GROUP_BEFORE.search(before)):
        return False
    candidate = text[start:end].decode("latin-1")
    # An ordinary spelling is found by the other rules.
    return any(mark in candidate.lower() for mark in (*DEFANGED, ENCODED_COLON)) and is_address(candidate)


def _is_in_word(before: bytes, after: bytes) -> bool:
    last = before[-1:]
    is_inside = last.isalnum() or (last and last in b"_.:")
    return bool(is_inside and not ESCAPE.search(before)) or after[:1].isalnum() or after[:1] == b"_"
