"""Hostile text in every output: none of it acts on a terminal, a log or a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers.databases import build
from tests.helpers.geocli_process import Geocli
from tests.helpers.stores import change
from tests.helpers.terminals import STYLE, on_terminal
from tests.helpers.web_services import Web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

CLASSES = {
    "\x1b[31mred": r"\x1b[31mred",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "\x1bP+q\x1b\\": r"\x1bP+q\x1b\ ".rstrip(),
    "\x9b2J": r"\x9b2J",
    "\x08\x7f": r"\x08\x7f",
    "\u202eevil\u2066": r"\u202eevil\u2066",
    "two\nlines": r"two\nlines",
    "over\rwritten": r"over\rwritten",
    "a\u2028b\u2029c\x85d": r"a\u2028b\u2029c\x85d",
    "zero\u200bwidth\ufeff": r"zero\u200bwidth\ufeff",
    "\U000e0041tag": r"\U000e0041tag",
    "[/nope][bold]x[/bold]": "[/nope][bold]x[/bold]",
    "[link=file:///etc/passwd]x": "[link=file:///etc/passwd]x",
    ":smile:": ":smile:",
}
"""Text from databases, services, logs and users, and the expected output."""
TEXT = "|".join(CLASSES)
FORMULAS = ("=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1")
ALL_FIELDS = "ip,country_name,region,city,time_zone,postal_code,org,source,traits,traits.user_type"
LOG = "".join(text for text in CLASSES if "\n" not in text and "\r" not in text)


def _is_harmless(shown: str, *, allowed: str = "\n") -> bool:
    """Return whether shown text has no control characters except our styles."""
    return all(char.isprintable() or char in allowed for char in STYLE.sub("", shown))


def _all_shown(shown: str) -> list[str]:
    """Return the classes that are not shown as expected, regardless of line breaks."""
    joined = "".join(STYLE.sub("", shown).split())
    return [text for text, harmless in CLASSES.items() if "".join(harmless.split()) not in joined]


def _with_database(geocli: Geocli) -> Geocli:
    """Build a database in which every text is hostile."""
    names = {"names": {"en": TEXT}}
    record: dict[str, Any] = {
        "country": {"iso_code": TEXT, **names},
        "subdivisions": [names],
        "city": names,
        "postal": {"code": TEXT},
        "location": {"time_zone": TEXT},
        "traits": {"isp": TEXT, "user_type": TEXT},
    }
    build(geocli.db_dir / "GeoLite2-City.mmdb", {"81.2.69.0/24": record}, edition=f"GeoLite2-City{TEXT}")
    return geocli


@pytest.fixture
def hostile(geocli: Geocli) -> Geocli:
    """Run geocli with a database in which every text is hostile."""
    return _with_database(geocli)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a data directory with the hostile answer in the store, and a hostile status, once."""
    geocli = _with_database(Geocli(tmp_path_factory.mktemp("template")))
    for arguments in (("lookup", "81.2.69.160", "81.2.69.161"), ("flush",)):
        assert 0 == geocli(*arguments).returncode
    status = TEXT.replace("'", "''")
    change(f"{geocli.data_dir}/geocli.db", f"UPDATE geo_cache SET status = '{status}' WHERE ip = '81.2.69.161'")
    return geocli.data_dir


@pytest.fixture
def filled(hostile: Geocli, template: Path) -> Geocli:
    """The same, with the hostile answer in the store."""
    shutil.copytree(template, hostile.data_dir)
    return hostile


@pytest.mark.parametrize("format_", ["table", "csv", "tsv", "value", "json", "jsonl"])
def test_a_database_in_lookup(hostile: Geocli, format_: str) -> None:
    """Every field, in every format, on a terminal."""
    fields = "city" if format_ == "table" else ALL_FIELDS  # whose lines are wrapped
    status, shown = on_terminal(hostile, "lookup", "-f", format_, "-F", fields, "81.2.69.160")

    assert 0 == status
    assert _is_harmless(shown, allowed="\t\n" if format_ in {"tsv", "value"} else "\n")
    if "json" not in format_:
        assert [] == _all_shown(shown)
    else:
        actual = json.loads(shown)
        assert TEXT == (actual[0] if format_ == "json" else actual)["city"]


