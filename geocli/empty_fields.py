"""Fields that a user asked for and that no resolved row has: said once, since an empty column looks like an error."""

from __future__ import annotations

from geocli.models import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from geocli.models import Entry

ALWAYS_EMPTY = frozenset({"scope", "error"})
"""Fields that no resolved row ever has."""
PLACE, NETWORK = ("city", "location", "enterprise"), ("asn", "isp", "enterprise", "lite")
"""Words in the names of databases that have places, or networks."""
INSTALLED = {
    **dict.fromkeys(("region", "city", "latitude", "longitude"), PLACE),
    **dict.fromkeys(("asn", "org"), NETWORK),
}
"""Fields of the databases that `db update` installs by default, and what databases with these fields are called."""


class EmptyFields:
    """Notes which of the chosen fields were empty in every resolved row."""

    def __init__(self, fields: Sequence[str] | None) -> None:
        """Take the fields that the user chose; None if there was no choice."""
        self.names = [name for name in dict.fromkeys(fields or ()) if name not in ALWAYS_EMPTY]
        """Fields that were empty so far."""
        self.sources: set[str] = set()
        """The databases and others that resolved rows are from."""

    def see(self, entries: Iterable[Entry]) -> None:
        """Look at some rows."""
        for entry in entries if self.names else ():
            if entry.status == "resolved":
                self.sources.update((entry.source or "").split("+"))
                self.names = [name for name in self.names if value(entry, name) is None]

    def fill(self, names: Iterable[str], sources: Iterable[str]) -> None:
        """Note fields that resolved rows have, and what these are from."""
        self.names = [name for name in self.names if name not in set(names)]
        self.sources.update(sources)

    def complaints(self, *, can_update: bool) -> Iterator[str]:
        """Return what to say of each field; nothing if there was no resolved row.

        Args:
            can_update: whether databases that `db update` installs would be asked.

        """
        for name in self.names if self.sources else ():
            words = INSTALLED.get(name, ())
            is_lacking = words and not any(word in source.lower() for source in self.sources for word in words)
            advice = "; for databases that have it: geocli db update" if can_update and is_lacking else ""
            yield f"{name}: empty in every resolved row{advice}"
