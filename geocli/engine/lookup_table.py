"""Addresses to the numbers of their answers; each distinct answer is asked for and rendered once.

The table is the DIR-24-8 scheme of Gupta, Lin and McKeown, "Routing Lookups in Hardware at Memory Access Speeds"
(INFOCOM 1998), with 20 bits, filled as addresses are met, and without its second level: longer prefixes are walked
each time. A number stands for a scope and a record of each database, which together make the answer.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from ctypes import byref
from functools import partial
from itertools import accumulate
from threading import Lock
from typing import TYPE_CHECKING, Any

from geocli.addresses import network_length, parse
from geocli.engine import kernel as native
from geocli.engine.blocks import zeros
from geocli.engine.database_records import Records, unmerged
from geocli.engine.journal_places import Places
from geocli.engine.kernel import (
    FIRST_NUMBER,
    IS_SINGLE,
    NEEDS_REGISTRY,
    NEW,
    NO_PREFIX,
    RENDERED,
    SINGLE,
    Column,
    Engine,
    Numbering,
    Progress,
    Style,
    Tree,
    address_of,
    allocated,
)
from geocli.engine.rendering import Renderer
from geocli.engine.search_tree import SearchTree
from geocli.engine.special_ranges import GLOBAL, SCOPES, special_ranges
from geocli.errors import AddressError
from geocli.merging import merge
from geocli.models import ENGLISH, IANA
from geocli.resolvers.registries import registered
from geocli.sanitize import decoded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from geocli.databases.database import Database
    from geocli.engine.blocks import Block
    from geocli.engine.database_records import Merged
    from geocli.engine.record_reader import Group
    from geocli.formats.rows import Output
    from geocli.models import Answer
    from geocli.resolvers.registries import RirResolver

NUMBERS, NUMBERS_OF_SEVERAL = 1 << 18, 1 << 20
"""Numbers of answers from one database, and from several, whose records come in many combinations."""
SPARE_NUMBERS = 100_000
"""With fewer free numbers it is time for a new table: blocks may need as many as they have addresses."""
ARENA_BYTES, FULL_ARENA_BYTES, FULL_RECORD_BYTES = 1 << 29, 64 << 20, 96 << 20
"""Memory for texts, of which pages are used that are written, and limits as above of texts and of records."""


class Found:
    """A block, and the answers to its addresses.

    Attributes:
        block: afterwards its addresses are in canonical form.
        table: has the answers.
        numbers: those of the answers; `SINGLE` for addresses that are looked up by themselves.
        prefixes: lengths of the prefixes that answers name, `NO_PREFIX` where they name none.
        native: the same for the kernel.

    """

    def __init__(self, table: LookupTable, block: Block) -> None:
        self.table, self.block = table, block
        self.numbers, self.prefixes = zeros(len(block)), bytearray(b"\xff") * len(block)
        self.native = block.for_kernel(self.numbers, self.prefixes)

    def positions(self, state: int) -> list[int]:
        """Return the positions of addresses whose answers have a state; those of `NEW` are unread."""
        positions = zeros(len(self.block))
        count = native.kernel().pick(byref(self.table.engine), byref(self.native), state, address_of(positions))
        return positions[:count].tolist()

    def singles(self) -> list[int]:
        """Return the positions of the addresses that are looked up by themselves."""
        return self.positions(IS_SINGLE)

    def set_apart(self, positions: Iterable[int]) -> None:
        """Let addresses be looked up by themselves."""
        for position in positions:
            self.numbers[position] = SINGLE

    def assembly(self, output: Output, resolved_at: str, singles: Sequence[bytes]) -> Assembly:
        """Return the rows of the block.

        Args:
            output: what lines look like, as in the table.
            resolved_at: when the answers were found.
            singles: the lines of the addresses that were looked up by themselves.

        """
        return Assembly(self, output, resolved_at, singles)

    def rewrite(self, addresses: Mapping[int, bytes]) -> None:
        """Put addresses, by position, in the place of others; each with the prefix length behind it, if it has one."""
        block = self.block
        ends = [*accumulate(map(len, addresses.values()), initial=len(block.text))]
        block.starts, block.ends, block.stops = block.starts[:], block.ends[:], block.stops[:]
        for number, (position, address) in enumerate(addresses.items()):
            block.starts[position], block.stops[position] = ends[number], ends[number + 1]
            block.ends[position] = ends[number] + len(address.partition(b"/")[0])
        block.text = b"".join([block.text, *addresses.values()])
        self.native = block.for_kernel(self.numbers, self.prefixes)


class Assembly:
    """The rows of a block, which are written in parts."""

    def __init__(self, found: Found, output: Output, resolved_at: str, singles: Sequence[bytes]) -> None:
        self._found, self._singles = found, b"".join(singles)
        self._single_ends = array("Q", accumulate(map(len, singles)))
        time, no_network = resolved_at.encode(), b"null" if output.is_json else output.blank.encode()
        self._style = Style(
            time=time,
            time_bytes=len(time),
            no_network=no_network,
            no_network_bytes=len(no_network),
            is_network_quoted=output.is_json,
            is_label=found.block.is_labelled,
        )
        self._progress = Progress()

    @property
    def is_complete(self) -> bool:
        """Whether all was written."""
        return bool(self._progress.position == len(self._found.block))

    def write(self, out: bytearray) -> int:
        """Write the rows that there is room for; return the bytes written, 0 if there is not enough room for one."""
        found = self._found
        pointers = byref(found.table.engine), byref(found.native), byref(self._style)
        singles = self._singles, address_of(self._single_ends)
        written: int = native.kernel().assemble(*pointers, *singles, byref(self._progress), address_of(out), len(out))
        return written


class LookupTable:
    """Answers of the local sources. May be shared by threads.

    Attributes:
        engine: the table for the kernel.
        generation: what the answers are fresh for, as `Chain.generation` returns it.
        places: answers as the journal keeps them; None if it does not.

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
            generation: see above.
            is_kept: whether answers go to the journal. Then what nobody knows must be looked up by itself,
                since the cache may know it.
            has_services: whether web services are asked for what nobody knows; then, too, it must be.
            language: of names.

        Raises:
            DatabaseError: a database cannot be mapped.

        """
        self.generation = generation
        self._rir, self._is_kept, self._has_services = rir, is_kept, has_services
        self._databases, self._trees = databases, [SearchTree(database) for database in databases]
        with_traits = is_kept or "traits" in output.fields
        wanted = {"with_values": is_kept, "with_traits": with_traits}
        self._records = Records(self._trees, output, language=language, **wanted)
        self.rendered = Renderer(output)
        self._kernel, self._lock = native.kernel(), Lock()
        self._numbers = NUMBERS if len(databases) < 2 else NUMBERS_OF_SEVERAL
        self._memory: dict[str, Any] = {
            "table": allocated(4 << native.TABLE_BITS),
            "table_prefixes": allocated(1 << native.TABLE_BITS),
            "states": allocated(self._numbers),
            "sources": allocated(4 * self._numbers),
            "lines": allocated(8 * self._numbers),
            "fragments": allocated(8 * self._numbers),
            "arena": allocated(ARENA_BYTES),
        }
        self._memory["states"][SINGLE] = IS_SINGLE
        self._sources = memoryview(self._memory["sources"]).cast("I")
        self._labels, self._label_numbers = memoryview(allocated(2 * self._numbers)).cast("H"), dict[str, int]()
        tables = [allocated(2 * 16 * self._numbers) for _ in range(max(len(databases), 1))]
        slots = {"mask": 2 * self._numbers - 1, "capacity": self._numbers}
        numberings = [Numbering(slots=address_of(table), **slots) for table in tables]
        ranges, *kept = special_ranges()
        self._kept = kept, tables, (Tree * len(databases))(*(tree.tree for tree in self._trees))
        self._numberings = (Numbering * len(numberings))(*numberings)
        self.engine = Engine(
            secret=(int.from_bytes(os.urandom(8)), *(int.from_bytes(os.urandom(8)) | 1 for _ in range(2))),
            database_count=len(databases),
            trees=address_of(self._kept[-1]),
            numberings=address_of(self._numberings),
            ranges=ranges,
            arena_bytes=ARENA_BYTES,
            next_number=FIRST_NUMBER,
            max_numbers=self._numbers,
            **{name: address_of(memory) for name, memory in self._memory.items()},
        )
        self.places = Places(self.engine, self._memory["arena"], self._numbers) if is_kept else None
        self._waiting: dict[int, Answer | None] = {}
        """Answers of the databases without a place, by number: the registries are asked for these."""
        self._by_country: dict[tuple[int, str | None], int] = {}

    @property
    def is_full(self) -> bool:
        """Whether it is time for a new table."""
        engine = self.engine
        return (
            engine.next_number > self._numbers - SPARE_NUMBERS
            or engine.arena_used > FULL_ARENA_BYTES
            or self._records.size_bytes > FULL_RECORD_BYTES
        )

    def counts(self, found: Found) -> Counter[str]:
        """Count the answers of a block by the code of their country, else by their status; singles are left out."""
        labels, counts = list(self._label_numbers), Counter[str]()
        for number, count in Counter(found.numbers).items():
            if number >= FIRST_NUMBER:
                counts[labels[self._labels[number]]] += count
        return counts

    def find(self, block: Block) -> Found:
        """Find the answers of the addresses of a block; those not in canonical form are written so."""
        found = Found(self, block)
        self._find(found)
        if found.native.unread:
            self._read(found)
        if self._rir and found.native.unregistered:
            self._ask_registries(self._rir, found)
        return found

    def _find(self, found: Found) -> None:
        while missing := self._kernel.find(byref(self.engine), byref(found.native)):
            with self._lock:
                self._add(found, missing)

    def _read(self, found: Found) -> None:
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

    def _add(self, found: Found, missing: int) -> None:
        """Ask for the answers that are missing; the caller holds the lock."""
        width, first = len(self._databases), self.engine.next_number
        positions, scopes, offsets = zeros(missing), zeros(missing), zeros(missing * width)
        pointers = map(address_of, (positions, scopes, offsets))
        count = self._kernel.add(byref(self.engine), byref(found.native), *pointers)
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
            self._settle(range(first, first + count), states)

    def _settle(self, numbers: Sequence[int], states: bytearray) -> None:
        """Publish the states of answers, of which all else is complete."""
        which = array("I", numbers)
        self._kernel.settle(byref(self.engine), address_of(which), address_of(states), len(which))

    def _answer(self, scope: int, merged: Merged, numbers: Sequence[int]) -> int:
        """Render the answers of the databases to addresses of a scope, and return their state."""
        answer, sources, count = merged.recipe.answer, merged.recipe.sources, len(numbers)
        if scope != GLOBAL:
            special: dict[str, Sequence[Any]] = {"status": ["special"] * count, "scope": [SCOPES[scope]] * count}
            values = {"source": [IANA] * count, **merged.values, **special}
            return self._render(numbers, merged._replace(values=values), sources if answer else 0)
        if answer is not None and answer.knows_where:
            return self._render(numbers, merged, sources)
        if self._rir:
            answers = merged.answers() if answer else [None] * count
            self._waiting |= zip(numbers, answers, strict=True)
            self._note_sources(numbers, sources)
            return NEEDS_REGISTRY
        if not self._is_final(answer):
            return IS_SINGLE
        if answer is None:
            merged = merged._replace(values={"status": ["unresolved"] * count})
        return self._render(numbers, merged, sources)

    def _is_final(self, answer: Answer | None) -> bool:
        """Return whether neither the cache nor a service may have a better answer."""
        if self._has_services:
            return answer is not None and answer.knows_where
        return answer is not None or not self._is_kept

    def _note_sources(self, numbers: Iterable[int], sources: int) -> None:
        for number in numbers:
            self._sources[number] = sources

    def _render(self, numbers: Sequence[int], merged: Merged, sources: int) -> int:
        """Render answers with these numbers, and return their state."""
        count, values = len(numbers), merged.values
        is_added = self._join if merged.columns else self._add_lines
        if not is_added(array("I", numbers), merged, has_network=bool(sources)):
            return IS_SINGLE
        self._note_sources(numbers, sources)
        if self.places and not self.places.add(numbers, values):
            return IS_SINGLE
        codes = values.get("country_code", [None] * count)
        for number, code, status in zip(numbers, codes, values["status"], strict=True):
            self._labels[number] = self._label_numbers.setdefault(code or status, len(self._label_numbers))
        return RENDERED

    def _add_lines(self, numbers: array[int], merged: Merged, *, has_network: bool) -> bool:
        """Render the line of each answer; return whether there was room."""
        count, cells, rendered = len(numbers), merged.cells, merged.rendered
        lines = self.rendered.lines(merged.values, cells, count, has_network=has_network, rendered=rendered)
        text, ends = b"".join(lines), array("Q", accumulate(map(len, lines)))
        arguments = byref(self.engine), address_of(numbers), count, text, address_of(ends)
        return bool(self._kernel.render(*arguments))

    def _join(self, numbers: array[int], merged: Merged, *, has_network: bool) -> bool:
        """Render what the lines of all answers have in common, and let the kernel put them together."""
        if not all(self._store(group, names) for names, group, _ in merged.columns):
            return False
        line = self.rendered.frame(merged, has_network=has_network)
        rows = [array("I", column) for *_, column in merged.columns]
        offsets = [group.offsets[names] for names, group, _ in merged.columns]
        pointers = [Column(*map(address_of, memory)) for memory in zip(offsets, rows, strict=True)]
        columns = (Column * len(pointers))(*pointers)
        answers = byref(self.engine), address_of(numbers), len(numbers)
        return bool(self._kernel.join(*answers, line, len(line), address_of(columns), len(columns)))

    def _store(self, group: Group, names: tuple[str, ...]) -> bool:
        """Store the cells of fields, joined, of records that are new; return whether there was room."""
        offsets = group.offsets.setdefault(names, array("I"))
        new = zip(*(group.cells[name][len(offsets) :] for name in names), strict=True)
        texts = self.rendered.joined(names, new)
        ends, added = array("Q", accumulate(map(len, texts))), zeros(len(texts))
        pointers = address_of(ends), len(texts), address_of(added)
        has_room = bool(self._kernel.store(byref(self.engine), b"".join(texts), *pointers))
        offsets.extend(added if has_room else ())
        return has_room

    def _ask_registries(self, rir: RirResolver, found: Found) -> None:
        """Ask the registries for the countries of addresses that no database knows."""
        positions = found.positions(NEEDS_REGISTRY)
        codes = rir.codes([found.block.address(position).decode() for position in positions])
        pairs = [(found.numbers[position], code) for position, code in zip(positions, codes, strict=True)]
        with self._lock:
            for number, code in set(pairs) - self._by_country.keys():
                self._by_country[number, code] = self._registered(number, code)
        for position, pair in zip(positions, pairs, strict=True):
            number = found.numbers[position] = self._by_country[pair]
            if not self._sources[number]:
                found.prefixes[position] = NO_PREFIX

    def _registered(self, waiting: int, code: str | None) -> int:
        """Number an answer of the databases with the country of registration; the caller holds the lock."""
        answer, sources = self._waiting[waiting], self._sources[waiting]
        if code is not None:
            country = registered(code)
            answer, sources = (country, 0) if answer is None else (merge(answer, country), sources)
        number = self.engine.next_number
        if not self._is_final(answer) or number >= self._numbers:
            return SINGLE
        self.engine.next_number += 1
        state = self._render([number], unmerged(answer), sources)
        self._settle([number], bytearray([state]))
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
