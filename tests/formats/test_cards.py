"""Entries on a terminal: cards, tables that fit the width, flags on terminals that show them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from geocli.formats.cards import print_entries
from geocli.models import Entry, Place
from tests.helpers.databases import build
from tests.helpers.terminals import STYLE, on_terminal, words

if TYPE_CHECKING:
    from tests.helpers.geocli_process import Geocli

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_lookup_prints_a_table_on_a_terminal(located: Geocli) -> None:
    """The table has a row for each address and the default columns, without those that are empty."""
    status, shown = on_terminal(located, "lookup", "81.2.69.160", "98.0.0.1")
    header, _, *rows = words(shown)

    assert 0 == status
    assert ["ip", "status", "country_name", "city", "org", "source"] == header
    assert [["81.2.69.160", "United"], ["98.0.0.1", "United"]] == [[row[0], row[2]] for row in rows]
    assert 'Winston, "Salem"' in shown
    assert ["ip", "status", "country_name", "city", "source"] == words(
        on_terminal(located, "lookup", "98.0.0.1", "98.0.0.2")[1]
    )[0]


def test_named_fields_are_shown_even_if_empty(located: Geocli) -> None:
    """Named fields have columns even if they are empty; the empty one is reported below the table."""
    _, shown = on_terminal(located, "lookup", "-F", "ip,postal_code,cached", "98.0.0.1")
    header, _, row, below = words(shown)

    assert (["ip", "postal_code", "cached"], "98.0.0.1") == (header, row[0])
    assert ["geocli:", "postal_code:", "empty", "in", "every", "resolved", "row"] == below


def test_named_formats_are_the_same_on_a_terminal(located: Geocli) -> None:
    """A format named with -f is printed wherever the output goes."""
    assert "GB\n" == on_terminal(located, "lookup", "-f", "value", "81.2.69.160")[1]


def test_a_table_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """No entries are printed without an error."""
    print_entries([], None, NOW)

    assert [] == capsys.readouterr().out.split()


def _card(capsys: pytest.CaptureFixture[str], entry: Entry, *, with_flags: bool = False) -> list[str]:
    print_entries([entry], None, NOW, with_flags=with_flags)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_one_address_is_a_card(capsys: pytest.CaptureFixture[str]) -> None:
    """The card shows the place, the network, the source with the age of its data, and whether the answer was cached."""
    place = Place(
        country_code="GB", country_name="United Kingdom", region="England", city="London", postal_code="EC1A",
        latitude=51.5142, longitude=-0.0931, time_zone="Europe/London", asn=20712, org="Andrews & Arnold Ltd",
    )  # fmt: skip
    entry = Entry(
        ip="81.2.69.160", status="resolved", place=place, source="GeoLite2-City+GeoLite2-ASN", prefix_len=25,
        built_at=NOW - timedelta(days=4), resolved_at=NOW - timedelta(hours=3), cached=True,
    )  # fmt: skip

    assert [
        "81.2.69.160 resolved",
        "place London, England, United Kingdom (GB)",
        "postal code EC1A",
        "coordinates 51.5142, -0.0931",
        "time zone Europe/London",
        "network 81.2.69.128/25",
        "organisation AS20712 Andrews & Arnold Ltd",
        "source GeoLite2-City+GeoLite2-ASN, built 4 days ago",
        "cached yes, 3 h ago",
    ] == _card(capsys, entry)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            Entry(ip="10.0.0.1", status="special", scope="private", source="iana"),
            ["10.0.0.1 special", "scope private", "source iana", "cached no"],
        ),
        (
            Entry(ip="1.1.1.1", status="unresolved", error="/x.mmdb: damaged"),
            ["1.1.1.1 unresolved", "cached no", "error /x.mmdb: damaged"],
        ),
        (
            Entry(ip="[bold]", status="invalid", error="not an IP address"),
            ["[bold] invalid", "error not an IP address"],
        ),
        (
            Entry(ip="1.1.1.1", status="resolved", place=Place(org="Cloudflare"), source="x", cached=True),
            ["1.1.1.1 resolved", "organisation Cloudflare", "source x", "cached yes"],
        ),
        (
            Entry(ip="1.1.1.1", status="resolved", place=Place(traits={"domain": "a\x1bb", "tags": ["c"]}), source="x"),
            ["1.1.1.1 resolved", r'traits domain: a\x1bb; tags: ["c"]', "source x", "cached no"],
        ),
        (
            Entry(ip="1.1.1.1", status="resolved", place=Place(traits={"is_anonymous_vpn": True, "n": 1}), source="x"),
            ["1.1.1.1 resolved", "seen as VPN", "source x", "cached no"],
        ),
    ],
    ids=["special", "unresolved", "invalid", "organisation", "traits", "kinds"],
)
def test_a_card_shows_known_fields(capsys: pytest.CaptureFixture[str], entry: Entry, expected: list[str]) -> None:
    """Unknown fields have no line."""
    assert expected == _card(capsys, entry)


def test_flags_come_before_the_country(capsys: pytest.CaptureFixture[str]) -> None:
    """Flags are shown on a card and in a table, but not where the country is unknown."""
    malta = Entry(ip="81.2.69.160", status="resolved", place=Place(country_code="MT", country_name="Malta"))
    nowhere = Entry(ip="10.0.0.1", status="special", scope="private")

    odd = Entry(ip="1.1.1.1", status="resolved", place=Place(country_code="\U0010ffff"))

    assert "place (\\U0010ffff)" in _card(capsys, odd, with_flags=True)
    assert "place 🇲🇹 Malta (MT)" in _card(capsys, malta, with_flags=True)
    print_entries([malta, nowhere], None, NOW, with_flags=True)
    assert ["81.2.69.160", "resolved", "🇲🇹", "Malta"] in words(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [({"TERM_PROGRAM": "iTerm.app"}, True), ({"TERM": "xterm-kitty"}, True), ({"TERM_PROGRAM": "tmux"}, False)],
    ids=["iTerm", "kitty", "tmux"],
)
def test_flags_are_shown_on_terminals_that_support_them(
    located: Geocli, environ: dict[str, str], *, expected: bool
) -> None:
    """Other terminals would show two letters in boxes; a pipe gets no flags either."""
    _, shown = on_terminal(located, "lookup", "81.2.69.160", environ=environ)
    run = located("lookup", "-f", "table", "81.2.69.160", environ=environ)

    assert expected is ("🇬🇧" in shown)
    assert "🇬🇧" not in run.stdout.decode()


@pytest.mark.parametrize("width", [40, 60, 78, 80, 120])
def test_several_addresses_fit_the_width(located: Geocli, width: int) -> None:
    """A table, or cards where the terminal is too narrow for a table, contains every word of the answer."""
    addresses = ("81.2.69.160", "2001:218:aaaa:bbbb:cccc:dddd:eeee:ffff", "98.0.0.1")
    _, shown = on_terminal(located, "lookup", *addresses, environ={"COLUMNS": str(width)})
    lines = [line.rstrip() for line in STYLE.sub("", shown).splitlines()]
    shown = "".join("".join(lines).split())

    assert width >= max(map(len, lines))
    assert [] == [address for address in addresses if address not in shown]
    assert (lines[0].split() == ["81.2.69.160", "resolved"]) is (width < 78)


def test_nothing_is_truncated_in_a_pipe(located: Geocli) -> None:
    """The width of the terminal in which a pipe was opened does not matter."""
    long = "x" * 300
    build(located.db_dir / "GeoLite2-City.mmdb", {"81.2.69.0/24": {"city": {"names": {"en": long}}}})
    run = located("lookup", "-f", "table", "81.2.69.160", "81.2.69.161", environ={"COLUMNS": "40"})

    assert 2 == run.stdout.decode().count(long)


def test_messages_on_a_terminal_have_their_own_lines(located: Geocli) -> None:
    """Messages are printed after the table."""
    _, shown = on_terminal(located, "lookup", "81.2.69.160", "nowhere")

    assert (
        "geocli: nowhere: a host name, not an address; try: dig +short nowhere | geocli batch" == shown.splitlines()[-1]
    )


def test_an_entry_without_a_place_has_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    """A column is shown if any row fills it."""
    print_entries(
        [
            Entry(ip="10.0.0.1", status="special", scope="private", source="iana"),
            Entry(ip="81.2.69.160", status="resolved", place=Place(country_name="Malta")),
        ],
        None,
        NOW,
    )

    assert [
        ["ip", "status", "country_name", "source"],
        ["10.0.0.1", "special", "iana"],
        ["81.2.69.160", "resolved", "Malta"],
    ] == [words for words in words(capsys.readouterr().out) if set(words[0]) - {"─"}]
