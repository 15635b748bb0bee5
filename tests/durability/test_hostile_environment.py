"""The world in trouble: clocks that are wrong, environments that are empty, few open files, closed streams."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from functools import cache
from glob import glob
from pathlib import Path

import pytest

from geocli.storage.journal import Journal
from tests.helpers.command_output import complaint, complaints, objects
from tests.helpers.data_directories import dirty, local, stored_rows
from tests.helpers.databases import CITIES, NETWORKS, TOKYO, build
from tests.helpers.geocli_process import Geocli
from tests.helpers.stores import select
from tests.helpers.system_call_faults import check

pytestmark = pytest.mark.slow

KNOWN, OTHER, NEXT = "81.2.69.160", "98.0.0.1", "2001:218::1"
COUNTRIES = {KNOWN: "GB", OTHER: "US", NEXT: "JP"}
NOWHERE = "3000::1"
"""An address that no registry has allocated, and so has no answer."""
SILENT = (0, b"", b"")
COMMANDS: tuple[tuple[tuple[str, ...], bytes], ...] = (
    (("lookup", KNOWN, NEXT), b""),
    (("lookup", "--cached-only", KNOWN), b""),
    (("batch",), f"{KNOWN}\n{NEXT}\n".encode()),
    (("flush",), b""),
    (("re-resolve",), b""),
    (("re-resolve", "--older-than", "30d"), b""),
    (("stats", "-f", "table"), b""),
    (("stats", "-f", "prometheus"), b""),
    (("clear", "--older-than", "36500d"), b""),
    (("db", "list", "-f", "table"), b""),
    (("db", "verify"), b""),
)
each_command = pytest.mark.parametrize(
    ("arguments", "stdin"), [pytest.param(*case, id=" ".join(case[0])) for case in COMMANDS]
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data directory with one answer in the store and one in the journal."""
    geocli = Geocli(tmp_path_factory.mktemp("template"))
    build(geocli.db_dir / "GeoLite2-City.mmdb", CITIES, build_epoch=1_780_000_000)
    build(geocli.db_dir / "GeoLite2-ASN.mmdb", NETWORKS, edition="GeoLite2-ASN", build_epoch=1_780_000_000)
    for arguments in (("lookup", KNOWN), ("flush",), ("lookup", OTHER)):
        assert 0 == geocli(*arguments).returncode
    return geocli.data_dir


@pytest.fixture
def filled(located: Geocli, template: Path) -> Geocli:
    """Keep one answer in the store and one in the journal."""
    shutil.copytree(template, located.data_dir)
    return located


def _outcome(geocli: Geocli, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    ran = geocli(*arguments, stdin=stdin)
    return ran.returncode, ran.stdout, ran.stderr


# clocks

RIGHT, YESTERDAY, FAR_AHEAD, BACKWARDS = "+0d", "-1d", "+20y", "+0 i-5.0"


def _clock(offset: str) -> dict[str, str]:
    """Return an environment in which the clock of a process is wrong, but not the times of files or its pauses."""
    result = [*glob("/usr/lib*/faketime/libfaketime.so.1"), *glob("/usr/*/*/faketime/libfaketime.so.1")]
    real = {"NO_FAKE_STAT": "1", "DONT_FAKE_MONOTONIC": "1"}
    return {"LD_PRELOAD": result[0], "FAKETIME": offset, **real} if result else {}


@cache
def _no_clock() -> str | None:
    """Return why the clock of processes cannot be set here, None if it can."""
    if not (environ := _clock(FAR_AHEAD)):
        return "needs Debian's package libfaketime"
    code = "import time; print(time.gmtime().tm_year)"
    years = [
        subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False).stdout
        for env in ({}, environ)
    ]
    return None if int(years[0]) < int(years[1] or 0) else "libfaketime does not work with this Python"


needs_clock = pytest.mark.skipif(_no_clock() is not None, reason=str(_no_clock()))


