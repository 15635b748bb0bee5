"""Places, answers and entries, and the fields of the output."""

from __future__ import annotations

from functools import lru_cache
from operator import attrgetter

from geocli.errors import SettingsError
from geocli.immutable import Value
from geocli.timestamps import instant_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from typing import Any, TypeAlias

    Traits: TypeAlias = dict[str, Any]
    Known: TypeAlias = tuple[bool, int | None, str | None]
    """Whether the place is known; the number and the organisation of the network."""

ENGLISH = "en"
"""Default language of names, and the fallback where a record has no name in another one."""


class Place(Value):
    """A place; None for unknown fields."""

    country_code: str | None = None
    """ISO 3166-1 alpha-2."""
    country_name: str | None = None
    """In the configured language, like all names."""
    region: str | None = None
    """First-level subdivision."""
    city: str | None = None
    postal_code: str | None = None
    """As the postal service writes it; often its first part only."""
    latitude: float | None = None
    """Degrees, WGS 84."""
    longitude: float | None = None
    """Degrees, WGS 84."""
    time_zone: str | None = None
    """Name in the IANA time zone database."""
    asn: int | None = None
    """Autonomous system number."""
    org: str | None = None
    """The autonomous system's organisation, else the internet service provider."""
    traits: Traits | None = None
    """Other values of the databases, by their names there."""

    @property
    def known(self) -> Known:
        """Whether the place is known; the number and the organisation of the network."""
        values = self.__dict__
        # Nearly all places have a country.
        has_place = values.get("country_code") is not None or any(values.get(name) is not None for name in WHERE_FIELDS)
        return has_place, self.asn, self.org


WHERE_FIELDS = Place.field_names - {"asn", "org", "traits"}
"""Fields that are about the place, not the network; all of them come from one source."""


class Answer(Value):
    """The answer of one or several sources for an address."""

    place: Place
    source: str
    """Names of the sources, joined by `+`."""
    prefix_len: int | None = None
    """Length of the network of the answer, in bits."""
    built_at: datetime | None = None
    """Build time of the source's data; UTC."""

    @property
    def has_place(self) -> bool:
        """Whether any of `WHERE_FIELDS` is known."""
        return self.place.country_code is not None or self.place.known[0]

    @property
    def has_stand_in(self) -> bool:
        """Whether the country is the one in which the network is registered, for want of another."""
        return "country_is_registered" in (self.place.traits or {})

    @property
    def is_empty(self) -> bool:
        """Whether all values are unknown, though the source has a record of the address."""
        return not self.has_place and all(value is None for value in vars(self.place).values())


class Entry(Value):
    """An address with its answer, status, source and times."""

    ip: str
    """Canonical text of the address; with status `invalid` or `comment`, the unchanged input."""
    status: str
    """`resolved`, `special`, `unresolved` or `invalid`; `comment` for comments and blank lines of a list."""
    scope: str | None = None
    """Purpose of a special address: `private`, `loopback`, ..."""
    place: Place = Place()
    source: str | None = None
    """Names of the sources: `GeoLite2-City+GeoLite2-ASN`, `rir`, `iana`."""
    prefix_len: int | None = None
    """Length of the network of the answer, in bits."""
    built_at: datetime | None = None
    """Build time of the source's data; UTC."""
    resolved_at: datetime | None = None
    """When the sources were asked; UTC."""
    retry_at: datetime | None = None
    """When the address is due: it is unresolved, a source failed, or the answer is a web service's; UTC."""
    generation: str = ""
    """Labels of the sources at the last resolution, in their order, separated by `, `."""
    answered_by: str = ""
    """Labels of the sources at the resolution that gave the answer, if they differ from `generation`."""
    cached: bool = False
    """Whether the answer was cached, not resolved now."""
    error: str | None = None
    """Why there is no answer, or why the address is invalid."""

    def as_dict(self) -> dict[str, Any]:
        """Return all output fields by name, in their JSON form.

        >>> entry = Entry(ip="81.2.69.160", status="resolved", place=Place(city="London"), prefix_len=27)
        >>> {name: value for name, value in entry.as_dict().items() if value}
        {'ip': '81.2.69.160', 'status': 'resolved', 'city': 'London', 'network': '81.2.69.160/27'}
        """
        return as_json(self, KNOWN_FIELDS)

    @property
    def network(self) -> str | None:
        """The network of the answer, of a network itself.

        >>> Entry(ip="81.2.69.160", status="resolved", prefix_len=27).network
        '81.2.69.160/27'
        """
        if self.prefix_len is None and "/" in self.ip and self.status != "invalid":
            return self.ip
        if self.prefix_len is None or not 0 <= self.prefix_len <= (128 if ":" in self.ip else 32):
            return None  # unknown, or of the other address family
        from ipaddress import ip_network

        return str(ip_network(f"{self.ip}/{self.prefix_len}", strict=False))


