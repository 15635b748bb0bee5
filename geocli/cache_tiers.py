"""What one GeoCache knows already: in memory, until something is cleared, in the journal and in the store."""

from __future__ import annotations

from itertools import islice

from geocli.errors import BusyError, StorageError, StoreError
from geocli.models import newest, settle
from geocli.timestamps import instant_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from typing import Any, TypeAlias

    from geocli.errors import GeocliError
    from geocli.models import Entry
    from geocli.storage.journal import Journal
    from geocli.storage.store import Store
    from geocli.storage.tombstones import Clear

    Tell: TypeAlias = Callable[[GeocliError], None]

MAX_ENTRIES = 100_000
"""Entries in memory, about 100 MB."""


class Memory:
    """Entries of one revision, which is the number of the last clear. Threads take turns."""

    def __init__(self) -> None:
        """Begin without entries, before the first clear."""
        self._entries: dict[str, Entry] = {}
        self.clears: Sequence[Clear] = ()
        """What was cleared, as far as it was seen."""

    @property
    def revision(self) -> int:
        """The number of the last clear that was seen."""
        return revision_of(self.clears)

    def see(self, clears: Sequence[Clear]) -> None:
        """Forget all if something else was cleared than what was seen."""
        if revision_of(clears) != self.revision:
            self._entries.clear()
        self.clears = clears

    def known(self, ips: Iterable[str]) -> dict[str, Entry]:
        """Return the entries of those addresses that have one."""
        return {ip: self._entries[ip] for ip in ips if ip in self._entries}

    def remember(self, found: Mapping[str, Entry]) -> None:
        """Add entries; of too many the oldest go."""
        self._entries |= found
        for ip in list(islice(self._entries, max(len(self._entries) - MAX_ENTRIES, 0))):
            del self._entries[ip]

    def learn(self, fresh: Collection[Entry], revision: int) -> None:
        """Add answers that were kept at a revision, unless that has passed; nothing found hides no good answer."""
        if revision == self.revision:
            self.remember({e.ip: settle(self._entries.get(e.ip), e).replace(cached=True) for e in fresh})


def revision_of(clears: Sequence[Clear]) -> int:
    """Return the number of the last clear, 0 if there is none."""
    return clears[-1].number if clears else 0


class Recall:
    """What is known in memory, then in the journal, then in the store; and what is to be known from now on."""

    def __init__(
        self,
        store: Store,
        journal: Callable[[], Journal],
        has_answers: Callable[[], bool],
        locked: Callable[[Tell], AbstractContextManager[Tell]],
    ) -> None:
        """Take where answers are.

        Args:
            store: holds what was flushed.
            journal: returns what holds all else; called when that is needed.
            has_answers: returns whether that may hold anything, or raises StorageError.
            locked: lets threads take turns, and problems be told afterwards.

        """
        self._store, self._journal, self._has_answers, self._locked = store, journal, has_answers, locked
        self._memory = Memory()

    def known(self, ips: Collection[str], tell: Tell) -> tuple[dict[str, Entry], int]:
        """Return what is known, and the revision of that; what cannot be asked or read is told and left out."""
        with self._locked(tell) as report:
            self._memory.see(asked(self._store.clears, self._memory.clears, report))
            clears, revision = self._memory.clears, self._memory.revision
            known = self._memory.known(ips)
            if missing := [ip for ip in ips if ip not in known]:
                dirty = asked(lambda: self._dirty(missing, clears), {}, report)
                found = newest(asked(lambda: self._store.get(missing, report), {}, report), dirty)
                self._memory.remember(found)
                known |= found
        return known, revision

    def on_disk(self, ips: Collection[str], tell: Tell) -> dict[str, Entry]:
        """Return what is known but for memory; rows that cannot be read are told.

        Raises:
            StorageError: the journal or the store cannot be read; or BusyError.

        """
        clears = self._store.clears()
        dirty = self._journal().newest(ips, clears)  # before the store, to which a flush may be moving it
        with self._locked(tell) as report:
            return newest(self._store.get(list(ips), report), dirty)

    def with_retry_times(self, now: datetime, tell: Tell) -> set[str]:
        """Return the addresses whose answers hold until some time, whatever the local sources know now.

        Most are answers of web services; the others were given while a better source failed.
        """
        where, values = "WHERE retry_at > ? AND status <> 'unresolved'", (instant_text(now),)
        with self._locked(tell) as report:
            dirty: set[str] = asked(self._dirty_with_retry_times, set(), report)
            rows: list[Entry] = asked(lambda: list(self._store.entries(where, values, report)), [], report)
        return dirty | {entry.ip for entry in rows}

    def _dirty(self, ips: Sequence[str], clears: Sequence[Clear]) -> dict[str, Entry]:
        return self._journal().newest(ips, clears) if self._has_answers() else {}

    def _dirty_with_retry_times(self) -> set[str]:
        return self._journal().with_retry_times() if self._has_answers() else set()

    def stored(self, ips: Collection[str]) -> set[str]:
        """Return which addresses have a row, also one that cannot be read.

        Raises:
            StorageError: the store cannot be read; or BusyError.

        """
        return self._store.present(list(ips))

    def revision(self, tell: Tell) -> int:
        """Return the number of the last clear: nothing that was known before it may be kept or believed."""
        with self._locked(tell) as report:
            self._memory.see(asked(self._store.clears, self._memory.clears, report))
            return self._memory.revision

    def is_current(self, revision: int) -> bool:
        """Return whether nothing was cleared since a revision, or that cannot be found out."""
        try:
            return revision == revision_of(self._store.clears())
        except (StorageError, BusyError):
            return True

    def keep(self, fresh: Sequence[Entry], revision: int, report: Tell) -> bool:
        """Append answers to the journal, then to memory; return False if something was cleared meanwhile."""
        if not fresh:
            return True
        try:
            if not self._journal().append(fresh, lambda: self.is_current(revision)):
                return False
        except (StorageError, BusyError) as error:
            report(error)
            return True
        with self._locked(report):
            self._memory.learn(fresh, revision)
        return True

    def load(self, tell: Tell) -> int:
        """Bring the newest entries of the store into memory, and return how many; rows that cannot be read are told.

        Raises:
            StorageError: the store cannot be read.

        """
        with self._locked(tell) as report:
            self._memory.see(self._store.clears())
            entries = list(self._store.entries("ORDER BY resolved_at DESC LIMIT ?", (MAX_ENTRIES,), report))
            self._memory.remember({entry.ip: entry for entry in entries})
        return len(entries)


def asked(question: Callable[[], Any], otherwise: Any, report: Tell) -> Any:
    """Ask the journal or the store; if it cannot answer, say so and go on without it."""
    try:
        return question()
    except BusyError as error:
        report(StoreError(error.path, "locked by another program; asking the sources instead"))
    except StoreError as error:
        report(error)
    except StorageError as error:
        # A journal that cannot be read leaves answers poorer, like a store; only what cannot be kept fails a command.
        report(StoreError(error.path, str(error).removeprefix(f"{error.path}: ")))
    return otherwise
