"""`flush`, `re-resolve`, `stats`, `clear` and `db`, as run by people and cron."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from werkzeug import Response

from geocli.models import Entry
from geocli.storage.directory import DataDirectory
from geocli.storage.journal import Journal
from tests.helpers.command_output import complaint, complaints
from tests.helpers.data_directories import dirty, stored_rows
from tests.helpers.databases import CITIES, LONDON, TOKYO, build
from tests.helpers.locks import locked_file
from tests.helpers.terminals import STYLE, on_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_httpserver import HTTPServer

    from tests.helpers.geocli_process import Geocli

SILENT = (0, b"", b"")
OLD_EPOCH = 1_600_000_000
"""A build time in September 2020."""


def _outcome(geocli: Geocli, *arguments: str, **environ: str) -> tuple[int, bytes, bytes]:
    run = geocli(*arguments, environ=environ)
    return run.returncode, run.stdout, run.stderr


def _json(geocli: Geocli, *arguments: str) -> Any:
    run = geocli(*arguments)
    assert (0, b"") == (run.returncode, run.stderr)
    return json.loads(run.stdout)


def _store_unresolved(geocli: Geocli) -> None:
    """Store an address that is not in the City database as unresolved."""
    geocli("lookup", "--db", str(geocli.db_dir / "GeoLite2-City.mmdb"), "8.8.8.8")
    geocli("flush")
    assert [("unresolved",)] == stored_rows(geocli, "status")


# flush


def test_flush_is_silent(located: Geocli) -> None:
    """Flush is silent when idle, when it stores entries, and when it is idle again."""
    assert SILENT == _outcome(located, "flush")
    located("lookup", "81.2.69.160")
    assert SILENT == _outcome(located, "flush")
    assert SILENT == _outcome(located, "flush")
    assert [("81.2.69.160",)] == stored_rows(located)


def test_flush_as_json(located: Geocli) -> None:
    """The report is an object with four documented keys, also when idle."""
    keys = ["flushed", "segments", "dropped_bytes", "duration_seconds"]
    idle = _json(located, "flush", "--json")
    located("lookup", "81.2.69.160", "98.0.0.1")
    busy = _json(located, "flush", "--json")

    assert [keys, keys] == [list(idle), list(busy)]
    assert [(0, 0, 0), (2, 1, 0)] == [
        (report["flushed"], report["segments"], report["dropped_bytes"]) for report in (idle, busy)
    ]
    assert 0 <= busy["duration_seconds"] < 60


@pytest.mark.parametrize("arguments", [("flush",), ("flush", "--wait", "0")])
def test_flush_prints_a_report_on_a_terminal(located: Geocli, arguments: tuple[str, ...]) -> None:
    """On a terminal, a flush prints one line."""
    located("lookup", "81.2.69.160")
    status, shown = on_terminal(located, *arguments)

    assert 0 == status
    assert re.fullmatch(r"1 entries flushed in [0-9.]+ s\n", shown)


@pytest.mark.parametrize("arguments", [("flush",), ("flush", "--json"), ("-v", "flush")])
def test_a_second_flush_at_the_same_time_is_silent(located: Geocli, arguments: tuple[str, ...]) -> None:
    """Cron's flushes may overlap; dirty entries stay for the one that is running, or for the next."""
    located("lookup", "81.2.69.160")
    with locked_file(located.data_dir / "flush.lock"):
        assert SILENT == _outcome(located, *arguments)

    assert ["81.2.69.160"] == [entry.ip for entry in dirty(located)]


def test_flush_waits_as_long_as_it_is_told(located: Geocli) -> None:
    """Then the error names the lock, and the exit status is 75."""
    located("lookup", "81.2.69.160")
    lock = located.data_dir / "flush.lock"
    with locked_file(lock):
        run = located("flush", "--wait", "0.03")

    assert (75, b"") == (run.returncode, run.stdout)
    assert f"{lock}: busy: another process held it for 0.03 s; try again later" == complaint(run)


