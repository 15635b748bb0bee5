"""The contract with users, scripts and cron: keys, header, exit statuses, streams, help, options."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sysconfig
from typing import TYPE_CHECKING, Any

import pytest
from typer.main import get_command

import geocli as package
from geocli.cli.app import app, command_line
from geocli.cli.examples import EXAMPLES
from geocli.models import FIELDS, FIELDS_ON_REQUEST
from tests.helpers.command_output import complaint, complaints, objects
from tests.helpers.data_directories import dirty, stored_rows
from tests.helpers.databases import CITIES, NETWORKS, build
from tests.helpers.documentation import PAGES
from tests.helpers.locks import locked_file
from tests.helpers.terminals import COLOUR, on_terminal
from tests.helpers.waiting import read_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli


JSON_KEYS = [
    *("ip", "status", "country_code", "country_name", "region", "city", "postal_code", "latitude", "longitude"),
    *("time_zone", "asn", "org", "source", "resolved_at", "scope", "network", "built_at", "cached", "traits"),
]
CSV_HEADER = b"ip,status,country_code,country_name,region,city,latitude,longitude,time_zone,asn,org,source"
COMMANDS = (
    *("lookup", "batch", "networks", "flush", "re-resolve", "stats", "clear", "docs"),
    *("db list", "db update", "db verify"),
)
NOT_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def _leaves(command: Any, path: str = "") -> dict[str, Any]:
    """Return the commands below a command, as a user types them."""
    if not hasattr(command, "commands"):
        return {path: command}
    result: dict[str, Any] = {}
    for name, inner in command.commands.items():
        result |= _leaves(inner, f"{path} {name}".strip())
    return result


def _options(command: Any) -> set[str]:
    """Return the options of a command, each by its last name."""
    return {option.opts[-1] for option in command.params if option.opts[-1].startswith("-")}


@pytest.mark.parametrize(
    ("arguments", "data", "expected"),
    [
        (
            ("-c", "src_ip", "-c", "dst_ip"),
            b"src_ip,dst_ip\n81.2.69.160,98.0.0.1\n",
            b"src_ip,dst_ip,src_ip_country_code,dst_ip_country_code\n81.2.69.160,98.0.0.1,GB,US\n",
        ),
        (
            ("-c", "src_ip", "-c", "dst_ip"),
            b'{"src_ip":"81.2.69.160","dst_ip":"98.0.0.1"}\n',
            (
                b'{"src_ip":"81.2.69.160","dst_ip":"98.0.0.1", '
                b'"src_ip_geo": {"country_code": "GB"}, "dst_ip_geo": {"country_code": "US"}}\n'
            ),
        ),
        (("-c", "1"), b"81.2.69.160,x\n", b"81.2.69.160,x,GB\n"),
        (("-i", "tsv"), b"n\tip\n1\t81.2.69.160\n", b"n\tip\tcountry_code\n1\t81.2.69.160\tGB\n"),
        (("-i", "csv", "-f", "value"), b"n,ip\n1,81.2.69.160\n", b"GB\n"),
        (("-i", "jsonl", "-f", "csv"), b'{"ip":"81.2.69.160"}\n', b"country_code\nGB\n"),
        (("-c", "ips[]"), b'{"ips":["81.2.69.160"]}\n', b'{"ips":["81.2.69.160"], "geo": [{"country_code": "GB"}]}\n'),
        (
            ("-c", "Records[].ip"),
            b'{"Records":[{"ip":"81.2.69.160"}]}\n',
            b'{"Records":[{"ip":"81.2.69.160", "geo": {"country_code": "GB"}}]}\n',
        ),
        (
            ("-i", "jsonl", "-c", "xff", "--pick", "last"),
            b'{"xff":"81.2.69.160, 98.0.0.1"}\n',
            b'{"xff":"81.2.69.160, 98.0.0.1", "geo": {"country_code": "US"}}\n',
        ),
        (
            ("-c", "c-ip"),
            b"#Fields: c-ip x\n81.2.69.160 y\n",
            b"#Fields: c-ip x country_code\n81.2.69.160 y GB\n",
        ),
    ],
    ids=str,
)
def test_the_names_and_places_of_answers(
    located: Geocli, arguments: tuple[str, ...], data: bytes, expected: bytes
) -> None:
    """In tables and JSON, with one address or several: programs rely on these names."""
    run = located("batch", "-F", "country_code", *arguments, stdin=data)

    assert (0, expected, b"") == (run.returncode, run.stdout, run.stderr)


def test_the_commands_are_those_that_are_documented() -> None:
    """These tests cover every command."""
    assert set(COMMANDS) == set(_leaves(get_command(app)))


def test_json_has_every_key_in_order_whatever_the_status(located: Geocli) -> None:
    """Resolved, special, invalid and unresolved entries have the same keys."""
    city = str(located.db_dir / "GeoLite2-City.mmdb")
    run = located("lookup", "--db", city, "81.2.69.160", "10.0.0.1", "nowhere", "8.8.8.8")
    actual = objects(run.stdout)

    assert ["resolved", "special", "invalid", "unresolved"] == [entry["status"] for entry in actual]
    assert [JSON_KEYS] * 4 == [list(entry) for entry in actual]


def test_json_has_the_documented_values(located: Geocli) -> None:
    """Numbers are numbers, instants end in Z, the network is a prefix, traits keep their types."""
    (entry,) = objects(located("lookup", "81.2.69.160").stdout)

    assert entry.pop("resolved_at").endswith("Z")
    assert {
        "ip": "81.2.69.160",
        "status": "resolved",
        "country_code": "GB",
        "country_name": "United Kingdom",
        "region": "England",
        "city": "London",
        "postal_code": "EC1A",
        "latitude": 51.5142,
        "longitude": -0.0931,
        "time_zone": "Europe/London",
        "asn": 20712,
        "org": "Andrews & Arnold Ltd",
        "source": "GeoLite2-City+GeoLite2-ASN",
        "scope": None,
        "network": "81.2.69.128/25",
        "built_at": "2026-05-28T20:26:40Z",
        "cached": False,
        "traits": {"continent_code": "EU", "continent_name": "Europe", "region_code": "ENG", "accuracy_radius": 100},
    } == entry


def test_comments_of_a_list_have_the_same_keys(located: Geocli) -> None:
    """Their `ip` is the line, and all else is null but the status."""
    comment, blank, entry = objects(located("batch", "-f", "jsonl", stdin=b"# note\n\n81.2.69.160 # note\n").stdout)

    assert [JSON_KEYS] * 3 == [list(each) for each in (comment, blank, entry)]
    assert {"ip": "# note", "status": "comment", "cached": False} == {
        key: v for key, v in comment.items() if v is not None
    }
    assert ("", "comment") == (blank["ip"], blank["status"])
    assert ("81.2.69.160", "resolved") == (entry["ip"], entry["status"])


@pytest.mark.parametrize("command", [("lookup", "-f", "csv", "8.8.8.8"), ("batch",), ("batch", "-f", "csv")])
def test_the_csv_header_is_fixed(geocli: Geocli, command: tuple[str, ...]) -> None:
    """Scripts that cut columns by number continue to work."""
    assert CSV_HEADER == geocli(*command, stdin=b"8.8.8.8\n").stdout.splitlines()[0]


@pytest.mark.parametrize(
    ("status", "arguments", "stdin"),
    [
        (0, ("lookup", "81.2.69.160", "10.0.0.1"), b""),
        (0, ("batch",), b"81.2.69.160\nnowhere\n"),
        (0, ("batch", "--strict"), b"81.2.69.160\n10.0.0.1\n"),
        (0, ("flush",), b""),
        (0, ("stats",), b""),
        (0, ("batch",), b""),
        (0, ("batch", "--strict"), b"# note\n\n81.2.69.160 # note\n"),
        (0, ("batch", "-i", "log"), b"nowhere\n"),
        (1, ("batch",), b"nowhere\n\n"),
        (1, ("batch", "-q"), b"nowhere\n"),
        (1, ("batch", "-i", "csv"), b"ip\nnowhere\n"),
        (0, ("batch", "-i", "csv"), b"ip\n"),
        (1, ("batch", "-i", "jsonl"), b'{"ip": 5}\n'),
        (1, ("lookup", "--cached-only", "81.2.69.160"), b""),
        (1, ("batch", "--strict"), b"81.2.69.160\nnowhere\n"),
        (1, ("batch", "--strict", "--cached-only"), b"81.2.69.160\n"),
        (2, ("lookup", "81.2.69.160", "nowhere"), b""),
        (2, ("lookup", "--format", "yaml", "81.2.69.160"), b""),
        (2, ("lookup",), b""),
        (2, ("clear",), b""),
        (3, ("lookup", "--db", "/nonexistent.mmdb", "81.2.69.160"), b""),
        (3, ("batch", "--db", "/nonexistent.mmdb"), b"81.2.69.160\n"),
        (3, ("db", "verify", "/nonexistent.mmdb"), b""),
        (4, ("--data-dir", "/dev/null", "lookup", "81.2.69.160"), b""),
        (4, ("--data-dir", "/dev/null", "batch"), b"81.2.69.160\n"),
        (4, ("--data-dir", "/dev/null", "flush"), b""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_exit_statuses(located: Geocli, status: int, arguments: tuple[str, ...], stdin: bytes) -> None:
    """Each kind of outcome has its own exit status."""
    assert status == located(*arguments, stdin=stdin).returncode


def test_the_gravest_exit_status_is_returned(located: Geocli) -> None:
    """An invalid address and an answer that could not be kept exit with 4; both are reported."""
    run = located("--data-dir", "/dev/null", "lookup", "81.2.69.160", "nowhere")

    assert 4 == run.returncode
    assert ["GB", ""] == [entry["country_code"] or "" for entry in objects(run.stdout)]
    assert any(line.startswith("nowhere: a host name") for line in complaints(run))


def test_a_busy_journal_exits_75_after_the_answers(located: Geocli) -> None:
    """If another process locks the journal, the answers are printed, and the message says to try again later."""
    lock = located.data_dir / "journal.lock"
    with locked_file(lock):
        run = located("lookup", "-f", "value", "81.2.69.160", environ={"GEOCLI_LOCK_TIMEOUT": "0.02"})

    assert f"{lock}: busy: another process held it for 0.02 s; try again later" == complaint(run)
    assert (75, b"GB\n") == (run.returncode, run.stdout)


def test_interrupted_exits_130_silently(located: Geocli) -> None:
    """Ctrl-C ends a command silently."""
    with located.start("batch", "-i", "list", bufsize=0) as process:
        read_line(process.stdout)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)

    assert (130, b"") == (process.returncode, errors)


@pytest.mark.parametrize("arguments", [("lookup", "81.2.69.160"), ("lookup", "-f", "csv", "81.2.69.160")])
def test_a_closed_pipe_exits_141_and_the_answer_is_stored(located: Geocli, arguments: tuple[str, ...]) -> None:
    """Without a reader there is no message, and the journal has the answers."""
    closed = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    closed.wait(60)
    with located.start(*arguments, stdout=closed.stdin) as process:
        _, errors = process.communicate(timeout=60)
    assert closed.stdin is not None
    closed.stdin.close()

    assert (141, b"") == (process.returncode, errors)
    assert ["81.2.69.160"] == [entry.ip for entry in dirty(located)]


def test_a_full_disk_under_standard_output_is_one_line(located: Geocli) -> None:
    """Output that cannot be written is an error; the answer is stored nevertheless."""
    with open("/dev/full", "wb") as full, located.start("lookup", "81.2.69.160", stdout=full) as process:
        _, errors = process.communicate(timeout=60)

    assert (1, b"geocli: standard streams: No space left on device\n") == (process.returncode, errors)
    assert ["81.2.69.160"] == [entry.ip for entry in dirty(located)]


def test_data_and_messages_go_to_different_streams(located: Geocli) -> None:
    """Standard output has only entries, standard error only messages."""
    run = located("lookup", "81.2.69.160", "nowhere")

    assert ["81.2.69.160", "nowhere"] == [entry["ip"] for entry in objects(run.stdout)]
    assert "nowhere: a host name, not an address; try: dig +short nowhere | geocli batch" == complaint(run)


@pytest.mark.parametrize(("redirection", "entries", "messages"), [("<&-", 2, 1), (">&-", 0, 1), ("2>&-", 2, 0)])
def test_a_closed_standard_stream_harms_nothing(located: Geocli, redirection: str, entries: int, messages: int) -> None:
    """The journal never gets the number of a stream that was closed."""
    command = f'"$0" -m geocli lookup 81.2.69.160 nowhere {redirection}'
    run = subprocess.run(
        ["/bin/sh", "-c", command, located.command[0]],
        env=located.environ,
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert (2, entries, messages) == (run.returncode, len(run.stdout.splitlines()), len(run.stderr.splitlines()))
    assert ["81.2.69.160"] == [entry.ip for entry in dirty(located)]


@pytest.mark.parametrize("command", ["", "db", *COMMANDS])
def test_help_works_everywhere(geocli: Geocli, command: str) -> None:
    """Help goes to standard output, names the command, shows all its options, and touches no file."""
    run = geocli(*command.split(), "--help", environ={"COLUMNS": "160"})
    leaf = _leaves(get_command(app)).get(command)
    shown = run.stdout.decode()

    assert (0, b"") == (run.returncode, run.stderr)
    assert " ".join(["Usage: geocli", *command.split()]) in shown
    assert set() == {option for option in (_options(leaf) if leaf else ()) if option not in shown}
    assert not geocli.data_dir.exists()


@pytest.mark.parametrize("command", ["", "db", *COMMANDS])
def test_help_reads_well_in_80_columns(geocli: Geocli, command: str) -> None:
    """With -h, nothing is cut off, no choice is broken in two, and many options are in named groups."""
    run = geocli(*command.split(), "-h")
    shown = run.stdout.decode()
    leaf = _leaves(get_command(app)).get(command)
    options = [option for option in (leaf.params if leaf else ()) if option.opts[-1].startswith("-")]

    assert (0, b"") == (run.returncode, run.stderr)
    assert " ".join(["Usage: geocli", *command.split()]) in shown
    assert "…" not in shown
    assert 80 >= max(map(len, shown.splitlines()))
    assert len(re.findall("<[a-z]", shown)) == len(re.findall("<[a-z|]+>", shown))
    assert len(options) <= 8 or None not in {option.rich_help_panel for option in options}


def test_geocli_alone_prints_help(geocli: Geocli) -> None:
    """Without arguments, help names every command, and the exit status is 0."""
    run = geocli()

    assert (0, b"") == (run.returncode, run.stderr)
    assert set() == {command for command in COMMANDS if f" {command.split()[0]} " not in run.stdout.decode()}


def test_a_group_alone_prints_help_and_no_empty_message(geocli: Geocli) -> None:
    """`geocli db` prints help, too."""
    run = geocli("db")

    assert b"Usage: geocli db" in run.stdout + run.stderr
    assert b"db: ;" not in run.stderr


def test_version(geocli: Geocli) -> None:
    """The version is one line on standard output."""
    run = geocli("--version")

    assert (0, f"geocli {package.__version__}\n".encode(), b"") == (run.returncode, run.stdout, run.stderr)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--nope",), "options: No such option: --nope; see geocli -h"),
        (("nope",), "options: No such command 'nope'; to look up an address: geocli lookup ADDRESS; see geocli -h"),
        (("db", "nope"), "db: No such command 'nope'; see geocli db -h"),
        (("flush", "--nope"), "flush: No such option: --nope; see geocli flush -h"),
        (("help",), "options: No such command 'help'; try: geocli --help; see geocli -h"),
        (("version",), "options: No such command 'version'; try: geocli --version; see geocli -h"),
        (("lookup", "--json", "8.8.8.8"), "lookup: No such option: --json; try: -f json; see geocli lookup -h"),
        (("batch", "--tsv"), "batch: No such option: --tsv; try: -f tsv; see geocli batch -h"),
        (("lokup",), "options: No such command 'lokup'. Did you mean 'lookup'?; see geocli -h"),
        (
            ("-f", "csv", "batch"),
            "options: No such option: -f; place it after the command: geocli batch -f; see geocli -h",
        ),
        (
            ("--older-than=3d",),
            "options: No such option: --older-than; place it after the command: geocli re-resolve --older-than; ",
        ),
        (
            ("batch", "--colunm", "x"),
            "batch: No such option: --colunm (Possible options: --column, --count-by, --country",
        ),
        (("flush", "nope"), "flush: Got unexpected extra argument(s) (nope); see geocli flush -h"),
        (
            ("networks", "NL"),
            "networks: Got unexpected extra argument(s) (NL); choose networks with --country NL, --asn 15169 or ",
        ),
        (("lookup",), "lookup: Missing argument 'ADDRESS...'; see geocli lookup -h"),
        (("db", "list", "--nope"), "db list: No such option: --nope; see geocli db list -h"),
        (("flush", "--wait", "-1"), "flush: Invalid value for '--wait': -1.0 is not in the range x>=0; "),
        (("stats", "--by", "moon"), "stats: Invalid value for '--by': 'moon' is not one of 'country', 'asn', 'city'"),
        (
            ("stats", "--top", "x"),
            "stats: Invalid value for '--top': 'x' is not a valid int range; see geocli stats -h",
        ),
        (("batch", "-f", "table"), "command line: -f table: needs --count-by"),
        (("batch", "-f", "xml"), "batch: Invalid value for '-f' / '--format': 'xml' is not one of 'csv', 'tsv'"),
        (("lookup", "-F", "citty", "8.8.8.8"), "--fields: citty: unknown field; did you mean city?"),
        (("batch", "-F", "ip,moon"), "--fields: moon: unknown field; known: ip, status, country_code, "),
        (
            ("lookup", "--cached-only", "--refresh", "8.8.8.8"),
            "command line: --cached-only and --refresh: contradict each other; choose one",
        ),
        (
            ("batch", "--pick", "last"),
            "command line: --pick: cannot be used with list input; it needs -i csv or -i jsonl",
        ),
        (("batch", "-c", ""), "command line: -c: empty; name a column, its number, or a path in JSON"),
        (("batch", "--report", ""), "command line: --report: empty path"),
        (("batch", "--report", "x", "-o", "./x"), "command line: --report: names the file of -o; choose another one"),
        (("stats", "--report", "x", "--check"), "command line: --report: cannot be used with --check"),
        (("stats", "--map", "-o", "x.PNG"), "command line: --map: as a picture is an SVG file; name one that ends in"),
        (("batch", ""), "empty path: No such file or directory"),
        (("batch", "8.8.8.8"), "8.8.8.8: No such file or directory; to look up an address: geocli lookup 8.8.8.8"),
        (
            ("batch", "8.8.8.0/24"),
            "8.8.8.0/24: No such file or directory; to look up an address: geocli lookup 8.8.8.0",
        ),
        *(
            ((*command, text), f"command line: {text or 'empty'}: not a duration like 30d, 12h, 90m or 45s")
            for command in (("clear", "--yes", "--older-than"), ("re-resolve", "--older-than"), ("stats", "--max-lag"))
            for text in ("3x", "")
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_one_line_and_exits_2(geocli: Geocli, arguments: tuple[str, ...], expected: str) -> None:
    """The message has the reason; nothing is printed, and no file is touched."""
    run = geocli(*arguments)

    assert (2, b"") == (run.returncode, run.stdout)
    assert complaint(run).startswith(expected)
    assert not geocli.data_dir.exists()


@pytest.mark.parametrize("hostile", ["--\x1b]0;x\x07", "--nope\nforged", "--\u202egnp"])
def test_wrong_options_are_escaped(geocli: Geocli, hostile: str) -> None:
    """Control characters in arguments are escaped, in one line."""
    line = complaint(geocli("lookup", hostile, "8.8.8.8"))

    assert line.isprintable()
    assert line.startswith("lookup: No such option: ")


ON_CLUSTER = ("batch", "{list}", "-o", "{out}", "--cluster", "local:1")
OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "lookup": {
        "--format": ("lookup", "-f", "tsv", "81.2.69.160"),
        "--fields": ("lookup", "-F", "ip,traits.accuracy_radius", "81.2.69.160"),
        "--quiet": ("lookup", "-q", "81.2.69.160"),
        "--db": ("lookup", "--db", "{city}", "81.2.69.160"),
        "--cached-only": ("lookup", "--cached-only", "10.0.0.1"),
        "--no-cache": ("lookup", "--no-cache", "81.2.69.160"),
        "--refresh": ("lookup", "--refresh", "81.2.69.160"),
        "--lang": ("lookup", "--lang", "de", "81.2.69.160"),
        "--top": ("lookup", "--top", "1", "81.2.69.0/24"),
    },
    "batch": {
        "--format": ("batch", "-f", "jsonl"),
        "--fields": ("batch", "-F", "ip,city"),
        "--no-header": ("batch", "--no-header"),
        "--null": ("batch", "-0"),
        "--output": ("batch", "-o", "{out}"),
        "--db": ("batch", "--db", "{city}"),
        "--cached-only": ("batch", "--cached-only"),
        "--no-cache": ("batch", "--no-cache"),
        "--refresh": ("batch", "--refresh"),
        "--lang": ("batch", "--lang", "de"),
        "--strict": ("batch", "--strict"),
        "--quiet": ("batch", "-q"),
        "--input": ("batch", "-i", "log"),
        "--column": ("batch", "-i", "jsonl", "-c", "client.ip"),
        "--pick": ("batch", "-i", "csv", "--pick", "last"),
        "--delimiter": ("batch", "-i", "csv", "--delimiter", ";"),
        "--prefix": ("batch", "-i", "csv", "--prefix", "geo_"),
        "--extract": ("batch", "--extract"),
        "--summary": ("batch", "--summary"),
        "--only": ("batch", "--only", "status=resolved"),
        "--except": ("batch", "--except", "status=special"),
        "--country": ("batch", "--country", "GB"),
        "--asn": ("batch", "--asn", "AS20712"),
        "--no-label": ("batch", "-i", "log", "--country", "GB", "--no-label"),
        "--count-by": ("batch", "--count-by", "country_code"),
        "--report": ("batch", "--report", "{out}"),
        "--top": ("batch", "--count-by", "country_code", "--top", "1"),
        "--progress": ("batch", "--no-progress"),
        "--jobs": ("batch", "-j", "2"),
        "--cluster": (*ON_CLUSTER, "-F", "ip"),
        "--block-size": (*ON_CLUSTER, "--block-size", "1MB"),
        "--merge": (*ON_CLUSTER, "--merge"),
        "--resume": (*ON_CLUSTER, "--resume"),
    },
    "flush": {"--json": ("flush", "--json"), "--wait": ("flush", "--wait", "0.5")},
    "re-resolve": {
        "--unresolved": ("re-resolve", "--unresolved"),
        "--older-than": ("re-resolve", "--older-than", "30d"),
        "--all": ("re-resolve", "--all"),
        "--limit": ("re-resolve", "--limit", "1"),
        "--dry-run": ("re-resolve", "--dry-run"),
        "--no-flush": ("re-resolve", "--no-flush"),
        "--json": ("re-resolve", "--json"),
    },
    "stats": {
        "--format": ("stats", "-f", "prometheus"),
        "--by": ("stats", "--by", "asn"),
        "--top": ("stats", "--top", "0"),
        "--map": ("stats", "--map"),
        "--report": ("stats", "--report", "{out}"),
        "--output": ("stats", "-o", "{out}"),
        "--check": ("--config", "{config}", "stats", "--check"),
        "--max-lag": ("stats", "--max-lag", "1h"),
    },
    "networks": {
        "--country": ("networks", "--country", "GB"),
        "--asn": ("networks", "--asn", "20712"),
        "--only": ("networks", "--only", "continent_code=EU"),
        "--except": ("networks", "--except", "country_code=GB"),
        "--ipv4": ("networks", "--country", "GB", "-4"),
        "--ipv6": ("networks", "--country", "JP", "-6"),
        "--format": ("networks", "--country", "GB", "-f", "ipset"),
        "--fields": ("networks", "--country", "GB", "-f", "csv", "-F", "asn"),
        "--no-aggregate": ("networks", "--country", "GB", "--no-aggregate"),
        "--name": ("networks", "--country", "GB", "-f", "nginx", "--name", "is_local"),
        "--output": ("networks", "--country", "GB", "-o", "{out}"),
        "--db": ("networks", "--country", "GB", "--db", "{city}"),
    },
    "clear": {
        "--unresolved": ("clear", "--unresolved"),
        "--older-than": ("clear", "--older-than", "90d"),
        "--yes": ("clear", "--yes"),
    },
    "db list": {"--format": ("db", "list", "-f", "json")},
    "db update": {},
    "docs": {},
    "db verify": {},
}
"""A command line for each option of each command, which succeeds."""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_exercised_here(command: str) -> None:
    """A new option needs a line in the table above."""
    assert set(OPTIONS[command]) == _options(_leaves(get_command(app))[command])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_documented(command: str) -> None:
    """The section of a command in `geocli docs commands` lists all of its options."""
    (section,) = re.findall(rf"^## (?:.*, )?{command}(?:,.*)?\n((?:(?!## ).*\n)*)", PAGES["commands"], re.MULTILINE)
    missing = [name for name in _options(_leaves(get_command(app))[command]) if f"`{name}" not in section]

    assert [] == sorted(missing)


def test_every_option_before_the_command_is_documented() -> None:
    """The table at the top of `geocli docs commands` is complete; completion is in `geocli docs recipes`."""
    missing = [name for name in _options(get_command(app)) if f"`{name}" not in PAGES["commands"]]

    assert {"--install-completion", "--show-completion"} >= set(missing)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [line for lines in OPTIONS.values() for line in lines.values()], ids=" ".join)
def test_every_option_is_accepted(geocli: Geocli, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A command line with the option succeeds; only dry runs print to standard error."""
    city = build(geocli.db_dir / "City.mmdb", CITIES)
    build(geocli.db_dir / "ASN.mmdb", NETWORKS, edition="GeoLite2-ASN")
    places = {"city": city, "db": city, "out": tmp_path / "out", "config": tmp_path / "config.toml"}
    places["list"] = tmp_path / "list"
    places["list"].write_bytes(b"81.2.69.160\n")
    stdin = b'{"client": {"ip": "81.2.69.160"}}\n' if "jsonl" in arguments else b"81.2.69.160\n"
    header = b"ip\n" if {"-i", "csv"} <= set(arguments) else b""
    run = geocli(*(argument.format(**places) for argument in arguments), stdin=header + stdin)

    assert 0 == run.returncode
    if not {"--dry-run", "--summary"} & set(arguments):
        assert b"" == run.stderr


