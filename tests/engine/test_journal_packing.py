"""Answers of a batch are encoded as frames: each address once, each place once per frame."""

from __future__ import annotations

import json
import sys
from collections import Counter, deque
from ipaddress import IPv4Address, IPv6Address
from random import Random
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocli.databases.database import Database
from geocli.databases.discovery import examine
from geocli.engine.blocks import Block
from geocli.engine.journal_packing import JournalPacker
from geocli.engine.kernel import RENDERED
from geocli.engine.lookup_table import LookupTable
from geocli.engine.recipes import Recipe
from geocli.engine.rendering import Texts, encoded
from geocli.formats.rows import Output
from geocli.storage.frames import MAX_BYTES, TARGET_BYTES, encode, head, unpack
from tests.helpers.databases import build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from geocli.engine.block_answers import BlockAnswers
    from geocli.storage.frames import Frame

COUNTRIES = ("GB", "FR", "JP", "US", None)
COUNT = 400
START = head(None, "Own@1")


def record(number: int) -> dict[str, Any]:
    """Return the record of 1.n.n.0/24 and 2a00:n::/32: cities share countries, and some traits are long."""
    code = COUNTRIES[number % 5]
    known: dict[str, Any] = {"city": {"names": {"en": f"City {number // 2}"}}, "note": "x" * (number % 7 * 500)}
    return known | ({"country": {"iso_code": code}} if code else {})


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    networks = {f"1.{number >> 8}.{number & 255}.0/24": record(number) for number in range(COUNT)}
    networks |= {f"2a00:{number:x}::/32": record(number) for number in range(COUNT)}
    return Database(examine(str(build(tmp_path_factory.mktemp("own") / "Own.mmdb", networks))))


@pytest.fixture
def find(database: Database) -> Callable[[Sequence[str]], BlockAnswers]:
    table = LookupTable([database], None, Output("csv", ("ip",)), is_kept=True)
    return lambda texts: table.find(block(texts))


def block(texts: Sequence[str]) -> Block:
    return Block.joined([text.encode() for text in texts], [b""] * len(texts))


def known(number: int, host: int) -> str:
    """Return an address with a record, of either family."""
    if host & 1:
        return str(IPv6Address(0x2A00 << 112 | number << 96 | host))
    return str(IPv4Address(1 << 24 | number << 8 | host & 255))


def random_addresses(count: int, seed: int = 0) -> list[str]:
    drawn = Random(seed)  # noqa: S311 (the same in each run)
    return [known(drawn.randrange(COUNT), drawn.randrange(1 << 16)) for _ in range(count)]


def frames(payloads: Iterable[bytes]) -> Iterator[Frame]:
    """Decode payloads, and check their size and order."""
    for payload in payloads:
        frame = unpack(payload)
        numbers = [number for _, number, _ in frame.rows]
        assert len(encode(payload)) <= TARGET_BYTES or len(frame.rows) == 1
        assert sorted(numbers) == numbers
        assert list(range(len(frame.places))) == sorted(set(numbers))
        assert len(frame.places) == len(set(frame.places))
        yield frame


def check(database: Database, written: Sequence[Frame], texts: Iterable[str]) -> None:
    """Check that each address was written once, with the record that the reader finds."""
    entries = [entry for frame in written for entry in frame.entries()]

    assert Counter(set(texts)) == Counter(entry.ip for entry in entries)
    for entry in entries:
        record, prefix_len = database.reader.get_with_prefix_len(entry.ip)
        assert isinstance(record, dict)
        country = record.get("country", {"iso_code": None})["iso_code"]
        traits = {"note": record["note"]} if record["note"] else None
        place = entry.place

        assert (record["city"]["names"]["en"], country) == (place.city, place.country_code)
        assert (traits, prefix_len) == (place.traits, entry.prefix_len)
        assert ("resolved", "Own", "GeoLite2-City") == (entry.status, entry.generation[:3], entry.source)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, COUNT - 1), st.integers(0, 500)), max_size=60), min_size=1, max_size=4)
)
def test_any_blocks(database: Database, drawn: list[list[tuple[int, int]]]) -> None:
    """With addresses once or repeatedly, packed together or separately, in any order."""
    table = LookupTable([database], None, Output("csv", ("ip",)), is_kept=True)
    blocks = [[known(*pair) for pair in pairs] for pairs in drawn]
    answers = [table.find(block(texts)) for texts in blocks]
    packer = JournalPacker()
    together = list(frames(JournalPacker().payloads(START, answers)))
    separately = [frame for block_answers in answers for frame in frames(packer.payloads(START, [block_answers]))]

    addresses = [text for texts in blocks for text in texts]
    check(database, together, addresses)
    check(database, separately, addresses)
    assert [] == list(packer.payloads(START, answers))


