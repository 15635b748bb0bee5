"""The first test of an IPv4 candidate: the two bytes before it and the two after it, looked up in tables.

A candidate is four numbers of up to three digits, joined by dots. Each table gives one of three decisions: `REJECT`,
`UNDECIDED`, or `ACCEPT`. An accepted candidate is undecided after all if

* the word before it ends like one of `WORDS`, with at most `MAX_BETWEEN` bytes of `BETWEEN` after that word,
* its first number is one of `FIRST_NUMBERS`, or
* it may be a version: one of `BEFORE_SMALL` precedes it, no number has three digits, and the first is not 10.

`geocli.batch.ipv4_context` decides undecided candidates by more of their line. The kernel uses the same tables, and
accepts some candidates after a slash or a colon by itself; a test compares both on random bytes. The text is treated
as if it began and ended with an empty line.
"""

from __future__ import annotations

from itertools import product

ACCEPT, REJECT, UNDECIDED = range(3)
"""Decisions of the tables; the kernel uses the same numbers."""

DIGITS = b"0123456789"
HEX = b"0123456789abcdefABCDEF"
LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
WORD = b"_%b%b" % (DIGITS, LETTERS)
ANY = bytes(range(256))

BEFORE: tuple[tuple[bytes, bytes, int], ...] = (
    (ANY, ANY, ACCEPT),
    (ANY, WORD, REJECT),  # inside a word, unless an escape ends here:
    (b"\\", b"abefnrtvx0123", UNDECIDED),  # \n, \t of JSON and C
    (b"%%=#x%b" % HEX, HEX, UNDECIDED),  # \u003c, \x1b, %2F, =3D, #011, \011
    (b"0123456789;[", LETTERS, UNDECIDED),  # colours: ESC [ 3 1 m
    (b"^", LETTERS, UNDECIDED),  # ^I of cat -A
    (b" *>=abcdfhmrstxRS", b"i", UNDECIDED),  # *>i of BGP tables
    (ANY, b".", REJECT),  # more than four numbers, or a name
    (b".", b".", ACCEPT),  # a range or an ellipsis
    (ANY, b"%", UNDECIDED),  # %20 in a URL
    (ANY, b"/^|", UNDECIDED),  # Chrome/126.0.0.0, ^1.2.3.4, CEF:0|Vendor|Product|1.2.3.4|
    (HEX, b":", UNDECIDED),  # the half of an IPv6 address that is not one
    (b"=<>!~^", b"=", UNDECIDED),  # foo==1.2.3.4
    (WORD, b"-", UNDECIDED),  # git-1.8.3.1
)
"""Second-to-last byte before a candidate, last byte before it, decision; later rows override earlier ones."""

AFTER: tuple[tuple[bytes, bytes, int], ...] = (
    (ANY, ANY, ACCEPT),
    (WORD, ANY, REJECT),
    (b".-+~", WORD, UNDECIDED),  # a port, a host name, the end of a sentence, 1.2.3.4-1.el9
    (b"[({", b".dD", UNDECIDED),  # a defanged host name
)
"""First byte after a candidate, second byte after it, decision; later rows override earlier ones."""

WORDS = (
    *("version", "versions", "versionnumber", "versionstring", "ver", "vers", "rev", "rv", "v", "is"),
    *("release", "rel", "build", "firmware", "fw", "software", "sw", "patch", "hotfix", "kernel", "driver", "bios"),
    *("section", "chapter", "clause", "openssl", "openssh", "php", "python", "perl", "ruby", "java", "jdk", "jre"),
    *("tomcat", "nginx", "openresty", "apache", "gcc", "glibc", "linux"),
    *("chrome", "chromium", "opera", "brave", "vivaldi", "firefox", "safari", "electron"),
    *("mask", "wildcard", "bits"),
    *("oid", "identifier", "id"),
)
"""Words before versions, masks and object identifiers; the tables compare only their last three letters."""
BETWEEN = b" \t\"'\\:=<>([{."
"""Bytes that may separate such a word from the candidate."""
MAX_BETWEEN = 6
"""Maximum number of these bytes."""
BEFORE_SMALL = b" \t(:"
"""Bytes after which small numbers may be a version."""
FIRST_NUMBERS = (b"0.", b"255.")
"""First numbers of masks and wildcard masks."""


def decision_table(rows: tuple[tuple[bytes, bytes, int], ...]) -> bytes:
    """Return 65,536 decisions, indexed by the first of two bytes times 256 plus the second."""
    table = bytearray(65536)
    for firsts, seconds, decision in rows:
        for second in seconds:
            if firsts == ANY:
                table[second::256] = bytes((decision,)) * 256
            else:
                for first in firsts:
                    table[first << 8 | second] = decision
    return bytes(table)


def word_endings() -> bytes:
    """Return 32,768 flags: whether one of `WORDS` ends in three letters, indexed by the low five bits of each."""
    table = bytearray(32768)
    for word in WORDS:
        letters = [bytes((letter & 31,)) for letter in word[-3:].encode()]
        for third, second, last in product(*[ANY[:32]] * (3 - len(letters)), *letters):
            table[third << 10 | second << 5 | last] = 1
    return bytes(table)
