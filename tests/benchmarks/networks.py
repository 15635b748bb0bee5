"""The duration and memory of `geocli networks`, compared with a C program that walks the same tree; they take turns."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.cities import build_asn, build_city, make_in_child
from tests.helpers.geocli_process import Geocli

ROUNDS = 5
CASES = {
    "the largest country": ("--country", "US"),
    "a country": ("--country", "NL"),
    "a country, as nftables' file": ("--country", "NL", "-f", "nft"),
    "a country, with its AS numbers": ("--country", "NL", "-f", "csv", "-F", "country_code,asn"),
    "all but a country": ("--except", "country_code=NL"),
    "an AS number, with City and ASN": ("--asn", "{asn}"),
}
"""Selections; the last needs a second database, which all but the first ones have."""
WITH_ASN = frozenset({"a country, with its AS numbers", "an AS number, with City and ASN"})


class Cost(NamedTuple):
    """What a process needed."""

    cpu_seconds: float
    peak_mb: float
    lines: int


def main(db: Path | None = None, asn: Path | None = None) -> None:
    """Measure all cases in turns, and print medians and ratios."""
    with tempfile.TemporaryDirectory() as home:
        geocli = Geocli(Path(home))
        geocli.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
        geocli.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled once
        city, operators = db or Path(home) / "GeoLite2-City.mmdb", asn or Path(home) / "GeoLite2-ASN.mmdb"
        if db is None:
            make_in_child(build_city, city)
        if asn is None:
            make_in_child(build_asn, operators)
        program = Path(home) / "walk"
        source = Path(__file__).with_name("walk.c")
        subprocess.run(["gcc", "-O2", "-o", str(program), str(source), "-lmaxminddb"], check=True)
        number = (
            geocli("lookup", "--db", str(operators), "--no-cache", "-f", "value", "-F", "asn", "8.8.8.8")
            .stdout.decode()
            .strip()
        )
        measurements: dict[str, list[tuple[Cost, Cost]]] = {}
        for _ in range(ROUNDS):
            for name, options in CASES.items():
                databases = [str(city), *([str(operators)] if name in WITH_ASN else [])]
                chosen = [option.format(asn=number or 1) for option in options]
                command = [
                    *geocli.command,
                    "networks",
                    *chosen,
                    *(part for each in databases for part in ("--db", each)),
                ]
                walk = cost([str(program), str(city)], geocli.environ)
                measurements.setdefault(name, []).append((cost(command, geocli.environ), walk))
    print(f"Python {platform.python_version()}, {ROUNDS} paired runs, medians\n")
    print("| networks of | lines | CPU seconds | times the walk in C | MB |\n|---|---|---|---|---|")
    for name, pairs in measurements.items():
        ratios = sorted(own.cpu_seconds / walk.cpu_seconds for own, walk in pairs)
        print(
            f"| {name} | {pairs[0][0].lines:,} | {statistics.median(own.cpu_seconds for own, _ in pairs):.2f} ",
            end="",
        )
        print(f"| {statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f}) ", end="")
        print(f"| {max(own.peak_mb for own, _ in pairs):.0f} |")


def cost(command: list[str], environ: dict[str, str]) -> Cost:
    """Run a command, and return what it needed."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, env=environ, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        assert status == 0, command
        output.seek(0)
        lines = sum(block.count(b"\n") for block in iter(lambda: output.read(1 << 20), b""))
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000, lines)
