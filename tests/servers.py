"""Servers on loopback that do what no library would: they break off, dribble, or say nothing."""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def serving(answer: Callable[[socket.socket, Event], object]) -> Iterator[str]:
    """Let each request be answered by a function, which is told when nobody waits any more; yields the URL."""
    done = Event()

    def serve(listening: socket.socket) -> None:
        while not done.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.recv(1 << 16)
                answer(connection, done)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            done.set()
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def dribble(connection: socket.socket, done: Event, data: bytes) -> None:
    """Send some bytes at once, then an x every hundredth of a second, for ever."""
    connection.sendall(data)
    while not done.is_set():
        connection.sendall(b"x")
        time.sleep(0.01)


def reset(connection: socket.socket) -> None:
    """Close a connection as a crashed machine does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
