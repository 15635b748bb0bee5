"""The answers to the addresses of a block, and their assembly into output."""

from __future__ import annotations

from array import array
from ctypes import byref
from itertools import accumulate
from typing import TYPE_CHECKING

from geocli.engine.blocks import zeros
from geocli.engine.kernel import IS_SINGLE, SINGLE, Progress, Style, address_of, kernel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from geocli.engine.blocks import Block
    from geocli.engine.kernel import Addresses
    from geocli.engine.numbered_answers import NumberedAnswers
    from geocli.engine.verdicts import Verdicts
    from geocli.formats.rows import Output


class BlockAnswers:
    """The answers to the addresses of a block.

    Attributes:
        block: the block, with addresses in canonical form.
        answers: the answers by number.
        numbers: the number of each answer; `SINGLE` for addresses that are left to the scalar path.
        prefixes: the prefix length of each answer; `NO_PREFIX` for answers without a network.
        native: the structure for the kernel.

    """

    def __init__(self, answers: NumberedAnswers, block: Block) -> None:
        self.answers, self.block = answers, block
        self.numbers, self.prefixes = zeros(len(block)), bytearray(b"\xff") * len(block)
        self._leaves = zeros(2 * max(len(answers.records), 1) * len(block))
        """The records of addresses, and their prefix lengths, until there are answers for them."""
        self.native = self._for_kernel()

    def _for_kernel(self) -> Addresses:
        return self.block.for_kernel(numbers=self.numbers, prefixes=self.prefixes, leaves=self._leaves)

    def positions(self, state: int) -> list[int]:
        """Return the positions of addresses whose answers have a state; with `NEW`, those not yet parsed."""
        positions = zeros(len(self.block))
        count = kernel().pick(byref(self.answers.engine), byref(self.native), state, address_of(positions))
        return positions[:count].tolist()

    def singles(self) -> list[int]:
        """Return the positions of the addresses that are left to the scalar path."""
        return self.positions(IS_SINGLE)

    def set_apart(self, positions: Iterable[int]) -> None:
        """Leave the addresses at these positions to the scalar path."""
        for position in positions:
            self.numbers[position] = SINGLE

    def selected(self, verdicts: Verdicts, flags: Mapping[int, bool]) -> tuple[BlockAnswers, list[int]]:
        """Return the rows in which an answer is selected, and the positions of addresses for the scalar path in them.

        Args:
            verdicts: decide on answers.
            flags: decide on addresses for the scalar path, by position.

        """
        block, positions = self.block.for_selection(), bytearray(len(self.block))
        for position, is_selected in flags.items():
            positions[position] = is_selected
        selected = BlockAnswers(self.answers, block)
        selected.numbers[:], selected.prefixes[:] = self.numbers, self.prefixes
        verdicts.update()
        flagged = address_of(verdicts.selected), address_of(positions)
        is_kept = kernel().select(byref(selected.native), *flagged)
        if block.copy_starts is not None:
            block.tail = block.tail[: block.tail.find(b"\n") + 1] if is_kept else b""
        return selected, [position for position in flags if selected.numbers[position] == SINGLE]

    def without_answers(self) -> BlockAnswers:
        """Return the same text, to which nothing is added."""
        return BlockAnswers(self.answers, self.block)

    def rewrite(self, addresses: Mapping[int, bytes]) -> None:
        """Replace the addresses at these positions; the new ones include the prefix length, if there is one."""
        block = self.block
        ends = [*accumulate(map(len, addresses.values()), initial=len(block.text))]
        block.starts, block.ends, block.stops = block.starts[:], block.ends[:], block.stops[:]
        for number, (position, address) in enumerate(addresses.items()):
            block.starts[position], block.stops[position] = ends[number], ends[number + 1]
            block.ends[position] = ends[number] + len(address.partition(b"/")[0])
        block.text = b"".join([block.text, *addresses.values()])
        self.native = self._for_kernel()


class Assembly:
    """The output of a block, written in parts."""

    def __init__(self, answers: BlockAnswers, output: Output, resolved_at: str, singles: Sequence[bytes]) -> None:
        """Prepare to write rows in the output format of the table; `singles` are the lines of the scalar path."""
        self._answers, self._singles = answers, b"".join(singles)
        self._single_ends = array("Q", accumulate(map(len, singles)))
        time, no_network = resolved_at.encode(), (output.unknown or output.blank).encode()
        self._style = Style(
            time=time,
            time_bytes=len(time),
            no_network=no_network,
            no_network_bytes=len(no_network),
            is_network_quoted=output.is_json,
            is_label=answers.block.is_labelled,
        )
        self._progress = Progress()

    @property
    def is_complete(self) -> bool:
        """Whether everything was written."""
        return bool(self._progress.position == len(self._answers.block))

    def write(self, out: bytearray) -> int:
        """Write the rows that fit, and return the number of bytes; 0 if the next row does not fit."""
        answers = self._answers
        pointers = byref(answers.answers.engine), byref(answers.native), byref(self._style)
        singles = self._singles, address_of(self._single_ends)
        written: int = kernel().assemble(*pointers, *singles, byref(self._progress), address_of(out), len(out))
        return written
