"""Sources with answers set by the test, which record the addresses they are asked for."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from geocli.models import Answer, Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geocli.addresses import Address
    from geocli.databases.discovery import DatabaseFile
    from geocli.errors import ResolveError
    from geocli.resolvers.protocols import Labels, Report

GREAT_BRITAIN = Place(country_code="GB", country_name="United Kingdom")
JAPAN = Place(country_code="JP", country_name="Japan")


class Known(dict["DatabaseFile", str]):
    """Labels of files, for one test."""

    def remember(self, file: DatabaseFile, label: str) -> None:
        """Store the label of a file."""
        self[file] = label


class Source:
    """Answers from a dict, or with the same place for every address, or fails, as the test sets it."""

    def __init__(
        self, places: Mapping[str, Place] | None = None, *, label: str = "atlas@1", everywhere: Place | None = None
    ) -> None:
        self.places = dict(places or {})
        self.label = label
        self.everywhere = everywhere
        self.failure: ResolveError | None = None
        self.lookups: list[str] = []

    def sources(self, labels: Labels | None, report: Report) -> list[tuple[str, DatabaseFile | None]]:
        """Return the label, of a source without a file."""
        del labels, report
        return [(self.label, None)]

    def resolve(self, address: Address, report: Report) -> Answer | None:
        """Return the answer that the test has set."""
        self.lookups.append(str(address))
        if self.failure is not None:
            report(self.failure)
            return None
        place = self.places.get(str(address), self.everywhere)
        return None if place is None else Answer(place=place, source=self.label.partition("@")[0], prefix_len=24)


class WebSource:
    """A web service that answers from a dict, or fails, as the test sets it."""

    def __init__(self, places: Mapping[str, Place] | None = None, *, name: str = "web") -> None:
        self.name = name
        self.lifetime = timedelta(days=30)
        self.places = dict(places or {})
        self.failure: ResolveError | None = None
        self.requests: list[list[str]] = []

    def resolve_many(self, addresses: Sequence[Address], report: Report) -> dict[Address, Answer | None]:
        """Return the answers that the test has set."""
        self.requests.append(list(map(str, addresses)))
        if self.failure is not None:
            report(self.failure)
            return {}
        places = {address: self.places.get(str(address)) for address in addresses}
        return {address: Answer(place=place, source=self.name) if place else None for address, place in places.items()}
