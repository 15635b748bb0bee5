"""What a batch shows beside its rows, and in which order these come."""

from __future__ import annotations

import gzip
import re
import select
from typing import TYPE_CHECKING

import pytest

from tests.helpers.command_line import STYLE, complaint, on_terminal, read_line

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Geocli


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Make a list that is looked up in several blocks."""
    path = tmp_path / "many.txt"
    path.write_text("".join(f"81.2.{n >> 8 & 255}.{n & 255}\n98.0.0.{n & 255}\n" for n in range(50_000)))
    return path


@pytest.mark.parametrize("jobs", ["1", "2", "5"])
def test_rows_keep_their_order(located: Geocli, many: Path, jobs: str) -> None:
    """However many threads there are."""
    run = located("batch", "--no-cache", "-j", jobs, "-f", "value", "-F", "ip", str(many))

    assert (0, b"") == (run.returncode, run.stderr)
    assert many.read_bytes() == run.stdout


def test_summary_counts_rows(located: Geocli, many: Path) -> None:
    """By country, else by status; each row once, whether it was looked up alone or with others."""
    city = str(located.db_dir / "GeoLite2-City.mmdb")
    options = ("--no-cache", "--db", city, "--summary", "-o", "/dev/null")
    run = located("batch", *options, str(many), "-", stdin=b"98.0.0.1\nx\n10.0.0.1\n")
    counts = dict(re.findall(r"^ *(\w+) .*? ([\d,]+) ", run.stderr.decode(), re.MULTILINE))

    assert (0, b"") == (run.returncode, run.stdout)
    assert {"US": "50,001", "invalid": "1", "special": "1", "all": "100,003"}.items() <= counts.items()


def test_progress_is_for_terminals(located: Geocli, many: Path, tmp_path: Path) -> None:
    """A bar with a rate where somebody looks, nothing where nobody does, or the rows would be in the way."""
    out = str(tmp_path / "out")
    _, shown = on_terminal(located, "batch", "--no-cache", "-o", out, str(many))
    _, rows = on_terminal(located, "batch", "--no-cache", "-f", "value", str(many))
    quiet = located("batch", "--no-cache", "-o", out, str(many))

    assert "MB" in STYLE.sub("", shown)
    assert "MB" not in rows
    assert b"" == quiet.stderr


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--no-cache", "-j", "1"), ("--no-cache", "-j", "4"), ("-j", "1"), ("-j", "4")])
def test_all_that_comes_before_damage_is_answered(located: Geocli, tmp_path: Path, options: tuple[str, ...]) -> None:
    """A file that cannot be read on does not take with it the rows of what could be."""
    lines = b"".join(b"98.0.%d.%d %d\n" % (*divmod(number % 65536, 256), number) for number in range(200_000))
    log = tmp_path / "a.log.gz"
    log.write_bytes(gzip.compress(lines)[:-1])

    run = located("batch", *options, "--extract", "-f", "value", "-F", "ip", str(log))

    assert (2, 200_000) == (run.returncode, run.stdout.count(b"\n"))
    assert "damaged: Compressed file ended" in complaint(run)


@pytest.mark.parametrize("more", [b"", b"words, and no address\n" * 1000])
@pytest.mark.parametrize("option", ["--strict", "--summary"])
def test_what_only_looks_like_an_address_is_not_counted(located: Geocli, option: str, more: bytes) -> None:
    """Not as a line without an answer; nor does it depend on how long the text is."""
    run = located("batch", "-i", "log", option, stdin=b"999.1.1.1 98.0.0.1 x\n" + more)

    assert 0 == run.returncode
    assert b"invalid" not in run.stderr


def test_lines_after_a_large_block_are_answered_at_once(located: Geocli) -> None:
    """A row does not wait for more lines, whether its neighbours were looked up together or alone."""
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
    """Into a pipe all is passed on as it is; a terminal sees escapes."""
    log = tmp_path / "a.log"
    log.write_bytes(b"\x1b[2J 98.0.0.1 \xff\ttab\n")
    _, shown = on_terminal(located, "batch", str(log))

    assert b'\x1b[2J 98.0.0.1 [Winston, "Salem", US] \xff\ttab\n' == located("batch", str(log)).stdout
    assert "\\x1b[2J 98.0.0.1 [Winston," in shown
    assert "\x1b[2J" not in shown
