"""Adapt labels to their place in a log: no commas within comma-separated values, and no label twice."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geocli.engine.blocks import Block

MAX_BLANKS = 3
"""Maximum number of spaces and quotes between an address and a comma."""
_COMMA_AFTER = re.compile(rb"""[ \t"']{0,%d}(,|\r?(?:\n|\Z))""" % MAX_BLANKS)
_COMMA_BEFORE = re.compile(rb"""(?:(,)|\A|\n)[ \t"']{0,%d}\Z""" % MAX_BLANKS)


def adjust(block: Block, labels: list[bytes]) -> None:
    """Remove the commas from labels within comma-separated values, and empty labels that the text has already."""
    label_end = 0
    for position, (start, stop) in enumerate(zip(block.starts, block.stops, strict=True)):
        # An address within a label of an earlier run (-F ip) gets none of its own.
        if start < label_end:
            labels[position] = b""
            continue
        if _is_comma_separated(block.text, start, stop):
            labels[position] = _without_commas(labels[position])
        label = labels[position]
        variants = (label, _without_commas(label))
        existing = next((variant for variant in variants if block.text.startswith(variant, stop)), b"")
        if existing:
            labels[position], label_end = b"", stop + len(existing)


def _without_commas(label: bytes) -> bytes:
    return label.replace(b", ", b" ").replace(b",", b" ")


def _is_comma_separated(text: bytes, start: int, stop: int) -> bool:
    """Return whether an address is a cell: delimited by commas or the ends of its line, and at least one comma."""
    after = _COMMA_AFTER.match(text, stop)
    if not after:
        return False
    before = _COMMA_BEFORE.search(text[max(start - MAX_BLANKS - 1, 0) : start])
    return before is not None and b"," in (after[1], before[1])
