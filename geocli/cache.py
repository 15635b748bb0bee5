"""GeoCache: what is known of addresses, in memory, in the store, from the sources; and nothing is lost."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from itertools import islice

from geocli import addresses, api_arguments, settings
from geocli.cache_tiers import Recall, asked
from geocli.databases.digest_cache import Digests
from geocli.fork_safety import CACHE_RANK, ForkAware
from geocli.freshness import is_hit, is_of
from geocli.logs import raise_or_log
from geocli.models import Entry, settle, special
from geocli.resolution import Asking
from geocli.resolvers.chain import Chain, default_resolvers, default_services, settings_of
from geocli.storage.dirty_check import has_answers
from geocli.storage.store import FILE_NAME, Store
from geocli.timestamps import earlier, instant_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import timedelta
    from os import PathLike
    from typing import Self, TypeAlias

    from geocli.addresses import Address
    from geocli.api_arguments import By, Mode, Text, Which
    from geocli.errors import GeocliError, ResolveError
    from geocli.re_resolve import ReResolveReport
    from geocli.resolvers.protocols import Resolver, Service, Source
    from geocli.stats import Stats
    from geocli.storage.directory import DataDirectory
    from geocli.storage.flush import Flush, FlushReport
    from geocli.storage.journal import Journal

    Wanted: TypeAlias = dict[str, Address]
    Tell: TypeAlias = Callable[[GeocliError], None]

HOLDING = {"cache", "due"}
"""The modes in which what a web service said holds for its lifetime."""
BLOCK = 500
"""Addresses that are looked up, and journaled with one sync, together."""
AGAIN = {"due", "again"}
"""The modes in which stored rows are asked for again: answers are kept only for rows that are still there."""


def utc_now() -> datetime:
    """Return the time by the system's clock."""
    return datetime.now(UTC)


