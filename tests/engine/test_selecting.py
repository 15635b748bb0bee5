"""The kernel selects the same rows as `geocli.batch.row_selection.kept_pieces`, for any text and rows."""

from __future__ import annotations

from ctypes import byref
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocli.batch.row_selection import kept_pieces
from geocli.engine.blocks import Block, offsets
from geocli.engine.kernel import FIRST_NUMBER, SINGLE, UNREAD, address_of, kernel, load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    Kept: TypeAlias = tuple[list[tuple[bytes, int | None]], bytes]

pytestmark = pytest.mark.skipif(load() is None, reason="the kernel is not built")
PIECES = st.lists(st.sampled_from([b"a", b",", b"\n", b"\r\n", b"long text "]), max_size=5).map(b"".join)
ENTRIES = st.lists(st.tuples(PIECES, st.sampled_from([b"8.8.8.8", b"::1"]), st.booleans(), st.booleans()), max_size=12)


def _kept_by_kernel(block: Block, flags: Sequence[bool], singles: Sequence[bool]) -> Kept:
    """Return the selection of the kernel, like `kept_pieces`."""
    numbers = offsets(SINGLE if single else FIRST_NUMBER + flag for flag, single in zip(flags, singles, strict=True))
    to, verdicts, positions = block.for_selection(), bytearray(FIRST_NUMBER) + b"\0\1", bytearray(flags)
    native = to.for_kernel(numbers=numbers, prefixes=bytearray(len(block)))
    is_kept = kernel().select(byref(native), address_of(verdicts), address_of(positions))
    tail = block.tail[: block.tail.find(b"\n") + 1] if is_kept else b""
    pieces: list[tuple[bytes, int | None]] = []
    for position, number in enumerate(numbers):
        before, after = b"", b""
        if to.copy_starts is not None and to.copy_ends is not None and to.skip_starts and to.skip_ends:
            before = to.text[to.copy_starts[position] : to.skip_starts[position]]
            after = to.text[to.skip_ends[position] : to.copy_ends[position]]
        pieces += [(before, None)] if before else []
        pieces += [(after, position)] if number != UNREAD else []
        assert number != UNREAD or not after
    return pieces, block.tail if block.copy_starts is None else tail


@given(entries=ENTRIES, tail=PIECES, has_rows=st.booleans())
def test_rows_are_those_of_the_definition(
    entries: list[tuple[bytes, bytes, bool, bool]], tail: bytes, *, has_rows: bool
) -> None:
    """Rows that end in newlines, and rows whose beginnings are given, with addresses by number or by position."""
    texts, addresses, flags, singles = ([entry[part] for entry in entries] for part in range(4))
    rows = [text.rfind(b"\n") + 1 if text.endswith((b"\n", b",")) else None for text in texts] if has_rows else None  # type: ignore[union-attr]
    block = Block.joined(addresses, texts, tail, rows)  # type: ignore[arg-type]
    expected, expected_tail = kept_pieces(block, flags)
    selected, selected_tail = _kept_by_kernel(block, flags, singles)  # type: ignore[arg-type]

    assert [piece for piece in expected if piece != (b"", None)] == selected
    assert expected_tail == selected_tail


@given(flags=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=20))
def test_lists_have_a_row_for_each_address(flags: list[tuple[bool, bool]]) -> None:
    """Without text before answers, each selected address is kept, and nothing else."""
    text = b"8.8.8.8\n" * len(flags)
    starts = offsets(range(0, len(text), 8))
    block = Block(text, starts, offsets(start + 7 for start in starts))
    chosen, singles = [flag for flag, _ in flags], [single for _, single in flags]

    assert kept_pieces(block, chosen) == _kept_by_kernel(block, chosen, singles)
