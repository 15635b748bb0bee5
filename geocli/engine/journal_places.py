"""Places of a batch's answers, encoded for the journal where the kernel finds them."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any

from geocli.engine.kernel import Packer, address_of, allocated
from geocli.storage.place_encoding import place_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from mmap import mmap

    from geocli.engine.kernel import Engine


class Places:
    """What the journal keeps of answers, divided into what is only theirs and what they share with others.

    Attributes:
        packer: the same for the kernel.
        group_count: groups of answers that share something.

    """

    def __init__(self, engine: Engine, arena: mmap, max_numbers: int) -> None:
        self._engine, self._arena = engine, arena
        widths = {"places": 8, "place_bytes": 4, "groups": 4, "group_texts": 8, "group_bytes": 4}
        self._memory = {name: allocated(width * max_numbers) for name, width in widths.items()}
        self._views = {name: memoryview(self._memory[name]).cast("Q" if widths[name] == 8 else "I") for name in widths}
        self.packer = Packer(**{name: address_of(memory) for name, memory in self._memory.items()})
        self._groups: dict[str, int] = {}

    @property
    def group_count(self) -> int:
        """Return the number of groups."""
        return len(self._groups)

    def add(self, numbers: Sequence[int], values: Mapping[str, Sequence[Any]]) -> bool:
        """Add answers by number; fields as `Renderer.lines` takes them. Return whether there was room."""
        shared, own = place_texts(values)
        new = [text for text in dict.fromkeys(shared) if text not in self._groups]
        groups = range(len(self._groups), len(self._groups) + len(new))
        has_room = self._store(groups, [text[:-1].encode() for text in new], "group_texts", "group_bytes")
        if not (has_room and self._store(numbers, [text.encode() for text in own], "places", "place_bytes")):
            return False
        self._groups |= zip(new, groups, strict=True)
        for number, text in zip(numbers, shared, strict=True):
            self._views["groups"][number] = self._groups[text]
        return True

    def _store(self, numbers: Sequence[int], texts: Sequence[bytes], offset_name: str, size_name: str) -> bool:
        used = self._engine.arena_used
        *starts, end = accumulate(map(len, texts), initial=used)
        if end > len(self._arena):
            return False
        self._arena[used:end] = b"".join(texts)
        self._engine.arena_used = end
        offsets, sizes = self._views[offset_name], self._views[size_name]
        for number, start, text in zip(numbers, starts, texts, strict=True):
            offsets[number], sizes[number] = start, len(text)
        return True
