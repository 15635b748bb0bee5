"""A batch on a Dask cluster of real processes: the same rows as on one machine, whatever fails."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import dask
import pytest
from distributed import Client, LocalCluster
from fsspec.implementations.memory import MemoryFileSystem

from geocli.batch.missing_addresses import LineCounts
from geocli.batch.request import BatchRequest
from geocli.batch.run import run
from geocli.cache import GeoCache
from geocli.cluster import coordinator, forkserver
from geocli.cluster.coordinator import RESUME_HINT, ClusterBatch, _Run
from geocli.cluster.messages import PartResult
from geocli.cluster.request import ClusterRequest
from geocli.errors import ClusterError, JournalError
from tests.helpers.command_output import complaint, complaints
from tests.helpers.data_directories import dirty
from tests.helpers.databases import LONDON, TOKYO, build, damage_record
from tests.helpers.terminals import on_terminal
from tests.helpers.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.helpers.geocli_process import Geocli

pytestmark = [pytest.mark.slow, pytest.mark.measured]

SMALL = 700
"""Size of a part, so that there are several."""
MANY = 60_000
"""Number of lines that take a worker some tenths of a second."""


@pytest.fixture(params=[0, 9], ids=["forked", "spawned"])
def temporary(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Return a directory for temporary files; a long name is too long for the socket of the fork server."""
    with tempfile.TemporaryDirectory() as path:
        result = Path(path, *["directory name"] * request.param)
        result.mkdir(parents=True, exist_ok=True)
        yield result


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Start two workers for all tests."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address


def _spread(
    geocli: Geocli, request: BatchRequest, address: str, block_bytes: int = SMALL, **changes: Any
) -> ClusterBatch:
    """Run a batch from this process."""
    with GeoCache(settings=geocli.settings()) as cache:
        batch = ClusterBatch(cache, request, ClusterRequest(address=address, block_bytes=block_bytes, **changes))
        batch.run()
    return batch


def _locally(geocli: Geocli, request: BatchRequest, output: Path) -> bytes:
    """Return the output of a batch on one machine."""
    with GeoCache(settings=geocli.settings()) as cache:
        run(cache, request.replace(output=str(output), mode="no-cache"))
    return output.read_bytes()


def _joined(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.glob("part-*")))


def _lines(count: int) -> bytes:
    """Return addresses, some of which are in the databases."""
    drawn = random.Random(count).randbytes(2 * count)  # noqa: S311 (no secrets)
    pairs = zip(drawn[::2], drawn[1::2], strict=True)
    return b"".join(b"81.2.69.%d\n%d.%d.7.7\n" % (low, high % 223 + 1, low) for low, high in pairs)


LIST = b"81.2.69.160\r\nnonsense\n10.0.0.1\n\n2001:218::1\n  8.8.8.8 \n" * 60
TABLE = (
    b'id,text,ip\n1,"a, ""b""\n\n' + b"c,81.2.69.160\n" * 9 + b'",8.8.8.8\n2,,2001:218::1\r\n3,5" pipe,10.0.0.1\n4\n'
)
OBJECTS = b'{"ip": "81.2.69.160", "x": "\\n"}\n{"ip": 5}\nnonsense\n' * 60
LOG = b'81.2.69.160 - - [x] "GET /" 2001:218::1\nno address\n\xff\xfe 8.8.8.8:80\n' * 50


