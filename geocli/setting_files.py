"""Read files of settings in bounded memory, and without waiting for the writer of a FIFO."""

from __future__ import annotations

import os
from errno import EFBIG, EINVAL
from stat import S_ISFIFO

MAX_BYTES = 1 << 20


def content_of(path: str) -> bytes:
    """Return the content of a file, or of a pipe that has a writer, such as `<(command)` of a shell.

    Raises OSError, also for a FIFO without a writer, and for more than `MAX_BYTES`, which a device may have.
    """
    with open(path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
        os.set_blocking(file.fileno(), True)
        content = file.read(MAX_BYTES + 1)
        if not content and S_ISFIFO(os.fstat(file.fileno()).st_mode):
            raise OSError(EINVAL, "a pipe without content")
    if len(content) > MAX_BYTES:
        raise OSError(EFBIG, os.strerror(EFBIG))
    return content
