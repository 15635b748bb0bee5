"""Settings come from defaults, the system file, the user file, the environment and options, in this order."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from geocli.errors import SettingsError
from geocli.geoip_conf import GEOIP_CONFS
from geocli.settings import SETTINGS, SYSTEM_CONFIG, SYSTEM_DATA_DIR, SYSTEM_DATABASE_DIRS, Settings, load
from tests.helpers.documentation import ALL, PAGES, code_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.helpers.geocli_process import Geocli

needs_no_system_config = pytest.mark.skipif(
    os.path.exists(SYSTEM_CONFIG), reason="this machine has a configuration of its own"
)


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Return an environment with an empty home directory."""
    return {"HOME": str(tmp_path / "home")}


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], str]:
    """Return a function that writes a configuration file and returns its path."""

    def write(text: str, name: str = "geocli.toml") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


def _user_config(environ: dict[str, str], text: str) -> str:
    path = Path(environ["HOME"], ".config", "geocli", "config.toml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def _run(program: str, environ: dict[str, str]) -> str:
    """Run a Python program with an environment, and return its output."""
    inherited = {name: text for name, text in os.environ.items() if name != "HOME"}
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, env={**inherited, **environ}, check=True, capture_output=True, text=True, timeout=60
    ).stdout


def _documented(name: str) -> str:
    """Return the row of the documentation's table for a setting."""
    setting = SETTINGS[name]
    kind = setting.kind.name.removeprefix("a ").removeprefix("an ")
    default = getattr(Settings, name, "")
    value = f"{default:g}" if isinstance(default, float) else str(default or "")
    value = str(default).lower() if isinstance(default, bool) else value
    return f"| `{name}` | `{setting.variable}` | {kind} | {value and f'`{value}`'} | {setting.help} |"


