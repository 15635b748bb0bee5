"""Compare `geocli batch` with its practical limit: a C program that does only the necessary work (limit.c).

It is also compared with `rg`, which only finds addresses, and optionally with an older release.

Each program of a case reads the same lines from a pipe and writes its rows to one; `cat` is at the other ends
and is not counted. The programs of a case take turns, so that noise of the machine affects all of them, and a ratio
is the median of those within a round. Each run of geocli has an empty home of its own.
"""

from __future__ import annotations

import csv
import os
import platform
import resource
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import maxminddb

from tests.benchmarks import cities
from tests.helpers.geocli_process import Geocli

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MILLION = 1_000_000
ROUNDS, FEW_ROUNDS, MANY_ROUNDS = 5, 3, 15
STARTS, ANSWERS, SMALL = 5, 200, 10
COMPARED = 20_000
BATCH = (sys.executable, "-m", "geocli", "batch")
LOOP = """
import csv, sys
FIELDS = ("ip status country_code country_name region city latitude longitude time_zone asn org source").split()

def by_get(reader):
    kind = reader.metadata().database_type
    def row(ip):
        record = reader.get(ip)
        if not record:
            return [ip, "unresolved", *[None] * 10]
        if "country_code" in record:
            names = "country_code country_name state1 city latitude longitude timezone".split()
            return [ip, "resolved", *map(record.get, names), None, None, kind]
        country, location = record.get("country", {}), record.get("location", {})
        regions = record.get("subdivisions") or [{}]
        return [ip, "resolved", country.get("iso_code"), country.get("names", {}).get("en"),
                regions[0].get("names", {}).get("en"), record.get("city", {}).get("names", {}).get("en"),
                location.get("latitude"), location.get("longitude"), location.get("time_zone"), None, None, kind]
    return row

def by_model(reader):
    from geoip2.errors import AddressNotFoundError
    kind = reader.metadata().database_type
    def row(ip):
        try:
            found = reader.city(ip)
        except AddressNotFoundError:
            return [ip, "unresolved", *[None] * 10]
        region = found.subdivisions[0].name if found.subdivisions else None
        return [ip, "resolved", found.country.iso_code, found.country.name, region, found.city.name,
                found.location.latitude, found.location.longitude, found.location.time_zone, None, None, kind]
    return row

name, path = sys.argv[1:]
if name == "geoip2":
    from geoip2.database import Reader
    row = by_model(Reader(path))
else:
    row = by_get(__import__(name).open_database(path))
out = csv.writer(sys.stdout, lineterminator="\\n")
out.writerow(FIELDS)
out.writerows(row(line.rstrip()) for line in sys.stdin)
"""
"""What a few lines of Python do, with each of the libraries for Python."""
ADDRESS = r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b"
"""Finds IPv4 addresses, and versions of four numbers."""


class Run(NamedTuple):
    """What one run of a program took."""

    wall: float
    """Seconds from its start to its end."""
    cpu: float
    """Seconds of user and system time, its children's included."""
    peak: float
    """Resident memory at most, in MB."""
    beyond: float
    """The same less the size of its database: the database's pages are the kernel's to take back."""


class Program(NamedTuple):
    """One of those that take turns."""

    name: str
    command: Sequence[str]
    source: Path
    """The file that it reads through a pipe."""
    lines: int
    database: Path | None = None


class Claim(NamedTuple):
    """A bound for a program."""

    measure: str
    """`CPU`, `wall`, `rate` or `peak`, as a ratio to another program; `MB beyond the database` as a value."""
    program: str
    base: str | None
    limit: float | None = None
    """None: printed only."""


MEASURES: dict[str, Callable[[Run], float]] = {
    "CPU": lambda run: run.cpu,
    "wall": lambda run: run.wall,
    "rate": lambda run: 1 / run.wall,
    "peak": lambda run: run.peak,
    "MB beyond the database": lambda run: run.beyond,
}
Measurements = dict[str, list[Run]]
Source = tuple[Path, int]
"""A file, and how many lines it has."""


