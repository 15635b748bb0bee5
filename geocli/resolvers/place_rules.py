"""Rules for several values of a record, which conversions of single values cannot apply."""

from __future__ import annotations

from geocli.resolvers.conversions import UNKNOWN_COUNTRIES, country_codes, is_offset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any

COUNTRY_FIELDS = ("country_code", "country_name")
FIELDS = ("time_zone", "country_code", "latitude")
"""Fields that `are_needed` examines."""
NAMED_PLACE_FIELDS = frozenset({*COUNTRY_FIELDS, "region", "city", "postal_code"})
"""Fields of which one must be known if the coordinates 0, 0 are real."""
TIME_ZONES = ("time_zone", "timezone")
REGISTERED_CODE, REGISTERED_NAME = "registered_country_code", "registered_country_name"


def apply(fields: dict[str, Any], traits: dict[str, Any], flat: Mapping[str, Any]) -> None:
    """Correct the known fields and traits of a record after the conversion of single values.

    `flat` has the unconverted values, by their names in a flat record.
    """
    _drop_unknown_country(fields, traits, flat)
    traits |= {name: flat[name] for name in TIME_ZONES if is_offset(flat.get(name))}
    _drop_null_island(fields, traits)
    if fields.keys().isdisjoint(COUNTRY_FIELDS) and flat.get(REGISTERED_CODE) not in UNKNOWN_COUNTRIES:
        _let_registration_stand_in(fields, traits)


def are_needed(columns: Mapping[str, Sequence[Any]], flat_names: Collection[str], count: int) -> list[int]:
    """Return the rows of records that `apply` may change, by columns of `FIELDS`, and the names of all values."""
    rows = {row for row, latitude in enumerate(columns.get("latitude", ())) if latitude == 0}
    if "time_zone" in columns:
        has_several = all(name in flat_names for name in TIME_ZONES)
        rows |= set(range(count)) if has_several else _unknown(columns["time_zone"])
    if "country_code" in columns:
        rows |= _unknown(columns["country_code"])
    elif any(name.startswith("registered_country") for name in flat_names):
        rows |= set(range(count))
    return sorted(rows)


def _unknown(column: Sequence[Any]) -> set[int]:
    return {row for row, value in enumerate(column) if value is None}


def _drop_unknown_country(fields: dict[str, Any], traits: dict[str, Any], flat: Mapping[str, Any]) -> None:
    """Drop the fields of an unknown country, such as DB-IP's `ZZ`."""
    is_void = flat.get("country_code") in UNKNOWN_COUNTRIES or flat.get("country") in UNKNOWN_COUNTRIES
    if is_void and "country_code" not in fields:
        fields.pop("country_name", None)
        for name in [name for name in traits if name.startswith("country_") or name == "is_in_european_union"]:
            del traits[name]


def _drop_null_island(fields: dict[str, Any], traits: dict[str, Any]) -> None:
    """Drop the coordinates 0, 0 of a record without a named place, and their accuracy: they are unknown."""
    if fields.get("latitude") == 0 == fields.get("longitude") and fields.keys().isdisjoint(NAMED_PLACE_FIELDS):
        del fields["latitude"], fields["longitude"]
        traits.pop("accuracy_radius", None)


def _let_registration_stand_in(fields: dict[str, Any], traits: dict[str, Any]) -> None:
    """Use the country of registration, and mark it."""
    (code,) = country_codes([traits.get(REGISTERED_CODE)])
    name = traits.get(REGISTERED_NAME)
    if code or isinstance(name, str):
        fields |= {field: value for field, value in zip(COUNTRY_FIELDS, (code, name), strict=True) if value}
        traits["country_is_registered"] = True
