"""`geocli batch`: a row for each line, as lines arrive."""

from __future__ import annotations

import csv
import io
import os
import select
import signal
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.helpers.command_output import complaint, complaints, objects
from tests.helpers.data_directories import dirty, stored_rows
from tests.helpers.databases import build
from tests.helpers.terminals import STYLE, on_terminal
from tests.helpers.waiting import read_line, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

SHORT = ("-F", "ip,status,country_code")
HEADER = b"ip,status,country_code\n"


@pytest.mark.parametrize(
    ("stdin", "expected"),
    [
        (b"", []),
        (b"81.2.69.160", ["81.2.69.160,resolved,GB"]),
        (b"81.2.69.160\n", ["81.2.69.160,resolved,GB"]),
        (b"81.2.69.160\r\n98.0.0.1\r\n", ["81.2.69.160,resolved,GB", "98.0.0.1,resolved,US"]),
        (b"\n", [",comment,"]),
        (b"\n\n81.2.69.160\n\n", [",comment,", ",comment,", "81.2.69.160,resolved,GB", ",comment,"]),
        (b"98.0.0.1\n10.0.0.1\n98.0.0.1\n", ["98.0.0.1,resolved,US", "10.0.0.1,special,", "98.0.0.1,resolved,US"]),
        (b" [2001:218::1]:443 \n", ["2001:218::1,resolved,JP"]),
        (b"010.8.8.8\nexample.com\n# 1.1.1.1\n", ["010.8.8.8,invalid,", "example.com,invalid,", "# 1.1.1.1,comment,"]),
        (b"\xff\xfe\n98.0.0.1\n", ["\\xff\\xfe,invalid,", "98.0.0.1,resolved,US"]),
        (b"\xc3\xa9\n", ["é,invalid,"]),
        (b"8.8.8.8\0\n", ["8.8.8.8\\x00,invalid,"]),
        (b"\x1b[2J\n", ["\\x1b[2J,invalid,"]),
        (b"1.1\xe2\x80\xa8\n", ["1.1\\u2028,invalid,"]),
        (b"a,b\n", ['"a,b",invalid,']),
        (b'say "hi"\n', ['"say ""hi""",invalid,']),
    ],
)
def test_one_row_for_each_line_in_their_order(located: Geocli, stdin: bytes, expected: list[str]) -> None:
    """Blank, malformed and repeated lines have rows, too; one message counts the malformed ones."""
    run = located("batch", *SHORT, stdin=stdin)
    statuses = [row.split(",")[-2] for row in expected]
    lines = [status for status in statuses if status != "comment"]

    assert ({*lines} == {"invalid"}) == run.returncode
    if "invalid" in lines:
        assert complaint(run).startswith(f"{lines.count('invalid')} of {len(lines)} lines had no address; first: line ")
    else:
        assert b"" == run.stderr
    assert ["ip,status,country_code", *expected] == run.stdout.decode().splitlines()
    assert run.stdout.endswith(b"\n")


@pytest.mark.parametrize("size_bytes", [4095, 4096, 4097, 65_536, 200_000])
def test_a_line_that_is_too_long_is_one_invalid_row(located: Geocli, size_bytes: int) -> None:
    """Lines of any length; the rows after them stay in order."""
    run = located("batch", *SHORT, stdin=b"81.2.69.160\n" + b"9" * size_bytes + b"\n98.0.0.1\n" + b"8" * size_bytes)
    rows = run.stdout.decode().splitlines()

    assert (0, 5) == (run.returncode, len(rows))
    assert ["81.2.69.160,resolved,GB", "98.0.0.1,resolved,US"] == [rows[1], rows[3]]
    assert [True, True] == [row.endswith(",invalid,") and len(row) < 5000 for row in (rows[2], rows[4])]


def test_a_long_line_that_begins_with_an_address_is_invalid(located: Geocli) -> None:
    """An address followed by distant text is an invalid line."""
    run = located("batch", "-f", "value", "-F", "status", stdin=b"81.2.69.160" + b" " * 5000 + b"98.0.0.1\n")

    assert b"invalid\n" == run.stdout


