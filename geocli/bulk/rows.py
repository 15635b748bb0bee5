"""Blocks of texts to the rows of their answers: many at once with numpy, or one by one."""

from __future__ import annotations

from _thread import allocate_lock  # as in the cache
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from geocli.bulk.labels import adjust
from geocli.bulk.numbering import NO_PREFIX
from geocli.sanitize import decoded
from geocli.timestamps import instant_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from geocli.api_arguments import Mode
    from geocli.bulk.answers import Answers
    from geocli.bulk.forms import Block, Form
    from geocli.bulk.parsing import Parsed
    from geocli.cache import GeoCache
    from geocli.models import Entry


MOST_JOINED_BYTES = 16 << 20
"""So much of what is written is put together at a time; usually all of a block is less."""
MOST_REMEMBERED = 50_000
"""So many entries are remembered, in about 50 MB."""


class Found(NamedTuple):
    """What the addresses of a block were found to be."""

    answers: Answers
    """Knows the answers by their numbers."""
    cells: NDArray[np.int32]
    """As `Answers.find` returns them, for each text; number 0 for what was looked up by itself."""
    parsed: Parsed | None
    """The texts as addresses; None if nothing is to be kept."""

    @property
    def numbers(self) -> NDArray[np.int32]:
        """The number of each text's answer."""
        return self.cells >> 8


class Rows(NamedTuple):
    """What a block came to."""

    data: Iterator[bytes]
    """What is to be written, once, in parts that are put together when they are asked for."""
    entries: Sequence[Entry] = ()
    """Of what was looked up one by one."""
    found: Found | None = None
    """All else."""

    def labels(self) -> Counter[str]:
        """Count the rows by the code of their country, else by their status."""
        counts = Counter(entry.place.country_code or entry.status for entry in self.entries)
        if self.found is not None:
            import numpy as np

            numbers, times = np.unique(self.found.numbers, return_counts=True)
            for number, count in zip(numbers.tolist(), times.tolist(), strict=True):
                if number:  # else it is among the entries
                    counts[self.found.answers.rendered.labels[number]] += count
        return counts


class Pieces(NamedTuple):
    """Rows that lack the answers of what must be looked up by itself."""

    block: Block
    """What was asked for."""
    columns: list[list[bytes]]
    """What the other lines are made of."""
    found: Found
    """What the other addresses were found to be."""
    single: list[int]
    """The places of the texts that are to be looked up."""

    @property
    def texts(self) -> list[bytes]:
        """The texts that are to be looked up."""
        return [self.block.texts[at] for at in self.single]


