"""Counts of rows and distinct addresses, the same by the kernel and by the scalar path."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from geocli.batch import counts_by_field
from geocli.batch.counts_by_field import Tally
from geocli.engine import answer_counts
from geocli.engine.answer_counts import DistinctAddresses
from tests.helpers.command_output import complaint, objects
from tests.helpers.databases import build
from tests.helpers.terminals import on_terminal

if TYPE_CHECKING:
    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.measured

ADDRESSES = ["81.2.69.160", "81.2.69.5", "2001:218::1", "2001:0218:0::1", "98.0.0.1", "10.0.0.1", "nowhere", "9.9.9.9"]


def _counts(geocli: Geocli, text: str, *options: str) -> list[dict[str, str]]:
    run = geocli("batch", "--no-cache", "-q", *options, stdin=text.encode())
    assert (0, b"") == (run.returncode, run.stderr)
    return list(csv.DictReader(io.StringIO(run.stdout.decode())))


def test_networks_are_counted_and_comments_are_not(located: Geocli) -> None:
    """A network is one distinct address, and a comment none, in small and in large input, also of selected rows."""
    text = "# feed\n81.2.69.0/24\n81.2.69.0/24\n81.2.69.1-81.2.69.9\n81.2.69.1\n\n::81.2.69.1\n::1\n::1:0\n::1:0\n"
    expected = {"resolved": "3", "comment": "0", "special": "3"}

    for repeat in (1, 1000):
        rows = _counts(located, text * repeat, "--count-by", "status")
        assert expected == {row["status"]: row["addresses"] for row in rows}
        (row,) = _counts(located, text * repeat, "--count-by", "status", "--country", "GB", "--only", "scope=")
        statuses = {
            row["status"] for row in _counts(located, text, "--count-by", "status", "--except", "status=comment")
        }
        assert {"resolved", "special"} == statuses
        assert ("resolved", str(4 * repeat), "3") == (row["status"], row["lines"], row["addresses"])


@pytest.mark.parametrize("fields", ["country_code", "country_code,city,asn,org", "status,scope", "network", "ip"])
def test_large_input_is_counted_like_small_input(located: Geocli, fields: str) -> None:
    """The kernel counts the same lines and addresses as the scalar path, for any fields."""
    lines = (ADDRESSES * 75)[::-1]
    small = _counts(located, "\n".join(lines) + "\n", "--count-by", fields)
    large = _counts(located, "\n".join(lines * 20) + "\n", "--count-by", fields)

    assert [{**row, "lines": str(20 * int(row["lines"]))} for row in small] == large
    assert 600 == sum(int(row["lines"]) for row in small)
    assert 6 == sum(int(row["addresses"]) for row in small)
    assert 1 == pytest.approx(sum(float(row["share"]) for row in small), abs=1e-4)


def test_the_largest_come_first(located: Geocli) -> None:
    """Groups are sorted by lines, then by values; --top limits them, and shares are of all lines."""
    text = "81.2.69.1\n81.2.69.2\n2001:218::1\n2001:218::1\n98.0.0.1\n10.0.0.1\n"

    assert [
        {"country_code": "GB", "lines": "2", "addresses": "2", "share": "0.333333"},
        {"country_code": "JP", "lines": "2", "addresses": "1", "share": "0.333333"},
    ] == _counts(located, text, "--count-by", "country_code", "--top", "2")


@pytest.mark.parametrize(
    ("format_", "expected"),
    [
        ("csv", b"city,lines,addresses,share\nLondon,1,1,1.0\n"),
        ("tsv", b"city\tlines\taddresses\tshare\nLondon\t1\t1\t1.0\n"),
        ("value", b"London\t1\t1\t1.0\n"),
        ("jsonl", b'{"city": "London", "lines": 1, "addresses": 1, "share": 1.0}\n'),
        ("json", b'[\n  {"city": "London", "lines": 1, "addresses": 1, "share": 1.0}\n]\n'),
    ],
)
def test_each_format(located: Geocli, format_: str, expected: bytes) -> None:
    """Values have their types in JSON; CSV begins with the names of the columns."""
    assert expected == located("batch", "--count-by", "city", "-f", format_, stdin=b"81.2.69.1\n").stdout


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("-i", "log"), 'a 81.2.69.1 "x"\nno address\nb 81.2.69.1, 98.0.0.1\n'),
        (("-i", "csv", "-c", "src"), 'n,src\n1,81.2.69.1\n2,"81.2.69.1"\n3,98.0.0.1\n'),
        (
            ("-i", "jsonl", "-c", "a.b"),
            '{"a": {"b": "81.2.69.1"}}\n{"a": {"b": "98.0.0.1"}}\n{"a": {"b": "81.2.69.1"}}\n',
        ),
    ],
    ids=["log", "csv", "jsonl"],
)
def test_each_form_of_input(located: Geocli, options: tuple[str, ...], text: str) -> None:
    """Rows of every form are counted; a log has one for each address."""
    actual = _counts(located, text, *options, "--count-by", "country_code")

    assert {"GB": ("2", "1"), "US": ("1", "1")} == {
        row["country_code"]: (row["lines"], row["addresses"]) for row in actual
    }


def test_a_trait_is_counted_by_its_name(located: Geocli) -> None:
    """Common traits need no prefix; a trait that is missing is empty."""
    actual = _counts(located, "81.2.69.1\n98.0.0.1\n", "--count-by", "accuracy_radius,traits.continent_code")

    names = ("traits.accuracy_radius", "traits.continent_code")
    names = ("traits.accuracy_radius", "traits.continent_code")
    assert [("", ""), ("100", "EU")] == sorted(tuple(row[name] for name in names) for row in actual)


@pytest.mark.parametrize("repeat", [1, 2000])
def test_lists_and_maps_are_values_in_json(geocli: Geocli, repeat: int) -> None:
    """They are not strings, unlike text in brackets; in CSV they are JSON."""
    records = {"81.2.69.0/24": {"tags": ["a", {"b": 1}]}, "98.0.0.0/24": {"tags": "[a]"}}
    build(geocli.db_dir / "Own.mmdb", records, edition="Own")
    text = "81.2.69.1\n81.2.69.2\n98.0.0.1\n" * repeat
    run = geocli("batch", "--count-by", "traits.tags", "-f", "jsonl", stdin=text.encode())

    assert [["a", {"b": 1}], "[a]"] == [row["traits.tags"] for row in objects(run.stdout)]
    assert ['["a", {"b": 1}]', "[a]"] == [
        row["traits.tags"] for row in _counts(geocli, text, "--count-by", "traits.tags")
    ]


def test_no_rows(located: Geocli) -> None:
    """Empty input has no counts."""
    assert b"city,lines,addresses,share\n" == located("batch", "--count-by", "city").stdout
    assert [] == json.loads(located("batch", "--count-by", "city", "-f", "json").stdout)


def test_counts_go_to_a_file_and_answers_to_the_cache(located: Geocli, tmp_path: object) -> None:
    """-o replaces a file with the counts; answers are cached as by any batch, and errors of input leave the file."""
    run = located("batch", "--count-by", "city", "-o", f"{tmp_path}/out.csv", stdin=b"81.2.69.1\n")
    again = located("lookup", "--cached-only", "-F", "city", "81.2.69.1")
    failed = located("batch", "--count-by", "city", "-o", f"{tmp_path}/out.csv", "/missing")

    assert (0, b"") == (run.returncode, run.stdout)
    assert [{"city": "London"}] == objects(again.stdout)
    assert 2 == failed.returncode
    with open(f"{tmp_path}/out.csv", encoding="utf-8") as out:
        assert "city,lines,addresses,share\nLondon,1,1,1.0\n" == out.read()


def test_a_terminal_shows_bars(located: Geocli, tmp_path: object) -> None:
    """The table has names of countries, and one row for the groups that --top omits."""
    with open(f"{tmp_path}/list", "w", encoding="utf-8") as file:
        file.write("81.2.69.1\n81.2.69.2\n98.0.0.1\n10.0.0.1\n")
    _, shown = on_terminal(
        located, "batch", f"{tmp_path}/list", "--count-by", "country_code", "--top", "1", "--no-progress"
    )
    words = [line.split() for line in shown.splitlines() if line.strip()]

    assert ["GB", "United", "Kingdom", "2", "2", "50.0%"] == words[2][:6]
    assert ["2", "more", "2", "50.0%"] == words[3][:4]
    assert "█" * 30 in shown


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--count-by", "contry_code"), "--count-by contry_code: unknown field; did you mean country_code?"),
        (("--count-by", "cached"), "--count-by cached: depends on the run, not on the address"),
        (("--count-by", "city", "-F", "ip"), "-F: cannot be used with --count-by, which names the columns"),
        (("--count-by", ""), "--count-by: a field has no name; give names like country_code,asn"),
        (("--count-by", "city,,asn"), "--count-by: a field has no name"),
        (("--top", "3"), "--top: needs --count-by"),
        (("-f", "json"), "-f json: needs --count-by"),
        (("--count-by", "city", "--cluster", "local:1", "-o", "x"), "--count-by: cannot be used with --cluster"),
    ],
)
def test_wrong_options(located: Geocli, options: tuple[str, ...], reason: str) -> None:
    """The error names the option, and a remedy."""
    run = located("batch", *options)

    assert 2 == run.returncode
    assert complaint(run).startswith(f"command line: {reason}")


class TestDistinct:
    def test_addresses_are_counted_once(self) -> None:
        """The same address in several spellings and blocks is counted at its first place."""
        addresses = DistinctAddresses()

        assert [0, 2] == addresses.add_texts([b"8.8.8.8", b"8.8.8.8", b"2001:db8::1", b""])
        assert [1] == addresses.add_texts([b"8.8.8.8", b"::1", b"2001:db8:0::1"])

    def test_random_addresses_are_counted_exactly(self) -> None:
        """Up to the bound, no address is taken for another."""
        numbers = [number * 2_654_435_761 % 2**32 % 15_000 * 131_071 for number in range(20_000)]
        texts = [b"%d.%d.%d.%d" % tuple(number.to_bytes(4, "big")) for number in numbers]
        addresses = DistinctAddresses()
        count = sum(len(addresses.add_texts(texts[start : start + 777])) for start in range(0, len(texts), 777))

        assert len(set(texts)) == count
        assert not addresses.is_full

    def test_counts_above_the_bound_are_minimums(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Above the bound, further addresses are not counted, and the count is reported as a minimum."""
        monkeypatch.setattr(answer_counts, "MAX_ADDRESSES", 3)
        addresses = DistinctAddresses()

        assert [0, 1] == addresses.add_texts([b"8.8.8.8", b"9.9.9.9"])
        assert [] == addresses.add_texts([b"1.1.1.1", b"2.2.2.2"])
        assert addresses.is_full

    def test_without_the_kernel_a_set_is_enough(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Addresses are counted exactly up to a smaller bound."""
        monkeypatch.setattr(counts_by_field, "MAX_ADDRESSES", 2)
        tally = Tally(("ip",), ("ip",), with_addresses=True)
        assert tally._distinct is not None  # noqa: SLF001 (its only way in)
        new = tally._distinct.add_texts([b"8.8.8.8", b"", b"8.8.8.8", b"9.9.9.9", b"1.1.1.1"])  # noqa: SLF001

        assert [0, 3] == new[:2]
        assert not tally.is_exact
        assert Counter() == tally.lines
