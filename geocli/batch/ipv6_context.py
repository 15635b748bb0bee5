r"""Rules that find the IPv6 address in a run of hexadecimal groups.

A run is a maximal string of hexadecimal digits, colons and single dots with two adjacent colons, or with six that have
up to four digits between them. `span_of` reads a run with up to `BEFORE_BYTES` before and `AFTER_BYTES` after it:

1. The address may follow an escape, as for IPv4. If the run continues a word, it begins with a tag that ends in a colon
   (`eth0:2001:db8::1`, `IPv6:2001:db8::1`), or has no address (`std::vector`). A word of hexadecimal digits alone is a
   group (`dead:2001:db8::1`).
2. The run consists of the address, a port after eight groups, after a dot (tcpdump), after an embedded IPv4 address or
   after `::` alone (`:::22`), and at most one final colon or dot. Otherwise the run has no address.
3. Eight groups of two digits are a hardware address (EUI-64), as in the logs of netfilter.
4. `::` alone is an address where it is enclosed, has a port or a prefix length, or follows a word like `on` or `from`;
   otherwise it is punctuation.
5. A zone may follow (RFC 4007, 11), unless it is a URL escape.
"""

from __future__ import annotations

import re
from functools import lru_cache

from geocli.batch.ipv4_context import BGP_STATUS, ESCAPE, MAX_ESCAPE_BYTES, follows_mask_word
from geocli.batch.software_versions import QUAD

BEFORE_BYTES, AFTER_BYTES = 48, 48
"""Maximum size of the context before and after a run."""
MAX_RUN_BYTES = 256
"""Maximum size of a run; longer ones have no address."""
MAX_CACHED = 1000
"""Maximum number of cached results."""
ESCAPE_ENDS = b"%\\#"
"""Bytes that precede the digits of an escape."""

_GROUP = rb"[0-9A-Fa-f]{1,4}"
_ADDRESS = (
    rb"(?!(?:[0-9A-Fa-f]{2}:){7}[0-9A-Fa-f]{2}(?![0-9A-Fa-f]))"
    rb"(?:(?:%(group)b:){7}%(group)b|(?:%(group)b:){6}%(ipv4)b"
    rb"|(?:%(group)b(?::%(group)b){0,6})?::(?:(?:%(group)b:){0,5}%(ipv4)b|%(group)b(?::%(group)b){0,6})?)"
) % {b"group": _GROUP, b"ipv4": QUAD}
_PORT = rb"(?:[1-9][0-9]{0,4})"
_RUN = re.compile(rb"(%b)(?:[:.]%b)?(?:\.[A-Fa-f][0-9A-Fa-f]*)?[:.]?" % (_ADDRESS, _PORT))
_IS_RUN = re.compile(rb"(?!%b::\Z).*(?:::|:(?:%b:){5})" % (QUAD, _GROUP))
_LONG_GROUP = re.compile(rb"[0-9A-Fa-f]{5,}:")
_WORD = re.compile(rb"\w")
_HEX_LETTERS = re.compile(rb"(?<=[^:][:.])[A-Fa-f][0-9A-Fa-f]*\Z")
_ZONE = re.compile(rb"%[0-9A-Za-z_.-]{0,30}[0-9A-Za-z_]")
_URL_ESCAPE = re.compile(rb"%(?:0[9AD]|2[0-9A-F]|3[A-F]|40|5[B-E]|7[B-E])", re.IGNORECASE)
_ZONE_PORT = re.compile(rb"\.(?:[5-9][0-9]{3}|[1-9][0-9]{4}|409[5-9]|4[1-9][0-9]{2})\Z")
"""Port after a zone: above 4094, the highest VLAN number, which may follow the dot of an interface."""
_HAS_ZONES = re.compile(rb"(?i)fe[89ab]|ff")

_ENDPOINT = re.compile(
    rb"(?i)(?<![a-z])(?:on|at|to|from|by|via|bind|listen|listening|listener|addr|address|host|ip|ipv6|ip6|inet6|src|dst"
    rb"|source|destination|saddr|daddr|local|remote|server|client|peer|default|any|unspecified)[:=]?\s\Z"
)
_ENCLOSED = {b"[": b"]", b"(": b")", b"<": b">", b"{": b"}", b">": b"<", b"=": b" \t\n,;&", b"": b"\n"}
_ENCLOSED |= {mark: mark for mark in (b'"', b"'", b"`", b",", b"|", b"\t", b";")}
_TARGET = re.compile(rb"/[0-9]|%[0-9A-Za-z]|\s+port\b|\\[\"']")
_ANY_PORT = re.compile(rb":(?:%b(?![\w:])|\*)" % _PORT)
_IS_NAME = re.compile(rb"[A-Fa-f]+::[A-Fa-f]*")
"""Names of Perl, C++ and Rust (`DB::DB`)."""


