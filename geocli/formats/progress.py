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
    """Show how far a batch is, on standard error; yields what is told how many bytes were read.

    A bar with the rate and the time left if it is known how many there are, else a count and the rate.
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = [] if total_bytes is None else [BarColumn(), TimeRemainingColumn()]
    with Progress(*columns, DownloadColumn(), TransferSpeedColumn(), console=open_console(sys.stderr)) as shown:
        task = shown.add_task("", total=total_bytes)
        yield lambda count: shown.advance(task, count)


@contextmanager
def bars(*, of_bytes: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """Show how far several things are, if standard error is a terminal, until all is done.

    Args:
        of_bytes: whether bytes are counted, and their rate is shown.

    Yields:
        what is told which thing has got on, by how much, and how much it is in all, if that is known.

    """
    if not sys.stderr.isatty():
        yield lambda _name, _count, _total: None
        return
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TransferSpeedColumn

    counters = [DownloadColumn(), TransferSpeedColumn()] if of_bytes else [MofNCompleteColumn()]
    columns = [TextColumn("{task.description}", markup=False), BarColumn(), *counters]
    shown = Progress(*columns, console=open_console(sys.stderr), transient=True)
    tasks: dict[tuple[str, int | None], TaskID] = {}

    def tell(name: str, count: int, total: int | None) -> None:
        if (name, total) not in tasks:
            tasks[name, total] = shown.add_task(safe(name), total=total)
            shown.start()
        shown.advance(tasks[name, total], count)

    try:
        yield tell
    finally:
        if tasks:
            shown.stop()