def test_flush_waits_for_another_one(located: Geocli) -> None:
    """A flush that waits runs after the other one."""
    located("lookup", "81.2.69.160")
    with locked_file(located.data_dir / "flush.lock"):
        process = located.start("flush", "--wait", "60")
    with process:
        assert (b"", b"") == process.communicate(timeout=60)

    assert 0 == process.returncode
    assert [("81.2.69.160",)] == stored_rows(located)


def test_flush_of_a_locked_store_exits_75(located: Geocli) -> None:
    """Entries stay in the journal, lookups continue, and the next flush stores all entries."""
    located("lookup", "81.2.69.160")
    located("flush")
    located("lookup", "98.0.0.1")
    store = located.data_dir / "geocli.db"
    with closing(sqlite3.connect(store, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        run = located("flush", environ={"GEOCLI_BUSY_TIMEOUT": "0.02"})
        meanwhile = located("lookup", "-f", "value", "81.2.69.160")

    assert (75, b"") == (run.returncode, run.stdout)
    assert f"{store}: busy: another process held it for 0.02 s; try again later" == complaint(run)
    assert (0, b"GB\n", b"") == (meanwhile.returncode, meanwhile.stdout, meanwhile.stderr)
    assert SILENT == _outcome(located, "flush")
    assert [("81.2.69.160",), ("98.0.0.1",)] == stored_rows(located)


def test_a_store_of_a_newer_geocli_is_not_touched(located: Geocli) -> None:
    """Flush fails with exit status 4 and a reason; lookups report it, too, and still answer."""
    located("lookup", "81.2.69.160")
    located("flush")
    store = located.data_dir / "geocli.db"
    with closing(sqlite3.connect(store)) as db:
        db.execute("PRAGMA user_version = 99")
    located("lookup", "98.0.0.1")
    run, lookup = located("flush"), located("lookup", "-f", "value", "98.0.0.1")

    assert 4 == run.returncode
    assert re.fullmatch(rf"{store}: written by a newer geocli \(schema 99, .*\); update geocli", complaint(run))
    assert (0, b"US\n", complaint(run)) == (lookup.returncode, lookup.stdout, complaint(lookup))
    assert [("81.2.69.160",)] == stored_rows(located)
    assert "98.0.0.1" in {entry.ip for entry in dirty(located)}


def test_flush_warns_of_damage_and_quarantines_it(located: Geocli) -> None:
    """Invalid bytes go to journal.bad, and their number is reported; valid entries are stored."""
    located("lookup", "81.2.69.160")
    with open(located.data_dir / "journal", "ab") as journal:
        journal.write(b"garbage\n")
    run = located("flush")

    assert (0, b"") == (run.returncode, run.stdout)
    assert f"{located.data_dir}/journal.bad: 8 damaged bytes were quarantined" == complaint(run)
    assert b"garbage\n" == (located.data_dir / "journal.bad").read_bytes()
    assert [("81.2.69.160",)] == stored_rows(located)


# re-resolve


def test_re_resolve_has_nothing_to_do(located: Geocli) -> None:
    """Without a store, and with fresh rows, it is silent."""
    assert SILENT == _outcome(located, "re-resolve")
    located("lookup", "81.2.69.160", "10.0.0.1")
    located("flush")
    assert {"retried": 0, "found": 0, "changed": 0, "unknown": 0} == _json(located, "re-resolve", "--json")


def test_re_resolve_refreshes_rows_of_an_older_build(located: Geocli) -> None:
    """When a database is replaced, its rows are resolved again and stored."""
    located("lookup", "81.2.69.160")
    located("flush")
    build(located.db_dir / "GeoLite2-City.mmdb", {"81.2.69.0/24": TOKYO}, build_epoch=1_790_000_000)

    assert {"retried": 1, "found": 0, "changed": 1, "unknown": 0} == _json(located, "re-resolve", "--json")
    assert [("JP", "Tokyo")] == stored_rows(located, "country_code, city")
    assert {"retried": 0, "found": 0, "changed": 0, "unknown": 0} == _json(located, "re-resolve", "--json")


def test_re_resolve_finds_unresolved_addresses(located: Geocli) -> None:
    """With `--unresolved`, rows are resolved before their retry time."""
    _store_unresolved(located)

    assert {"retried": 1, "found": 1, "changed": 0, "unknown": 0} == _json(
        located, "re-resolve", "--unresolved", "--json"
    )
    assert [("resolved", "US", None)] == stored_rows(located, "status, country_code, retry_at")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "retried"),
    [
        ((), 0),
        (("--all",), 3),
        (("--all", "--limit", "1"), 1),
        (("--all", "--limit", "0"), 0),
        (("--older-than", "30d"), 0),
        (("--older-than", "380000d"), 0),
        (("--older-than", "9999999d"), 0),
        (("--older-than", "0s"), 3),
        (("--unresolved",), 0),
    ],
)
def test_re_resolve_chooses_rows(located: Geocli, arguments: tuple[str, ...], retried: int) -> None:
    """Special addresses are included, since a database may have a record for them."""
    located("lookup", "81.2.69.160", "98.0.0.1", "10.0.0.1")
    located("flush")

    assert retried == _json(located, "re-resolve", "--json", *arguments)["retried"]


