"""GeoCache: memory, store, sources, journal; which entries are hits, and that none is lost."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from geocli.cache import BLOCK, GeoCache, utc_now
from geocli.cache_tiers import MAX_ENTRIES
from geocli.databases.discovery import examine
from geocli.errors import (
    AddressError,
    BusyError,
    DatabaseError,
    GeocliError,
    JournalError,
    StorageError,
    StoreError,
)
from geocli.logs import raise_or_log
from geocli.models import Entry, Place
from geocli.resolvers.mmdb import MmdbResolver
from geocli.storage.directory import DataDirectory
from geocli.storage.journal import Journal
from geocli.storage.store import Store
from tests.helpers.data_directories import local
from tests.helpers.databases import LONDON, TOKYO, build
from tests.helpers.fake_sources import GREAT_BRITAIN, JAPAN, Source
from tests.helpers.locks import locked_by_process, locked_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from geocli.databases.discovery import DatabaseFile
    from geocli.resolvers.protocols import Labels, Report
    from geocli.settings import Settings
    from tests.helpers.clock import Clock
    from tests.helpers.geocli_process import Geocli

GB, JP, NOWHERE = "81.2.69.160", "2001:218::1", "81.3.0.1"


class Bench:
    """Opens caches on one data directory, as processes one after another would."""

    def __init__(self, chosen: Settings, clock: Clock) -> None:
        self.chosen = chosen
        self.clock = clock
        self.source = Source({GB: GREAT_BRITAIN, JP: JAPAN})
        self.problems: list[GeocliError] = []

    def __call__(self, **options: Any) -> GeoCache:
        """Return a new cache that asks the one source; with `resolvers=None`, the installed databases."""
        parts = {"resolvers": [self.source], "on_problem": self.problems.append, **options}
        return GeoCache(settings=self.chosen, clock=self.clock, **parts)

    @property
    def data_dir(self) -> str:
        return self.chosen.data_dir

    @property
    def reported(self) -> list[str]:
        """The reported problems, as users read them."""
        return [str(problem) for problem in self.problems]


@pytest.fixture
def bench(geocli: Geocli, clock: Clock) -> Bench:
    return Bench(geocli.settings().replace(lock_timeout_seconds=0, busy_timeout_seconds=0), clock)


def keep(bench: Bench, *entries: Entry) -> None:
    """Put entries into the store, as of an earlier lookup."""
    with bench() as cache:
        cache.journal.append(
            entry.replace(resolved_at=bench.clock(), generation=entry.generation or "atlas@1") for entry in entries
        )
        cache.flush_dirty()


class TestHits:
    def test_second_lookup_asks_no_source(self, bench: Bench) -> None:
        """An instance answers an address again without asking, and marks it as cached."""
        with bench() as cache:
            first, second = cache.lookup(GB), cache.lookup(GB)
        assert [GB] == bench.source.lookups
        assert first.replace(cached=True) == second
        assert (False, True) == (first.cached, second.cached)

    def test_entry_has_all_fields(self, bench: Bench) -> None:
        """An entry has the place, the source, the time, the prefix, and the generation."""
        with bench() as cache:
            entry = cache.lookup(GB)
        expected = Entry(
            ip=GB,
            status="resolved",
            place=GREAT_BRITAIN,
            source="atlas",
            prefix_len=24,
            resolved_at=bench.clock(),
            generation="atlas@1",
        )
        assert expected == entry

    def test_stored_answer_is_a_hit(self, bench: Bench) -> None:
        """After a flush, another process gets the same entry from the store, and asks no source."""
        with bench() as cache:
            before = cache.lookup(GB)
            assert cache.flush_dirty().flushed == 1
        with bench() as cache:
            assert before.replace(cached=True) == cache.lookup(GB)
        assert [GB] == bench.source.lookups

    def test_dirty_answer_is_a_hit(self, bench: Bench) -> None:
        """An answer that is only in the journal is a hit for another process."""
        with bench() as cache:
            before = cache.lookup(GB)
        with bench() as cache:
            assert before.replace(cached=True) == cache.lookup(GB)
        assert [GB] == bench.source.lookups

    def test_dirty_answer_is_newer_than_the_store(self, bench: Bench) -> None:
        """Another process gets the answer of `refresh` from the journal, not the one in the store."""
        with bench() as cache:
            cache.lookup(GB)
            cache.flush_dirty()
            bench.source.places[GB] = JAPAN
            list(cache.lookup_batch([GB], mode="refresh"))
        with bench() as cache:
            entry = cache.lookup(GB)
        assert (JAPAN, True) == (entry.place, entry.cached)
        assert [GB, GB] == bench.source.lookups

    def test_dirty_unresolved_entry(self, bench: Bench) -> None:
        """A later unresolved entry in the journal does not hide a good answer in the store."""
        with bench() as cache:
            cache.lookup(GB)
            cache.flush_dirty()
            bench.source.places.clear()
            list(cache.lookup_batch([GB], mode="refresh"))
        with bench() as cache:
            entry = cache.lookup(GB)
        assert (GREAT_BRITAIN, bench.clock() + timedelta(hours=1)) == (entry.place, entry.retry_at)

    def test_flush_of_another_process_is_noticed(self, bench: Bench) -> None:
        """An open cache finds entries that another process has stored."""
        with bench() as reader, bench() as writer:
            reader.lookup(JP)
            writer.lookup(GB)
            writer.flush_dirty()
            assert reader.lookup(GB).cached

    def test_usable_after_close(self, bench: Bench) -> None:
        """A closed cache reopens its store when it is used."""
        with bench() as cache:
            cache.lookup(GB)
            cache.flush_dirty()
        assert cache.lookup_cached_only([GB])[GB].cached
        cache.close()

    def test_everything_can_be_injected(self, bench: Bench, tmp_path: Path) -> None:
        """A cache uses the store and the journal that it is given, not those of its data directory."""
        elsewhere = DataDirectory(str(tmp_path / "elsewhere"))
        journal, store = Journal(elsewhere), Store(elsewhere.file("geocli.db"))
        with bench(journal=journal, store=store) as cache:
            cache.lookup(GB)
        assert [GB] == [entry.ip for entry in journal.dirty()]
        assert not os.path.exists(bench.data_dir)

    def test_defaults_are_those_of_the_command_line(self, located: Geocli, monkeypatch: pytest.MonkeyPatch) -> None:
        """A cache with only a directory finds the databases that the command line finds."""
        for name, value in located.environ.items():
            monkeypatch.setenv(name, value)
        with GeoCache(str(located.data_dir / "own")) as cache:
            entry = cache.lookup(GB)
        assert ("London", "GeoLite2-City+GeoLite2-ASN") == (entry.place.city, entry.source)
        assert (located.data_dir / "own" / "journal").exists()

    def test_clock_is_aware(self) -> None:
        """The default clock returns the time with its zone, UTC."""
        assert timedelta() == utc_now().utcoffset()
        assert abs(utc_now() - datetime.now(UTC)) < timedelta(minutes=1)


class TestTexts:
    @pytest.mark.parametrize(
        ("text", "canonical"),
        [
            (f"  {GB}\t", GB),
            (f"{GB}:443", GB),
            (f"::ffff:{GB}", GB),
            ("[2001:0218::1]:53", JP),
            ("2001:218:0::1%eth0", JP),
            (ip_address("::ffff:5102:45a0"), GB),
            (ip_address(JP), JP),
        ],
    )
    def test_key_is_canonical(self, bench: Bench, text: Any, canonical: str) -> None:
        """However an address is written, its entry has the canonical text, and a known place."""
        with bench() as cache:
            entry = cache.lookup(text)
        assert (canonical, "resolved") == (entry.ip, entry.status)

    def test_lookup_of_an_invalid_address(self, bench: Bench) -> None:
        """A lookup of an invalid address raises an error with the reason, and asks no source."""
        with bench() as cache, pytest.raises(AddressError, match=r"^010\.8\.8\.8: leading zeros are refused"):
            cache.lookup("010.8.8.8")
        assert [] == bench.source.lookups

    @pytest.mark.parametrize("mode", ["cache", "cached-only", "refresh", "no-cache"])
    def test_batch_keeps_order_and_number(self, bench: Bench, mode: Any) -> None:
        """A batch returns an entry for each string, in order; invalid ones with status `invalid`, unchanged."""
        texts = [GB, "example.com", f" {GB}", "", "10.0.0.1", "1.2.3.256"]
        with bench() as cache:
            cache.lookup(GB)
            actual = list(cache.lookup_batch(texts, mode=mode))
        assert [GB, "example.com", GB, "", "10.0.0.1", "1.2.3.256"] == [entry.ip for entry in actual]
        statuses = ["resolved", "invalid", "resolved", "invalid", "special", "invalid"]
        assert statuses == [entry.status for entry in actual]
        assert [
            "a host name, not an address; try: dig +short example.com | geocli batch",
            "no address in it",
            "not an IP address: a part is larger than 255",
        ] == [entry.error for entry in actual if entry.status == "invalid"]

    def test_invalid_addresses_are_not_stored(self, bench: Bench) -> None:
        """Invalid addresses leave nothing on disk."""
        with bench() as cache:
            list(cache.lookup_batch(["nonsense", "1.2.3.4.5"]))
        assert not os.path.exists(bench.data_dir)

    def test_endless_input_is_answered_as_it_comes(self, bench: Bench) -> None:
        """A batch reads at most one block ahead of the entries it returns."""
        count = 0

        def endless() -> Iterator[str]:
            nonlocal count
            for count in itertools.count(1):  # noqa: B007 (the test looks at it)
                yield GB

        with bench() as cache:
            assert next(cache.lookup_batch(endless())).ip == GB
        assert count == BLOCK

    def test_several_blocks(self, bench: Bench) -> None:
        """Input of more than two blocks loses and repeats nothing, and each distinct address is resolved once."""
        texts = [str(ip_address(0x08000000 + number)) for number in range(2 * BLOCK + 7)]
        with bench() as cache:
            actual = [entry.ip for entry in cache.lookup_batch(itertools.chain(texts, texts))]
            assert len(texts) == cache.stats().journal.entries  # type: ignore[union-attr]
        assert texts + texts == actual
        assert texts == bench.source.lookups

    def test_answers_are_on_disk_before_they_are_returned(self, bench: Bench) -> None:
        """When a batch returns the first entry of a block, the whole block is in the journal."""
        with bench() as cache:
            entries = cache.lookup_batch([GB, JP])
            next(entries)
            assert {GB, JP} == {entry.ip for entry in cache.journal.dirty()}


class TestGenerations:
    """Real databases: installing, updating, removing one makes the right rows misses."""

    @pytest.fixture
    def look(self, bench: Bench) -> Callable[[], tuple[str | None, str | None, bool]]:
        """Return a function that looks up GB in a new process, flushes, and returns city, source, and cached."""

        def look_up() -> tuple[str | None, str | None, bool]:
            with bench(resolvers=None) as cache:
                entry = cache.lookup(GB)
                cache.flush_dirty()
            return entry.place.city, entry.source, entry.cached

        return look_up

    @pytest.fixture
    def city(self, geocli: Geocli) -> Callable[..., Path]:
        """Return a function that installs a City database, with a build epoch and the city of GB."""

        def install(epoch: int, name: str) -> Path:
            record = {**LONDON, "city": {"names": {"en": name}}}
            return build(geocli.db_dir / "GeoLite2-City.mmdb", {"81.2.69.0/24": record}, build_epoch=epoch)

        return install

    def test_install(self, look: Any, city: Any) -> None:
        """A cached answer of the built-in data is resolved again when a database is installed."""
        assert (None, "rir", False) == look()
        assert (None, "rir", True) == look()
        city(1_780_000_000, "London")
        assert ("London", "GeoLite2-City", False) == look()
        assert ("London", "GeoLite2-City", True) == look()

    def test_update(self, look: Any, city: Any) -> None:
        """A cached answer of an older build is resolved again when the database is replaced."""
        city(1_780_000_000, "London")
        assert ("London", "GeoLite2-City", False) == look()
        city(1_780_000_001, "Greater London")
        assert ("Greater London", "GeoLite2-City", False) == look()
        assert ("Greater London", "GeoLite2-City", True) == look()

    def test_remove(self, look: Any, city: Any) -> None:
        """A cached answer of a database that was removed is resolved again from the remaining ones."""
        path = city(1_780_000_000, "London")
        assert ("London", "GeoLite2-City", False) == look()
        path.unlink()
        assert (None, "rir", False) == look()
        assert (None, "rir", True) == look()

    def test_touched(self, look: Any, city: Any) -> None:
        """A database that was only touched, or copied back, leaves its answers hits."""
        path = city(1_780_000_000, "London")
        look()
        os.utime(path, (1, 1))
        assert ("London", "GeoLite2-City", True) == look()

    def test_open_cache_notices(self, bench: Bench, city: Any) -> None:
        """An open instance notices each change, in memory and in the store."""
        with bench(resolvers=None) as cache:
            answers = [cache.lookup(GB).source]
            path = city(1_780_000_000, "London")
            answers += [cache.lookup(GB).place.city]
            city(1_780_000_001, "Greater London")
            answers += [cache.lookup(GB).place.city, cache.sources()[0][0][0]]
            digest = sha256(path.read_bytes()).hexdigest()
            path.unlink()
            answers += [cache.lookup(GB).source]
        assert ["rir", "London", "Greater London", f"GeoLite2-City@{digest}", "rir"] == answers

    def test_hit_opens_no_database(self, bench: Bench, city: Any) -> None:
        """A hit costs a stat for each database: of one whose content is known nothing is read."""
        path = city(1_780_000_000, "London")
        with bench(resolvers=None) as cache:
            cache.lookup(GB)
            label = cache.sources()[0][0][0]
            cache.flush_dirty()
        path.write_bytes(b"no database")
        with bench(resolvers=None) as cache:
            cache.digests.remember(examine(str(path)), label)
            entry = cache.lookup(GB)
        assert ("London", True) == (entry.place.city, entry.cached)
        assert [] == bench.reported

    def test_going_back_is_not_a_hit(self, look: Any, city: Any) -> None:
        """A row belongs to one generation: when the first database is back, it is resolved again."""
        city(1_780_000_000, "London")
        look()
        city(1_780_000_001, "Greater London")
        look()
        city(1_780_000_000, "London")
        assert ("London", "GeoLite2-City", False) == look()


class TestUnknown:
    """Addresses without an answer."""

    @pytest.mark.parametrize("is_restarted", [False, True])
    def test_retry_times(self, bench: Bench, is_restarted: bool) -> None:  # noqa: FBT001 (parametrized)
        """An unresolved address is not asked for for an hour, then a day, then a week, and a week each later time."""
        cache = bench()
        for pause in (timedelta(hours=1), timedelta(days=1), timedelta(weeks=1), timedelta(weeks=1)):
            began, lookups = bench.clock(), len(bench.source.lookups)
            entry = cache.lookup(NOWHERE)
            assert ("unresolved", began + pause, None) == (entry.status, entry.retry_at, entry.error)
            if is_restarted:
                cache.flush_dirty()
                cache.close()
                cache = bench()
            bench.clock.now = began + pause - timedelta(seconds=1)
            assert cache.lookup(NOWHERE).cached
            assert lookups + 1 == len(bench.source.lookups)
            bench.clock.forward(seconds=1)
        cache.close()

    def test_resolved_at_the_retry_time(self, bench: Bench) -> None:
        """An address with an answer at its retry time is resolved, and has no further retry time."""
        with bench() as cache:
            cache.lookup(NOWHERE)
            bench.source.places[NOWHERE] = JAPAN
            assert cache.lookup(NOWHERE).status == "unresolved"
            bench.clock.forward(hours=1)
            entry = cache.lookup(NOWHERE)
        assert ("resolved", None) == (entry.status, entry.retry_at)

    def test_new_source_is_asked_immediately(self, bench: Bench) -> None:
        """An unresolved address is resolved again before its retry time when there is another source."""
        with bench() as cache:
            cache.lookup(NOWHERE)
            bench.source.label = "atlas@2"
            assert not cache.lookup(NOWHERE).cached

    @pytest.mark.parametrize("is_restarted", [False, True])
    def test_good_answer_survives(self, bench: Bench, is_restarted: bool) -> None:  # noqa: FBT001 (parametrized)
        """An unresolved result never hides an earlier good answer, which stays until there is a better one."""
        cache = bench()
        good = cache.lookup(GB)
        cache.flush_dirty()
        del bench.source.places[GB]
        bench.source.label = "atlas@2"
        bench.clock.forward(days=1)
        if is_restarted:
            cache.close()
            cache = bench()
        cached = cache.lookup(GB)
        assert (good.place, "resolved", good.resolved_at) == (cached.place, cached.status, cached.resolved_at)
        assert bench.clock() + timedelta(hours=1) == cached.retry_at
        cache.flush_dirty()
        cache.close()
        with bench() as later:
            assert cached.replace(cached=True) == later.lookup(GB)
            bench.clock.forward(hours=1)
            bench.source.places[GB] = JAPAN
            assert later.lookup(GB).place == JAPAN


class TestModes:
    def test_cached_only_asks_no_source(self, bench: Bench) -> None:
        """`cached-only` answers from the journal and the store alone, whatever the sources are."""
        with bench() as cache:
            cache.lookup(GB)
            cache.flush_dirty()
            cache.lookup(JP)
        bench.source.label = "atlas@2"
        bench.source.lookups.clear()
        with bench() as cache:
            actual = list(cache.lookup_batch([GB, JP, NOWHERE, "10.0.0.1"], mode="cached-only"))
        assert [] == bench.source.lookups
        assert ["resolved", "resolved", "unresolved", "special"] == [entry.status for entry in actual]
        assert [True, True, False, False] == [entry.cached for entry in actual]
        assert (None, "not in the cache") == (actual[2].retry_at, actual[2].error)
        assert "private" == actual[3].scope

    def test_cached_only_takes_the_newest(self, bench: Bench) -> None:
        """`cached-only` prefers dirty entries to stored ones, except unresolved ones."""
        with bench() as cache:
            list(cache.lookup_batch([GB, JP]))
            cache.flush_dirty()
            bench.source.places = {GB: JAPAN}
            list(cache.lookup_batch([GB, JP], mode="refresh"))
        with bench() as cache:
            actual = cache.lookup_cached_only([GB, JP])
        assert [JAPAN, JAPAN] == [actual[GB].place, actual[JP].place]

    def test_cached_only_stores_nothing(self, bench: Bench) -> None:
        """`cached-only` on an empty cache creates no file."""
        with bench() as cache:
            assert {} == cache.lookup_cached_only([GB])
        assert not os.path.exists(bench.data_dir)

    def test_lookup_cached_only_returns_cached_answers(self, bench: Bench) -> None:
        """The dict has canonical keys, and neither unresolved nor invalid addresses."""
        with bench() as cache:
            list(cache.lookup_batch([GB, NOWHERE]))
            actual = cache.lookup_cached_only([f"::ffff:{GB}", NOWHERE, JP, "nonsense", "127.0.0.1"])
        assert {GB: "resolved", "127.0.0.1": "special"} == {ip: entry.status for ip, entry in actual.items()}

    def test_no_cache_neither_reads_nor_writes(self, bench: Bench) -> None:
        """`no-cache` asks although the answer is stored, and does not store the new one."""
        with bench() as cache:
            cache.lookup(GB)
            cache.flush_dirty()
            bench.source.places[GB] = JAPAN
            (entry,) = cache.lookup_batch([GB], mode="no-cache")
            assert (JAPAN, False) == (entry.place, entry.cached)
            assert (GREAT_BRITAIN, True) == (cache.lookup(GB).place, cache.lookup(GB).cached)
            assert [] == list(cache.journal.dirty())

    def test_no_cache_makes_no_file(self, bench: Bench) -> None:
        """`no-cache` creates no data directory."""
        with bench() as cache:
            list(cache.lookup_batch([GB, NOWHERE, "10.0.0.1"], mode="no-cache"))
        assert not os.path.exists(bench.data_dir)

    def test_refresh_asks_on_a_hit(self, bench: Bench) -> None:
        """`refresh` asks although the answer is cached, and stores the new one."""
        with bench() as cache:
            cache.lookup(GB)
            bench.source.places[GB] = JAPAN
            (entry,) = cache.lookup_batch([GB], mode="refresh")
            assert (JAPAN, False) == (entry.place, entry.cached)
            assert (JAPAN, True) == (cache.lookup(GB).place, cache.lookup(GB).cached)
            cache.flush_dirty()
        with bench() as cache:
            assert cache.lookup(GB).place == JAPAN


class TestSpecial:
    @pytest.mark.parametrize(
        ("text", "scope"),
        [("10.1.2.3", "private"), ("::1", "loopback"), ("169.254.1.1", "link-local"), ("224.0.0.1", "multicast")],
    )
    def test_no_source_is_asked(self, bench: Bench, text: str, scope: str) -> None:
        """A special address is answered from IANA's registries; no source is asked for it."""
        with bench() as cache:
            entry = cache.lookup(text)
        assert ("special", scope, "iana", Place()) == (entry.status, entry.scope, entry.source, entry.place)
        assert bench.clock() == entry.resolved_at
        assert [] == bench.source.lookups

    def test_row_that_is_no_longer_special(self, bench: Bench) -> None:
        """An address that is no longer in the registries is resolved, regardless of the stored row."""
        keep(bench, Entry(ip=GB, status="special", scope="reserved", source="iana"))
        with bench() as cache:
            assert cache.lookup(GB).status == "resolved"

    @pytest.mark.parametrize(
        "stored", [Entry(ip="10.0.0.1", status="resolved", place=JAPAN), Entry(ip="10.0.0.1", status="special")]
    )
    def test_row_that_is_special_now(self, bench: Bench, stored: Entry) -> None:
        """An address that is now in the registries is special, regardless of the stored row."""
        keep(bench, stored)
        with bench() as cache:
            entry = cache.lookup("10.0.0.1")
        assert ("special", "private") == (entry.status, entry.scope)
        assert [] == bench.source.lookups


