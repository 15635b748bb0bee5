"""Addresses in any text: logs, mails, configuration files.

`spans` finds candidates, and decides which of them are addresses:

* four numbers with dots between them, by what is beside them (`geocli.bulk.boundaries`: tables) and, where that leaves
  it open, by more of their line (`geocli.bulk.ipv4_context`: a function whose results are remembered);
* runs of hexadecimal groups (`geocli.bulk.ipv6_context`), in which no IPv4 address of its own is looked for;
* defanged and URL-encoded spellings (`geocli.bulk.spellings`).

Long texts are searched for candidates with numpy, short ones with regular expressions; what is found is the same.
"""

from __future__ import annotations

import re
from functools import cache
from ipaddress import IPv4Address
from typing import NamedTuple

from geocli.addresses import parse
from geocli.bulk import boundaries, spellings
from geocli.bulk.boundaries import ASK, BETWEEN, FIRST_NUMBERS, MAX_BETWEEN, NO, SMALL_BEHIND
from geocli.bulk.ipv4_context import verdict, window
from geocli.bulk.ipv6_context import AFTER_BYTES as AFTER_RUN_BYTES
from geocli.bulk.ipv6_context import BEFORE_BYTES as BEFORE_RUN_BYTES
from geocli.bulk.ipv6_context import is_run, span_of
from geocli.bulk.versions import NEAR_BYTES, is_product
from geocli.errors import AddressError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    Octets: TypeAlias = NDArray[np.uint8]
    Span: TypeAlias = tuple[int, int]

SMALL_BYTES = 4096
"""A shorter text is searched without numpy."""
_MARGIN = b"\n" * 8
_QUAD = re.compile(rb"(?<![0-9])(?=[0-9])[0-9]*?([0-9]{1,3}(?:\.[0-9]{1,3}){3})(?![0-9])")
_ANCHOR = re.compile(rb"(?<=:):|:(?:[0-9A-Fa-f]{1,4}:){5}")
_IN_RUN = b"0123456789abcdefABCDEF:."
_RUN_END = re.compile(rb"(?:[0-9A-Fa-f:]|\.(?!\.))*")
_PREFIX = re.compile(rb"/(0|[1-9][0-9]{0,2})(?!\w|\.\w)")


class Spans(NamedTuple):
    """Where addresses are in a text, in their order."""

    starts: list[int]
    """Offset of the first byte of each address."""
    ends: list[int]
    """Offset behind its last byte."""
    stops: list[int]
    """Offset behind the prefix length that makes a network of it; the end of the address without one."""


def spans(text: bytes) -> Spans:
    """Return where the addresses of a text are, in their order.

    Where an address and a prefix length behind it (`192.0.2.0/24`) are a network, that is its last bits are zero, the
    span ends behind the prefix length. What is found may turn out to be no address when it is read, if one of its
    numbers is larger than 255.
    """
    return _in_long(text) if len(text) > SMALL_BYTES else _in_short(text)


def _in_short(text: bytes) -> Spans:
    """Search with regular expressions."""
    judged = [found for at in _candidates(text) if (found := _judged(text, *at))]
    anchors = [match.end() - 1 for match in _ANCHOR.finditer(text)]
    spelled = [match.start() for match in spellings.ANCHOR.finditer(text)]
    return _together(text, _with_stops(text, judged), anchors, spelled)


def _candidates(text: bytes) -> Iterable[Span]:
    at = 0
    while found := _QUAD.search(text, at):
        yield found.span(1)
        at = text.index(b".", found.start(1)) + 1


def _in_long(text: bytes) -> Spans:
    """Search with numpy."""
    import numpy as np

    octets = np.frombuffer(b"".join((_MARGIN, text, _MARGIN)), np.uint8)
    flags = np.empty(len(octets), np.bool_)  # one for all: to get new memory takes longer than to compare
    none = np.zeros(0, np.intp)
    dots, colons, brackets, percents = (
        np.flatnonzero(np.equal(octets, mark[0], out=flags)) if mark in text else none
        for mark in (b".", b":", b"[", b"%")
    )
    anchors = (_anchors(colons) - len(_MARGIN)).tolist()
    return _together(text, _quads(text, octets, dots), anchors, _spelled(octets, dots, brackets, percents))