@pytest.mark.parametrize("addresses", [("81.2.69.160",), ("81.2.69.160", "81.2.69.161")], ids=["card", "table"])
@pytest.mark.parametrize("width", ["40", "80", "240"])
def test_a_database_on_a_card_and_in_a_table(hostile: Geocli, addresses: tuple[str, ...], width: str) -> None:
    """The default output, on terminals of any width."""
    status, shown = on_terminal(hostile, "lookup", *addresses, environ={"COLUMNS": width})

    assert 0 == status
    assert _is_harmless(shown)


BATCHES: list[tuple[tuple[str, ...], str]] = [
    (("-f", "csv"), "81.2.69.160\n"),
    (("-f", "tsv"), "81.2.69.160\n"),
    (("-f", "value"), "81.2.69.160\n"),
    (("-f", "jsonl"), "81.2.69.160\n"),
    (("-i", "csv", "-c", "ip", "--prefix", "g_"), f'ip,"{LOG}"\n81.2.69.160,"{LOG}"\n'),
    (("--prefix", "geo_", "-i", "csv", "-c", "ip"), "ip,\x1b]0;pwn\x07,\x9b31m,\u202e\n81.2.69.160,a,b,c\n"),
    (("-i", "csv", "-c", "ip", "--prefix", "=\x1b[31m"), "ip\n81.2.69.160\n"),
    (("-i", "jsonl"), f'{{"ip": "81.2.69.160", "said": "{LOG}"}}\n'),
    (("-i", "jsonl", "--prefix", "=\x1b[31m"), f'{{"ip": "81.2.69.160", "geo": "{LOG}"}}\n'),
    (("-i", "log"), f"{LOG} 81.2.69.160 {LOG}\n"),
    (("-i", "log", "--extract"), f"{LOG} 81.2.69.160 {LOG}\n"),
    ((), f"{LOG}\n"),
]


@pytest.mark.parametrize(("options", "text"), BATCHES, ids=[" ".join(options)[:20] for options, _ in BATCHES])
def test_input_and_a_database_in_batch(hostile: Geocli, tmp_path: Path, options: tuple[str, ...], text: str) -> None:
    """Every form of input, with hostile text around the address and in the answer, on a terminal; and the summary."""
    path = tmp_path / "input"
    path.write_text(text, newline="")
    fields = () if "-i" in options and "log" in options and "--extract" not in options else ("-F", ALL_FIELDS)
    _, shown = on_terminal(hostile, "batch", *options, *fields, "--summary", str(path))

    assert "81.2.69.160" in shown or LOG in text
    assert _is_harmless(shown, allowed="\t\n")


def test_a_log_in_a_pipe_is_unchanged(hostile: Geocli) -> None:
    """In a pipe, only the inserted label is escaped."""
    text = f"{LOG} 81.2.69.160 {LOG}\n".encode()
    run = hostile("batch", "-i", "log", stdin=text)
    before, _, after = run.stdout.partition(b"81.2.69.160 [")
    label, _, rest = after.partition(f"] {LOG}".encode())

    assert (f"{LOG} ".encode(), b"\n") == (before, rest)
    assert label.decode().isprintable()


def _formulas(geocli: Geocli) -> None:
    """Build databases in whose names spreadsheets see formulas."""
    for number, text in enumerate(FORMULAS):
        names = {"names": {"en": text}}
        record = {"city": names, "subdivisions": [names], "traits": {"autonomous_system_organization": text}}
        build(geocli.db_dir / f"{number}.mmdb", {f"81.2.{number}.0/24": record})


