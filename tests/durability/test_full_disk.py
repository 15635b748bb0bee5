"""A disk that is full, down to the last byte of a frame: nothing is acknowledged that is not stored."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import closing, contextmanager
from random import Random
from typing import TYPE_CHECKING

import pytest

from geocli.__main__ import _run
from geocli.console import guard
from geocli.errors import JournalError
from geocli.models import Place
from geocli.storage.disk_space import DiskSpace
from geocli.storage.frames import Frame
from geocli.storage.journal import Journal
from geocli.storage.store import Store
from geocli.storage.store_writer import StoreWriter
from tests.helpers.command_output import complaint, complaints, objects
from tests.helpers.data_directories import dirty, local, stored_rows
from tests.helpers.entries import AT, resolved
from tests.helpers.processes import in_child
from tests.helpers.stores import select
from tests.helpers.system_call_faults import COUNTRIES, DIRTY, SCENARIOS, STORED, check, prepared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow

PAGE_BYTES = resource.getpagesize()
"""The unit in which a tmpfs allocates space."""
DISK_PAGES = 80
FILLER = "filler"
FULL = re.compile(r"No space left on device|is the disk full\?|disk is full")
"""The words for it: of the operating system, of the journal, of SQLite."""


@contextmanager
def _tmpfs(path: Path, options: str) -> Iterator[None]:
    """Mount a separate disk at a path, for as long as the context."""
    path.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"mode=0700,{options}", "tmpfs", str(path)]
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("needs root and mount(8), to have a disk that can be filled")
    if (mounted := subprocess.run(mount, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def small(geocli: Geocli) -> Iterator[Geocli]:
    """Return geocli with its data directory on a small disk."""
    with _tmpfs(geocli.data_dir, f"size={DISK_PAGES * PAGE_BYTES}"):
        yield geocli


@pytest.fixture
def filled(small: Geocli, tmp_path: Path) -> Geocli:
    """Return geocli with one answer in the store and one in the journal, on a small disk."""
    (tmp_path / "roomy").mkdir()
    roomy = prepared(tmp_path / "roomy", SCENARIOS["flush"])
    shutil.copytree(roomy.data_dir, small.data_dir, dirs_exist_ok=True)
    return small


def _leave(directory: Path, pages: int) -> None:
    """Fill the disk, except for some pages."""
    with (directory / FILLER).open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, (os.statvfs(directory).f_bfree - pages) * PAGE_BYTES)
    assert pages == os.statvfs(directory).f_bfree


def _looked_up(geocli: Geocli, *ips: str) -> set[str]:
    """Look up addresses, and return those acknowledged; answers that cannot be stored are printed, with a message."""
    ran = geocli("lookup", *ips)
    assert {ip: COUNTRIES[ip] for ip in ips} == {entry["ip"]: entry["country_code"] for entry in objects(ran.stdout)}
    assert _is_clear(ran)
    return set(ips) if ran.returncode == 0 else set()


def _is_clear(ran: subprocess.CompletedProcess[bytes]) -> bool:
    """Return whether a command either succeeded or reported that the disk is full."""
    if ran.returncode == 0:
        return True
    return ran.returncode == 4 and any(FULL.search(line) for line in complaints(ran))


def _check_when_there_is_room(geocli: Geocli, acknowledged: set[str]) -> None:
    (geocli.data_dir / FILLER).unlink(missing_ok=True)
    check(geocli, acknowledged)


# a disk with some pages left


@pytest.mark.parametrize("pages", [*range(10), 12, 16, 25])
def test_with_a_store_and_some_pages_left(filled: Geocli, pages: int) -> None:
    """Lookup, batch and flush succeed or report that the disk is full; with free space, a flush does the rest."""
    acknowledged = {STORED, DIRTY}
    _leave(filled.data_dir, pages)
    acknowledged |= _looked_up(filled, STORED, "9.9.9.9")
    batch = filled("batch", "-f", "value", "-F", "ip", stdin=b"81.2.69.160\n193.0.6.139\n")
    assert b"81.2.69.160\n193.0.6.139\n" == batch.stdout
    assert _is_clear(batch)
    acknowledged |= set(batch.stdout.decode().split()) if batch.returncode == 0 else set()
    assert _is_clear(filled("flush"))
    acknowledged |= _looked_up(filled, "200.3.14.10")

    _check_when_there_is_room(filled, acknowledged)


@pytest.mark.parametrize("pages", [0, 1, 2, 3, 5, 8, 12, 17, 22, 27, 32, 40])
def test_without_a_store_and_some_pages_left(small: Geocli, pages: int) -> None:
    """The same holds for the first answer and the first flush, which creates the store."""
    _leave(small.data_dir, pages)
    acknowledged = _looked_up(small, "9.9.9.9")
    assert _is_clear(small("flush"))
    acknowledged |= _looked_up(small, "200.3.14.10")

    _check_when_there_is_room(small, acknowledged)


@pytest.mark.parametrize("command", ["stats", "lookup", "flush", "re-resolve", "clear"])
def test_nothing_left(filled: Geocli, command: str) -> None:
    """Without a free page, stored answers are printed, journal entries stay, and no command crashes."""
    options = {"lookup": ("--cached-only", STORED, DIRTY), "re-resolve": ("--all",), "clear": ("--unresolved",)}.get(
        command, ()
    )
    _leave(filled.data_dir, 0)
    ran = filled(command, *options)

    if command == "lookup":
        assert (0, ["US", "AU"]) == (ran.returncode, [entry["country_code"] for entry in objects(ran.stdout)])
    elif command != "stats":
        assert (4, b"") == (ran.returncode, ran.stdout)
    assert _is_clear(ran)
    _check_when_there_is_room(filled, {STORED, DIRTY})


@pytest.mark.parametrize("reads", [False, True], ids=["alone", "with a reader"])
def test_clearing_everything_needs_little_room(geocli: Geocli, *, reads: bool) -> None:
    """On a disk filled by a large store and journal, all rows are deleted within 400 KB, and the space is freed."""
    with _tmpfs(geocli.data_dir, "size=16m"):
        journal = Journal(local(geocli.data_dir))
        journal.append(resolved(f"8.{a}.{b}.1") for a in range(100) for b in range(200))
        assert 0 == geocli("flush").returncode
        journal.append(resolved(f"9.{a}.{b}.1") for a in range(100) for b in range(200))
        _leave(geocli.data_dir, 100)
        with closing(Store(str(geocli.data_dir / "geocli.db"))) as reader:
            if reads:
                assert [] != reader.query("SELECT 1 FROM geo_cache LIMIT 1")
            ran = geocli("clear", "--yes")
        assert (0, b"40000 rows deleted\n", b"") == (ran.returncode, ran.stdout, ran.stderr)
        assert [] == stored_rows(geocli)
        assert (os.statvfs(geocli.data_dir).f_bfree - 100) * PAGE_BYTES > 3 << 20


def _large_update(geocli: Geocli, rows: int) -> Journal:
    """Store rows in the order of their keys, and let a journal change all of them in any order."""
    journal = Journal(local(geocli.data_dir))
    ips = [f"{8 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.1" for number in range(rows)]
    journal.append(resolved(ip) for ip in ips)
    assert 0 == geocli("flush").returncode
    Random(5).shuffle(ips)  # noqa: S311 (the same each time)
    journal.append(resolved(ip, place=Place(country_code="FR", city="Paris")) for ip in ips)
    return journal


def _countries(geocli: Geocli) -> list[tuple[str, int]]:
    return select(str(geocli.data_dir / "geocli.db"), "SELECT country_code, COUNT(*) FROM geo_cache GROUP BY 1")


@pytest.mark.parametrize("spare_mb", [3, 6, 30])
def test_a_flush_fits_its_transactions_to_the_free_space(geocli: Geocli, spare_mb: int) -> None:
    """A segment that changes a large store is stored in several transactions where one would fill the disk."""
    rows = 30_000
    with _tmpfs(geocli.data_dir, "size=64m"):
        journal = _large_update(geocli, rows)
        store_bytes = (geocli.data_dir / "geocli.db").stat().st_size
        assert 4 << 20 < store_bytes < 20 << 20
        _leave(geocli.data_dir, (spare_mb << 20) // PAGE_BYTES)
        ran = geocli("flush", "--json")
        assert (0, b"") == (ran.returncode, ran.stderr)
        assert rows == objects(ran.stdout)[0]["flushed"]
        assert [("FR", rows)] == _countries(geocli)
        assert not journal.is_dirty()
        assert [] == select(str(geocli.data_dir / "geocli.db"), "SELECT * FROM segment_offsets")


def test_a_flush_killed_between_two_transactions_continues_with_the_second(geocli: Geocli) -> None:
    """Stored parts of a segment are not stored again; damage in these is still quarantined."""
    rows = 30_000
    with _tmpfs(geocli.data_dir, "size=64m"):
        journal = _large_update(geocli, rows)
        with (geocli.data_dir / "journal").open("r+b") as file:
            data = file.read()
            file.seek(0)
            file.write(b"garbage\n" + data)
        _leave(geocli.data_dir, (3 << 20) // PAGE_BYTES)
        directory = local(geocli.data_dir)

        def die_behind_the_first() -> None:
            with closing(StoreWriter(directory)) as writer:
                sealed = journal.seal(writer.next_number())
                assert sealed is not None
                ends = [0]

                def frames() -> Iterator[Frame]:
                    for end, result in journal.replay(sealed):
                        if isinstance(result, Frame):
                            yield result
                        ends.append(end)

                writer.apply(
                    sealed, frames(), lambda: AT, oldest=1, offset=lambda: ends[-1], space=DiskSpace(writer.path)
                )
                assert 0 < writer.stored_bytes(sealed) < len(data)
                os.kill(os.getpid(), signal.SIGKILL)

        assert -signal.SIGKILL == in_child(die_behind_the_first)
        stored_before = dict(_countries(geocli))["FR"]
        assert 0 < stored_before < rows
        ran = geocli("flush", "--json")
        assert rows - stored_before == objects(ran.stdout)[0]["flushed"]
        assert [("FR", rows)] == _countries(geocli)
        assert b"garbage\n" == (geocli.data_dir / "journal.bad").read_bytes()


def test_a_flush_without_enough_space_frees_what_it_allocated(geocli: Geocli) -> None:
    """If not even the smallest part fits, the disk is as full as before, and nothing is lost."""
    with _tmpfs(geocli.data_dir, "size=64m"):
        journal = _large_update(geocli, 20_000)
        _leave(geocli.data_dir, 60)
        with closing(Store(str(geocli.data_dir / "geocli.db"))) as reader:
            assert 1 == len(reader.query("SELECT 1 FROM geo_cache LIMIT 1"))
            ran = geocli("flush")
            assert 4 == ran.returncode
            assert FULL.search(complaint(ran))
            assert os.statvfs(geocli.data_dir).f_bfree > 30
        (geocli.data_dir / FILLER).unlink()
        assert 0 == geocli("flush").returncode
        assert [("FR", 20_000)] == _countries(geocli)
        assert not journal.is_dirty()


@pytest.mark.parametrize("pages", [0, 2, 4, 6, 8, 9, 10, 11, 12, 14])
def test_damage_and_some_pages_left(filled: Geocli, pages: int) -> None:
    """Damage that cannot be quarantined stays in its segment until there is space."""
    damage = b"x" * 3 * PAGE_BYTES
    with (filled.data_dir / "journal").open("ab") as journal:
        journal.write(damage + b"\n")
    _leave(filled.data_dir, pages)
    assert _is_clear(filled("flush"))
    (filled.data_dir / FILLER).unlink()
    assert 0 == filled("flush").returncode

    bad = filled.data_dir / "journal.bad"
    assert {damage} == set(bad.read_bytes().splitlines())
    bad.unlink()
    _check_when_there_is_room(filled, {STORED, DIRTY})


def test_a_long_batch_that_fits_in_part(small: Geocli) -> None:
    """A batch whose later blocks find the disk full prints all rows, reports it once, and what fitted is stored."""
    ips = [f"81.2.{n // 250}.{n % 250}" for n in range(3000)]
    first = small.data_dir.parent / "first"
    first.write_text("\n".join(ips[:500]))
    _leave(small.data_dir, 6)
    ran = small("batch", "-f", "value", "-F", "ip", str(first), "-", stdin="\n".join(ips[500:]).encode())

    assert (4, ips) == (ran.returncode, ran.stdout.decode().splitlines())
    (line,) = complaints(ran)
    assert FULL.search(line)
    (small.data_dir / FILLER).unlink()
    assert 0 == small("flush").returncode
    stored = {ip for (ip,) in stored_rows(small)}
    assert set() < stored < set(ips)


@pytest.mark.parametrize("inodes", range(2, 10))
def test_some_files_left(geocli: Geocli, inodes: int) -> None:
    """On a disk without free inodes, no answer is acknowledged that is not stored."""
    with _tmpfs(geocli.data_dir, f"size={DISK_PAGES * PAGE_BYTES},nr_inodes={inodes}"):
        ran = geocli("lookup", "-f", "value", "9.9.9.9")
        flushed = geocli("flush")
        subprocess.run(["mount", "-o", "remount,nr_inodes=100", str(geocli.data_dir)], check=True)

        assert b"US\n" == ran.stdout
        assert _is_clear(ran)
        assert flushed.returncode == (4 if complaints(flushed) else 0)
        _check_when_there_is_room(geocli, {"9.9.9.9"} if ran.returncode == 0 else set())


@pytest.mark.parametrize("pages", [0, 1])
def test_an_output_file_that_does_not_fit(located: Geocli, tmp_path: Path, pages: int) -> None:
    """The old file stays, no temporary file remains, and one message names the file."""
    with _tmpfs(tmp_path / "out", f"size={DISK_PAGES * PAGE_BYTES}"):
        out = tmp_path / "out" / "rows"
        out.write_bytes(b"old")
        _leave(out.parent, pages)
        ran = located("batch", "-o", str(out), stdin=b"81.2.69.160\n" * 1000)

        assert (1, b"old") == (ran.returncode, out.read_bytes())
        assert [f"{out}: No space left on device"] == complaints(ran)
        assert {FILLER, "rows"} == set(os.listdir(out.parent))


# every byte of a frame


def test_every_byte_of_a_frame_that_the_disk_has_no_room_for(small: Geocli) -> None:
    """Wherever the last page ends within a frame, the frame is truncated, and earlier frames stay."""
    directory = local(small.data_dir)
    Journal(directory).append([resolved("1.1.1.1")])
    path = small.data_dir / "journal"
    frame = path.read_bytes()
    _leave(small.data_dir, 0)
    for room in range(len(frame)):
        before = frame + b"\n" * (PAGE_BYTES - len(frame) - room)
        path.write_bytes(before)
        reason = f"only {room} of {len(frame)} bytes were written; is the disk full?" if room else "No space left"
        with pytest.raises(JournalError, match=re.escape(reason)):
            Journal(directory).append([resolved("1.1.1.2")])
        assert before == path.read_bytes()

    path.write_bytes(frame + b"\n" * (PAGE_BYTES - 2 * len(frame)))
    Journal(directory).append([resolved("1.1.1.2")])
    assert ["1.1.1.1", "1.1.1.2"] == [entry.ip for entry in dirty(small)]


def _with_files_up_to(
    geocli: Geocli, max_bytes: int, *arguments: str, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a child of this process, where it is loaded already, and can make no longer file."""
    (stdin_read, stdin_write), (stdout_read, stdout_write), (stderr_read, stderr_write) = (os.pipe() for _ in range(3))
    os.write(stdin_write, stdin)
    os.close(stdin_write)

    def command() -> None:
        for number, descriptor in enumerate((stdin_read, stdout_write, stderr_write)):
            os.dup2(descriptor, number)
        sys.stdin, sys.stdout, sys.stderr = (  # for good
            open(number, "rww"[number], closefd=False)  # noqa: SIM115
            for number in range(3)
        )
        sys.argv[1:] = arguments
        os.environ.clear()
        os.environ.update(geocli.environ)
        everything = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, everything[1]))
        status = guard(_run)
        resource.setrlimit(resource.RLIMIT_FSIZE, everything)
        sys.exit(status)

    status = in_child(command)
    for descriptor in (stdin_read, stdout_write, stderr_write):
        os.close(descriptor)
    with open(stdout_read, "rb") as rows, open(stderr_read, "rb") as lines:
        return subprocess.CompletedProcess(arguments, status or 0, rows.read(), lines.read())


