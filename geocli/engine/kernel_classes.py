"""Classes of records of databases: in Python by reading all of them, in the kernel by reading few."""

from __future__ import annotations

from array import array
from ctypes import byref
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from geocli.engine.kernel import address_of, allocated, kernel
from geocli.engine.kernel_walk import KernelWalker
from geocli.engine.record_classes import ENTERED, NETWORK_FIELDS, NO_RECORD, UNUSUAL, RecordClasses, unread_keys
from geocli.engine.search_tree import MAX_RECORDS
from geocli.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from geocli.engine.network_lines import Span
    from geocli.engine.networks import Walker
    from geocli.engine.record_classes import Key


MARKED_BYTES = 32
"""Bytes of the data for which there is a word of marks."""


class KernelClasses(RecordClasses):
    """Classes of records found by the kernel, which compares records by the relevant values, so that few are read."""

    def __init__(self, walker: KernelWalker, at: int, key: Key, language: str, fields: Collection[str]) -> None:
        """Read records of a database of a walker.

        Raises:
            DatabaseError: a record is damaged.

        """
        super().__init__(walker.databases[at], key, language)
        self._walker, self._at = walker, at
        self._tree = walker.trees[at]
        self.marks, self._offsets = self._marked()
        self._unread = unread_keys(fields)
        self._uncertain: set[int] = set()
        outlines = self._outlines()
        first = dict(zip(reversed(outlines), reversed(self._offsets), strict=True))
        self._read(first.values())
        apart = {UNUSUAL}
        if not frozenset(fields) <= NETWORK_FIELDS | {"scope"}:
            apart |= {outline for outline, offset in first.items() if offset in self._uncertain}
        by_outline = {outline: self._by_offset.get(offset, NO_RECORD) for outline, offset in first.items()}
        numbers = array("I", map(by_outline.__getitem__, outlines))
        if not apart.isdisjoint(first):
            rows = [row for row, outline in enumerate(outlines) if outline in apart]
            self._read([self._offsets[row] for row in rows])
            for row in rows:
                numbers[row] = self._by_offset.get(self._offsets[row], NO_RECORD)
        self.by_number = array("I", [NO_RECORD]) + numbers + array("I", [NO_RECORD])

    def of_offset(self, offset: int) -> int:
        """Return the class of the record at an offset."""
        if len(self._by_offset) <= len(self._offsets):
            self._by_offset |= zip(self._offsets, self.by_number[1:], strict=False)
        return self._by_offset[offset]

    def _marked(self) -> tuple[memoryview, array[int]]:
        """Return the marks and the offsets of all records."""
        tree = self._tree.tree
        words = (tree.size_bytes - tree.node_count * (tree.record_bits // 4)) // MARKED_BYTES + 1
        marks = memoryview(allocated(8 * words)).cast("Q")
        count = kernel().mark(byref(tree), address_of(marks), words)
        if count < 0:
            reason = "damaged: a record is outside of the file; reinstall it with: geocli db update"
            raise DatabaseError(self.database.file.path, reason)
        offsets = array("I", bytes(4 * count))
        kernel().offsets(address_of(marks), words, address_of(offsets))
        return marks, offsets

    def add(self, offset: int, record: object) -> None:
        """Add a record; others with its outline are of its class, unless their place may differ without a country."""
        super().add(offset, record)
        answer = self.answers[self._by_offset[offset]]
        if isinstance(record, dict) and answer is not None and answer.place.country_code is None:
            entered = record.get(ENTERED)
            keys = {*record, *(entered if isinstance(entered, dict) else ())}
            if not self._unread.isdisjoint(keys):
                self._uncertain.add(offset)

    def _outlines(self) -> array[int]:
        """Return a hash of each record without the values of some keys; `UNUSUAL` for records that must be read."""
        outlines = array("Q", bytes(8 * len(self._offsets)))
        texts = sorted({*self._unread, ENTERED}, key=len) if self._unread else []
        keys = b"".join(bytes([len(text)]) + text.encode() for text in texts)
        entered = keys.find(bytes([len(ENTERED)]) + ENTERED.encode()) if texts else 0
        arguments = address_of(self._offsets), len(self._offsets), keys, len(keys), entered
        kernel().outline(byref(self._tree.tree), *arguments, address_of(self._tree.secret), address_of(outlines))
        return outlines

    def _read(self, offsets: Iterable[int]) -> None:
        """Add the records at these offsets, read by the reader if the kernel cannot decode them."""
        new = sorted({*offsets} - self._by_offset.keys())
        unusual = []
        for start in range(0, len(new), MAX_RECORDS):
            block = new[start : start + MAX_RECORDS]
            records, _ = self._tree.records(block, self.language)
            for offset, record in zip(block, records, strict=True):
                if record is None:
                    unusual.append(offset)
                else:
                    self.add(offset, record)
        for offset, address in _addresses(self._walker, self._at, unusual):
            self.add_at(offset, address)


def read_classes(walker: Walker, key: Key, language: str, fields: Collection[str]) -> Sequence[RecordClasses]:
    """Return the classes of the records of each database.

    Args:
        walker: through the databases.
        key: two records are of one class if it is the same for both.
        language: of names.
        fields: those that `key` depends on, apart from whether any field is known.

    Raises:
        DatabaseError: a record is damaged.

    """
    if isinstance(walker, KernelWalker):
        return [KernelClasses(walker, at, key, language, fields) for at in range(len(walker.databases))]
    classes = [RecordClasses(database, key, language) for database in walker.databases]
    for span, address in _starts(walker):
        for own, offset in zip(classes, span.numbers[1:], strict=True):
            own.add_at(offset, address)
    return classes


def _starts(walker: Walker) -> Iterator[tuple[Span, IPv4Address | IPv6Address]]:
    """Return all spans, and their first addresses."""
    for span in walker.spans(4):
        yield span, IPv4Address(span.first)
    for span in walker.spans(6, skips_embedded=True):
        yield span, IPv6Address(span.first)


def _addresses(walker: Walker, at: int, offsets: Collection[int]) -> Iterator[tuple[int, IPv4Address | IPv6Address]]:
    """Return an address of each record of a database, if one is not skipped."""
    missing = {*offsets}
    for span, address in _starts(walker) if missing else ():
        if (offset := span.numbers[1 + at]) in missing:
            missing.remove(offset)
            yield offset, address
            if not missing:
                return
