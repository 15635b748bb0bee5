"""Types of resolvers and services: any object with these methods can be one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from geocli.databases.discovery import DatabaseFile
from geocli.errors import ResolveError

if TYPE_CHECKING:
    from datetime import timedelta

    from geocli.addresses import Address
    from geocli.models import Answer

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
