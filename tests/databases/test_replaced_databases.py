"""Databases that are replaced, removed or cut short while geocli has them open: real processes, real files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from geocli.cache import GeoCache
from tests.helpers.databases import LONDON, TOKYO, build
from tests.helpers.waiting import read_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow

ADDRESS, NETWORK = "81.2.69.160", "81.2.69.0/24"
BUILDS = (1_780_000_000, 1_780_000_001)


@pytest.fixture
def path(geocli: Geocli) -> Path:
    """Install a database with London."""
    return build(geocli.db_dir / "GeoLite2-City.mmdb", {NETWORK: LONDON}, build_epoch=BUILDS[0])


def replace(path: Path) -> None:
    build(path, {NETWORK: TOKYO}, build_epoch=BUILDS[1])


def replace_at_the_same_time(path: Path) -> None:
    """Replace the file with another one with the same times."""
    before = path.stat()
    replace(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def truncate(path: Path) -> None:
    os.truncate(path, 100)


def empty(path: Path) -> None:
    os.truncate(path, 0)


CHANGES: list[tuple[Callable[[Path], Any], str, str]] = [
    (replace, "Tokyo\tGeoLite2-City", ""),
    (replace_at_the_same_time, "Tokyo\tGeoLite2-City", ""),
    (os.unlink, "\trir", ""),
    (truncate, "\trir", "not a readable MaxMind DB"),
    (empty, "\trir", "GeoLite2-City.mmdb: empty"),
]


@pytest.mark.parametrize("lines", [1, 2000], ids=["scalar", "kernel"])
@pytest.mark.parametrize(("change", "answer", "complaint"), CHANGES)
def test_a_running_batch_notices(  # noqa: PLR0913, PLR0917 (a table)
    geocli: Geocli, path: Path, lines: int, change: Callable[[Path], Any], answer: str, complaint: str
) -> None:
    """It answers from the current file when lines arrive; a truncated file has no answers, but ends no process."""
    arguments = ("batch", "--no-cache", "-f", "value", "-F", "city,source")
    with geocli.start(*arguments, bufsize=0) as process:
        assert process.stdin is not None
        for expected in ("London\tGeoLite2-City", answer):
            process.stdin.write(f"{ADDRESS}\n".encode() * lines)
            actual = {read_line(process.stdout) for _ in range(lines)}
            assert {f"{expected}\n".encode()} == actual
            if expected != answer:
                change(path)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert complaint in errors.decode()
    assert bool(complaint) == bool(errors)


@pytest.mark.parametrize("is_flushed", [False, True])
@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (replace, ("Tokyo", "GeoLite2-City", False)),
        (replace_at_the_same_time, ("Tokyo", "GeoLite2-City", False)),
        (os.unlink, (None, "rir", False)),
        (truncate, ("London", "GeoLite2-City", True)),
        (empty, ("London", "GeoLite2-City", True)),
    ],
)
def test_a_cache_that_stays_open_notices(
    geocli: Geocli,
    path: Path,
    is_flushed: bool,  # noqa: FBT001 (parametrized)
    change: Callable[[Path], Any],
    answer: tuple[str | None, str, bool],
) -> None:
    """Rows are hits until there is another build; while a file is damaged, its answers are kept."""
    with GeoCache(settings=geocli.settings(), on_problem=lambda _: None) as cache:
        assert [False, True] == [cache.lookup(ADDRESS).cached for _ in range(2)]
        if is_flushed:
            cache.flush_dirty()
        change(path)
        actual = cache.lookup(ADDRESS)
        assert answer == (actual.place.city, actual.source, actual.cached)


def test_an_open_reader_keeps_the_old_file(geocli: Geocli, path: Path) -> None:
    """An answer in progress when a database is replaced is that of the old one, as a whole."""
    from geocli.databases.database import Database
    from geocli.databases.discovery import examine

    database = Database(examine(str(path)))
    replace(path)
    for _ in range(3):
        assert "London" in str(database.reader.get(ADDRESS))
    assert b"Tokyo\n" == geocli("lookup", "-f", "value", "-F", "city", ADDRESS).stdout
