"""Stores of older releases are read as they are, and migrated by the next flush, without losing a row.

`tests/storage/stores` has a dump of each schema, as the release of that schema wrote it. Where that release did not
store the answer of a web service, one was added.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from geocli.cache import GeoCache
from geocli.storage.store import SCHEMA_VERSION
from geocli.timestamps import instant_text
from tests.helpers.stores import DUMPS, change, select

if TYPE_CHECKING:
    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow

PAID, KNOWN, SPECIAL, UNKNOWN = "2d00::2", "81.2.69.160", "10.0.0.1", "2d00::1"
SERVICE = {"GEOCLI_IP_API": "true", "GEOCLI_IP_API_URL": "http://127.0.0.1:9"}
"""An unreachable web service, so that requests are reported as errors."""


@pytest.fixture(params=range(1, SCHEMA_VERSION), ids="schema {}".format)
def older(request: pytest.FixtureRequest, geocli: Geocli) -> Geocli:
    """Return geocli with a store of an older schema, with a fresh answer of a web service."""
    geocli.data_dir.mkdir(mode=0o700)
    holds_until = instant_text(datetime.now(UTC) + timedelta(days=20))
    with closing(sqlite3.connect(path(geocli))) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript((DUMPS / f"schema_{request.param}.sql").read_text())
        db.execute(
            "INSERT OR REPLACE INTO geo_cache (ip, status, country_code, city, source, resolved_at, retry_at) "
            "VALUES (?, 'resolved', 'NL', 'Amsterdam', 'ip-api', '2026-11-30T00:00:00Z', ?)",
            (PAID, holds_until),
        )
        db.commit()
    assert request.param == version(geocli)
    return geocli


def path(geocli: Geocli) -> str:
    return str(geocli.data_dir / "geocli.db")


def version(geocli: Geocli) -> int:
    return int(select(path(geocli), "PRAGMA user_version")[0][0])


def rows(geocli: Geocli) -> list[tuple[Any, ...]]:
    columns = "ip, status, scope, country_code, city, latitude, source, prefix_len, built_at, resolved_at, retry_at"
    return select(path(geocli), f"SELECT {columns} FROM geo_cache ORDER BY ip")


def test_lookups_read_it(older: Geocli) -> None:
    """Its rows are read before a flush, and it stays unchanged."""
    before, schema = rows(older), version(older)
    ran = older("lookup", "--cached-only", "-f", "jsonl", PAID, KNOWN, SPECIAL, UNKNOWN)

    actual = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ["resolved", "resolved", "special", "unresolved"] == [entry["status"] for entry in actual]
    assert ["NL", "GB"] == [entry["country_code"] for entry in actual[:2]]
    assert {True} == {entry["cached"] for entry in actual}
    assert b"" == ran.stderr
    assert (before, schema) == (rows(older), version(older))


def test_a_paid_answer_is_not_requested_again(older: Geocli) -> None:
    """A fresh answer of a web service is used, without a request."""
    ran = older("lookup", "-f", "value", "-F", "country_code,city", PAID, environ=SERVICE)

    assert (0, b"NL,Amsterdam\n", b"") == (ran.returncode, ran.stdout.replace(b"\t", b","), ran.stderr)


def test_stats_count_it(older: Geocli) -> None:
    """Statistics have all its rows, and the last flush."""
    ran = older("stats", "-f", "json")

    assert 0 == ran.returncode
    actual = json.loads(ran.stdout)
    assert {"resolved": len(rows(older)) - 2, "special": 1, "unresolved": 1} == actual["entries"]
    assert 3 <= actual["last_flush"]["entries"] <= 4
    assert [] == actual["problems"]


def test_re_resolve_selects_from_it(older: Geocli) -> None:
    """It selects from the rows: in a dry run before the migration, otherwise after it."""
    before = rows(older)
    ran = older("re-resolve", "--all", "--dry-run", "--json")
    assert (0, len(before)) == (ran.returncode, json.loads(ran.stdout)["retried"])

    ran = older("re-resolve", "--all", "--json")
    assert (0, len(before)) == (ran.returncode, json.loads(ran.stdout)["retried"])
    assert SCHEMA_VERSION == version(older)
    assert [row[0] for row in before] == [row[0] for row in rows(older)]


def test_an_idle_flush_migrates_it(older: Geocli) -> None:
    """With nothing dirty a flush brings it up to date, silently, with every row; the next one finds nothing to do."""
    before = rows(older)
    for _ in range(2):
        ran = older("flush")

        assert (0, b"", b"") == (ran.returncode, ran.stdout, ran.stderr)
        assert SCHEMA_VERSION == version(older)
        assert before == rows(older)
    assert [("ok",)] == select(path(older), "PRAGMA integrity_check")


def test_an_open_cache_continues_after_the_migration(older: Geocli) -> None:
    """A long-lived process reads it before and after another one migrates it."""
    with GeoCache(settings=older.settings()) as cache:
        assert "NL" == cache.lookup_cached_only([PAID])[PAID].place.country_code
        assert 0 == older("flush").returncode
        change(path(older), f"UPDATE geo_cache SET country_code = 'BE' WHERE ip = '{PAID}'")
        assert "BE" == cache.lookup_cached_only([PAID])[PAID].place.country_code
        assert cache.stats().statuses["resolved"] == len(rows(older)) - 2


def test_an_idle_flush_ignores_an_unreadable_store(geocli: Geocli) -> None:
    """Without dirty entries, a flush ignores a file that is not a store, or one of a newer geocli."""
    geocli.data_dir.mkdir(mode=0o700)
    for data in (b"", b"no database" * 100):
        Path(path(geocli)).write_bytes(data)
        ran = geocli("flush")
        assert (0, b"", data) == (ran.returncode, ran.stderr, Path(path(geocli)).read_bytes())
