"""Rows keep their order; summary, progress bar and messages go to standard error."""

from __future__ import annotations

import gzip
import re
import select
from typing import TYPE_CHECKING

import pytest

from geocli.batch.request import BatchRequest
from geocli.batch.scheduler import GROUP_BLOCKS, MAX_JOBS, SMALL_BYTES, Scheduler
from geocli.cache import GeoCache
from tests.helpers.command_output import complaint
from tests.helpers.terminals import STYLE, on_terminal
from tests.helpers.waiting import read_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geocli.batch.row_maker import Rows
    from tests.helpers.geocli_process import Geocli


@pytest.fixture
def long_list(tmp_path: Path) -> Path:
    """Return a list that is read in several blocks."""
    path = tmp_path / "list.txt"
    path.write_text("".join(f"81.2.{n >> 8 & 255}.{n & 255}\n98.0.0.{n & 255}\n" for n in range(50_000)))
    return path


@pytest.mark.parametrize("jobs", ["1", "2", "5"])
def test_rows_keep_their_order(located: Geocli, long_list: Path, jobs: str) -> None:
    """With any number of threads."""
    run = located("batch", "--no-cache", "-j", jobs, "-f", "value", "-F", "ip", str(long_list))

    assert (0, b"") == (run.returncode, run.stderr)
    assert long_list.read_bytes() == run.stdout


def test_few_blocks_wait_for_many_threads(located: Geocli) -> None:
    """However many threads are requested, memory is bounded."""
    form = BatchRequest(files=(), input="list", fields=("city",)).form()
    written = 0

    def put(group: Sequence[Rows]) -> None:
        nonlocal written
        written += len(group)

    with (
        GeoCache(settings=located.settings()) as cache,
        Scheduler(cache, form, "no-cache", 1_000_000, put) as scheduler,
    ):
        for pushed in range(1, 2 * MAX_JOBS):
            scheduler.push(b"81.2.69.160\n" * (SMALL_BYTES // 12 + 1))
            # The rows of one group are being written.
            assert pushed - written <= MAX_JOBS + 2 * GROUP_BLOCKS


def test_summary_counts_rows(located: Geocli, long_list: Path) -> None:
    """By country, or by status; each row once, on both paths."""
    city = str(located.db_dir / "GeoLite2-City.mmdb")
    options = ("--no-cache", "--db", city, "--summary", "-o", "/dev/null")
    run = located("batch", *options, str(long_list), "-", stdin=b"98.0.0.1\nx\n10.0.0.1\n")
    counts = dict(re.findall(r"^ *(\w+) .*? ([\d,]+) ", run.stderr.decode(), re.MULTILINE))

    assert (0, b"") == (run.returncode, run.stdout)
    assert {"US": "50,001", "invalid": "1", "special": "1", "all": "100,003"}.items() <= counts.items()


def test_progress_is_for_terminals(located: Geocli, long_list: Path, tmp_path: Path) -> None:
    """A bar with a rate on a terminal; none in a pipe, or where the terminal shows the rows."""
    out = str(tmp_path / "out")
    _, shown = on_terminal(located, "batch", "--no-cache", "-o", out, str(long_list))
    _, rows = on_terminal(located, "batch", "--no-cache", "-f", "value", str(long_list))
    quiet = located("batch", "--no-cache", "-o", out, str(long_list))

    assert "MB" in STYLE.sub("", shown)
    assert "MB" not in rows
    assert b"" == quiet.stderr


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--no-cache", "-j", "1"), ("--no-cache", "-j", "4"), ("-j", "1"), ("-j", "4")])
def test_lines_before_damage_are_answered(located: Geocli, tmp_path: Path, options: tuple[str, ...]) -> None:
    """All of them are written, then the error is reported."""
    lines = b"".join(b"98.0.%d.%d %d\n" % (*divmod(number % 65536, 256), number) for number in range(200_000))
    log = tmp_path / "a.log.gz"
    log.write_bytes(gzip.compress(lines)[:-1])

    run = located("batch", *options, "--extract", "-f", "value", "-F", "ip", str(log))

    assert (2, 200_000) == (run.returncode, run.stdout.count(b"\n"))
    assert "damaged: Compressed file ended" in complaint(run)


@pytest.mark.parametrize("more", [b"", b"words without an address\n" * 1000])
@pytest.mark.parametrize("option", ["--strict", "--summary"])
def test_rejected_candidates_are_not_counted(located: Geocli, option: str, more: bytes) -> None:
    """Neither as invalid rows nor as lines without an answer, in short and long text."""
    run = located("batch", "-i", "log", option, stdin=b"999.1.1.1 98.0.0.1 x\n" + more)

    assert 0 == run.returncode
    assert b"invalid" not in run.stderr


def test_lines_after_a_large_block_are_answered_immediately(located: Geocli) -> None:
    """A row does not wait for further lines, after a block of either path."""
    with located.start("batch", "--no-header", "-F", "ip", bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"98.0.0.1\n" * 5000)
        for _ in range(5000):
            assert b"98.0.0.1\n" == read_line(process.stdout)
        for number in range(3):
            process.stdin.write(b"98.0.0.%d\n" % number)
            assert b"98.0.0.%d\n" % number == read_line(process.stdout)
        assert ([], [], []) == select.select([process.stdout], [], [], 0)
        process.communicate(timeout=60)


def test_control_characters_of_a_log_do_not_reach_a_terminal(located: Geocli, tmp_path: Path) -> None:
    """They pass unchanged into a pipe, and are escaped on a terminal."""
    log = tmp_path / "a.log"
    log.write_bytes(b"\x1b[2J 98.0.0.1 \xff\ttab\n")
    _, shown = on_terminal(located, "batch", str(log))

    assert b'\x1b[2J 98.0.0.1 [Winston, "Salem", US] \xff\ttab\n' == located("batch", str(log)).stdout
    assert "\\x1b[2J 98.0.0.1 [Winston," in shown
    assert "\x1b[2J" not in shown