def _at(offset: str, geocli: Geocli, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command at another time, and remove the shared memory that libfaketime leaves."""
    command = [*geocli.command, *arguments]
    environ = {**geocli.environ, **_clock(offset)}
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        stdout, stderr = process.communicate(stdin, timeout=60)
    for kind in ("faketime_shm_", "sem.faketime_sem_"):
        Path(f"/dev/shm/{kind}{process.pid}").unlink(missing_ok=True)  # noqa: S108 (named by the library)
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


@needs_clock
@each_command
@pytest.mark.parametrize("offset", [YESTERDAY, FAR_AHEAD])
def test_commands_do_not_mind_the_time(filled: Geocli, offset: str, arguments: tuple[str, ...], stdin: bytes) -> None:
    """Whatever time it is, each command does its work in silence, and loses nothing."""
    ran = _at(offset, filled, *arguments, stdin=stdin)

    assert (0, b"") == (ran.returncode, ran.stderr)
    check(filled, {KNOWN, OTHER}, COUNTRIES)


@needs_clock
@pytest.mark.parametrize(
    ("earlier", "later"), [(FAR_AHEAD, RIGHT), (RIGHT, YESTERDAY), (FAR_AHEAD, YESTERDAY), (YESTERDAY, FAR_AHEAD)]
)
@pytest.mark.parametrize("how", ["flushed", "sealed", "overtaken"])
def test_the_answer_that_was_given_later_is_stored(located: Geocli, earlier: str, later: str, how: str) -> None:
    """The order of commands decides, not their clocks: also if the older answer reaches the store last."""
    assert 0 == _at(earlier, located, "lookup", KNOWN).returncode
    if how == "flushed":
        assert 0 == _at(earlier, located, "flush").returncode
    else:
        segment = Journal(local(located.data_dir)).seal()
        assert segment is not None
        left_over = located.data_dir / segment.name
    if how == "overtaken":  # by a flush that cannot read it
        aside = left_over.rename(located.data_dir.parent / "aside")
        left_over.mkdir()
    build(located.db_dir / "GeoLite2-City.mmdb", {"81.2.69.0/24": TOKYO}, build_epoch=1_790_000_000)
    assert 0 == _at(later, located, "lookup", KNOWN).returncode
    if how == "overtaken":
        assert 4 == _at(later, located, "flush").returncode
        left_over.rmdir()
        aside.rename(left_over)

    assert 0 == _at(later, located, "flush").returncode
    assert [(KNOWN, "JP")] == stored_rows(located, "ip, country_code")
    assert [] == dirty(located)


@needs_clock
@pytest.mark.parametrize("offset", [YESTERDAY, FAR_AHEAD])
def test_addresses_unresolved_at_a_wrong_time_are_resolved_again(geocli: Geocli, offset: str) -> None:
    """A retry time that a wrong clock has set is not waited for, neither by lookup nor by re-resolve."""
    for arguments in (("lookup", NOWHERE), ("flush",)):
        _at(offset, geocli, *arguments)
    assert [(NOWHERE, "unresolved")] == stored_rows(geocli, "ip, status")

    assert [{"cached": False}] == objects(geocli("lookup", "-F", "cached", NOWHERE).stdout)
    assert [{"retried": 1, "found": 0, "changed": 0, "unknown": 1}] == objects(
        geocli("re-resolve", "--json", "--no-flush").stdout
    )
    assert SILENT == _outcome(geocli, "flush")
    assert [{"cached": True}] == objects(geocli("lookup", "-F", "cached", NOWHERE).stdout)
    assert [0] == [report["retried"] for report in objects(geocli("re-resolve", "--json").stdout)]


def _reasons(geocli: Geocli) -> list[str]:
    """Return the problems that `stats --check` reports, consistent with its exit status."""
    ran = geocli("stats", "--check")
    reasons = [reason for reason in complaints(ran) if not reason.startswith("note: ")]
    assert bool(reasons) == ran.returncode
    return reasons


@needs_clock
@pytest.mark.parametrize(
    ("offset", "says"),
    [(YESTERDAY, "does cron run geocli flush?"), (FAR_AHEAD, "is in the future; is the clock right?")],
)
def test_a_journal_of_another_time_is_not_healthy(geocli: Geocli, offset: str, says: str) -> None:
    """Dirty answers from next year hide no flush that does not run; the next flush sets it right."""
    assert 0 == _at(offset, geocli, "lookup", "8.8.8.8").returncode
    (reason,) = _reasons(geocli)
    assert reason.startswith("the journal ")
    assert reason.endswith(says)
    assert SILENT == _outcome(geocli, "flush")
    assert [] == _reasons(geocli)


@needs_clock
@pytest.mark.parametrize(
    ("offset", "says"), [(YESTERDAY, []), (FAR_AHEAD, ["which is in the future; is the clock right?"])]
)
def test_all_is_well_when_the_clock_is_right_again(geocli: Geocli, offset: str, says: list[str]) -> None:
    """Entries of a wrong time are not reported once a flush has run at the right time."""
    for arguments in (("lookup", "8.8.8.8"), ("flush",)):
        assert 0 == _at(offset, geocli, *arguments).returncode
    assert says == [reason.partition(", ")[2] for reason in _reasons(geocli)]

    assert 0 == geocli("lookup", "1.1.1.1").returncode
    assert SILENT == _outcome(geocli, "flush")
    assert [] == _reasons(geocli)
    assert [("1.1.1.1",), ("8.8.8.8",)] == stored_rows(geocli)


@needs_clock
def test_a_clock_that_runs_backwards(filled: Geocli) -> None:
    """A command during which the clock is set back, again and again, does its work, and takes no negative time."""
    batch = _at(BACKWARDS, filled, "batch", "-f", "value", stdin=b"81.2.69.1\n98.0.0.2\n")
    flush = _at(BACKWARDS, filled, "flush", "--json")

    assert (0, b"GB\nUS\n", b"") == (batch.returncode, batch.stdout, batch.stderr)
    assert (0, b"") == (flush.returncode, flush.stderr)
    (report,) = objects(flush.stdout)
    assert 3 == report["flushed"]
    assert 0 <= report["duration_seconds"]
    assert 0 <= json.loads(filled("stats").stdout)["last_flush"]["duration_seconds"]
    assert {"81.2.69.1", "98.0.0.2", KNOWN, OTHER} == {ip for (ip,) in stored_rows(filled)}


# environments


def _bare(environ: dict[str, str], *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command with next to no environment."""
    return subprocess.run(
        ["env", "-i", *(f"{name}={value}" for name, value in environ.items()), *Geocli.command, *arguments],
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("has_home", [True, False])
def test_an_empty_environment_is_enough(tmp_path: Path, *, has_home: bool) -> None:
    """Under `env -i`, with or without HOME, answers are printed, appended and flushed."""
    home, data_dir = str(tmp_path), tmp_path / "data"
    environ = {"PATH": "/usr/bin:/bin", "GEOCLI_DATA_DIR": str(data_dir), **({"HOME": home} if has_home else {})}
    looked_up = _bare(environ, "lookup", "8.8.8.8")
    batch = _bare(environ, "batch", "-F", "ip,status", stdin=b"1.1.1.1\n10.0.0.1\n")
    flushed = _bare(environ, "flush")
    stats = _bare(environ, "stats", "-f", "json")

    assert [0, 0, 0, 0] == [ran.returncode for ran in (looked_up, batch, flushed, stats)]
    assert ["US"] == [entry["country_code"] for entry in objects(looked_up.stdout)]
    assert b"ip,status\n1.1.1.1,resolved\n10.0.0.1,special\n" == batch.stdout
    assert {"resolved": 2, "special": 1, "unresolved": 0} == json.loads(stats.stdout)["entries"]
    assert [("1.1.1.1",), ("10.0.0.1",), ("8.8.8.8",)] == select(
        str(data_dir / "geocli.db"), "SELECT ip FROM geo_cache ORDER BY ip"
    )


@cache
def _no_state_of_its_own() -> str | None:
    """Return why the data directory of root cannot be one of this test, None if it can."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return "needs root and unshare(1), to have a /var/lib of its own"
    mount = "mount -t tmpfs tmpfs /var/lib"
    ran = subprocess.run(["unshare", "--mount", "sh", "-c", mount], capture_output=True, check=False)
    return None if ran.returncode == 0 else "needs the right to mount a /var/lib of its own"


@pytest.mark.skipif(_no_state_of_its_own() is not None, reason=str(_no_state_of_its_own()))
def test_root_needs_no_environment_at_all() -> None:
    """As `env -i geocli lookup` by root: the data directory is the system's, and cron's flush finds it."""
    script = """
        mount -t tmpfs tmpfs /var/lib
        run() { env -i PATH=/usr/bin:/bin "$@"; }
        run "$@" lookup -f value 8.8.8.8 && run "$@" flush && run "$@" lookup -f value --cached-only 8.8.8.8
        ls /var/lib/geocli/geocli.db
    """
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, "sh", *Geocli.command]
    ran = subprocess.run(command, capture_output=True, timeout=60, check=False)

    assert (0, b"US\nUS\n/var/lib/geocli/geocli.db\n", b"") == (ran.returncode, ran.stdout, ran.stderr)


@pytest.mark.parametrize("variables", [{}, {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}], ids=["C", "ASCII"])
def test_other_letters_in_the_plainest_locale(located: Geocli, tmp_path: Path, variables: dict[str, str]) -> None:
    """With LC_ALL=C, addresses, files and the data directory may have names in any script."""
    located.environ |= {"LC_ALL": "C", **variables}
    located.data_dir = tmp_path / "données-東京"
    located.environ["GEOCLI_DATA_DIR"] = str(located.data_dir)
    source, rows = tmp_path / "адреса.txt", tmp_path / "réponses.csv"
    source.write_text("münchen.de\n\uff18\uff11.2.69.160\n81.2.69.160\n", encoding="utf-8")
    batch = located("batch", "-q", "-F", "ip,status", str(source), "-o", str(rows))
    looked_up = located("lookup", "-f", "value", "münchen.de", "98.0.0.1")

    assert (0, b"", b"") == (batch.returncode, batch.stdout, batch.stderr)
    assert "ip,status\nmünchen.de,invalid\n\uff18\uff11.2.69.160,invalid\n81.2.69.160,resolved\n" == rows.read_text(
        "utf-8"
    )
    assert (2, b"\nUS\n") == (looked_up.returncode, looked_up.stdout)
    assert complaint(looked_up).endswith("nchen.de: not an IP address")
    assert SILENT == _outcome(located, "flush")
    assert [("81.2.69.160",), ("98.0.0.1",)] == stored_rows(located)


# few open files


@pytest.fixture
def sixteen(filled: Geocli) -> Geocli:
    """Limit every command to 16 open files, fewer than there are databases."""
    for number in range(20):
        shutil.copy(filled.db_dir / "GeoLite2-City.mmdb", filled.db_dir / f"City-{number}.mmdb")
    filled.command = ("sh", "-c", 'ulimit -n 16 && exec "$@"', "sh", *filled.command)  # type: ignore[assignment]
    return filled


@each_command
def test_sixteen_open_files_are_enough(sixteen: Geocli, arguments: tuple[str, ...], stdin: bytes) -> None:
    """Each command succeeds without a message."""
    ran = sixteen(*arguments, stdin=stdin)

    assert (0, b"") == (ran.returncode, ran.stderr)
    check(sixteen, {KNOWN, OTHER}, COUNTRIES)


@each_command
def test_sixteen_open_files_are_enough_for_more_segments(
    sixteen: Geocli, arguments: tuple[str, ...], stdin: bytes
) -> None:
    """Segments that a store did not take for twenty minutes are read, and stored, one after another."""
    for number in range(1, 21):
        shutil.copy(sixteen.data_dir / "journal", sixteen.data_dir / f"journal.{number}-{uuid.uuid4()}.draining")
    ran = sixteen(*arguments, stdin=stdin)

    assert (0, b"") == (ran.returncode, ran.stderr)
    check(sixteen, {KNOWN, OTHER}, COUNTRIES)


# closed streams


@each_command
def test_no_command_needs_its_streams(filled: Geocli, arguments: tuple[str, ...], stdin: bytes) -> None:
    """What would have been printed goes nowhere: least of all into the journal or the store."""
    filled.command = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *filled.command)  # type: ignore[assignment]

    assert SILENT == _outcome(filled, *arguments, stdin=stdin)
    check(filled, {KNOWN, OTHER}, COUNTRIES)
