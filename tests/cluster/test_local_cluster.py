"""Workers on this machine: other users cannot read their files or connect without their keys; there is no dashboard."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from distributed import Client

from geocli.cluster import coordinator
from geocli.cluster.request import ClusterRequest
from tests.helpers.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import SpecCluster

pytestmark = [pytest.mark.slow, pytest.mark.measured]

LISTENING = "0A"
"""State of a listening socket in /proc/net/tcp (proc(5))."""


@pytest.fixture
def listening() -> set[tuple[str, int]]:
    """Return the addresses on which servers of other tests listen."""
    return set(_listeners())


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listening: set[tuple[str, int]]) -> Iterator[SpecCluster]:
    """Start two workers as a batch does, with a temporary directory of this test."""
    del listening  # which must be known before
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with coordinator._local(ClusterRequest(address="local:2")) as result:  # noqa: SLF001 (what starts them)
        yield result


def _descendants(pid: int) -> set[int]:
    """Return a process and its descendants; processes and threads may end meanwhile."""
    result = {pid}
    for task in _listed(Path(f"/proc/{pid}/task")):
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in (task / "children").read_text().split():
                result |= _descendants(int(child))
    return result


def _listed(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except FileNotFoundError:
        return []


def _listeners() -> list[tuple[str, int]]:
    """Return the TCP addresses on which this process and its descendants listen."""
    inodes = set()
    for pid in _descendants(os.getpid()):
        for descriptor in _listed(Path(f"/proc/{pid}/fd")):
            with suppress(FileNotFoundError):
                inodes.add(os.readlink(descriptor).removeprefix("socket:[").removesuffix("]"))
    result = []
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTENING and words[9] in inodes:
                address, port = words[1].split(":")
                raw = b"".join(bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8))
                result.append((socket.inet_ntop(family, raw), int(port, 16)))
    return result


def _speaks_http(address: tuple[str, int]) -> bool:
    connection = http.client.HTTPConnection(*address, timeout=60)
    try:
        connection.request("GET", "/health")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _connects_without_a_key(address: tuple[str, int]) -> bool:
    """Return whether TLS connects without a key; TLS 1.3 refuses with the first read."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(address, timeout=60) as plain,
            context.wrap_socket(plain) as wrapped,
        ):
            wrapped.sendall(b"\0" * 8)
            return bool(wrapped.recv(1))
    except OSError:
        return False


def test_everything_listens_with_tls_on_loopback(workers: SpecCluster, listening: set[tuple[str, int]]) -> None:
    """The scheduler, two workers and their nannies require a key, and do not speak HTTP."""
    with Client(workers, set_as_default=False) as client:
        client.wait_for_workers(2)
        actual = set(_listeners()) - listening
        speaking = [address for address in actual if _speaks_http(address)]
        taking = [address for address in actual if _connects_without_a_key(address)]
        answer = client.submit(sum, [1, 2]).result(timeout=60)

    assert 5 == len(actual)
    assert {"127.0.0.1"} == {host for host, _ in actual}
    assert [] == speaking
    assert [] == taking
    assert 3 == answer
    assert workers.scheduler_address.startswith("tls://")
    assert workers.scheduler is not None
    assert {} == workers.scheduler.services


def test_directory_of_workers_is_private(workers: SpecCluster, tmp_path: Path) -> None:
    """The directory is created for this run, with a random name, and only this user can enter it."""
    (directory,) = tmp_path.iterdir()
    with Client(workers, set_as_default=False) as client:
        client.wait_for_workers(2)
        used = client.run(lambda dask_worker: str(dask_worker.local_directory)).values()

    assert (os.geteuid(), 0o700) == (directory.stat().st_uid, stat.S_IMODE(directory.stat().st_mode))
    assert len("geocli-") + 8 == len(directory.name)
    assert {True} == {path.startswith(f"{directory}/") for path in used}


def test_directory_of_workers_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When the workers end, no file remains."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with coordinator._local(ClusterRequest(address="local:1")):  # noqa: SLF001 (what starts them)
        assert 1 == len(os.listdir(tmp_path))

    wait_for(lambda: not os.listdir(tmp_path))
