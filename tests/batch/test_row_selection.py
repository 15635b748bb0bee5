"""Selected rows: whole lines, records and headers, the same by the kernel and by the scalar path."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest

from geocli.batch.row_selection import kept_pieces
from geocli.engine.blocks import NO_ROW, Block, offsets
from tests.helpers.command_output import complaint, objects
from tests.helpers.databases import LONDON, NETWORKS, TOKYO, build

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

FILTERS = "--only, --except, --country and --asn"
LOG = (
    b"no address at all\r\n"
    b'a 81.2.69.160 - "x"\n'
    b"b 98.0.0.1, then 81.2.69.7\r\n"
    b"c 98.0.0.1 and 98.0.0.2\n"
    b"\n"
    b"d 10.0.0.1 [GB]\n"
    b"e 2001:218::1 \xff\n"
    b"f 1.2.3.4.5 version\n"
    b"g 81.2.69.160 [London, GB] labelled\n"
    b"last 81.2.69.161"
)
BY_LINE = LOG.splitlines(keepends=True)
LABELLED = (
    *BY_LINE[:1],
    b'a 81.2.69.160 [London, GB] - "x"\n',
    b'b 98.0.0.1 [Winston, "Salem", US], then 81.2.69.7 [London, GB]\r\n',
    b'c 98.0.0.1 [Winston, "Salem", US] and 98.0.0.2 [Winston, "Salem", US]\n',
    b"\n",
    b"d 10.0.0.1 [private] [GB]\n",
    b"e 2001:218::1 [Tokyo, JP] \xff\n",
    *BY_LINE[7:9],
    b"last 81.2.69.161 [London, GB]",
)
"""Its lines with their labels."""


def _batch(geocli: Geocli, text: bytes, *options: str) -> bytes:
    run = geocli("batch", "--no-cache", "-q", *options, stdin=text)
    assert run.returncode in {0, 1}
    assert b"Traceback" not in run.stderr
    return run.stdout


def _large(text: bytes) -> bytes:
    """Repeat lines until they are enough for the kernel."""
    text = text if text.endswith(b"\n") else text + b"\n"
    return text * (40_000 // len(text) + 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "selected"),
    [
        (("--country", "GB"), (1, 2, 8, 9)),
        (("--only", "country_code=GB,JP"), (1, 2, 6, 8, 9)),
        (("--except", "country_code=US"), (1, 2, 5, 6, 8, 9)),
        (("--only", "status=special"), (5,)),
        (("--only", "ip=2001:0218:0::1,::ffff:10.0.0.1"), (5, 6)),
        (("--only", "status=resolved", "--except", "country_code=GB"), (2, 3, 6)),
        (("--asn", "AS20712"), (1, 8, 9)),
        (("--only", "accuracy_radius=100"), (1, 2, 8, 9)),
        (("--only", "ip=81.2.69.7"), (2,)),
        (("--only", "network=98.0.0.0/24"), (2, 3)),
    ],
)
def test_lines_of_a_log_stay_whole(located: Geocli, options: tuple[str, ...], selected: tuple[int, ...]) -> None:
    """A line is kept if one of its addresses is selected: as it was, or with labels as without a filter."""
    plain = _batch(located, LOG, "-i", "log", *options, "--no-label")
    labelled = _batch(located, LOG, "-i", "log", *options)
    large = _batch(located, _large(LOG), "-i", "log", *options, "--no-label")

    assert b"".join(BY_LINE[line] for line in selected) == plain
    assert b"".join(LABELLED[line] for line in selected) == labelled
    assert large
    assert _large(plain)[: len(large)] == large


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--country", "GB"), ("--except", "country_code=US"), ("--only", "city=Tokyo")])
@pytest.mark.parametrize(
    "form",
    [
        ("-i", "log"),
        ("-i", "log", "--no-label"),
        ("-i", "log", "-F", "ip,country_code"),
        ("--extract", "-f", "jsonl", "-F", "ip,city,network"),
    ],
    ids=" ".join,
)
def test_large_input_is_filtered_as_small_input_is(
    located: Geocli, form: tuple[str, ...], options: tuple[str, ...]
) -> None:
    """The kernel keeps the lines that the scalar path keeps, in whatever order they come."""
    lines = [line if line.endswith(b"\n") else line + b"\n" for line in BY_LINE]
    text = b"".join(lines[number * number % 97 % len(lines)] for number in range(200))
    header = () if "log" in form else ("--no-header",)
    small = _batch(located, text, *form, *options, *header)

    assert small
    assert small * 20 == _batch(located, text * 20, *form, *options, *header)


@pytest.mark.parametrize("factor", [1, 1000])
@pytest.mark.parametrize("quoted", [False, True], ids=["plain", "quoted"])
def test_csv_keeps_its_header_and_whole_records(located: Geocli, factor: int, *, quoted: bool) -> None:
    """Records with line breaks in their cells stay whole; a row of several addresses is kept if one is selected."""
    note = '"two\nlines, ""quoted"""' if quoted else "plain"
    rows = f"1,81.2.69.160,98.0.0.1,{note}\r\n2,98.0.0.1,98.0.0.2,{note}\r\n3,98.0.0.1,2001:218::1,x\r\n" * factor
    text = f"n,src,dst,note\r\n{rows}".encode()
    options = ("-i", "csv", "-c", "src", "-c", "dst", "-F", "country_code")
    actual = list(
        csv.DictReader(io.StringIO(_batch(located, text, *options, "--country", "GB,JP").decode(), newline=""))
    )

    assert ["1", "3"] * factor == [row["n"] for row in actual]
    assert {"GB", "US"} == {row["src_country_code"] for row in actual}
    assert {'two\nlines, "quoted"' if quoted else "plain", "x"} == {row["note"] for row in actual}
    none = _batch(located, text, *options, "--country", "FR")
    assert [b"n,src,dst,note,src_country_code,dst_country_code"] == none.splitlines()


