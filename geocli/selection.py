"""Select entries by the values of their fields: `country_code=NL,BE`, `asn=AS15169`, `is_anonymous=true`."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property

from geocli.addresses import ranges
from geocli.countries import check_country_code
from geocli.errors import AddressError, SettingsError
from geocli.immutable import Value
from geocli.models import KNOWN_FIELDS, reader, unknown
from geocli.settings import COMMAND_LINE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from geocli.models import Entry

TRAITS = (
    *("continent_code", "continent_name", "is_in_european_union", "accuracy_radius", "subdivision_code", "metro_code"),
    *("geoname_id", "continent_geoname_id", "country_geoname_id", "region_geoname_id", "city_geoname_id"),
    *("region_code", "state2", "average_income", "population_density"),
    *("country_confidence", "region_confidence", "city_confidence", "postal_confidence"),
    *("country_is_registered", "registered_country_code", "registered_country_name"),
    *("represented_country_code", "represented_country_name", "represented_country_type", "as_country_code"),
    *("isp", "organization", "domain", "as_domain", "as_type", "connection_type", "user_type", "user_count"),
    *("mobile_country_code", "mobile_network_code", "static_ip_score", "ip_risk_snapshot", "embedded_ipv4", "value"),
    *("is_anonymous", "is_anonymous_vpn", "is_anonymous_proxy", "is_hosting_provider", "is_public_proxy"),
    *("is_residential_proxy", "is_legitimate_proxy", "is_tor_exit_node", "is_satellite_provider", "is_anycast"),
    *("anonymizer_confidence", "network_last_seen", "provider_name"),
)
"""Traits of common databases, which are known without the prefix `traits.`."""
COUNTRIES = frozenset({"country_code", *(f"traits.{name}_code" for name in ("registered_country", "as_country"))})
"""Fields with an ISO 3166-1 alpha-2 code."""
NUMBERS = frozenset({"latitude", "longitude"})
_TRUTH = {"true": True, "false": False}


class Condition(Value):
    """The values that a field of an entry may have; those that it may not have, if it is negated."""

    field: str
    """A field of the output, or `traits.NAME`."""
    texts: tuple[str, ...]
    """The alternatives, as given; an empty one stands for an unknown value."""
    is_negated: bool = False

    def holds(self, value: Any) -> bool:
        """Return whether a value of the field, in its JSON form, meets the condition."""
        return bool(self.met(value)) is not self.is_negated

    def met(self, value: Any) -> tuple[str, ...]:
        """Return the alternatives that a value equals: by its own type, and text in either case."""
        if isinstance(value, list):
            return tuple(text for element in value for text in self.met(element))
        if isinstance(value, bool):
            text = self._by_text.get(str(value).lower())
        elif isinstance(value, int | float):
            text = self._by_number.get(value)
        else:
            text = self._by_text.get("" if value is None else value.casefold()) if not isinstance(value, dict) else None
        return () if text is None or (value is not None and not text) else (text,)

    @cached_property
    def _by_text(self) -> dict[str, str]:
        return {text.casefold(): text for text in self.texts}

    @cached_property
    def _by_number(self) -> dict[float, str]:
        # Some writers of databases store 1 and 0 for true and false.
        pairs = ((_TRUTH.get(text.casefold(), _number(text)), text) for text in self.texts)
        return {number: text for number, text in pairs if number is not None}

    def __str__(self) -> str:
        """Return the condition as on the command line."""
        values = ",".join(f'"{text}"' if "," in text else text for text in self.texts)
        return f"{'except ' if self.is_negated else ''}{self.field.removeprefix('traits.')}={values}"


class Selection(Value):
    """Conditions that must all hold."""

    conditions: tuple[Condition, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the conditions, each once."""
        return tuple(dict.fromkeys(condition.field for condition in self.conditions))

    def matches(self, entry: Entry) -> bool:
        """Return whether all conditions hold for an entry."""
        return self.admits(reader(self.fields)(entry))

    def admits(self, values: Sequence[Any]) -> bool:
        """Return whether all conditions hold for values of `fields`, in their order and in their JSON form."""
        by_field = dict(zip(self.fields, values, strict=True))
        return all(condition.holds(by_field[condition.field]) for condition in self.conditions)

    def met(self, entry: Entry) -> set[tuple[str, str]]:
        """Return the field and the text of each alternative of conditions, negated ones apart, that an entry has."""
        values = dict(zip(self.fields, reader(self.fields)(entry), strict=True))
        positive = self._positive
        return {(condition.field, text) for condition in positive for text in condition.met(values[condition.field])}

    @property
    def alternatives(self) -> set[tuple[str, str]]:
        """The field and the text of each alternative of conditions, negated ones apart."""
        return {(condition.field, text) for condition in self._positive for text in condition.texts}

    @property
    def _positive(self) -> list[Condition]:
        return [condition for condition in self.conditions if not condition.is_negated]

    def __str__(self) -> str:
        """Return the conditions as one line.

        >>> print(selection_of(countries=["nl,be"], excluded=["asn=AS1103"]))
        country_code=NL,BE; except asn=1103
        """
        return "; ".join(map(str, self.conditions))


