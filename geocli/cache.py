"""GeoCache: looks addresses up in memory, in the journal and the store, then by the sources."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

from geocli import addresses, api_arguments
from geocli.cache_tiers import CacheTiers
from geocli.databases.digest_cache import Digests
from geocli.fork_safety import CACHE_RANK, ForkAware
from geocli.freshness import hits, is_of
from geocli.logs import raise_or_log
from geocli.models import Entry, special
from geocli.resolvers.chain import Chain, default_resolvers, default_services, settings_of
from geocli.settings import load as load_settings
from geocli.storage.dirty_check import has_answers
from geocli.storage.store import FILE_NAME, Store
from geocli.timestamps import earlier, instant_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import timedelta
    from os import PathLike
    from typing import Self, TypeAlias

    from geocli.addresses import Address
    from geocli.api_arguments import By, Mode, Text, Which
    from geocli.errors import GeocliError, ResolveError
    from geocli.re_resolve import ReResolveReport
    from geocli.resolvers.protocols import Resolver, Service, Source
    from geocli.settings import Settings
    from geocli.stats import Stats
    from geocli.storage.directory import DataDirectory
    from geocli.storage.flush import Flush, FlushReport
    from geocli.storage.journal import Journal

    Report: TypeAlias = Callable[[GeocliError], None]

BLOCK = 500
"""Addresses that are looked up together, and appended to the journal with one sync."""


def utc_now() -> datetime:
    """Return the time by the system's clock."""
    return datetime.now(UTC)


