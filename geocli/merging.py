"""One answer from those of several sources."""

from __future__ import annotations

from geocli.models import WHERE_FIELDS, Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from geocli.models import Answer, Known, Traits

PLACE_TRAITS = frozenset(
    {
        *("accuracy_radius", "average_income", "population_density", "metro_code", "state2", "geoname_id"),
        *("continent", "continent_code", "continent_name", "continent_geoname_id", "is_in_european_union"),
        *("country_geoname_id", "country_confidence", "region_code", "region_geoname_id", "region_confidence"),
        *("subdivision_code", "city_geoname_id", "city_confidence", "postal_confidence"),
        "country_is_registered",
    }
)
"""Traits that are about the place, not the network."""


def taken(first: Known, second: Known) -> frozenset[str]:
    """Return the fields of a place that one source lacks and the next one adds.

    Where the place is comes from one source alone, the first that knows: Paris from one and the latitude
    of another would be a place that does not exist.
    """
    (first_where, first_asn, first_org), (second_where, second_asn, second_org) = first, second
    where = WHERE_FIELDS if second_where and not first_where else frozenset[str]()
    if first_asn is None and second_asn is not None:
        return where | ({"asn", "org"} if second_org else {"asn"})
    if first_org is None and second_org is not None and second_asn in {None, first_asn}:
        return where | {"org"}
    return where


def all_traits(first: tuple[bool, Traits], second: tuple[bool, Traits]) -> Traits:
    """Return what two sources say besides, the first before the second.

    What is about the place comes from the source of the place: an accuracy radius is that of one latitude.

    Args:
        first: whether it knows where the place is, and its traits.
        second: the same of the next one.

    """
    (first_where, said), (second_where, added) = first, second
    if first_where:
        added = {name: what for name, what in added.items() if name not in PLACE_TRAITS}
    elif second_where:
        said = {name: what for name, what in said.items() if name not in PLACE_TRAITS}
    return {**added, **said}


def merge(first: Answer, second: Answer) -> Answer:
    """Add to an answer what it lacks and another source knows.

    Of an answer in which everything is unknown nothing is left, unless both are. A country of registration, which
    only stands in for an unknown one, gives way to a place.
    """
    if first.has_stand_in and second.knows_where and not second.has_stand_in:
        first = _without_place(first)
    lengths = [answer.prefix_len for answer in (first, second) if answer.prefix_len is not None]
    if first.is_empty or second.is_empty:
        known = second if first.is_empty else first
        return known.replace(prefix_len=max(lengths, default=None)) if known.is_empty else known
    added = {name: getattr(second.place, name) for name in taken(first.place.known, second.place.known)}
    traits = all_traits(*((answer.knows_where, answer.place.traits or {}) for answer in (first, second)))
    if not added and traits == (first.place.traits or {}):
        return first
    return first.replace(
        place=first.place.replace(**added, traits=traits or None),
        source=f"{first.source}+{second.source}",
        prefix_len=max(lengths, default=None),
        built_at=first.built_at or second.built_at,
    )


def _without_place(answer: Answer) -> Answer:
    """Return what an answer says of the network alone."""
    place = answer.place
    traits = {name: value for name, value in (place.traits or {}).items() if name not in PLACE_TRAITS}
    return answer.replace(place=Place(asn=place.asn, org=place.org, traits=traits or None))
