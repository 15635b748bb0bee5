"""Languages: their usual spelling, and the order in which names are taken."""

from __future__ import annotations

import pytest

from geocli.languages import by_preference, canonical

MAXMIND = ("de", "en", "es", "fr", "ja", "pt-BR", "ru", "zh-CN")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("de", "de"),
        (" DE ", "de"),
        ("pt-br", "pt-BR"),
        ("pt_BR", "pt-BR"),
        ("ZH-hant-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("sl-ROZAJ", "sl-rozaj"),
        ("haw", "haw"),
    ],
)
def test_usual_spelling(text: str, expected: str) -> None:
    """Each language has one spelling, for any case and separator in the setting."""
    assert expected == canonical(text)


@pytest.mark.parametrize(
    "text", ["", "d", "german", "de-", "-de", "de--AT", "de AT", "de,en", "d3", "dé", "de-\x1b", "é"]
)
def test_not_a_language(text: str) -> None:
    """A text without the form of a language tag has no spelling."""
    assert not canonical(text)


@pytest.mark.parametrize(
    ("language", "first"),
    [
        ("de", ["de", "en"]),
        ("de-AT", ["de", "en"]),
        ("pt", ["pt-BR", "en"]),
        ("pt-PT", ["pt-BR", "en"]),
        ("zh-Hant-TW", ["zh-CN", "en"]),
        ("it", ["en", "de"]),
        ("en-GB", ["en", "de"]),
    ],
)
def test_nearest_language_then_english(language: str, first: list[str]) -> None:
    """A variety of the language comes before English, and English before all others."""
    assert first == by_preference(MAXMIND, language)[:2]


def test_nearest_variety() -> None:
    """Of several varieties the nearest is first, and no language is lost."""
    languages = ("ru", "en", "zh", "zh-HK", "zh-Hant", "zh-Hant-HK")
    expected = ["zh-Hant-HK", "zh-Hant", "zh", "zh-HK", "en", "ru"]
    assert expected == by_preference(languages, "zh-Hant-HK")
