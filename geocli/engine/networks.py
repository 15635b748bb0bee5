"""The networks of several databases: a walk through all their trees at once, in the order of addresses.

The first tree of each walk is that of the scopes of special addresses. A span is a range of addresses for which each
tree has one record. Lists have each range as the fewest prefixes, or as its first and last address.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from operator import sub
from typing import TYPE_CHECKING, NamedTuple

from geocli.databases.tree_nodes import MAX_PATHS, nodes
from geocli.engine.record_classes import RecordClasses
from geocli.engine.search_tree import EMBEDDED, scope_records
from geocli.errors import DatabaseError
from geocli.models import IANA, Answer, Entry, Place

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Collection, Iterator, Sequence
    from typing import TypeAlias

    from geocli.databases.database import Database
    from geocli.engine.record_classes import Key

    Numbers: TypeAlias = tuple[int, ...]
    """The number of a scope, then the offset of the record, or its class, in each database; 0 for none."""
    Judge: TypeAlias = Callable[[Numbers], int]
    """Returns the value of a combination of classes: `UNSELECTED`, or a larger number."""

IPV4_DEPTH = 96
"""Zeros before an IPv4 address in a tree of IPv6."""
DAMAGED = "damaged: its search tree is not a tree; reinstall it with: geocli db update"
BITS = {4: 32, 6: 128}
"""Bits of an address, by the version of IP."""
UNJUDGED, UNSELECTED, SELECTED = range(3)
"""Values of combinations, as in the kernel; those from `SELECTED` on are selected."""


class Span(NamedTuple):
    """A range of addresses, and their records."""

    first: int
    last: int
    numbers: Numbers


class Run(NamedTuple):
    """A range of addresses with the same value."""

    first: int
    last: int
    value: int


class Lines:
    """The form of lines, and the lines of ranges in Python.

    Attributes:
        before: what each line begins with.
        is_range: whether lines have the first and the last address, not a prefix.
        shortest: the shortest prefix length.
        tails: what lines end with, by the value of a range less `SELECTED`.

    """

    def __init__(self, before: str = "", *, is_range: bool = False, shortest: int = 0) -> None:
        self.before, self.is_range, self.shortest = before.encode(), is_range, shortest
        self.tails: list[bytes] = []

    def text(self, run: Run, version: int) -> bytes:
        """Return the lines of a range of addresses."""
        tail = self.tails[run.value - SELECTED]
        make = IPv4Address if version == 4 else IPv6Address
        if self.is_range:
            return b"%b%b%b" % (self.before, f"{make(run.first)}-{make(run.last)}".encode(), tail)
        parts = prefixes(run.first, run.last, BITS[version], self.shortest)
        return b"".join(b"%b%b%b" % (self.before, f"{make(first)}/{length}".encode(), tail) for first, length in parts)


def prefixes(first: int, last: int, bits: int, shortest: int = 0) -> Iterator[tuple[int, int]]:
    """Return the fewest networks of a range: the first address and the prefix length of each.

    >>> list(prefixes(1, 8, 32))
    [(1, 32), (2, 31), (4, 30), (8, 32)]
    """
    while first <= last:
        zeros = (first & -first).bit_length() - 1 if first else bits
        free = min(zeros, (last - first + 1).bit_length() - 1, bits - shortest)
        yield first, bits - free
        first += 1 << free


class Walker:
    """Walks the trees of databases in Python."""

    def __init__(self, databases: Sequence[Database]) -> None:
        """Read the trees.

        Raises:
            DatabaseError: one is damaged, cannot be read, or was replaced.

        """
        self.databases = databases

    def spans(
        self, version: int, first: int = 0, last: int | None = None, *, skips_embedded: bool = False
    ) -> Iterator[Span]:
        """Return the spans from a first address of a family to a last one.

        Args:
            version: of IP.
            first: an address, as an integer.
            last: an address; default: the last one of the family.
            skips_embedded: whether to leave out the addresses of IPv6 that contain one of IPv4.

        Raises:
            DatabaseError: a tree is damaged.

        """
        bits = BITS[version]
        last = (1 << bits) - 1 if last is None else last
        trees = [scope_records(version), *map(_nodes, self.databases)]
        counts = [len(tree) // 2 for tree in trees]
        leaves, skipped = MAX_PATHS * sum(counts), counts[0] + EMBEDDED if skips_embedded else -1
        waiting = [(0, 0, self._roots(trees, version))]
        while waiting:
            address, depth, records = waiting.pop()
            end = address | (1 << (bits - depth)) - 1
            if end < first or address > last or records[0] == skipped:
                continue
            numbers = tuple(map(sub, records, counts))  # offsets of data; negative ones for nodes
            if min(numbers) >= 0:
                yield Span(max(address, first), min(end, last), numbers)
                continue
            leaves -= 1
            if depth == bits or leaves < 0:
                raise DatabaseError(self.databases[0].file.path, DAMAGED)
            depth += 1
            waiting += [(address | side << (bits - depth), depth, _below(trees, records, side)) for side in (1, 0)]

    def _roots(self, trees: Sequence[array[int]], version: int) -> list[int]:
        """Return the record of each tree at which the addresses of a family begin."""
        roots = [0]
        for database, tree in zip(self.databases, trees[1:], strict=True):
            count, root = len(tree) // 2, 0
            if version == 4 and not database.only_ipv4:
                for _ in range(IPV4_DEPTH):
                    root = tree[2 * root] if root < count else root
            roots.append(count if version == 6 and database.only_ipv4 else root)
        return roots

    def classes(self, key: Key, language: str, fields: Collection[str]) -> Sequence[RecordClasses]:  # noqa: ARG002 (for the kernel)
        """Return the classes of the records of each database.

        Args:
            key: two records are of one class if it is the same for both.
            language: language of names.
            fields: those that `key` depends on, apart from whether any field is known.

        Raises:
            DatabaseError: a record is damaged.

        """
        classes = [RecordClasses(database, key, language) for database in self.databases]
        for numbers, address in self.starts():
            for own, offset in zip(classes, numbers[1:], strict=True):
                own.add_at(offset, address)
        return classes

    def starts(self) -> Iterator[tuple[Numbers, IPv4Address | IPv6Address]]:
        """Return the numbers and the first address of each span, less those of IPv6 that contain one of IPv4."""
        for span in self.spans(4):
            yield span.numbers, IPv4Address(span.first)
        for span in self.spans(6, skips_embedded=True):
            yield span.numbers, IPv6Address(span.first)

    def lines(
        self, version: int, classes: Sequence[RecordClasses], judge: Judge, form: Lines, *, is_apart: bool = False
    ) -> Iterator[bytes]:
        """Return the lines of the selected addresses of a family, less those of IPv6 that contain one of IPv4.

        Args:
            version: of IP.
            classes: of the records of each database.
            judge: called once for each combination of classes.
            form: of the lines.
            is_apart: whether neighbours of the same value remain apart.

        Raises:
            DatabaseError: a tree is damaged.

        """
        values: dict[Numbers, int] = {}
        run = None
        for first, last, (scope, *offsets) in self.spans(version, skips_embedded=True):
            combination = scope, *(own.of_offset(offset) for own, offset in zip(classes, offsets, strict=True))
            if (value := values.get(combination)) is None:
                value = values[combination] = judge(combination)
            if run and (is_apart or run.value != value or run.last + 1 != first):
                yield form.text(run, version)
                run = None
            if value != UNSELECTED:
                run = Run(run.first if run else first, last, value)
        if run:
            yield form.text(run, version)


def _below(trees: Sequence[Sequence[int]], records: Sequence[int], side: int) -> list[int]:
    """Return the left or right records of nodes; records that are leaves stay."""
    return [
        tree[2 * record + side] if 2 * record < len(tree) else record
        for tree, record in zip(trees, records, strict=True)
    ]


def _nodes(database: Database) -> array[int]:
    try:
        return nodes(database)
    except (OSError, ValueError) as error:
        raise DatabaseError(database.file.path, str(error)) from error


def entry_of(answer: Answer | None, scope: str | None, text: str = "") -> Entry:
    """Return the entry of addresses with an answer of databases and a scope, as `Resolution` does."""
    if answer is None or answer.is_empty:
        if scope is None:
            return Entry(ip=text, status="unresolved")
        answer = Answer(place=Place(), source=IANA)
    return Entry(
        ip=text,
        status="resolved" if scope is None else "special",
        scope=scope,
        place=answer.place,
        source=answer.source,
        built_at=answer.built_at,
    )
