"""The rows of a block are assembled in parts of bounded size, in the order of its addresses."""

from __future__ import annotations

import gc
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING
from weakref import ref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocli.batch.lists_and_logs import LogForm
from geocli.batch.row_maker import OUT_BYTES, RowMaker
from geocli.cache import GeoCache
from geocli.engine.block_answers import Assembly
from geocli.engine.blocks import Block, offsets
from geocli.engine.lookup_table import LookupTable
from geocli.formats.rows import Output
from geocli.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from geocli.engine.block_answers import BlockAnswers

OUTPUT = Output("csv", ("ip", "status", "network", "resolved_at"))
AT = "2026-06-01T12:00:00Z"
TEXTS = st.sampled_from([b"1.2.3.4", b"10.0.0.1", b"::1", b"x", b"", b"255.255.255.255", b"2001:4860:4860::8888"])
STATUSES = {b"10.0.0.1": "special", b"::1": "special", b"255.255.255.255": "special"}


@cache
def table() -> LookupTable:
    return LookupTable([], None, OUTPUT, is_kept=False)


def row(text: bytes, single: bytes) -> bytes:
    """Return the row of an address without a database."""
    if text in {b"x", b""}:
        return single
    return f"{text.decode()},{STATUSES.get(text, 'unresolved')},,{AT}\n".encode()


def test_memory_is_freed_without_the_garbage_collector() -> None:
    """A full table is replaced by a new one; the collector would run much later."""
    own = LookupTable([], None, OUTPUT, is_kept=False)
    own.find(Block.joined([b"1.2.3.4"], [b""]))
    answers = ref(own.answers)
    gc.disable()
    try:
        del own
        assert answers() is None
    finally:
        gc.enable()


def written(answers: BlockAnswers, singles: list[bytes], room: int) -> list[bytes]:
    """Write the rows of a block to a buffer of this size, which grows where a row does not fit."""
    assembly, parts = Assembly(answers, OUTPUT, AT, singles), list[bytes]()
    while not assembly.is_complete:
        out = bytearray(room)
        size = assembly.write(out)
        assert size <= room
        if not size and not assembly.is_complete:
            room += 1
        parts.append(bytes(out[:size]))
    assert 0 == assembly.write(bytearray(room))
    return parts


@settings(deadline=None)
@given(
    asked=st.lists(st.tuples(TEXTS, st.binary(max_size=8), st.integers(0, 3), st.binary(max_size=40)), max_size=20),
    room=st.integers(1, 200),
)
def test_parts_of_any_size_are_the_whole(asked: list[tuple[bytes, bytes, int, bytes]], room: int) -> None:
    """They consist of copied text, delimiters, rows, and lines of the scalar path; no part exceeds its buffer."""
    texts, copies, counts, _ = [list(column) for column in zip(*asked, strict=True)] or [[], [], [], []]
    block = Block.joined(texts, copies)
    block.padding, block.delimiter = offsets(counts), b";"
    actual = table().find(block)
    singles = [single for text, *_, single in asked if text in {b"x", b""}]
    expected = [copied + b";" * count + row(text, single) for text, copied, count, single in asked]
    parts = written(actual, singles, room)

    assert b"".join(expected) == b"".join(parts)
    assert max(map(len, parts), default=0) <= max(room, *map(len, expected), 0)


@pytest.fixture
def maker(tmp_path: Path) -> Callable[[Output], RowMaker]:
    chosen = Settings(data_dir=str(tmp_path / "data"), databases=(), database_dirs=())
    opened = GeoCache(settings=chosen, clock=lambda: datetime(2026, 6, 1, 12, tzinfo=UTC))
    return lambda output: RowMaker(opened, "no-cache", LogForm(output, is_extract=False))


def test_memory_for_rows_is_bounded(maker: Callable[[Output], RowMaker]) -> None:
    """For rows of any length."""
    texts, single = [b"x"] * 100, b"y" * 999_999 + b"\n"
    block = Block.joined(texts, [b"copied,"] * 100)
    block.padding = offsets([1] * 100)
    actual = table().find(block)
    parts = [bytes(part) for part in maker(OUTPUT)._assembled(actual, [single] * 100)]  # noqa: SLF001 (a file would take too long)

    assert (b"copied,," + single) * 100 == b"".join(parts)
    assert max(map(len, parts)) <= OUT_BYTES


def test_the_buffer_grows_for_a_larger_row(maker: Callable[[Output], RowMaker]) -> None:
    """At most to twice its size."""
    single = b"y" * (3 * OUT_BYTES)
    actual = table().find(Block.joined([b"x", b"1.2.3.4", b"x"], [b"", b"a", b"b"]))
    parts = [bytes(part) for part in maker(OUTPUT)._assembled(actual, [single, single])]  # noqa: SLF001 (as above)

    assert single + b"a" + row(b"1.2.3.4", b"") + b"b" + single == b"".join(parts)
    assert max(map(len, parts)) <= 4 * OUT_BYTES


def test_memory_for_rows_of_the_scalar_path_is_bounded(maker: Callable[[Output], RowMaker]) -> None:
    """A log with few addresses is also written in parts."""
    line = b"x" * 9_980 + b" 10.0.0.1 and\n"
    rows = maker(Output("label", ("scope",), end="")).one_by_one(line * 500)
    parts = list(rows.data)

    assert line.replace(b"1 and", b"1 [private] and") * 500 == b"".join(parts)
    assert max(map(len, parts)) <= OUT_BYTES + 2 * len(line)


def test_the_tail_is_written_last(maker: Callable[[Output], RowMaker]) -> None:
    """Also without any address."""
    output = Output("label", ("scope",), end="")
    form, answers = LogForm(output, is_extract=False), LookupTable([], None, output, is_kept=False)
    for text, expected in ((b"no address\n", b"no address\n"), (b"a 10.0.0.1 b\n", b"a 10.0.0.1 [private] b\n")):
        actual = answers.find(form.cut(text, is_large=True))
        assert expected == b"".join(map(bytes, maker(output)._assembled(actual, [])))  # noqa: SLF001 (as above)