class Bench:
    """The input files, each created when a case needs it, in a directory of their own."""

    def __init__(self, home: Path, database: Path | None, scale: float, base: Path | None = None) -> None:
        self.home, self.scale, self.base = home, scale, base
        self.limit = compiled(home)
        self._database = database
        self.is_users = database is not None
        """Whether the City database is one that the user named."""

    @property
    def city(self) -> Path:
        return self._database or self.prepared("GeoLite2-City.mmdb", cities.build_city)

    def lines(self, count: int) -> int:
        return max(int(count * self.scale), 1000)

    def prepared(self, name: str, make: Callable[..., None], *arguments: object) -> Path:
        """Return a file, made before or now."""
        path = self.home / name
        if not path.exists():
            began = time.perf_counter()
            cities.make_in_child(make, path, *arguments)
            size, took = path.stat().st_size / MILLION, time.perf_counter() - began
            print(f"{name}: {size:.1f} MB, made in {took:.1f} s", file=sys.stderr)
        return path

    def random(self, count: int) -> Source:
        lines = self.lines(count)
        return self.prepared(f"random-{lines}", cities.write_random, lines), lines

    def mixed(self, count: int) -> Source | None:
        """Return lines of both address families, or None if the database has only one."""
        with maxminddb.open_database(self.city) as reader:
            if reader.metadata().ip_version == 4:
                return None
        lines = self.lines(count)
        return self.prepared(f"mixed-{lines}", cities.write_mixed, lines, self.city), lines

    def unknown(self, count: int) -> Source:
        """Return IPv6 addresses of which the database has no record."""
        lines = self.lines(count)
        return self.prepared(f"unknown-{lines}", cities.write_unknown, lines, self.city), lines

    def known(self, count: int) -> Source:
        """Return IPv6 addresses of which it has one."""
        lines = self.lines(count)
        return self.prepared(f"known-{lines}", cities.write_known, lines, self.city), lines

    def c(self, source: Source, database: Path) -> list[Program]:
        """Return the C program; None without a compiler."""
        return [Program("C", [str(self.limit), str(database)], *source, database)] if self.limit else []

    @contextmanager
    def geocli(self) -> Iterator[Geocli]:
        """Give geocli a home that is empty, and remove it afterwards."""
        with tempfile.TemporaryDirectory(dir=self.home) as home:
            geocli = Geocli(Path(home))
            geocli.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
            geocli.environ["GEOCLI_JOURNAL_LIMIT_MB"] = "100000"  # a flush is measured separately
            geocli.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled once
            yield geocli


def main(db: Path | None = None, only: list[str] | None = None, base: Path | None = None, scale: float = 1) -> None:
    """Measure all cases, or the named ones, and print each result."""
    with tempfile.TemporaryDirectory(prefix="geocli-bulk-") as home:
        bench = Bench(Path(home), db and db.absolute(), scale, base and base.absolute())
        say(machine(bench))
        if not bench.limit:
            say("Without the C program: gcc or libmaxminddb-dev is missing, or limit.c does not compile.\n")
        say("| case | program | lines | CPU s | wall s | lines/s | peak MB | ratio: median, middle half (limit) |")
        say("|---|---|---|---|---|---|---|---|")
        for name in only or CASES:
            CASES[name](bench)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    say(f"\nPeaks are those of the processes; one below {own:.0f} MB does not show: it is inherited from here.")


def say(text: str) -> None:
    print(text, flush=True)