@pytest.mark.parametrize(("torn_bytes", "step"), [(0, 1), (100, 10)], ids=["whole", "torn"])
def test_every_byte_of_a_frame_that_a_limit_cuts(tmp_path: Path, torn_bytes: int, step: int) -> None:
    """A lookup whose frame exceeds the limit truncates it, exits with 4, and does not affect others."""
    geocli = prepared(tmp_path, SCENARIOS["flush"])
    journal = geocli.data_dir / "journal"
    frame = journal.read_bytes()
    before = frame * 400 + frame[:torn_bytes]  # longer than any file that SQLite makes
    journal.write_bytes(before)
    assert 0 == geocli("lookup", "9.9.9.9").returncode
    size_bytes = journal.stat().st_size - len(before)
    journal.write_bytes(before)
    for room in range(0, size_bytes, step):
        ran = _with_files_up_to(geocli, len(before) + room, "lookup", "9.9.9.9")
        reason = f"only {room} of {size_bytes} bytes were written; is the disk full?" if room else "File too large"
        assert (4, ["US"]) == (ran.returncode, [entry["country_code"] for entry in objects(ran.stdout)])
        assert complaint(ran).startswith(f"{journal}: ")
        assert complaint(ran).endswith(reason)
        assert before == journal.read_bytes()

    assert 0 == _with_files_up_to(geocli, len(before) + size_bytes, "lookup", "9.9.9.9").returncode
    assert 0 == geocli("lookup", "200.3.14.10").returncode
    assert [DIRTY, "9.9.9.9", "200.3.14.10"] == [entry.ip for entry in dirty(geocli)][399:]


