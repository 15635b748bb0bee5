"""Paths to addresses in JSON: `ip`, `client.ip`, `ips.0`, `Records[].sourceIPAddress`, `ips[]`."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from geocli.formats.rows import value_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

EACH = "[]"
"""Suffix of the key of an array: each of its elements."""
_DECODER, _BLANKS = json.JSONDecoder(), re.compile(r"[ \t\r\n]*")


class Target(NamedTuple):
    """An object that gets answers."""

    content: dict[str, Any]
    start: int
    """Offset in the text of the line."""
    end: int


class Path:
    """The path to an address, or to several, in an object.

    Attributes:
        text: as it is written.
        arrays: paths to arrays of objects, one in another, each of whose elements has the address.
        key: the path from there, exactly as a key or dotted.
        is_list: whether it leads to an array of addresses, each of which has an answer.

    """

    def __init__(self, text: str) -> None:
        self.text = text.removeprefix(".") or text
        *arrays, key = re.sub(r"\[([0-9]+)\]", r".\1", self.text).split(EACH)
        self.is_list = bool(arrays) and not key
        if self.is_list:
            key = arrays.pop()
        self.arrays = tuple(array.strip(".") for array in arrays)
        self.key = key.removeprefix(".") or key
        self._steps = self.key.split(".")

    def address(self, content: dict[str, Any]) -> str:
        """Return the address in an object as written, or those of an array, separated."""
        value = content.get(self.key)
        return value if isinstance(value, str) else _text(self._value(content))

    def addresses(self, content: dict[str, Any]) -> list[str]:
        """Return the addresses of an array in an object, or a single value instead of one."""
        value = self._value(content)
        return [_text(each) for each in value] if isinstance(value, list) else [_text(value)]

    def _value(self, content: dict[str, Any]) -> Any:
        value: Any = content.get(self.key)
        if value is not None:
            return value
        value = content
        for step in self._steps:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        return value


def _text(value: Any) -> str:
    """Return a value as a string with an address; those of an array are separated."""
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return value_text(value)


def targets(text: str, content: dict[str, Any], arrays: Sequence[str]) -> list[Target] | None:
    """Return the objects of arrays in an object; None if it has no such array."""
    start = _after_blanks(text, 0)
    objects: list[Target] | None = [Target(content, start, len(text.rstrip()))]
    for array in arrays:
        inner = [_elements(text, target.start, array.split(".")) for target in objects or ()]
        objects = [target for each in inner if each is not None for target in each]
        if not objects and None in inner:
            return None
    return objects


def _elements(text: str, start: int, steps: Sequence[str]) -> list[Target] | None:
    """Return the objects of an array within an object that starts at an offset."""
    for step in steps:
        if text[start] != "{":
            return None
        places = {key: at for key, _, at, _ in members(text, start)}
        if step not in places:
            return None
        start = places[step]
    if text[start] != "[":
        return None
    objects, at = [], start + 1
    while text[_after_blanks(text, at)] != "]":
        begin = _after_blanks(text, at)
        content, end = _DECODER.raw_decode(text, begin)
        if isinstance(content, dict):
            objects.append(Target(content, begin, end))
        at = _after_blanks(text, end)
        if text[at] == ",":
            at += 1
    return objects


def members(text: str, start: int) -> Iterator[tuple[str, Any, int, int]]:
    """Return the members of an object that starts at an offset: key, value, and the bounds of the value.

    The end is the offset of the comma or brace that follows.
    """
    at = _after_blanks(text, start) + 1
    while text[at - 1] != "}" and text[_after_blanks(text, at)] != "}":
        key, end = _DECODER.raw_decode(text, _after_blanks(text, at))
        begin = _after_blanks(text, _after_blanks(text, end) + 1)
        value, end = _DECODER.raw_decode(text, begin)
        end = _after_blanks(text, end)
        yield key, value, begin, end
        at = end + 1


def _after_blanks(text: str, at: int) -> int:
    return next(_BLANKS.finditer(text, at)).end()
