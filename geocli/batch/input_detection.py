"""Recognise the form of input: by options and the names of the files, else by the first line with content.

Undecided input is a list.
"""

from __future__ import annotations

import os
import re
from codecs import BOM_UTF8
from contextlib import suppress
from typing import NamedTuple

from geocli.address_ranges import is_readable
from geocli.batch.list_notes import before_note, is_comment
from geocli.batch.reader import COMPRESSIONS, FIRST_BYTES, MAX_LINE_BYTES
from geocli.batch.usual_column_names import number_of, usual_name
from geocli.errors import SettingsError
from geocli.logs import log
from geocli.sanitize import decoded
from geocli.settings import COMMAND_LINE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geocli.batch.reader import Read
    from geocli.batch.request import BatchRequest

EXTENSIONS = {
    **dict.fromkeys(("csv", "tsv"), "csv"),
    **dict.fromkeys(("jsonl", "ndjson", "json"), "jsonl"),
    **dict.fromkeys(("log", "out", "err"), "log"),
}
"""Forms by the extension of a file."""
LOG_NAME = re.compile(
    r"(?:syslog|messages|secure|security|daemon|cron|dmesg|xferlog|maillog|authlog|mail\.(?:info|warn)"
    r"|.*(?:_log|main-?log|reject-?log|panic-?log)|.*\.log\.txt|.*_log[.-]+[0-9][0-9.-]*\.txt)\Z"
)
"""Other names of logs: of syslog, httpd, FTP servers and Exim, and Tomcat's with a date."""
ROTATION = re.compile(r"(?:[.-](?:[0-9]+|old))+\Z")
"""Suffixes that logrotate and similar tools append."""
OPTIONS: dict[str, tuple[Callable[[BatchRequest], object], tuple[str, ...]]] = {
    "-c": (lambda request: request.columns, ("csv", "jsonl")),
    "--pick": (lambda request: request.pick, ("csv", "jsonl")),
    "--prefix": (lambda request: request.prefix, ("csv", "jsonl")),
    "--delimiter": (lambda request: request.delimiter, ("csv",)),
    "-0": (lambda request: request.end == "\0", ("list",)),
    "--extract": (lambda request: request.is_extract, ("log",)),
    "--no-label": (lambda request: not request.has_answers, ("log",)),
}
"""Options, whether a request has them, and the forms of input that they are for."""
TABLE_HEADER = r"#(?:separator|fields)\b|#(?:Software|Version|Date|Fields): "
"""Header lines of Zeek's logs, and of W3C's extended log format."""
LOG_MARKS = rb"[\"\[]|[0-9]:[0-9]{2}"
"""Quotes, brackets and times: they follow an address at the start of a log line, but do not occur in notes of feeds."""
OPENING = b"\"'`[(<{"
"""Bytes that may precede an address at the start of a line."""
_OBJECT = r"\{\s*(?:[\"}]|\Z)"
JSON_START = re.compile(rf"{_OBJECT}|\[\s*(?:{_OBJECT}|[\[\"\]]|\Z)")
"""Start of a JSON object, or of a JSON array of objects, arrays or strings."""
NOTE_DELIMITERS = (b"\t", b",", b";", b"#", b"|")
"""Delimiters between an address and its note in a feed, which do not separate the words of a log."""
EXCEL_DELIMITER = re.compile(r'(?i)"?sep=(.?)"?\Z')
"""The line that tells Excel the delimiter, without the white space around it."""
DELIMITERS = ",\t;|"
"""Delimiters between the names of a header."""
SEVERAL_ADDRESSES = (
    "the first line has several addresses; the first one of each line is looked up; for all: -i log --extract"
)
"""Warning about a list."""
MAX_HEADER_CHARS = 64 * 1024
"""Length of the longest line that may be a header."""
MAX_PEEK_BYTES = 4 << 20
"""Bytes after which the first line is not waited for any longer."""


class Recognised(NamedTuple):
    """The form of input, by its first line with content."""

    input: str
    """The form of the input."""
    reason: str
    """For `-v`."""
    delimiter: str | None = None
    """Delimiter of CSV."""


def by_name(path: str) -> str | None:
    """Return the form of a file by its name, also if it was rotated: `access.log-20261126.gz`; None if undecided."""
    name = _bare_name(path)
    if LOG_NAME.match(name):
        return "log"
    return EXTENSIONS.get(name.rpartition(".")[2]) if "." in name else None


