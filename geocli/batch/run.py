"""Run a batch: answer the lines of files, write the rows in order, and report the result."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from geocli.batch.input_detection import completed
from geocli.batch.lists_and_logs import named_errors
from geocli.batch.missing_addresses import LineCounts, has_no_address
from geocli.batch.reader import opened, whole_lines
from geocli.batch.request import COUNTRY_FIELDS, BatchRequest
from geocli.batch.scheduler import Scheduler
from geocli.console import complain
from geocli.empty_fields import EmptyFields
from geocli.errors import BusyError, InputError, ResolveError, SettingsError, StorageError
from geocli.files.atomic import output_to
from geocli.sanitize import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geocli.batch.lists_and_logs import Form
    from geocli.batch.log_timeline import Timeline
    from geocli.batch.reader import Read
    from geocli.batch.row_maker import Rows
    from geocli.cache import GeoCache


OTHER_COLUMNS = "its columns are not those of the files before it"


class BatchReport:
    """The result of a batch."""

    def __init__(self, request: BatchRequest) -> None:
        self.empty = EmptyFields(request.fields)
        self.tally = request.tally()
        """Rows by the fields that the request counts."""
        self.has_matches = request.selection is None
        """Whether any row was selected."""
        self.timeline: Timeline | None = None
        """Lines by their time, for a report."""
        self.exit_status = 0
        """3 if a failed source may have an answer, 2 for an unreadable file, 1 with `is_strict` for no answer."""
        self.counts: Counter[str] = Counter()
        """Rows by country code, or by status without one, if `is_counted` or `is_strict`."""
        self.lines: dict[str, LineCounts] = {}
        """Counts of lines by file, unless the input is a log."""
        self.request = request
        """The request, with the form of the input when that is known."""

    def raise_to(self, status: int) -> None:
        """Make the exit status at least this."""
        self.exit_status = max(self.exit_status, status)

    def add_lines(self, path: str, lines: LineCounts) -> None:
        """Add counts of the next lines of a file."""
        self.lines[path] = self.lines.get(path, LineCounts()) + lines

    def check_addresses(self) -> None:
        """Raise the exit status to 1 if there are lines, and none has an address."""
        if has_no_address(self.lines):
            self.raise_to(1)

    def count(self, path: str, rows: Rows, request: BatchRequest) -> None:
        """Count rows of a file, and raise the exit status if need be."""
        if request.input != "log":
            is_list, per_line = request.input == "list", request.answers_per_line
            self.add_lines(path, LineCounts.of(rows, per_line=per_line, is_list=is_list))
        self.empty.see(rows.entries)
        if rows.found is not None:
            rendered = rows.found.answers.rendered
            self.empty.fill(rendered.filled, rendered.resolved_by)
        if request.mode != "cached-only" and any(
            entry.status == "unresolved" and entry.error for entry in rows.entries
        ):
            self.raise_to(ResolveError.exit_status)
        self.tally.add(rows)
        self.has_matches = self.has_matches or (rows.shown is not None and not rows.shown.is_empty)

    def finish(self, request: BatchRequest) -> None:
        """Compute the counts and the exit status of all rows."""
        if not self.has_matches:
            self.raise_to(1)
        if request.is_strict or request.is_counted:
            code, status = map(self.tally.fields.index, COUNTRY_FIELDS)
            for key, count in self.tally.lines.items():
                self.counts[key[code] or key[status]] += count
        if request.is_strict and self.counts["unresolved"] + self.counts["invalid"]:
            self.raise_to(1)


def run(
    cache: GeoCache,
    request: BatchRequest,
    on_read: Callable[[int], None] = lambda _: None,
    on_lines: Callable[[str, bytes], None] = lambda _path, _text: None,
) -> BatchReport:
    """Answer lines as they arrive; the rows of a block are written when its answers are on disk.

    `on_read` is called with the number of bytes of each read, `on_lines` with the path of a file and the lines that are
    answered next.
    """
    # A short journal is searched faster.
    if request.mode == "cached-only":
        with suppress(BusyError, StorageError):
            cache.flush_dirty()
    with output_to(None if request.count_by else request.output) as put:
        batch = _Batch(cache, request, on_read, on_lines, put)
        for path in request.files:
            try:
                batch.answer(path)
            except InputError as error:
                complain(error)
                batch.report.raise_to(error.exit_status)
        batch.report.finish(request)
        batch.report.check_addresses()
        if request.output is not None and batch.report.exit_status == InputError.exit_status:
            reason = "left as it was, because not all input could be read"
            raise SettingsError(request.output, reason, origin="batch")
    return batch.report


class _Batch:
    """Answers one file after another."""

    def __init__(
        self,
        cache: GeoCache,
        request: BatchRequest,
        on_read: Callable[[int], None],
        on_lines: Callable[[str, bytes], None],
        put: Callable[[bytes | memoryview], None],
    ) -> None:
        self._cache, self._request, self._put = cache, request, put
        self._on_read, self._on_lines = on_read, on_lines
        self._columns: tuple[str, ...] | None = None
        self._slow_lines = 0
        self._is_shown = False
        self._scheduler: Scheduler | None = None
        self._path = ""
        self.report = BatchReport(request)
        if request.report:
            from geocli.batch.log_timeline import Timeline

            self.report.timeline = Timeline(cache.now())

    def answer(self, path: str) -> None:
        """Answer the lines of a file."""
        with opened(path, self._wait) as read:
            self._request, read_all = completed(self._request, read)
            self._path, self.report.request = path, self._request
            with named_errors(path):
                self._answer(path, read_all)

    def _wait(self) -> None:
        """Write all rows before a read that may block."""
        if self._scheduler is not None:
            self._scheduler.drain()

    def _answer(self, path: str, read: Read) -> None:
        request, form = self._request, self._request.form()
        self._is_shown = request.output is None and request.is_raw and sys.stdout.isatty()
        with Scheduler(self._cache, form, request.mode, request.jobs, self._write_rows) as scheduler:
            self._scheduler = scheduler
            end = request.end.encode()
            cut = partial(whole_lines, read, end, form.max_bytes, adds_end=form.adds_end, bom=form.bom)
            rest = form.begin(cut(on_read=self._on_read))
            self._begin(path, form)
            scheduler.slow_lines, scheduler.is_scalar = self._slow_lines, request.needs_scalar_path
            for chunk in rest:
                self._on_lines(path, chunk)
                if self.report.timeline is not None and request.selection is None:
                    self.report.timeline.add(chunk)
                scheduler.push(visible(chunk) if self._is_shown else chunk)
            self._slow_lines = scheduler.slow_lines

    def _begin(self, path: str, form: Form) -> None:
        """Write the header, once."""
        header = form.output.header
        if header and self._columns is not None and form.columns != self._columns:
            raise InputError(path, OTHER_COLUMNS)
        if header and self._columns is None and not self._request.count_by:
            self._put(visible(header) if self._is_shown else header)
            self._columns = form.columns

    def _write_rows(self, group: Sequence[Rows]) -> None:
        for rows in group:
            is_counted = bool(self._request.count_by)
            for part in () if is_counted and rows.shown is None else rows.data:
                if not is_counted:
                    self._put(part)
                if self.report.timeline is not None and self._request.selection is not None:
                    self.report.timeline.add(bytes(part))
            self.report.count(self._path, rows, self._request)
