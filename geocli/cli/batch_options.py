"""Options of `batch` that have a syntax of their own, or depend on each other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from geocli.cli.options import fields_of
from geocli.errors import SettingsError
from geocli.settings import COMMAND_LINE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from geocli.batch.request import BatchRequest
    from geocli.cluster.request import ClusterRequest

BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}


def request_of(
    files: Sequence[str] | None,
    *,
    columns: Sequence[str] | None,
    delimiter: str | None,
    null: bool,
    jobs: int | None,
    is_cluster: bool,
    **parts: Any,
) -> BatchRequest:
    """Return a request with these parts, with the form of the input if options or names of files decide it."""
    from geocli.batch.input_detection import decided
    from geocli.batch.request import BatchRequest

    request = BatchRequest(
        files=tuple(files or ["-"]),
        columns=tuple(dict.fromkeys(columns or ())),
        delimiter=delimiter_of(delimiter),
        end="\0" if null else "\n",
        jobs=jobs or (1 if is_cluster else len(os.sched_getaffinity(0))),
        **parts,
    )
    _check(request)
    return decided(request)


def _check(request: BatchRequest) -> None:
    """Raise SettingsError if a value is empty, or options contradict each other."""
    if "" in request.columns:
        raise SettingsError("-c", "empty; name a column, its number, or a path in JSON", origin=COMMAND_LINE)
    if request.report and request.output and os.path.realpath(request.report) == os.path.realpath(request.output):
        raise SettingsError("--report", "names the file of -o; choose another one", origin=COMMAND_LINE)
    if not request.has_answers and (request.selection is None or request.count_by):
        reason = "needs --only, --except, --country or --asn, and rows"
        raise SettingsError("--no-label", reason, origin=COMMAND_LINE)


def selection(
    only: Sequence[str] | None,
    excluded: Sequence[str] | None,
    countries: Sequence[str] | None,
    asns: Sequence[str] | None,
    *,
    no_label: bool,
) -> dict[str, Any]:
    """Return the parts of a request that select rows."""
    parts: dict[str, Any] = {"has_answers": not no_label}
    if only or excluded or countries or asns:
        from geocli.selection import selection_of

        parts["selection"] = selection_of(only or (), excluded or (), countries or (), asns or ())
    return parts


def insight(
    format_: str | None, fields: Sequence[str] | None, *, count_by: str | None, top: int | None, report: str | None
) -> dict[str, Any]:
    """Return the parts of a request that decide between rows and counts of them, and about a report."""
    if report is not None:
        if not report:
            raise SettingsError("--report", "empty path", origin=COMMAND_LINE)
        from geocli.formats.report import check_requirements

        check_requirements()
    if count_by is None:
        if top is not None:
            raise SettingsError("--top", "needs --count-by", origin=COMMAND_LINE)
        if format_ in {"json", "table"}:
            raise SettingsError(f"-f {format_}", "needs --count-by", origin=COMMAND_LINE)
        return {"format": format_, "fields": fields_of(fields), "report": report}
    if fields:
        raise SettingsError("-F", "cannot be used with --count-by, which names the columns", origin=COMMAND_LINE)
    return {"count_by": counted_fields(count_by), "count_format": format_, "top": top, "report": report}


def counted_fields(names: str) -> tuple[str, ...]:
    """Return the fields of a comma-separated list, each once; traits of common databases need no prefix."""
    from geocli.selection import known_field

    fields = dict.fromkeys(known_field("--count-by", name.strip()) for name in names.split(","))
    if name := next((name for name in ("resolved_at", "cached", "error") if name in fields), None):
        raise SettingsError(f"--count-by {name}", "depends on the run, not on the address", origin=COMMAND_LINE)
    return tuple(fields)


def delimiter_of(text: str | None) -> str | None:
    r"""Return the delimiter of cells as named, also `tab` and `\t`; None for the default."""
    if text is None:
        return None
    delimiter = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
        raise SettingsError("--delimiter", f"{text!r} is not one character", origin=COMMAND_LINE)
    return delimiter


def cluster_request(address: str | None, *, block_size: str | None, merge: bool, resume: bool) -> ClusterRequest | None:
    """Return which machines a batch runs on; None for this one."""
    options = {"--block-size": block_size, "--merge": merge, "--resume": resume}
    if address is None:
        if name := next((name for name, value in options.items() if value), None):
            raise SettingsError(name, "needs --cluster", origin=COMMAND_LINE)
        return None
    kind, _, number = address.partition(":")
    if kind == "local" and not (number.isascii() and number.isdecimal() and int(number)):
        raise SettingsError(f"--cluster {address}", "name the number of workers, as in local:4", origin=COMMAND_LINE)
    from geocli.cluster.request import ClusterRequest

    more: dict[str, Any] = {} if block_size is None else {"block_bytes": bytes_of(block_size)}
    return ClusterRequest(address=address, is_merged=merge, is_resumed=resume, **more)


def bytes_of(text: str) -> int:
    """Parse a size like `64MB`, `512kB`, `1GiB` or `4096`."""
    number = text.rstrip("kKMGiB ")
    factor = BYTES.get(text[len(number) :].strip().lower().removesuffix("b"))
    if not (factor and number.isascii() and number.isdecimal() and int(number)):
        raise SettingsError(text or "empty", "not a size like 64MB, 512kB or 1GiB", origin=COMMAND_LINE)
    return int(number) * factor
