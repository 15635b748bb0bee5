"""Walks of the kernel through the trees of several databases."""

from __future__ import annotations

from array import array
from ctypes import byref, c_uint32, c_uint64
from functools import partial
from math import prod
from struct import iter_unpack
from typing import TYPE_CHECKING

from geocli.databases.tree_nodes import MAX_PATHS
from geocli.engine.kernel import Joint, ListForm, Source, Tree, address_of, kernel, load
from geocli.engine.networks import BITS, DAMAGED, Span, Walker
from geocli.engine.record_classes import KernelClasses
from geocli.engine.search_tree import EMBEDDED, SearchTree, scope_trees
from geocli.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from geocli.databases.database import Database
    from geocli.engine.networks import Judge, Lines
    from geocli.engine.record_classes import Found, Key, RecordClasses

SPANS_TOGETHER, SPAN_BYTES = 4096, 40
"""Maximum number of spans of one call, and the size of a span: five numbers."""
MAX_COMBINATIONS = 1 << 24
"""Maximum size of a table with a value for each combination, of 4 bytes each."""
OUT_BYTES = 1 << 20
NO_COMBINATION = HALF = (1 << 64) - 1


class KernelWalker(Walker):
    """Walks the trees of databases in C."""

    def __init__(self, databases: Sequence[Database]) -> None:
        super().__init__(databases)
        self.trees = [SearchTree(database) for database in databases]

    def spans(
        self, version: int, first: int = 0, last: int | None = None, *, skips_embedded: bool = False
    ) -> Iterator[Span]:
        """Return the spans from a first address of a family to a last one; see `Walker.spans`."""
        last = (1 << BITS[version]) - 1 if last is None else last
        walk = _Walk(self, version, (first, last), is_apart=True, skips_embedded=skips_embedded)
        width = len(self.trees) + 1
        classes = (c_uint32 * (SPANS_TOGETHER * width))()
        while not walk.is_done:
            walk.find(address_of(classes))
            offsets = classes[: walk.count * width]
            for at, (start, end) in enumerate(walk.bounds()):
                yield Span(start, end, tuple(offsets[at * width : (at + 1) * width]))
            walk.count = 0

    def classes(self, key: Key, language: str, fields: Collection[str]) -> Sequence[RecordClasses]:
        """Return the classes of the records of each database; see `Walker.classes`."""
        finds = [partial(self._addresses, at) for at in range(len(self.trees))]
        return [KernelClasses(tree, key, language, fields, find) for tree, find in zip(self.trees, finds, strict=True)]

    def _addresses(self, at: int, offsets: Collection[int]) -> Found:
        """Return an address of each record of a database, if one is not skipped."""
        missing = {*offsets}
        for numbers, address in self.starts() if missing else ():
            if (offset := numbers[1 + at]) in missing:
                missing.remove(offset)
                yield offset, address
                if not missing:
                    return

    def lines(
        self, version: int, classes: Sequence[RecordClasses], judge: Judge, form: Lines, *, is_apart: bool = False
    ) -> Iterator[bytes]:
        """Return the lines of the selected addresses of a family; see `Walker.lines`."""
        sizes = [EMBEDDED + 1, *(own.count for own in classes)]
        if prod(sizes) > MAX_COMBINATIONS:
            yield from super().lines(version, classes, judge, form, is_apart=is_apart)
            return
        walk = _Walk(self, version, (0, (1 << BITS[version]) - 1), is_apart=is_apart, skips_embedded=True)
        values = walk.values(classes, sizes)
        out, tails, ends = bytearray(OUT_BYTES), bytearray(), array("Q")
        while not walk.is_done:
            combination = walk.find()
            if combination != NO_COMBINATION:
                numbers, rest = [], combination
                for size in sizes:
                    rest, number = divmod(rest, size)
                    numbers.append(number)
                values[combination] = judge(tuple(numbers))
            if walk.count <= SPANS_TOGETHER // 2 and not walk.is_done:
                continue
            for tail in form.tails[len(ends) :]:
                tails += tail
                ends.append(len(tails))
            yield from walk.listed(
                ListForm(
                    before=form.before,
                    before_bytes=len(form.before),
                    after=address_of(tails),
                    ends=address_of(ends),
                    bits=BITS[version],
                    shortest=form.shortest,
                    is_range=form.is_range,
                ),
                out,
            )


