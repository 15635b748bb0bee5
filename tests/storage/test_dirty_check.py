"""Finding dirty entries: by their bytes, by an index, by reading all; each finds the same."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from itertools import chain
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from geocli.models import Place
from geocli.storage import journal_index, journal_lookup
from geocli.storage.dirty_check import is_dirty
from geocli.storage.frames import MAX_BYTES, encode, pack
from geocli.storage.journal import Journal
from geocli.storage.journal_lookup import SEARCHED_ADDRESSES
from tests.helpers.entries import AT, resolved, unresolved
from tests.helpers.function_calls import count_calls
from tests.helpers.journals import HEAD, compact_frame, newest_entries, put, segment_name

if TYPE_CHECKING:
    from geocli.storage.directory import DataDirectory

MANY = [f"9.9.9.{number}" for number in range(SEARCHED_ADDRESSES + 1)]
"""Addresses that are nowhere, and more than are searched for."""


@pytest.fixture(params=["search", "index", "reading"])
def finding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return additional addresses to search for, so that a certain method is used."""
    if request.param == "reading":
        monkeypatch.setattr(journal_index, "MAX_ROWS", 2)
    return [] if request.param == "search" else MANY


def test_every_method_finds_the_newest_entries(directory: DataDirectory, journal: Journal, finding: list[str]) -> None:
    """Each address has its newest entry, of segments and journal, in both frame formats."""
    put(directory, compact_frame("1.1.1.1", "1.1.1.2", "2001:db8::1"), segment_name(3))
    put(
        directory,
        b"".join(map(encode, pack([resolved("1.1.1.3"), resolved("1.1.1.4")]))),
        segment_name(10),
    )
    retry_at = AT + timedelta(hours=1)
    journal.append([unresolved("1.1.1.1", retry_at=retry_at), resolved("1.1.1.2", place=Place(city="Paris"))])
    journal.append([unresolved("1.1.1.5"), unresolved("1.1.1.3", retry_at=retry_at), unresolved("1.1.1.3")])
    for ip, entry in newest_entries(journal).items():
        assert {ip: entry} == Journal(directory).newest([ip, *finding])
    assert 6 == len(newest_entries(journal))


