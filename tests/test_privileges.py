"""Root in another user's directory: the command line becomes that user, the library refuses."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from geocli import GeoCache, StorageError
from geocli.files.ownership import check_owner, other_owner, owner_of
from geocli.storage.store import Store
from tests.helpers import system_call_faults as faults
from tests.helpers.command_output import complaint, complaints, objects
from tests.helpers.data_directories import stored_rows
from tests.helpers.databases import CITIES, build
from tests.helpers.geocli_process import Geocli
from tests.helpers.imported_modules import HEAVY, imported_by
from tests.helpers.other_users import GROUP, IS_ROOT, MEMBER, PROJECT
from tests.helpers.processes import in_child
from tests.helpers.system_call_faults import SCENARIOS
from tests.helpers.web_services import Web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_httpserver import HTTPServer

    from tests.helpers.system_call_faults import Call, Scenario

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not IS_ROOT, reason="needs root, which is to become another user")]
OTHER = MEMBER + 1
"""Yet another user."""
COMMANDS: dict[str, tuple[str, ...]] = {
    "lookup": ("lookup", "8.8.8.8"),
    "lookup with options": ("lookup", "-f", "jsonl", "9.9.9.9"),
    "batch": ("batch", "-f", "jsonl"),
    "flush": ("flush",),
    "flush with options": ("flush", "--json"),
    "re-resolve": ("re-resolve", "--all"),
    "stats": ("stats", "-f", "json"),
    "check": ("stats", "--check"),
    "clear": ("clear", "--unresolved"),
}


def owned(home: Path, user: int = MEMBER, group: int = MEMBER, mode: int = 0o700) -> Geocli:
    """Return geocli of root, with a data directory of a user's; without coverage, which writes as root."""
    geocli = Geocli(home)
    geocli.data_dir.mkdir(mode=0o700)
    os.chown(geocli.data_dir, user, group)
    geocli.data_dir.chmod(mode)
    return geocli


@pytest.fixture
def users(shared: Path) -> Geocli:
    return owned(shared)


def owners(path: Path) -> set[tuple[int, int]]:
    """Return the users and groups of all files below a directory, and of itself."""
    result = [path, *path.rglob("*")]
    return {(file.lstat().st_uid, file.lstat().st_gid) for file in result}


@pytest.mark.parametrize("commands", [COMMANDS, dict(reversed(COMMANDS.items()))], ids=["forth", "back"])
def test_all_files_are_the_users(users: Geocli, commands: dict[str, tuple[str, ...]]) -> None:
    """Whatever root runs, by the fast path and by the option parser, each file is the user's, and all goes well."""
    for name, arguments in commands.items():
        run = users(*arguments, stdin=b"1.1.1.1\n")
        assert (0, b"") == (run.returncode, run.stderr), name

    assert 0 == users("flush").returncode
    assert ["1.1.1.1", "8.8.8.8", "9.9.9.9"] == [ip for (ip,) in stored_rows(users)]
    assert {(MEMBER, MEMBER)} == owners(users.data_dir)
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in users.data_dir.iterdir()}


def test_fast_path_and_option_parser_run_as_the_user(users: Geocli) -> None:
    """The user, the group and the groups are the owner's when the first file of the directory is opened."""
    code = (
        "import os, sys\n"
        "def hook(event, arguments):\n"
        f"    if event in {{'open', 'sqlite3.connect'}} and {str(users.data_dir)!r} in str(arguments[0]):\n"
        "        print(os.geteuid(), os.getegid(), os.getgroups(), file=sys.stderr)\n"
        "sys.addaudithook(hook)\n"
        "from geocli.__main__ import main\n"
        "main()\n"
    )
    users.command = (sys.executable, "-c", code)
    for arguments in (("lookup", "8.8.8.8"), ("flush",), ("lookup", "-f", "json", "8.8.8.8"), ("stats",)):
        assert {f"{MEMBER} {MEMBER} []"} == set(users(*arguments).stderr.decode().splitlines()), arguments


@pytest.mark.parametrize(("group", "expected"), [(MEMBER + 7, MEMBER + 7), (0, MEMBER)], ids=["named", "root's"])
def test_group_of_a_user_without_a_name(shared: Path, group: int, expected: int) -> None:
    """New files get the directory's group, except that of root, which has its own rights."""
    users = owned(shared, group=group)
    assert 0 == users("lookup", "8.8.8.8").returncode

    assert {(MEMBER, expected)} == {(path.stat().st_uid, path.stat().st_gid) for path in users.data_dir.iterdir()}


