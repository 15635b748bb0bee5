"""Read, map and render each record of several databases once."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from geocli.engine.kernel import COLUMN_END, FIRST_KIND, NO_RECORD_KIND
from geocli.engine.record_reader import NO_KIND, Group, Kind, RecordReader, fitted_cells
from geocli.engine.record_texts import Layout
from geocli.resolvers.registries import registered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geocli.engine.blocks import Block
    from geocli.engine.numbered_answers import NumberedAnswers
    from geocli.engine.search_tree import SearchTree
    from geocli.formats.rows import Output


class Records:
    """Reads the records of databases into the memory of answers. Not thread-safe."""

    def __init__(
        self, trees: Sequence[SearchTree], output: Output, answers: NumberedAnswers, language: str, *, with_traits: bool
    ) -> None:
        """Prepare to read records.

        Args:
            trees: the databases, in order of precedence.
            output: renders fields.
            answers: the memory to add them to.
            language: language of names.
            with_traits: whether to read traits.

        """
        self.databases = [tree.database for tree in trees]
        self._output, self._answers = output, answers
        # A database with only traits is also a source.
        with_names = with_traits or len(trees) > 1
        self._readers = [RecordReader(tree, output, language, with_names=with_names) for tree in trees]
        self._kinds: dict[Kind, int] = {NO_KIND: NO_RECORD_KIND}
        self._layouts: dict[tuple[int, Kind], Layout] = {}
        self._shared: dict[str, int] = {}
        """Offsets of texts that places share."""
        self._countries: dict[str, tuple[Kind, int] | None] = {}

    def layout(self, source: int, kind: Kind) -> Layout:
        """Return the layout of the records of a database, or of the countries of the registries after them."""
        layout = self._layouts.get((source, kind))
        if layout is None:
            layout = Layout(self._output, source, kind, is_kept=self._answers.is_kept)
            self._layouts[source, kind] = layout
        return layout

    def read(self, block: Block) -> None:
        """Read the records that were added for addresses of a block; damaged ones keep their kind."""
        for source, (reader, table) in enumerate(zip(self._readers, self._answers.records, strict=True)):
            new = table.unread()
            if not new:
                continue
            offsets = table.offsets[new.start : new.stop].tolist()
            # In the order of offsets, so that neighbouring records are read together.
            order = sorted(range(len(new)), key=offsets.__getitem__)
            numbers, ordered = [new[at] for at in order], [offsets[at] for at in order]
            groups: dict[Kind, list[Group]] = {}
            for kind, group in reader.read(numbers, ordered, partial(_address, block, table.positions)):
                groups.setdefault(kind, []).append(group)
            for kind, members in groups.items():
                self._add(source, kind, members)

    def _add(self, source: int, kind: Kind, groups: Sequence[Group]) -> None:
        table, number = self._answers.records[source], self._kinds.setdefault(kind, len(self._kinds) + FIRST_KIND - 1)
        for group in groups:
            stored = self._store(source, kind, group)
            for key, text in zip(group.keys, stored or (), strict=False):
                table.kinds[key], table.texts[key] = number, text
            for key, asn in zip(group.keys, group.field("asn") if kind.has_asn else (), strict=False):
                table.asns[key] = asn

    def _store(self, source: int, kind: Kind, group: Group) -> Sequence[int] | None:
        """Store the texts of records, and return their offsets; None if there is no space."""
        layout = self.layout(source, kind)
        shared = layout.shared(group)
        new = list(set(shared) - self._shared.keys() - {""})
        offsets = self._answers.store([f"{text}{COLUMN_END}" for text in new], 1)
        if offsets is None:
            return None
        self._shared |= zip(new, offsets, strict=True)
        links = [self._shared.get(text, 0) for text in shared]
        labels = self._answers.keys.labels(kind, group)
        return self._answers.store(layout.texts(group), layout.width, links, labels)

    def country(self, code: str) -> tuple[Kind, int] | None:
        """Return the kind of a country of registration, and the offset of its text; None if there is no space."""
        if code not in self._countries:
            place = registered(code).place
            empty_cells = tuple(name for name in fitted_cells(self._output) if getattr(place, name) is None)
            kind = Kind(has_place=True, has_asn=False, has_org=False, traits=(), empty_cells=empty_cells)
            offsets = self._store(len(self.databases), kind, Group([0], lambda name: [getattr(place, name)]))
            self._countries[code] = (kind, offsets[0]) if offsets else None
        return self._countries[code]

    def kinds_of(self, records: Sequence[int]) -> tuple[tuple[Kind, ...], tuple[int, ...]]:
        """Return the kinds of records, one of each database, and numbers that are equal for the same AS number."""
        kinds = list(self._kinds)
        own = list(zip(self._answers.records, records, strict=True))
        asns = [table.asns[number] for table, number in own]
        unnamed = count(len(asns))
        networks = tuple(asns.index(asn) if asn else next(unnamed) for asn in asns)
        return tuple(kinds[table.kinds[number] - NO_RECORD_KIND] for table, number in own), networks


def _address(block: Block, positions: Sequence[int], number: int) -> str:
    return block.address(positions[number]).decode()
