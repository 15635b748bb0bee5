"""How blocks become rows in their order: several at a time, kept before they are written, in bounded memory.

Threads, because the kernel and SQLite let others run while they work, and rows need not be copied between processes.
"""

from __future__ import annotations

import gc
from collections import deque
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from geocli.batch.rows import RowMaker
from geocli.errors import BusyError, DatabaseError, InputError, KernelError, StorageError
from geocli.resolvers.mmdb import MmdbResolver
from geocli.resolvers.registries import RirResolver

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import ThreadPoolExecutor
    from typing import Self

    from geocli.api_arguments import Mode
    from geocli.batch.input_formats import Form
    from geocli.batch.rows import Rows
    from geocli.cache import GeoCache
    from geocli.engine.block_answers import BlockAnswers
    from geocli.engine.journal_packing import JournalPacker
    from geocli.engine.lookup_table import LookupTable
    from geocli.engine.numbered_answers import NumberedAnswers
    from geocli.errors import ResolveError
    from geocli.resolvers.protocols import Source

    Result = Callable[[], Rows | BlockAnswers]

SMALL_BYTES = 16 * 1024
"""Before a chunk of this size, addresses are looked up one by one: loading the kernel would take longer."""
MAX_DATABASES = 30
"""Of more than these it is not noted which of them an answer is from; then addresses are looked up one by one."""
TOGETHER = 2
"""So many blocks wait for one another, when much has arrived, if answers are kept, since what many of them have in
common is written once, or if web services are asked, so that these get full requests."""
MANY_LINES = 100_000
"""After so many lines a batch without the kernel reports that it could be faster."""
COLLECTED = 200_000
"""So many objects are made before Python looks for garbage in cycles, of which there is hardly any."""


