"""JSON lines: an object a line, which gets a key with the answer, and is otherwise as it was, to the byte."""

from __future__ import annotations

import json
import os
import re
from codecs import BOM_UTF8
from itertools import chain

from geocli.addresses import is_address
from geocli.batch.input_formats import DEFAULT_COLUMN, MAX_RECORD_BYTES, lines_of
from geocli.batch.reader import MAX_LINE_BYTES
from geocli.engine.blocks import Block
from geocli.errors import SettingsError
from geocli.formats.rows import Output, json_text
from geocli.models import KNOWN_FIELDS
from geocli.sanitize import decoded, safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

GEO = "geo"
"""The key that answers get, behind a prefix."""
_READER, _BLANKS = json.JSONDecoder(), re.compile(r"[ \t\r]*")


class JsonLinesForm:
    """An object a line, which gets a key with the answer."""

    max_bytes = MAX_RECORD_BYTES
    adds_end, has_notes = True, False

    def __init__(self, column: str | None, fields: Sequence[str] | None, *, prefix: str = "") -> None:
        """Choose the key of the addresses, dotted where objects are nested, the fields of an answer, and its key.

        Raises:
            SettingsError: the addresses are where the answers go.

        """
        path = column or DEFAULT_COLUMN
        self._path, self._fields, self._geo = path.removeprefix(".") or path, fields, prefix + GEO
        if f"{self._path}.".startswith(f"{self._geo}."):
            reason = f"answers go to {safe(self._geo)}; choose another key with --prefix, as in --prefix geo_"
            raise SettingsError(f"-c {safe(path)}", reason, origin="command line")
        self.output = self._output_of("\n")

    def _output_of(self, end: str) -> Output:
        return Output("jsonl", self._fields, before=f"{json_text(self._geo)}: ", end=f"}}{end}")

    def begin(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Return the chunks as they are; lines end as the first one does.

        Raises:
            SettingsError: the first line has an answer with other fields, so that all lines would be invalid.

        """
        first = next(chunks, b"")
        line = first.partition(b"\n")[0]
        if line.endswith(b"\r"):
            self.output = self._output_of("\r\n")
        said = _object(line)
        geo = said.get(self._geo) if isinstance(said, dict) else None
        if _is_answer(geo) and not self._is_ours(geo):
            hint = "name the same ones with -F, or another key with --prefix, as in --prefix new_"
            raise SettingsError(safe(self._geo), f"in the input already, with other fields; {hint}", origin="jsonl")
        return chain([first] if first else [], chunks)

    def cut(self, chunk: bytes, *, is_large: bool = False) -> Block:
        """Return the value of each line's key, and before it the line up to its last brace."""
        del is_large
        lines = lines_of(chunk)
        found = list(map(self._divided, lines, _objects(lines)))
        return Block.joined([text for text, _ in found], [before for _, before in found])

    def _divided(self, line: bytes, said: Any) -> tuple[bytes, bytes]:
        body = line.removeprefix(BOM_UTF8) if isinstance(said, dict) else None
        if body is not None and self._geo in said:
            body = self._without_answer(body, said)
        if body is None:
            asked = b"" if is_address(decoded(line)) else line[:MAX_LINE_BYTES]  # what is no object has no answer
            return asked, f'{{"line": {json_text(line.decode("utf-8", "backslashreplace"))}, '.encode()
        text = said.get(self._path)
        if text is None:
            text = _at_path(said, self._path.split("."))
        if not isinstance(text, str):
            text = "" if text is None else json_text(text)
        body = body.strip()[:-1].rstrip()
        return text.encode("utf-8", "backslashreplace"), b"{" if body == b"{" else body + b", "

    def _without_answer(self, line: bytes, said: dict[str, Any]) -> bytes | None:
        """Cut the answer of an earlier run out of an object, None if that is somebody else's, and not to be lost."""
        if not self._is_ours(said[self._geo]):
            return None
        body = line[: line.rfind(f"{json_text(self._geo)}:".encode())].rstrip().removesuffix(b",") + b"}"
        if _object(body) == {name: what for name, what in said.items() if name != self._geo}:
            return body  # it was the last key, as we write it
        text = line.decode("utf-8", "surrogatepass")
        kept, at = [], text.index("{") + 1
        while text[at - 1] != "}":
            key, colon = _value(text, at)
            what, end = _value(text, colon + 1)
            if key != self._geo:
                kept.append(text[at:end])
            elif not self._is_ours(what):
                return None
            at = end + 1
        return f"{{{','.join(kept)}}}".encode("utf-8", "surrogatepass")

    def _is_ours(self, geo: object) -> bool:
        return geo is None or (isinstance(geo, dict) and [*geo] == [*dict.fromkeys(self.output.names)])


def _is_answer(geo: object) -> bool:
    """Tell whether a value looks like an answer with some fields."""
    names = geo if isinstance(geo, dict) else ()
    return bool(names) and all(name in KNOWN_FIELDS or name.startswith("traits.") for name in names)


def _value(text: str, at: int) -> tuple[Any, int]:
    """Read a value behind some blanks, and return it with where the first character behind it and others is."""
    what, end = _READER.raw_decode(text, _after_blanks(text, at))
    return what, _after_blanks(text, end)


def _after_blanks(text: str, at: int) -> int:
    return next(_BLANKS.finditer(text, at)).end()


def _at_path(said: Any, path: Sequence[str]) -> Any:
    for name in path:
        said = said.get(name) if isinstance(said, dict) else None
    return said


def _objects(lines: Sequence[bytes]) -> list[Any]:
    """Read each line as JSON, None for what is none: all at once, with a word between them that nobody can know."""
    word = os.urandom(8).hex().encode()
    try:
        found = json.loads(b"[%b]" % (b',"%b",' % word).join(lines)) if lines else []
    except (ValueError, RecursionError):
        return [*map(_object, lines)]
    is_right = len(found) == 2 * len(lines) - 1 and found[1::2].count(word.decode()) == len(lines) - 1
    return found[::2] if is_right else [*map(_object, lines)]


def _object(line: bytes) -> Any:
    try:
        return _READER.decode(line.decode("utf-8-sig", "surrogatepass"))
    except (ValueError, RecursionError):
        return None
