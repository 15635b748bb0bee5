"""Entries in each format, byte by byte."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from geocli.formats.rows import FORMATS, SIMPLE, Output, json_text
from geocli.models import CSV_FIELDS, FIELDS, JSON_FIELDS, Entry, Place

LONDON = Entry(
    ip="81.2.69.160",
    status="resolved",
    place=Place(
        country_code="GB",
        city="London",
        latitude=51.5142,
        longitude=-0.0931,
        asn=20712,
        org="Andrews & Arnold Ltd",
        traits={"accuracy_radius": 100, "is_anonymous": False, "domain": None, "tags": ["a", "b"], "odd": "\x1b"},
    ),
    source="GeoLite2-City",
    prefix_len=24,
    built_at=datetime(2026, 5, 28, 20, 26, 40, tzinfo=UTC),
    resolved_at=datetime(2026, 6, 1, 12, tzinfo=UTC),
    cached=True,
)
INVALID = Entry(ip="x\ty", status="invalid", error="not an IP address")


def _cell(format_: str, text: Any) -> str:
    """Return the cell of a city or a latitude."""
    name = "city" if isinstance(text, str) else "latitude"
    output = Output(format_, [name])
    return output.block([Entry(ip="1.1.1.1", status="resolved", place=Place(**{name: text}))]).decode()


def test_the_formats() -> None:
    """FORMATS are those of `lookup` and `batch`, except for tables."""
    assert {"csv", "tsv", "json", "jsonl", "value"} == set(FORMATS)


@pytest.mark.parametrize(
    ("format_", "names"),
    [("csv", CSV_FIELDS), ("tsv", CSV_FIELDS), ("json", JSON_FIELDS), ("jsonl", JSON_FIELDS)],
)
def test_the_fields_of_a_format(format_: str, names: tuple[str, ...]) -> None:
    """By default, each format has the documented fields."""
    output = Output(format_)
    if format_ in {"csv", "tsv"}:
        separator = "," if format_ == "csv" else "\t"
        assert [*names] == output.header.decode().rstrip("\n").split(separator)
        assert {"postal_code", "resolved_at"} == set(FIELDS) - set(names)
    else:
        (entry,) = json.loads(b"[" + output.block([LONDON]).strip().strip(b"[]") + b"]")
        assert b"" == output.header
        assert [*names] == list(entry)


@pytest.mark.parametrize(
    ("format_", "expected"),
    [
        ("csv", "ip,city,asn,cached\n81.2.69.160,London,20712,true\nx\\ty,,,false\n"),
        ("tsv", "ip\tcity\tasn\tcached\n81.2.69.160\tLondon\t20712\ttrue\nx\\ty\t\t\tfalse\n"),
        ("value", "81.2.69.160\tLondon\t20712\ttrue\nx\\ty\t\t\tfalse\n"),
        (
            "jsonl",
            (
                '{"ip": "81.2.69.160", "city": "London", "asn": 20712, "cached": true}\n'
                '{"ip": "x\\ty", "city": null, "asn": null, "cached": false}\n'
            ),
        ),
        (
            "json",
            (
                '[\n  {"ip": "81.2.69.160", "city": "London", "asn": 20712, "cached": true},\n'
                '  {"ip": "x\\ty", "city": null, "asn": null, "cached": false}\n]\n'
            ),
        ),
    ],
)
def test_each_format_to_the_byte(format_: str, expected: str) -> None:
    """Header, rows and line ends are exact; a tab in the data never splits a row."""
    output = Output(format_, ["ip", "city", "asn", "cached"])
    actual = (output.header + output.block([LONDON, INVALID])).decode()

    assert expected == actual


@pytest.mark.parametrize("format_", ["csv", "tsv", "value", "jsonl", "words", "label"])
@pytest.mark.parametrize("names", [("ip", "city", "network", "resolved_at"), ("ip",), ("city", "status"), ("network",)])
def test_rows_are_the_lines_of_a_block(format_: str, names: tuple[str, ...]) -> None:
    """Also of texts that are no addresses, and of addresses that are written with a prefix length."""
    texts = ["81.2.69.161", "=1", '"', "a,b", "", "100%", "%s", "\ud800"]
    entries = [LONDON, *(INVALID.replace(ip=text) for text in texts), LONDON.replace(ip="2001:db8::1"), LONDON]

    assert Output(format_, names).block(entries) == b"".join(Output(format_, names).rows(entries))


@pytest.mark.parametrize("format_", ["csv", "tsv", "value", "jsonl", "words"])
def test_rows_with_other_addresses(format_: str) -> None:
    """Such as networks, which are written as their entries' addresses would be."""
    output, network = Output(format_, ("city", "ip")), "81.2.69.0/24"

    assert [output.block([LONDON.replace(ip=network)])] == output.rows([LONDON], [network])


def test_value_is_the_country_unless_fields_are_named() -> None:
    """The format `value` prints country codes by default."""
    assert b"GB\n" == Output("value").block([LONDON])


@pytest.mark.parametrize("format_", FORMATS)
def test_lines_can_end_in_nul(format_: str) -> None:
    """Every line ends in NUL, including the header."""
    output = Output(format_, ["ip"], end="\0")
    text = output.header + output.block([LONDON])

    assert text.endswith(b"\0")
    assert (1 if format_ in {"json", "jsonl", "value"} else 2) == text.count(b"\0")


