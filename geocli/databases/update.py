"""Update databases: DB-IP's, which need no account, and MaxMind's."""

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
from geocli.errors import DownloadError, ExposedError, RateLimitError, SettingsError, UpdateError, fail
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
"""Lock file in each directory with installed databases."""


def update(  # noqa: PLR0913 (each is an option of the command)
    names: Sequence[str],
    settings: Settings,
    now: datetime,
    *,
    limits: Limits | None = None,
    on_problem: Callable[[UpdateError], None] = fail,
    warn: Callable[[ExposedError], None] = lambda _: None,
    on_read: Callable[[str, int, int | None], None] = lambda _name, _count, _total: None,
    acting: Callable[[str], AbstractContextManager[object]] = nullcontext,
) -> list[str]:
    """Update databases, and return the names of those that were replaced.

    Args:
        names: of `dbip.NAMES`, or of MaxMind's editions; default: the installed ones, else those of the settings of
            geoipupdate, else `DEFAULT_NAMES`.
        settings: name the directories and servers.
        now: the time; this month's file is requested first, then last month's.
        limits: limits of downloads.
        on_problem: called with each failed update, which left the old file unchanged.
        warn: called if the file of the licence key is readable by all users.
        on_read: called with the name, the size of each read, and the total, None if unknown.
        acting: context manager for the use of a directory, by its path; root becomes its owner.

    Raises:
        SettingsError: a name is unknown, or an account is needed.
        BusyError: another update is running.
        StorageError: a directory cannot be used.

    """
    sources = _Sources(settings, limits or Limits(), now, on_read, warn)
    replaced = []
    names = names or installed(settings) or sources.configured() or DEFAULT_NAMES
    by_directory = [(sources.directory_of(name), name) for name in names]
    for directory, group in groupby(by_directory, itemgetter(0)):
        with _reporting(on_problem, directory), acting(directory):
            make_directory(directory, 0o755)
            target = DataDirectory(directory, allow_network_fs=settings.allow_network_fs)
            with target.locked(LOCK, settings.lock_timeout_seconds):
                sweep(directory)
                for _, name in group:
                    with _reporting(on_problem, directory):
                        replaced += [name] if sources.update(name, target) else []
    return replaced


@contextmanager
def _reporting(on_problem: Callable[[UpdateError], None], directory: str) -> Iterator[None]:
    try:
        yield
    except UpdateError as error:
        on_problem(error)
    except OSError as error:
        on_problem(UpdateError(error.filename or directory, error.strerror or str(error)))


def installed(settings: Settings) -> list[str]:
    """Return the names of the installed databases; those of MaxMind are recognised by their sidecar."""
    names = [name for name in dbip.NAMES if os.path.exists(os.path.join(settings.update_dir, name + SUFFIX))]
    suffix = f"{SUFFIX}{SIDECAR}"
    try:
        editions = [name.removesuffix(suffix) for name in os.listdir(settings.maxmind_dir) if name.endswith(suffix)]
    except OSError:
        editions = []
    return names + sorted(filter(maxmind.EDITION.fullmatch, editions))


class _Sources:
    """The sources of databases, and their directories."""

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        now: datetime,
        on_read: Callable[[str, int, int | None], None],
        warn: Callable[[ExposedError], None],
    ) -> None:
        self._settings, self._limits, self._now, self._on_read, self._warn = settings, limits, now, on_read, warn

    @cached_property
    def _account(self) -> maxmind.Account:
        account, key_file = maxmind.account(self._settings), self._settings.maxmind_key_file
        if key_file and os.stat(key_file).st_mode & stat.S_IROTH:
            self._warn(ExposedError(key_file))
        return account

    def configured(self) -> tuple[str, ...]:
        """Return the editions of the settings of geoipupdate."""
        return self._account.editions if self._settings.has_maxmind_account else ()

    def directory_of(self, name: str) -> str:
        """Return the directory of a database."""
        if name in dbip.NAMES:
            return self._settings.update_dir
        if maxmind.EDITION.fullmatch(name):
            self._account  # noqa: B018 (raises without an account)
            return self._settings.maxmind_dir
        known = f"{', '.join(dbip.NAMES)}, GeoLite2-City and other editions of MaxMind"
        raise SettingsError(name, f"unknown database; known: {known}", origin="command line")

    def update(self, name: str, target: DataDirectory) -> bool:
        """Update a database, and return whether it was replaced; a failed download is retried."""
        for pause_seconds in self._limits.pauses_seconds:
            try:
                return self._update(name, target)
            except DownloadError as error:
                if isinstance(error, RateLimitError) or (error.status is not None and error.status < 500):
                    raise
            sleep(pause_seconds)
        return self._update(name, target)

    def _update(self, name: str, target: DataDirectory) -> bool:
        path = target.file(name + SUFFIX)
        client = Client(target, self._now, self._limits, lambda count, total: self._on_read(name, count, total))
        if name in dbip.NAMES:
            return dbip.update(client, self._settings.dbip_url, name, path, self._now, self._limits.max_bytes)
        client.auth, client.proxy = self._account.auth, self._account.proxy
        return maxmind.update_edition(client, self._account.host, name, path, self._limits.max_bytes)
