"""The speed of a flush, compared with the `sqlite3` shell; and the cost of a hit in a large store.

Both store the same rows into the same table: the shell imports them from CSV into a table without an index,
and upserts them in the order of their addresses. They take turns, so that noise of the machine affects both.
"""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from tests.helpers.geocli_process import Geocli
from tests.helpers.journals import write_journal

ENTRIES, STORED = 5_000_000, 10_000_000
ROUNDS, HITS = 3, 41
HIT = "8.8.8.8"
UPSERT = """
.bail on
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA cache_size = -98304;
{table};
{plain};
.mode csv
.import {rows} plain
BEGIN IMMEDIATE;
INSERT INTO geo_cache SELECT * FROM plain WHERE true ORDER BY ip ON CONFLICT(ip) DO UPDATE SET {updates};
COMMIT;
"""
GROW = """
INSERT INTO geo_cache (ip, status, country_code, country_name, city, source, prefix_len, resolved_at)
WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {last})
SELECT (10 + (n >> 24)) || '.' || (n >> 16 & 255) || '.' || (n >> 8 & 255) || '.' || (n & 255),
    'resolved', 'GB', 'United Kingdom', 'London', 'GeoLite2-City', 24, '2026-06-01T12:00:00Z'
FROM numbers
"""


def main() -> None:
    """Measure, and print the results."""
    with tempfile.TemporaryDirectory() as home:
        compare_with_shell(Path(home))
    with tempfile.TemporaryDirectory() as home:
        compare_hits(Path(home))


def compare_with_shell(home: Path) -> None:
    """Store the same rows with geocli and with the `sqlite3` shell, in turns."""
    geocli = Geocli(home)
    geocli.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    journal = home / "rows"
    write_journal(journal, ENTRIES, [city(number) for number in range(100_000)])
    measurements: list[tuple[float, float, float, int]] = []
    for number in range(ROUNDS):
        shutil.rmtree(geocli.data_dir, ignore_errors=True)
        geocli.data_dir.mkdir(mode=0o700)
        shutil.copy(journal, geocli.data_dir / "journal")
        wall, cpu, peak_bytes = run([*geocli.command, "flush"], geocli.environ)
        script = shell_script(geocli.data_dir / "geocli.db", home / "rows.csv", is_first=not number)
        (home / "shell.db").unlink(missing_ok=True)
        shell_wall, shell_cpu, _ = run(["sqlite3", str(home / "shell.db")], geocli.environ, script)
        measurements.append((wall, shell_wall / wall, shell_cpu / cpu, peak_bytes))
    wall, ratio, cpu_ratio, _ = map(statistics.median, zip(*measurements, strict=True))
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, medians of {ROUNDS} paired runs\n")
    print(f"flush of {ENTRIES:,} entries: {ENTRIES / wall:,.0f} rows/s")
    print(f"its rate is {ratio:.2f} times that of the sqlite3 shell ({cpu_ratio:.2f} times by CPU)")
    print(f"peak memory: {max(peak for *_, peak in measurements) >> 20} MB")
    ratios = sorted(rate for _, rate, _, _ in measurements)
    print(f"noise: the ratios were between {ratios[0]:.2f} and {ratios[-1]:.2f}\n")


def city(number: int) -> dict[str, object]:
    """Return the record of a place in a City database."""
    return {
        "status": "resolved", "source": "GeoLite2-City", "country_code": "GB", "country_name": "United Kingdom",
        "region": f"Region {number % 300}", "city": f"City {number}", "time_zone": "Europe/London",
        "latitude": number % 1_800_000 / 10_000 - 90, "longitude": number * 7 % 3_600_000 / 10_000 - 180,
        "traits": {"continent_code": "EU", "accuracy_radius": number % 1000},
    }  # fmt: skip


def shell_script(store: Path, rows: Path, *, is_first: bool) -> str:
    """Return the commands for the shell, and write its rows, in random order, once."""
    with closing(sqlite3.connect(store)) as db:
        (table,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'geo_cache'").fetchone()
        columns = [name for (name,) in db.execute("SELECT name FROM pragma_table_info('geo_cache')")]
    if is_first:
        with rows.open("wb") as out:
            command = ["sqlite3", "-csv", str(store), "SELECT * FROM geo_cache ORDER BY random()"]
            subprocess.run(command, stdout=out, check=True)
    updates = ", ".join(f"{name} = excluded.{name}" for name in columns[1:])
    plain = table.replace('"geo_cache"', "plain").replace(" PRIMARY KEY", "")
    return UPSERT.format(table=table, plain=plain, rows=rows, updates=updates)


def run(command: list[str], environ: dict[str, str], script: str = "") -> tuple[float, float, int]:
    """Run a command that must succeed, and return its wall and CPU seconds, and its peak memory in bytes."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    with process.stdin as stdin:
        stdin.write(script.encode())
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss << 10


def compare_hits(home: Path) -> None:
    """Look the same address up in a small and in a large store, in turns, in fresh processes."""
    stores = []
    for name, count in (("small", 0), ("large", STORED)):
        (home / name).mkdir()
        geocli = Geocli(home / name)
        subprocess.run([*geocli.command, "lookup", "-q", HIT], env=geocli.environ, check=True)
        subprocess.run([*geocli.command, "flush"], env=geocli.environ, check=True)
        if count:
            with closing(sqlite3.connect(geocli.data_dir / "geocli.db")) as db:
                db.execute(GROW.format(last=count - 1))
                db.commit()
        stores.append(geocli)
    seconds = [
        [run([sys.executable, "-m", "geocli", "lookup", HIT], geocli.environ)[0] for geocli in stores]
        for _ in range(HITS)
    ]
    small, large = (statistics.median(durations) * 1000 for durations in zip(*seconds, strict=True))
    print(f"a hit in a fresh process: {small:.1f} ms in a store of 1 row, {large:.1f} ms in one of {STORED:,} rows")
    quarters = statistics.quantiles([(after - before) * 1000 for before, after in seconds])
    low, median, high = quarters
    print(f"the difference: {median:.1f} ms; noise: its middle half is between {low:.1f} and {high:.1f} ms")
