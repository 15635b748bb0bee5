"""Resolve a block of addresses: local sources, then services, then one entry each, then the journal."""

from __future__ import annotations

from geocli import addresses
from geocli.cache_tiers import read_or_default
from geocli.freshness import hits, kept_until, next_retry_at
from geocli.logs import Timed, is_verbose
from geocli.models import IANA, Answer, Entry, Place, settle
from geocli.resolvers.chain import of_embedded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from geocli.addresses import Address
    from geocli.api_arguments import Mode
    from geocli.cache_tiers import CacheTiers
    from geocli.errors import GeocliError, ResolveError
    from geocli.resolvers.chain import Chain
    from geocli.resolvers.protocols import Report, Service

KEEPING_MODES = {"cache", "due"}
"""Modes in which the answer of a service is used for its lifetime."""
RE_RESOLVE_MODES = {"due", "again"}
"""Modes that resolve stored rows again: answers are appended only for rows that are still there."""
_NOWHERE = Answer(place=Place(), source=IANA)
"""The answer for special addresses without a record."""


class Resolution:
    """One pass over the addresses of a block.

    The cache is read again for services, and appended to. `trusted` returns the cached entries that may be used;
    `generation` is that of new entries.
    """

    def __init__(  # noqa: PLR0913 (the parts of a cache)
        self,
        chain: Chain,
        tiers: CacheTiers,
        *,
        trusted: Callable[[dict[str, Entry]], dict[str, Entry]],
        generation: str,
        now: datetime,
        report: Callable[[GeocliError], None],
    ) -> None:
        self.chain, self.tiers = chain, tiers
        self.trusted, self.generation, self.now, self.report = trusted, generation, now, report

    def run(
        self,
        by_ip: Mapping[str, Address],
        mode: Mode,
        cached: dict[str, Entry],
        revision: int,
        problems: Sequence[ResolveError],
    ) -> dict[str, Entry]:
        """Resolve addresses, append the answers, and return an entry for each address.

        Args:
            by_ip: the addresses by their canonical text.
            mode: as of `GeoCache.lookup_batch`.
            cached: cached entries of these addresses.
            revision: the revision of the cache at which they were read.
            problems: errors of sources that cannot be asked.

        """
        sources = SourceAnswers(self.chain, by_ip, problems, self.now, self.report)
        remote = sources.for_services() if mode == "refresh" else sources.unknown()
        fresh: dict[str, Entry] = {}
        if remote and mode in KEEPING_MODES:
            # Another process may have asked a service since memory was filled.
            on_disk = read_or_default(lambda: self.tiers.on_disk(remote, self.report), {}, self.report)
            cached = {**cached, **on_disk}
            fresh = hits(on_disk, by_ip, self.generation, self.now)
            sources.keep(cached)
        sources.ask_services([ip for ip in remote if ip not in fresh])
        while True:
            entries = self._entries(sources, [ip for ip in by_ip if ip not in fresh], cached)
            if mode == "no-cache" or self._append(entries.values(), mode, revision):
                return fresh | entries | {ip: settle(cached[ip], entries[ip]) for ip in entries.keys() & cached}
            # Rows were cleared since they were read: only answers of this pass count, and no source is asked twice.
            cached, revision = self.tiers.read(by_ip, self.report)
            cached = self.trusted(cached)
            sources.ask_services(sources.drop_kept())

    def _entries(self, sources: SourceAnswers, ips: Collection[str], cached: Mapping[str, Entry]) -> dict[str, Entry]:
        return {ip: sources.entry(ip, cached.get(ip), self.generation) for ip in ips}

    def _append(self, entries: Collection[Entry], mode: Mode, revision: int) -> bool:
        """Append answers to the journal; return False if rows were cleared since a revision."""
        lasting = [entry for entry in entries if entry.error is None]
        if mode in RE_RESOLVE_MODES:
            stored = self.tiers.stored([entry.ip for entry in lasting])
            lasting = [entry for entry in lasting if entry.ip in stored]
        return self.tiers.append(lasting, revision, self.report)


