"""What a batch is to do."""

from __future__ import annotations

from geocli.batch.csv import CsvForm
from geocli.batch.input_formats import ListForm, LogForm
from geocli.batch.jsonl import JsonLinesForm
from geocli.formats.rows import Output
from geocli.immutable import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from geocli.api_arguments import Mode
    from geocli.batch.input_formats import Form


class BatchRequest(Value):
    """What is to be read, how it is to be answered, and where the rows go."""

    files: tuple[str, ...] = ("-",)
    """Paths to read in turn; `-` is standard input."""
    input: str | None = None
    """`list`, `csv`, `jsonl` or `log`; None to recognise the form."""
    column: str | None = None
    """Column of CSV, or dotted key of JSON lines, that holds the address."""
    delimiter: str | None = None
    """What divides the cells of CSV input; default: a comma."""
    prefix: str = ""
    """Goes before the names of appended columns, or of the key."""
    is_extract: bool = False
    """Whether addresses in a log become rows, instead of being written with their answers where they stand."""
    format: str | None = None
    """`csv`, `tsv`, `jsonl` or `value`, for lists and what is extracted; default: `csv`."""
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
                delimiter=self.delimiter or ",",
                prefix=self.prefix,
                with_header=self.with_header,
            )
        if self.input == "jsonl":
            return JsonLinesForm(self.column, self.fields, prefix=self.prefix)
        if self.input == "log" and not self.is_extract:
            return LogForm(Output("label", self.fields, end=""), is_extract=False)
        output = Output(self.format or "csv", self.fields, with_header=self.with_header, end=self.end)
        return LogForm(output, is_extract=True) if self.is_extract else ListForm(output)
