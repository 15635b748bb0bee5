"""Rules that tell versions (`nginx 1.25.3.1`) from addresses, by the line around four numbers.

Some words and signs are conclusive (`version 198.0.0.1`). After others, the numbers must also be small, as
`is_version_like` and `is_small` define it. Numbers with a port or a prefix length are an address, unless a conclusive
word precedes them.
"""

from __future__ import annotations

import re
from functools import lru_cache

from geocli.batch.ipv4_boundaries import BEFORE_SMALL, BETWEEN, MAX_BETWEEN, WORDS

NEAR_BYTES = 24
"""Size of the context before four numbers that `is_product` needs."""
MAX_CACHED = 1000
"""Maximum number of cached results."""
NUMBER = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
QUAD = rb"(?:%b\.){3}%b" % (NUMBER, NUMBER)

_VERSION = re.compile(
    rb"(?i)(?:versions?(?:_?number|_?string)?(?: is)?|(?<![aeiourl])ver|(?<![a-z])(?:vers|rv)"
    rb"|(?<![a-z])(?:chrome|chromium|opera|brave|vivaldi|firefox|safari|electron)"
    rb"|(?<![a-z])(?:oid|object identifier)|Microsoft SMTP Server(?: \([^()]*\))? id)\Z"
)
"""Words that conclusively precede a version or an object identifier."""
_PROGRAMS = rb"openssl|openssh|php|python|perl|ruby|java|jdk|jre|tomcat|nginx|openresty|apache|gcc|glibc|linux"
_LIKELY_VERSION = re.compile(
    rb"(?i)(?<![a-z])(?:release|rel|rev|build|firmware|fw|software|sw|patch|hotfix|kernel|driver|bios|section|chapter|clause"
    rb"|%b)\Z" % _PROGRAMS
)
"""Words after which small numbers are a version."""
_ENDINGS = frozenset(word[-3:].encode() for word in WORDS)
"""The last three letters of all these words, for a quick test."""
_V = re.compile(rb"(?<![\w-])v\Z")
"""A single `v`, conclusive only before a colon or an equals sign."""
_CEF = re.compile(rb"(?:CEF|LEEF):[0-9.]+\|[^|]*\|[^|]*\|\Z")
"""A CEF or LEEF header, up to the device version."""

_LIKELY = (
    re.compile(rb"versions?\W{1,4}%b(?:\s(?:and|or|to|through)\s|\s?[-=]>\s?)\Z" % QUAD),
    re.compile(rb"\b(?:up|down)grad[a-z]*(?:\s[\w:.+-]+)??(?:\s(?:from|to))?(?:\s%b\s(?:to|->))?\s\(?\Z" % QUAD),
    re.compile(
        rb"(?::(?:amd64|arm64|armhf|i386|all|any)\s+\(?(?:\S+\s)?|<none>\s|\bover \("
        rb"|(?:setting up|unpacking|(?:re)?install(?:ing|ed)|upgraded|remov(?:ed|ing)|purging|processing"
        rb"|download(?:ed|ing)|fetched)\s\S+\s\(?|[a-z][\w.-]*/[a-z][\w./-]*:)\Z"
    ),
)
"""Lower-case context before versions in the logs of package managers and upgrades."""
_LIKELY_HINT = re.compile(
    rb"version|grad|64|armhf|i386|:all|:any|<none>|over|setting|pack|install|remov|purg|process|load|fetch|/"
)
"""Matches wherever one of `_LIKELY` may match, and is faster."""

_REQUIRED = re.compile(rb"([A-Za-z]+)?[\"'\])]*\s*(?:[=<>!~^]=|~>|\^)\s*[\"']?\Z")
"""A package requirement up to its version: `foo==`, `foo (>= `, `"foo": "^`."""
_SIGN = re.compile(rb"[=~^]")
_NAMED = re.compile(rb"([A-Za-z][A-Za-z0-9]*)-\Z")
_ADDRESS_WORDS = frozenset(
    b"ip ipv4 addr address host client server peer node src dst source destination dest from to net network subnet gw "
    b"gateway dns ns router remote local nat vip pool range block ban deny allow ptr session user conn connection web "
    b"mail mx proxy worker vm".split()
)
"""Names that are joined to an address, or compared with one, rather than with a version."""
_REVISION = re.compile(
    rb"(?i)\+(?:[0-9]|dfsg|ds|deb|git|svn|b[0-9]|nmu|build|ubuntu)|~(?!%b)[0-9a-z]"
    rb"|-(?!%b)(?:[0-9]|r[0-9]|rc|alpha|beta|pre|dev|git|snapshot|final|release|ga\b|el[0-9]|fc[0-9]"
    rb"|deb|ubuntu|microsoft|generic)" % (QUAD, QUAD)
)
"""Revision after the version of a package."""

_BEFORE_PRODUCT = rb"(?:\A|[^\w/\\:.@-])"
PRODUCT = re.compile(_BEFORE_PRODUCT + rb"([A-Za-z][\w.-]*)\\?/\Z")
"""A product name and the slash before its version (RFC 9110, 10.1.5): `Chrome/126.0.0.0`; in JSON `Chrome\\/`."""
_PRODUCT_NEAR = re.compile(rb"[^\w/\\:.@-]([A-Za-z][\w.-]*)\\?/\Z")
_ZEROS = re.compile(rb"/%b\.%b\.0\.0[^:(/\w]\Z" % (NUMBER, NUMBER))
_VERSIONED = rb"(?!HTTP)[A-Za-z][\w.-]*\\?/[0-9]+(?:\.[0-9]+){1,3}"
_COMMENTS = rb"(?:\([^()]*\)[\s+]*)*"
_PRODUCT_BEFORE = re.compile(rb"%b%b[\s+;,]+%b\Z" % (_BEFORE_PRODUCT, _VERSIONED, _COMMENTS))
_PRODUCT_AFTER = re.compile(rb"(?:[-~+][\w.]+)?[\s+;,]+%b%b(?![.\w])" % (_COMMENTS, _VERSIONED))
"""A neighbouring product, such as `Safari/537.36`, whose version cannot be an address."""
_IS_PROGRAM = re.compile(_PROGRAMS + rb"|kernel")
_HEADER = re.compile(
    rb"(?i)(?:version|server|user[-_]?agent|x-powered-by|x-mailer|product|agent|ua)[\"'\\]*\s*[:=]\s*[\"'\\]*\Z"
)
_ADDRESS_SUFFIX = re.compile(rb":[0-9]|\(|/[0-9]{1,5}(?!\w|\.\w)")
"""A port or a prefix length, which versions do not have."""


