"""Many addresses to the numbers of their answers; each distinct answer is asked for and rendered once.

The table is the DIR-24-8 scheme of Gupta, Lin and McKeown, "Routing Lookups in Hardware at Memory Access Speeds"
(INFOCOM 1998), filled as addresses are met, and without its second level: longer prefixes are walked each time.
"""

from __future__ import annotations

from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from geocli.bulk.database_records import Records
from geocli.bulk.numbering import NO_PREFIX, Numbering
from geocli.bulk.record_reader import RECORD_BYTES
from geocli.bulk.rendered import Rendered, grown
from geocli.bulk.scopes import EMBEDDING, GLOBAL, SCOPES, scopes
from geocli.bulk.tree import NOTHING, Tree
from geocli.errors import DatabaseError
from geocli.merging import merge
from geocli.models import ENGLISH, IANA
from geocli.resolvers.registries import registered
from geocli.timestamps import instant_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geocli.databases.database import Database
    from geocli.formats.rows import Output
    from geocli.models import Answer
    from geocli.resolvers.registries import RirResolver

TABLE_BITS = 24
ONE_BY_ONE = 0
"""The number of what must be looked up by itself."""
WAITING = 1 << 31
"""Marks among the sources of an answer that no database knows where it is."""
UNASKED, ASKED = 0, 1 << 30
"""Stands for an answer that nobody has asked for; is added to the numbers of all others."""
LARGE = 64
"""A prefix that takes more entries of the table is filled in by itself."""
MOST_BYTES = 96 << 20
"""About so much is kept of answers; then it is time to forget them, and to ask again."""


