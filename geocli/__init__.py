"""geocli: where IP addresses are, remembered without loss."""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from geocli.cache import GeoCache
    from geocli.entries import Answer, Entry, Place
    from geocli.errors import (
        AddressError,
        BusyError,
        ClusterError,
        DatabaseError,
        DownloadError,
        GeocliError,
        HashMismatchError,
        InputError,
        JournalError,
        MissingDatabaseError,
        OpenCellError,
        ResolveError,
        SettingsError,
        StorageError,
        StoreError,
        UpdateError,
    )
    from geocli.settings import Settings
    from geocli.storage.flushing import FlushReport

__all__ = [
    "AddressError",
    "Answer",
    "BusyError",
    "ClusterError",
    "DatabaseError",
    "DownloadError",
    "Entry",
    "FlushReport",
    "GeoCache",
    "GeocliError",
    "HashMismatchError",
    "InputError",
    "JournalError",
    "MissingDatabaseError",
    "OpenCellError",
    "Place",
    "ResolveError",
    "Settings",
    "SettingsError",
    "StorageError",
    "StoreError",
    "UpdateError",
    "__version__",
]
_HOMES = {
    "GeoCache": "geocli.cache",
    "Answer": "geocli.entries",
    "Entry": "geocli.entries",
    "Place": "geocli.entries",
    "Settings": "geocli.settings",
    "FlushReport": "geocli.storage.flushing",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that starting a command imports only what it needs."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "geocli.errors")), name)
