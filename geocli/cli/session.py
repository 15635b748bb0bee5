"""Shared by commands: opening the cache, reporting problems, and printing a final report.

Imports no option parser, since `lookup ADDRESS...` and `flush`, which shells and cron run all day, need none.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

from geocli.console import complain, write
from geocli.errors import ResolveError, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from geocli.api_arguments import Mode
    from geocli.cache import GeoCache
    from geocli.empty_fields import EmptyFields
    from geocli.errors import GeocliError
    from geocli.immutable import Value
    from geocli.settings import Settings


class Problems:
    """Reports each problem once, and determines the exit status.

    A failed database or service, or an unreadable store, does not decide the exit status alone: the entries show
    whether another source has answered.
    """

    def __init__(self, *, is_silent: bool = False) -> None:
        self.status = 0
        self._is_silent = is_silent
        self._resolve_status = ResolveError.exit_status
        self._reported: set[str] = set()

    def __call__(self, problem: GeocliError) -> None:
        """Report a problem, unless one with the same row, file or service was reported before."""
        name = getattr(problem, "row", None) or getattr(problem, "path", None) or getattr(problem, "service", problem)
        if str(name) not in self._reported:
            self._reported.add(str(name))
            if not self._is_silent:
                complain(problem)
        if isinstance(problem, ResolveError):
            self._resolve_status = max(self._resolve_status, problem.exit_status)
        elif problem.exit_status >= StoreError.exit_status and not isinstance(problem, StoreError):
            self.status = max(self.status, problem.exit_status)

    def fail(self, problem: GeocliError) -> None:
        """Report a problem, and let the command exit with its status."""
        self(problem)
        self.status = max(self.status, problem.exit_status)

    def exit_status(self, status: int) -> int:
        """Return the exit status: at least `status`, and 75 if a failed source is to be asked again later."""
        return max(self.status, self._resolve_status if status == ResolveError.exit_status else status)


@contextmanager
def open_cache(settings: Settings, problems: Problems) -> Iterator[GeoCache]:
    """Open the cache; on a terminal, tell root which data directory was created.

    Root's is shared by the whole machine, so root should know where it is.
    """
    is_missing = os.geteuid() == 0 and sys.stderr.isatty() and not os.path.lexists(settings.data_dir)
    try:
        with _open(settings, problems) as cache:
            yield cache
    finally:
        if is_missing and os.path.isdir(settings.data_dir):
            complain(f"created the data directory {settings.data_dir}")


def _open(settings: Settings, problems: Problems) -> GeoCache:
    """Open the cache; root first becomes the owner of its directory.

    Before that, root reads what the owner perhaps cannot: keys of web services, and which database directories exist.
    """
    from geocli.cache import GeoCache
    from geocli.files.ownership import other_owner

    if (owner := other_owner(settings.data_dir)) is None:
        return GeoCache(settings=settings, on_problem=problems)
    from geocli.privileges import become

    settings = settings.replace(database_dirs=tuple(filter(os.path.isdir, settings.database_dirs)))
    cache = GeoCache(settings=settings, on_problem=problems)
    if cache.chain.services:
        from geocli.resolvers.configured_services import read_keys

        read_keys(cache.chain.services)
    become(owner, settings.data_dir)
    return cache


def complain_of_empty_fields(empty: EmptyFields, settings: Settings, mode: Mode) -> None:
    """Report which of the chosen fields are empty in all resolved rows."""
    for complaint in empty.complaints(can_update=not settings.databases and mode != "cached-only"):
        complain(complaint)


def print_report(report: Value, sentence: str, *, as_json: bool, always: bool = False) -> None:
    """Print JSON to standard output, or else a sentence to standard error: on a terminal, or always."""
    if as_json:
        from geocli.formats.rows import json_text

        write(json_text(report.as_dict()).encode() + b"\n")
    elif always or sys.stderr.isatty():
        print(sentence, file=sys.stderr)  # noqa: T201 (for people)