def measured(bench: Bench, program: Program) -> Run | str:
    """Run a program between two pipes, and return its measurements, or its error."""
    with bench.geocli() as geocli, tempfile.TemporaryFile() as errors:
        feeder = subprocess.Popen(["cat", str(program.source)], stdout=subprocess.PIPE)
        sink = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert feeder.stdout is not None
        assert sink.stdin is not None
        with feeder.stdout as stdin, sink.stdin as stdout:
            began = time.perf_counter()
            process = subprocess.Popen(
                program.command,
                stdin=stdin,
                stdout=stdout,
                stderr=errors,
                env=geocli.environ,
                cwd=geocli.data_dir.parent,
            )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        feeder.wait()
        sink.wait()
        if process.returncode:
            errors.seek(0)
            return f"exit status {process.returncode}: {errors.read().decode(errors='replace').strip()[-80:]!r}"
    peak = used.ru_maxrss / 1024
    size = program.database.stat().st_size / 2**20 if program.database else 0
    return Run(wall, used.ru_utime + used.ru_stime, peak, peak - size)


def compare(
    bench: Bench, title: str, programs: Sequence[Program], claims: Sequence[Claim], rounds: int = ROUNDS
) -> None:
    """Run programs alternately, and print a row for each."""
    measurements: Measurements = {program.name: [] for program in programs}
    failed: dict[str, str] = {}
    for _ in range(rounds):
        for program in programs:
            if program.name not in failed:
                run = measured(bench, program)
                if isinstance(run, str):
                    failed[program.name] = run
                else:
                    measurements[program.name].append(run)
    for program in programs:
        if program.name in failed:
            say(f"| {title} | {program.name} | {program.lines:,} | {failed[program.name]} | | | | |")
        else:
            say(row(title, program, measurements, [claim for claim in claims if claim.program == program.name]))


def row(title: str, program: Program, measurements: Measurements, claims: Sequence[Claim]) -> str:
    """Return a row of the table: medians, and whether the program is within its bound."""
    runs = measurements[program.name]
    cpu, wall = (statistics.median(values) for values in zip(*((run.cpu, run.wall) for run in runs), strict=True))
    judgements = "; ".join(
        judged(claim, measurements) for claim in claims if claim.base is None or measurements.get(claim.base)
    )
    peak = max(run.peak for run in runs)
    return (
        f"| {title} | {program.name} | {program.lines:,} | {cpu:.2f} | {wall:.2f} | {program.lines / wall:,.0f} "
        f"| {peak:.0f} | {judgements} |"
    )


def judged(claim: Claim, measurements: Measurements) -> str:
    """Return the measurements relative to those of the other program in the same round, and the bound."""
    of = MEASURES[claim.measure]
    if claim.base is None:
        value, unit = max(map(of, measurements[claim.program])), ""
    else:
        pairs = zip(measurements[claim.program], measurements[claim.base], strict=False)
        ratios = [of(run) / of(base) for run, base in pairs]
        value, unit = statistics.median(ratios), f" x {claim.base}{spread(ratios)}"
    text = f"{claim.measure} {value:.2f}{unit}"
    if claim.limit is None:
        return text
    is_rate = claim.measure == "rate"
    is_met = value >= claim.limit if is_rate else value <= claim.limit
    return f"{text} ({'>=' if is_rate else '<='} {claim.limit:.2f}{'' if is_met else ', **missed**'})"


def spread(ratios: Sequence[float]) -> str:
    """Return the interquartile range of ratios."""
    if len(ratios) < 2:
        return ""
    low, _, high = statistics.quantiles(ratios, method="inclusive")
    return f", {low:.2f} to {high:.2f}"


def batch(
    name: str,
    source: Source,
    *databases: Path,
    options: Sequence[str] = ("--no-cache",),
    command: Sequence[str] = BATCH,
) -> Program:
    """Return `geocli batch` on some databases."""
    chosen = [part for path in databases for part in ("--db", str(path))]
    return Program(name, [*command, *options, *chosen], *source, databases[0] if databases else None)


