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
}
"""Modules that take long to import."""


def imported_by(geocli: Geocli, *arguments: str) -> set[str]:
    """Return the modules that a command imports, by `-X importtime`; it must succeed."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "from geocli.__main__ import main; main()", *arguments],
        env={name: value for name, value in geocli.environ.items() if not name.startswith(("GEOCLI_CONFIG", "COV"))},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.rpartition("|")[2].strip() for line in run.stderr.splitlines() if line.startswith("import time:")]
    return set(lines)
