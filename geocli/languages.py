"""Languages of names: how a user names one, and which of the names that a record has comes nearest to it."""

from __future__ import annotations

from functools import lru_cache

from geocli.errors import SettingsError
from geocli.models import ENGLISH


def canonical(text: str) -> str:
    """Return a language tag in its usual spelling, so that equal languages are equal strings (RFC 5646, 2.1.1).

    Returns:
        An empty string if the text does not have the form of a language tag.

    >>> canonical("PT_br"), canonical("zh-hans"), canonical("German")
    ('pt-BR', 'zh-Hans', '')
    """
    first, *others = text.strip().replace("_", "-").split("-")
    if not (text.isascii() and first.isalpha() and 2 <= len(first) <= 3 and all(map(_is_subtag, others))):
        return ""
    return "-".join([first.lower(), *map(_spelled, others)])


def language_of(text: str, name: str, origin: str = "command line") -> str:
    """Return the usual spelling of a language.

    Args:
        text: the language as a user writes it.
        name: the option or argument that has it, for the error.
        origin: where that comes from, likewise.

    Raises:
        SettingsError: the text is not a language tag.

    """
    if found := canonical(text):
        return found
    raise SettingsError(name, f"{text!r} is not a language like de or pt-BR", origin=origin)


def _is_subtag(text: str) -> bool:
    return text.isalnum() and len(text) <= 8


def _spelled(subtag: str) -> str:
    return subtag.upper() if len(subtag) == 2 else subtag.title() if len(subtag) == 4 else subtag.lower()


@lru_cache(1024)
def by_preference(languages: tuple[str, ...], wanted: str) -> list[str]:
    """Sort languages: the wanted one and its varieties, English, then all others in their order.

    Of several varieties of one language the one with the most leading subtags in common comes first, as in the
    lookup of RFC 4647, 3.4, which also finds `de` for `de-AT`; here `pt` finds `pt-BR`, too.

    >>> by_preference(("en", "ru", "pt-PT", "pt-BR"), "pt-BR")
    ['pt-BR', 'pt-PT', 'en', 'ru']
    """
    ranges = [_subtags(wanted), _subtags(ENGLISH)]

    def rank(language: str) -> tuple[int, int]:
        subtags = _subtags(language)
        found = ((at, -_common(subtags, asked)) for at, asked in enumerate(ranges) if subtags[0] == asked[0])
        return next(found, (len(ranges), 0))

    return sorted(languages, key=rank)


def _subtags(language: str) -> list[str]:
    return language.lower().replace("_", "-").split("-")


def _common(first: list[str], second: list[str]) -> int:
    """Return how many leading subtags two languages have in common."""
    pairs = zip(first, second, strict=False)
    return next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))
