"""The answers that a batch has met, by number: how they are written, and what is counted of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geocli.storage.place_encoding import place_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from geocli.formats.rows import Output

MARK, MARK_BYTE = "\0", b"\0"
"""Stands in a rendered line for what differs from address to address; no rendered text has it."""
VARIABLE = ("ip", "network", "resolved_at")
"""Fields that differ between addresses of one answer."""
OVERHEAD_BYTES = 90
"""About what an answer takes beside its texts."""


class Rendered:
    """Answers by number, from 1 on, rendered but for the fields that vary. Only its owner's lock lets add to it."""

    def __init__(self, output: Output, *, is_kept: bool) -> None:
        """Begin without answers.

        Args:
            output: what lines look like.
            is_kept: whether the journal will ask for places.

        """
        self._output, self._is_kept = output, is_kept
        self.variable = [name for name in output.cell_names if name in VARIABLE]
        """The fields that go between the segments of a line, in their order."""
        self.begins_blank = True
        """Whether all lines begin with a field that varies."""
        self.segments: list[NDArray[Any]] = [np.full(1, b"", object) for _ in range(len(self.variable) + 1)]
        """What a line is made of: by position, then by number, as bytes."""
        self.places: NDArray[Any] = np.full(1, b"", object)
        """What the journal keeps of an answer, by number, but for what many have in common, as bytes."""
        self.groups = np.zeros(1, np.int32)
        """Which of `shared` it has in common with others, by number."""
        self.shared: list[bytes] = []
        """What the journal keeps of all answers of a group; may be read while some are added."""
        self._group_of: dict[str, int] = {}
        self.sources = np.zeros(1, np.uint32)
        """The databases that an answer is from, by number: bit i stands for the i-th."""
        self.labels: list[str] = [""]
        """What an answer is counted as, by number: the code of a country, else its status."""
        self.filled = {"ip", "status", "source", "resolved_at", "cached"}
        """Fields that some resolved answer has, of those that are written."""
        self.resolved_by: set[str] = set()
        """Names of the sources of resolved answers."""
        self.longest = 1
        """No segment has more bytes."""
        self.size_bytes = 0
        """About how much memory all of this takes."""

    def add(
        self,
        values: Mapping[str, Sequence[Any]],
        sources: NDArray[np.uint32],
        cells: Mapping[str, Sequence[str]] | None = None,
    ) -> range:
        """Take answers with the databases that they are from, and return their numbers.

        Args:
            values: fields in their JSON form, side by side; None where unknown.
            sources: bit i stands for the i-th database.
            cells: fields that are rendered already.

        """
        count = len(sources)
        first, after = len(self.labels), len(self.labels) + count
        if "resolved" in values["status"]:
            self._note(values, cells or {}, sources)
        if after > len(self.sources):
            self.segments = [grown(column, after) for column in self.segments]
            self.sources = grown(self.sources, after)
        for column, texts in zip(self.segments, self._written(values, cells or {}, sources), strict=True):
            column[first:after] = texts
            sizes = [*map(len, texts)]
            self.longest, self.size_bytes = max(self.longest, *sizes), self.size_bytes + sum(sizes)
        self.begins_blank &= not any(self.segments[0][first:after])
        self.sources[first:after] = sources
        if self._is_kept:
            self._keep(first, after, values)
        codes = values.get("country_code", [None] * count)
        self.labels += [code or status for code, status in zip(codes, values["status"], strict=True)]
        self.size_bytes += count * OVERHEAD_BYTES
        return range(first, after)

    def _note(
        self, values: Mapping[str, Sequence[Any]], cells: Mapping[str, Sequence[str]], sources: NDArray[np.uint32]
    ) -> None:
        """Note which fields resolved answers have, and what they are from; looks at most fields once."""
        self.resolved_by.update(*(source.split("+") for source in set(values["source"])))
        if sources.any():
            self.filled.add("network")
        nothing = self._output.cell(None)
        for name in set(self._output.cell_names) - self.filled:
            field, _, trait = name.partition(".")
            known = values.get(field, ())
            if trait:
                known = [(traits or {}).get(trait) for traits in known]
            rendered = cells.get(name, ())
            if any(value is not None for value in known) or any(cell != nothing for cell in rendered):
                self.filled.add(name)

    def _written(
        self, values: Mapping[str, Sequence[Any]], cells: Mapping[str, Sequence[str]], sources: NDArray[np.uint32]
    ) -> list[list[bytes]]:
        """Return the segments of answers by position."""
        count = len(sources)
        marked = {**cells, **{name: [mark] * count for name, mark in marks(self._output).items()}}
        segments = self._parts(values, marked, count)
        if self._output.format != "label" or "network" not in self.variable or sources.all():
            return segments
        unnamed = self._parts(values, marked | {"network": [""] * count}, count)
        for at in (number for number, name in enumerate(self.variable) if name == "network"):
            unnamed.insert(at, [b""] * count)  # a label has no comma for what is left out
        named = sources.tolist()
        return [
            [text if is_named else other for is_named, text, other in zip(named, *both, strict=True)]
            for both in zip(segments, unnamed, strict=True)
        ]

    def _parts(
        self, values: Mapping[str, Sequence[Any]], cells: Mapping[str, Sequence[str]], count: int
    ) -> list[list[bytes]]:
        lines = self._output.lines(values, cells, count)
        parts, end = MARK.join([*lines, ""]).encode().split(MARK_BYTE), self._output.end.encode()
        width = (len(parts) - 1) // count
        *others, last = (parts[number:-1:width] for number in range(width))
        return [*others, [part + end for part in last]]

    def _keep(self, first: int, after: int, values: Mapping[str, Sequence[Any]]) -> None:
        """Make places of what is said, for the journal."""
        if after > len(self.places):
            self.places, self.groups = grown(self.places, after), grown(self.groups, after)
        shared, own = place_texts(values)
        for text in shared:
            if text not in self._group_of:
                self._group_of[text] = len(self.shared)
                self.shared.append(text.encode())
                self.size_bytes += 2 * len(text)
        self.groups[first:after] = [*map(self._group_of.__getitem__, shared)]
        self.places[first:after] = [text.encode() for text in own]
        self.size_bytes += sum(map(len, own))


def grown(column: NDArray[Any], least: int) -> NDArray[Any]:
    """Return a copy with more room; the old one stays as it is for threads that read it."""
    longer = np.full(max(2 * len(column), least, 1024), None if column.dtype == object else 0, column.dtype)
    longer[: len(column)] = column
    return longer


def marks(output: Output) -> dict[str, str]:
    """Return what stands for the fields that vary; an unknown network is no text in JSON, so it has no quotes."""
    quoted = f'"{MARK}"' if output.is_json else MARK
    return {"ip": quoted, "network": MARK, "resolved_at": quoted, "cached": "false"}
