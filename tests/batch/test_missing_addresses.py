"""Nothing is silently wrong: lines without an address are counted, and the first of them is shown."""

from __future__ import annotations

import json
from functools import reduce
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocli.batch.missing_addresses import LineCounts, complaint, has_no_address
from geocli.batch.request import BatchRequest
from geocli.batch.scheduler import SMALL_BYTES
from tests.helpers.command_output import complaint as complaint_of
from tests.helpers.command_output import complaints

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

LOGIN = "Nov 30 07:57:14 host sshd[1]: Failed password for root from 81.2.69.160 port 22"


@pytest.mark.parametrize(
    ("arguments", "stdin", "expected"),
    [
        ((), "81.2.69.160\n\n# x\nnowhere\n", "1 of 2 lines had no address; first: line 4: nowhere: a host name, "),
        ((), "a.example\nb.example\n", "first: line 1: a.example: a host name, not an address; try: dig +short a.ex"),
        (("-i", "list"), LOGIN, "1 of 1 lines had no address; first: line 1: Nov 30 07:57:14 host sshd[1]: Failed "),
        (
            (),
            "a.example # note\n",
            "line 1: a.example # note: a host name, not an address; try: dig +short a.example | g",
        ),
        ((), "8.8.8.256,x\n", "line 1: 8.8.8.256,x: not an IP address: a part is larger than 255"),
        (("-i", "list"), LOGIN, ": it looks like log input; try: -i log"),
        ((), f"{'host systemd[1]: Started x.' + chr(10)}" * 20 + LOGIN, "x.: it looks like log input; try: -i log"),
        (("-i", "list"), '{"ip": "81.2.69.160"}', ': {"ip": "81.2.69.160"}: it looks like jsonl input; try: -i jsonl'),
        (("-i", "list"), "date,src_ip", ": it looks like csv input; try: -i csv"),
        (("-0",), "81.2.69.160\0x y\0", "1 of 2 lines had no address; first: line 2: x y: not an IP address"),
        ((), "81.2.69.160\098.0.0.1\0", ": lines end in NUL; try: -0"),
        ((), "010.8.8.8", "line 1: 010.8.8.8: leading zeros are refused"),
        ((), "\x1b[2J", "line 1: \\x1b[2J: not an IP address"),
        ((), "x " * 100, f"line 1: {'x ' * 39}x…: not an IP address"),
        (
            ("-c", "b"),
            "a,b\n81.2.69.160,\n81.2.69.160,x\n",
            "2 of 2 rows had no address; first: row 1: empty: no address",
        ),
        (("-c", "b"), "a,b\n81.2.69.160,\n", "choose another column or key: -c NAME"),
        (
            (),
            '{"ip": "81.2.69.160"}\n{"x": 1}\n',
            "1 of 2 lines had no address; first: line 2: empty: no address there",
        ),
        (("-c", "ip"), '{"ip": "nowhere"}\n', "first: line 1: nowhere: a host name, not an address"),
        ((), '{"MESSAGE": "from 81.2.69.160 port 22", "n": "x"}\n', "its text has addresses; try: -i log"),
        ((), '{"a": [{"v": ["1,81.2.69.160,x"]}]}\n', "empty: no address there; its text has addresses; try: -i log"),
        ((), '{"attr": {"peer": "81.2.69.160:443"}}\n', "line 1: empty: no address there; try: -c attr.peer"),
        ((), '{"a": {"of it": ["81.2.69.160"]}}\n', "line 1: empty: no address there; try: -c 'a.of it'"),
        ((), '{"Event": {"Attribute": [{"value": "81.2.69.160"}]}}\n', "try: -c 'Event.Attribute[].value'"),
        ((), '{"ip": "", "MESSAGE": "from 81.2.69.160"}\n', "its text has addresses; try: -i log"),
        ((), '{"network": "tcp", "peer": "81.2.69.160"}\n', ": tcp: not an IP address; try: -c peer"),
        ((), '{"ip": "x.example", "peer": "81.2.69.160"}\n', "not an IP address; try: -c peer"),
        ((), '{"event": "start"}\n{"event": "x", "peer": "81.2.69.160"}\n', ": empty: no address there; try: -c peer"),
        ((), '{"event": "start"}\n{"a": "81.2.69.160", "src_ip": "98.0.0.1"}\n', "; try: -c src_ip"),
        ((), '{"event": "start"}\n{"event": "from 81.2.69.160"}\n', "its text has addresses; try: -i log"),
        ((), '{"ip": null}\n{"ip": "81.2.69.160"}\n', "line 1: empty: no address there; choose another column or key"),
        (
            ("-i", "jsonl"),
            '"81.2.69.160"\n',
            "empty: no address there; it is not a JSON object; choose another form: -i FORM",
        ),
        (
            ("-i", "jsonl"),
            '\x1e{"ip": "81.2.69.160"}\n',
            ": not an IP address; it is not a JSON object; choose another",
        ),
        ((), '{"version": "1.2.3"}\n', "no address there; choose another column or key: -c NAME"),
        ((), '{"ip": "81.2.69.160", "geo": {"lat": 1}}', ": its key geo is not an answer of geocli; choose another"),
        (("--prefix", "x_"), '{"ip": "81.2.69.160", "x_geo": 1}', ": its key x_geo is not an answer of geocli; choose"),
        ((), '{"ip": "81.2.69.160"} x\n', '{"ip": "81.2.69.160"} x: not a JSON object on one line'),
        (("-c", "ip"), '{"ip": {"address": "81.2.69.160"}}\n', ": an object; choose a key in it: -c NAME"),
        (
            ("-c", "a", "-c", "b"),
            "a,b\n81.2.69.160,x\ny,81.2.69.160\nz,\n",
            "1 of 3 rows had no address; first: row 3: z: ",
        ),
        (
            ("-c", "a[].b"),
            '{"a": [{"b": "81.2.69.160"}, {"b": "x"}]}\n{"a": []}\n',
            "1 of 2 values had no address; first: va",
        ),
        (
            (),
            "version srcaddr\n2 81.2.69.160 10.0.0.1\n",
            "first: line 1: version srcaddr: it looks like log input; try: -i",
        ),
        (
            (),
            "a.example\nx 81.2.69.160\n",
            "first: line 1: a.example: a host name, not an address; try: dig +short a.exam",
        ),
    ],
)
def test_a_report_at_the_end_has_a_remedy(
    located: Geocli, arguments: tuple[str, ...], stdin: str, expected: str
) -> None:
    """It counts the lines without an address, and shows the first; -q omits it, and the rows are the same."""
    run = located("batch", "-F", "city", *arguments, stdin=stdin.encode())
    quiet = located("batch", "-F", "city", "-q", *arguments, stdin=stdin.encode())

    assert expected in complaint_of(run)
    assert (run.returncode, run.stdout, b"") == (quiet.returncode, quiet.stdout, quiet.stderr)


