"""The forms of input: tables, JSON lines and logs are written unchanged, with answers added."""

from __future__ import annotations

import csv
import io
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geocli.batch.json_lines import JsonLinesForm
from geocli.batch.lists_and_logs import LogForm
from geocli.batch.tables import CsvForm
from geocli.errors import SettingsError
from geocli.formats.rows import Output
from tests.helpers.batches import text_of
from tests.helpers.command_output import complaint, complaints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from geocli.batch.lists_and_logs import Form
    from tests.helpers.batches import Batch
    from tests.helpers.geocli_process import Geocli

COUNTRY = ("country_code",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"ip,name\n81.2.69.160,x\n", b"ip,name,country_code\n81.2.69.160,x,GB\n"),
        (b'ip,name\n81.2.69.160,"Smith, J"\n', b'ip,name,country_code\n81.2.69.160,"Smith, J",GB\n'),
        (b'ip,name\n"81.2.69.160",x\n', b'ip,name,country_code\n"81.2.69.160",x,GB\n'),
        (b'"ip","name"\n98.0.0.1,x\n', b'"ip","name",country_code\n98.0.0.1,x,US\n'),
        (b'name,ip\n"81.2.69.160,",98.0.0.1\n', b'name,ip,country_code\n"81.2.69.160,",98.0.0.1,US\n'),
        (b'ip,name\n81.2.69.160,"say ""hi"""\n', b'ip,name,country_code\n81.2.69.160,"say ""hi""",GB\n'),
        (b'ip,name\n81.2.69.160,5" pipe\n', b'ip,name,country_code\n81.2.69.160,5" pipe,GB\n'),
        (b'ip,name\n81.2.69.160,"a\nb\n\nc"\n', b'ip,name,country_code\n81.2.69.160,"a\nb\n\nc",GB\n'),
        (b'"a\nb",ip\nx,81.2.69.160\n', b'"a\nb",ip,country_code\nx,81.2.69.160,GB\n'),
        (b"ip,name\r\n81.2.69.160,x\r\n", b"ip,name,country_code\r\n81.2.69.160,x,GB\r\n"),
        (b'ip,name\r\n81.2.69.160,"a\r\nb"\r\n', b'ip,name,country_code\r\n81.2.69.160,"a\r\nb",GB\r\n'),
        (b"ip,a,b\n81.2.69.160\n", b"ip,a,b,country_code\n81.2.69.160,,,GB\n"),
        (b'ip,a,b\n"81.2.69.160",x\n', b'ip,a,b,country_code\n"81.2.69.160",x,,GB\n'),
        (b"a,b,ip\nx\n", b"a,b,ip,country_code\nx,,,\n"),
        (b"ip,a\n81.2.69.160,1,2,3\n", b"ip,a,country_code\n81.2.69.160,1,2,3,GB\n"),
        (b"ip,a\n\n81.2.69.160,x\n", b"ip,a,country_code\n\n81.2.69.160,x,GB\n"),
        (b'ip,a\n\n81.2.69.160,"x"\n', b'ip,a,country_code\n\n81.2.69.160,"x",GB\n'),
        (b"addr\n81.2.69.160\n\n98.0.0.1\n", b"addr,country_code\n81.2.69.160,GB\n\n98.0.0.1,US\n"),
        (b"ip,a\n81.2.69.160,x\ry\n98.0.0.1,z\n", b"ip,a,country_code\n81.2.69.160,x\ry,GB\n98.0.0.1,z,US\n"),
        (b"ip,a\n81.2.69.160,caf\xe9\n", b"ip,a,country_code\n81.2.69.160,caf\xe9,GB\n"),
        (b'ip,a\n81.2.69.160,"caf\xe9"\n', b'ip,a,country_code\n81.2.69.160,"caf\xe9",GB\n'),
        (b"ip,caf\xe9\n81.2.69.160,x\n", b"ip,caf\xe9,country_code\n81.2.69.160,x,GB\n"),
        (b"ip,a\n81.2.69.160,a\0b\n", b"ip,a,country_code\n81.2.69.160,a\0b,GB\n"),
        (b"ip,a\n81.2.69.160,=1+1\n", b"ip,a,country_code\n81.2.69.160,=1+1,GB\n"),
        (b"ip,a\n 81.2.69.160 ,x\n", b"ip,a,country_code\n 81.2.69.160 ,x,GB\n"),
        (b"ip,a\nexample.com,x\n", b"ip,a,country_code\nexample.com,x,\n"),
        (b"\xef\xbb\xbfip,a\n81.2.69.160,x\n", b"\xef\xbb\xbfip,a,country_code\n81.2.69.160,x,GB\n"),
        (b'\xef\xbb\xbf"ip",a\n81.2.69.160,x\n', b'\xef\xbb\xbf"ip",a,country_code\n81.2.69.160,x,GB\n'),
        (b"ip\n", b"ip,country_code\n"),
        (b"", b""),
    ],
)
def test_csv_rows_get_cells(batch: Batch, text: bytes, expected: bytes) -> None:
    """Few rows and many: quotes, newlines and delimiters in cells, short, long and blank rows, invalid UTF-8."""
    first, newline, body = text.partition(b"ip\n" if b'"a\nb",ip\n' in text else b"\n")

    assert expected == batch(first + newline, body, input="csv")


