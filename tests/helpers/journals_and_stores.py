"""Entries, journals and processes for tests of what is kept on disk."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections import deque
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from multiprocessing import get_context
from socket import inet_ntoa
from typing import TYPE_CHECKING, Any

from geocli.models import Entry, Place
from geocli.storage.directory import DataDirectory
from geocli.storage.frames import Frame, encode, pack, unpack
from geocli.storage.store import FILE_NAME, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from multiprocessing.process import BaseProcess
    from pathlib import Path

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
SOURCES = "GeoLite2-City@1780000000, rir@3.3.170"
HEAD = '{"at":"2026-06-01T12:00:00Z","generation":"GeoLite2-City@1780000000, rir@3.3.170"'
IN_LONDON = Place(
    country_code="GB", city="London", latitude=51.5142, longitude=-0.0931, asn=20712, traits={"isp": "Andrews & Arnold"}
)


def resolved(ip: str = "81.2.69.160", **changes: Any) -> Entry:
    """Return an entry that somebody knew."""
    known: dict[str, Any] = {"place": IN_LONDON, "source": "GeoLite2-City", "prefix_len": 27, "built_at": AT}
    return Entry(ip=ip, status="resolved", **{**known, "resolved_at": AT, "generation": SOURCES, **changes})


def unresolved(ip: str = "81.2.69.160", **changes: Any) -> Entry:
    """Return an entry that nobody knew."""
    return Entry(ip=ip, status="unresolved", **{"resolved_at": AT, "generation": SOURCES, **changes})


def framed(entries: Iterable[Entry]) -> list[Frame]:
    """Return the frames that hold entries."""
    return [unpack(payload) for payload in pack(entries)]


def local(path: Path) -> DataDirectory:
    """Return a data directory, wherever the machine keeps its temporary files."""
    return DataDirectory(str(path), allow_network_fs=True)


def in_child(body: Callable[[], object]) -> int | None:
    """Run in a process of its own to its end, and return its exit status, negative for a signal."""
    child = get_context("fork").Process(target=body)
    child.start()
    child.join(60)
    child.kill()  # if it has not ended
    child.join()
    return child.exitcode


@contextmanager
def orphaned(body: Callable[[Callable[[], object]], object]) -> Iterator[None]:
    """Run in a process that forks a child and is killed when it calls; the child lives for as long as it is needed."""
    reader, writer = os.pipe()

    def fork_and_die() -> None:
        if not os.fork():
            os.close(writer)
            os.write(forked, b"\n")
            os.read(reader, 1)
            os._exit(0)
        os.read(is_forked, 1)
        os.kill(os.getpid(), signal.SIGKILL)

    is_forked, forked = os.pipe()
    pid = os.fork()
    if not pid:
        body(fork_and_die)
        os._exit(0)
    try:
        assert -signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        yield
    finally:
        deque(map(os.close, (reader, writer, is_forked, forked)), maxlen=0)


@contextmanager
def holding(directory: DataDirectory, name: str) -> Iterator[BaseProcess]:
    """Let another process hold a lock."""
    fork = get_context("fork")
    is_held = fork.Event()

    def hold() -> None:
        with directory.locked(name, 0):
            is_held.set()
            signal.pause()

    holder = fork.Process(target=hold)
    holder.start()
    try:
        assert is_held.wait(60)
        yield holder
    finally:
        holder.kill()
        holder.join()


def select(path: str, sql: str) -> list[tuple[Any, ...]]:
    """Ask a store as any other program does."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def change(path: str, *statements: str) -> None:
    """Change a store as any other program does."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(";".join(statements))


def stored(directory: DataDirectory) -> dict[str, Entry]:
    """Return the entries of a store by their addresses."""
    with closing(Store(directory.file(FILE_NAME))) as store:
        return {entry.ip: entry for entry in store.entries("ORDER BY ip")}


def write_journal(path: Path, entries: int, places: Sequence[dict[str, object]]) -> None:
    """Write a journal as large batches leave it: every address another one, in any order, in any of the places."""
    texts = [json.dumps(place, separators=(",", ":")) for place in places]
    a_frame = max(10, 60_000 // (len(texts[0]) + 25)) if len(texts) > 1_000 else 2_000
    with path.open("wb") as out:
        for start in range(0, entries, a_frame):
            numbers = range(start, min(start + a_frame, entries))
            used = [texts[number * 7919 % len(texts)] for number in numbers][: len(texts)]
            ips = (inet_ntoa((number * 2654435761 & 0xFFFFFFFF).to_bytes(4)) for number in numbers)  # each another one
            rows = ",".join(f'["{ip}",{number % len(used)},24]' for number, ip in enumerate(ips))
            out.write(encode(f'{HEAD},"places":[{",".join(used)}],"rows":[{rows}]}}'.encode()))
