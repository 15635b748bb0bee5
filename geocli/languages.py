"""Languages of names: parse a language tag, and choose among the names of a record."""

from __future__ import annotations

from functools import lru_cache

from geocli.errors import SettingsError
from geocli.models import ENGLISH


def canonical(text: str) -> str:
    """Return a language tag in its canonical case (RFC 5646, 2.1.1), an empty string for anything else.

    >>> canonical("PT_br"), canonical("zh-hans"), canonical("German")
    ('pt-BR', 'zh-Hans', '')
    """
    language, *subtags = text.strip().replace("_", "-").split("-")
    if not (text.isascii() and language.isalpha() and 2 <= len(language) <= 3 and all(map(_is_subtag, subtags))):
        return ""
    return "-".join([language.lower(), *map(_cased, subtags)])


def language_of(text: str, name: str) -> str:
    """Return the canonical tag of a language, or raise SettingsError for the option `name`."""
    if tag := canonical(text):
        return tag
    raise SettingsError(name, f"{text!r} is not a language like de or pt-BR", origin="command line")


def _is_subtag(text: str) -> bool:
    return text.isalnum() and len(text) <= 8


def _cased(subtag: str) -> str:
    return subtag.upper() if len(subtag) == 2 else subtag.title() if len(subtag) == 4 else subtag.lower()


@lru_cache(1024)
def by_preference(languages: tuple[str, ...], preferred: str) -> list[str]:
    """Sort languages: the wanted one and its variants, English, then the others in their order.

    Variants with more leading subtags in common come first, as in RFC 4647, 3.4, which also finds `de` for `de-AT`;
    unlike there, `pt` finds `pt-BR`, too.

    >>> by_preference(("en", "ru", "pt-PT", "pt-BR"), "pt-BR")
    ['pt-BR', 'pt-PT', 'en', 'ru']
    """
    ranges = [_subtags(preferred), _subtags(ENGLISH)]

    def rank(language: str) -> tuple[int, int]:
        subtags = _subtags(language)
        ranks = ((at, -_common(subtags, range_)) for at, range_ in enumerate(ranges) if subtags[0] == range_[0])
        return next(ranks, (len(ranges), 0))

    return sorted(languages, key=rank)


def _subtags(language: str) -> list[str]:
    return language.lower().replace("_", "-").split("-")


def _common(first: list[str], second: list[str]) -> int:
    """Return the number of leading subtags that two languages have in common."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((at for at, pair in pairs if pair[0] != pair[1]), min(len(first), len(second)))
