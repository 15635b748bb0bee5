"""The cost of a batch on a Dask cluster: one worker and two on the same lines, and the cost of a part.

All on this machine, with `local:N`; so two workers need two free cores, and share its memory and its disk. How many
cores a run really had is shown as CPU seconds by wall seconds. Files take 12 GB.
"""

from __future__ import annotations

import ctypes
import os
import resource
import statistics
import subprocess
import tempfile
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.benchmarks import cities
from tests.benchmarks.bulk import BATCH, MILLION, Bench, machine, say

if TYPE_CHECKING:
    from collections.abc import Sequence

PR_SET_CHILD_SUBREAPER = 36
"""Processes whose parent has ended become ours (prctl(2)), so that their CPU seconds are counted."""
LINES = 20 * MILLION
ROUNDS = 3
GOAL = 1.6
"""How many times the rate of one worker two are to reach, on two free cores."""


class Run(NamedTuple):
    """Measurements and results of a run."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of all its processes."""
    rows_bytes: int
    """Bytes of the output."""
    journal: bytes
    """The returned frames."""

    @property
    def cores(self) -> float:
        return self.cpu / self.wall


def measured(bench: Bench, source: Path, options: Sequence[str]) -> Run:
    """Run a batch once, with a home of its own."""
    with bench.geocli() as geocli, tempfile.TemporaryDirectory(dir=bench.home) as home:
        command = [*BATCH, str(source), "--db", str(bench.city), "-o", f"{home}/out", *options]
        before, began = _used_seconds(), time.perf_counter()
        assert subprocess.run(command, env=geocli.environ, check=False).returncode == 0
        wall = time.perf_counter() - began
        with suppress(ChildProcessError):
            while True:
                os.wait()  # for the process from which workers are forked, which exits when its connection is closed
        rows = [path for path in (Path(home) / "out", *Path(home).glob("out/part-*")) if path.is_file()]
        journal = geocli.data_dir / "journal"
        return Run(
            wall=wall,
            cpu=_used_seconds() - before,
            rows_bytes=sum(path.stat().st_size for path in rows),
            journal=journal.read_bytes() if journal.exists() else b"",
        )


def _used_seconds() -> float:
    """Return the CPU seconds of all processes that were waited for, and of those that these waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(db: Path | None = None, scale: float = 1, rounds: int = ROUNDS) -> None:
    """Measure, and print a table."""
    with tempfile.TemporaryDirectory(prefix="geocli-cluster-") as home:
        bench = Bench(Path(home), db and db.absolute(), scale)
        say(machine(bench))
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        growth(bench, rounds)
        blocks(bench, rounds)
        answers(bench)


def growth(bench: Bench, rounds: int) -> None:
    """Compare one worker with two, alternately: on an access log, and on a list, with batches without a cluster."""
    addresses, lines = bench.random(LINES)
    log = bench.prepared(f"{addresses.name}.log", cities.write_log, addresses)
    programs = {
        ("list", "batch -j 1"): ("-j", "1"),
        ("list", "local:1"): ("--cluster", "local:1"),
        ("list", "batch -j 2"): ("-j", "2"),
        ("list", "local:2"): ("--cluster", "local:2"),
        ("log", "local:1"): ("--cluster", "local:1"),
        ("log", "local:2"): ("--cluster", "local:2"),
    }
    measurements: dict[tuple[str, str], list[Run]] = {program: [] for program in programs}
    halves = []
    for _ in range(rounds):
        for (form, name), options in programs.items():
            source = log if form == "log" else addresses
            measurements[form, name].append(measured(bench, source, ["--no-cache", "-i", form, *options]))
        halves.append(measurements["list", "batch -j 1"][-1].wall / side_by_side(bench, addresses))
    for form, source in (("list", addresses), ("log", log)):
        rows_bytes = measurements[form, "local:1"][0].rows_bytes
        say(f"{lines:,} lines of a {form}: {source.stat().st_size:,} bytes of input, {rows_bytes:,} bytes of rows.")
    say("\n| input | program | wall s | lines/s | CPU s | cores | times the rate of local:1 |")
    say("|---|---|---|---|---|---|---|")
    for (form, name), runs in measurements.items():
        ratios = [alone.wall / run.wall for alone, run in zip(measurements[form, "local:1"], runs, strict=True)]
        wall, cpu, cores = (
            statistics.median(values) for values in zip(*((r.wall, r.cpu, r.cores) for r in runs), strict=True)
        )
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        goal = f", goal {GOAL}" if name == "local:2" else ""
        say(f"| {form} | {name} | {wall:.1f} | {lines / wall:,.0f} | {cpu:.1f} | {cores:.2f} | {ratio}{goal} |")

    say(
        f"\nTwo batches that know nothing of each other, `-j 1`, each with half of the list, had "
        f"{statistics.median(halves):.2f} ({min(halves):.2f} to {max(halves):.2f}) times the rate of one: "
        f"the gain of two cores on this machine."
    )


def side_by_side(bench: Bench, source: Path) -> float:
    """Return the seconds that two batches take, each with half of the lines."""
    half = source.stat().st_size // 2
    with bench.geocli() as geocli, tempfile.TemporaryDirectory(dir=bench.home) as home, source.open("rb") as stream:
        stream.seek(half)
        middle = half + len(stream.readline())
        batches = []
        for name, options in (("first", ("head", "-c", str(middle))), ("second", ("tail", "-c", f"+{middle + 1}"))):
            part = Path(home, name)
            with part.open("wb") as out:
                subprocess.run([*options, str(source)], stdout=out, check=True)
            batches.append([*BATCH, str(part), "--db", str(bench.city), "-o", f"{part}-rows", "--no-cache", "-j", "1"])
        began = time.perf_counter()
        processes = [subprocess.Popen(command, env=geocli.environ) for command in batches]
        assert [0, 0] == [process.wait() for process in processes]
        return time.perf_counter() - began


def blocks(bench: Bench, rounds: int) -> None:
    """Divide the same lines into few parts and into many: the difference is the cost of a part."""
    source, lines = bench.random(2 * MILLION)
    size_bytes = source.stat().st_size
    few, many = size_bytes // 4, size_bytes // 104
    costs = []
    for _ in range(rounds):
        walls = [
            measured(bench, source, ["--no-cache", "--cluster", "local:1", "--block-size", str(block)]).wall
            for block in (few, many)
        ]
        costs.append((walls[1] - walls[0]) / (size_bytes // many - size_bytes // few))
    cost = f"{statistics.median(costs) * 1000:.0f} ms ({min(costs) * 1000:.0f} to {max(costs) * 1000:.0f})"
    say(f"\nA part costs {cost} beyond its lines: {lines:,} lines in 4 parts, and in 104, on one worker.")
    empty = bench.home / "empty"
    empty.touch()
    start = statistics.median(
        measured(bench, empty, ["--no-cache", "--cluster", "local:1"]).wall for _ in range(rounds)
    )
    say(f"A run costs {start:.1f} s beyond its parts: an empty list, on one worker, which is started for it.")


def answers(bench: Bench) -> None:
    """Show the returned frames when every address is new."""
    source, lines = bench.random(2 * MILLION)
    run = measured(bench, source, ["--cluster", "local:2", "--block-size", str(source.stat().st_size // 4)])
    packed = len(zlib.compress(run.journal, 1))
    say(
        f"With the cache, {lines:,} random addresses are {len(run.journal) / lines:.1f} bytes of frames a line in the "
        f"journal, about {packed / lines:.1f} on the way to it."
    )
