"""A batch: blocks of lines to rows, in their order."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from geocli.batch.csv import CsvForm
from geocli.batch.input_formats import ListForm, LogForm
from geocli.batch.jsonl import JsonLinesForm
from geocli.batch.reader import opened, whole_lines
from geocli.batch.scheduler import Flow
from geocli.console import complain, write
from geocli.empty_fields import EmptyFields
from geocli.errors import BusyError, InputError, ResolveError, SettingsError, StorageError
from geocli.formats.rows import Output
from geocli.immutable import Value
from geocli.sanitize import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from geocli.api_arguments import Mode
    from geocli.batch.input_formats import Form
    from geocli.batch.rows import Rows
    from geocli.cache import GeoCache


OTHER_COLUMNS = "its columns are not those of the files before it"


class BatchRequest(Value):
    """What is to be read, how it is to be answered, and where the rows go."""

    files: tuple[str, ...] = ("-",)
    """Paths to read in turn; `-` is standard input."""
    input: str = "list"
    """`list`, `csv`, `jsonl` or `log`."""
    column: str | None = None
    """Column of CSV, or dotted key of JSON lines, that holds the address."""
    delimiter: str = ","
    """What divides the cells of CSV input."""
    prefix: str = ""
    """Goes before the names of appended columns, or of the key."""
    is_extract: bool = False
    """Whether addresses in a log become rows, instead of being written with their answers where they stand."""
    format: str = "csv"
    """`csv`, `tsv`, `jsonl` or `value`, for lists and what is extracted."""
    fields: tuple[str, ...] | None = None
    """The fields of a row; default: those of the format."""
    with_header: bool = True
    """Whether CSV and TSV begin with the names of the fields."""
    end: str = "\n"
    """What ends a line of a list, on both sides."""
    output: str | None = None
    """File to write; default: standard output."""
    is_strict: bool = False
    """Whether a line without an answer makes the exit status 1."""
    mode: Mode = "cache"
    """Where answers come from."""
    jobs: int = 1
    """Threads for input that is large enough."""
    is_counted: bool = False
    """Whether rows are counted by country."""

    @property
    def is_raw(self) -> bool:
        """Whether lines are written back as they came, with something added to them."""
        return self.input in {"csv", "jsonl"} or (self.input == "log" and not self.is_extract)

    def form(self) -> Form:
        """Return how input is cut, and what lines look like."""
        if self.input == "csv":
            return CsvForm(
                self.column,
                self.fields,
                delimiter=self.delimiter,
                prefix=self.prefix,
                with_header=self.with_header,
            )
        if self.input == "jsonl":
            return JsonLinesForm(self.column, self.fields, prefix=self.prefix)
        if self.input == "log" and not self.is_extract:
            return LogForm(Output("label", self.fields, end=""), is_extract=False)
        output = Output(self.format, self.fields, with_header=self.with_header, end=self.end)
        return LogForm(output, is_extract=True) if self.is_extract else ListForm(output)


class BatchReport:
    """What a batch came to."""

    def __init__(self, fields: Sequence[str] | None = None) -> None:
        """Begin with nothing, but the fields that the user chose."""
        self.empty = EmptyFields(fields)
        self.exit_status = 0
        """3 if somebody who failed might know an address, 2 for an unread file, 1 with `is_strict` for no answer."""
        self.counts: Counter[str] = Counter()
        """Rows by the code of their country, else by their status, if `is_counted` or `is_strict`."""

    def raise_to(self, status: int) -> None:
        """Let the exit status be no less than this."""
        self.exit_status = max(self.exit_status, status)

    def count(self, rows: Rows, request: BatchRequest) -> None:
        """Take rows into account."""
        self.empty.see(rows.entries)
        if rows.found is not None:
            rendered = rows.found.answers.rendered
            self.empty.fill(rendered.filled, rendered.resolved_by)
        if request.mode != "cached-only" and any(one.status == "unresolved" and one.error for one in rows.entries):
            self.raise_to(ResolveError.exit_status)
        if request.is_strict or request.is_counted:
            self.counts.update(rows.labels())
        if request.is_strict and self.counts["unresolved"] + self.counts["invalid"]:
            self.raise_to(1)


def run(
    cache: GeoCache,
    request: BatchRequest,
    on_read: Callable[[int], None] = lambda _: None,
    on_lines: Callable[[str, bytes], None] = lambda _path, _text: None,
) -> BatchReport:
    """Answer line by line, as they arrive. The rows of a block are written when its answers are on disk.

    Args:
        cache: who answers.
        request: what is asked.
        on_read: told how many bytes of input were read.
        on_lines: told the path of a file and the lines that are answered next.

    """
    if request.mode == "cached-only":  # so that the journal is short when it is searched
        with suppress(BusyError, StorageError):
            cache.flush_dirty()
    with _sink(request.output) as put:
        batch = _Batch(cache, request, on_read, on_lines, put)
        for path in request.files:
            try:
                batch.answer(path)
            except InputError as error:
                complain(error)
                batch.report.raise_to(error.exit_status)
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
        self._header, self._slow_lines = b"", 0
        self._is_shown = request.output is None and request.is_raw and sys.stdout.isatty()
        self.report = BatchReport(request.fields)

    def answer(self, path: str) -> None:
        """Answer the lines of a file."""
        request, form = self._request, self._request.form()
        with (
            Flow(self._cache, form, request.mode, request.jobs, self._written) as flow,
            opened(path, flow.drain) as read,
        ):
            end = request.end.encode()
            chunks = whole_lines(read, end, form.max_bytes, adds_end=form.adds_end, on_read=self._on_read)
            rest = form.begin(chunks)
            self._begin(path, form.output.header)
            flow.slow_lines = self._slow_lines
            for chunk in rest:
                self._on_lines(path, chunk)
                flow.push(visible(chunk) if self._is_shown else chunk)
            self._slow_lines = flow.slow_lines

    def _begin(self, path: str, header: bytes) -> None:
        """Write the header, once."""
        if header and self._header and header.split() != self._header.split():
            raise InputError(path, OTHER_COLUMNS)
        if header and not self._header:
            self._put(visible(header) if self._is_shown else header)
            self._header = header

    def _written(self, group: Sequence[Rows]) -> None:
        for rows in group:
            for part in rows.data:
                self._put(part)
            self.report.count(rows, self._request)


@contextmanager
def _sink(path: str | None) -> Iterator[Callable[[bytes | memoryview], None]]:
    """Return what rows are given to: standard output, or a file that is put in place when complete."""
    if path is None:
        yield write
        return
    from geocli.files.atomic import replacing, write_all

    with replacing(path) as (descriptor, _):
        yield lambda data: write_all(descriptor, data)