class RowMaker:
    """Makes rows of blocks. May be shared by threads."""

    def __init__(self, cache: GeoCache, mode: Mode, form: Form) -> None:
        """Take who is asked one by one, where answers come from, and how blocks are cut and lines are written."""
        self._cache, self._mode, self._form = cache, mode, form
        self._lock = allocate_lock()
        self._remembered: dict[bytes, Entry] = {}
        self._revision = 0
        """As of which clear answers are remembered."""

    def one_by_one(self, chunk: bytes) -> Rows:
        """Look each text up by itself; what is new is on disk when this returns."""
        block = self._form.cut(chunk)
        distinct = list(dict.fromkeys(block.texts))
        asked = dict(zip(distinct, self._asked(distinct), strict=True))
        entries = [asked[text] for text in block.texts]
        lines = [self._line(entry, block, at) for at, entry in enumerate(entries)]
        return Rows(self._joined(block, [lines], max(map(len, lines), default=0)), _shown(entries, block))

    def _asked(self, texts: Sequence[bytes]) -> list[Entry]:
        """Look texts up one by one; in one thread at a time, so that none is asked for and kept twice.

        Where the cache would not be asked, what web services said is remembered, or a text that comes again would
        cost another request.
        """
        with self._lock:
            is_remembering = self._cache.chain.services and self._mode in {"refresh", "no-cache"}
            if is_remembering and self._mode == "refresh":  # else the cache, if it is read, sees to this
                if self._remembered and not self._cache.is_current(self._revision):
                    self._remembered.clear()
                self._revision = self._revision if self._remembered else self._cache.revision()
            new = [text for text in texts if text not in self._remembered]
            found = dict(zip(new, self._cache.lookup_batch(map(decoded, new), mode=self._mode), strict=True))
            entries = [found.get(text) or self._remembered[text] for text in texts]
            if is_remembering:
                self._remembered |= {text: entry for text, entry in found.items() if entry.error is None}
                for text in list(islice(self._remembered, max(len(self._remembered) - MOST_REMEMBERED, 0))):
                    del self._remembered[text]
            return entries

    def _line(self, entry: Entry, block: Block, at: int) -> bytes:
        """Return the line of a text that has been looked up by itself."""
        if block.only_addresses and entry.status == "invalid":
            return b""
        return self._form.output.row(entry, block.prefixes.get(at, ""))

    @staticmethod
    def _joined(block: Block, columns: Sequence[list[bytes]], longest: int) -> Iterator[bytes]:
        """Return what is written: for each text what goes before it, then its part of each column.

        No piece of a column is longer than `longest`, which bounds how much is put together at a time.
        """
        if block.places is not None:
            adjust(block.places, columns)
        columns = [column for column in (block.before, block.padding, *columns) if column is not None]
        pieces: list[bytes] = [b""] * (len(block.texts) * len(columns) + 1)
        for number, column in enumerate(columns):
            pieces[number : -1 : len(columns)] = column
        pieces[-1] = block.after
        step = max(MOST_JOINED_BYTES // max(longest, block.padding_bytes, 1), 1)
        if step >= len(pieces):
            return iter((b"".join(pieces),))
        return (b"".join(pieces[start : start + step]) for start in range(0, len(pieces), step))

    def together(self, chunk: bytes, answers: Answers, held: Collection[bytes] = ()) -> Rows | Pieces:
        """Look all texts up together; what is new is returned, to be kept before the rows are written.

        Args:
            chunk: as it was read.
            answers: what the local sources know.
            held: canonical addresses that are looked up by themselves, since the cache knows better.

        """
        import numpy as np

        from geocli.bulk.parsing import Parsed

        block = self._form.cut(chunk)
        if not block.texts:
            return Rows(iter((block.after,)))
        parsed = Parsed(block.texts, block.joined)
        cells = np.full(len(block.texts), NO_PREFIX, np.int32)
        for places, numbers, texts in parsed.families():
            numbered = answers.find(numbers, texts)
            if held:
                numbered[[at for at, text in enumerate(texts) if text in held]] = NO_PREFIX
            cells[places] = numbered
        found = Found(answers, cells, parsed)
        columns = self._columns(found, parsed, block.prefixes)
        if self._mode == "no-cache":
            found = found._replace(parsed=None)
        if single := np.flatnonzero(found.numbers == 0).tolist():
            return Pieces(block, columns, found, single)
        return Rows(self._joined(block, columns, answers.rendered.longest), found=found)

    def completed(self, group: Sequence[Rows | Pieces]) -> list[Rows]:
        """Look up what is left of several blocks, all of it together: a web service takes many addresses at once."""
        odd = list(dict.fromkeys(text for rows in group if isinstance(rows, Pieces) for text in rows.texts))
        entries = dict(zip(odd, self._asked(odd), strict=True))
        return [self._completed(rows, entries) if isinstance(rows, Pieces) else rows for rows in group]

    def _completed(self, pieces: Pieces, entries: Mapping[bytes, Entry]) -> Rows:
        texts = pieces.texts
        prefixes = pieces.block.prefixes
        lines: dict[tuple[bytes, str], bytes] = {}
        for at, text in zip(pieces.single, texts, strict=True):
            for column in pieces.columns:
                column[at] = b""
            key = text, prefixes.get(at, "")
            if key not in lines:
                lines[key] = self._line(entries[text], pieces.block, at)
            pieces.columns[-1][at] = lines[key]
        longest = max(pieces.found.answers.rendered.longest, *map(len, lines.values()))
        data = self._joined(pieces.block, pieces.columns, longest)
        return Rows(data, _shown([entries[text] for text in texts], pieces.block), pieces.found)

    def _columns(self, found: Found, parsed: Parsed, prefixes: Mapping[int, str]) -> list[list[bytes]]:
        """Return what lines are made of, column by column."""
        rendered, numbers = found.answers.rendered, found.numbers
        first, *others = (column[numbers].tolist() for column in rendered.segments)
        columns = [] if rendered.begins_blank and others else [first]
        for name, segments in zip(rendered.variable, others, strict=True):
            columns += [self._varying(name, found.cells, parsed), segments]
            if name == "ip":
                for at, prefix in prefixes.items():
                    columns[-2][at] += prefix.encode()
        return columns

    def _varying(self, name: str, cells: NDArray[np.int32], parsed: Parsed) -> list[bytes]:
        """Return the texts of a field that differs from address to address."""
        if name == "ip":
            return list(parsed.texts)
        if name == "resolved_at":
            return [instant_text(self._cache.now()).encode()] * len(parsed.texts)
        quote, nothing = (b'"', b"null") if self._form.output.is_json else (b"", self._form.output.blank.encode())
        lengths = cells & NO_PREFIX
        return [
            nothing if length == NO_PREFIX else b"%b%b%b" % (quote, network, quote)
            for network, length in zip(parsed.networks(lengths), lengths.tolist(), strict=True)
        ]


def _shown(entries: Sequence[Entry], block: Block) -> list[Entry]:
    """Return those that have rows: not what only looked like an address."""
    return [entry for entry in entries if not (block.only_addresses and entry.status == "invalid")]
