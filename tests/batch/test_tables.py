"""Tables of any header: Zeek, W3C, comments, numbers of columns, several columns, and other formats of output."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocli.batch.tables import CsvForm
from geocli.errors import SettingsError
from tests.helpers.command_output import complaint

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.batches import Batch
    from tests.helpers.geocli_process import Geocli

ZEEK = (
    b"#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n"
    b"#open\t2026-11-26-09-00-00\n#fields\tts\tuid\tid.orig_h\tid.resp_h\n#types\ttime\tstring\taddr\taddr\n"
)
ZEEK_ROWS = b'1764147600.1\tC1\t10.0.0.1\t81.2.69.160\n1764147601.2\t"C2\t98.0.0.1\t2001:218::1\n'
IIS = (
    b"#Software: Microsoft Internet Information Services 10.0\r\n#Version: 1.0\r\n#Date: 2026-11-26 09:00:00\r\n"
    b"#Fields: date time s-ip cs-method cs-uri-stem c-ip cs(User-Agent) sc-status\r\n"
)
IIS_ROWS = (
    b"2026-11-26 09:00:01 10.0.0.5 GET /a 81.2.69.160 Mozilla/5.0+(X11) 200\r\n"
    b"2026-11-26 09:00:02 10.0.0.5 GET /b 98.0.0.1 - 404\r\n"
)
CLOUDFRONT = b"#Version: 1.0\n#Fields: date time c-ip cs-method\n"
CLOUDFRONT_ROWS = b"2026-11-26\t09:00:01\t81.2.69.160\tGET\n"
NAMES = ("country_name", "city")


def test_zeek_logs_get_fields_and_types(batch: Batch) -> None:
    """The names are in `#fields` and `#types`; quotes are ordinary characters; unknown values are unset."""
    actual = batch(ZEEK, ZEEK_ROWS, input="csv", columns=("id.resp_h",), fields=NAMES)
    head = ZEEK.replace(b"id.resp_h\n", b"id.resp_h\tcountry_name\tcity\n").replace(
        b"addr\n", b"addr\tstring\tstring\n"
    )

    assert (
        head
        + (
            b"1764147600.1\tC1\t10.0.0.1\t81.2.69.160\tUnited Kingdom\tLondon\n"
            b'1764147601.2\t"C2\t98.0.0.1\t2001:218::1\tJapan\tTokyo\n'
        )
        == actual
    )
    assert b"\t-\t-\n" in batch.once(ZEEK + ZEEK_ROWS, input="csv", columns=("id.orig_h",), fields=NAMES)


def test_the_usual_columns_of_logs_are_found(batch: Batch) -> None:
    """Zeek's originator, and the client of W3C."""
    assert b"98.0.0.1\t2001:218::1\tUS\n" in batch(ZEEK, ZEEK_ROWS, input="csv")
    assert b"98.0.0.1 - 404 US\r\n" in batch(IIS, IIS_ROWS, input="csv")


def test_w3c_logs_get_fields(batch: Batch) -> None:
    """Blanks in a value become plus signs, as IIS writes them, and unknown values are `-`."""
    actual = batch(IIS, IIS_ROWS, input="csv", columns=("c-ip",), fields=(*NAMES, "postal_code"))

    assert actual.startswith(IIS[:-2] + b" country_name city postal_code\r\n")
    assert b"Mozilla/5.0+(X11) 200 United+Kingdom London EC1A\r\n" in actual
    assert b'98.0.0.1 - 404 United+States Winston,+"Salem" -\r\n' in actual


def test_w3c_logs_may_have_tabs_between_values(batch: Batch) -> None:
    """As CloudFront writes them; the names are separated by blanks all the same."""
    actual = batch(CLOUDFRONT, CLOUDFRONT_ROWS, input="csv", columns=("c-ip",), fields=NAMES)

    assert CLOUDFRONT[:-1] + b" country_name city\n" + CLOUDFRONT_ROWS[:-1] + b"\tUnited Kingdom\tLondon\n" == actual


