"""The order in which a cache asks sources, and the answers it stores, with web services."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from geocli.cache import BLOCK, GeoCache
from geocli.errors import DatabaseError, GeocliError, ServiceError
from geocli.models import Answer, Entry, Place
from geocli.resolution import SourceAnswers
from geocli.resolvers.chain import Chain
from tests.helpers.fake_sources import GREAT_BRITAIN, JAPAN, Source, WebSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geocli.addresses import Address
    from geocli.resolvers.protocols import Report, Service
    from tests.helpers.clock import Clock
    from tests.helpers.geocli_process import Geocli

GB, JP, NOWHERE, SPECIAL = "81.2.69.160", "2001:218::1", "81.3.0.1", "10.0.0.1"
OSAKA = JAPAN.replace(city="Osaka")
NETWORK = Place(asn=64496, org="Example")
FAILURE = ServiceError("web", "HTTP 500", status=500)


class Bench:
    """Opens caches with a local source and one or two services, as successive processes would."""

    def __init__(self, geocli: Geocli, clock: Clock) -> None:
        self.chosen = geocli.settings().replace(lock_timeout_seconds=0)
        self.clock = clock
        self.local = Source({GB: GREAT_BRITAIN})
        self.web = WebSource({JP: OSAKA, GB: JAPAN})
        self.services: list[WebSource] = [self.web]
        self.problems: list[GeocliError] = []

    def __call__(self, services: Sequence[Service] | None = None) -> GeoCache:
        """Return a new cache."""
        return GeoCache(
            settings=self.chosen,
            resolvers=[self.local],
            services=self.services if services is None else services,
            clock=self.clock,
            on_problem=self.problems.append,
        )

    def ask(self, *texts: str, mode: Any = "cache") -> list[Entry]:
        """Look addresses up in a new process."""
        with self() as cache:
            return list(cache.lookup_batch(texts, mode=mode))

    def flush(self) -> None:
        """Move the journal into the store."""
        with self() as cache:
            cache.flush_dirty()

    def rows(self) -> dict[str, Entry]:
        """Return the rows on disk."""
        with self() as cache:
            return {entry.ip: entry for entry in cache.lookup_batch([GB, JP, NOWHERE], mode="cached-only")}


class _Fixed(Chain):
    """Says the same of every address."""

    def __init__(self, answer: Answer) -> None:
        super().__init__([])
        self._answer = answer

    def resolve(self, address: Address, report: Report, *, only_databases: bool = False) -> Answer | None:
        del address, report, only_databases
        return self._answer


@pytest.fixture
def bench(geocli: Geocli, clock: Clock) -> Bench:
    return Bench(geocli, clock)


class TestWhoIsAsked:
    def test_only_addresses_without_a_local_place(self, bench: Bench) -> None:
        """A service gets the distinct addresses without a local place, in one request."""
        actual = bench.ask(GB, JP, NOWHERE, SPECIAL, "nonsense", JP)
        assert [[JP, NOWHERE]] == bench.web.requests
        assert ["GB", "JP", None, None, None, "JP"] == [entry.place.country_code for entry in actual]
        assert ["atlas", "web", None, "iana", None, "web"] == [entry.source for entry in actual]
        assert "unresolved" == actual[2].status

    @pytest.mark.parametrize("mode", ["cache", "no-cache", "due", "again"])
    def test_addresses_with_a_local_place(self, bench: Bench, mode: Any) -> None:
        """An address with a local place needs no request, except with `refresh`."""
        assert [GREAT_BRITAIN] == [entry.place for entry in bench.ask(GB, mode=mode)]
        assert [] == bench.web.requests

    def test_refresh_asks_the_service_too(self, bench: Bench) -> None:
        """With `refresh` the answer is that of the service, completed by the local sources."""
        bench.local.places[GB] = GREAT_BRITAIN.replace(asn=20712)
        actual = bench.ask(GB, SPECIAL, mode="refresh")
        assert [[GB]] == bench.web.requests
        assert (JAPAN.replace(asn=20712), "web+atlas") == (actual[0].place, actual[0].source)

    def test_cached_only_asks_no_source(self, bench: Bench) -> None:
        """With `cached-only` no source is asked."""
        assert ["not in the cache"] == [entry.error for entry in bench.ask(JP, mode="cached-only")]
        assert [] == bench.web.requests

    def test_a_network_alone_is_not_a_place(self, bench: Bench) -> None:
        """The place comes from the service, the network from the first local source."""
        bench.local.places[JP] = NETWORK
        bench.web.places[JP] = OSAKA.replace(asn=1, org="Other")
        (entry,) = bench.ask(JP)
        assert OSAKA.replace(asn=64496, org="Example") == entry.place
        assert "atlas+web" == entry.source

    def test_the_second_service_gets_the_remaining_addresses(self, bench: Bench) -> None:
        """Services are asked in order, each for the remaining addresses."""
        bench.services.append(WebSource({NOWHERE: JAPAN}, name="other"))
        actual = bench.ask(JP, NOWHERE)
        assert ["web", "other"] == [entry.source for entry in actual]
        assert [[[JP, NOWHERE]], [[NOWHERE]]] == [service.requests for service in bench.services]

    def test_blocks(self, bench: Bench) -> None:
        """Of many addresses as many as fit a block are requested together."""
        texts = [str(ip_address(0x08000000 + number)) for number in range(BLOCK + 20)]
        bench.ask(*texts)
        assert [BLOCK, 20] == [len(request) for request in bench.web.requests]


NAT64, SIXTOFOUR, TEREDO = "64:ff9b::5102:45a0", "2002:5102:45a0::1", "2001:0:102:304::aefd:ba5f"
"""Addresses that embed `GB`."""


class TestEmbedded:
    """Addresses of NAT64, 6to4 and Teredo."""

    @pytest.mark.parametrize(("text", "length"), [(NAT64, 120), (SIXTOFOUR, 40), (TEREDO, 120)])
    def test_place_of_the_ipv4_address(self, bench: Bench, text: str, length: int) -> None:
        """If no source has the IPv6 address, the place is that of the embedded IPv4 address, for its network."""
        (entry,) = bench.ask(text)
        assert GREAT_BRITAIN.replace(traits={"embedded_ipv4": GB}) == entry.place
        assert ("resolved", "atlas", length) == (entry.status, entry.source, entry.prefix_len)
        assert [] == bench.web.requests

    @pytest.mark.parametrize("text", [NAT64, SIXTOFOUR])
    def test_own_record_comes_first(self, bench: Bench, text: str) -> None:
        """A record of the IPv6 address takes precedence."""
        bench.local.places[text] = OSAKA
        (entry,) = bench.ask(text)
        assert (OSAKA, 24) == (entry.place, entry.prefix_len)

    def test_teredo_has_the_place_of_its_client(self, bench: Bench) -> None:
        """A record of a Teredo address is about its server, so it is not used."""
        bench.local.places[TEREDO] = OSAKA
        assert ["GB"] == [entry.place.country_code for entry in bench.ask(TEREDO)]
        assert [GB] == bench.local.lookups

    def test_services(self, bench: Bench) -> None:
        """A service is asked for the IPv4 address, once, and its answer is used for all addresses that embed it."""
        bench.local.places.clear()
        actual = bench.ask(NAT64, SIXTOFOUR, TEREDO, GB)
        assert [[GB]] == bench.web.requests
        assert ["JP"] * 4 == [entry.place.country_code for entry in actual]
        assert [GB, GB, GB, None] == [(entry.place.traits or {}).get("embedded_ipv4") for entry in actual]

    @pytest.mark.parametrize("mode", ["cache", "no-cache", "refresh", "due", "again"])
    @pytest.mark.parametrize(
        "text", ["64:ff9b::a00:1", "2002:a00:1::1", "2001:0:102:304::f5ff:fffe", "2a00:1450::5efe:a00:1"]
    )
    def test_services_never_see_a_private_address(self, bench: Bench, text: str, mode: Any) -> None:
        """An address that embeds a private one is sent to no service."""
        bench.local.places.clear()
        (entry,) = bench.ask(text, mode=mode)
        expected = ("unresolved", None) if "5efe" in text else ("special", "private")
        assert expected == (entry.status, entry.scope)
        assert [] == bench.web.requests


class TestWhatIsKept:
    def test_a_web_answer_is_on_disk_before_it_is_returned(self, bench: Bench) -> None:
        """Like every other answer, with its lifetime."""
        with bench() as cache:
            next(cache.lookup_batch([JP]))
            (entry,) = cache.journal.dirty()
        assert (JP, "web", OSAKA) == (entry.ip, entry.source, entry.place)
        assert bench.clock() + bench.web.lifetime == entry.retry_at

    @pytest.mark.parametrize("failed", [True, False])
    def test_an_entry_has_the_fields_of_the_answer(self, bench: Bench, failed: bool) -> None:  # noqa: FBT001
        """An entry has the fields of the answer, the time, and a retry time if a source failed."""
        built_at = bench.clock() - timedelta(days=3)
        about: dict[str, Any] = {"place": OSAKA, "source": "a+b", "prefix_len": 25, "built_at": built_at}
        chain = _Fixed(Answer(**about))
        answers = SourceAnswers(chain, {GB: ip_address(GB)}, [FAILURE] * failed, bench.clock(), bench.problems.append)
        retry_at = bench.clock() + timedelta(hours=1) if failed else None
        expected = Entry(ip=GB, status="resolved", resolved_at=bench.clock(), retry_at=retry_at, **about)
        assert expected == answers.entry(GB, None)

    @pytest.mark.parametrize("flushed", [True, False])
    def test_it_is_fresh_for_its_lifetime(self, bench: Bench, flushed: bool) -> None:  # noqa: FBT001 (parametrized)
        """No other process asks again before it expires, with the answer in the journal or in the store."""
        bench.ask(JP)
        if flushed:
            bench.flush()
        bench.clock.forward(days=29, hours=23)
        assert [(True, OSAKA)] == [(entry.cached, entry.place) for entry in bench.ask(JP)]
        assert 1 == len(bench.web.requests)
        bench.clock.forward(hours=1)
        assert [False] == [entry.cached for entry in bench.ask(JP)]
        assert 2 == len(bench.web.requests)

    @pytest.mark.parametrize("flushed", [True, False])
    def test_unresolved_addresses_are_not_requested_again(self, bench: Bench, flushed: bool) -> None:  # noqa: FBT001
        """Nor for an unresolved address, before its retry time."""
        bench.ask(NOWHERE)
        if flushed:
            bench.flush()
        bench.ask(NOWHERE)
        assert 1 == len(bench.web.requests)
        bench.clock.forward(hours=1)
        bench.ask(NOWHERE)
        assert 2 == len(bench.web.requests)

    def test_no_cache_stores_nothing(self, bench: Bench, geocli: Geocli) -> None:
        """Without a cache the service is asked, and nothing is written."""
        assert [OSAKA] == [entry.place for entry in bench.ask(JP, mode="no-cache")]
        assert not geocli.data_dir.exists()

    @pytest.mark.parametrize("mode", ["cache", "due"])
    @pytest.mark.parametrize("flushed", [True, False])
    def test_it_stays_fresh(self, bench: Bench, mode: Any, flushed: bool) -> None:  # noqa: FBT001
        """When databases change, they are asked first; if they have no better answer, it stays fresh."""
        bench.ask(JP)
        if flushed:
            bench.flush()
        bench.local.label = "atlas@2"
        bench.local.places[JP] = NETWORK
        (entry,) = bench.ask(JP, mode=mode)
        assert ("resolved", OSAKA, "web") == (entry.status, entry.place, entry.source)
        bench.flush()
        assert [OSAKA] == [entry.place for entry in bench.ask(JP)]
        assert ("atlas@2, web", bench.clock() + bench.web.lifetime) == (
            bench.rows()[JP].generation,
            bench.rows()[JP].retry_at,
        )
        assert 1 == len(bench.web.requests)

    def test_a_local_place_replaces_it(self, bench: Bench) -> None:
        """Once a database has a place for the address, its answer is used."""
        bench.ask(JP)
        bench.local.label = "atlas@2"
        bench.local.places[JP] = GREAT_BRITAIN
        assert [("atlas", None)] == [(entry.source, entry.retry_at) for entry in bench.ask(JP)]
        assert 1 == len(bench.web.requests)

    def test_re_resolve_ignores_the_lifetime(self, bench: Bench) -> None:
        """When rows are selected for re-resolving, the service is asked for those without a local place."""
        bench.ask(JP)
        bench.ask(JP, GB, mode="again")
        assert [[JP], [JP]] == bench.web.requests

    def test_a_new_service_makes_unknown_addresses_misses(self, bench: Bench) -> None:
        """A new service is asked for unresolved addresses, also before their retry time."""
        bench.services = []
        bench.ask(JP)
        bench.flush()
        bench.services = [bench.web]
        assert [OSAKA] == [entry.place for entry in bench.ask(JP)]

    def test_unreadable_journal(self, bench: Bench, geocli: Geocli) -> None:
        """If the journal cannot be read, this is reported, and the answer cannot be stored."""
        geocli.data_dir.mkdir(mode=0o700)
        (geocli.data_dir / "journal").mkdir()
        assert [OSAKA] == [entry.place for entry in bench.ask(JP)]
        assert ["cannot be read", "cannot be appended"] == [
            str(problem).partition("journal: ")[2].partition(":")[0].removesuffix(" to") for problem in bench.problems
        ]


class TestFailures:
    @pytest.fixture
    def failing(self, bench: Bench) -> Bench:
        bench.web.failure = FAILURE
        return bench

    def test_a_failure_is_not_stored(self, failing: Bench) -> None:
        """It is reported, and nothing is stored: the next process asks again."""
        (entry,) = failing.ask(JP)
        assert ("unresolved", "web: HTTP 500") == (entry.status, entry.error)
        assert [failing.web.failure] == failing.problems
        assert "not in the cache" == failing.rows()[JP].error
        failing.web.failure = None
        assert [OSAKA] == [entry.place for entry in failing.ask(JP)]

    def test_a_failure_keeps_an_earlier_answer(self, bench: Bench) -> None:
        """An expired answer is returned, and stays on disk, if the service fails."""
        bench.ask(JP)
        bench.flush()
        bench.clock.forward(days=31)
        bench.web.failure = FAILURE
        assert [("resolved", OSAKA, None)] == [(entry.status, entry.place, entry.error) for entry in bench.ask(JP)]
        assert OSAKA == bench.rows()[JP].place

    def test_a_later_unresolved_result_keeps_an_earlier_answer(self, bench: Bench) -> None:
        """The same holds if the service has no answer any more; it is asked again after a day."""
        bench.ask(JP)
        bench.flush()
        bench.clock.forward(days=31)
        bench.web.places.clear()
        assert [OSAKA] == [entry.place for entry in bench.ask(JP)]
        bench.flush()
        assert bench.clock() + timedelta(days=1) == bench.rows()[JP].retry_at

    def test_the_other_service_answers(self, failing: Bench) -> None:
        """If one service fails, the next is asked; its answer is fresh, and no better one is replaced."""
        failing.services.append(WebSource({JP: JAPAN}, name="other"))
        assert [("other", None)] == [(entry.source, entry.error) for entry in failing.ask(JP)]
        assert failing.clock() + failing.web.lifetime == failing.rows()[JP].retry_at

    def test_the_other_service_does_not_replace_a_better_answer(self, bench: Bench) -> None:
        """The answer of the first service is not replaced by another one while it fails."""
        bench.ask(JP)
        bench.flush()
        bench.clock.forward(days=31)
        bench.web.failure = FAILURE
        bench.services.append(WebSource({JP: GREAT_BRITAIN}, name="other"))
        assert [OSAKA] == [entry.place for entry in bench.ask(JP)]
        bench.flush()
        assert OSAKA == bench.rows()[JP].place

    def test_no_answer_of_one_and_failure_of_the_other(self, failing: Bench) -> None:
        """If one service has no answer and the other fails, the address is not stored as unresolved."""
        failing.services.insert(0, WebSource(name="other"))
        assert [(None, "web: HTTP 500")] == [(entry.source, entry.error) for entry in failing.ask(JP)]
        assert "not in the cache" == failing.rows()[JP].error

    def test_a_local_answer_is_kept_with_a_retry_time(self, failing: Bench) -> None:
        """A partial local answer is stored, to be completed in an hour."""
        failing.local.places[JP] = NETWORK
        (entry,) = failing.ask(JP)
        assert ("resolved", NETWORK, failing.clock() + timedelta(hours=1)) == (
            entry.status,
            entry.place,
            entry.retry_at,
        )

    def test_a_refresh_that_fails_leaves_the_local_answer(self, failing: Bench) -> None:
        """If the service fails, the local answer is returned, and the failure is reported."""
        assert [GREAT_BRITAIN] == [entry.place for entry in failing.ask(GB, mode="refresh")]
        assert [failing.web.failure] == failing.problems

    def test_a_damaged_database_does_not_hide_the_service(self, bench: Bench) -> None:
        """If a local source fails, the service is asked, and its answer is stored."""
        bench.local.failure = DatabaseError("/atlas.mmdb", "damaged")
        assert [OSAKA] == [entry.place for entry in bench.ask(JP)]
        assert OSAKA == bench.rows()[JP].place
