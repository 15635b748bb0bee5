"""Re-resolve, statistics, clear."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from geocli import re_resolve
from geocli.cache import GeoCache
from geocli.databases.licences import ATTRIBUTIONS
from geocli.errors import DatabaseError, StoreError
from geocli.re_resolve import ReResolveReport
from geocli.stats import DatabaseStats, Stats, databases
from geocli.storage.journal_reader import JournalStatus
from tests.helpers.databases import CITIES, NETWORKS, build
from tests.helpers.fake_sources import GREAT_BRITAIN, JAPAN, Source, WebSource
from tests.helpers.stores import change

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.clock import Clock
    from tests.helpers.geocli_process import Geocli

GB, JP, NOWHERE = "81.2.69.160", "2001:218::1", "81.3.0.1"
PAGE = 25
"""Rows of a page in the tests: few, so that there are several pages."""


@pytest.fixture
def source() -> Source:
    return Source({GB: GREAT_BRITAIN, JP: JAPAN})


@pytest.fixture
def cache(geocli: Geocli, clock: Clock, source: Source) -> Iterator[GeoCache]:
    """Return a cache with one source."""
    with GeoCache(
        settings=geocli.settings().replace(lock_timeout_seconds=0),
        resolvers=[source],
        clock=clock,
        on_problem=lambda _: None,
    ) as opened:
        yield opened


@pytest.fixture
def filled(cache: GeoCache, clock: Clock, source: Source) -> GeoCache:
    """Store GB and NOWHERE at noon and JP an hour later, and reset the recorded requests."""
    list(cache.lookup_batch([GB, NOWHERE, "10.0.0.1"]))
    clock.forward(minutes=59, seconds=59)
    list(cache.lookup_batch([JP]))
    cache.flush_dirty()
    source.lookups.clear()
    return cache


def addresses(count: int) -> list[str]:
    return [str(ip_address(0x08000000 + number)) for number in range(count)]


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pages small."""
    monkeypatch.setattr(re_resolve, "PAGE", PAGE)


