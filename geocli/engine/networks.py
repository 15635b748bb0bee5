"""The networks of several databases: a walk through all their trees at once, in the order of addresses.

The first tree of each walk is that of the scopes of special addresses. A span is a range of addresses for which each
tree has one record.
"""

from __future__ import annotations

from operator import sub
from typing import TYPE_CHECKING

from geocli.databases.tree_nodes import MAX_PATHS, nodes
from geocli.engine.network_lines import BITS, UNSELECTED, Run, Span
from geocli.engine.scope_tree import EMBEDDED, scope_records
from geocli.errors import DatabaseError
from geocli.models import IANA, Answer, Entry, Place

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator, Sequence

    from geocli.databases.database import Database
    from geocli.engine.network_lines import Judge, Lines, Numbers
    from geocli.engine.record_classes import RecordClasses

IPV4_DEPTH = 96
"""Zeros before an IPv4 address in a tree of IPv6."""
DAMAGED = "damaged: its search tree is not a tree; reinstall it with: geocli db update"


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

    def runs(
        self, version: int, classes: Sequence[RecordClasses], judge: Judge, *, is_apart: bool = False
    ) -> Iterator[Run]:
        """Return the selected addresses of a family, less those of IPv6 that contain one of IPv4.

        Args:
            version: of IP.
            classes: of the records of each database.
            judge: called once for each combination of classes.
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
                yield run
                run = None
            if value != UNSELECTED:
                run = Run(run.first if run else first, last, value)
        if run:
            yield run

    def lines(
        self, version: int, classes: Sequence[RecordClasses], judge: Judge, form: Lines, *, is_apart: bool = False
    ) -> Iterator[bytes]:
        """Return the lines of the selected addresses of a family, some at a time; see `runs`.

        Raises:
            DatabaseError: a tree is damaged.

        """
        for run in self.runs(version, classes, judge, is_apart=is_apart):
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
