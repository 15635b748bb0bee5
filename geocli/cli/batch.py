"""`geocli batch`."""

import sys
from typing import Annotated, Any, Literal

import typer

from geocli.cli import options
from geocli.cli.options import OUTPUT, SELECTION, option

INPUT, CLUSTER = "Input", "Cluster"
VALUES = "FIELD=VALUE,..."

Files = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FILE...]", help="Files, also .gz, .bz2 and .xz; default: standard input, -."),
]
Input = Annotated[
    Literal["list", "csv", "tsv", "jsonl", "log"] | None,
    option(
        INPUT,
        "-i",
        "--input",
        text="list, csv, tsv, jsonl or log; default: by the name of the file, else by its first line.",
        metavar="FORMAT",
    ),
]
Column = Annotated[
    list[str] | None,
    option(
        INPUT, "-c", "--column", text="Column, its number, or path in JSON, of addresses; repeatable.", metavar="NAME"
    ),
]
Pick = Annotated[
    Literal["public", "first", "last"] | None,
    option(INPUT, "--pick", text="Which of several addresses in a cell or value; default: public.", metavar="WHICH"),
]
Delimiter = Annotated[
    str | None,
    option(INPUT, "--delimiter", text="Delimiter of CSV; default: the header's, or a comma.", metavar="CHAR"),
]
Extract = Annotated[
    bool, option(INPUT, "--extract", text="Print a row for each address in a log, not the log; -f implies it.")
]
Null = Annotated[bool, option(INPUT, "-0", "--null", text="End lines of a list in NUL, in input and output.")]
Format = Annotated[
    Literal["csv", "tsv", "jsonl", "value", "json", "table"] | None,
    option(
        OUTPUT,
        "-f",
        "--format",
        text="csv, tsv, jsonl or value; default: as the input. With --count-by also json and table.",
        metavar="FORMAT",
    ),
]
Prefix = Annotated[
    str, option(OUTPUT, "--prefix", text="Prefix of the names of added columns, or of the key geo.", metavar="TEXT")
]
NoHeader = Annotated[bool, option(OUTPUT, "--no-header", text="Omit the header (csv, tsv).")]
Summary = Annotated[bool, option(OUTPUT, "--summary", text="Count the rows by country on stderr.")]
Only = Annotated[
    list[str] | None,
    option(SELECTION, "--only", text="Keep rows in which a field is one of these; repeatable.", metavar=VALUES),
]
Except = Annotated[
    list[str] | None,
    option(SELECTION, "--except", text="Keep rows in which it is none of these; repeatable.", metavar=VALUES),
]
Country = Annotated[
    list[str] | None, option(SELECTION, "--country", text="Keep rows with these countries.", metavar="CODE,...")
]
Asn = Annotated[
    list[str] | None, option(SELECTION, "--asn", text="Keep rows with these autonomous systems.", metavar="NUMBER,...")
]
NoLabel = Annotated[bool, option(SELECTION, "--no-label", text="Leave the selected lines of a log as they are.")]
CountBy = Annotated[
    str | None,
    option(OUTPUT, "--count-by", text="Instead of rows, count lines and addresses by fields.", metavar="A,B,..."),
]
Top = Annotated[
    int | None, option(OUTPUT, "--top", text="Print the N largest counts; default: all.", min=1, metavar="N")
]
ReportFile = Annotated[
    str | None, option(OUTPUT, "--report", text="Also write a page with a map and charts (HTML).", metavar="FILE")
]
Progress = Annotated[
    bool | None,
    option(
        OUTPUT, "--progress/--no-progress", text="Show a progress bar on stderr (default: when stderr is a terminal)."
    ),
]
Jobs = Annotated[
    int | None, option(INPUT, "-j", "--jobs", text="Threads for large input; default: all cores.", min=1, metavar="N")
]
Cluster = Annotated[
    str | None,
    option(CLUSTER, "--cluster", text="Scheduler of a Dask cluster, or local:N for N workers here.", metavar="ADDRESS"),
]
BlockSize = Annotated[
    str | None, option(CLUSTER, "--block-size", text="Size of a part of the input; default: 64MB.", metavar="BYTES")
]
Merge = Annotated[bool, option(CLUSTER, "--merge", text="Write one output file instead of a directory of parts.")]
Resume = Annotated[bool, option(CLUSTER, "--resume", text="Keep the parts that an earlier run completed.")]
Strict = Annotated[bool, option(OUTPUT, "--strict", text="Exit with 1 if a line was unresolved or invalid.")]
Quiet = Annotated[
    bool, option(OUTPUT, "-q", "--quiet", text="Do not report lines without an address, or empty fields.")
]


def batch(
    ctx: typer.Context,
    files: Files = None,
    input_: Input = None,
    column: Column = None,
    pick: Pick = None,
    delimiter: Delimiter = None,
    extract: Extract = False,
    null: Null = False,
    format_: Format = None,
    fields: options.Fields = None,
    prefix: Prefix = "",
    no_header: NoHeader = False,
    output: options.OutputFile = None,
    only: Only = None,
    except_: Except = None,
    country: Country = None,
    asn: Asn = None,
    no_label: NoLabel = False,
    summary: Summary = False,
    count_by: CountBy = None,
    top: Top = None,
    report: ReportFile = None,
    progress: Progress = None,
    db: options.Databases = None,
    cached_only: options.CachedOnly = False,
    no_cache: options.NoCache = False,
    refresh: options.Refresh = False,
    lang: options.Lang = None,
    jobs: Jobs = None,
    cluster: Cluster = None,
    block_size: BlockSize = None,
    merge: Merge = False,
    resume: Resume = False,
    strict: Strict = False,
    quiet: Quiet = False,
) -> int:
    """Look up the addresses of a list, a table or a log: one row for each line, in the same order."""
    if not files and sys.stdin.isatty():
        ctx.get_help()  # prints it
        return 2
    from geocli.cli import batch_options, run_batch

    mode = options.mode_of(cached_only=cached_only, no_cache=no_cache, refresh=refresh)
    settings, mode = options.in_language(options.settings_of(ctx, db), lang, mode)
    text: dict[str, Any] = {"input": input_, "columns": column, "pick": pick, "delimiter": delimiter, "null": null}
    rows: dict[str, Any] = {"is_extract": extract, "prefix": prefix, "with_header": not no_header, "output": output}
    insight = batch_options.insight(format_, fields, count_by=count_by, top=top, report=report)
    selection = batch_options.selection(only, except_, country, asn, no_label=no_label)
    more: dict[str, Any] = {"is_strict": strict, "is_counted": summary, "mode": mode, "jobs": jobs}
    workers = batch_options.cluster_request(cluster, block_size=block_size, merge=merge, resume=resume)
    request = batch_options.request_of(files, **text, **rows, **insight, **selection, **more, is_cluster=bool(workers))
    return run_batch.batch(settings, request, workers, shows_progress=progress, is_quiet=quiet)
