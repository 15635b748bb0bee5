"""Lists are feeds: addresses with notes, comments and blank lines, each with its row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from geocli.addresses import is_address
from geocli.batch.list_notes import before_note, is_comment, with_notes
from geocli.batch.request import BatchRequest
from geocli.batch.run import run
from geocli.batch.scheduler import SMALL_BYTES
from geocli.cache import GeoCache
from geocli.sanitize import decoded

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

LONDON = b"81.2.69.160"
NOTED = [
    *(b"%b\t12", b"%b,note", b"%b, note", b"%b;note", b"%b note", b"%b # note", b"%b#4#2#Malicious Host#DE##51.3,9.5"),
    *(b"%b  ; SBL123", b"%b // note", b"%b|note", b"  %b\tnote", b"\t%b note", b"%b,", b"%b #", b"%b 98.0.0.1"),
    *(
        b"%b - - [30/Nov/2026:07:57:14 +0000]",
        b"%b:53 # dns",
        b"[%b]:53,note",
        b'"%b","note"',
        b"'%b' note",
        b"<%b>, x",
    ),
    b"%b 2026-11-30 07:57:14",
]
COMMENTS = [
    *(
        b"",
        b" ",
        b"\t",
        b"#",
        b"# 81.2.69.160",
        b"  # note",
        b"; Spamhaus DROP List",
        b"// note",
        b"#81.2.69.160",
        b";",
    ),
    b"################",
]
GARBAGE = [
    *(
        b"example.com",
        b"example.com 81.2.69.160",
        b"x 81.2.69.160",
        b"81.2.69",
        b"81.2.69.160.1",
        b"81.2.69.160garbage",
        b"81.2.69.160\r98.0.0.1",
        b"# note\r81.2.69.160",
    ),
    *(
        b"81.2.69.160garbage note",
        b"081.2.69.160 note",
        b"81.2.69.256 note",
        b"81.2.69.160:99999 note",
        b"/ note",
        b", ",
    ),
    *(b"- 81.2.69.160", b"81.2.69.160/x note", b"note # 81.2.69.160", b"81.2.69.160//note", b"81. 2.69.160"),
    *(b"81.2.69.160" + b" " * 5000 + b"note", b"|81.2.69.160"),
]


@pytest.fixture
def statuses(located: Geocli, tmp_path: Path) -> Statuses:
    return Statuses(located, tmp_path)


class Statuses:
    """Answers the lines of a list."""

    def __init__(self, geocli: Geocli, home: Path) -> None:
        self._geocli, self._home = geocli, home

    def __call__(self, lines: list[bytes]) -> list[bytes]:
        """Return the row of each line: its address, status and country."""
        source, out = self._home / "given", self._home / "out"
        source.write_bytes(b"".join(line + b"\n" for line in lines))
        fields = ("status", "country_code", "ip")
        request = BatchRequest(
            files=(str(source),), input="list", output=str(out), format="tsv", fields=fields, mode="no-cache"
        )
        with GeoCache(settings=self._geocli.settings()) as cache:
            run(cache, request)
        return out.read_bytes().splitlines()[1:]


def test_each_line_of_a_feed_has_a_row(statuses: Statuses) -> None:
    """In small input and in input for the kernel."""
    lines = [*(line % LONDON if b"%b" in line else line for line in NOTED), *COMMENTS, *GARBAGE]
    expected = [b"resolved\tGB\t" + LONDON] * len(NOTED)
    few = statuses(lines)

    assert expected == few[: len(NOTED)]
    assert [b"comment"] * len(COMMENTS) == [row.split(b"\t")[0] for row in few[len(NOTED) :][: len(COMMENTS)]]
    assert [b"invalid"] * len(GARBAGE) == [row.split(b"\t")[0] for row in few[-len(GARBAGE) :]]
    times = 2 * SMALL_BYTES // sum(map(len, lines)) + 1
    assert few * times == statuses(lines * times)


def test_the_rows_of_comments_and_invalid_lines_have_their_text(statuses: Statuses) -> None:
    """Nothing of a line is lost that has no address."""
    lines = [b"# note, 1", b"", b"example.com 81.2.69.160"]

    assert [b"comment\t\t# note, 1", b"comment\t\t", b"invalid\t\texample.com 81.2.69.160"] == statuses(lines)


@pytest.mark.parametrize("line", [*NOTED, *GARBAGE, *COMMENTS, b"%b"])
def test_the_text_before_a_note(line: bytes) -> None:
    """An address, in lines with notes only."""
    text = line % LONDON if b"%b" in line else line

    assert (line in NOTED) == (text in with_notes([text]))
    assert (line in COMMENTS) == is_comment(text)


addresses = st.sampled_from(
    ["8.8.8.8", "2001:db8::1", "[2001:db8::1]:443", "8[.]8[.]8[.]8", "::ffff:8.8.8.8", "8.8.8.8:53"]
)


@given(
    address=addresses, separator=st.sampled_from([" ", "\t", ",", ";", " # ", " ; ", "|"]), note=st.text(max_size=20)
)
@example(address="8.8.8.8", separator=",", note='"')
def test_any_note_may_follow_any_spelling_of_an_address(address: str, separator: str, note: str) -> None:
    """The address is the same as without the note."""
    line = f"{address}{separator}{note}".encode()

    assert {line: address.encode()} == with_notes([line])


@given(text=st.binary(max_size=30), before=st.binary(max_size=5), after=st.binary(max_size=5))
def test_lines_are_independent(text: bytes, before: bytes, after: bytes) -> None:
    """The text around it in a block does not matter; the text before a note is within the line."""
    alone = before_note(text, 0, len(text))
    in_block = before_note(before + text + after, len(before), len(before) + len(text))

    assert (alone is None) == (in_block is None)
    if alone and in_block:
        assert alone == (in_block[0] - len(before), in_block[1] - len(before))
        assert not is_address(decoded(text)) or decoded(text[slice(*alone)])
