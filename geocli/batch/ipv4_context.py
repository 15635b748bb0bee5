r"""What the surroundings of a candidate decide: the second part of the definition of an IPv4 address in a text.

`verdict` is a function of the candidate and of its `window`, and nothing else; its results are remembered by these,
since the same few programs write most lines. Its rules, in their order:

1. An escape may end where the address begins: `\t`, `\u003c`, `%2F`, `#011`, a colour; so may the status letter of a
   BGP table (`*>i`). Anything else that is part of a word, or one dot, keeps a candidate from being an address.
2. The candidate is four numbers up to 255 without leading zeros.
3. A fifth number is a port (tcpdump, BSD netstat) if it is from 1 to 65535 and no sixth follows. If it is less
   than 256, or the first is less than 3, as in an object identifier, it is one only where a program shows a flow.
4. A host name may begin with an address (`4.3.2.1.in-addr.arpa`, `192.0.2.1-static.example.net`); it is none. A word
   behind a dot is the name of a service, the ending of a file, or the next sentence: the candidate is an address.
5. Two or more groups of an IPv6 address before it make it the half of something that is no address; a time does not.
6. Masks (`255.255.255.0`) and wildcard masks behind an address (`0.0.0.255`) are no addresses.
7. A version is none: behind a word that says so, in a user agent, in a package's name or log, in a header of CEF.
   `geocli.batch.versions` has these rules.
"""

from __future__ import annotations

import re
from functools import lru_cache

from geocli.addresses import DEFANGED, refanged
from geocli.batch.boundaries import FIRST_NUMBERS
from geocli.batch.versions import PRODUCT, QUAD, is_version, word_before

BEFORE_BYTES, AFTER_BYTES = 80, 80
"""Bytes before and behind a candidate that decide what it is."""
QUOTE_BYTES = 24
"""Bytes before a candidate in which what is before a quote still counts."""
MAX_REMEMBERED = 2000

DOT = rb"(?i:\.|%b)" % rb"|".join(re.escape(text).encode() for text, plain in DEFANGED.items() if plain == ".")
_IS_QUAD = re.compile(QUAD)

_CONTROL = rb"(?:\x1b|\\(?:u001[Bb]|x1[Bb]|e|033)|#033|%1[Bb]|\^\[)\[[0-9;]*[A-Za-z]"
_PUNCTUATION = rb"(?:0[9ADad]|2[0-9A-Fa-f]|3[A-Fa-f]|40|5[B-Eb-e]|60|7[B-Eb-e])"
ESCAPE = re.compile(
    rb"(?:\\(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|[0-3][0-7]{2}|[abefnrtv])"  # JSON, C
    rb"|%%(?:25)*%b|=%b"  # URLs (RFC 3986), mails (RFC 2045, 6.7)
    rb"|\#0[0-3][0-7]|\^[A-Z]|%b)\Z" % (_PUNCTUATION, _PUNCTUATION, _CONTROL)  # rsyslog, cat -A, ECMA-48
)
"""A character that is written as several, or a change of colour, with nothing behind it."""
MAX_ESCAPE_BYTES = 24
BGP_STATUS = re.compile(rb"(?:(?=.*[*>])[ *>=abcdfhmrstxRS]*|[dhrsRS] )i\Z")
"""What `show ip bgp` writes at the start of a line, up to the letter for an internal route."""

_HOST_NAME = re.compile(rb"(?:%b|-)\w[\w-]*(?:%b[\w-]+)*" % (DOT, DOT))
TOP_LABELS = frozenset(b"arpa com net org edu gov mil int local localdomain lan internal onion".split())
"""A single label behind four numbers that makes a host name of them."""
FILE_ENDINGS = frozenset(
    b"gz bz2 xz zst lz4 zip tar tgz log txt csv tsv json jsonl xml html htm php pcap pcapng cap conf cfg ini yaml "
    b"yml bak old orig tmp swp db sqlite rrd pdf png jpg svg key pem crt cer csr pub service sock pid lock dat bin err "
    b"out".split()
)
"""The last label of a file's name, rather than of a host's."""

_PORT = re.compile(rb"\.([1-9][0-9]{0,4})(?!\w|\.\w)")
_FLOW_BEFORE = re.compile(
    rb"[<>]\s*\Z|\bIP6?\s\Z|\A\s*(?:tcp|udp)\w*\s+[0-9]+\s+[0-9]+\s+\Z|%b\.[0-9]{1,5}\s+(?:to\s+)?\Z" % QUAD
)
_FLOW_AFTER = re.compile(rb"\.[0-9]+(?:\s*-?[<>]|\s+\*\.|\s+(?:to\s+)?%b\.[0-9])" % QUAD)
"""What tcpdump and netstat write around an address with a port behind a dot."""
_PROGRAM = re.compile(rb"[A-Z][A-Za-z]+ \Z")

_HALF = re.compile(rb"(?<![\w.])((?:[0-9A-Fa-f]{1,4}:){2,})\Z")
_TIME = re.compile(rb"(?:[0-9]{1,2}:){2,3}")

