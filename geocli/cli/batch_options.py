"""Options of `batch` that have a syntax of their own, or depend on each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geocli.errors import SettingsError
from geocli.settings import COMMAND_LINE

if TYPE_CHECKING:
    from typing import Any

    from geocli.cluster.request import ClusterRequest

BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}


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
        raise SettingsError(text, "not a size like 64MB, 512kB or 1GiB", origin=COMMAND_LINE)
    return int(number) * factor
