"""Pauses of services: on disk, for all processes, with plausibility checks."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from geocli.backoff import LOCK, BackOff
from geocli.storage.directory import DataDirectory
from tests.helpers.locks import locked_file

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.clock import Clock

FAILURE = ("HTTP 500", 500, None)


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    return DataDirectory(str(tmp_path / "data"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the file."""
    return tmp_path / "data" / "backoff-web.json"


def seconds_left(directory: DataDirectory, clock: Clock) -> float:
    """Return the seconds for which another process does not ask the service."""
    result = BackOff(directory, "backoff-web").pause(clock())
    return result[1] if result else 0


def test_nothing_is_created_before_a_failure(directory: DataDirectory, clock: Clock) -> None:
    """A service without a failure may be asked, and no directory is created."""
    back_off = BackOff(directory, "backoff-web")
    assert None is back_off.pause(clock())
    back_off.answered(clock(), 0, "", 429)
    assert not os.path.exists(directory.path)


def test_a_pause_is_stored(directory: DataDirectory, clock: Clock, path: Path) -> None:
    """The reason, the end and the number of failures are in a readable file, with the permissions of the directory."""
    BackOff(directory, "backoff-web").failed(clock(), *FAILURE)
    expected = {"until": "2026-06-01T12:00:30Z", "failures": 1, "reason": "HTTP 500", "status": 500}
    assert expected == json.loads(path.read_text())
    assert 0o600 == path.stat().st_mode & 0o777
    assert {path.name, LOCK} == set(os.listdir(directory.path))


def test_pauses_grow_up_to_an_hour(directory: DataDirectory, clock: Clock) -> None:
    """Each failure in a row doubles the pause; an answer resets it; services have separate pauses."""
    pauses = []
    for _ in range(9):
        BackOff(directory, "backoff-web").failed(clock(), *FAILURE)
        pauses.append(seconds_left(directory, clock))
        clock.forward(seconds=pauses[-1] + 1)
    assert [30, 60, 120, 240, 480, 960, 1920, 3600, 3600] == pauses
    BackOff(directory, "backoff-web").answered(clock(), 0, "", 429)
    assert 0 == seconds_left(directory, clock)
    BackOff(directory, "backoff-web").failed(clock(), *FAILURE)
    assert 30 == seconds_left(directory, clock)
    assert None is BackOff(directory, "backoff-other").pause(clock())


def test_a_pause_ends_and_is_never_cut_short_by_rounding(directory: DataDirectory, clock: Clock) -> None:
    """A part of a second counts as a whole one."""
    clock.forward(seconds=0.5)
    BackOff(directory, "backoff-web").answered(clock(), 7, "its rate limit was reached", 429)
    assert 7.5 == seconds_left(directory, clock)
    clock.forward(seconds=7.5)
    assert 0 == seconds_left(directory, clock)


@pytest.mark.parametrize("by", [{"days": -400}, {"days": 400}])
def test_a_pause_of_a_wrong_clock_is_ignored(directory: DataDirectory, clock: Clock, by: dict[str, int]) -> None:
    """A pause that would last more than a day is ignored, as is one that is over."""
    BackOff(directory, "backoff-web").failed(clock(), "busy", None, 1e9)
    assert 86_400 == seconds_left(directory, clock)
    clock.forward(**by)
    assert 0 == seconds_left(directory, clock)


SOUND: dict[str, Any] = {"until": "2026-06-01T12:00:30Z", "failures": 1, "reason": "HTTP 500", "status": 500}


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "null", "[]", "17", "\xff", "[" * 4000),
        *(json.dumps({**SOUND, **odd}) for odd in ({"until": 5}, {"until": "noon"}, {"until": None})),
        *(json.dumps({**SOUND, **odd}) for odd in ({"failures": "1"}, {"reason": None}, {"status": "500"})),
        *(json.dumps({name: value for name, value in SOUND.items() if name != missing}) for missing in SOUND),
        json.dumps(SOUND) + " " * 5000 + "x",
    ],
)
def test_an_invalid_file_is_no_pause(directory: DataDirectory, clock: Clock, path: Path, text: str) -> None:
    """A damaged file is ignored, and replaced after the next failure."""
    path.parent.mkdir(mode=0o700)
    path.write_bytes(text.encode("latin-1"))
    expected = 30 if text.endswith("x") else 0  # a long file is read in part
    assert expected == seconds_left(directory, clock)
    BackOff(directory, "backoff-web").failed(clock(), *FAILURE)
    assert seconds_left(directory, clock) >= 30


def test_a_pipe_and_a_link_are_not_read(directory: DataDirectory, clock: Clock, path: Path) -> None:
    """A file that may be endless, or elsewhere, is no pause."""
    path.parent.mkdir(mode=0o700)
    os.mkfifo(path)
    assert 0 == seconds_left(directory, clock)
    path.unlink()
    (path.parent / "elsewhere").write_text(json.dumps(SOUND))
    path.symlink_to("elsewhere")
    assert 0 == seconds_left(directory, clock)


def test_an_unwritable_directory(clock: Clock, tmp_path: Path) -> None:
    """The process observes the pause even if it cannot share it."""
    (tmp_path / "file").write_text("")
    back_off = BackOff(DataDirectory(str(tmp_path / "file" / "data")), "backoff-web")
    back_off.failed(clock(), *FAILURE)
    actual = back_off.pause(clock())
    assert actual is not None
    assert (30, "HTTP 500") == (actual[1], actual[0].reason)


def test_the_lock_is_not_waited_for_long(directory: DataDirectory, clock: Clock, path: Path) -> None:
    """Without the lock the pause is still written: asking a service too often would be worse."""
    with locked_file(path.parent / LOCK):
        BackOff(directory, "backoff-web").failed(clock(), *FAILURE)
    assert 30 == seconds_left(directory, clock)
