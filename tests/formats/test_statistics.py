"""Statistics as a table with bars and a map, as JSON, for Prometheus, and in files."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from geocli.databases.licences import ATTRIBUTIONS
from geocli.formats.database_list import print_databases
from geocli.formats.statistics import print_stats
from geocli.formats.terminal import AMBER, GREEN, RED
from geocli.stats import DatabaseStats, Stats
from geocli.storage.journal_reader import JournalStatus
from tests.helpers.command_output import complaint
from tests.helpers.databases import LONDON, build
from tests.helpers.stores import change
from tests.helpers.terminals import STYLE, on_terminal, words

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


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


def test_the_table_of_statistics(capsys: pytest.CaptureFixture[str]) -> None:
    """The table has rows by status, the journal, the last flush, databases with their ages, and bars with shares."""
    print_stats(_stats(), "table", None)
    actual = capsys.readouterr()

    assert [
        ["cache"],
        ["rows", "4"],
        ["resolved", "3", "75.0%"],
        ["special", "1", "25.0%"],
        ["dirty", "entries", "2"],
        ["size", "812", "bytes"],
        ["oldest", "2", "days", "ago"],
        ["quarantined", "7", "bytes"],
        ["last", "flush", "1", "min", "ago:", "4", "entries", "in", "0.0125", "s"],
        ["database", "built", "age", "size", "records", "path"],
        ["GeoLite2-City", "2026-04-22", "40", "days", "ago", "10", "bytes", "/x/City.mmdb"],
        ["broken", "/x/b.mmdb:", "empty"],
        ["country", "rows", "share"],
        ["GB", "United", "Kingdom", "3", "75.0%", "█" * 30],
        ["no", "country", "1", "25.0%", "█" * 10],
    ] == [words for words in words(actual.out) if set(words[0]) - {"─"}]
    assert "" == actual.err


def test_the_table_of_statistics_of_an_empty_cache(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty cache without databases has a table, too."""
    empty = JournalStatus(entries=0, size_bytes=0, oldest_at=None, segments=0, quarantined_bytes=0)
    print_stats(_stats(statuses={}, top=[], journal=empty, last_flush=None, databases=[]), "table", None)
    lines = [words for words in words(capsys.readouterr().out) if set(words[0]) - {"─"}]

    assert ["rows", "0"] in lines
    assert ["dirty", "entries", "0"] in lines
    assert ["rir", "built", "in:", "no", ".mmdb", "file", "was", "found"] in lines
    assert [] == [line for line in lines if line[0] in {"last", "oldest", "quarantined", "country"}]


