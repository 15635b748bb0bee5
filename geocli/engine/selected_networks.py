"""The networks of databases whose entries are selected, with the values of some fields."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from geocli.engine.kernel_walk import walker
from geocli.engine.networks import SELECTED, UNSELECTED, entry_of
from geocli.engine.search_tree import EMBEDDED, SCOPES
from geocli.merging import merge
from geocli.models import reader

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence
    from typing import Any

    from geocli.databases.database import Database
    from geocli.engine.networks import Lines, Numbers
    from geocli.models import Answer
    from geocli.selection import Selection

FIELDS_OF_ADDRESSES = ("ip", "network", "resolved_at", "cached", "error")
"""Fields that networks do not have."""
FIELDS_OF_SOURCES = frozenset({"status", "source", "built_at"})
"""Fields that depend on all values of a record."""


class SelectedNetworks:
    """The networks of databases whose entries are selected.

    Attributes:
        unknown_fields: fields of the selection without a value in any database.
        unmet: the field and the text of each alternative that no network has so far.

    """

    def __init__(
        self, databases: Sequence[Database], selection: Selection, fields: Sequence[str], language: str
    ) -> None:
        """Read the records that the selection can tell apart.

        Args:
            databases: in their order, at least one.
            selection: of entries.
            fields: whose values are returned.
            language: of names.

        Raises:
            DatabaseError: a database is damaged, cannot be read, or was replaced.

        """
        self._selection, self._printed = selection, tuple(fields)
        self._fields = tuple(dict.fromkeys((*selection.fields, *fields)))
        self._read, self._read_printed = reader(self._fields), reader(self._printed)
        self._has_all = not FIELDS_OF_SOURCES.isdisjoint(self._fields)
        self._groups: dict[str, int] = {}
        self._values: list[Sequence[Any]] = []
        self._walker = walker(databases)
        self._classes = self._walker.classes(self._key, language, self._fields)
        self.unknown_fields = self._unknown_fields()
        self.unmet = selection.alternatives

    def _key(self, answer: Answer) -> Hashable:
        """Return the relevant part of an answer: how it is merged, and the conditions that its values meet."""
        place = answer.place
        if self._has_all:
            return repr(place)
        values = zip(self._fields, self._read(entry_of(answer, None)), strict=True)
        parts = tuple(self._part(field, value) for field, value in values)
        asn = place.asn if "org" in self._fields else None
        return answer.is_empty, answer.has_place, answer.has_stand_in, asn, place.org is None, parts

    def _part(self, field: str, value: Any) -> Hashable:
        """Return the relevant part of a value: the alternatives that it matches, and the value if it is returned.

        Values that exclude a network are alike.
        """
        if value is None:
            return None
        conditions = [condition for condition in self._selection.conditions if condition.field == field]
        if not all(condition.holds(value) for condition in conditions):
            return False
        return tuple(condition.met(value) for condition in conditions), field in self._printed and repr(value)

    def _unknown_fields(self) -> list[str]:
        entries = [entry_of(answer, None) for own in self._classes for answer in own.answers if answer is not None]
        read = reader(self._selection.fields)
        columns = zip(*map(read, entries), strict=True) if entries else [()] * len(self._selection.fields)
        columns = zip(self._selection.fields, columns, strict=True)
        return [name for name, column in columns if name != "scope" and all(value is None for value in column)]

    def lines(
        self, version: int, form: Lines, tail: Callable[[Sequence[Any]], str], *, is_apart: bool = False
    ) -> Iterator[bytes]:
        """Return lines of the selected addresses of a family in their order, some at a time.

        Neighbours with the same values are merged to the fewest networks, unless `is_apart`.

        Args:
            version: of IP.
            form: of the lines; for one call.
            tail: returns what a line ends with, by the values of the fields.
            is_apart: whether the networks are those of the databases.

        Raises:
            DatabaseError: a tree is damaged.

        """

        def judge(numbers: Numbers) -> int:
            value = self._judge(numbers)
            form.tails += [tail(values).encode() for values in self._values[len(form.tails) :]]
            return value

        yield from self._walker.lines(version, self._classes, judge, form, is_apart=is_apart)

    def _judge(self, numbers: Numbers) -> int:
        """Return the value of a combination of a scope and of classes, by the entry that a lookup would return."""
        scope, *classes = numbers
        if scope == EMBEDDED:
            return UNSELECTED
        answers = [own.answers[number] for own, number in zip(self._classes, classes, strict=True)]
        entry = entry_of(reduce(merge, filter(None, answers)) if any(answers) else None, SCOPES[scope])
        if not self._selection.matches(entry):
            return UNSELECTED
        self.unmet -= self._selection.met(entry)
        values = self._read_printed(entry)
        group = self._groups.setdefault(repr(values), len(self._values))
        if group == len(self._values):
            self._values.append(values)
        return SELECTED + group
