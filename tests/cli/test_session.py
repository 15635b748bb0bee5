"""On a terminal, root is informed which data directory a command created."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.helpers.other_users import IS_ROOT
from tests.helpers.terminals import on_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root: only root is told")


@needs_root
@pytest.mark.parametrize("command", [("lookup", "8.8.8.8"), ("batch", "-i", "list", "{list}")])
def test_root_is_informed_once_about_the_created_directory(
    geocli: Geocli, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """The command that creates it prints a message on standard error; later ones do not."""
    (tmp_path / "list").write_text("8.8.8.8\n")
    arguments = [argument.replace("{list}", str(tmp_path / "list")) for argument in command]
    directory = tmp_path / "new" / "directory"
    notice = f"geocli: created the data directory {directory}"

    first = on_terminal(geocli, "--data-dir", str(directory), *arguments)
    second = on_terminal(geocli, "--data-dir", str(directory), *arguments)

    assert (0, 0) == (first[0], second[0])
    assert 1 == first[1].splitlines().count(notice)
    assert "created" not in second[1]


@needs_root
@pytest.mark.parametrize("arguments", [("lookup", "--no-cache", "8.8.8.8"), ("flush",), ("stats",)])
def test_no_notice_if_no_directory_is_created(geocli: Geocli, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Commands that write no answer create no directory."""
    directory = tmp_path / "directory"

    _, shown = on_terminal(geocli, "--data-dir", str(directory), *arguments)

    assert "created" not in shown
    assert not directory.exists()


def test_no_notice_without_a_terminal(geocli: Geocli) -> None:
    """Standard error stays empty if it is not a terminal."""
    assert (0, b"") == ((run := geocli("lookup", "8.8.8.8")).returncode, run.stderr)
    assert os.path.isdir(geocli.data_dir)