def test_unreadable_figures_are_reported_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Errors are reported on standard error, a line each; the table has the rest."""
    print_stats(_stats(journal=None, problems=["/x/journal: gone", "/x/geocli.db: locked"]), "table", None)
    actual = capsys.readouterr()

    assert "geocli: /x/journal: gone\ngeocli: /x/geocli.db: locked\n" == actual.err
    assert "dirty entries" not in actual.out


def test_statistics_on_a_terminal_are_a_table(located: Geocli) -> None:
    """Output that does not go to a terminal is JSON."""
    located("lookup", "81.2.69.160")
    located("flush")
    status, shown = on_terminal(located, "stats")

    assert 0 == status
    assert ["GB", "United", "Kingdom", "1", "100.0%", "█" * 30] in words(shown)


def test_databases_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """The table has edition, build, age, size, and path or error; attributions are printed once each."""
    databases = [row.replace(attribution="Data by Somebody") for row in _stats().databases]
    print_databases(databases, NOW)
    header, _, first, second, *rest = words(capsys.readouterr().out)

    assert ["database", "built", "age", "size", "records", "path"] == header
    assert ["GeoLite2-City", "2026-04-22", "40", "days", "ago", "10", "bytes", "/x/City.mmdb"] == first
    assert ["broken", "/x/b.mmdb:", "empty"] == second
    assert ["Data by Somebody", ATTRIBUTIONS["rir"]] == [" ".join(line) for line in rest]


@pytest.mark.parametrize(("days", "colour"), [(0, GREEN), (31, GREEN), (32, AMBER), (35, AMBER), (36, RED)])
def test_the_age_of_a_database_has_a_colour(geocli: Geocli, days: int, colour: str) -> None:
    """A database is green while it is fresh, amber when an update is due, red when `--check` complains."""
    built = datetime.now(UTC) - timedelta(days=days, hours=1)
    build(geocli.db_dir / "City.mmdb", {"81.2.69.0/24": LONDON}, build_epoch=int(built.timestamp()))
    _, shown = on_terminal(geocli, "stats")
    age = f"{days} days ago" if days else "1 h ago"

    assert re.search(rf"\x1b\[38;5;{colour[6:-1]}m{age}", shown)


def test_bars_show_the_chosen_column(capsys: pytest.CaptureFixture[str]) -> None:
    """Autonomous systems are shown as AS numbers, with the name of the organisation if it is known."""
    print_stats(_stats(by="asn", top=[(64500, 3), (64501, 1)], organisations={64500: "[Example]"}), "table", None)
    actual = words(capsys.readouterr().out)

    assert ["AS64500", "[Example]", "3", "75.0%", "█" * 30] in actual
    assert ["AS64501", "1", "25.0%", "█" * 10] in actual


@pytest.mark.parametrize("width", [40, 80])
def test_statistics_fit_the_width(located: Geocli, width: int) -> None:
    """No label is cut off and no line is too long, with and without a map."""
    located("lookup", "81.2.69.160", "2001:218::1")
    located("flush")
    _, shown = on_terminal(located, "stats", "--map", environ={"COLUMNS": str(width)})
    lines = STYLE.sub("", shown).splitlines()

    assert width >= max(len(line.rstrip()) for line in lines)
    assert {"resolved", "special", "unresolved", "last", "GB", "JP"} <= {
        line.split()[0] for line in lines if line.split()
    }
    assert 2 == len(re.findall("●50%|50%●", shown))


def test_a_map_in_a_pipe_is_below_a_table(located: Geocli) -> None:
    """With --map, the output is a table even in a pipe."""
    located("lookup", "81.2.69.160")
    located("flush")
    run = located("stats", "--map", "--by", "asn")

    assert "●100%" in run.stdout.decode()
    assert "AS20712 Andrews & Arnold Ltd" in run.stdout.decode()


def test_an_ascii_terminal_gets_bars_and_a_map_of_its_own(located: Geocli) -> None:
    """Bars and map consist of ASCII characters."""
    located("lookup", "81.2.69.160")
    located("flush")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    _, shown = on_terminal(located, "stats", "--map", environ=plain)

    assert "#" * 30 in shown
    assert "o100%" in shown


@pytest.mark.parametrize("format_", ["json", "prometheus"])
def test_a_map_needs_a_table(located: Geocli, format_: str) -> None:
    """--map cannot be used with formats for programs."""
    run = located("stats", "--map", "-f", format_)

    assert (2, f"command line: --map: cannot be used with -f {format_}; it needs -f table") == (
        run.returncode,
        complaint(run),
    )


def test_statistics_as_json(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """JSON has all keys, and instants as strings."""
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
                "kind": None,
            },
            {
                "name": "broken",
                "path": "/x/b.mmdb",
                "size_bytes": 0,
                "built_at": None,
                "error": "/x/b.mmdb: empty",
                "attribution": None,
                "kind": None,
            },
        ],
        "by": "country",
        "top": [{"value": "GB", "entries": 3}, {"value": None, "entries": 1}],
        "problems": [],
    } == json.loads(capfdbinary.readouterr().out)


def test_statistics_as_json_with_unreadable_figures(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Keys of unreadable figures have null."""
    print_stats(_stats(journal=None, last_flush=None, problems=["/x: gone"]), "json", None)
    document = json.loads(capfdbinary.readouterr().out)

    assert (None, None, ["/x: gone"]) == (document["journal"], document["last_flush"], document["problems"])


@pytest.mark.parametrize("format_", ["json", "prometheus"])
def test_a_file_of_statistics_is_replaced_atomically(located: Geocli, tmp_path: Path, format_: str) -> None:
    """Standard output is empty, the old file is replaced, and no temporary file remains."""
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
    """The default format of a file is JSON, even on a terminal."""
    status, shown = on_terminal(located, "stats", "-o", str(tmp_path / "out.json"))

    assert (0, "") == (status, shown)
    assert [] == json.loads((tmp_path / "out.json").read_text())["top"]


def test_a_table_in_a_file_has_no_style(located: Geocli, tmp_path: Path) -> None:
    """A table in a file has no styles, and is as wide as its lines, even from a narrow terminal."""
    out = tmp_path / "out.txt"
    options = ("-f", "table", "--map", "-o", str(out))

    assert (0, "") == on_terminal(located, "stats", *options, environ={"COLUMNS": "40"})
    assert "\x1b" not in out.read_text()
    assert f"{located.db_dir}/GeoLite2-City.mmdb" in out.read_text()


