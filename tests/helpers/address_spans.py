"""Texts searched both ways: by the definition of an address in a text, and by the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geocli.batch import address_scanner, kernel_scanner

if TYPE_CHECKING:
    from geocli.batch.address_scanner import Spans

PADDING = b"x " * 4096 + b"\n"
"""So much that what is behind it is far from the beginning."""


def spans(text: bytes) -> Spans:
    """Return what both ways find, which is the same."""
    expected, actual = address_scanner.spans(text), kernel_scanner.spans(text)

    assert expected == actual
    return actual