@pytest.mark.parametrize("form", ["list", "csv", "jsonl"])
@pytest.mark.parametrize("is_large", [False, True])
def test_the_exit_status_is_1_if_no_line_has_an_address(located: Geocli, form: str, *, is_large: bool) -> None:
    """Few lines or many; one address is enough for 0, and all rows are printed in any case."""
    header = {"csv": b"ip\n"}.get(form, b"")
    without, with_address = {"jsonl": (b'{"ip": "x"}\n', b'{"ip": "81.2.69.160"}\n')}.get(
        form, (b"x\n", b"81.2.69.160\n")
    )
    body = without * (2 * SMALL_BYTES // len(without) if is_large else 3)
    without_address, with_one_address = (
        located("batch", "-i", form, stdin=header + text) for text in (body, body + with_address)
    )

    assert (1, 0) == (without_address.returncode, with_one_address.returncode)
    assert body.count(b"\n") + 1 == with_one_address.stdout.count(b"\n") - (form != "jsonl")
    noun = "rows" if form == "csv" else "lines"
    assert f"{body.count(without)} of {body.count(without)} {noun} had no address" in complaint_of(without_address)


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (("-i", "log"), b"no address\n"),
        (("--extract",), b"no address\n"),
        ((), b""),
        ((), b"# only\n\n; comments\n"),
        (("-i", "csv"), b"ip\n"),
        (("-i", "csv"), b""),
        (("-i", "jsonl"), b""),
        ((), b"81.2.69.160 # note\n10.0.0.1\n"),
    ],
)
def test_logs_comments_and_empty_input_are_not_reported(
    located: Geocli, arguments: tuple[str, ...], stdin: bytes
) -> None:
    """No message on standard error, and exit status 0."""
    run = located("batch", *arguments, stdin=stdin)

    assert (0, b"") == (run.returncode, run.stderr)


