"""Finding .mmdb files, looking at them before they are opened, and opening them."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from geocli.databases.database import Database
from geocli.databases.discovery import examine, find
from geocli.errors import DatabaseError
from tests.helpers.databases import CITIES, build

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def problems() -> list[DatabaseError]:
    return []


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def make_dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def make_loop(path: Path) -> None:
    path.symlink_to(path)


UNFIT: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: path.write_bytes(b""), "empty"),
    (lambda path: path.mkdir(), "not a regular file"),
    (make_fifo, "not a regular file"),
    (make_socket, "not a regular file"),
    (make_dangling, "cannot be read: No such file or directory"),
    (make_loop, "cannot be read: Too many levels of symbolic links"),
]
KINDS = ["empty", "directory", "fifo", "socket", "dangling link", "loop"]


class TestExamine:
    def test_identity(self, tmp_path: Path) -> None:
        """The identity of a file changes whenever it is replaced, and includes the number of its directory."""
        path = build(tmp_path / "a.mmdb", CITIES)
        status = path.stat()
        file = examine(str(path), 7)
        times = status.st_mtime_ns, status.st_ctime_ns
        assert (str(path), status.st_dev, status.st_ino, status.st_size, *times) == file.identity
        assert file.directory == 7

    def test_path_is_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A relative path is made absolute, so that it means the same in every working directory."""
        build(tmp_path / "a.mmdb", CITIES)
        monkeypatch.chdir(tmp_path)
        assert str(tmp_path / "a.mmdb") == examine("a.mmdb").path

    def test_replaced_file_has_another_identity(self, tmp_path: Path) -> None:
        """A file that replaced another with the same content has another identity."""
        before = examine(str(build(tmp_path / "a.mmdb", CITIES, build_epoch=1)))
        after = examine(str(build(tmp_path / "a.mmdb", CITIES, build_epoch=1)))
        assert (before.path, before.size_bytes) == (after.path, after.size_bytes)
        assert before.identity != after.identity

    @pytest.mark.parametrize(("make", "reason"), UNFIT, ids=KINDS)
    def test_unfit(self, tmp_path: Path, make: Callable[[Path], object], reason: str) -> None:
        """What cannot be a database is refused without opening it, with its path and the reason."""
        path = tmp_path / "a.mmdb"
        make(path)
        with pytest.raises(DatabaseError) as caught:
            examine(str(path))
        assert (f"{path}: {reason}", str(path), 3) == (str(caught.value), caught.value.path, caught.value.exit_status)


