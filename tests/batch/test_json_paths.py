"""Paths into JSON, several of them, arrays, and documents that are not JSON lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocli.batch.json_lines import JsonLinesForm
from geocli.errors import SettingsError
from tests.helpers.command_output import complaint

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.batches import Batch
    from tests.helpers.geocli_process import Geocli

GB, US, NONE = b'{"country_code": "GB"}', b'{"country_code": "US"}', b'{"country_code": null}'


@pytest.mark.parametrize(
    ("line", "columns", "expected"),
    [
        (
            b'{"a":"81.2.69.160","b":"98.0.0.1"}',
            ("a", "b"),
            b'{"a":"81.2.69.160","b":"98.0.0.1", "a_geo": %b, "b_geo": %b}' % (GB, US),
        ),
        (
            b'{"a":"81.2.69.160","b":"98.0.0.1"}',
            ("b", "a"),
            b'{"a":"81.2.69.160","b":"98.0.0.1", "b_geo": %b, "a_geo": %b}' % (US, GB),
        ),
        (b"{}", ("a", "b"), b'{"a_geo": %b, "b_geo": %b}' % (NONE, NONE)),
        (b"x", ("a", "b"), b'{"line": "x", "a_geo": %b, "b_geo": %b}' % (NONE, NONE)),
        (
            b'{"c":{"ip":"98.0.0.1"}}',
            ("c.ip", "d"),
            b'{"c":{"ip":"98.0.0.1"}, "c.ip_geo": %b, "d_geo": %b}' % (US, NONE),
        ),
        (b'{"ips":["10.0.0.1","98.0.0.1"]}', ("ips",), b'{"ips":["10.0.0.1","98.0.0.1"], "geo": %b}' % US),
        (b'{"ips":["81.2.69.160","98.0.0.1"]}', ("ips.1",), b'{"ips":["81.2.69.160","98.0.0.1"], "geo": %b}' % US),
        (b'{"xff":"10.0.0.1, 98.0.0.1"}', ("xff",), b'{"xff":"10.0.0.1, 98.0.0.1", "geo": %b}' % US),
        (
            b'{"ips":["81.2.69.160","x"]}',
            ("ips[]",),
            b'{"ips":["81.2.69.160","x"], "geo": [%b, %b]}' % (GB, NONE),
        ),
        (b'{"ips":[] }', ("ips[]",), b'{"ips":[], "geo": [] }'),
        (b'{"ips":"98.0.0.1"}', ("ips[]",), b'{"ips":"98.0.0.1", "geo": [%b]}' % US),
        (
            b' {"Records" : [ {"ip":"81.2.69.160" } , {"ip":"98.0.0.1","n":[{}]}], "x":1} ',
            ("Records[].ip",),
            b' {"Records" : [ {"ip":"81.2.69.160", "geo": %b } , {"ip":"98.0.0.1","n":[{}], "geo": %b}], "x":1} '
            % (GB, US),
        ),
        (
            b'{"Records":[{"a":"81.2.69.160","b":{"c":"98.0.0.1"}}]}',
            ("Records[].a", "Records[].b.c"),
            b'{"Records":[{"a":"81.2.69.160","b":{"c":"98.0.0.1"}, "a_geo": %b, "b.c_geo": %b}]}' % (GB, US),
        ),
        (
            b'{"a":{"b":[{"c":[{"ip":"81.2.69.160"}]},{"c":[]},{"d":1}]}}',
            ("a.b[].c[].ip",),
            b'{"a":{"b":[{"c":[{"ip":"81.2.69.160", "geo": %b}]},{"c":[]},{"d":1}]}}' % GB,
        ),
        (b'{"Records":[]}', ("Records[].ip",), b'{"Records":[]}'),
        (b'{"Records":[1,{"x":2}]}', ("Records[].ip",), b'{"Records":[1,{"x":2, "geo": %b}]}' % NONE),
        (b'{"x":1}', ("Records[].ip",), b'{"x":1, "geo": %b}' % NONE),
        (b'{"Records":{"ip":"98.0.0.1"}}', ("Records[].ip",), b'{"Records":{"ip":"98.0.0.1"}, "geo": %b}' % NONE),
        (
            '{"é":"\u2028","Records":[{"ip":"98.0.0.1"}]}'.encode(),
            ("Records[].ip",),
            '{"é":"\u2028","Records":[{"ip":"98.0.0.1", "geo": '.encode() + US + b"}]}",
        ),
        (
            b'\xef\xbb\xbf{"Records":[{"ip":"98.0.0.1"}]}',
            ("Records[].ip",),
            b'\xef\xbb\xbf{"Records":[{"ip":"98.0.0.1", "geo": %b}]}' % US,
        ),
    ],
)
def test_each_address_has_its_answer(batch: Batch, line: bytes, columns: tuple[str, ...], expected: bytes) -> None:
    """Beside the value, in the object or the element that has it; a second run changes nothing."""
    good = b'{"x":1}\n'
    begin = batch.once(good, input="jsonl", columns=columns)
    once = batch(b"", good + line + b"\n", input="jsonl", columns=columns)

    assert begin + expected + b"\n" == once
    assert once == batch.once(once, input="jsonl", columns=columns)


def test_other_values_of_the_key_in_elements_are_not_lost(batch: Batch) -> None:
    """The whole line is written unchanged, as one that cannot be answered."""
    line = '{"Records":[{"ip":"98.0.0.1"},{"ip":"98.0.0.1","geo":"mine"}]}'
    actual = json.loads(batch.once(f"{line}\n".encode(), input="jsonl", columns=("Records[].ip",)))

    assert {"line": line, "geo": {"country_code": None}} == actual


@pytest.mark.parametrize("columns", [("a[].b", "c"), ("a[].b", "c[].b"), ("a[]", "b"), ("a[]", "b[]")])
def test_paths_into_different_arrays_are_an_error(batch: Batch, columns: tuple[str, ...]) -> None:
    """Rows would be ambiguous."""
    with pytest.raises(SettingsError, match="command line: -c: several -c must be in the same objects"):
        batch.once(b"{}\n", input="jsonl", columns=columns)


@pytest.mark.parametrize(
    ("columns", "request_", "expected"),
    [
        (("a",), {"format": "csv"}, b"country_code\nGB\n"),
        (("a",), {"format": "csv", "fields": ("ip", "country_code")}, b"ip,country_code\n81.2.69.160,GB\n"),
        (("a", "b"), {"format": "csv"}, b"a_country_code,b_country_code\nGB,US\n"),
        (("a", "b"), {"format": "tsv", "with_header": False}, b"GB\tUS\n"),
        (("a", "b"), {"format": "value"}, b"GB\tUS\n"),
        (("a",), {"format": "csv", "prefix": "x_"}, b"x_country_code\nGB\n"),
        (("c[].a",), {"format": "value"}, b"US\nGB\n"),
        (("d[]",), {"format": "value"}, b"US\nGB\n"),
    ],
)
def test_answers_alone(batch: Batch, columns: tuple[str, ...], request_: dict[str, Any], expected: bytes) -> None:
    """In the formats of a list, one row for each object with addresses; a line that is not an object has one, too."""
    line = {
        "a": "81.2.69.160",
        "b": "98.0.0.1",
        "c": [{"a": "98.0.0.1"}, {"a": "81.2.69.160"}],
        "d": ["98.0.0.1", "81.2.69.160"],
        "geo": "mine",
    }
    text = f"{json.dumps(line)}\n\n".encode()

    assert expected == batch.once(text, input="jsonl", columns=columns, **request_)
    many = batch.once(text * 500, input="jsonl", columns=columns, **{**request_, "with_header": False})
    assert many == batch.once(text, input="jsonl", columns=columns, **{**request_, "with_header": False}) * 500


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (b'[\n  {"ip": "8.8.8.8"},\n  {"ip": "1.1.1.1"}\n]\n', "jq -c '.[]' FILE"),
        (b'[{"ip": "8.8.8.8"},{"ip": "1.1.1.1"}]\n', "jq -c '.[]' FILE"),
        (b'[{"ip": "8.8.8.8"},\n{"ip": "1.1.1.1"}]\n', "jq -c '.[]' FILE"),
        (b'{\n  "ip": "8.8.8.8"\n}\n', "jq -c '.' FILE"),
        (b'{\n  "Records": [\n    {\n      "sourceIPAddress": "8.8.8.8"\n    }\n  ]\n}\n', "jq -c '.Records[]' FILE"),
        (b'{"Records": [\n{"sourceIPAddress": "8.8.8.8"},\n', "jq -c '.Records[]' FILE"),
        (b'\xef\xbb\xbf{\n"a": 1}\n', "jq -c '.' FILE"),
        (b'["8.8.8.8", "1.1.1.1"]\n', "jq -r '.[]' FILE | geocli batch"),
        (b'[\n  "8.8.8.8",\n', "jq -r '.[]' FILE | geocli batch"),
        (b'{\n  "ips": [\n    "8.8.8.8"\n  ]\n}\n', "jq -r '.ips[]' FILE | geocli batch"),
        (b'{\n  "token": "{[\\"", "a": {"b": [{}], "c": ["x"]},\n  "prefixes": [\n    {', "jq -c '.prefixes[]' FILE"),
        (b'{\n  "a": {"b": [{"ip": "8.8.8.8"}]}\n}\n', "jq -c '.' FILE"),
        (b"[[1]]\n", "jq -c '.[]' FILE"),
        (b'{"Records":[%b]}\n' % (b'{"a":1},' * 600_000), "jq -c '.Records[]' FILE"),
    ],
    ids=range(14),
)
def test_a_document_is_refused_with_the_command_for_it(located: Geocli, text: bytes, command: str) -> None:
    """Also if it is recognised, or longer than a line may be."""
    for options in (("-i", "jsonl"), ()):
        run = located("batch", *options, stdin=text)
        assert (2, b"") == (run.returncode, run.stdout)
        rest = "" if command.startswith("jq -r") else " | geocli batch -i jsonl"
        assert f"standard input: one JSON document, not one a line; try: {command}{rest}" == complaint(run)


def test_a_document_in_a_file_is_named(located: Geocli, tmp_path: Path) -> None:
    """The command can be pasted as it is."""
    path = tmp_path / "a b.json"
    path.write_bytes(b'[{"ip": "8.8.8.8"}]\n')
    run = located("batch", str(path))

    expected = f"{path}: one JSON document, not one a line; try: jq -c '.[]' '{path}' | geocli batch -i jsonl"
    assert (2, b"", expected) == (run.returncode, run.stdout, complaint(run))


@pytest.mark.parametrize("text", [b'{"ip": "98.0.0.1"\n', b'{"ip": "98.0.0.1"\n{"ip": "98.0.0.1"}\n', b"[1\n2]\n"])
def test_a_broken_first_line_is_not_a_document(batch: Batch, text: bytes) -> None:
    """It is a bad line, and those after it are read."""
    actual = batch.once(text, input="jsonl")

    assert actual.startswith(b'{"line": ')
    assert text.count(b"\n") == actual.count(b"\n")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(st.sampled_from(["a", "ip", "é", "R"]), values, max_size=4)


@settings(max_examples=80, deadline=None)
@given(
    lines=st.lists(
        st.tuples(objects, st.sampled_from([None, 0, (" , ", " : ")]), st.sampled_from(["", " ", "\t"])), max_size=4
    ),
    elements=st.lists(st.dictionaries(st.sampled_from(["ip", "b"]), values, max_size=2) | values, max_size=3),
    end=st.sampled_from(["\n", "\r\n", "\n\n"]),
    columns=st.sampled_from([("ip",), ("ip", "a"), ("R[].ip",), ("R[].ip", "R[].b")]),
)
def test_without_the_answers_objects_are_as_they_were(
    lines: list[tuple[dict[str, Any], Any, str]], elements: list[Any], end: str, columns: tuple[str, ...]
) -> None:
    """All other bytes are those of the input, wherever answers go."""
    text = ""
    for content, style, blank in lines:
        separators = style if isinstance(style, tuple) else None
        dumped = json.dumps({**content, "R": elements}, ensure_ascii=style is None, separators=separators)
        text += f"{blank}{dumped}{blank}{end}"
    form = JsonLinesForm(columns, ("city",))
    actual = b""
    for chunk in form.begin(iter([text.encode()] if text else [])):
        block = form.cut(chunk)
        actual += b"".join(block.copied(at) + b"<answer>" for at in range(len(block))) + block.tail
    for key in {"geo", *(f"{column.rpartition('.')[2]}_geo" for column in columns)}:
        actual = actual.replace(f', "{key}": <answer>'.encode(), b"").replace(f'"{key}": <answer>'.encode(), b"")

    assert text.encode() == actual
