"""Many records at once are read as the reader reads each, or are left to it."""

from __future__ import annotations

import mmap
import struct
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geocli.bulk.decoding import MOST_ENTRIES, MOST_SHAPES, MOST_VALUES, READABLE, Decoder, Leaf, OddError
from geocli.bulk.tree import SEPARATOR_BYTES, Tree
from geocli.databases.discovery import Database, examine
from tests.building import LONDON, TOKYO, build

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SHOWN = {"unread": True}
"""Stands for a value of a type that is left to the reader."""
_paths = count()

TEXTS = st.sampled_from(["", "x", "é" * 20, "y" * 29, "z" * 300, "A" * 70_000]) | st.text(max_size=40)
NUMBERS = st.integers(-(1 << 31), (1 << 32) - 1) | st.sampled_from([0, 1, 255, 65535, 1 << 40, 1 << 100])
SCALARS = TEXTS | NUMBERS | st.booleans() | st.floats(allow_nan=False)
KEYS = st.sampled_from(["names", "en", "de", "iso_code", "location", "country", "traits", "long" * 20])
NESTED = st.dictionaries(KEYS, SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(KEYS, SCALARS), max_size=5)
RECORDS = st.dictionaries(KEYS, SCALARS | NESTED | st.lists(NESTED | SCALARS, max_size=3), max_size=6)


def opened(path: Path, records: Sequence[dict[str, Any]]) -> tuple[Database, Tree]:
    """Write records for 1.0.0.0/8, 2.0.0.0/8, ..., and open them."""
    build(path, {f"{number}.0.0.0/8": record for number, record in enumerate(records, 1)}, ip_version=4)
    database = Database(examine(str(path), 0))
    return database, Tree.of(database)


def read(tree: Tree, count_: int, **options: Any) -> list[Any]:
    """Return the records as they are read together."""
    offsets, _ = tree.walk((np.arange(1, count_ + 1) << 24).astype(np.uint32))
    found: list[Any] = [None] * count_
    for _, template, which, column in Decoder(*tree.data, **options).groups(offsets - SEPARATOR_BYTES):
        columns = {leaf: column(leaf) for leaf in leaves(template) if leaf.type in READABLE}
        for row, at in enumerate(which.tolist()):
            found[at] = filled(template, columns, row)
    return found


def leaves(template: Any) -> Iterator[Leaf]:
    if isinstance(template, Leaf):
        yield template
    elif isinstance(template, dict | list):
        for what in template.values() if isinstance(template, dict) else template:
            yield from leaves(what)


def filled(template: Any, columns: dict[Leaf, list[Any]], row: int) -> Any:
    """Put values in the place of their leaves."""
    if isinstance(template, Leaf):
        return columns[template][row] if template in columns else SHOWN
    if isinstance(template, dict):
        return {key: filled(what, columns, row) for key, what in template.items()}
    return [filled(what, columns, row) for what in template]


def shown(value: Any, depth: int = 0) -> Any:
    """Return what is to be seen of a value: names in one language, and what is readable."""
    if isinstance(value, dict):
        return {key: shown_of(key, what, depth) for key, what in value.items()}
    if isinstance(value, list):
        return [shown(what, depth + 1) for what in value]
    return SHOWN if isinstance(value, int) and not isinstance(value, bool) and value >= 1 << 32 else value


def shown_of(key: str, what: Any, depth: int) -> Any:
    if key == "names" and depth and isinstance(what, dict):
        english = what.get("en")
        return {"en": SHOWN if isinstance(english, dict | list) else shown(english)} if "en" in what else {}
    return shown(what, depth + 1)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(RECORDS, min_size=1, max_size=12))
