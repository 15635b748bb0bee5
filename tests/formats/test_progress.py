"""The progress of a batch on a terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from geocli.formats.progress import progress
from tests.helpers.screens import screen

if TYPE_CHECKING:
    import pytest


def _shown(monkeypatch: pytest.MonkeyPatch, total_bytes: int | None, path: str) -> str:
    def answer() -> None:
        with progress(total_bytes) as watcher:
            for _ in range(2):
                watcher.read(500_000)
                watcher.lines(path, b"8.8.8.8\n" * 10_000)

    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen(monkeypatch, 80, answer, "stderr"))


def test_a_file_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line has the name of the file, a bar, the time left, lines, bytes, and their rate."""
    assert re.search(
        r"access\.log ━+ \d\d:\d\d 20,000 lines 1\.0 MB of 1\.0 MB [0-9.]+ .?B/s",
        _shown(monkeypatch, 1_000_000, "/var/log/access.log"),
    )


def test_a_pipe_has_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a known total there is no bar and no question mark."""
    shown = _shown(monkeypatch, None, "-")

    assert re.search(r"standard input 20,000 lines 1\.0 MB [0-9.]+ .?B/s", shown)
    assert not re.search(r"[?━]", shown)


def test_the_name_of_a_file_cannot_control_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control characters and markup in a name are shown as text."""
    assert "\\x07[bold]x" in _shown(monkeypatch, None, "\a[bold]x")
