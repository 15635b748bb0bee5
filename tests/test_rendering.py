"""What people see on a terminal, what hostile data cannot do there, and what Prometheus reads."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from geocli.databases.attributions import ATTRIBUTIONS
from geocli.entries import Entry, Place
from geocli.rendering import print_databases, print_entries, print_stats
from geocli.storage.journal import JournalStatus
from geocli.upkeep import DatabaseStats, Stats
from tests.building import build
from tests.running import STYLE, complaint, on_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Geocli

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOSTILE = {
    "colour": ("\x1b[31mred", "\\x1b[31mred"),
    "title": ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
    "C1": ("\x9b31mred", "\\x9b31mred"),
    "bidi": ("\u202eevil", "\\u202eevil"),
    "isolate": ("\u2066evil", "\\u2066evil"),
    "newline": ("two\nlines", "two\\nlines"),
    "return": ("over\rwritten", "over\\rwritten"),
    "separator": ("two\u2028lines", "two\\u2028lines"),
    "delete": ("x\x7f", "x\\x7f"),
    "markup": ("[/nope]", "[/nope]"),
    "bold": ("[bold]x[/bold]", "[bold]x[/bold]"),
    "link": ("[link=file:///]x", "[link=file:///]x"),
    "emoji": (":smile:", ":smile:"),
}


def _stats(**changes: object) -> Stats:
    values: dict[str, object] = {
        "at": NOW,
        "statuses": {"resolved": 3, "special": 1},
        "by": "country",
        "top": [("GB", 3), (None, 1)],
        "journal": JournalStatus(
            entries=2, size_bytes=812, oldest_at=NOW - timedelta(days=2), segments=1, quarantined_bytes=7
        ),
        "last_flush": ("2026-06-01T11:59:00Z", 4, 0.0125),
        "databases": [
            DatabaseStats(name="GeoLite2-City", path="/x/City.mmdb", size_bytes=10, built_at=NOW - timedelta(days=40)),
            DatabaseStats(name="broken", path="/x/b.mmdb", size_bytes=0, built_at=None, error="/x/b.mmdb: empty"),
        ],
        "problems": [],
    }
    return Stats(**(values | changes))  # type: ignore[arg-type]


def _words(text: str) -> list[list[str]]:
    """Return the words of each line that has some."""
    return [line.split() for line in STYLE.sub("", text).splitlines() if line.split()]


def _controls(text: str) -> str:
    """Return the characters in a text that a terminal would act upon."""
    return "".join(char for char in sorted(set(text)) if not char.isprintable())


def test_lookup_on_a_terminal_is_a_table(located: Geocli) -> None:
    """One row an address, what most people look for above them, and columns that are empty throughout are left out."""
    status, shown = on_terminal(located, "lookup", "81.2.69.160", "98.0.0.1")
    header, _, *rows = _words(shown)

    assert 0 == status
    assert ["ip", "status", "country_name", "city", "org", "source"] == header
    assert [["81.2.69.160", "United"], ["98.0.0.1", "United"]] == [[row[0], row[2]] for row in rows]
    assert 'Winston, "Salem"' in shown
    assert ["ip", "status", "country_name", "city", "source"] == _words(
        on_terminal(located, "lookup", "98.0.0.1", "98.0.0.2")[1]
    )[0]


def test_fields_that_were_asked_for_are_shown_even_if_empty(located: Geocli) -> None:
    """The user named them, so they have their columns."""
    _, shown = on_terminal(located, "lookup", "-F", "ip,postal_code,cached", "98.0.0.1")
    header, _, row = _words(shown)

    assert (["ip", "postal_code", "cached"], "98.0.0.1") == (header, row[0])


def test_other_formats_are_the_same_on_a_terminal(located: Geocli) -> None:
    """A format that was asked for is what comes, wherever it goes."""
    assert "GB\n" == on_terminal(located, "lookup", "-f", "value", "81.2.69.160")[1]


def test_a_table_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """No entries, no crash."""
    print_entries([], None)

    assert [] == capsys.readouterr().out.split()


def test_messages_on_a_terminal_are_lines_of_their_own(located: Geocli) -> None:
    """After the table."""
    _, shown = on_terminal(located, "lookup", "81.2.69.160", "nowhere")

    assert (
        "geocli: nowhere: a host name, not an address; try: dig +short nowhere | geocli batch" == shown.splitlines()[-1]
    )


@pytest.fixture(params=HOSTILE)
def hostile(geocli: Geocli, request: pytest.FixtureRequest) -> tuple[Geocli, str, str]:
    """Run geocli with a database that has a hostile name for a city, and for an organisation."""
    text, harmless = HOSTILE[request.param]
    record = {"city": {"names": {"en": text}}, "traits": {"isp": text, "user_type": text}}
    build(geocli.db_dir / "GeoLite2-City.mmdb", {"81.2.69.0/24": record})
    return geocli, text, harmless


@pytest.mark.parametrize("format_", ["table", "csv", "tsv", "value", "jsonl", "json"])
def test_hostile_names_are_harmless(hostile: tuple[Geocli, str, str], format_: str) -> None:
    """On a terminal the name is shown as text in one cell, in every format, and nothing is interpreted."""
    geocli, text, harmless = hostile
    fields = ("-F", "city,org,traits,traits.user_type")
    status, shown = on_terminal(geocli, "lookup", "-f", format_, *fields, "81.2.69.160")
    plain = STYLE.sub("", shown)

    assert 0 == status
    assert ("\t\n" if format_ in {"tsv", "value"} else "\n") == _controls(plain)
    if format_ in {"json", "jsonl"}:
        entry = json.loads(plain)
        assert text == (entry[0] if format_ == "json" else entry)["city"]
    else:
        assert harmless in plain


def test_hostile_names_are_harmless_in_statistics(hostile: tuple[Geocli, str, str]) -> None:
    """Bars are labelled with what other people wrote."""
    geocli, _, harmless = hostile
    geocli("lookup", "81.2.69.160")
    geocli("flush")
    status, shown = on_terminal(geocli, "stats", "--by", "city")
    plain = STYLE.sub("", shown)

    assert 0 == status
    assert "\n" == _controls(plain)
    assert harmless in plain


@pytest.mark.parametrize("text", ["\x1b[31mx", "a\u202eb", "a\x9bb"], ids=ascii)
def test_hostile_input_is_harmless(located: Geocli, text: str) -> None:
    """What a user pastes comes back escaped, in the table and in the message."""
    status, shown = on_terminal(located, "lookup", text)

    assert 2 == status
    assert "\n" == _controls(STYLE.sub("", shown))
    assert 2 == STYLE.sub("", shown).count(ascii(text)[1:-1])


def test_hostile_field_names_are_harmless(located: Geocli) -> None:
    """The head of a table is text, too."""
    _, shown = on_terminal(located, "lookup", "-F", "ip,traits.\x1b]0;x\x07[bold]", "81.2.69.160")

    assert "\n" == _controls(STYLE.sub("", shown))
    assert "[bold]" in shown


def test_hostile_file_names_are_harmless(located: Geocli) -> None:
    """A database may be called anything."""
    (located.db_dir / "GeoLite2-City.mmdb").rename(located.db_dir / "\x1b[31m\n:smile:[nope].mmdb")
    status, shown = on_terminal(located, "db", "list")
    plain = STYLE.sub("", shown)

    assert 0 == status
    assert "\n" == _controls(plain)
    assert "\\x1b[31m\\n:smile:[nope].mmdb" in plain


def test_the_table_of_statistics(capsys: pytest.CaptureFixture[str]) -> None:
    """Rows by status, the journal, the last flush, the databases with their ages, and bars with shares."""
    print_stats(_stats(), "table", None)
    found = capsys.readouterr()

    assert [
        ["cache"],
        ["rows", "4"],
        ["resolved", "3"],
        ["special", "1"],
        ["dirty", "entries", "2"],
        ["bytes", "812"],
        ["oldest", "2", "days", "ago"],
        ["quarantined", "bytes", "7"],
        ["last", "flush", "2026-06-01T11:59:00Z:", "4", "entries", "in", "0.0125", "s"],
        ["database", "built", "bytes", "path"],
        ["GeoLite2-City", "40", "days", "ago", "10", "/x/City.mmdb"],
        ["broken", "0", "/x/b.mmdb:", "empty"],
        ["country", "rows", "share"],
        ["GB", "3", "75.0%", "█" * 30],
        ["unknown", "1", "25.0%", "█" * 10],
    ] == [words for words in _words(found.out) if set(words[0]) - {"─"}]
    assert "" == found.err


def test_the_table_of_statistics_of_an_empty_cache(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was ever looked up, and no database was found."""
    empty = JournalStatus(entries=0, size_bytes=0, oldest_at=None, segments=0, quarantined_bytes=0)
    print_stats(_stats(statuses={}, top=[], journal=empty, last_flush=None, databases=[]), "table", None)
    lines = [words for words in _words(capsys.readouterr().out) if set(words[0]) - {"─"}]

    assert ["rows", "0"] in lines
    assert ["oldest"] in lines
    assert ["rir", "built", "in:", "no", ".mmdb", "file", "was", "found"] in lines
    assert [] == [words for words in lines if words[0] == "last"]


