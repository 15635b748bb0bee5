"""Answer the chunks of an input on several threads, and write their rows in order and in bounded memory.

Answers are appended to the journal before their rows are written. Threads, not processes: the kernel and SQLite release
the interpreter's lock while they work, and rows are not copied.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from geocli.batch.row_maker import RowMaker
from geocli.errors import BusyError, DatabaseError, InputError, KernelError, StorageError
from geocli.resolvers.mmdb import MmdbResolver
from geocli.resolvers.registries import RirResolver

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import ThreadPoolExecutor
    from typing import Self

    from geocli.api_arguments import Mode
    from geocli.batch.lists_and_logs import Form
    from geocli.batch.row_maker import Rows
    from geocli.cache import GeoCache
    from geocli.engine.block_answers import BlockAnswers
    from geocli.engine.journal_packing import JournalPacker
    from geocli.engine.lookup_table import LookupTable
    from geocli.engine.numbered_answers import NumberedAnswers
    from geocli.errors import ResolveError
    from geocli.resolvers.protocols import Source

    Pending = Callable[[], Rows | BlockAnswers]

SMALL_BYTES = 16 * 1024
"""Size of the first chunk from which the kernel is used; for smaller ones, loading it would take longer."""
MAX_DATABASES = 30
"""Maximum number of databases for the kernel, which stores the sources of an answer as bits of an integer."""
GROUP_BLOCKS = 2
"""Blocks that are appended and written together, so that shared places are written once and requests to web services
are full."""
MAX_JOBS = 128
"""Threads beyond which more take only memory, about 2 MB each for a block that waits."""
MANY_LINES = 100_000
"""Lines without the kernel after which it is reported missing."""


class Scheduler:
    """Answers the chunks of one file, and writes their rows.

    Attributes:
        answers: the identities of the local sources, and the table of their answers so far (None: scalar path); may be
            passed on to the scheduler of another file with the same output.
        is_scalar: whether to look up addresses one by one, by the scalar path.
        slow_lines: lines on the scalar path because the kernel is missing, including those of earlier files.

    """

    def __init__(
        self, cache: GeoCache, form: Form, mode: Mode, jobs: int, put: Callable[[Sequence[Rows]], None]
    ) -> None:
        """Prepare to answer chunks on a number of threads; `put` is called with the rows of blocks, in order."""
        self._cache, self._form, self._mode, self._put = cache, form, mode, put
        self._jobs = min(jobs, MAX_JOBS)
        self._maker = RowMaker(cache, mode, form)
        self._uses_journal = mode != "no-cache"
        self._has_services = bool(cache.chain.services)
        self._max_group = GROUP_BLOCKS if self._uses_journal or self._has_services else 1
        self._group = 1
        """Number of blocks to write together next; 1 at first, so that the first rows appear early."""
        self._pending: deque[Pending] = deque()
        self._wait_for_writer: Callable[[], None] = lambda: None
        self._workers: ThreadPoolExecutor | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._packer: tuple[NumberedAnswers, int, JournalPacker] | None = None
        """Answers, revision of the cache, and packer of the addresses that were appended as of these."""
        self._cached: frozenset[bytes] | None = None
        """Addresses whose cached answers have a retry time, and are used; None before the first large chunk."""
        self.answers: tuple[object, LookupTable | None] | None = None
        self.slow_lines = 0
        self.is_scalar = False

    def __enter__(self) -> Self:
        """Return the scheduler itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write all pending rows; after an error other than one of the input, drop them."""
        is_done = False
        try:
            if kind is None or issubclass(kind, InputError):
                self.drain()
                is_done = True
        finally:
            if self._cached is not None:
                self._cache.journal.thaw()
            for pool in filter(None, (self._workers, self._writer)):
                pool.shutdown(wait=is_done, cancel_futures=True)

    def push(self, chunk: bytes) -> None:
        """Answer a chunk; its rows are written soon, in order."""
        is_vectorised = self._is_vectorised(chunk)
        table = self._current_table() if is_vectorised else None
        if table is None:
            if is_vectorised:
                self._report_missing_kernel(chunk)
            self._pending.append(self._ready(self._maker.one_by_one(chunk)))
            self.drain()
        else:
            find = partial(self._maker.find, chunk, table, self._cached or ())
            self._pending.append(self._workers.submit(find).result if self._workers else self._ready(find()))
        blocks_ahead = 0 if self._workers is None else self._jobs - 1
        if len(self._pending) >= self._group + blocks_ahead:
            self._write(self._group)
            self._group = min(2 * self._group, self._max_group)
            self._start_threads()

    def _is_vectorised(self, chunk: bytes) -> bool:
        """Return whether the kernel should answer a chunk."""
        is_large = len(chunk) >= SMALL_BYTES or self.answers is not None
        return (
            is_large
            and not self.is_scalar
            and self._mode != "cached-only"
            and not (self._has_services and self._mode == "refresh")
        )

    def _report_missing_kernel(self, chunk: bytes) -> None:
        """Report once that the kernel is missing, after `MANY_LINES`."""
        from geocli.engine.kernel import LIBRARY, load, problem

        if load() is None:
            before = self.slow_lines
            self.slow_lines += chunk.count(b"\n") + chunk.count(b"\0")
            if before <= MANY_LINES < self.slow_lines:
                self._cache.on_problem(KernelError(LIBRARY, problem()))

    @staticmethod
    def _ready(rows: Rows | BlockAnswers) -> Pending:
        return lambda: rows

    def _start_threads(self) -> None:
        """Start the threads, once there is more than one large chunk."""
        if self._jobs > 1 and self._workers is None:
            from concurrent.futures import ThreadPoolExecutor

            self._workers, self._writer = ThreadPoolExecutor(self._jobs), ThreadPoolExecutor(1)

    def drain(self) -> None:
        """Write all pending rows, and return when they are written."""
        self._write(len(self._pending))
        self._wait_for_writer()

    def _write(self, count: int) -> None:
        """Append and write the oldest pending blocks, after the preceding ones."""
        if not count:
            return
        group = [self._pending.popleft()() for _ in range(count)]
        self._wait_for_writer()
        if self._writer is None:
            self._finish(group)
        else:
            self._wait_for_writer = self._writer.submit(self._finish, group).result

    def _finish(self, pieces: Sequence[Rows | BlockAnswers]) -> None:
        """Look up the remaining addresses, append new answers to the journal, and write the rows."""
        group = self._maker.completed(pieces)
        try:
            if self._uses_journal:
                self._append(group)
        except (StorageError, BusyError) as error:
            # Answers that are not on disk are appended when their addresses occur again.
            self._packer = None
            self._cache.on_problem(error)
        self._put(group)

    def _append(self, group: Sequence[Rows]) -> None:
        """Append new answers to the journal, those of each table together."""
        blocks = [rows.found for rows in group if rows.found is not None]
        for _, table_blocks in groupby(blocks, key=lambda block: id(block.answers)):
            from geocli.engine.journal_packing import JournalPacker
            from geocli.storage.frames import head

            own = list(table_blocks)
            answers = own[0].answers
            payload_head, is_appended = head(self._cache.now(), answers.generation), False
            while not is_appended:
                revision = self._cache.revision()
                # After a clear, addresses that were appended must be appended again.
                if self._packer is None or self._packer[:2] != (answers, revision):
                    self._packer = answers, revision, JournalPacker()
                payloads = self._packer[2].payloads(payload_head, own)
                is_appended = self._cache.journal.append_packed(payloads, partial(self._cache.is_current, revision))
                self._packer = self._packer if is_appended else None
            self._cache.digests.save()

    def _current_table(self) -> LookupTable | None:
        """Return the table for the local sources as they are now; None if the scalar path must answer."""
        from geocli.engine.kernel import load

        if load() is None:
            return None
        sources, problems = self._cache.sources(is_labeled=self._uses_journal)
        # While a source fails, cached answers may be better.
        if problems:
            return None
        key = [(label, file and file.identity) for label, file in sources]
        if self._cached is None:
            self._cached = self._cached_addresses() if self._uses_journal else frozenset()
        if self.answers is None or self.answers[0] != key or (self.answers[1] and self.answers[1].answers.is_full):
            self.answers = key, self._new_table(sources)
        return self.answers[1]

    def _cached_addresses(self) -> frozenset[bytes]:
        """Return the addresses that must be looked up in the cache, since their answers have a retry time."""
        addresses = self._cache.with_retry_times() if self._mode == "cache" else set[str]()
        # This batch need not find its own answers in the journal. With web services it must: requests are expensive.
        if not self._has_services:
            try:
                self._cache.journal.freeze()
            except StorageError as error:
                self._cache.on_problem(error)
        return frozenset(ip.encode() for ip in addresses)

    def _new_table(self, sources: Sequence[Source]) -> LookupTable | None:
        """Return an empty table for these sources; None if the scalar path must answer."""
        mmdb, *rest = self._cache.chain.resolvers
        if not isinstance(mmdb, MmdbResolver) or not all(isinstance(resolver, RirResolver) for resolver in rest):
            return None
        from geocli.engine.lookup_table import LookupTable

        problems: list[ResolveError] = []
        databases = mmdb.databases(problems.append)
        rir = next((resolver for resolver in rest if isinstance(resolver, RirResolver)), None)
        try:
            if problems or len(databases) > MAX_DATABASES:
                return None
            options = {"is_kept": self._uses_journal, "has_services": self._has_services}
            generation = self._cache.chain.generation(sources)
            return LookupTable(databases, rir, self._form.output, generation, language=mmdb.language, **options)
        except DatabaseError as error:
            # The scalar path answers from the other databases.
            self._cache.on_problem(error)
            return None