def _bare_name(path: str) -> str:
    """Return the name of a file in lower case, without the suffixes of compression and rotation."""
    name = os.path.basename(path).lower()
    compression = next(filter(name.endswith, COMPRESSIONS), "")
    return ROTATION.sub("", name.removesuffix(compression))


def decided(request: BatchRequest) -> BatchRequest:
    """Return a request with the form that options or names of files decide; it is None if they do not.

    Raises SettingsError if the names contradict each other, or an option is for other forms.
    """
    if request.input == "tsv":
        request = request.replace(input="csv", delimiter=request.delimiter or "\t")
    if request.input is None:
        input_, reason = _by_options_or_names(request)
        if input_ is None:
            return request
        request = _with(request, Recognised(input_, reason))
    _check_applicable(request)
    if request.input == "log" and request.format:
        request = request.replace(is_extract=True)
    is_tsv = request.input == "csv" and request.delimiter is None and _bare_name(request.files[0]).endswith(".tsv")
    return request.replace(delimiter="\t") if is_tsv else request


def _by_options_or_names(request: BatchRequest) -> tuple[str | None, str]:
    if request.is_extract:
        return "log", "--extract"
    forms = {form: path for path in request.files if (form := by_name(path))}
    if len(forms) > 1:
        reason = f"the files look like {' and '.join(sorted(forms))}; choose one with -i"
        raise SettingsError("-i", reason, origin=COMMAND_LINE)
    if forms == {"log": forms.get("log")} and request.columns:  # a log that is a table, too
        forms = {}
    for form, path in forms.items():
        return form, f"the name of {path}"
    if request.end == "\0":
        return "list", "-0"
    return ("csv", "--delimiter") if request.delimiter else (None, "")


def _check_applicable(request: BatchRequest) -> None:
    """Reject options for other forms of input."""
    for name, (is_given, forms) in OPTIONS.items():
        if is_given(request) and request.input not in forms:
            needed = " or ".join(f"-i {form}" for form in forms)
            reason = f"cannot be used with {request.input} input; it needs {needed}"
            raise SettingsError(name, reason, origin=COMMAND_LINE)


def completed(request: BatchRequest, read: Read) -> tuple[BatchRequest, Read]:
    """Return a request with its form, decided by the first line if need be, and a function that reads all input.

    Nothing is read if the form is decided. Else no more is waited for than the first line with content. Raises
    SettingsError if an option is for other forms.
    """
    request = decided(request)
    needs_key = request.input == "jsonl" and not request.columns
    if request.input is not None and not needs_key:
        return request, read
    comment, line, data = _peeked(read, request)
    if request.input is None:
        recognised = _by_line(decoded(comment), decoded(line), request)
        _check_applicable(request.replace(input=recognised.input))
        request = _with(request, recognised)
        if request.input == "list" and _has_several_addresses(line):
            request = request.replace(advice=SEVERAL_ADDRESSES)
    if request.input == "jsonl" and not request.columns:
        from geocli.batch.json_keys import advice, usual_key

        key = usual_key(line)
        request = request.replace(columns=(key,) if key else (), advice=advice(line, data, key))
    return request, _again(data, read)


def _with(request: BatchRequest, recognised: Recognised) -> BatchRequest:
    input_, reason, delimiter = recognised
    log("recognised", input=input_, because=reason, **({"delimiter": delimiter} if delimiter else {}))
    return request.replace(input=input_, delimiter=request.delimiter or delimiter)


def _again(data: bytes, read: Read) -> Read:
    """Return a function that returns the data that were read to recognise the input, and then reads the rest."""
    pending = [data] if data else []
    return lambda count: pending.pop() if pending else read(count)


def _peeked(read: Read, request: BatchRequest) -> tuple[bytes, bytes, bytes]:
    """Return the last comment before the first line with content, that line, and all that was read."""
    data, comment, at = b"", b"", 0
    while more := read(FIRST_BYTES):
        data += more
        while (end := data.find(b"\n", at)) >= 0:
            line = _content(data, at, end)
            if not is_comment(line) or (request.columns and re.match(TABLE_HEADER, decoded(line))):
                return comment, line, data
            comment, at = line or comment, end + 1
        if len(data) > MAX_PEEK_BYTES:
            break
    line = _content(data, at, len(data))
    return comment, b"" if is_comment(line) else line, data