@pytest.mark.parametrize(
    ("address", "block_bytes", "sizes"),
    [
        ("tcp://127.0.0.1:1", 16_000_000, [16_000_000, 4_000_000]),
        ("local:1", 16_000_000, [10_000_000, 10_000_000]),
        ("local:2", 16_000_000, [10_000_000, 10_000_000]),
        ("local:3", 16_000_000, [8_000_000, 8_000_000, 4_000_000]),
        ("local:2", 3_000_000, [3_000_000] * 6 + [2_000_000]),
        ("local:2", 64_000_000, [10_000_000] * 16),
    ],
)
def test_workers_here_get_parts_of_the_same_size(
    geocli: Geocli, tmp_path: Path, address: str, block_bytes: int, sizes: list[int]
) -> None:
    """No worker is idle while another has a last part to do, but parts do not become very short."""
    path = tmp_path / "list"
    path.touch()
    os.truncate(path, sum(sizes))
    request = BatchRequest(files=(str(path),), output=str(tmp_path / "out"))
    with GeoCache(settings=geocli.settings()) as cache:
        batch = ClusterBatch(cache, request, ClusterRequest(address=address, block_bytes=block_bytes))

    assert sizes == [part.share_bytes for part in batch.parts]


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (LIST, {}),
        (LIST.removesuffix(b"\n"), {"format": "tsv", "fields": ("ip", "network", "traits.accuracy_radius")}),
        (LIST.replace(b"\n", b"\0"), {"end": "\0", "format": "value"}),
        (TABLE + TABLE[11:] * 40, {"input": "csv"}),
        (TABLE.replace(b"\n", b"\r\n") + TABLE[11:] * 40, {"input": "csv", "prefix": "geo_", "with_header": False}),
        (OBJECTS, {"input": "jsonl", "fields": ("ip", "city", "network")}),
        (LOG, {"input": "log"}),
        (LOG, {"input": "log", "is_extract": True, "format": "jsonl", "fields": ("ip", "asn")}),
        (b"", {}),
    ],
)
def test_the_parts_are_the_output_of_one_machine(
    located: Geocli, address: str, tmp_path: Path, data: bytes, options: dict[str, Any]
) -> None:
    """The parts in order are, byte for byte, the output of one machine for the same files, also for gzip files."""
    plain, packed, out = tmp_path / "plain", tmp_path / "packed.gz", tmp_path / "out"
    plain.write_bytes(data)
    packed.write_bytes(gzip.compress(data))
    request = BatchRequest(files=(str(plain), str(packed), str(plain)), output=str(out), **options)

    batch = _spread(located, request, address)

    assert _locally(located, request, tmp_path / "alone") == _joined(out)
    assert len(batch.parts) == len(list(out.glob("part-*"))) >= (7 if data else 3)


def test_a_part_that_begins_in_a_cell_is_run_again(located: Geocli, address: str, tmp_path: Path) -> None:
    """A part cut inside a cell may look like anything, even like a quote that is never closed."""
    row = b"x,81.2.69.160\n"
    rows = row * 28_550 + b'"' + b"8.8.8.8\n" * 100 + b'",1.1.1.1\n' + row * 90_000
    (tmp_path / "table.csv").write_bytes(b"text,ip\n" + rows)
    request = BatchRequest(files=(f"{tmp_path}/table.csv",), output=f"{tmp_path}/out", input="csv")

    batch = _spread(located, request, address, 400_000)

    assert _locally(located, request, tmp_path / "alone") == _joined(tmp_path / "out")
    assert 5 == len(batch.parts)


def test_a_quote_that_is_never_closed_ends_a_run(located: Geocli, address: str, tmp_path: Path) -> None:
    """The end of records is unknown then, so the error names the part with the quote."""
    (tmp_path / "table.csv").write_bytes(b'text,ip\n"' + b"x,8.8.8.8\n" * 110_000)
    request = BatchRequest(files=(f"{tmp_path}/table.csv",), output=f"{tmp_path}/out", input="csv")

    with pytest.raises(ClusterError, match=r"part 0 .* a quote is not closed within 1 MiB; repair it") as caught:
        _spread(located, request, address, 400_000)

    assert 2 == caught.value.exit_status


def test_a_damaged_database_is_reported_once(located: Geocli, address: str, tmp_path: Path) -> None:
    """A damaged record has the same effect as on one machine: the same rows, message, and exit status."""
    build(located.db_dir / "GeoLite2-City.mmdb", {"81.2.69.0/24": LONDON, "2001:218::/32": TOKYO})
    damage_record(located.db_dir / "GeoLite2-City.mmdb")
    (tmp_path / "list").write_bytes(LIST)
    options = ("batch", str(tmp_path / "list"), "--no-cache")

    spread = located(*options, "--cluster", address, "--block-size", "700", "-o", f"{tmp_path}/out")
    alone = located(*options, "-o", f"{tmp_path}/alone")

    assert (alone.returncode, alone.stderr) == (spread.returncode, spread.stderr)
    damage, lines = complaints(alone)
    assert "damaged: " in damage
    assert lines.startswith("60 of 300 lines had no address; first: ")
    assert (tmp_path / "alone").read_bytes() == _joined(tmp_path / "out")


