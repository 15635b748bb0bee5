"""geocli: where IP addresses are, remembered without loss."""

from __future__ import annotations

__version__ = "0.1.0"

_HOMES = {
    "GeoCache": "geocli.cache",
    "Entry": "geocli.entries",
    "Place": "geocli.entries",
    "Answer": "geocli.entries",
    "Settings": "geocli.settings",
    "FlushReport": "geocli.storage.flushing",
}
_HOMES |= dict.fromkeys(
    (
        *("GeocliError", "AddressError", "SettingsError", "ResolveError", "DatabaseError", "StorageError"),
        *("JournalError", "StoreError", "BusyError", "UpdateError", "DownloadError", "HashMismatchError"),
    ),
    "geocli.errors",
)
__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 (the keys are texts)


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that starting a command imports only what it needs."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
