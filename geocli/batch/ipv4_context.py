r"""The second test of an IPv4 candidate: more of its line, for candidates that the boundary tables leave undecided.

`address_offset` is a pure function of a candidate and its `window`. Its results are cached by these arguments, because
the same few programs write most lines. Its rules, in order:

1. The address may follow an escape (`\t`, `\u003c`, `%2F`, `#011`, a colour) or the status letter of a BGP table
   (`*>i`). Any other part of a word, or a single dot, before the candidate rejects it.
2. The candidate is four numbers up to 255 without leading zeros.
3. A fifth number from 1 to 65535 without a sixth is a port (tcpdump, BSD netstat). If it is below 256, or the first is
   below 3, as in an object identifier, it is a port only where the line shows a network flow.
4. A candidate at the start of a host name (`4.3.2.1.in-addr.arpa`, `192.0.2.1-static.example.net`) is rejected. A word
   after a dot is the name of a service, a file extension, or the next sentence, and does not reject it.
5. Two or more groups of an IPv6 address before the candidate reject it, since the whole is not an address; a time of
   day does not.
6. Masks (`255.255.255.0`), and wildcard masks after an address (`0.0.0.255`), are rejected.
7. Versions are rejected by the rules of `geocli.batch.software_versions`: after a word for a version, in a user agent,
   in a package name or package log, in a CEF header.
"""

from __future__ import annotations

import re
from functools import lru_cache

from geocli.addresses import DEFANGED, refanged
from geocli.batch.ipv4_boundaries import FIRST_NUMBERS
from geocli.batch.software_versions import PRODUCT, QUAD, is_version, word_before

BEFORE_BYTES, AFTER_BYTES = 80, 80
"""Maximum size of the context before and after a candidate."""
QUOTE_BYTES = 24
"""Minimum size of the context before a candidate; beyond it, a quote begins the context."""
MAX_CACHED = 2000
"""Maximum number of cached results."""

DOT = rb"(?i:\.|%b)" % rb"|".join(re.escape(text).encode() for text, plain in DEFANGED.items() if plain == ".")
_IS_QUAD = re.compile(QUAD)

_CONTROL = rb"(?:\x1b|\\(?:u001[Bb]|x1[Bb]|e|033)|#033|%1[Bb]|\^\[)\[[0-9;]*[A-Za-z]"
_PUNCTUATION = rb"(?:0[9ADad]|2[0-9A-Fa-f]|3[A-Fa-f]|40|5[B-Eb-e]|60|7[B-Eb-e])"
ESCAPE = re.compile(
    rb"(?:\\(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|[0-3][0-7]{2}|[abefnrtv])"  # JSON, C
    rb"|%%(?:25)*%b|=%b"  # URLs (RFC 3986), mails (RFC 2045, 6.7)
    rb"|\#0[0-3][0-7]|\^[A-Z]|%b)\Z" % (_PUNCTUATION, _PUNCTUATION, _CONTROL)  # rsyslog, cat -A, ECMA-48
)
"""An escaped character or a colour change at the end of a string."""
MAX_ESCAPE_BYTES = 24
BGP_STATUS = re.compile(rb"(?:(?=.*[*>])[ *>=abcdfhmrstxRS]*|[dhrsRS] )i\Z")
"""Status codes that `show ip bgp` writes at the start of a line, up to the letter of an internal route."""

_HOST_NAME = re.compile(rb"(?:%b|-)\w[\w-]*(?:%b[\w-]+)*" % (DOT, DOT))
TOP_LABELS = frozenset(b"arpa com net org edu gov mil int local localdomain lan internal onion".split())
"""Labels that make a host name of four numbers when they are the only label after them."""
FILE_EXTENSIONS = frozenset(
    b"gz bz2 xz zst lz4 zip tar tgz log txt csv tsv json jsonl xml html htm php pcap pcapng cap conf cfg ini yaml "
    b"yml bak old orig tmp swp db sqlite rrd pdf png jpg svg key pem crt cer csr pub service sock pid lock dat bin err "
    b"out".split()
)
"""Last labels of file names, rather than of host names."""

_PORT = re.compile(rb"\.([1-9][0-9]{0,4})(?!\w|\.\w)")
_FLOW_BEFORE = re.compile(
    rb"[<>]\s*\Z|\bIP6?\s\Z|\A\s*(?:tcp|udp)\w*\s+[0-9]+\s+[0-9]+\s+\Z|%b\.[0-9]{1,5}\s+(?:to\s+)?\Z" % QUAD
)
_FLOW_AFTER = re.compile(rb"\.[0-9]+(?:\s*-?[<>]|\s+\*\.|\s+(?:to\s+)?%b\.[0-9])" % QUAD)
"""Context that tcpdump and netstat write around an address with a port after a dot."""
_PROGRAM = re.compile(rb"[A-Z][A-Za-z]+ \Z")

_GROUPS_BEFORE = re.compile(rb"(?<![\w.])((?:[0-9A-Fa-f]{1,4}:){2,})\Z")
_TIME = re.compile(rb"(?:[0-9]{1,2}:){2,3}")

_MASK_WORD = re.compile(rb"(?i)(?:mask|wildcard)(?:[ _-]bits)?(?: is)?\Z")
_AFTER_ADDRESS = re.compile(rb"%b[\s,]+\Z" % QUAD)


