"""Build databases with mmdb-writer, of the usual shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LONDON: dict[str, Any] = {
    "continent": {"code": "EU", "names": {"en": "Europe"}},
    "country": {"iso_code": "GB", "names": {"en": "United Kingdom", "de": "Vereinigtes Königreich"}},
    "subdivisions": [{"iso_code": "ENG", "names": {"en": "England"}}],
    "city": {"names": {"en": "London"}},
    "postal": {"code": "EC1A"},
    "location": {"latitude": 51.5142, "longitude": -0.0931, "time_zone": "Europe/London", "accuracy_radius": 100},
}
QUOTED: dict[str, Any] = {
    "country": {"iso_code": "US", "names": {"en": "United States"}},
    "city": {"names": {"en": 'Winston, "Salem"'}},
}
TOKYO: dict[str, Any] = {
    "country": {"iso_code": "JP", "names": {"en": "Japan"}},
    "city": {"names": {"en": "Tokyo"}},
    "location": {"latitude": 35.68, "longitude": 139.75, "time_zone": "Asia/Tokyo"},
}
CITIES: dict[str, Any] = {"81.2.69.0/24": LONDON, "2001:218::/32": TOKYO, "98.0.0.0/24": QUOTED}
NETWORKS: dict[str, Any] = {
    "81.2.69.128/25": {"autonomous_system_number": 20712, "autonomous_system_organization": "Andrews & Arnold Ltd"},
    "2001:218::/32": {"autonomous_system_number": 2914, "autonomous_system_organization": "NTT"},
}


def build(
    path: Path,
    records: Mapping[str, Any],
    *,
    edition: str = "GeoLite2-City",
    ip_version: int = 6,
    build_epoch: int | None = None,
) -> Path:
    """Write a database with a record for each network, replacing the file atomically, and return its path."""
    writer = MMDBWriter(
        ip_version=ip_version,
        ipv4_compatible=ip_version == 6,
        database_type=edition,
        languages=["en"],
    )
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    temporary = path.with_suffix(".tmp")
    writer.to_db_file(str(temporary))
    if build_epoch is not None:
        _set_build_epoch(temporary, build_epoch)
    temporary.rename(path)
    return path


def _set_build_epoch(path: Path, build_epoch: int) -> None:
    """Overwrite the build's epoch, which mmdb-writer takes from the clock."""
    data = bytearray(path.read_bytes())
    at = data.rindex(b"build_epoch") + len(b"build_epoch")
    size = _size_at(data, at)
    data[at + 2 : at + 2 + size] = build_epoch.to_bytes(size, "big")
    path.write_bytes(data)


def _size_at(data: bytearray, at: int) -> int:
    """Return the size of an extended-type integer (MaxMind DB spec, data field format)."""
    assert data[at + 1] == 2, "not an unsigned 64-bit integer"
    return data[at] & 0x1F


def damage_record(path: Path) -> None:
    """Give Tokyo's name an invalid type."""
    data = bytearray(path.read_bytes())
    data[data.index(b"\x45Tokyo")] = 0x05
    path.write_bytes(data)
