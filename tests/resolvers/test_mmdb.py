"""Databases: every schema that is about, several of them together, and those that are damaged."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import ip_address
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from geocli.databases.database import Database
from geocli.databases.discovery import examine
from geocli.errors import DatabaseError
from geocli.models import Answer, Place
from geocli.resolvers.mmdb import MmdbResolver, ask
from geocli.resolvers.mmdb_schemas import place_from
from tests.helpers.databases import CITIES, LONDON, NETWORKS, TOKYO, build
from tests.helpers.fake_sources import Known

if TYPE_CHECKING:
    from collections.abc import Callable

    from geocli.errors import ResolveError

GB, GB_WITHOUT_ASN, JP = (ip_address(text) for text in ("81.2.69.160", "81.2.69.1", "2001:218::1"))
UNITED_STATES = {"iso_code": "US", "names": {"en": "United States", "fr": "États-Unis"}, "geoname_id": 6252001}

PLUS: dict[str, Any] = {"anonymizer_confidence": 30, "network_last_seen": "2026-04-14", "provider_name": "FooBar VPNs"}

SCHEMAS: dict[str, tuple[dict[str, Any], Place]] = {
    "MaxMind City": (
        {
            "city": {"geoname_id": 4259418, "names": {"de": "Indianapolis (Stadt)", "en": "Indianapolis"}},
            "continent": {"code": "NA", "geoname_id": 6255149, "names": {"en": "North America"}},
            "country": UNITED_STATES,
            "location": {
                "accuracy_radius": 20,
                "latitude": 39.7684,
                "longitude": -86.1581,
                "metro_code": 527,
                "time_zone": "America/Indiana/Indianapolis",
            },
            "postal": {"code": "46204"},
            "registered_country": {"iso_code": "FR", "is_in_european_union": True, "names": {"en": "France"}},
            "represented_country": {"iso_code": "DE", "type": "military", "names": {"en": "Germany"}},
            "subdivisions": [
                {"iso_code": "IN", "names": {"en": "Indiana", "fr": "L'Indiana"}},
                {"iso_code": "MRN", "names": {"en": "Marion"}},
            ],
        },
        Place(
            country_code="US",
            country_name="United States",
            region="Indiana",
            city="Indianapolis",
            postal_code="46204",
            latitude=39.7684,
            longitude=-86.1581,
            time_zone="America/Indiana/Indianapolis",
            traits={
                "city_geoname_id": 4259418,
                "continent_code": "NA",
                "continent_geoname_id": 6255149,
                "continent_name": "North America",
                "country_geoname_id": 6252001,
                "accuracy_radius": 20,
                "metro_code": 527,
                "registered_country_code": "FR",
                "registered_country_is_in_european_union": True,
                "registered_country_name": "France",
                "represented_country_code": "DE",
                "represented_country_name": "Germany",
                "represented_country_type": "military",
                "region_code": "IN",
                "subdivision_code": "MRN",
            },
        ),
    ),
    "MaxMind Country": (
        {"country": {"iso_code": "FR", "is_in_european_union": True, "names": {"en": "France", "fr": "France"}}},
        Place(country_code="FR", country_name="France", traits={"is_in_european_union": True}),
    ),
    "MaxMind ASN": (
        {"autonomous_system_number": 20712, "autonomous_system_organization": "Andrews & Arnold Ltd"},
        Place(asn=20712, org="Andrews & Arnold Ltd"),
    ),
    "MaxMind ISP": (
        {
            "autonomous_system_number": 1221,
            "autonomous_system_organization": "Telstra Corporation Ltd",
            "isp": "Telstra Internet",
            "organization": "Telstra",
            "mobile_country_code": "505",
        },
        Place(
            asn=1221,
            org="Telstra Corporation Ltd",
            traits={"isp": "Telstra Internet", "organization": "Telstra", "mobile_country_code": "505"},
        ),
    ),
    "MaxMind ISP without a number": ({"isp": "Telstra"}, Place(org="Telstra", traits={"isp": "Telstra"})),
    "MaxMind Connection-Type": (
        {"connection_type": "Cable/DSL"},
        Place(traits={"connection_type": "Cable/DSL"}),
    ),
    "MaxMind Domain": ({"domain": "aa.net.uk"}, Place(traits={"domain": "aa.net.uk"})),
    "MaxMind Anonymous-IP": (
        {"is_anonymous": True, "is_anonymous_vpn": True, "is_tor_exit_node": False},
        Place(traits={"is_anonymous": True, "is_anonymous_vpn": True, "is_tor_exit_node": False}),
    ),
    "MaxMind Anonymous-Plus": (
        {**PLUS, "is_anonymous": True, "is_hosting_provider": False, "is_public_proxy": False},
        Place(traits={**PLUS, "is_anonymous": True, "is_hosting_provider": False, "is_public_proxy": False}),
    ),
    "MaxMind IP-Risk": (
        {**PLUS, "ip_risk": 25.5, "is_anonymous": False, "is_residential_proxy": False},
        Place(traits={**PLUS, "ip_risk": 25.5, "is_anonymous": False, "is_residential_proxy": False}),
    ),
    "MaxMind Residential-Proxy": (PLUS, Place(traits=PLUS)),
    "MaxMind Enterprise": (
        {
            "city": {"confidence": 50, "names": {"en": "London"}},
            "country": {"confidence": 99, "iso_code": "GB", "is_in_european_union": False, "names": {"en": "Britain"}},
            "traits": {
                "autonomous_system_number": 20712,
                "autonomous_system_organization": "Andrews & Arnold",
                "connection_type": "Corporate",
                "domain": "aa.net.uk",
                "is_legitimate_proxy": False,
                "isp": "Andrews",
                "organization": "A & A",
                "static_ip_score": 1.5,
                "user_type": "business",
            },
        },
        Place(
            country_code="GB",
            country_name="Britain",
            city="London",
            asn=20712,
            org="Andrews & Arnold",
            traits={
                "city_confidence": 50,
                "country_confidence": 99,
                "is_in_european_union": False,
                "connection_type": "Corporate",
                "domain": "aa.net.uk",
                "is_legitimate_proxy": False,
                "isp": "Andrews",
                "organization": "A & A",
                "static_ip_score": 1.5,
                "user_type": "business",
            },
        ),
    ),
    "DB-IP City Lite": (
        {
            "city": {"names": {"en": "Mountain View"}},
            "continent": {"code": "NA", "geoname_id": 6255149, "names": {"en": "North America"}},
            "country": {"geoname_id": 1, "is_in_european_union": False, "iso_code": "US", "names": {"en": "USA"}},
            "location": {"latitude": 37.4223, "longitude": -122.085},
            "subdivisions": [{"names": {"en": "California"}}],
        },
        Place(
            country_code="US",
            country_name="USA",
            region="California",
            city="Mountain View",
            latitude=37.4223,
            longitude=-122.085,
            traits={
                "continent_code": "NA",
                "continent_geoname_id": 6255149,
                "continent_name": "North America",
                "country_geoname_id": 1,
                "is_in_european_union": False,
            },
        ),
    ),
    "DB-IP Country Lite": (
        {
            "continent": {"code": "EU", "geoname_id": 6255148, "names": {"en": "Europe", "de": "Europa"}},
            "country": {
                "geoname_id": 2921044,
                "is_in_european_union": True,
                "iso_code": "DE",
                "names": {"en": "Germany"},
            },
        },
        Place(
            country_code="DE",
            country_name="Germany",
            traits={
                "continent_code": "EU",
                "continent_geoname_id": 6255148,
                "continent_name": "Europe",
                "country_geoname_id": 2921044,
                "is_in_european_union": True,
            },
        ),
    ),
    "DB-IP ASN Lite": (
        {"autonomous_system_number": 15169, "autonomous_system_organization": "Google LLC"},
        Place(asn=15169, org="Google LLC"),
    ),
    "IPinfo Lite": (
        {
            "as_domain": "cogentco.com",
            "as_name": "Cogent Communications",
            "asn": "AS174",
            "continent": "North America",
            "continent_code": "NA",
            "country": "United States",
            "country_code": "US",
        },
        Place(
            country_code="US",
            country_name="United States",
            asn=174,
            org="Cogent Communications",
            traits={"as_domain": "cogentco.com", "continent": "North America", "continent_code": "NA"},
        ),
    ),
    "IPinfo Country-ASN": (
        {
            "country": "NL",
            "country_name": "Netherlands",
            "asn": "AS3333",
            "as_name": "RIPE NCC",
            "as_domain": "ripe.net",
        },
        Place(
            country_code="NL", country_name="Netherlands", asn=3333, org="RIPE NCC", traits={"as_domain": "ripe.net"}
        ),
    ),
    "IPinfo Country": (
        {"continent": "EU", "continent_name": "Europe", "country": "IT", "country_name": "Italy"},
        Place(country_code="IT", country_name="Italy", traits={"continent": "EU", "continent_name": "Europe"}),
    ),
    "IPinfo ASN": (
        {"asn": "AS13335", "domain": "cloudflare.com", "name": "Cloudflare, Inc."},
        Place(asn=13335, org="Cloudflare, Inc.", traits={"domain": "cloudflare.com"}),
    ),
    "IPinfo ASN with the country of the network": (
        {"asn": "AS4134", "country": "CN", "domain": "chinatelecom.com.cn", "name": "CHINANET", "type": "isp"},
        Place(
            asn=4134,
            org="CHINANET",
            traits={"as_country_code": "CN", "domain": "chinatelecom.com.cn", "type": "isp"},
        ),
    ),
    "IPLocate Country": (
        {"continent_code": "OC", "country_code": "AU", "country_name": "Australia"},
        Place(country_code="AU", country_name="Australia", traits={"continent_code": "OC"}),
    ),
    "IPLocate ASN": (
        {
            "asn": "38803",
            "country_code": "AU",
            "domain": "gtelecom.com.au",
            "name": "GTELECOM-AS-AP",
            "org": "Gtelecom Pty Ltd",
        },
        Place(
            asn=38803,
            org="Gtelecom Pty Ltd",
            traits={"as_country_code": "AU", "domain": "gtelecom.com.au", "name": "GTELECOM-AS-AP"},
        ),
    ),
    "IPinfo standard location": (
        {
            "city": "London",
            "country": "GB",
            "geoname_id": "2643743",
            "lat": "51.50853",
            "lng": "-0.12574",
            "postal": "EC1A",
            "region": "England",
            "region_code": "ENG",
            "timezone": "Europe/London",
        },
        Place(
            country_code="GB",
            country_name="United Kingdom",
            region="England",
            city="London",
            postal_code="EC1A",
            latitude=51.50853,
            longitude=-0.12574,
            time_zone="Europe/London",
            traits={"geoname_id": "2643743", "region_code": "ENG"},
        ),
    ),
    "GeoLite2 CSV": (
        {
            "geoname_id": "2643743",
            "continent_code": "EU",
            "country_iso_code": "GB",
            "country_name": "United Kingdom",
            "subdivision_1_iso_code": "ENG",
            "subdivision_1_name": "England",
            "city_name": "London",
            "time_zone": "Europe/London",
            "postal_code": "",
        },
        Place(
            country_code="GB",
            country_name="United Kingdom",
            region="England",
            city="London",
            time_zone="Europe/London",
            traits={"geoname_id": "2643743", "continent_code": "EU", "subdivision_1_iso_code": "ENG"},
        ),
    ),
    "ip-location-db country": ({"country_code": "SE"}, Place(country_code="SE", country_name="Sweden")),
    "ip-location-db city": (
        {
            "city": "Tokyo",
            "country_code": "JP",
            "latitude": 35.6893,
            "longitude": 139.6899,
            "postcode": "151-0053",
            "state1": "Tokyo",
            "state2": "Shibuya",
            "timezone": "Asia/Tokyo",
        },
        Place(
            country_code="JP",
            country_name="Japan",
            region="Tokyo",
            city="Tokyo",
            postal_code="151-0053",
            latitude=35.6893,
            longitude=139.6899,
            time_zone="Asia/Tokyo",
            traits={"state2": "Shibuya"},
        ),
    ),
    "ip-location-db ASN": (
        {"autonomous_system_number": 2914, "autonomous_system_organization": "NTT"},
        Place(asn=2914, org="NTT"),
    ),
}

ODD: list[tuple[object, Place]] = [
    (None, Place()),
    ("GB", Place(country_code="GB", country_name="United Kingdom")),
    ("gb", Place(traits={"value": "gb"})),
    ("GBR", Place(traits={"value": "GBR"})),
    ("ÄÖ", Place(traits={"value": "ÄÖ"})),
    ("A1", Place(traits={"value": "A1"})),
    ("1.1.1.1/32", Place(traits={"value": "1.1.1.1/32"})),
    ("ZZ", Place()),
    ("-", Place()),
    ("", Place()),
    (7, Place(traits={"value": 7})),
    (0, Place(traits={"value": 0})),
    (1 << 127, Place(traits={"value": 1 << 127})),
    (-1.5, Place(traits={"value": -1.5})),
    (nan, Place()),
    (True, Place(traits={"value": True})),
    (False, Place(traits={"value": False})),
    (b"\x01", Place(traits={"value": "01"})),
    (["CN", "cloudflare"], Place(traits={"value": ["CN", "cloudflare"]})),
    ([{"code": 1}], Place(traits={"value": [{"code": 1}]})),
    ([], Place()),
    ({}, Place()),
    ({"country": {}}, Place()),
    ({"country": {"names": {"fr": "Espagne"}, "iso_code": "ES"}}, Place(country_code="ES", country_name="Espagne")),
    ({"country": {"name": "Spain", "code": "es"}}, Place(country_code="ES", country_name="Spain")),
    ({"country": {"iso_code": "ES", "names": "Spain"}}, Place(country_code="ES", country_name="Spain")),
    ({"country": "Spain"}, Place(country_name="Spain")),
    ({"country_code": "ESP"}, Place()),
    ({"country_code": "E1"}, Place()),
    ({"country_code": "ÄÖ"}, Place()),
    ({"country_code": 34}, Place()),
    ({"country_code": "", "country": "ES"}, Place(country_code="ES", country_name="Spain")),
    ({"country_code": "YY"}, Place(country_code="YY")),
    ({"city": ""}, Place()),
    ({"city": 7}, Place()),
    ({"city": ["London"]}, Place()),
    ({"city": {"names": {"de": "Wien"}}}, Place(city="Wien")),
    ({"city": {"names": {"en": "-", "zh-CN": "北京"}}}, Place(city="北京")),
    ({"city": {"names": {"en": 7}}}, Place()),
    ({"city": b"London"}, Place()),
    ({"subdivisions": []}, Place()),
    ({"subdivisions": [None, "England"]}, Place()),
    ({"subdivisions": "England"}, Place(traits={"subdivisions": "England"})),
    ({"postal": {"code": 1010}}, Place()),
    ({"location": "51.5,-0.1"}, Place(traits={"location": "51.5,-0.1"})),
    ({"latitude": nan, "longitude": inf}, Place()),
    ({"time_zone": nan, "timezone": -inf}, Place()),
    ({"time_zone": True, "timezone": ["UTC"]}, Place()),
    ({"time_zone": 1 << 127}, Place(traits={"time_zone": 1 << 127})),
    ({"latitude": "nan", "longitude": "1e999"}, Place()),
    ({"latitude": 90.5, "longitude": -180.5}, Place()),
    ({"latitude": -90, "longitude": 180}, Place(latitude=-90.0, longitude=180.0)),
    ({"latitude": 0.0, "longitude": 0.5}, Place(latitude=0.0, longitude=0.5)),
    ({"latitude": 51.507400512695312, "longitude": -0.12770000100135803}, Place(latitude=51.5074, longitude=-0.1277)),
    ({"latitude": 34.54438018798828, "longitude": 179.99998474121094}, Place(latitude=34.54438, longitude=179.99998)),
    ({"latitude": 51.5074000126953, "longitude": 1e-7}, Place(latitude=51.5074000126953, longitude=1e-7)),
    ({"latitude": True, "longitude": [1]}, Place()),
    ({"latitude": 10**400, "longitude": "west"}, Place()),
    ({"latitude": b"\x10", "longitude": b"\x10"}, Place()),
    ({"asn": "AS15169"}, Place(asn=15169)),
    ({"asn": "as15169"}, Place(asn=15169)),
    ({"asn": 15169}, Place(asn=15169)),
    ({"asn": 4294967295}, Place(asn=4294967295)),
    ({"asn": 4294967296}, Place()),
    ({"asn": 0}, Place()),
    ({"asn": -1}, Place()),
    ({"asn": "AS"}, Place()),
    ({"asn": "15169.0"}, Place(asn=15169)),
    ({"asn": "1.10"}, Place()),
    ({"asn": 1.5}, Place()),
    ({"asn": True}, Place()),
    ({"asn": nan}, Place()),
    ({"asn": b"\x12"}, Place()),
    ({"org": b"\x12"}, Place()),
    ({"isp": 7}, Place(traits={"isp": 7})),
    ({"score": nan, "range": inf}, Place()),
    ({"hash": b"\x00\xff"}, Place(traits={"hash": "00ff"})),
    ({"hash": bytearray(b"\x01")}, Place(traits={"hash": "01"})),
    ({"is_proxy": False, "hits": 0, "note": ""}, Place(traits={"is_proxy": False, "hits": 0})),
    ({"seen": {"on": [1, nan, {"b": b"\x02"}]}}, Place(traits={"seen": {"on": [1, None, {"b": "02"}]}})),
    ({"deep": {"a": {"b": {"c": {"d": {"e": 1}}}}}}, Place(traits={"deep": {"a": {"b": {"c": {"d": None}}}}})),
    ({"what": ...}, Place()),
]


UNKNOWN: dict[str, dict[str, Any]] = {
    "IP2Location, nested": {
        "country": {"iso_code": "-", "names": {"en": "-"}},
        "subdivisions": [{"names": {"en": "-"}}],
        "city": {"names": {"en": "-"}},
        "postal": {"code": "-"},
        "location": {"latitude": 0.0, "longitude": 0.0, "time_zone": "-"},
    },
    "IP2Location, flat": {
        **dict.fromkeys(("country_code", "country_name", "region_name", "city_name", "zip_code", "time_zone"), "-"),
        "latitude": "0.000000",
        "longitude": "0.000000",
    },
    "IP2Location ASN": {"autonomous_system_number": "-", "autonomous_system_organization": "-"},
    "IP2Proxy": dict.fromkeys(("country_code", "country_name", "proxy_type", "isp", "domain", "usage_type"), "-"),
    "DB-IP": {
        "continent": {"code": "ZZ", "names": {"en": "Unknown"}},
        "country": {"iso_code": "ZZ", "is_in_european_union": False, "names": {"en": "Reserved"}},
    },
    "IPinfo": {"country": "", "country_name": "", "continent": "", "asn": "", "as_name": "", "as_domain": ""},
    "iptoasn": {"asn": 0, "country_code": "None", "as_name": "Not routed"},
    "Tor's geoip": {"country_code": "??"},
    "GeoIP Legacy": {"country_code": "--", "country_name": "N/A"},
    "hostip.info": {"country_code": "XX", "country_name": "(Unknown Country?)", "city": ""},
    "null island": {"latitude": 0, "longitude": -0.0, "accuracy_radius": 1000},
    "words": {"city": "unknown", "region": "n/a", "country": "UNKNOWN", "org": " - ", "note": "N/A", "tags": []},
}


class TestPlaceFrom:
    @pytest.mark.parametrize("record", UNKNOWN.values(), ids=UNKNOWN)
    def test_placeholders_of_vendors(self, record: dict[str, Any]) -> None:
        """Placeholders for unknown values of each vendor become neither fields nor traits."""
        assert Place() == place_from(record)

    def test_known_value_next_to_an_unknown_one(self) -> None:
        """A known value is used although a better name for the same field has an unknown one."""
        record = {"region": "-", "state1": "Tokyo", "autonomous_system_organization": "", "as_name": "NTT"}
        assert Place(region="Tokyo", org="NTT") == place_from(record)

    def test_null_island_of_a_place(self) -> None:
        """The coordinates 0, 0 are kept if the record has a place."""
        record = {"city": "Null Island Buoy", "latitude": 0, "longitude": 0}
        assert Place(city="Null Island Buoy", latitude=0.0, longitude=0.0) == place_from(record)

    @pytest.mark.parametrize(
        "zone", ["-08:00", "+0530", "UTC+3", "utc-03:30", "GMT+8", "UTC +03:00", "\u22123", -8, 5.5]
    )
    @pytest.mark.parametrize("name", ["time_zone", "timezone"])
    def test_offset(self, name: str, zone: object) -> None:
        """An offset is not a time zone, since it does not include summer time: it becomes a trait under its name."""
        assert Place(city="A", traits={name: zone}) == place_from({"city": "A", "location": {name: zone}})

    @pytest.mark.parametrize(
        "zone", ["Europe/London", "Etc/GMT+8", "UTC", "GMT", "GMT0", "GMT-0", "EST5EDT", "W-SU", "Zulu", "Mars/Base-1"]
    )
    def test_name_of_a_time_zone(self, zone: str) -> None:
        """Every other name is kept, also one that is not in the IANA time zone database."""
        assert Place(time_zone=zone) == place_from({"time_zone": zone})

    def test_name_and_offset(self) -> None:
        """A name and an offset become a field and a trait."""
        expected = Place(time_zone="Asia/Tokyo", traits={"time_zone": "+09:00"})
        assert expected == place_from({"time_zone": "+09:00", "timezone": "Asia/Tokyo"})

    @pytest.mark.parametrize("country", [None, {}, {"iso_code": "ZZ"}, {"iso_code": "-", "names": {"en": "-"}}])
    def test_registered_country_replaces_a_missing_country(self, country: object) -> None:
        """Without a country, that of the network's registration is used, and marked."""
        record = {"registered_country": {"iso_code": "FR", "names": {"en": "France", "de": "Frankreich"}}}
        traits = {
            "registered_country_code": "FR",
            "registered_country_name": "France",
            "country_is_registered": True,
        }
        expected = Place(country_code="FR", country_name="France", traits=traits)
        assert expected == place_from(record if country is None else {**record, "country": country})

    @pytest.mark.parametrize("code", ["ZZ", "-", ""])
    def test_unknown_registered_country(self, code: str) -> None:
        """An unknown country of registration is not used."""
        place = place_from({"registered_country": {"iso_code": code, "names": {"en": "-"}}, "asn": 1})
        assert (None, None, 1) == (place.country_code, place.country_name, place.asn)

    def test_country_is_not_that_of_registration(self) -> None:
        """A country that is known stays, and nothing is marked."""
        place = place_from({"country": {"iso_code": "DE"}, "registered_country": {"iso_code": "FR"}})
        assert ("DE", "Germany", {"registered_country_code": "FR"}) == (
            place.country_code,
            place.country_name,
            place.traits,
        )

    @pytest.mark.parametrize(
        ("language", "expected"),
        [
            ("de", ("Pekin", "Volksrepublik China", "Asien")),
            ("zh-CN", ("北京", "中国", "亚洲")),
            ("zh-TW", ("北京", "中国", "亚洲")),
            ("zh", ("北京", "中国", "亚洲")),
            ("fr", ("Beijing", "China", "Asia")),
            ("en", ("Beijing", "China", "Asia")),
        ],
    )
    def test_language(self, language: str, expected: tuple[str, str, str]) -> None:
        """Every name is in the requested language, or in English."""
        record = {
            "city": {"names": {"de": "Pekin", "en": "Beijing", "zh-CN": "北京"}},
            "continent": {"names": {"de": "Asien", "en": "Asia", "zh-CN": "亚洲"}},
            "registered_country": {"names": {"de": "Volksrepublik China", "en": "China", "zh-CN": "中国"}},
        }
        place = place_from(record, language)
        assert expected == (place.city, place.country_name, (place.traits or {})["continent_name"])

    def test_only_name(self) -> None:
        """A name in any language is better than none."""
        subdivisions = [{"names": {"fa": "البرز"}}]
        place = place_from({"city": {"names": {"zh-CN": "海淀"}}, "subdivisions": subdivisions}, "de")
        assert ("海淀", "البرز") == (place.city, place.region)

    @pytest.mark.parametrize(("record", "place"), SCHEMAS.values(), ids=SCHEMAS)
    def test_schema(self, record: dict[str, Any], place: Place) -> None:
        """All known schemas are mapped to the same fields; values without a field become traits."""
        assert place == place_from(record)

    @pytest.mark.parametrize(("record", "place"), ODD, ids=[repr(record)[:60] for record, _ in ODD])
    def test_odd_record(self, record: object, place: Place) -> None:
        """Values of a wrong type or out of range are left out; the rest of the record still counts."""
        assert place == place_from(record)

    @pytest.mark.parametrize(
        "name", ["country", "continent", "city", "subdivisions", "location", "postal", "traits", "registered_country"]
    )
    @pytest.mark.parametrize("value", [None, 1, nan, "x" * 3, b"x", [], [{}], {}, {"names": []}, {"code": {"a": 1}}])
    def test_any_part_may_be_anything(self, name: str, value: object) -> None:
        """Whatever a part of a record is, the rest of the place is found."""
        assert place_from({name: value, "asn": 1}).asn == 1

    def test_record_is_not_changed(self) -> None:
        """A record that a reader shares between addresses is not modified."""
        record = {name: value for name, value in SCHEMAS["IPinfo standard location"][0].items()}  # noqa: C416 (a copy)
        place_from(record)
        assert SCHEMAS["IPinfo standard location"][0] == record


