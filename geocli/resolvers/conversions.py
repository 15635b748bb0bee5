"""The values of records as fields of places have them; what is of no use is None."""

from __future__ import annotations

from math import isfinite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Conversion: TypeAlias = Callable[[Any], Any]

SHORT = 10_000
"""A number of degrees that is a multiple of one in so many is as it was meant."""


def plain(value: Any, depth: int = 4) -> Any:
    """Return a value that JSON can say, None for what it cannot."""
    if isinstance(value, str | int):
        return value
    if isinstance(value, dict) and depth:
        return {str(name): plain(what, depth - 1) for name, what in value.items()}
    if isinstance(value, list) and depth:
        return [plain(what, depth - 1) for what in value]
    if isinstance(value, bytes | bytearray):
        return value.hex()
    return value if isinstance(value, float) and isfinite(value) else None


def text_of(value: Any) -> str | None:
    """Return a text that says something, None for all else."""
    return value if isinstance(value, str) and value else None


def code_of(value: Any) -> str | None:
    """Return an ISO 3166-1 alpha-2 code, None for what is none."""
    is_code = isinstance(value, str) and len(value) == 2 and value.isascii() and value.isalpha()
    return value.upper() if is_code else None


def _number(value: Any) -> float | None:
    """Return a number, which some databases write as text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def asn_of(value: Any) -> int | None:
    """Return the number of an autonomous system, which some databases write as `AS64496`."""
    number = _number(value.upper().removeprefix("AS") if isinstance(value, str) else value)
    return int(number) if number is not None and 0 < number < 1 << 32 else None


class Degrees:
    """Converts a latitude or a longitude."""

    def __init__(self, most: int) -> None:
        """Take what it is at most, and at least with the other sign."""
        self.most = most

    def __call__(self, value: Any) -> float | None:
        """Return degrees as they were meant, None for what is none."""
        number = value if isinstance(value, float) else _number(value)
        if number is None or not -self.most <= number <= self.most:
            return None
        return number if round(number * SHORT) / SHORT == number else _shortest(number)


def _shortest(number: float) -> float:
    """Return a number as it was meant that may be of 32 bits, which with 64 has digits that mean nothing."""
    from struct import pack, unpack

    single = pack("f", number)
    if unpack("f", single) != (number,):
        return number
    return next(what for digits in range(6, 10) if pack("f", what := float(f"{number:.{digits}g}")) == single)
