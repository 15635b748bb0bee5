"""Forks, as by multiprocessing and pre-forking servers: parent and child continue, and neither blocks others."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from itertools import count
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest

from geocli.cache import GeoCache
from geocli.errors import BusyError, StoreError
from geocli.files.locks import FileLock, locked_directory
from geocli.fork_safety import postponed
from geocli.models import Place
from geocli.storage.store import Store
from tests.helpers.data_directories import local
from tests.helpers.fake_sources import Source
from tests.helpers.processes import in_child, orphaned
from tests.helpers.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from geocli.errors import GeocliError
    from geocli.settings import Settings
    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow

CHILDREN = 7
SOMEWHERE = Place(country_code="GB")
BUSY_PARENT = """
import os, signal, sys, threading
from geocli import GeoCache

cache = GeoCache(sys.argv[1])
stop = threading.Event()

def look_up(thread):
    number = 0
    while not stop.is_set():
        number += 1
        cache.lookup(f"8.{thread}.{number >> 8 & 255}.{number & 255}")
        if number % 10 == 0:
            cache.flush_dirty(wait_seconds=60)

threads = [threading.Thread(target=look_up, args=(thread,)) for thread in range(4)]
for thread in threads:
    thread.start()
children = []
for child in range(7):
    if not (pid := os.fork()):
        signal.alarm(60)
        assert cache.lookup("9.9.9.9").place.country_code == "US"
        cache.lookup(f"9.0.0.{child}")
        cache.flush_dirty(wait_seconds=60)
        assert cache.lookup(f"9.0.0.{child}").cached
        os._exit(0)
    children.append(pid)
statuses = [os.waitpid(pid, 0)[1] for pid in children]
stop.set()
for thread in threads:
    thread.join()
