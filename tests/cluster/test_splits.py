"""Input in parts: every record is in exactly one part, wherever the bytes are split."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING, Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geocli.batch.reader import UNSUPPORTED
from geocli.batch.request import BatchRequest
from geocli.cluster.splits import Part, open_part, recognised, split
from geocli.errors import InputError, OpenCellError, SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from geocli.engine.blocks import Block

pytestmark = pytest.mark.slow

URL = "memory://parts/input"


def _request(**options: Any) -> BatchRequest:
    return BatchRequest(**{"files": (URL,), **options})


def _put(data: bytes, url: str = URL) -> None:
    MemoryFileSystem().pipe_file(url.removeprefix("memory:/"), data)


def _read(part: Part, request: BatchRequest) -> tuple[bytes, int, int | None]:
    """Return the rows of a part, and where they begin and end."""
    with open_part(part, request.form(), request.end.encode()) as reader:
        rows = b"".join(reader.blocks())
        return rows, reader.begin, reader.stop


def _in_order(request: BatchRequest, block_bytes: int) -> bytes:
    """Return the rows of all parts, each of which begins where the part before ends."""
    result, before = b"", None
    for part in split(request, block_bytes):
        rows, begin, stop = _read(part, request)
        if part.begin is None and begin != before:
            assert request.input == "csv"
            rows, begin, stop = _read(part.replace(begin=before), request)
        assert part.begin is not None or begin == before
        result, before = result + rows, stop
    return result


LINES = (
    st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")).filter(lambda line: not UNSUPPORTED.match(line))
)


@given(lines=st.lists(LINES, max_size=20), is_ended=st.booleans(), block_bytes=st.integers(1, 40))
@example(lines=[b"\xef\xbb\xbf8.8.8.8", b"\xef\xbb\xbf1.1.1.1"], is_ended=False, block_bytes=4)
@settings(deadline=None, max_examples=100)
def test_every_line_is_in_one_part(lines: list[bytes], is_ended: bool, block_bytes: int) -> None:  # noqa: FBT001
    """The parts of any file, in order, are its lines, except for a byte order mark."""
    data = b"\n".join(lines) + (b"\n" if is_ended else b"")
    _put(data)

    actual = _in_order(_request(input="log"), block_bytes)

    assert data.removeprefix(b"\xef\xbb\xbf") == actual


CELLS = st.text(alphabet='ab,"\n', max_size=8).map(lambda text: '"' + text.replace('"', '""') + '"')


@given(
    rows=st.lists(st.tuples(CELLS, st.sampled_from(["x", "", '"x"']), st.sampled_from(["\n", "\r\n"])), max_size=12),
    block_bytes=st.integers(1, 30),
)
@example(rows=[('"' + "\n" * 30 + '"', "x", "\n")] * 3, block_bytes=7)
@settings(deadline=None, max_examples=150)
def test_no_cell_of_csv_is_split(rows: list[tuple[str, str, str]], block_bytes: int) -> None:
    """Cells with newlines and quotes stay whole, even if a part ends in one, or a cell spans several parts."""
    body = "".join(f"{text},{ip}{end}" for text, ip, end in rows).encode()
    _put(b"\xef\xbb\xbf\r\ntext,ip\n" + body)

    assert body == _in_order(_request(input="csv"), block_bytes)


@given(body=st.text(alphabet='ab,"\n\r', max_size=60), block_bytes=st.integers(1, 20))
@settings(deadline=None, max_examples=300)
def test_the_cells_of_parts_are_those_of_the_whole(body: str, block_bytes: int) -> None:
    """Quotes, newlines and carriage returns in any order: each part has whole records."""
    request, rows = _request(input="csv"), body.encode() + (b"" if body.endswith("\n") or not body else b"\n")
    form = request.form()
    for _ in form.begin(iter([b"text,ip\n"])):
        pass
    _put(b"text,ip\n" + body.encode())

    actual, before = list[bytes](), None
    for part in split(request, block_bytes):
        known_part = part if before is None else part.replace(begin=before)
        inside, _, before = _read(known_part, request)
        actual += form.cut(inside).addresses() if inside else []

    assert (form.cut(rows).addresses() if rows else []) == actual


def test_parts_that_begin_in_cells_mostly_find_their_first_record() -> None:
    """Among rows of many lines, commas and quotes, only the beginning of the short last part is guessed wrong."""
    rows = [b'%d,"line, ""a""\n' % number + b"at x(1, 2)\n" * 30 + b'",81.2.69.160\n' for number in range(300)]
    _put(b"id,text,ip\n" + b"".join(rows))
    request = _request(input="csv")

    actual = [_read(part, request) for part in split(request, 2000)]

    assert len(actual) > 40
    assert [begin for _, begin, _ in actual[1:-1]] == [stop for *_, stop in actual[:-2]]


@given(records=st.lists(LINES.map(lambda line: line.replace(b"\0", b"")), max_size=12), block_bytes=st.integers(1, 20))
@settings(deadline=None, max_examples=50)
def test_lines_may_end_in_nul(records: list[bytes], block_bytes: int) -> None:
    """With `-0` parts end at NUL."""
    data = b"".join(line + b"\0" for line in records)
    _put(data)

    assert data.removeprefix(b"\xef\xbb\xbf") == _in_order(_request(end="\0"), block_bytes)


def test_a_line_that_is_longer_than_a_part_is_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts inside a long line are empty, and its end is found for any size of reads."""
    monkeypatch.setattr("geocli.cluster.splits.READ_BYTES", 10)
    data = b"8.8.8.8\n" + b"x" * 95 + b"\n1.1.1.1"
    _put(data)
    request = _request(input="log")

    rows = [_read(part, request)[0] for part in split(request, 20)]

    assert data == b"".join(rows)
    assert [b"", b"", b""] == rows[1:4]


