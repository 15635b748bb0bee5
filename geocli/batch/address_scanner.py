"""Find addresses in any text: logs, mails, configuration files.

`spans` finds candidates and decides which of them are addresses:

* four numbers joined by dots: by the bytes next to them (`geocli.batch.ipv4_boundaries`: tables) and, where these leave
  it undecided, by more of their line (`geocli.batch.ipv4_context`: a cached function);
* runs of hexadecimal groups (`geocli.batch.ipv6_context`), which have no separate IPv4 addresses in them;
* defanged and URL-encoded addresses (`geocli.batch.defanged`).

This module is the definition. `geocli.batch.kernel_scanner` finds the same addresses faster in large texts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from geocli.addresses import is_address, network_length
from geocli.batch import defanged
from geocli.batch.ipv4_boundaries import HEX
from geocli.batch.ipv4_context import address_offset, window
from geocli.batch.ipv6_context import AFTER_BYTES, BEFORE_BYTES, is_run, span_of
from geocli.engine.blocks import offsets
from geocli.sanitize import decoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable
    from typing import TypeAlias

    Span: TypeAlias = tuple[int, int]

IN_RUN = HEX + b":."
"""Bytes of runs."""
_QUAD = re.compile(rb"(?<![0-9])(?=[0-9])[0-9]*?([0-9]{1,3}(?:\.[0-9]{1,3}){3})(?![0-9])")
_ANCHOR = re.compile(rb"(?<=:):|:(?:[0-9A-Fa-f]{1,4}:){5}")
_RUN_END = re.compile(rb"(?:[0-9A-Fa-f:]|\.(?!\.))*")
_PREFIX = re.compile(rb"/(0|[1-9][0-9]{0,2})(?!\w|\.\w)")


class Spans(NamedTuple):
    """Positions of addresses in text, in order."""

    starts: array[int]
    """Offset of the first byte of each address."""
    ends: array[int]
    """Offset after the last byte of each address."""
    stops: array[int]
    """Offset after the prefix length that makes it a network; otherwise the end of the address."""


def spans(text: bytes) -> Spans:
    """Return the positions of the addresses in text, in order.

    An address with a prefix length (`192.0.2.0/24`) is a network if its host bits are zero; then its stop is after the
    prefix length. Spans of runs may still turn out not to be addresses when they are parsed.
    """
    runs, groups = _groups(text, [match.end() - 1 for match in _ANCHOR.finditer(text)])
    encoded = defanged.spans(text, [match.start() for match in defanged.ANCHOR.finditer(text)])
    is_in_run = bytearray(len(text))
    for start, end in runs:
        is_in_run[start:end] = b"\1" * (end - start)
    starts = ((candidate_start(text, start, end), end) for start, end in _candidates(text))
    quads = [(start, end) for start, end in starts if start is not None and not is_in_run[start]]
    return _without_overlaps(text, sorted([*quads, *groups, *encoded], key=lambda span: (span[0], -span[1])))


def starts_of_addresses(text: bytes) -> list[int]:
    """Return the offset of each address in text."""
    return [start for start, end, _ in zip(*spans(text), strict=True) if is_address(decoded(text[start:end]))]


def _candidates(text: bytes) -> Iterable[Span]:
    at = 0
    while match := _QUAD.search(text, at):
        yield match.span(1)
        # The next candidate may begin with the second number of this one.
        at = text.index(b".", match.start(1)) + 1


def _without_overlaps(text: bytes, addresses: Iterable[Span]) -> Spans:
    """Drop each address that begins within the previous one, and each prefix length within which one begins."""
    spans = Spans(offsets(), offsets(), offsets())
    for start, end in addresses:
        if spans.ends and start < spans.ends[-1]:
            continue
        if spans.stops and start < spans.stops[-1]:
            spans.stops[-1] = spans.ends[-1]
        for column, offset in zip(spans, (start, end, prefix_end(text, start, end)), strict=True):
            column.append(offset)
    return spans


def prefix_end(text: bytes, start: int, end: int) -> int:
    """Return the end of a network in CIDR notation; the end of the address if it is not a network."""
    prefix = _PREFIX.match(text, end) if text[end : end + 1] == b"/" else None
    return prefix.end() if prefix and network_length(text[start:end], int(prefix[1])) is not None else end


def candidate_start(text: bytes, start: int, end: int) -> int | None:
    """Return the start of the address in a candidate, by its context; None if it is not an address."""
    offset = address_offset(*window(text, start, end))
    return None if offset is None else start + offset


def _groups(text: bytes, anchors: Iterable[int]) -> tuple[list[Span], list[Span]]:
    """Return the runs around these colons, and the IPv6 addresses in them."""
    runs, addresses = [], []
    searched_end = 0
    for at in anchors:
        if at < searched_end:
            continue
        start = searched_end + len(text[searched_end:at].rstrip(IN_RUN))
        if (dots := text.rfind(b"..", start, at)) >= 0:
            start = dots + 2
        end = next(_RUN_END.finditer(text, at)).end()
        searched_end = end
        if not is_run(text[start:end]):
            continue
        runs.append((start, end))
        if span := span_in_run(text, start, end):
            addresses.append(span)
    return runs, addresses


def span_in_run(text: bytes, start: int, end: int) -> Span | None:
    """Return the start and end of the address in a run; None without an address."""
    before = text[max(start - BEFORE_BYTES, 0) : start].rpartition(b"\n")[2]
    span = span_of(before, text[start:end], text[end : end + AFTER_BYTES].partition(b"\n")[0])
    return (start + span[0], start + span[1]) if span else None
