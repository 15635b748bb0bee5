"""Forks of this process: a child must find every lock free, and no SQLite connection of its parent.

A lock that another thread holds stays locked in the child for ever, and so does a module that it imports. SQLite
forbids to use or to close a connection in a child (https://sqlite.org/howtocorrupt.html, 2.6).
"""

from __future__ import annotations

import _imp
import os
import sys
from _thread import RLock
from _weakref import ref  # `weakref` takes 1 ms more
from contextlib import ExitStack, contextmanager, suppress
from itertools import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

POSTPONEMENT_RANK, CACHE_RANK, STORE_RANK, FILE_RANK = range(4)
"""Ranks: a thread that holds a lock may wait for one of a higher rank, so forks take them in this order."""
IMPORT_TRIES = 100
"""How often a fork waits for imports of other threads; one of its own thread does not end."""


class ForkAware:
    """Base of all that has a lock. Before a fork the lock is taken, and freed on both sides after it."""

    fork_rank = POSTPONEMENT_RANK

    def __init__(self) -> None:
        """Make the lock, and be told of forks from now on."""
        self.fork_lock = RLock()
        with _registering:
            _members.add(ref(self, _members.discard))

    @contextmanager
    def locked(self, report: Callable[[Any], object]) -> Iterator[Callable[[Any], None]]:
        """Hold the lock, and report problems once it is free: `report` may wait for a thread that forks."""
        problems: list[Any] = []
        try:
            with self.fork_lock:
                yield problems.append
        finally:
            for problem in problems:
                report(problem)

    def before_fork(self) -> None:
        """Give up what a child must not inherit; called with the lock held."""

    def after_fork_in_child(self) -> None:
        """Begin again in the child; called with the lock held."""


_members: set[ref[ForkAware]] = set()
_registering = RLock()
_forking: list[tuple[list[ForkAware], ExitStack]] = []
"""The fork that is under way: who knows of it, and what frees their locks."""


@contextmanager
def postponed() -> Iterator[None]:
    """Let other threads' forks wait, as for the end of a transaction."""
    postponement = ForkAware()
    with postponement.fork_lock:
        yield


def _before() -> None:
    """Take all locks, at a moment at which no other thread imports anything."""
    for tries in count(1):
        if members := _living():
            _finish_imports()
        with ExitStack() as locks:
            for member in members:
                locks.enter_context(member.fork_lock)
                member.before_fork()
            locks.enter_context(_registering)
            _imp.acquire_lock()  # without which no import begins
            locks.callback(_imp.release_lock)
            if {*members} == {*_living()} and not (members and _imports() and tries < IMPORT_TRIES):
                _forking.append((members, locks.pop_all()))
                return


def _living() -> list[ForkAware]:
    members = (known() for known in tuple(_members))
    return sorted((member for member in members if member is not None), key=lambda member: member.fork_rank)


def _imports() -> tuple[str, ...]:
    """Return the names of modules that are being imported: those whose locks are in use, which nothing public tells."""
    return tuple(getattr(sys.modules["_frozen_importlib"], "_module_locks", ()))


def _finish_imports() -> None:
    """Wait for the imports of other threads."""
    for name in _imports():
        with suppress(Exception):  # the thread that began it is told
            __import__(name)


def _after() -> None:
    if _forking:
        _, locks = _forking.pop()
        locks.close()


def _after_in_child() -> None:
    for members, _ in _forking:
        for member in members:
            member.after_fork_in_child()
    _after()


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after_in_child)
