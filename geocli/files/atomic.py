"""Files replaced by a rename: readers see the old or the new content, also after a power cut."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from errno import EINVAL

from geocli.console import write
from geocli.files.temporary import sweep, temporary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def sync_directory(path: str) -> None:
    """Sync the entries of a directory to disk, or raise OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot sync directories (fsync(2)).
        if error.errno != EINVAL:
            raise
    finally:
        os.close(descriptor)


def make_directory(path: str, mode: int) -> None:
    """Create a directory and its parents, if they are missing; their names are on disk when this returns."""
    missing = []
    present = os.path.abspath(path)
    while not os.path.lexists(present):
        missing.append(present)
        present = os.path.dirname(present)
    for directory in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(directory, mode)
            # The umask may have removed rights of the owner.
            os.chmod(directory, stat.S_IMODE(os.stat(directory).st_mode) | 0o700)
            # The parent may not be readable.
            with suppress(PermissionError):
                sync_directory(os.path.dirname(directory))


@contextmanager
def replacing(path: str, mode: int = 0o644, *, is_ours: bool = False) -> Iterator[tuple[int, str]]:
    """Write a temporary file in the same directory, and rename it when all of it is on disk.

    Yields the descriptor and the path of the temporary file. On any error the old file is unchanged. The new name is
    on disk when this returns. A link to a regular file is itself replaced; anything that is not a regular file, like
    a pipe or /dev/stdout, is written to, also through a link.

    Args:
        path: the file to replace.
        mode: mode of a new file, less the umask; an existing file keeps its mode, see `output_targets`.
        is_ours: whether no user named the file: then a pipe or a device at its path was planted, and is replaced, too.

    """
    from geocli.files.output_targets import inherit_rights, open_special
    from geocli.signals import termination_raises

    with termination_raises():
        try:
            if not is_ours and (special := open_special(path)) is not None:
                with open(special, "wb", buffering=0) as stream:
                    yield stream.fileno(), path
                return
            directory = os.path.dirname(path) or "."
            with suppress(OSError):
                sweep(directory, os.path.basename(path))
            is_new = not os.path.isfile(path)
            with temporary(path, mode if is_new else 0o600) as (descriptor, temporary_path):
                if not is_new:
                    inherit_rights(descriptor, path)
                yield descriptor, temporary_path
                os.fsync(descriptor)
                os.replace(temporary_path, path)
                # The directory may not be readable.
                with suppress(PermissionError):
                    sync_directory(directory)
        except OSError as error:
            if error.filename is None or str(error.filename).startswith(path):
                error.filename = path
            raise


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all bytes to a descriptor, however many calls it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@contextmanager
def output_to(path: str | None) -> Iterator[Callable[[bytes | memoryview], None]]:
    """Return a function that writes to a file, which is replaced when complete; by default to standard output."""
    if path is None:
        yield write
        return
    with replacing(path) as (descriptor, _):
        yield lambda data: write_all(descriptor, data)
