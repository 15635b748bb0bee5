"""Make the rows of blocks: from answers of the kernel, or by the scalar path, one address at a time."""

from __future__ import annotations

from _thread import allocate_lock  # as in the cache
from bisect import bisect_left
from itertools import accumulate, chain, islice
from typing import TYPE_CHECKING, NamedTuple

from geocli.address_ranges import single_address
from geocli.batch.list_notes import is_comment, unusual_lines, with_notes
from geocli.batch.row_selection import kept_pieces
from geocli.models import Entry
from geocli.sanitize import decoded
from geocli.timestamps import instant_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from geocli.api_arguments import Mode
    from geocli.batch.lists_and_logs import Form
    from geocli.cache import GeoCache
    from geocli.engine.block_answers import BlockAnswers
    from geocli.engine.blocks import Block
    from geocli.engine.lookup_table import LookupTable
    from geocli.engine.network_lookup import NetworkLookup
    from geocli.engine.verdicts import Verdicts
    from geocli.selection import Selection

OUT_BYTES = 1 << 20
"""Approximate size of the parts in which rows are written."""
MAX_REMEMBERED = 50_000
"""Maximum number of remembered entries, which take about 50 MB."""


class Rows(NamedTuple):
    """The rows of a block."""

    data: Iterator[bytes | memoryview]
    """Output in parts; each part is valid until the next one is requested."""
    entries: Sequence[Entry] = ()
    """Entries from the scalar path."""
    positions: Sequence[int] = ()
    """Positions of these entries in the block; empty for all positions."""
    found: BlockAnswers | None = None
    """Answers from the kernel."""
    shown: Shown | None = None
    """What a selection leaves of them, once the output was requested; None without a selection."""


