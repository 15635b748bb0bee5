"""Options of `batch` that depend on each other, or on the names of the files."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from geocli.errors import SettingsError
from geocli.settings import COMMAND_LINE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from geocli.cluster.request import ClusterRequest

INPUT_FORMATS = {"csv": "csv", "tsv": "csv", "jsonl": "jsonl", "ndjson": "jsonl", "log": "log"}
"""Format of the input by the extension of a file."""
LOG_NAMES = frozenset({"syslog", "messages", "secure", "maillog"})
"""Names of logs that have no extension, and do not end in `_log`."""
ROTATION = re.compile(r"(?:[.-](?:[0-9]+|old))+\Z")
"""Suffixes that logrotate and similar tools append."""
NEEDED = {
    "-c": ("csv", "jsonl"),
    "--prefix": ("csv", "jsonl"),
    "--delimiter": ("csv",),
    "-0": ("list",),
    "-f": ("list", "log"),
    "--extract": ("log",),
}
"""Formats of the input that an option is for."""
BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}


def input_format(files: Sequence[str], named: str | None, *, is_extract: bool) -> str:
    """Return the format of the input: as named, else by the names of the files."""
    formats = sorted({"log" if is_extract else format_of(path) for path in files})
    if named is None and len(formats) > 1:
        reason = f"the files look like {' and '.join(formats)}; choose one with -i"
        raise SettingsError("-i", reason, origin=COMMAND_LINE)
    return named or formats[0]


def check_applicable(format_: str, options: Mapping[str, Any]) -> None:
    """Refuse options that are for other formats of the input."""
    for name, value in options.items():
        if value and format_ not in NEEDED[name]:
            needed = " or ".join(f"-i {format_}" for format_ in NEEDED[name])
            raise SettingsError(name, f"cannot be used with {format_} input; it needs {needed}", origin=COMMAND_LINE)


def delimiter_of(text: str | None, path: str) -> str:
    r"""Return the delimiter of cells: as named, also `tab` and `\t`, else by the extension of a file."""
    if text is None:
        return "\t" if _without_rotation(path).endswith(".tsv") else ","
    delimiter = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
        raise SettingsError("--delimiter", f"{text!r} is not one character", origin=COMMAND_LINE)
    return delimiter


def format_of(path: str) -> str:
    """Return the format of the input by the name of a file, also if it was rotated: `access.log-20261126.gz`."""
    name = _without_rotation(path)
    if name in LOG_NAMES or name.endswith("_log"):
        return "log"
    return INPUT_FORMATS.get(name.rpartition(".")[2], "list") if "." in name else "list"


def _without_rotation(path: str) -> str:
    return ROTATION.sub("", os.path.basename(path).lower().removesuffix(".gz"))


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
        raise SettingsError(text, "not a size like 64MB, 512kB or 1GiB", origin=COMMAND_LINE)
    return int(number) * factor
