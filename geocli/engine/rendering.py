"""Answers to lines of output, which lack the fields that differ from address to address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geocli.engine.kernel import ADDRESS, FRAGMENT, NETWORK, TIME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from geocli.engine.database_records import Merged
    from geocli.formats.rows import Output

DROPPED = "\5"
"""Stands for cells that belong to the fragment before them."""


class Renderer:
    """Renders answers in one format.

    Attributes:
        filled: fields that some resolved answer has, of those that are written.
        resolved_by: names of the sources of resolved answers.

    """

    def __init__(self, output: Output) -> None:
        self._output = output
        quote = '"' if output.is_json else ""
        self._fields = {
            "ip": f"{quote}{ADDRESS}{quote}",
            "network": NETWORK,  # which comes with its quotes, since an unknown one has none
            "resolved_at": f"{quote}{TIME}{quote}",
            "cached": "false",
        }
        self.filled = {"ip", "status", "source", "resolved_at", "cached"}
        self.resolved_by: set[str] = set()

    def lines(
        self,
        values: Mapping[str, Sequence[Any]],
        cells: Mapping[str, Sequence[str]],
        count: int,
        *,
        has_network: bool,
        rendered: Callable[[str], Sequence[str]] = lambda _: (),
    ) -> list[bytes]:
        """Return the lines of answers with their ends; bytes of the kernel stand for the fields that differ.

        Args:
            values: fields in their JSON form, side by side; None where unknown.
            cells: fields that are rendered already, as `Output.lines` takes them.
            count: the number of answers.
            has_network: whether the answers name networks.
            rendered: returns the cells of a field that is rendered.

        """
        if "resolved" in values["status"]:
            self._note(values, rendered, has_network=has_network)
        fields = self._fields
        if self._output.format == "label" and not has_network:  # a label has no comma for what is left out
            fields = fields | {"network": ""}
        cells = {**cells, **{name: [text] * count for name, text in fields.items()}}
        end = self._output.end
        return [f"{line}{end}".encode() for line in self._output.lines(values, cells, count)]

    def frame(self, merged: Merged, *, has_network: bool) -> bytes:
        """Return what the lines of answers have in common, with the kernel's bytes for fields and for fragments."""
        rest = [name for names, *_ in merged.columns for name in names[1:]]
        cells = {names[0]: [FRAGMENT] for names, *_ in merged.columns} | {name: [DROPPED] for name in rest}
        values = {name: column[:1] for name, column in merged.values.items()}
        (line,) = self.lines(values, cells, 1, has_network=has_network, rendered=merged.rendered)
        for name in rest:
            line = line.replace(f"{self._output.glue(name)}{DROPPED}".encode(), b"", 1)
        return line

    def joined(self, names: Sequence[str], rows: Iterable[Sequence[str]]) -> list[bytes]:
        """Return the fragments of lines with the cells of neighbouring fields."""
        pattern = "%s".join(["", *(self._output.glue(name).replace("%", "%%") for name in names[1:]), ""])
        return [(pattern % tuple(cells)).encode() for cells in rows]

    def _note(
        self, values: Mapping[str, Sequence[Any]], rendered: Callable[[str], Sequence[str]], *, has_network: bool
    ) -> None:
        """Note which fields resolved answers have, and their sources; looks at most fields once."""
        self.resolved_by.update(*(source.split("+") for source in set(values["source"])))
        if has_network:
            self.filled.add("network")
        nothing = self._output.cell(None)
        for name in set(self._output.cell_names) - self.filled:
            field, _, trait = name.partition(".")
            known = values.get(field, ())
            if trait:
                known = [(traits or {}).get(trait) for traits in known]
            if any(value is not None for value in known) or any(cell != nothing for cell in rendered(name)):
                self.filled.add(name)
