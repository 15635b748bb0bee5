"""Web services: asked for as many addresses together as they take, and left alone when they ask for it.

What talks to them is loaded when one of them is asked.
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
    """What one request came to."""

    answers: dict[Address, Answer | None]
    """What is said of each address, None where the service does not know it; those that failed are missing."""
    pause_seconds: float = 0
    """So long the service wants to be left alone now."""


class Service(ForkAware):
    """One web service, which is asked by one thread at a time."""

    def __init__(  # noqa: PLR0913 (what a service is)
        self,
        name: str,
        takes: int,
        load: Callable[[], Ask],
        key: Callable[[], str | None],
        *settings: str,
        chosen: Settings,
        directory: Callable[[], DataDirectory],
        now: Callable[[], datetime],
    ) -> None:
        """Name a service; nothing is loaded, read or sent before it is asked.

        Args:
            name: as `source` has it.
            takes: how many addresses a request may have.
            load: returns what sends requests, and raises HttpError or ServiceError, or what parsing raises.
            key: returns the key, if there is one; read once.
            settings: all else that answers depend on: the kind of service, its URL, what is asked of it.
            chosen: says how long an answer may take and how long it holds, and how patient we are.
            directory: returns where it is kept when the service may be asked again.
            now: the clock.

        """
        super().__init__()
        self.name = name
        self.label = f"{name}@{blake2b(repr(settings).encode(), digest_size=8).hexdigest()}"
        """Its name, and a digest of its settings: a URL may hold a password."""
        self.lifetime = timedelta(days=chosen.service_lifetime_days)
        """How long an answer holds."""
        self._takes, self._load, self._key, self._directory, self._now = takes, load, key, directory, now
        self._timeout_seconds, self._wait_seconds = chosen.service_timeout_seconds, chosen.service_wait_seconds
        self._lock = allocate_lock()
        self._ask: Ask | None = None
        self._back_off: BackOff | None = None

    def after_fork_in_child(self) -> None:
        """Leave an answer that another thread waits for, and the connections, to the parent."""
        self._lock = allocate_lock()
        self._ask = None

    def read_key(self) -> None:
        """Read the key while this user can; if that fails, it is tried again when the service is asked."""
        with suppress(ServiceError):
            self._key()

    def resolve_many(self, addresses: Sequence[Address], report: Report) -> dict[Address, Answer | None]:
        """Return what is known of global addresses; those that are missing could not be asked for.

        Args:
            addresses: distinct; they are sent in batches as large as the service takes.
            report: told why some are missing. The first request that fails is the last one.

        """
        found: dict[Address, Answer | None] = {}
        try:
            for start in range(0, len(addresses), self._takes):
                with self._lock:
                    found |= self._asked(addresses[start : start + self._takes])
        except ServiceError as error:
            report(error)
        else:
            if missing := len(addresses) - len(found):
                report(ServiceError(self.name, f"no answer for {missing} of {len(addresses)} addresses"))
        return found

    def _asked(self, addresses: Sequence[Address]) -> dict[Address, Answer | None]:
        """Send one request, unless the service asked for patience."""
        from geocli.backoff import BackOff

        self._back_off = self._back_off or BackOff(self._directory(), f"backoff-{self.name}")
        self._wait(self._back_off)
        ask = self._ask = self._ask or self._load()
        try:
            reply = ask(addresses)
        except Exception as raised:  # noqa: BLE001 (whatever a library raises is translated)
            self._ask = None  # a thread of its session may still look up a name
            error = self._failure(raised)
            self._back_off.failed(self._now(), error.reason, error.status, error.retry_after_seconds)
            raise error from None  # the text of an inner one may have a key in it
        self._back_off.answered(self._now(), reply.pause_seconds, "its rate limit was met", TOO_MANY_REQUESTS)
        return reply.answers

    def _failure(self, error: Exception) -> ServiceError:
        from geocli.http import HttpError

        if isinstance(error, ServiceError):
            return error
        if isinstance(error, HttpError):
            pause_seconds = error.pause_seconds(self._now())
            return ServiceError(self.name, error.reason, status=error.status, retry_after_seconds=pause_seconds)
        return ServiceError(self.name, f"an answer that cannot be read ({type(error).__name__})")

    def _wait(self, back_off: BackOff) -> None:
        """Wait for the end of a rate limit, if that is not too far; a service that failed is not waited for."""
        found = back_off.pause(self._now())
        if found is None:
            return
        pause, left_seconds = found
        if pause.status == TOO_MANY_REQUESTS and left_seconds <= self._wait_seconds:
            sleep(left_seconds)
            return
        raise ServiceError(
            self.name,
            f"left alone for {ceil(left_seconds)} s more: {pause.reason}",
            status=pause.status,
            retry_after_seconds=left_seconds,
        )
