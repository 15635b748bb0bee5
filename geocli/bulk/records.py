"""What the records of several databases say together, each of them decoded once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from geocli.bulk.tree import NOTHING
from geocli.entries import WHERE_FIELDS, all_traits, instant_text, taken
from geocli.resolvers.mmdb import fields_of, record_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geocli.databases.discovery import Database
    from geocli.entries import Known

Said: TypeAlias = dict[str, Any]
"""What is known of a place, who says so, and since when, by field; instants as text."""
SAID_BYTES = 900
"""About what one record's fields take."""


class Records:
    """Asks databases for their records."""

    def __init__(self, databases: Sequence[Database], *, with_traits: bool) -> None:
        """Take the databases in their order, and whether anybody asks for traits."""
        self._databases = databases
        self._with_traits = with_traits
        self._names: dict[tuple[str, ...], dict[str, None]] = {}
        self._origins: list[Said] = [
            {"status": "resolved", "source": database.name}
            | ({"built_at": instant_text(database.built_at)} if database.built_at else {})
            for database in databases
        ]
        self._kept: dict[tuple[int, int], Said] = {}

    @property
    def size_bytes(self) -> int:
        """About how much memory is taken by what is kept of records that others may be merged with."""
        return len(self._kept) * SAID_BYTES

    def merged(self, offsets: Sequence[int], ip: str) -> tuple[Said, int]:
        """Return what the databases say together, as `entries.merge` has it, and which of them it is from.

        Args:
            offsets: where the data of each database begin, as `Tree.walk` returns them.
            ip: an address that has these records.

        Returns:
            Nothing if nobody says anything of use; and bits, of which the i-th stands for the i-th database.

        Raises:
            DatabaseError: a record is damaged.

        """
        whole: Said = {}
        sources = 0
        for bit, offset in enumerate(offsets):
            if offset == NOTHING or not (said := self._said(bit, offset, ip)):
                continue
            both = joined(whole, said) if whole else said
            sources |= (both is not whole) << bit
            whole = both
        return whole, sources

    def _said(self, bit: int, offset: int, ip: str) -> Said:
        if len(self._databases) == 1:  # whoever calls keeps what comes of this
            return self._asked(bit, ip)
        key = bit, offset
        if key not in self._kept:
            self._kept[key] = self._asked(bit, ip)
        return self._kept[key]

    def _asked(self, bit: int, ip: str) -> Said:
        is_alone = len(self._databases) == 1
        record, _ = record_at(self._databases[bit], ip)
        said = fields_of(record, with_traits=self._with_traits or not is_alone)
        if not self._with_traits and "traits" in said:  # others are merged by the names of traits
            names = tuple(said["traits"])
            said["traits"] = self._names.setdefault(names, dict.fromkeys(names))
        return said and said | self._origins[bit]


def joined(first: Said, second: Said) -> Said:
    """Add to what one source says what it lacks and another has."""
    names = taken(_known(first), _known(second))
    traits = all_traits(*((knows_where(said), said.get("traits", {})) for said in (first, second)))
    if not names and traits == first.get("traits", {}):
        return first
    said = {**first, **{name: second[name] for name in names & second.keys()}}
    said["source"] = f"{first['source']}+{second['source']}"
    if traits:
        said["traits"] = traits
    if "built_at" in second:
        said.setdefault("built_at", second["built_at"])
    return said


def _known(said: Said) -> Known:
    return knows_where(said), said.get("asn"), said.get("org")


def knows_where(said: Said) -> bool:
    """Tell whether it is known where a place is."""
    return not WHERE_FIELDS.isdisjoint(said)