def test_several_files_are_read_in_turn(located: Geocli, tmp_path: Path) -> None:
    """Standard input where the dash is; a file without a final newline does not run into the next."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"81.2.69.160\n98.0.0.1")
    second.write_bytes(b"\n2001:218::1\n")
    run = located("batch", "-f", "value", "-F", "ip", str(first), "-", str(second), stdin=b"10.0.0.1")

    assert b"81.2.69.160\n98.0.0.1\n10.0.0.1\n\n2001:218::1\n" == run.stdout
    assert 0 == run.returncode


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "No such file or directory"), (".", "Is a directory"), ("a/b", "Not a directory")]
)
def test_a_file_that_cannot_be_read_is_one_line(located: Geocli, tmp_path: Path, name: str, reason: str) -> None:
    """The line names the file; rows before it are printed."""
    good = tmp_path / "a"
    good.write_bytes(b"81.2.69.160\n")
    bad = tmp_path / name
    run = located("batch", "-f", "value", str(good), str(bad))

    assert b"GB\n" == run.stdout
    assert f"{bad}: {reason}" == complaint(run)
    assert run.returncode in {1, 2}


def test_csv_reads_back(located: Geocli) -> None:
    """Commas and quotes in names survive the round trip through the csv module."""
    run = located("batch", stdin=b'98.0.0.1\n81.2.69.160\n,"\n')
    header, *rows = csv.reader(io.StringIO(run.stdout.decode(), newline=""))
    actual = [dict(zip(header, row, strict=True)) for row in rows]

    assert ['Winston, "Salem"', "London", ""] == [row["city"] for row in actual]
    assert ["98.0.0.1", "81.2.69.160", ',"'] == [row["ip"] for row in actual]
    assert ["51.5142", "-0.0931", "20712"] == [actual[1][name] for name in ("latitude", "longitude", "asn")]


def test_jsonl_tsv_and_value(located: Geocli) -> None:
    """The same rows in the other formats; `value` is the country unless fields are named."""
    stdin = b"81.2.69.160\nnowhere\n"
    fields = ("-F", "ip,asn,city")

    assert [
        {"ip": "81.2.69.160", "asn": 20712, "city": "London"},
        {"ip": "nowhere", "asn": None, "city": None},
    ] == objects(located("batch", "-f", "jsonl", *fields, stdin=stdin).stdout)
    assert (
        b"ip\tasn\tcity\n81.2.69.160\t20712\tLondon\nnowhere\t\t\n"
        == located("batch", "-f", "tsv", *fields, stdin=stdin).stdout
    )
    assert b"GB\n\n" == located("batch", "-f", "value", stdin=stdin).stdout


def test_jsonl_is_what_lookup_prints(located: Geocli) -> None:
    """The two commands print the same bytes, except for times."""
    located("lookup", "81.2.69.160", "10.0.0.1")
    located("flush")

    assert (
        located("lookup", "81.2.69.160", "nowhere", "10.0.0.1").stdout
        == located("batch", "-f", "jsonl", stdin=b"81.2.69.160\nnowhere\n10.0.0.1\n").stdout
    )


@pytest.mark.parametrize("format_", ["csv", "tsv"])
def test_no_header(located: Geocli, format_: str) -> None:
    """For appending to a file."""
    run = located("batch", "--no-header", "-f", format_, "-F", "country_code", stdin=b"81.2.69.160\n")

    assert b"GB\n" == run.stdout


def test_lines_that_end_in_nul(located: Geocli) -> None:
    """In input and output, including the header; a newline is then an ordinary character."""
    run = located("batch", "-0", *SHORT, stdin=b"81.2.69.160\0\0a\nb\x0098.0.0.1")

    assert [
        "ip,status,country_code",
        "81.2.69.160,resolved,GB",
        ",comment,",
        "a\\nb,invalid,",
        "98.0.0.1,resolved,US",
        "",
    ] == run.stdout.decode().split("\0")


@pytest.mark.parametrize(
    ("stdin", "status"),
    [(b"81.2.69.160\n10.0.0.1\n", 0), (b"81.2.69.160\nnowhere\n", 1), (b"\n# note\n", 0), (b"", 0)],
)
def test_strict(located: Geocli, stdin: bytes, status: int) -> None:
    """One line without an answer is enough; all rows are printed nevertheless."""
    run = located("batch", "--strict", "--no-header", "-q", stdin=stdin)

    assert (status, b"") == (run.returncode, run.stderr)
    assert stdin.count(b"\n") == run.stdout.count(b"\n")


def test_strict_counts_unresolved_addresses(located: Geocli) -> None:
    """An unresolved row is not an answer."""
    run = located("batch", "--strict", "--db", str(located.db_dir / "GeoLite2-City.mmdb"), *SHORT, stdin=b"8.8.8.8\n")

    assert (1, HEADER + b"8.8.8.8,unresolved,\n") == (run.returncode, run.stdout)


def test_rows_are_journaled_then_flushed_into_sqlite(located: Geocli) -> None:
    """Each valid address once, with any status; invalid lines are not stored."""
    located("batch", stdin=b"81.2.69.160\nnowhere\n10.0.0.1\n81.2.69.160\n")
    assert ["10.0.0.1", "81.2.69.160"] == sorted({entry.ip for entry in dirty(located)})
    located("flush")

    assert [("10.0.0.1", "special", None), ("81.2.69.160", "resolved", "London")] == stored_rows(
        located, "ip, status, city"
    )


def test_the_modes(located: Geocli) -> None:
    """`--cached-only` also reads the journal, `--no-cache` appends nothing, `--refresh` asks the sources again."""
    stdin, fields = b"81.2.69.160\n98.0.0.1\n", ("--no-header", "-F", "status,cached")
    located("lookup", "81.2.69.160")

    assert b"resolved,true\nunresolved,false\n" == located("batch", "--cached-only", *fields, stdin=stdin).stdout
    assert [("81.2.69.160",)] == stored_rows(located)
    assert b"resolved,false\nresolved,false\n" == located("batch", "--no-cache", *fields, stdin=stdin).stdout
    assert [] == dirty(located)
    assert b"resolved,true\nresolved,false\n" == located("batch", *fields, stdin=stdin).stdout
    assert b"resolved,false\nresolved,false\n" == located("batch", "--refresh", *fields, stdin=stdin).stdout


def test_cached_only_answers_with_an_unusable_store(located: Geocli) -> None:
    """The journal is read, and the exit status is 4."""
    located("lookup", "81.2.69.160")
    (located.data_dir / "geocli.db").mkdir()
    run = located("batch", "--cached-only", "--no-header", "-F", "status", stdin=b"10.0.0.1\n")

    assert 4 == run.returncode
    assert complaint(run).startswith(f"{located.data_dir}/geocli.db: ")


@pytest.mark.parametrize("format_", ["csv", "tsv"])
@pytest.mark.parametrize(
    ("city", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1+1", "'+1+1"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\\tx"),
        ("\rx", "'\\rx"),
        ("-12.5", "-12.5"),
        ("+49", "+49"),
        ("London", "London"),
    ],
)
def test_formulas_are_escaped(geocli: Geocli, format_: str, city: str, cell: str) -> None:
    """Cells that a spreadsheet would evaluate begin with an apostrophe; numbers do not."""
    build(geocli.db_dir / "GeoLite2-City.mmdb", {"81.2.69.0/24": {"city": {"names": {"en": city}}}})
    run = geocli("batch", "-f", format_, "--no-header", "-F", "city", stdin=b"81.2.69.160\n")
    (row,) = csv.reader(io.StringIO(run.stdout.decode()), delimiter="," if format_ == "csv" else "\t")

    assert [cell] == row


def test_formulas_of_the_input_are_escaped(located: Geocli) -> None:
    """In invalid lines."""
    run = located("batch", "--no-header", "-F", "ip", stdin=b"=1+1\n-0.5\n")

    assert b"'=1+1\n-0.5\n" == run.stdout


def test_lines_are_answered_as_they_arrive(located: Geocli) -> None:
    """Each row is written before the next line arrives, after its answer was appended to the journal."""
    with located.start("batch", *SHORT, bufsize=0) as process:
        assert process.stdin is not None
        for number in range(3):
            process.stdin.write(b"81.2.69.%d\n" % number)
            if number == 0:
                assert HEADER == read_line(process.stdout)
            assert b"81.2.69.%d,resolved,GB\n" % number == read_line(process.stdout)
            assert f"81.2.69.{number}" == dirty(located)[-1].ip
        process.stdin.write(b"98.0")  # half a line
        assert process.stdout is not None
        assert ([], [], []) == select.select([process.stdout], [], [], 0)
        process.stdin.write(b".0.1")
        rest, errors = process.communicate(timeout=60)

    assert (0, b"98.0.0.1,resolved,US\n", b"") == (process.returncode, rest, errors)


def test_the_header_comes_before_the_first_line_with_an_explicit_form(located: Geocli) -> None:
    """Only input whose form must be recognised is waited for."""
    with located.start("batch", "-i", "list", *SHORT, bufsize=0) as process:
        assert HEADER == read_line(process.stdout)


def test_ctrl_c_loses_no_printed_row(located: Geocli) -> None:
    """Exit status 130, no message, and the printed rows are in the journal."""
    with located.start("batch", *SHORT, bufsize=0) as process:
        assert process.stdin is not None
        process.stdin.write(b"81.2.69.160\n98.0.0.1\n")
        rows = [read_line(process.stdout) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)

    assert (130, b"", b"") == (process.returncode, rest, errors)
    assert [row.split(b",")[0].decode() for row in rows[1:]] == [entry.ip for entry in dirty(located)]


def test_a_closed_pipe_is_not_an_error(located: Geocli, tmp_path: Path) -> None:
    """As in `| head -1`: exit status 141, no message, and the rows that were read are in the journal."""
    many = tmp_path / "many"
    many.write_text("".join(f"81.2.{number >> 8}.{number & 255}\n" for number in range(20_000)))
    with located.start("batch", "--no-header", str(many), bufsize=0) as process:
        first = read_line(process.stdout)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
        process.wait(60)

    assert (141, b"") == (process.returncode, errors)
    assert first.startswith(b"81.2.0.0,")
    assert "81.2.0.0" in {entry.ip for entry in dirty(located)}


@pytest.mark.parametrize("environ", [{}, {"PYTHONUNBUFFERED": "1"}])
def test_long_output_is_complete(located: Geocli, environ: dict[str, str]) -> None:
    """Every row is written, also with unbuffered standard streams."""
    ips = [f"81.2.{number >> 8}.{number & 255}" for number in range(10_000)]
    run = located("batch", "-f", "value", "-F", "ip", stdin="\n".join(ips).encode(), environ=environ)

    assert ips == run.stdout.decode().splitlines()


def test_the_output_file_is_replaced_atomically(located: Geocli, tmp_path: Path) -> None:
    """Until the last row, the old file is there; afterwards only the new one."""
    out = tmp_path / "out" / "rows.csv"
    out.parent.mkdir()
    out.write_bytes(b"old")
    with located.start("batch", *SHORT, "-o", str(out), bufsize=0) as process:
        assert process.stdin is not None
        process.stdin.write(b"81.2.69.160\n")
        wait_for(lambda: dirty(located))
        assert b"old" == out.read_bytes()
        output, errors = process.communicate(timeout=60)

    assert (0, b"", b"") == (process.returncode, output, errors)
    assert HEADER + b"81.2.69.160,resolved,GB\n" == out.read_bytes()
    assert ["rows.csv"] == os.listdir(out.parent)
    umask = os.umask(0)
    os.umask(umask)
    assert 0o644 & ~umask == stat.S_IMODE(out.stat().st_mode)


@pytest.mark.parametrize(("name", "reason"), [("no/rows.csv", "No such file or directory"), ("dir", "Is a directory")])
def test_an_output_file_that_cannot_be_written_is_one_line(
    located: Geocli, tmp_path: Path, name: str, reason: str
) -> None:
    """The line names the output file, and no temporary file remains."""
    (tmp_path / "in" / "dir").mkdir(parents=True)
    out = tmp_path / "in" / name
    run = located("batch", "-o", str(out), stdin=b"81.2.69.160\n")

    assert (1, b"") == (run.returncode, run.stdout)
    assert ["dir"] == os.listdir(tmp_path / "in")
    assert f"{out}: {reason}" == complaint(run)


def test_an_output_that_is_not_a_regular_file_is_not_replaced(located: Geocli, tmp_path: Path) -> None:
    """A named pipe, /dev/stdout or /dev/null must not be replaced by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    descriptor = os.open(pipe, os.O_RDWR)  # a reader, so that writing does not block
    try:
        located("batch", "-o", str(pipe), stdin=b"81.2.69.160\n")
    finally:
        os.close(descriptor)

    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_full_disk_is_reported_once(located: Geocli) -> None:
    """Every block fails, and every row is printed, with one message and exit status 4."""
    lines = "".join(f"81.2.{n // 250}.{n % 250}\n" for n in range(3000))
    script = f"ulimit -f 8; exec {' '.join(located.command)} batch -f value -F ip"
    ran = subprocess.run(
        ["sh", "-c", script], env=located.environ, input=lines.encode(), capture_output=True, check=False
    )

    assert 4 == ran.returncode
    assert lines.encode() == ran.stdout
    assert 1 == ran.stderr.count(b"\n")
    assert b"is the disk full?" in ran.stderr or b"File too large" in ran.stderr