class Flow:
    """Takes chunks of one file, and writes their rows."""

    def __init__(
        self,
        cache: GeoCache,
        form: Form,
        mode: Mode,
        jobs: int,
        put: Callable[[Sequence[Rows]], None],
    ) -> None:
        """Take who answers, how chunks are cut, where answers come from, how many threads, and who takes rows."""
        self._cache, self._form, self._mode, self._jobs, self._put = cache, form, mode, jobs, put
        self._maker = RowMaker(cache, mode, form)
        self._is_kept = mode != "no-cache"
        self._has_services = bool(cache.chain.services)
        self._together = TOGETHER if self._is_kept or self._has_services else 1
        self._group = 1
        """So many blocks are passed on next: few at first, so that the first rows do not wait for others."""
        self._waiting: deque[Result] = deque()
        self._passed: Callable[[], None] = lambda: None
        self._workers: ThreadPoolExecutor | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._keeper: tuple[NumberedAnswers, int, JournalPacker] | None = None
        self._held: frozenset[bytes] | None = None
        """Addresses whose cached answers hold, whatever the local sources know; None before the first large chunk."""
        self.answers: tuple[object, LookupTable | None] | None = None
        """What the sources say, as far as it was asked; for another flow too, if its lines look the same."""
        self.slow_lines = 0
        """Lines that the kernel would have looked up, if it were there; those of earlier flows included."""

    def __enter__(self) -> Self:
        """Return the flow itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write all that is waiting, unless something went wrong with more than what comes behind it."""
        is_done = False
        try:
            if kind is None or issubclass(kind, InputError):
                self.drain()
                is_done = True
        finally:
            if self._held is not None:
                self._cache.journal.thaw()
            for pool in filter(None, (self._workers, self._writer)):
                pool.shutdown(wait=is_done, cancel_futures=True)

    def push(self, chunk: bytes) -> None:
        """Take a chunk; its rows are written soon, in their order."""
        is_together = self._is_vectorised(chunk)
        answers = self._current() if is_together else None
        if answers is None:
            if is_together:
                self._note_missing_kernel(chunk)
            self._waiting.append(self._done(self._maker.one_by_one(chunk)))
            self.drain()
        elif self._workers is None:
            self._waiting.append(self._done(self._maker.find(chunk, answers, self._held or ())))
        else:
            held = self._held or ()
            self._waiting.append(self._workers.submit(self._maker.find, chunk, answers, held).result)
        ahead = 0 if self._workers is None else self._jobs - 1
        if len(self._waiting) >= self._group + ahead:
            self._pass_on(self._group)
            self._group = min(2 * self._group, self._together)
            self._hire()

    def _is_vectorised(self, chunk: bytes) -> bool:
        """Return whether the kernel should look up a chunk."""
        is_large = len(chunk) >= SMALL_BYTES or self.answers is not None
        return is_large and self._mode != "cached-only" and not (self._has_services and self._mode == "refresh")

    def _note_missing_kernel(self, chunk: bytes) -> None:
        """Report, once, that the kernel is missing, if that costs time."""
        from geocli.engine.kernel import LIBRARY, load

        if load() is None:
            before = self.slow_lines
            self.slow_lines += chunk.count(b"\n") + chunk.count(b"\0")
            if before <= MANY_LINES < self.slow_lines:
                self._cache.on_problem(KernelError(LIBRARY))

    @staticmethod
    def _done(rows: Rows | BlockAnswers) -> Result:
        return lambda: rows

    def _hire(self) -> None:
        """Get the threads for more than one large chunk."""
        gc.set_threshold(COLLECTED)
        if self._jobs > 1 and self._workers is None:
            from concurrent.futures import ThreadPoolExecutor

            self._workers, self._writer = ThreadPoolExecutor(self._jobs), ThreadPoolExecutor(1)

    def drain(self) -> None:
        """Write all rows that are waiting, and return when they are written."""
        self._pass_on(len(self._waiting))
        self._passed()

    def _pass_on(self, count: int) -> None:
        """Let the oldest blocks be kept and written, after those before them."""
        if not count:
            return
        group = [self._waiting.popleft()() for _ in range(count)]
        self._passed()
        if self._writer is None:
            self._finish(group)
        else:
            self._passed = self._writer.submit(self._finish, group).result

    def _finish(self, pieces: Sequence[Rows | BlockAnswers]) -> None:
        """Look up what is left, keep what is new, then let the rows be written."""
        group = self._maker.completed(pieces)
        try:
            if self._is_kept:
                self._keep(group)
        except (StorageError, BusyError) as error:
            self._keeper = None  # what is not on disk is kept when it comes again
            self._cache.on_problem(error)
        self._put(group)

    def _keep(self, group: Sequence[Rows]) -> None:
        from geocli.storage.frames import head

        everything = [rows.found for rows in group if rows.found is not None]
        for _, same in groupby(everything, key=lambda found: id(found.answers)):
            from geocli.engine.journal_packing import JournalPacker

            founds = list(same)
            answers = founds[0].answers
            start, is_kept = head(self._cache.now(), answers.generation), False
            while not is_kept:
                revision = self._cache.revision()
                if self._keeper is None or self._keeper[:2] != (answers, revision):  # what it has seen was cleared
                    self._keeper = answers, revision, JournalPacker()
                payloads = self._keeper[2].payloads(start, founds)
                is_kept = self._cache.journal.append_packed(payloads, partial(self._cache.is_current, revision))
                self._keeper = self._keeper if is_kept else None
            self._cache.digests.save()

    def _current(self) -> LookupTable | None:
        """Return what the sources that are there now say; None if they must be asked one by one."""
        from geocli.engine.kernel import load

        if load() is None:
            return None
        sources, problems = self._cache.sources(is_labeled=self._is_kept)
        if problems:  # then the cache may know better
            return None
        key = [(label, file and file.identity) for label, file in sources]
        if self._held is None:
            self._held = self._begun() if self._is_kept else frozenset()
        if self.answers is None or self.answers[0] != key or (self.answers[1] and self.answers[1].is_full):
            self.answers = key, self._made(sources)
        return self.answers[1]

    def _begun(self) -> frozenset[bytes]:
        """Read what must be known of the cache before all else is asked of the local sources.

        The journal is not read again: what this batch appends, it need not look up. But services cost more than that.
        """
        held = self._cache.with_retry_times() if self._mode == "cache" else set[str]()
        if not self._has_services:
            try:
                self._cache.journal.freeze()
            except StorageError as error:
                self._cache.on_problem(error)
        return frozenset(ip.encode() for ip in held)

    def _made(self, sources: Sequence[Source]) -> LookupTable | None:
        mmdb, *others = self._cache.chain.resolvers
        if not isinstance(mmdb, MmdbResolver) or not all(isinstance(other, RirResolver) for other in others):
            return None
        from geocli.engine.lookup_table import LookupTable

        problems: list[ResolveError] = []
        databases = mmdb.databases(problems.append)
        rir = next((other for other in others if isinstance(other, RirResolver)), None)
        try:
            if problems or len(databases) > MAX_DATABASES:
                return None
            has = {"is_kept": self._is_kept, "has_services": self._has_services}
            generation = self._cache.chain.generation(sources)
            return LookupTable(databases, rir, self._form.output, generation, language=mmdb.language, **has)
        except DatabaseError as error:  # whoever asks one by one gets what can be had
            self._cache.on_problem(error)
            return None