def test_answers_damaged_in_transit_are_not_appended(located: Geocli, tmp_path: Path) -> None:
    """A part whose frames are damaged is not complete."""
    (tmp_path / "list").write_bytes(LIST)
    request = BatchRequest(files=(f"{tmp_path}/list",), output=f"{tmp_path}/out")
    result = PartResult(
        begin=0, stop=0, rows="", frames=b"no frames", counts={}, lines=LineCounts(), exit_status=0, problems=()
    )
    with GeoCache(settings=located.settings()) as cache:
        batch = ClusterBatch(cache, request, ClusterRequest(address="local:1"))

        with pytest.raises(ClusterError, match=r"part 0 \(.*\): its answers: Error -3 while decompressing"):
            batch._append(batch.parts[0], result)  # noqa: SLF001 (no worker sends such)

    assert not located.data_dir.exists()


def test_the_answers_are_those_of_one_machine(located: Geocli, address: str, tmp_path: Path) -> None:
    """The journal has the entries of a batch on one machine, from the same sources."""
    (tmp_path / "list").write_bytes(LIST + _lines(3000))
    request = BatchRequest(files=(str(tmp_path / "list"),), output=str(tmp_path / "out"))

    _spread(located, request, address, 10_000)

    entries = {entry.ip: entry.replace(resolved_at=None, retry_at=None) for entry in dirty(located)}
    (located.data_dir / "journal").unlink()
    with GeoCache(settings=located.settings()) as cache:
        run(cache, request.replace(output=str(tmp_path / "alone")))
    assert {entry.ip: entry.replace(resolved_at=None, retry_at=None) for entry in dirty(located)} == entries
    assert len(entries) > 2000


def test_no_cache_writes_no_journal(located: Geocli, address: str, tmp_path: Path) -> None:
    """As on one machine."""
    (tmp_path / "list").write_bytes(LIST)

    _spread(located, BatchRequest(files=(str(tmp_path / "list"),), output=f"{tmp_path}/out", mode="no-cache"), address)

    assert not located.data_dir.exists()


def test_files_may_be_anywhere(located: Geocli, tmp_path: Path) -> None:
    """URLs are read and written like paths; here in the memory of this process, which contains the worker."""
    MemoryFileSystem().pipe_file("/there/list", LIST)
    (tmp_path / "list").write_bytes(LIST)
    request = BatchRequest(files=("memory://there/list",), output="memory://there/out.csv")

    with LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        _spread(located, request, cluster.scheduler_address, is_merged=True)

    alone = _locally(located, request.replace(files=(str(tmp_path / "list"),)), tmp_path / "alone")
    assert alone == MemoryFileSystem().cat_file("/there/out.csv")
    assert not MemoryFileSystem().exists("/there/out.csv.parts")


def test_missing_databases_are_copied_to_workers(located: Geocli, address: str, tmp_path: Path) -> None:
    """A worker for which a path leads elsewhere, here to its own directory, receives a copy."""
    (tmp_path / "list").write_bytes(LIST)
    arguments = ("list", "--no-cache", "--db", "/proc/self/cwd/GeoLite2-City.mmdb", "-f", "value", "-F", "ip,city")

    spread, alone = (
        subprocess.run(
            [
                *located.command,
                "batch",
                *(path.replace("list", str(tmp_path / "list")) for path in arguments),
                *options,
            ],
            cwd=located.db_dir,
            env=located.environ,
            check=True,
        )
        for options in (
            ("--cluster", address, "--block-size", "700", "--merge", "-o", str(tmp_path / "spread")),
            ("-o", str(tmp_path / "alone")),
        )
    )

    assert spread.returncode == alone.returncode
    assert (tmp_path / "alone").read_bytes() == (tmp_path / "spread").read_bytes()
    assert b"\tLondon\n" in (tmp_path / "spread").read_bytes()
    assert not (tmp_path / "spread.parts").exists()