def test_what_cannot_be_read_is_said_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    """A line each, on standard error; what can be read is in the table."""
    print_stats(_stats(journal=None, problems=["/x/journal: gone", "/x/geocli.db: locked"]), "table", None)
    found = capsys.readouterr()

    assert "geocli: /x/journal: gone\ngeocli: /x/geocli.db: locked\n" == found.err
    assert "dirty entries" not in found.out


def test_statistics_on_a_terminal_are_a_table(located: Geocli) -> None:
    """And JSON elsewhere."""
    located("lookup", "81.2.69.160")
    located("flush")
    status, shown = on_terminal(located, "stats")

    assert 0 == status
    assert ["GB", "1", "100.0%", "█" * 30] in _words(shown)


def test_databases_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Family, build, age, size, path or what is wrong; then each attribution once, and that of the built-in data."""
    databases = [row.replace(attribution="Data by Somebody") for row in _stats().databases]
    print_databases(databases, NOW)
    header, _, first, second, *rest = _words(capsys.readouterr().out)

    assert ["database", "built", "age", "size", "path"] == header
    assert ["GeoLite2-City", "2026-04-22", "40", "days", "ago", "10", "bytes", "/x/City.mmdb"] == first
    assert ["broken", "/x/b.mmdb:", "empty"] == second
    assert ["Data by Somebody", ATTRIBUTIONS["rir"]] == [" ".join(words) for words in rest]


def test_statistics_as_json(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Every key, with instants as text."""
    print_stats(_stats(), "json", None)

    assert {
        "entries": {"resolved": 3, "special": 1},
        "journal": {
            "entries": 2,
            "size_bytes": 812,
            "oldest_at": "2026-05-30T12:00:00Z",
            "segments": 1,
            "quarantined_bytes": 7,
        },
        "last_flush": {"finished_at": "2026-06-01T11:59:00Z", "entries": 4, "duration_seconds": 0.0125},
        "databases": [
            {
                "name": "GeoLite2-City",
                "path": "/x/City.mmdb",
                "size_bytes": 10,
                "built_at": "2026-04-22T12:00:00Z",
                "error": None,
                "attribution": None,
            },
            {
                "name": "broken",
                "path": "/x/b.mmdb",
                "size_bytes": 0,
                "built_at": None,
                "error": "/x/b.mmdb: empty",
                "attribution": None,
            },
        ],
        "by": "country",
        "top": [{"value": "GB", "entries": 3}, {"value": None, "entries": 1}],
        "problems": [],
    } == json.loads(capfdbinary.readouterr().out)