def test_parts_of_addresses_are_not_found(directory: DataDirectory, journal: Journal, finding: list[str]) -> None:
    """Only whole addresses match, and only in rows, not in places."""
    put(directory, compact_frame("11.1.1.1", "1.1.1.11", "2001:db8::11"))
    journal.append([resolved("8.8.8.8", place=Place(org="1.1.1.2", city='"1.1.1.3" G1 1.1.1.4'))])
    for ip in ("1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "2001:db8::1", "2001:db8::"):
        assert {} == Journal(directory).newest([ip, *finding])


def test_addresses_at_every_offset_of_a_chunk(
    directory: DataDirectory, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address is found wherever a chunk ends."""
    ips = [f"81.2.{number}.{number}" for number in range(30)]
    put(directory, compact_frame(*ips) + compact_frame("1.1.1.1"))
    for size in range(1, 200, 7):
        monkeypatch.setattr(journal_lookup, "STRETCH_BYTES", size)
        assert newest_entries(journal).keys() >= {"81.2.7.7"}
        assert {"81.2.7.7": newest_entries(journal)["81.2.7.7"]} == Journal(directory).newest(["81.2.7.7"])


def test_damage_hides_no_sound_frame(directory: DataDirectory, finding: list[str]) -> None:
    """Sound frames around damage, zeros and torn frames are found; damaged ones are ignored."""
    flipped = bytearray(compact_frame("1.1.1.9"))
    flipped[-5] ^= 1
    odd = encode(f'{HEAD},"places":[{{"status":7}}],"rows":[["1.1.1.8",0,24]]}}'.encode())
    data = [
        compact_frame("1.1.1.1"),
        b"G1 garbage 1.1.1.7 \n",
        bytes(flipped),
        b"\0" * 500,
        odd,
        compact_frame("1.1.1.2"),
    ]
    put(directory, b"".join(data) + compact_frame("1.1.1.6")[:-9])
    for ip in ("1.1.1.1", "1.1.1.2"):
        assert [ip] == list(Journal(directory).newest([ip, *finding]))
    for ip in ("1.1.1.6", "1.1.1.7", "1.1.1.8", "1.1.1.9"):
        assert {} == Journal(directory).newest([ip, *finding])


def test_large_frames_are_read_whole(directory: DataDirectory, finding: list[str]) -> None:
    """An address at either end of the largest frame is found."""
    filler = [f"1.{a}.{b}.1" for a in range(200) for b in range(250)]
    put(directory, compact_frame("8.8.8.1", *filler, "8.8.8.2"))
    assert 0.4 * MAX_BYTES < os.path.getsize(directory.file("journal")) < MAX_BYTES
    for ip in ("8.8.8.1", "8.8.8.2"):
        assert [ip] == list(Journal(directory).newest([ip, *finding]))


@pytest.mark.parametrize("is_indexed", [True, False], ids=["index", "search"])
def test_one_reader_follows_the_journal(
    directory: DataDirectory, journal: Journal, monkeypatch: pytest.MonkeyPatch, *, is_indexed: bool
) -> None:
    """After appends, seals and discards in any order, a reader with an index finds the current entries."""
    if not is_indexed:
        for name, value in {"SEARCHED_ADDRESSES": 1 << 30, "STRETCH_BYTES": 500, "MAX_BYTES": 1000}.items():
            monkeypatch.setattr(journal_lookup, name, value)
    random, reader = Random(7), Journal(directory)  # noqa: S311 (the same each time)
    ips = [f"1.1.1.{number}" for number in range(12)]
    for step in range(150):
        chosen = random.sample(ips, 2)
        match random.randrange(5):
            case 0:
                journal.seal()
            case 1 if journal.segments():
                journal.discard(journal.segments()[0])
            case 2:
                journal.append([unresolved(ip, retry_at=AT + timedelta(hours=step)) for ip in chosen])
            case _:
                journal.append([resolved(ip, place=Place(city=f"{step}")) for ip in chosen])
        assert newest_entries(journal) == reader.newest([*ips, *MANY])


def test_a_journal_that_was_replaced_is_read_from_its_beginning(directory: DataDirectory, journal: Journal) -> None:
    """Another file under the same inode number, as large or larger, is not taken for the one that was read."""
    put(directory, compact_frame("1.1.1.1") + compact_frame("1.1.1.2"))
    reader = Journal(directory)
    assert {"1.1.1.1", "1.1.1.2"} == set(reader.newest(["1.1.1.1", "1.1.1.2", *MANY]))
    for data in (
        compact_frame("1.1.1.3") + compact_frame("1.1.1.2"),
        compact_frame("1.1.1.4") * 9,
        compact_frame("1.1.1.5"),
    ):
        put(directory, data)  # truncates: the inode stays
        assert newest_entries(journal) == reader.newest([*(f"1.1.1.{number}" for number in range(9)), *MANY])


def _read_bytes() -> int:
    """Return how many bytes this process has read so far (proc(5), /proc/pid/io)."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_a_search_reads_little_twice(directory: DataDirectory, journal: Journal) -> None:
    """Bytes in which an address was not found are not searched for it again, but all that were appended since are."""
    put(directory, b"".join(compact_frame(*(f"81.{a}.{b}.1" for b in range(250))) for a in range(2000)))
    reader = Journal(directory)
    assert {} == reader.newest(["8.8.8.8"])
    before = _read_bytes()
    for _ in range(20):
        assert {} == reader.newest(["8.8.8.8"])
    assert _read_bytes() - before < 20 * 0.3 * os.path.getsize(directory.file("journal"))
    journal.append([resolved("8.8.8.8")])
    assert {"8.8.8.8": resolved("8.8.8.8")} == reader.newest(["8.8.8.8"])
    journal.seal()
    assert {"8.8.8.8": resolved("8.8.8.8")} == reader.newest(["8.8.8.8"])


def test_another_file_is_searched_from_its_beginning(directory: DataDirectory) -> None:
    """Another file with the same inode number is searched from its beginning."""
    filler = compact_frame(*(f"1.{a}.{b}.1" for a in range(200) for b in range(200)))
    put(directory, compact_frame("1.1.1.1") + filler * 3)
    reader = Journal(directory)
    assert {} == reader.newest(["1.1.1.2"])
    put(directory, compact_frame("1.1.1.2") + filler * 3)  # truncates: the inode stays
    assert ["1.1.1.2"] == list(reader.newest(["1.1.1.2"]))


def test_an_index_reads_nothing_twice(directory: DataDirectory, journal: Journal) -> None:
    """A process reads each byte of the journal once, then only appended ones."""
    put(directory, b"".join(compact_frame(*(f"81.{a}.{b}.1" for b in range(250))) for a in range(200)))
    reader = Journal(directory)
    size_bytes = os.path.getsize(directory.file("journal"))
    before = _read_bytes()
    for number in range(20):
        assert 200 == len(reader.newest({f"81.{a}.{number}.1" for a in range(200)}))
        journal.append([resolved("8.8.8.8")])
        assert ["8.8.8.8"] == list(reader.newest(["8.8.8.8"]))
    assert _read_bytes() - before < 1.2 * size_bytes


def test_only_frames_that_name_an_address_are_parsed(directory: DataDirectory, journal: Journal) -> None:
    """One address among many frames costs the parsing of one, and none at all if it is in none."""
    put(directory, b"".join(compact_frame(f"81.2.{number}.1") for number in range(200)))
    assert 1 == count_calls("unpack", lambda: journal.newest(["81.2.100.1"]))
    assert 0 == count_calls("unpack", lambda: journal.newest(["81.3.100.1"]))


def test_nothing_dirty_is_found_out_without_reading(directory: DataDirectory, journal: Journal) -> None:
    """With an absent or empty journal nothing is imported to find that nothing is dirty; segments are dirty."""
    assert not is_dirty(directory.path)
    assert {} == journal.newest(["1.1.1.1"])
    put(directory, b"")
    assert not is_dirty(directory.path)
    put(directory, b"", "journal.bad")
    assert not is_dirty(directory.path)
    put(directory, compact_frame("1.1.1.1"), segment_name(1))
    assert is_dirty(directory.path)
    assert ["1.1.1.1"] == list(journal.newest(["1.1.1.1"]))


def test_reappearing_segments_are_in_order(directory: DataDirectory, journal: Journal) -> None:
    """A segment that was missing for a while is older than those read meanwhile."""
    put(directory, compact_frame("1.1.1.1"))
    sealed = journal.seal(5)
    assert sealed is not None
    shutil.move(directory.file(sealed.name), directory.file("elsewhere"))
    journal.append([resolved("1.1.1.1", place=Place(city="Paris"))])
    reader = Journal(directory)
    assert "Paris" == reader.newest(["1.1.1.1", *MANY])["1.1.1.1"].place.city
    shutil.move(directory.file("elsewhere"), directory.file(sealed.name))
    assert "Paris" == reader.newest(["1.1.1.1", *MANY])["1.1.1.1"].place.city
    assert set(newest_entries(journal)) == set(chain(reader.newest(["1.1.1.1", *MANY])))


def test_later_entries_are_not_found_while_frozen(journal: Journal, finding: list[str]) -> None:
    """A frozen journal finds the entries of that time, also when a flush has sealed it; a thawed one finds all."""
    journal.append([resolved("1.1.1.1"), resolved("1.1.1.2")])
    journal.freeze()
    journal.append([resolved("1.1.1.2", place=Place(city="Paris")), resolved("1.1.1.3")])
    ips = ["1.1.1.1", "1.1.1.2", "1.1.1.3", *finding]
    before = {"1.1.1.1": resolved("1.1.1.1"), "1.1.1.2": resolved("1.1.1.2")}
    assert before == journal.newest(ips)
    journal.seal()
    journal.append([resolved("1.1.1.4")])
    assert before == journal.newest(ips)
    journal.thaw()
    assert newest_entries(journal) == journal.newest([*ips, "1.1.1.4"])


def test_an_idle_journal_that_is_frozen_is_not_read(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a batch appends to a journal that was empty is never read again."""
    journal.freeze()
    journal.append([resolved("1.1.1.1")])
    monkeypatch.setattr(Journal, "_files", lambda *_: pytest.fail("read"))
    assert {} == journal.newest(["1.1.1.1"])


def test_answers_with_a_retry_time(directory: DataDirectory, journal: Journal) -> None:
    """In all segments and the journal, resolved entries with a retry time are found."""
    assert set() == journal.with_retry_times()
    later = AT + timedelta(days=30)
    put(directory, b"".join(map(encode, pack([resolved("1.1.1.3", retry_at=later)]))), segment_name(3))
    journal.append([resolved("1.1.1.1"), resolved("1.1.1.2", retry_at=later), unresolved("1.1.1.4", retry_at=later)])
    assert {"1.1.1.2", "1.1.1.3"} == journal.with_retry_times()