@pytest.mark.parametrize(
    "place",
    [
        lambda options, command: [*options, "--verbose", *command],
        lambda options, command: [*command, *options, "-v"],
        lambda options, command: ["-v", *command[:1], *options, *command[1:]],
    ],
    ids=["before", "after", "between"],
)
def test_the_options_before_the_command_are_accepted_after_it(
    located: Geocli, tmp_path: Path, place: Callable[[list[str], list[str]], list[str]]
) -> None:
    """`--data-dir` and `--config` override the environment; `-v` logs events; `--no-color` is accepted."""
    elsewhere, config = tmp_path / "elsewhere", tmp_path / "other.toml"
    config.write_text(f'database_dirs = []\nsystem_databases = false\ndata_dir = "{tmp_path}/unused"\n')
    options = ["--data-dir", str(elsewhere), "--config", str(config), "--no-color"]
    run = located(*place(options, ["lookup", "81.2.69.160"]))
    flush = located(*place(options, ["flush"]))
    listed = located(*place(options, ["db", "list"]))

    assert (0, 0, 0) == (run.returncode, flush.returncode, listed.returncode)
    assert b'"event": "looked up"' in run.stderr
    assert (elsewhere / "geocli.db").is_file()
    assert b"" == flush.stdout
    assert flush.stderr.startswith(b"1 entries flushed in ")
    assert not located.data_dir.exists()
    assert not (tmp_path / "unused").exists()


