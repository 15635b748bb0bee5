"""Merged records of several databases are the same as on the scalar path."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geocli.cache import GeoCache
from geocli.databases.database import Database
from geocli.databases.discovery import examine
from geocli.engine.block_answers import Assembly
from geocli.engine.blocks import Block
from geocli.engine.journal_packing import JournalPacker
from geocli.engine.lookup_table import LookupTable
from geocli.engine.search_tree import MAX_RECORDS
from geocli.errors import DatabaseError
from geocli.formats.rows import Output
from geocli.merging import merge
from geocli.models import FIELDS, FIELDS_ON_REQUEST, JSON_FIELDS, WHERE_FIELDS, Place
from geocli.resolvers.mmdb import ask
from geocli.settings import Settings
from geocli.storage.frames import head, unpack
from geocli.timestamps import instant_text
from tests.helpers.databases import build
from tests.helpers.record_strategies import RECORDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geocli.models import Answer, Entry

    Known = tuple[dict[str, Any], int, bool]

_paths = count()
COUNT = 6
AT = datetime(2026, 6, 1, 12, tzinfo=UTC)


def opened(path: Path, records: Sequence[Any]) -> Database:
    """Return a database with these records for 1.0.0.0/8, 2.0.0.0/8, ..."""
    networks = {f"{number}.0.0.0/8": record for number, record in enumerate(records, 1) if record is not None}
    build(path, networks, edition=path.stem, ip_version=4, build_epoch=1_780_000_000)
    return Database(examine(str(path), 0))


def read(databases: Sequence[Database], fields: Sequence[str], language: str = "en") -> list[Known | None]:
    """Return the fields, the sources and whether there is a place for each address; None for a damaged record.

    Records are read in two parts, then all again.
    """
    texts = [f"{number}.0.0.0" for number in range(1, COUNT + 1)]
    table = LookupTable(databases, None, Output("jsonl", fields), is_kept=False, language=language)
    result: list[Known | None] = []
    for part in (texts[: COUNT // 2], texts[COUNT // 2 :], texts):
        result += rows(table, part, fields)
    assert result[:COUNT] == result[COUNT:]
    return result[:COUNT]


def rows(table: LookupTable, texts: Sequence[str], fields: Sequence[str]) -> list[Known | None]:
    """Return the same from a table."""
    actual = table.find(Block.joined([text.encode() for text in texts], [b""] * len(texts)))
    single = b"null\n"
    assembly, out = Assembly(actual, Output("jsonl", fields), instant_text(AT), [single] * len(actual.singles())), b""
    while not assembly.is_complete:
        part = bytearray(1 << 20)
        out += part[: assembly.write(part)]
    known: list[Known | None] = []
    for line, number in zip(out.splitlines(keepends=True), actual.numbers, strict=True):
        if line == single:
            known.append(None)
            continue
        row = {name: value for name, value in json.loads(line).items() if value is not None}
        row = row if row.pop("status") == "resolved" else {}
        place = {name: value for name, value in row.items() if name in {*Place.field_names, "source", "built_at"}}
        known.append((place, table.answers.sources(number), not WHERE_FIELDS.isdisjoint(place)))
    return known


def together(databases: Sequence[Database], *, with_traits: bool, language: str = "en") -> list[Known | None]:
    """Return the same for all fields."""
    return read(databases, (*FIELDS, "built_at", *(["traits"] if with_traits else [])), language)


def alone(databases: Sequence[Database], ip: str, language: str = "en") -> tuple[Answer | None, int]:
    """Return the merged answer to an address by the scalar path, and the bits of its sources."""
    whole: Answer | None = None
    sources = 0
    for bit, database in enumerate(databases):
        answer = ask(database, ip, language)  # type: ignore[arg-type]
        if answer is not None:
            merged = answer if whole is None else merge(whole, answer)
            sources = 1 << bit if merged is answer else sources | (merged is not whole) << bit
            whole = merged
    return whole, sources


@pytest.mark.slow
@pytest.mark.parametrize("with_traits", [True, False])
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.lists(st.lists(st.none() | RECORDS, min_size=COUNT, max_size=COUNT), min_size=1, max_size=3),
    language=st.sampled_from(["en", "de", "zh-TW"]),
)
def test_any_records(tmp_path: Path, records: list[list[Any]], language: str, *, with_traits: bool) -> None:
    """Of any shapes, from any number of databases: the same fields, sources and traits as by `ask` and `merge`."""
    home = tmp_path / str(next(_paths))
    home.mkdir()
    databases = [opened(home / f"Edition-{number}.mmdb", own) for number, own in enumerate(records)]
    for number, known in enumerate(together(databases, with_traits=with_traits, language=language), 1):
        assert known is not None
        values, sources, has_place = known
        answer, expected_sources = alone(databases, f"{number}.0.0.0", language)
        expected: dict[str, Any] = {}
        if answer is not None and answer.built_at is not None and not answer.is_empty:
            origin = {"source": answer.source, "built_at": instant_text(answer.built_at)}
            expected = {name: value for name, value in vars(answer.place).items() if value is not None} | origin
        if not with_traits:
            expected.pop("traits", None)

        assert repr(sorted(expected.items())) == repr(sorted(values.items()))
        assert (expected_sources, answer is not None and answer.has_place) == (sources, has_place)


@pytest.mark.slow
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.lists(st.lists(st.none() | RECORDS, min_size=COUNT, max_size=COUNT), min_size=1, max_size=3),
    fields=st.lists(
        st.sampled_from([*FIELDS, *FIELDS_ON_REQUEST, "traits", "traits.isp", "traits.accuracy_radius"]),
        min_size=1,
        max_size=12,
    ),
    format_=st.sampled_from(["csv", "tsv", "value", "jsonl", "label"]),
)
def test_lines_are_those_of_the_scalar_path(
    tmp_path: Path, records: list[list[Any]], fields: list[str], format_: str
) -> None:
    """The kernel joins fragments that are rendered once per record to the same lines."""
    home = tmp_path / str(next(_paths))
    home.mkdir()
    databases = [opened(home / f"Edition-{number}.mmdb", own) for number, own in enumerate(records)]
    output = Output(format_, fields)
    texts = [f"{number}.0.0.0" for number in range(1, COUNT + 1)]
    paths = tuple(database.file.path for database in databases)
    with GeoCache(settings=Settings(data_dir=str(home), databases=paths), clock=lambda: AT) as cache:
        expected = output.rows(list(cache.lookup_batch(texts, mode="no-cache")))
    actual = LookupTable(databases, None, output, is_kept=False).find(
        Block.joined([text.encode() for text in texts], [b""] * COUNT)
    )
    assembly, out = Assembly(actual, output, instant_text(AT), []), bytearray(1 << 16)

    assert b"".join(expected) == out[: assembly.write(out)]
    assert assembly.is_complete


@pytest.mark.slow
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(st.lists(st.none() | RECORDS, min_size=COUNT, max_size=COUNT), min_size=1, max_size=3))
def test_entries_in_the_journal_are_those_of_the_scalar_path(tmp_path: Path, records: list[list[Any]]) -> None:
    """Members that places share, and those of one place, add up to the entry that is appended for one address."""
    home = tmp_path / str(next(_paths))
    home.mkdir()
    databases = [opened(home / f"Edition-{number}.mmdb", own) for number, own in enumerate(records)]
    texts = [f"{number}.0.0.0" for number in range(1, COUNT + 1)]
    paths = tuple(database.file.path for database in databases)
    with GeoCache(settings=Settings(data_dir=str(home), databases=paths), clock=lambda: AT) as cache:
        expected = {entry.ip: entry for entry in cache.lookup_batch(texts, mode="no-cache")}
    table = LookupTable(databases, None, Output("csv", ("ip",)), is_kept=True)
    block_answers = table.find(Block.joined([text.encode() for text in texts], [b""] * COUNT))
    frames = [unpack(payload) for payload in JournalPacker().payloads(head(AT, ""), [block_answers])]

    packed = {entry.ip: entry for frame in frames for entry in frame.entries()}
    assert {texts[position] for position in block_answers.singles()} == set(texts) - packed.keys()
    for ip, entry in packed.items():
        assert repr(_sorted(expected[ip].replace(generation=""))) == repr(_sorted(entry))


def _sorted(entry: Entry) -> dict[str, Any]:
    """Return the fields of an entry, with its traits in the order of their names."""
    traits = dict(sorted((entry.place.traits or {}).items())) or None
    return {**entry.replace(place=Place()).as_dict(), **entry.place.as_dict(), "traits": traits}


def test_records_of_two_databases_are_merged(tmp_path: Path) -> None:
    """City and ASN, for instance: each field is from the database that has it."""
    cities = [{"country_code": "GB", "city": f"City {number}"} for number in range(COUNT)]
    networks = [{"autonomous_system_number": 1 + number % 2} for number in range(COUNT)]
    databases = [opened(tmp_path / f"{name}.mmdb", own) for name, own in (("A", [*cities[:-1], None]), ("B", networks))]
    actual = together(databases, with_traits=False)

    assert [f"City {number}" for number in range(COUNT - 1)] == [known[0]["city"] for known in actual[:-1] if known]
    assert [1 + number % 2 for number in range(COUNT)] == [known[0]["asn"] for known in actual if known]
    assert ["A+B"] * (COUNT - 1) + ["B"] == [known[0]["source"] for known in actual if known]
    assert [3] * (COUNT - 1) + [2] == [known[1] for known in actual if known]


@pytest.mark.parametrize("second", [{"asn": 1, "org": "Two"}, {"asn": 2, "org": "Two"}])
def test_an_organisation_is_that_of_the_same_network(tmp_path: Path, second: dict[str, Any]) -> None:
    """A second database adds the organisation only if its AS number is the same."""
    databases = [opened(tmp_path / "A.mmdb", [{"asn": 1}] * COUNT), opened(tmp_path / "B.mmdb", [second] * COUNT)]
    expected = {"asn": 1, "org": "Two"} if second["asn"] == 1 else {"asn": 1}

    for known in together(databases, with_traits=False):
        assert known is not None
        assert expected == {name: value for name, value in known[0].items() if name in {"asn", "org"}}


def test_more_records_than_one_call_reads(tmp_path: Path) -> None:
    """Records of several shapes, read in several calls, keep their order."""
    count = 2 * MAX_RECORDS + 3
    records = [{"city": f"City {number}"} | ({"asn": number} if number % 3 else {}) for number in range(1, count)]
    path = tmp_path / "Edition.mmdb"
    build(path, {f"1.{number >> 8}.{number & 255}.0/24": record for number, record in enumerate(records)}, ip_version=4)
    database = Database(examine(str(path), 0))
    texts = [f"1.{number >> 8}.{number & 255}.0" for number in range(len(records))]
    table = LookupTable([database], None, Output("jsonl"), is_kept=False)
    actual = [known and known[0].get("city") for known in rows(table, texts, JSON_FIELDS)]

    assert [record["city"] for record in records] == actual


def test_a_damaged_record_does_not_affect_others(tmp_path: Path) -> None:
    """It is None, and the rest is read."""
    path = tmp_path / "Edition.mmdb"
    texts = [f"City number {number}" for number in range(COUNT)]
    opened(path, [{"city": text} for text in texts])
    data = path.read_bytes().replace(b"City number 3", b"City\xffnumber 3")
    path.write_bytes(data)
    actual = together([Database(examine(str(path), 0))], with_traits=False)
    expected = [None if "3" in text else text for text in texts]

    assert expected == [known and known[0].get("city") for known in actual]
    with pytest.raises(DatabaseError):
        alone([Database(examine(str(path), 0))], "4.0.0.0")


def test_addresses_without_a_record_have_no_values(tmp_path: Path) -> None:
    """Nor sources; an empty record counts as a source."""
    database = opened(tmp_path / "Edition.mmdb", [None, {}, {"a": {}}, *[{"city": "x"}] * 3])
    actual = together([database], with_traits=True)

    assert ({}, 0, False) == actual[0]
    assert [({}, 1, False)] * 2 == actual[1:3]
