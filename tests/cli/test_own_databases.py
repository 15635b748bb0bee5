"""Databases as their owners have them, through the commands: records of any kind, empty, or with unknown values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from geocli.batch.scheduler import SMALL_BYTES
from geocli.cache import GeoCache
from geocli.models import Place
from geocli.resolvers.mmdb import MmdbResolver
from tests.helpers.command_output import objects
from tests.helpers.databases import LONDON, build
from tests.helpers.fake_sources import JAPAN, WebSource

if TYPE_CHECKING:
    from tests.helpers.clock import Clock
    from tests.helpers.geocli_process import Geocli

IP = "81.2.69.160"
EMPTY: list[Any] = [
    {},
    "-",
    {"country": {"iso_code": "ZZ", "names": {"en": "Reserved"}}},
    {"country_code": "", "city_name": "N/A", "latitude": 0, "longitude": 0},
]


@pytest.fixture
def alone(geocli: Geocli) -> Geocli:
    """Return geocli with no source but the databases of the test."""
    geocli.environ["GEOCLI_BUILT_IN_DATA"] = "false"
    return geocli


@pytest.mark.parametrize("record", EMPTY, ids=repr)
def test_empty_record(alone: Geocli, record: Any) -> None:
    """An address with an empty record is unresolved, with the network of the record, cached or not."""
    build(alone.db_dir / "own.mmdb", {"81.2.69.128/26": record}, edition="Own")
    for is_cached in (False, True):
        run = alone("lookup", IP)
        (entry,) = objects(run.stdout)
        assert (1, b"") == (run.returncode, run.stderr)
        expected = ("unresolved", "81.2.69.128/26", None, is_cached)
        assert expected == tuple(entry[name] for name in ("status", "network", "source", "cached"))
        assert 0 == alone("flush").returncode


@pytest.mark.parametrize("count", [1, 2 * SMALL_BYTES // len(IP)])
def test_empty_record_in_a_batch(alone: Geocli, count: int) -> None:
    """A short batch and a long one give it the same row as a lookup."""
    build(alone.db_dir / "own.mmdb", {"81.2.69.128/26": {}}, edition="Own")
    lines = f"{IP}\n" * count
    run = alone("batch", "--no-cache", "-f", "jsonl", "-F", "status,network", stdin=lines.encode())
    expected = {"status": "unresolved", "network": "81.2.69.128/26"}
    assert [expected] * count == [json.loads(line) for line in run.stdout.splitlines()]


@pytest.mark.parametrize("record", EMPTY, ids=repr)
def test_next_database_is_asked(alone: Geocli, record: Any) -> None:
    """Addresses without an answer of the first database are answered by the next, which is the only source."""
    for name, own in (("first", record), ("second", LONDON)):
        build(alone.db_dir / f"{name}.mmdb", {"81.2.69.0/24": own}, edition=name)
    run = alone("lookup", *(f"--db={alone.db_dir}/{name}.mmdb" for name in ("first", "second")), IP)
    (entry,) = objects(run.stdout)
    assert (0, "London", "second") == (run.returncode, entry["city"], entry["source"])


@pytest.mark.parametrize("record", EMPTY, ids=repr)
def test_service_is_asked(alone: Geocli, clock: Clock, record: Any) -> None:
    """Addresses without an answer of the databases are answered by a web service alone."""
    path = build(alone.db_dir / "own.mmdb", {"81.2.69.0/24": record})
    web = WebSource({IP: JAPAN})
    local = MmdbResolver(files=[str(path)])
    with GeoCache(settings=alone.settings(), resolvers=[local], services=[web], clock=clock) as cache:
        entry = cache.lookup(IP)
    assert ([[IP]], JAPAN, "web") == (web.requests, entry.place, entry.source)


def test_country_of_registration(alone: Geocli) -> None:
    """A country of registration is an answer, and marked as such; no service is asked for a better one."""
    record = {"registered_country": {"iso_code": "FR", "names": {"en": "France"}}}
    build(alone.db_dir / "own.mmdb", {"81.2.69.0/24": record}, edition="Own")
    run = alone("lookup", "-F", "status,country_code,country_name,traits.country_is_registered", IP)
    expected = {"status": "resolved", "country_code": "FR", "country_name": "France"}
    assert (0, {**expected, "traits.country_is_registered": True}) == (run.returncode, objects(run.stdout)[0])


@pytest.mark.parametrize("is_first", [True, False])
def test_a_place_overrides_the_country_of_registration(alone: Geocli, is_first: bool) -> None:  # noqa: FBT001
    """A database with a place takes precedence, in any order of the databases."""
    registered = {"registered_country": {"iso_code": "FR"}}
    for name, own in (("a", registered if is_first else LONDON), ("b", LONDON if is_first else registered)):
        build(alone.db_dir / f"{name}.mmdb", {"81.2.69.0/24": own}, edition=name)
    (entry,) = objects(alone("lookup", IP).stdout)
    assert ("GB", "London") == (entry["country_code"], entry["city"])
    assert "country_is_registered" not in entry["traits"]


@pytest.mark.parametrize(
    ("record", "place"),
    [
        ("GB", Place(country_code="GB", country_name="United Kingdom")),
        ("office", Place(traits={"value": "office"})),
        (7, Place(traits={"value": 7})),
        (-2.5, Place(traits={"value": -2.5})),
        (True, Place(traits={"value": True})),
        (["a", {"b": 1}], Place(traits={"value": ["a", {"b": 1}]})),
    ],
    ids=repr,
)
def test_record_of_any_kind(alone: Geocli, record: Any, place: Place) -> None:
    """A string, number, boolean or list is answered, stored and found again."""
    build(alone.db_dir / "own.mmdb", {"81.2.69.0/24": record}, edition="Own")
    for _ in range(2):
        (entry,) = objects(alone("lookup", IP).stdout)
        assert ("resolved", "Own", "81.2.69.0/24") == (entry["status"], entry["source"], entry["network"])
        assert (place.country_code, place.country_name, place.traits) == tuple(
            entry[name] for name in ("country_code", "country_name", "traits")
        )
        alone("flush")


@pytest.mark.parametrize("count", [1, 2 * SMALL_BYTES // len(IP)], ids=["scalar", "kernel"])
def test_a_damaged_file_does_not_keep_a_new_database_from_answering(geocli: Geocli, count: int) -> None:
    """A cached answer is kept only if a source of it fails: not the built-in data, nor a database that works."""
    assert b"rir\n" == geocli("lookup", "-f", "value", "-F", "source", IP).stdout
    for edition, city in (("Second", "Tokyo"), ("First", "London")):
        build(geocli.db_dir / f"{edition}.mmdb", {IP: {"country_code": "GB", "city": city}}, edition=edition)
        (geocli.db_dir / f"damaged-{edition}.mmdb").write_bytes(b"not a database")
        run = geocli("batch", "-f", "value", "-F", "city,source", stdin=f"{IP}\n".encode() * count)
        assert f"{city}\t{edition}\n".encode() * count == run.stdout
    damaged = geocli.db_dir / "First.mmdb"
    damaged.write_bytes(b"not a database")
    assert b"London\tFirst\n" == geocli("lookup", "-f", "value", "-F", "city,source", IP).stdout
