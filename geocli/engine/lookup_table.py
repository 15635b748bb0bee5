"""Look up addresses in a table of numbered answers, so that each distinct answer is resolved and rendered once.

The table is the DIR-24-8 scheme of Gupta, Lin and McKeown, "Routing Lookups in Hardware at Memory Access Speeds"
(INFOCOM 1998), with 20 bits and without its second level. It is filled on demand; for longer prefixes the tree is
walked each time. A number stands for a scope and one record of each database, which determine the answer.
"""

from __future__ import annotations

from ctypes import byref
from threading import Lock
from typing import TYPE_CHECKING

from geocli import address_ranges
from geocli.engine.block_answers import BlockAnswers
from geocli.engine.blocks import zeros
from geocli.engine.database_records import Records
from geocli.engine.kernel import IS_SINGLE, NEEDS_REGISTRY, NEW, NO_PREFIX, RENDERED, SINGLE, address_of, kernel
from geocli.engine.numbered_answers import NumberedAnswers
from geocli.engine.recipes import merged
from geocli.engine.search_tree import GLOBAL, SearchTree
from geocli.errors import AddressError
from geocli.models import ENGLISH
from geocli.sanitize import decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from geocli.addresses import Address
    from geocli.databases.database import Database
    from geocli.engine.blocks import Block
    from geocli.engine.recipes import Kind
    from geocli.formats.rows import Output
    from geocli.models import Answer
    from geocli.resolvers.registries import RirResolver

    Combination: TypeAlias = tuple[int, tuple[Kind, ...], tuple[int, ...]]
    """What determines the recipe of an answer: a scope, the kinds of the records, and equal numbers for those with the
    same AS number."""


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
        self.answers = NumberedAnswers(trees, output, generation, is_kept=is_kept)
        self._records = Records(trees, output, self.answers, language, with_traits=with_traits)
        self._kernel, self._lock = kernel(), Lock()
        self._combined: dict[int, Combination] = {}
        """Recipes of answers for which the registries are asked."""
        self._with_country: dict[tuple[int, Kind | None], int] = {}
        """Recipes of the completed answers, by the earlier recipe and the kind of the country of registration."""
        self._by_country: dict[tuple[int, str | None], int] = {}

    def find(self, block: Block) -> BlockAnswers:
        """Find the answers to the addresses of a block, which are rewritten in canonical form."""
        block_answers = BlockAnswers(self.answers, block)
        self._find(block_answers)
        if unread := block_answers.positions(NEW):
            self._parse(block_answers, unread)
        if self._rir and (unregistered := block_answers.positions(NEEDS_REGISTRY)):
            self._ask_registries(self._rir, block_answers, unregistered)
        return block_answers

    def _find(self, block_answers: BlockAnswers) -> None:
        while self._kernel.find(byref(self.answers.engine), byref(block_answers.native)):
            with self._lock:
                self._add(block_answers)

    def _parse(self, block_answers: BlockAnswers, unread: Sequence[int]) -> None:
        """Parse the addresses that the kernel could not; leave those that are invalid to the scalar path."""
        block = block_answers.block
        if with_notes := block.drop_notes(unread):
            self._find(block_answers)
            unread = block_answers.positions(NEW)
        canonical = {text: _canonical(text, block.read) for text in set(map(block.address, unread))}
        addresses = ((position, canonical[block.address(position)]) for position in unread)
        block_answers.rewrite({at: text + block.suffix(at) for at, text in addresses if text is not None})
        self._find(block_answers)
        for position in block_answers.positions(NEW):
            block_answers.numbers[position] = SINGLE
            if position in with_notes:
                block.set_span(position, with_notes[position])

    def _add(self, block_answers: BlockAnswers) -> None:
        """Read the records of missing answers, and make their recipes; the caller holds the lock."""
        engine, databases = self.answers.engine, len(self.answers.records)
        first, recipe, width = engine.next_number, engine.recipe_count, 1 + 2 * databases
        self._kernel.add(byref(engine), byref(block_answers.native))
        try:
            self._records.read(block_answers.block)
            combinations = zeros((engine.next_number - first) * width)
            for number in range(self._kernel.combine(byref(engine), first, address_of(combinations))):
                scope, *own = combinations[number * width : (number + 1) * width]
                kinds = self._records.kinds(own[:databases])
                self._combine(recipe + number, (scope, kinds, tuple(own[databases:])))
        finally:
            self._kernel.settle(byref(engine), first)  # those without a recipe are left to the scalar path

    def _combine(self, number: int, combination: Combination, *, is_registered: bool = False) -> None:
        """Make the recipe of records of these kinds."""
        scope, kinds, networks = combination
        recipe = merged(self._records.databases, kinds, networks)
        state = self._state(scope, recipe.answer, is_registered=is_registered)
        if state == NEEDS_REGISTRY:
            self._combined[number] = combination
        if scope != GLOBAL and recipe.answer is None:
            recipe = recipe._replace(sources=0)
        layouts = [self._records.layout(source, kind) for source, kind in enumerate(kinds)]
        self.answers.add_recipe(number, recipe, state, self.answers.rendered.texts(scope, recipe, layouts))

    def _state(self, scope: int, answer: Answer | None, *, is_registered: bool) -> int:
        if scope != GLOBAL or (answer is not None and answer.has_place):
            return RENDERED
        if self._rir and not is_registered:
            return NEEDS_REGISTRY
        # A web service may have a place, and the cache an answer.
        return IS_SINGLE if self._has_services or (self._is_kept and answer is None) else RENDERED

    def _ask_registries(self, rir: RirResolver, block_answers: BlockAnswers, positions: Sequence[int]) -> None:
        """Complete the answers without a place by the countries of registration."""
        codes = rir.codes([block_answers.block.address(position).decode() for position in positions])
        pairs = [(block_answers.numbers[position], code) for position, code in zip(positions, codes, strict=True)]
        with self._lock:
            for number, code in set(pairs) - self._by_country.keys():
                self._by_country[number, code] = self._registered(number, code)
        for position, pair in zip(positions, pairs, strict=True):
            number = block_answers.numbers[position] = self._by_country[pair]
            if not self.answers.sources(number):
                block_answers.prefixes[position] = NO_PREFIX

    def _registered(self, waiting: int, code: str | None) -> int:
        """Return the number of an answer with a country of registration added; the caller holds the lock."""
        country = None if code is None else self._records.country(code)
        recipe, *texts, _ = self.answers.row(waiting)
        registered = self._registered_recipe(recipe, country[0] if country else None)
        if registered is None or (code and not country):
            return SINGLE
        return self.answers.add_answer(registered, [*texts, *(country or ())[1:]])

    def _registered_recipe(self, waiting: int, country: Kind | None) -> int | None:
        """Return the recipe of answers for which the registries were asked; None if there is no space."""
        if (waiting, country) not in self._with_country:
            engine, number = self.answers.engine, int(self.answers.engine.recipe_count)
            if number >= engine.max_recipes:
                return None
            engine.recipe_count += 1
            scope, kinds, networks = self._combined[waiting]
            if country:
                kinds, networks = (*kinds, country), (*networks, len(networks))
            self._combine(number, (scope, kinds, networks), is_registered=True)
            self._with_country[waiting, country] = number
        return self._with_country[waiting, country]


def _canonical(text: bytes, read: Callable[[str], Address]) -> bytes | None:
    """Return an address in canonical form, also of a network that is one address; None if it is invalid."""
    try:
        return str(read(decoded(text))).encode()
    except AddressError:
        address = address_ranges.single_address(decoded(text))
        return None if address is None else str(address).encode()