IANA = "iana"
"""Source of a special address without a record in any database."""


def settle(earlier: Entry | None, later: Entry) -> Entry:
    """Return the later of two entries of an address; but an unresolved one never replaces an answer.

    The answer then takes the retry time of the unresolved entry.
    """
    if earlier is None or later.status != "unresolved" or earlier.status != "resolved":
        return later
    answered_by = earlier.answered_by or earlier.generation
    return earlier.replace(
        retry_at=later.retry_at,
        generation=later.generation,
        answered_by="" if answered_by == later.generation else answered_by,
    )


def newest(stored: Mapping[str, Entry], dirty: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return the newest entry of each address; those of the journal are newer than those of the store."""
    return {**stored, **{ip: settle(stored.get(ip), entry).replace(cached=True) for ip, entry in dirty.items()}}


def special(ip: str, scope: str | None) -> Entry | None:
    """Return the entry of a special address, None for a global one."""
    return None if scope is None else Entry(ip=ip, status="special", scope=scope, source=IANA)


FIELDS = (
    *("ip", "status", "country_code", "country_name", "region", "city", "postal_code"),
    *("latitude", "longitude", "time_zone", "asn", "org", "source", "resolved_at"),
)
"""Fields of every output format, in their order."""
FIELDS_ON_REQUEST = ("scope", "network", "built_at", "cached", "error")
KNOWN_FIELDS = (*FIELDS, *FIELDS_ON_REQUEST, "traits")
JSON_FIELDS = (*FIELDS, "scope", "network", "built_at", "cached", "traits")
CSV_FIELDS = tuple(name for name in FIELDS if name not in {"postal_code", "resolved_at"})
_PATHS = {name: f"place.{name}" for name in Place.field_names}


def check_fields(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of fields, which may be `traits` or `traits.NAME`.

    Raises SettingsError for an unknown name; the message suggests the nearest field.
    """
    for name in names:
        if name not in KNOWN_FIELDS and not (name.startswith("traits.") and name != "traits."):
            raise SettingsError(name or "empty", unknown("field", name, KNOWN_FIELDS), origin="--fields")
    return tuple(names)


def unknown(kind: str, name: str, known: Sequence[str]) -> str:
    """Return the message for an unknown name, with the nearest known one."""
    from difflib import get_close_matches

    nearest = get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(known)}"
    return f"unknown {kind}; {hint}"


def value(entry: Entry, name: str) -> Any:
    """Return a field of an entry in its JSON form, None if it is unknown."""
    return reader((name,))(entry)[0]


def as_json(entry: Entry, names: Sequence[str] = JSON_FIELDS) -> dict[str, Any]:
    """Return the fields of an entry by name, ready for `json.dumps`.

    >>> as_json(Entry(ip="10.0.0.1", status="special", scope="private"), ("ip", "scope", "city"))
    {'ip': '10.0.0.1', 'scope': 'private', 'city': None}
    """
    return dict(zip(names, reader(tuple(names))(entry), strict=True))


@lru_cache(64)
def reader(names: tuple[str, ...]) -> Callable[[Entry], tuple[Any, ...]]:
    """Return a function that extracts fields from an entry, in their JSON form; faster than `value` for many."""
    paths = ["place.traits" if name.startswith("traits.") else _PATHS.get(name, name) for name in names]
    get = attrgetter(*paths, "ip", "ip")  # with fewer than two names it would not return a tuple

    def read(entry: Entry) -> tuple[Any, ...]:
        values: tuple[Any, ...] = get(entry)
        return values[:-2]

    conversions: list[tuple[int, Callable[[Any], Any]]] = [
        *((number, _trait(name)) for number, name in enumerate(names) if name.startswith("traits.")),
        *((number, _instant_or_none) for number, name in enumerate(names) if name.endswith("_at")),
    ]

    def converted(entry: Entry) -> tuple[Any, ...]:
        fields = list(read(entry))
        for number, convert in conversions:
            fields[number] = convert(fields[number])
        return tuple(fields)

    return converted if conversions else attrgetter(*paths) if len(paths) > 1 else read


def _trait(name: str) -> Callable[[Traits | None], Any]:
    return lambda traits: (traits or {}).get(name.removeprefix("traits."))


def _instant_or_none(when: datetime | None) -> str | None:
    return None if when is None else instant_text(when)
