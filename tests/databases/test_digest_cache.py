"""Databases are identified by their content: cached digests, and which answers the cache returns."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from geocli.databases.digest_cache import FILE_NAME, MAX_LINES, SETTLED_NS, Digests
from geocli.databases.discovery import DatabaseFile, examine, find
from tests.helpers.command_output import complaint
from tests.helpers.data_directories import local, stored_rows
from tests.helpers.databases import LONDON, TOKYO, build

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from geocli.storage.directory import DataDirectory
    from tests.helpers.geocli_process import Geocli

HERE, OTHER = "81.2.69.160", "81.3.0.1"
NETWORK = "81.2.69.0/24"
EPOCH = 1_780_000_000
LABEL = f"City@{'0' * 64}"


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    return local(tmp_path / "data")


@pytest.fixture
def file(tmp_path: Path) -> DatabaseFile:
    path = tmp_path / "a b.mmdb"
    path.write_bytes(b"a")
    return examine(str(path))


def digests(directory: DataDirectory, now_ns: int) -> Digests:
    """Return the digests that a new process has at this time."""
    return Digests(directory.path, lambda: directory, lambda: now_ns)


class TestDigests:
    def test_label_of_an_unchanged_file_is_cached_on_disk(self, directory: DataDirectory, file: DatabaseFile) -> None:
        """The label of a file that last changed more than two seconds ago is written to disk."""
        now = file.ctime_ns + SETTLED_NS + 1
        first = digests(directory, now)
        assert first.get(file) is None
        first.remember(file, LABEL)
        assert digests(directory, now).get(file) is None
        first.save()
        assert LABEL == digests(directory, now).get(file)
        assert [FILE_NAME] == directory.names()

    @pytest.mark.parametrize("age_ns", [SETTLED_NS, 0, -SETTLED_NS])
    def test_just_changed_file_is_not_cached(self, directory: DataDirectory, file: DatabaseFile, age_ns: int) -> None:
        """A file that changed within the last two seconds may change again with the same times in `stat`."""
        labels = digests(directory, file.ctime_ns + age_ns)
        labels.remember(file, LABEL)
        labels.save()
        assert LABEL == labels.get(file)
        assert [] == directory.names()

    @pytest.mark.parametrize("name", ["path", "device", "inode", "size_bytes", "mtime_ns", "ctime_ns"])
    def test_other_file_is_another(self, directory: DataDirectory, file: DatabaseFile, name: str) -> None:
        """A file that differs in any property of `stat` has no cached label."""
        labels = digests(directory, file.ctime_ns + 2 * SETTLED_NS)
        labels.remember(file, LABEL)
        labels.save()
        changed = file.replace(**{name: "/b.mmdb" if name == "path" else getattr(file, name) + 1})
        assert digests(directory, 0).get(changed) is None

    def test_only_the_last_file_of_a_path_is_cached(self, directory: DataDirectory, file: DatabaseFile) -> None:
        """A replaced file takes the line of the old one; the number of lines is bounded."""
        labels = digests(directory, 1 << 62)
        for number in range(3):
            labels.remember(file.replace(inode=number), LABEL)
            labels.save()
        assert 1 == len(lines(directory))
        for number in range(MAX_LINES + 1):
            labels.remember(file.replace(path=f"/{number}.mmdb", ctime_ns=1), LABEL)
        labels.save()
        assert MAX_LINES == len(lines(directory))
        assert digests(directory, 0).get(file) is None
        assert LABEL == digests(directory, 0).get(file.replace(path=f"/{MAX_LINES}.mmdb", ctime_ns=1))

    def test_two_processes(self, directory: DataDirectory, file: DatabaseFile) -> None:
        """Labels that another process saved meanwhile are kept."""
        now = file.ctime_ns + 2 * SETTLED_NS
        first, second = digests(directory, now), digests(directory, now)
        assert first.get(file) is second.get(file) is None
        for labels, path in ((first, "/1.mmdb"), (second, "/2.mmdb")):
            labels.remember(file.replace(path=path), LABEL)
            labels.save()
        assert [LABEL] * 2 == [digests(directory, now).get(file.replace(path=path)) for path in ("/1.mmdb", "/2.mmdb")]

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\0" * 100,
            b"\xff\xfe\n",
            b"City@1 1 2 3 4 5 /a b.mmdb\n",
            b"x " * 500_001,
            *(f"{LABEL} {rest}\n".encode() for rest in ("", "1 2", "a b c d e /x", "1 2 3 4 5", "1 2 3 4 5.0 /x")),
        ],
        ids=range(10),
    )
    def test_file_that_geocli_did_not_write(self, directory: DataDirectory, file: DatabaseFile, content: bytes) -> None:
        """With any content, the file yields no labels, and is replaced."""
        directory.prepare()
        with open(directory.file(FILE_NAME), "wb") as out:
            out.write(content)
        labels = digests(directory, file.ctime_ns + 2 * SETTLED_NS)
        assert labels.get(file) is None
        labels.remember(file, LABEL)
        labels.save()
        assert LABEL == digests(directory, 0).get(file)
        assert 1 == len(lines(directory))

    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
    def test_planted_file(self, directory: DataDirectory, file: DatabaseFile, make: Callable[[str], object]) -> None:
        """Anything but a regular file is neither waited for nor followed; this process still has its labels."""
        directory.prepare()
        make(directory.file(FILE_NAME))
        labels = digests(directory, file.ctime_ns + 2 * SETTLED_NS)
        assert labels.get(file) is None
        labels.remember(file, LABEL)
        labels.save()
        assert LABEL == labels.get(file)

    def test_directory_that_cannot_be_written(self, tmp_path: Path, file: DatabaseFile) -> None:
        """Without a data directory only this process has the labels."""
        (tmp_path / "data").write_bytes(b"")
        directory = local(tmp_path / "data")
        labels = digests(directory, file.ctime_ns + 2 * SETTLED_NS)
        labels.remember(file, LABEL)
        labels.save()
        assert LABEL == labels.get(file)
        assert digests(directory, 0).get(file) is None


def lines(directory: DataDirectory) -> list[str]:
    with open(directory.file(FILE_NAME), encoding="utf-8") as file:
        return file.read().splitlines()


def place(city: str) -> dict[str, Any]:
    return {**LONDON, "city": {"names": {"en": city}}}


def install(geocli: Geocli, name: str, city: str | None, *, epoch: int = EPOCH) -> Path:
    """Install a database as an own script would: always with the same type and build."""
    records = {"1.0.0.0/24": TOKYO} | ({NETWORK: place(city)} if city else {})
    return build(geocli.db_dir / name, records, edition="custom", build_epoch=epoch)


@pytest.fixture
def alone(geocli: Geocli) -> Geocli:
    """Return geocli without the built-in data."""
    geocli.environ["GEOCLI_BUILT_IN_DATA"] = "false"
    return geocli


def looked_up(geocli: Geocli, *options: str, ip: str = HERE, is_flushed: bool = True) -> tuple[str | None, str, bool]:
    """Return the city, the status, and whether it was cached, of a lookup."""
    ran = geocli("lookup", *options, ip)
    assert b"" == ran.stderr
    if is_flushed:
        assert geocli("flush").returncode == 0
    entry = json.loads(ran.stdout)
    return entry["city"], entry["status"], entry["cached"]


@pytest.mark.slow
@pytest.mark.parametrize("is_flushed", [False, True])
@pytest.mark.parametrize("epoch", [0, EPOCH])
class TestAnswers:
    """Databases of one type and build."""

    def test_new_file_is_used(self, alone: Geocli, epoch: int, *, is_flushed: bool) -> None:
        """A file that replaces another with the same type, build, size and time is used immediately."""
        for city in ("London", "Lyneham", "London"):
            path = install(alone, "own.mmdb", city, epoch=epoch)
            os.utime(path, (1, 1))
            assert (city, "resolved", False) == looked_up(alone, is_flushed=is_flushed)
            assert (city, "resolved", True) == looked_up(alone, is_flushed=is_flushed)

    def test_file_overwritten_in_place(self, alone: Geocli, epoch: int, *, is_flushed: bool) -> None:
        """So is a file that was overwritten, with its modification time restored."""
        path = install(alone, "own.mmdb", "London", epoch=epoch)
        status = path.stat()
        assert "London" == looked_up(alone, is_flushed=is_flushed)[0]
        replacement = build(path.parent / "other", {NETWORK: place("Madrid")}, edition="custom", build_epoch=epoch)
        path.write_bytes(replacement.read_bytes())
        replacement.unlink()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert ("Madrid", "resolved", False) == looked_up(alone, is_flushed=is_flushed)

    def test_named_files(self, alone: Geocli, epoch: int, tmp_path: Path, *, is_flushed: bool) -> None:
        """Each file given by --db is used, regardless of others with the same type and build."""
        a, b, none = (
            install(alone, name, city, epoch=epoch).rename(tmp_path / name)
            for name, city in (("a.mmdb", "London"), ("b.mmdb", "Lyneham"), ("none.mmdb", None))
        )
        for _ in range(2):
            assert ("London", "resolved") == looked_up(alone, "--db", str(a), is_flushed=is_flushed)[:2]
            assert ("Lyneham", "resolved") == looked_up(alone, "--db", str(b), is_flushed=is_flushed)[:2]
            ran = alone("lookup", "--db", str(none), HERE)
            assert (1, None) == (ran.returncode, json.loads(ran.stdout)["city"])
        assert ("London", "resolved") == looked_up(alone, "--db", str(a), is_flushed=is_flushed)[:2]

    def test_order_of_named_files(self, alone: Geocli, epoch: int, *, is_flushed: bool) -> None:
        """The same files in another order are other sources: the first with a place wins."""
        a, b = install(alone, "a.mmdb", "London", epoch=epoch), install(alone, "b.mmdb", "Lyneham", epoch=epoch)
        for first, then, city in ((a, b, "London"), (b, a, "Lyneham")):
            options = ("--db", str(first), "--db", str(then))
            assert (city, "resolved", False) == looked_up(alone, *options, is_flushed=is_flushed)
            assert (city, "resolved", True) == looked_up(alone, *options, is_flushed=is_flushed)

    def test_reinstalled(self, alone: Geocli, epoch: int, *, is_flushed: bool) -> None:
        """Addresses that a damaged database did not answer are looked up in the sound one that replaces it."""
        sound = install(alone, "own.mmdb", "London", epoch=epoch).read_bytes()
        path = install(alone, "own.mmdb", None, epoch=epoch)
        ran = alone("lookup", HERE)
        assert "unresolved" == json.loads(ran.stdout)["status"]
        path.write_bytes(sound)
        assert ("London", "resolved", False) == looked_up(alone, is_flushed=is_flushed)

    @pytest.mark.parametrize("move", [shutil.copy, shutil.copy2, os.rename, os.link])
    def test_moved_or_renamed_copy_is_a_hit(
        self, alone: Geocli, epoch: int, tmp_path: Path, move: Callable[[Path, Path], object], *, is_flushed: bool
    ) -> None:
        """The same bytes under another name or in another directory answer from the cache."""
        path = install(alone, "own.mmdb", "London", epoch=epoch)
        assert ("London", "resolved", False) == looked_up(alone, is_flushed=is_flushed)
        (tmp_path / "elsewhere").mkdir()
        move(path, tmp_path / "elsewhere" / "renamed.mmdb")
        alone.environ["GEOCLI_DB_DIR"] = str(tmp_path / "elsewhere")
        assert ("London", "resolved", True) == looked_up(alone, is_flushed=is_flushed)
        alone.environ["GEOCLI_DB_DIR"] += f":{alone.db_dir}"  # both of them are one source
        assert ("London", "resolved", True) == looked_up(alone, is_flushed=is_flushed)


def test_one_inode_number_on_two_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files with one inode number are two files if they are on different devices."""
    for name in ("a", "b"):
        build(tmp_path / f"{name}.mmdb", {NETWORK: LONDON})
    real = os.stat

    def stat(path: str) -> os.stat_result:
        result = list(real(path))
        if path.endswith(".mmdb"):
            result[1:3] = [7, ord(path[-6])]  # as on two file systems; a test cannot mount them
        return os.stat_result(result, {"st_mtime_ns": 1, "st_ctime_ns": 1})

    monkeypatch.setattr("geocli.databases.discovery.os.stat", stat)
    result = find([str(tmp_path)], lambda error: pytest.fail(str(error)))
    assert [(7, ord("a")), (7, ord("b"))] == [(file.inode, file.device) for file in result]


