"""Every command that the README and the pages of `geocli docs` show is run, and its output compared."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from configparser import ConfigParser
from typing import TYPE_CHECKING

import pytest
import requests

from geocli import settings
from geocli.cli.app import COMMANDS
from geocli.models import FIELDS, FIELDS_ON_REQUEST
from geocli.storage.store_rows import COLUMNS
from tests.helpers.data_directories import dirty, stored_rows
from tests.helpers.databases import CITIES, NETWORKS, build
from tests.helpers.documentation import ALL, PAGES, ROOT, code_blocks, console_examples
from tests.helpers.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

pytestmark = [pytest.mark.slow, pytest.mark.measured]


def _unit(text: str) -> ConfigParser:
    unit = ConfigParser()
    unit.read_string(text)
    return unit


VARYING = (
    (r'(?<="duration_seconds": )[0-9.]+', "SECONDS"),
    (r"in [0-9.]+ s\b", "in SECONDS s"),
    (r"[0-9]+ (s|min|h|days) ago", "AGO"),
    (r"[0-9.]+ (bytes|kB)", "SIZE"),
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "DATE"),
    (r"(?<=geocli_journal_bytes )[0-9]+", "SIZE"),
    (r"/\S+/databases/", "/usr/share/GeoIP/"),
    (r"[─]+", ""),
)
"""What differs from run to run, and from machine to machine."""
PYTHON = code_blocks(PAGES["python"], "python")
UNITS = {text.split("\n")[0].removeprefix("# "): _unit(text) for text in code_blocks(ALL, "ini")}
"""The units of systemd, by the name of their file."""
STAND_INS = {
    "fail2ban-client": "193.0.6.139\n1.1.1.1",
    "last": "ada      pts/0        193.0.6.139      Thu Nov 26 09:12   still logged in",
    "ss": "0 0 10.0.0.5:22 8.8.8.8:50022\n0 0 [2001:db8::5]:443 [2a00:1450:4001:81b::200e]:40001",
    "dig": "8.8.8.8\n2001:4860:4860::8888",
}
"""What programs print on the machine of the examples."""


def _comparable(text: str) -> str:
    """Return text without variable parts, and without the white space of tables."""
    for pattern, constant in VARYING:
        text = re.sub(pattern, constant, text)
    return " ".join(text.split())


def _install_stand_ins(directory: Path) -> None:
    for name, output in STAND_INS.items():
        (directory / name).write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\n")
        (directory / name).chmod(0o755)


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if console_examples(text)])
def test_the_examples_print_the_shown_output(geocli: Geocli, tmp_path: Path, page: str) -> None:
    """The examples of a page, run in order by a shell, print the shown output, on either stream."""
    programs, work = tmp_path / "bin", tmp_path / "work"
    programs.mkdir()
    work.mkdir()
    _install_stand_ins(programs)
    environ = {**geocli.environ, "PATH": f"{programs}:{sysconfig.get_path('scripts')}:{os.environ['PATH']}"}
    for command, output in console_examples(PAGES[page]):
        if command.startswith("ls "):  # which shows that there are databases now
            build_epoch = int(time.time()) - 3 * 86_400
            build(geocli.db_dir / "GeoLite2-City.mmdb", CITIES, build_epoch=build_epoch)
            build(geocli.db_dir / "GeoLite2-ASN.mmdb", NETWORKS, edition="GeoLite2-ASN", build_epoch=build_epoch)
        ran = subprocess.run(["sh", "-c", command], env=environ, cwd=work, capture_output=True, text=True, check=False)

        assert _comparable(output) == _comparable(ran.stdout + ran.stderr), command


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_the_units_of_systemd_are_units(geocli: Geocli, unit: ConfigParser) -> None:
    """Each has the sections that systemd expects; the flush is silent, like in cron."""
    assert {"Unit", "Service"} == set(unit.sections()) or {"Unit", "Timer", "Install"} == set(unit.sections())
    if "Service" in unit:
        program, *arguments = unit["Service"]["ExecStart"].split()
        assert "/usr/local/bin/geocli" == program
        if arguments == ["flush"]:
            run = geocli(*arguments)
            assert (0, b"", b"") == (run.returncode, run.stdout, run.stderr)


def test_the_units_of_systemd_do_what_cron_does() -> None:
    """Each job of `crontab.example` has a service with a tested command, and each service has a timer."""
    jobs = re.findall(r"^[^#]+ \$GEOCLI (.+)$", (ROOT / "crontab.example").read_text(), re.MULTILINE)
    services = {name.removesuffix(".service"): unit for name, unit in UNITS.items() if "Service" in unit}

    assert [f"/usr/local/bin/geocli {job}" for job in jobs] == [
        unit["Service"]["ExecStart"] for unit in services.values()
    ]
    assert {f"{name}.timer" for name in services} == {name for name, unit in UNITS.items() if "Timer" in unit}


def test_the_readme_makes_a_file_for_cron_of_the_example() -> None:
    """In /etc/cron.d each job has a user before its command, and nothing else of the example changes."""
    (command,) = re.findall(r"^(sed .*) >/etc/cron.d/geocli", PAGES["README"], re.MULTILINE)
    generated = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    example = (ROOT / "crontab.example").read_text()

    assert 4 == len(re.findall(r"^(?:[-0-9*/,]+ ){5}root \$GEOCLI ", generated, re.MULTILINE))
    assert example == generated.replace(" root $GEOCLI", " $GEOCLI")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_lines_for_completion_are_those_that_are_tested(shell: str) -> None:
    """`test_completion.py` loads the same lines."""
    assert f"_GEOCLI_COMPLETE=source_{shell} geocli" in ALL


def test_there_are_examples_of_every_kind() -> None:
    """The parser of the pages finds all examples."""
    assert len(console_examples(ALL)) >= 57
    assert len(code_blocks(PAGES["README"], "sh")) == 3
    assert len(PYTHON) == 3
    assert len(UNITS) == 8


def _output_of(example: str, geocli: Geocli, tmp_path: Path) -> str:
    code = example.replace("/tmp/geocli-example", str(tmp_path / "example"))  # noqa: S108 (replaced)
    return subprocess.run(
        [sys.executable, "-c", code], env=geocli.environ, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def test_the_python_example_runs(geocli: Geocli, tmp_path: Path) -> None:
    """The tutorial's code prints the country, the rows and the number of flushed entries."""
    expected = "US rir\n193.0.6.139 resolved\nnonsense invalid\n2\n"

    assert expected == _output_of(PYTHON[0], geocli, tmp_path)


