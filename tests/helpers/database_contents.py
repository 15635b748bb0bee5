"""Contents of databases: networks and records of the usual shapes, and combinations of databases."""

from __future__ import annotations

from typing import Any, TypeAlias

from tests.helpers.databases import CITIES, LONDON, NETWORKS, TOKYO

Databases: TypeAlias = dict[str, tuple[dict[str, Any], int]]
"""By name: the records by network, and the IP version of the tree."""

MORE_CITIES: dict[str, Any] = {
    **CITIES,
    "1.0.0.0/8": TOKYO,
    "1.2.0.0/16": LONDON,
    "1.2.3.0/24": TOKYO,
    "1.2.3.4/32": {"country": {"iso_code": "FR"}, "traits": {"is_anonymous": True, "domain": 'a"b,c\t'}},
    "1.3.0.0/16": {"traits": {"connection_type": "Cable"}},
    "1.4.0.0/16": {},
    "1.5.0.0/16": {"city": {"names": {"en": "=Évry\n\x1b[2J\u202e"}}, "location": {"latitude": -1.5, "longitude": 0.0}},
    "10.0.0.0/8": TOKYO,
    "2a00::/12": LONDON,
    "2a00:1450:4000::/37": TOKYO,
    "2a00:1450:4000::1/128": {"country": {"iso_code": "FR"}},
    "2001:db8::/32": TOKYO,
}
NUMBERS: dict[str, Any] = {
    **NETWORKS,
    "1.2.0.0/15": {"autonomous_system_number": 64500},
    "1.2.3.128/25": {"autonomous_system_number": 64501, "autonomous_system_organization": "=Org"},
    "1.4.0.0/16": {"autonomous_system_organization": "No Number"},
    "2a00:1450::/32": {"autonomous_system_number": 15169, "autonomous_system_organization": "Google"},
}
TRAITS: dict[str, Any] = {
    "1.0.0.0/9": {"isp": "Some ISP", "is_anonymous": False, "accuracy_radius": 7, "organization": "Else"},
    "1.2.3.4/31": {"is_anonymous_vpn": True, "continent": {"code": "XX"}},
    "81.0.0.0/8": {"isp": "British", "connection_type": "Corporate", "nested": {"a": [1, {"b": 2}]}},
}
FLAT: dict[str, Any] = {
    "1.0.0.0/8": {"country_code": "AU", "city": "Sydney", "state1": "NSW", "latitude": -33.8, "longitude": 151.2},
    "1.2.0.0/16": {"country": "CN", "city": "Fuzhou", "lat": "26.06", "lng": "119.3", "timezone": "Asia/Shanghai"},
    "1.2.3.0/24": {"country_code": "xx1", "asn": "AS64496", "as_name": "Example", "postal": "12345"},
    "2a00::/12": {"country_code": "de", "continent": "Europe"},
}
OPERATORS: dict[str, Any] = {
    "1.0.0.0/9": {"asn": "AS64496", "name": "Example", "country": "CN", "domain": "example.com"},
    "1.2.3.0/24": {"asn": "64497", "name": "EX-AP", "org": "Example", "country_code": "AU", "domain": "example.com"},
    "81.0.0.0/8": {"asn": "AS64498", "name": "British"},
}
UNKNOWN: dict[str, Any] = {
    "1.0.0.0/9": {"country_code": "-", "city_name": "-", "latitude": 0, "longitude": 0, "time_zone": "-"},
    "1.2.0.0/16": {"country": {"iso_code": "ZZ", "names": {"en": "Reserved"}, "is_in_european_union": False}},
    "1.2.3.0/24": {"registered_country": {"iso_code": "FR", "names": {"en": "France", "de": "Frankreich"}}},
    "1.3.0.0/16": {"city": {"names": {"zh-CN": "北京"}}, "location": {"time_zone": "+08:00"}},
    "1.4.0.0/16": {},
    "8.8.8.0/24": "-",
    "81.2.69.0/24": {"country": {"names": {"de": "Vereinigtes Königreich", "en": "United Kingdom"}}},
    "2a00::/12": {"registered_country": {"iso_code": "DE"}, "asn": 64500},
    "2a00:1450:4000::/37": {},
    "2002:102::/32": LONDON,
}
ANY_KIND: dict[str, Any] = {
    "1.0.0.0/9": "AU",
    "1.2.0.0/16": "office",
    "1.2.3.0/24": 7,
    "1.2.3.4/32": ["a", {"b": -1.5}],
    "1.3.0.0/16": True,
    "1.4.0.0/16": "ZZ",
    "2a00::/12": "DE",
    "81.0.0.0/8": {"city": "London"},
}
IPV4_ONLY: dict[str, Any] = {name: record for name, record in MORE_CITIES.items() if ":" not in name}
WORLDS: dict[str, Databases] = {
    "City and ASN": {"GeoLite2-City": (MORE_CITIES, 6), "GeoLite2-ASN": (NUMBERS, 6)},
    "ASN": {"GeoLite2-ASN": (NUMBERS, 6)},
    "none": {},
    "three": {"GeoLite2-City": (MORE_CITIES, 6), "GeoLite2-ASN": (NUMBERS, 6), "GeoIP2-ISP": (TRAITS, 6)},
    "IPv4 alone": {"GeoLite2-City": (IPV4_ONLY, 4), "GeoLite2-ASN": (NUMBERS, 6)},
    "flat": {"ip-location-db-city": (FLAT, 6)},
    "place and traits": {
        "ip-location-db-country": ({"1.0.0.0/8": {"country_code": "AU"}}, 6),
        "GeoIP2-ISP": (TRAITS, 6),
    },
    "operators": {"ip-to-asn": (OPERATORS, 6)},
    "flat and nested": {"DBIP-City": (FLAT, 6), "GeoLite2-Country": (MORE_CITIES, 6)},
    "unknown": {"Own": (UNKNOWN, 6)},
    "unknown and known": {"City-Own": (UNKNOWN, 6), "Country": (MORE_CITIES, 6), "GeoLite2-ASN": (NUMBERS, 6)},
    "any kind": {"Own": (ANY_KIND, 6)},
    "any kind and known": {"Own": (ANY_KIND, 6), "City-Own": (UNKNOWN, 6), "GeoIP2-ISP": (TRAITS, 6)},
}
"""Names of databases, with their networks and the family of their trees."""
