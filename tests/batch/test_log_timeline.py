"""Times of lines in the formats of usual logs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from geocli.batch.log_timeline import Timeline

NOW = datetime(2026, 11, 30, 8, tzinfo=UTC)


def _times(text: bytes) -> list[tuple[datetime, int]]:
    timeline = Timeline(NOW)
    timeline.add(text)
    return [(at, count) for at, count in timeline.steps()[1] if count]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'192.0.2.1 - - [10/Oct/2000:13:55:36 -0700] "GET /2001-02-03T04:05:06"', (2000, 10, 10, 13, 55)),
        (b"2026-11-02T10:00:01Z sshd[1]: from 192.0.2.1", (2026, 11, 2, 10, 0)),
        (b"2026-11-02 10:00:01,123 INFO 192.0.2.1", (2026, 11, 2, 10, 0)),
        (b"2026/11/02 10:00:01 [error] 7#7: *1 client: 192.0.2.1", (2026, 11, 2, 10, 0)),
        (b'{"ip": "192.0.2.1", "@timestamp": "2026-11-02T10:00:01.000+01:00"}', (2026, 11, 2, 10, 0)),
        (b"Nov  2 10:00:01 host sshd[1]: from 192.0.2.1", (2026, 11, 2, 10, 0)),
        (b"<34>Nov 12 10:00:01 host su: 192.0.2.1", (2026, 11, 12, 10, 0)),
        (b"Dec 24 18:00:01 host sshd[1]: from 192.0.2.1", (2025, 12, 24, 18, 0)),
        (b"1286536309.450    180 192.0.2.1 TCP_MISS/200", (2010, 10, 8, 11, 11)),
        (b'{"level":"info","ts":1700000000.123,"remote_ip":"192.0.2.1"}', (2023, 11, 14, 22, 13)),
        (b'{"time": 1700000000123, "ip": "192.0.2.1"}', (2023, 11, 14, 22, 13)),
    ],
)
def test_the_first_time_of_a_line_is_read(line: bytes, expected: tuple[int, int, int, int, int]) -> None:
    """Times of web servers, ISO 8601, syslog without a year, and seconds or milliseconds since 1970."""
    assert [(datetime(*expected, tzinfo=UTC), 1)] == _times(line + b"\n")


@pytest.mark.parametrize(
    "line",
    [
        b"192.0.2.1",
        b"31/Nov/2000:13:55:36",
        b"2026-13-02T10:00:01",
        b"Feb 30 10:00:01 host",
        b'{"id": 1700000000, "ip": "192.0.2.1"}',
        b"17000000001234567890 x",
        b"10:00:01 192.0.2.1",
    ],
)
def test_what_is_no_time_is_not_counted(line: bytes) -> None:
    """Impossible dates, numbers of something else, and times of day alone are left out."""
    assert [] == _times(line + b"\n")


@pytest.mark.parametrize(
    ("last", "step"),
    [
        (timedelta(minutes=5), timedelta(minutes=1)),
        (timedelta(hours=20), timedelta(hours=1)),
        (timedelta(days=30), timedelta(days=1)),
        (timedelta(days=400), timedelta(days=28)),
    ],
)
def test_steps_are_as_long_as_the_log(last: timedelta, step: timedelta) -> None:
    """There are at most 50 or so; those without lines are zero."""
    first = datetime(2026, 3, 2, tzinfo=UTC)
    timeline = Timeline(NOW)
    timeline.add(b"".join(f"{at:%Y-%m-%dT%H:%M:%S} x\n".encode() for at in (first, first + last)))
    actual, steps = timeline.steps()

    assert step == actual
    assert 2 == sum(count for _, count in steps)
    assert len(steps) <= 50
    assert {step} == {later - earlier for (earlier, _), (later, _) in pairwise(steps)}
