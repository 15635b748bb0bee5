"""Check the arguments of GeoCache, before anything is read or written."""

from __future__ import annotations

import os
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address

from geocli import addresses
from geocli.errors import AddressError
from geocli.models import Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from os import PathLike
    from typing import Any, Literal, TypeAlias

    from geocli.addresses import Address
    from geocli.settings import Settings

    Mode: TypeAlias = Literal["cache", "cached-only", "refresh", "no-cache", "due", "again"]
    Which: TypeAlias = Literal["due", "unresolved", "all"] | timedelta
    By: TypeAlias = Literal["country", "asn", "city", "source"]
    Text: TypeAlias = str | Address | float | None
    """An address; data frames have NaN and None for missing ones."""

MODES = ("cache", "cached-only", "refresh", "no-cache", "due", "again")
SELECTIONS = ("due", "unresolved", "all")
COUNTED = ("country", "asn", "city", "source")


def one_of(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise ValueError unless a value is one of the choices."""
    if value not in choices:
        raise _refusal(name, value, choices)


def _refusal(name: str, value: object, choices: Sequence[str]) -> ValueError:
    return ValueError(f"{name}: {value!r} is not one of {', '.join(choices)}")


def selection(which: object, limit: int | None) -> None:
    """Raise ValueError unless a selection is known or an age, which is not negative, as the maximum number of rows."""
    if isinstance(which, timedelta):
        not_negative("which", which)
    elif which not in SELECTIONS:
        raise _refusal("which", which, (*SELECTIONS, "or a timedelta"))
    not_negative("limit", limit)


def count(by: object, top: int) -> None:
    """Raise ValueError unless rows can be counted by a field, and the number of values is not negative."""
    one_of("by", by, COUNTED)
    not_negative("top", top)


def not_negative(name: str, value: int | timedelta | None) -> None:
    """Raise ValueError if a number or an age is negative."""
    if value is not None and value < type(value)():  # type: ignore[operator]  # both are of one type
        msg = f"{name}: {value!r} is negative"
        raise ValueError(msg)


def text_of(value: object) -> str:
    """Return the text of an address, which may be an object of `ipaddress`; raise TypeError if it is neither."""
    if isinstance(value, str):
        return value
    if isinstance(value, IPv4Address | IPv6Address):
        return str(value)
    msg = f"an address is a str or an address of ipaddress, not {type(value).__name__}"
    raise TypeError(msg)


def each_address(values: Iterable[object]) -> Iterator[object]:
    """Return an iterator over addresses; raise TypeError if they are one string, or not iterable."""
    if isinstance(values, str | bytes | bytearray):
        msg = f"an iterable of addresses is needed, not one {type(values).__name__}; for one address: lookup"
        raise TypeError(msg)
    return iter(values)


def parsed(value: object) -> tuple[str, Address] | Entry:
    """Return an address with its canonical text, or the entry of an invalid one, such as None and NaN in a column."""
    try:
        return addresses.parse_with_text(text_of(value))
    except AddressError as error:
        return Entry(ip=str(value), status="invalid", error=error.reason)
    except TypeError as error:
        return Entry(ip=str(value), status="invalid", error=str(error))


def with_overrides(
    settings: Settings,
    data_dir: str | PathLike[str] | None,
    databases: Sequence[str | PathLike[str]] | None,
    language: str | None,
) -> Settings:
    """Return settings in which the arguments that are not None replace settings.

    Raises TypeError if `databases` is one path; ValueError if it is empty; SettingsError if `language` is not a
    language tag.
    """
    changes: dict[str, Any] = {}
    if data_dir is not None:
        changes["data_dir"] = os.fspath(data_dir)
    if databases is not None:
        changes["databases"] = _paths(databases)
    if language is not None:
        from geocli.languages import language_of

        changes["language"] = language_of(language, "language")
    return settings.replace(**changes) if changes else settings


def _paths(databases: Sequence[str | PathLike[str]]) -> tuple[str, ...]:
    if isinstance(databases, str | bytes | os.PathLike):
        msg = "databases: a sequence of paths is needed, not one path"
        raise TypeError(msg)
    if not databases:
        msg = "databases: name at least one file, or omit the argument to use the databases that are found"
        raise ValueError(msg)
    return tuple(os.fspath(path) for path in databases)
