"""Texts searched both ways: by the definition of an address in a text, and by the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geocli.bulk import finding, scanner

if TYPE_CHECKING:
    from geocli.bulk.finding import Spans

PADDING = b"x " * 4096 + b"\n"
"""So much that what is behind it is far from the beginning."""


def spans(text: bytes) -> Spans:
    """Return what both ways find, which is the same."""
    expected, actual = finding.spans(text), scanner.spans(text)

    assert expected == actual
    return actual
