"""Progress bars on standard error; rich is imported when one is shown."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from geocli.sanitize import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress, ProgressColumn, TaskID


class Watcher:
    """Receives the progress of a batch, and ignores it."""

    def read(self, size_bytes: int) -> None:
        """Note that bytes of input were read."""

    def lines(self, path: str, text: bytes) -> None:
        """Note that lines of a file are being answered."""


class _Bar(Watcher):
    def __init__(self, bar: Progress, total_bytes: int | None) -> None:
        self._bar, self._lines = bar, 0
        self._task = bar.add_task("", total=total_bytes, lines="")

    def read(self, size_bytes: int) -> None:
        self._bar.advance(self._task, size_bytes)

    def lines(self, path: str, text: bytes) -> None:
        self._lines += text.count(b"\n") + text.count(b"\0")
        name = "standard input" if path == "-" else os.path.basename(path)
        self._bar.update(self._task, description=safe(name), lines=f"{self._lines:,} lines")


@contextmanager
def progress(total_bytes: int | None, *, is_shown: bool = True) -> Iterator[Watcher]:
    """Show the name of the file, lines, bytes and their rate; also a bar and the time left if the total is known."""
    if not is_shown:
        yield Watcher()
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from geocli.formats.terminal import open_console

    name, lines = (TextColumn(f"{{task.{text}}}", markup=False) for text in ("description", "fields[lines]"))
    bar = [] if total_bytes is None else [BarColumn(None), TimeRemainingColumn(compact=True)]
    columns = (name, *bar, lines, _size_column())
    with Progress(*columns, console=open_console(sys.stderr), expand=bool(bar)) as shown:
        yield _Bar(shown, total_bytes)


def _size_column() -> ProgressColumn:
    """Return a column with the bytes so far, their total if it is known, and their rate once it is."""
    from rich.filesize import decimal
    from rich.progress import ProgressColumn, Task
    from rich.table import Column
    from rich.text import Text

    from geocli.formats.terminal import BLUE

    class Size(ProgressColumn):
        def render(self, task: Task) -> Text:
            total = "" if task.total is None else f" of {decimal(int(task.total))}"
            speed = task.finished_speed or task.speed
            rate = "" if speed is None else f" {decimal(int(speed))}/s"
            return Text(f"{decimal(int(task.completed))}{total}{rate}", BLUE)

    return Size(Column(no_wrap=True))  # else the bar would take its room


@contextmanager
def bars(*, of_bytes: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a bar for each of several tasks, perhaps with bytes and their rate, if standard error is a terminal.

    Yields a function to call with the name of a task, the progress since the last call, and the total, if known.
    """
    if not sys.stderr.isatty():
        yield lambda _name, _count, _total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from geocli.formats.terminal import open_console

    counters = [_size_column()] if of_bytes else [MofNCompleteColumn()]
    columns = [TextColumn("{task.description}", markup=False), BarColumn(), *counters]
    display = Progress(*columns, console=open_console(sys.stderr), transient=True)
    tasks: dict[tuple[str, int | None], TaskID] = {}

    def advance(name: str, count: int, total: int | None) -> None:
        if (name, total) not in tasks:
            tasks[name, total] = display.add_task(safe(name), total=total)
            display.start()
        display.advance(tasks[name, total], count)

    try:
        yield advance
    finally:
        if tasks:
            display.stop()
