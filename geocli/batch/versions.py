"""Which four numbers are a version, by their line.

Some words and signs are certain (`version 198.0.0.1`); where what stands around is only likely to be that of a version,
the numbers must look like one, too: small, as `is_version_like` and `is_small` say. What has a port or the length of a
prefix behind it is an address, unless a certain word is before it.
"""

from __future__ import annotations

import re
from functools import lru_cache

from geocli.batch.boundaries import BEFORE_SMALL, BETWEEN, MAX_BETWEEN, WORDS

NEAR_BYTES = 24
MAX_REMEMBERED = 1000
NUMBER = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
QUAD = rb"(?:%b\.){3}%b" % (NUMBER, NUMBER)

_VERSION = re.compile(
    rb"(?i)(?:versions?(?:_?number|_?string)?(?: is)?|(?<![aeiourl])ver|(?<![a-z])(?:vers|rv)"
    rb"|(?<![a-z])(?:chrome|chromium|opera|brave|vivaldi|firefox|safari|electron)"
    rb"|(?<![a-z])(?:oid|object identifier)|Microsoft SMTP Server(?: \([^()]*\))? id)\Z"
)
"""Says that what follows is a version, or an object identifier."""
_PROGRAMS = rb"openssl|openssh|php|python|perl|ruby|java|jdk|jre|tomcat|nginx|openresty|apache|gcc|glibc|linux"
_RATHER = re.compile(
    rb"(?i)(?<![a-z])(?:release|rel|rev|build|firmware|fw|software|sw|patch|hotfix|kernel|driver|bios|section|chapter|clause"
    rb"|%b)\Z" % _PROGRAMS
)
"""Says that what follows is likely to be one."""
_ENDINGS = frozenset(word[-3:].encode() for word in WORDS)
"""One of these is at the end of any such word."""
_V = re.compile(rb"(?<![\w-])v\Z")
"""Says so before a colon or an equals sign."""
_CEF = re.compile(rb"(?:CEF|LEEF):[0-9.]+\|[^|]*\|[^|]*\|\Z")
"""The header of CEF or LEEF, up to the version of the device."""

_LIKELY = (
    re.compile(rb"versions?\W{1,4}%b(?:\s(?:and|or|to|through)\s|\s?[-=]>\s?)\Z" % QUAD),
    re.compile(rb"\b(?:up|down)grad[a-z]*(?:\s[\w:.+-]+)??(?:\s(?:from|to))?(?:\s%b\s(?:to|->))?\s\(?\Z" % QUAD),
    re.compile(
        rb"(?::(?:amd64|arm64|armhf|i386|all|any)\s+\(?(?:\S+\s)?|<none>\s|\bover \("
        rb"|(?:setting up|unpacking|(?:re)?install(?:ing|ed)|upgraded|remov(?:ed|ing)|purging|processing"
        rb"|download(?:ed|ing)|fetched)\s\S+\s\(?|[a-z][\w.-]*/[a-z][\w./-]*:)\Z"
    ),
)
"""What has these before it, in small letters, is likely to be a version: what package managers and upgrades write."""
_HINT = re.compile(
    rb"version|grad|64|armhf|i386|:all|:any|<none>|over|setting|pack|install|remov|purg|process|load|fetch|/"
)
"""Without one of these, none of `_LIKELY` matches: that is seen sooner."""

_REQUIRED = re.compile(rb"([A-Za-z]+)?[\"'\])]*\s*(?:[=<>!~^]=|~>|\^)\s*[\"']?\Z")
"""What a requirement has before a version: `foo==`, `foo (>= `, `"foo": "^`."""
_SIGN = re.compile(rb"[=~^]")
_NAMED = re.compile(rb"([A-Za-z][A-Za-z0-9]*)-\Z")
_ADDRESS_WORDS = frozenset(
    b"ip ipv4 addr address host client server peer node src dst source destination dest from to net network subnet gw "
    b"gateway dns ns router remote local nat vip pool range block ban deny allow ptr session user conn connection web "
    b"mail mx proxy worker vm".split()
)
"""Names to which an address, rather than a version, is joined or compared."""
_REVISION = re.compile(
    rb"(?i)\+(?:[0-9]|dfsg|ds|deb|git|svn|b[0-9]|nmu|build|ubuntu)|~(?!%b)[0-9a-z]"
    rb"|-(?!%b)(?:[0-9]|r[0-9]|rc|alpha|beta|pre|dev|git|snapshot|final|release|ga\b|el[0-9]|fc[0-9]"
    rb"|deb|ubuntu|microsoft|generic)" % (QUAD, QUAD)
)
"""What goes on behind the version of a package."""

_BEFORE_PRODUCT = rb"(?:\A|[^\w/\\:.@-])"
PRODUCT = re.compile(_BEFORE_PRODUCT + rb"([A-Za-z][\w.-]*)\\?/\Z")
"""What may stand before the version of a product (RFC 9110, 10.1.5), as in `Chrome/126.0.0.0`; in JSON `Chrome\\/`."""
_PRODUCT_NEAR = re.compile(rb"[^\w/\\:.@-]([A-Za-z][\w.-]*)\\?/\Z")
_ZEROS = re.compile(rb"/%b\.%b\.0\.0[^:(/\w]\Z" % (NUMBER, NUMBER))
_VERSIONED = rb"(?!HTTP)[A-Za-z][\w.-]*\\?/[0-9]+(?:\.[0-9]+){1,3}"
_COMMENTS = rb"(?:\([^()]*\)[\s+]*)*"
_PRODUCT_BEFORE = re.compile(rb"%b%b[\s+;,]+%b\Z" % (_BEFORE_PRODUCT, _VERSIONED, _COMMENTS))
_PRODUCT_AFTER = re.compile(rb"(?:[-~+][\w.]+)?[\s+;,]+%b%b(?![.\w])" % (_COMMENTS, _VERSIONED))
"""Another product beside it, whose version certainly is no address, as in `Safari/537.36`."""
_IS_PROGRAM = re.compile(_PROGRAMS + rb"|kernel")
_HEADER = re.compile(
    rb"(?i)(?:version|server|user[-_]?agent|x-powered-by|x-mailer|product|agent|ua)[\"'\\]*\s*[:=]\s*[\"'\\]*\Z"
)
_GOES_ON = re.compile(rb":[0-9]|\(|/[0-9]{1,5}(?!\w|\.\w)")
"""Behind an address, not behind a version: a port, or the length of a prefix."""