class Answers:
    """What the local sources say of addresses. May be shared by threads."""

    def __init__(  # noqa: PLR0913 (what answers are made of)
        self,
        databases: Sequence[Database],
        rir: RirResolver | None,
        output: Output,
        generation: str = "",
        *,
        is_kept: bool,
        has_services: bool = False,
        language: str = ENGLISH,
    ) -> None:
        """Take those who know, and how answers are rendered.

        Args:
            databases: asked for each record once, in their order.
            rir: asked for addresses of which no database knows where they are.
            output: what lines look like.
            generation: what the answers are fresh for, as `Chain.generation` returns it.
            is_kept: whether answers go to the journal. Then what nobody knows must be looked up by itself,
                since the cache may know it.
            has_services: whether web services are asked for what nobody knows; then, too, it must be.
            language: of names.

        Raises:
            DatabaseError: a database cannot be mapped.

        """
        self.generation = generation
        self._databases, self._rir, self._is_kept, self._has_services = databases, rir, is_kept, has_services
        self._trees = [Tree.of(database) for database in databases]
        with_traits = is_kept or "traits" in output.fields
        self._records = Records(databases, output, with_values=is_kept, with_traits=with_traits, language=language)
        self._table = np.zeros(1 << TABLE_BITS, np.int32)
        self._numberings = [Numbering() for _ in databases]
        """Each numbers the pairs of what the one before it numbers, at first the scopes, and a record of a database."""
        self._numbers = np.full(EMBEDDING + 1, UNASKED, np.int32)
        """The numbers of answers by what the last of these numbers, with `ASKED`."""
        self._waiting: dict[int, Answer | None] = {}
        """What the databases know of answers for which the registries are to be asked, by number."""
        self._by_country: dict[tuple[int, str | None], int] = {}
        self._lock = Lock()
        self.rendered = Rendered(output, is_kept=is_kept)

    @property
    def is_full(self) -> bool:
        """Whether so much is kept that it is time to begin anew."""
        kept_bytes = self.rendered.size_bytes + self._records.size_bytes + len(self._waiting) * RECORD_BYTES
        return kept_bytes > MOST_BYTES

    def find(self, addresses: NDArray[np.unsignedinteger], texts: Sequence[bytes]) -> NDArray[np.int32]:
        """Return the answers of addresses, each as its number times 256, plus the length of the prefix it holds for.

        The number is `ONE_BY_ONE` where an address must be looked up by itself, else one of `rendered`; the
        length is `NO_PREFIX` where an answer names no prefix.

        Args:
            addresses: as `Tree.walk` takes them.
            texts: the same in canonical text.

        """
        if addresses.ndim > 1:
            found = self._walk(addresses, texts, np.arange(len(texts)))
        else:
            found = self._table[addresses >> (32 - TABLE_BITS)]
            new = np.flatnonzero(found == 0)
            if len(new):
                found[new] = self._walk(addresses[new], texts, new)
        if self._waiting and self._rir:
            waiting = np.flatnonzero(self.rendered.sources[found >> 8] & WAITING)
            if len(waiting):
                found[waiting] = self._by_registry(self._rir, found[waiting], [texts[at] for at in waiting.tolist()])
        return found

    def _walk(
        self, addresses: NDArray[np.unsignedinteger], texts: Sequence[bytes], places: NDArray[np.intp]
    ) -> NDArray[np.int32]:
        """Find the records of addresses, whose texts have these places, and the numbers of what they say.

        Those are entered in the table, by several threads perhaps, which say the same.
        """
        kinds, width = scopes(addresses)
        columns, lengths = [], [width]
        try:
            for tree, database in zip(self._trees, self._databases, strict=True):
                if database.only_ipv4 and addresses.ndim > 1:
                    offsets, length = np.zeros(len(addresses), np.int64), np.zeros(len(addresses), np.uint8)
                else:
                    offsets, length = tree.walk(addresses)
                columns.append(np.where(kinds == EMBEDDING, NOTHING, offsets).astype(np.uint32))
                lengths.append(length)
        except DatabaseError:  # whoever looks them up one by one hears of it
            return np.full(len(addresses), ONE_BY_ONE << 8 | NO_PREFIX, np.int32)
        keys = np.stack([kinds, *columns])
        numbers = self._known(keys)
        new = np.flatnonzero(numbers == UNASKED)
        if len(new):
            with self._lock:
                numbers[new] = self._new(keys[:, new], texts, places[new])
        numbers ^= ASKED
        found = numbers << 8 | self._prefixes(numbers, lengths[1:])
        if addresses.ndim == 1:
            self._fill(addresses, np.maximum.reduce(lengths), found)
        return found

    def _known(self, keys: NDArray[np.uint32]) -> NDArray[np.int32]:
        """Return the numbers of answers with `ASKED`; what others add meanwhile may be missing.

        Args:
            keys: scopes, then the offsets of records by database, with shape (1 + databases, n).

        """
        names = keys[0].astype(np.int64)
        for numbering, offsets in zip(self._numberings, keys[1:], strict=True):
            names = numbering.get(names.astype(np.uint64) << np.uint64(32) | offsets)
        numbers = self._numbers
        is_known = (names >= 0) & (names < len(numbers))
        return np.where(is_known, numbers[names * is_known], UNASKED)

    def _new(self, keys: NDArray[np.uint32], texts: Sequence[bytes], places: NDArray[np.intp]) -> NDArray[np.int32]:
        """Return the same for answers that may have to be asked for first; the caller holds the lock."""
        names = keys[0].astype(np.int64)
        for numbering, offsets in zip(self._numberings, keys[1:], strict=True):
            names = numbering.dense(names.astype(np.uint64) << np.uint64(32) | offsets)
        most = int(names.max()) + 1
        if most > len(self._numbers):
            self._numbers = grown(self._numbers, most)
        new = np.flatnonzero(self._numbers[names] == UNASKED)
        if len(new):
            distinct, first = np.unique(names[new], return_index=True)
            at = new[first]
            asked = self._asked(keys[0, at], keys[1:, at].T, texts, places[at])
            self._numbers[distinct] = asked
        numbers: NDArray[np.int32] = self._numbers[names]
        return numbers

    def _asked(
        self, kinds: NDArray[np.uint32], offsets: NDArray[np.uint32], texts: Sequence[bytes], places: NDArray[np.intp]
    ) -> NDArray[np.int32]:
        """Ask for new answers, and give them numbers; the caller holds the lock."""
        found = np.full(len(kinds), ONE_BY_ONE, np.int32)
        for kind in set(kinds.tolist()):
            which = np.flatnonzero(kinds == kind)
            if kind == EMBEDDING:
                continue
            recorded = self._recorded if kind == GLOBAL else partial(self._special, SCOPES[kind])
            found[which] = recorded(offsets[which], [texts[place].decode() for place in places[which]])
        return found | ASKED

    def _special(self, scope: str, offsets: NDArray[np.uint32], texts: Sequence[str]) -> NDArray[np.int32]:
        """Give numbers to special addresses of a scope, with what databases know; the caller holds the lock."""
        found = np.full(len(offsets), ONE_BY_ONE, np.int32)  # a damaged record stays: the scalar path reports it
        for merged in self._records.merged(offsets.T.tolist(), texts):
            count = len(merged.positions)
            values = {
                "source": [IANA] * count,
                **merged.values,
                "status": ["special"] * count,
                "scope": [scope] * count,
            }
            sources = np.full(count, merged.recipe.sources if merged.recipe.answer else 0, np.uint32)
            found[merged.positions] = self.rendered.add(values, sources, merged.cells)
        return found

    def _recorded(self, offsets: NDArray[np.uint32], texts: Sequence[str]) -> NDArray[np.int32]:
        """Give numbers to the answers of the databases; the caller holds the lock."""
        found = np.full(len(offsets), ONE_BY_ONE, np.int32)  # as above
        for merged in self._records.merged(offsets.T.tolist(), texts):
            answer, sources = merged.recipe.answer, merged.recipe.sources
            if answer is None:
                found[merged.positions] = self._numbered([(None, sources | (WAITING if self._rir else 0))])
                continue
            if not answer.knows_where:
                if self._rir:
                    sources |= WAITING
                elif self._has_services:
                    continue
            count = len(merged.positions)
            numbers = self.rendered.add(merged.values, np.full(count, sources, np.uint32), merged.cells)
            found[merged.positions] = numbers
            if sources & WAITING:
                self._waiting |= zip(numbers, merged.answers(), strict=True)
        return found

    def _numbered(self, answers: Sequence[tuple[Answer | None, int]]) -> list[int]:
        """Give numbers to answers, which come with their sources; the caller holds the lock."""
        numbers = []
        for answer, sources in answers:
            if not self._is_final(answer, sources):
                numbers.append(ONE_BY_ONE)
                continue
            (number,) = self.rendered.add(_values(answer), np.array([sources], np.uint32))
            numbers.append(number)
            if sources & WAITING:
                self._waiting[number] = answer
        return numbers

    def _is_final(self, answer: Answer | None, sources: int) -> bool:
        """Return whether neither the cache nor a service may have a better answer."""
        if sources & WAITING:
            return True
        if self._has_services:
            return answer is not None and answer.knows_where
        return answer is not None or not self._is_kept

    def _prefixes(self, numbers: NDArray[np.int32], lengths: Sequence[NDArray[np.uint8]]) -> NDArray[np.int32]:
        """Return the length of the prefix that each answer holds for: the longest of those it is from."""
        sources = self.rendered.sources[numbers]
        longest = np.full(len(numbers), -1, np.int32)
        for bit, length in enumerate(lengths):
            longest = np.where(sources >> bit & 1, np.maximum(longest, length), longest)
        return np.where(longest < 0, NO_PREFIX, longest)

    def _fill(self, addresses: NDArray[np.uint32], widths: NDArray[np.uint8], found: NDArray[np.int32]) -> None:
        """Enter answers for the whole prefixes that they hold for."""
        short = np.flatnonzero(widths <= TABLE_BITS)
        counts = 1 << (TABLE_BITS - widths[short].astype(np.int64))
        starts = (addresses[short] >> (32 - TABLE_BITS)).astype(np.int64) & -counts
        order = np.sort(starts << 32 | np.arange(len(short)))  # faster than np.unique, which returns no index faster
        is_first = np.diff(order >> 32, prepend=-1) != 0
        first = order[is_first] & 0xFFFFFFFF
        starts, counts, values = starts[first], counts[first], found[short[first]]
        for at in np.flatnonzero(counts > LARGE).tolist():
            self._table[starts[at] : starts[at] + counts[at]] = values[at]
        small = counts <= LARGE
        starts, counts, values = starts[small], counts[small], values[small]
        before = np.cumsum(counts) - counts
        self._table[np.repeat(starts - before, counts) + np.arange(counts.sum())] = np.repeat(values, counts)

    def _by_registry(self, rir: RirResolver, found: NDArray[np.int32], texts: Sequence[bytes]) -> NDArray[np.int32]:
        """Ask the registries where addresses are that no database knows."""
        codes = rir.codes([text.decode() for text in texts])
        pairs = list(zip((found >> 8).tolist(), codes, strict=True))
        with self._lock:
            if new := set(pairs) - self._by_country.keys():
                self._by_country |= zip(new, self._numbered([self._registered(*pair) for pair in new]), strict=True)
            numbers = np.array(list(map(self._by_country.__getitem__, pairs)), np.int32)
        return numbers << 8 | np.where(self.rendered.sources[numbers], found & 0xFF, NO_PREFIX)

    def _registered(self, number: int, code: str | None) -> tuple[Answer | None, int]:
        """Merge an answer of the databases with the country of registration."""
        answer, sources = self._waiting[number], int(self.rendered.sources[number]) & ~WAITING
        if code is None:
            return answer, sources
        country = registered(code)
        return (country, 0) if answer is None else (merge(answer, country), sources)


def _values(answer: Answer | None) -> dict[str, list[Any]]:
    """Return the fields of one answer, as columns."""
    if answer is None:
        return {"status": ["unresolved"]}
    built_at = {"built_at": [instant_text(answer.built_at)]} if answer.built_at else {}
    fields = {name: [value] for name, value in vars(answer.place).items()}
    return {"status": ["resolved"], **fields, "source": [answer.source], **built_at}