@pytest.mark.parametrize("format_", FORMATS)
def test_no_entries(format_: str) -> None:
    """Without entries the output is empty, or an empty document."""
    text = Output(format_, ["ip"]).block([]).decode()

    assert [] == (json.loads(text) if format_ == "json" else text.split())


def test_a_header_can_be_omitted() -> None:
    """The header can be omitted, to append rows to a file."""
    assert b"" == Output("csv", with_header=False).header


def test_traits_are_json_in_a_cell_and_by_name() -> None:
    """`traits` is an object, `traits.NAME` a value; false is not unknown."""
    names = ["traits", "traits.accuracy_radius", "traits.is_anonymous", "traits.domain", "traits.tags", "traits.no"]
    output = Output("csv", names)
    traits, *values = next(csv.reader(io.StringIO(output.block([LONDON]).decode())))

    assert LONDON.place.traits == json.loads(traits)
    assert ["100", "false", "", '["a", "b"]', ""] == values


def test_instants_and_networks() -> None:
    """Instants are UTC with a Z; networks have the prefix length of the record."""
    output = Output("value", ["resolved_at", "built_at", "network"])

    assert b"2026-06-01T12:00:00Z\t2026-05-28T20:26:40Z\t81.2.69.0/24\n" == output.block([LONDON])


@pytest.mark.parametrize("format_", ["csv", "tsv"])
@pytest.mark.parametrize(
    "text", ["=1", "+x", "-x", "@x", "=", "+", "-", "@", "-1+1", "=HYPERLINK(0)", "--1", "+1 ", "-inf+1"]
)
def test_a_cell_that_looks_like_a_formula_is_marked(format_: str, text: str) -> None:
    """An apostrophe in front makes it text for every spreadsheet (CWE-1236)."""
    expected = text if text == "+1 " else f"'{text}"

    assert f"{expected}\n" == _cell(format_, text)


@pytest.mark.parametrize("format_", ["csv", "tsv"])
@pytest.mark.parametrize("text", ["London", "-1", "+1.5", "-1e5", "1=1", " =1", "'=1", "", -0.5, 12.0])
def test_other_cells_are_unchanged(format_: str, text: Any) -> None:
    """Numbers have no apostrophe, whether the data contain them as numbers or as strings."""
    assert f"{text}\n" == _cell(format_, text).replace('""\n', "\n")


@pytest.mark.parametrize("format_", ["value", "jsonl", "json"])
def test_formats_for_programs_mark_no_formulas(format_: str) -> None:
    """JSON and values are not for spreadsheets."""
    assert "'" not in _cell(format_, "=1")


@pytest.mark.parametrize("separator", list(";, ./-_xé|\t"))
@pytest.mark.parametrize("text", ["Aix-en/Provence 1.x_é", "x", "New York", "a;b", "a,b"])
def test_a_cell_with_the_separator_is_quoted(separator: str, text: str) -> None:
    """Cells are quoted for any separator, even a letter."""
    output = Output("csv", ["city", "ip"], separator=separator)
    line = output.block([Entry(ip="1.1.1.1", status="resolved", place=Place(city=text))]).decode()

    assert [[text, "1.1.1.1"]] == list(csv.reader([line], delimiter=separator))
    assert line.startswith('"') == (separator in text)


def test_simple_strings_cannot_control_a_terminal() -> None:
    """Strings that match SIMPLE are printed unchanged, so they must not contain characters that are escaped."""
    simple = filter(re.compile(SIMPLE).fullmatch, map(chr, range(sys.maxunicode + 1)))

    assert "".join(simple).isprintable()


HOSTILE = ["\x1b[31m", "\x1b]0;x\x07", "\x9b31m", "\x7f", "\x00", "a\nb", "a\r", "\u2028", "\u202e", "\u2066", "\ud800"]


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_control_characters_are_escaped(format_: str, text: str) -> None:
    """No format passes on characters that control a terminal or split lines."""
    shown = _cell(format_, text).replace("[\n", "[").replace("\n]", "]").removesuffix("\n")

    assert shown.isprintable()
    assert "\\" in shown


@pytest.mark.parametrize("format_", ["json", "jsonl"])
@pytest.mark.parametrize("text", [*HOSTILE, "Orléans", "東京", "\\", '"', "\U000e0001", "😀"], ids=ascii)
def test_json_reads_back(format_: str, text: str) -> None:
    """Escaped or not, JSON reads back as the same string."""
    document = json.loads(_cell(format_, text))

    assert {"city": text} == (document[0] if format_ == "json" else document)


def test_printable_text_is_unchanged() -> None:
    """JSON is readable for people, too."""
    assert '{"city": "Orléans 東京"}' == json_text({"city": "Orléans 東京"})


@pytest.mark.parametrize("text", ['a"b', "a,b", ',"', '""', " a ", "é,è"])
def test_csv_reads_back(text: str) -> None:
    """The csv module reads the string that was written."""
    assert [[text]] == list(csv.reader(io.StringIO(_cell("csv", text), newline="")))
