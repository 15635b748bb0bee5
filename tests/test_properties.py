"""Properties: GeoCache compared with a model of a few dicts, and single lookups with batches."""

from __future__ import annotations

import os
import tempfile
from functools import cache as cached
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from geocli.cache import GeoCache
from geocli.errors import AddressError, GeocliError
from geocli.freshness import RETRY_AFTER
from geocli.immutable import Value
from geocli.models import Entry
from geocli.resolvers.mmdb import MmdbResolver
from geocli.settings import Settings
from tests.helpers.clock import Clock
from tests.helpers.databases import build

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

CITIES: tuple[dict[str, str], ...] = (
    {"81.2.69.0/24": "London", "2001:218::/32": "Tokyo"},
    {"81.2.69.0/24": "Greater London", "98.0.0.0/24": "Winston"},
    {"2001:218::/48": "Kyoto"},
)
"""Three builds of a City database: network and city."""
NUMBERS: tuple[dict[str, int], ...] = ({"81.2.69.128/25": 20712}, {"81.2.69.128/25": 174, "8.8.8.0/24": 15169})
"""Two builds of an ASN database: network and number."""
EDITIONS: dict[str, tuple[Any, ...]] = {"GeoLite2-City": CITIES, "GeoLite2-ASN": NUMBERS}
FIELD = {"GeoLite2-City": "city", "GeoLite2-ASN": "autonomous_system_number"}
SPECIAL = "10.0.0.1"
ADDRESSES = ("81.2.69.160", "81.2.69.1", "2001:218::1", "2001:218:1::1", "98.0.0.7", "8.8.8.8", SPECIAL)

some_addresses = st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=4)


@cached
def database(edition: str, version: int) -> bytes:
    """Return the bytes of a build of an edition."""
    records = {network: {FIELD[edition]: value} for network, value in EDITIONS[edition][version].items()}
    with tempfile.TemporaryDirectory() as directory:
        path = build(Path(directory) / "a.mmdb", records, edition=edition, build_epoch=1_780_000_000 + version)
        return path.read_bytes()


class Row(Value):
    """An entry of the model."""

    status: str
    city: str | None = None
    asn: int | None = None
    source: str | None = None
    resolved_at: datetime
    retry_at: datetime | None = None
    generation: tuple[tuple[str, int], ...] = ()
    tries: int = 0


def settled(earlier: Row | None, later: Row) -> Row:
    """Return the later row, unless it is unresolved and the earlier one is a good answer."""
    if earlier is None or earlier.status != "resolved" or later.status != "unresolved":
        return later
    return earlier.replace(retry_at=later.retry_at, generation=later.generation)


