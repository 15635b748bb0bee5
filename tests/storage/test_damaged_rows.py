"""Rows of the store that another program or a damaged disk has changed: each is reported, and the rest is read."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from geocli.cache import GeoCache
from geocli.errors import StoreError
from geocli.storage.frames import encode, pack
from geocli.storage.store import Store
from geocli.storage.store_rows import COLUMNS, MAX_DEPTH
from tests.helpers.command_output import complaints, objects
from tests.helpers.data_directories import stored_rows
from tests.helpers.entries import resolved
from tests.helpers.geocli_process import Geocli

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

BAD, GOOD = "8.8.8.8", "1.1.1.1"
WRONG = {
    "prefix of the other family": ("prefix_len", "33", "prefix_len is 33"),
    "negative prefix": ("prefix_len", "-1", "prefix_len is -1"),
    "huge prefix": ("prefix_len", "1 << 62", "prefix_len is 4611686018427387904"),
    "prefix in words": ("prefix_len", "'x'", "prefix_len is 'x'"),
    "traits cut short": ("traits", "'{'", "traits are not JSON: '{'"),
    "list of traits": ("traits", "'[1]'", "traits are not a JSON object: '[1]'"),
    "traits in words": ("traits", "'\"text\"'", "traits are not a JSON object: '\"text\"'"),
    "deep traits": ("traits", f"'{{\"a\":{'[' * 50}{']' * 50}}}'", f"traits are nested more than {MAX_DEPTH} deep"),
    "abysmal traits": ("traits", f"'{'[' * 100_000}'", f"traits are not JSON: '{'[' * 39}"),
    "infinite traits": ("traits", "'{\"a\":1e999}'", "traits contain inf"),
    "half a character": ("traits", '\'{"a":"\\ud800"}\'', "its text is not UTF-8"),
    "bytes": ("city", "x'ff'", r"city is b'\xff'"),
    "text that is not UTF-8": ("city", "CAST(x'ff41' AS TEXT)", "its text is not UTF-8"),
    "latitude beyond the pole": ("latitude", "90.5", "latitude is 90.5"),
    "infinite longitude": ("longitude", "1e999", "longitude is inf"),
    "number in words": ("asn", "'AS1'", "asn is 'AS1'"),
    "no status": ("status", "''", "status is ''"),
    "time in words": ("resolved_at", "'today'", "resolved_at is 'today': Invalid isoformat string: 'today'"),
    "time without a zone": ("built_at", "'2026-01-01'", "built_at is '2026-01-01': '2026-01-01' has no time zone"),
    "time as a number": ("retry_at", "5", "retry_at is '5': Invalid isoformat string: '5'"),
}
COMMANDS: dict[str, tuple[tuple[str, ...], int]] = {
    "lookup": (("lookup", BAD, GOOD), 0),
    "cached-only": (("lookup", "--cached-only", BAD, GOOD), 1),
    "batch": (("batch", "--cached-only", "-f", "jsonl", "{list}"), 0),
    "re-resolve": (("re-resolve", "--all"), 0),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a store with two answers, once."""
    geocli = Geocli(tmp_path_factory.mktemp("template"))
    assert 0 == geocli("lookup", BAD, GOOD).returncode
    assert 0 == geocli("flush").returncode
    return geocli.data_dir


@pytest.fixture
def filled(geocli: Geocli, template: Path) -> Geocli:
    """Return geocli with two answers in the store."""
    shutil.copytree(template, geocli.data_dir)
    (geocli.data_dir.parent / "list").write_text(f"{BAD}\n{GOOD}\n")
    return geocli


def damage(geocli: Geocli, wrong: str) -> str:
    """Change a row, and return the expected message."""
    column, value, reason = WRONG[wrong]
    change(geocli.data_dir / "geocli.db", f"UPDATE geo_cache SET {column} = {value} WHERE ip = '{BAD}'")
    return f"{geocli.data_dir}/geocli.db: unreadable row: {BAD}: {reason}"


