"""Each error prints as SUBJECT: REASON, has attributes for programs, and an exit status."""

from __future__ import annotations

import pickle
import re
from datetime import UTC, datetime
from typing import Any

import pytest

import geocli
from geocli import errors
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

URL = "https://example.net/a.mmdb.gz"
CASES: list[tuple[GeocliError, int, str, dict[str, Any]]] = [
    (GeocliError("odd: it happened"), 1, "odd: it happened", {}),
    (AddressError("1.2.3", "too short"), 2, "1.2.3: too short", {"text": "1.2.3", "reason": "too short"}),
    (AddressError("", "nothing"), 2, "empty string: nothing", {"text": ""}),
    (
        SettingsError("data_dir", "5 is not a string", origin="/etc/geocli/config.toml"),
        2,
        "/etc/geocli/config.toml: data_dir: 5 is not a string",
        {"name": "data_dir", "origin": "/etc/geocli/config.toml"},
    ),
    (
        SettingsError("data_dir", "5 is not a string", origin="/c.toml", line=7),
        2,
        "/c.toml:7: data_dir: 5 is not a string",
        {"origin": "/c.toml", "line": 7},
    ),
    (
        KernelError("/kernel"),
        0,
        "/kernel: missing, so large batches are slow; install a C compiler and reinstall geocli",
        {"path": "/kernel"},
    ),
    (ExposedError("/key"), 0, "/key: other users can read this key; run: chmod o-r", {"path": "/key"}),
    (
        ServiceError("ip-api", "HTTP 503", status=503),
        3,
        "ip-api: HTTP 503",
        {"service": "ip-api", "reason": "HTTP 503", "status": 503, "retry_after_seconds": None},
    ),
    (
        ServiceError("ip-api", "patience", status=429, retry_after_seconds=7),
        75,
        "ip-api: patience",
        {"status": 429, "retry_after_seconds": 7},
    ),
    (InputError("/a.csv", "Is a directory"), 2, "/a.csv: Is a directory", {"path": "/a.csv"}),
    (ResolveError("ip-api: no answer"), 3, "ip-api: no answer", {}),
    (DatabaseError("/a.mmdb", "empty"), 3, "/a.mmdb: empty", {"path": "/a.mmdb"}),
    (StorageError("/d", "world-writable"), 4, "/d: world-writable", {"path": "/d"}),
    (JournalError("/d/journal", "torn"), 4, "/d/journal: torn", {"path": "/d/journal"}),
    (StoreError("/d/geocli.db", "full"), 4, "/d/geocli.db: full", {"path": "/d/geocli.db"}),
    (
        BusyError("/d/flush.lock", 10.0),
        75,
        "/d/flush.lock: busy: another process held it for 10 s; try again later",
        {"path": "/d/flush.lock", "waited_seconds": 10.0},
    ),
    (BusyError("/d/l", 0.25), 75, "/d/l: busy: another process held it for 0.25 s; try again later", {}),
    (UpdateError(URL, "not a MaxMind DB"), 3, f"{URL}: not a MaxMind DB", {"url": URL}),
    (DownloadError(URL, "no such host"), 3, f"{URL}: no such host", {"url": URL, "status": None}),
    (DownloadError(URL, "Not Found", status=404), 3, f"{URL}: Not Found", {"status": 404}),
    (
        RateLimitError(URL, "HTTP 429", retry_at=datetime(2026, 6, 1, 12, tzinfo=UTC)),
        75,
        f"{URL}: HTTP 429; try again after 2026-06-01T12:00:00Z",
        {"status": 429, "retry_at": datetime(2026, 6, 1, 12, tzinfo=UTC)},
    ),
    (
        HashMismatchError(URL, expected="aa", actual="bb"),
        3,
        f"{URL}: SHA-256 is bb, expected aa",
        {"url": URL, "expected": "aa", "actual": "bb"},
    ),
    (OpenCellError("/a.csv", "no end"), 2, "/a.csv: no end", {"path": "/a.csv"}),
    (MissingDatabaseError("/a.mmdb", "not there"), 3, "/a.mmdb: not there", {"path": "/a.mmdb"}),
    (ClusterError("part 1", "lost"), 75, "part 1: lost", {"subject": "part 1"}),
    (ClusterError("part 1", "unreadable", exit_status=2), 2, "part 1: unreadable", {}),
]


def _classes() -> dict[str, type[GeocliError]]:
    return {
        name: result
        for name, result in vars(errors).items()
        if isinstance(result, type) and issubclass(result, GeocliError)
    }


@pytest.mark.parametrize(("error", "exit_status", "line", "facts"), CASES, ids=lambda case: type(case).__name__)
def test_line_exit_status_and_attributes(
    error: GeocliError, exit_status: int, line: str, facts: dict[str, Any]
) -> None:
    """`str(error)` is the line that a user reads; attributes have its parts."""
    assert line == str(error)
    assert exit_status == error.exit_status
    assert facts == {name: getattr(error, name) for name in facts}


@pytest.mark.parametrize("error", [error for error, *_ in CASES], ids=lambda error: type(error).__name__)
def test_errors_can_be_pickled(error: GeocliError) -> None:
    """Pickled errors keep their attributes."""
    arrived = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)

    assert type(error) is type(arrived)
    assert (str(error), vars(error), error.exit_status) == (str(arrived), vars(arrived), arrived.exit_status)


def test_every_error_is_among_the_cases() -> None:
    """Every class of errors is tested above."""
    assert set(_classes().values()) == {type(error) for error, *_ in CASES}


def test_an_address_error_is_a_value_error() -> None:
    """Programs that catch ValueError, as for `ipaddress`, continue to work."""
    assert isinstance(AddressError("x", "y"), ValueError)


def test_an_address_error_quotes_a_long_text_in_part() -> None:
    """The line has the beginning of a long text, the attribute all of it."""
    error = AddressError("x" * 1000, "not an IP address")
    assert f"{'x' * 79}…: not an IP address" == str(error)
    assert "x" * 1000 == error.text


def test_the_documented_tree_is_the_real_one() -> None:
    """The docstring of the module shows each error under its base, with its exit status where that changes."""
    tree = re.findall(r"^ {4}( *)(\w+Error)\b *(?:exit )?(\d*)", errors.__doc__ or "", re.MULTILINE)
    above: list[str] = []
    for indent, name, exit_status in tree:
        depth = len(indent) // 2
        above = [*above[:depth], name]
        actual = _classes()[name]
        assert (above[depth - 1] if depth else "Exception") == actual.__bases__[0].__name__
        assert exit_status in {str(actual.exit_status), ""}
        assert exit_status or actual.exit_status == actual.__bases__[0].exit_status  # type: ignore[attr-defined]
    assert set(_classes()) == {name for _, name, _ in tree}


@pytest.mark.parametrize("name", sorted(_classes()))
def test_every_error_is_public(name: str) -> None:
    """Programs can import every error from `geocli`."""
    assert _classes()[name] is getattr(geocli, name)
    assert name in geocli.__all__
