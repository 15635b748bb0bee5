"""The ids of tests are the same in each process, or parallel workers would not agree on what to run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def test_ids_do_not_depend_on_the_process(pytestconfig: pytest.Config) -> None:
    """Two processes, in sequence and with different hash seeds, collect the same tests, including slow ones."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-m",
        "",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
    ]
    first, second = (
        subprocess.run(
            command,
            env=environ | {"PYTHONHASHSEED": seed},
            cwd=pytestconfig.rootpath,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for seed in ("1", "2")
    )

    ids = [line for line in first if "::" in line]
    assert ids
    assert ids == [line for line in second if "::" in line]
