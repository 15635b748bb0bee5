"""Addresses in any text: logs, mails, configuration files."""

from __future__ import annotations

import re
from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    Spans: TypeAlias = list[tuple[int, int]]

_NUMBER = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rb"(?:%b\.){3}%b" % (_NUMBER, _NUMBER)
_GROUP = rb"[0-9A-Fa-f]{1,4}"
_IPV6 = (
    rb"(?!(?:[0-9A-Fa-f]{2}:){7}[0-9A-Fa-f]{2}(?![0-9A-Fa-f]))"
    rb"(?:(?:%(group)b:){7}%(group)b|(?:%(group)b:){6}%(ipv4)b"
    rb"|(?:%(group)b(?::%(group)b){0,6})?::(?:(?:%(group)b:){0,5}%(ipv4)b|%(group)b(?::%(group)b){0,6})?)"
    rb"(?:%%[0-9A-Za-z_.-]{0,30}[0-9A-Za-z_])?"
) % {b"group": _GROUP, b"ipv4": _IPV4}
ADDRESS = re.compile(rb"(?<![\w.])(?:(?<![0-9A-Fa-f:]:)%b|%b)(?!\w|\.[0-9])" % (_IPV6, _IPV4))
"""An address that nothing runs into: `185.1.2.3` has no `85.1.2.3` in it, and `1.2.3.4.5` none at all. Eight numbers of
two digits each are of hardware (EUI-64, or EUI-48 in a row, as netfilter shows them)."""
_BEFORE_PRODUCT = rb"(?:\A|[^\w/\\:.@-])"
PRODUCT = re.compile(_BEFORE_PRODUCT + rb"([A-Za-z][\w.-]*)\\?/\Z")
"""What may stand before the version of a product (RFC 9110, 10.1.5), as in `Chrome/126.0.0.0`; in JSON `Chrome\\/`."""
OTHER_PRODUCT = re.compile(_BEFORE_PRODUCT + rb"(?!HTTP)[A-Za-z][\w.-]*\\?/[0-9]+(?:\.[0-9]+){0,2}(?![.\w])")
"""A product whose version certainly is no address, as in `Safari/537.36`."""
BRANDS = (b';v="', b';v=\\"')
"""What stands before the version of a brand (User-Agent Client Hints), as in `"Chrome";v="126.0.0.0"`, also in JSON."""
NETWORK = re.compile(rb"/[0-9]{1,3}(?!\w|\.\w)")
"""What stands behind the first address of a network."""
COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
"""Sets the colour of what follows (ECMA-48, 8.3.117); its last letter is no part of a word."""
BEFORE_BYTES, AFTER_BYTES, MOST_KNOWN = 80, 16, 1000
"""So much around a number tells whether it is a version; of so many such texts it is known, since most visitors have
the same few browsers."""
SMALL_BYTES = 4096
"""A shorter text is searched without numpy."""

_WORD = b"_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MARGIN = b"    "
_RUN = rb"[0-9A-Fa-f:.]*"
_BEFORE, _AFTER = re.compile(_RUN + rb"\Z"), re.compile(_RUN)
MOST_RUN_BYTES = 64
"""No address is longer."""
MOST_ZONE_BYTES = 40
"""Nor the name of a network interface, which may stand behind it."""


def spans(text: bytes) -> Spans:
    """Return where the addresses of a text begin and end; versions of products are none."""
    if b"\x1b[" in text:
        text = COLOUR.sub(lambda match: b" " * len(match[0]), text)
    return _spans(text) if len(text) > SMALL_BYTES else _simply(text)


def _simply(text: bytes) -> Spans:
    return _no_versions(text, _matched(text, [(0, len(text))]))


def _no_versions(text: bytes, found: Iterable[tuple[int, int]]) -> Spans:
    return [
        (start, end)
        for start, end in found
        if text[start - 1 : start] not in b'/"' or not _is_version(text, start, end)
    ]


def _is_version(text: bytes, start: int, end: int) -> bool:
    first = max(start - BEFORE_BYTES, 0)
    return _has_version(text[first : end + AFTER_BYTES], start - first, end - first)