def test_directory_of_a_group_that_root_owns_stays_roots(shared: Path) -> None:
    """In a shared directory of root nothing changes: root's files are the group's."""
    users = owned(shared, user=0, group=GROUP, mode=0o2770)
    assert [0, 0] == [users("lookup", "8.8.8.8").returncode, users("flush").returncode]

    assert {(0, GROUP)} == owners(users.data_dir)
    assert {0o660} == {stat.S_IMODE(path.stat().st_mode) for path in users.data_dir.iterdir()}


@pytest.mark.parametrize("name", ["data", "state/geocli", "a/b/c"])
def test_directory_that_is_made_is_that_of_the_owner_above(shared: Path, name: str) -> None:
    """Below a user's directory root makes directories as that user."""
    users = Geocli(shared)
    home = shared / "home"
    home.mkdir(mode=0o700)
    os.chown(home, MEMBER, MEMBER)
    users.data_dir = home / name
    users.environ["GEOCLI_DATA_DIR"] = str(users.data_dir)

    assert (0, b"") == ((run := users("lookup", "8.8.8.8")).returncode, run.stderr)
    assert {(MEMBER, MEMBER)} == owners(home)


def test_option_instead_of_the_variable(users: Geocli, shared: Path) -> None:
    """`--data-dir` works like the variable."""
    users.environ["GEOCLI_DATA_DIR"] = str(shared / "unused")
    assert 0 == users("--data-dir", str(users.data_dir), "lookup", "8.8.8.8").returncode

    assert {(MEMBER, MEMBER)} == owners(users.data_dir)
    assert not (shared / "unused").exists()


def test_link_of_roots_leads_to_the_users_directory(users: Geocli, shared: Path) -> None:
    """The owner of the directory counts, not that of a link to it."""
    (shared / "link").symlink_to("data")
    users.environ["GEOCLI_DATA_DIR"] = str(shared / "link")

    assert 0 == users("lookup", "8.8.8.8").returncode
    assert {(MEMBER, MEMBER)} == owners(users.data_dir)


# an attack by a user against root


def _positions() -> Iterator[object]:
    """Return the first call of each kind on each file that root's commands make in a user's directory."""
    for name in ("lookup", "flush", "batch"):
        names = set()
        for call in _calls(name):
            if (kind := (call.name, call.file)) not in names:
                names.add(kind)
                yield pytest.param(name, call, id=f"{name}-{call}")


def _prepared(home: Path, scenario: Scenario) -> Geocli:
    home.chmod(0o755)
    geocli = faults.prepared(home, scenario)
    geocli.data_dir.chmod(0o700)
    for path in (geocli.data_dir, *geocli.data_dir.iterdir()):
        os.chown(path, MEMBER, MEMBER)
    (home / "more").chmod(0o644)
    return geocli


def _calls(name: str) -> list[Call]:
    with TemporaryDirectory() as home:
        return faults.calls_of(_prepared(Path(home), SCENARIOS[name]), SCENARIOS[name])


@pytest.mark.parametrize(("name", "call"), list(_positions()) if IS_ROOT and not faults.missing() else [])
def test_directory_replaced_by_a_link_to_one_of_root(shared: Path, name: str, call: Call) -> None:
    """The directory is replaced by a link to one of root's before some call: nothing is created or read there."""
    roots, away = shared / "roots", shared / "away"
    roots.mkdir(mode=0o700)
    (roots / "journal").write_bytes(b"root's\n")
    (roots / "journal").chmod(0o600)
    before = {path.name: path.stat() for path in roots.iterdir()}
    with faults.held(shared, SCENARIOS[name], call, _prepared) as (geocli, process):
        geocli.data_dir.rename(away)
        geocli.data_dir.symlink_to(roots)
        process.go_on()

    assert before == {path.name: path.stat() for path in roots.iterdir()}
    assert {(MEMBER, MEMBER)} == owners(away)
    assert b"root's" not in b"".join(path.read_bytes() for path in away.iterdir())


def _others_parent(home: Path) -> Path:
    (home / "others").mkdir()
    os.chown(home / "others", OTHER, OTHER)
    return home / "others" / "data"


