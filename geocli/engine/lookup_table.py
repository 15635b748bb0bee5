"""Look up addresses in a table of numbered answers, so that each distinct answer is resolved and rendered once.

The table is the DIR-24-8 scheme of Gupta, Lin and McKeown, "Routing Lookups in Hardware at Memory Access Speeds"
(INFOCOM 1998), with 20 bits and without its second level. It is filled on demand; for longer prefixes the tree is
walked each time. A number stands for a scope and one record of each database, which determine the answer.
"""

from __future__ import annotations

from ctypes import byref
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from geocli.addresses import network_length, parse
from geocli.engine import kernel as native
from geocli.engine.block_answers import BlockAnswers
from geocli.engine.blocks import zeros
from geocli.engine.database_records import Records, unmerged
from geocli.engine.kernel import (
    IS_SINGLE,
    NEEDS_REGISTRY,
    NEW,
    NO_PREFIX,
    RENDERED,
    SINGLE,
    address_of,
)
from geocli.engine.numbered_answers import NumberedAnswers
from geocli.engine.search_tree import SearchTree
from geocli.engine.special_ranges import GLOBAL, SCOPES
from geocli.errors import AddressError
from geocli.merging import merge
from geocli.models import ENGLISH, IANA
from geocli.resolvers.registries import registered
from geocli.sanitize import decoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geocli.databases.database import Database
    from geocli.engine.blocks import Block
    from geocli.engine.database_records import Merged
    from geocli.formats.rows import Output
    from geocli.models import Answer
    from geocli.resolvers.registries import RirResolver

FULL_RECORD_BYTES = 96 << 20
"""Total size of the records in memory at which a table counts as full."""