@pytest.mark.parametrize("last", [b"81.2.69.160,x", b'81.2.69.160,"x"', b'81.2.69.160,"a\nb"'])
def test_csv_without_a_final_newline(batch: Batch, last: bytes) -> None:
    """The last row gets one."""
    assert b"ip,a,country_code\n" + last + b",GB\n" == batch.once(b"ip,a\n" + last, input="csv")
    assert b"ip,country_code\n" == batch.once(b"ip", input="csv")


@pytest.mark.parametrize(("delimiter", "city"), [(",", b","), (";", b";"), ("|", b"|"), ("\t", b"\t")])
def test_csv_with_another_delimiter(batch: Batch, delimiter: str, city: bytes) -> None:
    """What is appended is divided, and quoted, in the same way."""
    row = city.join([b"81.2.69.160", b'"a%bb"' % city, b"c"])
    actual = batch(
        city.join([b"ip", b"x", b"y\n"]), row + b"\n", input="csv", delimiter=delimiter, fields=("city", "asn")
    )

    assert city.join([b"ip", b"x", b"y", b"city", b"asn\n"]) + row + city.join([b"", b"London", b"20712\n"]) == actual


def test_appended_cells_are_quoted(batch: Batch) -> None:
    """A name with a comma and quotes is one cell, with any delimiter."""
    assert b'ip,a,city\n98.0.0.1,x,"Winston, ""Salem"""\n' == batch(
        b"ip,a\n", b"98.0.0.1,x\n", input="csv", fields=("city",)
    )


@pytest.mark.parametrize(
    ("delimiter", "prefix", "fields"),
    [
        (",", "a,", ("city", "asn")),
        (",", 'a"', ("city",)),
        (";", "a;b", ("city",)),
        (";", "", ("traits.a;b", "city")),
        (",", "", ('traits."', "city")),
    ],
)
def test_an_appended_name_is_one_cell(batch: Batch, delimiter: str, prefix: str, fields: tuple[str, ...]) -> None:
    """The header has as many cells as the rows, with any prefix and any name of a trait."""
    header = f"ip{delimiter}a\n".encode()
    actual = batch.once(
        header + b"81.2.69.160%bx\n" % delimiter.encode(),
        input="csv",
        delimiter=delimiter,
        prefix=prefix,
        fields=fields,
    )
    names, cells = csv.reader(io.StringIO(actual.decode()), delimiter=delimiter)

    assert ["ip", "a", *(prefix + name for name in fields)] == names
    assert len(names) == len(cells)


def test_rows_that_end_in_carriage_returns_alone_are_an_error(located: Geocli) -> None:
    """They are not taken for a header without rows; the message has a remedy."""
    run = located("batch", "-i", "csv", stdin=b"ip,a\r81.2.69.160,x\r")

    assert (2, b"") == (run.returncode, run.stdout)
    assert b"carriage returns alone; try: tr '\\r' '\\n'" in run.stderr


