r"""Which runs of hexadecimal groups are IPv6 addresses: the definition of an IPv6 address in a text.

A run is all that stands together of hexadecimal digits, colons and single dots, if it has two colons together or six
with up to four digits between them. `span_of` reads one, with up to `BEFORE_BYTES` before and `AFTER_BYTES` behind it:

1. An escape may end where the address begins, as for IPv4. What is part of a word before the run is a tag
   (`eth0:2001:db8::1`, `IPv6:2001:db8::1`) up to its colon; without one there is no address (`std::vector`).
   A word of hexadecimal digits alone is a group (`dead:2001:db8::1`).
2. All of the run is the address, a port behind eight groups, behind a dot (tcpdump), behind an embedded IPv4 address
   or behind `::` alone (`:::22`), and at most a colon or a dot. Halves of anything else are no addresses.
3. Eight groups of two digits are an address of hardware (EUI-64), as in the logs of netfilter.
4. `::` alone is an address where it is enclosed, has a port or a prefix, or is what a word like `on` or `from` speaks
   of; else it is punctuation.
5. A zone may follow (RFC 4007, 11), unless it is an escape of a URL.
"""

from __future__ import annotations

import re
from functools import lru_cache

from geocli.batch.ipv4_context import BGP_STATUS, ESCAPE, MAX_ESCAPE_BYTES, is_behind_mask_word
from geocli.batch.versions import QUAD

BEFORE_BYTES, AFTER_BYTES = 48, 48
MAX_RUN_BYTES = 256
"""A longer run is no address."""
MAX_REMEMBERED = 1000
ESCAPE_ENDS = b"%\\#"
"""The last bytes of escapes before digits."""

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
"""Behind a zone: no number of a VLAN, which ends at 4094."""
_HAS_ZONES = re.compile(rb"(?i)fe[89ab]|ff")

_SPEAKS_OF = re.compile(
    rb"(?i)(?<![a-z])(?:on|at|to|from|by|via|bind|listen|listening|listener|addr|address|host|ip|ipv6|ip6|inet6|src|dst"
    rb"|source|destination|saddr|daddr|local|remote|server|client|peer|default|any|unspecified)[:=]?\s\Z"
)
_ENCLOSED = {b"[": b"]", b"(": b")", b"<": b">", b"{": b"}", b">": b"<", b"=": b" \t\n,;&", b"": b"\n"}
_ENCLOSED |= {mark: mark for mark in (b'"', b"'", b"`", b",", b"|", b"\t", b";")}
_TARGET = re.compile(rb"/[0-9]|%[0-9A-Za-z]|\s+port\b|\\[\"']")
_ANY_PORT = re.compile(rb":(?:%b(?![\w:])|\*)" % _PORT)
_IS_NAME = re.compile(rb"[A-Fa-f]+::[A-Fa-f]*")
"""What Perl, C++ and Rust call a class of their own (`DB::DB`), rather than an address."""


def is_run(text: bytes) -> bool:
    """Return whether a text of hexadecimal digits, colons and dots may have an address in it.

    An IPv4 address before two colons is the host of an rsync module.
    """
    return len(text) <= MAX_RUN_BYTES and _IS_RUN.match(text) is not None


@lru_cache(MAX_REMEMBERED)
def span_of(before: bytes, run: bytes, after: bytes) -> tuple[int, int] | None:
    """Return where the address in a run begins and ends, counted from the start of the run; None without one.

    Args:
        before: its line up to the run, `BEFORE_BYTES` at the most.
        run: the run.
        after: its line behind the run, `AFTER_BYTES` at the most.

    """
    start = _start(before, run)
    if start is None:
        return None
    body = run[start:]
    if _WORD.match(after):
        body, cuts = _HEX_LETTERS.subn(b"", body)
        if not (cuts or body.endswith((b":", b"."))) or body.endswith(b"::"):
            return None
    found = _RUN.fullmatch(body)
    if not found or _is_none(before + run[:start], found, run[start + found.end(1) :] + after):
        return None
    size = found.end(1)
    return start, start + size + (_zone_size(found[1], after) if start + size == len(run) else 0)


def _start(before: bytes, run: bytes) -> int | None:
    """Return how many bytes of a run belong to the text before it; None if all of them do."""
    if (escaped := _escaped_digits(before, run)) is not None:
        return escaped
    last = before[-1:]
    if last == b"i" and BGP_STATUS.match(before):
        return 0
    if last.isalnum() or last == b"_":
        return _after_tag(run)
    if _LONG_GROUP.match(run):  # no group has five digits: a word, like facade or 12345
        return _after_tag(run)
    if run.startswith(b":") and not run.startswith(b"::"):
        return 1
    return None if run.startswith(b".") else 0


def _escaped_digits(before: bytes, run: bytes) -> int | None:
    """Return how many digits of a run end an escape that begins before it; None without an escape."""
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
    """Return the length of a tag and its colon; None if no address may follow."""
    start = run.find(b":") + 1
    return start if _is_behind_tag(run[start:]) else None


def _is_behind_tag(rest: bytes) -> bool:
    """Return whether an address may follow a word and its colon; two colons together would be a path of C++ or Rust."""
    return bool(rest) and (rest[:1] != b":" or rest[:3] == b"::1" or b":" in rest[2:])


def _is_none(before: bytes, found: re.Match[bytes], after: bytes) -> bool:
    """Return whether what reads like an address is something else."""
    address = found[1]
    if address == b"::":
        return not _is_unspecified(before, after)
    is_name = _IS_NAME.fullmatch(address) is not None and not after.startswith(b"/")
    return is_name or is_behind_mask_word(before)


def _is_unspecified(before: bytes, after: bytes) -> bool:
    """Return whether `::` is the unspecified address, rather than punctuation."""
    last = before[-1:]
    if after.startswith(b":"):
        return bool(_ANY_PORT.match(after)) and (not last or last in b" \t\"'(=,*")
    if (closing := _ENCLOSED.get(last)) is not None and (after[:1] or b"\n") in closing:
        return True
    if last.isspace() or last in b"=\"'[":
        return _TARGET.match(after) is not None or (_SPEAKS_OF.search(before) is not None and after[:1] in b" \t,;.")
    return False


def _zone_size(address: bytes, after: bytes) -> int:
    """Return the length of the zone behind an address, with its percent sign."""
    zone = _ZONE.match(after)
    if not zone or (_URL_ESCAPE.match(after) and after[1:3] != b"25" and not _is_index(address, zone[0])):
        return 0
    return len(_ZONE_PORT.sub(b"", zone[0]))


def _is_index(address: bytes, zone: bytes) -> bool:
    """Return whether a zone is the number of an interface, where it could be a space or a quote in a URL."""
    return zone[1:].isdigit() and _HAS_ZONES.match(address) is not None