def test_a_summary_and_the_exit_status_are_those_of_one_machine(located: Geocli, address: str, tmp_path: Path) -> None:
    """Rows of all parts are counted."""
    (tmp_path / "list").write_bytes(LIST)
    options = ("batch", str(tmp_path / "list"), "--no-cache", "--summary", "--strict")

    spread = located(*options, "--cluster", address, "--block-size", "700", "-o", f"{tmp_path}/out")
    alone = located(*options, "-o", f"{tmp_path}/alone")

    assert (1, alone.stderr) == (spread.returncode, spread.stderr)
    assert b"invalid" in alone.stderr


def test_progress_is_shown_on_a_terminal(located: Geocli, address: str, tmp_path: Path) -> None:
    """One bar shows the whole run."""
    (tmp_path / "list").write_bytes(LIST)

    status, output = on_terminal(
        located, "batch", f"{tmp_path}/list", "--cluster", address, "--block-size", "700", "-o", f"{tmp_path}/out"
    )

    assert 0 == status
    size = f"{len(LIST) / 1000:.1f}"
    assert f"{size} kB of {size} kB" in output


def test_a_run_continues_where_another_one_failed(located: Geocli, address: str, tmp_path: Path) -> None:
    """The error names the part that cannot be read; complete parts are kept, and a later run does only the rest."""
    good, bad, out = tmp_path / "good", tmp_path / "bad.gz", tmp_path / "out"
    good.write_bytes(LIST)
    whole = gzip.compress(_lines(60_000))
    bad.write_bytes(whole[:-500])
    arguments = ("batch", "-q", str(good), str(bad), "--cluster", address, "--block-size", "2000", "-o", str(out))

    failed = located(*arguments)
    before = {path.name: path.stat() for path in out.glob("part-*")}
    bad.write_bytes(whole)
    resumed = located(*arguments, "--resume")

    assert 2 == failed.returncode
    number = len(LIST) // 2000 + 1
    assert f"part {number} ({bad}, whole file): {bad}: " in complaint(failed)
    assert complaint(failed).endswith("; to continue, run again with --resume")
    assert (0, b"") == (resumed.returncode, resumed.stderr)
    assert before
    assert before == {name: (out / name).stat() for name in before}
    request = BatchRequest(files=(str(good), str(bad)))
    assert _locally(located, request, tmp_path / "alone") == _joined(out)


def test_changed_input_or_settings_are_run_again(located: Geocli, address: str, tmp_path: Path) -> None:
    """A complete part is recognised by the size and time of the input, and by everything that its rows depend on."""
    path, out = tmp_path / "list", tmp_path / "out"
    path.write_bytes(LIST)
    request = BatchRequest(files=(str(path),), output=str(out))
    _spread(located, request, address, 1000)

    def redone(**options: Any) -> int:
        before = {part: part.stat().st_mtime_ns for part in out.glob("part-*")}
        _spread(located, request.replace(**options), address, 1000, is_resumed=True)
        assert _locally(located, request.replace(**options), tmp_path / "alone") == _joined(out)
        return sum(part.stat().st_mtime_ns != before.get(part) for part in out.glob("part-*"))

    count = len(list(out.glob("part-*")))
    assert 0 == redone()
    assert count == redone(fields=("ip", "city"))
    assert count == redone()
    os.utime(path, (0, 0))
    assert count == redone()


def test_an_inconsistent_record_is_detected(located: Geocli, address: str, tmp_path: Path) -> None:
    """Before a run ends it checks that each part begins where the part before ends."""
    (tmp_path / "list").write_bytes(LIST)
    request = BatchRequest(files=(str(tmp_path / "list"),), output=f"{tmp_path}/out")
    _spread(located, request, address, 1000)
    note = tmp_path / "out" / "_geocli" / "part-000001.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "stop": 1}))

    with pytest.raises(ClusterError, match=r"part 2 .* does not begin where the part before ends; run again without"):
        _spread(located, request, address, 1000, is_resumed=True)


