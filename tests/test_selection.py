"""Selections of entries by the values of their fields."""

from __future__ import annotations

from typing import Any

import pytest

from geocli.errors import SettingsError
from geocli.models import Entry, Place
from geocli.selection import Selection, selection_of

LONDON = Entry(
    ip="81.2.69.160",
    status="resolved",
    source="GeoLite2-City",
    place=Place(
        country_code="GB",
        city="London",
        latitude=51.5142,
        asn=20712,
        org="Andrews, Arnold Ltd",
        traits={
            "is_anycast": False,
            "is_hosting_provider": 1,
            "is_satellite_provider": 0,
            "user_count": 3,
            "domain": "aa.net.uk",
            "tags": ["vpn", "tor"],
            "large": (1 << 64) - 1,
        },
    ),
)


def selected(**options: Any) -> Selection:
    selection = selection_of(**options)
    assert selection is not None
    return selection


@pytest.mark.parametrize(
    "condition",
    [
        "country_code=NL,gb",
        "asn=AS20712",
        "asn=1, 20712",
        "latitude=51.51420",
        "city=london",
        "city=LONDON",
        'org="andrews, arnold ltd"',
        'org=Google,"Andrews, Arnold Ltd"',
        "traits.is_anycast=false",
        "is_anycast=False",
        "is_hosting_provider=True",
        "is_satellite_provider=false",
        "user_count=3.0",
        "traits.large=18446744073709551615",
        "domain=aa.net.uk",
        "traits.tags=tor",
        "region=",
        "connection_type=,Cable/DSL",
        "status=resolved",
        "source=GeoLite2-City",
        "cached=false",
    ],
)
def test_values_are_compared_by_their_types(condition: str) -> None:
    """Numbers as numbers, text in any case, booleans as such; an empty value selects unknown values."""
    assert selected(only=[condition]).matches(LONDON)
    assert not selected(excluded=[condition]).matches(LONDON)


@pytest.mark.parametrize(
    "condition",
    [
        *(
            "country_code=NL",
            "asn=207",
            "city=",
            "is_anycast=true",
            "is_hosting_provider=false",
            "user_count=30",
            "domain=aa",
            "region=x",
        ),
        "traits.large=18446744073709551614",
    ],
)
def test_other_values(condition: str) -> None:
    """No other values match."""
    assert not selected(only=[condition]).matches(LONDON)
    assert selected(excluded=[condition]).matches(LONDON)


def test_several_options() -> None:
    """Values of one option are alternatives, all options must match, and countries add up."""
    assert selected(countries=["NL", "GB"], asns=["AS20712"]).matches(LONDON)
    assert not selected(countries=["GB"], only=["city=Leeds"]).matches(LONDON)
    assert not selected(only=["country_code=GB", "country_code=NL"]).matches(LONDON)
    assert not selected(countries=["GB"], excluded=["asn=1", "asn=20712"]).matches(LONDON)


def test_without_options() -> None:
    """There is nothing to select by."""
    assert selection_of() is None


def test_values_of_columns() -> None:
    """A selection can be applied to values without an entry, each field once."""
    selection = selected(only=["asn=1,2"], excluded=["is_anycast=true", "asn=2"])

    assert ("asn", "traits.is_anycast") == selection.fields
    assert [True, False, False] == [selection.admits(values) for values in ((1, None), (2, False), (1, True))]


def test_as_text() -> None:
    """A selection is described in one line, in canonical spelling."""
    selection = selected(countries=["nl,be"], only=['org="A, B",c'], excluded=["traits.is_anycast=true", "asn=AS01"])

    assert 'org="A, B",c; country_code=NL,BE; except is_anycast=true; except asn=1' == str(selection)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"countries": ["UK"]}, "--country: UK: not the code of a country; did you mean GB (United Kingdom)?"),
        ({"only": ["country_code=NL,uk"]}, "--only: uk: not the code of a country; did you mean GB (United Kingdom)?"),
        ({"countries": ["Netherland"]}, "did you mean NL (Netherlands)?"),
        ({"countries": ["XQ"]}, "XQ: not the code of a country; give an ISO 3166-1 code such as NL"),
        ({"countries": ["NL,"]}, "--country: empty"),
        ({"asns": [""]}, "--asn: empty"),
        ({"asns": ["Google"]}, "--asn: 'Google' is not the number of an autonomous system, as in AS15169"),
        ({"asns": ["4294967296"]}, "'4294967296' is not the number of an autonomous system"),
        ({"asns": ["0"]}, "'0' is not the number of an autonomous system"),
        ({"only": ["contry_code=NL"]}, "--only contry_code: unknown field; did you mean country_code?"),
        ({"excluded": ["is_anonimous=true"]}, "--except is_anonimous: unknown field; did you mean is_anonymous?"),
        ({"only": ["traits=1"]}, "unknown field"),
        ({"only": ["traits.=1"]}, "unknown field"),
        ({"only": ["=1"]}, "no field before the equals sign"),
        ({"only": ["NL"]}, "--only: 'NL' is not FIELD=VALUE, as in country_code=NL,BE"),
        ({"only": ["is_anycast=maybe"]}, "'maybe' is not true or false"),
        ({"only": ["latitude=north"]}, "'north' is not a number"),
        ({"only": ["status=solved"]}, "solved: unknown status; did you mean resolved?"),
        ({"only": ["continent_code=Europe"]}, "Europe: unknown continent_code; known: AF, AN, AS, EU, NA, OC, SA"),
        ({"only": ['org="Acme']}, '--only: "Acme: unexpected end of data'),
    ],
)
def test_invalid_selections(options: dict[str, Any], message: str) -> None:
    """An unknown field or an impossible value is an error that names the nearest known one."""
    with pytest.raises(SettingsError) as caught:
        selection_of(**options)
    assert message in str(caught.value)


def test_codes_that_are_not_of_iso() -> None:
    """Codes of databases that are not in ISO 3166 are accepted."""
    assert "country_code=XK,EU,AP" == str(selected(countries=["XK,eu,AP"]))