def test_quoted_values_of_w3c_may_have_blanks(batch: Batch) -> None:
    """As those of proxies; an open quote ends with its line."""
    rows = b'"a b" 81.2.69.160\n"open 98.0.0.1\n"x" 98.0.0.1\n'
    actual = batch(b"#Fields: agent c-ip\n", rows, input="csv", columns=("c-ip",))

    assert [b'"a b" 81.2.69.160 GB', b'"x" 98.0.0.1 US'] == actual.splitlines()[1::2]


@pytest.mark.parametrize(("head", "rows", "column"), [(ZEEK, ZEEK_ROWS, "id.resp_h"), (IIS, IIS_ROWS, "c-ip")])
def test_repeated_heads_are_extended(batch: Batch, head: bytes, rows: bytes, column: str) -> None:
    """Servers repeat them when they restart, and joined logs have several."""
    once = batch.once(head + rows, input="csv", columns=(column,))

    assert once + once == batch(b"", head + rows + head + rows, input="csv", columns=(column,))


def test_a_head_with_other_columns_is_an_error(batch: Batch) -> None:
    """The addresses would be looked for in the wrong place."""
    other_head = IIS.replace(b" cs-method", b"")
    with pytest.raises(SettingsError, match=r"/given: other columns follow in the same file: date time s-ip"):
        batch.once(IIS + IIS_ROWS + other_head + IIS_ROWS, input="csv")


@pytest.mark.parametrize(
    ("head", "body", "columns", "expected_head"),
    [
        (b"# a\n#\nip,n\n", b"81.2.69.160,1\n", (), b"# a\n#\nip,n,country_code\n"),
        (b'# a, "b\n\nip,n\n', b"81.2.69.160,1\n", (), b'# a, "b\n\nip,n,country_code\n'),
        (b"# list\r\n# id,dst_ip\r\n", b'"1","81.2.69.160"\r\n', (), b"# list\r\n# id,dst_ip,country_code\r\n"),
        (b"#ip,n\n", b"81.2.69.160,1\n", ("ip",), b"#ip,n,country_code\n"),
        (b"\xef\xbb\xbf# a\nip\n", b"81.2.69.160\n", (), b"\xef\xbb\xbf# a\nip,country_code\n"),
        (b"\n\r\nip,n\n", b"81.2.69.160,1\n", (), b"\n\r\nip,n,country_code\n"),
    ],
)
def test_comments_and_blank_lines_are_kept(
    batch: Batch, head: bytes, body: bytes, columns: tuple[str, ...], expected_head: bytes
) -> None:
    """Before the header and among the rows; the last comment is the header if it has the names of the columns."""
    lines = body + b"\n" + body + b"\r\n" + (b'# end, "\n' if b"#" in head else b"")
    expected = lines.replace(b"81.2.69.160\n", b"81.2.69.160,GB\n").replace(b",1\n", b",1,GB\n")
    expected = expected.replace(b'0"\r\n', b'0",GB\r\n')

    assert expected_head + expected == batch.once(head + lines, input="csv", columns=columns)
    assert expected_head + expected * 3000 == batch.once(head + lines * 3000, input="csv", columns=columns)


@pytest.mark.parametrize("line", [b"sep=;\r\n", b'"SEP=;"\n', b"\xef\xbb\xbfsep=;\r\n"])
@pytest.mark.parametrize(
    ("head", "columns", "names"),
    [
        (b"n;ip\n", (), b"n;ip;country_code\n"),
        (b"# a\n\nn;ip\n", ("ip",), b"# a\n\nn;ip;country_code\n"),
        (b"", ("2",), b""),
    ],
)
def test_a_line_for_excel_names_the_delimiter(
    batch: Batch, line: bytes, head: bytes, columns: tuple[str, ...], names: bytes
) -> None:
    """It stays the first line, also before comments and without a header, and is not a row of other formats."""
    body, options = b'"a,b";81.2.69.160\n#;98.0.0.1\n', {"input": "csv", "columns": columns}
    rows = b'"a,b";81.2.69.160;GB\n#;98.0.0.1;US\n'
    if b"#" in head:
        rows = rows.replace(b"98.0.0.1;US", b"98.0.0.1")

    assert line + names + rows == batch(line + head, body, **options)
    assert b'{"country_code": "GB"}}\n' in batch(line + head, body, format="jsonl", **options)
    assert b"sep" not in batch(line + head, body, format="jsonl", **options).lower()


