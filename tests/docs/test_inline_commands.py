"""Commands within the text and the tables of the pages: each is parsed, and run if it is complete."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest
from typer.main import get_command

from geocli.cli.app import app
from tests.helpers.documentation import PAGES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.measured

PLACEHOLDER = re.compile(r"[A-Z]{3,}|\.\.\.|\[|scheduler")
LOG = '193.0.6.139 - - [26/Nov/2026:09:12:31 +0000] "GET /login HTTP/1.1" 401 153\n'
NEEDS_MORE = {
    "db update",
    "db verify",
    "clear",
    "batch",
    "lookup",
    "lookup --format csv",
    "networks",
    "--install-completion",
}
"""Commands that need the network, a choice or standard input, if they stand alone."""


def _inline() -> set[str]:
    """Return the commands between backquotes, without what is piped into them."""
    commands = set()
    for text in PAGES.values():
        prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        for command in re.findall(r"`([^`\n]*\bgeocli [^`\n]*)`", prose):
            for part in re.split(r" \\?\| ", command):
                if part.startswith("geocli "):
                    commands.add(part.removeprefix("geocli "))
    return commands


COMMANDS = sorted(_inline())


def test_there_are_commands_in_the_text() -> None:
    """The search finds what a reader sees."""
    assert {"batch access.log --count-by country_code --top 10", "db list", "flush"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_in_the_text_exists(command: str) -> None:
    """Each word that begins with a hyphen is an option of the command that is named, or of geocli."""
    names = {option for parameter in get_command(app).params for option in parameter.opts}
    current = get_command(app)
    for word in shlex.split(command):
        chosen = getattr(current, "commands", {}).get(word)
        if chosen is not None:
            current = chosen
            names |= {option for parameter in current.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in shlex.split(command) if word.startswith("-") and word != "-" and word not in names]

    assert [] == unknown


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [command for command in COMMANDS if not PLACEHOLDER.search(command) and command not in NEEDS_MORE]
)
def test_complete_commands_run(located: Geocli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """A command without a placeholder runs in a directory with a log; its exit status is 0, or 1 for nothing found."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "access.log").write_text(LOG)
    run = located(*shlex.split(command), stdin=b"8.8.8.8\n")

    assert run.returncode in {0, 1}, run.stderr
