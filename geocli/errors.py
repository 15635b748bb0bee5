"""Everything that geocli raises.

    GeocliError                 exit 1
      AddressError              2   text, reason          (also a ValueError)
      SettingsError             2   name, origin, line
      InputError                2   path
        OpenCellError
      ExposedError              0   path
      ResolveError              3
        DatabaseError               path
          MissingDatabaseError
        ServiceError                service, status, retry_after_seconds
      StorageError              4   path
        JournalError                offset_bytes
        StoreError                  row
      BusyError                 75  path, waited_seconds
      UpdateError               3   url
        DownloadError               status
          RateLimitError        75  retry_at
        HashMismatchError           expected, actual
      ClusterError             75   what

A ServiceError exits with 75 where the service asks for patience. TerminatedError is a KeyboardInterrupt.
`str(error)` is the line that a user reads: WHAT: WHY. The attributes are for programs.
"""

from __future__ import annotations

from geocli.sanitize import public_url, shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime

TOO_MANY_REQUESTS = 429
"""The HTTP status that asks for patience (RFC 6585, 4)."""


class GeocliError(Exception):
    """Base of all errors of this package."""

    exit_status = 1
    """What a command that ends with this error exits with."""

    def __reduce__(self) -> tuple[object, ...]:
        """Travel between processes with all attributes, whatever the error is made of."""
        return _unmade, (type(self), self.args), self.__dict__


def _unmade(kind: type[GeocliError], args: tuple[object, ...]) -> GeocliError:
    return kind.__new__(kind, *args)


class AddressError(GeocliError, ValueError):
    """A text is not an IP address.

    >>> print(AddressError("010.8.8.8", "leading zeros are refused"))
    010.8.8.8: leading zeros are refused
    """

    exit_status = 2

    def __init__(self, text: str, reason: str) -> None:
        """Remember the text as it was given, and what is wrong with it."""
        super().__init__(f"{shorten(text) or 'empty text'}: {reason}")
        self.text = text
        self.reason = reason


class SettingsError(GeocliError):
    """A setting, from a file, the environment or an option, cannot be used."""

    exit_status = 2

    def __init__(self, name: str, reason: str, *, origin: str, line: int | None = None) -> None:
        """Remember the setting and where it came from: a file and perhaps its line, a variable, an option."""
        super().__init__(f"{origin}:{f'{line}:' if line else ''} {name}: {reason}")
        self.name = name
        self.origin = origin
        self.line = line


class ExposedError(GeocliError):
    """Others can read a file that holds a secret; it is used all the same."""

    exit_status = 0

    def __init__(self, path: str) -> None:
        """Remember the file."""
        super().__init__(f"{path}: others can read this key; chmod o-r")
        self.path = path


class InputError(GeocliError):
    """A file, or standard input, cannot be read, or not in the form that was asked for."""

    exit_status = 2

    def __init__(self, path: str, reason: str) -> None:
        """Remember the file."""
        super().__init__(f"{path}: {reason}")
        self.path = path


class OpenCellError(InputError):
    """A quote is not closed, so that nobody knows where a record of CSV ends."""


class ResolveError(GeocliError):
    """A source could not be asked."""

    exit_status = 3


class DatabaseError(ResolveError):
    """An .mmdb file is missing, unreadable or damaged."""

    def __init__(self, path: str, reason: str) -> None:
        """Remember the file."""
        super().__init__(f"{path}: {reason}")
        self.path = path


class MissingDatabaseError(DatabaseError):
    """A worker has no database with these bytes."""


class ServiceError(ResolveError):
    """A web service did not answer, or not in a way that can be believed."""

    def __init__(
        self, service: str, reason: str, *, status: int | None = None, retry_after_seconds: float | None = None
    ) -> None:
        """Remember the service, the HTTP status if there was one, and how long it is to be left alone."""
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
        """Remember the file or directory."""
        super().__init__(f"{path}: {reason}")
        self.path = path


class JournalError(StorageError):
    """The journal cannot be appended to, sealed or read."""

    def __init__(self, path: str, reason: str, *, offset_bytes: int | None = None) -> None:
        """Remember the file and, where it is known, the place in it."""
        super().__init__(path, reason)
        self.offset_bytes = offset_bytes


class StoreError(StorageError):
    """The SQLite file, or a row of it, cannot be read or written."""

    row: str | None = None
    """What the row has as its address, if it is one row that cannot be read."""
    is_full: bool = False
    """Whether the disk is full."""


class BusyError(GeocliError):
    """Somebody else holds a lock for too long."""

    exit_status = 75

    def __init__(self, path: str, waited_seconds: float) -> None:
        """Remember the lock and the patience."""
        super().__init__(f"{path}: busy: another process held it for {waited_seconds:g} s; try again later")
        self.path = path
        self.waited_seconds = waited_seconds


class UpdateError(GeocliError):
    """A database could not be updated; the old file is still in place."""

    exit_status = 3

    def __init__(self, url: str, reason: str) -> None:
        """Remember where the database was to come from, without a password; or its path."""
        self.url = public_url(url)
        super().__init__(f"{self.url}: {reason}")


class DownloadError(UpdateError):
    """The network or the server failed, or the server has another answer than a file."""

    def __init__(self, url: str, reason: str, *, status: int | None = None) -> None:
        """Remember the HTTP status, if there was an answer at all."""
        super().__init__(url, reason)
        self.status = status


class RateLimitError(DownloadError):
    """The server wants to be left alone for a while."""

    exit_status = 75

    def __init__(self, url: str, reason: str, *, retry_at: datetime, status: int | None = TOO_MANY_REQUESTS) -> None:
        """Remember when it may be asked again; UTC."""
        super().__init__(url, f"{reason}; try again after {retry_at:%Y-%m-%dT%H:%M:%SZ}", status=status)
        self.retry_at = retry_at


class HashMismatchError(UpdateError):
    """The bytes at hand are not those that were installed."""

    def __init__(self, url: str, *, expected: str, actual: str, algorithm: str = "SHA-256") -> None:
        """Remember both digests, in hex."""
        super().__init__(url, f"{algorithm} is {actual}, expected {expected}")
        self.expected = expected
        self.actual = actual


class ClusterError(GeocliError):
    """A part of a batch on many machines failed, or those machines did."""

    exit_status = 75

    def __init__(self, what: str, reason: str, *, exit_status: int = 75) -> None:
        """Remember the part or the address, and what to exit with: by default, try again later."""
        super().__init__(f"{what}: {reason}")
        self.what = what
        self.exit_status = exit_status


class TerminatedError(KeyboardInterrupt):
    """SIGTERM or SIGHUP came while something must be put in order first, as for Ctrl-C."""

    def __init__(self, number: int) -> None:
        """Remember the number of the signal."""
        super().__init__()
        self.exit_status = 128 + number