def test_without_comments_before_the_header_there_are_none(batch: Batch) -> None:
    """A row may begin with a number sign."""
    assert b"n,ip,country_code\n#1,81.2.69.160,GB\n" == batch(b"n,ip\n", b"#1,81.2.69.160\n", input="csv")


@pytest.mark.parametrize(
    ("head", "body", "column", "expected"),
    [
        (b"", b"81.2.69.160,x\n", "1", b"81.2.69.160,x,GB\n"),
        (b"", b'x,"81.2.69.160"\n', "2", b'x,"81.2.69.160",GB\n'),
        (b"\xef\xbb\xbf", b"81.2.69.160,x\n", "1", b"\xef\xbb\xbf81.2.69.160,x,GB\n"),
        (b"# a\n", b"81.2.69.160,x\n", "1", b"# a\n81.2.69.160,x,GB\n"),
        (b"", b",x\n", "1", b",x,\n"),
        (b"", b"81.2.69.160/32,x\n", "1", b"81.2.69.160/32,x,GB\n"),
        (b"", b"10.0.0.1 - 10.0.0.9,x\n", "1", b"10.0.0.1 - 10.0.0.9,x,\n"),
        (b"", b'"10.0.0.1, 81.2.69.160",x\n', "1", b'"10.0.0.1, 81.2.69.160",x,GB\n'),
        (b"n,addr\n", b"x,81.2.69.160\n", "2", b"n,addr,country_code\nx,81.2.69.160,GB\n"),
        (b"2,x\n", b"81.2.69.160,y\n", "2", b"2,x,country_code\n81.2.69.160,y,GB\n"),
        (b"ip,a,ip\n", b"x,y,81.2.69.160\n", "3", b"ip,a,ip,country_code\nx,y,81.2.69.160,GB\n"),
    ],
)
def test_a_column_may_be_chosen_by_its_number(
    batch: Batch, head: bytes, body: bytes, column: str, expected: bytes
) -> None:
    """A first row with an address, or an empty cell, is not a header; a name takes precedence over a number."""
    answered_rows = expected[expected.index(body[: len(body) - 1]) :]
    for count in (1, 5000):
        begin = expected[: len(expected) - len(answered_rows)]
        assert begin + answered_rows * count == batch.once(head + body * count, input="csv", columns=(column,))


@pytest.mark.parametrize(
    ("comment", "row", "columns"),
    [
        (b"# t,src_ip\n", b"1,\n", ()),
        (b"# t,src_ip\n", b"1,-\n", ()),
        (b"# t,src_ip\n", b"1,example.com\n", ()),
        (b"# t,ioc\n", b"1,example.com\n", ("ioc",)),
    ],
)
def test_a_first_row_without_an_address_is_no_header(
    batch: Batch, comment: bytes, row: bytes, columns: tuple[str, ...]
) -> None:
    """A comment with as many names is."""
    actual = batch.once(comment + row + b"2,81.2.69.160\n", input="csv", columns=columns)

    head, row = comment.replace(b"\n", b",country_code\n"), row.replace(b"\n", b",\n")
    assert head + row + b"2,81.2.69.160,GB\n" == actual


def test_a_comment_is_no_header_if_a_row_is(batch: Batch) -> None:
    """Both have usual names."""
    actual = batch.once(b"# ip,n\nip,n\n81.2.69.160,1\n", input="csv")

    assert b"# ip,n\nip,n,country_code\n81.2.69.160,1,GB\n" == actual


@pytest.mark.parametrize("unknown", [b"", b" ", b"-", b"Unknown"])
def test_a_first_row_with_an_unknown_address(batch: Batch, unknown: bytes) -> None:
    """In a table without a header."""
    actual = batch.once(b"1,%b\n2,81.2.69.160\n" % unknown, input="csv", columns=("2",))

    assert b"1,%b,\n2,81.2.69.160,GB\n" % unknown == actual