def test_a_dry_run_asks_no_source(located: Geocli) -> None:
    """A dry run prints the number of rows, and changes nothing."""
    _store_unresolved(located)
    run = located("re-resolve", "--dry-run", "--unresolved")

    assert (0, b"") == (run.returncode, run.stdout)
    assert b"1 would be retried\n" == run.stderr
    assert ([("unresolved",)], []) == (stored_rows(located, "status"), dirty(located))


def test_no_flush_leaves_the_answers_in_the_journal(located: Geocli) -> None:
    """`--no-flush` is for installations that flush every minute."""
    _store_unresolved(located)
    assert SILENT == _outcome(located, "re-resolve", "--unresolved", "--no-flush")

    assert [("8.8.8.8", "resolved")] == [(entry.ip, entry.status) for entry in dirty(located)]
    assert [("unresolved",)] == stored_rows(located, "status")


def test_re_resolve_prints_a_report(located: Geocli) -> None:
    """On a terminal, or with -v, a report is printed."""
    _store_unresolved(located)
    status, shown = on_terminal(located, "re-resolve", "--unresolved")

    assert (0, "1 retried, 1 found, 0 changed, 0 still unknown\n") == (status, shown)
    assert located("-v", "re-resolve").stderr.endswith(b"0 retried, 0 found, 0 changed, 0 still unknown\n")


def test_choices_that_contradict_each_other(located: Geocli) -> None:
    """At most one of the rows is resolved."""
    run = located("re-resolve", "--all", "--older-than", "1d")

    assert 2 == run.returncode
    assert "command line: --unresolved, --older-than, --all: choose one of them" == complaint(run)


@pytest.mark.parametrize("damage", ["damaged", "empty"])
def test_a_failing_database_never_erases_a_good_answer(located: Geocli, damage: str) -> None:
    """A row that City answered keeps its city while the file is broken, and the problem is reported."""
    located("lookup", "81.2.69.160")
    located("flush")
    (located.db_dir / "GeoLite2-City.mmdb").write_bytes(b"" if damage == "empty" else b"<html>")
    run = located("re-resolve", "--all")

    assert complaint(run).startswith(f"{located.db_dir}/GeoLite2-City.mmdb: ")
    assert [("GB", "London")] == stored_rows(located, "country_code, city")


@pytest.mark.parametrize("arguments", [("re-resolve",), ("re-resolve", "--all")])
def test_re_resolve_of_an_invalid_store_is_one_line(located: Geocli, arguments: tuple[str, ...]) -> None:
    """The error is one line, with exit status 4."""
    located.data_dir.mkdir(mode=0o700)
    (located.data_dir / "geocli.db").write_bytes(b"no database at all" * 100)
    run = located(*arguments)

    assert (4, b"") == (run.returncode, run.stdout)
    assert complaint(run).startswith(f"{located.data_dir}/geocli.db: file is not a database")


# stats