def _together(text: bytes, quads: Spans, anchors: Iterable[int], spelled: Iterable[int]) -> Spans:
    """Return all addresses in their order; in a run of groups there is none but its own."""
    runs, groups = _groups(text, anchors)
    if found := spellings.spans(text, spelled):
        groups = [*found, *_outside(groups, found, text)]
    if not (runs or groups):
        return quads
    singles = zip(quads.starts, quads.ends, strict=True)
    return _with_stops(text, sorted([*groups, *_outside(singles, [*runs, *groups], text)]))


def _outside(found: Iterable[Span], others: Iterable[Span], text: bytes) -> list[Span]:
    """Return the spans that do not begin in one of some others."""
    is_inside = bytearray(len(text))
    for start, end in others:
        is_inside[start:end] = b"\1" * (end - start)
    return [span for span in found if not is_inside[span[0]]]


def _with_stops(text: bytes, found: Sequence[Span]) -> Spans:
    starts, ends = [start for start, _ in found], [end for _, end in found]
    return Spans(starts, ends, [_stop(text, start, end) for start, end in found])


def _stop(text: bytes, start: int, end: int) -> int:
    """Return the end of the prefix length behind an address, if the two are a network; else that of the address."""
    prefix = _PREFIX.match(text, end) if text[end : end + 1] == b"/" else None
    return prefix.end() if prefix and network_length(text[start:end], int(prefix[1])) is not None else end


def network_length(text: bytes, length: int) -> int | None:
    """Return the prefix length of a network by its canonical first address; None if the two are no network.

    They are none if the address has bits behind the prefix: firewalls write a port behind a slash, `198.51.100.7/25`.

    Args:
        text: an address; one that is IPv4-mapped has a prefix of 96 bits before the IPv4 address.
        length: the length of a prefix of it, in bits.

    """
    try:
        address = parse(text.decode("latin-1"))
    except AddressError:
        return None
    if isinstance(address, IPv4Address) and text.count(b":") > 1:
        length -= 96
    width = address.max_prefixlen
    return length if 0 <= length <= width and not int(address) & ((1 << (width - length)) - 1) else None


def _judged(text: bytes, start: int, end: int) -> Span | None:
    """Return the span of a candidate if it is an address by its surroundings."""
    if text.startswith(b"/", start - 1) and is_product(text[start - NEAR_BYTES : end + 1], end - start):
        return None
    skipped = verdict(*window(text, start, end))
    return None if skipped is None else (start + skipped, end)


def _groups(text: bytes, anchors: Iterable[int]) -> tuple[list[Span], list[Span]]:
    """Return the runs around some colons, and the IPv6 addresses in them."""
    runs, found = [], []
    last = 0
    for at in anchors:
        if at < last:
            continue
        start = last + len(text[last:at].rstrip(_IN_RUN))
        if (dots := text.rfind(b"..", start, at)) >= 0:
            start = dots + 2
        end = next(_RUN_END.finditer(text, at)).end()
        last = end
        run = text[start:end]
        if not is_run(run):
            continue
        runs.append((start, end))
        before = text[max(start - BEFORE_RUN_BYTES, 0) : start].rpartition(b"\n")[2]
        after = text[end : end + AFTER_RUN_BYTES].partition(b"\n")[0]
        if span := span_of(before, run, after):
            found.append((start + span[0], start + span[1]))
    return runs, found


@cache
def _tables() -> tuple[Any, ...]:
    import numpy as np

    tables = (boundaries.pairs(boundaries.BEFORE), boundaries.pairs(boundaries.AFTER), boundaries.endings())
    return (*(np.frombuffer(table, np.uint8) for table in tables), _members(BETWEEN).astype(np.intp))


