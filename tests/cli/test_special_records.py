"""Special addresses for which users have records in their own databases: in lookups, batches and logs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers.command_output import complaints, objects
from tests.helpers.data_directories import stored_rows
from tests.helpers.databases import LONDON, NETWORKS, build
from tests.helpers.web_services import Web

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

HALL: dict[str, Any] = {
    "country": {"iso_code": "DE", "names": {"en": "Germany"}},
    "city": {"names": {"en": "Hall 3"}},
    "rack": 7,
}
OFFICE: dict[str, Any] = {"country": {"iso_code": "FR"}, "city": {"names": {"en": "Office"}}}
OWN = {"10.1.2.0/24": HALL, "fd00::/8": OFFICE, "100.64.0.0/16": OFFICE, "81.2.69.0/24": LONDON}
EMPTY: dict[str, Any] = {"10.9.0.0/16": {}}
EXPECTED: list[tuple[str, str, str | None, str, str | None]] = [
    ("10.1.2.3", "private", "Hall 3", "own", "10.1.2.0/24"),
    ("fd00::1", "private", "Office", "own", "fd00::/8"),
    ("100.64.0.1", "shared", "Office", "own", "100.64.0.0/16"),
    ("10.2.0.1", "private", None, "iana", None),
    ("10.9.0.1", "private", None, "iana", None),
    ("::1", "loopback", None, "iana", None),
    ("224.0.0.1", "multicast", None, "iana", None),
]
FIELDS = "ip,status,scope,city,source,network"


@pytest.fixture
def own(geocli: Geocli) -> Geocli:
    """Return geocli with an own database, and another one without special addresses."""
    build(geocli.db_dir / "own.mmdb", OWN | EMPTY, edition="own")
    build(geocli.db_dir / "asn.mmdb", NETWORKS, edition="ASN")
    return geocli


def rows(ips: list[tuple[str, str, str | None, str, str | None]]) -> list[list[str | None]]:
    return [[ip, "special", scope, city, source, network] for ip, scope, city, source, network in ips]


def cells_of(output: bytes) -> list[list[str | None]]:
    return [[entry[name] for name in FIELDS.split(",")] for entry in objects(output)]


def test_a_lookup(own: Geocli) -> None:
    """A record is used, with its prefix, and the database is named; without one all is as the registries have it."""
    ran = own("lookup", "-F", FIELDS, *(ip for ip, *_ in EXPECTED))
    assert (0, b"") == (ran.returncode, ran.stderr)
    assert rows(EXPECTED) == cells_of(ran.stdout)
    entry = json.loads(own("lookup", "10.1.2.3").stdout)
    assert ("DE", "Germany", {"rack": 7}, True) == (
        entry["country_code"],
        entry["country_name"],
        entry["traits"],
        entry["cached"],
    )


@pytest.mark.parametrize("options", [(), ("--no-cache",), ("--refresh",)])
@pytest.mark.parametrize("count", [1, 3000])
def test_a_batch(own: Geocli, count: int, options: tuple[str, ...]) -> None:
    """A list of any size is answered like a lookup, and each address is stored once."""
    texts = "".join(f"{ip}\n" for ip, *_ in EXPECTED) * count
    ran = own("batch", *options, "-f", "jsonl", "-F", FIELDS, stdin=texts.encode())
    assert (0, b"") == (ran.returncode, ran.stderr)
    assert rows(EXPECTED) * count == cells_of(ran.stdout)
    assert own("flush").returncode == 0
    if not options:
        expected = sorted((ip, "special", scope, city, source) for ip, scope, city, source, _ in EXPECTED)
        assert expected == stored_rows(own, "ip, status, scope, city, source")


@pytest.mark.parametrize("count", [1, 3000])
def test_a_log(own: Geocli, count: int) -> None:
    """In logs the place of a special address is inserted."""
    ran = own("batch", "-i", "log", stdin=b"from 10.1.2.3 to 10.2.0.1\n" * count)
    assert b"from 10.1.2.3 [Hall 3, DE] to 10.2.0.1 [private]\n" * count == ran.stdout


def test_a_row_follows_its_sources(own: Geocli) -> None:
    """A special row is stale when another database is installed, and `re-resolve` includes it."""
    assert own("lookup", "10.1.2.3", "10.2.0.1").returncode == own("flush").returncode == 0
    assert [True, True] == [entry["cached"] for entry in objects(own("lookup", "10.1.2.3", "10.2.0.1").stdout)]
    build(own.db_dir / "own.mmdb", {"10.2.0.0/24": OFFICE}, edition="own")
    assert 2 == json.loads(own("re-resolve", "--json").stdout)["retried"]
    after = objects(own("lookup", "-F", FIELDS + ",cached", "10.1.2.3", "10.2.0.1").stdout)
    assert [(None, "iana", True), ("Office", "own", True)] == [(e["city"], e["source"], e["cached"]) for e in after]
    (own.db_dir / "own.mmdb").unlink()
    assert ["iana", "iana"] == [entry["source"] for entry in objects(own("lookup", "10.1.2.3", "10.2.0.1").stdout)]


def test_records_of_a_damaged_database_stay(own: Geocli) -> None:
    """The record of a special address in an unreadable database is shown until it can be read again."""
    assert own("lookup", "10.1.2.3").returncode == own("flush").returncode == 0
    (own.db_dir / "own.mmdb").write_bytes(b"")
    ran = own("lookup", "-F", FIELDS, "10.1.2.3")
    assert ("Hall 3", "own") == tuple(objects(ran.stdout)[0][name] for name in ("city", "source"))
    assert [f"{own.db_dir}/own.mmdb: empty"] == complaints(ran)


def test_named_databases_alone(own: Geocli, tmp_path: Path) -> None:
    """With `--db` only the given file is used."""
    other_path = build(tmp_path / "other.mmdb", {"10.1.0.0/16": OFFICE}, edition="own")
    for path, city in ((other_path, "Office"), (own.db_dir / "own.mmdb", "Hall 3"), (other_path, "Office")):
        (entry,) = objects(own("lookup", "--db", str(path), "10.1.2.3").stdout)
        assert city == entry["city"]


@pytest.mark.parametrize("options", [(), ("--refresh",), ("--no-cache",)])
def test_no_service_sees_a_special_address(own: Geocli, tmp_path: Path, options: tuple[str, ...]) -> None:
    """Whether a database has a record for it or not, a special address never leaves the machine."""
    with Web("ip-api", tmp_path) as web:
        own.environ |= {**web.environ, "GEOCLI_BUILT_IN_DATA": "false"}
        ran = own("lookup", *options, *(ip for ip, *_ in EXPECTED))
        assert 0 == ran.returncode
        ran = own("batch", *options, stdin="".join(f"{ip}\n" for ip, *_ in EXPECTED).encode() * 3000)
        assert 0 == ran.returncode
        assert [] == web.requests
