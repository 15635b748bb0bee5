"""Read the output of commands: error messages and JSON lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess


def complaint(run: subprocess.CompletedProcess[bytes]) -> str:
    """Return the only line on standard error, without its prefix."""
    (line,) = run.stderr.decode().splitlines()
    assert line.startswith("geocli: ")
    return line.removeprefix("geocli: ")


def complaints(run: subprocess.CompletedProcess[bytes]) -> list[str]:
    """Return the lines on standard error without their prefix, which all must have."""
    lines = run.stderr.decode().splitlines()
    assert [] == [line for line in lines if not line.startswith("geocli: ")]
    return [line.removeprefix("geocli: ") for line in lines]


def objects(data: bytes) -> list[dict[str, Any]]:
    """Parse JSON lines."""
    return [json.loads(line) for line in data.splitlines()]
