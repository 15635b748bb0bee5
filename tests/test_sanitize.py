"""Text from outside is escaped, and stays readable."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocli.sanitize import safe, shorten

C0 = [chr(number) for number in range(0x20)]
DEL_AND_C1 = [chr(number) for number in range(0x7F, 0xA0)]
BIDI = ["\u061c", "\u200e", "\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))]
SEPARATORS = ["\u2028", "\u2029"]
UNPRINTABLE = ["\ufeff", "\u00ad", "\u200b", "\U000e0001", "\ud800", "\udfff"]


class TestSafe:
    @pytest.mark.parametrize("text", ["", "London", "Zürich, 東京", "a b", "\\x1b", "'\"", "[bold]", ":smile:", "🙂"])
    def test_printable_text_is_unchanged(self, text: str) -> None:
        """Text without special characters is unchanged."""
        assert text == safe(text)

    @pytest.mark.parametrize(
        ("escaped", "text"),
        [
            (r"\x1b[31mred", "\x1b[31mred"),
            (r"a\nb\r\tc", "a\nb\r\tc"),
            (r"\x00", "\0"),
            (r"\x7f", "\x7f"),
            (r"\x9b2J", "\x9b2J"),
            (r"\u202egnp.exe", "\u202egnp.exe"),
            (r"one\u2028two", "one\u2028two"),
            (r"\U000e0001", "\U000e0001"),
            (r"\ud800", "\ud800"),
            (r"Zürich\x1b", "Zürich\x1b"),
        ],
    )
    def test_special_characters_are_escaped(self, escaped: str, text: str) -> None:
        """Only special characters are escaped, as in Python literals."""
        assert escaped == safe(text)

    @pytest.mark.parametrize("char", [*C0, *DEL_AND_C1, *BIDI, *SEPARATORS, *UNPRINTABLE], ids=ascii)
    def test_escapes_are_python_literals(self, char: str) -> None:
        """The escape of every special character evaluates to that character, and is itself printable."""
        assert safe(char).isprintable()
        assert char == ast.literal_eval(f"'{safe(char)}'")

    def test_bytes_that_are_not_utf8_are_escaped(self) -> None:
        """A name that is not UTF-8 is shown with its bytes, not with Python's surrogates."""
        assert r"caf\xe9 \x80\xff" == safe(b"caf\xe9 \x80\xff".decode("utf-8", "surrogateescape"))

    @given(st.text(st.characters(codec=None, exclude_categories=())))
    def test_any_text_becomes_printable(self, text: str) -> None:
        """Any text becomes printable, and a second pass changes nothing."""
        assert safe(text).isprintable()
        assert safe(text) == safe(safe(text))


class TestShorten:
    @pytest.mark.parametrize("length", [0, 1, 79, 80])
    def test_a_short_text_is_kept(self, length: int) -> None:
        """Up to 80 characters are quoted unchanged."""
        assert "x" * length == shorten("x" * length)

    @pytest.mark.parametrize("length", [81, 10_000])
    def test_a_long_text_is_cut(self, length: int) -> None:
        """Of a longer text 79 characters are quoted, with an ellipsis."""
        assert "x" * 79 + "…" == shorten("x" * length)

    @given(st.text(), st.integers(1, 20))
    def test_maximum_length(self, text: str, most: int) -> None:
        """A quotation has at most the requested number of characters."""
        assert len(shorten(text, most)) <= most
