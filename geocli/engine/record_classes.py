"""Classes of records in a database that are equal for a selection."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from geocli.models import WHERE_FIELDS, Answer
from geocli.resolvers.mmdb_schemas import NAMES, place_from

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable
    from ipaddress import IPv4Address, IPv6Address
    from typing import TypeAlias

    from geocli.databases.database import Database

    Key: TypeAlias = Callable[[Answer], Hashable]
    """Returns what a selection can tell apart."""

NO_RECORD = 0
"""The class, and the offset, of addresses without a record."""
ENTERED = "location"
"""A map whose values are compared as those of the record are."""
SEPARATE_FIELDS = (WHERE_FIELDS - {"latitude", "longitude"}) | {"asn", "org", "scope"}
"""Fields that depend on their own values in a record; coordinates depend on names, the status on everything."""
COUNTRY_TRAITS = frozenset(f"traits.{name}" for name in ("continent_code", "continent_name", "is_in_european_union"))
COUNTRY_KEYS = {
    *(*NAMES["country_code"], *NAMES["country_name"], "continent", "registered_country", "represented_country"),
}
LOCAL_KEYS = {
    "region": {*NAMES["region"], "subdivisions", "state2"},
    "city": {*NAMES["city"]},
    "postal_code": {*NAMES["postal_code"]},
    "time_zone": {*NAMES["time_zone"]},
    "latitude": {*NAMES["latitude"], "accuracy_radius", "metro_code", "average_income", "population_density"},
    "longitude": {*NAMES["longitude"]},
}
NETWORK_KEYS = {*NAMES["asn"], *NAMES["org"]}
"""Keys of records by the fields that are read from them."""
NETWORK_FIELDS = frozenset({"asn", "org"})
UNUSUAL = 0
"""The outline of records that are not compared."""


def unread_keys(fields: Collection[str]) -> set[str]:
    """Return keys of records that can be left unread for these fields, where the country of a record is known."""
    names = frozenset(fields)
    if not names <= SEPARATE_FIELDS | COUNTRY_TRAITS:
        return set()
    keys = {key for field, local in LOCAL_KEYS.items() if field not in names for key in local}
    keys |= NETWORK_KEYS if names.isdisjoint(NETWORK_FIELDS) else set()
    return keys | (COUNTRY_KEYS if names <= NETWORK_FIELDS | {"scope"} else set())


class RecordClasses:
    """The classes of the records of one database, each of which is read.

    Attributes:
        answers: one for each class, which stands for all of it; None for `NO_RECORD`.
        marks: for the kernel, 64 bits for 32 bytes of the data, which tell the number of a record from its offset.
        by_number: for the kernel, the class of each record in the order of offsets, from number 1.

    """

    def __init__(self, database: Database, key: Key, language: str) -> None:
        self.database, self.language = database, language
        self.marks, self.by_number = memoryview(b""), array("I")
        self.answers: list[Answer | None] = [None]
        self._key = key
        self._numbers: dict[Hashable, int] = {}
        self._by_offset = {NO_RECORD: NO_RECORD}

    @property
    def count(self) -> int:
        """The number of classes."""
        return len(self.answers)

    def of_offset(self, offset: int) -> int:
        """Return the class of the record at an offset."""
        return self._by_offset[offset]

    def add(self, offset: int, record: object) -> None:
        """Add a record, which may be of a new class."""
        place = place_from(record, self.language)
        answer = Answer(place=place, source=self.database.name, built_at=self.database.built_at)
        number = self._numbers.setdefault(self._key(answer), self.count)
        if number == self.count:
            self.answers.append(answer)
        self._by_offset[offset] = number

    def add_at(self, offset: int, address: IPv4Address | IPv6Address) -> None:
        """Read the record of an address, and add it, unless it was added.

        Raises:
            DatabaseError: the record is damaged.

        """
        if offset not in self._by_offset:
            self.add(offset, self.database.read(address)[0])