def _others_link(home: Path) -> Path:
    (home / "sticky").mkdir()
    (home / "sticky").chmod(0o1777)
    (home / "sticky" / "link").symlink_to(home / "data")
    os.lchown(home / "sticky" / "link", OTHER, OTHER)
    return home / "sticky" / "link"


@pytest.mark.parametrize("place", [_others_parent, _others_link])
@pytest.mark.parametrize("owner", [0, MEMBER], ids=["root's", "a user's"])
def test_directory_that_a_third_user_could_replace(shared: Path, place: Callable[[Path], Path], owner: int) -> None:
    """Neither root nor the owner controls the directory: nothing is opened, and answers have exit status 4."""
    path = place(shared)
    geocli = Geocli(shared)
    geocli.data_dir = shared / "data" if place is _others_link else path
    geocli.data_dir.mkdir(mode=0o700)
    os.chown(geocli.data_dir, owner, owner)
    geocli.environ["GEOCLI_DATA_DIR"] = str(path)
    lookup, flush = geocli("lookup", "8.8.8.8"), geocli("flush")

    assert (4, 1) == (lookup.returncode, len(objects(lookup.stdout)))
    reason = f"user {OTHER} could replace it, in {path.parent}; chown one of the two"
    assert f"{path}: cannot be used as data directory: {reason}" == complaint(lookup)
    assert flush.returncode in {0, 4}
    assert [] == os.listdir(geocli.data_dir)


# which only root may read


def test_key_that_only_root_can_read_is_used(users: Geocli, shared: Path) -> None:
    """The key of a web service is read before root becomes the user."""
    (shared / "etc").mkdir(mode=0o700)
    with Web("maxmind", shared / "etc") as web:
        shutil.copy(shared / "etc" / "ca.pem", shared / "ca.pem")
        environ = {**web.environ, "REQUESTS_CA_BUNDLE": str(shared / "ca.pem"), "GEOCLI_BUILT_IN_DATA": "false"}
        run = users("lookup", "-F", "city,source", "8.8.8.8", environ=environ)
        assert [["8.8.8.8"]] == web.requests

    assert (0, b"") == (run.returncode, run.stderr)
    assert [{"city": "Osaka", "source": web.name}] == objects(run.stdout)
    assert {(MEMBER, MEMBER)} == owners(users.data_dir)


def test_configuration_that_only_root_can_read_is_used(users: Geocli, shared: Path) -> None:
    """The settings are read before root becomes the user."""
    (shared / "etc").mkdir(mode=0o700)
    (shared / "etc" / "config.toml").write_text(f'data_dir = "{users.data_dir}"\nsystem_databases = false\n')
    del users.environ["GEOCLI_DATA_DIR"]

    assert 0 == users("--config", str(shared / "etc" / "config.toml"), "lookup", "8.8.8.8").returncode
    assert {"journal", "journal.lock"} <= set(os.listdir(users.data_dir))


def test_database_that_only_root_can_read_is_named(users: Geocli) -> None:
    """The user cannot read it: it is reported by name, and the next source answers."""
    path = build(users.db_dir / "GeoLite2-City.mmdb", CITIES)
    path.chmod(0o600)
    run = users("lookup", "-f", "value", "81.2.69.160")

    assert (0, b"GB\n") == (run.returncode, run.stdout)
    assert complaint(run).startswith(f"{path}: ")
    assert "denied" in complaint(run)


def test_usual_directories_that_are_not_there_are_no_problem(users: Geocli, shared: Path) -> None:
    """Root's home, which the user may not enter, is mentioned only if it has databases."""
    home = shared / "root"
    home.mkdir(mode=0o700)
    users.environ["HOME"] = str(home)
    quiet = users("lookup", "8.8.8.8")
    (home / ".local/share/geocli").mkdir(parents=True)
    named = users("lookup", "8.8.4.4")

    assert (0, b"") == (quiet.returncode, quiet.stderr)
    assert (0, [f"{home}/.local/share/geocli: cannot be listed: Permission denied"]) == (
        named.returncode,
        complaints(named),
    )