@pytest.fixture
def problems() -> list[ResolveError]:
    return []


def resolver_of(*paths: Path) -> MmdbResolver:
    return MmdbResolver(files=[str(path) for path in paths])


class TestAsk:
    @pytest.mark.parametrize(("record", "place"), SCHEMAS.values(), ids=SCHEMAS)
    def test_schema_in_a_file(self, tmp_path: Path, record: dict[str, Any], place: Place) -> None:
        """A record from a file has the original values, with prefix length, source and build time."""
        path = build(tmp_path / "a.mmdb", {"81.2.69.128/26": record}, edition="Some edition", build_epoch=1_780_000_000)
        built_at = datetime(2026, 5, 28, 20, 26, 40, tzinfo=UTC)
        answer = ask(Database(examine(str(path))), GB)
        assert answer is not None
        assert Answer(place=rounded(place), source="Some-edition", prefix_len=26, built_at=built_at) == answer.replace(
            place=rounded(answer.place)
        )

    @pytest.mark.parametrize("record", [{}, {"city": ""}, {"country": {"names": {}}}, "-", "ZZ", []])
    def test_empty_record(self, tmp_path: Path, record: Any) -> None:
        """An empty record is an answer without a place, with the network of the record."""
        path = build(tmp_path / "a.mmdb", {"81.2.69.0/24": record})
        answer = ask(Database(examine(str(path))), GB)
        assert answer is not None
        assert (Place(), 24, True) == (answer.place, answer.prefix_len, answer.is_empty)

    @pytest.mark.parametrize(
        ("record", "place"),
        [
            ("GB", Place(country_code="GB", country_name="United Kingdom")),
            ("office", Place(traits={"value": "office"})),
            (7, Place(traits={"value": 7})),
            (2.5, Place(traits={"value": 2.5})),
            (True, Place(traits={"value": True})),
            (["a", 1], Place(traits={"value": ["a", 1]})),
        ],
        ids=repr,
    )
    def test_record_of_any_type_in_a_file(self, tmp_path: Path, record: Any, place: Place) -> None:
        """A record may be a string, a number, a boolean or a list: a code is a country, the rest is a trait."""
        answer = ask(Database(examine(str(build(tmp_path / "a.mmdb", {"81.2.69.0/24": record})))), GB)
        assert place == (answer and answer.place)

    def test_no_record(self, tmp_path: Path) -> None:
        """An address without a record has no answer."""
        assert ask(Database(examine(str(build(tmp_path / "a.mmdb", CITIES)))), ip_address("8.8.8.8")) is None

    def test_strange_values_in_a_file(self, tmp_path: Path) -> None:
        """NaN is dropped, False is kept, and bytes become hex, also from a file."""
        record = {"country_code": "GB", "latitude": nan, "is_proxy": False, "key": b"\x00\xff"}
        path = build(tmp_path / "a.mmdb", {"81.2.69.0/24": record})
        answer = ask(Database(examine(str(path))), GB)
        assert answer is not None
        expected = Place(country_code="GB", country_name="United Kingdom", traits={"is_proxy": False, "key": "00ff"})
        assert expected == answer.place


