"""SIGTERM and SIGHUP as exceptions."""

from __future__ import annotations

from contextlib import contextmanager, suppress

from geocli.errors import TerminatedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def termination_raises() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise TerminatedError, so that the block can clean up; only in the main thread."""
    import signal

    def stop(number: int, _: object) -> None:
        raise TerminatedError(number)

    handled = []
    # Other threads cannot set handlers, and get no signals.
    with suppress(ValueError):
        for number in (signal.SIGTERM, signal.SIGHUP):
            # nohup, for one, ignores SIGHUP.
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, stop)
                handled.append(number)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)
