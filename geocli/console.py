"""The standard streams: what goes where, and the one place where errors become a line and an exit status."""

from __future__ import annotations

import os
import sys
from collections import deque
from contextlib import suppress

from geocli.errors import GeocliError, TerminatedError
from geocli.sanitize import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SIGNALED = 128
"""Plus the number of a signal: what ends a process that a signal stopped."""
INTERRUPTED = 130
READER_GONE = 141

NO_THREAD = "can't start new thread"
"""What Python says, in a RuntimeError, where the system has no room for one."""


def open_missing_descriptors() -> None:
    """Open /dev/null on each standard descriptor that is closed, or the next file would become one of them."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115 (for good)


def complain(error: Exception | str) -> None:
    """Say what is wrong in one line on standard error."""
    _say(f"geocli: {safe(str(error))}")


def _say(line: str) -> None:
    """Write a line on standard error; if nobody can read it, the exit status must do."""
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201 (for people)


def write(data: bytes | memoryview) -> None:
    """Write to standard output, at once and completely."""
    stream, view = sys.stdout.buffer, memoryview(data)
    while view:  # with PYTHONUNBUFFERED the stream is raw, and may take a part only
        view = view[stream.write(view) :]
    stream.flush()


def close_output() -> None:
    """Close standard output for good, so that its reader need not wait for what is done after it."""
    sys.stdout.flush()
    _point_at_null(sys.stdout.fileno())


def guard(call: Callable[[], int | None], *, is_verbose: Callable[[], bool] = lambda: False) -> int:
    """Call, and return the exit status; errors become one line, without a traceback unless it is asked for."""
    try:
        status = call() or 0
        if status < SIGNALED:  # else a thread may be writing still, and this would wait for it
            sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as ended:
        if isinstance(ended, SystemExit) and not ended.code:
            return 0  # shell completion
        _point_at_null(sys.stdout.fileno())
        return READER_GONE  # which Rich and Typer make a SystemExit of
    except KeyboardInterrupt as stop:
        return stop.exit_status if isinstance(stop, TerminatedError) else INTERRUPTED
    except Exception as error:  # noqa: BLE001 (the one place where errors end)
        if is_verbose():
            from traceback import format_exc

            deque(map(_say, map(safe, format_exc().splitlines())), maxlen=0)
        complain(_described(error))
        if isinstance(error, OSError):
            _point_at_null(sys.stdout.fileno())  # what is buffered would fail again
        return error.exit_status if isinstance(error, GeocliError) else 1
    return status


def _point_at_null(descriptor: int) -> None:
    """Let what is still buffered go nowhere, so that the interpreter does not complain at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def _described(error: Exception) -> Exception | str:
    if isinstance(error, GeocliError):
        return error
    if isinstance(error, OSError):
        named = "standard streams" if error.filename is None else error.filename or "an empty name"
        if isinstance(error, FileNotFoundError) and error.filename is None:
            named = "current directory"  # only who asks for it gets this
        whom = f" to user {os.geteuid()}, who owns the data directory" if _is_denied_to_owner(error) else ""
        return f"{named}: {error.strerror or error}{whom}"
    if isinstance(error, MemoryError) or str(error) == NO_THREAD:
        return "out of memory, or of threads; a smaller -j needs less"
    return f"internal error: {type(error).__name__}: {error}; geocli -v shows where"


def _is_denied_to_owner(error: OSError) -> bool:
    """Return whether root, which may do anything, became a user who may not do this."""
    return isinstance(error, PermissionError) and os.getuid() == 0 != os.geteuid()