def test_comments_of_several_tables_without_headers_are_kept(located: Geocli, tmp_path: Path) -> None:
    """Those of tables with headers are written once, with the header."""
    for name in "ab":
        (tmp_path / f"{name}.csv").write_bytes(b"# %b\n81.2.69.160,1\n" % name.encode())
        (tmp_path / f"{name}2.csv").write_bytes(b"# %b\nip,n\n81.2.69.160,1\n" % name.encode())
    options = ("batch", "-F", "country_code")
    numbered = located(*options, "-c", "1", str(tmp_path / "a.csv"), str(tmp_path / "b.csv"))
    named = located(*options, str(tmp_path / "a2.csv"), str(tmp_path / "b2.csv"))

    assert b"# a\n81.2.69.160,1,GB\n# b\n81.2.69.160,1,GB\n" == numbered.stdout
    assert b"# a\nip,n,country_code\n81.2.69.160,1,GB\n81.2.69.160,1,GB\n" == named.stdout


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            ("src_ip", "dst_ip"),
            b"dst_ip,n,src_ip,src_ip_country_code,dst_ip_country_code\n98.0.0.1,x,81.2.69.160,GB,US\nz,,,,\n",
        ),
        (
            ("1", "3"),
            b"dst_ip,n,src_ip,1_country_code,3_country_code\n98.0.0.1,x,81.2.69.160,US,GB\nz,,,,\n",
        ),
    ],
)
def test_several_columns_have_their_own_cells(batch: Batch, columns: tuple[str, ...], expected: bytes) -> None:
    """In the chosen order; a short row is filled up once."""
    assert expected == batch(b"dst_ip,n,src_ip\n", b"98.0.0.1,x,81.2.69.160\nz\n", input="csv", columns=columns)


def test_several_columns_with_quotes(batch: Batch) -> None:
    """Where rows are not divided by the kernel."""
    body = b'"98.0.0.1","a\nb",81.2.69.160\n'

    assert body[:-1] + b",GB,US\n" == batch(b"b,n,a\n", body, input="csv", columns=("a", "b")).partition(b"\n")[2]


@pytest.mark.parametrize("more", [("-i", "csv"), ("-i", "jsonl")])
def test_a_prefix_and_several_columns_are_an_error(located: Geocli, more: tuple[str, ...]) -> None:
    """The columns' own names are the prefixes."""
    run = located("batch", *more, "-c", "a", "-c", "b", "--prefix", "x_", stdin=b"a,b\n")

    assert (2, b"") == (run.returncode, run.stdout)
    assert "command line: --prefix: cannot be used with several -c, whose own names are the prefixes" == complaint(run)


@pytest.mark.parametrize(("pick", "code"), [("public", b"GB"), ("first", b""), ("last", b"US")])
def test_one_address_of_a_cell_counts(batch: Batch, pick: str, code: bytes) -> None:
    """With and without quotes in the table, by the kernel as without it."""
    for delimiter, cell in ((",", b'"10.0.0.1, 81.2.69.160, 98.0.0.1"'), (";", b"10.0.0.1, 81.2.69.160, 98.0.0.1")):
        cut = delimiter.encode()
        body = b"1" + cut + cell + b"\n"
        actual = batch(b"n" + cut + b"ip\n", body, input="csv", delimiter=delimiter, pick=pick)
        assert body[:-1] + cut + code + b"\n" == actual.partition(b"\n")[2]


TABLE, TABLE_ROWS = b"ip,n,o\n", b'81.2.69.160,"a, ""b""",1\n\n98.0.0.1\n'


