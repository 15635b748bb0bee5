"""Names of databases as people know them; their types are often words for programs."""

from __future__ import annotations

import re

_MAKERS = (
    (re.compile(r"dbip[-_](.+)", re.IGNORECASE), "DB-IP"),
    (re.compile(r"ipinfo[-_](.+?)(?:\.mmdb)?", re.IGNORECASE), "IPinfo"),
    (re.compile(r"iplocate[-_](.+?)(?:\.mmdb)?", re.IGNORECASE), "IPLocate"),
)
"""What the types of a maker begin with, which is followed by the contents."""
_FAMILY = re.compile(r"(.+?)[-_]?ipv(4|6|all)", re.IGNORECASE)
"""Types of ip-location-db: the contents, and the families of addresses."""
_LOCATION_DB = "ip-location-db "
_SMALL_WORDS = re.compile(r"\b(?:generic|standard|free|sample)\b ?")


def title_of(edition: str) -> str:
    """Return the name of a database by its edition.

    >>> [title_of(name) for name in ("city-ipv4", "country-ipvAll", "DBIP-City-Lite", "ipinfo-generic_lite.mmdb")]
    ['ip-location-db city (IPv4)', 'ip-location-db country', 'DB-IP City Lite', 'IPinfo lite']
    >>> title_of("GeoLite2-City")
    'GeoLite2-City'
    """
    if match := _FAMILY.fullmatch(edition):
        family = "" if match[2].lower() == "all" else f" (IPv{match[2]})"
        return f"{_LOCATION_DB}{_words(match[1])}{family}"
    for pattern, maker in _MAKERS:
        if match := pattern.fullmatch(edition):
            return f"{maker} {_SMALL_WORDS.sub('', _words(match[1])).strip()}".strip()
    return edition


def titles_of(source: str) -> str:
    """Return the names of the databases of a source, whose editions are joined by `+`.

    >>> titles_of("city-ipv4+asn-ipv4")
    'ip-location-db city (IPv4)+ASN (IPv4)'
    """
    titles = "+".join(map(title_of, source.split("+")))
    return titles.replace(f"+{_LOCATION_DB}", "+") if titles.startswith(_LOCATION_DB) else titles


def _words(text: str) -> str:
    return re.sub(r"\basn\b", "ASN", re.sub(r"[-_]+", " ", text))
