"""Merging: one answer from those of several sources, none of whose places is mixed with another."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocli.merging import merge
from geocli.models import WHERE_FIELDS, Answer, Place

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
BUILT_AT = datetime(2026, 5, 26, 1, 46, 40, tzinfo=UTC)
PARIS = Place(country_code="FR", city="Paris", latitude=48.85, longitude=2.35)
LONDON = Place(country_code="GB", city="London", region="England")
NTT = Place(asn=2914, org="NTT")

texts = st.none() | st.sampled_from(["a", "b"])
places = st.builds(
    Place,
    country_code=texts,
    city=texts,
    latitude=st.none() | st.sampled_from([0.0, 1.5]),
    asn=st.none() | st.sampled_from([1, 2]),
    org=texts,
    traits=st.none() | st.dictionaries(st.sampled_from("xyz"), st.integers(0, 2), max_size=3),
)
answers = st.builds(
    Answer,
    place=places,
    source=st.sampled_from(["one", "two"]),
    prefix_len=st.none() | st.integers(0, 128),
    built_at=st.sampled_from([None, NOW, BUILT_AT]),
)


def _parts(place: Place, names: frozenset[str]) -> dict[str, Any]:
    return {name: getattr(place, name) for name in names}


class TestMerge:
    def test_the_network_is_added_to_where_it_is(self) -> None:
        """A City and an ASN database make one answer, by both, for the smaller of the two prefixes."""
        city = Answer(place=LONDON, source="City", prefix_len=24, built_at=BUILT_AT)
        asn = Answer(place=NTT, source="ASN", prefix_len=25, built_at=NOW)
        expected = Answer(
            place=LONDON.replace(asn=2914, org="NTT"), source="City+ASN", prefix_len=25, built_at=BUILT_AT
        )
        assert expected == merge(city, asn)

    def test_a_place_is_added_to_a_network(self) -> None:
        """The order of City and ASN databases does not matter for the fields."""
        merged = merge(Answer(place=NTT, source="ASN"), Answer(place=LONDON, source="City", built_at=BUILT_AT))
        assert Answer(place=LONDON.replace(asn=2914, org="NTT"), source="ASN+City", built_at=BUILT_AT) == merged

    def test_two_places_are_never_mixed(self) -> None:
        """Fields that the first source does not have of its place are not taken from the place of another."""
        first = Answer(place=LONDON, source="one", prefix_len=24)
        assert first == merge(first, Answer(place=PARIS, source="two", prefix_len=30))

    @pytest.mark.parametrize(
        ("merged", "first", "second"),
        [
            (NTT, NTT, Place(asn=1, org="Other")),
            (NTT, NTT, Place(asn=1)),
            (Place(asn=2914), Place(asn=2914), Place(asn=1, org="Other")),
            (NTT, Place(), NTT),
            (NTT, Place(org="ISP"), NTT),
            (Place(asn=2914, org="ISP"), Place(org="ISP"), Place(asn=2914)),
            (Place(org="ISP"), Place(), Place(org="ISP")),
            (Place(org="ISP"), Place(org="ISP"), Place(org="Other")),
        ],
    )
    def test_networks(self, merged: Place, first: Place, second: Place) -> None:
        """The first AS number is used, with its own organisation; a name without a number only if no source has one."""
        actual = merge(Answer(place=first, source="one"), Answer(place=second, source="two")).place
        assert _parts(merged, frozenset({"asn", "org"})) == _parts(actual, frozenset({"asn", "org"}))

    def test_traits_are_joined(self) -> None:
        """Traits are joined; where two differ, the first is used."""
        first = Answer(place=LONDON.replace(traits={"a": 1, "b": False}), source="one")
        second = Answer(place=Place(traits={"b": True, "c": 3}), source="two")
        assert {"a": 1, "b": False, "c": 3} == merge(first, second).place.traits
        assert "one+two" == merge(first, second).source

    def test_traits_of_a_place_stay_with_it(self) -> None:
        """A radius or a continent comes from the source of the place, in any order."""
        here = Answer(place=LONDON.replace(traits={"accuracy_radius": 5}), source="one")
        there = Answer(place=Place(country_code="US", traits={"continent_code": "NA", "is_proxy": False}), source="two")
        continent = Answer(place=Place(traits={"continent_code": "EU", "isp": "A"}), source="three")
        assert {"accuracy_radius": 5, "is_proxy": False} == merge(here, there).place.traits
        assert {"continent_code": "NA", "is_proxy": False, "isp": "A"} == merge(continent, there).place.traits

    @pytest.mark.parametrize("second", [Place(), Place(traits={}), Place(traits={"a": 2})])
    def test_a_source_that_adds_nothing_is_not_recorded(self, second: Place) -> None:
        """A source is recorded only if it added something; otherwise the first answer is returned."""
        first = Answer(place=LONDON.replace(traits={"a": 1}), source="one", prefix_len=24)
        assert first == merge(first, Answer(place=second, source="two", prefix_len=30, built_at=NOW))

    @pytest.mark.parametrize(("first", "second"), [(Place(), LONDON), (LONDON, Place())])
    def test_an_empty_record_adds_nothing(self, first: Place, second: Place) -> None:
        """An empty record adds neither its source nor its prefix length."""
        answers = [Answer(place=place, source=place.city or "none", prefix_len=24) for place in (first, second)]
        assert Answer(place=LONDON, source="London", prefix_len=24) == merge(*answers)

    def test_two_empty_records(self) -> None:
        """Two empty records apply to the smaller of their networks."""
        answers = [Answer(place=Place(), source=name, prefix_len=length) for name, length in (("a", 24), ("b", 28))]
        assert (True, 28) == ((actual := merge(*answers)).is_empty, actual.prefix_len)

    def test_country_of_registration_is_replaced(self) -> None:
        """A country of registration is replaced by the place of another source; the network stays."""
        traits = {"registered_country_code": "FR", "country_is_registered": True, "accuracy_radius": 9}
        first = Answer(place=NTT.replace(country_code="FR", traits=traits), source="one", prefix_len=24)
        second = Answer(place=LONDON.replace(traits={"accuracy_radius": 5}), source="two", prefix_len=20)
        place = LONDON.replace(asn=2914, org="NTT", traits={"registered_country_code": "FR", "accuracy_radius": 5})
        assert Answer(place=place, source="one+two", prefix_len=24) == merge(first, second)

    @pytest.mark.parametrize("first", [LONDON, Place(country_code="DE", traits={"country_is_registered": True})])
    def test_country_of_registration_adds_nothing_to_a_country(self, first: Place) -> None:
        """A country of registration does not replace a country, and does not mark it."""
        second = Answer(place=Place(country_code="FR", traits={"country_is_registered": True}), source="two")
        assert Answer(place=first, source="one") == merge(Answer(place=first, source="one"), second)

    @given(answers, answers)
    def test_fields_of_the_first_source_are_kept(self, first: Answer, second: Answer) -> None:
        """No second source changes the place, the AS number or the traits of the first."""
        merged = merge(first, second).place
        if first.has_place:
            assert _parts(first.place, WHERE_FIELDS) == _parts(merged, WHERE_FIELDS)
        else:
            assert _parts(second.place, WHERE_FIELDS) == _parts(merged, WHERE_FIELDS)
        assert first.place.asn in {merged.asn, None}
        assert (first.place.traits or {}).items() <= (merged.traits or {}).items()
        assert {*(first.place.traits or {}), *(second.place.traits or {})} == {*(merged.traits or {})}

    @given(answers, answers)
    def test_a_second_time_adds_nothing(self, first: Answer, second: Answer) -> None:
        """Asking the same source twice changes nothing."""
        once = merge(first, second)
        assert once == merge(once, second)