class _Walk:
    """One walk, and the memory that the kernel reads.

    Attributes:
        count: number of spans that were found.

    """

    def __init__(
        self, walker: KernelWalker, version: int, bounds: tuple[int, int], *, is_apart: bool, skips_embedded: bool
    ) -> None:
        trees = [scope_trees()[0][version == 6], *(each.tree for each in walker.trees)]
        roots = [0, *(_root(each.tree, version) for each in walker.trees)]
        self._sources = (Source * len(trees))(*(Source(tree=address_of(each)) for each in trees))
        self._nodes = array("I", roots) + array("I", bytes(4 * len(roots) * BITS[version]))
        self._spans = bytearray(SPAN_BYTES * SPANS_TOGETHER)
        self._memory: list[object] = [trees, walker]
        self._path = walker.databases[0].file.path
        self._shift = 128 - BITS[version]
        first, last = bounds[0] << self._shift, (bounds[1] + 1 << self._shift) - 1
        self.count = 0
        self._joint = Joint(
            sources=address_of(self._sources),
            source_count=len(trees),
            nodes=address_of(self._nodes),
            next_high=first >> 64,
            next_low=first & HALF,
            last_high=last >> 64,
            last_low=last & HALF,
            leaves=MAX_PATHS * sum(each.node_count + 1 for each in trees),
            skipped=EMBEDDED if skips_embedded else 0,
            bits=BITS[version],
            is_apart=is_apart,
        )

    def values(self, classes: Sequence[RecordClasses], sizes: Sequence[int]) -> array[int]:
        """Number records by their classes, and return the table of the values of combinations."""
        stride = 1
        for source, size, own in zip(self._sources, sizes, (None, *classes), strict=True):
            source.stride = stride
            stride *= size
            if own is not None:
                source.marks, source.words = address_of(own.marks), len(own.marks)
                source.classes = address_of(own.by_number)
        values = array("I", bytes(4 * stride))
        self._memory += classes, values
        self._joint.values = address_of(values)
        return values

    @property
    def is_done(self) -> bool:
        """Whether all spans were found."""
        return bool(self._joint.is_done)

    def find(self, classes: int = 0) -> int:
        """Add spans to those that were found, and write their classes to the memory at an address.

        Returns:
            The combination of classes that must have a value before the next call, or `NO_COMBINATION`.

        """
        arguments = address_of(self._spans), classes, self.count, SPANS_TOGETHER
        self.count = kernel().walk(byref(self._joint), *arguments)
        if self.count < 0:
            raise DatabaseError(self._path, DAMAGED)
        return int(self._joint.combination)

    def bounds(self) -> Iterator[tuple[int, int]]:
        """Return the first and the last address of the spans that were found."""
        for *halves, _ in iter_unpack("=5Q", memoryview(self._spans)[: SPAN_BYTES * self.count]):
            yield (halves[0] << 64 | halves[1]) >> self._shift, (halves[2] << 64 | halves[3]) >> self._shift

    def listed(self, form: ListForm, out: bytearray) -> Iterator[bytes]:
        """Return the lines of the spans that were found, written to a buffer; the last one waits for its neighbours."""
        written, complete = c_uint64(0), self.count if self.is_done else self.count - 1
        while written.value < complete:
            size = kernel().list(
                address_of(self._spans), complete, byref(written), byref(form), address_of(out), len(out)
            )
            yield bytes(memoryview(out)[:size])
        self._spans[:SPAN_BYTES] = self._spans[SPAN_BYTES * (self.count - 1) : SPAN_BYTES * self.count]
        self.count -= complete


def _root(tree: Tree, version: int) -> int:
    """Return the node where a family of addresses begins; the number of nodes if there is none."""
    if version == 4:
        return int(tree.ipv4_root)
    return 0 if tree.ip_version == 6 else int(tree.node_count)


def walker(databases: Sequence[Database]) -> Walker:
    """Return a walker through databases, of which there must be one at least; that of the kernel where it is there.

    Raises:
        DatabaseError: a database is damaged, cannot be read, or was replaced.

    """
    return Walker(databases) if load() is None else KernelWalker(databases)
