"""Summaries in a journal: a search skips the parts that they cover, and finds the same."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from geocli.models import Place
from geocli.storage import journal as appending
from geocli.storage import journal_lookup, journal_summaries
from geocli.storage.dirty_check import STRETCH_BYTES
from geocli.storage.frames import Frame, encode, pack
from geocli.storage.journal import Journal
from geocli.storage.journal_summaries import READ_BYTES, is_absent
from tests.helpers.entries import resolved, unresolved
from tests.helpers.journals import newest_entries, put

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geocli.storage.directory import DataDirectory


def fill(directory: DataDirectory, size_bytes: int) -> None:
    """Append empty lines, which geocli never does, until the journal has this size."""
    directory.prepare()
    with open(directory.file("journal"), "ab") as file:
        file.write(b"\n" * (size_bytes - file.tell()))


def summary_count(directory: DataDirectory) -> int:
    return Path(directory.file("journal")).read_bytes().count(b'"words":')


def _frame_bytes(ip: str) -> int:
    return sum(len(encode(payload)) for payload in pack([resolved(ip)]))


@pytest.mark.slow
@pytest.mark.parametrize("ip", ["1.1.1.1", "255.255.255.255", "2001:db8::1", "2001:db8:1111:2222:3333:4444:5555:6666"])
def test_addresses_at_every_offset_of_a_boundary(directory: DataDirectory, journal: Journal, ip: str) -> None:
    """Wherever in its frame a summarised part ends, an address is found, and its neighbours are, too."""
    size_bytes = _frame_bytes(ip)
    for before in range(max(size_bytes - len(ip) - 20, 1), size_bytes + 3):
        put(directory, b"")
        fill(directory, STRETCH_BYTES - before)
        journal.append([resolved(ip)])
        journal.append([resolved("8.8.8.8")])
        fill(directory, 2 * STRETCH_BYTES - 5)
        journal.append([resolved("9.9.9.9")])
        journal.append([resolved("9.9.9.10")])
        assert 2 == summary_count(directory)
        with open(directory.file("journal"), "rb") as file:
            data, descriptor = file.read(), file.fileno()
            assert not is_absent(ip.encode(), descriptor, data.index(ip.encode()) // STRETCH_BYTES * STRETCH_BYTES)
            assert is_absent(b"7.7.7.7", descriptor, 0)
            assert is_absent(b"7.7.7.7", descriptor, STRETCH_BYTES)
        for address in (ip, "8.8.8.8", "9.9.9.9", "9.9.9.10"):
            assert {address: resolved(address)} == Journal(directory).newest([address])


def test_search_for_an_absent_address_reads_little(directory: DataDirectory, journal: Journal) -> None:
    """In a journal with summaries, a search for one address reads only a small part."""
    for number in range(1, 9):
        fill(directory, number * STRETCH_BYTES - 5)
        journal.append([resolved(f"1.1.1.{number}")])
    before = _read_bytes()
    assert {} == Journal(directory).newest(["1.1.1.9"])
    assert _read_bytes() - before < os.path.getsize(directory.file("journal")) / 5
    assert [f"1.1.1.{number}" for number in range(1, 9)] == [entry.ip for entry in journal.dirty()]


def _read_bytes() -> int:
    """Return how many bytes this process has read so far (proc(5), /proc/pid/io)."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_summaries_are_not_entries(directory: DataDirectory, journal: Journal) -> None:
    """Replay, statistics and repair treat a summary neither as damage nor as an entry."""
    fill(directory, STRETCH_BYTES - 5)
    journal.append([resolved("1.1.1.1")])
    assert 1 == summary_count(directory)
    assert (1, 1) == (journal.status().entries, sum(map(len, journal.distinct())))
    segment = journal.seal()
    assert segment is not None
    frames = [frame for _, frame in journal.replay(segment)]
    assert [1, 0] == [len(frame.rows) for frame in frames if isinstance(frame, Frame)]
    assert 2 == len(frames)