@lru_cache(MAX_REMEMBERED)
def is_product(near: bytes, size: int) -> bool:
    """Return whether a number certainly is the version of a product that ends in zeros, as most user agents have one.

    `is_version` says the same, but looks at more of the line.

    Args:
        near: `NEAR_BYTES` before the number, the number, and the byte behind it.
        size: how many bytes the number has.

    """
    product = _PRODUCT_NEAR.search(near[: -size - 1])
    return product is not None and not product[1].islower() and _ZEROS.search(near) is not None


def word_before(before: bytes) -> tuple[bytes, bytes]:
    """Return a text up to the word at its end, and what stands between that and the end."""
    word = before[:-MAX_BETWEEN] + before[-MAX_BETWEEN:].rstrip(BETWEEN)
    return word, before[len(word) :]


def is_version(before: bytes, number: bytes, after: bytes) -> bool:
    """Return whether four numbers are a version, by what their line has before and after them."""
    if _is_said(before) or (before.endswith(b"|") and _CEF.search(before)):
        return True
    if _GOES_ON.match(after):
        return False
    if before.endswith(b"/") and (product := PRODUCT.search(before)) and _is_after_product(product, number, after):
        return True
    if is_small(number) and (_is_likely(before) or _is_said(before, _RATHER)):
        return True
    return is_version_like(number) and _is_of_package(before, number, after)


def _is_after_product(product: re.Match[bytes], number: bytes, after: bytes) -> bool:
    """Return whether a number after a name and a slash is a version, by the name or by a suffix like `-rc1`."""
    has_suffix = after[:1] in b"-+~" and after[1:2].isalnum()
    return _is_of_product(product, number, after) or (has_suffix and is_version_like(number))


def _is_said(before: bytes, words: re.Pattern[bytes] = _VERSION) -> bool:
    """Return whether the word before a candidate says that it is a version."""
    word, between = word_before(before)
    last = word[-3:].lower()
    if not {last, last[1:], last[2:]} & _ENDINGS:
        return False
    if (found := words.search(word)) is not None:
        return not (found[0].lower() == b"kernel" and b":" in between)  # which logs what follows
    return words is _VERSION and (b":" in between or b"=" in between) and _V.search(word) is not None


def _is_likely(before: bytes) -> bool:
    if before[-1:] not in BEFORE_SMALL:
        return False
    before = before.lower()
    return _HINT.search(before) is not None and any(rule.search(before) for rule in _LIKELY)


def is_small(number: bytes) -> bool:
    """Return whether numbers are most likely those of a version: none has three digits, and the first is not 10."""
    return all(len(octet) < 3 for octet in number.split(b".")) and not number.startswith(b"10.")


def is_version_like(number: bytes) -> bool:
    """Return whether numbers are more often those of a version than those of an address."""
    first, *others = number.split(b".")
    return len(first) < 3 and int(first) < 64 and first != b"10" and sum(len(octet) > 2 for octet in others) <= 1


def _is_of_product(product: re.Match[bytes], number: bytes, after: bytes) -> bool:
    """Return whether a number is the version of a product, rather than an address behind a name and a slash.

    It is behind the name of a header or of a well-known program; or the product's name has a capital letter, and the
    version ends in zeros, or there are other products beside it, or a text in quotes begins with it.
    """
    rest = product.string[: product.start(1)]
    if _HEADER.search(rest):
        return True
    if product[1].islower():
        return is_version_like(number) and _IS_PROGRAM.fullmatch(product[1]) is not None
    is_first = product[1].isalpha() and product[0].startswith((b'"', b"'"))
    if number.endswith(b".0.0") or (is_first and is_version_like(number)):
        return True
    if int(number.partition(b".")[0]) > 63 and b".0.0" not in number:
        return False
    return _PRODUCT_BEFORE.search(rest) is not None or _PRODUCT_AFTER.match(after) is not None


def _is_of_package(before: bytes, number: bytes, after: bytes) -> bool:
    """Return whether a number is the version of a package: `git-1.8.3.1`, `foo==1.2.3.4`, `1.2.3.4-1.el9`."""
    named = _NAMED.search(before) if before.endswith(b"-") else None
    required = _REQUIRED.search(before) if _SIGN.search(before[-4:]) else None
    name = (named and named[1]) or (required and required[1]) or b""
    if name.lower() in _ADDRESS_WORDS:
        return False
    if named or (required and _is_compared(before[-1:], number)):
        return True
    return after[:1] in (b"-", b"+", b"~") and _REVISION.match(after) is not None


def _is_compared(last: bytes, number: bytes) -> bool:
    """Return whether a number is compared as versions are, by the byte before it."""
    return last in b"=^" or (is_small(number) and last in BEFORE_SMALL)
