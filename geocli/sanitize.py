"""Text that comes from outside, made harmless."""

from __future__ import annotations

UNDECODABLE = range(0xDC80, 0xDD00)
"""What `surrogateescape` makes of bytes that are not UTF-8 (PEP 383)."""
MIN_KEY_CHARS = 12
"""MaxMind's licence keys had 12 or 16 characters, and have 40."""


def safe(text: str) -> str:
    r"""Show every character that could do something to a terminal as an escape.

    What `str.isprintable` refuses is shown as `\x1b`, `\u202e` or `\U000e0001`: C0, DEL and C1 controls,
    bidi controls, line separators, lone surrogates. Printable text comes back as it is.

    >>> print(safe("\x1b[31mred\u202e"), safe("Orléans"))
    \x1b[31mred\u202e Orléans
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    if ord(char) in UNDECODABLE:
        return f"\\x{ord(char) - 0xDC00:02x}"
    return repr(char)[1:-1]


def decoded(text: bytes) -> str:
    r"""Return bytes as text; those that are not UTF-8 become `\xff`."""
    return text.decode("utf-8", "backslashreplace")


def visible(text: bytes) -> bytes:
    """Return bytes as a terminal may show them, in the same lines."""
    if text.isascii() and text.translate(None, b"\t\n").decode().isprintable():
        return text
    lines = text.decode("utf-8", "surrogateescape").split("\n")
    return "\n".join("\t".join(map(safe, line.removesuffix("\r").split("\t"))) for line in lines).encode()


def shorten(text: str, most: int = 80) -> str:
    """Cut a text that a message quotes to `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def public_url(url: str) -> str:
    """Return a URL without user, password, query and fragment, any of which may be a secret; a path as it is.

    >>> print(public_url("https://me:secret@example.com/file?key=secret"))
    https://example.com/file
    """
    scheme, mark, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0].partition('#')[0]}" if mark else url


def may_be_key(text: str) -> bool:
    """Return whether a text may be a licence key, which a message must not show: 12 letters, digits, `_` or more.

    >>> may_be_key("abc123_ABCdefGHI456jklMNO_mmk"), may_be_key("/etc/key"), may_be_key("fortytwo")
    (True, False, False)
    """
    return len(text) >= MIN_KEY_CHARS and text.isascii() and text.replace("_", "0").isalnum()
