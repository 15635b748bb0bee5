"""geocli looks up where IP addresses are, and keeps every answer.

>>> from tempfile import TemporaryDirectory
>>> from geocli import AddressError, GeoCache
>>> directory = TemporaryDirectory()
>>> with GeoCache(directory.name) as cache:
...     entry = cache.lookup("8.8.8.8")
...     statuses = [(each.ip, each.status) for each in cache.lookup_batch(["[::1]:80", "nonsense"])]
...     flushed = cache.flush_dirty().flushed
>>> entry.status, entry.place.country_code, entry.cached
('resolved', 'US', False)
>>> statuses
[('::1', 'special'), ('nonsense', 'invalid')]
>>> flushed
2
>>> directory.cleanup()
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from geocli.cache import GeoCache
    from geocli.errors import (
        AddressError,
        BusyError,
        ClusterError,
        DatabaseError,
        DownloadError,
        ExposedError,
        GeocliError,
        HashMismatchError,
        InputError,
        JournalError,
        KernelError,
        MissingDatabaseError,
        OpenCellError,
        RateLimitError,
        ResolveError,
        ServiceError,
        SettingsError,
        StorageError,
        StoreError,
        UpdateError,
    )
    from geocli.models import Answer, Entry, Place
    from geocli.settings import Settings
    from geocli.storage.flush import FlushReport
    from geocli.version import __version__

__all__ = [
    "AddressError",
    "Answer",
    "BusyError",
    "ClusterError",
    "DatabaseError",
    "DownloadError",
    "Entry",
    "ExposedError",
    "FlushReport",
    "GeoCache",
    "GeocliError",
    "HashMismatchError",
    "InputError",
    "JournalError",
    "KernelError",
    "MissingDatabaseError",
    "OpenCellError",
    "Place",
    "RateLimitError",
    "ResolveError",
    "ServiceError",
    "Settings",
    "SettingsError",
    "StorageError",
    "StoreError",
    "UpdateError",
    "__version__",
]
_HOMES = {
    "GeoCache": "geocli.cache",
    "Answer": "geocli.models",
    "Entry": "geocli.models",
    "Place": "geocli.models",
    "Settings": "geocli.settings",
    "FlushReport": "geocli.storage.flush",
    "__version__": "geocli.version",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that starting a command imports only what it needs."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "geocli.errors")), name)
