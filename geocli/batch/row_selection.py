"""Keep the rows of a block in which an address is selected.

A row is a line of the input with all its addresses, or a record of CSV, with what ends it. `kept_pieces` is the
definition; in large blocks the kernel does the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geocli.engine.blocks import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geocli.engine.blocks import Block


def kept_pieces(block: Block, flags: Sequence[object]) -> tuple[list[tuple[bytes, int | None]], bytes]:
    """Return the rest of a block: text, and the position of the address whose answer follows; and the tail.

    `flags` has for each address whether it is selected.
    """
    pieces: list[tuple[bytes, int | None]] = []
    if block.copy_starts is None:
        return [(b"", position) for position, is_selected in enumerate(flags) if is_selected], block.tail
    row, is_kept = 0, False
    for position, is_selected in enumerate(flags):
        copied = block.copied(position)
        size = _text_before_row(block, position, copied)
        if size is not None:
            if is_kept:
                pieces.append((_first_line(copied[:size]), None))
            else:
                del pieces[row:]
            row, is_kept = len(pieces), False
            copied = copied[size:]
        pieces.append((copied, position))
        is_kept = is_kept or bool(is_selected)
    if not is_kept:
        del pieces[row:]
    return pieces, _first_line(block.tail) if is_kept else b""


def _text_before_row(block: Block, position: int, copied: bytes) -> int | None:
    """Return the size of the text before the row that begins in what is copied; None if none does."""
    if block.row_starts is not None:
        start = block.row_starts[position]
        return None if start == NO_ROW or block.copy_starts is None else start - block.copy_starts[position]
    return copied.rfind(b"\n") + 1 or None


def _first_line(text: bytes) -> bytes:
    return text[: text.find(b"\n") + 1]
