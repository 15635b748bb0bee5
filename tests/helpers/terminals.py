"""Run commands on a pseudo-terminal, and read what it shows."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from typing import TYPE_CHECKING

from tests.helpers.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.helpers.geocli_process import Geocli

STYLE = re.compile(r"\x1b\[[0-9;]*m")
"""An escape sequence for colours and weights (ECMA-48, SGR)."""
COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[;m]")
TERMINAL = {"TERM": "xterm-256color", "COLUMNS": "240", "NO_COLOR": "", "FORCE_COLOR": "", "GITHUB_ACTIONS": ""}


def on_terminal(geocli: Geocli, *arguments: str, environ: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a command with a terminal for all its streams, and return its exit status and its output.

    The data directory exists, since on a terminal root is informed when it is created.
    """
    geocli.data_dir.mkdir(mode=0o700, exist_ok=True)
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [*geocli.command, *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={name: text for name, text in {**geocli.environ, **TERMINAL, **(environ or {})}.items() if text},
    )
    os.close(terminal)
    output = b""
    try:
        while data := os.read(controller, 1 << 16):
            output += data
    except OSError:  # on Linux: no process has the terminal open any more
        pass
    finally:
        os.close(controller)
    return process.wait(PATIENCE_SECONDS), output.decode().replace("\r\n", "\n")


def words(text: str) -> list[list[str]]:
    """Return the words of each line that is not blank, without styles."""
    return [line.split() for line in STYLE.sub("", text).splitlines() if line.split()]
