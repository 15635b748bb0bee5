"""Keys of addresses in JSON lines: the usual one, and those to suggest instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geocli.batch.lists_and_logs import DEFAULT_COLUMN
from geocli.batch.several_addresses import has_address
from geocli.batch.usual_column_names import usual_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MAX_DEPTH = 4
"""Depth to which keys of objects are examined."""
MAX_LINES = 100
"""Lines that are examined for advice."""


def usual_key(line: bytes) -> str | None:
    """Return the path of the usual key of addresses in an object, preferably of one that has some; None without one."""
    strings = dict(_strings(parsed_object(line)))
    paths = sorted((path for path, text in strings.items() if has_address(text)), key=lambda path: "[]" in path)
    last_keys = {path.rpartition(".")[2]: path for path in reversed(paths)}
    return usual_name(paths) or last_keys.get(usual_name(list(last_keys)) or "") or usual_name(list(strings))


def advice(first: bytes, data: bytes, key: str | None) -> str:
    """Return what to try if the values of the usual key have no address; empty if nothing else.

    The first line decides, or else the first of some more of the data that has addresses.
    """
    if key is not None and key in _address_paths(first):
        return ""
    lines = [first, *data.split(b"\n", MAX_LINES)[:MAX_LINES]]
    default = "" if first.startswith(b"{") else "it is not a JSON object; choose another form: -i FORM"
    return next(filter(None, (_advice(line, key or DEFAULT_COLUMN) for line in lines)), default)


def _advice(line: bytes, key: str) -> str:
    """Return what to try instead of a key, by a line."""
    from shlex import quote

    from geocli.batch.address_scanner import starts_of_addresses

    if paths := _address_paths(line):
        usual = usual_key(line)
        chosen = usual if usual in paths else paths[0]
        return f"try: -c {quote(chosen)}" if chosen != key else ""
    return "its text has addresses; try: -i log" if parsed_object(line) and starts_of_addresses(line) else ""


def _address_paths(line: bytes) -> list[str]:
    """Return the paths of an object that have an address."""
    strings = _strings(parsed_object(line), with_arrays=True)
    return [path for path, text in strings if has_address(text)]


def parsed_object(line: bytes | str) -> dict[str, Any]:
    """Parse an object; return an empty one for anything else."""
    import json

    try:
        content = json.loads(line if isinstance(line, str) else line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _strings(
    content: dict[str, Any], path: str = "", depth: int = 1, *, with_arrays: bool = False
) -> Iterator[tuple[str, str]]:
    """Yield the strings of an object and of the first objects of arrays in it, by their paths.

    Arrays of strings are yielded as their first string, if they are wanted.
    """
    for key, value in content.items():
        if isinstance(value, str):
            yield f"{path}{key}", value
        elif depth < MAX_DEPTH and "." not in key:
            is_array = isinstance(value, list) and bool(value)
            inner = value[0] if is_array else value
            if isinstance(inner, dict):
                yield from _strings(
                    inner, f"{path}{key}{'[]' if is_array else ''}.", depth + 1, with_arrays=with_arrays
                )
            elif with_arrays and isinstance(inner, str):
                yield f"{path}{key}", inner
