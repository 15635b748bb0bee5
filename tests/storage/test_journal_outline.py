"""Dirty entries are counted, and their addresses read, without decoding them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from geocli.storage.frames import MAX_BYTES, encode, pack
from geocli.storage.journal_lookup import SEARCHED_ADDRESSES
from tests.helpers.entries import AT, resolved
from tests.helpers.function_calls import count_calls
from tests.helpers.journals import compact_frame, put, segment_name
from tests.storage.test_frames import WRONG

if TYPE_CHECKING:
    from datetime import datetime

    from geocli.storage.directory import DataDirectory
    from geocli.storage.journal import Journal

EARLIER = AT - timedelta(minutes=90)


def _frame(at: bytes = b"2026-06-01T12:00:00Z", rows: bytes = b'[["1.1.1.1",0,24]]') -> bytes:
    """Return a frame with one entry and any content."""
    return encode(b'{"at":"%b","generation":"","places":[{"status":"resolved"}],"rows":%b}' % (at, rows))


def test_counting_parses_no_places(directory: DataDirectory, journal: Journal) -> None:
    """Statistics count rows without looking at the places of a journal."""
    put(directory, b"".join(compact_frame(f"81.2.{number}.1", "1.1.1.1") for number in range(200)))
    assert 0 == count_calls("unpack", journal.status)
    assert (400, AT) == (journal.status().entries, journal.status().oldest_at)


def test_counting_parses_no_small_frames(directory: DataDirectory, journal: Journal) -> None:
    """What lookups append is counted without reading JSON."""
    put(
        directory, b"".join(encode(payload) for number in range(200) for payload in pack([resolved(f"1.1.1.{number}")]))
    )
    assert 0 == count_calls("loads", journal.status)
    assert (200, AT) == (journal.status().entries, journal.status().oldest_at)


@pytest.mark.parametrize(
    ("data", "count", "oldest"),
    [
        pytest.param(b"", 0, None, id="nothing"),
        pytest.param(compact_frame("1.1.1.1", "1.1.1.2", "1.1.1.3"), 3, AT, id="addresses that rows count"),
        pytest.param(
            b"".join(map(encode, pack([resolved("1.1.1.1"), resolved("1.1.1.2", resolved_at=EARLIER)]))),
            2,
            EARLIER,
            id="the oldest comes last",
        ),
        pytest.param(_frame(b"2026-06-01T14:00:00+02:00"), 1, AT, id="another zone"),
        pytest.param(compact_frame("1.1.1.1") + _frame(b"2026-06-01T12:30:00+02:00"), 2, EARLIER, id="an older one"),
        pytest.param(_frame(b""), 1, None, id="no instant"),
        pytest.param(_frame(b"yesterday, at 12:34.") + _frame(b"2026-13-01T00:00:00Z"), 0, None, id="wrong instants"),
        pytest.param(_frame(rows=b'[ [ "1.1.1.1", 0, 24 ], ["1.1.1.2", 0, 24] ]'), 2, AT, id="spaces"),
        pytest.param(_frame(rows=b"[]"), 0, None, id="no rows"),
        pytest.param(_frame(rows=b'{"[\\"":1}'), 0, None, id="wrong rows"),
        pytest.param(compact_frame("1.1.1.1")[:-9] + b"\n" + _frame(), 1, AT, id="after a torn frame"),
        pytest.param(b"\0" * 500 + b"\n\n" + _frame() + b"G1 garbage\n", 1, AT, id="garbage"),
        pytest.param(_frame()[:-1], 1, AT, id="no newline"),
        pytest.param(b"x" * 3 * MAX_BYTES + b"\n" + _frame(), 1, AT, id="a long line"),
    ],
)
def test_counting(directory: DataDirectory, journal: Journal, data: bytes, count: int, oldest: datetime | None) -> None:
    """Each entry in whole frames counts, in the journal and in segments."""
    put(directory, data)
    assert (count, oldest) == (journal.status().entries, journal.status().oldest_at)
    put(directory, data, segment_name(1))
    put(directory, data, segment_name(2))
    assert (3 * count, oldest) == (journal.status().entries, journal.status().oldest_at)


@pytest.mark.parametrize("payload", WRONG)
def test_no_frame_stops_a_reader(directory: DataDirectory, journal: Journal, payload: bytes) -> None:
    """A frame with a correct digest and wrong content hides no other entry, however a journal is read."""
    ips = [f"1.1.1.{number}" for number in range(2 * SEARCHED_ADDRESSES)]
    frames = [*pack([resolved(ips[0])]), payload, *pack([resolved(ips[1])])]
    put(directory, b"".join(map(encode, frames)))

    assert {*ips[:2]} == {*journal.newest(ips)}
    assert {*ips[:2]} <= set[str]().union(*journal.distinct())
    assert set() == journal.with_retry_times()
    assert 2 <= journal.status().entries