def selection_of(
    only: Iterable[str] = (), excluded: Iterable[str] = (), countries: Iterable[str] = (), asns: Iterable[str] = ()
) -> Selection | None:
    """Return the selection of the options `--only`, `--except`, `--country` and `--asn`; None without any.

    Each option of the first two is a condition. Those of the last two are alternatives. Raises SettingsError for an
    unknown field or value; the message suggests the nearest.
    """
    conditions = [_parsed("--only", text) for text in only]
    for name, field, texts in (("--country", "country_code", countries), ("--asn", "asn", asns)):
        if values := [value for text in texts for value in _split(name, text)]:
            if "" in values:
                raise SettingsError(name, "empty", origin=COMMAND_LINE)
            conditions.append(_condition(name, field, values))
    conditions += [_parsed("--except", text).replace(is_negated=True) for text in excluded]
    return Selection(conditions=tuple(conditions)) if conditions else None


def _parsed(option: str, text: str) -> Condition:
    field, equals, values = text.partition("=")
    if not equals:
        reason = f"{text!r} is not FIELD=VALUE, as in country_code=NL,BE"
        raise SettingsError(option, reason, origin=COMMAND_LINE)
    if not field.strip():
        raise SettingsError(f"{option} {text}", "no field before the equals sign", origin=COMMAND_LINE)
    return _condition(option, known_field(option, field.strip()), _split(option, values))


def known_field(option: str, name: str) -> str:
    """Return the field of a name; common traits need no prefix. Raises SettingsError if there is none."""
    if name in KNOWN_FIELDS and name != "traits":
        return name
    trait = name.removeprefix("traits.")
    if name in TRAITS or (trait and trait != name):
        return f"traits.{trait}"
    if not name:
        raise SettingsError(option, "a field has no name; give names like country_code,asn", origin=COMMAND_LINE)
    fields = [field for field in KNOWN_FIELDS if field != "traits"]
    reason = unknown("field", name, [*fields, *TRAITS])
    raise SettingsError(f"{option} {name}", f"{reason}; other values of databases are traits.NAME", origin=COMMAND_LINE)


def _split(option: str, text: str) -> list[str]:
    """Split alternatives at commas, unless they are quoted as in CSV."""
    if '"' not in text:
        return [value.strip() for value in text.split(",")]
    import csv

    try:
        return next(csv.reader([text], strict=True, skipinitialspace=True))
    except csv.Error as error:
        raise SettingsError(option, f"{text}: {error}", origin=COMMAND_LINE) from None


def _condition(option: str, field: str, texts: Iterable[str]) -> Condition:
    try:
        canonical = [_canonical(field, text) if text else "" for text in texts]
    except ValueError as error:
        raise SettingsError(option, str(error), origin=COMMAND_LINE) from None
    return Condition(field=field, texts=tuple(dict.fromkeys(canonical)))


def _canonical(field: str, text: str) -> str:
    """Return a value in the spelling of the field, or raise ValueError if it cannot be one."""
    if field in COUNTRIES:
        return check_country_code(text)
    if field == "asn":
        return _asn(text)
    if field == "ip":
        return _address(text)
    if field in NUMBERS and _number(text) is None:
        raise ValueError(f"{text!r} is not a number")
    if (field == "cached" or field.startswith("traits.is_")) and text.lower() not in _TRUTH:
        raise ValueError(f"{text!r} is not true or false")
    choices = _choices().get(field)
    if choices and text.casefold() not in map(str.casefold, choices):
        raise ValueError(f"{text}: {unknown(field.removeprefix('traits.'), text, choices)}")
    return text


def _asn(text: str) -> str:
    number = text.upper().removeprefix("AS")
    if not (number.isascii() and number.isdecimal() and 0 < int(number[:11]) < 1 << 32):
        raise ValueError(f"{text!r} is not the number of an autonomous system, as in AS15169")
    return str(int(number))


def _address(text: str) -> str:
    """Return an address, a network or a range in canonical form; anything else, such as a host name, as it is."""
    from geocli.address_ranges import AddressRange, parse

    with suppress(AddressError):
        address = parse(text)
        return address.text if isinstance(address, AddressRange) else str(address)
    return text


def _choices() -> dict[str, Sequence[str]]:
    """Return the values of the fields that have few."""
    scopes = {name for version in (4, 6) for *_, name in ranges(version)} - {"global", "nat64", "teredo", "6to4"}
    return {
        "status": ("resolved", "special", "unresolved", "invalid", "comment"),
        "scope": sorted(scopes),
        "traits.continent_code": ("AF", "AN", "AS", "EU", "NA", "OC", "SA"),
    }


def _number(text: str) -> float | None:
    """Return the number that a string is; an integer exactly, since a float has only 53 bits of it."""
    for read in (int, float):
        with suppress(ValueError):
            return read(text)
    return None
