"""Map records of every known schema to places.

MaxMind and DB-IP have nested records, IPinfo and ip-location-db flat ones. Values without a field are traits, by their
own names. A record that is not a map is a country code, if it has two capital letters, else the trait `value`. Unknown
values and values of a wrong type are left out.

Records of one shape, that is with the same keys and keys of maps, are mapped together, column by column, by one plan:
the values from which each field is read, the best first.
"""

from __future__ import annotations

from functools import lru_cache, partial
from operator import itemgetter

from geocli.countries import country_name
from geocli.models import ENGLISH, Place
from geocli.resolvers import conversions, place_rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, TypeAlias

    Path: TypeAlias = tuple[str | int, ...]
    """Keys that lead to a value."""
    Part: TypeAlias = tuple[Any, ...] | bool
    """Keys of a map; positions and keys of the first and last map in a list; True: a whole trait; False: a scalar."""
    Keys: TypeAlias = tuple[tuple[str, ...], tuple[Part, ...]]
    Columns: TypeAlias = dict[str, Sequence[Any]]

NAMES = {
    "country_code": ("country_code", "country_iso_code", "country"),
    "country_name": ("country_name", "country"),
    "region": ("region", "region_name", "state1", "stateprov", "subdivision_1_name"),
    "city": ("city", "city_name"),
    "postal_code": ("postal_code", "postcode", "postal", "zip", "zip_code"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lng", "lon"),
    "time_zone": place_rules.TIME_ZONES,
    "asn": ("autonomous_system_number", "asn"),
    "org": ("autonomous_system_organization", "as_name", "org", "isp"),
}
"""Names of each field in databases, the best first; `country` is a code in IPinfo's older files, else a name."""
_CONVERSIONS: dict[str, tuple[Callable[[Sequence[Any]], Sequence[Any]], Callable[[Any], Any]]] = {
    **dict.fromkeys(NAMES, (conversions.texts, conversions.text)),
    "country_code": (conversions.country_codes, conversions.country_code),
    "country_name": (conversions.country_names, conversions.country_name),
    "time_zone": (conversions.time_zones, conversions.time_zone),
    "latitude": (partial(conversions.degrees, limit=90), partial(conversions.degree, limit=90)),
    "longitude": (partial(conversions.degrees, limit=180), partial(conversions.degree, limit=180)),
    "asn": (conversions.asns, conversions.asn),
}
"""Conversions of columns, and of single values."""
_CONTAINERS, _PLAIN = frozenset({dict, list}), frozenset({int, bool})
_NOT_TRAITS = {name for names in NAMES.values() for name in names} - {"isp"}


def place_from(record: object, language: str = ENGLISH) -> Place:
    """Map one record, which is not changed, to a place; names are English where the language has none."""
    record = _as_map(record)
    plan = _plan(*_keys(record))
    flat = _flat(record, plan, language)
    fields: dict[str, Any] = {}
    for field, name, convert in plan.conversions:
        if field not in fields and (value := convert(flat[name])) is not None:
            fields[field] = value
    traits = {
        name: value
        for name in plan.traits
        if type(value := flat[name]) in _PLAIN or (value := conversions.trait_value(value)) is not None
    }
    place_rules.apply(fields, traits, flat)
    if "country_name" not in fields and (named := country_name(fields.get("country_code"))):
        fields["country_name"] = named
    return Place(**fields, traits=traits) if traits else Place(**fields)


def _as_map(record: Any) -> dict[str, Any]:
    if isinstance(record, dict):
        return record
    return {"country_code" if conversions.is_alpha_2(record) and record.isupper() else "value": record}


def _flat(record: Any, plan: Plan, language: str) -> dict[str, Any]:
    """Return the unconverted values of a record by their names."""
    flat = {}
    for parents, children in plan.children.items():
        values = record
        for key in parents:
            values = values[key]
        for name, key in children:
            flat[name] = conversions.name(values, language) if key is _NAME else values[key]
    return flat


def shapes(records: Sequence[object], numbers: Sequence[int], language: str = ENGLISH) -> Iterator[Shape]:
    """Group records by their shapes; None is left out.

    Args:
        records: decoded records.
        numbers: for each record a number that only records of its shape have, 0 if it is unknown.
        language: language of names.

    """
    positions: dict[int | Keys, list[int]] = {}
    for position, (record, number) in enumerate(zip(records, numbers, strict=True)):
        if record is not None:
            positions.setdefault(number or _keys(_as_map(record)), []).append(position)
    for own in positions.values():
        maps = [_as_map(records[position]) for position in own]
        columns = dict(zip(maps[0], zip(*map(dict.values, maps), strict=True), strict=True))
        yield Shape(own, maps, columns, _plan(*_keys(maps[0])), language)


def _keys(record: Mapping[str, Any]) -> Keys:
    """Return the keys of a map, and the parts of its shape."""
    parts = [type(value) in _CONTAINERS and _part(name, value) for name, value in record.items()]
    return tuple(record), tuple(parts)


class Shape:
    """Records of one shape, with their positions; columns are in the same order."""

    def __init__(
        self,
        positions: Sequence[int],
        records: Sequence[Any],
        columns: Mapping[str, Sequence[Any]],
        plan: Plan,
        language: str,
    ) -> None:
        self.positions = positions
        self._columns: dict[Path, Sequence[Any]] = {(name,): column for name, column in columns.items()}
        self._plan, self._language = plan, language
        self._converted: dict[str, Sequence[Any] | None] = {}
        self._fields: dict[str, Sequence[Any] | None] = {}
        self._traits: Columns | None = None
        ruled = {name: values for name in place_rules.FIELDS if (values := self._convert(name)) is not None}
        rows = place_rules.are_needed(ruled, plan.flat, len(records))
        self._single = {row: place_from(records[row], language) for row in rows}
        """Places of the records to which rules for several values apply, by row."""

    def field(self, name: str) -> Sequence[Any] | None:
        """Return a field of places, None where a record does not have it; None if no record of this shape does.

        It is converted on the first call, since few fields are written.
        """
        if name not in self._fields:
            values = self._convert(name)
            if self._single and (values is not None or name in place_rules.COUNTRY_FIELDS):
                values = list(values or [None] * len(self.positions))
                for row, place in self._single.items():
                    values[row] = getattr(place, name)
            if name == "country_name" and (values is None or None in values) and (codes := self.field("country_code")):
                named = list(map(country_name, codes))
                values = named if values is None else _first(values, named)
            self._fields[name] = values
        return self._fields[name]

    def _convert(self, field: str) -> Sequence[Any] | None:
        """Convert single values of a field."""
        if field not in self._converted:
            (convert, _), values = _CONVERSIONS[field], None
            for path in self._plan.fields.get(field, ()):
                if values is None:
                    values = convert(self._column(path))
                elif None in values:
                    values = _first(values, convert(self._column(path)))
            self._converted[field] = values
        return self._converted[field]

    def trait(self, name: str) -> Sequence[Any] | None:
        """Return a trait of each record, None where a record does not have it."""
        return self._trait_columns().get(name)

    def trait_names(self) -> list[tuple[str, ...]]:
        """Return the names of the traits of each record."""
        columns = self._trait_columns()
        names = [tuple(columns)] * len(self.positions)
        if any(None in column for column in columns.values()):
            names = [
                tuple(name for name, value in zip(columns, row, strict=True) if value is not None)
                for row in zip(*columns.values(), strict=True)
            ]
        for row, place in self._single.items():
            names[row] = tuple(place.traits or ())
        return names

    def _trait_columns(self) -> Columns:
        if self._traits is None:
            self._traits = {
                name: conversions.trait_values(self._column(path)) for name, path in self._plan.traits.items()
            }
            for row, place in self._single.items():
                traits = place.traits or {}
                for name in [*self._traits, *(traits.keys() - self._traits.keys())]:
                    column = list(self._traits.get(name) or [None] * len(self.positions))
                    column[row] = traits.get(name)
                    self._traits[name] = column
        return self._traits

    def _column(self, path: Path) -> Sequence[Any]:
        """Return the unconverted values at a path."""
        if path not in self._columns:
            parents = self._column(path[:-1])
            if path[-1] is _NAME:
                self._columns[path] = conversions.names(parents, self._language)
            else:
                self._columns[path] = list(map(itemgetter(path[-1]), parents))
        return self._columns[path]


def _first(values: Sequence[Any], fallbacks: Sequence[Any]) -> list[Any]:
    """Return each value, or its fallback if it is None."""
    return [fallback if value is None else value for value, fallback in zip(values, fallbacks, strict=True)]


_NAME = "name in the language"
"""Last key of the path to one of the names in several languages."""


def _part(name: str, value: dict[str, Any] | list[Any]) -> Part:
    """Return the part of a shape for a map or a list with a key."""
    if isinstance(value, dict):
        return tuple(value) if name in _NESTED else True
    return _ends(value) if name == _SUBDIVISIONS else True


def _ends(values: list[Any]) -> Part:
    """Return the positions and keys of the first and the last map in a list."""
    maps = [(position, tuple(value)) for position, value in enumerate(values) if isinstance(value, dict)]
    return (*maps[:1], *maps[1:][-1:])


class Plan:
    """The paths of all values by their names in a flat record, of the values of each field, and of traits.

    Attributes:
        conversions: fields with the names of their values, the best first, and how to convert these.
        children: names and last keys of values by the other keys of their paths.

    """

    def __init__(self, flat: dict[str, Path]) -> None:
        self.flat = flat
        self.fields: dict[str, list[Path]] = {}
        for field, names in NAMES.items():
            paths = [flat[name] for name in names if name in flat]
            if paths:
                self.fields[field] = paths
        self.conversions = [
            (field, name, _CONVERSIONS[field][1]) for field, names in NAMES.items() for name in names if name in flat
        ]
        self.children: dict[Path, list[tuple[str, str | int]]] = {}
        for name, path in flat.items():
            self.children.setdefault(path[:-1], []).append((name, path[-1]))
        self.traits = {name: path for name, path in flat.items() if name not in _NOT_TRAITS}


@lru_cache(1024)
def _plan(keys: tuple[str, ...], parts: tuple[Part, ...]) -> Plan:
    """Return the plan for a shape: map each value to its name in a flat record."""
    flat: dict[str, Path] = {}
    for name, part in zip(keys, parts, strict=True):
        if isinstance(part, bool):
            flat[name] = (name,)
        elif name == _SUBDIVISIONS:
            flat |= _subdivisions(part)
        else:
            flat |= _NESTED[name](name, {key: (name, key) for key in part})
    return Plan(_network(flat) if not any(parts) and {"name", "asn"} <= flat.keys() else flat)


def _named(name: str, paths: dict[str, Path]) -> dict[str, Path]:
    """Flatten a map with a code and names: `iso_code` of a country becomes `country_code`."""
    flat = {_joined(name, key): path for key, path in paths.items() if key != "names"}
    if "names" in paths:
        flat[_joined(name, "name")] = (*paths["names"], _NAME)
    return flat


def _joined(name: str, key: str) -> str:
    return f"{name}_{key.removeprefix('iso_')}"


def _renamed(flat: dict[str, Path], old: str, new: str) -> dict[str, Path]:
    return {**{name: path for name, path in flat.items() if name != old}, **({new: flat[old]} if old in flat else {})}


_SUBDIVISIONS = "subdivisions"
_NESTED: dict[str, Callable[[str, dict[str, Path]], dict[str, Path]]] = {
    "continent": _named,
    "country": lambda name, paths: _renamed(
        _named(name, paths), "country_is_in_european_union", "is_in_european_union"
    ),
    "city": lambda name, paths: _renamed(_named(name, paths), "city_name", "city"),
    **dict.fromkeys(("location", "traits"), lambda _, paths: paths),
    "postal": _named,
    "registered_country": _named,
    "represented_country": _named,
}


def _network(flat: dict[str, Path]) -> dict[str, Path]:
    """Rename values of IPinfo's and IPLocate's ASN files: their country is that of the registration."""
    names = {"country_code": "as_country_code", "country": "as_country_code"}
    if flat.keys().isdisjoint(("org", "as_name")):
        names["name"] = "as_name"
    return {names.get(name, name): path for name, path in flat.items()}


def _subdivisions(maps: tuple[Any, ...]) -> dict[str, Path]:
    """Map the first-level subdivision; of smaller ones only the code of the last."""
    if not maps:
        return {}
    position, keys = maps[0]
    flat = _renamed(_named("region", {key: (_SUBDIVISIONS, position, key) for key in keys}), "region_name", "region")
    last, keys = maps[-1]
    if last != position and "iso_code" in keys:
        flat["subdivision_code"] = (_SUBDIVISIONS, last, "iso_code")
    return flat
