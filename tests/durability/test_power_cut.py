"""Power cuts on ext4: after a flush, no acknowledged answer is missing.

The file system is in an image on a loop device. The image has what the kernel has written to it; the rest is only in
memory. So a copy of the image, made while geocli is stopped after a call, is what a power cut at that moment leaves.
Mounting the copy replays the journal of ext4, as a start after a power cut does. All commands run once, in order; then
each copy is recovered by a flush.
"""

from __future__ import annotations

import errno
import os
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager, nullcontext
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.helpers.command_output import objects
from tests.helpers.databases import CITIES, build
from tests.helpers.geocli_process import Geocli
from tests.helpers.misbehaving_servers import DATABASE, database_url
from tests.helpers.system_call_faults import COUNTRIES, TRACED, leftovers, missing
from tests.helpers.waiting import PATIENCE_SECONDS, read_line

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    Answers = dict[str, tuple[str | None, str | None]]
    """Country code and city by address."""
    Disk = dict[int, bytes]
    """The parts of an image that were ever written, by their offsets in bytes."""

pytestmark = pytest.mark.slow

CIRCUMSTANCES = {
    "commit=600": ("commit=600", False),
    "defaults": ("defaults", False),
    "commit at each call": ("defaults", True),
}
"""How the file system is mounted, and whether its journal is committed just before each cut.

With `commit=600` nothing is written down unless geocli asks for it (ext4(5)). With a commit, which the default
makes due every 5 seconds, names and sizes are written down at any moment, but not what is in the files.
"""
IMAGE_BYTES = 16 << 20
MAKE = ("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=1,nodiscard")
"""The block size of larger disks, without writes that the kernel would make in the background."""
MAKING = ("O_CREAT", "O_TMPFILE", "O_APPEND")
"""Flags of calls that open a file to change it."""
UNCOMMITTED = ("pwrite64", "ftruncate", "fchown")  # SQLite makes too many calls for a commit after each
READER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript("BEGIN; SELECT COUNT(*) FROM geo_cache")
print(flush=True)
sys.stdin.read()
"""


class Step(NamedTuple):
    """A command."""

    arguments: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    """Addresses that it answers on standard output; in the arguments, `{addresses}` stands for the file of these."""
    learns: Mapping[str, tuple[str, str]] = {}
    """The country in the database that is installed before, which the store should have after the command."""
    is_read: bool = False
    """Whether another program has a read transaction open in the store."""
    output: str | None = None
    """The file that is replaced, on the file system, which is `{point}` among the arguments."""
    mirror: str = ""
    """The country in the database that can be downloaded during the command."""


MANY = tuple(f"8.8.{number >> 8}.{number & 255}" for number in range(1100))
"""More than two of the blocks for which a batch syncs once."""
LOOKUP = ("lookup", "-f", "jsonl")
WRITE = ("batch", "-f", "jsonl", "-o", "{point}/rows", "{addresses}")
UPDATE = ("db", "update", DATABASE)
INSTALLED = f"share/geocli/{DATABASE}.mmdb"
STEPS = {
    "first lookup": Step((*LOOKUP, "8.8.8.8", "81.2.69.160"), addresses=("8.8.8.8", "81.2.69.160")),
    "lookup": Step((*LOOKUP, "1.1.1.1"), addresses=("1.1.1.1",)),
    "first flush": Step(("flush",)),
    "batch": Step(("batch", "-f", "jsonl", "{addresses}"), addresses=MANY[:-2]),
    "second flush": Step(("flush",)),
    "lookup beside a reader": Step((*LOOKUP, "9.9.9.9"), addresses=("9.9.9.9",), is_read=True),
    "flush beside a reader": Step(("flush",), is_read=True),
    "next lookup beside a reader": Step((*LOOKUP, "193.0.6.139"), addresses=("193.0.6.139",), is_read=True),
    "next flush beside a reader": Step(("flush",), is_read=True),
    "re-resolve": Step(("re-resolve", "--all"), learns={"81.2.69.160": ("GB", "London")}),
    "first batch -o": Step(WRITE, addresses=("200.3.14.10",), output="rows"),
    "batch -o": Step(WRITE, addresses=MANY[-2:], output="rows"),
    "stats -o": Step(("stats", "-o", "{point}/rows"), output="rows"),
    "first db update": Step((*UPDATE,), output=INSTALLED, mirror="CA"),
    "db update": Step((*UPDATE,), output=INSTALLED, mirror="MX"),
}
APPENDING = ("openat", "write", "fdatasync", "fsync")
STORING = ("rename", "fsync", "pwrite64", "fdatasync", "unlink")
REPLACING = ("openat", "write", "fsync", "rename")
CALLS = {
    "lookup": APPENDING,
    "batch": APPENDING,
    "flush": STORING,
    "re-resolve": APPENDING + STORING,
    "stats": REPLACING,
    "db": REPLACING,
}
"""How the calls begin after which the power must have been cut, by command."""


class Cut(NamedTuple):
    """What a power cut leaves."""

    image: Path
    after: str
    """The call after which the power was cut."""
    acknowledged: Answers
    """What must be in the store."""
    coming: Answers
    """Files that may exist in addition: answers of the command during which the power was cut."""
    output: tuple[str, set[bytes | None]]
    """The file that is replaced, and its possible contents; None if it may be missing."""


def _missing() -> str | None:
    """Return why power cuts cannot be simulated here, None if they can."""
    if os.geteuid() != 0:
        return "needs root, to mount a file system"
    if not shutil.which("mkfs.ext4"):
        return "needs Debian's package e2fsprogs"
    if reason := missing():
        return reason
    with tempfile.TemporaryDirectory() as home:
        image = _made(Path(home) / "trial")
        (Path(home) / "point").mkdir()
        try:
            with _mounted(image, Path(home) / "point", "defaults"):
                return None
        except subprocess.CalledProcessError as error:
            return f"loop mounts are not permitted: {error.stderr.decode().splitlines()[0]}"


def _made(image: Path) -> Path:
    """Create a file system in an image."""
    with image.open("wb") as empty:
        empty.truncate(IMAGE_BYTES)
    subprocess.run([*MAKE, image], check=True, capture_output=True)
    return image


@contextmanager
def _mounted(image: Path, point: Path, options: str) -> Iterator[None]:
    """Mount an image, on a loop device that goes when it is unmounted."""
    subprocess.run(["mount", "-t", "ext4", "-o", f"loop,{options}", image, point], check=True, capture_output=True)
    try:
        yield
    finally:
        if subprocess.run(["umount", point], capture_output=True, check=False).returncode:
            subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)


def _on_disk(image: Path) -> Disk:
    """Return the content of the disk at one moment: read until nothing was written during the read."""
    with image.open("rb", buffering=0) as stream:
        before, now = None, _read(stream.fileno())
        while before != now:
            before, now = now, _read(stream.fileno())
    return now


def _read(descriptor: int) -> Disk:
    result: Disk = {}
    end = 0
    while True:
        try:
            at = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return result  # all that follows is a hole (lseek(2))
        end = os.lseek(descriptor, at, os.SEEK_HOLE)
        result[at] = os.pread(descriptor, end - at, at)


def _write(data: Disk, copy: Path) -> Path:
    with copy.open("wb") as stream:
        for at, piece in data.items():
            stream.seek(at)
            stream.write(piece)
        stream.truncate(IMAGE_BYTES)
    return copy


@contextmanager
def _reader(store: Path) -> Iterator[None]:
    """Read the store in another program, and keep the transaction open."""
    command = [sys.executable, "-c", READER, str(store)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        try:
            assert b"\n" == read_line(program.stdout)
            yield
        finally:
            program.kill()


def _stops(command: list[str], environ: Mapping[str, str], printed: Path) -> Generator[str]:
    """Run a command to its end, stop it after each of its calls that may change something, and name the call."""
    calls = ",".join(f"?{name}" for name in TRACED if name not in {"flock", "fcntl"})
    log, end = os.pipe()
    strace = ["strace", "-f", "-qq", "-y", "-o", f"/dev/fd/{end}", "-e", f"trace={calls}"]
    strace += ["-e", "signal=STOP", "-e", f"inject={calls}:signal=SIGSTOP"]
    with printed.open("wb") as output, printed.with_suffix(".errors").open("wb") as errors:
        streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": errors, "pass_fds": [end]}
        traced = subprocess.Popen([*strace, *command], env=dict(environ), process_group=0, **streams)  # type: ignore[call-overload]
    os.close(end)
    try:
        first = call = ""
        for line in _lines(log):
            thread, _, text = line.partition(" ")
            first = first or thread
            if not text.lstrip().startswith("---"):
                call = text.lstrip()
            elif thread == first and "stopped by SIGSTOP" in text:  # and with it all other threads
                yield call
                os.kill(int(first), signal.SIGCONT)
        assert (0, "") == (traced.wait(PATIENCE_SECONDS), printed.with_suffix(".errors").read_text())
    finally:
        if traced.poll() is None:
            os.killpg(traced.pid, signal.SIGKILL)
            traced.wait()
        os.close(log)


def _lines(descriptor: int) -> Iterator[str]:
    """Yield lines as they arrive, until the end or until no more arrive."""
    rest = b""
    while select.select([descriptor], [], [], PATIENCE_SECONDS)[0] and (data := os.read(descriptor, 1 << 16)):
        *lines, rest = (rest + data).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)


class Story:
    """Runs steps on a file system, and collects the states that power cuts would leave."""

    def __init__(self, home: Path, options: str, *, is_committed: bool) -> None:
        """Create the file system."""
        self.home, self.options, self.is_committed = home, options, is_committed
        self.geocli = Geocli(home)
        self.image = _made(home / "image")
        self.point = home / "mounted"
        self.point.mkdir()
        self.geocli.data_dir = self.point / "lib" / "geocli"  # neither of which exists
        self.geocli.environ["GEOCLI_DATA_DIR"] = str(self.geocli.data_dir)
        self.acknowledged: Answers = {}
        self.calls: dict[str, list[str]] = {name: [] for name in STEPS}
        self.cuts: dict[str, list[Cut]] = {}
        self.copies = 0
        self.last: tuple[Disk, Answers, bool] = {}, {}, False

    def run(self) -> None:
        """Run all steps."""
        with _mounted(self.image, self.point, self.options):
            for is_read, steps in groupby(STEPS.items(), lambda item: item[1].is_read):
                with _reader(self.geocli.data_dir / "geocli.db") if is_read else nullcontext():
                    for name, step in steps:
                        self.cuts[name] = self._cuts(step, self.calls[name])

    def _cuts(self, step: Step, calls: list[str]) -> list[Cut]:
        """Run a step, note its calls, and store the content of the disk after each call if it has changed."""
        if step.learns:
            build(self.geocli.db_dir / "GeoLite2-City.mmdb", CITIES, build_epoch=1_780_000_000)
        input_path, printed = self.home / "addresses", self.home / "output"
        # Long enough for two reads and writes of batch.
        input_path.write_text("".join(f"{ip:99}\n" for ip in step.addresses))
        places = {"addresses": input_path, "point": self.point}
        command = [*self.geocli.command, *(argument.format(**places) for argument in step.arguments)]
        before, result, old = self.acknowledged, [], self._content(step)
        with closing(_stops(command, self._environ(step), printed)) as stops:
            for call in stops:
                is_change = not call.startswith("openat") or any(flag in call for flag in MAKING)
                if (str(self.point) in call and is_change) or str(printed) in call:
                    calls.append(call)
                    result += self._copy(call, before | _answers(step, printed))
        answers = _answers(step, self.point / step.output if step.output and step.addresses else printed)
        assert set(step.addresses) == set(answers)
        self.acknowledged = before | answers | dict(step.learns)
        result += self._copy("exit", self.acknowledged, is_output=step.output is not None)
        new, name = self._content(step), step.output or ""
        return [
            Cut(image, after, acknowledged, self.acknowledged, (name, {new} if after == "exit" else {old, new}))
            for image, after, acknowledged in result
        ]

    def _environ(self, step: Step) -> dict[str, str]:
        if not step.mirror:
            return self.geocli.environ
        installed = {"GEOCLI_DB_DIR": os.path.dirname(self.point / INSTALLED)}
        return {**self.geocli.environ, **installed, "GEOCLI_DBIP_URL": database_url(step.mirror), "NO_PROXY": "*"}

    def _content(self, step: Step) -> bytes | None:
        path = self.point / (step.output or "")
        return path.read_bytes() if path.is_file() else None

    def _copy(self, call: str, acknowledged: Answers, *, is_output: bool = False) -> list[tuple[Path, str, Answers]]:
        """Copy the content of the disk, unless it is unchanged and nothing more must be in it."""
        if self.is_committed and not call.startswith(UNCOMMITTED):
            with tempfile.TemporaryFile(dir=self.point) as neighbour:
                os.fsync(neighbour.fileno())  # which makes ext4 commit all that it has begun
        now = _on_disk(self.image), acknowledged, is_output
        if now == self.last:
            return []
        self.last = now
        self.copies += 1
        return [(_write(now[0], self.home / f"cut.{self.copies}"), call, acknowledged)]

    def recovered(self, cut: Cut) -> tuple[tuple[int, bytes, bytes], Answers, list[str]]:
        """Flush the state after a power cut, and return the output, the rows of the store, and the remaining files."""
        with _mounted(cut.image, self.point, "barrier=0"):  # the power of this one is not cut, so syncs are unnecessary
            flushed = self.geocli("flush")
            store = self.geocli.data_dir / "geocli.db"
            rows = _rows(store) if store.exists() else {}
            files = leftovers(self.geocli) if self.geocli.data_dir.exists() else []
            output = self.point / cut.output[0]
            assert (cut.after, True) == (
                cut.after,
                (output.read_bytes() if output.is_file() else None) in cut.output[1],
            )
        return (flushed.returncode, flushed.stdout, flushed.stderr), rows, files


def _answers(step: Step, printed: Path) -> Answers:
    """Return the answers that a command has printed so far, or has written to its file."""
    if not step.addresses:
        return {}
    return {entry["ip"]: (entry["country_code"], entry["city"]) for entry in objects(printed.read_bytes())}


def _rows(store: Path) -> Answers:
    with closing(sqlite3.connect(store)) as db:
        assert [("ok",)] == db.execute("PRAGMA integrity_check").fetchall()
        rows = db.execute("SELECT ip, country_code, city FROM geo_cache")
        return {ip: (country_code, city) for ip, country_code, city in rows}


@pytest.fixture(scope="module", params=CIRCUMSTANCES)
def story(request: pytest.FixtureRequest) -> Iterator[Story]:
    """Run all steps on a new file system."""
    if reason := _missing():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="geocli-power-") as home:
        options, is_committed = CIRCUMSTANCES[request.param]
        story = Story(Path(home), options, is_committed=is_committed)
        story.run()
        yield story


@pytest.mark.parametrize("step", STEPS)
def test_power_cut(story: Story, step: str) -> None:
    """Whenever the power is cut, acknowledged answers are in the store after a flush, and no temporary file remains."""
    for cut in story.cuts[step]:
        flushed, rows, left_over = story.recovered(cut)

        assert (cut.after, (0, b"", b"")) == (cut.after, flushed)
        assert (cut.after, []) == (cut.after, [ip for ip in cut.acknowledged if ip not in rows])
        possible = {item for answers in (cut.acknowledged, cut.coming) for item in answers.items()}
        assert (cut.after, set()) == (cut.after, set(rows.items()) - possible)
        assert (cut.after, []) == (cut.after, left_over)


@pytest.mark.parametrize("step", STEPS)
def test_power_is_cut_at_each_call(story: Story, step: str) -> None:
    """The power is cut after each kind of call by which a command changes the disk."""
    kinds = CALLS[STEPS[step].arguments[0]]
    assert [] == [kind for kind in kinds if not any(call.startswith(kind) for call in story.calls[step])]


@pytest.mark.parametrize("step", STEPS)
def test_names_are_synced(story: Story, step: str) -> None:
    """A directory is synced after an append, a seal, a discard and a replaced file.

    Also where ext4 would do so by itself.
    """
    written = STEPS[step].output
    place = os.path.dirname(story.point / written) if written else story.geocli.data_dir
    directory = re.escape(str(place))
    name = re.escape(os.path.basename(written or ""))
    changes = re.compile(
        rf"rename.*{name}\.\w+\.part" if written else r"rename.*\.draining|unlink.*\.draining|fdatasync.*/journal>"
    )
    after = [next_call for call, next_call in pairwise([*story.calls[step], "exit"]) if changes.match(call)]
    assert after
    assert [] == [call for call in after if not re.match(rf"fsync\(\d+<{directory}>\) += 0", call)]


def test_answers_are_right(story: Story) -> None:
    """Acknowledged answers are those expected of these addresses, so that rows are compared with the truth."""
    acknowledged = {ip: story.acknowledged[ip] for step in STEPS.values() for ip in step.addresses if ip in COUNTRIES}
    assert {ip: (COUNTRIES[ip], None) for ip in acknowledged} | dict(STEPS["re-resolve"].learns) == acknowledged
    assert set(acknowledged) | set(MANY) == set(story.acknowledged)