def with_base(
    bench: Bench, name: str, source: Source, *databases: Path, options: Sequence[str] = ("--no-cache",)
) -> list[Program]:
    """Add the older release, if there is one; Python is in its directory `venv`."""
    programs = [batch(name, source, *databases, options=options)]
    if bench.base:
        command = ["env", f"PYTHONPATH={bench.base}", str(bench.base / "venv/bin/python"), *BATCH[1:]]
        programs.append(batch(f"{name}, base", source, *databases, options=options, command=command))
    return programs


def against_c(
    bench: Bench, title: str, source: Source, database: Path, *claims: tuple[str, float], rounds: int = ROUNDS
) -> None:
    """Compare geocli with the C program."""
    programs = [*bench.c(source, database), batch("geocli", source, database)]
    compare(bench, title, programs, [Claim(measure, "geocli", "C", limit) for measure, limit in claims], rounds)


def five_millions(bench: Bench) -> None:
    source = bench.random(5 * MILLION)
    databases = {"random IPv4": bench.city}
    if not bench.is_users:
        databases["random IPv4, flat records"] = bench.prepared("city-flat.mmdb", cities.build_flat_city)
    for title, database in databases.items():
        programs = [*bench.c(source, database), batch("geocli", source, database)]
        programs.append(batch("geocli -j 1", source, database, options=("--no-cache", "-j", "1")))
        claims = [Claim("CPU", "geocli", "C", 1), Claim("wall", "geocli", "C", 0.7)]
        compare(bench, title, programs, [*claims, Claim("CPU", "geocli -j 1", "C", 0.8)])


def twenty_millions(bench: Bench) -> None:
    against_c(bench, "random IPv4", bench.random(20 * MILLION), bench.city, ("CPU", 0.55), rounds=FEW_ROUNDS)


def popular(bench: Bench) -> None:
    lines = bench.lines(5 * MILLION)
    source = bench.prepared(f"popular-{lines}", cities.write_popular, lines, 50_000)
    against_c(bench, "50,000 IPv4, Zipf", (source, lines), bench.city, ("CPU", 1))


def mixed(bench: Bench) -> None:
    if source := bench.mixed(2 * MILLION):
        against_c(bench, "IPv4 and IPv6", source, bench.city, ("CPU", 1.2))


def journal(bench: Bench) -> None:
    source = bench.random(5 * MILLION)
    programs = [batch("geocli", source, bench.city), *with_base(bench, "journal", source, bench.city, options=())]
    claims = [Claim("wall", "journal", "journal, base", 0.7), Claim("CPU", "journal", "geocli")]
    compare(bench, "all of them new", programs, claims, FEW_ROUNDS)


def two_databases(bench: Bench) -> None:
    source = bench.random(MILLION)
    asn = bench.prepared("GeoLite2-ASN.mmdb", cities.build_asn)
    programs = [batch("City", source, bench.city), *with_base(bench, "City and ASN", source, bench.city, asn)]
    claims = [Claim("CPU", "City and ASN", "City and ASN, base", 0.7), Claim("CPU", "City and ASN", "City")]
    compare(bench, "two databases", programs, claims)


def no_database(bench: Bench) -> None:
    source = bench.random(MILLION)
    programs = [batch("City", source, bench.city), batch("no database", source)]
    compare(bench, "no database", programs, [Claim("rate", "no database", "City", 1 / 3)], FEW_ROUNDS)


def unknown(bench: Bench) -> None:
    programs = [
        batch("known", bench.known(COMPARED), bench.city, options=()),
        batch("unknown", bench.unknown(COMPARED), bench.city, options=()),
    ]
    compare(bench, "IPv6, all of them new", programs, [Claim("CPU", "unknown", "known", 2)])


def memory(bench: Bench) -> None:
    programs = [
        batch("no journal", bench.random(20 * MILLION), bench.city),
        batch("journal", bench.random(5 * MILLION), bench.city, options=()),
    ]
    measure = "MB beyond the database"
    claims = [Claim(measure, "no journal", None, 130), Claim(measure, "journal", None, 250)]
    compare(bench, "memory", programs, claims, rounds=1)


