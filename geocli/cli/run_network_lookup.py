"""`lookup` with networks among its addresses: an entry for each part of a network, or a table of its answers."""

from __future__ import annotations

from itertools import groupby, islice
from typing import TYPE_CHECKING

from geocli import address_ranges
from geocli.address_ranges import AddressRange
from geocli.console import complain, write
from geocli.engine.network_lookup import NetworkLookup
from geocli.engine.networks import BITS, prefixes
from geocli.errors import ResolveError
from geocli.formats.rows import Output

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geocli.address_ranges import Part
    from geocli.api_arguments import Mode
    from geocli.cache import GeoCache
    from geocli.models import Entry

ENTRIES_TOGETHER = 500
"""Entries that are written together."""
DEFAULT_TOP = 10
"""Answers in a table."""


class NetworksOutput:
    """Prints entries and the answers of networks, in their order."""

    def __init__(
        self, cache: GeoCache, mode: Mode, format_: str, fields: tuple[str, ...] | None, top: int | None
    ) -> None:
        self._status = 0
        self._networks = NetworkLookup(cache)
        self._cache, self._mode = cache, mode
        self._format, self._fields, self._top = format_, fields, DEFAULT_TOP if top is None else top

    def write(self, items: Sequence[Entry | AddressRange]) -> int:
        """Print all items, and return the exit status for the networks."""
        if self._format == "table":
            from geocli.formats.cards import print_entries

            if entries := [item for item in items if not isinstance(item, AddressRange)]:
                print_entries(entries, self._fields, self._cache.now())
            for item in items:
                if isinstance(item, AddressRange):
                    self._show_network(item)
        else:
            self._write_entries(items)
        return self._status

    def _write_entries(self, items: Sequence[Entry | AddressRange]) -> None:
        output = Output(self._format, self._fields)
        write(output.header + (b"[\n  " if self._format == "json" else b""))
        entries, separator = self._entries(items), b""
        while block := list(islice(entries, ENTRIES_TOGETHER)):
            if self._format != "json":
                write(output.block(block))
                continue
            lines = [line.removesuffix(b"\n") for line in output.rows(block)]
            write(separator + b",\n  ".join(lines))
            separator = b",\n  "
        if self._format == "json":
            write(b"\n]\n")

    def check(self, items: Sequence[Entry | AddressRange]) -> int:
        """Return the exit status for the networks."""
        for item in items:
            if isinstance(item, AddressRange) and self._is_prepared(item):
                is_known = any(map(self._is_known, self._networks.parts(item)))
                self._status = max(self._status, 0 if is_known else 1)
        return self._status

    def _is_prepared(self, network: AddressRange) -> bool:
        """Return whether the network can be looked up; report why not."""
        self._networks.report_host_bits(network)
        if unavailable := self._networks.prepare(self._mode):
            complain(f"{network.text}: {unavailable}")
            self._status = max(self._status, 1 if self._mode == "cached-only" else ResolveError.exit_status)
        return unavailable is None

    def _entries(self, items: Sequence[Entry | AddressRange]) -> Iterator[Entry]:
        for item in items:
            if not isinstance(item, AddressRange):
                yield item
                continue
            for part in self._parts(item):
                for first, length in prefixes(part.first, part.last, BITS[item.version]):
                    address = address_ranges.address(item.version, first)
                    yield self._networks.part_entry(part, f"{address}/{length}")

    def _parts(self, network: AddressRange) -> Iterator[Part]:
        """Return the parts of a network, neighbours with the same answer as one."""
        if not self._is_prepared(network):
            return
        status = 1
        for _, neighbours in groupby(self._networks.parts(network), key=lambda part: part.key):
            parts = list(neighbours)
            if status and self._is_known(parts[0]):
                status = 0
            yield parts[0]._replace(last=parts[-1].last)
        self._status = max(self._status, status)

    def _is_known(self, part: Part) -> bool:
        return any(value is not None for value in self._networks.answer(part))

    def _show_network(self, network: AddressRange) -> None:
        from geocli.formats.network_tables import NetworkAnswers

        answers = NetworkAnswers(network, self._fields)
        for part in self._parts(network):
            answers.add(part, self._networks.part_entry)
        answers.show(self._top)