def window(text: bytes, start: int, end: int) -> tuple[bytes, bytes, bytes]:
    """Return the arguments of `address_offset`: the context before a candidate, the candidate, the context after it.

    The context is at most `BEFORE_BYTES` and `AFTER_BYTES` of its line. It ends at the first quote after the candidate
    and begins at the last quote that is more than `QUOTE_BYTES` before it, so that a user agent has the same context in
    each line.
    """
    before = text[start - BEFORE_BYTES : start] if start > BEFORE_BYTES else text[:start]
    first, quote = before.rfind(b"\n") + 1, before.rfind(b'"', 0, -QUOTE_BYTES)
    if first or quote > 0:
        before = before[max(first, quote) :]
    return before, text[start:end], text[end : end + AFTER_BYTES].partition(b'"')[0].partition(b"\n")[0]


@lru_cache(MAX_CACHED)
def address_offset(before: bytes, candidate: bytes, after: bytes) -> int | None:
    """Return the offset of the address in a candidate, after the digits of an escape; None if it is not an address.

    The candidate is four numbers of up to three digits, joined by dots; the context is as `window` returns it.
    """
    offset = _escape_digits(before, candidate)
    if offset is None:
        return None
    before, quad = before + candidate[:offset], candidate[offset:]
    if not _IS_QUAD.fullmatch(quad) or _is_continued(before, quad, after):
        return None
    is_rejected = _follows_ipv6_groups(before) or _is_mask(before, quad) or is_version(before, quad, after)
    return None if is_rejected else offset


def _escape_digits(before: bytes, candidate: bytes) -> int | None:
    """Return how many digits of a candidate end an escape; None if the candidate is part of a word."""
    last = before[-1:]
    if last == b"." and before[-2:] != b"..":
        return None
    if not last.isalnum() and last not in {b"_", b"%"}:
        return 0
    for count in reversed(range(len(candidate.partition(b".")[0]))):
        if ESCAPE.search((before + candidate[:count])[-MAX_ESCAPE_BYTES:]):
            return count
    return 0 if last == b"%" or (last == b"i" and BGP_STATUS.match(before)) else None


def _is_continued(before: bytes, quad: bytes, after: bytes) -> bool:
    """Return whether four numbers are the start of a word, a host name or a longer row of numbers."""
    if after[:1].isalnum() or after[:1] == b"_" or is_host_name(after):
        return True
    if not (after[:1] == b"." and after[1:2].isdigit()):
        return False
    port = _PORT.match(after)
    if not port or int(port[1]) > 0xFFFF:
        return True
    return _is_fifth_number(before, quad, after, int(port[1]))


def _is_fifth_number(before: bytes, quad: bytes, after: bytes, fifth: int) -> bool:
    """Return whether a fifth number belongs to an identifier or a version, rather than being a port."""
    if _FLOW_BEFORE.search(before) or _FLOW_AFTER.match(after):
        return False
    first, second, third, _ = map(int, quad.split(b"."))
    return (
        fifth <= 0xFF  # five octets
        or first <= 2  # an object identifier (X.660)
        or (second == third == 0 and _PROGRAM.search(before) is not None)  # Instagram 155.0.0.37.1079
        or PRODUCT.search(before) is not None
    )


def is_host_name(after: bytes) -> bool:
    """Return whether four numbers followed by these bytes are the start of a host name.

    >>> is_host_name(b".in-addr.arpa PTR"), is_host_name(b".log.1"), is_host_name(b".ssh > ")
    (True, False, False)
    """
    match = _HOST_NAME.match(after)
    if not match:
        return False
    suffix = refanged(match[0].decode()).encode().lower()
    labels = suffix[1:].rstrip(b"-").split(b".")
    # Rotated files end in a number (`.log.1`).
    while labels and labels[-1].isdigit():
        labels.pop()
    if (
        not labels
        or not labels[-1].replace(b"-", b"").isalnum()
        or labels[-1] in FILE_EXTENSIONS
        or labels[-1][:1].isdigit()
    ):
        return False
    return len(labels) > (2 if suffix.startswith(b"-") else 1) or (suffix[:1] == b"." and labels[0] in TOP_LABELS)


def _follows_ipv6_groups(before: bytes) -> bool:
    groups = _GROUPS_BEFORE.search(before[-40:]) if before.endswith(b":") else None
    return groups is not None and not _TIME.fullmatch(groups[1])


def follows_mask_word(before: bytes) -> bool:
    """Return whether the last word is one for masks, such as `netmask`."""
    return _MASK_WORD.search(word_before(before)[0]) is not None


def _is_mask(before: bytes, quad: bytes) -> bool:
    if not quad.startswith(FIRST_NUMBERS) and not quad.endswith(b".0"):
        return False
    octets = [*map(int, quad.split(b"."))]
    value = int.from_bytes(octets, "big")
    bits = f"{value:032b}"
    # Wildcard masks: zeros before ones.
    if octets[0] == 0 and value:
        return _AFTER_ADDRESS.search(before) is not None or ("10" not in bits and follows_mask_word(before))
    # In a mask, no one follows a zero.
    if "01" in bits:
        return False
    return (octets[0] == 0xFF and value != 0xFFFFFFFF) or follows_mask_word(before)
