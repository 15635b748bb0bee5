"""The cost of one command in a new process, as a ratio to `python -c pass` and to importing Typer.

The console script of this environment is measured, as pip has written it. The cases take turns, so that noise of the
machine affects all of them; the spread of `python -c pass` is printed.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.helpers.databases import CITIES, build
from tests.helpers.geocli_process import Geocli

if TYPE_CHECKING:
    from collections.abc import Sequence

RUNS = 15
SCRIPT = str(Path(sysconfig.get_path("scripts")) / "geocli")
BARE = [sys.executable, "-c", "pass"]
TYPER = [sys.executable, "-c", "import typer, sqlite3"]
HIT = "81.2.69.160"


def main() -> None:
    """Measure all cases in turns, and print medians and ratios."""
    with tempfile.TemporaryDirectory() as home:
        geocli = Geocli(Path(home))
        del geocli.environ["GEOCLI_CONFIG"]  # most users have none; tomllib takes 5 ms
        build(geocli.db_dir / "GeoLite2-City.mmdb", CITIES)
        run(geocli, [SCRIPT, "lookup", HIT])
        run(geocli, [SCRIPT, "flush"])
        seconds: dict[str, list[float]] = {}
        for number in range(RUNS):
            for name, command in cases(number).items():
                run(geocli, [SCRIPT, "flush"])  # so that each flush that is measured is idle
                seconds.setdefault(name, []).append(run(geocli, command))
    show(seconds)


def cases(number: int) -> dict[str, list[str]]:
    """Return the commands of one round; each round misses another address."""
    return {
        "python -c pass": BARE,
        "import typer, sqlite3": TYPER,
        "flush, idle": [SCRIPT, "flush"],
        "lookup, a hit": [SCRIPT, "lookup", HIT],
        "lookup, a miss, .mmdb": [SCRIPT, "lookup", f"81.2.69.{number}"],
        "lookup --format csv, a hit": [SCRIPT, "lookup", "--format", "csv", HIT],
        "flush --json, idle": [SCRIPT, "flush", "--json"],
        "stats": [SCRIPT, "stats"],
    }


def run(geocli: Geocli, command: Sequence[str]) -> float:
    """Return the wall time of a command that must succeed, in seconds."""
    began = time.perf_counter()
    subprocess.run(command, env=geocli.environ, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def show(seconds: dict[str, list[float]]) -> None:
    """Print a table in Markdown."""
    medians = {name: statistics.median(durations) for name, durations in seconds.items()}
    bare, typer = medians["python -c pass"], medians["import typer, sqlite3"]
    print(f"Python {platform.python_version()}, {platform.machine()}, medians of {RUNS} paired runs\n")
    print("| command | ms | x python | x typer |\n|---|---|---|---|")
    for name, median in medians.items():
        print(f"| {name} | {median * 1000:.1f} | {median / bare:.2f} | {median / typer:.2f} |")
    low, _, high = statistics.quantiles(seconds["python -c pass"])
    print(
        f"\nNoise: the middle half of `python -c pass` is between {low / bare:.2f} and {high / bare:.2f} of its median."
    )
