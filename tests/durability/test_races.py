"""One process is held before each call that it makes on the data directory, while another runs to completion.

Where the first holds a lock that the second needs, the second gives up in time and acknowledges nothing. Then
the first continues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers import system_call_faults as faults
from tests.helpers.geocli_process import Geocli
from tests.helpers.system_call_faults import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.system_call_faults import Call

SECOND_COMMANDS = {"lookup": ("lookup", "9.9.9.9", "200.3.14.10"), "flush": ("flush",)}
"""Second processes: a lookup of an address that the first looks up, too, and of another one."""
PAIRS = (("lookup", "flush"), ("flush", "lookup"), ("flush", "flush"), ("lookup", "lookup"), ("batch", "flush"))
IMPATIENT = {"GEOCLI_LOCK_TIMEOUT": "0.05", "GEOCLI_BUSY_TIMEOUT": "0.05"}
PAUSES = "?nanosleep,clock_nanosleep"
HASTY = ("strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", PAUSES, "-e", f"inject={PAUSES}:retval=0")
"""Runs a program whose pauses take no time."""
BUSY = "busy: another process held it for 0.05 s; try again later"
LOCKED = "locked by another program; asking the sources instead"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(faults.missing() is not None, reason=str(faults.missing()))]


def _positions() -> Iterator[object]:
    """Return each call before which the first process is held, and whether it then has a lock that the second needs.

    That is the journal's. A second flush needs none: it leaves it to the first to flush.
    """
    for first, second in PAIRS:
        is_locked, is_alone = False, (first, second) == ("flush", "flush")
        for call in faults.calls(first):
            if _is_wanted(call, first, second):
                yield pytest.param(first, call, second, is_locked, id=f"{first}-{call}-{second}")
            if call.file == "journal.lock":
                is_locked = call.name == "flock" and not is_alone
            elif call.name == "fsync":  # the last that is done under the lock
                is_locked = False


def _is_wanted(call: Call, first: str, second: str) -> bool:
    """Return whether to hold the first process at a call.

    A process that recreates the WAL index has a lock for which others wait ten seconds, whatever their busy timeout
    (walTryBeginRead). Only one of these calls is tested with a flush, and one with a lookup.
    """
    is_index = call.file == "geocli.db-shm" and call.name in {"ftruncate", "pwrite64"}
    if is_index and (first, second) != ("flush", "flush"):
        return call.name == "ftruncate" and first not in {"batch", second}
    return call.is_change or call.file == faults.PRINTED


@pytest.mark.parametrize(("first", "call", "second", "is_locked"), [] if faults.missing() else list(_positions()))
def test_held_while_another_runs(tmp_path: Path, first: str, call: Call, second: str, *, is_locked: bool) -> None:
    """Both keep what they acknowledge, and report in time if they cannot get a lock."""
    scenario = SCENARIOS[first]

    with faults.held(tmp_path, scenario, call) as (geocli, process):
        is_index = call.file == "geocli.db-shm" and call.name == "ftruncate"
        geocli.command = (*HASTY, *Geocli.command) if is_index else Geocli.command  # type: ignore[assignment]
        meanwhile = geocli(*SECOND_COMMANDS[second], environ=IMPATIENT)
        geocli.command = Geocli.command
        assert process.is_before_call()
        ran = process.go_on()

    assert (0, b"") == (ran.returncode, ran.stderr)
    assert (meanwhile.returncode, meanwhile.stderr.decode()) in _ends(geocli.data_dir, first, second, is_locked)
    promised = faults.acknowledged(ran) | faults.acknowledged(meanwhile)
    faults.check(geocli, scenario.promised() | promised)


def _ends(data_dir: Path, first: str, second: str, is_locked: bool) -> list[tuple[int, str]]:  # noqa: FBT001 (a case)
    """Return how the second process may end: well, or as the journal's lock or SQLite's locks make it."""
    if is_locked:
        return [(75, f"geocli: {data_dir}/journal.lock: {BUSY}\n")]
    if second == "lookup":
        return [(0, ""), (0, f"geocli: {data_dir}/geocli.db: {LOCKED}\n")]
    return [(0, "")] if first == "flush" else [(0, ""), (75, f"geocli: {data_dir}/geocli.db: {BUSY}\n")]