def test_a_table_goes_to_the_file_alone(located: Geocli, tmp_path: Path) -> None:
    """`-o` with `-f table` writes the file, and nothing to standard output."""
    out = tmp_path / "out"
    run = located("stats", "-f", "table", "-o", str(out))

    assert b"" == run.stdout
    assert out.exists() or (run.returncode == 2 and complaint(run))


def test_a_missing_directory_is_one_line(located: Geocli, tmp_path: Path) -> None:
    """The error is one line with the path of the file."""
    out = tmp_path / "no" / "geocli.prom"
    run = located("stats", "-f", "prometheus", "-o", str(out))

    assert 1 == run.returncode
    assert f"{out}: No such file or directory" == complaint(run)


SAMPLE = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    r'(?:\{[a-zA-Z_][a-zA-Z0-9_]*="(?P<label>(?:[^"\\\n]|\\[\\"n])*)"\})?'
    r" (?P<number>[0-9.eE+-]+)"
)
"""A sample in Prometheus's text exposition format 0.0.4, whose label values have three escapes."""


def _samples(text: str) -> dict[tuple[str, str | None], float]:
    """Parse the text exposition format strictly: every sample belongs to the last metric that was declared."""
    assert text.endswith("\n")
    samples: dict[tuple[str, str | None], float] = {}
    help_name = type_name = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            help_name = line.split(" ", 3)[2]
        elif line.startswith("# TYPE "):
            type_name, kind = line.split(" ")[2:]
            assert (help_name, "gauge") == (type_name, kind)
        else:
            actual = SAMPLE.fullmatch(line)
            assert actual, line
            assert type_name == actual["name"]
            key = actual["name"].removeprefix("geocli_"), actual["label"]
            assert key not in samples
            samples[key] = float(actual["number"])
    return samples


def test_prometheus(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Every figure that monitoring needs has a stable name, in base units."""
    print_stats(_stats(), "prometheus", None)

    assert {
        ("cache_entries", "resolved"): 3,
        ("cache_entries", "special"): 1,
        ("journal_entries", None): 2,
        ("journal_bytes", None): 812,
        ("journal_oldest_timestamp_seconds", None): 1780142400,
        ("journal_quarantined_bytes", None): 7,
        ("flush_last_success_timestamp_seconds", None): 1780315140,
        ("flush_last_entries", None): 4,
        ("flush_last_duration_seconds", None): 0.0125,
        ("database_build_timestamp_seconds", "GeoLite2-City"): 1776859200,
    } == _samples(capfdbinary.readouterr().out.decode())


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (Debian's prometheus) is not installed")
@pytest.mark.parametrize("state", ["empty", "filled", "odd"])
def test_promtool_accepts_it(located: Geocli, tmp_path: Path, state: str) -> None:
    """Prometheus's own linter reports neither errors nor hints about the file for node_exporter."""
    if state != "empty":
        located("lookup", "81.2.69.160", "10.0.0.1")
        located("flush")
        located("lookup", "2001:218::1")
    if state == "odd":
        change(f"{located.data_dir}/geocli.db", """UPDATE geo_cache SET status = 'a"b\\c' || char(10) || char(27)""")
        (located.data_dir / "journal.bad").write_bytes(b"damaged")
        (located.db_dir / "GeoLite2-City.mmdb").rename(located.db_dir / 'a"b\\\n\x1b.mmdb')
    out = tmp_path / "geocli.prom"
    assert 0 == located("stats", "-f", "prometheus", "-o", str(out)).returncode
    checked = subprocess.run(["promtool", "check", "metrics"], input=out.read_bytes(), capture_output=True, check=False)

    assert (0, b"", b"") == (checked.returncode, checked.stdout, checked.stderr)
    assert (b"a\\" in out.read_bytes()) is (state == "odd")


def test_prometheus_omits_unreadable_figures(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A figure that cannot be read is omitted, since 0 would be wrong."""
    print_stats(_stats(journal=None, last_flush=None), "prometheus", None)
    names = {name for name, _ in _samples(capfdbinary.readouterr().out.decode())}

    assert {"cache_entries", "database_build_timestamp_seconds"} == names


@pytest.mark.parametrize(
    ("status", "label"),
    [('a"b', 'a\\"b'), ("a\\b", "a\\\\b"), ("a\nb", "a\\\\nb"), ("\x1b[31m", "\\\\x1b[31m"), ("é", "é")],
    ids=ascii,
)
def test_prometheus_reads_any_label(capfdbinary: pytest.CaptureFixture[bytes], status: str, label: str) -> None:
    """A row with an odd status, written by another program, does not make the metrics unreadable."""
    print_stats(_stats(statuses={status: 1}), "prometheus", None)

    assert 1 == _samples(capfdbinary.readouterr().out.decode())["cache_entries", label]
