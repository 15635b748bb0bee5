"""Places, answers and entries: merging, settling, retry times, and their output."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocli.errors import SettingsError
from geocli.models import (
    CSV_FIELDS,
    FIELDS,
    FIELDS_ON_REQUEST,
    JSON_FIELDS,
    WHERE_FIELDS,
    Answer,
    Entry,
    Place,
    as_json,
    check_fields,
    settle,
    special,
    unknown,
    value,
)
from geocli.timestamps import instant, instant_text

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
BUILT_AT = datetime(2026, 5, 26, 1, 46, 40, tzinfo=UTC)
PARIS = Place(country_code="FR", city="Paris", latitude=48.85, longitude=2.35)
LONDON = Place(country_code="GB", city="London", region="England")
NTT = Place(asn=2914, org="NTT")
RESOLVED = Entry(
    ip="81.2.69.160",
    status="resolved",
    place=LONDON.replace(asn=20712, org="Andrews & Arnold Ltd", traits={"accuracy_radius": 100}),
    source="GeoLite2-City+GeoLite2-ASN",
    prefix_len=25,
    built_at=BUILT_AT,
    resolved_at=NOW,
    generation="GeoLite2-City@1780000000",
)
UNRESOLVED = Entry(ip="81.2.69.160", status="unresolved", resolved_at=NOW, retry_at=NOW + timedelta(hours=1))


class TestKnows:
    @pytest.mark.parametrize(
        ("expected", "place"), [(False, Place(asn=1)), (True, Place(latitude=0.0)), (True, Place(city=""))]
    )
    def test_known_is_what_is_not_none(self, expected: bool, place: Place) -> None:  # noqa: FBT001
        """Zero degrees is a value, and None is unknown."""
        assert expected is Answer(place=place, source="one").has_place

    def test_fields_of_a_place_are_divided(self) -> None:
        """Each field of a place is of the place, the network, or a trait."""
        assert Place.field_names == WHERE_FIELDS | frozenset({"asn", "org"}) | {"traits"}
        assert not WHERE_FIELDS & frozenset({"asn", "org"})


class TestSettle:
    @pytest.mark.parametrize("later", [RESOLVED, UNRESOLVED, RESOLVED.replace(status="special")])
    def test_the_first_entry_stands(self, later: Entry) -> None:
        """Without an earlier entry, the entry is kept."""
        assert later == settle(None, later)

    @pytest.mark.parametrize(
        ("earlier", "later"),
        [
            (RESOLVED, RESOLVED.replace(place=PARIS)),
            (UNRESOLVED, RESOLVED),
            (UNRESOLVED, UNRESOLVED.replace(resolved_at=NOW + timedelta(hours=2))),
            (RESOLVED, Entry(ip="81.2.69.160", status="special", scope="reserved")),
            (Entry(ip="81.2.69.160", status="special", scope="reserved"), UNRESOLVED),
        ],
    )
    def test_the_later_entry_counts(self, earlier: Entry, later: Entry) -> None:
        """The later answer is used."""
        assert later == settle(earlier, later)

    def test_nothing_found_does_not_hide_a_good_answer(self) -> None:
        """A good answer stays, with the sources that failed later, and a retry time."""
        later = UNRESOLVED.replace(generation="GeoLite2-City@1790000000", error="no answer")
        changes = {"retry_at": UNRESOLVED.retry_at, "answered_by": RESOLVED.generation}
        expected = RESOLVED.replace(**changes, generation="GeoLite2-City@1790000000")
        assert expected == settle(RESOLVED, later)
        again = later.replace(generation=RESOLVED.generation)
        assert RESOLVED.replace(retry_at=UNRESOLVED.retry_at) == settle(expected, again)


class TestSpecial:
    def test_it_is_answered_locally(self) -> None:
        """The registries have the scope of a special address."""
        assert Entry(ip="10.0.0.1", status="special", scope="private", source="iana") == special("10.0.0.1", "private")

    def test_global_addresses_are_not(self) -> None:
        """A global address is left to the sources."""
        assert special("81.2.69.160", None) is None


class TestFields:
    def test_names_and_their_order(self) -> None:
        """Scripts rely on these names in this order; new ones are added at the end."""
        fields = (
            "ip status country_code country_name region city postal_code "
            "latitude longitude time_zone asn org source resolved_at"
        )
        assert tuple(fields.split()) == FIELDS
        assert (*FIELDS, "scope", "network", "built_at", "cached", "traits") == JSON_FIELDS
        assert tuple(n for n in fields.split() if n not in {"postal_code", "resolved_at"}) == CSV_FIELDS
        assert {"scope", "network", "built_at", "cached", "error"} == set(FIELDS_ON_REQUEST)

    @pytest.mark.parametrize("name", [*FIELDS, *FIELDS_ON_REQUEST, "traits", "traits.isp", "traits.a.b", "traits.ip "])
    def test_valid_names_are_accepted(self, name: str) -> None:
        """All fields can be selected, and any trait, since databases may have any."""
        assert (name,) == check_fields([name])

    def test_order_and_repetition_are_kept(self) -> None:
        """Fields come in the selected order."""
        assert ("city", "ip", "city") == check_fields(["city", "ip", "city"])
        assert () == check_fields([])

    @pytest.mark.parametrize(
        ("hint", "name"),
        [
            ("did you mean country_code?", "contry_code"),
            ("did you mean asn?", "as"),
            ("did you mean city?", "City"),
            ("did you mean traits?", "trait"),
            ("did you mean traits?", "traits."),
            (f"known: {', '.join((*FIELDS, *FIELDS_ON_REQUEST, 'traits'))}", "xyzzy"),
            (f"known: {', '.join((*FIELDS, *FIELDS_ON_REQUEST, 'traits'))}", ""),
        ],
    )
    def test_an_unknown_name_is_an_error_with_a_hint(self, hint: str, name: str) -> None:
        """The message names the nearest field, or all of them if none is near."""
        with pytest.raises(SettingsError) as caught:
            check_fields(["ip", name])
        assert f"--fields: {name or 'empty'}: unknown field; {hint}" == str(caught.value)

    @pytest.mark.parametrize(
        ("expected", "name"),
        [("unknown key; did you mean data_dir?", "datadir"), ("unknown key; known: data_dir, dbip_url", "colour")],
    )
    def test_unknown_names_the_nearest(self, expected: str, name: str) -> None:
        """The same words serve for keys of a file."""
        assert expected == unknown("key", name, ["data_dir", "dbip_url"])


class TestValue:
    @pytest.mark.parametrize(
        ("expected", "name"),
        [
            ("81.2.69.160", "ip"),
            ("resolved", "status"),
            ("London", "city"),
            (None, "postal_code"),
            (20712, "asn"),
            ("GeoLite2-City+GeoLite2-ASN", "source"),
            ("2026-06-01T12:00:00Z", "resolved_at"),
            ("2026-05-26T01:46:40Z", "built_at"),
            ("81.2.69.128/25", "network"),
            (None, "scope"),
            (False, "cached"),
            (None, "error"),
            ({"accuracy_radius": 100}, "traits"),
            (100, "traits.accuracy_radius"),
            (None, "traits.isp"),
        ],
    )
    def test_each_field_has_its_json_form(self, expected: Any, name: str) -> None:
        """Strings, numbers, booleans and null have their JSON form, times are ISO 8601 with Z."""
        assert expected == value(RESOLVED, name)
        assert type(expected) is type(value(RESOLVED, name))

    def test_a_trait_of_none(self) -> None:
        """Without traits, there is none."""
        assert value(UNRESOLVED, "traits.isp") is None

    @pytest.mark.parametrize(
        ("network", "ip", "prefix_len"),
        [
            (None, "81.2.69.160", None),
            ("81.2.69.160/32", "81.2.69.160", 32),
            ("0.0.0.0/0", "81.2.69.160", 0),
            ("2001:218::/32", "2001:218::1", 32),
            ("2001:218::1/128", "2001:218::1", 128),
        ],
    )
    def test_network(self, network: str | None, ip: str, prefix_len: int | None) -> None:
        """The network of an answer begins at its first address."""
        assert network == Entry(ip=ip, status="resolved", prefix_len=prefix_len).network

    @pytest.mark.parametrize("entry", [RESOLVED, UNRESOLVED, Entry(ip="x", status="invalid", error="not an address")])
    def test_json_has_every_key(self, entry: Entry) -> None:
        """Every key is there, in order, null where unknown, and serialisable."""
        actual = as_json(entry)
        assert JSON_FIELDS == tuple(actual)
        assert actual == json.loads(json.dumps(actual))
        assert actual["ip"] == entry.ip

    def test_json_of_some_fields(self) -> None:
        """Only the selected fields, in their order."""
        assert {"traits.accuracy_radius": 100, "ip": "81.2.69.160"} == as_json(
            RESOLVED, ("traits.accuracy_radius", "ip")
        )


class TestInstants:
    @pytest.mark.parametrize(
        ("text", "when"),
        [
            ("2026-06-01T12:00:00Z", NOW),
            ("2026-06-01T12:00:00Z", NOW.replace(microsecond=999_999)),
            ("2026-06-01T12:00:00Z", NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))),
            ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
            ("0986-01-01T00:00:00Z", datetime(986, 1, 1, tzinfo=UTC)),
        ],
    )
    def test_text(self, text: str, when: datetime) -> None:
        """An instant is written in UTC, to the second, with Z."""
        assert text == instant_text(when)

    def test_none_stays_none(self) -> None:
        """No time is no string, and vice versa."""
        assert instant(None) is None

    @pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "2026-06-01T25:00:00Z", "1780000000.5"])
    def test_an_invalid_instant_is_an_error(self, text: str) -> None:
        """Damage in a file is detected when it is read."""
        with pytest.raises(ValueError):  # noqa: PT011 (as documented)
            instant(text)

    @pytest.mark.parametrize("text", ["2026-06-01", "2026-06-01T12:00:00", "2026-06-01 12:00:00"])
    def test_an_instant_always_has_a_zone(self, text: str) -> None:
        """A string without a zone, as people write into a table, is an error or UTC, so that times can be compared."""
        with suppress(ValueError):
            actual = instant(text)
            assert actual is not None
            assert timedelta() == actual.utcoffset()

    @given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001
    def test_instants_are_read_back(self, when: datetime) -> None:
        """A written time is read as the same time, to the second."""
        assert when.replace(microsecond=0) == instant(instant_text(when))
