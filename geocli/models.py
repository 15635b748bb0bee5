"""The values that travel: places, answers, entries, and how they look outside."""

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

ENGLISH = "en"
"""Language of names by default, and where a record has no name in another one."""


class Place(Value):
    """Where something is, as far as the sources know."""

    country_code: str | None = None
    """ISO 3166-1 alpha-2."""
    country_name: str | None = None
    """In the language of names, like all names here."""
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
    """All else that the databases say, by their own names and of their own types."""

    @property
    def known(self) -> Known:
        """Whether it is known where the place is, and the network's number and organisation."""
        said = self.__dict__
        return any(said.get(name) is not None for name in WHERE_FIELDS), self.asn, self.org


WHERE_FIELDS = Place.field_names - {"asn", "org", "traits"}
"""Fields of a place that say where it is; all of them come from one source."""


class Answer(Value):
    """What one source, or several together, say of an address."""

    place: Place
    """Where it is."""
    source: str
    """Who answered; several are joined by `+`."""
    prefix_len: int | None = None
    """Length in bits of the prefix that the answer holds for."""
    built_at: datetime | None = None
    """When the source's data were made; UTC."""

    @property
    def knows_where(self) -> bool:
        """Whether any field that says where the place is is known."""
        return self.place.known[0]

    @property
    def has_stand_in(self) -> bool:
        """Whether the country is the one that the network is registered in, because no other is known."""
        return "country_is_registered" in (self.place.traits or {})

    @property
    def is_empty(self) -> bool:
        """Whether the source has a record of the address in which everything is unknown."""
        return all(value is None for value in vars(self.place).values())


class Entry(Value):
    """An address with its place, who said so, and when."""

    ip: str
    """Canonical text of the address; for `invalid`, the input as given."""
    status: str
    """`resolved`, `special`, `unresolved` or `invalid`."""
    scope: str | None = None
    """What a special address is for: `private`, `loopback`, ..."""
    place: Place = Place()
    """Where it is."""
    source: str | None = None
    """Who answered: `GeoLite2-City+GeoLite2-ASN`, `rir`, `iana`."""
    prefix_len: int | None = None
    """Length in bits of the prefix that the answer holds for."""
    built_at: datetime | None = None
    """When the source's data were made; UTC."""
    resolved_at: datetime | None = None
    """When the source was asked; UTC."""
    retry_at: datetime | None = None
    """When asking again makes sense, if nobody knew, or a web service's answer holds no longer; UTC."""
    generation: str = ""
    """Labels of the sources that were there to be asked the last time, in their order, `, ` between them."""
    answered_by: str = ""
    """The same of those that gave the answer; empty where they are those of `generation`."""
    cached: bool = False
    """Whether the answer was at hand, rather than asked for now."""
    error: str | None = None
    """Why there is no answer, or what is wrong with the address."""

    def as_dict(self) -> dict[str, Any]:
        """Return every field that `-F` knows by name, in its JSON form; those of the place beside all else.

        >>> entry = Entry(ip="81.2.69.160", status="resolved", place=Place(city="London"), prefix_len=27)
        >>> {name: value for name, value in entry.as_dict().items() if value}
        {'ip': '81.2.69.160', 'status': 'resolved', 'city': 'London', 'network': '81.2.69.160/27'}
        """
        return as_json(self, KNOWN_FIELDS)

    @property
    def network(self) -> str | None:
        """The prefix that the answer holds for.

        >>> Entry(ip="81.2.69.160", status="resolved", prefix_len=27).network
        '81.2.69.160/27'
        """
        if self.prefix_len is None or not 0 <= self.prefix_len <= (128 if ":" in self.ip else 32):
            return None  # unknown, or of the other family
        from ipaddress import ip_network

        return str(ip_network(f"{self.ip}/{self.prefix_len}", strict=False))


IANA = "iana"
"""The source of a special address that no database knows more about."""


def settle(earlier: Entry | None, later: Entry) -> Entry:
    """Decide between two entries of an address: the later one, but nothing found never hides a good answer.

    A good answer that is kept notes when asking again makes sense.
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
    """Return what the store and the journal know together, by address; what is in the journal is newer."""
    return {**stored, **{ip: settle(stored.get(ip), entry).replace(cached=True) for ip, entry in dirty.items()}}


def special(ip: str, scope: str | None) -> Entry | None:
    """Return the entry of an address that is nowhere, None for one that may be somewhere."""
    return None if scope is None else Entry(ip=ip, status="special", scope=scope, source=IANA)


FIELDS = (
    *("ip", "status", "country_code", "country_name", "region", "city", "postal_code"),
    *("latitude", "longitude", "time_zone", "asn", "org", "source", "resolved_at"),
)
"""The fields that every form of output knows, in their order."""
FIELDS_ON_REQUEST = ("scope", "network", "built_at", "cached", "error")
KNOWN_FIELDS = (*FIELDS, *FIELDS_ON_REQUEST, "traits")
JSON_FIELDS = (*FIELDS, "scope", "network", "built_at", "cached", "traits")
CSV_FIELDS = tuple(name for name in FIELDS if name not in {"postal_code", "resolved_at"})
_PATHS = {name: f"place.{name}" for name in Place.field_names}


def check_fields(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, if each is a field, `traits`, or `traits.NAME`.

    Raises:
        SettingsError: one is not; the message names the nearest field.

    """
    for name in names:
        if name not in KNOWN_FIELDS and not (name.startswith("traits.") and name != "traits."):
            raise SettingsError(name or "empty", unknown("field", name, KNOWN_FIELDS), origin="--fields")
    return tuple(names)


def unknown(what: str, name: str, known: Sequence[str]) -> str:
    """Say that a name is not one of the known ones, and which of them is nearest."""
    from difflib import get_close_matches

    nearest = get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(known)}"
    return f"unknown {what}; {hint}"


def value(entry: Entry, name: str) -> Any:
    """Return a field of an entry in its JSON form: text, number, boolean, dict, or None where unknown."""
    return reader((name,))(entry)[0]


def as_json(entry: Entry, names: Sequence[str] = JSON_FIELDS) -> dict[str, Any]:
    """Return the fields of an entry by name, ready for `json.dumps`.

    >>> as_json(Entry(ip="10.0.0.1", status="special", scope="private"), ("ip", "scope", "city"))
    {'ip': '10.0.0.1', 'scope': 'private', 'city': None}
    """
    return dict(zip(names, reader(tuple(names))(entry), strict=True))


@lru_cache(64)
def reader(names: tuple[str, ...]) -> Callable[[Entry], list[Any]]:
    """Return what reads these fields off an entry, in their JSON form; for many entries faster than `value`."""
    paths = ["place.traits" if name.startswith("traits.") else _PATHS.get(name, name) for name in names]
    read = attrgetter(*paths, "ip")  # of one name alone it would return no tuple
    forms: list[tuple[int, Callable[[Any], Any]]] = [
        *((number, _trait(name)) for number, name in enumerate(names) if name.startswith("traits.")),
        *((number, _instant_or_none) for number, name in enumerate(names) if name.endswith("_at")),
    ]

    def values(entry: Entry) -> list[Any]:
        *found, _ = read(entry)
        for number, form in forms:
            found[number] = form(found[number])
        return found

    return values


def _trait(name: str) -> Callable[[Traits | None], Any]:
    return lambda traits: (traits or {}).get(name.removeprefix("traits."))


def _instant_or_none(when: datetime | None) -> str | None:
    return None if when is None else instant_text(when)