@pytest.mark.parametrize("command", ["lookup", "batch", "batch -i csv"])
@pytest.mark.parametrize("format_", ["csv", "tsv"])
def test_formulas_of_databases(geocli: Geocli, command: str, format_: str) -> None:
    """Every cell that begins like a formula begins with an apostrophe instead."""
    _formulas(geocli)
    addresses = [f"81.2.{number}.1" for number in range(len(FORMULAS))]
    fields = ("-F", "ip,city,region,org")
    if command == "lookup":
        run = geocli("lookup", "-f", format_, *fields, *addresses)
    elif command == "batch":
        run = geocli("batch", "-f", format_, *fields, stdin="\n".join([*addresses, ""]).encode())
    else:
        run = geocli("batch", "-i", "csv", "-F", "city,region,org", stdin="\n".join(["ip", *addresses]).encode())
    comma = "\t" if format_ == "tsv" and command != "batch -i csv" else ","
    rows = list(csv.reader(io.StringIO(run.stdout.decode()), delimiter=comma))[1:]

    assert len(FORMULAS) == len(rows)
    assert [] == [cell for row in rows for cell in row[1:] if not cell.startswith("'")]


@pytest.mark.parametrize("format_", ["csv", "tsv"])
@pytest.mark.parametrize("command", ["lookup", "batch"])
def test_formulas_in_arguments_and_lists(geocli: Geocli, command: str, format_: str) -> None:
    """Invalid addresses are written in a row, escaped for spreadsheets."""
    texts = ["=1+1", "@SUM(1)", "+1+1", "=HYPERLINK(1)"]
    last = texts if command == "lookup" else []
    run = geocli(command, "-f", format_, "-F", "ip,status", *last, stdin="\n".join([*texts, ""]).encode())

    assert [f"'{text}" for text in texts] == [
        line.split(b"invalid")[0][:-1].decode() for line in run.stdout.splitlines()[1:]
    ]


@pytest.mark.parametrize("by", ["country", "city", "source", "asn"])
@pytest.mark.parametrize("format_", ["table", "json", "prometheus"])
def test_a_store_in_statistics(filled: Geocli, format_: str, by: str) -> None:
    """Labels, statuses and names of databases may have any text."""
    status, shown = on_terminal(filled, "stats", "-f", format_, "--by", by)

    assert 0 == status
    assert _is_harmless(shown)
    if format_ == "json":
        assert TEXT in json.loads(shown)["entries"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("stats", "--check"),
        ("db", "list"),
        ("db", "list", "-f", "json"),
        ("db", "verify"),
        ("-v", "lookup", "81.2.69.162"),
        ("-v", "re-resolve", "--all"),
        ("-v", "--no-color", "flush"),
    ],
    ids=" ".join,
)
def test_file_names_in_reports_and_logs(filled: Geocli, arguments: tuple[str, ...]) -> None:
    """Names of databases may have any text, and the file may be damaged; log events are escaped, too."""
    (filled.db_dir / f"{TEXT.replace('/', '')}.mmdb").write_bytes(b"not a database")
    build(filled.db_dir / "sound\x1b]0;q.mmdb", {"98.0.0.0/24": {"country_code": "US"}})
    _, shown = on_terminal(filled, *arguments)

    assert shown
    assert _is_harmless(shown)


MESSAGES: list[Callable[[str], tuple[str, ...]]] = [
    lambda text: ("lookup", text),
    lambda text: ("lookup", f"[{text}]:80"),
    lambda text: ("lookup", f"fe80::1%{text}"),
    lambda text: ("lookup", f"[fe80::1%{text}]:{text}"),
    lambda text: ("lookup", "-F", text, "::"),
    lambda text: ("lookup", "--db", f"/missing{text}", "81.2.69.160"),
    lambda text: ("lookup", "-f", text, "::"),
    lambda text: ("batch", f"/missing{text}"),
    lambda text: ("batch", "-i", text),
    lambda text: ("batch", "--no-progress", "-o", f"/missing/{text}", "/dev/null"),
    lambda text: ("batch", "-i", "csv", "-c", text, __file__),
    lambda text: ("batch", "-i", "csv", "--delimiter", text, "/dev/null"),
    lambda text: ("stats", "-o", f"/missing/{text}"),
    lambda text: ("stats", "--max-lag", text, "--check"),
    lambda text: ("re-resolve", "--older-than", text),
    lambda text: ("db", "update", text),
    lambda text: ("db", "verify", f"/missing{text}"),
    lambda text: ("db", text),
    lambda text: ("--config", f"/missing{text}", "flush"),
    lambda text: ("--data-dir", f"/dev/null/{text}", "flush"),
    lambda text: (text,),
    lambda text: (f"--{text}",),
]