@lru_cache(MOST_KNOWN)
def _has_version(text: bytes, start: int, end: int) -> bool:
    """Tell whether a number is the version of a product, rather than an address behind a name and a slash.

    The name of a product has a capital letter; and the version ends in zeros, or there are other products beside it, or
    a user agent in quotes begins with it. What has a port or the length of a prefix behind it is an address.
    """
    before, number, after = text[:start].rpartition(b"\n")[2], text[start:end], text[end:].partition(b"\n")[0]
    if before.endswith(BRANDS):
        return True
    product = PRODUCT.search(before)
    if not product or product[1].islower() or after.startswith((b":", b"(")) or NETWORK.match(after) or b":" in number:
        return False
    is_first = product[1].isalpha() and product[0].startswith((b'"', b"'"))
    is_among_others = OTHER_PRODUCT.search(before, 0, product.start(1)) or OTHER_PRODUCT.match(after)
    return number.endswith(b".0.0") or is_first or bool(is_among_others)


def _spans(text: bytes) -> Spans:
    """Look only where an address may be: around three dots, or around two colons together, or six."""
    import numpy as np

    octets = np.frombuffer(b"%b%b%b" % (_MARGIN, text, _MARGIN), np.uint8)
    runs = _runs(text, np.flatnonzero(octets == ord(":")) - len(_MARGIN))
    found = _quads(text, octets, np.flatnonzero(octets == ord(".")))
    if not runs:
        return found
    matched = _matched(text, runs)
    is_inside = bytearray(len(text))
    for start, end in (*runs, *matched):
        is_inside[start:end] = b"\1" * (end - start)
    return sorted([*(span for span in found if not is_inside[span[0]]), *_no_versions(text, matched)])


def _matched(text: bytes, runs: Iterable[tuple[int, int]]) -> Spans:
    """Return the addresses that begin in some parts of a text, in their order; a zone may go on behind them."""
    found: Spans = []
    last = 0
    for start, end in runs:
        for match in ADDRESS.finditer(text, max(start, last), min(end + MOST_ZONE_BYTES, len(text))):
            if match.start() < end:
                found.append(match.span())
                last = match.end()
    return found


def _quads(text: bytes, octets: NDArray[np.uint8], dots: NDArray[np.intp]) -> Spans:
    """Return what could be IPv4 addresses by their dots and ends; whether they are is seen when they are read.

    Versions are none.
    """
    import numpy as np

    gaps = np.diff(dots)
    is_near = (gaps >= 2) & (gaps <= 4)
    at = np.flatnonzero(is_near[:-1] & is_near[1:])
    first, third = dots[at], dots[at + 2]
    starts, ends = first - _digits(octets, first, -1), third + _digits(octets, third, 1) + 1
    before, after = octets[starts - 1], octets[ends]
    is_number = (after == ord(".")) & _is_digit(octets[ends + 1])
    is_word = np.zeros(256, np.bool_)
    is_word[list(_WORD)] = True
    is_free = ~(is_word[before] | (before == ord(".")) | is_word[after] | is_number)
    is_free &= (starts < first) & (ends > third + 1)
    is_brand = (before == ord('"')) & np.isin(octets[starts - 2], (ord("="), ord("\\")))
    doubtful = np.flatnonzero(is_free & ((before == ord("/")) | is_brand))
    starts, ends = starts - len(_MARGIN), ends - len(_MARGIN)
    spans = zip(starts[doubtful].tolist(), ends[doubtful].tolist(), strict=True)
    is_free[doubtful] = [not _is_version(text, *span) for span in spans]
    return list(zip(starts[is_free].tolist(), ends[is_free].tolist(), strict=True))


def _digits(octets: NDArray[np.uint8], dots: NDArray[np.intp], step: int) -> NDArray[np.intp]:
    """Count the digits, three at most, before or after dots."""
    one, two, three = (_is_digit(octets[dots + step * distance]) for distance in (1, 2, 3))
    return one.astype(int) + (one & two) + (one & two & three)


def _is_digit(octets: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return octets - ord("0") < 10


def _runs(text: bytes, colons: NDArray[np.intp]) -> Spans:
    """Return the runs of letters of addresses around two colons together, or around six."""
    import numpy as np

    gaps = np.diff(colons)
    is_near = (gaps >= 2) & (gaps <= 5)
    is_anchor = gaps == 1
    if len(gaps) >= 5:
        is_anchor[4:] |= np.lib.stride_tricks.sliding_window_view(is_near, 5).all(axis=1)
    runs: dict[int, int] = {}
    end = 0
    for at in colons[1:][is_anchor].tolist():
        if at >= end:
            start = next(match.start() for match in _BEFORE.finditer(text, max(at - MOST_RUN_BYTES, 0), at))
            runs[start] = end = next(_AFTER.finditer(text, at)).end()
    return list(runs.items())
