"""What `lookup` and `flush` do once their options are known; knows no option parser.

So the plain forms, which shells and cron run all day, need not load one.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

from geocli.console import complain, write
from geocli.errors import GeocliError, ResolveError, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from geocli.api_arguments import Mode
    from geocli.bulk.pipeline import BatchReport
    from geocli.cache import GeoCache
    from geocli.empty_fields import EmptyFields
    from geocli.immutable import Value
    from geocli.settings import Settings

    Answer: TypeAlias = Callable[..., BatchReport]


class Problems:
    """Says what is wrong with each file or service once, and remembers what the command must exit with because of them.

    A database or a service that fails, or a store that cannot be read, leaves answers poorer, not lost: what these
    cost is seen from the entries.
    """

    def __init__(self, *, is_silent: bool = False) -> None:
        """Begin without problems, to be told to users or not."""
        self.status = 0
        self._is_silent = is_silent
        self._failure = ResolveError.exit_status
        self._said: set[str] = set()

    def __call__(self, problem: GeocliError) -> None:
        """Take note of a problem."""
        name = getattr(problem, "row", None) or getattr(problem, "path", None) or getattr(problem, "service", problem)
        key = str(name)
        if key not in self._said:
            self._said.add(key)
            if not self._is_silent:
                complain(problem)
        if isinstance(problem, ResolveError):
            self._failure = max(self._failure, problem.exit_status)
        elif problem.exit_status >= StoreError.exit_status and not isinstance(problem, StoreError):
            self.status = max(self.status, problem.exit_status)

    def exit_status(self, status: int) -> int:
        """Return what a command exits with: at least this, and 75 if a source that failed asked for patience."""
        return max(self.status, self._failure if status == ResolveError.exit_status else status)

    def weigh(self, problem: GeocliError) -> None:
        """Take note of a problem that is the command's own, and decides what it exits with."""
        self(problem)
        self.status = max(self.status, problem.exit_status)


@contextmanager
def open_cache(chosen: Settings, problems: Problems) -> Iterator[GeoCache]:
    """Open the cache that the settings name; on a terminal, tell root which data directory was created.

    Root's is shared by the whole machine, so root should know where it is.
    """
    is_missing = os.geteuid() == 0 and sys.stderr.isatty() and not os.path.lexists(chosen.data_dir)
    try:
        with _open(chosen, problems) as cache:
            yield cache
    finally:
        if is_missing and os.path.isdir(chosen.data_dir):
            complain(f"created the data directory {chosen.data_dir}")


def _open(chosen: Settings, problems: Problems) -> GeoCache:
    """Return the cache that the settings name; root becomes the owner of its directory before anything there is opened.

    What only root can read is read before: the keys of web services, and which directories of databases there are.
    """
    from geocli.cache import GeoCache
    from geocli.files.ownership import other_owner

    if (owner := other_owner(chosen.data_dir)) is None:
        return GeoCache(chosen=chosen, on_problem=problems)
    from geocli.privileges import become

    chosen = chosen.replace(database_dirs=tuple(filter(os.path.isdir, chosen.database_dirs)))
    cache = GeoCache(chosen=chosen, on_problem=problems)
    if cache.chain.services:
        from geocli.resolvers.configured_services import read_keys

        read_keys(cache.chain.services)
    become(owner, chosen.data_dir)
    return cache


def complain_of_empty_fields(empty: EmptyFields, chosen: Settings, mode: Mode) -> None:
    """Say which of the chosen fields no resolved row has."""
    for text in empty.complaints(can_update=not chosen.databases and mode != "cached-only"):
        complain(text)


def tell(report: Value, sentence: str, *, as_json: bool, always: bool = False) -> None:
    """Report what was done: as JSON on standard output, or a sentence for people, or nothing for cron."""
    if as_json:
        from geocli.formats.rows import json_text

        write(json_text(report.as_dict()).encode() + b"\n")
    elif always or sys.stderr.isatty():
        print(sentence, file=sys.stderr)  # noqa: T201 (for people)
