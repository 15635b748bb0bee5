"""Bringing databases up to date: DB-IP's, for which no account is needed, and MaxMind's."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, nullcontext
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from time import sleep
from typing import TYPE_CHECKING

from geocli.databases import dbip, maxmind
from geocli.databases.discovery import SUFFIX
from geocli.databases.download import Client
from geocli.databases.install import SIDECAR, sweep
from geocli.errors import DownloadError, ExposedError, RateLimitError, SettingsError, UpdateError
from geocli.files.atomic import make_directory
from geocli.http import Limits
from geocli.storage.directory import DataDirectory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from geocli.settings import Settings

DEFAULT_NAMES = ("dbip-city-lite", "dbip-asn-lite")
LOCK = ".geocli-update.lock"
"""In each directory that databases are installed in."""


def _raise(error: UpdateError) -> None:
    raise error


def update(  # noqa: PLR0913 (each is an option of the command)
    names: Sequence[str],
    chosen: Settings,
    now: datetime,
    *,
    limits: Limits | None = None,
    on_problem: Callable[[UpdateError], None] = _raise,
    warn: Callable[[ExposedError], None] = lambda _: None,
    on_read: Callable[[str, int, int | None], None] = lambda _name, _count, _total: None,
    acting: Callable[[str], AbstractContextManager[object]] = nullcontext,
) -> list[str]:
    """Bring databases up to date, and return the names of those that were replaced.

    Args:
        names: of `dbip.NAMES`, or of MaxMind's editions; default: those that were installed before, else those that
            the settings of geoipupdate name, else `DEFAULT_NAMES`.
        chosen: says where to, and from where.
        now: the time; this month's file is tried first, then last month's.
        limits: what a download may cost.
        on_problem: called with each database that could not be brought up to date; its old file is still in place.
        warn: told of a file with the licence key that others can read.
        on_read: told for each name how many bytes of it were read, and of how many, if that is known.
        acting: entered while a directory is used, with its path, by a process that is to be its owner meanwhile.

    Raises:
        SettingsError: a name is unknown, or an account is needed.
        BusyError: another update is running.
        StorageError: a directory cannot be used.

    """
    sources = _Sources(chosen, limits or Limits(), now, on_read, warn)
    replaced = []
    wanted = names or installed(chosen) or sources.configured() or DEFAULT_NAMES
    placed = [(sources.directory_of(name), name) for name in wanted]
    for directory, group in groupby(placed, itemgetter(0)):
        with _telling(on_problem, directory), acting(directory):
            make_directory(directory, 0o755)
            place = DataDirectory(directory, allow_network_fs=chosen.allow_network_fs)
            with place.locked(LOCK, chosen.lock_timeout_seconds):
                sweep(directory)
                for _, name in group:
                    with _telling(on_problem, directory):
                        replaced += [name] if sources.update(name, place) else []
    return replaced


@contextmanager
def _telling(on_problem: Callable[[UpdateError], None], directory: str) -> Iterator[None]:
    try:
        yield
    except UpdateError as error:
        on_problem(error)
    except OSError as error:
        on_problem(UpdateError(error.filename or directory, error.strerror or str(error)))


def installed(chosen: Settings) -> list[str]:
    """Return the names of the databases that were installed before; those of MaxMind have their hash beside them."""
    found = [name for name in dbip.NAMES if os.path.exists(os.path.join(chosen.update_dir, name + SUFFIX))]
    ending = f"{SUFFIX}{SIDECAR}"
    try:
        editions = [name.removesuffix(ending) for name in os.listdir(chosen.maxmind_dir) if name.endswith(ending)]
    except OSError:
        editions = []
    return found + sorted(filter(maxmind.EDITION.fullmatch, editions))


class _Sources:
    """Who has which database, and where it goes."""

    def __init__(
        self,
        chosen: Settings,
        limits: Limits,
        now: datetime,
        on_read: Callable[[str, int, int | None], None],
        warn: Callable[[ExposedError], None],
    ) -> None:
        self._chosen, self._limits, self._now, self._on_read, self._warn = chosen, limits, now, on_read, warn

    @cached_property
    def _account(self) -> maxmind.Account:
        account, key_file = maxmind.account(self._chosen), self._chosen.maxmind_key_file
        if key_file and os.stat(key_file).st_mode & stat.S_IROTH:
            self._warn(ExposedError(key_file))
        return account

    def configured(self) -> tuple[str, ...]:
        """Return the editions that the settings of geoipupdate name."""
        return self._account.editions if self._chosen.has_maxmind_account else ()

    def directory_of(self, name: str) -> str:
        """Return where a database goes."""
        if name in dbip.NAMES:
            return self._chosen.update_dir
        if maxmind.EDITION.fullmatch(name):
            self._account  # noqa: B018 (which must be there)
            return self._chosen.maxmind_dir
        known = f"{', '.join(dbip.NAMES)}, GeoLite2-City and other editions of MaxMind"
        raise SettingsError(name, f"unknown database; known: {known}", origin="command line")

    def update(self, name: str, place: DataDirectory) -> bool:
        """Bring a database up to date, and tell whether it was replaced; what breaks off is begun anew."""
        for pause_seconds in self._limits.pauses_seconds:
            try:
                return self._update(name, place)
            except DownloadError as error:
                if isinstance(error, RateLimitError) or (error.status is not None and error.status < 500):
                    raise
            sleep(pause_seconds)
        return self._update(name, place)

    def _update(self, name: str, place: DataDirectory) -> bool:
        path = place.file(name + SUFFIX)
        client = Client(place, self._now, self._limits, lambda count, total: self._on_read(name, count, total))
        if name in dbip.NAMES:
            return dbip.update(client, self._chosen.dbip_url, name, path, self._now, self._limits.max_bytes)
        client.auth, client.proxy = self._account.auth, self._account.proxy
        return maxmind.update_edition(client, self._account.host, name, path, self._limits.max_bytes)