def _quads(text: bytes, octets: Octets, dots: NDArray[np.intp]) -> Spans:
    """Return what could be IPv4 addresses by their dots, their ends and their surroundings."""
    import numpy as np

    gaps = np.diff(dots)
    is_near = (gaps >= 2) & (gaps <= 4)
    at = np.flatnonzero(is_near[:-1] & is_near[1:])
    first, third = dots[at], dots[at + 2]
    sizes, last_sizes = _digits(octets, first, -1), _digits(octets, third, 1)
    befores, afters, _, _ = _tables()
    starts, ends = first - sizes, third + last_sizes + 1
    before = befores[_pair(octets, starts - 2)]
    after = afters[_pair(octets, ends)]
    is_open = (before != NO) & (after != NO) & (sizes > 0) & (last_sizes > 0)
    is_small = (sizes < 3) & (last_sizes < 3) & (gaps[at] < 4) & (gaps[at + 1] < 4)
    at = np.flatnonzero(is_open)
    starts, ends, is_asked = starts[at], ends[at], (before[at] == ASK) | (after[at] == ASK)
    is_asked |= _needs_line(octets, starts, is_small[at])
    is_slash = octets[ends] == ord("/")
    starts, ends = starts - len(_MARGIN), ends - len(_MARGIN)
    if len(asked := np.flatnonzero(is_asked)):
        judged = [_judged(text, *span) for span in zip(starts[asked].tolist(), ends[asked].tolist(), strict=True)]
        starts[asked] = [-1 if found is None else found[0] for found in judged]
        is_kept = starts >= 0
        starts, ends, is_slash = starts[is_kept], ends[is_kept], is_slash[is_kept]
    stops = ends.copy()
    for number in np.flatnonzero(is_slash).tolist():
        stops[number] = _stop(text, int(starts[number]), int(ends[number]))
    return Spans(starts.tolist(), ends.tolist(), stops.tolist())


def _needs_line(octets: Octets, starts: NDArray[np.intp], is_small: NDArray[np.bool_]) -> Any:
    """Return which candidates need more of their line than the characters beside them."""
    import numpy as np

    *_, endings, is_between = _tables()
    needs = np.zeros(len(starts), np.bool_)
    for number in FIRST_NUMBERS:
        is_number = np.ones(len(starts), np.bool_)
        for offset, byte in enumerate(number):
            is_number &= octets[starts + offset] == byte
        needs |= is_number
    is_start = octets[starts - 1] == ord("\n")
    is_ten = (octets[starts] == ord("1")) & (octets[starts + 1] == ord("0")) & (octets[starts + 2] == ord("."))
    needs |= is_small & ~is_ten & _members(SMALL_BEHIND)[octets[starts - 1]]
    inside = np.flatnonzero(~is_start & ~needs)
    at = starts[inside] - 1
    for _ in range(MAX_BETWEEN):
        at -= is_between[octets[at]]
    third, second, last = ((octets[at - back] & 31).astype(np.intp) for back in (2, 1, 0))
    needs[inside] = endings[third << 10 | second << 5 | last] != 0
    return needs


def _pair(octets: Octets, at: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return two bytes as the index of a table of pairs."""
    index: NDArray[np.intp] = octets[at].astype("intp") << 8 | octets[at + 1]
    return index


def _digits(octets: Octets, dots: NDArray[np.intp], step: int) -> NDArray[np.intp]:
    """Count the digits, three at most, before or after dots."""
    one, two, three = (octets[dots + step * distance] - ord("0") < 10 for distance in (1, 2, 3))
    return one.astype(int) + (one & two) + (one & two & three)


def _anchors(colons: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the colons that are the second of two together, or the last of six near one another."""
    import numpy as np

    gaps = np.diff(colons)
    is_near = (gaps >= 2) & (gaps <= 5)
    is_anchor = gaps == 1
    if len(gaps) >= 5:
        is_anchor[4:] |= is_near[4:] & is_near[3:-1] & is_near[2:-2] & is_near[1:-3] & is_near[:-4]
    found: NDArray[np.intp] = colons[1:][is_anchor]
    return found


def _spelled(
    octets: Octets, dots: NDArray[np.intp], brackets: NDArray[np.intp], percents: NDArray[np.intp]
) -> list[int]:
    """Return where dots or colons may be spelled in other ways."""
    import numpy as np

    brackets = brackets[_members(b".:dD")[octets[brackets + 1]]]
    brackets = brackets[_members(b":" + boundaries.HEX)[octets[brackets - 1]]]
    percents = percents[(octets[percents + 1] == ord("3")) & (octets[percents + 2] | 32 == ord("a"))]
    percents = percents[_members(b"%" + boundaries.HEX)[octets[percents + 3]]]
    others = dots[_members(b"({")[octets[dots - 1]]] - 1
    at: list[int] = (np.sort(np.concatenate([brackets, percents, others])) - len(_MARGIN)).tolist()
    return at


@cache
def _members(members: bytes) -> Any:
    """Return which bytes are some of these."""
    import numpy as np

    flags = np.zeros(256, np.bool_)
    flags[list(members)] = True
    return flags