def test_a_limit_under_batch(located: Geocli) -> None:
    """All rows are printed, and the problem is reported."""
    ran = _with_files_up_to(located, 0, "batch", "-f", "value", stdin=b"81.2.69.160\n98.0.0.1\n")

    assert (4, b"GB\nUS\n") == (ran.returncode, ran.stdout)
    assert complaint(ran).startswith(f"{located.data_dir}/journal: ")


@pytest.mark.parametrize("max_bytes", [0, 1, 512, 1024, *range(4096, 70_000, 4096)])
def test_a_limit_under_flush(tmp_path: Path, max_bytes: int) -> None:
    """Exit status 4, and the entries stay until there is space; or all are stored."""
    geocli = prepared(tmp_path, SCENARIOS["flush"])
    ran = _with_files_up_to(geocli, max_bytes, "flush")

    if ran.returncode:
        assert (4, b"") == (ran.returncode, ran.stdout)
        assert complaint(ran).startswith(f"{geocli.data_dir}/geocli.db: ")
        assert [DIRTY] == [entry.ip for entry in dirty(geocli)]
    _check_when_there_is_room(geocli, {STORED, DIRTY})


@pytest.mark.parametrize("arguments", [("batch", "--no-cache", "-o"), ("stats", "-f", "json", "-o")], ids=" ".join)
def test_a_limit_under_an_output_file(located: Geocli, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """The old file stays, no temporary file remains, and one message names the file."""
    out = tmp_path / "out" / "file"
    out.parent.mkdir()
    out.write_bytes(b"old")
    ran = _with_files_up_to(located, 10, *arguments, str(out), stdin=b"81.2.69.160\n")

    assert (1, b"", b"old") == (ran.returncode, ran.stdout, out.read_bytes())
    assert f"{out}: File too large" == complaint(ran)
    assert ["file"] == os.listdir(out.parent)
