"""The sources of answers, and their order."""

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


def default_resolvers(settings: Settings, warn: Report = lambda _: None) -> list[Resolver]:
    """Return the default resolvers: the databases, then the built-in data; or only named databases.

    `warn` is called with an error for each missing directory, at the first resolution.
    """
    from geocli.resolvers.mmdb import MmdbResolver
    from geocli.resolvers.registries import RirResolver

    if settings.databases:
        return [MmdbResolver(files=settings.databases, language=settings.language)]
    databases = MmdbResolver(settings.database_dirs, language=settings.language, named=settings.named_dirs, warn=warn)
    return [databases, *([RirResolver()] if settings.built_in_data else [])]


def default_services(
    settings: Settings,
    directory: Callable[[], DataDirectory],
    now: Callable[[], datetime],
    warn: Callable[[GeocliError], None],
) -> Sequence[Service]:
    """Return the configured web services, none with named databases; see `configured_services.configured`."""
    if settings.databases or not (settings.account_id or settings.ip_api):
        return ()
    from geocli.resolvers.configured_services import configured

    return configured(settings, directory, now, warn)


def settings_of(settings: Settings) -> list[str]:
    """Return the settings that are part of a generation."""
    # Without English, answers of releases without languages are still fresh.
    return [] if settings.language == ENGLISH else [f"language@{settings.language}"]


class Chain:
    """Resolvers in their order, and services, which are asked for addresses without a place.

    Attributes:
        resolvers: local sources, asked for every address.
        services: web services.

    """

    def __init__(
        self, resolvers: Sequence[Resolver], services: Sequence[Service] = (), settings: Sequence[str] = ()
    ) -> None:
        """`settings` are other parts of a generation, as `NAME@VALUE`, without commas."""
        self.resolvers, self.services, self._settings = resolvers, services, settings

    @property
    def service_labels(self) -> list[str]:
        """The label of each service, its name and a digest of its settings."""
        return [getattr(service, "label", service.name) for service in self.services]

    def sources(self, labels: Labels | None, report: Report) -> list[Source]:
        """Return the label, and the file if there is one, of each current source."""
        local = [source for resolver in self.resolvers for source in resolver.sources(labels, report)]
        return [*local, *((label, None) for label in self.service_labels)]

    def generation(self, sources: Sequence[Source]) -> str:
        """Return the generation of sources: their labels in their order, and the settings."""
        return ", ".join([*(label for label, _ in sources), *self._settings])

    def resolve(self, address: Address, report: Report, *, only_databases: bool = False) -> Answer | None:
        """Ask one resolver after another, or only the databases, until the place is known.

        Each is asked also for an embedded IPv4 address, unless it has a place for the IPv6 address.
        """
        inner = embedded(address) if address.version == 6 else None
        answer: Answer | None = None
        for resolver in self._databases() if only_databases else self.resolvers:
            if inner is None or not inner.is_obscured:
                its_answer = resolver.resolve(address, report)
                answer = its_answer if answer is None else _joined(answer, its_answer)
            if inner is not None and not (answer and answer.has_place):
                answer = _joined(answer, _of_embedded(resolver.resolve(inner.ipv4, report), inner))
            if answer is not None and answer.has_place:
                return answer
        return answer

    def _databases(self) -> list[Resolver]:
        from geocli.resolvers.mmdb import MmdbResolver

        return [resolver for resolver in self.resolvers if isinstance(resolver, MmdbResolver)]


def _joined(first: Answer | None, second: Answer | None) -> Answer | None:
    if first is None or second is None:
        return first or second
    from geocli.merging import merge

    return merge(first, second)


def _of_embedded(answer: Answer | None, inner: Embedded) -> Answer | None:
    return answer and of_embedded(answer, inner)


def of_embedded(answer: Answer, inner: Embedded) -> Answer:
    """Convert an answer for an embedded IPv4 address to one for the IPv6 address."""
    prefix_len = None if answer.prefix_len is None else inner.first_bit + answer.prefix_len
    traits = {**(answer.place.traits or {}), "embedded_ipv4": str(inner.ipv4)}
    place = answer.place if answer.is_empty else answer.place.replace(traits=traits)
    return answer.replace(place=place, prefix_len=prefix_len)