@pytest.mark.parametrize(
    "arguments", MESSAGES, ids=[" ".join(make("TEXT")).replace(__file__, "FILE") for make in MESSAGES]
)
def test_arguments_in_messages(geocli: Geocli, arguments: Callable[[str], tuple[str, ...]]) -> None:
    """An error that quotes an argument, a path, an option or a zone is escaped on a terminal and in a log."""
    _, shown = on_terminal(geocli, *arguments(TEXT))
    run = geocli(*arguments(TEXT))

    assert _is_harmless(shown)
    assert _is_harmless((run.stdout + run.stderr).decode())


@pytest.fixture(params=["ip-api", "maxmind"])
def service(request: pytest.FixtureRequest, geocli: Geocli, tmp_path: Path) -> Iterator[Web]:
    """Return a web service with hostile responses, which geocli asks, without databases."""
    with Web(request.param, tmp_path) as web:
        geocli.environ |= {**web.environ, "GEOCLI_BUILT_IN_DATA": "false", "GEOCLI_SERVICE_TIMEOUT_SECONDS": "5"}
        yield web


def _hostile_record(web: Web, ip: str) -> dict[str, Any]:
    """Return a response with hostile text in all fields of the place."""
    names = {"names": {"en": TEXT}}
    if web.is_maxmind:
        changes = {"city": names, "subdivisions": [names], "country": {"iso_code": "JP", **names}}
    else:
        changes = dict.fromkeys(("country", "regionName", "city", "zip", "isp", "org", "as", "timezone"), TEXT)
    return web.record(ip) | changes


@pytest.mark.parametrize("format_", ["table", "csv", "value"])
def test_a_service(geocli: Geocli, service: Web, format_: str) -> None:
    """Answers and log events are escaped."""
    record = _hostile_record(service, "45.45.45.45")
    service.behave = lambda _: service.json(record if service.is_maxmind else [record])
    status, shown = on_terminal(geocli, "-v", "lookup", "-f", format_, "-F", "city", "45.45.45.45")

    assert 0 == status
    assert _is_harmless(shown)
    assert [] == _all_shown(shown)


@pytest.mark.parametrize("http_status", [200, 401, 403, 429, 500])
def test_a_service_that_fails(geocli: Geocli, service: Web, http_status: int) -> None:
    """Its error message is escaped, if it is shown at all."""
    body: dict[str, Any] = {"code": TEXT, "error": TEXT, "message": TEXT, "status": TEXT}
    service.behave = lambda _: service.json(body, status=http_status)
    status, shown = on_terminal(geocli, "lookup", "45.45.45.45")

    assert status in {3, 75}
    assert _is_harmless(shown)


def test_any_zone_is_dropped(geocli: Geocli) -> None:
    """Text after % is not part of the address that is shown and stored."""
    shown = geocli("lookup", "-f", "value", "-F", "ip", f"fe80::1%{LOG.replace('%', '').replace('/', '')}")

    assert (0, b"fe80::1\n", b"") == (shown.returncode, shown.stdout, shown.stderr)


@pytest.mark.parametrize("key", ["data_dir", "unknown\\u001b[31m\\u202e"])
def test_settings_in_messages(geocli: Geocli, tmp_path: Path, key: str) -> None:
    """Keys and values of a configuration, and variables, are quoted harmlessly."""
    (tmp_path / "config.toml").write_text(f'"{key}" = ["\\u001b[31m\\u202e"]\n')
    from_file = geocli("stats")
    from_variable = geocli("stats", environ={"GEOCLI_LOCK_TIMEOUT": TEXT, "GEOCLI_CONFIG": os.devnull})

    for run in (from_file, from_variable):
        assert (2, b"") == (run.returncode, run.stdout)
        assert _is_harmless(run.stderr.decode())
        assert b"\\x1b[31m" in run.stderr
