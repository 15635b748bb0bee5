"""When a server may be asked again: kept in a file, for all processes and for later runs."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta

from geocli.errors import BusyError, StorageError
from geocli.files.atomic import write_all
from geocli.immutable import Value
from geocli.timestamps import instant, instant_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from typing import Any

    from geocli.storage.directory import DataDirectory

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 30.0, 3600.0
"""After the first failure, and after many in a row; each next pause is twice as long."""
MOST_SECONDS = 86_400.0
"""A service that asks to be left alone for longer is asked again after a day, and so is one after a wrong clock."""
LOCK, LOCK_PATIENCE_SECONDS = "backoff.lock", 1.0
MOST_BYTES = 4096
"""A larger file is none of ours."""


class Pause(Value):
    """How a service fares."""

    until: datetime
    """It is left alone until then; UTC."""
    failures: int
    """How many times in a row it failed."""
    reason: str
    """Why it is left alone."""
    status: int | None
    """The HTTP status that it answered with, if it did."""


class BackOff:
    """Remembers of one server how long it is not to be asked, in a file NAME.json."""

    def __init__(
        self,
        directory: DataDirectory,
        name: str,
        *,
        lock: str | None = LOCK,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        """Name the file; nothing is touched before the first question.

        Args:
            directory: where the file is.
            name: its name, without `.json`.
            lock: name of the lock to take for writing; None: the caller holds one.
            first_pause_seconds: pause after the first failure of a server that does not name one.

        """
        self._directory, self._name, self._lock = directory, f"{name}.json", lock
        self._first_pause_seconds = first_pause_seconds
        self._state: Pause | None = None

    def pause(self, now: datetime) -> tuple[Pause, float] | None:
        """Return why, and for how many seconds yet, the service is to be left alone; None if it may be asked."""
        found = self._known()
        left_seconds = (found.until - now).total_seconds() if found else 0.0
        return (found, left_seconds) if found and 0 < left_seconds <= MOST_SECONDS + 1 else None

    def failed(self, now: datetime, reason: str, status: int | None, asked_seconds: float | None) -> datetime:
        """Pause for as long as the server asks, else for longer after each failure in a row; return until when."""
        with self._locked():
            earlier = self._known()
            failures = (earlier.failures if earlier else 0) + 1
            grown_seconds = min(self._first_pause_seconds * 2 ** min(failures - 1, 10), LONGEST_PAUSE_SECONDS)
            return self._keep(now, asked_seconds or grown_seconds, failures, reason, status)

    def answered(self, now: datetime, pause_seconds: float, reason: str, status: int) -> None:
        """Note that the service answered, and that it wants to be left alone for some seconds, if any."""
        if pause_seconds or self._known():
            with self._locked():
                self._keep(now, pause_seconds, 0, reason, status)

    def _known(self) -> Pause | None:
        """Return what was noted last by any process, else by this one."""
        try:
            path, flags = self._directory.file(self._name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            with open(os.open(path, flags), "rb") as file:
                said = json.loads(file.read(MOST_BYTES))
            return _checked(said)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return self._state

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let no other process note something meanwhile; where that cannot be had, go on without it."""
        with ExitStack() as held:
            with suppress(BusyError, StorageError):
                if self._lock:
                    held.enter_context(self._directory.locked(self._lock, LOCK_PATIENCE_SECONDS))
            yield

    def _keep(self, now: datetime, seconds: float, failures: int, reason: str, status: int | None) -> datetime:
        until = now + timedelta(seconds=min(seconds, MOST_SECONDS))
        self._state = Pause(until=until, failures=failures, reason=reason, status=status)
        said = self._state.as_dict() | {"until": instant_text(until + timedelta(seconds=0.999999))}
        beside = f"{self._name}.{os.urandom(6).hex()}.part"
        with suppress(OSError, StorageError):  # this process remembers it all the same
            descriptor = self._directory.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                write_all(descriptor, json.dumps(said).encode())
            finally:
                os.close(descriptor)
            os.replace(self._directory.file(beside), self._directory.file(self._name))
        return until


def _checked(said: dict[str, Any]) -> Pause:
    """Return what a file says.

    Raises:
        ValueError: it is not of the right form; or TypeError, KeyError.

    """
    until, failures, reason, status = instant(said["until"]), said["failures"], said["reason"], said["status"]
    if until is None or (type(failures), type(reason)) != (int, str) or type(status) not in {int, type(None)}:
        raise ValueError(f"{said!r:.80} is no pause")
    return Pause(until=until, failures=failures, reason=reason, status=status)
