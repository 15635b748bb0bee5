"""Count the rows of a batch, and their distinct addresses, by the values of fields."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from geocli.engine.answer_keys import comparable
from geocli.models import Entry, reader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geocli.batch.row_maker import Rows, Shown
    from geocli.engine.answer_counts import AnswerCounts, DistinctAddresses
    from geocli.engine.answer_keys import Key
    from geocli.engine.block_answers import BlockAnswers

MAX_ADDRESSES = 1_000_000
"""Maximum number of distinct addresses to count exactly."""
PER_ADDRESS = frozenset({"ip", "network"})
"""Fields that differ between addresses with the same answer."""
WITHOUT_ADDRESS = frozenset({"invalid", "comment"})
"""Statuses of lines that have no address."""


class _AddressSet:
    """Distinct addresses, without the kernel, and distinct networks."""

    def __init__(self) -> None:
        self._addresses = set[bytes]()
        self.is_full = False

    def add_texts(self, addresses: Sequence[bytes]) -> list[int]:
        """Return the positions of addresses that did not occur before; empty ones do not count."""
        new = []
        for position, address in enumerate(addresses):
            if address and address not in self._addresses and not self.is_full:
                self.is_full = len(self._addresses) >= MAX_ADDRESSES
                self._addresses.add(address)
                new.append(position)
        return new


class Tally:
    """Rows by key: the values of some fields of their entries."""

    def __init__(self, fields: Sequence[str], key_fields: Sequence[str], *, with_addresses: bool = False) -> None:
        """Count by fields, which the keys of answers include, perhaps also distinct addresses; by no field, nothing."""
        self.fields = tuple(fields)
        """The fields, in the order of keys."""
        self._columns = [key_fields.index(name) for name in self.fields]
        self._has_whole_keys = self.fields == tuple(key_fields)
        self._lines: Counter[Key] = Counter()
        self._addresses: Counter[Key] = Counter()
        self._counts: AnswerCounts | None = None
        self._read = reader(self.fields)
        self._is_per_address = not PER_ADDRESS.isdisjoint(self.fields)
        self._distinct = _distinct(needs_set=self._is_per_address) if with_addresses else None
        self._unusual = _AddressSet()

    @property
    def lines(self) -> Counter[Key]:
        """Number of rows by key."""
        self._settle()
        return self._lines

    @property
    def addresses(self) -> Counter[Key]:
        """Number of distinct addresses by key; not counted unless wanted."""
        self._settle()
        return self._addresses

    @property
    def is_exact(self) -> bool:
        """Whether all distinct addresses were counted, rather than a first part of them."""
        return self._distinct is None or not (self._distinct.is_full or self._unusual.is_full)

    def add(self, rows: Rows) -> None:
        """Count rows."""
        if not self.fields:
            return
        selected: Rows | Shown = rows.shown or rows
        self._add_entries(selected.entries)
        if selected.found is not None and self._is_per_address:
            self._add_addresses(selected.found)
        elif selected.found is not None:
            self._add_answers(selected.found)

    def reduced(self, fields: Sequence[str]) -> Tally:
        """Return the same rows, counted by some of the fields."""
        if tuple(fields) == self.fields:
            return self
        reduced = Tally(fields, self.fields)
        reduced._distinct, reduced._unusual = self._distinct, self._unusual
        for counts, own in ((self.lines, reduced._lines), (self.addresses, reduced._addresses)):
            for key, count in counts.items():
                own[reduced._own(key)] += count
        return reduced

    def _add_entries(self, entries: Sequence[Entry]) -> None:
        keys = [tuple(map(comparable, self._read(entry))) for entry in entries]
        self._lines.update(keys)
        if self._distinct is not None and keys:
            # A network counts as one address. The kernel's table takes neither networks nor all addresses.
            texts = [b"" if entry.status in WITHOUT_ADDRESS else entry.ip.encode() for entry in entries]
            addresses = [b"" if _is_unusual(text) else text for text in texts]
            unusual = [text if _is_unusual(text) else b"" for text in texts]
            new = [*self._distinct.add_texts(addresses), *self._unusual.add_texts(unusual)]
            self._addresses.update(keys[position] for position in new)

    def _add_answers(self, block: BlockAnswers) -> None:
        from geocli.engine.answer_counts import AnswerCounts

        if self._counts is None or self._counts.answers is not block.answers:
            self._settle()
            self._counts = AnswerCounts(block.answers)
        self._counts.add(block, self._distinct)

    def _settle(self) -> None:
        """Add what was counted by the numbers of answers."""
        if self._counts is not None:
            for key, lines, addresses in self._counts.take():
                own = self._own(key)
                self._lines[own] += lines
                self._addresses[own] += addresses

    def _own(self, key: Key) -> Key:
        return key if self._has_whole_keys else tuple([key[column] for column in self._columns])

    def _add_addresses(self, answers: BlockAnswers) -> None:
        """Count answers by keys with fields of each address, which takes longer."""
        from geocli.engine.kernel import FIRST_NUMBER, NO_PREFIX

        rows = Counter(zip(answers.block.addresses(), answers.numbers, answers.prefixes, strict=True))
        keys, texts = [], []
        for (address, number, prefix), count in rows.items():
            if number < FIRST_NUMBER:
                continue
            entry = Entry(ip=canonical(address), status="", prefix_len=None if prefix == NO_PREFIX else prefix)
            pairs = zip(self.fields, self._read(entry), self._own(answers.answers.key(number)), strict=True)
            key = tuple(own if name in PER_ADDRESS else value for name, own, value in pairs)
            self._lines[key] += count
            keys.append(key)
            texts.append(entry.ip.encode())
        if self._distinct is not None:
            self._addresses.update(keys[position] for position in self._distinct.add_texts(texts))


def _is_unusual(text: bytes) -> bool:
    """Return whether a canonical text is a network, a range or an IPv6 address that may be IPv4-compatible."""
    return b"/" in text or b"-" in text or (text.startswith(b"::") and b":" in text[2:])


def canonical(address: bytes) -> str:
    """Return an address, which the kernel has parsed, in canonical form."""
    text = address.decode()
    if ":" not in text:
        return text
    from ipaddress import ip_address

    return str(ip_address(text))


def _distinct(*, needs_set: bool) -> _AddressSet | DistinctAddresses:
    from geocli.engine.kernel import load

    if needs_set or load() is None:
        return _AddressSet()
    from geocli.engine.answer_counts import DistinctAddresses

    return DistinctAddresses()
