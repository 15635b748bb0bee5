"""The fast path without the option parser has the same output as the option parser."""

from __future__ import annotations

import copy
import re
import shutil
import sqlite3
import sys
from contextlib import AbstractContextManager, closing, nullcontext
from typing import TYPE_CHECKING

import pytest

from tests.helpers.locks import locked_file
from tests.helpers.terminals import on_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow

PARSED = "import sys; from geocli.cli.app import run; sys.exit(run(sys.argv[1:]))"
INSTANT = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|in [0-9.]+ s")


@pytest.fixture
def with_parser(located: Geocli) -> Geocli:
    """Run the same commands through the option parser, in another data directory."""
    geocli = copy.copy(located)
    geocli.command = (sys.executable, "-c", PARSED)
    geocli.data_dir = located.data_dir.with_name("atad")
    geocli.environ = {**located.environ, "GEOCLI_DATA_DIR": str(geocli.data_dir)}
    return geocli


def _outcome(geocli: Geocli, *arguments: str) -> tuple[int, bytes, bytes]:
    """Return exit status and both streams, without parts that differ between runs."""
    run = geocli(*arguments, environ={"GEOCLI_LOCK_TIMEOUT": "0.02", "GEOCLI_BUSY_TIMEOUT": "0.02"})
    ours = re.compile(re.escape(str(geocli.data_dir).encode()) + rb"\b")
    streams = (ours.sub(b"DATA", stream) for stream in (run.stdout, run.stderr))
    output, errors = (INSTANT.sub(b"INSTANT", stream) for stream in streams)
    return run.returncode, output, errors


def _nothing(_: Geocli) -> AbstractContextManager[object]:
    return nullcontext()


def _flushed(geocli: Geocli) -> AbstractContextManager[object]:
    geocli("lookup", "81.2.69.160", "8.8.8.8", "10.0.0.1")
    geocli("flush")
    return nullcontext()


def _dirty(geocli: Geocli) -> AbstractContextManager[object]:
    geocli("lookup", "81.2.69.160", "98.0.0.1")
    return nullcontext()


def _data_dir_is_a_file(geocli: Geocli) -> AbstractContextManager[object]:
    geocli.data_dir.touch()
    return nullcontext()


def _anybody_may_write(geocli: Geocli) -> AbstractContextManager[object]:
    geocli.data_dir.mkdir()
    geocli.data_dir.chmod(0o777)
    return nullcontext()


def _journal_is_a_directory(geocli: Geocli) -> AbstractContextManager[object]:
    (geocli.data_dir / "journal").mkdir(parents=True)
    geocli.data_dir.chmod(0o700)
    return nullcontext()


def _journal_is_damaged(geocli: Geocli) -> AbstractContextManager[object]:
    geocli("lookup", "81.2.69.160")
    with open(geocli.data_dir / "journal", "ab") as journal:
        journal.write(b"garbage\n")
    return nullcontext()


def _store_is_none(geocli: Geocli) -> AbstractContextManager[object]:
    geocli("lookup", "81.2.69.160")
    (geocli.data_dir / "geocli.db").write_bytes(b"no database at all" * 100)
    return nullcontext()


def _store_is_newer(geocli: Geocli) -> AbstractContextManager[object]:
    geocli("lookup", "81.2.69.160")
    geocli("flush")
    geocli("lookup", "98.0.0.1")
    with closing(sqlite3.connect(geocli.data_dir / "geocli.db")) as db:
        db.execute("PRAGMA user_version = 99")
    return nullcontext()


def _journal_is_busy(geocli: Geocli) -> AbstractContextManager[object]:
    geocli("lookup", "81.2.69.160")
    return locked_file(geocli.data_dir / "journal.lock")


def _flush_is_running(geocli: Geocli) -> AbstractContextManager[object]:
    geocli("lookup", "81.2.69.160")
    return locked_file(geocli.data_dir / "flush.lock")


def _database_is_broken(geocli: Geocli) -> AbstractContextManager[object]:
    (geocli.db_dir / "GeoLite2-City.mmdb").write_bytes(b"<html>")
    return nullcontext()


def _config_is_wrong(geocli: Geocli) -> AbstractContextManager[object]:
    config = geocli.data_dir.with_name("config.toml")
    config.write_text("system_database = false\n")
    return nullcontext()


