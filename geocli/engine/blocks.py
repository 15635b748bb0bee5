"""Blocks: text with the offsets of its addresses, and of the text to write before each answer."""

from __future__ import annotations

from array import array
from copy import copy
from itertools import accumulate, chain

from geocli.addresses import network_length, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from geocli.addresses import Address
    from geocli.engine.kernel import Addresses


def offsets(values: Iterable[int] = ()) -> array[int]:
    """Return an array of offsets."""
    return array("I", values)


def zeros(count: int) -> array[int]:
    """Return an array of zeros."""
    return array("I", bytes(4 * count))


NO_ROW = 0xFFFFFFFF
"""Stands for the offset of a row where none begins."""


class Block:
    """Text with addresses, in order.

    Attributes:
        text: input, or pieces of it.
        starts, ends: offsets of the addresses, some of which may turn out not to be addresses.
        stops: offsets after the prefix lengths that make them networks; otherwise as `ends`.
        copy_starts, copy_ends: offsets of the text to write before each answer; None for no text.
        skip_starts, skip_ends: offsets of the part of that text to leave out; None before a selection.
        padding: numbers of delimiters to write after that text; None for none.
        delimiter: one byte.
        tail: text to write after the last answer.
        only_addresses: whether to write nothing for candidates that turn out not to be addresses.
        is_labelled: whether answers are labels, which depend on the text around them.
        written_starts, written_stops: for labels, where the addresses are in the input; `starts` and `stops` may lead
            to their canonical forms.
        before_note: returns the span of an address in a line (of a text, from an offset to an offset) that has a note;
            None for lines without one. None if addresses have no notes.
        row_starts: for each address, the offset of the row that begins in the text to write before its answer; `NO_ROW`
            if none does. None if rows end in newlines.
        read: parses an address that is not in a form that the kernel parses.

    """

    def __init__(  # noqa: PLR0913 (its attributes)
        self,
        text: bytes,
        starts: array[int],
        ends: array[int],
        stops: array[int] | None = None,
        *,
        copy_starts: array[int] | None = None,
        copy_ends: array[int] | None = None,
        padding: array[int] | None = None,
        delimiter: bytes = b",",
        tail: bytes = b"",
        only_addresses: bool = False,
        is_labelled: bool = False,
        before_note: Callable[[bytes, int, int], tuple[int, int] | None] | None = None,
    ) -> None:
        self.text, self.starts, self.ends, self.stops = text, starts, ends, ends if stops is None else stops
        self.copy_starts, self.copy_ends = copy_starts, copy_ends
        self.skip_starts: array[int] | None = None
        self.skip_ends: array[int] | None = None
        self.padding, self.delimiter, self.tail = padding, delimiter, tail
        self.only_addresses, self.is_labelled, self.before_note = only_addresses, is_labelled, before_note
        self.written_starts: array[int] | None = starts if is_labelled else None
        self.written_stops: array[int] | None = self.stops if is_labelled else None
        self.row_starts: array[int] | None = None
        self.read: Callable[[str], Address] = parse

    @classmethod
    def joined(
        cls,
        addresses: Sequence[bytes],
        copied: Sequence[bytes],
        tail: bytes = b"",
        rows: Sequence[int | None] | None = None,
    ) -> Block:
        """Return a block of these addresses, and of the text around their answers.

        Args:
            addresses: the addresses.
            copied: the text to write before the answer to each.
            tail: the text to write after the last answer.
            rows: for each address, how much of the text before it belongs to earlier rows; None if it is in the row of
                the address before it. By default, rows end in newlines.

        """
        pieces = list(chain.from_iterable(zip(copied, addresses, strict=True)))
        ends = [*accumulate(map(len, pieces))]
        bounds = offsets(chain((0,), ends))
        starts = bounds[:-1:2]
        text = b"".join(pieces)
        block = cls(text, bounds[1::2], bounds[2::2], copy_starts=starts, copy_ends=bounds[1::2], tail=tail)
        if rows is not None:
            pairs = zip(starts, rows, strict=True)
            block.row_starts = offsets(NO_ROW if size is None else start + size for start, size in pairs)
        return block

    def for_selection(self) -> Block:
        """Return a copy of which the kernel may drop rows; arrays that do not change then are shared."""
        block = copy(self)
        if self.copy_starts is not None:
            block.skip_starts, block.skip_ends = zeros(len(self)), zeros(len(self))
        block.padding = self.padding and self.padding[:]
        return block

    def __len__(self) -> int:
        """Return the number of addresses."""
        return len(self.starts)

    def address(self, position: int) -> bytes:
        """Return an address as written in the text."""
        return self.text[self.starts[position] : self.ends[position]]

    def addresses(self) -> list[bytes]:
        """Return all addresses as written in the text."""
        return [self.text[start:end] for start, end in zip(self.starts, self.ends, strict=True)]

    def drop_notes(self, positions: Iterable[int]) -> dict[int, tuple[int, int]]:
        """Exclude notes from addresses at these positions, and return the spans that included them."""
        text, starts, ends, before_note = self.text, self.starts, self.ends, self.before_note
        whole = {}
        for position in positions if before_note else ():
            span = starts[position], ends[position]
            if before_note and (shorter := before_note(text, *span)):
                whole[position] = span
                starts[position], ends[position] = shorter
        return whole

    def set_span(self, position: int, span: tuple[int, int]) -> None:
        """Replace the span of an address, which has no prefix length."""
        self.starts[position], self.ends[position] = span
        self.stops[position] = span[1]

    def suffix(self, position: int) -> bytes:
        """Return the prefix length after an address, with its slash, as it applies to the canonical form."""
        text = self.text[self.ends[position] : self.stops[position]]
        length = network_length(self.address(position), int(text[1:])) if text else None
        return b"" if length is None else b"/%d" % length

    def copied(self, position: int) -> bytes:
        """Return the text to write before an answer."""
        if self.copy_starts is None or self.copy_ends is None:
            return b""
        copied = self.text[self.copy_starts[position] : self.copy_ends[position]]
        return copied if self.padding is None else copied + self.delimiter * self.padding[position]

    def for_kernel(self, **results: array[int] | bytearray) -> Addresses:
        """Return the block, which must not change, as a structure of pointers; `results` are members, too."""
        from geocli.engine.kernel import Addresses, address_of

        arrays = {name: column for name, column in vars(self).items() if isinstance(column, array)} | results
        native = Addresses(
            text=self.text,
            text_bytes=len(self.text),
            count=len(self),
            room=len(self),
            delimiter=self.delimiter[0],
            **{name: address_of(memory) for name, memory in arrays.items()},
        )
        native.memory = [*arrays.values()]
        return native

    def pointer(self) -> Any:
        """Return a pointer to that structure, through which the kernel fills the arrays of the block."""
        from ctypes import byref

        return byref(self.for_kernel())
