"""What several values of a record mean together, which no conversion of one of them can find out."""

from __future__ import annotations

from geocli.resolvers.conversions import UNKNOWN_COUNTRIES, country_codes, is_offset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any

COUNTRY_FIELDS = ("country_code", "country_name")
FIELDS = ("time_zone", "country_code", "latitude")
"""Fields that `are_needed` looks at."""
NAMED_PLACE_FIELDS = frozenset({*COUNTRY_FIELDS, "region", "city", "postal_code"})
"""Fields of which one must be known for the coordinates 0, 0 to be a place."""
TIME_ZONES = ("time_zone", "timezone")
REGISTERED_CODE, REGISTERED_NAME = "registered_country_code", "registered_country_name"


def apply(fields: dict[str, Any], traits: dict[str, Any], flat: Mapping[str, Any]) -> None:
    """Correct the fields and traits of a record, each of which was converted by itself.

    Args:
        fields: the known fields of its place.
        traits: its known traits.
        flat: the values that they are from, before any conversion, by the name that each has in a flat record.

    """
    _drop_unknown_country(fields, traits, flat)
    traits |= {name: flat[name] for name in TIME_ZONES if is_offset(flat.get(name))}
    _drop_null_island(fields, traits)
    if fields.keys().isdisjoint(COUNTRY_FIELDS) and flat.get(REGISTERED_CODE) not in UNKNOWN_COUNTRIES:
        _let_registration_stand_in(fields, traits)


def are_needed(columns: Mapping[str, Sequence[Any]], flat_names: Collection[str], count: int) -> list[int]:
    """Return the rows of records that `apply` may change.

    Args:
        columns: those of the converted `FIELDS` that the records have, side by side.
        flat_names: the names of all values in a flat record.
        count: how many records there are.

    """
    rows: set[int] = set()
    if "time_zone" in columns:
        has_several = all(name in flat_names for name in TIME_ZONES)
        rows |= {row for row, zone in enumerate(columns["time_zone"]) if zone is None or has_several}
    if "country_code" in columns or any(name.startswith("registered_country") for name in flat_names):
        rows |= {row for row, code in enumerate(columns.get("country_code", [None] * count)) if code is None}
    rows |= {row for row, latitude in enumerate(columns.get("latitude", ())) if latitude == 0}
    return sorted(rows)


def _drop_unknown_country(fields: dict[str, Any], traits: dict[str, Any], flat: Mapping[str, Any]) -> None:
    """Drop what a record says of a country whose code stands for an unknown one: DB-IP's `ZZ`."""
    is_void = flat.get("country_code") in UNKNOWN_COUNTRIES or flat.get("country") in UNKNOWN_COUNTRIES
    if is_void and "country_code" not in fields:
        fields.pop("country_name", None)
        for name in [name for name in traits if name.startswith("country_") or name == "is_in_european_union"]:
            del traits[name]


def _drop_null_island(fields: dict[str, Any], traits: dict[str, Any]) -> None:
    """Drop the coordinates 0, 0 of a record without a place, and their accuracy: they stand for unknown ones."""
    if fields.get("latitude") == 0 == fields.get("longitude") and fields.keys().isdisjoint(NAMED_PLACE_FIELDS):
        del fields["latitude"], fields["longitude"]
        traits.pop("accuracy_radius", None)


def _let_registration_stand_in(fields: dict[str, Any], traits: dict[str, Any]) -> None:
    """Take the country that the network is registered in, and mark it."""
    (code,) = country_codes([traits.get(REGISTERED_CODE)])
    name = traits.get(REGISTERED_NAME)
    if code or isinstance(name, str):
        fields |= {field: value for field, value in zip(COUNTRY_FIELDS, (code, name), strict=True) if value}
        traits["country_is_registered"] = True