def test_an_option_after_the_command_overrides_the_one_before_it(located: Geocli, tmp_path: Path) -> None:
    """The last one counts; `--version` works in any position."""
    first, second = tmp_path / "first", tmp_path / "second"
    assert 0 == located("--data-dir", str(first), "lookup", "--data-dir", str(second), "81.2.69.160").returncode

    assert (False, True) == (first.exists(), second.exists())
    assert located("--version").stdout == located("db", "list", "--version").stdout


@pytest.mark.parametrize(
    "arguments",
    [("81.2.69.160", "2001:218::1"), ("-f", "csv", "10.0.0.1"), ("nowhere.example",), ("[2001:218::1]:443",), ("",)],
    ids=str,
)
def test_an_address_in_the_place_of_a_command_is_looked_up(located: Geocli, arguments: tuple[str, ...]) -> None:
    """`geocli 8.8.8.8` is `geocli lookup 8.8.8.8`, with and without options."""
    arguments = (*arguments[-1:], *arguments[:-1])
    short, long = located("--no-color", *arguments, "--no-cache"), located("lookup", *arguments, "--no-cache")
    fast = located(*arguments)

    assert short.returncode == long.returncode == fast.returncode
    assert fast.stderr == short.stderr == long.stderr
    assert [*re.sub(b'"resolved_at": "[^"]*"', b"", long.stdout)] == [
        *re.sub(b'"resolved_at": "[^"]*"', b"", short.stdout)
    ]
    assert len(fast.stdout.splitlines()) == len(long.stdout.splitlines())


