"""SIGTERM and SIGHUP as exceptions, for as long as something is half done."""

from __future__ import annotations

from contextlib import contextmanager, suppress

from geocli.errors import TerminatedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def told_of_termination() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise meanwhile, so that what is half done is put in order; in the main thread alone."""
    import signal

    def stop(number: int, _: object) -> None:
        raise TerminatedError(number)

    caught = []
    with suppress(ValueError):  # in another thread, which hears no signals
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # whoever started us may ignore it, as nohup does
                signal.signal(number, stop)
                caught.append(number)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)