def test_statistics_as_json_of_what_cannot_be_read(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """The keys stay, without values."""
    print_stats(_stats(journal=None, last_flush=None, problems=["/x: gone"]), "json", None)
    said = json.loads(capfdbinary.readouterr().out)

    assert (None, None, ["/x: gone"]) == (said["journal"], said["last_flush"], said["problems"])


SAMPLE = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    r'(?:\{[a-zA-Z_][a-zA-Z0-9_]*="(?P<label>(?:[^"\\\n]|\\[\\"n])*)"\})?'
    r" (?P<number>[0-9.eE+-]+)"
)
"""A sample in Prometheus's text exposition format 0.0.4, in which a label's value knows three escapes."""


def _samples(text: str) -> dict[tuple[str, str | None], float]:
    """Read the text exposition format, strictly: every sample belongs to the metric that was announced last."""
    assert text.endswith("\n")
    samples: dict[tuple[str, str | None], float] = {}
    helped = typed = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped = line.split(" ", 3)[2]
        elif line.startswith("# TYPE "):
            typed, kind = line.split(" ")[2:]
            assert (helped, "gauge") == (typed, kind)
        else:
            found = SAMPLE.fullmatch(line)
            assert found, line
            assert typed == found["name"]
            key = found["name"].removeprefix("geocli_"), found["label"]
            assert key not in samples
            samples[key] = float(found["number"])
    return samples