def test_a_file_in_the_place_of_an_address_is_called_a_file(
    geocli: Geocli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the command that reads it, also if the name could be that of a command."""
    monkeypatch.chdir(tmp_path)
    for name in ("access.log", "of today.log", "messages"):
        (tmp_path / name).touch()
    hint = "a file, not an address; to look up the addresses in it: geocli batch"

    assert f"access.log: {hint} access.log" == complaint(geocli("access.log"))
    assert f"access.log: {hint} access.log" == complaint(geocli("lookup", "access.log"))
    assert f"of today.log: {hint} 'of today.log'" == complaint(geocli("of today.log"))
    assert "to look up the addresses in this file: geocli batch messages; " in complaint(geocli("messages"))


@pytest.mark.parametrize("command", ["", "db", *COMMANDS])
def test_the_help_of_each_command_ends_with_two_examples(geocli: Geocli, command: str) -> None:
    """The last two lines are command lines of this command, and the command line accepts them."""
    *_, first, second = [
        line.strip() for line in geocli(*command.split(), "-h").stdout.decode().splitlines() if line.strip()
    ]

    for example in (first, second):
        dollar, program, *arguments = example.split()
        assert ("$", "geocli") == (dollar, program)
        words = command.split()
        assert not words or arguments[: len(words)] == words
        assert_parsed(arguments)


def assert_parsed(arguments: list[str]) -> None:
    """Assert that a command line has a command, and options that this command has."""
    command: Any = command_line()
    while hasattr(command, "commands"):
        context = command.make_context("geocli", [], resilient_parsing=True)
        name, command, arguments = command.resolve_command(context, arguments)
    command.make_context(name, arguments)


@pytest.mark.slow
def test_the_examples_of_the_help_succeed(located: Geocli, tmp_path: Path) -> None:
    """All but downloads run in a directory with the files that they name, and print no error."""
    work = tmp_path / "work"
    shutil.copytree(located.db_dir, work)
    (work / "access.log").write_text("81.2.69.160 - - [26/Nov/2026:09:12:01 +0000] GET /\n")
    (work / "connections.csv").write_text("src_ip,port\n81.2.69.160,22\n")
    examples = {example for pair in EXAMPLES.values() for example in pair if "db update" not in example}
    environ = {**located.environ, "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"}
    for example in sorted(examples):
        run = subprocess.run(example.split(), cwd=work, env=environ, capture_output=True, check=False)
        stderr = b"" if "--dry-run" in example else run.stderr
        assert (example, 0, b"") == (example, run.returncode, stderr)


@pytest.mark.parametrize("command", ["lookup", "batch"])
def test_the_help_names_the_fields(geocli: Geocli, command: str) -> None:
    """All fields that `-F` takes are listed."""
    shown = " ".join(geocli(command, "-h").stdout.decode().split())

    assert f"Fields: {', '.join((*FIELDS, *FIELDS_ON_REQUEST, 'traits.NAME'))}." in shown


def test_a_traceback_is_shown_with_v_only(geocli: Geocli) -> None:
    """`-v` prints a traceback; the last line is the same."""
    quiet = geocli("--data-dir", "/dev/null", "flush")
    verbose = geocli("-v", "--data-dir", "/dev/null", "flush")

    assert 4 == quiet.returncode == verbose.returncode
    assert complaint(quiet) == verbose.stderr.decode().splitlines()[-1].removeprefix("geocli: ")
    assert verbose.stderr.startswith(b"Traceback (most recent call last):\n")


@pytest.mark.parametrize(
    "arguments",
    [("-h",), ("lookup", "-h"), ("lookup", "-f", "table", "81.2.69.160"), ("stats", "-f", "table"), ("db", "list")],
    ids=" ".join,
)
def test_no_style_goes_into_a_pipe(located: Geocli, arguments: tuple[str, ...]) -> None:
    """Output that does not go to a terminal has no styles, whatever TERM is."""
    run = located(*arguments, environ={"TERM": "xterm-256color", "GITHUB_ACTIONS": "", "FORCE_COLOR": ""})

    assert 0 == run.returncode
    assert b"\x1b" not in run.stdout + run.stderr


def test_help_on_a_terminal_has_colour_unless_disabled(geocli: Geocli) -> None:
    """This shows that the tests below can fail."""
    assert COLOUR.search(on_terminal(geocli, "lookup", "-h")[1])


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        (("lookup", "-h"), {"NO_COLOR": "1"}),
        (("lookup", "-h"), {"TERM": "dumb"}),
        (("--no-color", "lookup", "-h"), {}),
        (("--no-color", "-h"), {}),
        (("lookup", "81.2.69.160", "nowhere"), {"NO_COLOR": "1"}),
        (("lookup", "81.2.69.160", "nowhere"), {"TERM": "dumb"}),
        (("lookup", "81.2.69.160"), {"NO_COLOR": "1"}),
        (("lookup", "81.2.69.160"), {"TERM": "dumb"}),
        (("stats",), {"NO_COLOR": "1"}),
        (("stats", "--map"), {"TERM": "dumb"}),
        (("--no-color", "stats", "--map"), {}),
        (("db", "list"), {"TERM": "dumb"}),
    ],
)
def test_no_colour_when_disabled(located: Geocli, arguments: tuple[str, ...], environ: dict[str, str]) -> None:
    """`NO_COLOR`, `TERM=dumb` and `--no-color` are obeyed, and a dumb terminal gets no escape sequences."""
    _, shown = on_terminal(located, *arguments, environ=environ)

    assert shown
    assert not COLOUR.search(shown)
    if "TERM" in environ:
        assert "\x1b" not in shown


@pytest.fixture
def orleans(geocli: Geocli) -> Geocli:
    """Run geocli with a database that has a name which is not ASCII."""
    record = {"country": {"iso_code": "FR", "names": {"en": "France"}}, "city": {"names": {"en": "Orléans"}}}
    build(geocli.db_dir / "GeoLite2-City.mmdb", {"81.2.69.0/24": record})
    return geocli


@pytest.mark.parametrize("format_", ["jsonl", "json", "csv", "tsv", "value"])
def test_data_is_utf8_in_any_locale(orleans: Geocli, format_: str) -> None:
    """Files are the same in every locale."""
    run = orleans("lookup", "-f", format_, "-F", "city", "81.2.69.160", environ=NOT_UTF8)

    assert (0, b"") == (run.returncode, run.stderr)
    assert "Orléans".encode() in run.stdout


@pytest.mark.parametrize(
    "arguments",
    [("-h",), ("stats", "-h"), ("lookup", "81.2.69.160"), ("lookup", "é"), ("stats", "--by", "city"), ("db", "list")],
    ids=" ".join,
)
def test_an_ascii_terminal_gets_ascii(orleans: Geocli, arguments: tuple[str, ...]) -> None:
    """In a locale without UTF-8, tables and messages are printed with escapes."""
    orleans("lookup", "81.2.69.160")
    orleans("flush")
    status, shown = on_terminal(orleans, *arguments, environ=NOT_UTF8)

    assert (2 if "é" in arguments else 0) == status
    assert "internal error" not in shown
    assert "Traceback" not in shown
    assert shown.isascii()


def test_printed_answers_are_in_the_store_after_a_flush(located: Geocli) -> None:
    """An answer that was printed with exit status 0 is stored."""
    entries = objects(located("lookup", "81.2.69.160", "2001:218::1", "10.0.0.1").stdout)
    assert 0 == located("flush").returncode

    assert sorted((entry["ip"], entry["status"]) for entry in entries) == stored_rows(located, "ip, status")


def test_the_journal_is_empty_after_a_flush(located: Geocli) -> None:
    """Nothing is stored twice, and nothing is left in the journal."""
    located("lookup", "81.2.69.160")
    located("flush")

    assert [] == dirty(located)
    assert 1 == json.loads(located("stats").stdout)["entries"]["resolved"]