class Shown:
    """The selected rows of a block."""

    def __init__(self) -> None:
        self.entries: Sequence[Entry] = ()
        self.found: BlockAnswers | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there are none."""
        return not self.entries and not (self.found and any(self.found.numbers))


class RowMaker:
    """Makes the rows of chunks. Thread-safe."""

    def __init__(self, cache: GeoCache, mode: Mode, form: Form) -> None:
        """Prepare to make rows.

        Args:
            cache: answers addresses on the scalar path.
            mode: whether to use the cache and the sources.
            form: divides chunks into addresses, and renders rows.

        """
        self._cache, self._mode, self._form = cache, mode, form
        self._lock = allocate_lock()
        self._remembered: dict[bytes, Entry] = {}
        self._revision = 0
        """Revision of the cache as of which entries are remembered."""
        self._out = bytearray()
        self._verdicts: Verdicts | None = None
        self._networks: NetworkLookup | None = None

    def one_by_one(self, chunk: bytes) -> Rows:
        """Look up the addresses by the scalar path; new answers are on disk when this returns."""
        block = self._form.cut(chunk)
        addresses = block.addresses()
        distinct = list(dict.fromkeys(addresses))
        by_address = self._by_address(distinct)
        entries = [by_address[address] for address in addresses]
        lines = self._lines(entries, block, range(len(block)))
        if block.is_labelled:
            from geocli.batch.log_labels import adjust

            adjust(block, lines)
        if (selection := self._form.output.selection) is None:
            return Rows(_parts(block, lines), _with_rows(entries, block))
        flags = [_is_selected(selection, entry, block) for entry in entries]
        pieces, tail = kept_pieces(block, flags)
        shown = Shown()
        shown.entries = _with_rows([entries[position] for _, position in pieces if position is not None], block)
        lines = lines if self._form.output.has_answers else [b""] * len(lines)
        kept = [text + (b"" if position is None else lines[position]) for text, position in pieces]
        return Rows(iter([b"".join([*kept, tail])]), _with_rows(entries, block), shown=shown)

    def _by_address(self, addresses: Sequence[bytes]) -> dict[bytes, Entry]:
        """Look up distinct addresses, which in a list may have notes or be comments."""
        comments, noted = dict[bytes, Entry](), dict[bytes, bytes]()
        if self._form.has_notes:
            unusual = unusual_lines(addresses)
            comments = {line: Entry(ip=decoded(line), status="comment") for line in filter(is_comment, unusual)}
            noted = with_notes(line for line in unusual if line not in comments)
        if not (comments or noted):
            return dict(zip(addresses, self._entries(addresses), strict=True))
        plain = list(dict.fromkeys(noted.get(line, line) for line in addresses if line not in comments))
        entries = dict(zip(plain, self._entries(plain), strict=True)) if plain else {}
        return comments | {line: entries[noted.get(line, line)] for line in addresses if line not in comments}

    def _entries(self, addresses: Sequence[bytes]) -> list[Entry]:
        """Look up addresses in one thread at a time, so that none is requested and appended twice.

        In modes that do not read the cache, entries are remembered here, since web services would be asked again.
        """
        with self._lock:
            if not self._cache.chain.services or self._mode not in {"refresh", "no-cache"}:
                return self._looked_up([*map(decoded, addresses)])
            # With `no-cache` a clear does not matter, as nothing is written.
            if self._mode == "refresh":
                self._drop_cleared()
            new = [address for address in addresses if address not in self._remembered]
            looked_up = dict(zip(new, self._looked_up([*map(decoded, new)]), strict=True))
            entries = [looked_up.get(address) or self._remembered[address] for address in addresses]
            self._remember(looked_up)
            return entries

    def _looked_up(self, texts: Sequence[str]) -> list[Entry]:
        """Look up addresses, and except in logs, networks."""
        if self._form.has_networks:
            texts = [str(single_address(text) or text) if "/" in text or "-" in text else text for text in texts]
        entries = list(self._cache.lookup_batch(texts, mode=self._mode))
        if not self._form.has_networks or all(entry.status != "invalid" for entry in entries):
            return entries
        if self._networks is None:
            from geocli.engine.network_lookup import NetworkLookup

            self._networks = NetworkLookup(self._cache)
        return self._networks.with_networks(entries, self._mode)

    def _drop_cleared(self) -> None:
        """Drop the remembered entries if the cache was cleared since."""
        if self._remembered and not self._cache.is_current(self._revision):
            self._remembered.clear()
        self._revision = self._revision if self._remembered else self._cache.revision()

    def _remember(self, entries: Mapping[bytes, Entry]) -> None:
        """Remember entries without an error, and drop the oldest above `MAX_REMEMBERED`."""
        self._remembered |= {address: entry for address, entry in entries.items() if entry.error is None}
        for address in list(islice(self._remembered, max(len(self._remembered) - MAX_REMEMBERED, 0))):
            del self._remembered[address]

    def _lines(self, entries: Sequence[Entry], block: Block, positions: Sequence[int]) -> list[bytes]:
        """Return the lines of entries for the addresses at these positions."""
        ips = None
        if block.stops != block.ends:
            ips = [
                entry.ip + block.suffix(position).decode() for entry, position in zip(entries, positions, strict=True)
            ]
        lines = self._form.output.rows(entries, ips)
        if not block.only_addresses:
            return lines
        return [b"" if entry.status == "invalid" else line for entry, line in zip(entries, lines, strict=True)]

    def find(self, chunk: bytes, table: LookupTable, scalar: Collection[bytes] = ()) -> BlockAnswers:
        """Find the answers to all addresses of a chunk with the kernel.

        Args:
            chunk: whole lines of input.
            table: answers of the local sources.
            scalar: canonical addresses to leave to the scalar path.

        """
        answers = table.find(self._form.cut(chunk, is_large=True))
        if scalar:
            addresses = enumerate(answers.block.addresses())
            answers.set_apart(position for position, address in addresses if address in scalar)
        return answers

    def completed(self, group: Sequence[Rows | BlockAnswers]) -> list[Rows]:
        """Look up what the kernel left of several blocks: together, as a web service takes many addresses at once."""
        singles = [[] if isinstance(block, Rows) else block.singles() for block in group]
        addresses = [
            [] if isinstance(block, Rows) else [block.block.address(position) for position in positions]
            for block, positions in zip(group, singles, strict=True)
        ]
        distinct = list(dict.fromkeys(chain.from_iterable(addresses)))
        entries = self._by_address(distinct)
        return [
            block
            if isinstance(block, Rows)
            else self._completed(block, positions, [entries[address] for address in own])
            for block, positions, own in zip(group, singles, addresses, strict=True)
        ]

    def _completed(self, answers: BlockAnswers, positions: Sequence[int], entries: Sequence[Entry]) -> Rows:
        block = answers.block
        lines = self._lines(entries, block, positions)
        if (selection := self._form.output.selection) is None:
            return Rows(self._assembled(answers, lines), _with_rows(entries, block), positions, answers)
        shown = Shown()
        data = self._selected(
            selection, answers, dict(zip(positions, zip(entries, lines, strict=True), strict=True)), shown
        )
        return Rows(data, _with_rows(entries, block), positions, answers, shown)

    def _selected(
        self, selection: Selection, answers: BlockAnswers, singles: Mapping[int, tuple[Entry, bytes]], shown: Shown
    ) -> Iterator[bytes | memoryview]:
        """Assemble the selected rows of a block; the entries from the scalar path and their lines are given."""
        from geocli.engine.verdicts import Verdicts

        output, block = self._form.output, answers.block
        if self._verdicts is None or self._verdicts.answers is not answers.answers:
            self._verdicts = Verdicts(answers.answers, selection, output.key_fields)
        flags = {position: _is_selected(selection, entry, block) for position, (entry, _) in singles.items()}
        shown.found, positions = answers.selected(self._verdicts, flags)
        shown.entries = _with_rows([singles[position][0] for position in positions], block)
        if output.has_answers:
            yield from self._assembled(shown.found, [singles[position][1] for position in positions])
        else:
            yield from self._assembled(shown.found.without_answers(), [])

    def _assembled(self, answers: BlockAnswers, singles: Sequence[bytes]) -> Iterator[bytes | memoryview]:
        """Assemble the output of a block; the lines from the scalar path are given."""
        from geocli.engine.block_answers import Assembly

        self._out = self._out or bytearray(OUT_BYTES)
        assembly = Assembly(answers, self._form.output, instant_text(self._cache.now()), singles)
        while not assembly.is_complete:
            size = assembly.write(self._out)
            if size or assembly.is_complete:
                yield memoryview(self._out)[:size]
            else:
                self._out = bytearray(2 * len(self._out))
        if answers.block.tail:
            yield answers.block.tail


def _parts(block: Block, lines: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the output of a block in parts of about `OUT_BYTES`."""
    if block.copy_starts is not None:
        lines = [block.copied(position) + line for position, line in enumerate(lines)]
    ends, start = list(accumulate(map(len, lines), initial=0)), 0
    while start < len(lines):
        stop = bisect_left(ends, ends[start] + OUT_BYTES, start)
        yield b"".join(lines[start:stop])
        start = stop
    yield block.tail


def _is_selected(selection: Selection, entry: Entry, block: Block) -> bool:
    return not (block.only_addresses and entry.status == "invalid") and selection.matches(entry)


def _with_rows(entries: Sequence[Entry], block: Block) -> list[Entry]:
    """Drop candidates in text that turned out not to be addresses, which have no rows."""
    return [entry for entry in entries if not (block.only_addresses and entry.status == "invalid")]