class TestReResolve:
    @pytest.mark.parametrize(
        ("which", "ips"),
        [
            ("due", []),
            ("unresolved", [NOWHERE]),
            ("all", [JP, GB, NOWHERE]),
            (timedelta(), [JP, GB, NOWHERE]),
            (timedelta(minutes=59, seconds=59), [GB, NOWHERE]),
            (timedelta(hours=1), []),
        ],
    )
    def test_selection(self, filled: GeoCache, source: Source, which: Any, ips: list[str]) -> None:
        """Each selection resolves its rows again, in the order of their addresses; special ones only by databases."""
        actual = filled.re_resolve(which).retried
        assert len(ips) + (GB in ips) == actual  # 10.0.0.1 is as old as GB
        assert ips == source.lookups

    def test_due_after_retry_time(self, filled: GeoCache, clock: Clock, source: Source) -> None:
        """An unresolved address is due from its retry time on, to the second."""
        clock.forward(seconds=1)
        assert ReResolveReport(retried=1, unknown=1) == filled.re_resolve()
        assert [NOWHERE] == source.lookups
        assert ReResolveReport() == filled.re_resolve()
        clock.forward(days=1)
        assert ReResolveReport(retried=1, unknown=1) == filled.re_resolve()

    def test_due_after_an_update(self, filled: GeoCache, source: Source) -> None:
        """All rows are due when the sources have changed; after re-resolving, they are not."""
        source.label = "atlas@2"
        assert 4 == filled.re_resolve().retried
        assert [JP, GB, NOWHERE] == source.lookups
        assert 0 == filled.re_resolve().retried

    def test_report(self, filled: GeoCache, source: Source) -> None:
        """The report counts addresses that are now resolved, have moved to another country, or are unresolved."""
        source.places = {GB: JAPAN, NOWHERE: JAPAN, JP: JAPAN.replace(city="Tokyo")}
        report = filled.re_resolve("all")
        assert ReResolveReport(retried=4, found=1, changed=1, unknown=0) == report
        assert "4 retried, 1 found, 1 changed, 0 still unknown" == report.sentence
        actual = filled.lookup_cached_only([GB, JP, NOWHERE])
        assert {GB: None, JP: "Tokyo", NOWHERE: None} == {ip: entry.place.city for ip, entry in actual.items()}
        assert {"JP"} == {entry.place.country_code for entry in actual.values()}

    def test_good_answers_are_kept(self, filled: GeoCache, source: Source) -> None:
        """Rows for which the sources have no answer any more keep their places, and are not counted as unresolved."""
        source.places.clear()
        assert ReResolveReport(retried=4, unknown=1) == filled.re_resolve("all")
        actual = filled.lookup_cached_only([GB, JP])
        assert {GB: GREAT_BRITAIN, JP: JAPAN} == {ip: entry.place for ip, entry in actual.items()}

    def test_failure_changes_nothing(self, filled: GeoCache, source: Source) -> None:
        """If the source fails, no row changes, and all but special rows are resolved again the next time."""
        source.failure = DatabaseError("/atlas.mmdb", "damaged")
        source.label = "atlas@2"
        assert ReResolveReport(retried=4, unknown=1) == filled.re_resolve()
        source.failure = None
        assert ReResolveReport(retried=3, unknown=1) == filled.re_resolve()
        assert GREAT_BRITAIN == filled.lookup(GB).place

    def test_dry_run(self, filled: GeoCache, source: Source) -> None:
        """A dry run counts the rows, asks no source, and writes nothing."""
        assert ReResolveReport(retried=4) == filled.re_resolve("all", dry_run=True)
        assert [] == source.lookups
        assert [] == list(filled.journal.dirty())

    @pytest.mark.parametrize("limit", [0, 1, 2, 3, 4, 5, 10**30])
    def test_limit(self, filled: GeoCache, source: Source, limit: int) -> None:
        """At most as many rows as the limit are resolved."""
        assert min(limit, 4) == filled.re_resolve("all", limit=limit).retried
        assert [ip for ip in ("10.0.0.1", JP, GB, NOWHERE)[:limit] if ip != "10.0.0.1"] == source.lookups

    @pytest.mark.usefixtures("pages")
    @pytest.mark.parametrize("limit", [None, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE])
    @pytest.mark.parametrize("dry_run", [False, True])
    def test_pages(
        self,
        cache: GeoCache,
        source: Source,
        clock: Clock,
        limit: int | None,
        dry_run: bool,  # noqa: FBT001 (parametrized)
    ) -> None:
        """Of several pages, each row is resolved once, although rows stop being due meanwhile."""
        texts = addresses(2 * PAGE + 1)
        source.everywhere = JAPAN
        list(cache.lookup_batch(texts))
        cache.flush_dirty()
        source.lookups.clear()
        source.label = "atlas@2"
        clock.forward(days=1)
        assert len(texts[:limit]) == cache.re_resolve(limit=limit, dry_run=dry_run).retried
        assert ([] if dry_run else sorted(texts)[:limit]) == source.lookups
        remaining = 0 if not dry_run and limit is None else len(texts) - (0 if dry_run else len(texts[:limit]))
        assert remaining == cache.re_resolve(dry_run=True).retried

    def test_without_flush(self, filled: GeoCache, source: Source) -> None:
        """With `flush=False` the answers stay in the journal."""
        source.places[GB] = JAPAN
        filled.re_resolve("all", flush=False)
        assert ["10.0.0.1", JP, GB, NOWHERE] == [entry.ip for entry in filled.journal.dirty()]

    def test_stale_rows_come_first(self, filled: GeoCache, clock: Clock, source: Source) -> None:
        """Rows of other sources come before those whose retry time has passed, which may have to wait for a service."""
        clock.forward(hours=1)
        source.label = "atlas@2"
        list(filled.lookup_batch([NOWHERE]))
        filled.flush_dirty()
        clock.forward(days=1)
        source.lookups.clear()
        assert 3 == filled.re_resolve(limit=3).retried
        assert {JP, GB} == set(source.lookups)
        assert 1 == filled.re_resolve().retried

    @pytest.mark.parametrize("retry_at", ["2026-06-08T13:00:01Z", "9999-12-31T23:59:59Z"])
    def test_the_time_of_a_wrong_clock(
        self, filled: GeoCache, clock: Clock, source: Source, geocli: Geocli, retry_at: str
    ) -> None:
        """A row whose retry time is later than any pause is due now."""
        change(
            str(geocli.data_dir / "geocli.db"), f"UPDATE geo_cache SET retry_at = '{retry_at}' WHERE ip = '{NOWHERE}'"
        )
        assert clock() == datetime(2026, 6, 1, 12, 59, 59, tzinfo=UTC)
        assert 1 == filled.re_resolve().retried
        assert [NOWHERE] == source.lookups
        assert 0 == filled.re_resolve().retried

    def test_rows_of_no_generation(self, filled: GeoCache, source: Source, geocli: Geocli) -> None:
        """Rows of a store that did not note generations yet are due."""
        change(str(geocli.data_dir / "geocli.db"), "UPDATE geo_cache SET generation = NULL")
        assert 4 == filled.re_resolve().retried
        assert {JP, GB, NOWHERE} == set(source.lookups)

    def test_answers_of_a_killed_run_are_not_due(self, filled: GeoCache, source: Source) -> None:
        """The journal is flushed first, so that its answers are not due; with --no-flush it is not."""
        source.label = "atlas@2"
        filled.re_resolve(limit=3, flush=False)
        source.lookups.clear()
        assert 4 == filled.re_resolve(dry_run=True).retried
        assert 1 == filled.re_resolve().retried
        assert 1 == len(source.lookups)

    def test_services_are_asked_for_unknown_places(self, filled: GeoCache, source: Source) -> None:
        """With a new service, each row is resolved again, and the service is asked for those without a local place."""
        web = WebSource({NOWHERE: JAPAN})
        filled.chain.services = [web]
        assert ReResolveReport(retried=4, found=1) == filled.re_resolve()
        assert ([[NOWHERE]], 3) == (web.requests, len(source.lookups))
        assert ReResolveReport(retried=4) == filled.re_resolve("all")
        assert [[NOWHERE], [NOWHERE]] == web.requests

    def test_no_store(self, cache: GeoCache) -> None:
        """Without a store there are no rows, and no error."""
        assert ReResolveReport() == cache.re_resolve("all")

    def test_damaged_store(self, cache: GeoCache, geocli: Geocli) -> None:
        """A store that cannot be read is an error, since the due rows are unknown."""
        geocli.data_dir.mkdir()
        (geocli.data_dir / "geocli.db").write_bytes(b"\xff" * 8192)
        with pytest.raises(StoreError, match=r"geocli\.db: file is not a database"):
            cache.re_resolve()


