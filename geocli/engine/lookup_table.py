"""Addresses to the numbers of their answers; each distinct answer is asked for and rendered once.

The table is the DIR-24-8 scheme of Gupta, Lin and McKeown, "Routing Lookups in Hardware at Memory Access Speeds"
(INFOCOM 1998), with 20 bits, filled as addresses are met, and without its second level: longer prefixes are walked
each time. A number stands for a scope and a record of each database, which together make the answer.
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
"""Size of the values in memory at which a table counts as full."""


class LookupTable:
    """Answers of the local sources. May be shared by threads.

    Attributes:
        answers: all answers so far, by number.

    """

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
        """Map the databases.

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
        self._rir, self._is_kept, self._has_services = rir, is_kept, has_services
        trees = [SearchTree(database) for database in databases]
        with_traits = is_kept or "traits" in output.fields
        wanted = {"with_values": is_kept, "with_traits": with_traits}
        self._records = Records(trees, output, language=language, **wanted)
        self.answers = NumberedAnswers(trees, output, generation, is_kept=is_kept)
        self._width, self._kernel, self._lock = len(trees), native.kernel(), Lock()
        self._waiting: dict[int, Answer | None] = {}
        """Answers of the databases without a place, by number: the registries are asked for these."""
        self._by_country: dict[tuple[int, str | None], int] = {}

    @property
    def is_full(self) -> bool:
        """Whether it is time for a new table."""
        return self.answers.is_full or self._records.size_bytes > FULL_RECORD_BYTES

    def find(self, block: Block) -> BlockAnswers:
        """Find the answers of the addresses of a block; those not in canonical form are written so."""
        found = BlockAnswers(self.answers, block)
        self._find(found)
        if found.native.unread:
            self._read(found)
        if self._rir and found.native.unregistered:
            self._ask_registries(self._rir, found)
        return found

    def _find(self, found: BlockAnswers) -> None:
        while missing := self._kernel.find(byref(self.answers.engine), byref(found.native)):
            with self._lock:
                self._add(found, missing)

    def _read(self, found: BlockAnswers) -> None:
        """Read addresses as a lookup does where the kernel could not; what is none is looked up by itself."""
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
            self._find(found)

    def _add(self, found: BlockAnswers, missing: int) -> None:
        """Ask for the answers that are missing; the caller holds the lock."""
        width, first = self._width, self.answers.engine.next_number
        positions, scopes, offsets = zeros(missing), zeros(missing), zeros(missing * width)
        pointers = map(address_of, (positions, scopes, offsets))
        count = self._kernel.add(byref(self.answers.engine), byref(found.native), *pointers)
        states = bytearray([IS_SINGLE]) * count  # a damaged record is looked up by itself, which reports it
        try:
            columns = [offsets[number : count * width : width].tolist() for number in range(width)]
            for scope in set(scopes[:count]):
                which: Sequence[int] = range(count)
                if scopes.count(scope) < missing:
                    which = [at for at in which if scopes[at] == scope]
                own = [list(map(column.__getitem__, which)) for column in columns]
                address = partial(_address, found.block, positions, which)
                for merged in self._records.merged(own, len(which), address):
                    added = [which[position] for position in merged.positions]
                    state = self._answer(scope, merged, [first + at for at in added])
                    for at in added:
                        states[at] = state
        finally:
            self.answers.settle(range(first, first + count), states)

    def _answer(self, scope: int, merged: Merged, numbers: Sequence[int]) -> int:
        """Render the answers of the databases to addresses of a scope, and return their state."""
        answer, sources, count = merged.recipe.answer, merged.recipe.sources, len(numbers)
        if scope != GLOBAL:
            special: dict[str, Sequence[Any]] = {"status": ["special"] * count, "scope": [SCOPES[scope]] * count}
            values = {"source": [IANA] * count, **merged.values, **special}
            return self.answers.render(numbers, merged._replace(values=values), sources if answer else 0)
        if answer is not None and answer.knows_where:
            return self.answers.render(numbers, merged, sources)
        if self._rir:
            answers = merged.answers() if answer else [None] * count
            self._waiting |= zip(numbers, answers, strict=True)
            self.answers.note_sources(numbers, sources)
            return NEEDS_REGISTRY
        if not self._is_final(answer):
            return IS_SINGLE
        if answer is None:
            merged = merged._replace(values={"status": ["unresolved"] * count})
        return self.answers.render(numbers, merged, sources)

    def _is_final(self, answer: Answer | None) -> bool:
        """Return whether neither the cache nor a service may have a better answer."""
        if self._has_services:
            return answer is not None and answer.knows_where
        return answer is not None or not self._is_kept

    def _ask_registries(self, rir: RirResolver, found: BlockAnswers) -> None:
        """Ask the registries for the countries of addresses that no database knows."""
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

    def _registered(self, waiting: int, code: str | None) -> int:
        """Number an answer of the databases with the country of registration; the caller holds the lock."""
        answer, sources = self._waiting[waiting], self.answers.sources(waiting)
        if code is not None:
            country = registered(code)
            answer, sources = (country, 0) if answer is None else (merge(answer, country), sources)
        if not self._is_final(answer) or (number := self.answers.next_number()) is None:
            return SINGLE
        state = self.answers.render([number], unmerged(answer), sources)
        self.answers.settle([number], bytearray([state]))
        return number if state == RENDERED else SINGLE


def _address(block: Block, positions: Sequence[int], which: Sequence[int], place: int) -> str:
    return block.address(positions[which[place]]).decode()


def _canonical(text: bytes) -> bytes | None:
    """Return an address in canonical form, None if it is none."""
    try:
        return str(parse(decoded(text))).encode()
    except AddressError:
        return None


def _suffix(block: Block, position: int) -> bytes:
    """Return the prefix length behind an address with its slash, by the canonical form of the address."""
    suffix = block.suffix(position)
    length = network_length(block.address(position), int(suffix[1:])) if suffix else None
    return b"" if length is None else b"/%d" % length