def test_a_row_with_a_lone_carriage_return_does_not_affect_others(batch: Batch) -> None:
    """Such a row is not CSV; later ones are, with commas and newlines in their cells."""
    body = b'a\rb,81.2.69.160\n"a,b",98.0.0.1\n"c\nd",98.0.0.1\n'

    assert b'x,ip,country_code\na\rb,81.2.69.160,GB\n"a,b",98.0.0.1,US\n"c\nd",98.0.0.1,US\n' == batch.once(
        b"x,ip\n" + body, input="csv"
    )


def test_an_unclosed_quote_loses_no_byte(batch: Batch) -> None:
    """The rows before it are answered, and the rest is written unchanged."""
    body = b'81.2.69.160,x\n98.0.0.1,"y\n81.2.69.160,z\n'
    actual = batch.once(b"ip,a\n" + body, input="csv")

    assert actual.startswith(b'ip,a,country_code\n81.2.69.160,x,GB\n98.0.0.1,"y')
    assert body.replace(b"\n", b"") == actual.partition(b"\n")[2].replace(b",GB", b"").replace(b",US", b"").replace(
        b"\n", b""
    )


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("count", [1, 300_000])
def test_an_unclosed_quote_opens_no_cell(batch: Batch, count: int, end: bytes) -> None:
    """The rows after it are answered, few or more than fit into a cell; quotes that are closed still have newlines."""
    open_row, row, quoted = b'98.0.0.1,"y', b"81.2.69.160,z", b'98.0.0.1,"a\nb"'
    body = end.join([quoted, open_row, *[row] * count, b""])
    expected = end.join([quoted + b",US", open_row + b",US", *[row + b",GB"] * count, b""])
    actual = batch.once(b"ip,a\n" + body, input="csv").partition(b"\n")[2]

    assert len(expected) == len(actual)
    assert expected == actual


def test_a_quoted_cell_of_any_length_is_one_cell(located: Geocli, tmp_path: Path) -> None:
    """Also one larger than a read, and in the first row."""
    cell = b'"' + b"x\n" * 250_000 + b'"'
    path = tmp_path / "a.csv"
    path.write_bytes(b"ip,a\n81.2.69.160,%b\n98.0.0.1,y\n" % cell)
    run = located("batch", "-F", "country_code", str(path))

    assert (0, b"") == (run.returncode, run.stderr)
    assert len(b"ip,a,country_code\n81.2.69.160,%b,GB\n98.0.0.1,y,US\n" % cell) == len(run.stdout)
    assert b"ip,a,country_code\n81.2.69.160,%b,GB\n98.0.0.1,y,US\n" % cell == run.stdout


def test_many_cells_with_newlines(batch: Batch) -> None:
    """Many blocks in a row that end in cells with newlines are divided between rows."""
    row = b'81.2.69.160,"' + b'a ""trace""\n' * 60 + b'"\n'

    output_line = batch.once(b"ip,text\n" + row * 6000, input="csv")

    assert (row[:-1] + b",GB\n") * 6000 == output_line.removeprefix(b"ip,text,country_code\n")


def test_blank_lines_before_the_header_swallow_no_rows(batch: Batch) -> None:
    """The table is read all the same, or it is an error; but not nothing at all."""
    try:
        actual = batch.once(b"\nip,a\n81.2.69.160,x\n", input="csv")
    except SettingsError:
        return
    assert b"81.2.69.160,x,GB\n" in actual


