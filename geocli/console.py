"""The standard streams, and the one place where errors become a line and an exit status."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from errno import ENOMEM

from geocli.errors import GeocliError, TerminatedError
from geocli.sanitize import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SIGNAL_BASE = 128
"""Exit status of a process that a signal stopped, less the number of the signal."""
INTERRUPTED = 130
READER_GONE = 141

NO_THREAD = "can't start new thread"
"""Message of the RuntimeError that Python raises where the system cannot start another thread."""

NOT_MAPPED = "failed to map segment"
"""Part of the message of the ImportError for a library that the dynamic linker has no memory or no permission for."""


def open_missing_descriptors() -> None:
    """Open /dev/null on each standard descriptor that is closed, so that no other file gets its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115 (for good)


def complain(error: Exception | str) -> None:
    """Print an error as a line on standard error."""
    _print_error(f"geocli: {safe(str(error))}")


def _print_error(line: str) -> None:
    # If standard error cannot be written, the exit status is all that is left to report the error.
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201 (for people)


def write(data: bytes | memoryview) -> None:
    """Write all data to standard output, unbuffered."""
    stream, view = sys.stdout.buffer, memoryview(data)
    # With PYTHONUNBUFFERED the stream is raw, and may write only a part.
    while view:
        view = view[stream.write(view) :]
    stream.flush()


def close_output() -> None:
    """Close standard output, so that its reader does not wait for the end of the process."""
    sys.stdout.flush()
    _redirect_to_null(sys.stdout.fileno())


def guard(call: Callable[[], int | None], *, is_verbose: Callable[[], bool] = lambda: False) -> int:
    """Call a function, print any error as one line, with a traceback if `is_verbose`, and return the exit status."""
    try:
        status = call() or 0
        # After a signal another thread may still hold the lock of the stream.
        if status < SIGNAL_BASE:
            sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and not error.code:
            # Shell completion exits like this.
            return 0
        # Rich and Typer turn a broken pipe into a SystemExit.
        _redirect_to_null(sys.stdout.fileno())
        return READER_GONE
    except KeyboardInterrupt as interrupt:
        return interrupt.exit_status if isinstance(interrupt, TerminatedError) else INTERRUPTED
    except Exception as error:  # noqa: BLE001 (the one place where errors end)
        if is_verbose():
            _print_traceback()
        complain(_message(error))
        if isinstance(error, OSError):
            # Writing the rest of the buffer would fail again.
            _redirect_to_null(sys.stdout.fileno())
        return error.exit_status if isinstance(error, GeocliError) else 1
    return status


def _print_traceback() -> None:
    from traceback import format_exc

    for line in format_exc().splitlines():
        _print_error(safe(line))


def _redirect_to_null(descriptor: int) -> None:
    """Discard what is still buffered, which the interpreter would fail to write when it exits."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def _message(error: Exception) -> str:
    if isinstance(error, GeocliError):
        return str(error)
    if isinstance(error, MemoryError) or str(error) == NO_THREAD or getattr(error, "errno", None) == ENOMEM:
        return "out of memory or threads; try a smaller -j"
    if isinstance(error, OSError):
        return _os_error_message(error)
    if isinstance(error, ImportError) and NOT_MAPPED in str(error):
        return f"{error}: out of memory, or on a file system that is mounted noexec"
    return f"internal error: {type(error).__name__}: {error}; for a traceback: geocli -v"


def _os_error_message(error: OSError) -> str:
    name = "standard streams" if error.filename is None else error.filename or "empty path"
    if isinstance(error, FileNotFoundError) and error.filename is None:
        # Only os.getcwd() raises this without a file name.
        name = "current directory"
    is_denied_to_owner = isinstance(error, PermissionError) and os.getuid() == 0 != os.geteuid()
    owner = f" for user {os.geteuid()}, the owner of the data directory" if is_denied_to_owner else ""
    return f"{name}: {error.strerror or error}{owner}"
