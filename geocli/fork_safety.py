"""Safe forks: in a child all locks are free, and no SQLite connection of the parent is open.

A lock that another thread holds at a fork stays locked in the child forever, and so does a module that it imports.
SQLite connections must not be used or closed in a child (https://sqlite.org/howtocorrupt.html, 2.6).
"""

from __future__ import annotations

import _imp
import os
import sys
from _thread import RLock
from _weakref import ref  # importing `weakref` takes 1 ms more
from contextlib import ExitStack, contextmanager, suppress
from itertools import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

POSTPONEMENT_RANK, CACHE_RANK, STORE_RANK, FILE_RANK = range(4)
"""Forks acquire locks in this order: a thread that holds a lock may wait for one of a higher rank."""
IMPORT_TRIES = 100
"""Number of times that a fork waits for imports; an import of its own thread would never end."""


class ForkAware:
    """Base of classes with a lock, which is acquired before a fork, and released in both processes after it."""

    fork_rank = POSTPONEMENT_RANK

    def __init__(self) -> None:
        """Create the lock, and register for forks."""
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
        """Release resources that a child must not inherit; called with the lock held."""

    def after_fork_in_child(self) -> None:
        """Reset the child; called with the lock held."""


_members: set[ref[ForkAware]] = set()
_registering = RLock()
_forking: list[tuple[list[ForkAware], ExitStack]] = []
"""The fork in progress: its members, and the stack that releases their locks."""


@contextmanager
def postponed() -> Iterator[None]:
    """Postpone forks of other threads until the end of the block, such as a transaction."""
    postponement = ForkAware()
    with postponement.fork_lock:
        yield


def _before() -> None:
    """Acquire all locks while no other thread is importing."""
    for tries in count(1):
        if members := _living():
            _finish_imports()
        with ExitStack() as locks:
            for member in members:
                locks.enter_context(member.fork_lock)
                member.before_fork()
            locks.enter_context(_registering)
            _imp.acquire_lock()  # no import can begin
            locks.callback(_imp.release_lock)
            if {*members} == {*_living()} and not (members and _imports() and tries < IMPORT_TRIES):
                _forking.append((members, locks.pop_all()))
                return


def _living() -> list[ForkAware]:
    members = (reference() for reference in tuple(_members))
    return sorted((member for member in members if member is not None), key=lambda member: member.fork_rank)


def _imports() -> tuple[str, ...]:
    """Return the names of modules that are being imported; there is no public API for this."""
    return tuple(getattr(sys.modules["_frozen_importlib"], "_module_locks", ()))


def _finish_imports() -> None:
    """Wait for the imports of other threads."""
    for name in _imports():
        with suppress(Exception):  # raised in the importing thread
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