def test_stats_has_its_keys(located: Geocli) -> None:
    """Before the first lookup, a monitor finds all keys."""
    before = _json(located, "stats")
    located("lookup", "81.2.69.160", "10.0.0.1")
    located("flush")
    located("lookup", "98.0.0.1")
    after = _json(located, "stats")

    keys = ["entries", "journal", "last_flush", "databases", "by", "top", "problems"]
    assert [keys, keys] == [list(before)[: len(keys)], list(after)[: len(keys)]]
    assert ({}, None, [], 0) == (
        {name: number for name, number in before["entries"].items() if number},
        before["last_flush"],
        before["top"],
        before["journal"]["entries"],
    )
    assert {"resolved": 1, "special": 1} == {name: number for name, number in after["entries"].items() if number}
    assert ["entries", "size_bytes", "oldest_at", "segments", "quarantined_bytes"] == list(after["journal"])
    assert (1, 0, 0) == tuple(after["journal"][name] for name in ("entries", "segments", "quarantined_bytes"))
    assert ["finished_at", "entries", "duration_seconds"] == list(after["last_flush"])
    assert 2 == after["last_flush"]["entries"]
    assert ["GeoLite2-City", "GeoLite2-ASN"] == [row["name"] for row in after["databases"]]
    assert ["name", "path", "size_bytes", "built_at", "error", "attribution", "kind"] == list(after["databases"][0])
    assert [] == after["problems"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), [("GB", 2), ("JP", 1), ("US", 1)]),
        (("--by", "country", "--top", "1"), [("GB", 2)]),
        (("--by", "asn"), [(20712, 2), (None, 1), (2914, 1)]),
        (("--by", "city"), [("London", 2), ("Tokyo", 1), ('Winston, "Salem"', 1)]),
        (("--by", "source", "--top", "5"), [("GeoLite2-City+GeoLite2-ASN", 3), ("GeoLite2-City", 1)]),
        (("--top", "0"), []),
    ],
)
def test_stats_counts_by(located: Geocli, arguments: tuple[str, ...], expected: list[tuple[object, int]]) -> None:
    """Values are sorted by count, then by name."""
    located("lookup", "81.2.69.160", "81.2.69.161", "2001:218::1", "98.0.0.1")
    located("flush")
    actual = _json(located, "stats", *arguments)

    assert expected == [(row["value"], row["entries"]) for row in actual["top"]]


def _check(geocli: Geocli, *arguments: str) -> list[str]:
    """Return the reasons that `stats --check` prints, and check its exit status."""
    run = geocli("stats", "--check", *arguments)
    reasons = [line for line in complaints(run) if not line.startswith("note: ")]
    assert (1 if reasons else 0, b"") == (run.returncode, run.stdout)
    return reasons


def test_check_is_silent_when_all_is_well(geocli: Geocli) -> None:
    """A cache is healthy before the first lookup, with fresh dirty entries and databases, and after a flush."""
    assert [] == _check(geocli)
    build(geocli.db_dir / "City.mmdb", CITIES)
    geocli("lookup", "81.2.69.160")
    assert [] == _check(geocli)
    geocli("flush")
    assert [] == _check(geocli)


def test_check_finds_a_journal_that_is_not_flushed(geocli: Geocli) -> None:
    """Entries older than five minutes, or than `--max-lag`, are unhealthy."""
    at = (datetime.now(UTC) - timedelta(hours=1)).replace(microsecond=0)
    journal = Journal(DataDirectory(str(geocli.data_dir)))
    journal.append([Entry(ip="81.2.69.160", status="resolved", resolved_at=at)])
    reason = f"the journal was last flushed before {at:%Y-%m-%dT%H:%M:%SZ}; does cron run geocli flush?"

    assert [reason] == _check(geocli)
    assert [reason] == _check(geocli, "--max-lag", "59m")
    assert [] == _check(geocli, "--max-lag", "2h")


def test_check_finds_quarantined_bytes(geocli: Geocli) -> None:
    """Quarantined bytes are unhealthy until they are removed."""
    geocli.data_dir.mkdir(mode=0o700)
    (geocli.data_dir / "journal.bad").write_bytes(b"x" * 12)

    assert ["12 damaged bytes are in journal.bad; check the disk, then delete the file"] == _check(geocli)


