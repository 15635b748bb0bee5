"""Render output for a terminal of a given width, in this process, without styles."""

from __future__ import annotations

import sys
from io import StringIO
from typing import TYPE_CHECKING

from tests.helpers.terminals import STYLE

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


class Terminal(StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def screen(monkeypatch: pytest.MonkeyPatch, width: int, show: Callable[[], object], stream: str = "stdout") -> str:
    """Return the output of a function to a stream, without trailing spaces."""
    terminal = Terminal()
    for name, value in {"TERM": "xterm-256color", "COLUMNS": str(width), "LINES": "50"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, stream, terminal)
    show()
    return "\n".join(line.rstrip() for line in STYLE.sub("", terminal.getvalue()).splitlines())