@pytest.mark.parametrize(
    ("header", "options", "reason"),
    [
        (b"a,b", {}, "-c ip: there is no such column; the columns are: a, b; choose one with -c"),
        (b"a,b", {"columns": ("c",)}, "-c c: there is no such column; the columns are: a, b"),
        (
            b"ip,b,ip",
            {},
            "-c ip: 2 columns have this name; the columns are: ip, b, ip; name one by its number, as in -c 1",
        ),
        (b"n,b", {"columns": ("bb",)}, "-c bb: there is no such column; the columns are: n, b; try -c b"),
        (
            b"n,Src IP",
            {"columns": ("ip",)},
            "-c ip: there is no such column; the columns are: n, Src IP; try -c 'Src IP'",
        ),
        (b"n,b", {"columns": ("3",)}, "-c 3: there is no such column; the columns are: n, b"),
        (b"a;b", {"columns": ("b",)}, "-c b: there is no such column; the columns are: a;b; try --delimiter ';'"),
        (b"a b", {"columns": ("b",)}, "-c b: there is no such column; the columns are: a b; try --delimiter ' '"),
        (b"a,\x1b[2J", {}, "-c ip: there is no such column; the columns are: a, \\x1b[2J; choose one with -c"),
        (
            b"ip,country_code",
            {},
            "country_code: in the input already; choose other names with --prefix, as in --prefix geo_",
        ),
        (
            b"ip,geo_city,geo_asn",
            {"prefix": "geo_", "fields": ("city", "org", "asn")},
            "geo_city, geo_asn: in the input already; choose other names with --prefix, as in --prefix geo_",
        ),
        (
            b"ip,a",
            {"fields": ("ip",)},
            "ip: in the input already; choose other names with --prefix, as in --prefix geo_",
        ),
    ],
)
def test_missing_ambiguous_and_conflicting_columns(
    batch: Batch, tmp_path: Path, header: bytes, options: dict[str, Any], reason: str
) -> None:
    """The message has the existing columns, or the conflicting names; nothing is written."""
    with pytest.raises(SettingsError) as caught:
        batch.once(header + b"\n81.2.69.160,x,y\n", input="csv", **options)

    assert (f"{tmp_path / 'given'}: {reason}", 2) == (str(caught.value), caught.value.exit_status)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"prefix": "geo_"}, b"ip,country_code,geo_country_code\n81.2.69.160,x,GB\n"),
        ({"prefix": "geo_", "with_header": False}, b"81.2.69.160,x,GB\n"),
        (
            {"fields": ("city", "traits.accuracy_radius", "asn")},
            b"ip,country_code,city,traits.accuracy_radius,asn\n81.2.69.160,x,London,100,20712\n",
        ),
        ({"fields": ("network",), "prefix": "g "}, b"ip,country_code,g network\n81.2.69.160,x,81.2.69.128/25\n"),
        ({"fields": ("ip", "ip"), "prefix": "_"}, b"ip,country_code,_ip,_ip\n81.2.69.160,x,81.2.69.160,81.2.69.160\n"),
    ],
)
def test_prefix_fields_and_no_header(batch: Batch, options: dict[str, Any], expected: bytes) -> None:
    """What is appended can be chosen and named; without a header the rows are the same."""
    assert expected == batch(b"ip,country_code\n", b"81.2.69.160,x\n", input="csv", **options)


def test_all_fields_of_a_table_are_appended_by_default(batch: Batch) -> None:
    """Except the address, which is there already."""
    header, row = batch(b"addr\n", b"81.2.69.160\n", input="csv", fields=None).splitlines()

    assert b"addr,status,country_code,country_name,region,city,latitude,longitude,time_zone,asn,org,source" == header
    assert (
        b"81.2.69.160,resolved,GB,United Kingdom,England,London,51.5142,-0.0931,Europe/London,20712"
        b",Andrews & Arnold Ltd,GeoLite2-City+GeoLite2-ASN"
    ) == row


