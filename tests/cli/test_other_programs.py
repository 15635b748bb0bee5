"""geocli in the company of other programs: watch, xargs, parallel, tee, a loop of the shell, ssh without a terminal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING

import pytest

from tests.helpers.command_output import objects
from tests.helpers.data_directories import stored_rows
from tests.helpers.terminals import STYLE, on_terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

    Sh = Callable[[str], subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.slow

MANY = [f"81.2.69.{number}" for number in range(16)]


def needs(program: str, package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} (Debian's {package}) is not installed")


@pytest.fixture
def sh(located: Geocli, tmp_path: Path) -> Sh:
    """Run a line of shell in which geocli is on the PATH, without a terminal."""
    (tmp_path / "addresses").write_text("\n".join([*MANY, ""]))
    environ = {**located.environ, "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"}

    def run(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", f"set -o pipefail; {line}"],
            env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return run


def _all_are_kept(located: Geocli) -> bool:
    located("flush")
    return [(ip, "London") for ip in sorted(MANY)] == stored_rows(located, "ip, city")


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("xargs -P8 -n1 geocli lookup < addresses", id="xargs"),
        pytest.param("parallel -j8 geocli lookup < addresses", marks=needs("parallel", "parallel"), id="parallel"),
        pytest.param(
            "parallel --pipe -j8 -N8 geocli batch -f jsonl < addresses", marks=needs("parallel", "parallel"), id="pipe"
        ),
    ],
)
def test_eight_at_once(located: Geocli, sh: Sh, line: str) -> None:
    """Each answer is a whole line, and all of them are stored."""
    ran = sh(line)

    assert (0, "") == (ran.returncode, ran.stderr)
    assert sorted(MANY) == sorted(str(entry["ip"]) for entry in objects(ran.stdout.encode()))
    assert _all_are_kept(located)


def test_the_worst_exit_status_comes_through_xargs(sh: Sh) -> None:
    """The status of xargs is 123 if one of its commands had no answer."""
    assert 123 == sh("printf '81.2.69.1\\nnowhere\\n' | xargs -P2 -n1 geocli lookup").returncode


def test_a_loop_keeps_its_input(located: Geocli, sh: Sh) -> None:
    """`lookup` does not read the standard input of the surrounding loop."""
    ran = sh('while read -r ip; do geocli lookup -f value -F ip,city "$ip"; done < addresses')

    assert (0, "") == (ran.returncode, ran.stderr)
    assert [f"{ip}\tLondon" for ip in MANY] == ran.stdout.splitlines()
    assert _all_are_kept(located)


def test_other_commands_in_a_loop_do_not_read_its_input(sh: Sh) -> None:
    """A script may flush and print statistics within the loop."""
    ran = sh("while read -r ip; do geocli flush; geocli stats >/dev/null; echo $ip; done < <(head -n 3 addresses)")

    assert (MANY[:3], "") == (ran.stdout.splitlines(), ran.stderr)


def test_tee_gets_what_the_next_program_gets(located: Geocli, sh: Sh) -> None:
    """The same bytes go to the file and to the next program, and are stored."""
    ran = sh("geocli batch -f value -F ip,city < addresses | tee copy | cut -f2 | sort | uniq -c; cat copy")

    assert (0, "") == (ran.returncode, ran.stderr)
    assert ["     16 London", *(f"{ip}\tLondon" for ip in MANY)] == ran.stdout.splitlines()
    assert _all_are_kept(located)


def test_a_pipeline_has_the_status_of_the_failed_part(sh: Sh) -> None:
    """The exit status is not lost before tee."""
    assert [2, 0] == [
        int(status) for status in sh("geocli lookup nowhere | tee copy; echo ${PIPESTATUS[*]}").stdout.split()[-2:]
    ]


def test_head_ends_a_lookup_of_many(sh: Sh) -> None:
    """Quietly."""
    ran = sh("geocli lookup $(cat addresses) | head -n 1")

    assert "" == ran.stderr
    assert [MANY[0]] == [entry["ip"] for entry in objects(ran.stdout.encode())]


@needs("watch", "procps")
@pytest.mark.parametrize("command", ["lookup 81.2.69.160", "stats", "stats -f table"])
def test_watch(located: Geocli, command: str) -> None:
    """It repeatedly shows the output for a pipe, without colours, which it does not interpret."""
    geocli = f"{sys.executable} -m geocli {command}"
    located.command = ("timeout", "1.5", "watch", "-t", "-n", "0.2", geocli)  # type: ignore[assignment]
    _, shown = on_terminal(located, environ={"LINES": "24", "COLUMNS": "120"})

    assert "internal error" not in shown
    assert ("London" if "lookup" in command else "entries") in STYLE.sub("", shown)


def test_a_command_without_a_terminal_or_a_home(located: Geocli, sh: Sh) -> None:
    """As in `ssh host geocli ...`: pipes, no terminal, no TERM, not a login shell."""
    ran = sh("env -u TERM -u COLUMNS setsid -w geocli lookup 81.2.69.160 < /dev/null | cat")

    assert (0, "") == (ran.returncode, ran.stderr)
    assert ["London"] == [entry["city"] for entry in objects(ran.stdout.encode())]
    located("flush")
    assert [("81.2.69.160",)] == stored_rows(located)