@pytest.mark.parametrize(
    ("format_", "delimiter", "expected"),
    [
        ("csv", ",", TABLE[:-1] + b',country_code\n81.2.69.160,"a, ""b""",1,GB\n\n98.0.0.1,,,US\n'),
        ("tsv", ",", b'ip\tn\to\tcountry_code\n81.2.69.160\ta, "b"\t1\tGB\n98.0.0.1\t\t\tUS\n'),
        ("value", ",", b"GB\nUS\n"),
        (
            "jsonl",
            ",",
            b'{"ip": "81.2.69.160", "n": "a, \\"b\\"", "o": "1", "geo": {"country_code": "GB"}}\n%b'
            % b'{"ip": "98.0.0.1", "geo": {"country_code": "US"}}\n',
        ),
        ("csv", "\t", b'ip,n,o,country_code\n81.2.69.160,"a, ""b""",1,GB\n98.0.0.1,,,US\n'),
        (
            "tsv",
            "\t",
            b'ip\tn\to\tcountry_code\n81.2.69.160\t"a, ""b"""\t1\tGB\n\n98.0.0.1\t\t\tUS\n',
        ),
    ],
)
def test_a_table_becomes_another_format(batch: Batch, format_: str, delimiter: str, expected: bytes) -> None:
    """Cells keep their values; blank lines and comments are kept only in the same format."""
    header, rows = TABLE.replace(b",", delimiter.encode()), TABLE_ROWS
    if delimiter == "\t":
        rows = b'81.2.69.160\t"a, ""b"""\t1\n\n98.0.0.1\n'

    assert expected == batch(header, rows, input="csv", delimiter=delimiter, format=format_)


def test_other_encodings_stay_in_csv_and_are_replaced_in_json(batch: Batch) -> None:
    """Bytes that are not UTF-8 are U+FFFD in the keys and values of JSON."""
    head, body = b"ip,n\xe4me\n", b"81.2.69.160,Z\xfcrich\n"

    assert head[:-1] + b",country_code\n" + body[:-1] + b",GB\n" == batch(head, body, input="csv")
    assert {"ip": "81.2.69.160", "n\ufffdme": "Z\ufffdrich", "geo": {"country_code": "GB"}} == json.loads(
        batch(head, body, input="csv", format="jsonl")
    )


def test_cells_without_a_name_of_their_own_have_their_number_as_a_key(batch: Batch) -> None:
    """An object has no key twice: a repeated or empty name in a header, and a cell that has none."""
    actual = batch(b"ip,n,,n\n", b"81.2.69.160,a,b,c,d\n", input="csv", format="jsonl")

    assert b'{"ip": "81.2.69.160", "n": "a", "3": "b", "4": "c", "5": "d", "geo": {"country_code": "GB"}}\n' == actual


def test_a_log_becomes_csv_and_json(batch: Batch) -> None:
    """Without its comments."""
    request: dict[str, Any] = {"input": "csv", "columns": ("id.orig_h", "id.resp_h")}
    (_, row) = batch(ZEEK, ZEEK_ROWS, **request, format="jsonl").splitlines()
    table = batch(ZEEK, ZEEK_ROWS + b"#close\tx\n", **request, format="csv")

    assert {
        "ts": "1764147601.2",
        "uid": '"C2',
        "id.orig_h": "98.0.0.1",
        "id.resp_h": "2001:218::1",
        "id.orig_h_geo": {"country_code": "US"},
        "id.resp_h_geo": {"country_code": "JP"},
    } == json.loads(row)
    assert [
        ["ts", "uid", "id.orig_h", "id.resp_h", "id.orig_h_country_code", "id.resp_h_country_code"],
        ["1764147600.1", "C1", "10.0.0.1", "81.2.69.160", "", "GB"],
        ["1764147601.2", '"C2', "98.0.0.1", "2001:218::1", "US", "JP"],
    ] == list(csv.reader(io.StringIO(table.decode())))


@pytest.mark.parametrize("format_", ["csv", "tsv"])
def test_no_header_in_any_format(batch: Batch, format_: str) -> None:
    """Comments go with it."""
    actual = batch.once(b"# a\nip;n\n81.2.69.160;1\n", input="csv", delimiter=";", format=format_, with_header=False)

    assert actual in {b"81.2.69.160;1;GB\n", b"81.2.69.160\t1\tGB\n"}


@pytest.mark.parametrize("format_", [None, "tsv"])
def test_a_column_for_answers_of_one_of_several(batch: Batch, format_: str | None) -> None:
    """The error names options that work with several columns."""
    expected = r"/given: a_country_code: in the input already; choose other fields with -F, or one -c and --prefix"
    with pytest.raises(SettingsError, match=expected):
        batch.once(b"a,b,a_country_code\n", input="csv", columns=("a", "b"), format=format_)