def test_a_compressed_file_is_one_part() -> None:
    """A file that ends in .gz is one part, and is decompressed when it is read."""
    url = f"{URL}.gz"
    _put(gzip.compress(b"text,ip\nx,8.8.8.8\n" * 100), url)
    request = _request(files=(url,), input="csv")

    (part,) = split(request, 10)

    assert (b"x,8.8.8.8\n" + b"text,ip\nx,8.8.8.8\n" * 99, 0, None) == _read(part, request)


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"ip", b"\n\n", b"ip\n"])
def test_a_table_without_rows_is_one_part(data: bytes) -> None:
    """A file that consists of a header, or is empty, is read as on one machine."""
    _put(data)
    request = _request(input="csv")

    (part,) = split(request, 10)

    assert b"" == _read(part, request)[0].strip(b"\xef\xbb\xbf\n")
    assert (data.strip(b"\xef\xbb\xbf\n") == b"ip") is part.has_header


def test_the_header_is_that_of_the_first_file_with_one() -> None:
    """Only the first part of the first file with a header writes the header of the output."""
    _put(b"", "memory://parts/empty")
    _put(b"text,ip\n" + b"x,8.8.8.8\n" * 9)

    parts = split(_request(files=("memory://parts/empty", URL, URL), input="csv"), 50)

    assert [False, True, False, False, False] == [part.has_header for part in parts]
    assert [0, 1, 2, 3, 4] == [part.number for part in parts]


def test_other_columns_are_an_error() -> None:
    """Files with other headers are refused before any row is answered."""
    _put(b"text,ip\nx,8.8.8.8\n")
    _put(b"ip,text\n8.8.8.8,x\n", "memory://parts/other")

    with pytest.raises(InputError, match="its columns are not those of the files before it"):
        split(_request(files=(URL, "memory://parts/other"), input="csv"), 10)


def test_a_quote_that_is_never_closed_is_an_error() -> None:
    """The end of records is unknown then, so such a file can only be read as a whole."""
    _put(b'text,ip\nx,8.8.8.8\ny,"' + b"1.1.1.1\n" * 150_000)
    request = _request(input="csv")
    first, *_ = split(request, 20)

    with pytest.raises(OpenCellError, match="not closed within 1 MiB; repair it, or choose a --block-size as large"):
        _read(first, request)
    assert 1 == len(split(request, 2_000_000))