@lru_cache(MAX_CACHED)
def is_product(near: bytes, size: int) -> bool:
    """Return whether four numbers are a product version that ends in `.0.0`, as in most user agents.

    `is_version` gives the same answer for these, but needs more of the line. `near` is `NEAR_BYTES` before the numbers,
    the numbers, whose length in bytes is `size`, and the byte after them.
    """
    product = _PRODUCT_NEAR.search(near[: -size - 1])
    return product is not None and not product[1].islower() and _ZEROS.search(near) is not None


def word_before(before: bytes) -> tuple[bytes, bytes]:
    """Split a context into the text up to its last word, and the bytes of `BETWEEN` after that word."""
    word = before[:-MAX_BETWEEN] + before[-MAX_BETWEEN:].rstrip(BETWEEN)
    return word, before[len(word) :]


def is_version(before: bytes, quad: bytes, after: bytes) -> bool:
    """Return whether four numbers are a version, by the context before and after them in their line."""
    if _follows_version_word(before) or (before.endswith(b"|") and _CEF.search(before)):
        return True
    if _ADDRESS_SUFFIX.match(after):
        return False
    if before.endswith(b"/") and (product := PRODUCT.search(before)) and _is_after_product(product, quad, after):
        return True
    if is_small(quad) and (_is_likely(before) or _follows_version_word(before, _LIKELY_VERSION)):
        return True
    return is_version_like(quad) and _is_of_package(before, quad, after)


def _is_after_product(product: re.Match[bytes], quad: bytes, after: bytes) -> bool:
    """Return whether numbers after a name and a slash are a version, by the name or by a suffix like `-rc1`."""
    has_suffix = after[:1] in b"-+~" and after[1:2].isalnum()
    return _is_of_product(product, quad, after) or (has_suffix and is_version_like(quad))


def _follows_version_word(before: bytes, words: re.Pattern[bytes] = _VERSION) -> bool:
    """Return whether the last word of a context is one for versions."""
    word, between = word_before(before)
    last = word[-3:].lower()
    if not {last, last[1:], last[2:]} & _ENDINGS:
        return False
    if (match := words.search(word)) is not None:
        # `kernel:` is the program that logged the line.
        return not (match[0].lower() == b"kernel" and b":" in between)
    return words is _VERSION and (b":" in between or b"=" in between) and _V.search(word) is not None


def _is_likely(before: bytes) -> bool:
    if before[-1:] not in BEFORE_SMALL:
        return False
    before = before.lower()
    return _LIKELY_HINT.search(before) is not None and any(rule.search(before) for rule in _LIKELY)


def is_small(quad: bytes) -> bool:
    """Return whether no quad has three digits and the first is not 10, which is likely only in versions."""
    return all(len(octet) < 3 for octet in quad.split(b".")) and not quad.startswith(b"10.")


def is_version_like(quad: bytes) -> bool:
    """Return whether such numbers occur more often in versions than in addresses."""
    first, *rest = quad.split(b".")
    return len(first) < 3 and int(first) < 64 and first != b"10" and sum(len(octet) > 2 for octet in rest) <= 1


def _is_of_product(product: re.Match[bytes], quad: bytes, after: bytes) -> bool:
    """Return whether numbers are the version of a product, rather than an address after a name and a slash.

    They are if they follow a header name or a well-known program; or if the product's name has a capital letter, and
    the numbers end in zeros, other products are next to it, or it begins a quoted string.
    """
    rest = product.string[: product.start(1)]
    if _HEADER.search(rest):
        return True
    if product[1].islower():
        return is_version_like(quad) and _IS_PROGRAM.fullmatch(product[1]) is not None
    is_first = product[1].isalpha() and product[0].startswith((b'"', b"'"))
    if quad.endswith(b".0.0") or (is_first and is_version_like(quad)):
        return True
    if int(quad.partition(b".")[0]) > 63 and b".0.0" not in quad:
        return False
    return _PRODUCT_BEFORE.search(rest) is not None or _PRODUCT_AFTER.match(after) is not None


def _is_of_package(before: bytes, quad: bytes, after: bytes) -> bool:
    """Return whether numbers are the version of a package: `git-1.8.3.1`, `foo==1.2.3.4`, `1.2.3.4-1.el9`."""
    name_match = _NAMED.search(before) if before.endswith(b"-") else None
    requirement = _REQUIRED.search(before) if _SIGN.search(before[-4:]) else None
    name = (name_match and name_match[1]) or (requirement and requirement[1]) or b""
    if name.lower() in _ADDRESS_WORDS:
        return False
    if name_match or (requirement and _is_compared(before[-1:], quad)):
        return True
    return after[:1] in (b"-", b"+", b"~") and _REVISION.match(after) is not None


def _is_compared(last: bytes, quad: bytes) -> bool:
    """Return whether numbers are compared like versions, by the byte before them."""
    return last in b"=^" or (is_small(quad) and last in BEFORE_SMALL)
