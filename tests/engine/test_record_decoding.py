"""Records that the kernel decodes are those of the reader."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from geocli.databases.database import Database
from geocli.databases.discovery import examine
from geocli.engine.search_tree import MAX_RECORDS, SearchTree
from geocli.errors import DatabaseError
from geocli.resolvers.mmdb_schemas import place_from
from tests.helpers.database_contents import ANY_KIND, FLAT, MORE_CITIES, NUMBERS, TRAITS, UNKNOWN
from tests.helpers.kernel_walks import Walk, Walker
from tests.helpers.record_strategies import RECORDS
from tests.helpers.search_trees import SEPARATOR_BYTES, Trie

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_paths = count()
NAMES = {"de": "München", "en": "Munich", "es": "Múnich", "fr": "Munich", "zh-CN": "慕尼黑"}
CITY = {"city": {"names": NAMES, "geoname_id": 1}, "country": {"iso_code": "DE", "names": {"en": "Germany", "de": "D"}}}
KNOWN = [record for networks in (MORE_CITIES, NUMBERS, TRAITS, FLAT, UNKNOWN, ANY_KIND) for record in networks.values()]
NAMED = ("continent", "country", "city", "postal", "registered_country", "represented_country")
LANGUAGES = st.sampled_from(["en", "de", "zh-TW", "pt-BR"])
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(home: Path, records: Sequence[Any], damage: Sequence[tuple[int, int]] = ()) -> Database:
    """Return a database with these records for 1.0.0.0/8, 2.0.0.0/8, ..., and damaged bytes in the data section."""
    networks = {f"{number}.0.0.0/8": record for number, record in enumerate(records, 1)}
    trie, path = Trie(networks, 4), home / f"{next(_paths)}.mmdb"
    data = bytearray(trie.write(path, 24, records=networks).read_bytes())
    start, end = len(trie.nodes) * 6 + SEPARATOR_BYTES, data.index(b"\xab\xcd\xefMaxMind.com")
    for at, byte in damage:
        data[start + at % (end - start)] = byte
    path.write_bytes(data)
    return Database(examine(str(path)))


def shape_of(record: Any) -> object:
    """Return the keys of a record, and those of its maps that have fields."""
    if not isinstance(record, dict):
        return None
    maps = [record.get(name) for name in (*NAMED, "location", "traits")]
    parts = record.get("subdivisions")
    maps += parts if isinstance(parts, list) else [parts]
    return tuple(record), [tuple(part) if isinstance(part, dict) else type(part) is list for part in maps]


def compare(database: Database, count_: int, language: str) -> int:
    """Compare the records that the kernel decodes with those of the reader, and return how many it decodes."""
    texts = [f"{number}.0.0.0" for number in range(1, count_ + 1)]
    walks = Walker([database]).walk(texts)
    offsets = [(text, walk.offsets[0]) for text, walk in zip(texts, walks, strict=True) if isinstance(walk, Walk)]
    records, numbers = SearchTree(database).records([offset for _, offset in offsets], language)
    assert len(offsets) == len(records)
    shapes: dict[int, Any] = {}
    for (text, _), record, number in zip(offsets, records, numbers, strict=True):
        if record is None:
            continue
        if number:
            assert shape_of(record) == shapes.setdefault(number, shape_of(record))
        try:
            expected, *_ = database.read(text)
        except DatabaseError as error:
            pytest.fail(f"the kernel decodes a damaged record: {record!r}: {error}")
        assert repr(place_from(expected, language)) == repr(place_from(record, language))
    return len(records) - records.count(None)


@pytest.mark.slow
@SETTINGS
@given(records=st.lists(RECORDS | st.sampled_from(KNOWN), min_size=1, max_size=20), language=LANGUAGES)
def test_any_records(tmp_path: Path, records: list[Any], language: str) -> None:
    """Of any kind, with shared values."""
    compare(written(tmp_path, records), len(records), language)


@pytest.mark.slow
@SETTINGS
@given(
    records=st.lists(RECORDS | st.sampled_from([*KNOWN, CITY]), min_size=1, max_size=6),
    language=LANGUAGES,
    damage=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=4),
)
@example(records=[CITY, CITY], language="en", damage=[(7, 0xFF)])
def test_any_damage(tmp_path: Path, records: list[Any], language: str, damage: list[tuple[int, int]]) -> None:
    """A record that the reader rejects is not decoded, wherever the damage is."""
    compare(written(tmp_path, records, damage), len(records), language)


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "de", "pt-BR"])
def test_each_byte_of_a_record(tmp_path: Path, language: str) -> None:
    """Also in names of other languages."""
    size_bytes = 170
    for at in range(size_bytes):
        for byte in (0x00, 0x20, 0x3F, 0xC3, 0xFF):
            compare(written(tmp_path, [CITY, CITY | {"asn": 1}], [(at, byte)]), 2, language)


def test_most_records_are_decoded(tmp_path: Path) -> None:
    """All records of the usual databases, in one call."""
    assert len(KNOWN) == compare(written(tmp_path, KNOWN), len(KNOWN), "en")
    assert len(KNOWN) < MAX_RECORDS