class TestStats:
    def test_empty(self, cache: GeoCache, clock: Clock) -> None:
        """An empty cache has no rows, an empty journal, no last flush, and no problem."""
        expected = Stats(
            at=clock(),
            statuses={"resolved": 0, "special": 0, "unresolved": 0},
            by="country",
            top=[],
            journal=JournalStatus(entries=0, size_bytes=0, oldest_at=None, segments=0, quarantined_bytes=0),
            last_flush=None,
            databases=[],
            problems=[],
        )
        assert expected == cache.stats()

    def test_counts(self, filled: GeoCache, clock: Clock) -> None:
        """Rows are counted by status, dirty entries apart from them; the last flush is named."""
        flushed_at = clock().isoformat().replace("+00:00", "Z")
        clock.forward(minutes=1)
        filled.lookup("81.3.0.2")
        actual = filled.stats()
        assert {"resolved": 2, "special": 1, "unresolved": 1} == actual.statuses
        assert (flushed_at, 4, 0.0) == actual.last_flush
        assert actual.journal is not None
        assert (1, clock(), 0, 0) == (
            actual.journal.entries,
            actual.journal.oldest_at,
            actual.journal.segments,
            actual.journal.quarantined_bytes,
        )
        assert os.stat(f"{filled.directory.path}/journal").st_size == actual.journal.size_bytes

    @pytest.mark.parametrize(
        ("by", "top"),
        [
            ("country", [("GB", 3), (None, 1), ("JP", 1)]),
            ("city", [(None, 3), ("London", 2)]),
            ("asn", [(None, 3), (20712, 2)]),
            ("source", [("atlas", 4), (None, 1)]),
        ],
    )
    @pytest.mark.parametrize("most", [0, 1, 10])
    def test_top(self, cache: GeoCache, source: Source, by: Any, top: list[Any], most: int) -> None:
        """Rows are counted by the selected field, the most frequent first, and unknown values as None."""
        london = GREAT_BRITAIN.replace(city="London", asn=20712)
        source.places |= {"81.2.69.1": london, "81.2.69.2": london}
        list(cache.lookup_batch([GB, JP, "81.2.69.1", "81.2.69.2", NOWHERE]))
        cache.flush_dirty()
        actual = cache.stats(by=by, top=most)
        assert (by, top[:most]) == (actual.by, actual.top)

    def test_unreadable_store(self, cache: GeoCache, geocli: Geocli) -> None:
        """A store that cannot be read is one problem, in words; all else is still counted."""
        cache.lookup(GB)
        (geocli.data_dir / "geocli.db").write_bytes(b"\xff" * 8192)
        actual = cache.stats()
        path = geocli.data_dir / "geocli.db"
        expected = f"{path}: file is not a database; nothing was changed; restore a backup, or move"
        (problem,) = actual.problems
        assert problem.startswith(expected)
        assert (0, [], None) == (sum(actual.statuses.values()), actual.top, actual.last_flush)
        assert 1 == (actual.journal and actual.journal.entries)

    def test_unreadable_journal(self, filled: GeoCache, geocli: Geocli) -> None:
        """A journal that cannot be read is a problem, in words; the rows are still counted."""
        (geocli.data_dir / "journal").symlink_to("elsewhere")
        actual = filled.stats()
        path = geocli.data_dir / "journal"
        assert [f"{path}: cannot be read: a symbolic link; move it away"] == actual.problems
        assert actual.journal is None
        assert 2 == actual.statuses["resolved"]


