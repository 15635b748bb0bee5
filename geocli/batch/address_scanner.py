"""Addresses in any text: logs, mails, configuration files.

`spans` finds candidates, and decides which of them are addresses:

* four numbers with dots between them, by what is beside them (`geocli.batch.boundaries`: tables) and, where that leaves
  it open, by more of their line (`geocli.batch.ipv4_context`: a function whose results are remembered);
* runs of hexadecimal groups (`geocli.batch.ipv6_context`), in which no IPv4 address of its own is looked for;
* defanged and URL-encoded spellings (`geocli.batch.spellings`).

This is the definition. In large texts `geocli.batch.kernel_scanner` finds the same with the kernel.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from geocli.addresses import network_length
from geocli.batch import spellings
from geocli.batch.boundaries import HEX
from geocli.batch.ipv4_context import address_offset, window
from geocli.batch.ipv6_context import AFTER_BYTES, BEFORE_BYTES, is_run, span_of
from geocli.engine.blocks import offsets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable
    from typing import TypeAlias

    Span: TypeAlias = tuple[int, int]

IN_RUN = HEX + b":."
_QUAD = re.compile(rb"(?<![0-9])(?=[0-9])[0-9]*?([0-9]{1,3}(?:\.[0-9]{1,3}){3})(?![0-9])")
_ANCHOR = re.compile(rb"(?<=:):|:(?:[0-9A-Fa-f]{1,4}:){5}")
_RUN_END = re.compile(rb"(?:[0-9A-Fa-f:]|\.(?!\.))*")
_PREFIX = re.compile(rb"/(0|[1-9][0-9]{0,2})(?!\w|\.\w)")


class Spans(NamedTuple):
    """Where addresses are in a text, in their order."""

    starts: array[int]
    """Offset of the first byte of each address."""
    ends: array[int]
    """Offset behind its last byte."""
    stops: array[int]
    """Offset behind the prefix length that makes a network of it; the end of the address without one."""


def spans(text: bytes) -> Spans:
    """Return where the addresses of a text are, in their order.

    Where an address and a prefix length behind it (`192.0.2.0/24`) are a network, that is its last bits are zero, the
    span ends behind the prefix length. What is found in a run may turn out to be no address when it is read.
    """
    runs, groups = _groups(text, [match.end() - 1 for match in _ANCHOR.finditer(text)])
    spelled = spellings.spans(text, [match.start() for match in spellings.ANCHOR.finditer(text)])
    is_in_run = bytearray(len(text))
    for start, end in runs:
        is_in_run[start:end] = b"\1" * (end - start)
    judged = ((candidate_start(text, start, end), end) for start, end in _candidates(text))
    singles = [(start, end) for start, end in judged if start is not None and not is_in_run[start]]
    return _apart(text, sorted([*singles, *groups, *spelled], key=lambda span: (span[0], -span[1])))


def _candidates(text: bytes) -> Iterable[Span]:
    at = 0
    while found := _QUAD.search(text, at):
        yield found.span(1)
        at = text.index(b".", found.start(1)) + 1


def _apart(text: bytes, found: Iterable[Span]) -> Spans:
    """Drop each address that begins in the one before it, and each prefix length in which one begins."""
    spans = Spans(offsets(), offsets(), offsets())
    for start, end in found:
        if spans.ends and start < spans.ends[-1]:
            continue
        if spans.stops and start < spans.stops[-1]:
            spans.stops[-1] = spans.ends[-1]
        for column, offset in zip(spans, (start, end, prefix_end(text, start, end)), strict=True):
            column.append(offset)
    return spans


def prefix_end(text: bytes, start: int, end: int) -> int:
    """Return the end of the prefix length behind an address, if the two are a network; else that of the address."""
    prefix = _PREFIX.match(text, end) if text[end : end + 1] == b"/" else None
    return prefix.end() if prefix and network_length(text[start:end], int(prefix[1])) is not None else end


def candidate_start(text: bytes, start: int, end: int) -> int | None:
    """Return where the address in a candidate begins, by its surroundings; None if it is none."""
    offset = address_offset(*window(text, start, end))
    return None if offset is None else start + offset


def _groups(text: bytes, anchors: Iterable[int]) -> tuple[list[Span], list[Span]]:
    """Return the runs around some colons, and the IPv6 addresses in them."""
    runs, found = [], []
    last = 0
    for at in anchors:
        if at < last:
            continue
        start = last + len(text[last:at].rstrip(IN_RUN))
        if (dots := text.rfind(b"..", start, at)) >= 0:
            start = dots + 2
        end = next(_RUN_END.finditer(text, at)).end()
        last = end
        run = text[start:end]
        if not is_run(run):
            continue
        runs.append((start, end))
        if span := span_in_run(text, start, end):
            found.append(span)
    return runs, found


def span_in_run(text: bytes, start: int, end: int) -> Span | None:
    """Return where the address in a run begins and ends; None without one."""
    before = text[max(start - BEFORE_BYTES, 0) : start].rpartition(b"\n")[2]
    span = span_of(before, text[start:end], text[end : end + AFTER_BYTES].partition(b"\n")[0])
    return (start + span[0], start + span[1]) if span else None