def test_a_part_is_not_complete_before_its_answers_are_on_disk(located: Geocli, address: str, tmp_path: Path) -> None:
    """When the journal cannot be written, no rows appear in the output."""
    (tmp_path / "list").write_bytes(LIST)
    located.data_dir.mkdir(mode=0o700)
    (located.data_dir / "journal").mkdir()

    with pytest.raises(JournalError, match="journal: cannot be appended to: Is a directory"):
        _spread(located, BatchRequest(files=(f"{tmp_path}/list",), output=f"{tmp_path}/out"), address)

    assert ["_geocli"] == [path.name for path in (tmp_path / "out").iterdir()]


def test_a_worker_that_is_killed_costs_nothing(located: Geocli, tmp_path: Path) -> None:
    """Another worker runs the part again: no row is missing or duplicated."""
    (tmp_path / "list").write_bytes(_lines(MANY))
    arguments = ("--cluster", "local:2", "--block-size", "500kB", "--no-cache", "-o", f"{tmp_path}/out")

    with located.start("batch", f"{tmp_path}/list", *arguments, start_new_session=True) as process:
        wait_for(lambda: list((tmp_path / "out" / "_geocli").glob("part-*-*")))
        os.kill(_workers(process.pid)[0], signal.SIGKILL)
        _, errors = process.communicate()

    assert (0, b"") == (process.returncode, errors)
    assert _locally(located, BatchRequest(files=(f"{tmp_path}/list",)), tmp_path / "alone") == _joined(tmp_path / "out")
    assert [] == _session(process.pid)