class LookupTable:
    """Answers of the local sources. Thread-safe.

    Attributes:
        answers: the answers so far, by number.

    """

    def __init__(  # noqa: PLR0913 (all that determines an answer)
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
        """Map the databases.

        Args:
            databases: databases in order of precedence; each record is read once.
            rir: registries for addresses without a place in the databases.
            output: output format.
            generation: generation of the answers, as `Chain.generation` returns it.
            is_kept: whether answers are appended to the journal. If so, the scalar path looks up addresses without an
                answer, since the cache may have one.
            has_services: whether there are web services. If so, it looks up addresses without a place, too.
            language: language of names.

        Raises:
            DatabaseError: a database cannot be mapped.

        """
        self._rir, self._is_kept, self._has_services = rir, is_kept, has_services
        trees = [SearchTree(database) for database in databases]
        has_trait_keys = any(name.startswith("traits") for name in output.key_fields)
        with_traits = is_kept or has_trait_keys or "traits" in output.fields
        wanted = {"with_values": is_kept, "with_traits": with_traits}
        self._records = Records(trees, output, language=language, **wanted)
        self.answers = NumberedAnswers(trees, output, generation, is_kept=is_kept)
        self._width, self._kernel, self._lock = len(trees), native.kernel(), Lock()
        self._without_place: dict[int, Answer | None] = {}
        """Answers of the databases without a place, by number, for which the registries are asked."""
        self._by_country: dict[tuple[int, str | None], int] = {}

    @property
    def is_full(self) -> bool:
        """Whether a new table should replace this one."""
        return self.answers.is_full or self._records.size_bytes > FULL_RECORD_BYTES

    def find(self, block: Block) -> BlockAnswers:
        """Find the answers to the addresses of a block, which are rewritten in canonical form."""
        found = BlockAnswers(self.answers, block)
        self._find(found)
        if found.native.unread:
            self._parse(found)
        if self._rir and found.native.unregistered:
            self._ask_registries(self._rir, found)
        return found

    def _find(self, found: BlockAnswers) -> None:
        while missing := self._kernel.find(byref(self.answers.engine), byref(found.native)):
            with self._lock:
                self._add(found, missing)

    def _parse(self, found: BlockAnswers) -> None:
        """Parse the addresses that the kernel could not; leave those that are invalid to the scalar path."""
        unread = found.positions(NEW)
        if with_notes := found.block.drop_notes(unread):
            self._find(found)
            unread = found.positions(NEW)
        texts = {text: _canonical(text) for text in set(map(found.block.address, unread))}
        found.rewrite(
            {
                position: canonical + _suffix(found.block, position)
                for position in unread
                if (canonical := texts[found.block.address(position)]) is not None
            }
        )
        self._find(found)
        if found.native.unread:
            for position in found.positions(NEW):
                found.numbers[position] = SINGLE
                if position in with_notes:
                    found.block.set_span(position, with_notes[position])
            self._find(found)

    def _add(self, found: BlockAnswers, missing: int) -> None:
        """Read and render the missing answers; the caller holds the lock."""
        width, first = self._width, self.answers.engine.next_number
        positions, scopes, offsets = zeros(missing), zeros(missing), zeros(missing * width)
        pointers = map(address_of, (positions, scopes, offsets))
        count = self._kernel.add(byref(self.answers.engine), byref(found.native), *pointers)
        # Damaged records keep this state: the scalar path reports them.
        states = bytearray([IS_SINGLE]) * count
        try:
            columns = [offsets[number : count * width : width].tolist() for number in range(width)]
            for scope in set(scopes[:count]):
                rows: Sequence[int] = range(count)
                if scopes.count(scope) < missing:
                    rows = [row for row in rows if scopes[row] == scope]
                own = [list(map(column.__getitem__, rows)) for column in columns]
                address = partial(_address, found.block, positions, rows)
                for merged in self._records.merged(own, len(rows), address):
                    added = [rows[position] for position in merged.positions]
                    state = self._answer(scope, merged, [first + row for row in added])
                    for row in added:
                        states[row] = state
        finally:
            self.answers.settle(range(first, first + count), states)

    def _answer(self, scope: int, merged: Merged, numbers: Sequence[int]) -> int:
        """Render answers of the databases to addresses of one scope, and return their state."""
        answer, sources, count = merged.recipe.answer, merged.recipe.sources, len(numbers)
        if scope != GLOBAL:
            special: dict[str, Sequence[Any]] = {"status": ["special"] * count, "scope": [SCOPES[scope]] * count}
            values = {"source": [IANA] * count, **merged.values, **special}
            return self.answers.render(numbers, merged._replace(values=values), sources if answer else 0)
        if answer is not None and answer.knows_where:
            return self.answers.render(numbers, merged, sources)
        if self._rir:
            answers = merged.answers() if answer else [None] * count
            self._without_place |= zip(numbers, answers, strict=True)
            self.answers.note_sources(numbers, sources)
            return NEEDS_REGISTRY
        if not self._is_final(answer):
            return IS_SINGLE
        if answer is None:
            merged = merged._replace(values={"status": ["unresolved"] * count})
        return self.answers.render(numbers, merged, sources)

    def _is_final(self, answer: Answer | None) -> bool:
        """Return whether neither the cache nor a web service can have a better answer."""
        if self._has_services:
            return answer is not None and answer.knows_where
        return answer is not None or not self._is_kept

    def _ask_registries(self, rir: RirResolver, found: BlockAnswers) -> None:
        """Complete the answers without a place by the countries of registration."""
        positions = found.positions(NEEDS_REGISTRY)
        codes = rir.codes([found.block.address(position).decode() for position in positions])
        pairs = [(found.numbers[position], code) for position, code in zip(positions, codes, strict=True)]
        with self._lock:
            for number, code in set(pairs) - self._by_country.keys():
                self._by_country[number, code] = self._registered(number, code)
        for position, pair in zip(positions, pairs, strict=True):
            number = found.numbers[position] = self._by_country[pair]
            if not self.answers.sources(number):
                found.prefixes[position] = NO_PREFIX

    def _registered(self, placeless: int, code: str | None) -> int:
        """Return the number of an answer with a country of registration added; the caller holds the lock."""
        answer, sources = self._without_place[placeless], self.answers.sources(placeless)
        if code is not None:
            country = registered(code)
            answer, sources = (country, 0) if answer is None else (merge(answer, country), sources)
        if not self._is_final(answer) or (number := self.answers.next_number()) is None:
            return SINGLE
        state = self.answers.render([number], unmerged(answer), sources)
        self.answers.settle([number], bytearray([state]))
        return number if state == RENDERED else SINGLE


def _address(block: Block, positions: Sequence[int], rows: Sequence[int], index: int) -> str:
    return block.address(positions[rows[index]]).decode()


def _canonical(text: bytes) -> bytes | None:
    """Return an address in canonical form; None if it is invalid."""
    try:
        return str(parse(decoded(text))).encode()
    except AddressError:
        return None


def _suffix(block: Block, position: int) -> bytes:
    """Return the prefix length after an address, with its slash, as it applies to the canonical form."""
    suffix = block.suffix(position)
    length = network_length(block.address(position), int(suffix[1:])) if suffix else None
    return b"" if length is None else b"/%d" % length
