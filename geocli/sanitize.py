"""Escape text from files, databases and servers, so that terminals and logs can show it."""

from __future__ import annotations

UNDECODABLE = range(0xDC80, 0xDD00)
"""Code points of bytes that are not UTF-8, decoded with `surrogateescape` (PEP 383)."""
MIN_KEY_CHARS = 12
"""Length of MaxMind's oldest licence keys; later ones have 16 or 40."""


def safe(text: str) -> str:
    r"""Escape every character that could affect a terminal.

    Characters that are not `str.isprintable` are escaped as `\x1b`, `\u202e` or `\U000e0001`: C0, DEL and C1
    controls, bidi controls, line separators, lone surrogates. Printable text is returned unchanged.

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
    r"""Decode UTF-8; other bytes become `\xff`."""
    return text.decode("utf-8", "backslashreplace")


def visible(text: bytes) -> bytes:
    """Escape bytes for a terminal, except tabs and line ends."""
    if text.isascii() and text.translate(None, b"\t\n").decode().isprintable():
        return text
    lines = text.decode("utf-8", "surrogateescape").split("\n")
    return "\n".join("\t".join(map(safe, line.removesuffix("\r").split("\t"))) for line in lines).encode()


def shorten(text: str, max_chars: int = 80) -> str:
    """Cut a string that a message quotes."""
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def public_url(url: str) -> str:
    """Return a URL without user, password, query and fragment, any of which may be secret; a path unchanged.

    >>> print(public_url("https://me:secret@example.com/file?key=secret"))
    https://example.com/file
    """
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0].partition('#')[0]}" if separator else url


def may_be_key(text: str) -> bool:
    """Return whether a string may be a licence key, which no message may show: 12 or more letters, digits or `_`.

    >>> may_be_key("abc123_ABCdefGHI456jklMNO_mmk"), may_be_key("/etc/key"), may_be_key("fortytwo")
    (True, False, False)
    """
    return len(text) >= MIN_KEY_CHARS and text.isascii() and text.replace("_", "0").isalnum()