def test_the_example_for_iterables_and_asyncio_runs(geocli: Geocli, tmp_path: Path) -> None:
    """Invalid addresses in a column have a row, and lookups run in threads; the output is as shown."""
    first, second = _output_of(PYTHON[2], geocli, tmp_path).splitlines()

    assert f"This prints `{first}`\nand `{second}`." in ALL


def test_the_python_examples_are_typed(tmp_path: Path) -> None:
    """A program that begins as an example does passes mypy's strict checks."""
    pytest.importorskip("mypy")
    for number, code in enumerate(PYTHON):
        (tmp_path / f"example_{number}.py").write_text(code)

    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (ran.returncode, ran.stderr), ran.stdout


@pytest.fixture
def service(geocli: Geocli, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start the web service of the README, here with a flush every tenth of a second, and return its URL."""
    code = PYTHON[1].replace("/tmp/geocli-example", str(geocli.data_dir))  # noqa: S108 (replaced)
    (tmp_path / "module.py").write_text(code.replace("sleep(60)", "sleep(0.1)"))
    command = [sys.executable, "-m", "uvicorn", "module:app", "--port", "0"]
    with subprocess.Popen(command, env=geocli.environ, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if result := re.search(r"http://[0-9.:]+", line):
                yield result[0], process
                break
        process.terminate()
        process.stderr.read()


def test_the_web_service_answers_and_flushes(geocli: Geocli, service: tuple[str, subprocess.Popen[str]]) -> None:
    """A client gets the place, then the same from the cache; an invalid address is a client error; nothing is lost."""
    url, process = service
    expected = {"ip": "8.8.8.8", "country": "US", "cached": False}

    assert expected == requests.get(f"{url}/8.8.8.8", timeout=30).json()
    wait_for(lambda: json.loads(geocli("stats").stdout)["entries"] == {"resolved": 1, "special": 0, "unresolved": 0})
    assert {**expected, "cached": True} == requests.get(f"{url}/8.8.8.8", timeout=30).json()
    refused = requests.get(f"{url}/nonsense", timeout=30)
    assert (400, "nonsense: a host name") == (refused.status_code, refused.json()["detail"][:21])

    with ThreadPoolExecutor(8) as pool:  # one cache, many threads
        urls = [f"{url}/9.9.9.{number}" for number in range(40)]
        answers = list(pool.map(lambda address_url: requests.get(address_url, timeout=30).json()["country"], urls))
    assert ["US"] * 40 == answers
    process.terminate()
    process.wait(60)
    assert 41 == len(stored_rows(geocli))
    assert [] == dirty(geocli)


@pytest.mark.parametrize("name", [*FIELDS, *FIELDS_ON_REQUEST])
def test_every_field_is_documented(name: str) -> None:
    """The table of fields is complete."""
    assert f"`{name}`" in PAGES["commands"]


@pytest.mark.parametrize("name", COLUMNS)
def test_every_column_is_documented(name: str) -> None:
    """The description of the table geo_cache is complete."""
    section = PAGES["store"].partition("## The table geo_cache")[2].partition("\n## ")[0]

    assert re.search(rf"\b{name}\b", section)


@pytest.mark.parametrize("name", settings.SETTINGS)
def test_every_key_of_the_configuration_is_documented(name: str) -> None:
    """The table of keys is complete."""
    assert f"`{name}`" in PAGES["configuration"]


def test_every_room_is_on_the_map() -> None:
    """Every module and package has its place in the table for contributors."""
    section = PAGES["contributing"]
    rooms = {
        path.stem for path in (ROOT / "geocli").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }

    assert set() == {room for room in rooms - {"__init__"} if f"`{room}`" not in section}


def test_every_metric_is_documented(located: Geocli) -> None:
    """Every metric for Prometheus is in its recipe."""
    located("lookup", "81.2.69.160")
    located("flush")
    located("lookup", "81.2.69.161")
    names = re.findall(r"^# TYPE (\S+) gauge$", located("stats", "-f", "prometheus").stdout.decode(), re.MULTILINE)

    assert len(names) == 9
    assert [] == [name for name in names if f"`{name}" not in PAGES["recipes"]]


def test_every_command_is_documented() -> None:
    """Every command of the command line is in the README."""
    assert [] == [name for name in COMMANDS if f"`{name}" not in PAGES["README"]]