class GeoCache(ForkAware):
    """Looks addresses up: in memory, in the store, then by the sources, whose answers go to the journal.

    What a method returns is on disk. One instance may be shared by threads, and any number of processes
    may use the same data directory. After a fork both sides may use the instance; the fork waits for a thread that
    reads or writes the store.
    """

    fork_rank = CACHE_RANK

    def __init__(  # noqa: PLR0913 (everything can be injected)
        self,
        data_dir: str | PathLike[str] | None = None,
        *,
        databases: Sequence[str | PathLike[str]] | None = None,
        language: str | None = None,
        chosen: settings.Settings | None = None,
        store: Store | None = None,
        journal: Journal | None = None,
        resolvers: Sequence[Resolver] | None = None,
        services: Sequence[Service] | None = None,
        clock: Callable[[], datetime] = utc_now,
        on_problem: Callable[[GeocliError], None] = raise_or_log,
    ) -> None:
        """No file is touched before the first question.

        Args:
            data_dir: directory of the journal and the store; default: as the command line has it.
            databases: .mmdb files that are asked instead of all other sources; default: those that are found.
            language: of names; answers in another language are asked for again; default: the configured one.
            chosen: all settings but those above; default: as the command line reads them.
            store: reads what was flushed; default: `geocli.db` in the data directory.
            journal: keeps what was answered; default: `journal` in the data directory.
            resolvers: who is asked, in this order; default: the databases at hand, then the built-in data.
            services: who is asked for what no resolver knows; default: those of the settings; none beside `resolvers`.
            clock: returns the time, in UTC.
            on_problem: called with each problem that leaves an answer poorer or not kept.

        Raises:
            SettingsError: a setting is wrong.

        """
        super().__init__()
        self._settings = api_arguments.with_overrides(chosen or settings.load(), data_dir, databases, language)
        self._store = store or Store(
            f"{self._settings.data_dir}/{FILE_NAME}", busy_timeout_seconds=self._settings.busy_timeout_seconds
        )
        self._journal, self._is_journal_given = journal, journal is not None
        self._directory: DataDirectory | None = None
        self.now = clock
        self.on_problem = on_problem
        if services is None and resolvers is None:
            services = default_services(self._settings, lambda: self.directory, clock, on_problem)
        resolvers = default_resolvers(self._settings, on_problem) if resolvers is None else resolvers
        self.chain = Chain(resolvers, services or (), settings_of(self._settings))
        self._recall = Recall(self._store, lambda: self.journal, self._has_answers, self.locked)
        self.digests = Digests(self._settings.data_dir, lambda: self.directory)

    def __enter__(self) -> Self:
        """Return the cache itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the store. Nothing needs saving: every answer was on disk before it was returned."""
        with self.fork_lock:
            self._store.close()

    @property
    def directory(self) -> DataDirectory:
        """The data directory."""
        if self._directory is None:
            from geocli.storage.directory import DataDirectory

            self._directory = DataDirectory(self._settings.data_dir, allow_network_fs=self._settings.allow_network_fs)
        return self._directory

    @property
    def journal(self) -> Journal:
        """What was answered and is not yet in the store."""
        if self._journal is None:
            from geocli.storage.journal import Journal

            self._journal = Journal(self.directory, lock_timeout_seconds=self._settings.lock_timeout_seconds)
        return self._journal

    def _has_answers(self) -> bool:
        return self._is_journal_given or has_answers(self._settings.data_dir)

    def lookup(self, address: str | Address) -> Entry:
        """Return the entry of one address.

        Raises:
            AddressError: the text is no address.
            TypeError: it is neither text nor an address of `ipaddress`.
            JournalError: the answer could not be kept (unless `on_problem` says otherwise).

        """
        return next(self.lookup_batch([api_arguments.address_of(address)]))

    def lookup_batch(self, texts: Iterable[Text], *, mode: Mode = "cache") -> Iterator[Entry]:
        """Return an entry for each text, in their order; what is not an address, as None, gets `status="invalid"`.

        Answers are kept, with one sync for each 500, before they are returned.

        Args:
            texts: addresses as people and logs write them; any iterable, such as a column of a data frame.
            mode: `cache` looks into the cache first; `cached-only` looks nowhere else; `refresh` asks the
                sources whatever is in the cache, web services too; `no-cache` asks them and keeps nothing.
                `due` and `again` ask the local sources whatever is in the cache, and the web services for what
                these do not know: `due` unless the last answer of a service holds still.

        Raises:
            TypeError: `texts` is one string, or not iterable.
            ValueError: the mode is unknown.
            JournalError: answers could not be kept (unless `on_problem` says otherwise).

        """
        api_arguments.one_of("mode", mode, api_arguments.MODES)
        return self._in_blocks(api_arguments.each_address(texts), mode)

    def _in_blocks(self, rest: Iterator[object], mode: Mode) -> Iterator[Entry]:
        while block := list(islice(rest, BLOCK)):
            parsed = list(map(api_arguments.address_or_entry, block))
            wanted = {str(found): found for found in parsed if not isinstance(found, Entry)}
            answered = self._cached_only(wanted) if mode == "cached-only" else self._answered(wanted, mode)
            yield from (found if isinstance(found, Entry) else answered[str(found)] for found in parsed)

    def lookup_cached_only(self, texts: Iterable[Text]) -> dict[str, Entry]:
        """Return the cached entries by canonical address; asks no source, raises StorageError or BusyError."""
        found = self.lookup_batch(texts, mode="cached-only")
        return {entry.ip: entry for entry in found if entry.status in {"resolved", "special"}}

    def _cached_only(self, wanted: Wanted) -> dict[str, Entry]:
        known = self._recall.on_disk(wanted, self.on_problem)
        none = Entry(ip="", status="unresolved", error="not in the cache")
        return {ip: known.get(ip) or special(ip, addresses.scope(wanted[ip])) or none.replace(ip=ip) for ip in wanted}

    def _answered(self, wanted: Wanted, mode: Mode) -> dict[str, Entry]:
        """Answer from the cache what it knows, from the sources what it does not, and keep what is new."""
        if not wanted:
            return {}
        now, is_cached = self.now(), mode != "no-cache"
        with self.locked(self.on_problem) as report:
            sources, problems = self._sources(report, is_labeled=is_cached)
            generation = self.chain.generation(sources)
            found, revision = self._recall.known(wanted, report) if is_cached else ({}, 0)
        known = self._believed(found, generation)

        def hits(ips: Iterable[str]) -> dict[str, Entry]:
            scopes = {ip: addresses.scope(wanted[ip]) for ip in ips if ip in known}
            return {ip: known[ip] for ip, scope in scopes.items() if is_hit(known[ip], scope, generation, now)}

        answered = hits(wanted) if mode == "cache" else {}
        rest = {ip: address for ip, address in wanted.items() if ip not in answered}
        asking = Asking(self.chain, rest, problems, now, self.on_problem)
        remote = asking.everywhere() if mode == "refresh" else asking.unknown()
        if remote and mode in HOLDING:
            kept = asked(lambda: self._recall.on_disk(remote, self.on_problem), {}, self.on_problem)
            known |= kept
            answered |= hits(kept)
            asking.hold(known)
        asking.remotely([ip for ip in remote if ip not in answered])
        while True:
            stored = self._recall.stored(rest) if mode in AGAIN else set()
            fresh = [asking.entry(ip, known.get(ip)) for ip in rest if ip not in answered]
            fresh = [entry.replace(generation=generation) for entry in fresh]
            lasting = [entry for entry in fresh if entry.error is None and (mode not in AGAIN or entry.ip in stored)]
            if not is_cached or self._recall.keep(lasting, revision, self.on_problem):
                break
            # What was known may be cleared: only the answers of now count, and none is asked for twice.
            found, revision = self._recall.known(rest, self.on_problem)
            known = self._believed(found, generation)
            asking.remotely(asking.release())
        if is_cached:
            self.digests.save()
        return answered | {entry.ip: settle(known.get(entry.ip), entry) for entry in fresh}

    def _believed(self, known: Mapping[str, Entry], generation: str) -> dict[str, Entry]:
        """Return what counts of what is known: if files were named, only what they answered."""
        is_open = not self._settings.databases
        return {ip: entry for ip, entry in known.items() if is_open or is_of(entry, generation)}

    def sources(self, *, is_labeled: bool = True) -> tuple[list[Source], list[ResolveError]]:
        """Return the sources that can be asked now, and what is wrong with others.

        Args:
            is_labeled: whether databases are labelled by their content, for which one that is new is read; else by
                their paths.

        """
        with self.locked(self.on_problem) as report:
            return self._sources(report, is_labeled=is_labeled)

    def _sources(self, report: Tell, *, is_labeled: bool) -> tuple[list[Source], list[ResolveError]]:
        problems: list[ResolveError] = []
        sources = self.chain.sources(self.digests if is_labeled else None, problems.append)
        deque(map(report, problems), maxlen=0)
        return sources, problems

    def generation(self) -> str:
        """Return what new answers are fresh for: the labels of the sources that would be asked now."""
        return self.chain.generation(self.sources()[0])

    def with_retry_times(self) -> set[str]:
        """Return the addresses whose cached answers hold until some time, whatever the local sources know now."""
        return self._recall.with_retry_times(self.now(), self.on_problem)

    def revision(self) -> int:
        """Return the number of the last clear: nothing that was known before it may be kept or believed."""
        return self._recall.revision(self.on_problem)

    def is_current(self, revision: int) -> bool:
        """Return whether nothing was cleared since a revision, or that cannot be found out."""
        return self._recall.is_current(revision)

    def load_from_db(self) -> int:
        """Bring the newest entries of the store into memory, and return how many.

        Raises:
            StorageError: the store cannot be read.

        """
        return self._recall.load(self.on_problem)

    def flush_dirty(self, *, wait_seconds: float = 0) -> FlushReport:
        """Move the journal into the store.

        Args:
            wait_seconds: how long to wait for a flush that is already running.

        Raises:
            BusyError: another flush is running, or another program keeps the store locked.
            StorageError: something could not be stored; it is kept, and the next flush tries again.

        """
        return self._flush().run(wait_seconds)

    def _flush(self) -> Flush:
        from geocli.storage.flush import Flush

        return Flush(self.directory, self.journal, self.now, self._settings.busy_timeout_seconds, self.on_problem)

    def re_resolve(
        self, which: Which = "due", *, limit: int | None = None, dry_run: bool = False, flush: bool = True
    ) -> ReResolveReport:
        """Resolve stored rows again; see `geocli.re_resolve`.

        Raises:
            ValueError: `which` is unknown, or `limit` negative.

        """
        from geocli.re_resolve import re_resolve

        api_arguments.selection(which, limit)
        return re_resolve(self, self._store, self.now(), which, limit=limit, dry_run=dry_run, flush=flush)

    def stats(self, *, by: By = "country", top: int = 10, with_countries: bool = False) -> Stats:
        """Count what is in the cache; see `geocli.stats`.

        Raises:
            ValueError: `by` is unknown, or `top` negative.

        """
        from geocli.stats import collect

        api_arguments.count(by, top)
        kept = self.journal, self._store, self._settings, self.now()
        return collect(*kept, by=by, top=top, with_countries=with_countries)

    def clear(self, *, unresolved: bool = False, older_than: timedelta | None = None) -> int:
        """Forget rows, those that a flush would make too, all of them by default, and return how many.

        Args:
            unresolved: only those that nobody knows.
            older_than: only those that were resolved longer ago.

        Raises:
            StorageError: the store cannot be written; or BusyError.

        """
        from geocli.storage.tombstones import Clear

        before = None if older_than is None else instant_text(earlier(self.now(), older_than))
        wanted = Clear(only_unresolved=unresolved, resolved_before=before)
        return self._flush().clear(wanted, self._settings.lock_timeout_seconds)

    def clear_negative(self) -> int:
        """Forget the rows that nobody knows, so that they are asked for again, and return how many."""
        return self.clear(unresolved=True)
