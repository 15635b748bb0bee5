"""Those who know where an address is, and in which order they are asked."""

from __future__ import annotations

from geocli.entries import merge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Protocol, TypeAlias

    from geocli.addresses import Address
    from geocli.databases.discovery import DatabaseFile, Identity
    from geocli.entries import Answer
    from geocli.errors import ResolveError
    from geocli.settings import Settings

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


def default_resolvers(chosen: Settings) -> list[Resolver]:
    """Return the resolvers that geocli asks: the databases, then the built-in answer; named databases alone."""
    from geocli.resolvers.mmdb import MmdbResolver
    from geocli.resolvers.rir import RirResolver

    if chosen.databases:
        return [MmdbResolver(files=chosen.databases)]
    return [MmdbResolver(chosen.database_dirs), RirResolver()]


class Chain:
    """Resolvers in the order in which they are asked."""

    def __init__(self, resolvers: Sequence[Resolver]) -> None:
        """Take the resolvers, the best first."""
        self.resolvers = resolvers

    def sources(self, known: Labels, report: Report) -> list[Source]:
        """Return the label, and the file if there is one, of each source that would be asked now."""
        return [source for resolver in self.resolvers for source in resolver.sources(known, report)]

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
