"""`geocli lookup`: each form of an address, each option, and what is stored."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest

from tests.helpers.command_output import complaint, complaints, objects
from tests.helpers.data_directories import dirty, stored_rows
from tests.helpers.databases import LONDON, TOKYO, build

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

HOST_NAME = "a host name, not an address; try: dig +short {} | geocli batch"
ZEROS = "leading zeros are refused, because some programs read such numbers as octal"
PORT = "not an IP address: the port is not a number from 0 to 65535"


@pytest.mark.parametrize(
    ("text", "ip", "country"),
    [
        ("8.8.8.8", "8.8.8.8", "US"),
        ("  8.8.8.8\t", "8.8.8.8", "US"),
        ("8.8.8.8:53", "8.8.8.8", "US"),
        ("::ffff:8.8.8.8", "8.8.8.8", "US"),
        ("[::ffff:8.8.8.8]:53", "8.8.8.8", "US"),
        ("2a00:1450:4001:81b::200e", "2a00:1450:4001:81b::200e", "IE"),
        ("2A00:1450:4001:081B:0:0:0:200E", "2a00:1450:4001:81b::200e", "IE"),
        ("[2a00::1]:443", "2a00::1", None),
        ("[2a00:1450::1]", "2a00:1450::1", "IE"),
        ("2a00:1450::1%eth0", "2a00:1450::1", "IE"),
    ],
)
def test_addresses_as_people_and_logs_write_them(geocli: Geocli, text: str, ip: str, country: str | None) -> None:
    """Every form of an address is looked up as its canonical form, also without any database."""
    run = geocli("lookup", text)
    (entry,) = objects(run.stdout)

    assert (0, b"") == (run.returncode, run.stderr)
    assert (ip, "resolved", "rir") == (entry["ip"], entry["status"], entry["source"])
    assert country in {None, entry["country_code"]}
    assert [ip] == [entry.ip for entry in dirty(geocli)]


@pytest.mark.parametrize(
    ("text", "ip", "scope"),
    [
        ("10.0.0.1", "10.0.0.1", "private"),
        ("100.64.0.1", "100.64.0.1", "shared"),
        ("127.0.0.1:8080", "127.0.0.1", "loopback"),
        ("169.254.1.1", "169.254.1.1", "link-local"),
        ("192.0.2.1", "192.0.2.1", "documentation"),
        ("198.18.0.1", "198.18.0.1", "benchmarking"),
        ("224.0.0.1", "224.0.0.1", "multicast"),
        ("240.0.0.1", "240.0.0.1", "reserved"),
        ("0.0.0.0", "0.0.0.0", "unspecified"),  # noqa: S104 (an address to look up, not to listen on)
        ("fe80::1%eth0", "fe80::1", "link-local"),
        ("::ffff:192.168.0.1", "192.168.0.1", "private"),
    ],
)
def test_special_addresses_are_answered_without_a_source(located: Geocli, text: str, ip: str, scope: str) -> None:
    """A special address has a scope, no place, and exit status 0."""
    run = located("lookup", text)
    (entry,) = objects(run.stdout)

    assert (0, b"") == (run.returncode, run.stderr)
    assert (ip, "special", scope, "iana", None) == tuple(
        entry[name] for name in ("ip", "status", "scope", "source", "country_code")
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("010.8.8.8", f"010.8.8.8: {ZEROS}"),
        ("8.8.8.08:53", f"8.8.8.08:53: {ZEROS}"),
        ("", "empty string: no address in it"),
        ("example.com", f"example.com: {HOST_NAME.format('example.com')}"),
        ("localhost", f"localhost: {HOST_NAME.format('localhost')}"),
        ("8.8.8.256", "8.8.8.256: not an IP address: a part is larger than 255"),
        ("8.8.8.8:65536", f"8.8.8.8:65536: {PORT}"),
        ("8.8.8.8:x", f"8.8.8.8:x: {PORT}"),
        ("8.8.8.0/33", "8.8.8.0/33: not a network: the prefix length is not a number from 0 to 32"),
        ("8.8.8.9-8.8.8.1", "8.8.8.9-8.8.8.1: not a range: it ends before it begins"),
        ("8.8.8.9-::1", "8.8.8.9-::1: not a range: its ends are of different families"),
        ("8.8.8", "8.8.8: not an IP address"),
        (
            "https://example.com/",
            "https://example.com/: a URL, not an address; try: dig +short example.com | geocli batch",
        ),
        ("x" * 300, f"{'x' * 79}…: not an IP address"),
        ("8.8.8.8\x1b[31m", "8.8.8.8\\x1b[31m: not an IP address"),
        ("8.8.8.8\n9.9.9.9", "8.8.8.8\\n9.9.9.9: several addresses; give each one by itself"),
    ],
)
def test_an_invalid_address_is_reported_with_its_reason(located: Geocli, text: str, reason: str) -> None:
    """An invalid address gives an entry with the input, one line with the reason, and exit status 2."""
    run = located("lookup", text)
    (entry,) = objects(run.stdout)

    assert 2 == run.returncode
    assert reason == complaint(run)
    assert (text, "invalid", None, None) == tuple(entry[name] for name in ("ip", "status", "source", "resolved_at"))
    assert [] == dirty(located)


def test_entries_come_in_the_order_of_the_arguments(located: Geocli) -> None:
    """An address that is given twice is printed twice and stored once."""
    texts = ["98.0.0.1", "nowhere", "81.2.69.160", "98.0.0.1"]
    run = located("lookup", *texts)

    assert texts == [entry["ip"] for entry in objects(run.stdout)]
    assert ["98.0.0.1", "81.2.69.160"] == [entry.ip for entry in dirty(located)]


@pytest.mark.parametrize("stdin", [b"81.2.69.160\n\n10.0.0.1\n", b"81.2.69.160\r\n\r\n10.0.0.1"])
def test_a_dash_reads_standard_input(located: Geocli, stdin: bytes) -> None:
    """There is one address in a line; the last line may be unterminated, and an empty line is an invalid entry."""
    run = located("lookup", "-", stdin=stdin)

    assert ["resolved", "invalid", "special"] == [entry["status"] for entry in objects(run.stdout)]
    assert 2 == run.returncode
    assert complaint(run).endswith("no address in it")


@pytest.mark.parametrize("errors", ["surrogateescape", "strict"])
def test_standard_input_that_is_not_utf8_is_one_invalid_line(located: Geocli, errors: str) -> None:
    """Invalid bytes affect only their own line, in any locale."""
    stdin = b"81.2.69.160\n\xff\xfe\n98.0.0.1\n"
    run = located("lookup", "-f", "value", "-F", "status", "-", stdin=stdin, environ={"PYTHONIOENCODING": f":{errors}"})

    assert (2, ["resolved", "invalid", "resolved"]) == (run.returncode, run.stdout.decode().split())
    assert "\\xff\\xfe: not an IP address" == complaint(run)


def test_a_dash_among_addresses_is_invalid(located: Geocli) -> None:
    """Standard input is read when the dash is the only argument."""
    run = located("lookup", "81.2.69.160", "-", stdin=b"98.0.0.1\n")

    assert ["81.2.69.160", "-"] == [entry["ip"] for entry in objects(run.stdout)]
    assert "-: not an IP address" == complaint(run)


def test_empty_standard_input(located: Geocli) -> None:
    """No input gives no output, and no error."""
    run = located("lookup", "-")

    assert (0, b"", b"") == (run.returncode, run.stdout, run.stderr)


def test_format_value_prints_the_value_and_nothing_else(located: Geocli) -> None:
    """The documented one-liner works."""
    run = located("lookup", "-f", "value", "-F", "country_code", "81.2.69.160")

    assert (0, b"GB\n", b"") == (run.returncode, run.stdout, run.stderr)


def test_format_json_is_one_document(located: Geocli) -> None:
    """JSON is a list of objects, also for one address."""
    run = located("lookup", "--format", "json", "-F", "ip,asn", "81.2.69.160", "10.0.0.1")

    assert [{"ip": "81.2.69.160", "asn": 20712}, {"ip": "10.0.0.1", "asn": None}] == json.loads(run.stdout)


def test_format_csv_and_tsv_have_a_header(located: Geocli) -> None:
    """Cells are quoted as the format requires."""
    as_csv = located("lookup", "-f", "csv", "-F", "ip,city,country_code", "98.0.0.1").stdout.decode()
    as_tsv = located("lookup", "-f", "tsv", "-F", "ip,city,country_code", "98.0.0.1").stdout.decode()

    assert [["ip", "city", "country_code"], ["98.0.0.1", 'Winston, "Salem"', "US"]] == list(
        csv.reader(io.StringIO(as_csv))
    )
    assert 'ip\tcity\tcountry_code\n98.0.0.1\tWinston, "Salem"\tUS\n' == as_tsv


def test_format_table_in_a_pipe_cuts_nothing_off(located: Geocli) -> None:
    """A table can be printed to a pipe, for a pager."""
    lines = located("lookup", "-f", "table", "81.2.69.160", "98.0.0.1").stdout.decode().splitlines()

    assert any("GeoLite2-City+GeoLite2-ASN" in line and "Andrews & Arnold Ltd" in line for line in lines)


def test_format_table_of_one_address_is_a_card(located: Geocli) -> None:
    """Each known field has a line with its label."""
    lines = located("lookup", "-f", "table", "98.0.0.1").stdout.decode().splitlines()
    first, *rest = [line.split() for line in lines]

    assert ["98.0.0.1", "resolved"] == first
    assert ["place", "network", "source", "cached"] == [line[0] for line in rest]
    assert ["Winston,", '"Salem",', "United", "States", "(US)"] == rest[0][1:]


def test_fields_are_shown_in_the_chosen_order(located: Geocli) -> None:
    """Any field can be chosen, also on request and in the traits; unknown ones are empty."""
    fields = "asn,ip,cached,scope,network,built_at,error,postal_code,traits.accuracy_radius,traits.nothing,traits"
    run = located("lookup", "-f", "jsonl", "-F", fields, "81.2.69.160")
    (entry,) = objects(run.stdout)

    assert fields.split(",") == list(entry)
    assert (20712, False, 100, None, None) == tuple(
        entry[name] for name in ("asn", "cached", "traits.accuracy_radius", "traits.nothing", "error")
    )


@pytest.mark.parametrize("command", [("lookup", "-f", "tsv", "81.2.69.160"), ("batch", "-f", "tsv")])
def test_fields_add_up(located: Geocli, command: tuple[str, ...]) -> None:
    """Each -F adds fields to those before it."""
    run = located(*command, "-F", "ip,city", "--fields", "asn", "-F", "org", stdin=b"81.2.69.160\n")

    assert b"ip\tcity\tasn\torg\n81.2.69.160\tLondon\t20712\tAndrews & Arnold Ltd\n" == run.stdout


@pytest.mark.parametrize("command", [("lookup", "-f", "jsonl", "81.2.69.160"), ("batch", "-f", "jsonl")])
def test_a_field_is_written_once(located: Geocli, command: tuple[str, ...]) -> None:
    """A repeated field keeps its first place, so that no object has a key twice; common traits need no prefix."""
    fields = ("-F", "city,accuracy_radius", "-F", "ip,city", "-F", "traits.accuracy_radius")
    run = located(*command, *fields, stdin=b"81.2.69.160\n")

    assert b'{"city": "London", "traits.accuracy_radius": 100, "ip": "81.2.69.160"}\n' == run.stdout


def test_white_space_around_fields_is_dropped(located: Geocli) -> None:
    """Spaces after commas are accepted."""
    assert b"GB\tLondon\n" == located("lookup", "-f", "value", "-F", "country_code, city", "81.2.69.160").stdout


def test_db_selects_the_databases(located: Geocli, tmp_path: Path) -> None:
    """One file, then two; the databases that would be found, and the built-in data, are not used."""
    tokyo = str(build(tmp_path / "mine.mmdb", {"81.2.69.0/24": TOKYO}))
    asn = str(located.db_dir / "GeoLite2-ASN.mmdb")
    single = located("lookup", "--db", tokyo, "-f", "value", "-F", "city,asn,source", "81.2.69.160", "8.8.8.8")
    two = located("lookup", "--db", tokyo, "--db", asn, "-f", "value", "-F", "city,asn,source", "81.2.69.160")

    assert (1, b"Tokyo\t\tGeoLite2-City\n\t\t\n") == (single.returncode, single.stdout)
    assert (0, b"Tokyo\t20712\tGeoLite2-City+GeoLite2-ASN\n") == (two.returncode, two.stdout)


@pytest.mark.parametrize("is_flushed", [False, True], ids=["dirty", "flushed"])
def test_db_ignores_cached_answers_of_other_sources(located: Geocli, *, is_flushed: bool) -> None:
    """A cached answer of the built-in data is not an answer of the named file."""
    located("lookup", "8.8.8.8")
    if is_flushed:
        located("flush")
    run = located("lookup", "--db", str(located.db_dir / "GeoLite2-City.mmdb"), "-F", "status,source", "8.8.8.8")

    assert (1, [{"status": "unresolved", "source": None}]) == (run.returncode, objects(run.stdout))


def test_an_unknown_address(located: Geocli) -> None:
    """Exit status 1, an entry without a place, and no message."""
    run = located("lookup", "--db", str(located.db_dir / "GeoLite2-City.mmdb"), "8.8.8.8")
    (entry,) = objects(run.stdout)

    assert (1, b"") == (run.returncode, run.stderr)
    assert ("unresolved", None, None) == (entry["status"], entry["country_code"], entry["source"])
    assert ["unresolved"] == [entry.status for entry in dirty(located)]


def test_the_built_in_data_answer_where_databases_do_not(located: Geocli) -> None:
    """8.8.8.8 is in neither database."""
    run = located("lookup", "-F", "country_code,source", "8.8.8.8")

    assert (0, [{"country_code": "US", "source": "rir"}]) == (run.returncode, objects(run.stdout))


def test_a_stored_answer_is_a_hit(located: Geocli) -> None:
    """After a flush the same entry comes from the cache, and nothing is appended to the journal."""
    (first,) = objects(located("lookup", "81.2.69.160").stdout)
    located("flush")
    (second,) = objects(located("lookup", "81.2.69.160").stdout)

    assert {**first, "cached": True} == second
    assert [] == dirty(located)


def test_a_newer_database_makes_a_stored_answer_a_miss(located: Geocli) -> None:
    """Once a database is installed, its answers are returned."""
    located("lookup", "81.2.69.160")
    located("flush")
    build(located.db_dir / "GeoLite2-City.mmdb", {"81.2.69.0/24": TOKYO}, build_epoch=1_790_000_000)
    run = located("lookup", "-F", "city,cached", "81.2.69.160")

    assert [{"city": "Tokyo", "cached": False}] == objects(run.stdout)


@pytest.mark.parametrize("is_flushed", [False, True], ids=["dirty", "flushed"])
def test_cached_only_finds_what_was_answered_before(located: Geocli, *, is_flushed: bool) -> None:
    """Entries are found in the journal and in the store, also when the databases are gone."""
    located("lookup", "81.2.69.160")
    if is_flushed:
        located("flush")
    for path in located.db_dir.iterdir():
        path.unlink()
    run = located("lookup", "--cached-only", "-F", "city,cached", "81.2.69.160")

    assert (0, [{"city": "London", "cached": True}]) == (run.returncode, objects(run.stdout))


def test_cached_only_asks_no_source(located: Geocli) -> None:
    """Addresses that are not cached have no answer, except for special ones, and nothing is stored."""
    run = located("lookup", "--cached-only", "-F", "status,error", "81.2.69.160", "10.0.0.1")

    assert 1 == run.returncode
    assert [
        {"status": "unresolved", "error": "not in the cache"},
        {"status": "special", "error": None},
    ] == objects(run.stdout)
    assert [] == dirty(located)


def test_no_cache_leaves_no_trace(located: Geocli) -> None:
    """Not even the data directory is created."""
    run = located("lookup", "--no-cache", "-f", "value", "81.2.69.160")

    assert (0, b"GB\n", b"") == (run.returncode, run.stdout, run.stderr)
    assert not located.data_dir.exists()


@pytest.mark.parametrize(("option", "entry"), [("--no-cache", 0), ("--refresh", 1)])
def test_both_ask_the_source_even_if_the_answer_is_stored(located: Geocli, option: str, entry: int) -> None:
    """`--no-cache` stores nothing, `--refresh` does."""
    located("lookup", "81.2.69.160")
    located("flush")
    run = located("lookup", option, "-F", "cached", "81.2.69.160")

    assert [{"cached": False}] == objects(run.stdout)
    assert entry == len(dirty(located))


@pytest.mark.parametrize(
    ("arguments", "status"), [(("81.2.69.160",), 0), (("--cached-only", "98.0.0.1"), 1), (("nowhere",), 2)]
)
def test_quiet_prints_no_data(located: Geocli, arguments: tuple[str, ...], status: int) -> None:
    """The exit status reports the result, as with grep."""
    run = located("lookup", "-q", *arguments)

    assert (status, b"") == (run.returncode, run.stdout)


def test_a_quiet_answer_is_stored(located: Geocli) -> None:
    """Answers are stored with --quiet, too."""
    located("lookup", "--quiet", "81.2.69.160")

    assert ["81.2.69.160"] == [entry.ip for entry in dirty(located)]


def test_two_dashes_end_the_options(located: Geocli) -> None:
    """Arguments after -- are addresses."""
    run = located("lookup", "--", "81.2.69.160", "-q")

    assert ["81.2.69.160", "-q"] == [entry["ip"] for entry in objects(run.stdout)]
    assert ["-q: not an IP address"] == complaints(run)


def test_a_database_of_one_family_does_not_answer_for_the_other(geocli: Geocli) -> None:
    """An IPv4 database is skipped for an IPv6 address, silently."""
    build(geocli.db_dir / "v4.mmdb", {"81.2.69.0/24": LONDON}, ip_version=4)
    run = geocli("lookup", "-F", "source", "2001:218::1", "81.2.69.160")

    assert (0, b"") == (run.returncode, run.stderr)
    assert [{"source": "rir"}, {"source": "GeoLite2-City"}] == objects(run.stdout)


def test_many_addresses_at_once(located: Geocli) -> None:
    """Every answer of several blocks is printed and stored."""
    texts = [f"81.2.{number >> 8}.{number & 255}" for number in range(1200)]
    run = located("lookup", *texts)
    located("flush")

    assert texts == [entry["ip"] for entry in objects(run.stdout)]
    assert sorted(texts) == [ip for (ip,) in stored_rows(located)]
