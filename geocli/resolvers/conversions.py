"""Convert columns of values of records to fields of places, with None for unusable values."""

from __future__ import annotations

from functools import lru_cache
from math import inf, isfinite
from operator import itemgetter
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_UNKNOWN_WORDS = ("", "-", "--", "?", "??", "n/a", "zz", "unknown", "null", "not routed")
UNKNOWN = frozenset(form for word in _UNKNOWN_WORDS for form in (word, word.upper(), word.capitalize(), word.title()))
"""Strings for unknown values: `-` of IP2Location, `ZZ` of DB-IP, `Not routed` of iptoasn."""
UNKNOWN_COUNTRIES = ("ZZ", "XX", "zz", "xx")
"""User-assigned codes of ISO 3166-1 for an unknown country."""
_OFFSET_CHARS = "+-\u2212\u00b10123456789:. "
"""Characters of an offset from UTC; U+2212 is the minus sign and U+00B1 plus-minus."""
_DIGITS = frozenset("0123456789")
_ZONE_NAMES = frozenset({"GMT0", "GMT+0", "GMT-0"})
"""Names of the IANA time zone database that look like offsets."""
DECIMALS = 10_000
"""Multiples of 1/10,000 degree need no rounding."""
MAX_ASN = (1 << 32) - 1
_STRINGS, _INTEGERS = {str}, {int, bool}
_pack, _unpack = Struct("f").pack, Struct("f").unpack


def json_value(value: Any, depth: int = 4) -> Any:
    """Return a value that JSON can represent; None for infinite numbers and deeper nesting."""
    if isinstance(value, str | int):
        return value
    if isinstance(value, dict | list) and depth:
        if isinstance(value, list):
            return [json_value(inner, depth - 1) for inner in value]
        return {str(name): json_value(inner, depth - 1) for name, inner in value.items()}
    if isinstance(value, bytes | bytearray):
        return value.hex()
    return value if isinstance(value, float) and isfinite(value) else None


def trait_values(values: Sequence[Any]) -> list[Any]:
    """Return values that JSON can represent, None for empty and unknown ones."""
    types = set(map(type, values))
    if types <= _INTEGERS or (types == _STRINGS and UNKNOWN.isdisjoint(map(str.strip, values))):
        return list(values)
    return list(map(trait_value, values))


def trait_value(value: Any) -> Any:
    """Return a value that JSON can represent, None for an empty or unknown one."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int):
        return value
    value = json_value(value)
    return None if value in ("", [], {}) else value


def texts(values: Sequence[Any]) -> list[str | None]:
    """Return strings, None for unknown values."""
    if _STRINGS.issuperset(map(type, values)) and UNKNOWN.isdisjoint(map(str.strip, values)):
        return list(values)
    return list(map(text, values))


def text(value: Any) -> str | None:
    """Return a string, None for an unknown value."""
    return value if isinstance(value, str) and value.strip() not in UNKNOWN else None


def names(values: Sequence[Any], language: str) -> list[str | None]:
    """Return a name of each map: in the language, else in English, else the first known one."""
    try:
        in_language = texts(list(map(itemgetter(language), values)))
    except (KeyError, TypeError, IndexError):
        in_language = [None] * len(values)
    if None not in in_language:
        return in_language
    return [name(value, language) for value in values]


def name(value: Any, language: str) -> str | None:
    """Return a name of one map."""
    if not isinstance(value, dict):
        return None
    return text(value.get(language)) or _other_name(value, language)


def _other_name(names: dict[str, Any], language: str) -> str | None:
    from geocli.languages import by_preference

    ordered = texts([names[key] for key in by_preference(tuple(names), language)])
    return next((name for name in ordered if name is not None), None)


def time_zones(values: Sequence[Any]) -> list[str | None]:
    """Return names of time zones, None for offsets from UTC."""
    return list(map(_time_zone, texts(values)))


def time_zone(value: Any) -> str | None:
    """Return the name of a time zone, None for an offset from UTC."""
    return _time_zone(text(value))


@lru_cache(1024)
def _time_zone(text: str | None) -> str | None:
    return None if is_offset(text) else text


def is_offset(value: Any) -> bool:
    """Return whether a value is an offset from UTC rather than the name of a time zone.

    >>> [is_offset(value) for value in ("-08:00", "UTC+3", 5.5, "Etc/GMT+8", "UTC", "GMT+0")]
    [True, True, True, False, False, False]
    """
    if not isinstance(value, str):
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < inf
    if "/" in value:
        return False
    text = value.strip().upper()
    offset = text.removeprefix("UTC").removeprefix("GMT")
    return text not in _ZONE_NAMES and not _DIGITS.isdisjoint(offset) and not offset.strip(_OFFSET_CHARS)


def country_codes(values: Sequence[Any]) -> list[str | None]:
    """Return ISO 3166-1 alpha-2 codes in upper case."""
    return list(map(country_code, values))


def country_code(value: Any) -> str | None:
    """Return an ISO 3166-1 alpha-2 code in upper case."""
    return _country_code(value) if isinstance(value, str) else None


@lru_cache(1024)
def _country_code(value: str) -> str | None:
    return value.upper() if is_alpha_2(value) and value not in UNKNOWN_COUNTRIES else None


def country_names(values: Sequence[Any]) -> list[str | None]:
    """Return known strings that are not country codes."""
    return [None if is_alpha_2(value) else value for value in texts(values)]


def country_name(value: Any) -> str | None:
    """Return a known string that is not a country code."""
    return None if is_alpha_2(value) else text(value)


def is_alpha_2(value: Any) -> bool:
    """Return whether a value has the form of an ISO 3166-1 alpha-2 code, in either case."""
    return isinstance(value, str) and len(value) == 2 and value.isascii() and value.isalpha()


def asns(values: Sequence[Any]) -> list[int | None]:
    """Return autonomous system numbers, which some databases write as `AS64496`."""
    return list(map(asn, values))


def asn(value: Any) -> int | None:
    """Return an autonomous system number."""
    if type(value) is int and 0 < value <= MAX_ASN:
        return value
    number = _number(value.upper().removeprefix("AS") if isinstance(value, str) else value)
    return int(number) if number is not None and 0 < number <= MAX_ASN and number == int(number) else None


def degrees(values: Sequence[Any], limit: int) -> list[float | None]:
    """Return degrees from -limit to limit."""
    return [degree(value, limit) for value in values]


def degree(value: Any, limit: int) -> float | None:
    """Return degrees from -limit to limit."""
    if type(value) is float and -limit <= value <= limit and round(value * DECIMALS) / DECIMALS == value:
        return value
    number = _number(value)
    return None if number is None or not -limit <= number <= limit else _shortest(number)


def _number(value: Any) -> float | None:
    """Return a finite number, which some databases write as a string."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def _shortest(number: float) -> float:
    """Return a 32-bit float without the digits that its conversion to 64 bits added."""
    single = _pack(number)
    if _unpack(single) != (number,):
        return number
    return next(short for digits in range(6, 10) if _pack(short := float(f"{number:.{digits}g}")) == single)
