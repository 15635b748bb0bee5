"""Kinds of records, and recipes: which source each field of a merged answer is from.

This depends only on the kinds of the records: whether they have a place, a network, its organisation, and which traits.
So a recipe is made once for each combination of kinds, by the merge rule of `lookup`, and used for all such records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from geocli.merging import merge
from geocli.models import WHERE_FIELDS, Answer, Place
from geocli.resolvers.registries import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from geocli.databases.database import Database


class Kind(NamedTuple):
    """The fields that a record has, which determine the fields that an answer takes from it."""

    has_place: bool
    has_asn: bool
    has_org: bool
    traits: tuple[str, ...]
    """Names of its traits; with one database and no traits in the output, only whether there are any."""
    empty_cells: tuple[str, ...] = ()
    """Fields without a value, if the output has other text around missing cells."""
    is_there: bool = True
    """Whether there is a record, which may be empty."""

    @property
    def is_empty(self) -> bool:
        """Whether the record is empty, or there is none."""
        return not any((self.has_place, self.has_asn, self.has_org, self.traits))

    def has(self, field: str) -> bool:
        """Return whether records of this kind may have a field, or a trait by its name in the output."""
        name, _, trait = field.partition(".")
        if name == "traits":
            return trait in self.traits if trait else bool(self.traits)
        return {"asn": self.has_asn, "org": self.has_org}.get(name, name in WHERE_FIELDS and self.has_place)


class Group(NamedTuple):
    """Records of one kind."""

    numbers: Sequence[int]
    """Their numbers."""
    field: Callable[[str], Sequence[Any]]
    """Returns a field of each record, or a trait by its name in the output."""


class Recipe(NamedTuple):
    """The source of each field for records of some kinds; databases are numbered from 0, followed by the registries."""

    answer: Answer | None
    """Source and build time of the merged answer; None if all records are empty."""
    sources: int
    """Databases of the answer, or with an empty record if all are empty: bit i is the i-th."""
    fields: Mapping[str, int]
    """The source of each field."""
    traits: Mapping[str, int]
    """The source of each trait, in order."""


def merged(databases: Sequence[Database], kinds: Sequence[Kind], networks: Sequence[int]) -> Recipe:
    """Find the source of each field by merging answers whose values are numbers of sources, from 1 on.

    Args:
        databases: databases in order of precedence.
        kinds: kind of a record of each, and of the country of registration if there is one.
        networks: for each record a number that is equal for the same AS number.

    """
    whole: Answer | None = None
    sources = 0
    names = [*((database.name, database.built_at) for database in databases), (NAME, None)]
    for bit, (kind, network, (name, built_at)) in enumerate(zip(kinds, networks, names, strict=False)):
        if kind.is_empty:
            continue
        answer = Answer(place=_numbered_place(bit, kind, network), source=name, built_at=built_at)
        extended = answer if whole is None else merge(whole, answer)
        # A place may replace an answer without one; a record that adds nothing is no source.
        sources = 1 << bit if extended is answer else sources | (extended is not whole) << bit
        whole = extended
    if whole is None:
        sources = sum(kind.is_there << bit for bit, kind in enumerate(kinds))
    sources &= (1 << len(databases)) - 1
    place = whole.place if whole else Place()
    return Recipe(whole, sources, _fields(place, kinds), place.traits or {})


def _fields(place: Place, kinds: Sequence[Kind]) -> dict[str, int]:
    """Return the source of each field by a place whose values are numbers of sources."""
    fields: dict[str, int] = {}
    if place.country_code is not None:
        fields |= dict.fromkeys(WHERE_FIELDS, int(place.country_code) - 1)
    if place.asn is not None:
        fields["asn"] = next(bit for bit, kind in enumerate(kinds) if kind.has_asn)
    if place.org is not None:
        fields["org"] = int(place.org) - 1
    return fields


def _numbered_place(bit: int, kind: Kind, network: int) -> Place:
    """Return a place with the number of a source, from 1 on, as value of each field that its records have."""
    return Place(
        country_code=bit + 1 if kind.has_place else None,  # type: ignore[arg-type]  # stands for all location fields
        asn=network + 1 if kind.has_asn else None,
        org=bit + 1 if kind.has_org else None,  # type: ignore[arg-type]
        traits=dict.fromkeys(kind.traits, bit) or None,
    )
