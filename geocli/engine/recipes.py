"""How the records of several sources are merged.

Which source a field is from depends on what each record has: where the place is, a network, its organisation, and which
traits. So a recipe is made once for each combination of kinds, by the merge rule of `lookup`, and holds for all records
that are combined like this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from geocli.merging import merge
from geocli.models import WHERE_FIELDS, Answer, Place
from geocli.resolvers.registries import NAME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geocli.databases.database import Database
    from geocli.engine.record_reader import Kind


class Recipe(NamedTuple):
    """How records of some kinds are merged; sources are numbered from 0, databases first, then the registries."""

    answer: Answer | None
    """Source and build of the merged answer; None if no record has anything."""
    sources: int
    """The databases that it is from, or that have an empty record, if no record has anything: bit i is the i-th."""
    fields: Mapping[str, int]
    """The source of each field."""
    traits: Mapping[str, int]
    """The source of each trait, in their order."""


def merged(databases: Sequence[Database], kinds: Sequence[Kind], networks: Sequence[int]) -> Recipe:
    """Find the source of each field by merging answers that have numbers of sources, from 1 on, as values.

    Args:
        databases: in their order.
        kinds: of a record of each, and of the country of registration where it was asked for.
        networks: equal for records that name the same network.

    """
    whole: Answer | None = None
    sources = 0
    names = [*((database.name, database.built_at) for database in databases), (NAME, None)]
    for bit, (kind, network, (name, built_at)) in enumerate(zip(kinds, networks, names, strict=False)):
        if kind.is_empty:
            continue
        answer = Answer(place=_numbered_place(bit, kind, network), source=name, built_at=built_at)
        both = answer if whole is None else merge(whole, answer)
        sources = 1 << bit if both is answer else sources | (both is not whole) << bit
        whole = both
    if whole is None:
        sources = sum(kind.is_there << bit for bit, kind in enumerate(kinds))
    sources &= (1 << len(databases)) - 1
    place = whole.place if whole else Place()
    fields: dict[str, int] = {}
    if place.country_code is not None:
        fields |= dict.fromkeys(WHERE_FIELDS, int(place.country_code) - 1)
    if place.asn is not None:
        fields["asn"] = next(bit for bit, kind in enumerate(kinds) if kind.has_asn)
    if place.org is not None:
        fields["org"] = int(place.org) - 1
    return Recipe(whole, sources, fields, place.traits or {})


def _numbered_place(bit: int, kind: Kind, network: int) -> Place:
    """Return a place whose values are the number of a source, from 1 on, for the fields that its records have."""
    return Place(
        country_code=bit + 1 if kind.knows_where else None,  # type: ignore[arg-type]  # stands for all location fields
        asn=network + 1 if kind.has_asn else None,
        org=bit + 1 if kind.has_org else None,  # type: ignore[arg-type]
        traits=dict.fromkeys(kind.traits, bit) or None,
    )
