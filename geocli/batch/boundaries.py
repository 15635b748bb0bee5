"""What the characters beside a candidate decide: the first part of the definition of an IPv4 address in a text.

A candidate is four numbers of up to three digits with dots between them. Two tables, indexed by the two bytes before
it and by the two behind it, decide most candidates: `NO`, or `YES` unless one of these makes more of the line decide:

* the last three letters of the word before it are those of one of `WORDS`, with at most `MAX_BETWEEN` bytes between,
* its first number is one of `FIRST_NUMBERS`,
* no number has three digits, the first is not 10, and one of `SMALL_BEHIND` is before it: it may be a version.

That, and what the tables leave open (`ASK`), is for `geocli.batch.ipv4_context`; the kernel sees by itself where a
slash or a colon before a candidate does not matter. Neither contradicts it: a test compares them on any bytes. A text
begins and ends with an empty line.
"""

from __future__ import annotations

from itertools import product

YES, NO, ASK = range(3)
"""Nothing beside a candidate keeps it from being an address; something does; more of the line decides."""

DIGITS = b"0123456789"
HEX = b"0123456789abcdefABCDEF"
LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
WORD = b"_%b%b" % (DIGITS, LETTERS)
ANY = bytes(range(256))

BEFORE: tuple[tuple[bytes, bytes, int], ...] = (
    (ANY, ANY, YES),
    (ANY, WORD, NO),  # inside a word, unless an escape ends here:
    (b"\\", b"abefnrtvx0123", ASK),  # \n, \t of JSON and C
    (b"%%=#x%b" % HEX, HEX, ASK),  # \u003c, \x1b, %2F, =3D, #011, \011
    (b"0123456789;[", LETTERS, ASK),  # colours: ESC [ 3 1 m
    (b"^", LETTERS, ASK),  # ^I of cat -A
    (b" *>=abcdfhmrstxRS", b"i", ASK),  # *>i of BGP tables
    (ANY, b".", NO),  # more than four numbers, or a name
    (b".", b".", YES),  # a range or an ellipsis
    (ANY, b"%", ASK),  # %20 in a URL
    (ANY, b"/^|", ASK),  # Chrome/126.0.0.0, ^1.2.3.4, CEF:0|Vendor|Product|1.2.3.4|
    (HEX, b":", ASK),  # the half of an IPv6 address that is not one
    (b"=<>!~^", b"=", ASK),  # foo==1.2.3.4
    (WORD, b"-", ASK),  # git-1.8.3.1
)
"""Second and first byte before a candidate, and what they decide; later rows go before earlier ones."""

AFTER: tuple[tuple[bytes, bytes, int], ...] = (
    (ANY, ANY, YES),
    (WORD, ANY, NO),
    (b".-+~", WORD, ASK),  # a port, a host name, the end of a sentence, 1.2.3.4-1.el9
    (b"[({", b".dD", ASK),  # a defanged host name
)
"""First and second byte behind a candidate, and what they decide."""

WORDS = (
    *("version", "versions", "versionnumber", "versionstring", "ver", "vers", "rev", "rv", "v", "is"),
    *("release", "rel", "build", "firmware", "fw", "software", "sw", "patch", "hotfix", "kernel", "driver", "bios"),
    *("section", "chapter", "clause", "openssl", "openssh", "php", "python", "perl", "ruby", "java", "jdk", "jre"),
    *("tomcat", "nginx", "openresty", "apache", "gcc", "glibc", "linux"),
    *("chrome", "chromium", "opera", "brave", "vivaldi", "firefox", "safari", "electron"),
    *("mask", "wildcard", "bits"),
    *("oid", "identifier", "id"),
)
"""Words before a candidate that make more of the line decide; of longer words the last three letters count."""
BETWEEN = b" \t\"'\\:=<>([{."
"""May stand between such a word and the candidate, `MAX_BETWEEN` of them at the most."""
MAX_BETWEEN = 6
SMALL_BEHIND = b" \t(:"
"""Before small numbers these make more of the line decide."""
FIRST_NUMBERS = (b"0.", b"255.")
"""First numbers of masks, which make more of the line decide."""


def pairs(rows: tuple[tuple[bytes, bytes, int], ...]) -> bytes:
    """Return a table of 65,536 decisions, indexed by the first of two bytes times 256 and the second."""
    table = bytearray(65536)
    for firsts, seconds, decision in rows:
        for second in seconds:
            if firsts == ANY:
                table[second::256] = bytes((decision,)) * 256
            else:
                for first in firsts:
                    table[first << 8 | second] = decision
    return bytes(table)


def endings() -> bytes:
    """Return a table of 32,768 flags for `WORDS`, indexed by the low five bits of each of their last three letters."""
    table = bytearray(32768)
    for word in WORDS:
        letters = [bytes((letter & 31,)) for letter in word[-3:].encode()]
        for third, second, last in product(*[ANY[:32]] * (3 - len(letters)), *letters):
            table[third << 10 | second << 5 | last] = 1
    return bytes(table)