@pytest.mark.parametrize(
    ("text", "is_warned"),
    [
        ("81.2.69.160 98.0.0.1\n", True),
        ("81.2.69.160 81.2.69.161\n", True),
        ("# start, end\n81.2.69.160,98.0.0.1,x\n", True),
        ("81.2.69.160\t2001:218::1\n", True),
        ("81.2.69.0 - 81.2.69.9\n", False),
        ("81.2.69.0 255.255.255.0\n", False),
        ("81.2.69.160 # as 98.0.0.1\n", False),
        ("81.2.69.160 ; 98.0.0.1\n", False),
        ("81.2.69.160,version 1.2.3.4.5\n", False),
        ("81.2.69.160\n98.0.0.1\n", False),
    ],
)
def test_several_addresses_in_the_first_line_of_a_list(located: Geocli, text: str, *, is_warned: bool) -> None:
    """One of each line is looked up; unless it is a comment, the rest is not dropped without a word."""
    run = located("batch", "-f", "value", "-F", "status,country_code", stdin=text.encode())

    assert 0 == run.returncode
    assert b"resolved\tGB" in run.stdout.splitlines()
    assert text.count("\n") == run.stdout.count(b"\n")
    assert is_warned == (b"the first line has several addresses" in run.stderr)
    assert b"" == located("batch", "-q", stdin=text.encode()).stderr


def test_the_file_of_the_first_line_is_named(located: Geocli, tmp_path: Path) -> None:
    """Lines are counted in each file."""
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_bytes(b"81.2.69.160\n" * 3)
    second.write_bytes(b"# feed\n98.0.0.1\nx y\nnowhere\n")

    run = located("batch", str(first), str(second))

    assert f"2 of 6 lines had no address; first: {second}, line 3: x y: not an IP address" == complaint_of(run)


@pytest.mark.slow
def test_the_reports_of_workers_are_merged(located: Geocli, tmp_path: Path) -> None:
    """On a cluster the counts are the same, for any parts."""
    path = tmp_path / "list"
    path.write_bytes(b"# feed\n81.2.69.160 # note\nnowhere\n" * 30_000)
    out = ("-o", str(tmp_path / "out"))
    runs = [
        located("batch", "--no-cache", *out, str(path)),
        located("batch", *out, "--merge", "--cluster", "local:1", "--block-size", "300kB", str(path)),
    ]

    lines = [complaints(run) for run in runs]
    assert lines[0] == lines[1]
    assert lines[0][0].startswith(f"30000 of 60000 lines had no address; first: {path}, line 3: nowhere: ")
    assert [0, 0] == [run.returncode for run in runs]


counts = st.builds(
    lambda statuses: LineCounts(
        lines=len(statuses),
        comments=statuses.count("comment"),
        invalid=statuses.count("invalid"),
        first=statuses.index("invalid") if "invalid" in statuses else None,
        text="x" if "invalid" in statuses else "",
    ),
    st.lists(st.sampled_from(["comment", "invalid", "resolved"]), max_size=4),
)


@given(parts=st.lists(counts, max_size=5))
def test_counts_of_parts_add_up(parts: Sequence[LineCounts]) -> None:
    """In order, wherever the parts begin; also after they were written as JSON."""
    restored = [LineCounts(**json.loads(json.dumps(part.as_dict()))) for part in parts]
    left = reduce(LineCounts.__add__, restored, LineCounts())
    right = reduce(lambda later, earlier: earlier + later, reversed(restored), LineCounts())

    assert left == right
    assert sum(part.invalid for part in parts) == left.invalid
    assert (left.first is None) == (left.invalid == 0) == (complaint({"-": left}, BatchRequest(input="list")) is None)
    assert has_no_address({"-": left}) == (left.invalid > 0 and left.invalid + left.comments == left.lines)


def test_lines_that_end_in_carriage_returns(located: Geocli) -> None:
    """Their second address would be lost."""
    run = located("batch", stdin=b"81.2.69.160\r98.0.0.1\r")

    assert 1 == run.returncode
    assert complaint_of(run).endswith("carriage returns alone; replace them with: tr '\\r' '\\n'")
