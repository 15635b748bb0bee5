"""Completion in bash, zsh and fish: a few letters and a tab are typed in an interactive shell."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sysconfig
import termios
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.helpers.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow

READY = "geocli-prompt>"
START = {
    "bash": ("bash", "--noprofile", "--rcfile", "{rc}", "-i"),
    "zsh": ("zsh", "-d", "-i"),
    "fish": ("fish", "--no-config", "--init-command", "source {rc}", "-i"),
}
RC = {
    "bash": f"PS1='{READY}'\n",
    "zsh": f"PROMPT='{READY}'\nautoload -U compinit && compinit -D -u\n",
    "fish": f"function fish_prompt; echo -n '{READY}'; end\nfunction fish_greeting; end\n",
}


class Shell:
    """An interactive shell on a terminal, with geocli's completion loaded as `geocli docs recipes` says."""

    def __init__(self, name: str, geocli: Geocli, home: Path) -> None:
        environ = {**geocli.environ, "TERM": "dumb", "HOME": str(home), "ZDOTDIR": str(home), "LC_ALL": "C.UTF-8"}
        environ["PATH"] = f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"
        rc = home / ".zshrc"
        rc.write_text(RC[name] + _script(name, environ))
        self._terminal, its = pty.openpty()
        os.set_blocking(self._terminal, False)
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))
        self._output = ""
        command = ["setsid", "--ctty", *(word.format(rc=rc) for word in START[name])]
        self._process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environ, cwd=home)
        os.close(its)

    def wait_for(self, text: str) -> None:
        """Wait until the shell has shown a string, and discard everything before."""

        def is_there() -> bool:
            with suppress(OSError):  # nothing yet
                self._output += os.read(self._terminal, 1 << 16).decode(errors="replace")
            return text in self._output

        try:
            wait_for(is_there)
        except AssertionError:
            raise AssertionError(self._output) from None
        self._output = self._output.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)


def _script(name: str, environ: dict[str, str]) -> str:
    """Return what geocli prints for a shell that requests its completion."""
    completion_environ = {**environ, "_GEOCLI_COMPLETE": f"source_{name}"}
    return subprocess.run(["geocli"], env=completion_environ, capture_output=True, text=True, check=True).stdout


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.skipif(not shutil.which(name), reason=f"{name} is not installed"))
        for name in START
    ]
)
def shell(request: pytest.FixtureRequest, geocli: Geocli, tmp_path: Path) -> Iterator[Shell]:
    started = Shell(request.param, geocli, tmp_path)
    started.wait_for(READY)
    yield started
    started.close()


TYPED = {
    "geocli flu\t--json\r": '{"flushed": 0,',
    "geocli stats -f json --by ci\t\r": '"by": "city"',
    "geocli db l\t-f json\r": "[]",
    "geocli lookup --cac\t-f value -F scope 10.0.0.1\r": "private",
}
"""Words for a command, a value, an inner command and an option; and the output of the whole line."""


def test_a_tab_completes_and_the_command_runs(shell: Shell) -> None:
    """The only match is inserted with a space after it, and Enter runs the line."""
    for typed, shown in TYPED.items():
        shell.type(typed)
        shell.wait_for(shown)
        shell.wait_for(READY)