class Forgetful(Journal):
    """A journal that stores nothing, for tests of memory."""

    def append(self, entries: Iterable[Entry], is_current: Callable[[], bool] = lambda: True) -> bool:  # noqa: ARG002
        """Keep nothing."""
        return True


class TestMemory:
    def test_is_bounded(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """Above the maximum, the oldest entries are dropped from memory, and resolved again."""
        most = MAX_ENTRIES // 10
        monkeypatch.setattr("geocli.cache_tiers.MAX_ENTRIES", most)
        texts = [str(ip_address(0x08000000 + number)) for number in range(most + 1)]
        bench.source.everywhere = JAPAN
        with bench(journal=Forgetful(DataDirectory(bench.data_dir))) as cache:
            for _ in cache.lookup_batch(texts):
                pass
            assert cache.lookup(texts[1]).cached
            assert cache.lookup(texts[-1]).cached
            assert not cache.lookup(texts[0]).cached

    def test_load_from_db(self, bench: Bench) -> None:
        """What was loaded is a hit also when the store is gone."""
        with bench() as cache:
            list(cache.lookup_batch([GB, JP, NOWHERE, "10.0.0.1"]))
            cache.flush_dirty()
        with bench() as cache:
            assert cache.load_from_db() == 4
            os.unlink(f"{bench.data_dir}/geocli.db")
            assert [True] * 4 == [entry.cached for entry in cache.lookup_batch([GB, JP, NOWHERE, "10.0.0.1"])]

    def test_load_from_nothing(self, bench: Bench) -> None:
        """Without a store nothing is loaded, without an error."""
        with bench() as cache:
            assert cache.load_from_db() == 0

    def test_load_from_damage(self, bench: Bench) -> None:
        """A damaged store cannot be loaded, and the error names it."""
        write_store(bench, b"no database" * 400)
        with bench() as cache, pytest.raises(StoreError, match=r"geocli\.db: file is not a database"):
            cache.load_from_db()


class TestThreads:
    def test_one_instance_for_many(self, located: Geocli, clock: Clock) -> None:
        """Threads that share an instance, one of which flushes, all get right answers, and all are stored."""
        texts = [f"81.2.69.{number}" for number in range(200)] + [f"2001:218::{number:x}" for number in range(1, 200)]
        with GeoCache(settings=located.settings(), clock=clock) as cache:

            def look(shift: int) -> list[Entry]:
                turned = texts[shift * 40 :] + texts[: shift * 40]
                result = [
                    entry for start in range(0, len(texts), 25) for entry in cache.lookup_batch(turned[start:][:25])
                ]
                if shift == 0:
                    cache.flush_dirty()
                return result

            with ThreadPoolExecutor(8) as pool:
                result = [entry for entries in pool.map(look, range(8)) for entry in entries]
            cache.flush_dirty(wait_seconds=10)
            cached = cache.lookup_cached_only(texts)
        cities = {entry.ip: entry.place.city for entry in result}
        assert {ip: "Tokyo" if ":" in ip else "London" for ip in texts} == cities
        assert 8 * len(texts) == len(result)
        assert set(texts) == cached.keys()


class TestJournalFails:
    def test_is_reported_and_the_answer_is_returned(self, bench: Bench) -> None:
        """If the journal cannot be written, the problem is reported, and the answer is returned."""
        os.makedirs(f"{bench.data_dir}/journal")
        with bench() as cache:
            entry = cache.lookup(GB)
        assert GREAT_BRITAIN == entry.place
        assert [JournalError] == [type(problem) for problem in bench.problems]
        assert [f"{bench.data_dir}/journal: cannot be appended to: Is a directory"] == bench.reported

    def test_answer_that_was_not_stored_is_not_a_hit(self, bench: Bench) -> None:
        """An answer that could not be stored is resolved, and stored, the next time."""
        os.makedirs(f"{bench.data_dir}/journal")
        with bench() as cache:
            cache.lookup(GB)
            os.rmdir(f"{bench.data_dir}/journal")
            assert not cache.lookup(GB).cached
            assert [GB] == [entry.ip for entry in cache.journal.dirty()]
        assert 1 == len(bench.problems)

    def test_raises_by_default(self, bench: Bench) -> None:
        """By default an exception is raised, so that no answer is lost unnoticed."""
        os.makedirs(f"{bench.data_dir}/journal")
        with bench(on_problem=raise_or_log) as cache, pytest.raises(JournalError, match="Is a directory"):
            cache.lookup(GB)

    def test_busy_journal(self, bench: Bench) -> None:
        """If another process locks the journal too long, this is reported, and the answer is returned."""
        os.makedirs(bench.data_dir)
        with locked_file(Path(bench.data_dir, "journal.lock")), bench() as cache:
            assert GREAT_BRITAIN == cache.lookup(GB).place
        expected = f"{bench.data_dir}/journal.lock: busy: another process held it for 0 s; try again later"
        assert [expected] == bench.reported

    def test_command_exits_with_4(self, located: Geocli) -> None:
        """The command prints the answer, one line about the journal, and exits with 4."""
        (located.data_dir / "journal").mkdir(parents=True)
        process = located("lookup", GB, JP)
        assert [GB, JP] == [json.loads(line)["ip"] for line in process.stdout.splitlines()]
        expected = f"geocli: {located.data_dir}/journal: cannot be appended to: Is a directory\n"
        assert (4, expected) == (process.returncode, process.stderr.decode())

    def test_command_exits_with_75(self, located: Geocli) -> None:
        """With the journal locked, the command prints the answer, one line, and exits with 75."""
        located.data_dir.mkdir()
        with locked_file(located.data_dir / "journal.lock"):
            process = located("lookup", GB, environ={"GEOCLI_LOCK_TIMEOUT": "0"})
        assert "London" == json.loads(process.stdout)["city"]
        expected = f"geocli: {located.data_dir}/journal.lock: busy: another process held it for 0 s; try again later\n"
        assert (75, expected) == (process.returncode, process.stderr.decode())


def write_store(bench: Bench, data: bytes) -> None:
    os.makedirs(bench.data_dir, exist_ok=True)
    with open(f"{bench.data_dir}/geocli.db", "wb") as file:
        file.write(data)


@contextmanager
def locked_store(path: str) -> Iterator[None]:
    """Lock out readers as another program can: WAL mode with an exclusive lock (sqlite.org/pragma.html)."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")
        yield


def newer_store(path: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")


class TestStoreFails:
    """A locked or damaged store makes a lookup slower or poorer, never wrong."""

    @staticmethod
    def damage(path: str, how: str) -> None:
        """Make a sound store unusable in one of several ways."""
        if how == "garbage":
            with open(path, "wb") as file:
                file.write(b"\xff" * 8192)
        elif how == "newer":
            newer_store(path)
        elif how == "loop":
            os.unlink(path)
            os.symlink(path, path)
        elif how == "row":
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute("UPDATE geo_cache SET traits = '{'")
        else:
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute("DROP TABLE geo_cache")

    DAMAGES = (
        ("garbage", "file is not a database"),
        ("newer", r"written by a newer geocli \(schema 999, this one supports 5\); update geocli"),
        ("loop", "not a regular file; move it away"),
        ("row", "unreadable row: "),
        ("table", "no such table: geo_cache"),
    )

    @pytest.mark.parametrize(("how", "reason"), DAMAGES)
    def test_answers_without_a_store(self, bench: Bench, how: str, reason: str) -> None:
        """With an unreadable store, sources are asked, answers appended, and the store is not changed."""
        with bench() as cache:
            cache.lookup(GB)
            cache.flush_dirty()
        path = f"{bench.data_dir}/geocli.db"
        self.damage(path, how)
        before = os.lstat(path)
        with bench() as cache:
            assert (GREAT_BRITAIN, False) == (cache.lookup(GB).place, cache.lookup(JP).cached)
            assert [GB, JP] == [entry.ip for entry in cache.journal.dirty()]
        assert {StoreError} == {type(problem) for problem in bench.problems}
        with pytest.raises(StoreError, match=rf"^{path}: {reason}"):
            raise bench.problems[0]
        assert (before.st_ino, before.st_size) == (os.lstat(path).st_ino, os.lstat(path).st_size)

    @pytest.mark.parametrize(("how", "reason"), DAMAGES)
    def test_is_reported_once(self, located: Geocli, how: str, reason: str) -> None:
        """The command reports the problem in one line, prints every answer, and exits with 0."""
        assert located("lookup", GB).returncode == 0
        assert located("flush").returncode == 0
        self.damage(f"{located.data_dir}/geocli.db", how)
        process = located("lookup", GB, JP)
        assert ["London", "Tokyo"] == [json.loads(line)["city"] for line in process.stdout.splitlines()]
        (line,) = process.stderr.decode().splitlines()
        with pytest.raises(AssertionError, match=rf"^geocli: {located.data_dir}/geocli\.db: {reason}"):
            raise AssertionError(line)
        assert process.returncode == 0

    def test_locked(self, bench: Bench) -> None:
        """With a store that another program locks, sources are asked, and this is reported."""
        with bench() as cache:
            cache.lookup(GB)
            cache.flush_dirty()
        path = f"{bench.data_dir}/geocli.db"
        with locked_store(path), bench() as cache:
            assert (GREAT_BRITAIN, False) == ((entry := cache.lookup(GB)).place, entry.cached)
        assert {f"{path}: locked by another program; asking the sources instead"} == set(bench.reported)

    def test_lock_is_reported_once(self, located: Geocli) -> None:
        """The command reports the lock in one line, prints every answer, and exits with 0."""
        located("lookup", GB)
        located("flush")
        path = f"{located.data_dir}/geocli.db"
        with locked_store(path):
            process = located("lookup", GB, JP, environ={"GEOCLI_BUSY_TIMEOUT": "0"})
        assert ["London", "Tokyo"] == [json.loads(line)["city"] for line in process.stdout.splitlines()]
        assert f"geocli: {path}: locked by another program; asking the sources instead\n" == process.stderr.decode()
        assert process.returncode == 0

    def test_is_logged_by_default(self, bench: Bench) -> None:
        """By default there are answers, and no exception: nothing is lost."""
        write_store(bench, b"\xff" * 8192)
        with bench(on_problem=raise_or_log) as cache:
            assert GREAT_BRITAIN == cache.lookup(GB).place

    def test_cached_only_with_a_damaged_store(self, bench: Bench) -> None:
        """With `cached-only`, a damaged store is an error, not an address that is not cached."""
        write_store(bench, b"\xff" * 8192)
        with bench() as cache, pytest.raises(StorageError, match="file is not a database"):
            cache.lookup_cached_only([GB])


def damage_unnoticed(path: Path) -> None:
    """Overwrite a file without changing its inode, size or times."""
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"\0" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


class TestSourceFails:
    def test_is_not_stored_as_unknown(self, bench: Bench) -> None:
        """An address for which a source fails is unresolved with the reason, and not stored."""
        bench.source.failure = DatabaseError("/atlas.mmdb", "damaged")
        with bench() as cache:
            first, second = cache.lookup(GB), cache.lookup(GB)
            assert [] == list(cache.journal.dirty())
            bench.source.failure = None
            assert GREAT_BRITAIN == cache.lookup(GB).place
        assert ("unresolved", "/atlas.mmdb: damaged", False) == (first.status, first.error, first.cached)
        assert (first.status, first.error, first.cached) == (second.status, second.error, second.cached)
        assert ["/atlas.mmdb: damaged"] * 2 == bench.reported

    def test_next_source_answers_for_now(self, bench: Bench) -> None:
        """The answer of another source is stored, to be retried in an hour, when the failing source may work again."""
        bench.source.failure = DatabaseError("/atlas.mmdb", "damaged")
        with bench(resolvers=[bench.source, Source(label="rir@1", everywhere=JAPAN)]) as cache:
            entry = cache.lookup(GB)
            assert (JAPAN, bench.clock() + timedelta(hours=1)) == (entry.place, entry.retry_at)
            bench.source.failure = None
            assert cache.lookup(GB).cached
            bench.clock.forward(hours=1)
            entry = cache.lookup(GB)
        assert (GREAT_BRITAIN, None, "atlas") == (entry.place, entry.retry_at, entry.source)

    def test_earlier_answer_is_shown(self, bench: Bench) -> None:
        """If the only source fails, an earlier good answer is shown instead of nothing, and stays in the store."""
        with bench() as cache:
            good = cache.lookup(GB)
            cache.flush_dirty()
            bench.source.failure = DatabaseError("/atlas.mmdb", "damaged")
            (entry,) = cache.lookup_batch([GB], mode="refresh")
            assert good.place == entry.place
            assert {GREAT_BRITAIN} == {entry.place for entry in cache.lookup_cached_only([GB]).values()}

    def test_poorer_answer_erases_no_better_one(self, bench: Bench) -> None:
        """While a source fails, the answer of another one does not replace its earlier answer."""
        london = GREAT_BRITAIN.replace(city="London")
        bench.source.places[GB] = london
        with bench(resolvers=[bench.source, Source(label="rir@1", everywhere=GREAT_BRITAIN)]) as cache:
            cache.lookup(GB)
            bench.source.failure = DatabaseError("/atlas.mmdb", "damaged")
            list(cache.lookup_batch([GB], mode="refresh"))
            cache.flush_dirty()
            assert london == cache.lookup_cached_only([GB])[GB].place

    @pytest.mark.parametrize(
        ("content", "reason"), [(b"", "empty"), (b"no database", "not a readable MaxMind DB: ")], ids=["empty", "text"]
    )
    def test_unusable_file(self, bench: Bench, geocli: Geocli, content: bytes, reason: str) -> None:
        """A file that is not a database is reported, and addresses it may have are not stored as unresolved."""
        path = geocli.db_dir / "GeoLite2-City.mmdb"
        path.write_bytes(content)
        with bench(resolvers=[MmdbResolver([str(geocli.db_dir)])]) as cache:
            actual = list(cache.lookup_batch([GB, JP]))
            assert [] == list(cache.journal.dirty())
        assert [f"{path}: {reason}"] == [answers[: len(f"{path}: {reason}")] for answers in bench.reported]
        assert [bench.reported[0]] * 2 == [entry.error for entry in actual]

    @pytest.mark.parametrize(
        ("later", "expected"),
        [([], ["unresolved"] * 3), ([Source(label="rir@1", everywhere=JAPAN)], ["resolved"] * 3)],
        ids=["alone", "with another source"],
    )
    def test_file_that_went_bad_unnoticed(
        self, bench: Bench, geocli: Geocli, later: list[Source], expected: list[str]
    ) -> None:
        """A database with a cached label that cannot be opened fails for each address that it may have."""
        path = build(geocli.db_dir / "GeoLite2-City.mmdb", {"81.2.69.0/24": LONDON, "2001:218::/32": TOKYO})
        with bench(resolvers=[MmdbResolver([str(geocli.db_dir)]), *later]) as cache:
            cache.lookup("81.2.69.1")
            cache.flush_dirty()
        damage_unnoticed(path)
        with bench(resolvers=[MmdbResolver([str(geocli.db_dir)]), *later]) as cache:
            actual = list(cache.lookup_batch([GB, JP, "81.2.69.7"]))
            statuses = {entry.status for entry in cache.journal.dirty()}
        assert (expected, [True] * 3) == (
            [entry.status for entry in actual],
            [bool(entry.retry_at) for entry in actual],
        )
        assert {status for status in expected if later} == statuses
        assert {f"{path}: not a readable MaxMind DB"} == {
            ": ".join(answers.split(": ")[:2]) for answers in bench.reported
        }


class TestClear:
    def test_everything(self, bench: Bench) -> None:
        """A clear flushes, then deletes all rows, also from memory, and returns their number."""
        with bench() as cache:
            list(cache.lookup_batch([GB, NOWHERE, "10.0.0.1"]))
            assert cache.clear() == 3
            assert {} == cache.lookup_cached_only([GB])
            assert not cache.lookup(GB).cached

    def test_nothing(self, bench: Bench) -> None:
        """A clear of an empty cache deletes no row, and creates no store."""
        with bench() as cache:
            assert cache.clear() == 0
        assert not os.path.exists(f"{bench.data_dir}/geocli.db")

    def test_unknown(self, bench: Bench) -> None:
        """A clear of unresolved rows leaves all others, and these addresses are resolved again immediately."""
        with bench() as cache:
            list(cache.lookup_batch([GB, NOWHERE]))
            assert cache.clear_negative() == 1
            bench.source.places[NOWHERE] = JAPAN
            assert (True, JAPAN) == (cache.lookup(GB).cached, cache.lookup(NOWHERE).place)

    def test_older_than(self, bench: Bench) -> None:
        """Clearing by age leaves rows that are as old as that, or younger."""
        with bench() as cache:
            cache.lookup(GB)
            bench.clock.forward(seconds=1)
            cache.lookup(JP)
            bench.clock.forward(days=90)
            assert cache.clear(older_than=timedelta(days=90)) == 1
            assert [JP] == list(cache.lookup_cached_only([GB, JP]))
            assert cache.clear(older_than=timedelta(days=90)) == 0

    def test_locked(self, bench: Bench) -> None:
        """A clear while another program writes to the store is an error, and nothing is deleted."""
        with bench() as cache:
            cache.lookup(GB)
            cache.flush_dirty()
            with closing(sqlite3.connect(f"{bench.data_dir}/geocli.db", isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                with pytest.raises(BusyError, match=r"geocli\.db: busy"):
                    cache.clear()
            assert cache.lookup(GB).cached

    def test_running_flush(self, bench: Bench) -> None:
        """A clear during a flush that takes too long is an error."""
        with bench() as cache:
            cache.lookup(GB)
            cache.flush_dirty()
            with locked_file(Path(bench.data_dir, "flush.lock")), pytest.raises(BusyError, match=r"flush\.lock: busy"):
                cache.clear()


class Half(Source):
    """A source that answers, in a cache with another one that fails."""

    def sources(self, labels: Labels | None, report: Report) -> list[tuple[str, DatabaseFile | None]]:
        report(DatabaseError("/broken.mmdb", "empty"))
        return super().sources(labels, report)


def test_a_batch_with_a_failing_source_finds_dirty_entries(tmp_path: Path, clock: Clock) -> None:
    """Each block of a batch is answered from entries that another process appends; no source is asked again."""
    texts = [f"8.8.{n // 250}.{n % 250}" for n in range(3 * BLOCK)]
    lookups = []
    for _ in range(2):
        source = Half(everywhere=JAPAN)
        with GeoCache(str(tmp_path / "data"), resolvers=[source], clock=clock, on_problem=lambda _: None) as cache:
            assert {"JP"} == {entry.place.country_code for entry in cache.lookup_batch(texts)}
        lookups.append(len(source.lookups))
    assert [len(texts), 0] == lookups


def test_a_failing_source_and_an_unreadable_journal(tmp_path: Path, clock: Clock) -> None:
    """The answer is returned, and both problems are reported."""
    (tmp_path / "data" / "journal").mkdir(parents=True)
    problems: list[GeocliError] = []
    cache = GeoCache(
        str(tmp_path / "data"), resolvers=[Half(everywhere=JAPAN)], clock=clock, on_problem=problems.append
    )

    assert "JP" == cache.lookup("8.8.8.8").place.country_code
    assert {"DatabaseError", "JournalError"} == {type(problem).__name__ for problem in problems}


class TestJournalThatCannotBeRead:
    @pytest.fixture(autouse=True)
    def linked(self, bench: Bench) -> None:
        """Replace the journal by a symbolic link, which is not followed."""
        with bench() as cache:
            cache.lookup(GB)
        os.rename(f"{bench.data_dir}/journal", f"{bench.data_dir}/elsewhere")
        os.symlink("elsewhere", f"{bench.data_dir}/journal")

    def test_it_is_reported(self, bench: Bench) -> None:
        """The journal itself is named while its lock can be taken, now or later."""
        for is_busy in (False, True):
            bench.problems.clear()
            with (
                locked_by_process(local(Path(bench.data_dir)), "journal.lock") if is_busy else nullcontext(),
                bench() as cache,
            ):
                cache.lookup(GB)
            assert f"{bench.data_dir}/journal: cannot be read: a symbolic link; move it away" == bench.reported[0]

    def test_it_is_one_problem_with_its_lock(self, bench: Bench) -> None:
        """If no append could take the lock, either, both are one problem."""
        os.unlink(f"{bench.data_dir}/journal.lock")
        os.mkdir(f"{bench.data_dir}/journal.lock")
        with bench() as cache:
            cache.lookup(GB)
        assert 1 == len(set(bench.reported))
        assert bench.reported[0].startswith(f"{bench.data_dir}/journal.lock: ")
        assert [StoreError, JournalError] == [type(problem) for problem in bench.problems]