def _content(data: bytes, start: int, end: int) -> bytes:
    """Return a line without the white space around it, and the first line without a byte order mark."""
    line = data[start:end]
    return (line if start else line.removeprefix(BOM_UTF8)).strip()


def _by_line(comment: str, line: str, request: BatchRequest) -> Recognised:
    """Return the form of input by the first line with content and the comment before it."""
    if request.columns and not JSON_START.match(line):
        return _table(line, request)
    header = comment.lstrip("# ")
    delimiter = _header_delimiter(header) if header else None
    if delimiter and 1 < len(_cells(header, delimiter)) == len(_cells(line, delimiter)):
        return Recognised("csv", "the comment before the first row is a header", delimiter)
    return by_line(line, may_be_log=request.format is None and request.with_header)


def by_line(line: str, *, may_be_log: bool = True) -> Recognised:
    """Return the form that a line shows by itself, and why; an undecided line belongs to a list."""
    if JSON_START.match(line):
        return Recognised("jsonl", "the first line begins like JSON")
    if not line or is_readable(line):
        return Recognised("list", "the first line is an address" if line else "there is no line with content")
    if named := EXCEL_DELIMITER.match(line):
        return Recognised("csv", "the first line names the delimiter", named[1] or "\t")
    if (delimiter := _header_delimiter(line)) is not None:
        return Recognised("csv", "the first line is a header", delimiter)
    if may_be_log and _is_of_log(line):
        return Recognised("log", "the first line has an address among other words")
    return Recognised("list", "nothing shows another form")


def _table(line: str, request: BatchRequest) -> Recognised:
    """Return the form of a table: CSV, if it has such a column, or headers of Zeek or W3C."""
    if re.match(TABLE_HEADER, line):
        return Recognised("csv", "-c, and a header of Zeek or W3C")
    # Words of a log are not cells; with a column that is named, they are.
    delimiter = next((char for char in f"{DELIMITERS} " if _has_columns(_cells(line, char), request.columns)), None)
    if delimiter is None and any(map(by_name, request.files)):
        _check_applicable(request.replace(input="log"))
    return Recognised("csv", "-c", delimiter)


def _has_columns(cells: Sequence[str], columns: Sequence[str]) -> bool:
    """Return whether columns are among cells by their names, or by their numbers."""
    number = number_of(columns)
    return set(columns) <= set(cells) or (number is not None and number < len(cells) and is_readable(cells[number]))


def _header_delimiter(line: str) -> str | None:
    """Return the delimiter of a line that is a header with a usual name, None for another line."""
    for delimiter in DELIMITERS:
        cells = _cells(line, delimiter)
        name = usual_name(cells)
        if name and set(DELIMITERS).isdisjoint(name) and not any(map(is_readable, cells)):
            return delimiter
    return None


def _cells(line: str, delimiter: str) -> list[str]:
    import csv

    if len(line) <= MAX_HEADER_CHARS:
        with suppress(csv.Error):
            return next(csv.reader([line], delimiter=delimiter), [])
    return []


def _has_several_addresses(line: bytes) -> bool:
    """Return whether there is another address in the note after an address, unless the note is a comment."""
    _, end = before_note(line, 0, len(line)) or (0, len(line))
    note = line[end:].lstrip(b" \t,|")
    if is_comment(note):
        return False
    from geocli.batch.address_scanner import starts_of_addresses

    return bool(starts_of_addresses(note))


def _is_of_log(line: str) -> bool:
    """Return whether a line has an address among other words, but is not an address with a note, as in feeds."""
    from geocli.batch.address_scanner import starts_of_addresses

    text = line.encode("utf-8", "replace")
    starts = starts_of_addresses(text)
    begin, end = before_note(text, 0, min(len(text), MAX_LINE_BYTES)) or (0, len(text))
    if not starts or starts[0] >= end or text[begin : starts[0]].strip(OPENING):
        return bool(starts)
    note = text[end:].lstrip(b" ")
    return not (note.startswith(NOTE_DELIMITERS) or is_comment(note)) and bool(re.search(LOG_MARKS, note))
