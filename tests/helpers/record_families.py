"""Records of each family of databases, as their publishers write them."""

from __future__ import annotations

from typing import Any

FAMILIES: dict[str, tuple[Any, ...]] = {
    "GeoLite2-City": (
        {
            "city": {"geoname_id": 1, "names": {"en": "Amsterdam", "de": "Amsterdam"}},
            "continent": {"code": "EU", "names": {"en": "Europe"}},
            "country": {"iso_code": "NL", "is_in_european_union": True, "names": {"en": "Netherlands"}},
            "location": {"latitude": 52.37, "longitude": 4.89, "time_zone": "Europe/Amsterdam", "accuracy_radius": 20},
            "subdivisions": [{"iso_code": "NH", "names": {"en": "North Holland"}}],
        },
        {
            "continent": {"code": "EU", "names": {"en": "Europe"}},
            "country": {"iso_code": "NL", "is_in_european_union": True, "names": {"en": "Netherlands"}},
            "location": {"latitude": 52.38, "longitude": 4.9, "time_zone": "Europe/Amsterdam", "accuracy_radius": 500},
        },
        {"country": {"iso_code": "GB", "names": {"en": "United Kingdom"}}, "postal": {"code": "EC1A"}},
        {"registered_country": {"iso_code": "NL", "names": {"en": "Netherlands"}}},
        {"location": {"latitude": 0.0, "longitude": 0.0, "accuracy_radius": 1}},
        {"location": {"latitude": 5.0, "longitude": 6.0}},
        {"location": {"latitude": 5.0, "country_code": "BE"}},
        {},
    ),
    "GeoLite2-ASN": (
        {"autonomous_system_number": 1103, "autonomous_system_organization": "SURF B.V."},
        {"autonomous_system_number": 1103, "autonomous_system_organization": "SURFnet"},
        {"autonomous_system_number": 15169, "autonomous_system_organization": "Google LLC"},
        {"autonomous_system_number": 64496},
    ),
    "GeoIP2-Anonymous-IP": ({"is_anonymous": True, "is_tor_exit_node": True}, {"is_anonymous": True}),
    "DBIP-City-Lite": (
        {
            "country": {"iso_code": "ZZ"},
            "city": {"names": {"en": "Nowhere"}},
            "location": {"latitude": 1.0, "longitude": 2.0},
        },
        {"country": {"iso_code": "BE", "names": {"en": "Belgium"}}, "location": {"latitude": 50.8, "longitude": 4.3}},
    ),
    "ipinfo-lite": (
        {
            "country": "Netherlands",
            "country_code": "NL",
            "continent_code": "EU",
            "asn": "AS1103",
            "as_name": "SURF B.V.",
            "as_domain": "surf.nl",
        },
        {"country": "Belgium", "country_code": "BE", "continent_code": "EU"},
    ),
    "ip-location-db-country": ({"country_code": "NL"}, {"country_code": "GB"}, {"country_code": ""}),
    "ip-location-db-city": (
        {"country_code": "NL", "city": "Delft", "state1": "South Holland", "latitude": 52.0, "longitude": 4.36},
        {"country_code": "-", "city": "Delft"},
        {"city": "Ghent", "latitude": 51.05, "longitude": 3.72, "timezone": "Europe/Brussels"},
    ),
    "ipinfo-asn": ({"asn": "AS1103", "name": "SURF B.V.", "country": "NL", "domain": "surf.nl", "type": "education"},),
    "of-strings": ("NL", "GB", "not a country"),
}
"""By the type of the database."""
