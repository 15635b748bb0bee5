"""Labels in a log: without commas between commas, and not where they stand already."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from geocli.bulk.finding import Spans

SMALL_BYTES = 4096
"""In a shorter text each address is looked at, rather than chosen with numpy."""
MAX_BLANKS = 3
_COMMA_BEHIND = re.compile(rb"""[ \t"']{0,%d}(,|\r?(?:\n|\Z))""" % MAX_BLANKS)
_COMMA_BEFORE = re.compile(rb"""(?:(,)|\A|\n)[ \t"']{0,%d}\Z""" % MAX_BLANKS)


class Places(NamedTuple):
    """What is around the labels of a text, where it matters to them."""

    text: bytes
    spans: Spans
    between_commas: list[int]
    """Positions of the addresses between commas, as in CSV: blanks and quotes may stand beside them, and a line's edge
    is as good as one of the commas."""
    maybe_labelled: list[int]
    """Positions of the addresses behind which something stands in brackets."""


def places(text: bytes, spans: Spans) -> Places | None:
    """Return where labels differ; None if they differ nowhere."""
    commas, brackets = _chosen(text, spans)
    commas = [at for at in commas if _is_between(text, spans.starts[at], spans.stops[at])]
    return Places(text, spans, commas, brackets) if commas or brackets else None


def adjust(places: Places, columns: Sequence[list[bytes]]) -> None:
    """Change what labels are made of where they differ.

    Args:
        places: where they do.
        columns: the pieces of labels, side by side; all pieces of an address together are its label.

    """
    for at in places.between_commas:
        for column in columns:
            column[at] = _without_commas(column[at])
    starts, stops = places.spans.starts, places.spans.stops
    end = 0
    for at in places.maybe_labelled:
        label = b"".join(column[at] for column in columns)
        if starts[at] < end or not label:
            continue
        for text in (label, _without_commas(label)):
            if places.text.startswith(text, stops[at]):
                end = stops[at] + len(text)
                break
        else:
            continue
        last = at
        while last < len(starts) and starts[last] < end:  # addresses in the label, as with -F ip, are its own
            for column in columns:
                column[last] = b""
            last += 1


def _without_commas(label: bytes) -> bytes:
    return label.replace(b", ", b" ").replace(b",", b" ")


def _chosen(text: bytes, spans: Spans) -> tuple[Sequence[int], list[int]]:
    """Return the positions of addresses that may be between commas, and of those before a bracket."""
    if len(text) < SMALL_BYTES:
        everywhere = range(len(spans.stops))
        return everywhere, [at for at in everywhere if text.startswith(b" [", spans.stops[at])]
    import numpy as np

    octets = np.frombuffer(text, np.uint8)
    starts, stops = np.array(spans.starts, np.intp), np.array(spans.stops, np.intp)
    before, after, second = octets[starts - 1], octets.take(stops, mode="clip"), octets.take(stops + 1, mode="clip")
    is_blank, is_edge = _members(b" \t\"'"), _members(b" \t\"',\r\n")
    is_comma = _members(b",\n")[before] | (is_blank[before] & is_edge[octets[starts - 2]])
    is_comma &= _members(b",\r\n")[after] | (is_blank[after] & is_edge[second])
    is_comma[:1] = is_comma[-1:] = True  # at an edge of the text there is nothing to be seen
    is_bracket = (after == ord(" ")) & (second == ord("["))
    commas: list[int] = np.flatnonzero(is_comma).tolist()
    brackets: list[int] = np.flatnonzero(is_bracket).tolist()
    return commas, brackets


def _members(members: bytes) -> NDArray[np.bool_]:
    import numpy as np

    flags = np.zeros(256, np.bool_)
    flags[list(members)] = True
    return flags


def _is_between(text: bytes, start: int, stop: int) -> bool:
    behind = _COMMA_BEHIND.match(text, stop)
    if not behind:
        return False
    before = _COMMA_BEFORE.search(text[max(start - MAX_BLANKS - 1, 0) : start])
    return before is not None and b"," in (behind[1], before[1])
