"""Places of a payload from columns, many at once, divided into what many of them share and all else."""

from __future__ import annotations

from itertools import repeat
from json.encoder import encode_basestring_ascii
from types import NoneType
from typing import TYPE_CHECKING

from geocli.storage.frames import compact_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_SHARED = {"status", "scope", "source", "built_at", "country_code", "country_name"}
"""Members that are the same for many places, since they speak of a source or of a country."""
_SHARED_TRAITS = {
    *("continent_code", "continent_geoname_id", "continent_name", "country_geoname_id", "is_in_european_union"),
    *("registered_country_code", "registered_country_geoname_id", "registered_country_name"),
    "registered_country_is_in_european_union",
}


def place_texts(columns: Mapping[str, Sequence[Any]]) -> tuple[list[str], list[str]]:
    """Return places of a payload from their members side by side, None where one is not known.

    Returns:
        For each place what it has in common with others, and all else, which says at least the status once more.

    """
    shared: list[list[str]] = []
    own: list[list[str]] = []
    for name, column in columns.items():
        if name == "traits":
            for texts, halves in zip((shared, own), _trait_texts(column), strict=True):
                texts.append(halves)
        else:
            (shared if name in _SHARED else own).append(_member_texts(name, column))
    statuses = _member_texts("status", columns["status"])
    rest = map("".join, zip(*own, strict=True)) if own else repeat("", len(statuses))
    return (
        [f"{{{text[:-1]}}}" for text in map("".join, zip(*shared, strict=True))],
        [f"{{{(text or status)[:-1]}}}" for text, status in zip(rest, statuses, strict=True)],
    )


def _trait_texts(traits: Sequence[dict[str, Any] | None]) -> tuple[list[str], list[str]]:
    """Return the member `traits` of places, divided into what many of them share and all else."""
    same: dict[tuple[str, ...], list[int]] = {}
    for at, some in enumerate(traits):
        if some:
            same.setdefault(tuple(some), []).append(at)
    halves = [""] * len(traits), [""] * len(traits)
    for names, which in same.items():
        columns = zip(*[some.values() for at in which if (some := traits[at])], strict=True)
        texts = [
            (name in _SHARED_TRAITS, _member_texts(name, column)) for name, column in zip(names, columns, strict=True)
        ]
        for is_shared, half in zip((True, False), halves, strict=True):
            members = map("".join, zip(*[column for kind, column in texts if kind is is_shared], strict=True))
            for at, text in zip(which, members, strict=False):
                half[at] = f'"traits":{{{text[:-1]}}},' if text else ""
    return halves


def _member_texts(name: str, column: Sequence[Any]) -> list[str]:
    """Return a member of some objects, with a comma after it; nothing where it is None."""
    key, types = f"{compact_json(name)}:", set(map(type, column))
    if types <= {str, NoneType}:
        texts = {what: "" if what is None else f"{key}{encode_basestring_ascii(what)}," for what in set(column)}
        return [*map(texts.__getitem__, column)]
    values = (
        compact_json(column)[1:-1].split(",") if types <= {int, float, bool, NoneType} else map(compact_json, column)
    )
    return [f"{key}{value}," if value != "null" else "" for value in values]
