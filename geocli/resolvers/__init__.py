"""Those who know where an address is, and in which order they are asked."""

from __future__ import annotations

from functools import reduce

from geocli.entries import merge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime, timedelta
    from typing import Protocol, TypeAlias

    from geocli.addresses import Address
    from geocli.databases.discovery import DatabaseFile
    from geocli.entries import Answer
    from geocli.errors import GeocliError, ResolveError
    from geocli.settings import Settings
    from geocli.storage.files import DataDirectory

    Report: TypeAlias = Callable[[ResolveError], None]
    Source: TypeAlias = tuple[str, DatabaseFile | None]
    """What a generation calls a source, `NAME@CONTENT`, and its file if it has one."""

    class Labels(Protocol):
        """Remembers the labels of files by what `stat` says of them."""

        def get(self, file: DatabaseFile) -> str | None:
            """Return the label of a file, None if its content is not known."""

        def remember(self, file: DatabaseFile, label: str) -> None:
            """Remember the label of a file."""

    class Resolver(Protocol):
        """Asks one kind of source."""

        def sources(self, known: Labels | None, report: Report) -> Sequence[Source]:
            """Return the label, and the file if there is one, of each source that would be asked now.

            Args:
                known: labels of files that need not be read for it; None where labels are not needed, since nothing
                    is cached.
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
        """As `source` has it. One that has settings has a `label` too: `NAME@SETTINGS`."""
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

    def __init__(
        self, resolvers: Sequence[Resolver], services: Sequence[Service] = (), settings: Sequence[str] = ()
    ) -> None:
        """Take the resolvers and the services, the best first.

        Args:
            resolvers: asked for every address.
            services: asked for what no resolver knows.
            settings: all else that answers depend on, each as `NAME@VALUE`, without commas.

        """
        self.resolvers, self.services, self._settings = resolvers, services, settings

    @property
    def service_labels(self) -> list[str]:
        """The label of each service: its name and settings. Its data are always up to date."""
        return [getattr(service, "label", service.name) for service in self.services]

    def sources(self, known: Labels | None, report: Report) -> list[Source]:
        """Return the label, and the file if there is one, of each source that would be asked now."""
        local = [source for resolver in self.resolvers for source in resolver.sources(known, report)]
        return [*local, *((label, None) for label in self.service_labels)]

    def generation(self, sources: Sequence[Source]) -> str:
        """Return what answers of these sources are fresh for: all labels in the order in which they are asked.

        Args:
            sources: as `sources` returns them.

        """
        return ", ".join([*(label for label, _ in sources), *self._settings])

    def resolve_special(self, address: Address, report: Report) -> Answer | None:
        """Ask the databases for a special address, which no other source knows or may see."""
        from geocli.resolvers.mmdb import MmdbResolver

        databases = [resolver for resolver in self.resolvers if isinstance(resolver, MmdbResolver)]
        answers = [answer for database in databases if (answer := database.resolve(address, report))]
        return reduce(merge, answers) if answers else None

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