STATES = [
    *(_nothing, _flushed, _dirty, _data_dir_is_a_file, _anybody_may_write, _journal_is_a_directory),
    *(_journal_is_damaged, _store_is_none, _store_is_newer, _journal_is_busy, _flush_is_running),
    *(_database_is_broken, _config_is_wrong),
]
LOOKUPS = [
    ("81.2.69.160",),
    ("8.8.8.8", "81.2.69.160", "2001:218::1", "98.0.0.1"),
    ("10.0.0.1", "::1"),
    ("010.8.8.8",),
    ("",),
    ("81.2.69.160", "example.com", "10.0.0.1", "x\x1b[31m\ny", "81.2.69.160"),
]


@pytest.fixture(params=STATES, ids=lambda prepare: prepare.__name__.strip("_"))
def prepare(request: pytest.FixtureRequest) -> Callable[[Geocli], AbstractContextManager[object]]:
    chosen: Callable[[Geocli], AbstractContextManager[object]] = request.param
    return chosen


def _both(
    plain: Geocli,
    with_parser: Geocli,
    prepare: Callable[[Geocli], AbstractContextManager[object]],
    arguments: tuple[str, ...],
) -> Iterator[tuple[int, bytes, bytes]]:
    for geocli in (plain, with_parser):
        with prepare(geocli):
            yield _outcome(geocli, *arguments)


@pytest.mark.parametrize("texts", [LOOKUPS[1], LOOKUPS[5]], ids=["addresses", "mixed"])
def test_lookup_is_the_same_in_every_state(
    located: Geocli,
    with_parser: Geocli,
    prepare: Callable[[Geocli], AbstractContextManager[object]],
    texts: tuple[str, ...],
) -> None:
    """Hits, misses, and broken directories, stores and databases: same bytes, same exit status."""
    plain, through_parser = _both(located, with_parser, prepare, ("lookup", *texts))

    assert through_parser == plain


@pytest.mark.parametrize("texts", LOOKUPS, ids=ascii)
def test_lookup_is_the_same_for_every_kind_of_text(
    located: Geocli, with_parser: Geocli, texts: tuple[str, ...]
) -> None:
    """The output is also the same with the default format named."""
    plain, through_parser = _both(located, with_parser, _nothing, ("lookup", *texts))
    shutil.rmtree(located.data_dir, ignore_errors=True)
    named = _outcome(located, "lookup", "--format", "jsonl", *texts)

    assert through_parser == plain == named


def test_flush_is_the_same_in_every_state(
    located: Geocli, with_parser: Geocli, prepare: Callable[[Geocli], AbstractContextManager[object]]
) -> None:
    """Idle, dirty, busy and broken caches: same bytes, same exit status."""
    plain, through_parser = _both(located, with_parser, prepare, ("flush",))

    assert through_parser == plain


@pytest.mark.parametrize("arguments", [("lookup", *LOOKUPS[5]), ("flush",)], ids=["lookup", "flush"])
def test_lookup_and_flush_are_the_same_on_a_terminal(
    located: Geocli, with_parser: Geocli, arguments: tuple[str, ...]
) -> None:
    """Tables and sentences are the same."""
    outcomes = []
    for geocli in (located, with_parser):
        geocli("lookup", "81.2.69.160")
        status, shown = on_terminal(geocli, *arguments)
        outcomes.append((status, INSTANT.sub(b"INSTANT", shown.encode())))

    assert outcomes[0] == outcomes[1]
    assert outcomes[0][1]


def test_the_states_differ(located: Geocli, tmp_path: Path) -> None:
    """The states have several exit statuses, so the comparisons above compare something."""
    outcomes = set()
    for number, state in enumerate(STATES[:-2]):
        geocli = copy.copy(located)
        geocli.data_dir = tmp_path / str(number)
        geocli.environ = {**located.environ, "GEOCLI_DATA_DIR": str(geocli.data_dir)}
        with state(geocli):
            outcomes |= {("lookup", _outcome(geocli, "lookup", "98.0.0.1")[0]), ("flush", _outcome(geocli, "flush")[0])}

    assert {("lookup", 0), ("lookup", 4), ("lookup", 75), ("flush", 0), ("flush", 4), ("flush", 75)} == outcomes