def rounded(place: Place) -> Place:
    """Return a place with coordinates in single precision."""
    return place.replace(
        **{
            name: degrees if (degrees := getattr(place, name)) is None else round(degrees, 4)
            for name in ("latitude", "longitude")
        }
    )


def build_another(path: Path) -> None:
    build(path, {"81.2.69.0/24": TOKYO})


class TestMmdbResolver:
    def resolve(self, resolver: MmdbResolver, address: Any, problems: list[ResolveError]) -> Answer:
        """Return the answer of a resolver with these databases."""
        resolver.sources(None, problems.append)
        answer = resolver.resolve(address, problems.append)
        assert answer is not None
        return answer

    def test_city_and_asn_merge(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """Place and network come from two databases; both are sources, and the narrower prefix applies."""
        build(tmp_path / "GeoLite2-ASN.mmdb", NETWORKS, edition="GeoLite2-ASN", build_epoch=1_770_000_000)
        build(tmp_path / "GeoLite2-City.mmdb", CITIES, build_epoch=1_780_000_000)
        answer = self.resolve(MmdbResolver([str(tmp_path)]), GB, problems)
        assert ("GeoLite2-City+GeoLite2-ASN", 25) == (answer.source, answer.prefix_len)
        assert ("London", 20712, "Andrews & Arnold Ltd") == (answer.place.city, answer.place.asn, answer.place.org)
        assert datetime(2026, 5, 28, 20, 26, 40, tzinfo=UTC) == answer.built_at
        assert [] == problems

    def test_only_databases_with_a_record_are_sources(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """A database without a record of the address is not among the sources."""
        build(tmp_path / "GeoLite2-City.mmdb", CITIES)
        build(tmp_path / "GeoLite2-ASN.mmdb", NETWORKS, edition="GeoLite2-ASN")
        assert "GeoLite2-City" == self.resolve(MmdbResolver([str(tmp_path)]), GB_WITHOUT_ASN, problems).source

    def test_unknown_in_the_first_database(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """A database in which an address is unknown is not among the sources, and the next one answers."""
        first = build(tmp_path / "a.mmdb", {"81.2.69.128/26": UNKNOWN["IP2Location, nested"]}, edition="A")
        second = build(tmp_path / "b.mmdb", {"81.2.69.0/24": LONDON}, edition="B")
        answer = self.resolve(resolver_of(first, second), GB, problems)
        assert ("B", "London", 24) == (answer.source, answer.place.city, answer.prefix_len)

    def test_language_of_a_resolver(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """A resolver returns names in its language."""
        path = build(tmp_path / "a.mmdb", {"81.2.69.0/24": LONDON})
        place = self.resolve(MmdbResolver(files=[str(path)], language="de"), GB, problems).place
        assert ("Vereinigtes Königreich", "London") == (place.country_name, place.city)

    def test_unknown_address(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """An address without any record has no answer, and no problem."""
        build(tmp_path / "GeoLite2-City.mmdb", CITIES)
        resolver = MmdbResolver([str(tmp_path)])
        resolver.sources(None, problems.append)
        assert resolver.resolve(ip_address("8.8.8.8"), problems.append) is None
        assert [] == problems

    def test_no_database(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """Without any database there are no sources, no answers and no problems."""
        resolver = MmdbResolver([str(tmp_path)])
        assert [] == resolver.sources(None, problems.append)
        assert resolver.resolve(GB, problems.append) is None
        assert [] == problems

    def test_ipv4_database(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """An IPv4 database answers for IPv4, and is not used for IPv6, without a problem."""
        build(tmp_path / "four.mmdb", {"81.2.69.0/24": LONDON}, edition="Four", ip_version=4)
        build(tmp_path / "six.mmdb", {"2001:218::/32": TOKYO}, edition="Six")
        resolver = MmdbResolver([str(tmp_path)])
        assert "Four" == self.resolve(resolver, GB, problems).source
        assert "Six" == self.resolve(resolver, JP, problems).source
        assert [] == problems

    def test_order_in_a_directory(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """Of two databases in a directory, the one with more fields determines the place."""
        paris = {**LONDON, "city": {"names": {"en": "Paris"}}}
        build(tmp_path / "a.mmdb", {"81.2.69.0/24": {"country": {"iso_code": "FR"}}}, edition="A-Country")
        build(tmp_path / "b.mmdb", {"81.2.69.0/24": paris}, edition="B-City")
        place = self.resolve(MmdbResolver([str(tmp_path)]), GB, problems).place
        assert ("Paris", "GB") == (place.city, place.country_code)

    def test_two_places_are_never_mixed(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """Fields that the first database does not have of its place stay empty, whatever the next has of another."""
        paris = {"country": {"iso_code": "FR"}, "city": {"names": {"en": "Paris"}}}
        berlin = {
            "country": {"iso_code": "DE"},
            "location": {"latitude": 52.5, "longitude": 13.4, "accuracy_radius": 5},
        }
        build(tmp_path / "a.mmdb", {"81.2.69.0/24": paris}, edition="A-City")
        build(tmp_path / "b.mmdb", {"81.2.69.0/24": {**berlin, "traits": {"isp": "B"}}}, edition="B-City")
        answer = self.resolve(MmdbResolver([str(tmp_path)]), GB, problems)
        expected = Place(country_code="FR", country_name="France", city="Paris", org="B", traits={"isp": "B"})
        assert (expected, "A-City+B-City") == (answer.place, answer.source)

    def test_files_of_one_family_each(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """Of a pair of flat files, one for IPv4 and one for IPv6, that of the address's family is used."""
        for version, network, code in ((4, "81.2.69.0/24", "GB"), (6, "2001:218::/32", "JP")):
            path = tmp_path / f"country-ipv{version}.mmdb"
            build(path, {network: {"country_code": code}}, edition=f"country ipv{version}", ip_version=version)
        resolver = MmdbResolver([str(tmp_path)])
        answers = [self.resolve(resolver, address, problems) for address in (GB, JP)]
        assert [("GB", "country-ipv4", 24), ("JP", "country-ipv6", 32)] == [
            (answer.place.country_code, answer.source, answer.prefix_len) for answer in answers
        ]
        assert [] == problems

    def test_order_of_directories(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """A database in an earlier directory has precedence, even if a later one has more fields."""
        for name, edition, record in (("b", "Country", {"country_code": "FR"}), ("a", "City", LONDON)):
            (tmp_path / name).mkdir()
            build(tmp_path / name / "x.mmdb", {"81.2.69.0/24": record}, edition=edition)
        resolver = MmdbResolver([str(tmp_path / "b"), str(tmp_path / "a")])
        answer = self.resolve(resolver, GB, problems)
        assert ("FR", None) == (answer.place.country_code, answer.place.city)

    def test_order_of_named_files(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """Files given by the user are used in their order, and no others."""
        country = build(tmp_path / "country.mmdb", {"81.2.69.0/24": {"country_code": "FR"}}, edition="Country")
        city = build(tmp_path / "city.mmdb", CITIES)
        build(tmp_path / "asn.mmdb", NETWORKS, edition="ASN")
        resolver = MmdbResolver([str(tmp_path)], [str(country), str(city)])
        answer = self.resolve(resolver, GB, problems)
        assert ("FR", None, None) == (answer.place.country_code, answer.place.city, answer.place.asn)
        assert ["Country", "GeoLite2-City"] == [database.name for database in resolver.databases(problems.append)]

    def test_labels(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """Each database is a source with its edition and the SHA-256 of its content, and the file that it is."""
        path = build(tmp_path / "GeoLite2-City.mmdb", CITIES)
        label = f"GeoLite2-City@{sha256(path.read_bytes()).hexdigest()}"
        labels = Known()
        assert [(label, examine(str(path)))] == MmdbResolver([str(tmp_path)]).sources(labels, problems.append)
        assert {examine(str(path)): label} == labels

    def test_known_label_reads_nothing(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """A file whose label is known is not opened to find the sources."""
        path = tmp_path / "a.mmdb"
        path.write_bytes(b"no database")
        file = examine(str(path))
        assert [("City@1", file)] == MmdbResolver([str(tmp_path)]).sources(Known({file: "City@1"}), problems.append)
        assert [] == problems

    def test_without_labels_nothing_is_read(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """Where labels are not needed, no file is opened: each is known by its path."""
        path = tmp_path / "a.mmdb"
        path.write_bytes(b"no database")
        assert [(str(path), examine(str(path)))] == MmdbResolver([str(tmp_path)]).sources(None, problems.append)
        assert [] == problems

    def test_labels_come_in_the_order_they_are_asked(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """Since editions determine the order, a renamed file does not change the generation."""
        city, asn = build(tmp_path / "z.mmdb", CITIES), build(tmp_path / "a.mmdb", NETWORKS, edition="ASN")
        before = MmdbResolver([str(tmp_path)]).sources(Known(), problems.append)
        assert [str(city), str(asn)] == [file.path for _, file in before]
        asn.rename(tmp_path / "zz.mmdb")
        after = MmdbResolver([str(tmp_path)]).sources(Known(), problems.append)
        assert [label for label, _ in before] == [label for label, _ in after]

    def test_copies_are_used_once(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """Of copies of one database the first is used."""
        for name in ("a", "b", "c"):
            build(
                tmp_path / f"{name}.mmdb", {"81.2.69.0/24": TOKYO} if name == "b" else CITIES, build_epoch=1_780_000_000
            )
        resolver = MmdbResolver([str(tmp_path)])
        actual = resolver.sources(Known(), problems.append)
        assert [str(tmp_path / f"{name}.mmdb") for name in "ab"] == [file.path for _, file in actual]
        assert 2 == len(resolver.databases(problems.append))

    def test_file_that_changes_while_it_is_read(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """A database that is replaced while it is hashed has the label of the new one."""
        path = build(tmp_path / "a.mmdb", CITIES)

        class Replacing(Known):
            """Replaces the file after it was examined, and before it is opened."""

            def get(self, file: Any, default: Any = None) -> Any:
                if before == file:
                    build(path, {"81.2.69.0/24": TOKYO})
                return super().get(file, default)

        before = examine(str(path))
        ((label, file),) = MmdbResolver([str(tmp_path)]).sources(Replacing(), problems.append)
        assert before != examine(str(path))
        assert (f"GeoLite2-City@{sha256(path.read_bytes()).hexdigest()}", examine(str(path))) == (label, file)
        assert [] == problems

    def test_replaced_while_open(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """A database that is replaced while it is open is reopened; until then the old one answers."""
        build(tmp_path / "a.mmdb", {"81.2.69.0/24": LONDON}, build_epoch=1_780_000_000)
        resolver = MmdbResolver([str(tmp_path)])
        assert "London" == self.resolve(resolver, GB, problems).place.city
        build(tmp_path / "a.mmdb", {"81.2.69.0/24": TOKYO}, build_epoch=1_780_000_001)
        before = resolver.resolve(GB, problems.append)
        assert "London" == (before and before.place.city)
        assert "Tokyo" == self.resolve(resolver, GB, problems).place.city
        assert [] == problems

    @pytest.mark.parametrize("change", [build_another, os.unlink])
    def test_old_file_is_let_go(
        self, tmp_path: Path, problems: list[ResolveError], change: Callable[[Path], object]
    ) -> None:
        """A file that is replaced or removed takes no room once that is noticed."""
        path = build(tmp_path / "a.mmdb", CITIES)
        resolver = MmdbResolver([str(tmp_path)])
        self.resolve(resolver, GB, problems)
        change(path)
        assert f"{path} (deleted)" in Path("/proc/self/maps").read_text()
        resolver.sources(None, problems.append)
        assert f"{path} (deleted)" not in Path("/proc/self/maps").read_text()

    def test_removed_while_open(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """A database that is removed is no longer used."""
        path = build(tmp_path / "a.mmdb", CITIES)
        resolver = MmdbResolver([str(tmp_path)])
        self.resolve(resolver, GB, problems)
        path.unlink()
        assert [] == resolver.sources(None, problems.append)
        assert resolver.resolve(GB, problems.append) is None
        assert [] == problems


def empty(path: Path) -> None:
    path.write_bytes(b"")


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def missing(path: Path) -> None:
    path.unlink()


def page(path: Path) -> None:
    path.write_text("<!DOCTYPE html><html><title>Please sign in</title></html>")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (empty, "empty"),
    (directory, "not a regular file"),
    (fifo, "not a regular file"),
    (missing, "cannot be read: No such file or directory"),
    (page, "not a readable MaxMind DB: "),
    (cut, "not a readable MaxMind DB: "),
]


def spoil_data(path: Path) -> None:
    """Make every string of the data section longer than the file (MaxMind DB spec, data field format)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"\0" * 16) + 16
    end = data.index(b"\xab\xcd\xefMaxMind.com")
    data[start:end] = b"\x5f\xff\xff\xff" * ((end - start) // 4) + b"\x5f" * ((end - start) % 4)
    path.write_bytes(data)


class TestDamage:
    @pytest.mark.parametrize(("damage", "reason"), DAMAGES)
    def test_is_reported_and_the_next_answers(
        self, tmp_path: Path, problems: list[ResolveError], damage: Callable[[Path], None], reason: str
    ) -> None:
        """A file that is not a database is reported by its path, once, and the next one answers."""
        bad, good = build(tmp_path / "bad.mmdb", CITIES), build(tmp_path / "good.mmdb", CITIES, edition="Good")
        damage(bad)
        resolver = resolver_of(bad, good)
        assert ["Good"] == [label.partition("@")[0] for label, _ in resolver.sources(Known(), problems.append)]
        assert [f"{bad}: {reason}"] == [str(problem)[: len(f"{bad}: {reason}")] for problem in problems]
        assert {str(bad)} == {problem.path for problem in problems if isinstance(problem, DatabaseError)}
        answer = resolver.resolve(GB, lambda _: None)
        assert answer is not None
        assert ("Good", "London") == (answer.source, answer.place.city)

    def test_damaged_records(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """A database that opens, but whose records cannot be read, is reported, and the next one answers."""
        bad, good = build(tmp_path / "bad.mmdb", CITIES), build(tmp_path / "good.mmdb", CITIES, edition="Good")
        spoil_data(bad)
        resolver = resolver_of(bad, good)
        resolver.sources(None, problems.append)
        assert [] == problems
        answer = resolver.resolve(GB, problems.append)
        assert "Good" == (answer and answer.source)
        (problem,) = problems
        assert str(problem).startswith(f"{bad}: damaged: ")
        assert str(problem).endswith("; reinstall it with: geocli db update")

    def test_repaired(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """A damaged file that is replaced by a sound one is used again by the same resolver."""
        path = tmp_path / "a.mmdb"
        page(path)
        resolver = MmdbResolver([str(tmp_path)])
        assert [] == resolver.sources(Known(), problems.append)
        build(path, CITIES)
        assert 1 == len(resolver.sources(Known(), problems.append))
        assert resolver.resolve(GB, problems.append) is not None
        assert 1 == len(problems)

    def test_known_label_of_a_bad_file(self, tmp_path: Path, problems: list[ResolveError]) -> None:
        """A file with a cached label that cannot be opened is reported for each address it may have."""
        path = tmp_path / "a.mmdb"
        page(path)
        resolver = MmdbResolver([str(tmp_path)])
        resolver.sources(Known({examine(str(path)): "City@1"}), problems.append)
        assert [] == problems
        assert [None, None] == [resolver.resolve(address, problems.append) for address in (GB, JP)]
        assert [str(path)] * 2 == [problem.path for problem in problems if isinstance(problem, DatabaseError)]

    SOUND: bytes = b""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _sound(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.SOUND = build(tmp_path_factory.mktemp("sound") / "a.mmdb", CITIES).read_bytes()

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @example(changes=[], length=1.0)
    @given(
        changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
        length=st.just(1.0) | st.floats(0, 1),
    )
    def test_any_bytes(self, tmp_path: Path, changes: list[tuple[float, int]], length: float) -> None:
        """Whatever bytes of a database are changed or cut off, it gives an answer or a DatabaseError."""
        data = bytearray(self.SOUND)
        for place, byte in changes:
            data[int(place * len(data))] = byte
        path = tmp_path / "a.mmdb"
        path.unlink(missing_ok=True)
        path.write_bytes(data[: int(length * len(data))])
        problems: list[ResolveError] = []
        resolver = MmdbResolver([str(tmp_path)])
        labels = resolver.sources(Known(), problems.append)
        answers = [resolver.resolve(address, problems.append) for address in (GB, JP, ip_address("98.0.0.1"))]
        assert {DatabaseError} >= {type(problem) for problem in problems}
        assert all(str(problem).startswith(f"{path}: ") for problem in problems)
        assert bool(labels) != any(
            "not a readable" in str(problem) or ": empty" in str(problem) for problem in problems
        )
        assert {Answer, type(None)} >= {type(answer) for answer in answers}
        if data == self.SOUND and length == 1.0:
            assert ["London", "Tokyo", 'Winston, "Salem"'] == [answer and answer.place.city for answer in answers]