class SourceAnswers:
    """Answers of the sources for a block of addresses."""

    def __init__(
        self,
        chain: Chain,
        by_ip: Mapping[str, Address],
        problems: Sequence[ResolveError],
        now: datetime,
        report: Callable[[ResolveError], None],
    ) -> None:
        """Ask the local sources; `problems` are the errors of sources that cannot be asked."""
        self._chain, self._by_ip, self._now, self._report = chain, by_ip, now, report
        self._resolved = Entry(ip="", status="resolved", resolved_at=now)
        self._answers: dict[str, Answer] = {}
        self._failures: dict[str, Sequence[ResolveError]] = {}
        self._failed = set[str]()
        """Addresses for which a source failed that could be asked."""
        self._expires_at: dict[str, datetime] = {}
        """Of new answers of services."""
        self._kept_until: dict[str, datetime] = {}
        """Of cached answers of services that are still fresh."""
        self._scopes = {ip: addresses.scope(address) for ip, address in by_ip.items()}
        resolve = self._resolve_and_log if is_verbose() else chain.resolve
        failures: list[ResolveError] = []
        add_failure = failures.append
        for (ip, address), scope in zip(by_ip.items(), self._scopes.values(), strict=True):
            answer = resolve(address, add_failure, only_databases=scope is not None)
            if answer is not None:
                self._answers[ip] = answer
            if failures or problems:
                self._failures[ip] = [*failures, *problems]
                self._failed.update([ip] if failures else ())
                self._report_all(failures)
                failures.clear()

    def _resolve_and_log(self, address: Address, report: Report, *, only_databases: bool) -> Answer | None:
        failures: list[ResolveError] = []
        with Timed("asked", ip=addresses.canonical_text(address)) as facts:
            answer = self._chain.resolve(address, failures.append, only_databases=only_databases)
            facts |= {"source": answer and answer.source, "problems": len(failures)}
        for failure in failures:
            report(failure)
        return answer

    def _report_all(self, failures: Sequence[ResolveError]) -> None:
        for failure in failures:
            self._report(failure)

    def for_services(self) -> list[str]:
        """Return the addresses that services may be asked for, none without services."""
        if not self._chain.services:
            return []
        return [ip for ip, scope in self._scopes.items() if scope is None and addresses.for_services(self._by_ip[ip])]

    def unknown(self) -> list[str]:
        """Return those of them without a local place."""
        return [ip for ip in self.for_services() if ip not in self._answers or not self._answers[ip].has_place]

    def keep(self, cached: Mapping[str, Entry]) -> None:
        """Keep cached answers of services for their lifetime, if there is no local place."""
        labels = self._chain.service_labels
        ends = {ip: kept_until(cached[ip], labels, self._now) for ip in self.unknown() if ip in cached}
        self._kept_until = {ip: end for ip, end in ends.items() if end is not None}

    def drop_kept(self) -> list[str]:
        """Keep no cached answer any longer, and return the addresses that had one."""
        ips, self._kept_until = list(self._kept_until), {}
        return ips

    def ask_services(self, ips: Collection[str]) -> None:
        """Ask one service after another for addresses, together, until their places are known.

        Answers of services take precedence over local ones: with `refresh` the user wants them.
        """
        rest = [ip for ip in ips if ip not in self._kept_until]
        for service in self._chain.services:
            if not rest:
                return
            rest = self._ask_service(service, rest)

    def _ask_service(self, service: Service, ips: Sequence[str]) -> list[str]:
        """Ask a service, and return the addresses whose places it does not know."""
        sent = {ip: address for ip in ips if (address := addresses.for_services(self._by_ip[ip]))}
        failures: list[ResolveError] = []
        with Timed("asked", source=service.name, addresses=len(sent)) as facts:
            replies = service.resolve_many(list(dict.fromkeys(sent.values())), failures.append)
            facts |= {"answered": len(replies), "problems": len(failures)}
        self._report_all(failures)
        rest = []
        for ip, address in sent.items():
            answer = replies.get(address)
            if address not in replies:
                self._failures[ip] = [*failures, *self._failures.get(ip, ())]
                self._failed.add(ip)
            elif answer:
                self._add(ip, answer)
                self._expires_at[ip] = self._now + service.lifetime
            if not (answer and answer.has_place):
                rest.append(ip)
        return rest

    def _add(self, ip: str, answer: Answer) -> None:
        """Add the answer of a service to earlier ones."""
        if embedded := addresses.embedded(self._by_ip[ip]):
            answer = of_embedded(answer, embedded)
        if earlier := self._answers.get(ip):
            from geocli.merging import merge

            answer = merge(answer, earlier) if earlier.has_place else merge(earlier, answer)
        self._answers[ip] = answer

    def entry(self, ip: str, cached: Entry | None, generation: str = "") -> Entry:
        """Return the entry of an address; it has an error if a source that failed might know more."""
        answer, scope = self._usable(ip), self._scopes[ip]
        error = str(self._failures[ip][0]) if ip in self._failures else None
        if error is not None and (kept := self._richer(ip, answer, cached, generation, error)):
            return kept
        if answer is None and scope is None:
            return self._unresolved(ip, cached, generation, error)
        answer = answer or _NOWHERE
        entry = self._resolved.replace(
            ip=ip,
            place=answer.place,
            source=answer.source,
            prefix_len=answer.prefix_len,
            built_at=answer.built_at,
            generation=generation,
        )
        if scope is not None:
            entry = entry.replace(status="special", scope=scope)
        if ip in self._expires_at or error is not None:
            entry = entry.replace(retry_at=self._expires_at.get(ip) or next_retry_at(cached, self._now))
        return entry

    def _richer(
        self, ip: str, answer: Answer | None, cached: Entry | None, generation: str, error: str
    ) -> Entry | None:
        """Return an entry that keeps the cached answer, if a source that failed may have given it."""
        scope = self._scopes[ip]
        working = "" if ip in self._failed else generation
        if cached is None or not _is_poorer(answer, cached, scope, working):
            return None
        if scope is not None:
            return cached.replace(generation=generation, error=error)
        return self._unresolved(ip, cached, generation, error)

    def _usable(self, ip: str) -> Answer | None:
        """Return the answer, None if it is empty, or a cached one is kept instead."""
        answer = self._answers.get(ip)
        if answer is None or ip in self._kept_until:
            return None
        return answer if answer.has_place or not answer.is_empty else None

    def _unresolved(self, ip: str, cached: Entry | None, generation: str, error: str | None) -> Entry:
        answer = self._answers.get(ip)
        return Entry(
            ip=ip,
            status="unresolved",
            prefix_len=answer.prefix_len if answer is not None and answer.is_empty else None,
            resolved_at=self._now,
            retry_at=self._kept_until.get(ip) or next_retry_at(cached, self._now),
            generation=generation,
            error=error,
        )


def _is_poorer(answer: Answer | None, cached: Entry, scope: str | None, working: str) -> bool:
    """Return whether a source of a cached answer is neither among those of a new one nor among working ones."""
    if cached.scope != scope or cached.status == "unresolved" or cached.source in {None, IANA}:
        return False
    names = {label.partition("@")[0] for label in working.split(", ")}
    return not set((cached.source or "").split("+")) <= names.union(answer.source.split("+") if answer else ())
