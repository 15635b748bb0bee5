"""Kill lookup, batch and flush before each system call that changes something, and let each call fail.

The next `geocli flush` recovers, as from cron. It is also killed.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
from itertools import groupby, product
from typing import TYPE_CHECKING

import pytest

from tests.helpers import system_call_faults as faults
from tests.helpers.system_call_faults import NAMELESS, PRINTED, SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.helpers.system_call_faults import Call

ERRORS = {
    "open": ("EACCES", "EMFILE", "EIO", "EINTR", "EAGAIN"),
    "create": ("EACCES", "EMFILE", "EIO", "EINTR", "EAGAIN", "ENOSPC", "EDQUOT", "EROFS"),
    "write": ("EIO", "ENOSPC", "EDQUOT", "EINTR", "EAGAIN"),
    "pwrite": ("EIO", "ENOSPC", "EDQUOT", "EINTR"),
    "rename": ("EIO", "ENOSPC", "EDQUOT", "EACCES", "EROFS"),
    "link": ("EIO", "ENOSPC", "EDQUOT", "EACCES", "EROFS", "EPERM", "EXDEV"),
    "unlink": ("EIO", "ENOSPC", "EDQUOT", "EACCES", "EROFS"),
    "ftruncate": ("EIO", "ENOSPC", "EINTR", "EROFS"),
    "fsync": ("EIO", "ENOSPC", "EDQUOT", "EINTR", "EROFS"),
    "fdatasync": ("EIO", "ENOSPC", "EDQUOT", "EINTR", "EROFS"),
    "flock": ("ENOLCK", "EINTR", "EIO", "EAGAIN"),
    "fcntl": ("ENOLCK", "EINTR", "EIO", "EAGAIN", "EACCES"),
    "fchown": ("EIO", "EDQUOT", "EROFS"),
    "fchmod": ("EIO", "EROFS"),
    "chmod": ("EIO", "EACCES", "EROFS"),
    "mkdir": ("EIO", "ENOSPC", "EDQUOT", "EACCES", "EROFS"),
}
"""What may become of each call (its page of section 2, and file systems with quotas or copies on write)."""
STRIDE = 16
"""Flushes that were killed at call N are recovered by flushes killed at calls N, N ± 16, N ± 32, ..."""
pytestmark = [pytest.mark.slow, pytest.mark.skipif(faults.missing() is not None, reason=str(faults.missing()))]


def _killed() -> Iterator[tuple[str, Call]]:
    """Return which call is never made; of the many pages of a new store the first, the second and the last."""
    for name in SCENARIOS:
        for group in _runs(name):
            calls = [*group[:2], *group[2:][-1:]] if name == "first flush" else group
            yield from ((name, call) for call in calls)


def _runs(name: str) -> Iterator[list[Call]]:
    """Return the changing calls of a scenario, those together that do the same to the same file."""
    changing = (call for call in faults.calls(name) if call.is_change or call.file == PRINTED)
    yield from (list(group) for _, group in groupby(changing, key=_kind))


def _kind(call: Call) -> tuple[str, str]:
    return call.name, call.file


def _is_sqlite(call: Call) -> bool:
    return call.file.startswith("geocli.db")


def _failing() -> Iterator[tuple[str, Call, str]]:
    """Return the calls to fail, with their errors: ours with each error, one of similar calls of SQLite with each."""
    for name in SCENARIOS:
        news = [call for call in faults.calls(name) if call.file != PRINTED and _is_news(name, call)]
        for _, alike in groupby(sorted(news, key=_kind), key=_kind):
            group = list(alike)
            pairs = _turns(group, name) if _is_sqlite(group[0]) else product(group, _errors(group[0]))
            yield from ((name, call, error) for call, error in pairs)


def _is_news(name: str, call: Call) -> bool:
    """Return whether no earlier scenario has such a call, to fail in the same way."""
    return {
        "batch": not _is_sqlite(call),
        "first lookup": call.name.startswith(("mkdir", "chmod", "fchmod")),
        "first flush": _is_sqlite(call) and call.file != "geocli.db-shm",
    }.get(name, True)


def _errors(call: Call) -> tuple[str, ...]:
    kind = re.sub(r"(at2?|64|v)$", "", call.name)
    return ERRORS["create" if kind == "open" and call.is_change else kind]


def _turns(group: list[Call], name: str) -> Iterator[tuple[Call, str]]:
    """Return the calls and the errors in pairs, each at least once; of the many of a new store, a few."""
    errors = _errors(group[0])
    turns = len(errors) if name == "first flush" else max(len(group), len(errors))
    yield from ((group[turn * len(group) // turns], errors[turn % len(errors)]) for turn in range(turns))


def _short() -> Iterator[tuple[str, Call]]:
    yield from ((name, call) for name, call in _killed() if (call.name, call.file) == ("write", "journal"))


def _flushing() -> Iterator[tuple[str, Call]]:
    yield from (("flush", call) for call in _flushed())


def _flushed() -> list[Call]:
    return [call for call in faults.calls("flush") if call.is_change]


def _each(cases: Callable[[], Iterator[tuple[object, ...]]], *more: str) -> pytest.MarkDecorator:
    """Parametrise a test with cases."""
    result = [] if faults.missing() else cases()
    return pytest.mark.parametrize(
        ("scenario", "call", *more), [pytest.param(*case, id="-".join(map(str, case))) for case in result]
    )


@_each(_killed)
def test_killed_before_a_call(tmp_path: Path, scenario: str, call: Call) -> None:
    """Nothing that was acknowledged is lost, and no temporary file remains."""
    steps = SCENARIOS[scenario]
    geocli = faults.prepared(tmp_path, steps)

    ran = faults.killed(geocli, steps, call)

    faults.check(geocli, steps.promised() | faults.acknowledged(ran))


@_each(_flushing)
def test_recovering_flush_killed_too(tmp_path: Path, scenario: str, call: Call) -> None:
    """A flush that recovers from a killed one may be killed as well."""
    steps = SCENARIOS[scenario]
    geocli = faults.prepared(tmp_path, steps)
    faults.killed(geocli, steps, call)
    after_kill = shutil.copytree(geocli.data_dir, tmp_path / "killed")
    recovering = [later for later in faults.calls_of(geocli, steps) if later.is_change]

    for later in recovering[_flushed().index(call) % STRIDE :: STRIDE]:
        shutil.rmtree(geocli.data_dir)
        shutil.copytree(after_kill, geocli.data_dir)
        faults.killed(geocli, steps, later)

        faults.check(geocli, steps.promised())


def _is_after_output(scenario: str, call: Call) -> bool:
    """Return whether a batch makes this call to measure the journal once its output is complete."""
    openings = [opening for opening in faults.calls(scenario) if opening.name == "openat"]
    return scenario == "batch" and call == openings[-1]


@_each(_failing, "error")
def test_call_that_fails(tmp_path: Path, scenario: str, call: Call, error: str) -> None:
    """The failure is reported in a message, success is not claimed, and nothing is lost."""
    steps = SCENARIOS[scenario]
    geocli = faults.prepared(tmp_path, steps)

    ran = faults.injected(geocli, steps, call, f"error={error}")

    assert all(line.startswith(b"geocli: /") for line in ran.stderr.splitlines())
    is_repeated = call.file == NAMELESS or error == "EINTR" or (call.name, error) == ("flock", "EAGAIN")
    if not _is_sqlite(call) and not is_repeated and not _is_after_output(scenario, call):
        # What cannot be searched for an earlier answer is named, and the sources answer instead.
        is_searched = not call.is_change and re.search(rb"/data(/journal\S*)?: cannot be (listed|read): ", ran.stderr)
        assert ran.returncode == 4 or (is_searched and ran.returncode == 0)
        assert os.strerror(getattr(errno, error)).encode() in ran.stderr
    faults.check(geocli, steps.promised() | faults.acknowledged(ran))


@pytest.mark.parametrize("written_bytes", [0, 1, 100])
@_each(_short)
def test_partial_write_reported_by_the_system(tmp_path: Path, scenario: str, call: Call, written_bytes: int) -> None:
    """A partly written frame is truncated, and not acknowledged."""
    steps = SCENARIOS[scenario]
    geocli = faults.prepared(tmp_path, steps)

    ran = faults.injected(geocli, steps, call, f"retval={written_bytes}")

    assert ran.returncode == 4
    assert re.search(rf"journal: only {written_bytes} of \d+ bytes were written".encode(), ran.stderr)
    faults.check(geocli, steps.promised() | faults.acknowledged(ran))


@pytest.mark.parametrize("written_bytes", [1, 17, 100])
@_each(_short)
def test_partial_write(tmp_path: Path, scenario: str, call: Call, written_bytes: int) -> None:
    """A frame of which only the beginning fits is truncated."""
    steps = SCENARIOS[scenario]

    with faults.held(tmp_path, steps, call) as (geocli, process):
        journal = geocli.data_dir / "journal"
        before = journal.read_bytes()
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (len(before) + written_bytes,) * 2)
        ran = process.go_on()

    assert ran.returncode == 4
    assert f"journal: only {written_bytes} of ".encode() in ran.stderr
    assert before == journal.read_bytes()
    faults.check(geocli, steps.promised())
