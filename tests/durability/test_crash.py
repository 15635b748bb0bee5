"""Acknowledged answers are never lost: a command that exits with 0 acknowledges the answers that it printed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow

FLUSHERS, WRITERS, LOOKUPS = 3, 20, 6


def _rows(geocli: Geocli) -> dict[str, str]:
    with sqlite3.connect(geocli.data_dir / "geocli.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return dict(db.execute("SELECT ip, country_code FROM geo_cache"))


def _leftovers(geocli: Geocli) -> list[str]:
    permanent = {"geocli.db", "geocli.db-shm", "geocli.db-wal", "flush.lock", "journal.lock"}
    return sorted(set(os.listdir(geocli.data_dir)) - permanent)


def _loop(geocli: Geocli, script: str) -> subprocess.Popen[str]:
    """Start a shell that runs geocli again and again, as `$GEOCLI`."""
    environ = {**geocli.environ, "GEOCLI": " ".join(geocli.command)}
    return subprocess.Popen(["sh", "-c", script], env=environ, stdout=subprocess.PIPE, text=True)


def test_twenty_writers_and_three_flushers_lose_nothing(geocli: Geocli) -> None:
    """Answers that twenty processes printed while three flushed are in the table, and no temporary file remains."""
    lookup = "for n in {numbers}; do $GEOCLI lookup 8.8.{writer}.$n > /dev/null && echo 8.8.{writer}.$n; done"
    numbers = " ".join(map(str, range(LOOKUPS)))
    writers = [_loop(geocli, lookup.format(writer=writer, numbers=numbers)) for writer in range(WRITERS)]
    stop = geocli.data_dir.parent / "stop"
    flushers = [_loop(geocli, f'while ! test -e "{stop}"; do $GEOCLI flush || exit; done') for _ in range(FLUSHERS)]

    acknowledged = [line for writer in writers for line in writer.communicate(timeout=120)[0].split()]
    stop.touch()

    assert [0] * FLUSHERS == [flusher.wait(60) for flusher in flushers]
    assert geocli("flush").returncode == 0
    assert WRITERS * LOOKUPS == len(acknowledged)
    assert set(acknowledged) == set(_rows(geocli))
    assert [] == _leftovers(geocli)


def test_killed_writers_lose_nothing_that_they_printed(geocli: Geocli) -> None:
    """A batch that is killed at any moment has appended every row that it printed, and flush stores them."""
    for after in range(0, 400, 40):
        batch = geocli.start("batch", "-f", "value", "-F", "ip", "--no-header")
        assert batch.stdin is not None
        assert batch.stdout is not None
        lines = "".join(f"9.{after % 256}.{n // 256}.{n % 256}\n" for n in range(3000))
        feeder = subprocess.Popen(["printf", "%s", lines], stdout=batch.stdin)
        batch.stdin.close()
        time.sleep(after / 1000)
        batch.send_signal(signal.SIGKILL)
        printed = batch.stdout.read().decode().split("\n")[:-1]
        batch.wait(10)
        feeder.wait(10)
        assert batch.stderr is not None
        batch.stdout.close()
        batch.stderr.close()

        assert geocli("flush").returncode == 0
        assert not set(printed) or set(printed) <= set(_rows(geocli))


def test_a_frame_after_a_torn_one_is_stored(geocli: Geocli) -> None:
    """A process that was killed while it wrote a frame does not affect the answers of others."""
    assert geocli("lookup", "8.8.8.8").returncode == 0
    journal = geocli.data_dir / "journal"
    journal.write_bytes(journal.read_bytes() * 2)
    os.truncate(journal, journal.stat().st_size - 20)

    assert geocli("lookup", "1.1.1.1").returncode == 0
    flushed = geocli("flush")

    assert flushed.returncode == 0
    assert {"8.8.8.8": "US", "1.1.1.1": "AU"} == _rows(geocli)


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_journal_that_ends_in_a_torn_frame_is_flushed_in_silence(geocli: Geocli, cut: int) -> None:
    """A torn last frame was never acknowledged, and is not an error."""
    assert geocli("lookup", "8.8.8.8").returncode == 0
    journal = geocli.data_dir / "journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole[: len(whole) - cut - 1])

    flushed = geocli("flush")

    assert (0, b"", b"") == (flushed.returncode, flushed.stdout, flushed.stderr)
    assert {"8.8.8.8": "US"} == _rows(geocli)
    assert [] == _leftovers(geocli)