def _refusal(path: str, environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load(environ, config=path)
    assert path == caught.value.origin
    assert caught.value.exit_status == 2
    line = "" if caught.value.line is None else f":{caught.value.line}"
    return str(caught.value).removeprefix(f"{path}{line}: ")


@needs_no_system_config
class TestDefaults:
    def test_a_user_has_the_directories_of_the_home(self, home: dict[str, str]) -> None:
        """By default, a user's state and data are in the home directory; system-wide databases are searched, too."""
        actual = load(home, is_root=False)
        own = f"{home['HOME']}/.local/share/geocli"
        assert f"{home['HOME']}/.local/state/geocli" == actual.data_dir
        assert own == actual.update_dir
        assert own == actual.database_dirs[0]
        assert SYSTEM_DATABASE_DIRS == actual.database_dirs[-3:]
        assert ("/usr/share/GeoIP", "/var/lib/GeoIP", "/usr/local/share/GeoIP") == SYSTEM_DATABASE_DIRS

    def test_root_has_the_directories_of_the_system(self, home: dict[str, str]) -> None:
        """Root's state and databases are in directories of the whole system."""
        actual = load(home, is_root=True)
        assert "/var/lib/geocli" == SYSTEM_DATA_DIR == actual.data_dir
        assert "/var/lib/GeoIP" == actual.update_dir

    @pytest.mark.parametrize("is_root", [False, True])
    @pytest.mark.parametrize("system_databases", ["true", "false"])
    def test_updates_go_to_a_directory_that_is_searched(
        self, home: dict[str, str], system_databases: str, *, is_root: bool
    ) -> None:
        """Also root's, without the directories of the system."""
        actual = load({**home, "GEOCLI_SYSTEM_DATABASES": system_databases}, is_root=is_root)
        assert actual.update_dir in actual.database_dirs
        assert actual.maxmind_dir in actual.database_dirs

    def test_defaults_depend_on_the_user(self, home: dict[str, str]) -> None:
        """By default, the directories depend on the user who runs the process."""
        assert load(home, is_root=os.geteuid() == 0) == load(home)

    def test_the_default_environment_is_that_of_the_process(self, geocli: Geocli) -> None:
        """Without an argument the environment is that of the process."""
        program = "import json; from geocli.settings import load; print(json.dumps(load().as_dict()))"
        assert json.loads(json.dumps(geocli.settings().as_dict())) == json.loads(_run(program, geocli.environ))

    def test_numbers_and_switches(self, home: dict[str, str]) -> None:
        """Lock timeouts are 10 s, and 30 s for SQLite; network file systems are refused, other databases are used."""
        actual = load(home)
        assert (10.0, 30.0) == (actual.lock_timeout_seconds, actual.busy_timeout_seconds)
        assert (False, True) == (actual.allow_network_fs, actual.system_databases)
        assert "https://download.db-ip.com/free" == actual.dbip_url
        assert () == actual.databases


class TestXdg:
    """The directories of the XDG Base Directory Specification, compared with another implementation."""

    @needs_no_system_config
    @pytest.mark.parametrize("kinds", [(), ("STATE",), ("DATA",), ("CONFIG",), ("STATE", "DATA", "CONFIG")])
    def test_the_same_as_platformdirs(self, kinds: tuple[str, ...], home: dict[str, str]) -> None:
        """State, data and configuration are where the package platformdirs has them, by variables and by default."""
        environ = {**home, **{f"XDG_{kind}_HOME": f"{home['HOME']}/chosen/{kind}" for kind in kinds}}
        program = (
            "import json, platformdirs as p; "
            "print(json.dumps([p.user_state_dir('geocli'), p.user_data_dir('geocli'), p.user_config_dir('geocli')]))"
        )
        state, data, config_dir = json.loads(_run(program, environ))
        Path(config_dir).mkdir(parents=True)
        Path(config_dir, "config.toml").write_text("lock_timeout_seconds = 7")
        actual = load(environ, is_root=False)
        assert (state, data, 7) == (actual.data_dir, actual.update_dir, actual.lock_timeout_seconds)

    @needs_no_system_config
    @pytest.mark.parametrize("base", ["", "relative", "./config", "~/config"])
    def test_a_relative_directory_is_ignored(self, base: str, home: dict[str, str]) -> None:
        """A variable that is empty or not absolute is ignored, as specified by XDG."""
        variables = {f"XDG_{kind}_HOME": base for kind in ("STATE", "DATA", "CONFIG")}
        _user_config(home, "lock_timeout_seconds = 7")
        assert load(home, is_root=False) == load({**home, **variables}, is_root=False)
        assert 7 == load({**home, **variables}, is_root=False).lock_timeout_seconds

    @needs_no_system_config
    def test_xdg_config_home(self, home: dict[str, str], config: Callable[..., str], tmp_path: Path) -> None:
        """XDG_CONFIG_HOME moves the user file."""
        config("lock_timeout_seconds = 7", "elsewhere/geocli/config.toml")
        assert 7 == load({**home, "XDG_CONFIG_HOME": str(tmp_path / "elsewhere")}).lock_timeout_seconds

    @pytest.mark.parametrize("home", [{}, {"HOME": ""}])
    def test_without_home_the_password_file_is_read(self, home: dict[str, str], config: Callable[[str], str]) -> None:
        """HOME may be unset or empty, as in cron; then the home directory is that of the password file."""
        program = "from geocli.settings import load; print(load(is_root=False).data_dir, end='')"
        expected = f"{pwd.getpwuid(os.getuid()).pw_dir}/.local/state/geocli"
        assert expected == _run(program, {**home, "GEOCLI_CONFIG": config("")})


class TestPrecedence:
    @needs_no_system_config
    def test_default_then_user_then_environment_then_flag(self, home: dict[str, str]) -> None:
        """Each later origin overrides the earlier ones."""
        default = load(home).data_dir
        _user_config(home, 'data_dir = "/user"')
        assert "/user" == load(home).data_dir != default
        environ = {**home, "GEOCLI_DATA_DIR": "/environment"}
        assert "/environment" == load(environ).data_dir
        assert "/flag" == load(environ, data_dir="/flag").data_dir

    @pytest.mark.parametrize(
        ("field", "key", "variable"),
        [
            ("lock_timeout_seconds", "lock_timeout_seconds", "GEOCLI_LOCK_TIMEOUT"),
            ("busy_timeout_seconds", "busy_timeout_seconds", "GEOCLI_BUSY_TIMEOUT"),
        ],
    )
    def test_seconds(
        self, field: str, key: str, variable: str, home: dict[str, str], config: Callable[[str], str]
    ) -> None:
        """The environment's seconds override the file's, which override the default."""
        path = config(f"{key} = 3")
        assert 3 == getattr(load(home, config=path), field)
        assert 0.5 == getattr(load({**home, variable: "0.5"}, config=path), field)
        assert 3 == getattr(load({**home, variable: ""}, config=path), field)

    def test_keys_of_a_file(self, home: dict[str, str], config: Callable[[str], str]) -> None:
        """Keys of the file have their effects."""
        path = config('allow_network_fs = true\nsystem_databases = false\ndbip_url = "http://127.0.0.1/"\n')
        actual = load(home, config=path)
        assert (True, False, "http://127.0.0.1/") == (actual.allow_network_fs, actual.system_databases, actual.dbip_url)

    @pytest.mark.parametrize(
        ("variable", "text", "field", "value"),
        [
            ("GEOCLI_ALLOW_NETWORK_FS", "true", "allow_network_fs", True),
            ("GEOCLI_SYSTEM_DATABASES", "No", "system_databases", False),
            ("GEOCLI_BUILT_IN_DATA", "0", "built_in_data", False),
            ("GEOCLI_DBIP_URL", "http://mirror", "dbip_url", "http://mirror"),
            ("GEOCLI_MAXMIND_HOST", "geolite.info", "maxmind_host", "geolite.info"),
            ("GEOCLI_MAXMIND_SERVICE", "insights", "maxmind_service", "insights"),
            ("GEOCLI_IP_API", "1", "ip_api", True),
            ("GEOCLI_IP_API_KEY_FILE", "/key", "ip_api_key_file", "/key"),
            ("GEOCLI_IP_API_URL", "http://127.0.0.1", "ip_api_url", "http://127.0.0.1"),
            ("GEOCLI_SERVICE_TIMEOUT_SECONDS", "2.5", "service_timeout_seconds", 2.5),
            ("GEOCLI_SERVICE_WAIT_SECONDS", "0", "service_wait_seconds", 0),
            ("GEOCLI_SERVICE_LIFETIME_DAYS", "7", "service_lifetime_days", 7),
            ("GEOCLI_LANGUAGE", "PT_br", "language", "pt-BR"),
        ],
    )
    def test_each_key_has_a_variable(
        self, variable: str, text: str, field: str, value: object, home: dict[str, str]
    ) -> None:
        """Each setting can be set by a variable."""
        assert value == getattr(load({**home, variable: text}), field) != getattr(load(home), field)

    def test_an_account_of_maxmind(self, home: dict[str, str], config: Callable[..., str]) -> None:
        """The account may be in a file and the key file in the environment; one without the other is an error."""
        path = config("account_id = 42")
        actual = load({**home, "GEOCLI_LICENSE_KEY_FILE": "/key"}, config=path)
        assert (42, "/key") == (actual.account_id, actual.license_key_file)
        assert 7 == load({**home, "GEOCLI_LICENSE_KEY_FILE": "/key", "GEOCLI_ACCOUNT_ID": "7"}).account_id
        for environ, file, origin in (
            (home, path, f"{path}: account_id: needs license_key_file, too"),
            (
                {**home, "GEOCLI_LICENSE_KEY_FILE": "/key"},
                config("", "other.toml"),
                "environment: license_key_file: needs account_id, too",
            ),
        ):
            with pytest.raises(SettingsError) as caught:
                load(environ, config=file)
            assert origin == str(caught.value)

    def test_every_key_is_documented(self, home: dict[str, str], config: Callable[[str], str]) -> None:
        """Each key is in the table of `geocli docs configuration`."""
        keys = _refusal(config("xyzzy = 1"), home).partition("known: ")[2].split(", ")
        rows = PAGES["configuration"].splitlines()
        assert len(keys) > 10
        assert [] == [key for key in keys if not any(f"`{key}`" in row for row in rows if row.startswith("| `"))]

    @pytest.mark.parametrize("name", SETTINGS)
    def test_the_documentation_repeats_the_declaration(self, name: str) -> None:
        """The row of a setting has its variable, kind, default and help."""
        (row,) = [row for row in PAGES["configuration"].splitlines() if row.startswith(f"| `{name}` ")]
        assert _documented(name) == row

    @pytest.mark.parametrize("text", code_blocks(ALL, "toml"))
    def test_examples_in_the_documentation_are_configurations(
        self, home: dict[str, str], config: Callable[[str], str], text: str
    ) -> None:
        """A file with the lines of an example is read."""
        for name, value in tomllib.loads(text).items():
            assert (tuple(value) if isinstance(value, list) else value) in {
                getattr(load(home, config=config(text)), key) for key in (name, "named_dirs")
            }

    def test_databases_are_flags_alone(self, home: dict[str, str]) -> None:
        """Files given by --db are passed on."""
        assert ("/a.mmdb", "b.mmdb") == load(home, databases=["/a.mmdb", "b.mmdb"]).databases

    @needs_no_system_config
    def test_one_file_instead_of_all(self, home: dict[str, str], config: Callable[..., str]) -> None:
        """--config is read instead of GEOCLI_CONFIG, and that instead of the user's file."""
        _user_config(home, "lock_timeout_seconds = 1\nbusy_timeout_seconds = 1")
        by_variable = config("lock_timeout_seconds = 2", "variable.toml")
        by_flag = config("lock_timeout_seconds = 3", "flag.toml")
        environ = {**home, "GEOCLI_CONFIG": by_variable}
        actual = [load(home), load({**home, "GEOCLI_CONFIG": ""}), load(environ), load(environ, config=by_flag)]
        assert [(1, 1), (1, 1), (2, 30), (3, 30)] == [
            (settings.lock_timeout_seconds, settings.busy_timeout_seconds) for settings in actual
        ]

    def test_flags_of_the_command_line(self, geocli: Geocli, tmp_path: Path) -> None:
        """--data-dir overrides GEOCLI_DATA_DIR."""
        chosen = tmp_path / "chosen"
        assert 0 == geocli("--data-dir", str(chosen), "lookup", "10.0.0.1").returncode
        assert (chosen / "journal").exists()
        assert not geocli.data_dir.exists()


class TestDatabaseDirectories:
    def test_in_the_order_in_which_they_are_searched(self, home: dict[str, str], config: Callable[[str], str]) -> None:
        """The order is: directories of the environment, of the file, of the user, of the system."""
        path = config('database_dirs = ["/file1", "/file2"]')
        actual = load({**home, "GEOCLI_DB_DIR": ":/first::/second:"}, config=path)
        own = f"{home['HOME']}/.local/share/geocli"
        assert ("/first", "/second", "/file1", "/file2", own) == actual.database_dirs[:5]
        assert SYSTEM_DATABASE_DIRS == actual.database_dirs[-3:]
        assert "/first" == actual.update_dir

    def test_without_the_systems(self, home: dict[str, str], config: Callable[[str], str]) -> None:
        """The system's directories can be excluded."""
        path = config('system_databases = false\ndatabase_dirs = ["/file"]')
        actual = load(home, config=path, is_root=True)
        assert ("/file", f"{home['HOME']}/.local/share/geocli") == actual.database_dirs
        assert "/file" == actual.update_dir


class TestBadFiles:
    @pytest.mark.parametrize(
        ("nearest", "key"),
        [
            ("data_dir", "datadir"),
            ("lock_timeout_seconds", "lock_timeout"),
            ("busy_timeout_seconds", "busy_timeout_second"),
            ("database_dirs", "database_dir"),
            ("dbip_url", "dbip-url"),
        ],
    )
    def test_an_unknown_key_suggests_the_nearest_one(
        self, nearest: str, key: str, home: dict[str, str], config: Callable[[str], str]
    ) -> None:
        """The message for a mistyped key suggests the nearest one."""
        assert f"{key}: unknown key; did you mean {nearest}?" == _refusal(config(f"{key} = 1"), home)

    def test_an_unknown_key_without_a_near_one(self, home: dict[str, str], config: Callable[[str], str]) -> None:
        """If no key is near, the message lists all keys."""
        actual = _refusal(config("xyzzy = 1"), home)
        assert actual.startswith(
            "xyzzy: unknown key; known: data_dir, database_dirs, system_databases, built_in_data, "
        )

    @pytest.mark.parametrize(
        ("line", "text"),
        [
            (1, "xyzzy = 1"),
            (1, "xyzzy = 1\n\n"),
            (3, "# xyzzy = 0\n\n xyzzy = 1"),
            (4, "data_dir = '''\nxyzzy = 1\n'''\nxyzzy = 1"),
            (5, "database_dirs = [\n  'xyzzy',  # xyzzy\n]\n\n\"xyzzy\" = [\n1,\n]\nip_api = true"),
            (2, "ip_api = true\r\nxyzzy = 1\r\n"),
            (2, "ip_api = true\n[xyzzy]\na = 1"),
            (2, "ip_api = true\nxyzzy.a.b = 1"),
            (2, "ip_api = true\n[[xyzzy]]\n[[xyzzy]]"),
            (2, "data_dir = '\u2028'\nxyzzy = 1"),
        ],
    )
    def test_the_line_of_a_key(self, line: int, text: str, home: dict[str, str], config: Callable[[str], str]) -> None:
        """The error has the line of the key, also after strings, lists and comments."""
        path = config(text)
        with pytest.raises(SettingsError, match="xyzzy: unknown key") as caught:
            load(home, config=path)
        assert line == caught.value.line
        assert str(caught.value).startswith(f"{path}:{line}: xyzzy: unknown key")

    def test_the_line_of_a_value(self, home: dict[str, str], config: Callable[[str], str]) -> None:
        """The error has the line of a refused value."""
        path = config("ip_api = true\nservice_lifetime_days = 0\nmaxmind_service = 'region'\n")
        with pytest.raises(SettingsError) as caught:
            load(home, config=path)
        assert f"{path}:3: maxmind_service: 'region' is not city, country or insights" == str(caught.value)

    @pytest.mark.parametrize(
        ("line", "form"),
        [
            ("data_dir = 5", "5 is not a string"),
            ('data_dir = "/d\\u0000"', r"'/d\x00' is not a string"),
            ('database_dirs = ["/d\\u0000"]', r"['/d\x00'] is not a list of strings"),
            ("data_dir = ['/d']", "['/d'] is not a string"),
            ("dbip_url = true", "True is not a string"),
            ("[data_dir]", "{} is not a string"),
            ("database_dirs = '/d'", "'/d' is not a list of strings"),
            ("database_dirs = ['/d', 5]", "['/d', 5] is not a list of strings"),
            ("lock_timeout_seconds = '5'", "'5' is not a number of seconds"),
            ("lock_timeout_seconds = true", "True is not a number of seconds"),
            ("lock_timeout_seconds = -1", "-1 is not a number of seconds"),
            ("busy_timeout_seconds = inf", "inf is not a number of seconds"),
            ("busy_timeout_seconds = nan", "nan is not a number of seconds"),
            ("busy_timeout_seconds = 1_000_000_000", "1000000000 is not a number of seconds"),
            ("allow_network_fs = 1", "1 is not true or false"),
            ("system_databases = 'no'", "'no' is not true or false"),
            ("account_id = -1", "-1 is not an integer"),
            ("account_id = 1.5", "1.5 is not an integer"),
            ("account_id = true", "True is not an integer"),
            ("maxmind_host = 'https://geolite.info/'", "'https://geolite.info/' is not a host name"),
            ("maxmind_host = ''", "'' is not a host name"),
            ("maxmind_service = ''", "'' is not city, country or insights"),
            ("service_lifetime_days = 367", "367 is not a number of days"),
            ("language = 'german'", "'german' is not a language like de or pt-BR"),
            ("language = 49", "49 is not a language like de or pt-BR"),
            ("language = ['de']", "['de'] is not a language like de or pt-BR"),
        ],
    )
    def test_a_value_of_the_wrong_kind(
        self, line: str, form: str, home: dict[str, str], config: Callable[[str], str]
    ) -> None:
        """The message for an invalid value has the required kind."""
        name = line.strip("[]").split(" ")[0]
        assert f"{name}: {form}" == _refusal(config(line), home)

    def test_an_empty_directory_is_refused(self, home: dict[str, str], config: Callable[[str], str]) -> None:
        """An empty directory, which would put files into the current and the root directory, is refused."""
        assert _refusal(config('data_dir = ""'), home).startswith("data_dir: ")

    def test_a_byte_order_mark_is_ignored(self, home: dict[str, str], config: Callable[[str], str]) -> None:
        """A byte order mark, which Windows editors write, is ignored; it does not change line numbers."""
        assert "/d" == load(home, config=config("\ufeffdata_dir = '/d'")).data_dir
        assert _refusal(config("\ufeffx = 1"), home).startswith("x: ")

    @pytest.mark.parametrize(
        "text", ["data_dir", "data_dir = ", "= 1", "data_dir = '/a'\ndata_dir = '/b'", "\0", "[" * 5]
    )
    def test_invalid_toml(self, text: str, home: dict[str, str], config: Callable[[str], str]) -> None:
        """A file that is not TOML is an error, with the parser's reason."""
        assert _refusal(config(text), home).startswith("configuration: not TOML: ")

    def test_nesting_without_end_is_not_toml_either(self, home: dict[str, str], config: Callable[[str], str]) -> None:
        """Deep nesting does not crash the parser."""
        assert _refusal(config("data_dir = " + "[" * 100_000), home).startswith("configuration: not TOML: ")

    def test_invalid_utf8(self, home: dict[str, str], tmp_path: Path) -> None:
        """A file that is not UTF-8 is an error."""
        path = tmp_path / "latin1.toml"
        path.write_bytes(b"data_dir = '/caf\xe9'")
        assert _refusal(str(path), home).startswith("configuration: not TOML: 'utf-8' codec can't decode byte 0xe9")

    def test_a_named_file_must_exist(self, home: dict[str, str], tmp_path: Path) -> None:
        """A missing file is an error if --config or GEOCLI_CONFIG names it."""
        path = str(tmp_path / "missing.toml")
        expected = "configuration: cannot be read: No such file or directory"
        assert expected == _refusal(path, home)
        with pytest.raises(SettingsError) as caught:
            load({**home, "GEOCLI_CONFIG": path})
        assert f"{path}: {expected}" == str(caught.value)

    @pytest.mark.parametrize("is_named", [True, False])
    def test_a_directory_cannot_be_read(self, is_named: bool, home: dict[str, str]) -> None:  # noqa: FBT001
        """A directory instead of a file is an error, even if the file is optional."""
        path = Path(home["HOME"], ".config/geocli/config.toml")
        path.mkdir(parents=True)
        with pytest.raises(SettingsError) as caught:
            load(home, config=str(path) if is_named else None)
        assert f"{path}: configuration: cannot be read: Is a directory" == str(caught.value)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
    def test_a_file_that_may_not_be_read(self, home: dict[str, str]) -> None:
        """A user's file that cannot be read is an error; it is not ignored."""
        path = _user_config(home, "lock_timeout_seconds = 7")
        Path(path).chmod(0)
        with pytest.raises(SettingsError) as caught:
            load(home)
        assert f"{path}: configuration: cannot be read: Permission denied" == str(caught.value)

    @needs_no_system_config
    def test_a_home_that_is_not_a_directory_has_no_file(self, home: dict[str, str]) -> None:
        """A daemon whose home is /dev/null has no configuration file, which is not an error."""
        assert 10 == load({**home, "HOME": "/dev/null"}).lock_timeout_seconds

    def test_the_error_line(self, geocli: Geocli, config: Callable[[str], str]) -> None:
        """The error is one line with the file, the key and the nearest key; the exit status is 2."""
        path = config("datadir = '/d'")
        for arguments in (("lookup", "10.0.0.1"), ("flush",), ("stats",)):
            actual = geocli("--config", path, *arguments)
            assert f"geocli: {path}:1: datadir: unknown key; did you mean data_dir?\n".encode() == actual.stderr
            assert (2, b"") == (actual.returncode, actual.stdout)


class TestBadEnvironment:
    @pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1e9", "5 s", " "])
    @pytest.mark.parametrize("variable", ["GEOCLI_LOCK_TIMEOUT", "GEOCLI_BUSY_TIMEOUT"])
    def test_invalid_seconds(self, variable: str, text: str, home: dict[str, str]) -> None:
        """A variable that is not a number of seconds is refused; the error names the variable."""
        with pytest.raises(SettingsError) as caught:
            load({**home, variable: text})
        assert f"environment: {variable}: {text!r} is not a number of seconds" == str(caught.value)
        assert (variable, "environment") == (caught.value.name, caught.value.origin)

    @pytest.mark.parametrize(
        ("variable", "text", "form"),
        [
            ("GEOCLI_IP_API", "maybe", "true or false"),
            ("GEOCLI_ACCOUNT_ID", "4.2", "an integer"),
            ("GEOCLI_MAXMIND_HOST", "a/b", "a host name"),
            ("GEOCLI_MAXMIND_SERVICE", "region", "city, country or insights"),
            ("GEOCLI_SERVICE_LIFETIME_DAYS", "1e3", "a number of days"),
        ],
    )
    def test_values_of_the_wrong_kind(self, variable: str, text: str, form: str, home: dict[str, str]) -> None:
        """Each variable must be of its setting's kind."""
        with pytest.raises(SettingsError) as caught:
            load({**home, variable: text})
        assert f"environment: {variable}: {text!r} is not {form}" == str(caught.value)

    @pytest.mark.parametrize(("seconds", "text"), [(0, "0"), (0.25, ".25"), (999_999_999, "999999999")])
    def test_valid_seconds(self, seconds: float, text: str, home: dict[str, str]) -> None:
        """Fractions and zero are accepted."""
        assert seconds == load({**home, "GEOCLI_LOCK_TIMEOUT": text}).lock_timeout_seconds

    def test_the_error_line(self, geocli: Geocli) -> None:
        """The error is one line with the variable; the exit status is 2."""
        actual = geocli("flush", environ={"GEOCLI_LOCK_TIMEOUT": "soon"})
        assert b"geocli: environment: GEOCLI_LOCK_TIMEOUT: 'soon' is not a number of seconds\n" == actual.stderr
        assert 2 == actual.returncode


class TestSystemFiles:
    """Files in /etc are tested in a mount namespace, where /etc is an overlay."""

    @pytest.fixture
    def etc(self, tmp_path: Path) -> Path:
        """Return a directory whose files are in /etc for processes started by `_loaded`."""
        command = shutil.which("unshare")
        etc = tmp_path / "etc"
        etc.mkdir()
        trial = [command or "false", "--map-root-user", "--mount", "sh", "-c", self._mount(etc)]
        if subprocess.run(trial, check=False, capture_output=True, timeout=60).returncode:
            pytest.skip("this system does not allow a mount namespace")
        return etc

    @staticmethod
    def _mount(etc: Path) -> str:
        return f"mount -t overlay overlay -o lowerdir='{etc}':/etc /etc"

    def _loaded(self, etc: Path, environ: dict[str, str]) -> Settings:
        program = "import json; from geocli.settings import load; print(json.dumps(load().as_dict()))"
        script = f'{self._mount(etc)} && exec "$@"'
        actual = subprocess.run(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", program],
            env={**os.environ, **environ},
            check=True,
            capture_output=True,
            timeout=60,
        )
        printed: dict[str, Any] = json.loads(actual.stdout)
        return Settings(**{**printed, **{name: tuple(printed[name]) for name in ("database_dirs", "databases")}})

    def test_default_then_system_then_user(self, etc: Path, home: dict[str, str]) -> None:
        """The system's file overrides defaults, and the user's file overrides the system's, for each key."""
        Path(etc, "geocli").mkdir()
        Path(etc, "geocli/config.toml").write_text(
            'data_dir = "/system"\nlock_timeout_seconds = 3\ndatabase_dirs = ["/system"]\nsystem_databases = false\n'
        )
        _user_config(home, 'lock_timeout_seconds = 4\ndatabase_dirs = ["/user"]')
        actual = self._loaded(etc, home)
        assert ("/system", 4, 30) == (actual.data_dir, actual.lock_timeout_seconds, actual.busy_timeout_seconds)
        assert ("/user", "/system", f"{home['HOME']}/.local/share/geocli") == actual.database_dirs
        assert "/environment" == self._loaded(etc, {**home, "GEOCLI_DATA_DIR": "/environment"}).data_dir

    @pytest.mark.parametrize(
        ("expected", "text"),
        [
            (("/srv/GeoIP",), "AccountID 1\nDatabaseDirectory /srv/GeoIP\nEditionIDs GeoLite2-City\n"),
            (("/srv/Geo IP",), "DatabaseDirectory\t /srv/Geo IP \r\n"),
            ((), "# DatabaseDirectory /srv/GeoIP\nDatabaseDirectory\n\nDatabaseDirectoryX /srv\n"),
            ((), ""),
            (("/srv/GeoIP",), "# caf\xe9\nDatabaseDirectory /srv/GeoIP\n"),
        ],
    )
    def test_geoip_conf(self, expected: tuple[str, ...], text: str, etc: Path, home: dict[str, str]) -> None:
        """The directory of geoipupdate is searched after the user's own and before the usual ones."""
        Path(etc, "GeoIP.conf").write_bytes(text.encode("latin-1"))
        own = f"{home['HOME']}/.local/share/geocli"
        assert (own, *expected, *SYSTEM_DATABASE_DIRS) == self._loaded(etc, home).database_dirs

    def test_account(self, etc: Path, home: dict[str, str]) -> None:
        """A licence key in the file or in the environment makes an account; its directory is searched first."""
        conf = Path(etc, "GeoIP.conf")
        conf.write_text("DatabaseDirectory /srv/GeoIP\n")
        actual = self._loaded(etc, home)
        assert ("/etc/GeoIP.conf", "/srv/GeoIP", False) == (
            actual.geoip_conf,
            actual.maxmind_dir,
            actual.has_maxmind_account,
        )
        actual = self._loaded(etc, {**home, "GEOIPUPDATE_LICENSE_KEY": "x", "GEOIPUPDATE_DB_DIR": "/other"})
        assert ("/other", True) == (actual.maxmind_dir, actual.has_maxmind_account)
        assert "/other" in actual.database_dirs
        conf.write_text("LicenseKey x\n")
        actual = self._loaded(etc, home)
        assert (actual.update_dir, True) == (actual.maxmind_dir, actual.has_maxmind_account)

    def test_account_in_another_file(self, etc: Path, home: dict[str, str], tmp_path: Path) -> None:
        """GEOIPUPDATE_CONF_FILE names the only file that is read, even if it is missing."""
        Path(etc, "GeoIP.conf").write_text("LicenseKey x\nDatabaseDirectory /srv/GeoIP\n")
        named = {**home, "GEOIPUPDATE_CONF_FILE": str(tmp_path / "other.conf")}
        actual = self._loaded(etc, named)
        assert (named["GEOIPUPDATE_CONF_FILE"], False) == (actual.geoip_conf, actual.has_maxmind_account)
        (tmp_path / "other.conf").write_text("LicenseKey x\n")
        assert self._loaded(etc, named).has_maxmind_account

    def test_editions_are_not_installed_in_excluded_directories(self, etc: Path, home: dict[str, str]) -> None:
        """An edition is installed in a directory that is searched."""
        Path(etc, "GeoIP.conf").write_text("LicenseKey x\nDatabaseDirectory /srv/GeoIP\n")
        _user_config(home, "system_databases = false")
        actual = self._loaded(etc, home)
        assert (actual.update_dir, True) == (actual.maxmind_dir, actual.has_maxmind_account)
        assert "/srv/GeoIP" not in actual.database_dirs

    def test_where_geoip_conf_is(self) -> None:
        """The paths of the file are those of GeoIP.conf(5)."""
        assert ("/etc/GeoIP.conf", "/usr/local/etc/GeoIP.conf") == GEOIP_CONFS


def test_home_is_expanded(tmp_path: Path) -> None:
    """In configuration files and variables, `~/` at the beginning of a path is the user's home directory."""
    config = tmp_path / "config.toml"
    config.write_text('data_dir = "~/x"\ndatabase_dirs = ["~/a", "/b", "c~/d"]\n')
    home = {"HOME": str(tmp_path), "GEOCLI_DB_DIR": "~/e:/f"}
    chosen = load(home, config=str(config))

    assert str(tmp_path / "x") == chosen.data_dir
    assert (f"{tmp_path}/e", "/f", f"{tmp_path}/a", "/b", "c~/d") == chosen.database_dirs[:5]


def test_a_file_is_not_a_directory_of_databases(tmp_path: Path) -> None:
    """A file instead of a directory is an error, since nothing would be found there."""
    database = tmp_path / "x.mmdb"
    database.touch()
    with pytest.raises(SettingsError, match="to use only this database: --db FILE"):
        load({"GEOCLI_DB_DIR": str(database)})