def change(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(sql)


@pytest.mark.parametrize("wrong", WRONG)
def test_bad_row_is_reported_and_the_rest_is_read(filled: Geocli, wrong: str) -> None:
    """A row that cannot be read is reported with the reason, and treated as missing.

    `re-resolve` replaces it with a new answer.
    """
    columns = ", ".join({*COLUMNS} - {"resolved_at"})
    before, expected = stored_rows(filled, columns), damage(filled, wrong)
    problems: list[str] = []
    with GeoCache(settings=filled.settings(), on_problem=lambda problem: problems.append(str(problem))) as cache:
        only = {entry.ip: entry.place.country_code for entry in cache.lookup_batch([BAD, GOOD], mode="cached-only")}
        assert {BAD: None, GOOD: "AU"} == only
        assert 1 == cache.load_from_db()
        assert 2 == cache.re_resolve("all").retried
        assert {True} == {text.startswith(expected) for text in problems}
        problems.clear()
        assert before == stored_rows(filled, columns)
        assert {BAD, GOOD} == set(cache.lookup_cached_only([BAD, GOOD]))
    assert [] == problems


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("wrong", ["prefix of the other family", "deep traits", "text that is not UTF-8"])
def test_command_continues(filled: Geocli, wrong: str, command: str) -> None:
    """It prints one message, and does its work."""
    expected = damage(filled, wrong)
    arguments, status = COMMANDS[command]

    ran = filled(*(argument.format(list=filled.data_dir.parent / "list") for argument in arguments))

    assert [expected] == complaints(ran)
    assert status == ran.returncode
    if command != "re-resolve":
        actual = {entry["ip"]: entry for entry in objects(ran.stdout)}
        assert ("AU", True) == (actual[GOOD]["country_code"], actual[GOOD]["cached"])
        assert ("US" if command == "lookup" else None) == actual[BAD]["country_code"]


@pytest.mark.parametrize("column", ["status", "country_code", "asn", "city", "source"])
def test_text_that_is_not_utf8_is_counted(filled: Geocli, column: str) -> None:
    """Statistics include rows with invalid text, which SQLite reports as an error of the whole statement."""
    change(filled.data_dir / "geocli.db", f"UPDATE geo_cache SET {column} = CAST(x'ff41' AS TEXT) WHERE ip = '{BAD}'")

    with GeoCache(settings=filled.settings()) as cache:
        for by in ("country", "asn", "city", "source"):
            counted = cache.stats(by=by)

            assert [] == counted.problems
            assert 2 == sum(counted.statuses.values()) == sum(number for _, number in counted.top)
            assert "?A" in {*counted.statuses, *(value for value, _ in counted.top)} or not column.startswith(by)


def test_every_bad_row_is_reported(filled: Geocli) -> None:
    """Of several bad rows each is reported, once per command."""
    change(filled.data_dir / "geocli.db", "UPDATE geo_cache SET traits = '['")

    messages = complaints(filled("lookup", BAD, GOOD, BAD))

    assert [f"unreadable row: {ip}: traits are not JSON: '['" for ip in (GOOD, BAD)] == sorted(
        line.partition(": ")[2] for line in messages
    )


def test_bad_row_is_an_error_without_a_callback(filled: Geocli) -> None:
    """Without a callback for problems, a bad row raises an error, instead of a silently missing answer."""
    damage(filled, "traits cut short")
    problems: list[StoreError] = []
    with closing(Store(str(filled.data_dir / "geocli.db"))) as store:
        with pytest.raises(StoreError, match=rf"unreadable row: {BAD}: "):
            store.get([BAD, GOOD])
        assert {GOOD} == set(store.get([BAD, GOOD], problems.append))
    assert [BAD] == [error.row for error in problems]


@pytest.mark.parametrize(
    ("rows", "traits"),
    [
        (f'["{BAD}",0,24]', f'{{"a":{"[" * 50}{"]" * 50}}}'),
        (f'["{BAD}",0,24]', f'{{"a":{"[" * 100_000}{"]" * 100_000}}}'),
        (f'["{BAD}",0,24]', '{"a":1e999}'),
        (f'["{BAD}",0,24]', "[1]"),
    ],
)
def test_bad_record_of_the_journal_is_quarantined(filled: Geocli, rows: str, traits: str) -> None:
    """A record that geocli never writes stops no command; it is quarantined, and all others are stored."""
    place = f'{{"status":"resolved","country_code":"FR","traits":{traits}}}'
    payload = f'{{"at":"2026-06-01T12:00:00Z","generation":"x","places":[{place}],"rows":[{rows}]}}'
    assert 0 == filled("lookup", "9.9.9.9").returncode
    with (filled.data_dir / "journal").open("ab") as journal:
        journal.write(encode(payload.encode()))
    assert 0 == filled("lookup", "81.2.69.160").returncode

    assert {BAD, GOOD} == {entry["ip"] for entry in objects(filled("lookup", BAD, GOOD).stdout)}
    flushed = filled("flush")

    bytes_ = len(encode(payload.encode()))
    assert [f"{filled.data_dir}/journal.bad: {bytes_} damaged bytes were quarantined"] == complaints(flushed)
    assert {BAD: "US", GOOD: "AU", "9.9.9.9": "US", "81.2.69.160": "GB"} == dict(
        stored_rows(filled, "ip, country_code")
    )


def test_wrong_prefix_in_the_journal_is_not_a_network(filled: Geocli) -> None:
    """A prefix length of the other address family stops no command: there is no network, and the row is reported."""
    payload = next(pack([resolved("9.9.9.9", prefix_len=64)]))
    (filled.data_dir / "journal").write_bytes(encode(payload))

    only, flushed, after = (
        filled(*arguments)
        for arguments in (("lookup", "--cached-only", "9.9.9.9", GOOD), ("flush",), ("lookup", "9.9.9.9", GOOD))
    )

    assert [("9.9.9.9", None), (GOOD, None)] == [(entry["ip"], entry["network"]) for entry in objects(only.stdout)]
    assert (0, b"") == (flushed.returncode, flushed.stderr)
    assert [f"{filled.data_dir}/geocli.db: unreadable row: 9.9.9.9: prefix_len is 64"] == complaints(after)
    assert ["US", "AU"] == [entry["country_code"] for entry in objects(after.stdout)]


def test_unreadable_segment_does_not_stop_re_resolve(filled: Geocli) -> None:
    """`re-resolve` reports a file that it cannot read, asks again for all rows, and stores what it can."""
    damage(filled, "prefix of the other family")
    (filled.data_dir / "journal.7-x.draining").mkdir()

    ran = filled("re-resolve", "--all")

    assert 4 == ran.returncode
    assert f"{filled.data_dir}/journal.7-x.draining: cannot be read: a directory; move it away" in complaints(ran)
    assert [(GOOD, None), (BAD, None)] == stored_rows(filled, "ip, prefix_len")
