"""The ids of tests are the same in each process, or parallel workers would not agree on what to run."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def test_ids_do_not_depend_on_the_process(request: pytest.FixtureRequest) -> None:
    """Another process, seconds later and with another hash seed, collects the tests of this one."""
    ours = {item.nodeid for item in request.session.items}
    files = sorted({nodeid.partition("::")[0] for nodeid in ours})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    collected = subprocess.run(
        [*command, *files],
        env=environ | {"PYTHONHASHSEED": "1"},
        cwd=request.config.rootpath,
        capture_output=True,
        text=True,
        check=True,
    )

    assert ours <= set(collected.stdout.splitlines())
