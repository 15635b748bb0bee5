"""Convert rows of the table `geo_cache`, which other programs may have written, to entries."""

from __future__ import annotations

from math import isfinite

from geocli.json_coding import parse_json
from geocli.models import Entry, Place
from geocli.timestamps import instant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
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
"""Columns of the table `geo_cache` that are part of an entry, in their order."""
SELECTED = (*COLUMNS[:-2], "traits", "generation", "answered_by")
"""Columns that are read, with the labels of generations instead of their numbers."""
STATEMENT_ADDRESSES = 500
"""Addresses of one SELECT."""
MAX_DEPTH = 16
"""Maximum nesting of traits; those of databases are nested less (`conversions.json_value`)."""

_NUMBERS = {"latitude": (float, int), "longitude": (float, int), "asn": (int,), "prefix_len": (int,)}
_TYPES = [_NUMBERS.get(name, (str,)) + (() if name in {"ip", "status"} else (type(None),)) for name in SELECTED]
_STATUSES = {"resolved", "special", "unresolved"}


def among(addresses: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield conditions that select rows by their addresses, each with a block of addresses as its parameters."""
    for start in range(0, len(addresses), STATEMENT_ADDRESSES):
        block = addresses[start : start + STATEMENT_ADDRESSES]
        yield f"ip IN ({','.join('?' * len(block))})", block


def entry_of(row: Sequence[Any]) -> Entry:
    """Return the entry of a row with the columns `SELECTED`.

    Raises ValueError for a row that geocli never writes; the message names the column.
    """
    values = dict(zip(SELECTED, row, strict=True))
    for (name, value), types in zip(values.items(), _TYPES, strict=True):
        if type(value) not in types:
            raise ValueError(f"{name} is {value!r:.40}")
    _check_text("".join(value for value in row if type(value) is str))
    _check_values(values)
    return Entry(
        ip=values["ip"],
        status=values["status"],
        scope=values["scope"],
        place=Place(**{name: values[name] for name in PLACE_COLUMNS}, traits=_traits(values["traits"])),
        source=values["source"],
        prefix_len=values["prefix_len"],
        generation=values["generation"] or "",
        answered_by=values["answered_by"] or "",
        cached=True,
        **{name: _instant(name, values[name]) for name in ("built_at", "resolved_at", "retry_at")},
    )


def _check_values(values: dict[str, Any]) -> None:
    ranges = {"prefix_len": (0, 128 if ":" in values["ip"] else 32), "latitude": (-90, 90), "longitude": (-180, 180)}
    for name, (low, high) in ranges.items():
        if values[name] is not None and not low <= values[name] <= high:
            raise ValueError(f"{name} is {values[name]!r}")
    if values["status"] not in _STATUSES:
        raise ValueError(f"status is {values['status']!r:.40}")


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
    try:
        traits = parse_json(text)
    except (ValueError, RecursionError):
        raise ValueError(f"traits are not JSON: {text!r:.40}") from None
    if not isinstance(traits, dict):
        raise ValueError(f"traits are not a JSON object: {text!r:.40}")  # noqa: TRY004 (the error of a row)
    check_json(traits)
    return traits


def check_json(value: Any, depth: int = MAX_DEPTH) -> None:
    """Raise ValueError if traits cannot be written as JSON, or are nested too deeply."""
    if isinstance(value, dict | list):
        if not depth:
            raise ValueError(f"traits are nested more than {MAX_DEPTH} deep")
        for element in [*value, *value.values()] if isinstance(value, dict) else value:
            check_json(element, depth - 1)
    elif isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float) and not isfinite(value):
        raise ValueError(f"traits contain {value}")