def test_a_header_that_never_ends_is_an_error() -> None:
    """A quote that is not closed in the header is detected at once."""
    _put(b'text,"ip\n' + b"1.1.1.1\n" * 200_000)

    with pytest.raises(OpenCellError, match="the header does not end within 1 MiB"):
        split(_request(input="csv"), 100)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("memory://parts/missing", "memory://parts/missing: "),
        ("/proc/self", "/proc/self: not a file of known size"),
        ("nowhere://x", "nowhere://x: Protocol not known: nowhere"),
        ("memory://parts/damaged.gz", "memory://parts/damaged.gz: Not a gzipped file"),
    ],
)
def test_unreadable_files_are_errors(name: str, reason: str) -> None:
    """A missing file, or one that is not regular, is an error before any row is answered."""
    _put(b"8.8.8.8\n", "memory://parts/damaged.gz")

    with pytest.raises(InputError) as caught:
        split(_request(files=(name,)), 100)

    assert str(caught.value).startswith(reason)


def test_standard_input_is_refused() -> None:
    """Workers cannot read standard input."""
    with pytest.raises(SettingsError, match="cannot read standard input"):
        recognised(_request(files=("-",)))


def test_a_file_that_changes_is_an_error(tmp_path: Path) -> None:
    """The size and time of a file must be the same when it is read as when it was split."""
    path = tmp_path / "list"
    path.write_bytes(b"8.8.8.8\n" * 10)
    request = _request(files=(str(path),))
    *_, last = split(request, 20)
    os.utime(path, (0, 0))

    with pytest.raises(InputError, match=f"{path}: changed during the batch"):
        _read(last, request)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    """A truncated part is not mistaken for an empty one."""
    path = tmp_path / "list"
    path.write_bytes(b"8.8.8.8\n" * 10)
    request = _request(files=(str(path),))
    first, *_ = split(request, 40)

    with open_part(first, request.form(), b"\n") as reader:
        blocks = reader.blocks()
        os.truncate(path, 8)
        with pytest.raises(InputError, match="was truncated while it was read"):
            list(blocks)
        path.write_bytes(b"8.8.8.8\n" * 10)
        os.utime(path, (0, float(first.modified)))


def test_the_name_of_a_part() -> None:
    """Error messages name the bytes and the file of a part."""
    _put(b"8.8.8.8\n" * 10)
    _put(gzip.compress(b"8.8.8.8\n"), f"{URL}.gz")

    first, *_, last = split(_request(files=(URL, f"{URL}.gz")), 70)

    assert f"part 0 ({URL}, bytes 0 to 70)" == str(first)
    assert f"part 2 ({URL}.gz, whole file)" == str(last)


@pytest.mark.parametrize(
    ("head", "rows", "columns"),
    [
        (b"#separator \\x09\n#fields\ta\tip\n#types\tstring\taddr\n", b'"x\t81.2.69.160\n', ("ip",)),
        (b"#Version: 1.0\r\n#Fields: a c-ip\r\n", b"x 81.2.69.160\r\n#Fields: a c-ip\r\n", ("c-ip",)),
        (b"#Fields: a c-ip\n", b"x y\t81.2.69.160\n", ("c-ip",)),
        (b"# a\n# b\n", b'"1\n",81.2.69.160\n', ("2",)),
        (b"", b"1,81.2.69.160\n\n", ("2",)),
        (b"\xef\xbb\xbf", b"1,81.2.69.160\n\n", ("2",)),
        (b'\xef\xbb\xbf\n# a, "\na,b\n', b'81.2.69.160,"\n#"\n# "\n', ("a", "b")),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 7, 40, 1000])
def test_parts_of_tables_have_the_rows_of_the_whole(
    head: bytes, rows: bytes, columns: tuple[str, ...], block_bytes: int
) -> None:
    """Whatever precedes the rows, each part knows the columns, and what is written of it is part of the whole."""
    _put(head + rows * 9)
    request = _request(input="csv", columns=columns)
    whole, parts = b"", b""
    form = request.form()
    for chunk in form.begin(iter([head + rows * 9])):
        whole += _written(form.cut(chunk))
    before: int | None = None
    for part in split(request, block_bytes):
        known_part = part if before is None else part.replace(begin=before)
        form = request.form()
        with open_part(known_part, form, b"\n") as reader:
            parts += b"".join(_written(form.cut(block)) for block in reader.blocks())
            before = reader.stop

    assert whole == parts


def _written(block: Block) -> bytes:
    return b"".join(block.copied(at) + b"<%b>" % block.address(at) for at in range(len(block))) + block.tail
