"""What callers of GeoCache pass, checked before anything is asked or written."""

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
    """An address; NaN and None are what data frames have for none."""

MODES = ("cache", "cached-only", "refresh", "no-cache", "due", "again")
SELECTIONS = ("due", "unresolved", "all")
COUNTED = ("country", "asn", "city", "source")


def one_of(name: str, value: object, choices: Sequence[str]) -> None:
    """Refuse what is not one of the choices.

    Raises:
        ValueError: it is not; the message lists them.

    """
    if value not in choices:
        raise _refusal(name, value, choices)


def _refusal(name: str, value: object, choices: Sequence[str]) -> ValueError:
    return ValueError(f"{name}: {value!r} is not one of {', '.join(choices)}")


def selection(which: object, limit: int | None) -> None:
    """Refuse a selection of rows that is neither known nor an age, and a negative number of them.

    Raises:
        ValueError: it is.

    """
    if not isinstance(which, timedelta) and which not in SELECTIONS:
        raise _refusal("which", which, (*SELECTIONS, "or a timedelta"))
    _not_negative("limit", limit)


def count(by: object, top: int) -> None:
    """Refuse what rows cannot be counted by, and a negative number of values.

    Raises:
        ValueError: it is.

    """
    one_of("by", by, COUNTED)
    _not_negative("top", top)


def _not_negative(name: str, value: int | None) -> None:
    if value is not None and value < 0:
        msg = f"{name}: {value!r} is negative"
        raise ValueError(msg)


def address_of(value: object) -> Address:
    """Return an address from text or from an object of `ipaddress`.

    Raises:
        AddressError: the text is not an address.
        TypeError: it is neither.

    """
    if isinstance(value, IPv4Address | IPv6Address):
        return addresses.parse(str(value))
    if isinstance(value, str):
        return addresses.parse(value)
    msg = f"an address is a str or an address of ipaddress, not {type(value).__name__}"
    raise TypeError(msg)


def each_address(values: Iterable[object]) -> Iterator[object]:
    """Return an iterator over addresses.

    Raises:
        TypeError: it is one string, whose characters are not addresses, or not iterable.

    """
    if isinstance(values, str | bytes | bytearray):
        msg = f"an iterable of addresses is needed, not one {type(values).__name__}; for one address: lookup"
        raise TypeError(msg)
    return iter(values)


def address_or_entry(value: object) -> Address | Entry:
    """Return an address, or the entry of what is not an address, as None and NaN in a column are not."""
    try:
        return address_of(value)
    except AddressError as error:
        return Entry(ip=str(value), status="invalid", error=error.reason)
    except TypeError as error:
        return Entry(ip=str(value), status="invalid", error=str(error))


def with_overrides(
    chosen: Settings,
    data_dir: str | PathLike[str] | None,
    databases: Sequence[str | PathLike[str]] | None,
    language: str | None,
) -> Settings:
    """Return settings with what a caller named instead.

    Raises:
        TypeError: `databases` is one path rather than a sequence of paths.
        ValueError: it is empty.
        SettingsError: `language` is not a language.

    """
    changes: dict[str, Any] = {}
    if data_dir is not None:
        changes["data_dir"] = os.fspath(data_dir)
    if databases is not None:
        changes["databases"] = _paths(databases)
    if language is not None:
        from geocli.languages import language_of

        changes["language"] = language_of(language, "language")
    return chosen.replace(**changes) if changes else chosen


def _paths(databases: Sequence[str | PathLike[str]]) -> tuple[str, ...]:
    if isinstance(databases, str | bytes | os.PathLike):
        msg = "databases: a list of paths is needed, not one path"
        raise TypeError(msg)
    if not databases:
        msg = "databases: name at least one file; without the argument those that are found are asked"
        raise ValueError(msg)
    return tuple(os.fspath(path) for path in databases)