class CacheMachine(RuleBasedStateMachine):
    """Acts like users, cron and operators, in any order, and compares each answer with the model's."""

    @initialize()
    def begin(self) -> None:
        """Open a cache on an empty directory, without databases."""
        self.home = tempfile.TemporaryDirectory()
        self.db_dir = os.path.join(self.home.name, "databases")
        os.mkdir(self.db_dir)
        self.clock = Clock()
        self.problems: list[GeocliError] = []
        self.installed: dict[str, int] = {}
        self.installs = 0
        self.memory: dict[str, Row] = {}
        self.journal: list[tuple[str, Row]] = []
        self.stored: dict[str, Row] = {}
        self.cache = self.opened()

    def opened(self) -> GeoCache:
        return GeoCache(
            settings=Settings(data_dir=os.path.join(self.home.name, "data")),
            resolvers=[MmdbResolver([self.db_dir])],
            clock=self.clock,
            on_problem=self.problems.append,
        )

    def teardown(self) -> None:
        """Check that there were no problems, and clean up."""
        if hasattr(self, "home"):
            self.cache.close()
            self.home.cleanup()
            assert [] == self.problems

    @property
    def generation(self) -> tuple[tuple[str, int], ...]:
        return tuple(sorted(self.installed.items()))

    def installed_answer(self, ip: str) -> Row | None:
        """Return the answer of the installed databases for an address, by their networks."""
        fields: dict[str, Any] = {}
        for edition in ("GeoLite2-City", "GeoLite2-ASN"):
            records = EDITIONS[edition][self.installed[edition]] if edition in self.installed else {}
            for network, value in records.items():
                if ip_address(ip) in ip_network(network):
                    fields[edition] = value
        if not fields:
            return None
        return Row(
            status="resolved",
            city=fields.get("GeoLite2-City"),
            asn=fields.get("GeoLite2-ASN"),
            source="+".join(fields),
            resolved_at=self.clock(),
        )

    def expected(self, ip: str, earlier: Row | None) -> Row:
        """Return the row that asking now gives."""
        now = self.clock()
        if ip == SPECIAL:
            return Row(status="special", source="iana", resolved_at=now, generation=self.generation)
        result = self.installed_answer(ip)
        if result is not None:
            return result.replace(generation=self.generation)
        tries = earlier.tries if earlier is not None else 0
        retry_at = now + RETRY_AFTER[min(tries, len(RETRY_AFTER) - 1)]
        return Row(status="unresolved", resolved_at=now, retry_at=retry_at, generation=self.generation, tries=tries + 1)

    def is_hit(self, row: Row | None) -> bool:
        if row is None:
            return False
        return row.generation == self.generation and (row.retry_at is None or self.clock() < row.retry_at)

    def compare(self, row: Row, entry: Entry, *, is_cached: bool) -> Row:
        """Compare an entry with a row of the model, and return the row."""
        fields = (entry.status, entry.place.city, entry.place.asn, entry.source, entry.resolved_at, entry.error)
        assert (row.status, row.city, row.asn, row.source, row.resolved_at, None) == fields
        assert is_cached == entry.cached
        if row.status == "resolved" and row.retry_at is not None and entry.retry_at != row.retry_at:
            # the number of failed attempts is not stored with a good answer
            assert entry.retry_at in {self.clock() + pause for pause in RETRY_AFTER}
            return row.replace(retry_at=entry.retry_at)
        assert row.retry_at == entry.retry_at
        return row

    def on_disk(self, ip: str) -> Row | None:
        """Return the entries of the journal and the store, merged."""
        result = self.stored.get(ip)
        for address, row in self.journal:
            if address == ip:
                result = settled(result, row)
        return result

    def look(self, ips: Sequence[str], entries: Sequence[Entry], *, is_refresh: bool) -> None:
        """Look up in the model, and compare."""
        assert list(ips) == [entry.ip for entry in entries]
        fresh: dict[str, Row] = {}
        rows: dict[str, Row] = {}
        at_hand: set[str] = set()
        for ip, entry in zip(ips, entries, strict=True):
            if ip in rows:
                self.compare(rows[ip], entry, is_cached=ip in at_hand)
                continue
            earlier = self.memory.get(ip) or self.on_disk(ip)
            if earlier is not None:
                self.memory[ip] = earlier
            if earlier is not None and not is_refresh and self.is_hit(earlier):
                at_hand.add(ip)
                rows[ip] = self.compare(earlier, entry, is_cached=True)
                continue
            row = self.expected(ip, earlier)
            expected = settled(earlier, row)
            at_hand |= {ip} if expected is not row else set()
            rows[ip] = self.compare(expected, entry, is_cached=ip in at_hand)
            fresh[ip] = row.replace(retry_at=rows[ip].retry_at)
        self.journal += fresh.items()
        self.memory |= {ip: settled(self.memory.get(ip), row) for ip, row in fresh.items()}

    @rule(ip=st.sampled_from(ADDRESSES))
    def lookup(self, ip: str) -> None:
        """Look one address up."""
        self.look([ip], [self.cache.lookup(ip)], is_refresh=False)

    @rule(ips=some_addresses)
    def lookup_many(self, ips: list[str]) -> None:
        """Look some up, perhaps one of them twice."""
        self.look(ips, list(self.cache.lookup_batch(ips)), is_refresh=False)

    @rule(ips=some_addresses)
    def refresh(self, ips: list[str]) -> None:
        """Ask the sources, also for cached addresses."""
        self.look(ips, list(self.cache.lookup_batch(ips, mode="refresh")), is_refresh=True)

    @rule(ips=some_addresses)
    def lookup_without_cache(self, ips: list[str]) -> None:
        """Ask the sources, and leave no trace."""
        for ip, entry in zip(ips, self.cache.lookup_batch(ips, mode="no-cache"), strict=True):
            self.compare(self.expected(ip, None), entry, is_cached=False)

    @rule(ips=some_addresses)
    def lookup_cached_only(self, ips: list[str]) -> None:
        """Ask no source: answers come from the journal and the store."""
        rows = dict(self.stored)
        for ip, row in self.journal:
            rows[ip] = settled(rows.get(ip), row)
        for ip, entry in zip(ips, self.cache.lookup_batch(ips, mode="cached-only"), strict=True):
            if ip in rows:
                self.compare(rows[ip], entry, is_cached=True)
            else:
                assert ("special" if ip == SPECIAL else "unresolved", False) == (entry.status, entry.cached)

    @rule()
    def flush(self) -> None:
        """Move the journal into the store."""
        assert len({ip for ip, _ in self.journal}) == self.cache.flush_dirty().flushed
        for ip, row in self.journal:
            self.stored[ip] = settled(self.stored.get(ip), row)
        self.journal.clear()

    @rule()
    def restart(self) -> None:
        """End the process, and start another one on the same directory."""
        self.cache.close()
        self.cache = self.opened()
        self.memory.clear()

    @rule()
    def load(self) -> None:
        """Warm the memory from the store."""
        assert len(self.stored) == self.cache.load_from_db()
        self.memory |= self.stored

    @rule(edition=st.sampled_from(sorted(EDITIONS)), version=st.integers(0, 2))
    def install(self, edition: str, version: int) -> None:
        """Install a database, or replace it by another build."""
        version %= len(EDITIONS[edition])
        path = os.path.join(self.db_dir, f"{edition}.mmdb")
        with open(f"{path}.part", "wb") as file:
            file.write(database(edition, version))
        self.installs += 1
        os.utime(f"{path}.part", (self.installs, self.installs))  # a clock of a few ms gives two builds one time
        os.replace(f"{path}.part", path)
        self.installed[edition] = version

    @rule(edition=st.sampled_from(sorted(EDITIONS)))
    def remove(self, edition: str) -> None:
        """Remove a database, if it exists."""
        if self.installed.pop(edition, None) is not None:
            os.unlink(os.path.join(self.db_dir, f"{edition}.mmdb"))

    @rule(seconds=st.sampled_from([60, 3599, 3600, 86_400, 604_800]))
    def wait(self, seconds: int) -> None:
        """Move the clock forward."""
        self.clock.forward(seconds=seconds)

    @rule(is_all=st.booleans())
    def clear(self, is_all: bool) -> None:  # noqa: FBT001 (drawn)
        """Delete all rows, or the unresolved ones."""
        self.flush()
        deleted = [ip for ip, row in self.stored.items() if is_all or row.status == "unresolved"]
        assert len(deleted) == (self.cache.clear() if is_all else self.cache.clear_negative())
        for ip in deleted:
            del self.stored[ip]
        self.memory.clear()


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)


