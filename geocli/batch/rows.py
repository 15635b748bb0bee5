"""Blocks to the rows of their answers: by the kernel, or looked up one by one."""

from __future__ import annotations

from _thread import allocate_lock  # as in the cache
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from geocli.addresses import network_length
from geocli.batch.labels import adjust
from geocli.sanitize import decoded
from geocli.timestamps import instant_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from geocli.api_arguments import Mode
    from geocli.batch.input_formats import Form
    from geocli.cache import GeoCache
    from geocli.engine.block_answers import BlockAnswers
    from geocli.engine.blocks import Block
    from geocli.engine.lookup_table import LookupTable
    from geocli.models import Entry

OUT_BYTES = 1 << 20
"""Rows are put together in parts of about this size."""
MAX_REMEMBERED = 50_000
"""Entries that are remembered, in about 50 MB."""


class Rows(NamedTuple):
    """The rows of a block."""

    data: Iterator[bytes | memoryview]
    """What is to be written, in parts; each is valid until the next one is asked for."""
    entries: Sequence[Entry] = ()
    """Of what was looked up one by one."""
    found: BlockAnswers | None = None
    """All else."""

    def labels(self) -> Counter[str]:
        """Count the rows by the code of their country, else by their status."""
        counts = Counter(entry.place.country_code or entry.status for entry in self.entries)
        if self.found is not None:
            counts += self.found.answers.counts(self.found.numbers)
        return counts


class RowMaker:
    """Makes rows of chunks. May be shared by threads."""

    def __init__(self, cache: GeoCache, mode: Mode, form: Form) -> None:
        """Take who is asked one by one, where answers come from, and how chunks are cut and lines are written."""
        self._cache, self._mode, self._form = cache, mode, form
        self._lock = allocate_lock()
        self._remembered: dict[bytes, Entry] = {}
        self._revision = 0
        """As of which clear answers are remembered."""
        self._out = bytearray()

    def one_by_one(self, chunk: bytes) -> Rows:
        """Look each address up by itself; what is new is on disk when this returns."""
        block = self._form.cut(chunk)
        texts = block.addresses()
        distinct = list(dict.fromkeys(texts))
        asked = dict(zip(distinct, self._asked(distinct), strict=True))
        entries = [asked[text] for text in texts]
        lines = [self._line(entry, block, position) for position, entry in enumerate(entries)]
        if block.is_labelled:
            adjust(block, lines)
        return Rows(_parts(block, lines), _shown(entries, block))

    def _asked(self, texts: Sequence[bytes]) -> list[Entry]:
        """Look texts up one by one; in one thread at a time, so that none is asked for and kept twice.

        Where the cache would not be asked, what web services said is remembered, or a text that comes again would
        cost another request.
        """
        with self._lock:
            is_remembering = self._cache.chain.services and self._mode in {"refresh", "no-cache"}
            if is_remembering and self._mode == "refresh":  # in other modes the cache is not read, or drops them itself
                self._drop_cleared()
            new = [text for text in texts if text not in self._remembered]
            found = dict(zip(new, self._cache.lookup_batch(map(decoded, new), mode=self._mode), strict=True))
            entries = [found.get(text) or self._remembered[text] for text in texts]
            if is_remembering:
                self._remember(found)
            return entries

    def _drop_cleared(self) -> None:
        """Drop remembered entries if the cache was cleared since."""
        if self._remembered and not self._cache.is_current(self._revision):
            self._remembered.clear()
        self._revision = self._revision if self._remembered else self._cache.revision()

    def _remember(self, entries: Mapping[bytes, Entry]) -> None:
        """Remember entries without an error, and drop the oldest if they are too many."""
        self._remembered |= {text: entry for text, entry in entries.items() if entry.error is None}
        for text in list(islice(self._remembered, max(len(self._remembered) - MAX_REMEMBERED, 0))):
            del self._remembered[text]

    def _line(self, entry: Entry, block: Block, position: int) -> bytes:
        if block.only_addresses and entry.status == "invalid":
            return b""
        suffix = block.suffix(position)
        length = network_length(block.address(position), int(suffix[1:])) if suffix else None
        return self._form.output.row(entry, "" if length is None else f"/{length}")

    def find(self, chunk: bytes, table: LookupTable, held: Collection[bytes] = ()) -> BlockAnswers:
        """Find the answers of all addresses of a chunk.

        Args:
            chunk: as it was read.
            table: the answers of the local sources.
            held: canonical addresses that are looked up by themselves, since the cache knows better.

        """
        found = table.find(self._form.cut(chunk, is_large=True))
        if held:
            found.set_apart(position for position, text in enumerate(found.block.addresses()) if text in held)
        return found

    def completed(self, group: Sequence[Rows | BlockAnswers]) -> list[Rows]:
        """Look up what is left of several blocks, all of it together: a web service takes many addresses at once."""
        singles = [[] if isinstance(rows, Rows) else rows.singles() for rows in group]
        texts = [
            [] if isinstance(rows, Rows) else [rows.block.address(position) for position in positions]
            for rows, positions in zip(group, singles, strict=True)
        ]
        distinct = list(dict.fromkeys(text for block_texts in texts for text in block_texts))
        entries = dict(zip(distinct, self._asked(distinct), strict=True)) if distinct else {}
        return [
            rows
            if isinstance(rows, Rows)
            else self._completed(rows, positions, [entries[text] for text in block_texts])
            for rows, positions, block_texts in zip(group, singles, texts, strict=True)
        ]

    def _completed(self, found: BlockAnswers, positions: Sequence[int], entries: Sequence[Entry]) -> Rows:
        block = found.block
        lines = [self._line(entry, block, position) for entry, position in zip(entries, positions, strict=True)]
        return Rows(self._assembled(found, lines), _shown(entries, block), found)

    def _assembled(self, found: BlockAnswers, singles: Sequence[bytes]) -> Iterator[bytes | memoryview]:
        """Put lines together; those of addresses that were looked up by themselves are given."""
        if not self._out:
            self._out = bytearray(OUT_BYTES)
        assembly = found.assembly(self._form.output, instant_text(self._cache.now()), singles)
        while not assembly.is_complete:
            size = assembly.write(self._out)
            if size or assembly.is_complete:
                yield memoryview(self._out)[:size]
            else:
                self._out = bytearray(2 * len(self._out))
        if found.block.tail:
            yield found.block.tail


def _parts(block: Block, lines: Sequence[bytes]) -> Iterator[bytes]:
    """Return what is written, in parts of about `OUT_BYTES`."""
    pieces: list[bytes] = []
    size = 0
    for position, line in enumerate(lines):
        copied = block.copied(position)
        pieces += copied, line
        size += len(copied) + len(line)
        if size >= OUT_BYTES:
            yield b"".join(pieces)
            pieces, size = [], 0
    yield b"".join([*pieces, block.tail])


def _shown(entries: Sequence[Entry], block: Block) -> list[Entry]:
    """Return the entries that have rows: not what only looked like an address."""
    return [entry for entry in entries if not (block.only_addresses and entry.status == "invalid")]
