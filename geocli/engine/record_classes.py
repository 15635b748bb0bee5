"""Classes of records in a database that are equal for a selection; the kernel finds them by reading few records."""

from __future__ import annotations

from array import array
from ctypes import byref
from typing import TYPE_CHECKING

from geocli.engine.kernel import address_of, allocated, kernel
from geocli.engine.search_tree import MAX_RECORDS
from geocli.errors import DatabaseError
from geocli.models import WHERE_FIELDS, Answer
from geocli.resolvers.mmdb_schemas import NAMES, place_from

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
    from ipaddress import IPv4Address, IPv6Address
    from typing import TypeAlias

    from geocli.databases.database import Database
    from geocli.engine.search_tree import SearchTree

    Key: TypeAlias = Callable[[Answer], Hashable]
    """Returns what a selection can tell apart."""
    Found: TypeAlias = Iterator[tuple[int, IPv4Address | IPv6Address]]
    """Offsets of records, and an address of each."""

MARKED_BYTES = 32
"""Bytes of the data for which there is a word of marks."""
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


class KernelClasses(RecordClasses):
    """Classes of records found by the kernel, which compares records by the relevant values, so that few are read."""

    def __init__(
        self,
        tree: SearchTree,
        key: Key,
        language: str,
        fields: Collection[str],
        find: Callable[[Collection[int]], Found],
    ) -> None:
        """Read records; for `key` and `fields` see `Walker.classes`; `find` returns an address of each at some offsets.

        Raises:
            DatabaseError: a record is damaged.

        """
        super().__init__(tree.database, key, language)
        self._tree, self._find, self._offsets = tree, find, array("I")
        self._unread = unread_keys(fields)
        self._uncertain: set[int] = set()
        outlines = self._outlines()
        first = dict(zip(reversed(outlines), reversed(self._offsets), strict=True))
        self._read(first.values())
        apart = {UNUSUAL}
        if not frozenset(fields) <= NETWORK_FIELDS | {"scope"}:
            apart |= {outline for outline, offset in first.items() if offset in self._uncertain}
        by_outline = {outline: self._by_offset.get(offset, NO_RECORD) for outline, offset in first.items()}
        numbers = array("I", map(by_outline.__getitem__, outlines))
        if not apart.isdisjoint(first):
            rows = [row for row, outline in enumerate(outlines) if outline in apart]
            self._read([self._offsets[row] for row in rows])
            for row in rows:
                numbers[row] = self._by_offset.get(self._offsets[row], NO_RECORD)
        self.by_number = array("I", [NO_RECORD]) + numbers + array("I", [NO_RECORD])

    def of_offset(self, offset: int) -> int:
        """Return the class of the record at an offset."""
        if len(self._by_offset) <= len(self._offsets):
            self._by_offset |= zip(self._offsets, self.by_number[1:], strict=False)
        return self._by_offset[offset]

    def add(self, offset: int, record: object) -> None:
        """Add a record; records with its outline are of its class, unless their place may differ without a country."""
        super().add(offset, record)
        answer = self.answers[self._by_offset[offset]]
        if isinstance(record, dict) and answer is not None and answer.place.country_code is None:
            entered = record.get(ENTERED)
            keys = {*record, *(entered if isinstance(entered, dict) else ())}
            if not self._unread.isdisjoint(keys):
                self._uncertain.add(offset)

    def _outlines(self) -> array[int]:
        """Mark all records, and return a hash of each without the values of some keys, or `UNUSUAL`."""
        tree = self._tree.tree
        words = (tree.size_bytes - tree.node_count * (tree.record_bits // 4)) // MARKED_BYTES + 1
        self.marks = memoryview(allocated(8 * words)).cast("Q")
        marked = byref(tree), address_of(self.marks), words
        if (count := kernel().mark(*marked)) < 0:
            reason = "damaged: a record is outside of the file; reinstall it with: geocli db update"
            raise DatabaseError(self.database.file.path, reason)
        self._offsets, outlines = array("I", bytes(4 * count)), array("Q", bytes(8 * count))
        texts = sorted({*self._unread, ENTERED}, key=len) if self._unread else []
        keys = b"".join(bytes([len(text)]) + text.encode() for text in texts)
        entered = keys.find(bytes([len(ENTERED)]) + ENTERED.encode()) if texts else 0
        kernel().outline(*marked, keys, len(keys), entered, address_of(self._offsets), address_of(outlines))
        return outlines

    def _read(self, offsets: Iterable[int]) -> None:
        """Add the records at these offsets, read by the reader if the kernel cannot decode them."""
        new = sorted({*offsets} - self._by_offset.keys())
        unusual = []
        for start in range(0, len(new), MAX_RECORDS):
            block = new[start : start + MAX_RECORDS]
            records, _ = self._tree.records(block, self.language)
            for offset, record in zip(block, records, strict=True):
                if record is None:
                    unusual.append(offset)
                else:
                    self.add(offset, record)
        for offset, address in self._find(unusual):
            self.add_at(offset, address)