def test_check_finds_old_and_damaged_databases(geocli: Geocli) -> None:
    """Each is named by its path, with a remedy."""
    old = build(geocli.db_dir / "old.mmdb", CITIES, build_epoch=OLD_EPOCH)
    (geocli.db_dir / "empty.mmdb").touch()

    assert {
        f"{old}: built on 2020-09-13, older than 35 days; perhaps: geocli db update",
        f"{geocli.db_dir}/empty.mmdb: empty",
    } == set(_check(geocli))


def test_check_finds_an_unreadable_store(geocli: Geocli) -> None:
    """A problem is printed once, however many figures it concerns."""
    geocli.data_dir.mkdir(mode=0o700)
    (geocli.data_dir / "geocli.db").write_bytes(b"no database at all" * 100)
    (reason,) = _check(geocli)

    assert reason.startswith(f"{geocli.data_dir}/geocli.db: file is not a database")


def test_stats_show_the_readable_figures(geocli: Geocli) -> None:
    """The problems are in the JSON, and the keys stay."""
    geocli("lookup", "8.8.8.8")
    (geocli.data_dir / "geocli.db").write_bytes(b"no database at all" * 100)
    actual = json.loads(geocli("stats").stdout)

    assert (1, None, []) == (actual["journal"]["entries"], actual["last_flush"], actual["top"])
    assert 1 == len(actual["problems"])


def test_an_invalid_lag(geocli: Geocli) -> None:
    """The error is one line, with exit status 2."""
    run = geocli("stats", "--check", "--max-lag", "soon")

    assert 2 == run.returncode
    assert "command line: soon: not a duration like 30d, 12h, 90m or 45s" == complaint(run)


# clear


def test_clear_needs_a_selection(located: Geocli) -> None:
    """Without options nothing is deleted."""
    located("lookup", "81.2.69.160")
    located("flush")
    run = located("clear")

    assert (2, b"") == (run.returncode, run.stdout)
    assert (
        "command line: clear: choose rows with --unresolved or --older-than AGE, or delete all with --yes"
        == complaint(run)
    )
    assert [("81.2.69.160",)] == stored_rows(located)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (("--yes",), []),
        (("--unresolved",), ["81.2.69.160"]),
        (("--unresolved", "--yes"), ["81.2.69.160"]),
        (("--older-than", "90d"), ["8.8.8.8", "81.2.69.160"]),
        (("--older-than", "380000d"), ["8.8.8.8", "81.2.69.160"]),
        (("--older-than", "9999999d"), ["8.8.8.8", "81.2.69.160"]),
        (("--older-than", "90d", "--unresolved"), ["8.8.8.8", "81.2.69.160"]),
    ],
)
def test_clear_deletes_rows_and_prints_their_number(
    located: Geocli, arguments: tuple[str, ...], left: list[str]
) -> None:
    """Dirty entries are deleted, too: the journal is flushed first."""
    _store_unresolved(located)
    located("lookup", "81.2.69.160")
    run = located("clear", *arguments)

    assert (0, f"{2 - len(left)} rows deleted\n".encode(), b"") == (run.returncode, run.stdout, run.stderr)
    assert (left, []) == ([ip for (ip,) in stored_rows(located)], dirty(located))


def test_clear_deletes_old_rows(located: Geocli) -> None:
    """Rows resolved longer ago than the age are deleted."""
    located("lookup", "81.2.69.160", "98.0.0.1")
    located("flush")
    with closing(sqlite3.connect(located.data_dir / "geocli.db")) as db, db:
        db.execute("UPDATE geo_cache SET resolved_at = '2020-01-01T00:00:00Z' WHERE ip = '98.0.0.1'")

    assert (0, b"1 rows deleted\n", b"") == _outcome(located, "clear", "--older-than", "2w")
    assert [("81.2.69.160",)] == stored_rows(located)


def test_clear_without_a_store(geocli: Geocli) -> None:
    """Nothing is deleted, and no file is created."""
    assert (0, b"0 rows deleted\n", b"") == _outcome(geocli, "clear", "--yes")
    assert not geocli.data_dir.exists()


def test_clear_waits_for_a_flush(located: Geocli) -> None:
    """Clear waits for the lock, and gives up with exit status 75."""
    located("lookup", "81.2.69.160")
    located("flush")
    with locked_file(located.data_dir / "flush.lock"):
        run = located("clear", "--yes", environ={"GEOCLI_LOCK_TIMEOUT": "0.02"})

    assert (75, b"") == (run.returncode, run.stdout)
    assert "flush.lock: busy: " in complaint(run)
    assert [("81.2.69.160",)] == stored_rows(located)