def decorated(address: object) -> st.SearchStrategy[str]:
    """Return an address in a spelling of people and logs."""
    forms = ["{}", " {}\n", "[{}]:443", "{}%eth0"] if ":" in str(address) else ["{}", "\t{} ", "{}:80", "::ffff:{}"]
    return st.sampled_from(forms).map(lambda form: form.format(address))


texts = st.lists(
    st.one_of(
        st.sampled_from(ADDRESSES).flatmap(decorated),
        st.ip_addresses().flatmap(decorated),
        st.text(max_size=20),
        st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,4}){3}", fullmatch=True),
    ),
    max_size=12,
)


def one_by_one(cache: GeoCache, text: str) -> Entry:
    """Look up one string; an invalid address becomes the entry that a batch has for it."""
    try:
        return cache.lookup(text)
    except AddressError as error:
        return Entry(ip=error.text, status="invalid", error=error.reason)


@settings(max_examples=100, deadline=None)
@given(texts=texts, versions=st.tuples(st.integers(0, 2), st.integers(0, 1)))
def test_one_is_like_many(texts: list[str], versions: tuple[int, int]) -> None:
    """Single lookups and a batch return the same entries, and store the same."""
    with tempfile.TemporaryDirectory() as home:
        for edition, version in zip(EDITIONS, versions, strict=True):
            Path(home, f"{edition}.mmdb").write_bytes(database(edition, version))
        clock, journals, actual = Clock(), [], []
        for name in ("one", "many"):
            chosen = Settings(data_dir=os.path.join(home, name), database_dirs=(home,))
            with GeoCache(settings=chosen, clock=clock) as cache:
                answers = cache.lookup_batch(texts) if name == "many" else [one_by_one(cache, text) for text in texts]
                actual.append([entry.replace(cached=False) for entry in answers])
                journals.append(list(cache.journal.dirty()))
        assert actual[0] == actual[1]
        assert journals[0] == journals[1]