def test_a_key_for_answers_that_is_a_column(batch: Batch) -> None:
    """It is not overwritten."""
    with pytest.raises(SettingsError, match=r"/given: geo: in the input already; choose other names with --prefix"):
        batch.once(b"ip,geo\n", input="csv", format="jsonl")


cells = st.text(st.sampled_from('ab,;"\n\r\t |#-'), max_size=6)


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(st.tuples(cells, st.sampled_from(["81.2.69.160", "x", "", "10.0.0.1, 8.8.8.8"]), cells), max_size=6),
    blanks=st.lists(st.sampled_from(["", "\n", "\r\n", "\n\n"]), min_size=8, max_size=8),
    end=st.sampled_from(["\n", "\r\n"]),
    delimiter=st.sampled_from(",;\t|"),
    mark=st.sampled_from(["", "\ufeff"]),
    comments=st.sampled_from(["", "# a\n", '#"b,\r\n#\n']),
    columns=st.sampled_from([("ip",), ("ip", "a"), ("b", "ip", "a")]),
)
def test_a_table_is_unchanged_without_the_answers(  # noqa: PLR0913, PLR0917 (drawn)
    rows: list[tuple[str, str, str]],
    blanks: list[str],
    end: str,
    delimiter: str,
    mark: str,
    comments: str,
    columns: tuple[str, ...],
) -> None:
    """Quotes, line ends, blank lines, comments and a byte order mark are unchanged."""
    body = ""
    for row, blank in zip([("a", "ip", "b"), *rows], blanks, strict=False):
        quoted = (
            f'"{cell.replace(chr(34), chr(34) * 2)}"' if set(cell) & set(f'{delimiter}"\n\r#') else cell for cell in row
        )
        body += blank + delimiter.join(quoted) + end
    text = (mark + comments + body + blanks[-1]).encode()
    form = CsvForm(columns, ("city",), delimiter=delimiter)
    chunks = list(form.begin(iter([text])))
    actual = form.output.header
    for chunk in chunks:
        block = form.cut(chunk)
        actual += b"".join(block.copied(at) + b"<answer>" for at in range(len(block))) + block.tail
    names = [f"{column}_city" if len(columns) > 1 else "city" for column in columns]

    assert text == actual.replace(b"<answer>", b"").replace(f"{delimiter}{delimiter.join(names)}".encode(), b"", 1)
    assert len(rows) * len(columns) == actual.count(b"<answer>")


def test_a_number_does_not_make_a_header_of_a_row(batch: Batch) -> None:
    """The delimiter is wrong if the only cell has an address and other text."""
    with pytest.raises(SettingsError, match=r"-c 1: there is no such column; the columns are: 8.8.8.8;x; try --delim"):
        batch.once(b"8.8.8.8;x\n1.1.1.1;y\n", input="csv", columns=("1",))


def test_the_only_column_may_have_any_name(batch: Batch) -> None:
    """With blanks, and no usual one."""
    assert b"My Column,country_code\n81.2.69.160,GB\n" == batch(b"My Column\n", b"81.2.69.160\n", input="csv")


def test_a_column_that_is_named_twice_counts_once(located: Geocli) -> None:
    """As one column, so that names have no prefix."""
    run = located("batch", "-c", "ip", "-c", "ip", "-F", "country_code", stdin=b"ip\n81.2.69.160\n")

    assert b"ip,country_code\n81.2.69.160,GB\n" == run.stdout


def test_a_log_with_a_delimiter_and_a_column_is_a_table(located: Geocli, tmp_path: Path) -> None:
    """As those of load balancers, with blanks between values, and quotes."""
    path = tmp_path / "alb.log"
    path.write_bytes(b'h2 81.2.69.160:48160 "GET https://example.com/ HTTP/2.0"\n')
    run = located("batch", "-c", "2", "--delimiter", " ", "-F", "country_name", str(path))

    assert (0, b"") == (run.returncode, run.stderr)
    assert path.read_bytes()[:-1] + b' "United Kingdom"\n' == run.stdout
