"""Asking for a block of addresses: the local sources one by one, then the services, for what these do not know."""

from __future__ import annotations

from collections import deque

from geocli import addresses
from geocli.freshness import holds_until, next_retry_at
from geocli.logs import timed
from geocli.models import IANA, Answer, Entry, Place
from geocli.resolvers.chain import of_embedded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from geocli.addresses import Address
    from geocli.errors import ResolveError
    from geocli.resolvers.chain import Chain


class Asking:
    """What the sources say of a block of addresses."""

    def __init__(
        self,
        chain: Chain,
        wanted: Mapping[str, Address],
        problems: Sequence[ResolveError],
        now: datetime,
        report: Callable[[ResolveError], None],
    ) -> None:
        """Ask the local sources.

        Args:
            chain: who is asked.
            wanted: the addresses by their canonical text.
            problems: what is wrong with sources that cannot be asked.
            now: the time, in UTC.
            report: told of each source that fails.

        """
        self._chain, self._wanted, self._now, self._report = chain, wanted, now, report
        self._answers: dict[str, Answer] = {}
        self._failed: dict[str, Sequence[ResolveError]] = {}
        self._until: dict[str, datetime] = {}
        """When new answers of services end to hold."""
        self._held: dict[str, datetime] = {}
        """When earlier ones do, where they hold still."""
        self._scopes = {ip: addresses.scope(address) for ip, address in wanted.items()}
        for ip, address in wanted.items():
            failed: list[ResolveError] = []
            resolve = chain.resolve if self._scopes[ip] is None else chain.resolve_special
            with timed("asked", ip=ip) as facts:
                answer = resolve(address, failed.append)
                facts |= {"source": answer and answer.source, "problems": len(failed)}
            if answer:
                self._answers[ip] = answer
            self._note(failed)
            self._failed[ip] = [*failed, *problems]

    def _note(self, failed: Sequence[ResolveError]) -> None:
        deque(map(self._report, failed), maxlen=0)

    def everywhere(self) -> list[str]:
        """Return the addresses that services can be asked for, if there are services."""
        if not self._chain.services:
            return []
        return [ip for ip, scope in self._scopes.items() if scope is None and addresses.for_services(self._wanted[ip])]

    def unknown(self) -> list[str]:
        """Return those of them of which no local source knows where they are."""
        return [ip for ip in self.everywhere() if ip not in self._answers or not self._answers[ip].knows_where]

    def hold(self, known: Mapping[str, Entry]) -> None:
        """Let earlier answers of services hold for their lifetime where no local source knows better."""
        labels = self._chain.service_labels
        found = {ip: holds_until(known[ip], labels, self._now) for ip in self.unknown() if ip in known}
        self._held = {ip: until for ip, until in found.items() if until is not None}

    def release(self) -> list[str]:
        """Let no earlier answer hold any more, and return the addresses of those that did."""
        held, self._held = list(self._held), {}
        return held

    def remotely(self, ips: Collection[str]) -> None:
        """Ask one service after another for addresses, together, until it is known where they are.

        What a service says comes first where the local sources know the place too: then somebody wants it anew.
        """
        ips = [ip for ip in ips if ip not in self._held]
        for service in self._chain.services:
            if not ips:
                return
            failed: list[ResolveError] = []
            sent = {ip: address for ip in ips if (address := addresses.for_services(self._wanted[ip]))}
            with timed("asked", source=service.name, addresses=len(sent)) as facts:
                said = service.resolve_many(list(dict.fromkeys(sent.values())), failed.append)
                facts |= {"answered": len(said), "problems": len(failed)}
            self._note(failed)
            for ip, address in sent.items():
                if address not in said:
                    self._failed[ip] = [*failed, *self._failed[ip]]
                elif answer := said[address]:
                    if found := addresses.embedded(self._wanted[ip]):
                        answer = of_embedded(answer, found)
                    self._answers[ip] = _both(self._answers.get(ip), answer)
                    self._until[ip] = self._now + service.lifetime
            ips = [ip for ip, address in sent.items() if not ((answer := said.get(address)) and answer.knows_where)]

    def entry(self, ip: str, earlier: Entry | None) -> Entry:
        """Return what came of asking; an entry with an error is one that somebody who failed might know."""
        said = self._answers.get(ip)
        answer = None if said is None or said.is_empty or ip in self._held else said
        error = next(map(str, self._failed[ip]), None)
        scope, is_known = self._scopes[ip], answer is not None or self._scopes[ip] is not None
        retry_at = None if is_known and error is None else self._held.get(ip) or next_retry_at(earlier, self._now)
        is_poorer = error is not None and _is_poorer(answer, earlier, scope)
        if is_poorer and scope is not None and earlier is not None:
            return earlier.replace(error=error)
        if not is_known or is_poorer:
            return Entry(
                ip=ip,
                status="unresolved",
                prefix_len=said.prefix_len if said is not None and said.is_empty else None,
                resolved_at=self._now,
                retry_at=retry_at,
                error=error,
            )
        answer = answer or Answer(place=Place(), source=IANA)
        return Entry(
            ip=ip,
            status="resolved" if scope is None else "special",
            scope=scope,
            place=answer.place,
            source=answer.source,
            prefix_len=answer.prefix_len,
            built_at=answer.built_at,
            resolved_at=self._now,
            retry_at=self._until.get(ip, retry_at),
        )


def _is_poorer(answer: Answer | None, earlier: Entry | None, scope: str | None) -> bool:
    """Return whether a source that answered earlier did not now."""
    if earlier is None or earlier.scope != scope or earlier.status == "unresolved" or earlier.source in {None, IANA}:
        return False
    return not set((earlier.source or "").split("+")) <= set(answer.source.split("+") if answer else ())


def _both(earlier: Answer | None, later: Answer) -> Answer:
    if earlier is None:
        return later
    from geocli.merging import merge

    return merge(later, earlier) if earlier.knows_where else merge(earlier, later)
