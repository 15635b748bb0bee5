"""The duration of `geocli stats` on a large store, compared with GROUP BY in the `sqlite3` shell; they take turns."""

from __future__ import annotations

import platform
import sqlite3
import statistics
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

from geocli.countries import _names
from tests.benchmarks.flush import run
from tests.helpers.geocli_process import Geocli

STORED, ROUNDS = 10_000_000, 5
GROW = """
INSERT INTO geo_cache (ip, status, country_code, country_name, city, asn, org, source, prefix_len, resolved_at)
WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {last}),
spread AS (SELECT n, (n * 2654435761 & 0xffffffff) / 4294967296.0 AS u, (n * 40503001 & 0xffffff) / 16777216.0 AS v
    FROM numbers)
SELECT (10 + (n >> 24)) || '.' || (n >> 16 & 255) || '.' || (n >> 8 & 255) || '.' || (n & 255),
    'resolved', code, name, 'City ' || CAST(100000 * v * v * v AS INT), CAST(70000 * v * v * v AS INT), 'Organisation',
    'GeoLite2-City+GeoLite2-ASN', 24, '2026-06-01T12:00:00Z'
FROM spread JOIN temp.countries ON countries.id = CAST({countries} * u * u * u AS INT)
"""
"""A few countries, cities and networks have most of the rows, as in any log."""
CASES = {
    "country": ("--by", "country"),
    "asn": ("--by", "asn"),
    "city": ("--by", "city"),
    "country, --map": ("--map", "--by", "country"),
    "Prometheus": ("-f", "prometheus"),
}
COLUMNS = {"asn": "asn", "city": "city"}


def main() -> None:
    """Measure all cases in turns, and print medians and ratios."""
    with tempfile.TemporaryDirectory() as home:
        geocli = Geocli(Path(home))
        geocli.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
        store = fill(geocli)
        measurements: dict[str, list[tuple[float, float]]] = {}
        for _ in range(ROUNDS):
            for name, options in CASES.items():
                sql = f"SELECT {COLUMNS.get(name, 'country_code')}, COUNT(*) FROM geo_cache GROUP BY 1 ORDER BY 2 DESC"
                shell, _, _ = run(["sqlite3", "-readonly", str(store), f"{sql} LIMIT 10"], geocli.environ)
                own, _, _ = run([*geocli.command, "stats", *options], geocli.environ)
                measurements.setdefault(name, []).append((own, shell))
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {STORED:,} rows, ", end="")
    print(f"medians of {ROUNDS} paired runs\n\n| stats | seconds | times the shell's GROUP BY |\n|---|---|---|")
    for name, pairs in measurements.items():
        ratios = sorted(own / shell for own, shell in pairs)
        print(f"| {name} | {statistics.median(own for own, _ in pairs):.2f} | {statistics.median(ratios):.2f} ", end="")
        print(f"({ratios[0]:.2f} to {ratios[-1]:.2f}) |")


def fill(geocli: Geocli) -> Path:
    """Create a store of many rows, and return its path."""
    subprocess.run([*geocli.command, "lookup", "-q", "8.8.8.8"], env=geocli.environ, check=True)
    subprocess.run([*geocli.command, "flush"], env=geocli.environ, check=True)
    store = geocli.data_dir / "geocli.db"
    with closing(sqlite3.connect(store)) as db:
        db.execute("CREATE TEMP TABLE countries (id INTEGER PRIMARY KEY, code TEXT, name TEXT)")
        rows = [(number, *item) for number, item in enumerate(_names().items())]
        db.executemany("INSERT INTO temp.countries VALUES (?, ?, ?)", rows)
        db.execute(GROW.format(last=STORED - 1, countries=len(rows)))
        db.commit()
    return store
