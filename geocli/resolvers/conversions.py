"""Columns of values of records, converted to what the fields of places hold; None for what is of no use."""

from __future__ import annotations

from functools import lru_cache
from math import isfinite
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    Conversion: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]

DECIMALS = 10_000
"""A number of degrees that is a multiple of one ten-thousandth needs no rounding."""
MAX_ASN = (1 << 32) - 1
_JSON_SCALARS = {str, int, bool}
_pack, _unpack = Struct("f").pack, Struct("f").unpack


def json_values(values: Sequence[Any]) -> Sequence[Any]:
    """Return values as JSON can hold them."""
    return values if _JSON_SCALARS.issuperset(map(type, values)) else [json_value(value) for value in values]


def json_value(value: Any, depth: int = 4) -> Any:
    """Return a value as JSON can hold it; None for infinite numbers and what is nested deeper."""
    if isinstance(value, str | int):
        return value
    if isinstance(value, dict) and depth:
        return {str(name): json_value(inner, depth - 1) for name, inner in value.items()}
    if isinstance(value, list) and depth:
        return [json_value(inner, depth - 1) for inner in value]
    if isinstance(value, bytes | bytearray):
        return value.hex()
    return value if isinstance(value, float) and isfinite(value) else None


def texts(values: Sequence[Any]) -> list[str | None]:
    """Return strings that are not empty."""
    return [value if isinstance(value, str) and value else None for value in values]


def country_codes(values: Sequence[Any]) -> list[str | None]:
    """Return ISO 3166-1 alpha-2 codes, in capital letters."""
    return [_country_code(value) if isinstance(value, str) else None for value in values]


def country_names(values: Sequence[Any]) -> list[str | None]:
    """Return strings that are not empty, and no country codes either."""
    return [value if isinstance(value, str) and value and not _country_code(value) else None for value in values]


@lru_cache(1024)
def _country_code(text: str) -> str | None:
    return text.upper() if len(text) == 2 and text.isascii() and text.isalpha() else None


def asns(values: Sequence[Any]) -> list[int | None]:
    """Return numbers of autonomous systems, which some databases write as `AS64496`."""
    return [value if type(value) is int and 0 < value <= MAX_ASN else _asn(value) for value in values]


def _asn(value: Any) -> int | None:
    number = _number(value.upper().removeprefix("AS") if isinstance(value, str) else value)
    return int(number) if number is not None and 0 < number <= MAX_ASN else None


def latitudes(values: Sequence[Any]) -> list[float | None]:
    """Return degrees from -90 to 90."""
    return _degrees(values, 90)


def longitudes(values: Sequence[Any]) -> list[float | None]:
    """Return degrees from -180 to 180."""
    return _degrees(values, 180)


def _degrees(values: Sequence[Any], limit: int) -> list[float | None]:
    return [
        value
        if type(value) is float and -limit <= value <= limit and round(value * DECIMALS) / DECIMALS == value
        else _degree(value, limit)
        for value in values
    ]


def _degree(value: Any, limit: int) -> float | None:
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
    """Return a 32-bit float without the digits that it gained as one of 64 bits."""
    single = _pack(number)
    if _unpack(single) != (number,):
        return number
    return next(short for digits in range(6, 10) if _pack(short := float(f"{number:.{digits}g}")) == single)
