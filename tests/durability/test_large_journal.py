"""A journal as large as after a week without flushes: bounded memory, kills half-way, and concurrent lookups."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.helpers.journals import write_journal
from tests.helpers.stores import select
from tests.helpers.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow

ENTRIES = 5_000_000
MAX_BYTES = 300 << 20
PLACES: list[dict[str, object]] = [
    {"status": "resolved", "source": "rir", "country_code": "GB", "country_name": "United Kingdom"},
    {"status": "resolved", "source": "rir", "country_code": "JP", "country_name": "Japan"},
]
NEEDED_BYTES = 4 << 30


@pytest.fixture
def large(geocli: Geocli, tmp_path: Path) -> Geocli:
    """Return geocli with one answer in the store and five million in the journal."""
    if shutil.disk_usage(tmp_path).free < NEEDED_BYTES:
        pytest.skip("needs 4 GB of disk")
    for arguments in (["lookup", "8.8.8.8"], ["flush"]):
        assert 0 == geocli(*arguments).returncode
    write_journal(geocli.data_dir / "journal", ENTRIES, PLACES)
    return geocli


def _peak_bytes(geocli: Geocli, command: str) -> int:
    """Return the peak memory of a silent command, measured in a small process."""
    program = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, *geocli.command, command],
        env=geocli.environ,
        capture_output=True,
        check=True,
    )
    assert b"" == ran.stderr
    return int(ran.stdout) << 10


def test_five_million_entries(large: Geocli) -> None:
    """Memory stays bounded, lookups are answered while it runs, and a flush that is killed half-way loses nothing."""
    wal = large.data_dir / "geocli.db-wal"
    flush = large.start("flush")
    wait_for(lambda: wal.exists() and wal.stat().st_size > 100 << 20)
    answers = [large("lookup", "-f", "value", "-F", "country_code,cached", ip).stdout for ip in ("8.8.8.8", "9.9.9.9")]
    assert [b"US\ttrue\n", b"US\tfalse\n"] == answers
    assert flush.poll() is None, "it was to be at work still"
    flush.send_signal(signal.SIGKILL)
    flush.communicate()
    path = str(large.data_dir / "geocli.db")
    assert [(1,)] == select(path, "SELECT COUNT(*) FROM geo_cache")

    assert 0 < _peak_bytes(large, "flush") <= MAX_BYTES
    counted = select(path, "SELECT country_code, COUNT(*) FROM geo_cache GROUP BY 1")
    assert [("GB", ENTRIES // 2), ("JP", ENTRIES // 2), ("US", 2)] == counted
    assert [] == [name for name in os.listdir(large.data_dir) if name.endswith((".draining", ".bad"))]