cells = st.text(
    st.one_of(st.sampled_from(',;"\n\r\t |x '), st.characters(codec="utf-8", exclude_characters="\0")), max_size=8
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(cells, st.sampled_from(["81.2.69.160", "2001:218::1", "x", ""]), cells), max_size=8),
    end=st.sampled_from(["\n", "\r\n"]),
    delimiter=st.sampled_from(",;\t|"),
    every=st.booleans(),
)
@example(rows=[("", "", "")], end="\n", delimiter=",", every=False)
def test_csv_of_the_csv_module_is_read_back(
    rows: list[tuple[str, str, str]],
    end: str,
    delimiter: str,
    every: bool,  # noqa: FBT001 (drawn)
) -> None:
    """The same cells, followed by those of the answers, wherever the input is divided."""
    text = io.StringIO(newline="")
    needs_quotes = every or any("\r" in cell for row in rows for cell in row)  # which Python 3.11 does not see
    quoting: Literal[0, 1] = csv.QUOTE_ALL if needs_quotes else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([("a", "ip", "b"), *rows])
    form = CsvForm((), COUNTRY, delimiter=delimiter)
    lines = text.getvalue().encode().splitlines(keepends=True)
    blocks = [form.cut(chunk) for chunk in form.begin(iter(whole_lines(lines)))]
    actual = (form.output.header + b"".join(text_of(block, f"{delimiter}X") for block in blocks)).decode()

    assert [ip.encode() for _, ip, _ in rows] == [text for block in blocks for text in block.addresses()]
    assert [["a", "ip", "b", "country_code"], *([*row, "X"] for row in rows)] == list(
        csv.reader(io.StringIO(actual, newline=""), delimiter=delimiter)
    )


def whole_lines(pieces: Iterable[bytes]) -> Iterable[bytes]:
    """Join pieces until they end in a newline, like the reader."""
    rest = b""
    for piece in pieces:
        rest += piece
        if rest.endswith(b"\n"):
            yield rest
            rest = b""
    if rest:
        yield rest + b"\n"


TABLE = b'ip,a\n81.2.69.160,5"\n98.0.0.1,"x\ny"\n81.2.69.160,\n\n98.0.0.1,"a""b",c\n81.2.69.160,caf\xe9\n'
OBJECTS = b'{"ip":"81.2.69.160"}\nx\n\n{"ip":"98.0.0.1"}\n{}\n{"ip":"1"},{"ip":"2"}\n'
LOG = b"a 81.2.69.160\n\n2001:218::1 98.0.0.1\n\xff\n"


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (partial(CsvForm, (), COUNTRY), TABLE),
        (partial(JsonLinesForm, (), COUNTRY), OBJECTS),
        (partial(LogForm, Output("label", end=""), is_extract=False), LOG),
    ],
)
def test_any_division_of_a_file_gives_the_same(make: Callable[[], Form], data: bytes) -> None:
    """As a whole, line by line, or divided after any line: the same addresses, the same bytes."""
    lines = data.splitlines(keepends=True)
    ways = [[data], lines, *([b"".join(lines[:at]), b"".join(lines[at:])] for at in range(1, len(lines)))]
    actual = []
    for chunks in ways:
        form = make()
        blocks = [form.cut(chunk) for chunk in form.begin(iter(chunks))]
        texts = [text for block in blocks for text in block.addresses()]
        actual.append((texts, b"".join(text_of(block, "<answer>") for block in blocks)))
    assert [actual[0]] * len(actual) == actual


def test_files_with_the_same_header_make_one_table(located: Geocli, tmp_path: Path) -> None:
    """An empty file among them is ignored."""
    for name, data in {"a": b"ip,n\n81.2.69.160,1\n", "b": b"", "c": b"ip,n\n98.0.0.1,2\n"}.items():
        (tmp_path / f"{name}.csv").write_bytes(data)
    files = [str(tmp_path / f"{name}.csv") for name in "abc"]
    run = located("batch", "-F", "country_code", *files)

    assert (0, b"", b"ip,n,country_code\n81.2.69.160,1,GB\n98.0.0.1,2,US\n") == (run.returncode, run.stderr, run.stdout)