assert cache.lookup("9.9.9.9").place.country_code == "US"
print(statuses)
"""


@pytest.fixture
def chosen(geocli: Geocli) -> Settings:
    return geocli.settings()


def opened(chosen: Settings, on_problem: Callable[[GeocliError], None] = lambda _: None) -> GeoCache:
    return GeoCache(settings=chosen, resolvers=[Source(everywhere=SOMEWHERE)], on_problem=on_problem)


@contextmanager
def living_child() -> Iterator[int]:
    """Fork a child that does nothing, and lives as long as the context."""
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    try:
        yield pid
    finally:
        os.close(writer)
        os.waitpid(pid, 0)


@contextmanager
def in_thread(body: Callable[[], object]) -> Iterator[Thread]:
    thread = Thread(target=body)
    thread.start()
    yield thread
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


# locks of files


def test_lock_ends_with_its_holder_although_a_child_lives(tmp_path: Path) -> None:
    """A lock is free once its holder releases it, also if a child was forked while it was held."""
    directory = local(tmp_path)
    is_held, is_forked = Event(), Event()

    def hold() -> None:
        with directory.locked("journal.lock", 0), locked_directory(str(tmp_path)):
            is_held.set()
            is_forked.wait(PATIENCE_SECONDS)

    with in_thread(hold) as thread:
        is_held.wait(PATIENCE_SECONDS)
        with living_child():
            with pytest.raises(BusyError), directory.locked("journal.lock", 0):
                pytest.fail("two hold the lock")
            is_forked.set()
            thread.join(PATIENCE_SECONDS)
            with directory.locked("journal.lock", 0), locked_directory(str(tmp_path)):
                pass


def test_lock_ends_when_its_holder_is_killed_although_a_child_lives(tmp_path: Path) -> None:
    """Also when the holder has no time to free it: the child has closed its copies."""

    def hold(die: Callable[[], object]) -> None:
        with local(tmp_path).locked("journal.lock", 0), locked_directory(str(tmp_path)):
            die()

    with orphaned(hold), local(tmp_path).locked("journal.lock", 0), locked_directory(str(tmp_path)):
        pass


def test_child_does_not_free_its_parents_lock(tmp_path: Path) -> None:
    """Neither when it exits nor when it leaves the block in which it was forked."""
    directory = local(tmp_path)
    with directory.locked("journal.lock", 0):
        assert 0 == in_child(lambda: None)

        lock = FileLock(lambda: os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT, 0o600))
        assert lock.acquire()
        assert 0 == in_child(lock.close)
        for name in ("journal.lock", "other"):
            with pytest.raises(BusyError), directory.locked(name, 0):
                pytest.fail("two hold the lock")
        lock.close()


# caches


def test_children_of_a_busy_process_go_on(geocli: Geocli) -> None:
    """Children forked while threads look up, import and flush can do the same, as can their parent."""
    ran = subprocess.run(
        [sys.executable, "-c", BUSY_PARENT, str(geocli.data_dir)],
        capture_output=True,
        text=True,
        env=geocli.environ,
        timeout=4 * PATIENCE_SECONDS,
        check=False,
    )
    assert (0, f"{[0] * CHILDREN}\n") == (ran.returncode, ran.stdout), ran.stderr
    assert 0 == geocli("flush").returncode


def test_child_has_no_connection_of_its_parent(chosen: Settings) -> None:
    """Connections to SQLite are closed before a fork, and reopened when they are needed."""

    def open_names() -> list[str]:
        descriptors = os.listdir("/proc/self/fd")
        links = [f"/proc/self/fd/{number}" for number in descriptors]
        names = [os.readlink(link) for link in links if os.path.lexists(link)]
        # Other tests of this process may have left open connections.
        return [name for name in names if name.startswith(f"{chosen.data_dir}/geocli.db")]

    def child() -> None:
        assert [] == open_names()
        assert cache.lookup("8.8.8.8").cached
        assert cache.lookup("8.8.4.4").place.country_code == "GB"
        assert open_names()

    with opened(chosen) as cache:
        cache.lookup("8.8.8.8")
        cache.flush_dirty()
        cache.lookup_cached_only(["8.8.8.8"])
        assert open_names()

        assert 0 == in_child(child)

        assert {"8.8.8.8", "8.8.4.4"} == set(cache.lookup_cached_only(["8.8.8.8", "8.8.4.4"]))


def test_fork_waits_for_the_thread_that_has_a_lock(chosen: Settings) -> None:
    """So a lock that another thread holds is free in the child."""
    is_held, may_end = Event(), Event()
    cache = opened(chosen)

    def hold() -> None:
        with cache.fork_lock:
            is_held.set()
            may_end.wait(PATIENCE_SECONDS)

    def end_when_the_fork_waits() -> None:
        is_held.wait(PATIENCE_SECONDS)
        may_end.set()

    with in_thread(hold), in_thread(end_when_the_fork_waits):
        is_held.wait(PATIENCE_SECONDS)
        assert 0 == in_child(lambda: cache.lookup("8.8.8.8"))


def test_fork_waits_for_a_flush(chosen: Settings) -> None:
    """So a child never inherits a transaction of its parent, whose connection it could neither use nor close."""
    is_begun, is_done = Event(), Event()

    def write() -> None:
        with postponed():
            is_begun.set()
            for _ in range(1000):
                cache.lookup("8.8.8.8")
            is_done.set()

    def child() -> None:
        assert is_done.is_set()
        cache.lookup("8.8.4.4")
        assert 1 == cache.flush_dirty().segments

    with opened(chosen) as cache, in_thread(write):
        is_begun.wait(PATIENCE_SECONDS)
        assert 0 == in_child(child)


def test_child_does_not_wait_for_an_import_of_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another thread is importing is imported before the fork, or the child could never import it."""
    (tmp_path / "slow_to_import.py").write_text(
        "from tests.durability import test_forks as tests\ntests.import_slowly()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    cache = Store(str(tmp_path / "geocli.db"))

    def import_it() -> None:
        __import__("slow_to_import")

    with in_thread(import_it):
        IMPORTING.wait(PATIENCE_SECONDS)
        MAY_END.set()
        assert 0 == in_child(import_it)
    cache.close()


IMPORTING, MAY_END = Event(), Event()


def import_slowly() -> None:
    """Take some time, in which other threads run."""
    IMPORTING.set()
    MAY_END.wait(PATIENCE_SECONDS)
    for _ in range(100):
        os.sched_yield()


def test_problem_callbacks_may_wait_for_a_fork(chosen: Settings) -> None:
    """They are called without a lock, so that they may wait for the thread that forks."""
    is_told, is_forked = Event(), Event()

    def wait(_: GeocliError) -> None:
        is_told.set()
        assert is_forked.wait(PATIENCE_SECONDS)

    os.makedirs(f"{chosen.data_dir}/geocli.db", mode=0o700)  # which is not a store
    cache = opened(chosen, wait)
    with in_thread(lambda: cache.lookup("8.8.8.8")):
        is_told.wait(PATIENCE_SECONDS)
        assert 0 == in_child(lambda: None)
        is_forked.set()


def test_fork_inside_of_a_cache_does_not_deadlock(chosen: Settings) -> None:
    """A fork in a problem callback, or while a lock is held, continues in both processes."""
    rounds = count()

    def fork(_: GeocliError) -> None:
        assert 0 == in_child(lambda: next(rounds))

    os.makedirs(f"{chosen.data_dir}/geocli.db", mode=0o700)
    with opened(chosen, fork) as cache, cache.fork_lock, postponed():
        assert "GB" == cache.lookup("8.8.8.8").place.country_code
        cache.sources()


def test_store_is_read_again_after_a_fork_that_failed_its_reader(tmp_path: Path) -> None:
    """An unreadable store is reported in both processes, also after a fork."""
    store = Store(str(tmp_path / "geocli.db"))
    (tmp_path / "geocli.db").mkdir()

    def read() -> None:
        with pytest.raises(StoreError, match="not a regular file"):
            store.generations()

    read()
    assert 0 == in_child(read)
    read()
