"""Lines put together from what several databases say, each of whose records is written once."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from geocli.bulk.columns import grown
from geocli.bulk.rendered import MARK, MARK_BYTE, marks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from geocli.bulk.columns import Said, Table
    from geocli.bulk.outputs import Output


class Run(NamedTuple):
    """Cells beside each other that are from one database."""

    bit: int
    """The number of the database."""
    names: tuple[str, ...]
    """Their fields."""
    before: str
    """What stands before them."""


Layout: TypeAlias = "list[list[bytes | Run]]"
"""What each segment of a line consists of: runs, and what is the same for all lines."""


class Lines:
    """Writes lines of CSV and the like; only its owner's lock lets it."""

    def __init__(self, output: Output, tables: Sequence[Table]) -> None:
        """Take what lines look like, and who has the records."""
        self._output, self._marks, self._tables = output, marks(output), tables
        self._runs: dict[Run, int] = {}
        self._written: dict[tuple[int, int, int], tuple[NDArray[np.int32], NDArray[Any]]] = {}
        """By place in a layout and database: which run was last written of each record, from 1 on, and its text."""
        self.size_bytes = 0
        """About how much memory is taken by texts."""

    def layout(self, fields: Mapping[str, int], constants: Said) -> Layout:
        """Work out what lines consist of.

        Args:
            fields: by field, which database has it.
            constants: other fields, which are the same for all.

        """
        found: Layout = [[b""]]
        before = ""
        for name in self._output.cell_names:
            last = found[-1][-1]
            if self._marks.get(name) == MARK:
                _append(found[-1], before.encode())
                found.append([b""])
            elif name not in fields or name in self._marks:
                cell = self._marks.get(name) or self._output.cell(constants.get(name))
                _append(found[-1], f"{before}{cell}".encode())
            elif isinstance(last, Run) and last.bit == fields[name]:
                found[-1][-1] = last._replace(names=(*last.names, name))
            else:
                found[-1].append(Run(fields[name], (name,), before))
            before = self._output.separator
        _append(found[-1], self._output.end.encode())
        return found

    def segments(self, layout: Layout, numbers: NDArray[np.intp]) -> list[list[bytes]]:
        """Return the segments of lines: for each of them a list that has that of each line.

        Args:
            layout: what they consist of.
            numbers: the numbers of the records, with shape (n, databases).

        """
        found = []
        for segment, pieces in enumerate(layout):
            runs = [
                self._texts((segment, at, piece.bit), piece, numbers[:, piece.bit]) if isinstance(piece, Run) else piece
                for at, piece in enumerate(pieces)
            ]
            if isinstance(first := runs[0], bytes) and len(runs) == 1:
                found.append([first] * len(numbers))
            else:
                columns = [repeat(texts) if isinstance(texts, bytes) else texts for texts in runs if texts]
                found.append(list(map(b"".join, zip(*columns, strict=False))))
        return found

    def _texts(self, place: tuple[int, int, int], run: Run, numbers: NDArray[np.intp]) -> list[bytes]:
        """Return the run of each record; a new one is written."""
        table = self._tables[run.bit]
        written, texts = self._written.get(place, (np.zeros(0, np.int32), np.zeros(0, object)))
        if len(table.profiles) > len(texts):
            written, texts = (grown(column, len(table.profiles)) for column in (written, texts))
            self._written[place] = written, texts
        number = self._runs.setdefault(run, len(self._runs) + 1)
        is_new = np.zeros(len(texts), np.bool_)
        is_new[numbers] = True
        new = np.flatnonzero(is_new & (written != number))
        if len(new):
            columns = {name: table.columns[name][new].tolist() for name in run.names}
            lines = self._output.lines(columns, {}, len(new), run.names)
            whole = (run.before + (MARK + run.before).join(lines)).encode()
            texts[new], written[new] = whole.split(MARK_BYTE), number
            self.size_bytes += len(whole)
        found: list[bytes] = texts[numbers].tolist()
        return found


def _append(pieces: list[bytes | Run], constant: bytes) -> None:
    """Add what is the same for all lines."""
    if isinstance(last := pieces[-1], bytes):
        pieces[-1] = last + constant
    else:
        pieces.append(constant)