def test_files_with_other_headers_are_an_error(located: Geocli, tmp_path: Path) -> None:
    """The message names the file; the rows of the others are printed, and the exit status is 2."""
    for name, data in {"a": b"ip,n\n81.2.69.160,1\n", "b": b"n,ip\n1,98.0.0.1\n", "c": b"ip,n\n98.0.0.1,2\n"}.items():
        (tmp_path / f"{name}.csv").write_bytes(data)
    files = [str(tmp_path / f"{name}.csv") for name in "abc"]
    run = located("batch", "-F", "country_code", *files)

    assert (2, b"ip,n,country_code\n81.2.69.160,1,GB\n98.0.0.1,2,US\n") == (run.returncode, run.stdout)
    assert f"{files[1]}: its columns are not those of the files before it" == complaint(run)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"8.8.8.8\n1.1.1.1\n", "standard input: there is no header; name the column of addresses by its number: -c 1"),
        (b"x,2001:db8::1\n", "standard input: there is no header; name the column of addresses by its number: -c 2"),
        (
            b"ip;x\n8.8.8.8;1\n",
            "standard input: -c ip: there is no such column; the columns are: ip;x; try --delimiter ';'",
        ),
        (b"ip\tx\n", "try -i tsv"),
        (b"8.8.8.8;x\n", "the columns are: 8.8.8.8;x; try --delimiter ';'"),
    ],
)
def test_rows_without_a_header(located: Geocli, header: bytes, reason: str) -> None:
    """No row is silently taken for a header, and lost."""
    run = located("batch", "-i", "csv", stdin=header)

    assert (2, b"") == (run.returncode, run.stdout)
    assert reason in run.stderr.decode()


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        (b"a 81.2.69.160 b\n", {}, b"a 81.2.69.160 [London, GB] b\n"),
        (b"10.0.0.1 and ::1\n", {}, b"10.0.0.1 [private] and ::1 [loopback]\n"),
        (b"8.8.8.8\n", {}, b"8.8.8.8 [US]\n"),
        (b"[2001:218::1]:443 x\n", {}, b"[2001:218::1 [Tokyo, JP]]:443 x\n"),
        (b"81.2.69.160\n", {"fields": ("asn", "org")}, b"81.2.69.160 [20712, Andrews & Arnold Ltd]\n"),
        (b"81.2.69.160\n", {"fields": ("traits.nothing",)}, b"81.2.69.160 [unknown]\n"),
        (b"\xff\x00 98.0.0.1\r\n", {}, b'\xff\x00 98.0.0.1 [Winston, "Salem", US]\r\n'),
        (b"no address\n\n\n", {}, b"no address\n\n\n"),
        (b"999.1.1.1 185.81.2.69.160 1.2.3\n", {}, b"999.1.1.1 185.81.2.69.160 1.2.3\n"),
        (b"Chrome/126.0.0.0 http://81.2.69.160/\n", {}, b"Chrome/126.0.0.0 http://81.2.69.160 [London, GB]/\n"),
        (b"81.2.69.160,98.0.0.1\n", {"fields": ("country_code",)}, b"81.2.69.160 [GB],98.0.0.1 [US]\n"),
        (b"\x1b[1m 81.2.69.160\x1b[0m\n", {"fields": ("country_code",)}, b"\x1b[1m 81.2.69.160 [GB]\x1b[0m\n"),
        (b"", {}, b""),
    ],
)
def test_logs_are_written_with_labels(batch: Batch, text: bytes, options: dict[str, Any], expected: bytes) -> None:
    """Few lines and many; the other text is unchanged."""
    assert expected == batch(b"", text, input="log", **{"fields": None, **options})


def test_a_log_without_a_final_newline_loses_nothing(batch: Batch) -> None:
    """The last address has its answer, too."""
    assert b"a\n81.2.69.160 [GB] b" == batch.once(b"a\n81.2.69.160 b", input="log").removesuffix(b"\n")


def test_unresolved_addresses_are_labelled(located: Geocli) -> None:
    """So that an unresolved address is visible."""
    city = str(located.db_dir / "GeoLite2-City.mmdb")
    run = located("batch", "-i", "log", "--db", city, stdin=b"from 8.8.8.8.\n")

    assert (0, b"", b"from 8.8.8.8 [unknown].\n") == (run.returncode, run.stderr, run.stdout)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"fields": None, "format": "value"}, b"GB\nUS\n\n"),
        ({"fields": ("ip", "city")}, b'ip,city\n81.2.69.160,London\n98.0.0.1,"Winston, ""Salem"""\n10.0.0.1,\n'),
        (
            {"fields": ("ip", "city"), "format": "tsv", "with_header": False},
            b'81.2.69.160\tLondon\n98.0.0.1\tWinston, "Salem"\n10.0.0.1\t\n',
        ),
        ({"fields": ("scope",), "format": "jsonl"}, b'{"scope": null}\n{"scope": null}\n{"scope": "private"}\n'),
    ],
)
def test_extract_makes_a_row_for_each_address(batch: Batch, options: dict[str, Any], expected: bytes) -> None:
    """In the formats of a list; lines without one have none."""
    text = b"a 81.2.69.160, b 98.0.0.1\n\nno 256.1.1.1\n\xff10.0.0.1."

    assert expected == batch.once(text, input="log", is_extract=True, **options)
    assert expected == batch(b"", text + b"\n", input="log", is_extract=True, **options)


