"""Text that comes from outside is made harmless, and stays readable."""

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
OTHERS = ["\ufeff", "\u00ad", "\u200b", "\U000e0001", "\ud800", "\udfff"]


class TestSafe:
    @pytest.mark.parametrize("text", ["", "London", "Zürich, 東京", "a b", "\\x1b", "'\"", "[bold]", ":smile:", "🙂"])
    def test_printable_text_comes_back_as_it_is(self, text: str) -> None:
        """Text without anything to hide is not changed."""
        assert text == safe(text)

    @pytest.mark.parametrize(
        ("shown", "text"),
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
    def test_what_could_act_is_shown_as_an_escape(self, shown: str, text: str) -> None:
        """Only the characters that could do something are escaped, the way Python writes them."""
        assert shown == safe(text)

    @pytest.mark.parametrize("char", [*C0, *DEL_AND_C1, *BIDI, *SEPARATORS, *OTHERS], ids=ascii)
    def test_each_escape_says_which_character_it_was(self, char: str) -> None:
        """The escape of every dangerous character reads back as that character, and is itself harmless."""
        assert safe(char).isprintable()
        assert char == ast.literal_eval(f"'{safe(char)}'")

    def test_bytes_that_are_not_utf8_are_shown_as_bytes(self) -> None:
        """A name that is not UTF-8 shows the bytes that it has, not Python's stand-ins for them."""
        assert r"caf\xe9 \x80\xff" == safe(b"caf\xe9 \x80\xff".decode("utf-8", "surrogateescape"))

    @given(st.text(st.characters(codec=None, exclude_categories=())))
    def test_nothing_dangerous_is_left_in_any_text(self, text: str) -> None:
        """Whatever comes in, what goes out is printable, and going out twice changes nothing."""
        assert safe(text).isprintable()
        assert safe(text) == safe(safe(text))


class TestShorten:
    @pytest.mark.parametrize("length", [0, 1, 79, 80])
    def test_a_short_text_is_kept(self, length: int) -> None:
        """Up to 80 characters are quoted as they are."""
        assert "x" * length == shorten("x" * length)

    @pytest.mark.parametrize("length", [81, 10_000])
    def test_a_long_text_is_cut(self, length: int) -> None:
        """Of a longer text 79 characters are quoted, and an ellipsis says that there was more."""
        assert "x" * 79 + "…" == shorten("x" * length)

    @given(st.text(), st.integers(1, 20))
    def test_never_longer_than_asked_for(self, text: str, most: int) -> None:
        """What is quoted has at most as many characters as asked for."""
        assert len(shorten(text, most)) <= most
