"""A table of the answers of a network: those with the most addresses first."""

from __future__ import annotations

from ipaddress import summarize_address_range
from itertools import islice
from typing import TYPE_CHECKING, Any

from geocli.address_ranges import address
from geocli.formats.rows import value_text
from geocli.formats.terminal import Column, Listing, harmless, open_console, share_text, show
from geocli.models import reader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geocli.address_ranges import AddressRange, Part
    from geocli.models import Entry

FIELDS = ("country_name", "city", "org", "scope", "source")
"""Default columns; those that are empty are left out."""
SHOWN = 2
"""Ranges of each answer that are shown."""
MAX_DIGITS = 12
"""Larger numbers of addresses are rounded."""


class _Answer:
    """The addresses that have one answer."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values
        self.addresses = self.count = 0
        """Numbers of addresses and of ranges."""
        self.ranges: list[list[int]] = []
        """The first and last address of the first ranges, up to `SHOWN`."""
        self.last = -1
        """The last address so far."""


class NetworkAnswers:
    """Counts the addresses of a network by their answers, in memory for the distinct ones."""

    def __init__(self, network: AddressRange, fields: Sequence[str] | None) -> None:
        self._network = network
        self._names, self._has_empty = tuple(fields or FIELDS), fields is not None
        self._read = reader(self._names)
        self._answers: dict[str, _Answer] = {}
        self._by_key: dict[tuple[int, ...], _Answer] = {}

    def add(self, part: Part, entry_of: Callable[[Part, str], Entry]) -> None:
        """Count the addresses of a part, which come after those of earlier parts."""
        if (answer := self._by_key.get(part.key)) is None:
            values = self._read(entry_of(part, ""))
            answer = self._by_key[part.key] = self._answers.setdefault(repr(values), _Answer(values))
        answer.addresses += part.last - part.first + 1
        if answer.last + 1 != part.first or not answer.count:
            answer.count += 1
            if answer.count <= SHOWN:
                answer.ranges.append([part.first, part.last])
        elif answer.count <= SHOWN:
            answer.ranges[-1][1] = part.last
        answer.last = part.last

    def show(self, top: int) -> None:
        """Print a table of the answers with the most addresses."""
        console = open_console()
        ranked = sorted(self._answers.values(), key=lambda answer: -answer.addresses)
        total = sum(answer.addresses for answer in ranked)
        chosen = ranked[:top]
        columns = self._columns(chosen)
        names = [
            Column("networks", is_fixed=True),
            Column("addresses", is_number=True),
            Column("share", is_number=True),
        ]
        rows = tuple(
            (
                self._ranges(answer),
                _count(answer.addresses),
                share_text(answer.addresses, total),
                *map(value_text, values),
            )
            for answer, *values in zip(chosen, *(values for _, values in columns), strict=True)
        )
        console.print(harmless(f"{self._network.text}: {len(ranked)} {'answer' if len(ranked) == 1 else 'answers'}"))
        if rows:
            listing = Listing(columns=(*names, *(Column(name) for name, _ in columns)), rows=rows)
            show(console, listing, complete="-f jsonl")
        if len(ranked) > len(chosen):
            console.print(harmless((f"{len(ranked) - len(chosen)} more; --top {len(ranked)} shows all", "dim")))

    def _columns(self, answers: Sequence[_Answer]) -> list[tuple[str, list[Any]]]:
        """Return the names and values of columns; empty ones are left out by default."""
        columns = [(name, [answer.values[at] for answer in answers]) for at, name in enumerate(self._names)]
        return [pair for pair in columns if self._has_empty or any(value is not None for value in pair[1])]

    def _ranges(self, answer: _Answer) -> str:
        more = f" and {answer.count - SHOWN} more" if answer.count > SHOWN else ""
        return ", ".join(self._range(first, last) for first, last in answer.ranges) + more

    def _range(self, first: int, last: int) -> str:
        """Return the network that a range is, else its first and last address."""
        begin, end = (address(self._network.version, number) for number in (first, last))
        networks = [*islice(summarize_address_range(begin, end), 2)]
        return str(networks[0]) if len(networks) == 1 else f"{begin}-{end}"


def _count(addresses: int) -> str:
    return f"{addresses:,}" if addresses < 10**MAX_DIGITS else f"{addresses:.1e}"
