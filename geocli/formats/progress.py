"""Progress bars on standard error; rich is imported when one is shown."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from geocli.formats.tables import open_console
from geocli.sanitize import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID


@contextmanager
def progress(total_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """Show the progress of a batch; yields a function to call with the number of bytes of each read.

    A bar with the rate and the time left if the total is known, else a count and the rate.
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = [] if total_bytes is None else [BarColumn(), TimeRemainingColumn()]
    with Progress(*columns, DownloadColumn(), TransferSpeedColumn(), console=open_console(sys.stderr)) as bar:
        task = bar.add_task("", total=total_bytes)
        yield lambda count: bar.advance(task, count)


@contextmanager
def bars(*, of_bytes: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a bar for each of several tasks, if standard error is a terminal.

    Args:
        of_bytes: whether bytes are counted, and their rate is shown.

    Yields:
        A function to call with the name of a task, the progress since the last call, and the total, if known.

    """
    if not sys.stderr.isatty():
        yield lambda _name, _count, _total: None
        return
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TransferSpeedColumn

    counters = [DownloadColumn(), TransferSpeedColumn()] if of_bytes else [MofNCompleteColumn()]
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
