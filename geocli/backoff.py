"""Pauses after failed requests and rate limits (Retry-After), in files that all processes share."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, timedelta

from geocli.errors import BusyError, StorageError
from geocli.files.atomic import write_all
from geocli.immutable import Value
from geocli.json_coding import compact_json, parse_json
from geocli.timestamps import instant, instant_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from typing import Any

    from geocli.storage.directory import DataDirectory

FIRST_PAUSE_SECONDS, MAX_GROWN_PAUSE_SECONDS = 30.0, 3600.0
"""Pause after the first failure, which doubles with each next one, and its maximum."""
MAX_PAUSE_SECONDS = 86_400.0
"""Longest pause, whatever a server asks for, or a wrong clock had set."""
LOCK, LOCK_TIMEOUT_SECONDS = "backoff.lock", 1.0
MAX_BYTES = 4096
"""Longest file that geocli writes."""


class Pause(Value):
    """A pause during which a server is not asked."""

    until: datetime
    """End of the pause; UTC."""
    failures: int
    """Number of failures in a row."""
    reason: str
    status: int | None
    """HTTP status of the response, if there was one."""


class BackOff:
    """The pauses of one server, in a file NAME.json."""

    def __init__(
        self,
        directory: DataDirectory,
        name: str,
        *,
        lock: str | None = LOCK,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        """No file is opened before the first call of a method.

        `lock` is the name of the lock for writing, None if the caller holds one. The first pause after a failure is
        `first_pause_seconds`, unless the server names another.
        """
        self._directory, self._name, self._lock = directory, f"{name}.json", lock
        self._first_pause_seconds = first_pause_seconds
        self._state: Pause | None = None

    def pause(self, now: datetime) -> tuple[Pause, float] | None:
        """Return the pause and the seconds until its end, None if the server may be asked."""
        pause = self._read()
        left_seconds = (pause.until - now).total_seconds() if pause else 0.0
        return (pause, left_seconds) if pause and 0 < left_seconds <= MAX_PAUSE_SECONDS + 1 else None

    def failed(self, now: datetime, reason: str, status: int | None, pause_seconds: float | None) -> datetime:
        """Begin a pause, and return its end: as the server asks, else longer after each failure in a row."""
        with self._locked():
            earlier = self._read()
            failures = (earlier.failures if earlier else 0) + 1
            grown_seconds = min(self._first_pause_seconds * 2 ** min(failures - 1, 10), MAX_GROWN_PAUSE_SECONDS)
            return self._write(now, pause_seconds or grown_seconds, failures, reason, status)

    def answered(self, now: datetime, pause_seconds: float, reason: str, status: int) -> None:
        """End the row of failures, and begin a pause if the server asks for one."""
        if pause_seconds or self._read():
            with self._locked():
                self._write(now, pause_seconds, 0, reason, status)

    def _read(self) -> Pause | None:
        """Return the last pause that any process wrote, else that of this process."""
        try:
            path, flags = self._directory.file(self._name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            with open(os.open(path, flags), "rb") as file:
                return _checked(parse_json(file.read(MAX_BYTES).decode()))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return self._state

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the file, if that is possible."""
        with ExitStack() as stack:
            with suppress(BusyError, StorageError):
                if self._lock:
                    stack.enter_context(self._directory.locked(self._lock, LOCK_TIMEOUT_SECONDS))
            yield

    def _write(self, now: datetime, seconds: float, failures: int, reason: str, status: int | None) -> datetime:
        until = now + timedelta(seconds=min(seconds, MAX_PAUSE_SECONDS))
        self._state = Pause(until=until, failures=failures, reason=reason, status=status)
        fields = self._state.as_dict() | {"until": instant_text(until + timedelta(seconds=0.999999))}
        temporary = f"{self._name}.{os.urandom(6).hex()}.part"
        with suppress(OSError, StorageError):  # this process has the pause in memory
            descriptor = self._directory.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                write_all(descriptor, compact_json(fields).encode())
            finally:
                os.close(descriptor)
            os.replace(self._directory.file(temporary), self._directory.file(self._name))
        return until


def requested_seconds(values: Iterable[str], now: datetime) -> float | None:
    """Return the pause that a server requests; None if it requests none, or if that is over.

    `values` are headers such as Retry-After, in order of precedence: seconds or a date (RFC 9110, 10.2.3).
    """
    pauses = (seconds_of(value) or _seconds_until(value, now) for value in values)
    return next((seconds for seconds in pauses if seconds > 0), None)


def seconds_of(value: str) -> float | None:
    """Return the value of a header that is an integer; None for other values."""
    return float(value) if value.isascii() and value.isdecimal() else None


def _seconds_until(value: str, now: datetime) -> float:
    """Return the seconds until a date in one of the three formats of HTTP (RFC 9110, 5.6.7); 0 for other values."""
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError, TypeError):
        return 0
    return ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()


def _checked(fields: dict[str, Any]) -> Pause:
    """Return the pause of a file."""
    until, failures, reason, status = instant(fields["until"]), fields["failures"], fields["reason"], fields["status"]
    if until is None or (type(failures), type(reason)) != (int, str) or type(status) not in {int, type(None)}:
        raise ValueError(f"not a pause: {fields!r:.80}")
    return Pause(until=until, failures=failures, reason=reason, status=status)