def test_prometheus(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Every number that monitoring needs, under a stable name, in base units."""
    print_stats(_stats(), "prometheus", None)

    assert {
        ("cache_entries", "resolved"): 3,
        ("cache_entries", "special"): 1,
        ("journal_entries", None): 2,
        ("journal_bytes", None): 812,
        ("journal_quarantined_bytes", None): 7,
        ("flush_last_success_timestamp_seconds", None): 1780315140,
        ("flush_last_entries", None): 4,
        ("flush_last_duration_seconds", None): 0.0125,
        ("database_build_timestamp_seconds", "GeoLite2-City"): 1776859200,
    } == _samples(capfdbinary.readouterr().out.decode())


def test_prometheus_leaves_out_what_cannot_be_read(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A number that is not known is not 0."""
    print_stats(_stats(journal=None, last_flush=None), "prometheus", None)
    names = {name for name, _ in _samples(capfdbinary.readouterr().out.decode())}

    assert {"cache_entries", "database_build_timestamp_seconds"} == names


@pytest.mark.parametrize(
    ("status", "label"),
    [('a"b', 'a\\"b'), ("a\\b", "a\\\\b"), ("a\nb", "a\\\\nb"), ("\x1b[31m", "\\\\x1b[31m"), ("é", "é")],
    ids=ascii,
)
def test_prometheus_reads_any_label(capfdbinary: pytest.CaptureFixture[bytes], status: str, label: str) -> None:
    """One odd row, which somebody else wrote into the table, does not make the whole page unreadable."""
    print_stats(_stats(statuses={status: 1}), "prometheus", None)

    assert 1 == _samples(capfdbinary.readouterr().out.decode())["cache_entries", label]


@pytest.mark.parametrize("format_", ["json", "prometheus"])
def test_statistics_go_to_a_file_all_at_once(located: Geocli, tmp_path: Path, format_: str) -> None:
    """Standard output stays empty, the old file is replaced, and nothing is left beside it."""
    out = tmp_path / "textfile" / "geocli.prom"
    out.parent.mkdir()
    out.write_text("old")
    inode = out.stat().st_ino
    run = located("stats", "-f", format_, "-o", str(out))

    assert (0, b"", b"") == (run.returncode, run.stdout, run.stderr)
    assert out.read_text() != "old"
    assert inode != out.stat().st_ino
    assert ["geocli.prom"] == os.listdir(out.parent)
    assert 0o444 == out.stat().st_mode & 0o444


def test_a_file_gets_json_also_from_a_terminal(located: Geocli, tmp_path: Path) -> None:
    """A table is for the terminal."""
    status, shown = on_terminal(located, "stats", "-o", str(tmp_path / "out.json"))

    assert (0, "") == (status, shown)
    assert [] == json.loads((tmp_path / "out.json").read_text())["top"]


def test_a_table_is_not_printed_where_a_file_was_asked_for(located: Geocli, tmp_path: Path) -> None:
    """`-o` with `-f table` writes the file, or says that it will not; it does not write elsewhere."""
    out = tmp_path / "out"
    run = located("stats", "-f", "table", "-o", str(out))

    assert b"" == run.stdout
    assert out.exists() or (run.returncode == 2 and complaint(run))


def test_a_directory_that_is_not_there_is_one_line(located: Geocli, tmp_path: Path) -> None:
    """The line names the file that the user named."""
    out = tmp_path / "no" / "geocli.prom"
    run = located("stats", "-f", "prometheus", "-o", str(out))

    assert 1 == run.returncode
    assert f"{out}: No such file or directory" == complaint(run)


def test_an_entry_without_a_place_has_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns are those that some row fills."""
    print_entries(
        [
            Entry(ip="10.0.0.1", status="special", scope="private", source="iana"),
            Entry(ip="81.2.69.160", status="resolved", place=Place(country_name="Malta")),
        ],
        None,
    )

    assert [
        ["ip", "status", "country_name", "source"],
        ["10.0.0.1", "special", "iana"],
        ["81.2.69.160", "resolved", "Malta"],
    ] == [words for words in _words(capsys.readouterr().out) if set(words[0]) - {"─"}]