class TestDatabases:
    def test_in_order_of_use(self, located: Geocli) -> None:
        """Every database is listed with edition, build, size and attribution, in order of use."""
        city, asn = (located.db_dir / f"GeoLite2-{name}.mmdb" for name in ("City", "ASN"))
        built_at = datetime(2026, 5, 28, 20, 26, 40, tzinfo=UTC)
        expected = [
            DatabaseStats(
                name=path.stem,
                path=str(path),
                size_bytes=path.stat().st_size,
                built_at=built_at,
                attribution=ATTRIBUTIONS["geolite"],
                kind="map",
            )
            for path in (city, asn)
        ]
        assert expected == databases(located.settings())

    def test_damaged_come_last(self, located: Geocli) -> None:
        """An unusable file is listed last, with the reason."""
        path = located.db_dir / "A.mmdb"
        path.write_bytes(b"")
        actual = databases(located.settings())
        assert ["GeoLite2-City", "GeoLite2-ASN", "A"] == [row.name for row in actual]
        expected = DatabaseStats(name="A", path=str(path), size_bytes=0, built_at=None, error=f"{path}: empty")
        assert expected == actual[-1]

    def test_named_files_alone(self, located: Geocli, tmp_path: Path) -> None:
        """If files are given, only these are listed, in their order."""
        asn = build(tmp_path / "asn.mmdb", NETWORKS, edition="ASN")
        city = build(tmp_path / "city.mmdb", CITIES, edition="City")
        chosen = located.settings().replace(databases=(str(asn), str(city)))
        assert ["ASN", "City"] == [row.name for row in databases(chosen)]

    def test_none(self, geocli: Geocli) -> None:
        """Without a database the list is empty."""
        assert [] == databases(geocli.settings())


class TestClear:
    @pytest.mark.parametrize(
        ("unresolved", "before", "remaining"),
        [
            (False, None, []),
            (True, None, ["10.0.0.1", JP, GB]),
            (False, timedelta(hours=0), [JP]),
            (True, timedelta(hours=0), ["10.0.0.1", JP, GB]),
            (True, timedelta(hours=-1), ["10.0.0.1", JP, GB, NOWHERE]),
            (False, timedelta(hours=-1), ["10.0.0.1", JP, GB, NOWHERE]),
        ],
    )
    def test_selection(
        self,
        filled: GeoCache,
        geocli: Geocli,
        unresolved: bool,  # noqa: FBT001 (parametrized)
        before: timedelta | None,
        remaining: list[str],
    ) -> None:
        """Rows go if they meet each of the conditions; the rest stays."""
        older_than = None if before is None else -before
        assert 4 - len(remaining) == filled.clear(unresolved=unresolved, older_than=older_than)
        with GeoCache(settings=geocli.settings(), resolvers=[]) as cache:
            cache.load_from_db()
            entries = cache.lookup_batch(["10.0.0.1", JP, GB, NOWHERE], mode="cached-only")
            assert remaining == [entry.ip for entry in entries if entry.cached]

    def test_no_store(self, cache: GeoCache, geocli: Geocli) -> None:
        """Without a store no row is deleted, and none is created."""
        assert 0 == cache.clear()
        assert not geocli.data_dir.exists()

    def test_damaged_store(self, cache: GeoCache, geocli: Geocli) -> None:
        """A damaged store is an error, and is not deleted."""
        geocli.data_dir.mkdir()
        (geocli.data_dir / "geocli.db").write_bytes(b"\xff" * 8192)
        with pytest.raises(StoreError, match=r"geocli\.db: file is not a database; nothing was changed"):
            cache.clear()
        assert b"\xff" * 8192 == (geocli.data_dir / "geocli.db").read_bytes()


def test_command_prints_the_problems(located: Geocli) -> None:
    """`stats --check` is silent and exits with 0 when all is well; else it prints each problem, and exits with 1."""
    for name in ("City", "ASN"):
        build(located.db_dir / f"GeoLite2-{name}.mmdb", CITIES, edition=f"GeoLite2-{name}")
    process = located("stats", "--check")
    assert (0, b"", b"") == (process.returncode, process.stdout, process.stderr)
    (located.db_dir / "GeoLite2-City.mmdb").write_bytes(b"")
    process = located("stats", "--check")
    assert (1, b"") == (process.returncode, process.stdout)
    assert f"geocli: {located.db_dir}/GeoLite2-City.mmdb: empty" == process.stderr.decode().splitlines()[0]