@pytest.mark.parametrize("command", [("batch",), ("stats", "-f", "json")])
def test_output_is_written_as_the_user(users: Geocli, shared: Path, command: tuple[str, ...]) -> None:
    """`-o` writes where the user may, and to standard output as root's shell has opened it."""
    (shared / "theirs").mkdir()
    os.chown(shared / "theirs", MEMBER, MEMBER)
    written = users(*command, "-o", str(shared / "theirs" / "out"), stdin=b"8.8.8.8\n")
    refused = users(*command, "-o", str(shared / "out"), stdin=b"8.8.8.8\n")
    with (shared / "redirected").open("wb") as out:
        subprocess.run(
            [*users.command, *command, "-o", "/dev/stdout"],
            env=users.environ,
            stdout=out,
            input=b"8.8.8.8\n",
            check=True,
        )

    assert (0, (MEMBER, MEMBER)) == (written.returncode, owners(shared / "theirs").pop())
    reason = f"Permission denied for user {MEMBER}, the owner of the data directory"
    assert (1, f"{shared}/out: {reason}") == (refused.returncode, complaint(refused))
    assert not (shared / "out").exists()
    assert (shared / "redirected").read_bytes()


# databases


@pytest.mark.parametrize("existing", [True, False])
def test_db_update_in_a_users_directory(shared: Path, httpserver: HTTPServer, *, existing: bool) -> None:
    """What root downloads into a user's directory is the user's, also where the directory is made for it."""
    data = build(shared / "made.mmdb", {"8.8.8.0/24": {"country": {"iso_code": "US"}}}).read_bytes()
    month = datetime.now(UTC).strftime("%Y-%m")
    httpserver.expect_request(f"/dbip-city-lite-{month}.mmdb.gz").respond_with_data(gzip.compress(data))
    users = Geocli(shared)
    (shared / "home").mkdir(mode=0o700)
    os.chown(shared / "home", MEMBER, MEMBER)
    directory = shared / "home" / ("." if existing else "databases")
    environ = {"GEOCLI_DB_DIR": str(directory), "GEOCLI_DBIP_URL": httpserver.url_for("/"), "NO_PROXY": "*"}
    run = users("db", "update", "dbip-city-lite", environ=environ)

    assert (0, b"") == (run.returncode, run.stderr)
    assert data == (directory / "dbip-city-lite.mmdb").read_bytes()
    assert {(MEMBER, MEMBER)} == owners(shared / "home")


# impossible options


def test_root_without_the_capability_is_an_error(users: Geocli) -> None:
    """In a container without the capability the error names the user, and nothing is opened."""
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv (util-linux)")
    users.command = ("setpriv", "--bounding-set", "-setuid,-setgid", *users.command)  # type: ignore[assignment]
    run = users("lookup", "8.8.8.8")

    assert 4 == run.returncode
    reason = f"it belongs to user {MEMBER}, and root may not become that user: Operation not permitted"
    assert f"{users.data_dir}: cannot be used as data directory: {reason}" == complaint(run)
    assert [] == os.listdir(users.data_dir)


def test_library_refuses(users: Geocli) -> None:
    """A library may not change the user of the process: each use is an error that names the user."""
    assert [0, 0] == [users(*arguments).returncode for arguments in (("lookup", "8.8.8.8"), ("flush",))]
    assert 0 == users("lookup", "9.9.9.9").returncode
    before = {path.name: path.stat().st_mtime_ns for path in users.data_dir.iterdir()}
    uses: list[Callable[[GeoCache], object]] = [
        lambda cache: cache.lookup("1.1.1.1"),
        lambda cache: cache.lookup_cached_only(["9.9.9.9"]),
        lambda cache: cache.load_from_db(),
        lambda cache: cache.flush_dirty(),
        lambda cache: cache.re_resolve("all"),
        lambda cache: cache.clear(),
    ]
    reason = f"it belongs to user {MEMBER}; run this as that user"
    for use in uses:
        with GeoCache(settings=users.settings()) as cache, pytest.raises(StorageError) as caught:
            use(cache)
        assert f"{users.data_dir}: cannot be used as data directory: {reason}" == str(caught.value)
    with GeoCache(settings=users.settings()) as cache:
        assert any(reason in problem for problem in cache.stats().problems)
    with pytest.raises(StorageError):
        list(Store(f"{users.data_dir}/geocli.db").entries("LIMIT 1"))
    assert before == {path.name: path.stat().st_mtime_ns for path in users.data_dir.iterdir()}