def test_any_records_are_read_as_the_reader_reads_them(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    """With the same keys in the same order, and values of the same types."""
    database, tree = opened(tmp_path / f"{next(_paths)}.mmdb", records)
    expected = [shown(database.reader.get(f"{number}.0.0.1")) for number in range(1, len(records) + 1)]

    assert repr(expected) == repr(read(tree, len(records)))


def test_far_pointers(tmp_path: Path) -> None:
    """A value is found wherever it is that a pointer of any size names."""
    names = ["x" * 60_000 + str(number) for number in range(40)]
    large = [{"city": {"names": {"en": name}}, "country": {"iso_code": "GB"}} for name in names]
    records = [LONDON, *large, LONDON, TOKYO, {"city": LONDON["city"], "country": large[-1]["city"]}]
    _, tree = opened(tmp_path / "large.mmdb", records)

    assert [shown(record) for record in records] == read(tree, len(records))


def test_what_nobody_asks_for_is_not_looked_at(tmp_path: Path) -> None:
    """Whatever it holds, records have one shape."""
    deep = [{"deep": {"er": {"and": {"deeper": number}}}} for number in range(3)]
    records = [{"country": {"iso_code": "GB"}, "continent": what} for what in deep]
    _, tree = opened(tmp_path / "city.mmdb", records)

    assert [{"country": {"iso_code": "GB"}, "continent": SHOWN}] * 3 == read(tree, 3, ignored={"continent"})
    with pytest.raises(OddError):
        read(tree, 3)


@pytest.mark.parametrize(
    "records",
    [
        [{str(number): number for number in range(MOST_ENTRIES + 1)}],
        [{"a": {"names": {**{str(number): "x" for number in range(MOST_ENTRIES + 1)}, "en": "y"}}}],
        [{"a": [[[[1]]]]}],
        [{f"key {number}": number} for number in range(MOST_SHAPES + 1)],
        [{"a": {"b": {"c": {"d": [*range(MOST_VALUES)]}}}}],
    ],
    ids=["entries", "languages", "depth", "shapes", "values"],
)
def test_what_is_rare_is_left_to_the_reader(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    """So that no database makes the work grow without bound."""
    _, tree = opened(tmp_path / "odd.mmdb", records)

    with pytest.raises(OddError):
        read(tree, len(records))


def section(data: bytes) -> Decoder:
    """Return a decoder of a data section, behind which are other bytes, as in a file."""
    area = mmap.mmap(-1, len(data) + 16)
    area[:] = data + bytes(16)
    return Decoder(area, 0)


def values(data: bytes) -> list[Any]:
    """Return the values of the leaves of the record at the beginning of a data section."""
    ((_, template, _, column),) = section(data).groups(np.zeros(1, np.int64))
    return [column(leaf)[0] for leaf in leaves(template)]


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        (b"\x04\x08" + struct.pack(">f", 1.5), 1.5),
        (b"\x68" + struct.pack(">d", -0.25), -0.25),
        (b"\xa0", 0),
        (b"\xa2\xff\xfe", 65534),
        (b"\xc3\x01\x02\x03", 0x010203),
        (b"\x04\x01\xff\xff\xff\xff", -1),
        (b"\x01\x01\xff", 255),
        (b"\x01\x07", True),
        (b"\x00\x07", False),
        (b"\x38\x00\x00\x00\x01", "a"),
        (b"\x20\x01", "a"),
    ],
)
def test_every_type_and_pointer_that_the_format_has(encoded: bytes, value: object) -> None:
    """Those that mmdb-writer does not write, too: floats, and pointers of 32 bits."""
    (found,) = values(b"\xe1\x41a" + encoded)

    assert (type(value), value) == (type(found), found)


@pytest.mark.parametrize(
    "data",
    [
        b"\x41a",
        b"\xe1\xa1\x01\x41a",
        b"\xe1\x41a\x3f\xff\xff\xff\xff",
        b"\xe1\x42\xff\xff\x41a",
        b"\xe1\x41a\x42\xff\xff",
        b"\xe1\x41a\x7f\xff\xff\xff",
        b"\xe1\x41a\x64\x00\x00\x00\x00",
        b"\xe1\x41a\x03\x07",
        b"\xe1\x41a\x14\x19aaaaaaaaaaaaaaaaaaaa",
        b"\xe1\x41a\xa3\x01\x02\x03",
        b"\xe1\x41a\xc5\x01\x02\x03\x04\x05",
        b"\xe1\x41a\x5f\xff\xff\xff",
        b"\xe1\x41a\x5f\x00\x00\x00",
    ],
    ids="no-map number-as-key beyond key text size double boolean no-type uint16 uint32 long cut".split(),  # noqa: SIM905
)
def test_damage_is_left_to_the_reader(data: bytes) -> None:
    """Nothing else is raised, whatever the bytes are."""
    with pytest.raises(OddError):
        values(data)


@settings(deadline=None, max_examples=300)
@given(data=st.binary(min_size=1, max_size=80))
def test_any_bytes_are_read_or_left(data: bytes) -> None:
    """In bounded time."""
    with suppress(OddError):
        assert isinstance(values(b"\xe2\x41a" + data), list)
