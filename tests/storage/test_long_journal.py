"""A journal that is never flushed: above a limit, a batch flushes it silently."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from geocli.storage.journal import Journal
from tests.helpers.command_output import complaints
from tests.helpers.data_directories import local, stored_rows
from tests.helpers.entries import resolved
from tests.helpers.locks import locked_file
from tests.helpers.system_call_faults import missing

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow

LIMIT = {"GEOCLI_JOURNAL_LIMIT_MB": "1"}
BATCH = ("batch", "-f", "value", "-F", "ip")
DIRTY = 4000
"""Entries of more than a megabyte."""


@pytest.fixture
def dirty(located: Geocli) -> Geocli:
    """Return geocli with a journal of more than a megabyte."""
    Journal(local(located.data_dir)).append(
        resolved(f"8.{number >> 8}.{number & 255}.1", source=f"{number:x}" * 60) for number in range(DIRTY)
    )
    assert os.path.getsize(located.data_dir / "journal") > 1_000_000
    return located


def is_dirty(geocli: Geocli) -> bool:
    return Journal(local(geocli.data_dir)).is_dirty()


def test_a_batch_flushes_past_the_limit(dirty: Geocli) -> None:
    """All dirty entries are in the store when the batch has ended, without a message."""
    ran = dirty(*BATCH, stdin=b"81.2.69.160\n", environ=LIMIT)

    assert (0, b"81.2.69.160\n", b"") == (ran.returncode, ran.stdout, ran.stderr)
    assert not is_dirty(dirty)
    assert DIRTY + 1 == len(stored_rows(dirty))


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        pytest.param(BATCH, {"GEOCLI_JOURNAL_LIMIT_MB": "100"}, id="below the limit"),
        pytest.param(BATCH, {}, id="below the limit of 64 MB"),
        pytest.param((*BATCH, "--no-cache"), LIMIT, id="nothing is kept"),
        pytest.param(("lookup", "-q", "81.2.69.160"), LIMIT, id="lookup"),
        pytest.param(("stats",), LIMIT, id="stats"),
    ],
)
def test_nothing_else_flushes(dirty: Geocli, arguments: tuple[str, ...], environ: dict[str, str]) -> None:
    """A journal below the limit waits for cron, and no other command takes its time."""
    assert 0 == dirty(*arguments, stdin=b"81.2.69.160\n", environ=environ).returncode
    assert is_dirty(dirty)
    assert not (dirty.data_dir / "geocli.db").exists()


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_the_reader_of_the_output_does_not_wait(dirty: Geocli, tmp_path: Path) -> None:
    """Standard output is closed before the journal is sealed, which is the first thing that a flush does."""
    log = tmp_path / "calls"
    ran = subprocess.run(
        ["strace", "-f", "-qq", "-o", str(log), "-e", "trace=dup2,dup3,rename,renameat2", *dirty.command, *BATCH],
        input=b"81.2.69.160\n",
        capture_output=True,
        env={**dirty.environ, **LIMIT},
        check=True,
    )
    assert (b"81.2.69.160\n", b"") == (ran.stdout, ran.stderr)
    calls = log.read_text().splitlines()
    (closed,) = (number for number, call in enumerate(calls) if re.search(r"dup[23]\(\d+, 1\b", call))
    (sealed,) = (number for number, call in enumerate(calls) if ".draining" in call)
    assert closed < sealed


def test_a_batch_waits_for_no_lock(dirty: Geocli) -> None:
    """While another flush runs, the batch ends immediately, with its own exit status."""
    with locked_file(dirty.data_dir / "flush.lock"):
        ran = dirty(*BATCH, "-q", stdin=b"81.2.69.160\nnonsense\n", environ=LIMIT | {"GEOCLI_LOCK_TIMEOUT": "3600"})
    assert (0, b"81.2.69.160\nnonsense\n", b"") == (ran.returncode, ran.stdout, ran.stderr)
    assert is_dirty(dirty)
    assert 1 == dirty(*BATCH, "--strict", stdin=b"nonsense\n", environ=LIMIT).returncode
    assert not is_dirty(dirty)


def test_a_store_that_cannot_be_written_has_no_effect(dirty: Geocli) -> None:
    """Errors of the flush do not affect the batch; the next flush reports them."""
    (dirty.data_dir / "geocli.db").write_bytes(b"no database" * 1000)
    ran = dirty(*BATCH, "--no-header", stdin=b"81.2.69.160\n", environ=LIMIT)
    assert (0, b"81.2.69.160\n") == (ran.returncode, ran.stdout)
    assert all("geocli.db" in line for line in complaints(ran))  # as of every lookup
    assert is_dirty(dirty)
    assert 4 == dirty("flush").returncode


def test_an_output_file_is_complete_before_the_flush(dirty: Geocli) -> None:
    """The output file is complete before the flush."""
    out = dirty.data_dir.parent / "out"
    ran = dirty(*BATCH, "-o", str(out), stdin=b"81.2.69.160\n", environ=LIMIT)
    assert (0, b"", b"", b"81.2.69.160\n") == (ran.returncode, ran.stdout, ran.stderr, out.read_bytes())
    assert not is_dirty(dirty)


def test_stats_check_reports_it(dirty: Geocli) -> None:
    """A journal above the limit is unhealthy, with its size and the limit."""
    size_mb = os.path.getsize(dirty.data_dir / "journal") / 1_000_000
    ran = dirty("stats", "--check", environ=LIMIT)
    assert 1 == ran.returncode
    assert f"the journal has {size_mb:.0f} MB, more than 1 MB; run geocli flush" in complaints(ran)
    ran = dirty("stats", "--check", environ={"GEOCLI_JOURNAL_LIMIT_MB": "100"})
    assert [] == [line for line in complaints(ran) if "more than" in line]