def test_library_of_the_user_works(users: Geocli) -> None:
    """The owner, and a process that became the owner, can use the library."""

    def use() -> None:
        os.setgroups([])
        os.setegid(MEMBER)
        os.seteuid(MEMBER)
        with GeoCache(settings=users.settings().replace(database_dirs=())) as cache:
            assert "US" == cache.lookup("8.8.8.8").place.country_code

    assert 0 == in_child(use)
    assert {(MEMBER, MEMBER)} == owners(users.data_dir)


# directories that everybody could exchange


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o773])
@pytest.mark.parametrize("owner", [0, MEMBER], ids=["root's", "a user's"])
@pytest.mark.parametrize("below", ["data", "between/data"])
def test_directory_below_a_world_writable_one(shared: Path, mode: int, owner: int, below: str) -> None:
    """Without the sticky bit any user could replace it: answers have exit status 4, and nothing is opened."""
    geocli = Geocli(shared)
    (shared / "open" / below).mkdir(parents=True)
    for path in (shared / "open").rglob("*"):
        os.chown(path, owner, owner)
        path.chmod(0o700)
    (shared / "open").chmod(mode)
    path = shared / "open" / below
    geocli.environ["GEOCLI_DATA_DIR"] = str(path)
    lookup, flush = geocli("lookup", "8.8.8.8"), geocli("flush")

    where = shared / "open"
    reason = f"any user could replace it, in {where}; chmod o-w {where}, or chmod +t"
    assert (4, f"{path}: cannot be used as data directory: {reason}") == (lookup.returncode, complaint(lookup))
    assert 1 == len(objects(lookup.stdout))
    assert flush.returncode in {0, 4}
    assert [] == os.listdir(path)


def test_directory_is_not_created_below_a_world_writable_one(shared: Path) -> None:
    """Nor is it created there; with the sticky bit it is."""
    geocli = Geocli(shared)
    (shared / "open").mkdir()
    (shared / "open").chmod(0o777)
    geocli.environ["GEOCLI_DATA_DIR"] = str(shared / "open" / "data")
    assert 4 == geocli("lookup", "8.8.8.8").returncode
    assert [] == os.listdir(shared / "open")

    (shared / "open").chmod(0o1777)
    assert 0 == geocli("lookup", "8.8.8.8").returncode
    assert ["data"] == os.listdir(shared / "open")


def test_way_to_a_directory(shared: Path) -> None:
    """Links, dots and missing components are resolved as by the operating system."""
    (shared / "a" / "b").mkdir(parents=True)
    os.chown(shared / "a" / "b", MEMBER, MEMBER)
    (shared / "absolute").symlink_to(shared / "a")
    (shared / "relative").symlink_to("a/../absolute/./b/")
    (shared / "loop").symlink_to("loop")
    (shared / "gone").symlink_to("a/b/c/d")

    for name in ("a/b", "absolute/b", "relative", "relative/x/y", "gone"):
        assert MEMBER == owner_of(str(shared / name)).st_uid, name
        assert other_owner(str(shared / name)) is not None
        with pytest.raises(StorageError, match=f"it belongs to user {MEMBER}"):
            check_owner(str(shared / name))
    for name in ("a", "absolute", "absolute/c", "loop", "."):
        assert 0 == owner_of(str(shared / name)).st_uid, name
        assert other_owner(str(shared / name)) is None


# start-up


def test_an_idle_flush_of_a_user_imports_nothing_heavy(users: Geocli) -> None:
    """Cron's flush as root in a user's directory costs no package either."""
    assert [0, 0] == [users(*arguments).returncode for arguments in (("lookup", "8.8.8.8"), ("flush",))]

    # It takes ctypes to read modules as root.
    heavy = HEAVY - {"ctypes"} | {"maxminddb_rust", "geocli.storage.store_writer"}
    assert set() == imported_by(users, "flush") & heavy


def test_modules_are_found_in_any_place(users: Geocli, shared: Path) -> None:
    """With a Python that only root can read, root can work in a user's directory, too."""
    closed = shared / "closed"
    shutil.copytree(PROJECT / "geocli", closed / "geocli")
    closed.chmod(0o700)
    users.environ["PYTHONPATH"] = str(closed)
    users.command = (sys.executable, "-c", "from geocli.__main__ import main; main()")
    runs = [users(*arguments, stdin=b"1.1.1.1\n" * 100_000) for arguments in COMMANDS.values()]

    assert [(0, b"")] * len(COMMANDS) == [(run.returncode, run.stderr) for run in runs]
    assert 3 == json.loads(users("stats").stdout)["entries"]["resolved"]
