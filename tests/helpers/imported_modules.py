"""The modules that commands import."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.helpers.geocli_process import Geocli

HEAVY = {
    *("ctypes", "rich", "structlog", "sqlite_utils", "geoip2", "iptocc", "pydantic", "asyncio"),
    *("typer", "platformdirs", "requests", "dataclasses", "typing", "pathlib", "hashlib", "importlib.metadata"),
    *("enum", "json", "re"),
}
"""Modules that take long to import."""


_PROGRAM = """
import os, sys
from geocli.__main__ import main

end = os._exit

def show_modules(status):
    print(*sys.modules, sep="\\n", file=sys.stderr, flush=True)
    end(status)

os._exit = show_modules
main()
"""


def imported_by(geocli: Geocli, *arguments: str) -> set[str]:
    """Return the modules that a command has imported when it ends; it must succeed."""
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments],
        env={name: value for name, value in geocli.environ.items() if not name.startswith(("GEOCLI_CONFIG", "COV"))},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(run.stderr.splitlines())
