"""Warn of requested fields that are empty in every resolved row, since an empty column looks like an error."""

from __future__ import annotations

from geocli.models import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from geocli.models import Entry

ALWAYS_EMPTY = frozenset({"scope", "error"})
"""Fields that are empty in every resolved row by design."""
PLACE, NETWORK = ("city", "location", "enterprise"), ("asn", "isp", "enterprise", "lite")
"""Words in the names of databases with places, or with networks."""
INSTALLED = {
    **dict.fromkeys(("region", "city", "latitude", "longitude"), PLACE),
    **dict.fromkeys(("asn", "org"), NETWORK),
}
"""Fields of the databases that `db update` installs by default, and words in the names of databases with them."""


class EmptyFields:
    """Collects the requested fields that are empty in every resolved row.

    Attributes:
        names: fields that were empty so far.
        sources: the sources of resolved rows.

    """

    def __init__(self, fields: Sequence[str] | None) -> None:
        self.names = [name for name in dict.fromkeys(fields or ()) if name not in ALWAYS_EMPTY]
        self.sources: set[str] = set()

    def see(self, entries: Iterable[Entry]) -> None:
        """Take account of some rows."""
        for entry in entries if self.names else ():
            if entry.status == "resolved":
                self.sources.update((entry.source or "").split("+"))
                self.names = [name for name in self.names if value(entry, name) is None]

    def fill(self, names: Iterable[str], sources: Iterable[str]) -> None:
        """Take account of rows by the fields that they have, and by their sources."""
        self.names = [name for name in self.names if name not in set(names)]
        self.sources.update(sources)

    def complaints(self, *, can_update: bool) -> Iterator[str]:
        """Return a warning for each field, none if there was no resolved row; with `can_update`, with advice."""
        for name in self.names if self.sources else ():
            words = INSTALLED.get(name, ())
            is_missing = words and not any(word in source.lower() for source in self.sources for word in words)
            advice = "; for databases that have it: geocli db update" if can_update and is_missing else ""
            yield f"{name}: empty in every resolved row{advice}"
