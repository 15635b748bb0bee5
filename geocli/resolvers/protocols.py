"""Types of resolvers and services: any object with these methods may be one."""

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
"""Label of a source, `NAME@CONTENT`, and its file if it has one."""


class Labels(Protocol):
    """Labels of files by their status."""

    def get(self, file: DatabaseFile) -> str | None:
        """Return the label of a file, None if it is unknown."""

    def remember(self, file: DatabaseFile, label: str) -> None:
        """Store the label of a file."""


class Resolver(Protocol):
    """A kind of local source."""

    def sources(self, labels: Labels | None, report: Report) -> Sequence[Source]:
        """Return the label, and the file if there is one, of each current source.

        Args:
            labels: labels of files that need not be read; None if labels are not needed, since nothing is cached.
            report: called with an error for each source that cannot be used.

        """

    def resolve(self, address: Address, report: Report) -> Answer | None:
        """Return the answer for an address, None if there is none.

        `report` is called with an error for each source that fails; the others are still asked.
        """


class Service(Protocol):
    """A web service, which is asked for addresses without a place."""

    name: str
    """Name in `source`. A service with settings also has a `label`: `NAME@SETTINGS`."""
    lifetime: timedelta
    """Lifetime of an answer."""

    def resolve_many(self, addresses: Sequence[Address], report: Report) -> Mapping[Address, Answer | None]:
        """Return the answers for distinct global addresses, None if there is none; failed ones are missing."""