def inputs(bench: Bench) -> None:
    """Compare forms of input with the older release, and with a list of the same addresses."""
    source, lines = bench.random(MILLION)
    programs, claims = [batch("list", (source, lines), bench.city)], []
    for name, write, options, limit in (
        ("CSV", cities.write_csv, ("csv", "-c", "ip", "--prefix", "geo_"), 0.6),
        ("JSON lines", cities.write_jsonl, ("jsonl", "-c", "ip"), 0.8),
        ("access log", cities.write_log, ("log",), 1),
        ("JSON log", cities.write_json_log, ("log",), 1),
        ("mail log", cities.write_mail_log, ("log",), 1),
    ):
        path = bench.prepared(f"{source.name}.{name}", write, source)
        programs += with_base(bench, name, (path, lines), bench.city, options=("--no-cache", "-i", *options))
        claims += [Claim("CPU", name, f"{name}, base", limit), Claim("CPU", name, "list")]
    compare(bench, "input", programs, claims, FEW_ROUNDS)


def ripgrep(bench: Bench) -> None:
    """Label an access log, compared with a program that finds its addresses and writes only these."""
    lines = bench.lines(MILLION)
    addresses = bench.prepared(f"popular-{lines}", cities.write_popular, lines, 50_000)
    log = bench.prepared(f"{addresses.name}.log", cities.write_log, addresses), lines
    programs = [batch("geocli -j 1", log, bench.city, options=("--no-cache", "-i", "log", "-j", "1"))]
    if path := shutil.which("rg"):
        programs.append(Program("rg -o", [path, "-o", ADDRESS], *log))
    compare(bench, "access log", programs, [Claim("CPU", "geocli -j 1", "rg -o", 1.2)])


def insight(bench: Bench) -> None:
    """Filter and count a list of random addresses and an access log, compared with a plain batch."""
    source, lines = bench.random(MILLION)
    popular = bench.prepared(f"popular-{lines}", cities.write_popular, lines, 50_000)
    log = bench.prepared(f"{popular.name}.log", cities.write_log, popular)
    for title, path, form in (("insight, list", source, "list"), ("insight, log", log, "log")):
        programs = []
        for name, options in (
            ("plain", ()),
            ("--only", ("--only", "country_code=US,DE")),
            ("--except", ("--except", "country_code=US,DE")),
            ("--count-by", ("--count-by", "country_code,asn")),
        ):
            programs.append(batch(name, (path, lines), bench.city, options=("--no-cache", "-i", form, *options)))
        compare(bench, title, programs, [Claim("CPU", program.name, "plain", 1.3) for program in programs[1:]])


def small(bench: Bench) -> None:
    """Compare a few lines with a lookup of one of them that takes an option, and so needs Typer."""
    text = bench.random(COMPARED)[0].read_text().splitlines(keepends=True)[:SMALL]
    path = bench.home / "small"
    path.write_text("".join(text))
    lookup = [*BATCH[:-1], "lookup", "-f", "csv", "--db", str(bench.city), text[0].strip()]
    programs = [Program("lookup", lookup, path, 1), batch("batch", (path, SMALL), bench.city, options=())]
    compare(bench, "small", programs, [Claim("CPU", "batch", "lookup", 1.2)], MANY_ROUNDS)


def loops(bench: Bench) -> None:
    source = bench.random(MILLION)
    programs = [*bench.c(source, bench.city), batch("geocli", source, bench.city)]
    for name in ("maxminddb_rust", "maxminddb", "geoip2"):
        command = [sys.executable, "-c", LOOP, name, str(bench.city)]
        programs.append(Program(f"loop over {name}", command, *source, bench.city))
    claims = [Claim(measure, program.name, "C") for program in programs[1:] for measure in ("CPU", "wall")]
    compare(bench, "README", programs, claims, FEW_ROUNDS)