class TestFind:
    def test_order(self, tmp_path: Path, problems: list[DatabaseError]) -> None:
        """Files come directory by directory, in each by name, with an extension in any case."""
        for name in ("two/b.mmdb", "two/a.MMDB", "one/z.mmdb", "one/notes.txt", "one/mmdb", "one/b.mmdb.gz"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            build(tmp_path / name, CITIES)
        actual = find([str(tmp_path / "two"), str(tmp_path / "one")], problems.append)
        expected = [("two/a.MMDB", 0), ("two/b.mmdb", 0), ("one/z.mmdb", 1)]
        assert [(str(tmp_path / name), number) for name, number in expected] == [
            (file.path, file.directory) for file in actual
        ]
        assert [] == problems

    def test_missing_directories(self, tmp_path: Path, problems: list[DatabaseError]) -> None:
        """A missing directory, or a file, is silently skipped."""
        (tmp_path / "file").touch()
        build(tmp_path / "a.mmdb", CITIES)
        directories = [str(tmp_path / "nowhere"), str(tmp_path / "file"), str(tmp_path)]
        assert [str(tmp_path / "a.mmdb")] == [file.path for file in find(directories, problems.append)]
        assert [] == problems

    def test_unlistable_directory(self, tmp_path: Path, problems: list[DatabaseError]) -> None:
        """A directory that cannot be listed is reported, and the others are still searched."""
        build(tmp_path / "a.mmdb", CITIES)
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        actual = find([str(tmp_path / "loop"), str(tmp_path)], problems.append)
        assert [str(tmp_path / "a.mmdb")] == [file.path for file in actual]
        expected = f"{tmp_path}/loop: cannot be listed: Too many levels of symbolic links"
        assert [expected] == [str(problem) for problem in problems]

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may list every directory")
    def test_forbidden_directory(self, tmp_path: Path, problems: list[DatabaseError]) -> None:
        """A directory that this user may not list is reported."""
        forbidden = tmp_path / "forbidden"
        forbidden.mkdir(mode=0o000)
        assert [] == find([str(forbidden)], problems.append)
        assert [f"{forbidden}: cannot be listed: Permission denied"] == [str(problem) for problem in problems]

    @pytest.mark.parametrize(("make", "reason"), UNFIT, ids=KINDS)
    def test_unfit_file_beside_a_good_one(
        self, tmp_path: Path, problems: list[DatabaseError], make: Callable[[Path], object], reason: str
    ) -> None:
        """A file that cannot be a database is reported, and the others are still found."""
        make(tmp_path / "a.mmdb")
        good = build(tmp_path / "b.mmdb", CITIES)
        assert [str(good)] == [file.path for file in find([str(tmp_path)], problems.append)]
        assert [f"{tmp_path}/a.mmdb: {reason}"] == [str(problem) for problem in problems]

    @pytest.mark.parametrize("link", [os.link, os.symlink])
    def test_each_file_once(
        self, tmp_path: Path, problems: list[DatabaseError], link: Callable[[Path, Path], None]
    ) -> None:
        """A file with several names, or in several directories, is found once, at the first place."""
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        path = build(tmp_path / "one" / "b.mmdb", CITIES)
        link(path, tmp_path / "one" / "c.mmdb")
        link(path, tmp_path / "two" / "a.mmdb")
        directories = [str(tmp_path / "one"), str(tmp_path / "two"), str(tmp_path / "one")]
        assert [(str(path), 0)] == [(file.path, file.directory) for file in find(directories, problems.append)]

    def test_link_to_a_release(self, tmp_path: Path, problems: list[DatabaseError]) -> None:
        """A link is looked at through: when it is turned to another file, the file under its name is another."""
        (tmp_path / "found").mkdir()
        link = tmp_path / "found" / "city.mmdb"
        files = []
        for release in ("june", "july"):
            build(tmp_path / f"{release}.mmdb", CITIES)
            (tmp_path / "link").symlink_to(tmp_path / f"{release}.mmdb")
            (tmp_path / "link").rename(link)
            files += find([str(tmp_path / "found")], problems.append)
        assert [str(link)] * 2 == [file.path for file in files]
        assert files[0].identity != files[1].identity


class TestDatabase:
    def test_metadata(self, tmp_path: Path) -> None:
        """An open database has its edition and build time."""
        path = build(tmp_path / "renamed.mmdb", CITIES, edition="GeoLite2-City", build_epoch=1_780_000_000)
        database = Database(examine(str(path)))
        assert "GeoLite2-City" == database.name
        assert datetime(2026, 5, 28, 20, 26, 40, tzinfo=UTC) == database.built_at

    @pytest.mark.parametrize(("ip_version", "only_ipv4"), [(4, True), (6, False)])
    def test_family(self, tmp_path: Path, ip_version: int, only_ipv4: bool) -> None:  # noqa: FBT001 (parametrized)
        """A database has the property whether it is for IPv4 only."""
        path = build(tmp_path / "a.mmdb", {"1.0.0.0/24": {"country_code": "AU"}}, ip_version=ip_version)
        assert only_ipv4 == Database(examine(str(path))).only_ipv4

    @pytest.mark.parametrize(
        ("edition", "name"),
        [
            ("DBIP-City-Lite", "DBIP-City-Lite"),
            ("country ipvAll", "country-ipvAll"),
            ("ipinfo generic_lite.mmdb", "ipinfo-generic_lite.mmdb"),
            ("a, b@1\n\x1b[31m", "a--b-1---31m"),
            ("--x--", "x"),
            ("", "given"),
            ("日本", "given"),
        ],
    )
    def test_name_is_sanitized(self, tmp_path: Path, edition: str, name: str) -> None:
        """Of a database type only letters, digits, and `._-` are kept; without any, the name is that of the file."""
        database = Database(examine(str(build(tmp_path / "given.mmdb", CITIES, edition=edition))))
        assert name == database.name

    @pytest.mark.parametrize("build_epoch", [2**63 - 1, 10**15])
    def test_build_beyond_all_calendars(self, tmp_path: Path, build_epoch: int) -> None:
        """With a build epoch that is not a date, the database is usable, without a date."""
        path = build(tmp_path / "a.mmdb", CITIES, build_epoch=1_780_000_000)
        set_long_epoch(path, build_epoch)
        database = Database(examine(str(path)))
        assert (None, "GeoLite2-City") == (database.built_at, database.name)

    def test_asked_the_richest_first(self, tmp_path: Path, problems: list[DatabaseError]) -> None:
        """In a directory, databases with more fields come first; directories keep their order."""
        editions = ["GeoLite2-ASN", "GeoIP2-ISP", "GeoLite2-Country", "GeoLite2-City", "GeoIP2-Enterprise", "Tor"]
        editions += ["ipinfo lite", "standard_location"]
        (tmp_path / "first").mkdir()
        build(tmp_path / "first" / "x.mmdb", CITIES, edition="custom")
        for number, edition in enumerate(editions):
            build(tmp_path / f"{number}.mmdb", CITIES, edition=edition)
        files = find([str(tmp_path / "first"), str(tmp_path)], problems.append)
        databases = sorted((Database(file) for file in files), key=lambda database: database.order)
        expected = ["custom", "GeoIP2-Enterprise", "GeoLite2-City", "standard_location", "GeoLite2-Country"]
        assert [*expected, "GeoLite2-ASN", "ipinfo-lite", "GeoIP2-ISP", "Tor"] == [
            database.name for database in databases
        ]

    def test_same_edition_by_path(self, tmp_path: Path, problems: list[DatabaseError]) -> None:
        """Two databases of one edition in one directory come in the order of their paths."""
        for name in ("b", "a"):
            build(tmp_path / f"{name}.mmdb", CITIES)
        databases = [Database(file) for file in reversed(find([str(tmp_path)], problems.append))]
        ordered = [database.file.path for database in sorted(databases, key=lambda database: database.order)]
        assert [str(tmp_path / "a.mmdb"), str(tmp_path / "b.mmdb")] == ordered

    @pytest.mark.parametrize(
        "content", [b"<!DOCTYPE html><title>Sign in</title>", b"\0" * 4096, b"\xab\xcd\xefMaxMind.com"], ids=str
    )
    def test_other_files(self, tmp_path: Path, content: bytes) -> None:
        """A file that is not a database is an error with its path."""
        path = tmp_path / "a.mmdb"
        path.write_bytes(content)
        with pytest.raises(DatabaseError, match=rf"^{path}: not a readable MaxMind DB: "):
            Database(examine(str(path)))

    def test_removed_meanwhile(self, tmp_path: Path) -> None:
        """A file that was removed since it was found is an error with its path."""
        file = examine(str(build(tmp_path / "a.mmdb", CITIES)))
        os.unlink(file.path)
        with pytest.raises(DatabaseError, match=rf"^{file.path}: not a readable MaxMind DB: .*No such file"):
            Database(file)


def set_long_epoch(path: Path, build_epoch: int) -> None:
    """Write a build epoch of 8 bytes, whatever its length is (MaxMind DB spec, data field format)."""
    head, key, tail = path.read_bytes().rpartition(b"build_epoch")
    path.write_bytes(head + key + b"\x08\x02" + build_epoch.to_bytes(8, "big") + tail[2 + (tail[0] & 0x1F) :])
