"""Find the addresses of a text by both scanners, and compare them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geocli.batch import address_scanner, kernel_scanner

if TYPE_CHECKING:
    from geocli.batch.address_scanner import Spans

PADDING = b"x " * 4096 + b"\n"
"""Long enough that the text after it is in another block of the kernel."""


def spans(text: bytes) -> Spans:
    """Return the spans that both scanners find."""
    expected, actual = address_scanner.spans(text), kernel_scanner.spans(text)

    assert expected == actual
    return actual