_MASK_WORD = re.compile(rb"(?i)(?:mask|wildcard)(?:[ _-]bits)?(?: is)?\Z")
_BEHIND_ADDRESS = re.compile(rb"%b[\s,]+\Z" % QUAD)


def window(text: bytes, start: int, end: int) -> tuple[bytes, bytes, bytes]:
    """Return what `verdict` needs: a candidate with what is around it, no more than is needed.

    That is `BEFORE_BYTES` and `AFTER_BYTES` at the most, of its line; up to a quote behind it; and from a quote that is
    more than `QUOTE_BYTES` before it. So a user agent has the same surroundings in each line.
    """
    before = text[start - BEFORE_BYTES : start] if start > BEFORE_BYTES else text[:start]
    first, quote = before.rfind(b"\n") + 1, before.rfind(b'"', 0, -QUOTE_BYTES)
    if first or quote > 0:
        before = before[max(first, quote) :]
    return before, text[start:end], text[end : end + AFTER_BYTES].partition(b'"')[0].partition(b"\n")[0]


@lru_cache(MAX_REMEMBERED)
def verdict(before: bytes, number: bytes, after: bytes) -> int | None:
    """Return how many digits of a candidate belong to an escape before it, None if it is no address.

    Args:
        before: what `window` returns of its line before it.
        number: the candidate.
        after: what `window` returns of its line behind it.

    """
    skipped = _skipped(before, number)
    if skipped is None:
        return None
    before, number = before + number[:skipped], number[skipped:]
    if not _IS_QUAD.fullmatch(number) or _runs_on(before, number, after):
        return None
    is_none = _is_half(before) or _is_mask(before, number) or is_version(before, number, after)
    return None if is_none else skipped


def _skipped(before: bytes, number: bytes) -> int | None:
    last = before[-1:]
    if last == b"." and before[-2:] != b"..":
        return None
    if not last.isalnum() and last not in {b"_", b"%"}:
        return 0
    for count in reversed(range(len(number.partition(b".")[0]))):
        if ESCAPE.search((before + number[:count])[-MAX_ESCAPE_BYTES:]):
            return count
    return 0 if last == b"%" or (last == b"i" and BGP_STATUS.match(before)) else None


def _runs_on(before: bytes, number: bytes, after: bytes) -> bool:
    """Return whether a candidate is the beginning of something longer."""
    if after[:1].isalnum() or after[:1] == b"_" or is_host_name(after):
        return True
    if not (after[:1] == b"." and after[1:2].isdigit()):
        return False
    port = _PORT.match(after)
    if not port or int(port[1]) > 0xFFFF:
        return True
    return _has_fifth_number(before, number, after, int(port[1]))


def _has_fifth_number(before: bytes, number: bytes, after: bytes, fifth: int) -> bool:
    """Return whether a fifth number is part of something longer, rather than a port."""
    if _FLOW_BEFORE.search(before) or _FLOW_AFTER.match(after):
        return False
    first, second, third, _ = map(int, number.split(b"."))
    return (
        fifth <= 0xFF  # five octets
        or first <= 2  # an object identifier (X.660)
        or (second == third == 0 and _PROGRAM.search(before) is not None)  # Instagram 155.0.0.37.1079
        or PRODUCT.search(before) is not None
    )


def is_host_name(after: bytes) -> bool:
    """Return whether what stands behind an address makes a host name of it.

    >>> is_host_name(b".in-addr.arpa PTR"), is_host_name(b".log.1"), is_host_name(b".ssh > ")
    (True, False, False)
    """
    found = _HOST_NAME.match(after)
    if not found:
        return False
    text = refanged(found[0].decode()).encode().lower()
    labels = text[1:].rstrip(b"-").split(b".")
    while labels and labels[-1].isdigit():
        labels.pop()
    if (
        not labels
        or not labels[-1].replace(b"-", b"").isalnum()
        or labels[-1] in FILE_ENDINGS
        or labels[-1][:1].isdigit()
    ):
        return False
    return len(labels) > (2 if text.startswith(b"-") else 1) or (text[:1] == b"." and labels[0] in TOP_LABELS)


def _is_half(before: bytes) -> bool:
    groups = _HALF.search(before[-40:]) if before.endswith(b":") else None
    return groups is not None and not _TIME.fullmatch(groups[1])


def is_behind_mask_word(before: bytes) -> bool:
    """Return whether a word says that a mask follows."""
    return _MASK_WORD.search(word_before(before)[0]) is not None


def _is_mask(before: bytes, number: bytes) -> bool:
    if not number.startswith(FIRST_NUMBERS) and not number.endswith(b".0"):
        return False
    octets = [*map(int, number.split(b"."))]
    value = int.from_bytes(octets, "big")
    bits = f"{value:032b}"
    if octets[0] == 0 and value:
        return _BEHIND_ADDRESS.search(before) is not None or ("10" not in bits and is_behind_mask_word(before))
    if "01" in bits:
        return False
    return (octets[0] == 0xFF and value != 0xFFFFFFFF) or is_behind_mask_word(before)
