"""Damage to a journal affects only the damaged frames; it is quarantined, counted, and reported once."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from geocli.models import Entry, Place
from geocli.storage.flush import Flush
from geocli.storage.frames import HEADER_BYTES, MAX_BYTES, encode, pack
from geocli.storage.journal import Journal
from geocli.storage.recovery import MAX_REPAIRS, REPAIR_BYTES
from geocli.storage.store_writer import StoreWriter
from tests.helpers.clock import Clock
from tests.helpers.data_directories import local
from tests.helpers.entries import AT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

pytestmark = pytest.mark.slow


IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 (where syncs cost nothing)
COPIES = 250
"""Damaged frames that are put into one journal, where one journal for each would take minutes."""


def entry(ip: str, country_code: str, org: str | None = None) -> Entry:
    place = Place(country_code=country_code, org=org)
    return Entry(ip=ip, status="resolved", place=place, source="rir", resolved_at=AT)


def frame(*entries: Entry) -> bytes:
    (payload,) = pack(entries)
    return encode(payload)


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit >> 3] ^= 1 << (bit & 7)
    return bytes(changed)


def rows(*entries: Entry) -> set[tuple[str | None, ...]]:
    """Return the rows that the table should have."""
    return {
        (entry.ip, "resolved", entry.place.country_code, entry.place.org, "rir", "2026-06-01T12:00:00Z")
        for entry in entries
    }


GB, JP, LATER = entry("81.2.69.160", "GB"), entry("2001:218::1", "JP"), entry("8.8.8.8", "US")
MANY = [entry(f"98.0.0.{number}", ("US", "CA", "MX")[number % 3], "x" * 360 + str(number)) for number in range(9)]
FIRST, BATCH, LAST = frame(GB), frame(*MANY), frame(JP)
JOURNAL = FIRST + BATCH + LAST
PARTS = (FIRST, rows(GB)), (BATCH, rows(*MANY)), (LAST, rows(JP))
BETWEEN = [entry(f"10.0.0.{number}", "GB") for number in range(COPIES + 1)]
ALIKE = b"x" * 16


def spots(data: bytes) -> list[int]:
    """Return offsets to damage: each byte, but only one in sixteen within long runs of equal letters."""
    return [at for at in range(len(data)) if at % len(ALIKE) == 0 or data[max(at - 8, 0) :][: len(ALIKE)] != ALIKE]


class Bench:
    """Puts journals into a data directory, flushes them, and checks all results."""

    def __init__(self, home: str) -> None:
        self.directory = local(Path(home) / "data")
        StoreWriter(self.directory).close()
        self.path, self.bad = (Path(self.directory.file(name)) for name in ("journal", "journal.bad"))
        self.journal = Journal(self.directory)
        self.db = sqlite3.connect(self.directory.file("geocli.db"), isolation_level=None)

    def __call__(self, data: bytes, *, later: Iterable[Entry] = ()) -> tuple[set[tuple[str | None, ...]], bytes]:
        """Flush a journal, to which perhaps something is appended before, and return the rows and `journal.bad`."""
        self.path.write_bytes(data)
        self.journal.append(later)
        report = Flush(self.directory, self.journal, Clock(), 0).run()
        assert not self.journal.is_dirty()
        bad = self.bad.read_bytes() if self.bad.exists() else b""
        assert len(bad) == report.dropped_bytes
        self.bad.unlink(missing_ok=True)
        result = self.db.execute("SELECT ip, status, country_code, org, source, resolved_at FROM geo_cache").fetchall()
        self.db.execute("DELETE FROM geo_cache")
        return set(result), bad


@pytest.fixture
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as home:
        bench = Bench(home)
        with closing(bench.db):
            yield bench


def test_the_frames_are_what_these_tests_need() -> None:
    """Two frames are small enough to be repaired, and the one between them is not."""
    assert max(len(FIRST), len(LAST)) < REPAIR_BYTES < len(BATCH) - 1


@pytest.mark.no_cover
@pytest.mark.parametrize("later", [[], [LATER]], ids=["and left", "and appended to"])
def test_a_journal_truncated_at_any_byte(bench: Bench, later: list[Entry]) -> None:
    """Whole frames are stored; the torn one is ignored, or quarantined if something was written after it."""
    for size in [*spots(JOURNAL), len(JOURNAL)]:
        expected, start = rows(*later), 0
        for data, entries in PARTS:
            if start + len(data) - 1 > size:  # its newline adds nothing
                break
            expected, start = expected | entries, start + len(data)
        torn = JOURNAL[start:size]

        assert (expected, torn + b"\n" if torn and later else b"") == bench(JOURNAL[:size], later=later), size


@pytest.mark.no_cover
def test_any_flipped_bit_of_a_small_frame_is_repaired(bench: Bench) -> None:
    """All rows are stored; only a newline that is damaged is quarantined."""
    between = [frame(each) for each in BETWEEN]
    small = [entry(f"81.2.69.{number + 100}", "GB") for number in range(MAX_REPAIRS)]
    for first in range(0, len(FIRST) * 8, MAX_REPAIRS):
        bits = range(first, min(first + MAX_REPAIRS, len(FIRST) * 8))
        damage = [flipped(frame(each), bit) for each, bit in zip(small, bits, strict=False)]
        data = b"".join(map(b"".join, zip(damage, between, strict=False)))
        bad = b"".join(each[-1:] + b"\n" for each in damage if not each.endswith(b"\n"))

        assert (rows(*small[: len(bits)], *BETWEEN[: len(bits)]), bad) == bench(data), first


@pytest.mark.no_cover
def test_any_flipped_bit_of_a_small_frame_at_the_end_is_repaired(bench: Bench) -> None:
    """A small frame that is the last is not taken for a torn one."""
    end = len(JOURNAL) - 1
    for bit in range((len(JOURNAL) - len(LAST)) * 8, len(JOURNAL) * 8):
        data = flipped(JOURNAL, bit)
        bad = data[end:] + b"\n" if bit >> 3 == end else b""

        assert (rows(GB, *MANY, JP), bad) == bench(data), bit


@pytest.mark.no_cover
def test_any_flipped_bit_of_a_batch_costs_its_frame_alone(bench: Bench) -> None:
    """It is quarantined byte for byte, and no other frame is lost."""
    between = [frame(entry) for entry in BETWEEN]
    bits = [at * 8 + bit for at in spots(BATCH[:-1]) for bit in range(8)]
    for first in range(0, len(bits), COPIES):
        damage = [flipped(BATCH, bit) for bit in bits[first : first + COPIES]]
        data = b"".join(map(b"".join, zip(between, damage, strict=False))) + between[len(damage)]
        expected = rows(*BETWEEN[: len(damage) + 1])

        assert (expected, b"".join(damage)) == bench(data), first


@pytest.mark.no_cover
def test_a_flipped_bit_of_a_batch_at_the_end_costs_no_other_frame(bench: Bench) -> None:
    """A large frame that is the last is not taken for a torn one; a flipped bit in its newline costs nothing."""
    for number in {*range(HEADER_BYTES), *range(0, len(BATCH), 5), len(BATCH) - 1}:
        bad = flipped(BATCH, number * 8 + number % 8)
        is_newline = number == len(BATCH) - 1
        expected = (rows(GB, *MANY), bad[-1:] + b"\n") if is_newline else (rows(GB), bad)

        assert expected == bench(FIRST + bad), number


HUGE = b"x" * (3 * MAX_BYTES)
HALF = len(BATCH) // 2


@pytest.mark.parametrize(
    ("data", "expected", "bad"),
    [
        pytest.param(b"\0" * 4096 + FIRST + b"\0" * 4096 + LAST + b"\0" * 4096, "FL", b"", id="zero blocks"),
        pytest.param(FIRST + b"\0" * 5 * MAX_BYTES + LAST, "FL", b"", id="many zero blocks"),
        pytest.param(FIRST + BATCH[:HALF] + b"\0" * (4096 - HALF % 4096) + LAST, "FL", None, id="zeros in a frame"),
        pytest.param(FIRST + LAST[:60] + b"\0" * 4096, "F", b"", id="zeros in the last frame"),
        pytest.param(b"\xff\xfe\x01garbage\n" + JOURNAL, "FBL", b"\xff\xfe\x01garbage\n", id="garbage first"),
        pytest.param(FIRST + b"garbage" + BATCH + b"more\n\nof it\n" + LAST, "FBL", None, id="garbage between"),
        pytest.param(JOURNAL + b"garbage", "FBL", b"garbage\n", id="garbage last"),
        pytest.param(FIRST + HUGE + b"\n" + LAST, "FL", HUGE + b"\n", id="huge line"),
        pytest.param(FIRST + HUGE + LAST, "FL", HUGE + b"\n", id="huge line without an end"),
        pytest.param(FIRST * 3 + BATCH * 2 + LAST + FIRST, "FBL", b"", id="duplicated frames"),
        pytest.param(FIRST + BATCH[:HALF] + b"\n" + LAST, "FL", BATCH[:HALF] + b"\n", id="first half of a frame"),
        pytest.param(FIRST + BATCH[HALF:] + LAST, "FL", BATCH[HALF:], id="second half of a frame"),
        pytest.param(FIRST + BATCH[:HALF] + BATCH + LAST, "FBL", BATCH[:HALF] + b"\n", id="half of it, then all"),
        pytest.param(LAST[:80] + FIRST[:80] + BATCH + LAST[80:], "B", None, id="halves of several"),
        pytest.param(BATCH[:HALF] + FIRST + BATCH[HALF:] + LAST, "FL", None, id="a frame inside another"),
    ],
)
def test_everything_but_frames_is_quarantined(bench: Bench, data: bytes, expected: str, bad: bytes | None) -> None:
    """All whole frames are stored, once; everything else that is not empty is in `journal.bad`, in order."""
    entries = {letter: each for letter, (_, each) in zip("FBL", PARTS, strict=True)}
    actual, damage = bench(data)

    assert set().union(*(entries[letter] for letter in expected)) == actual
    if bad is None:
        for whole, _ in PARTS:
            data = data.replace(whole, b"\n")
        assert b"".join(data.replace(b"\0", b"").split(b"\n")) == b"".join(damage.replace(b"\0", b"").split(b"\n"))
    else:
        assert bad == damage


def test_damage_of_any_size_is_quarantined(bench: Bench) -> None:
    """Large damage is in `journal.bad`, line for line, and all frames are stored."""
    line = b"no frame " * 99 + b"\n"
    damage = line * (16 * MAX_BYTES // len(line))
    actual, bad = bench(FIRST + damage + BATCH + LAST)

    assert rows(GB, *MANY, JP) == actual
    assert damage.replace(b"\n", b"") == bad.replace(b"\n", b"")
