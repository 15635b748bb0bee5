"""Rows of the table `geo_cache`, which other programs may have written, and the entries that they stand for."""

from __future__ import annotations

from math import isfinite

from geocli.models import Entry, Place
from geocli.timestamps import instant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

PLACE_COLUMNS = (
    *("country_code", "country_name", "region", "city", "postal_code"),
    *("latitude", "longitude", "time_zone", "asn", "org"),
)
COLUMNS = (
    *("ip", "status", "scope"),
    *PLACE_COLUMNS,
    *("source", "prefix_len", "built_at", "resolved_at", "retry_at", "generation", "traits"),
)
"""Columns of the table `geo_cache` that make an entry, in their order."""
SELECTED = (*COLUMNS[:-2], "traits", "generation", "answered_by")
"""What is read of a row: generations by their sources instead of their numbers."""
MAX_DEPTH = 16
"""How deep traits are nested at most; those of databases are nested less (`conversions.plain`)."""

_NUMBERS = {"latitude": (float, int), "longitude": (float, int), "asn": (int,), "prefix_len": (int,)}
_TYPES = [_NUMBERS.get(name, (str,)) + (() if name in {"ip", "status"} else (type(None),)) for name in SELECTED]
_STATUSES = {"resolved", "special", "unresolved"}


def entry_of(row: Sequence[Any]) -> Entry:
    """Return the entry of a row, whose values are those of `SELECTED`.

    Raises:
        ValueError: geocli never writes such a row; the text names the column.

    """
    found = dict(zip(SELECTED, row, strict=True))
    for (name, value), types in zip(found.items(), _TYPES, strict=True):
        if type(value) not in types:
            raise ValueError(f"{name} is {value!r:.40}")
    _check_text("".join(value for value in row if type(value) is str))
    _check_values(found)
    return Entry(
        ip=found["ip"],
        status=found["status"],
        scope=found["scope"],
        place=Place(**{name: found[name] for name in PLACE_COLUMNS}, traits=_traits(found["traits"])),
        source=found["source"],
        prefix_len=found["prefix_len"],
        generation=found["generation"] or "",
        answered_by=found["answered_by"] or "",
        cached=True,
        **{name: _instant(name, found[name]) for name in ("built_at", "resolved_at", "retry_at")},
    )


def _check_values(found: dict[str, Any]) -> None:
    ranges = {"prefix_len": (0, 128 if ":" in found["ip"] else 32), "latitude": (-90, 90), "longitude": (-180, 180)}
    for name, (least, most) in ranges.items():
        if found[name] is not None and not least <= found[name] <= most:
            raise ValueError(f"{name} is {found[name]!r}")
    if found["status"] not in _STATUSES:
        raise ValueError(f"status is {found['status']!r:.40}")


def _check_text(text: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("its text is not UTF-8") from None


def _instant(name: str, text: str | None) -> Any:
    try:
        return instant(text)
    except ValueError as error:
        raise ValueError(f"{name} is {text!r:.40}: {error}") from None


def _traits(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    import json

    try:
        traits = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"traits are no JSON: {text!r:.40}") from None
    if not isinstance(traits, dict):
        raise ValueError(f"traits are no JSON object: {text!r:.40}")  # noqa: TRY004 (of a row, as all others)
    check_json(traits)
    return traits


def check_json(value: Any, depth: int = MAX_DEPTH) -> None:
    """Refuse traits that JSON cannot say, or that are nested too deep to be worked with.

    Raises:
        ValueError: they are refused.

    """
    if isinstance(value, dict | list):
        if not depth:
            raise ValueError(f"traits are nested more than {MAX_DEPTH} deep")
        for element in [*value, *value.values()] if isinstance(value, dict) else value:
            check_json(element, depth - 1)
    elif isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float) and not isfinite(value):
        raise ValueError(f"traits have the number {value}")
