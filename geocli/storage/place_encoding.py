"""Encode many places from columns, each divided into shared members and its own."""

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
"""Members that many places share, since they are about a source or a country."""
_SHARED_TRAITS = {
    *("continent_code", "continent_geoname_id", "continent_name", "country_geoname_id", "is_in_european_union"),
    *("registered_country_code", "registered_country_geoname_id", "registered_country_name"),
    "registered_country_is_in_european_union",
}


def place_texts(columns: Mapping[str, Sequence[Any]]) -> tuple[list[str], list[str]]:
    """Encode places from columns of their members, with None for unknown ones.

    Returns:
        For each place its shared members, and its own ones, which include at least the status.

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
    """Encode the member `traits` of places, divided into shared traits and own ones."""
    by_names: dict[tuple[str, ...], list[int]] = {}
    for at, members in enumerate(traits):
        if members:
            by_names.setdefault(tuple(members), []).append(at)
    halves = [""] * len(traits), [""] * len(traits)
    for names, positions in by_names.items():
        columns = zip(*[members.values() for at in positions if (members := traits[at])], strict=True)
        texts = [
            (name in _SHARED_TRAITS, _member_texts(name, column)) for name, column in zip(names, columns, strict=True)
        ]
        for is_shared, half in zip((True, False), halves, strict=True):
            objects = map("".join, zip(*[column for kind, column in texts if kind is is_shared], strict=True))
            for at, text in zip(positions, objects, strict=False):
                half[at] = f'"traits":{{{text[:-1]}}},' if text else ""
    return halves


def _member_texts(name: str, column: Sequence[Any]) -> list[str]:
    """Encode a member of some objects, followed by a comma; an empty string where it is None."""
    key, types = f"{compact_json(name)}:", set(map(type, column))
    if types <= {str, NoneType}:
        texts = {text: "" if text is None else f"{key}{encode_basestring_ascii(text)}," for text in set(column)}
        return [*map(texts.__getitem__, column)]
    values = (
        compact_json(column)[1:-1].split(",") if types <= {int, float, bool, NoneType} else map(compact_json, column)
    )
    return [f"{key}{value}," if value != "null" else "" for value in values]
