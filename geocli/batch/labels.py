"""Labels in a log: without commas between commas, and not where they stand already."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geocli.engine.blocks import Block

MAX_BLANKS = 3
_COMMA_BEHIND = re.compile(rb"""[ \t"']{0,%d}(,|\r?(?:\n|\Z))""" % MAX_BLANKS)
_COMMA_BEFORE = re.compile(rb"""(?:(,)|\A|\n)[ \t"']{0,%d}\Z""" % MAX_BLANKS)


def adjust(block: Block, labels: list[bytes]) -> None:
    """Change labels where they differ.

    Args:
        block: addresses with what is around them.
        labels: one for each address.

    """
    end = 0
    for position, (start, stop) in enumerate(zip(block.starts, block.stops, strict=True)):
        if start < end:  # within a label: addresses in it, as with -F ip, are its own
            labels[position] = b""
            continue
        if _is_between(block.text, start, stop):
            labels[position] = _without_commas(labels[position])
        label = labels[position]
        there = next((text for text in (label, _without_commas(label)) if block.text.startswith(text, stop)), b"")
        if there:
            labels[position], end = b"", stop + len(there)


def _without_commas(label: bytes) -> bytes:
    return label.replace(b", ", b" ").replace(b",", b" ")


def _is_between(text: bytes, start: int, stop: int) -> bool:
    behind = _COMMA_BEHIND.match(text, stop)
    if not behind:
        return False
    before = _COMMA_BEFORE.search(text[max(start - MAX_BLANKS - 1, 0) : start])
    return before is not None and b"," in (behind[1], before[1])