@pytest.mark.parametrize("factor", [1, 2000])
def test_json_lines_stay_valid(located: Geocli, factor: int) -> None:
    """Objects are kept whole, with their answer."""
    text = b'{"ip": "81.2.69.160", "n": 1}\n\n{"ip": "98.0.0.1"}\nnot json\n{"n": 3, "ip": "81.2.69.7"}' + b"\n"
    actual = objects(_batch(located, text * factor, "-i", "jsonl", "-F", "country_code", "--country", "GB"))

    assert [{"ip": "81.2.69.160", "n": 1, "geo": {"country_code": "GB"}},
            {"n": 3, "ip": "81.2.69.7", "geo": {"country_code": "GB"}}] * factor == actual  # fmt: skip


def test_nothing_selected_exits_with_1(located: Geocli, tmp_path: Path) -> None:
    """As grep does; the output is complete nevertheless. Something selected, or no filter, exits with 0."""
    path = tmp_path / "out.csv"
    run = located("batch", "--country", "FR", "-o", str(path), stdin=b"81.2.69.160\n")

    assert (1, b"", b"") == (run.returncode, run.stdout, run.stderr)
    assert path.read_text().startswith("ip,status")
    assert 0 == located("batch", "--country", "GB", stdin=b"81.2.69.160\n").returncode
    assert 1 == located("batch", "--country", "GB", stdin=b"").returncode
    assert 1 == located("batch", "--country", "FR", "--count-by", "city", stdin=_large(LOG)).returncode


@pytest.mark.measured
def test_counts_summaries_and_reports_are_of_selected_rows(located: Geocli, tmp_path: Path) -> None:
    """What is not selected is not counted; its answers are cached all the same."""
    text = b"81.2.69.160\n98.0.0.1\n81.2.69.161\n"
    for factor in (1, 2000):
        counts = _batch(located, text * factor, "--country", "GB", "--count-by", "country_code")
        assert f"GB,{2 * factor},2,1.0" == counts.decode().splitlines()[1]
        assert 2 == len(counts.splitlines())
    run = located("batch", "--country", "GB", "--summary", "--report", f"{tmp_path}/r.html", stdin=text)

    assert b"US" not in run.stderr
    assert "United States:" not in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert ["US"] == [entry["country_code"] for entry in objects(located("lookup", "--cached-only", "98.0.0.1").stdout)]


def test_several_databases_and_traits(geocli: Geocli) -> None:
    """Fields that are not written decide, too, from whichever database they are; lists have several values."""
    build(geocli.db_dir / "City.mmdb", {"81.2.69.0/24": LONDON, "2001:218::/32": TOKYO})
    networks = {**NETWORKS, "98.0.0.0/24": {"is_anonymous_vpn": True, "tags": ["a", "b"], "note": "[none]"}}
    build(geocli.db_dir / "ASN.mmdb", networks, edition="ASN")
    text = b"81.2.69.160\n81.2.69.1\n98.0.0.1\n2001:218::1\n" * 2000

    for options, expected in (
        (("--only", "asn=20712"), {"81.2.69.160"}),
        (("--only", "is_anonymous_vpn=true"), {"98.0.0.1"}),
        (("--only", "traits.tags=b"), {"98.0.0.1"}),
        (("--only", "traits.note=[none]"), {"98.0.0.1"}),
        (("--only", "city="), {"98.0.0.1"}),
        (("--except", "org=NTT", "--only", "city=london,tokyo"), {"81.2.69.160", "81.2.69.1"}),
    ):
        actual = _batch(geocli, text, "-f", "value", "-F", "ip", *options).decode().split()

        assert expected == set(actual), options
        assert 2000 * len(expected) == len(actual)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--only", "contry=NL"), "command line: --only contry: unknown field; did you mean country_"),
        (("--country", "XX"), "command line: --country: "),
        (("--no-label",), "command line: --no-label: needs --only, --except, --country or --asn, and rows"),
        (("--no-label", "--country", "NL", "-i", "csv"), "command line: --no-label: cannot be used with csv input"),
        (
            ("--country", "NL", "--cluster", "local:1", "-o", "x"),
            f"command line: {FILTERS}: cannot be used with --cluster",
        ),
    ],
)
def test_wrong_use_is_refused(located: Geocli, options: tuple[str, ...], reason: str) -> None:
    """The error names the option, and what would work."""
    run = located("batch", *options, stdin=b"8.8.8.8\n")

    assert 2 == run.returncode
    assert complaint(run).startswith(reason)


def test_kept_pieces_of_records() -> None:
    """Rows that begin where the block says are kept with what ends them, but without the text between rows."""
    block = Block.joined([b"A", b"B", b"C"], [b"1,", b"\r\n# note\r\n2,", b"|"], b"\r\n# end\r\n", [0, 10, None])

    assert offsets([0, 13, NO_ROW]) == block.row_starts
    assert ([(b"1,", 0), (b"\r\n", None)], b"") == kept_pieces(block, [True, False, False])
    assert ([(b"2,", 1), (b"|", 2)], b"\r\n") == kept_pieces(block, [False, False, True])
    assert ([], b"") == kept_pieces(block, [False, False, False])


def test_json_output_of_a_list_is_filtered(located: Geocli) -> None:
    """A list has a row for each selected line, in any format."""
    run = located("batch", "-f", "jsonl", "-F", "ip", "--asn", "20712", stdin=b"81.2.69.160\n98.0.0.1\n")

    assert [{"ip": "81.2.69.160"}] == [json.loads(line) for line in run.stdout.splitlines()]