@pytest.mark.parametrize("when", ["loading", "starting", "working"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_no_process_is_left_after_a_signal(
    located: Geocli, tmp_path: Path, temporary: Path, number: int, when: str
) -> None:
    """Ctrl-C, which all processes of a terminal get, and SIGTERM end a run silently, also while workers start."""
    (tmp_path / "list").write_bytes(_lines(MANY))
    arguments = ("--cluster", "local:2", "--block-size", "500kB", "--no-cache", "-o", f"{tmp_path}/out")

    located.environ["TMPDIR"] = str(temporary)
    with located.start("batch", f"{tmp_path}/list", *arguments, start_new_session=True) as process:
        begun = {
            "loading": lambda: len(_session(process.pid)) > 1,
            "starting": lambda: _workers(process.pid),
            "working": lambda: list((tmp_path / "out" / "_geocli").glob("part-*-*")),
        }
        wait_for(begun[when])
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        _, errors = process.communicate()

    assert (128 + number, b"") == (process.returncode, errors)
    wait_for(lambda: not _session(process.pid))
    assert [] == [path for path in temporary.iterdir() if path.name != "dask-scratch-space"]


def _never(**_: object) -> None:
    while True:
        time.sleep(0.01)


def _fails(**_: object) -> None:
    raise RuntimeError("Nanny failed to start.")


@pytest.mark.parametrize(
    ("start", "patience_seconds", "error", "reason"),
    [
        (_fails, 60, ClusterError, "local:2: its workers cannot start: Nanny failed to start"),
        (_never, 0, ClusterError, "local:2: its workers cannot start: timed out"),
        (_never, 60, KeyboardInterrupt, "^$"),
    ],
)
def test_workers_that_cannot_start_are_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
    start: Callable[..., None],
    patience_seconds: float,
    error: type[BaseException],
    reason: str,
) -> None:
    """A run ends when workers cannot start, perhaps for lack of memory; Ctrl-C ends it sooner."""
    monkeypatch.setattr(coordinator, "LocalCluster", start)
    monkeypatch.setattr(forkserver, "DELAY_SECONDS", 0)
    before = _signals()
    if error is KeyboardInterrupt:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    with (
        dask.config.set({"distributed.comm.timeouts.connect": f"{patience_seconds} s"}),
        pytest.raises(error, match=reason),
        coordinator._local(ClusterRequest(address="local:2")),  # noqa: SLF001 (what starts them)
    ):
        pytest.fail("nothing was started")

    assert before == _signals()


def _signals() -> list[Any]:
    numbers = (signal.SIGALRM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    mask, timer = signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getitimer(signal.ITIMER_REAL)
    return [mask, timer, *map(signal.getsignal, numbers)]


def test_ignored_signals_stay_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGHUP under nohup does not end the start of workers, and other threads get no signals."""
    monkeypatch.setattr(forkserver, "DELAY_SECONDS", 0)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    waited: list[Any] = []

    def elsewhere() -> None:
        with forkserver.signals_delayed(0):
            waited.append(_signals())

    try:
        with forkserver.signals_delayed(60):
            signal.raise_signal(signal.SIGHUP)
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            time.sleep(0.1)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert [_signals()] == waited
    finally:
        signal.signal(signal.SIGHUP, before)


def _session(leader: int) -> list[int]:
    """Return the processes of a session (proc(5), /proc/pid/stat)."""
    result = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == leader and state != "Z":
            result.append(int(path.parent.name))
    return result


def _workers(pid: int) -> list[int]:
    """Return the workers among the processes of a run."""
    forked = {
        child: int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1]) for child in _session(pid)
    }
    spawned = {child for child in forked if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()}
    return sorted(spawned | {child for child, parent in forked.items() if parent in forked and parent != pid})


@contextmanager
def _elsewhere(home: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """Start a scheduler and a worker as on other machines, and yield the address and both processes."""
    file, dask = home / "scheduler.json", (sys.executable, "-m", "dask")
    quiet = {**os.environ, "DASK_LOGGING__DISTRIBUTED": "critical"}
    common = ("--scheduler-file", str(file), "--no-dashboard")
    with subprocess.Popen([*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", *common], env=quiet) as scheduler:
        wait_for(lambda: file.exists() and file.read_text().endswith("}"))
        worker = [*dask, "worker", *common, "--nthreads", "1", "--local-directory", str(home / "scratch"), *options]
        with subprocess.Popen(worker, env=quiet, start_new_session=True) as workers:
            try:
                yield json.loads(file.read_text())["address"], scheduler, workers
            finally:
                scheduler.terminate()
                os.killpg(workers.pid, signal.SIGKILL)


def test_a_worker_without_memory_is_an_error(located: Geocli, tmp_path: Path) -> None:
    """The error names the part whose workers died, and suggests a remedy."""
    (tmp_path / "list").write_bytes(_lines(MANY))

    with _elsewhere(tmp_path, "--memory-limit", "100MB") as (address, *_):
        failed = located("batch", f"{tmp_path}/list", "--cluster", address, "-o", f"{tmp_path}/out")

    assert 75 == failed.returncode
    assert complaint(failed).startswith(f"part 0 ({tmp_path}/list, bytes 0 to ")
    assert "every worker that tried it died, perhaps for lack of memory; choose a smaller" in complaint(failed)
    assert ["_geocli"] == [path.name for path in (tmp_path / "out").iterdir()]


def test_a_scheduler_or_workers_that_are_lost_are_an_error(located: Geocli, tmp_path: Path) -> None:
    """A run waits only some time for workers and for a scheduler; a later one continues it."""
    (tmp_path / "list").write_bytes(_lines(MANY))
    patience = "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT"
    arguments = ("batch", f"{tmp_path}/list", "--no-cache", "--block-size", "500kB", "-o", f"{tmp_path}/out")
    located.environ[patience] = "2s"

    with (
        _elsewhere(tmp_path, "--no-nanny") as (address, scheduler, worker),
        located.start(*arguments, "--cluster", address) as process,
    ):
        wait_for(lambda: list((tmp_path / "out").glob("part-*")))
        worker.kill()
        _, errors = process.communicate()
        assert (75, f"geocli: {address}: there was no worker for 2 s; {RESUME_HINT}\n") == (
            process.returncode,
            errors.decode(),
        )
        located.environ[patience] = "30s"
        with located.start(*arguments, "--resume", "--cluster", address) as waiting:
            with Client(address, set_as_default=False) as watcher:
                wait_for(lambda: watcher.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))
            scheduler.kill()
            _, errors = waiting.communicate()
        assert (75, f"geocli: {address}: the scheduler is lost; {RESUME_HINT}\n") == (
            waiting.returncode,
            errors.decode(),
        )
    located.environ[patience] = "2s"
    run = located(*arguments, "--resume", "--cluster", address)
    assert (75, True) == (run.returncode, "no scheduler answers: " in complaint(run))

    del located.environ[patience]  # on a busy machine, workers take longer to start
    assert 0 == located(*arguments, "--resume", "--cluster", "local:1").returncode
    assert _locally(located, BatchRequest(files=(f"{tmp_path}/list",)), tmp_path / "alone") == _joined(tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--cluster", "local:2"), "--cluster: needs -o, where the rows go"),
        (("--cluster", "local:two", "-o", "out"), "--cluster local:two: name the number of workers, as in local:4"),
        (("--cluster", "local:0", "-o", "out"), "--cluster local:0: name the number of workers, as in local:4"),
        (("--cluster", "nowhere://x", "-o", "{home}/out"), "--cluster nowhere://x: unknown address scheme"),
        (("--cluster", "local:1", "-o", "out", "--block-size", "x"), "x: not a size like 64MB, 512kB or 1GiB"),
        (("--cluster", "local:1", "-o", "out", "--block-size", "0"), "0: not a size like 64MB, 512kB or 1GiB"),
        (("--cluster", "local:1", "-o", "out", "--cached-only"), "--cached-only: cannot be used with --cluster"),
        (("--merge",), "--merge: needs --cluster"),
        (("--block-size", "1MB"), "--block-size: needs --cluster"),
    ],
)
def test_unusable_options(geocli: Geocli, tmp_path: Path, arguments: tuple[str, ...], reason: str) -> None:
    """An unusable option is reported in one line, with exit status 2."""
    (tmp_path / "list").write_bytes(b"8.8.8.8\n")

    failed = geocli("batch", f"{tmp_path}/list", *(text.replace("{home}", str(tmp_path)) for text in arguments))

    assert 2 == failed.returncode
    assert complaint(failed).startswith(f"command line: {reason}")


def test_without_dask_the_error_says_how_to_install_it(geocli: Geocli, tmp_path: Path) -> None:
    """An installation without Dask works, except for --cluster."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "dask.py").write_text("raise ModuleNotFoundError(\"No module named 'dask'\")\n")
    (tmp_path / "list").write_bytes(b"8.8.8.8\n")

    failed = geocli(
        *("batch", f"{tmp_path}/list", "--cluster", "local:1", "-o", "out"), environ={"PYTHONPATH": str(hidden)}
    )

    assert 2 == failed.returncode
    assert complaint(failed) == (
        "command line: --cluster: needs Dask (No module named 'dask'); "
        "get it with: pip install '.[cluster]' in a clone of geocli"
    )


@pytest.mark.parametrize("workers", [{}, {"tcp://127.0.0.1:1": 1}])
def test_a_worker_that_dies_before_it_sends_its_result(workers: dict[str, int]) -> None:
    """The result is waited for as long as another worker may compute it again."""
    waits = iter([TimeoutError, TimeoutError, TimeoutError])

    def result(timeout: float) -> str:
        for error in waits:
            raise error
        return f"sent within {timeout} s"

    client: Any = SimpleNamespace(nthreads=lambda: workers)
    batch: Any = SimpleNamespace(cluster=ClusterRequest(address="tcp://127.0.0.1:1"))
    future: Any = SimpleNamespace(result=result)
    run = _Run(client, batch, {})
    with dask.config.set({"distributed.comm.timeouts.connect": "5s"}):
        if workers:
            assert "sent within 16 s" == run._result(future)  # noqa: SLF001 (a moment that no process can be stopped at)
        else:
            with pytest.raises(ClusterError, match="there was no worker for 6 s; to continue"):
                run._result(future)  # noqa: SLF001 (as above)