class GeoCache(ForkAware):
    """A cache of entries: lookups read it, then ask the sources, whose answers are appended to the journal.

    What a method returns is on disk. Threads may share an instance, and processes a data directory. After a fork both
    processes may use the instance; a fork waits for threads that read or write the store.

    Attributes:
        now: the clock, in UTC.
        on_problem: called with each problem that leaves an answer poorer, or not on disk.
        chain: the sources.
        digests: digests of the content of databases.

    """

    fork_rank = CACHE_RANK

    def __init__(  # noqa: PLR0913 (everything can be injected)
        self,
        data_dir: str | PathLike[str] | None = None,
        *,
        databases: Sequence[str | PathLike[str]] | None = None,
        language: str | None = None,
        settings: Settings | None = None,
        store: Store | None = None,
        journal: Journal | None = None,
        resolvers: Sequence[Resolver] | None = None,
        services: Sequence[Service] | None = None,
        clock: Callable[[], datetime] = utc_now,
        on_problem: Callable[[GeocliError], None] = raise_or_log,
    ) -> None:
        """Read the settings; no other file is opened before the first lookup.

        Args:
            data_dir: directory of the journal and the store; default: that of the command line.
            databases: .mmdb files, the only sources then; default: all sources that are found.
            language: of names; cached answers in another language are stale; default: the configured one.
            settings: all other settings; default: those of the command line.
            store: default: `geocli.db` in the data directory.
            journal: default: `journal` in the data directory.
            resolvers: local sources in their order; default: the databases, then the built-in data.
            services: asked for addresses without a place; default: the configured ones, none with `resolvers`.
            clock: returns the time, in UTC.
            on_problem: called with each problem that leaves an answer poorer, or not on disk.

        Raises:
            SettingsError: a setting is wrong.

        """
        super().__init__()
        self._settings = api_arguments.with_overrides(settings or load_settings(), data_dir, databases, language)
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
        self._tiers = CacheTiers(self._store, lambda: self.journal, self._has_answers, self.locked)
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
        """The journal, opened when it is first needed."""
        if self._journal is None:
            from geocli.storage.journal import Journal

            self._journal = Journal(self.directory, lock_timeout_seconds=self._settings.lock_timeout_seconds)
        return self._journal

    def _has_answers(self) -> bool:
        return self._is_journal_given or has_answers(self._settings.data_dir)

    def lookup(self, address: str | Address) -> Entry:
        """Return the entry of one address.

        Raises:
            AddressError: the string is not an address.
            TypeError: it is neither a string nor an address of `ipaddress`.
            JournalError: the answer could not be appended (unless `on_problem` does not raise).

        """
        return next(self.lookup_batch([addresses.parse(api_arguments.text_of(address))]))

    def lookup_batch(self, texts: Iterable[Text], *, mode: Mode = "cache") -> Iterator[Entry]:
        """Return an entry for each text, in their order; one that is not an address gets `status="invalid"`.

        Answers are appended to the journal, with one sync for each 500, before they are returned.

        Args:
            texts: addresses as people and logs write them; any iterable, such as a column of a data frame.
            mode: `cache` reads the cache first; `cached-only` reads nothing else; `refresh` asks all sources whatever
                is cached, web services too; `no-cache` asks them and appends nothing. `due` and `again` ask the local
                sources whatever is cached, and the web services for what these do not know: `due` only if the last
                answer of a service has expired.

        Raises:
            TypeError: `texts` is one string, or not iterable.
            ValueError: the mode is unknown.
            JournalError: answers could not be appended (unless `on_problem` does not raise).

        """
        api_arguments.one_of("mode", mode, api_arguments.MODES)
        return self._in_blocks(api_arguments.each_address(texts), mode)

    def _in_blocks(self, rest: Iterator[object], mode: Mode) -> Iterator[Entry]:
        while block := list(islice(rest, BLOCK)):
            parsed = list(map(api_arguments.parsed, block))
            by_ip = dict([item for item in parsed if isinstance(item, tuple)])
            entries = self._cached_only(by_ip) if mode == "cached-only" else self._resolve(by_ip, mode)
            yield from [entries[item[0]] if isinstance(item, tuple) else item for item in parsed]

    def lookup_cached_only(self, texts: Iterable[Text]) -> dict[str, Entry]:
        """Return the cached entries by canonical address; asks no source, raises StorageError or BusyError."""
        entries = self.lookup_batch(texts, mode="cached-only")
        return {entry.ip: entry for entry in entries if entry.status in {"resolved", "special"}}

    def _cached_only(self, by_ip: dict[str, Address]) -> dict[str, Entry]:
        cached = self._tiers.on_disk(by_ip, self.on_problem)
        missing = Entry(ip="", status="unresolved", error="not in the cache")
        return {
            ip: cached.get(ip) or special(ip, addresses.scope(address)) or missing.replace(ip=ip)
            for ip, address in by_ip.items()
        }

    def _resolve(self, by_ip: dict[str, Address], mode: Mode) -> dict[str, Entry]:
        """Return an entry for each address: fresh ones of the cache, else new ones of the sources."""
        if not by_ip:
            return {}
        now, is_cached = self.now(), mode != "no-cache"
        with self.locked(self.on_problem) as report:
            sources, problems = self._sources(report, is_labeled=is_cached)
            generation = self.chain.generation(sources)
            cached, revision = self._tiers.read(by_ip, report) if is_cached else ({}, 0)
        cached = self._trusted(cached, generation)
        entries = hits(cached, by_ip, generation, now) if mode == "cache" else {}
        rest = {ip: address for ip, address in by_ip.items() if ip not in entries} if entries else by_ip
        if rest:
            from geocli.resolution import Resolution

            resolution = Resolution(
                self.chain,
                self._tiers,
                trusted=lambda entries: self._trusted(entries, generation),
                generation=generation,
                now=now,
                report=self.on_problem,
            )
            entries |= resolution.run(rest, mode, cached, revision, problems)
        if is_cached:
            self.digests.save()
        return entries

    def _trusted(self, entries: dict[str, Entry], generation: str) -> dict[str, Entry]:
        """Return the cached entries that may be used: with named databases, only entries of these."""
        if not self._settings.databases:
            return entries
        return {ip: entry for ip, entry in entries.items() if is_of(entry, generation)}

    def sources(self, *, is_labeled: bool = True) -> tuple[list[Source], list[ResolveError]]:
        """Return the sources that can be asked now, and an error for each of the others.

        Databases are labelled by their content, for which new ones are read, or by their paths.
        """
        with self.locked(self.on_problem) as report:
            return self._sources(report, is_labeled=is_labeled)

    def _sources(self, report: Report, *, is_labeled: bool) -> tuple[list[Source], list[ResolveError]]:
        problems: list[ResolveError] = []
        sources = self.chain.sources(self.digests if is_labeled else None, problems.append)
        for problem in problems:
            report(problem)
        return sources, problems

    def generation(self) -> str:
        """Return the current generation: the labels of the sources that would be asked now."""
        return self.chain.generation(self.sources()[0])

    def with_retry_times(self) -> set[str]:
        """Return the addresses whose cached answers have a retry time in the future."""
        return self._tiers.with_retry_times(self.now(), self.on_problem)

    def revision(self) -> int:
        """Return the number of the last clear: entries that were read before it must not be used after it."""
        return self._tiers.revision(self.on_problem)

    def is_current(self, revision: int) -> bool:
        """Return whether no row was cleared since a revision; also if the store cannot be read."""
        return self._tiers.is_current(revision)

    def load_from_db(self) -> int:
        """Read the newest entries of the store into memory, and return their number.

        Raises:
            StorageError: the store cannot be read.

        """
        return self._tiers.load(self.on_problem)

    def flush_dirty(self, *, wait_seconds: float = 0) -> FlushReport:
        """Move the journal into the store.

        Args:
            wait_seconds: how long to wait for a flush that is already running.

        Raises:
            BusyError: another flush is running, or another program keeps the store locked.
            StorageError: some entries could not be stored; the next flush tries again.

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
        """Count the cached rows; see `geocli.stats`.

        Raises:
            ValueError: `by` is unknown, or `top` negative.

        """
        from geocli.stats import collect

        api_arguments.count(by, top)
        parts = self.journal, self._store, self._settings, self.now()
        return collect(*parts, by=by, top=top, with_countries=with_countries)

    def clear(self, *, unresolved: bool = False, older_than: timedelta | None = None) -> int:
        """Delete cached rows, stored or dirty, and return their number.

        Args:
            unresolved: only unresolved rows.
            older_than: only rows that were resolved longer ago.

        Raises:
            ValueError: `older_than` is negative.
            StorageError: the store cannot be written; or BusyError.

        """
        from geocli.storage.clears import Clear

        api_arguments.not_negative("older_than", older_than)
        before = None if older_than is None else instant_text(earlier(self.now(), older_than))
        conditions = Clear(only_unresolved=unresolved, resolved_before=before)
        return self._flush().clear(conditions, self._settings.lock_timeout_seconds)

    def clear_negative(self) -> int:
        """Delete the unresolved rows, so that the next lookup asks for them, and return their number."""
        return self.clear(unresolved=True)
