"""The exceptions of geocli, with the exit status of a command that ends with one.

    GeocliError                 exit 1
      AddressError              2   text, reason          (also a ValueError)
      SettingsError             2   name, origin, line
      InputError                2   path
        OpenCellError
      ExposedError              0   path
      KernelError               0   path
      ResolveError              3
        DatabaseError               path
          MissingDatabaseError
        ServiceError                service, status, retry_after_seconds
      StorageError              4   path
        JournalError
        StoreError                  row
      BusyError                 75  path, waited_seconds
      UpdateError               3   url
        DownloadError               status
          RateLimitError        75  retry_at
        HashMismatchError           expected, actual
      ClusterError             75   subject

The status of a ServiceError is 75 if the request can be repeated later. TerminatedError is a KeyboardInterrupt.
`str(error)` is the line that a user reads: SUBJECT: REASON. The attributes are for programs.
"""

from __future__ import annotations

from geocli.sanitize import public_url, shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime

TOO_MANY_REQUESTS = 429
"""HTTP status: repeat the request later (RFC 6585, 4)."""


class GeocliError(Exception):
    """Base of all exceptions of this package."""

    exit_status = 1
    """Exit status of a command that ends with this error."""

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with all attributes, whatever arguments the class takes."""
        return _unmade, (type(self), self.args), self.__dict__


def fail(error: GeocliError) -> None:
    """Raise an error; the default of parameters that report errors."""
    raise error


def _unmade(kind: type[GeocliError], args: tuple[object, ...]) -> GeocliError:
    return kind.__new__(kind, *args)


class AddressError(GeocliError, ValueError):
    """This is not an IP address.

    >>> print(AddressError("010.8.8.8", "leading zeros are refused"))
    010.8.8.8: leading zeros are refused
    """

    exit_status = 2

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"{shorten(text) or 'empty string'}: {reason}")
        self.text = text
        self.reason = reason


class SettingsError(GeocliError):
    """A setting from a file, the environment or the command line cannot be used."""

    exit_status = 2

    def __init__(self, name: str, reason: str, *, origin: str, line: int | None = None) -> None:
        super().__init__(f"{origin}:{f'{line}:' if line else ''} {f'{name}: ' if name else ''}{reason}")
        self.name = name
        """The setting; empty if the error is about all that the file contains."""
        self.reason = reason
        self.origin = origin
        """Where the setting comes from: a file, `environment` or `command line`."""
        self.line = line


class ExposedError(GeocliError):
    """Other users can read a file that contains a secret, which is used nevertheless."""

    exit_status = 0

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: other users can read this key; run: chmod o-r")
        self.path = path


class KernelError(GeocliError):
    """The kernel for large batches is missing, so that Python does its work, which takes longer."""

    exit_status = 0

    def __init__(self, path: str, reason: str = "missing") -> None:
        super().__init__(f"{path}: {reason}, so large batches are slow; install a C compiler and reinstall geocli")
        self.path = path


class InputError(GeocliError):
    """A file or standard input cannot be read, or not in its format."""

    exit_status = 2

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


class OpenCellError(InputError):
    """A quote is not closed, so that the end of a CSV record is unknown."""


class ResolveError(GeocliError):
    """A source failed."""

    exit_status = 3


class DatabaseError(ResolveError):
    """An .mmdb file is missing, unreadable or damaged."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


class MissingDatabaseError(DatabaseError):
    """A worker has no database with the digest of the coordinator's."""


class ServiceError(ResolveError):
    """A web service did not answer, or with an invalid response."""

    def __init__(
        self, service: str, reason: str, *, status: int | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(f"{service}: {reason}")
        self.service = service
        self.reason = reason
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        if status == TOO_MANY_REQUESTS:
            self.exit_status = BusyError.exit_status


class StorageError(GeocliError):
    """The data directory, or a file in it, cannot be used."""

    exit_status = 4

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


class JournalError(StorageError):
    """The journal cannot be appended to, sealed or read."""


class StoreError(StorageError):
    """The SQLite file, or a row of it, cannot be read or written."""

    row: str | None = None
    """Address of the unreadable row, if only one row is concerned."""
    is_full: bool = False
    """Whether the disk is full."""


class BusyError(GeocliError):
    """Another process held a lock for too long."""

    exit_status = 75

    def __init__(self, path: str, waited_seconds: float) -> None:
        super().__init__(f"{path}: busy: another process held it for {waited_seconds:g} s; try again later")
        self.path = path
        self.waited_seconds = waited_seconds


class UpdateError(GeocliError):
    """A database could not be updated; the old file is unchanged."""

    exit_status = 3

    def __init__(self, url: str, reason: str) -> None:
        self.url = public_url(url)
        """URL of the database without a password, or its path."""
        super().__init__(f"{self.url}: {reason}")


class DownloadError(UpdateError):
    """The network or the server failed, or did not send a file."""

    def __init__(self, url: str, reason: str, *, status: int | None = None) -> None:
        super().__init__(url, reason)
        self.status = status


class RateLimitError(DownloadError):
    """The server refuses requests until a time."""

    exit_status = 75

    def __init__(self, url: str, reason: str, *, retry_at: datetime, status: int | None = TOO_MANY_REQUESTS) -> None:
        super().__init__(url, f"{reason}; try again after {retry_at:%Y-%m-%dT%H:%M:%SZ}", status=status)
        self.retry_at = retry_at


class HashMismatchError(UpdateError):
    """A file is not the one that was installed."""

    def __init__(self, url: str, *, expected: str, actual: str, algorithm: str = "SHA-256") -> None:
        super().__init__(url, f"{algorithm} is {actual}, expected {expected}")
        self.expected = expected
        self.actual = actual


class ClusterError(GeocliError):
    """A part of a batch on a cluster failed, or the cluster did."""

    exit_status = 75

    def __init__(self, subject: str, reason: str, *, exit_status: int = 75) -> None:
        super().__init__(f"{subject}: {reason}")
        self.subject = subject
        """The part, file or address that is concerned."""
        self.exit_status = exit_status


class TerminatedError(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived in a block that cleans up, as after Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_status = 128 + number
