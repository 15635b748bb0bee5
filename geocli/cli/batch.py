"""`geocli batch`: lists, CSV, JSON lines and logs through a pipe."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import typer

from geocli.cli import options
from geocli.cli.run_batch import batch as run

INPUT, OUTPUT, MACHINES = "Input", options.OUTPUT, "More machines"


def _option(panel: str, *names: str, text: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, **more)


Files = Annotated[
    list[str] | None, typer.Argument(metavar="[FILE...]", help="Files, also .gz; - or nothing: standard input.")
]
Input = Annotated[
    Literal["list", "csv", "jsonl", "log"] | None,
    _option(
        INPUT, "-i", "--input", text="list, csv, jsonl or log; default: by the file's name, else list.", metavar="FORM"
    ),
]
Column = Annotated[
    str | None,
    _option(INPUT, "-c", "--column", text="Column or dotted key of the address; default: ip.", metavar="NAME"),
]
Delimiter = Annotated[
    str | None, _option(INPUT, "--delimiter", text="Divides cells of CSV; default: a comma.", metavar="CHAR")
]
Extract = Annotated[bool, _option(INPUT, "--extract", text="A row for each address in a log, not the log.")]
Null = Annotated[bool, _option(INPUT, "-0", "--null", text="Lines of a list end in NUL, on both sides.")]
Format = Annotated[
    Literal["csv", "tsv", "jsonl", "value"] | None,
    _option(OUTPUT, "-f", "--format", text="csv, tsv, jsonl or value; default: csv.", metavar="FORMAT"),
]
Prefix = Annotated[
    str, _option(OUTPUT, "--prefix", text="Begins the names of appended columns, or of the key geo.", metavar="TEXT")
]
NoHeader = Annotated[bool, _option(OUTPUT, "--no-header", text="No header line (csv, tsv).")]
OutputFile = Annotated[
    str | None, _option(OUTPUT, "-o", "--output", text="Write to a file, put in place when complete.", metavar="FILE")
]
Summary = Annotated[bool, _option(OUTPUT, "--summary", text="Count the rows by country, on standard error.")]
Progress = Annotated[
    bool | None, _option(OUTPUT, "--progress/--no-progress", text="Show how far it is; default: if somebody sees it.")
]
Jobs = Annotated[
    int | None, _option(INPUT, "-j", "--jobs", text="Threads for large input; default: the cores.", min=1, metavar="N")
]
Cluster = Annotated[
    str | None,
    _option(MACHINES, "--cluster", text="Scheduler of a Dask cluster, or local:N workers here.", metavar="ADDRESS"),
]
BlockSize = Annotated[
    str | None,
    _option(MACHINES, "--block-size", text="Size of the parts of the input; default: 64MB.", metavar="BYTES"),
]
Merge = Annotated[bool, _option(MACHINES, "--merge", text="One output file, not a directory of parts.")]
Resume = Annotated[bool, _option(MACHINES, "--resume", text="Leave parts as they are that an earlier run has done.")]
Strict = Annotated[bool, _option(OUTPUT, "--strict", text="Exit with 1 if a line was unresolved or invalid.")]


def batch(
    ctx: typer.Context,
    files: Files = None,
    input_: Input = None,
    column: Column = None,
    delimiter: Delimiter = None,
    extract: Extract = False,
    null: Null = False,
    format_: Format = None,
    fields: options.Fields = None,
    prefix: Prefix = "",
    no_header: NoHeader = False,
    output: OutputFile = None,
    summary: Summary = False,
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
) -> int:
    """Where are the addresses of a list, a table or a log? One row out for each line in, in the same order."""
    if not files and sys.stdin.isatty():
        ctx.get_help()  # which prints it
        return 2
    mode = options.mode_of(cached_only=cached_only, no_cache=no_cache, refresh=refresh)
    chosen, mode = options.in_language(options.chosen(ctx, db), lang, mode)
    request = options.batch_request(
        files or ["-"],
        form=input_,
        delimiter=delimiter,
        null=null,
        format_=format_,
        jobs=jobs or (1 if cluster else None),
        column=column,
        prefix=prefix,
        is_extract=extract,
        fields=options.fields_of(fields),
        with_header=not no_header,
        output=output,
        is_strict=strict,
        is_counted=summary,
        mode=mode,
    )
    machines = options.cluster_request(cluster, block_size=block_size, merge=merge, resume=resume)
    return run(chosen, request, machines, shows_progress=progress)
