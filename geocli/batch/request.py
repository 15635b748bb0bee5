"""The options of a batch."""

from __future__ import annotations

from geocli.batch.counts_by_field import Tally
from geocli.batch.lists_and_logs import ListForm, LogForm
from geocli.formats.rows import Output
from geocli.immutable import Value

PER_RUN = frozenset({"ip", "network", "resolved_at", "cached", "error"})
"""Fields of an address or a run, rather than of an answer."""
COUNTRY_FIELDS = ("country_code", "status")
"""Fields by which rows are counted for a summary."""
REPORT_FIELDS = ("status", "scope", "country_code", "country_name", "city", "asn", "org")
"""Fields by which rows are counted for a report."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from geocli.api_arguments import Mode
    from geocli.batch.lists_and_logs import Form
    from geocli.selection import Selection


class BatchRequest(Value):
    """The input, the answers and the output of a batch."""

    files: tuple[str, ...] = ("-",)
    """Paths to read in turn; `-` is standard input."""
    input: str | None = None
    """`list`, `csv`, `jsonl` or `log`; None to recognise the form."""
    columns: tuple[str, ...] = ()
    """Columns of tables, or paths in JSON lines, that hold addresses; default: one with a usual name."""
    advice: str = ""
    """By the first line: what to try for JSON lines without an address, or a warning about a list."""
    pick: str | None = None
    """The address to choose of several in a cell or value: `public`, `first` or `last`; default: `public`."""
    delimiter: str | None = None
    """Delimiter of CSV input; default: a comma."""
    prefix: str = ""
    """Prefix of the names of appended columns, or of the key."""
    is_extract: bool = False
    """Whether addresses in a log become rows, instead of being labelled in their lines."""
    format: str | None = None
    """`csv`, `tsv`, `jsonl` or `value`; default: that of a table or of JSON lines, else `csv`."""
    fields: tuple[str, ...] | None = None
    """The fields of a row; default: those of the format."""
    with_header: bool = True
    """Whether CSV and TSV begin with the names of the fields."""
    end: str = "\n"
    """Line terminator of a list, in input and output."""
    output: str | None = None
    """File to write; default: standard output."""
    is_strict: bool = False
    """Whether a line without an answer makes the exit status 1."""
    mode: Mode = "cache"
    """Use of the cache and the sources."""
    jobs: int = 1
    """Threads for input that is large enough."""
    is_counted: bool = False
    """Whether rows are counted by country."""
    count_by: tuple[str, ...] = ()
    """Fields by whose values rows are counted, instead of being written."""
    count_format: str | None = None
    """Format of counts: as of rows, or `json` or `table`; default: a table on a terminal, else `csv`."""
    top: int | None = None
    """Number of counts to print; default: all."""
    report: str | None = None
    """File to write a report to."""
    selection: Selection | None = None
    """Selects the entries to write and count; default: all. Rows stay whole if one of their addresses is selected."""
    has_answers: bool = True
    """Whether answers are written, rather than selected rows alone."""

    @property
    def is_raw(self) -> bool:
        """Whether lines are written unchanged, with answers added."""
        if self.input == "log":
            return not self.is_extract
        return self.input in {"csv", "jsonl"} and self.format in {None, self.input}

    @property
    def has_arrays(self) -> bool:
        """Whether a line may have any number of addresses."""
        return any("[]" in column for column in self.columns)

    @property
    def answers_per_line(self) -> int:
        """The number of answers of each line; of each value, if there are arrays."""
        return 1 if self.has_arrays else max(len(self.columns), 1)

    @property
    def tally_fields(self) -> tuple[str, ...]:
        """The fields by which rows are counted."""
        countries = COUNTRY_FIELDS if self.is_counted or self.is_strict else ()
        return tuple(dict.fromkeys((*countries, *self.count_by, *(REPORT_FIELDS if self.report else ()))))

    @property
    def key_fields(self) -> tuple[str, ...]:
        """The fields by which rows are counted and selected."""
        return tuple(dict.fromkeys((*self.tally_fields, *(self.selection.fields if self.selection else ()))))

    @property
    def needs_scalar_path(self) -> bool:
        """Whether rows are selected by fields that differ between addresses with the same answer."""
        return self.selection is not None and not PER_RUN.isdisjoint(self.selection.fields)

    def tally(self) -> Tally:
        """Return a tally of no rows."""
        return Tally(self.tally_fields, self.key_fields, with_addresses=bool(self.count_by or self.report))

    def form(self) -> Form:
        """Return the form of input, with the output format."""
        form = self._table_form() if self.input in {"csv", "jsonl"} else self._text_form()
        output = form.output
        output.key_fields, output.selection, output.has_answers = self.key_fields, self.selection, self.has_answers
        return form

    def _table_form(self) -> Form:
        options: dict[str, Any] = {
            "prefix": self.prefix,
            "with_header": self.with_header,
            "pick": self.pick or "public",
        }
        options["format_"] = "value" if self.count_by else self.format
        if self.input == "jsonl":
            from geocli.batch.json_lines import JsonLinesForm

            return JsonLinesForm(self.columns, self.fields, **options)
        from geocli.batch.tables import CsvForm

        return CsvForm(self.columns, self.fields, delimiter=self.delimiter or ",", **options)

    def _text_form(self) -> Form:
        if self.input == "log" and not (self.is_extract or self.count_by):
            return LogForm(Output("label", self.fields, end=""), is_extract=False)
        output = Output(self.format or "csv", self.fields, with_header=self.with_header, end=self.end)
        if self.count_by:
            output = Output("value", ("status",), end=self.end)
        return LogForm(output, is_extract=True) if self.input == "log" or self.is_extract else ListForm(output)