# db


def test_db_list_has_the_order_in_which_databases_are_asked(located: Geocli, tmp_path: Path) -> None:
    """Directories in order, and in each the richest database first; damaged files are last, with the reason."""
    first = tmp_path / "first"
    first.mkdir()
    build(first / "x.mmdb", {"81.2.69.0/24": LONDON}, edition="DBIP-Country-Lite", build_epoch=OLD_EPOCH)
    (located.db_dir / "broken.mmdb").touch()
    run = located("db", "list", environ={"GEOCLI_DB_DIR": f"{first}:{located.db_dir}"})
    actual = json.loads(run.stdout)

    assert (0, b"") == (run.returncode, run.stderr)
    assert ["DBIP-Country-Lite", "GeoLite2-City", "GeoLite2-ASN", "broken"] == [row["name"] for row in actual]
    assert {
        "name": "DBIP-Country-Lite",
        "path": str(first / "x.mmdb"),
        "size_bytes": (first / "x.mmdb").stat().st_size,
        "built_at": "2020-09-13T12:26:40Z",
        "error": None,
        "attribution": "IP geolocation by DB-IP (https://db-ip.com), CC BY 4.0",
        "kind": "map",
    } == actual[0]
    maxminds = "This product includes GeoLite data created by MaxMind, available from https://www.maxmind.com"
    assert [maxminds, maxminds, None] == [row["attribution"] for row in actual[1:]]
    assert f"{located.db_dir}/broken.mmdb: empty" == actual[3]["error"]


def test_db_list_on_a_terminal(located: Geocli) -> None:
    """The table mentions the built-in data where no database is installed."""
    _, with_some = on_terminal(located, "db", "list")
    for path in located.db_dir.iterdir():
        path.unlink()
    _, with_none = on_terminal(located, "db", "list")

    assert str(located.db_dir / "GeoLite2-ASN.mmdb") in with_some
    assert "built in: no .mmdb file was found" in STYLE.sub("", with_none)
    assert b"[]\n" == located("db", "list").stdout


def test_db_verify_reads_all_databases(located: Geocli) -> None:
    """Each database has a line on standard output."""
    run = located("db", "verify")

    assert (0, b"") == (run.returncode, run.stderr)
    assert [
        f"{located.db_dir}/GeoLite2-City.mmdb: 3 networks, sound; records: map",
        f"{located.db_dir}/GeoLite2-ASN.mmdb: 2 networks, sound; records: map",
    ] == run.stdout.decode().splitlines()


def test_db_verify_compares_with_the_hash(located: Geocli) -> None:
    """A file that is not the installed one is reported, with both hashes; the others are still checked."""
    city, asn = (located.db_dir / f"GeoLite2-{name}.mmdb" for name in ("City", "ASN"))
    actual = hashlib.sha256(city.read_bytes()).hexdigest()
    (located.db_dir / "GeoLite2-City.mmdb.sha256").write_text(f"{'0' * 64}  GeoLite2-City.mmdb\n")
    digest = hashlib.sha256(asn.read_bytes()).hexdigest()
    (located.db_dir / "GeoLite2-ASN.mmdb.sha256").write_text(f"{digest}  GeoLite2-ASN.mmdb\n")
    run = located("db", "verify", str(city), str(asn))

    assert (3, f"{asn}: 2 networks, sound; records: map\n".encode()) == (run.returncode, run.stdout)
    assert f"{city}: SHA-256 is {actual}, expected {'0' * 64}" == complaint(run)


def test_db_verify_finds_damage(located: Geocli) -> None:
    """Files that were not named are checked, too."""
    (located.db_dir / "broken.mmdb").write_bytes(b"<html>")
    run = located("db", "verify")

    assert (3, 2) == (run.returncode, run.stdout.count(b" networks, sound; records: map\n"))
    assert complaint(run).startswith(f"{located.db_dir}/broken.mmdb: not a readable MaxMind DB")


