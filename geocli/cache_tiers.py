"""The tiers of a cache: memory, the journal, the store; read in this order, appended to from the journal up."""

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
    from geocli.storage.clears import Clear
    from geocli.storage.journal import Journal
    from geocli.storage.store import Store

    Report: TypeAlias = Callable[[GeocliError], None]

MAX_ENTRIES = 100_000
"""Entries in memory, about 100 MB."""


class Memory:
    """Entries in memory, all of one revision: the number of the last clear. The caller holds a lock.

    Attributes:
        clears: the clears of the store when it was last read.

    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self.clears: Sequence[Clear] = ()

    @property
    def revision(self) -> int:
        """The number of the last clear."""
        return revision_of(self.clears)

    def update(self, clears: Sequence[Clear]) -> None:
        """Take the clears of the store; drop all entries if there is a new one."""
        if revision_of(clears) != self.revision:
            self._entries.clear()
        self.clears = clears

    def get(self, ips: Iterable[str]) -> dict[str, Entry]:
        """Return the entries of those addresses that have one."""
        return {ip: self._entries[ip] for ip in ips if ip in self._entries}

    def add(self, entries: Mapping[str, Entry]) -> None:
        """Add entries; beyond `MAX_ENTRIES` the oldest are dropped."""
        self._entries |= entries
        for ip in list(islice(self._entries, max(len(self._entries) - MAX_ENTRIES, 0))):
            del self._entries[ip]

    def add_new(self, entries: Collection[Entry], revision: int) -> None:
        """Add entries that were appended to the journal at a revision, unless that has passed."""
        if revision == self.revision:
            self.add({entry.ip: settle(self._entries.get(entry.ip), entry).replace(cached=True) for entry in entries})


def revision_of(clears: Sequence[Clear]) -> int:
    """Return the number of the last clear, 0 if there is none."""
    return clears[-1].number if clears else 0


class CacheTiers:
    """Memory, the journal and the store as one cache; methods without `report` raise StorageError or BusyError.

    Args:
        store: the flushed entries.
        journal: returns the journal; called when it is first needed.
        has_answers: returns whether the journal may have entries, or raises StorageError.
        locked: the lock of the cache; problems are reported when it is free again.

    """

    def __init__(
        self,
        store: Store,
        journal: Callable[[], Journal],
        has_answers: Callable[[], bool],
        locked: Callable[[Report], AbstractContextManager[Report]],
    ) -> None:
        self._store, self._journal, self._has_answers, self._locked = store, journal, has_answers, locked
        self._memory = Memory()

    def read(self, ips: Collection[str], report: Report) -> tuple[dict[str, Entry], int]:
        """Return the cached entries of addresses, and their revision; what cannot be read is reported."""
        with self._locked(report) as report_later:
            self._memory.update(read_or_default(self._store.clears, self._memory.clears, report_later))
            clears, revision = self._memory.clears, self._memory.revision
            cached = self._memory.get(ips)
            if missing := [ip for ip in ips if ip not in cached]:
                dirty = self._dirty(lambda journal: journal.newest(missing, clears), {}, report_later)
                stored = read_or_default(lambda: self._store.get(missing, report_later), {}, report_later)
                on_disk = newest(stored, dirty)
                self._memory.add(on_disk)
                cached |= on_disk
        return cached, revision

    def on_disk(self, ips: Collection[str], report: Report) -> dict[str, Entry]:
        """Return the entries of the journal and the store; rows that cannot be read are reported."""
        clears = self._store.clears()
        # Before the store: a flush may move entries into it meanwhile.
        dirty = self._journal().newest(ips, clears)
        with self._locked(report) as report_later:
            return newest(self._store.get(list(ips), report_later), dirty)

    def with_retry_times(self, now: datetime, report: Report) -> set[str]:
        """Return the addresses whose answers have a retry time in the future.

        Most are answers of web services; other ones were given while a better source failed.
        """
        where, values = "WHERE retry_at > ? AND status <> 'unresolved'", (instant_text(now),)
        with self._locked(report) as report_later:
            dirty: set[str] = self._dirty(lambda journal: journal.with_retry_times(), set(), report_later)
            rows: list[Entry] = read_or_default(
                lambda: list(self._store.entries(where, values, report_later)), [], report_later
            )
        return dirty | {entry.ip for entry in rows}

    def _dirty(self, read: Callable[[Journal], Any], default: Any, report: Report) -> Any:
        """Read the journal if it may have entries; if it cannot be locked either, report that, as appends do."""

        def read_or_check() -> Any:
            try:
                return read(self._journal()) if self._has_answers() else default
            except StorageError:
                self._journal().check_lock()
                raise

        return read_or_default(read_or_check, default, report)

    def stored(self, ips: Collection[str]) -> set[str]:
        """Return the addresses that have a row, including rows that cannot be read."""
        return self._store.present(list(ips))

    def revision(self, report: Report) -> int:
        """Return the number of the last clear: entries that were read before it must not be used after it."""
        with self._locked(report) as report_later:
            self._memory.update(read_or_default(self._store.clears, self._memory.clears, report_later))
            return self._memory.revision

    def is_current(self, revision: int) -> bool:
        """Return whether no row was cleared since a revision; also if the store cannot be read."""
        try:
            return revision == revision_of(self._store.clears())
        except (StorageError, BusyError):
            return True

    def append(self, entries: Sequence[Entry], revision: int, report: Report) -> bool:
        """Append entries to the journal, then add them to memory; return False if rows were cleared meanwhile."""
        if not entries:
            return True
        try:
            if not self._journal().append(entries, lambda: self.is_current(revision)):
                return False
        except (StorageError, BusyError) as error:
            report(error)
            return True
        with self._locked(report):
            self._memory.add_new(entries, revision)
        return True

    def load(self, report: Report) -> int:
        """Read the newest entries of the store into memory, and return their number."""
        with self._locked(report) as report_later:
            self._memory.update(self._store.clears())
            entries = list(self._store.entries("ORDER BY resolved_at DESC LIMIT ?", (MAX_ENTRIES,), report_later))
            self._memory.add({entry.ip: entry for entry in entries})
        return len(entries)


def read_or_default(read: Callable[[], Any], default: Any, report: Report) -> Any:
    """Read the journal or the store; if that fails, report it as a StoreError and return a default."""
    try:
        return read()
    except BusyError as error:
        report(StoreError(error.path, "locked by another program; asking the sources instead"))
    except StoreError as error:
        report(error)
    except StorageError as error:
        # An unreadable journal makes answers poorer, like an unreadable store. Only a failed append fails a command.
        report(StoreError(error.path, str(error).removeprefix(f"{error.path}: ")))
    return default