def agreement(bench: Bench) -> None:
    """Count the rows in which geocli and the C program differ."""
    source = bench.mixed(COMPARED) or bench.random(COMPARED)
    written = []
    for program in (*bench.c(source, bench.city), batch("geocli", source, bench.city)):
        with bench.geocli() as geocli, program.source.open() as stdin:
            process = subprocess.run(program.command, stdin=stdin, capture_output=True, env=geocli.environ, check=True)
        written.append(csv.reader(process.stdout.decode().splitlines()))
    if len(written) == 2:
        wrong = [pair for pair in zip(*written, strict=True) if not is_same(*pair)]
        say(f"| agreement | rows that differ: {len(wrong):,} {wrong[:1] or ''} | {source[1]:,} | | | | | |")


def is_same(limit: list[str], rows: list[str]) -> bool:
    """Compare rows, except for fields that the C program has no tables for."""
    if rows[1] == "special":
        return True
    return limit == rows or (not limit[3] and limit == [*rows[:3], "", *rows[4:]])


def latency(bench: Bench) -> None:
    """Time the first answer of new processes, then one line at a time; with the cache, as after `tail -f`."""
    addresses = bench.random(COMPARED)[0].read_bytes().splitlines(keepends=True)
    first, later = [], []
    for _ in range(STARTS):
        with bench.geocli() as geocli:
            seconds = list(conversation([*BATCH, "--db", str(bench.city)], geocli, addresses[: ANSWERS + 1]))
        first.append(seconds[0])
        later += seconds[1:]
    for name, limit, durations in (("first row", 500, first), ("later rows", 50, later)):
        median, most = (f"{seconds * 1000:.1f} ms" for seconds in (statistics.median(durations), max(durations)))
        missed = ", **missed**" if max(durations) * 1000 > limit else ""
        say(f"| latency | {name} | {len(durations)} | | {median}, at most {most} | | | (<= {limit} ms{missed}) |")


def conversation(command: Sequence[str], geocli: Geocli, lines: Sequence[bytes]) -> Iterator[float]:
    """Give a new process one line after the other, and return how long each answer took, in seconds."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=geocli.environ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        missing = 2  # the header, and the first row
        for line in lines:
            process.stdin.write(line)
            process.stdin.flush()
            while missing > 0:
                assert select.select([process.stdout], [], [], 60)[0], "no answer for a minute"
                missing -= os.read(process.stdout.fileno(), 1 << 16).count(b"\n")
            yield time.perf_counter() - began
            missing, began = 1, time.perf_counter()
        process.stdin.close()


CASES: dict[str, Callable[[Bench], None]] = {
    "agreement": agreement,
    "5m": five_millions,
    "20m": twenty_millions,
    "zipf": popular,
    "mixed": mixed,
    "journal": journal,
    "asn": two_databases,
    "rir": no_database,
    "unknown": unknown,
    "memory": memory,
    "inputs": inputs,
    "ripgrep": ripgrep,
    "insight": insight,
    "small": small,
    "latency": latency,
    "loops": loops,
}


def compiled(home: Path) -> Path | None:
    """Compile the C program; None without a compiler or the library."""
    if not shutil.which("gcc"):
        return None
    program = home / "limit"
    source = Path(__file__).with_name("limit.c")
    command = ["gcc", "-O2", "-o", str(program), str(source), "-lmaxminddb"]
    return None if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode else program


def machine(bench: Bench) -> str:
    """Return the machine, the time and the versions of the measurement."""
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    versions = [f"{name} {version(name)}" for name in ("maxminddb", "maxminddb-rust", "geoip2")]
    if bench.limit:
        versions.insert(0, f"libmaxminddb {subprocess.check_output([bench.limit], text=True).strip()}")
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {names[0] if names else platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {', '.join(versions)}.\n"
    )