def test_extract_of_a_log_without_addresses(batch: Batch) -> None:
    """Is a table without rows."""
    assert b"ip\n" == batch.once(b"none\n", input="log", is_extract=True, fields=("ip",))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("-i", "csv", "-0"), "-0: cannot be used with csv input; it needs -i list"),
        (("-i", "jsonl", "--delimiter", ";"), "--delimiter: cannot be used with jsonl input; it needs -i csv"),
        (("-i", "log", "-0"), "-0: cannot be used with log input; it needs -i list"),
        (("-i", "log", "-c", "a"), "-c: cannot be used with log input; it needs -i csv or -i jsonl"),
        (("--extract", "--prefix", "a"), "--prefix: cannot be used with log input; it needs -i csv or -i jsonl"),
        (("-i", "list", "-c", "a"), "-c: cannot be used with list input; it needs -i csv or -i jsonl"),
        (("-0", "-c", "a"), "-c: cannot be used with list input; it needs -i csv or -i jsonl"),
        (("-i", "list", "--delimiter", ";"), "--delimiter: cannot be used with list input; it needs -i csv"),
        (("-i", "list", "--extract"), "--extract: cannot be used with list input; it needs -i log"),
        (("-i", "csv", "--extract"), "--extract: cannot be used with csv input; it needs -i log"),
        (("-i", "csv", "--delimiter", "ab"), "--delimiter: 'ab' is not one character"),
        (("-i", "csv", "--delimiter", '"'), "--delimiter: '\"' is not one character"),
        (("a.csv", "b.log"), "-i: the files look like csv and log; choose one with -i"),
    ],
)
def test_conflicting_options(located: Geocli, arguments: tuple[str, ...], reason: str) -> None:
    """One message names them, the exit status is 2, and nothing is read."""
    run = located("batch", *arguments, stdin=b"ip\n81.2.69.160\n")

    assert (2, b"") == (run.returncode, run.stdout)
    assert f"command line: {reason}" == complaint(run)


def test_through_a_pipe(located: Geocli) -> None:
    """A table, objects and a log, with the options as users write them."""
    table = located(
        "batch",
        "-i",
        "csv",
        "-c",
        "client",
        "--delimiter",
        "tab",
        "-F",
        "city",
        "--prefix",
        "geo_",
        stdin=b"client\tn\n81.2.69.160\t1\n",
    )
    lines = located("batch", "-i", "jsonl", "-c", "client.ip", "-F", "city", stdin=b'{"client":{"ip":"81.2.69.160"}}\n')
    log = located("batch", "--extract", "--no-header", "-F", "ip,city", stdin=b"x 81.2.69.160\n")

    assert [[], [], []] == [complaints(run) for run in (table, lines, log)]
    assert b"client\tn\tgeo_city\n81.2.69.160\t1\tLondon\n" == table.stdout
    assert b'{"client":{"ip":"81.2.69.160"}, "geo": {"city": "London"}}\n' == lines.stdout
    assert b"81.2.69.160,London\n" == log.stdout


def test_a_column_that_is_missing_is_one_line(located: Geocli) -> None:
    """On standard error, with an exit status of 2."""
    run = located("batch", "-i", "csv", "-c", "addr", stdin=b"ip,n\n81.2.69.160,1\n")

    assert (2, b"") == (run.returncode, run.stdout)
    assert "standard input: -c addr: there is no such column; the columns are: ip, n; try -c ip" == complaint(run)