def test_many_addresses_are_divided_into_frames(
    database: Database, find: Callable[[Sequence[str]], BlockAnswers]
) -> None:
    """Of bounded size, sorted by place, so that few places are in two frames."""
    texts = random_addresses(30_000)
    written = list(frames(JournalPacker().payloads(START, [find(texts[:10_000]), find(texts[10_000:])])))

    check(database, written, texts)
    assert 3 < len(written) < 60
    assert sum(len(frame.places) for frame in written) <= COUNT + len(written)


def test_answers_of_the_scalar_path_are_not_packed(find: Callable[[Sequence[str]], BlockAnswers]) -> None:
    """The cache appends these; special addresses are packed with their scope, without a prefix length."""
    (frame,) = frames(JournalPacker().payloads(START, [find(["x", "10.0.0.1", "3.3.3.3", "2002:102::1", ""])]))
    (entry,) = frame.entries()

    assert ("10.0.0.1", "special", "private", None) == (entry.ip, entry.status, entry.scope, entry.prefix_len)
    assert [] == list(JournalPacker().payloads(START, [find(["x"])]))


@pytest.mark.slow
def test_the_memory_of_packed_addresses_is_bounded(database: Database) -> None:
    """It is emptied when full, and no address is lost."""
    table = LookupTable([database], None, Output("csv", ("ip",)), is_kept=True)
    packer, many = JournalPacker(), 750_000
    texts = [f"1.0.{at >> 8 & 255}.{at & 255}" for at in range(1 << 16)]
    others = [f"2a00:{at % 300 + 1:x}::{at >> 16:x}:{at & 0xFFFF:x}" for at in range(1 << 16, many)]
    for part in (texts, others, texts):
        payloads = list(packer.payloads(START, [table.find(block(part))]))
        ips = [ip for payload in payloads for ip, *_ in unpack(payload).rows]
        assert len(part) == len(ips)
        assert not set(part) ^ set(ips)


def note(answers: BlockAnswers, size_bytes: int) -> None:
    """Give the answers with the recipe of the first address a long trait."""
    place = {"status": "special", "traits": {"note": "x" * size_bytes}}
    line, own, shared = (encoded(text, []) for text in ("", json.dumps(place), '{"status":"special",'))
    texts = Texts({"status": "special"}, (line, own, shared))
    answers.answers.add_recipe(answers.answers.row(answers.numbers[0])[0], Recipe(None, 0, {}, {}), RENDERED, texts)


@pytest.mark.parametrize("size_bytes", [TARGET_BYTES, 3 * TARGET_BYTES, MAX_BYTES - 1000])
def test_a_place_larger_than_the_target_size_gets_a_frame_of_its_own(size_bytes: int) -> None:
    """Up to the maximum size of a frame."""
    table = LookupTable([], None, Output("csv", ("ip",)), is_kept=True)
    actual = table.find(block(["10.0.0.1", "127.0.0.1", "10.0.0.2"]))
    note(actual, size_bytes)
    written = list(frames(JournalPacker().payloads(START, [actual])))

    assert [["10.0.0.1"], ["10.0.0.2"], ["127.0.0.1"]] == sorted([ip for ip, *_ in frame.rows] for frame in written)


def test_a_place_above_the_maximum_size_is_an_error() -> None:
    """Readers would take a larger frame for damage."""
    table = LookupTable([], None, Output("csv", ("ip",)), is_kept=True)
    actual = table.find(block(["10.0.0.1"]))
    note(actual, MAX_BYTES)

    with pytest.raises(ValueError, match="does not fit into a frame"):
        list(JournalPacker().payloads(START, [actual]))


def test_answers_may_be_added_while_blocks_are_packed(
    database: Database, find: Callable[[Sequence[str]], BlockAnswers]
) -> None:
    """By another thread that reads new records."""
    first = random_addresses(200)
    actual, seen = find(first), deque[Any]()
    adding = Thread(target=lambda: seen.extend(find([known(number, number)]) for number in range(COUNT)))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        adding.start()
        while adding.is_alive():
            check(database, list(frames(JournalPacker().payloads(START, [actual]))), first)
    finally:
        sys.setswitchinterval(interval)
        adding.join()
    written = list(frames(JournalPacker().payloads(START, [actual, *seen])))
    check(database, written, [*first, *(known(number, number) for number in range(COUNT))])