def test_damaged_summaries_are_not_believed(directory: DataDirectory, journal: Journal) -> None:
    """What a summary does not list any more, since a bit of it flipped, is found all the same."""
    fill(directory, STRETCH_BYTES - 5)
    journal.append([resolved("1.1.1.1")])
    path = Path(directory.file("journal"))
    sound = path.read_bytes()
    at = sound.index(b",1.1.1.1,")
    for bit in range(8 * len(b",1.1.1.1,")):
        data = bytearray(sound)
        data[at + bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        assert ["1.1.1.1"] == list(Journal(directory).newest(["1.1.1.1"]))


def test_torn_summaries_are_silent(directory: DataDirectory, journal: Journal) -> None:
    """Truncated anywhere, a last summary is not damage, and does not affect the entry before it."""
    fill(directory, STRETCH_BYTES - 5)
    journal.append([resolved("1.1.1.1")])
    path = Path(directory.file("journal"))
    data = path.read_bytes()
    for size_bytes in range(data.rindex(b"G1 "), len(data), 11):
        path.write_bytes(data[:size_bytes])
        assert ["1.1.1.1"] == list(Journal(directory).newest(["1.1.1.1"]))
        segment = journal.seal()
        assert segment is not None
        assert all(isinstance(frame, Frame) for _, frame in journal.replay(segment))
        journal.discard(segment)


@pytest.mark.parametrize(
    ("size_bytes", "ips"),
    [
        pytest.param(STRETCH_BYTES - READ_BYTES, [f"1.1.{n >> 8}.{n & 255}" for n in range(5000)], id="a large append"),
        pytest.param(STRETCH_BYTES - 5, ["1.1.1.1", None], id="a stretch that ends in the first of two frames"),
        pytest.param(STRETCH_BYTES, ["1.1.1.1"], id="a stretch that was filled before"),
        pytest.param(STRETCH_BYTES // 2, ["1.1.1.1"], id="a stretch that goes on"),
    ],
)
def test_stretches_without_a_summary(
    directory: DataDirectory, journal: Journal, size_bytes: int, ips: Sequence[str | None]
) -> None:
    """What would take long to summarise, or would not be found, is not, and is searched."""
    fill(directory, size_bytes)
    journal.append(resolved(ip) if ip else unresolved("1.1.1.2", resolved_at=None) for ip in ips)
    assert 0 == summary_count(directory)
    assert newest_entries(journal)["1.1.1.1"] == journal.newest(["1.1.1.1"])["1.1.1.1"]


def test_too_many_addresses_for_a_summary(directory: DataDirectory, journal: Journal) -> None:
    """A part with long addresses alone has no summary, since a reader would not read all of it."""
    words = " ".join(f"2001:db8:1111:2222:3333:4444:5555:{number:x}" for number in range(4096, 7000))
    put(directory, encode(f'{{"text":"{words}"}}'.encode()))
    fill(directory, STRETCH_BYTES - 5)
    journal.append([resolved("1.1.1.1")])
    assert 0 == summary_count(directory)
    assert ["1.1.1.1"] == list(journal.newest(["1.1.1.1"]))


def test_unreadable_parts_have_no_summary(
    directory: DataDirectory, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer is appended even if the summary cannot be written."""

    def fail(*_: object) -> bytes:
        raise OSError

    monkeypatch.setattr(journal_summaries, "summary", fail)
    fill(directory, STRETCH_BYTES - 5)
    journal.append([resolved("1.1.1.1")])
    assert ["1.1.1.1"] == list(journal.newest(["1.1.1.1"]))


def test_later_entries_are_not_found_while_frozen(directory: DataDirectory, journal: Journal) -> None:
    """A later summary also covers earlier frames."""
    fill(directory, STRETCH_BYTES - 500)
    journal.append([resolved("1.1.1.1")])
    journal.freeze()
    journal.append([resolved("1.1.1.2")])
    assert 1 == summary_count(directory)
    assert ["1.1.1.1"] == list(journal.newest(["1.1.1.1", "1.1.1.2"]))


def test_any_journal_is_searched_as_it_is_read(
    directory: DataDirectory, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After lookups, batches and seals in any order, the newest entries are found."""
    for module in (appending, journal_lookup, journal_summaries):
        monkeypatch.setattr(module, "STRETCH_BYTES", 3000)
    random = Random(7)  # noqa: S311 (the same each time)
    ips = [f"1.1.1.{number}" for number in range(60)] + [f"2001:db8::{number:x}" for number in range(60)]
    actual = 0
    for step in range(250):
        count = random.choice([1, 1, 1, 1, 2, 3, 40])
        journal.append(resolved(ip, place=Place(city="x" * step)) for ip in random.sample(ips, count))
        if step % 50 == 0:
            journal.seal()
        if step % 10 == 0:
            chosen = random.sample(ips, 8)
            entries = newest_entries(journal)
            assert {ip: entries[ip] for ip in chosen if ip in entries} == Journal(directory).newest(chosen)
        actual = max(actual, summary_count(directory) if journal.is_dirty() and step % 50 else 0)
    assert actual > 5
