"""JSON lines: objects get keys with answers, and are otherwise unchanged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocli.batch.json_lines import JsonLinesForm
from geocli.errors import SettingsError
from tests.helpers.batches import text_of
from tests.helpers.command_output import objects

if TYPE_CHECKING:
    from tests.helpers.batches import Batch


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"ip":"81.2.69.160"}', b'{"ip":"81.2.69.160", "geo": {"country_code": "GB"}}'),
        (b' { "ip" : "81.2.69.160" } ', b' { "ip" : "81.2.69.160", "geo": {"country_code": "GB"} } '),
        (
            b'{"n":1.10,"m":1234567890123456789.5,"e":1E5 ,\t"ip":"81.2.69.160"}',
            b'{"n":1.10,"m":1234567890123456789.5,"e":1E5 ,\t"ip":"81.2.69.160", "geo": {"country_code": "GB"}}',
        ),
        (
            '{"ip":"98.0.0.1","é":"日本"}'.encode(),
            '{"ip":"98.0.0.1","é":"日本", "geo": {"country_code": "US"}}'.encode(),
        ),
        (b'{"ip":"81.2.69.160","x":NaN}', b'{"ip":"81.2.69.160","x":NaN, "geo": {"country_code": "GB"}}'),
        (
            b'{"ip":"81.2.69.160","a":[[1,[2]],{}]}',
            b'{"ip":"81.2.69.160","a":[[1,[2]],{}], "geo": {"country_code": "GB"}}',
        ),
        (b'{"ip":"[2001:218::1]:443"}', b'{"ip":"[2001:218::1]:443", "geo": {"country_code": "JP"}}'),
        (
            b'{"ip":"81.2.69.160","ip":"98.0.0.1"}',
            b'{"ip":"81.2.69.160","ip":"98.0.0.1", "geo": {"country_code": "US"}}',
        ),
        (b'{"ip":"81.2.69.160","s":"}"}', b'{"ip":"81.2.69.160","s":"}", "geo": {"country_code": "GB"}}'),
        (b"{}", b'{"geo": {"country_code": null}}'),
        (b"{ }", b'{"geo": {"country_code": null} }'),
        (b'{"ip":null}', b'{"ip":null, "geo": {"country_code": null}}'),
        (b'{"ip":5}', b'{"ip":5, "geo": {"country_code": null}}'),
        (b'{"ip":["81.2.69.160"]}', b'{"ip":["81.2.69.160"], "geo": {"country_code": "GB"}}'),
        (b'{"ip":"\\ud800"}', b'{"ip":"\\ud800", "geo": {"country_code": null}}'),
        (b"", b""),
        (b" \t", b" \t"),
        (b"x", b'{"line": "x", "geo": {"country_code": null}}'),
        (b"null", b'{"line": "null", "geo": {"country_code": null}}'),
        (b'["81.2.69.160"]', b'{"line": "[\\"81.2.69.160\\"]", "geo": {"country_code": null}}'),
        (b'"81.2.69.160"', b'{"line": "\\"81.2.69.160\\"", "geo": {"country_code": null}}'),
        (b"81.2.69.160", b'{"line": "81.2.69.160", "geo": {"country_code": null}}'),
        (b'{"ip":"1"} {"ip":"2"}', b'{"line": "{\\"ip\\":\\"1\\"} {\\"ip\\":\\"2\\"}", "geo": {"country_code": null}}'),
        (b'{"ip":"1"},{"ip":"2"}', b'{"line": "{\\"ip\\":\\"1\\"},{\\"ip\\":\\"2\\"}", "geo": {"country_code": null}}'),
        (b'{"ip":"81.2.69.160"', b'{"line": "{\\"ip\\":\\"81.2.69.160\\"", "geo": {"country_code": null}}'),
        (b'{"ip":"\xff"}', b'{"line": "{\\"ip\\":\\"\\\\xff\\"}", "geo": {"country_code": null}}'),
        (
            b'{"x":"\xff\xc3\xa9","ip":"98.0.0.1"}',
            b'{"x":"\xff\xc3\xa9","ip":"98.0.0.1", "geo": {"country_code": "US"}}',
        ),
        (
            b'\xef\xbb\xbf{"\xff":"}","ip":"98.0.0.1"} ',
            b'\xef\xbb\xbf{"\xff":"}","ip":"98.0.0.1", "geo": {"country_code": "US"}} ',
        ),
        (
            b'{"ip":"98.0.0.1","geo":{"country_code":null},"x":"\xff"}',
            b'{"ip":"98.0.0.1","x":"\xff", "geo": {"country_code": "US"}}',
        ),
        (b"\xef\xbb\xbf{}", b'\xef\xbb\xbf{"geo": {"country_code": null}}'),
        (b"x" * 5000, b'{"line": "%b", "geo": {"country_code": null}}' % (b"x" * 5000)),
        (b"a\x1b[2J", b'{"line": "a\\u001b[2J", "geo": {"country_code": null}}'),
    ],
)
def test_json_lines_get_a_key(batch: Batch, line: bytes, expected: bytes) -> None:
    """The rest of a line is unchanged; a line that is not an object becomes a row with an error."""
    good, output_line = b'{"ip": "98.0.0.1"}\n', b'{"ip": "98.0.0.1", "geo": {"country_code": "US"}}\n'

    assert output_line + expected + b"\n" + output_line == batch(b"", good + line + b"\n" + good, input="jsonl")


@pytest.mark.parametrize(
    ("line", "column", "code"),
    [
        (b'{"client":{"ip":"81.2.69.160"}}', "client.ip", "GB"),
        (b'{"client.ip":"81.2.69.160"}', "client.ip", "GB"),
        (b'{"client.ip":"81.2.69.160","client":{"ip":"98.0.0.1"}}', "client.ip", "GB"),
        (b'{"a":{"b":{"c":"81.2.69.160"}}}', "a.b.c", "GB"),
        (b'{"a":{"b":"81.2.69.160"}}', "a.b.c", None),
        (b'{"a":["81.2.69.160"]}', "a.0", "GB"),
        (b'{"a":["81.2.69.160"]}', "a[0]", "GB"),
        (b'{"a":["81.2.69.160"]}', "a.1", None),
        (b'{"a":[{"b":"81.2.69.160"},{"b":"98.0.0.1"}]}', "a.1.b", "US"),
        (b'{"":"81.2.69.160"}', ".", None),
        (b'{"ip":"81.2.69.160","x":"98.0.0.1"}', "x", "US"),
    ],
)
def test_the_key_of_an_address_may_be_nested(batch: Batch, line: bytes, column: str, code: str | None) -> None:
    """A dotted path descends; a key with the whole name takes precedence."""
    (actual,) = objects(batch.once(line + b"\n", input="jsonl", columns=(column,)))

    assert {**json.loads(line), "geo": {"country_code": code}} == actual


ANSWER = b'"geo":{"country_code":"XX"}'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"ip":"81.2.69.160",%b}' % ANSWER, b'{"ip":"81.2.69.160", %b}'),
        (b'{%b,"ip":"81.2.69.160"}' % ANSWER, b'{"ip":"81.2.69.160", %b}'),
        (b'{"ip":"81.2.69.160","geo" :\tnull , "a":[1, 2]}', b'{"ip":"81.2.69.160", "a":[1, 2], %b}'),
        (b' { "ip" : "81.2.69.160" , %b }' % ANSWER, b' { "ip" : "81.2.69.160", %b }'),
        (b'{"ip":"81.2.69.160",%b,"n":1.10,"x":1e999,"d":1,"d":2}' % ANSWER, None),
        (b'{"ip":"81.2.69.160",%b,"id":123456789.123456789123,"\xc3\xa9":"\xed\xa0\x80 }{"}' % ANSWER, None),
        (b'{"ip":"81.2.69.160",%b,"o":{%b},"s":"\\"geo\\":1"}' % (ANSWER, ANSWER), None),
        (b"{%b}" % ANSWER, b'{"geo": {"country_code": null}}'),
        (b'{"x":"\\"geo\\": {","ip":"81.2.69.160",%b}' % ANSWER, b'{"x":"\\"geo\\": {","ip":"81.2.69.160", %b}'),
        (b'{"ip":"81.2.69.160","x":NaN,%b}' % ANSWER, b'{"ip":"81.2.69.160","x":NaN, %b}'),
        (b'{"ip":"81.2.69.160",%b,%b}' % (ANSWER, ANSWER), b'{"ip":"81.2.69.160", %b}'),
        (b'{"ip":"81.2.69.160","g\\u0065o":null}', b'{"ip":"81.2.69.160", %b}'),
    ],
)
def test_the_answer_of_an_earlier_run_is_replaced(batch: Batch, line: bytes, expected: bytes | None) -> None:
    """There is one answer after any number of runs, and the rest of the line is unchanged."""
    output_line = expected or line.replace(ANSWER + b",", b"", 1)[:-1] + b", %b}"
    actual = batch.once(line + b"\n", input="jsonl")

    assert output_line.replace(b"%b", b'"geo": {"country_code": "GB"}') + b"\n" == actual


@pytest.mark.parametrize("prefix", ["server_", '\\é"'])
def test_two_addresses_of_a_line_have_two_keys(batch: Batch, prefix: str) -> None:
    """A second run with a prefix keeps the answer of the first, and other keys; a third replaces it."""
    line = {"client": "81.2.69.160", "server": "98.0.0.1", "geo": {"mine": 1}}
    for _ in range(2):
        actual = batch.once(f"{json.dumps(line)}\n".encode(), input="jsonl", columns=("server",), prefix=prefix)
        (line,) = objects(actual)

    assert {"geo": {"mine": 1}, f"{prefix}geo": {"country_code": "US"}}.items() <= line.items()
    assert 4 == len(line)


@pytest.mark.parametrize(("column", "prefix"), [("geo", ""), ("geo.ip", ""), (".geo.ip", ""), ("a.geo.x", "a.")])
def test_answers_do_not_replace_their_addresses(batch: Batch, column: str, prefix: str) -> None:
    """A key where the answers go cannot be the one of the addresses."""
    with pytest.raises(SettingsError, match=rf"command line: -c .*: answers go to {prefix}geo; choose another key"):
        batch.once(b'{"geo":{"ip":"81.2.69.160"}}\n', input="jsonl", columns=(column,), prefix=prefix)

    assert b'"x_geo": {"country_code": "GB"}' in batch.once(
        b'{"geo":{"ip":"81.2.69.160"}}\n', input="jsonl", columns=("geo.ip",), prefix="x_"
    )


@pytest.mark.parametrize("geo", ['{"city":null}', '{"country_code":"XX","traits.isp":1}', '{"status":"x"}'])
def test_an_answer_with_other_fields_is_an_error(batch: Batch, geo: str) -> None:
    """In the first line: or every line would be one that cannot be answered; but not one later."""
    line = f'{{"ip":"81.2.69.160","geo":{geo}}}\n'.encode()
    with pytest.raises(SettingsError, match=r"/given: geo: in the input already, with other fields; name the same"):
        batch.once(line, input="jsonl")

    assert b'"new_geo": {' in batch.once(line, input="jsonl", prefix="new_")
    assert ["US", None] == [
        row["geo"]["country_code"] for row in objects(batch.once(b'{"ip":"98.0.0.1"}\n' + line, input="jsonl"))
    ]


@pytest.mark.parametrize(
    "geo", ["1", '{"lat":1}', "[]", '"x"', "{}", '{"city":"mine"}', '{"country_code":"XX","city":"mine"}']
)
@pytest.mark.parametrize("more", ["", ',"geo":{"country_code":"XX"}'])
def test_other_values_of_the_key_are_not_lost(batch: Batch, geo: str, more: str) -> None:
    """Such a line is written unchanged, as one that cannot be answered."""
    line = f'{{"ip":"81.2.69.160","x":"{"x" * 5000}","geo":{geo}{more}}}'
    _, row = objects(batch.once(f'{{"ip":"98.0.0.1"}}\n{line}\n'.encode(), input="jsonl"))

    assert {"line": line, "geo": {"country_code": None}} == row


@pytest.mark.parametrize(
    "line",
    [
        b'{"ip": "81.2.69.160"}',
        b'{"ip":"81.2.69.160","n":1.10}',
        b'{"ip":"81.2.69.160","n":1e400}',
        b'{"ip":"81.2.69.160","n":12345678901234567890.123}',
        '{"ip":"81.2.69.160","s":"é"}'.encode(),
        b"{}",
    ],
)
def test_a_second_run_changes_nothing(batch: Batch, line: bytes) -> None:
    """Numbers and strings stay the same through any number of runs."""
    once = batch.once(line + b"\n", input="jsonl")

    assert once == batch.once(once, input="jsonl")


def test_line_ends_are_kept(batch: Batch) -> None:
    """Lines of a file from another system keep their carriage returns."""
    actual = batch.once(b'{"ip":"98.0.0.1"}\r\nx\r\n', input="jsonl", fields=("country_code",))

    assert b'{"ip":"98.0.0.1", "geo": {"country_code": "US"}}\r\n' in actual
    assert actual.count(b"\n") == actual.count(b"\r\n") == 2


def test_an_object_that_is_nested_without_end_is_a_bad_line(batch: Batch) -> None:
    """It is shown, and its neighbours have their answers."""
    deep = b'{"ip":"81.2.69.160","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    first, bad, last = objects(batch.once(b'{"ip":"98.0.0.1"}\n' + deep + b'\n{"ip":"98.0.0.1"}\n', input="jsonl"))

    assert {"ip": "98.0.0.1", "geo": {"country_code": "US"}} == first == last
    assert (["line", "geo"], deep.decode()) == ([*bad], bad["line"])


def test_lines_that_are_an_array_together_are_bad_lines(batch: Batch) -> None:
    """Each is parsed separately, also if there are as many values as lines."""
    lines = ["[1", "2]", "{},{},{}", '{"ip":"98.0.0.1"}', "{},{}", "[1", "2]"]
    actual = objects(batch(b"", "".join(f"{line}\n" for line in lines).encode(), input="jsonl"))

    assert lines == [row.get("line", '{"ip":"98.0.0.1"}') for row in actual]


keys = st.text(max_size=4).filter(lambda key: key != "geo")


documents = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(lines=st.lists(st.tuples(st.dictionaries(keys, documents, max_size=4), st.booleans()), max_size=6))
def test_any_objects_are_unchanged(lines: list[tuple[dict[str, Any], bool]]) -> None:
    """Each line is its own object, with `geo` as the last key, in any notation."""
    form = JsonLinesForm((), ("country_code",))
    text = "".join(f"{json.dumps(content, ensure_ascii=plain)}\n" for content, plain in lines)
    actual = text_of(form.cut(text.encode("utf-8", "surrogatepass")), "1").split(b"\n")[:-1]

    assert [repr({**content, "geo": 1}) for content, _ in lines] == [repr(json.loads(line)) for line in actual]
