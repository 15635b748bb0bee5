"""Divide JSON lines into addresses and text: objects get keys with answers, and are otherwise unchanged."""

from __future__ import annotations

import json
import os
import re
from codecs import BOM_UTF8
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from geocli.address_ranges import is_readable
from geocli.batch import several_addresses
from geocli.batch.json_paths import Path, members, targets
from geocli.batch.lists_and_logs import DEFAULT_COLUMN, Form, lines_of
from geocli.batch.reader import ELLIPSIS, MAX_LINE_BYTES
from geocli.batch.table_columns import prefixes_of
from geocli.batch.table_writers import GEO, AnswerWriter
from geocli.engine.blocks import Block
from geocli.errors import SettingsError
from geocli.formats.rows import Output, json_text
from geocli.models import KNOWN_FIELDS
from geocli.sanitize import decoded, safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeAlias

    Pieces: TypeAlias = list[tuple[bytes, str]]
    """Pieces of text, each with the address whose answer follows it."""

MAX_HINT_CHARS = 64 * 1024
"""Length of the beginning of a document by which a command for it is chosen."""
MAX_HINT_ARRAYS = 50
"""Arrays that are examined for it."""
_DECODER, CR = json.JSONDecoder(), b"\r"


class JsonLinesForm(Form):
    """Objects, one per line, which get a key with the answer to each of their addresses."""

    def __init__(  # noqa: PLR0913 (options of the command)
        self,
        columns: Sequence[str],
        fields: Sequence[str] | None,
        *,
        format_: str | None = None,
        prefix: str = "",
        with_header: bool = True,
        pick: str = "public",
    ) -> None:
        """Write objects as `jsonl`, only their answers in other formats.

        Raises SettingsError if addresses are in the keys of answers, or in different arrays.
        """
        self._paths = [Path(column) for column in columns or (DEFAULT_COLUMN,)]
        prefixes = prefixes_of([path.key for path in self._paths], prefix)
        self._keys = [f"{each}{GEO}" for each in prefixes]
        self._colons = [f"{json_text(key)}: ".encode() for key in self._keys]
        (*_, last) = self._paths
        is_simple = len(self._paths) == 1 and format_ in {None, "jsonl"} and not (last.arrays or last.is_list)
        self._only = last.key if is_simple else ""
        """The only key of addresses, if it is the same in all objects."""
        self._read = several_addresses.reader(pick)
        self._answers: AnswerWriter | None = None
        self.output = Output("jsonl", fields, end="")
        self._check_paths()
        if format_ not in {None, "jsonl"}:
            self._answers = AnswerWriter(Output(format_, fields, with_header=False, end=""), prefixes)
            self.output = self._answers.output
            self.output.header = self._answers.head() if with_header else b""

    def _check_paths(self) -> None:
        if len({path.arrays for path in self._paths}) > 1 or (
            len(self._paths) > 1 and any(path.is_list for path in self._paths)
        ):
            reason = "several -c must be in the same objects; run a batch for each array"
            raise SettingsError("-c", reason, origin="command line")
        for path in self._paths:
            for key in self._keys:
                if f"{path.key}.".startswith(f"{key}."):
                    reason = f"answers go to {safe(key)}; choose another key with --prefix, as in --prefix geo_"
                    raise SettingsError(f"-c {safe(path.text)}", reason, origin="command line")

    def begin(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Return the chunks as they are.

        Raises SettingsError if the input is one document, or if the first line has answers with other fields, so that
        all lines would be invalid.
        """
        first = next(chunks, b"")
        reject_document(first)
        content = _object(first.lstrip().partition(b"\n")[0])
        for key in self._keys if isinstance(content, dict) and self._answers is None else ():
            if _is_answer(content.get(key)) and not self._is_ours(content[key]):
                hint = "name the same ones with -F, or another key with --prefix, as in --prefix new_"
                raise SettingsError(safe(key), f"in the input already, with other fields; {hint}", origin="jsonl")
        return chain([first] if first else [], chunks)

    def cut(self, chunk: bytes, *, is_large: bool = False) -> Block:
        """Return the addresses of each line, and the text to write before and after their answers."""
        lines = lines_of(chunk)
        copied, addresses, between = list[bytes](), list[str](), b""
        geo, before_geo = self._keys[0], b", " + self._colons[0]
        for line, content in zip(lines, _objects(lines), strict=True):
            # The fast path, for the usual line.
            if self._only and type(content) is dict and geo not in content and self._only in content:
                start = line.rstrip()[:-1].rstrip()
                copied.append(between + start + before_geo)
                addresses.append(self._paths[0].address(content))
                between = line[len(start) :] + b"\n"
                continue
            pieces, rest = self._divide(line, content) if line.strip() else ([], line)
            addresses += [address for _, address in pieces]
            texts, between = self._copied(pieces, rest, between)
            copied += texts
        if not is_large:
            addresses = [several_addresses.chosen(address, self._read) for address in addresses]
        block = Block.joined([each.encode("utf-8", "backslashreplace") for each in addresses], copied, between)
        block.read = self._read
        return block

    def _copied(self, pieces: Pieces, rest: bytes, between: bytes) -> tuple[list[bytes], bytes]:
        """Return the text to write before each answer of a line, and the text after the last one."""
        if self._answers is None:
            texts = [before for before, _ in pieces]
            if not texts:
                return [], between + rest + b"\n"
            return [between + texts[0], *texts[1:]], rest + b"\n"
        texts = list[bytes]()
        for _ in range(0, len(pieces), len(self._paths)):
            texts += [between + self._answers.before[0], *self._answers.before[1:]]
            between = b"\n"
        return texts, between

    def _divide(self, line: bytes, content: Any) -> tuple[Pieces, bytes]:
        """Return the pieces of a line, and the text after the last answer."""
        if isinstance(content, dict):
            arrays = self._paths[0].arrays
            division = self._in_arrays(line, content, arrays) if arrays else self._in_object(line, content)
            if division is not None and not (isinstance(content, _NotUtf8) and _has_bytes(division[0])):
                return division
        # A line that is not an object must not be answered like an address.
        address = "" if is_readable(decoded(line)) else decoded(line[:MAX_LINE_BYTES])
        start = f'{{"line": {json_text(line.removesuffix(CR).decode("utf-8", "backslashreplace"))}'.encode()
        pieces = [(b", " + colon, address) for colon in self._colons]
        pieces[0] = start + pieces[0][0], address
        return pieces, b"}" + line[len(line.removesuffix(CR)) :]

    def _in_object(self, line: bytes, content: dict[str, Any]) -> tuple[Pieces, bytes] | None:
        """Divide the text of an object; None if its keys for answers are used for something else."""
        if self._answers is None and any(key in content for key in self._keys):
            without = self._without_answers(line, content)
            if without is None:
                return None
            line = without
        start = line.rstrip()[:-1].rstrip()
        rest = line[len(start) :]
        before = start if start.endswith(b"{") else start + b", "
        pieces = list[tuple[bytes, str]]()
        for path, colon in zip(self._paths, self._colons, strict=True):
            if path.is_list:
                before += colon + b"["
                for address in path.addresses(content):
                    pieces.append((before, address))
                    before = b", "
                return pieces, (b"]" if pieces else before + b"]") + rest
            pieces.append((before + colon, path.address(content)))
            before = b", "
        return pieces, rest

    def _in_arrays(self, line: bytes, content: dict[str, Any], arrays: Sequence[str]) -> tuple[Pieces, bytes] | None:
        """Divide the text of an object whose arrays have objects with addresses."""
        text = line.decode("utf-8-sig", "surrogateescape")
        objects = targets(text, content, arrays)
        if objects is None:
            return self._in_object(line, content)
        bom = line[: len(line) - len(text.encode("utf-8", "surrogateescape"))]
        pieces, at, between = list[tuple[bytes, str]](), 0, bom
        for target in objects:
            division = self._in_object(
                text[target.start : target.end].encode("utf-8", "surrogateescape"), target.content
            )
            if division is None:
                return None
            between += text[at : target.start].encode("utf-8", "surrogateescape")
            inner, rest = division
            if inner:
                inner[0] = between + inner[0][0], inner[0][1]
            pieces += inner
            between = rest if inner else between + rest
            at = target.end
        return pieces, between + text[at:].encode("utf-8", "surrogateescape")

    def _without_answers(self, line: bytes, content: dict[str, Any]) -> bytes | None:
        """Remove the answers of an earlier run from an object; None if a key has another value, which must be kept."""
        keys = [key for key in self._keys if key in content]
        if not all(self._is_ours(content[key]) for key in keys):
            return None
        inner = line.rstrip()[:-1]
        end = line[len(inner.rstrip()) :]
        # Most probably it is the last member, as an earlier run has written it.
        body = line[: line.rfind(json_text(keys[0]).encode() + b":")].rstrip().removesuffix(b",").rstrip() + end
        if _object(body) == {name: value for name, value in content.items() if name not in keys}:
            return body
        text = line.decode("utf-8", "surrogateescape")
        start = last = text.index("{") + 1
        members_left = []
        for key, value, _, stop in members(text, start - 1):
            if key not in keys:
                members_left.append(text[last:stop])
            elif not self._is_ours(value):
                return None
            last = stop + 1
        return f"{text[:start]}{','.join(members_left).rstrip()}".encode("utf-8", "surrogateescape") + end

    def _is_ours(self, geo: object) -> bool:
        """Return whether a value is an answer with these fields, or a list of such answers."""
        if isinstance(geo, list):
            return self._paths[0].is_list and all(map(self._is_ours, geo))
        return geo is None or (isinstance(geo, dict) and [*geo] == [*self.output.names])


def reject_document(first: bytes) -> None:
    """Raise SettingsError if input begins with one JSON document: an array, or an object over several lines.

    The message has a command that makes lines of it.
    """
    text = decoded(first.removeprefix(BOM_UTF8)).strip()
    if not text.startswith(("{", "[")):
        return
    try:
        content, end = _DECODER.raw_decode(text)
        is_document = isinstance(content, list) or "\n" in text[:end]
    except ValueError as error:
        # The rest of the document may not have been read yet.
        is_document = getattr(error, "pos", 0) >= len(text) and (text in {"{", "["} or "\n" in text)
        is_document = is_document or text.partition("\n")[0].endswith(decoded(ELLIPSIS))
    except RecursionError:
        return
    if is_document:
        reason = f"one JSON document, not one a line; try: {_command_for(text[:MAX_HINT_CHARS])}"
        raise SettingsError("input", reason, origin="jsonl")


def _command_for(document: str) -> str:
    """Return the command that writes a line for each element of a document's first array, or for the document."""
    starts = re.finditer(r'\A\[\s*(?P<quote>"?)|"(?P<key>[A-Za-z_]\w*)"\s*:\s*\[\s*(?:\{|(?P<string>")|\Z)', document)
    for array in islice(starts, MAX_HINT_ARRAYS):
        # Not one in another object or array.
        before = re.sub(r'"(?:[^"\\]|\\.)*"', "", document[: array.start()])
        if sum(map(before.count, "{[")) - sum(map(before.count, "}]")) == (array["key"] is not None):
            path = f".{array['key'] or ''}[]"
            has_strings = array["quote"] or array["string"]
            return (
                f"jq -r '{path}' FILE | geocli batch" if has_strings else f"jq -c '{path}' FILE | geocli batch -i jsonl"
            )
    return "jq -c '.' FILE | geocli batch -i jsonl"


def _is_answer(geo: object) -> bool:
    """Return whether a value looks like an answer with some fields."""
    names = geo if isinstance(geo, dict) else ()
    return bool(names) and all(name in KNOWN_FIELDS or name.startswith("traits.") for name in names)


def _has_bytes(pieces: Pieces) -> bool:
    """Return whether an address has bytes that are not UTF-8."""
    return any(not address.isprintable() for _, address in pieces)


def _objects(lines: Sequence[bytes]) -> list[Any]:
    """Parse each line as JSON, None if it is invalid: all together, separated by an unpredictable string."""
    word = os.urandom(8).hex().encode()
    try:
        parsed = json.loads(b"[%b]" % (b',"%b",' % word).join(lines)) if lines else []
    except (ValueError, RecursionError):
        return [*map(_object, lines)]
    # Else a line was part of a value, or several values.
    is_separated = len(parsed) == 2 * len(lines) - 1 and parsed[1::2].count(word.decode()) == len(lines) - 1
    return parsed[::2] if is_separated else [*map(_object, lines)]


def _object(line: bytes) -> Any:
    try:
        return _DECODER.decode(line.decode("utf-8-sig", "surrogatepass"))
    except UnicodeDecodeError:
        # Servers log the bytes of a request as they are.
        content = _object(line.decode("utf-8", "surrogateescape").encode("utf-8", "surrogatepass"))
        return _NotUtf8(content) if isinstance(content, dict) else None
    except (ValueError, RecursionError):
        return None


class _NotUtf8(dict[str, Any]):
    """An object whose line has bytes that are not UTF-8, which are lone surrogates in its strings (PEP 383)."""
