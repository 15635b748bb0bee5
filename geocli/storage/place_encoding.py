"""Encode columns of the members of places, and divide members into those that many places share and their own."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING

from geocli.json_coding import compact_json, encode_basestring_ascii

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

SHARED_MEMBERS = {"status", "scope", "source", "built_at", "country_code", "country_name"}
"""Members that many places share, since they are about a source or a country."""
SHARED_TRAITS = {
    *("continent_code", "continent_geoname_id", "continent_name", "country_geoname_id", "is_in_european_union"),
    *("registered_country_code", "registered_country_geoname_id", "registered_country_name"),
    "registered_country_is_in_european_union",
}


def member_texts(name: str, column: Sequence[Any], end: str = "") -> list[str]:
    """Encode a member of objects, followed by a suffix; an empty string where it is None."""
    key, types = f"{compact_json(name)}:", set(map(type, column))
    if types <= {str, NoneType}:
        texts = {text: "" if text is None else f"{key}{encode_basestring_ascii(text)}{end}" for text in set(column)}
        return [*map(texts.__getitem__, column)]
    values = (
        compact_json(column)[1:-1].split(",") if types <= {int, float, bool, NoneType} else map(compact_json, column)
    )
    return [f"{key}{value}{end}" if value != "null" else "" for value in values]
