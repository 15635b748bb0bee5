"""Lines of many programs, with the addresses in them: tests/batch/text-cases.jsonl.

`kind` groups the lines; `found` has each address as written in the line and in canonical form.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocli.addresses import is_address, parse
from tests.helpers.address_spans import PADDING, spans

if TYPE_CHECKING:
    from tests.helpers.geocli_process import Geocli

CASES: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "text-cases.jsonl").read_text().splitlines()
]
DELIMITERS = st.sampled_from([b" ", b"\t", b"\n", b",", b";", b"(", b")", b"[", b"]", b"<", b">", b'"', b"'", b"="])
WORDS = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ_0123456789", min_size=1, max_size=8).map(str.encode)
TEXTS = st.ip_addresses().filter(lambda address: address.version == 6 or not _is_like_mask(int(address))).map(str)
ATOMS = st.sampled_from(
    [
        *(token.encode() for case in CASES for token in case["line"].split()),
        *(
            b" ",
            b":",
            b".",
            b"-",
            b"/",
            b"[",
            b"]",
            b"x",
            b"a",
            b"5",
            b"_",
            b"%",
            b"\n",
            b"=",
            b"#011",
            b"\\t",
            b"\\u0020",
        ),
        *(
            b"HIER_DIRECT/",
            b"tcp/",
            b"http://",
            b"nginx/",
            b"Server: ",
            b"Safari/5.1",
            b"+",
            b"Chrome\\/",
            b'"',
            b"outside:",
        ),
        *(b"45.1.0.0", b"45.123.200.5", b"5.6.7.8", b"101.2.3.4", b"10.20.30.40", b"12:34:", b"(x)", b"UA=", b"@x/"),
        *(b"\xff", b"\0", b"%20", b"\x1b[1m", b"[.]", b"[:]", b"..", b"version ", b"mask ", b"*>i", b"10.0.0.5", b"::"),
    ]
)


def _is_like_mask(number: int) -> bool:
    return number >> 24 in {0, 0xFF}


def addresses_in(text: bytes) -> list[list[str]]:
    """Return the addresses in a text, as written and in canonical form."""
    starts, ends, _ = spans(text)
    texts = [text[start:end].decode() for start, end in zip(starts, ends, strict=True)]
    return [[text, str(parse(text))] for text in texts if is_address(text)]


@pytest.mark.parametrize("case", CASES, ids=[f"{case['kind']}-{number}" for number, case in enumerate(CASES)])
def test_the_addresses_of_a_line(case: dict[str, Any]) -> None:
    """All of them and nothing else, in a short text and in a long one."""
    line = case["line"].encode()

    assert case["found"] == addresses_in(line)
    assert case["found"] == addresses_in(PADDING + line) == addresses_in(line + b"\n" + PADDING)


@pytest.mark.slow
@pytest.mark.no_cover
def test_a_label_follows_each_address(located: Geocli) -> None:
    """Or its prefix length; the rest of each line is unchanged."""
    text = "".join(f"{case['line']}\n" for case in CASES if " [" not in case["line"])
    for lines in (text, text * 60):  # by both paths
        run = located("batch", "-i", "log", "-F", "ip", stdin=lines.encode())
        rows = (
            located("batch", "--extract", "-f", "value", "-F", "ip", stdin=lines.encode()).stdout.decode().splitlines()
        )
        labelled = run.stdout.decode()
        for row in rows:
            labelled = labelled.replace(f" [{row}]", "", 1)

        assert lines == labelled
        assert [address for _, address in addresses_in(lines.encode())] == [row.partition("/")[0] for row in rows]


@pytest.mark.slow
@pytest.mark.no_cover
@settings(max_examples=500, deadline=None)
@given(TEXTS, DELIMITERS, DELIMITERS)
def test_an_address_between_any_two_delimiters_is_found(text: str, before: bytes, after: bytes) -> None:
    """Any address except masks and `::`, which depend on more of the line."""
    if text != "::":
        line = b"%bx%b%b%by%b" % (before, before, text.encode(), after, after)

        assert [[text, str(parse(text))]] == addresses_in(line) == addresses_in(PADDING + line)


@settings(max_examples=500, deadline=None)
@given(st.ip_addresses(v=4).map(str), WORDS, WORDS)
def test_nothing_inside_a_word_is_an_address(text: str, before: bytes, after: bytes) -> None:
    """An address that runs into letters, digits or underscores is part of something else."""
    for line in (b" %b%b " % (before, text.encode()), b" %b%b " % (text.encode(), after)):
        assert text not in [stands for stands, _ in addresses_in(line)]


@settings(max_examples=1000, deadline=None)
@given(st.lists(ATOMS | st.binary(max_size=3), max_size=12).map(b"".join))
def test_the_kernel_agrees_with_the_definition_on_any_bytes(text: bytes) -> None:
    """At any offset, since the kernel reads blocks of 64 bytes."""
    for before in (b"", b"x" * 31 + b"\n", b"x" * 62 + b"\n"):
        spans(before + text)
