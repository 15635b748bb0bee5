"""Merge the answers of several sources."""

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
"""Traits about the place, not the network."""


def added_fields(first: Known, second: Known) -> frozenset[str]:
    """Return the fields that a second source adds to those of a first one.

    All fields of the place come from one source, the first that has any: Paris from one and the latitude of another
    would be a place that does not exist.
    """
    (first_where, first_asn, first_org), (second_where, second_asn, second_org) = first, second
    where = WHERE_FIELDS if second_where and not first_where else frozenset[str]()
    if first_asn is None and second_asn is not None:
        return where | ({"asn", "org"} if second_org else {"asn"})
    if first_org is None and second_org is not None and second_asn in {None, first_asn}:
        return where | {"org"}
    return where


def all_traits(first: tuple[bool, Traits], second: tuple[bool, Traits]) -> Traits:
    """Merge the traits of two sources; those of the first take precedence.

    Traits about the place come from the source of the place: an accuracy radius belongs to one latitude.

    Args:
        first: whether the first source has a place, and its traits.
        second: the same of the second source.

    """
    (first_where, first_traits), (second_where, second_traits) = first, second
    if first_where:
        second_traits = _network_traits(second_traits)
    elif second_where:
        first_traits = _network_traits(first_traits)
    return {**second_traits, **first_traits}


def _network_traits(traits: Traits) -> Traits:
    return {name: value for name, value in traits.items() if name not in PLACE_TRAITS}


def merge(first: Answer, second: Answer) -> Answer:
    """Add fields of a second answer to a first one.

    Empty answers are dropped, unless both are empty. A country of registration is replaced by a known place.
    """
    if first.has_stand_in and second.has_place and not second.has_stand_in:
        first = _without_place(first)
    if first.is_empty or second.is_empty:
        return _not_empty(first, second)
    added = {name: getattr(second.place, name) for name in added_fields(first.place.known, second.place.known)}
    first_traits, second_traits = _where_and_traits(first), _where_and_traits(second)
    traits = all_traits(first_traits, second_traits)
    if not added and traits == first_traits[1]:
        return first
    return first.replace(
        place=first.place.replace(**added, traits=traits or None),
        source=f"{first.source}+{second.source}",
        prefix_len=_longest(first, second),
        built_at=first.built_at or second.built_at,
    )


def _not_empty(first: Answer, second: Answer) -> Answer:
    """Return the one of two answers that is not empty, else an empty one."""
    answer = second if first.is_empty else first
    return answer.replace(prefix_len=_longest(first, second)) if answer.is_empty else answer


def _where_and_traits(answer: Answer) -> tuple[bool, Traits]:
    return answer.has_place, answer.place.traits or {}


def _longest(first: Answer, second: Answer) -> int | None:
    """Return the longer prefix length: a merged answer is valid in the smaller network."""
    return max((answer.prefix_len for answer in (first, second) if answer.prefix_len is not None), default=None)


def _without_place(answer: Answer) -> Answer:
    """Return the fields of an answer that are about the network."""
    place = answer.place
    return answer.replace(place=Place(asn=place.asn, org=place.org, traits=_network_traits(place.traits or {}) or None))