def is_run(candidate: bytes) -> bool:
    """Return whether a string of hexadecimal digits, colons and dots is a run.

    An IPv4 address before two colons is the host of an rsync module.
    """
    return len(candidate) <= MAX_RUN_BYTES and _IS_RUN.match(candidate) is not None


@lru_cache(MAX_CACHED)
def span_of(before: bytes, run: bytes, after: bytes) -> tuple[int, int] | None:
    """Return the start and end of the address in a run, as offsets in the run; None without an address.

    The context is up to `BEFORE_BYTES` of the line before the run, and up to `AFTER_BYTES` after it.
    """
    start = _start(before, run)
    if start is None:
        return None
    body = run[start:]
    # Hexadecimal letters at the end of the run belong to the word that continues after it.
    if _WORD.match(after):
        body, cuts = _HEX_LETTERS.subn(b"", body)
        if not (cuts or body.endswith((b":", b"."))) or body.endswith(b"::"):
            return None
    match = _RUN.fullmatch(body)
    if not match or _is_rejected(before + run[:start], match[1], run[start + match.end(1) :] + after):
        return None
    end = start + match.end(1)
    return start, end + (_zone_size(match[1], after) if end == len(run) else 0)


def _start(before: bytes, run: bytes) -> int | None:
    """Return how many bytes of a run belong to the preceding escape, tag or label; None if the run has no address."""
    if (escaped := _escaped_digits(before, run)) is not None:
        return escaped
    last = before[-1:]
    if last == b"i" and BGP_STATUS.match(before):
        return 0
    if last.isalnum() or last == b"_":
        return _after_tag(run)
    # A group has at most four digits: this is a word, such as `facade` or `12345`.
    if _LONG_GROUP.match(run):
        return _after_tag(run)
    if run.startswith(b":") and not run.startswith(b"::"):
        return 1
    return None if run.startswith(b".") else 0


def _escaped_digits(before: bytes, run: bytes) -> int | None:
    """Return how many digits at the start of a run end an escape; None without an escape."""
    last = before[-1:]
    if not last or not (last.isalnum() or last in b"_=" + ESCAPE_ENDS):
        return None
    digits = len(run) - len(run.lstrip(b"0123456789abcdefABCDEF"))
    if last == b"=" and digits <= 4:
        return None
    for count in range(min(digits, 4), -1, -1):
        if ESCAPE.search((before + run[:count])[-MAX_ESCAPE_BYTES:]):
            return count
    return None


def _after_tag(run: bytes) -> int | None:
    """Return the length of a tag with its colon; None if no address can follow, as in a path of C++ or Rust."""
    tag, colon, rest = run.partition(b":")
    may_follow = rest[:1] != b":" or rest[:3] == b"::1" or b":" in rest[2:]
    return len(tag + colon) if rest and may_follow else None


def _is_rejected(before: bytes, address: bytes, after: bytes) -> bool:
    """Return whether a valid address is punctuation, a name or a mask."""
    if address == b"::":
        return not _is_unspecified(before, after)
    is_name = _IS_NAME.fullmatch(address) is not None and not after.startswith(b"/")
    return is_name or follows_mask_word(before)


def _is_unspecified(before: bytes, after: bytes) -> bool:
    """Return whether `::` is the unspecified address, rather than punctuation."""
    last = before[-1:]
    if after.startswith(b":"):
        return bool(_ANY_PORT.match(after)) and (not last or last in b" \t\"'(=,*")
    if (closing := _ENCLOSED.get(last)) is not None and (after[:1] or b"\n") in closing:
        return True
    if last.isspace() or last in b"=\"'[":
        return _TARGET.match(after) is not None or (_ENDPOINT.search(before) is not None and after[:1] in b" \t,;.")
    return False


def _zone_size(address: bytes, after: bytes) -> int:
    """Return the length of the zone after an address, including the percent sign."""
    zone = _ZONE.match(after)
    if not zone or (_URL_ESCAPE.match(after) and after[1:3] != b"25" and not _is_interface_index(address, zone[0])):
        return 0
    return len(_ZONE_PORT.sub(b"", zone[0]))


def _is_interface_index(address: bytes, zone: bytes) -> bool:
    """Return whether a zone that is also a URL escape, such as `%20`, is an interface index."""
    return zone[1:].isdigit() and _HAS_ZONES.match(address) is not None