@pytest.fixture
def mirror(geocli: Geocli, httpserver: HTTPServer, tmp_path: Path) -> Geocli:
    """Run geocli with a mirror of DB-IP on loopback, which serves a City database, once."""
    source = build(tmp_path / "source.mmdb", {"8.8.8.0/24": LONDON}, edition="DBIP-City-Lite")
    path = re.compile(r"/free/dbip-city-lite-\d{4}-\d{2}\.mmdb\.gz")
    validators = {"Last-Modified": "Mon, 01 Jun 2026 00:00:00 GMT"}
    httpserver.expect_request(path, headers={"If-Modified-Since": validators["Last-Modified"]}).respond_with_response(
        Response(status=304)
    )
    httpserver.expect_request(path).respond_with_data(gzip.compress(source.read_bytes()), headers=validators)
    config = tmp_path / "config.toml"
    config.write_text(f'system_databases = false\ndbip_url = "{httpserver.url_for("/free")}"\n')
    return geocli


def test_db_update_installs_a_database(mirror: Geocli) -> None:
    """A database is installed silently, with its hash, in the first directory; lookups use it, verify accepts it."""
    assert SILENT == _outcome(mirror, "db", "update", "dbip-city-lite")
    installed = mirror.db_dir / "dbip-city-lite.mmdb"
    digest = hashlib.sha256(installed.read_bytes()).hexdigest()

    assert f"{digest}  dbip-city-lite.mmdb\n" == (mirror.db_dir / "dbip-city-lite.mmdb.sha256").read_text()
    assert b"London\n" == mirror("lookup", "-f", "value", "-F", "city", "8.8.8.8").stdout
    assert 0 == mirror("db", "verify").returncode
    assert not [path for path in mirror.db_dir.iterdir() if path.name.endswith(".part")]


def test_db_update_downloads_nothing_that_is_unchanged(mirror: Geocli) -> None:
    """Without names, installed databases are updated; an unchanged file is not replaced."""
    mirror("db", "update", "dbip-city-lite")
    inode = (mirror.db_dir / "dbip-city-lite.mmdb").stat().st_ino

    assert SILENT == _outcome(mirror, "db", "update")
    assert inode == (mirror.db_dir / "dbip-city-lite.mmdb").stat().st_ino


def test_db_update_prints_a_report_with_attributions(mirror: Geocli) -> None:
    """The attribution that the licence requires is printed."""
    attribution = "IP geolocation by DB-IP (https://db-ip.com), CC BY 4.0"
    first = mirror("-v", "db", "update", "dbip-city-lite")
    status, second = on_terminal(mirror, "db", "update", "dbip-city-lite")

    assert (0, b"") == (first.returncode, first.stdout)
    assert first.stderr.decode().endswith(f"dbip-city-lite replaced\n{attribution}\n")
    assert (0, "nothing replaced\n") == (status, second)


def test_db_update_of_a_missing_file(mirror: Geocli, httpserver: HTTPServer) -> None:
    """The error is one line with the URL; the directory is unchanged."""
    httpserver.expect_request(re.compile("/free/dbip-asn-.*")).respond_with_data(status=404)
    run = mirror("db", "update", "dbip-asn-lite")

    assert (3, b"") == (run.returncode, run.stdout)
    assert re.fullmatch(r"http://\S+/free/dbip-asn-lite-\d{4}-\d{2}\.mmdb\.gz: HTTP 404", complaint(run))
    assert [] == list(mirror.db_dir.glob("*.mmdb*"))


def test_db_update_of_an_unknown_name(geocli: Geocli) -> None:
    """An unknown name is wrong usage; the message lists the known ones."""
    run = geocli("db", "update", "dbip-moon-lite")

    assert (2, b"") == (run.returncode, run.stdout)
    assert complaint(run).startswith(
        "command line: dbip-moon-lite: unknown database; known: dbip-city-lite, dbip-country-lite, "
    )


def test_a_removed_database_is_no_longer_listed(located: Geocli) -> None:
    """The list has the databases that exist now."""
    for path in located.db_dir.iterdir():
        path.unlink()

    assert [] == _json(located, "db", "list")
