"""Files that are replaced by a rename: a reader sees the old one or the new one, also after a power cut."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from errno import EINVAL

from geocli.files.temporary import sweep, temporary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def sync_directory(path: str) -> None:
    """Put a directory's entries on disk, or raise OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != EINVAL:  # a file system that syncs no directories (fsync(2))
            raise
    finally:
        os.close(descriptor)


def make_directory(path: str, mode: int) -> None:
    """Make a directory and those above it, if they are missing; their names are on disk when this returns.

    Raises:
        OSError: it cannot be made.

    """
    missing = []
    present = os.path.abspath(path)
    while not os.path.lexists(present):
        missing.append(present)
        present = os.path.dirname(present)
    for directory in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(directory, mode)
            os.chmod(directory, stat.S_IMODE(os.stat(directory).st_mode) | 0o700)  # whatever the umask
            with suppress(PermissionError):  # of a parent that may not be listed
                sync_directory(os.path.dirname(directory))


@contextmanager
def replacing(path: str, mode: int = 0o644, *, is_ours: bool = False) -> Iterator[tuple[int, str]]:
    """Write a file beside another, and put it in its place when all of it is on disk.

    Yields a descriptor to write to, and the path that the file has until then. On any error the old file
    stays as it was. The new name is on disk when this returns. A link to a regular file is replaced itself; what is
    not a regular file, like a pipe or /dev/stdout, is written to, also through a link.

    Args:
        path: of the file.
        mode: of a file that is new, less the umask; one that is replaced keeps its mode, see `targets`.
        is_ours: whether no user named it: then a pipe or a device under its name was planted, and is replaced too.

    Raises:
        OSError: the file cannot be written or renamed.

    """
    from geocli.files.output_targets import inherit_rights, open_special
    from geocli.signals import told_of_termination

    with told_of_termination():
        try:
            if not is_ours and (special := open_special(path)) is not None:
                with open(special, "wb", buffering=0) as stream:
                    yield stream.fileno(), path
                return
            directory = os.path.dirname(path) or "."
            with suppress(OSError):
                sweep(directory, os.path.basename(path))
            is_new = not os.path.isfile(path)
            with temporary(path, mode if is_new else 0o600) as (descriptor, beside):
                if not is_new:
                    inherit_rights(descriptor, path)
                yield descriptor, beside
                os.fsync(descriptor)
                os.replace(beside, path)
                with suppress(PermissionError):  # of a directory that may not be listed
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
