"""Web services: batches of addresses, rate limits, and pauses after failures.

The client of a service is imported when the service is asked.
"""

from __future__ import annotations

from _thread import allocate_lock
from contextlib import suppress
from datetime import timedelta
from math import ceil
from time import sleep

from geocli.errors import TOO_MANY_REQUESTS, ServiceError
from geocli.fork_safety import ForkAware
from geocli.hashing import blake2b
from geocli.immutable import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from typing import TypeAlias

    from geocli.addresses import Address
    from geocli.backoff import BackOff
    from geocli.models import Answer
    from geocli.resolvers.protocols import Report
    from geocli.settings import Settings
    from geocli.storage.directory import DataDirectory

    Ask: TypeAlias = Callable[[Sequence[Address]], "Reply"]


class Reply(Value):
    """Result of one request."""

    answers: dict[Address, Answer | None]
    """Answers, None for unknown addresses; failed ones are missing."""
    pause_seconds: float = 0
    """Pause that the service asks for."""


class Service(ForkAware):
    """One web service, which is asked by one thread at a time.

    Attributes:
        name: name in `source`.
        label: name and a digest of the parameters, since a URL may contain a password.
        lifetime: lifetime of an answer.

    """

    def __init__(  # noqa: PLR0913 (the parts of a service)
        self,
        name: str,
        batch: int,
        load: Callable[[], Ask],
        key: Callable[[], str | None],
        *parameters: str,
        settings: Settings,
        directory: Callable[[], DataDirectory],
        now: Callable[[], datetime],
    ) -> None:
        """Nothing is imported, read or sent before the service is asked.

        Args:
            name: name in `source`.
            batch: maximum number of addresses of a request.
            load: returns the client, a function that raises HttpError, ServiceError or errors of parsing.
            key: returns the key, if there is one; called once.
            parameters: other values that answers depend on: the kind of the service, its URL, its edition.
            settings: timeouts, and the lifetime of answers.
            directory: returns the directory of the service's pauses.
            now: the clock.

        """
        super().__init__()
        self.name = name
        self.label = f"{name}@{blake2b(repr(parameters).encode(), digest_size=8).hexdigest()}"
        self.lifetime = timedelta(days=settings.service_lifetime_days)
        self._batch, self._load, self._key, self._directory, self._now = batch, load, key, directory, now
        self._timeout_seconds, self._wait_seconds = settings.service_timeout_seconds, settings.service_wait_seconds
        self._lock = allocate_lock()
        self._ask: Ask | None = None
        self._back_off: BackOff | None = None

    def after_fork_in_child(self) -> None:
        """Drop connections, and the lock of a request of another thread, which belong to the parent."""
        self._lock = allocate_lock()
        self._ask = None

    def read_key(self) -> None:
        """Read the key as the current user; if that fails, the service tries again when it is asked."""
        with suppress(ServiceError):
            self._key()

    def resolve_many(self, addresses: Sequence[Address], report: Report) -> dict[Address, Answer | None]:
        """Return the answers for distinct global addresses; failed ones are missing.

        After a failed request no other is sent. `report` is called with an error for missing addresses.
        """
        answers: dict[Address, Answer | None] = {}
        try:
            for start in range(0, len(addresses), self._batch):
                with self._lock:
                    answers |= self._request(addresses[start : start + self._batch])
        except ServiceError as error:
            report(error)
        else:
            if missing := len(addresses) - len(answers):
                report(ServiceError(self.name, f"no answer for {missing} of {len(addresses)} addresses"))
        return answers

    def _request(self, addresses: Sequence[Address]) -> dict[Address, Answer | None]:
        """Send one request, unless there is a pause."""
        from geocli.backoff import BackOff

        self._back_off = self._back_off or BackOff(self._directory(), f"backoff-{self.name}")
        self._wait(self._back_off)
        ask = self._ask = self._ask or self._load()
        try:
            reply = ask(addresses)
        except Exception as raised:  # noqa: BLE001 (whatever a library raises is translated)
            self._ask = None  # a thread of its session may still resolve a name
            error = self._failure(raised)
            self._back_off.failed(self._now(), error.reason, error.status, error.retry_after_seconds)
            raise error from None  # the text of the cause may contain a key
        self._back_off.answered(self._now(), reply.pause_seconds, "its rate limit was reached", TOO_MANY_REQUESTS)
        return reply.answers

    def _failure(self, error: Exception) -> ServiceError:
        from geocli.http import HttpError

        if isinstance(error, ServiceError):
            return error
        if isinstance(error, HttpError):
            pause_seconds = error.pause_seconds(self._now())
            return ServiceError(self.name, error.reason, status=error.status, retry_after_seconds=pause_seconds)
        return ServiceError(self.name, f"unreadable answer ({type(error).__name__})")

    def _wait(self, back_off: BackOff) -> None:
        """Wait for the end of a short pause of a rate limit; raise ServiceError for other pauses."""
        current = back_off.pause(self._now())
        if current is None:
            return
        pause, left_seconds = current
        if pause.status == TOO_MANY_REQUESTS and left_seconds <= self._wait_seconds:
            sleep(left_seconds)
            return
        raise ServiceError(
            self.name,
            f"not asked for another {ceil(left_seconds)} s: {pause.reason}",
            status=pause.status,
            retry_after_seconds=left_seconds,
        )
