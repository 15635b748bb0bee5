"""Those who know where an address is, and in which order they are asked."""

from __future__ import annotations

from geocli.addresses import embedded
from geocli.models import ENGLISH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from geocli.addresses import Address, Embedded
    from geocli.errors import GeocliError
    from geocli.models import Answer
    from geocli.resolvers.protocols import Labels, Report, Resolver, Service, Source
    from geocli.settings import Settings
    from geocli.storage.directory import DataDirectory


def default_resolvers(chosen: Settings, warn: Report = lambda _: None) -> list[Resolver]:
    """Return the resolvers that geocli asks: the databases, then the built-in answer; named databases alone.

    Args:
        chosen: the settings.
        warn: told of directories of databases that are not there, when these are first asked.

    """
    from geocli.resolvers.mmdb import MmdbResolver
    from geocli.resolvers.registries import RirResolver

    if chosen.databases:
        return [MmdbResolver(files=chosen.databases, language=chosen.language)]
    databases = MmdbResolver(chosen.database_dirs, language=chosen.language, named=chosen.named_dirs, warn=warn)
    return [databases, *([RirResolver()] if chosen.built_in_data else [])]


def default_services(
    chosen: Settings,
    directory: Callable[[], DataDirectory],
    now: Callable[[], datetime],
    warn: Callable[[GeocliError], None],
) -> Sequence[Service]:
    """Return the web services that a user has set up, none beside named databases; see `services.configured`."""
    if chosen.databases or not (chosen.account_id or chosen.ip_api):
        return ()
    from geocli.resolvers.configured_services import configured

    return configured(chosen, directory, now, warn)


def settings_of(chosen: Settings) -> list[str]:
    """Return the settings that answers depend on, as `Chain` takes them."""
    # English is left out, so that answers of releases without languages stay fresh.
    return [] if chosen.language == ENGLISH else [f"language@{chosen.language}"]


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
        return self._resolve(databases, address, report)

    def resolve(self, address: Address, report: Report) -> Answer | None:
        """Ask one resolver after another until it is known where the address is."""
        return self._resolve(self.resolvers, address, report)

    @staticmethod
    def _resolve(resolvers: Sequence[Resolver], address: Address, report: Report) -> Answer | None:
        """Ask each resolver for an embedded IPv4 address, too, unless it knows where the IPv6 address is."""
        found = embedded(address)
        answer: Answer | None = None
        for resolver in resolvers:
            if found is None or not found.is_obscured:
                answer = _joined(answer, resolver.resolve(address, report))
            if found is not None and not (answer and answer.knows_where):
                said = resolver.resolve(found.ipv4, report)
                answer = _joined(answer, said and of_embedded(said, found))
            if answer is not None and answer.knows_where:
                return answer
        return answer


def _joined(first: Answer | None, second: Answer | None) -> Answer | None:
    if first is None or second is None:
        return first or second
    from geocli.merging import merge

    return merge(first, second)


def of_embedded(answer: Answer, found: Embedded) -> Answer:
    """Turn an answer for an embedded IPv4 address into one for the IPv6 address."""
    prefix_len = None if answer.prefix_len is None else found.first_bit + answer.prefix_len
    traits = {**(answer.place.traits or {}), "embedded_ipv4": str(found.ipv4)}
    place = answer.place if answer.is_empty else answer.place.replace(traits=traits)
    return answer.replace(place=place, prefix_len=prefix_len)