def test_no_cache_hashes_no_database(alone: Geocli) -> None:
    """`--no-cache` hashes no database, and writes no file."""
    install(alone, "own.mmdb", "London")
    ran = alone("-v", "lookup", "--no-cache", HERE)
    assert "London" == json.loads(ran.stdout)["city"]
    assert not alone.data_dir.exists()


def test_damaged_databases_are_reported(alone: Geocli) -> None:
    """An unreadable file is reported once, and nothing about it is stored."""
    path = alone.db_dir / "own.mmdb"
    path.write_bytes(b"no database")
    ran = alone("lookup", HERE)
    assert (3, True) == (ran.returncode, complaint(ran).startswith(f"{path}: not a readable MaxMind DB: "))


def test_upgrade_asks_local_sources_once(alone: Geocli) -> None:
    """Rows of an earlier release, which identified databases by type and build, are resolved again once."""
    path = install(alone, "own.mmdb", "London")
    looked_up(alone)
    ((label,),) = rows(alone, "SELECT sources FROM generations")
    assert f"custom@{sha256(path.read_bytes()).hexdigest()}" == label
    change_store(alone, f"UPDATE generations SET sources = 'custom@{EPOCH}'")
    ran = alone("re-resolve", "--json")
    assert {"retried": 1, "found": 0, "changed": 0, "unknown": 0} == json.loads(ran.stdout)
    assert ("London", "resolved", True) == looked_up(alone)
    assert [(HERE,)] == stored_rows(alone)


def rows(geocli: Geocli, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(geocli.data_dir / "geocli.db")) as db:
        return db.execute(sql).fetchall()


def change_store(geocli: Geocli, sql: str) -> None:
    with closing(sqlite3.connect(geocli.data_dir / "geocli.db")) as db, db:
        db.execute(sql)
