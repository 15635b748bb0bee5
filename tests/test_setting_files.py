"""Files of settings are read at once, and not without end."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from geocli.setting_files import MAX_BYTES, content_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    """A file may have as many bytes as the limit, or none."""
    path = tmp_path / "file"
    for content in (b"", b"x" * MAX_BYTES):
        path.write_bytes(content)
        assert content == content_of(str(path))


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/full"])
def test_a_device_without_end_is_refused(path: str) -> None:
    """The error is that of a file that is too large."""
    with pytest.raises(OSError, match="File too large"):
        content_of(path)


def test_a_pipe_is_read_to_its_end() -> None:
    """A shell passes the output of a command as /dev/fd/N, and the command may be slower than geocli."""
    reading, writing = os.pipe()
    contents: list[bytes] = []
    reader = threading.Thread(target=lambda: contents.append(content_of(f"/dev/fd/{reading}")))
    reader.start()
    for piece in (b"first", b"second"):
        os.write(writing, piece)
    os.close(writing)
    reader.join()
    os.close(reading)

    assert [b"firstsecond"] == contents


@pytest.mark.parametrize("variable", ["GEOCLI_CONFIG", "GEOIPUPDATE_CONF_FILE"])
def test_no_command_waits_for_the_writer_of_a_fifo(geocli: Geocli, variable: str) -> None:
    """A FIFO is reported as a configuration, and ignored like an unreadable GeoIP.conf."""
    fifo = geocli.data_dir.parent / "fifo"
    os.mkfifo(fifo)
    refusal = f"geocli: {fifo}: configuration: cannot be read: a pipe without content\n".encode()
    expected = (2, refusal) if variable == "GEOCLI_CONFIG" else (0, b"")
    for arguments in (("lookup", "10.0.0.1"), ("flush",), ("stats",)):
        run = geocli(*arguments, environ={variable: str(fifo)})
        assert expected == (run.returncode, run.stderr)
