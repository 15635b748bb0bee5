"""Hypothesis strategies for records of databases, of any vendor."""

from __future__ import annotations

from hypothesis import strategies as st

CODES = st.sampled_from(["GB", "de", "xx1", "", "ZZ", "XX", "-"])
TEXTS = st.sampled_from(["", "x", "London", "2", "-", "N/A", "??"])
VALUES = TEXTS | CODES | st.integers(0, 70_000) | st.booleans() | st.floats(-200, 200)
NAMES = st.dictionaries(st.sampled_from(["en", "de", "zh-CN"]), TEXTS | st.integers(0, 3), max_size=2) | TEXTS
NAMED = st.fixed_dictionaries(
    {}, optional={"iso_code": CODES, "code": CODES, "names": NAMES, "name": TEXTS, "geoname_id": VALUES}
)
ZONES = st.sampled_from(["Europe/London", "-08:00", "UTC+3", "", "-", 3, -2.5])
DEGREES = st.sampled_from([0, 0.0, "0", "0.000", 51.5, "x"])
LOCATION = st.dictionaries(
    st.sampled_from(["latitude", "longitude", "time_zone", "accuracy_radius", "city"]), VALUES
) | st.fixed_dictionaries(
    {}, optional={"latitude": DEGREES, "longitude": DEGREES, "time_zone": ZONES, "accuracy_radius": st.just(5)}
)
NETWORK = {
    "autonomous_system_number": st.sampled_from([1, 2]),
    "autonomous_system_organization": TEXTS,
    "isp": TEXTS,
    "organization": TEXTS,
    "asn": st.sampled_from(["AS1", "AS2", "AS", 2, 1 << 40]),
    "is_anonymous": st.booleans(),
}
FLAT = dict.fromkeys(("country_code", "country_name", "city", "state1", "latitude", "lon", "zip"), VALUES) | {
    "timezone": ZONES,
    "time_zone": ZONES,
}
NESTED = {
    "country": NAMED,
    "registered_country": NAMED,
    "city": NAMED,
    "continent": NAMED,
    "subdivisions": st.lists(NAMED, max_size=2) | TEXTS,
    "location": LOCATION,
    "traits": st.fixed_dictionaries({}, optional=NETWORK),
    "postal": NAMED | TEXTS,
}
RECORDS = (
    st.fixed_dictionaries({}, optional=NESTED)
    | st.fixed_dictionaries({}, optional=FLAT | {"country": CODES | TEXTS} | NETWORK)
    | st.fixed_dictionaries({}, optional=NESTED | NETWORK)
    | st.fixed_dictionaries({}, optional=NETWORK)
    | st.fixed_dictionaries({}, optional={"latitude": DEGREES, "longitude": DEGREES, "registered_country": NAMED})
    | CODES
    | VALUES
    | st.lists(TEXTS, max_size=2)
)
