"""Those who know where an address is, and in which order they are asked."""

from __future__ import annotations

from geocli.entries import merge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime, timedelta
    from typing import Protocol, TypeAlias

    from geocli.addresses import Address
    from geocli.databases.discovery import DatabaseFile, Identity
    from geocli.entries import Answer
    from geocli.errors import GeocliError, ResolveError
    from geocli.settings import Settings
    from geocli.storage.files import DataDirectory

    Report: TypeAlias = Callable[[ResolveError], None]
    Labels: TypeAlias = Mapping[Identity, str]
    Source: TypeAlias = tuple[str, DatabaseFile | None]

    class Resolver(Protocol):
        """Asks one kind of source."""

        def sources(self, known: Labels, report: Report) -> Sequence[Source]:
            """Return the label, and the file if there is one, of each source that would be asked now.

            Args:
                known: labels of files that need not be opened for it.
                report: called with each source that cannot be asked.

            """

        def resolve(self, address: Address, report: Report) -> Answer | None:
            """Return what is known of a global address, None if nothing is.

            Args:
                address: the address.
                report: called with each source that fails; the others are still asked.

            """

    class Service(Protocol):
        """Asks over the network, for what no resolver knows."""

        name: str
        """As `source` has it."""
        lifetime: timedelta
        """How long an answer holds."""

        def resolve_many(self, addresses: Sequence[Address], report: Report) -> Mapping[Address, Answer | None]:
            """Return what is known of distinct global addresses, None if nothing is; those that failed are missing.

            Args:
                addresses: the addresses.
                report: called with the reason why some are missing.

            """


def default_resolvers(chosen: Settings) -> list[Resolver]:
    """Return the resolvers that geocli asks: the databases, then the built-in answer; named databases alone."""
    from geocli.resolvers.mmdb import MmdbResolver
    from geocli.resolvers.rir import RirResolver

    if chosen.databases:
        return [MmdbResolver(files=chosen.databases)]
    return [MmdbResolver(chosen.database_dirs), *([RirResolver()] if chosen.built_in_data else [])]


def default_services(
    chosen: Settings,
    directory: Callable[[], DataDirectory],
    now: Callable[[], datetime],
    warn: Callable[[GeocliError], None],
) -> Sequence[Service]:
    """Return the web services that a user has set up, none beside named databases; see `services.configured`."""
    if chosen.databases or not (chosen.account_id or chosen.ip_api):
        return ()
    from geocli.resolvers.services import configured

    return configured(chosen, directory, now, warn)


class Chain:
    """Resolvers in the order in which they are asked, and the services that are asked when none of them knows."""

    def __init__(self, resolvers: Sequence[Resolver], services: Sequence[Service] = ()) -> None:
        """Take the resolvers and the services, the best first."""
        self.resolvers, self.services = resolvers, services

    def sources(self, known: Labels, report: Report) -> list[Source]:
        """Return the label, and the file if there is one, of each source that would be asked now.

        A service is one by its name alone: it is always up to date, and its answers hold for their lifetime.
        """
        local = [source for resolver in self.resolvers for source in resolver.sources(known, report)]
        return [*local, *((service.name, None) for service in self.services)]

    def resolve(self, address: Address, report: Report) -> Answer | None:
        """Ask one resolver after another until it is known where the address is."""
        answer: Answer | None = None
        for resolver in self.resolvers:
            said = resolver.resolve(address, report)
            if said is not None:
                answer = said if answer is None else merge(answer, said)
            if answer is not None and answer.knows_where:
                return answer
        return answer