def test_a_terminal_with_nothing_to_read_gets_help(geocli: Geocli) -> None:
    """Instead of waiting for input: help, and exit status 2."""
    status, shown = on_terminal(geocli, "batch")

    assert 2 == status
    assert "Usage: geocli batch" in STYLE.sub("", shown)
    assert [] == list(geocli.data_dir.iterdir())


def test_rows_are_printed_also_when_they_cannot_be_stored(located: Geocli) -> None:
    """Every row, with exit status 4 and a message with the reason."""
    run = located("--data-dir", "/dev/null", "batch", *SHORT, stdin=b"81.2.69.160\n98.0.0.1\n")

    assert 4 == run.returncode
    assert HEADER + b"81.2.69.160,resolved,GB\n98.0.0.1,resolved,US\n" == run.stdout
    assert "/dev/null: cannot be used as data directory: not a directory" in complaints(run)


def test_a_problem_is_reported_once_for_many_blocks(located: Geocli) -> None:
    """A damaged database among others is one message for the whole run."""
    (located.db_dir / "broken.mmdb").write_bytes(b"<html>")
    stdin = b"".join(b"81.2.%d.%d\n" % (number >> 8, number & 255) for number in range(1500))
    run = located("batch", stdin=stdin)

    assert 0 == run.returncode
    assert complaint(run).startswith(f"{located.db_dir}/broken.mmdb: not a readable MaxMind DB")
