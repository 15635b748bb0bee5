"""Settings: defaults < system file < user file < environment < command line.

Directories follow the XDG Base Directory Specification 0.8; the package platformdirs does the same, but
takes 7 ms to import, which is most of what a cached lookup may cost.
"""

from __future__ import annotations

import os
import pwd

from geocli.errors import SettingsError
from geocli.geoip_conf import read_geoip_conf
from geocli.immutable import Value
from geocli.setting_files import content_of
from geocli.setting_kinds import (
    DAYS,
    FLAG,
    HOST,
    INTEGER,
    LANGUAGE,
    PATH,
    PATHS,
    SECONDS,
    SERVICE,
    STRING,
    canonical_language,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from geocli.setting_kinds import Kind

SYSTEM_CONFIG = "/etc/geocli/config.toml"
SYSTEM_DATA_DIR = "/var/lib/geocli"
SYSTEM_DATABASE_DIRS = ("/usr/share/GeoIP", "/var/lib/GeoIP", "/usr/local/share/GeoIP")
COMMAND_LINE, ENVIRONMENT = "command line", "environment"
"""Origins of settings that are not configuration files."""


_REQUIRED = object()


class Setting:
    """The declaration of a setting: its kind, default, variable of the environment, and help."""

    def __init__(self, kind: Kind, default: Any = _REQUIRED, *, help: str, variable: str = "") -> None:  # noqa: A002
        self.kind, self.default, self.help, self.variable = kind, default, help, variable

    def __set_name__(self, owner: type, name: str) -> None:
        """Register the declaration, and leave the default as the attribute of the class."""
        SETTINGS[name] = self
        self.variable = self.variable or f"GEOCLI_{name.upper()}"
        if self.default is _REQUIRED:
            delattr(owner, name)
        else:
            setattr(owner, name, self.default)


SETTINGS: dict[str, Setting] = {}
"""What configuration files and the environment may set, by name."""
_setting: Callable[..., Any] = Setting


class Settings(Value):
    """The settings of one run."""

    data_dir: str = _setting(PATH, help="Directory of the journal and the store.")
    database_dirs: tuple[str, ...] = _setting(
        PATHS, (), variable="GEOCLI_DB_DIR", help="Directories that are searched for .mmdb files, in this order."
    )
    system_databases: bool = _setting(
        FLAG, default=True, help="Whether directories of other programs' databases are searched, too."
    )
    built_in_data: bool = _setting(
        FLAG, default=True, help="Whether the built-in countries of registration answer where no database does."
    )
    dbip_url: str = _setting(
        STRING, "https://download.db-ip.com/free", help="Where `db update` downloads the databases of DB-IP."
    )
    lock_timeout_seconds: float = _setting(
        SECONDS, 10.0, variable="GEOCLI_LOCK_TIMEOUT", help="How long to wait for another process's lock."
    )
    busy_timeout_seconds: float = _setting(
        SECONDS, 30.0, variable="GEOCLI_BUSY_TIMEOUT", help="How long to wait for another program's SQLite transaction."
    )
    allow_network_fs: bool = _setting(
        FLAG, default=False, help="Whether the data directory may be on a network file system."
    )
    account_id: int = _setting(INTEGER, 0, help="Account of MaxMind's web services; 0: they are not asked.")
    license_key_file: str = _setting(PATH, "", help="File that contains the licence key of that account.")
    maxmind_host: str = _setting(
        HOST, "geoip.maxmind.com", help="Host of MaxMind's web services; `geolite.info` for GeoLite."
    )
    maxmind_service: str = _setting(SERVICE, "city", help="Web service of MaxMind: `city`, `country` or `insights`.")
    ip_api: bool = _setting(FLAG, default=False, help="Whether ip-api.com is asked.")
    ip_api_key_file: str = _setting(
        PATH, "", help="File that contains a key for ip-api.com, which is then asked by HTTPS."
    )
    ip_api_url: str = _setting(STRING, "", help="URL of ip-api.com, if not the usual one.")
    service_timeout_seconds: float = _setting(
        SECONDS, 10.0, help="How long one answer of a web service may take in total."
    )
    service_wait_seconds: float = _setting(
        SECONDS, 60.0, help="How long to wait for the end of a web service's rate limit."
    )
    service_lifetime_days: float = _setting(DAYS, 30.0, help="Days until an answer of a web service expires.")
    journal_limit_mb: int = _setting(
        INTEGER, 64, help="Size in MB beyond which a batch flushes the journal, and `stats --check` warns."
    )
    language: str = _setting(LANGUAGE, "en", help="Language of names, where a source has names in it; else English.")

    named_dirs: tuple[str, ...] = ()
    """Those of `database_dirs` that the user named."""
    update_dir: str = ""
    """Directory that `db update` installs databases in."""
    maxmind_dir: str = ""
    """Directory that `db update` installs editions of MaxMind in."""
    geoip_conf: str = ""
    """Path of GeoIP.conf; empty if there is none."""
    has_maxmind_account: bool = False
    """Whether GeoIP.conf or `GEOIPUPDATE_*` contain a licence key."""
    maxmind_key_file: str = ""
    """File that contains this key; empty if a variable does."""
    databases: tuple[str, ...] = ()
    """Files that are asked instead of those that would be found."""


def load(
    environ: Mapping[str, str] | None = None,
    *,
    config: str | None = None,
    data_dir: str | None = None,
    databases: Sequence[str] = (),
    is_root: bool | None = None,
) -> Settings:
    """Read the settings from configuration files, the environment and the command line.

    Args:
        environ: the environment; default `os.environ`.
        config: the only configuration file to read, from `--config`.
        data_dir: from `--data-dir`.
        databases: from `--db`.
        is_root: whether the system's directories are the defaults; default: for the user root.

    Raises:
        SettingsError: a file or a variable has an unknown or unusable value.

    """
    environ = os.environ if environ is None else environ
    is_root = os.geteuid() == 0 if is_root is None else is_root
    chosen: dict[str, Any] = {"data_dir": SYSTEM_DATA_DIR if is_root else _xdg(environ, "STATE", ".local/state")}
    origins: dict[str, str] = {}
    named_dirs: list[str] = []
    for origin, values in _layers(environ, config):
        named_dirs = [*values.pop("database_dirs", ()), *named_dirs]
        chosen |= values
        origins |= dict.fromkeys(values, origin)
    if data_dir is not None:
        chosen["data_dir"] = data_dir
    _check(chosen, named_dirs, origins)
    if "language" in chosen:
        chosen["language"] = canonical_language(chosen["language"])
    own_dir = _xdg(environ, "DATA", ".local/share")
    has_system_dirs = chosen.get("system_databases", True)
    update_dir = (*named_dirs, SYSTEM_DATABASE_DIRS[1] if is_root and has_system_dirs else own_dir)[0]
    geoip = read_geoip_conf(environ)
    system_dirs: tuple[str, ...] = ()
    maxmind_dir = update_dir
    if has_system_dirs:
        maxmind_dir = geoip.database_directory or update_dir
        system_dirs = (*filter(None, (geoip.database_directory,)), *SYSTEM_DATABASE_DIRS)
    return Settings(
        **chosen,
        named_dirs=tuple(named_dirs),
        database_dirs=(*named_dirs, own_dir, *system_dirs),
        update_dir=update_dir,
        maxmind_dir=maxmind_dir,
        geoip_conf=geoip.path,
        has_maxmind_account=geoip.has_license_key,
        maxmind_key_file=geoip.license_key_file,
        databases=tuple(databases),
    )


def _layers(environ: Mapping[str, str], config: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the origins of settings and their values, those of higher precedence last."""
    named = config or environ.get("GEOCLI_CONFIG")
    user_config = os.path.join(_xdg(environ, "CONFIG", ".config"), "config.toml")
    for path in (named,) if named else (SYSTEM_CONFIG, user_config):
        if (data := _read(path, is_required=bool(named))) is not None:
            from geocli.config_file import parse_config

            kinds = {name: setting.kind for name, setting in SETTINGS.items()}
            yield path, _expanded(parse_config(data, path, kinds), environ)
    variables = {name: setting for name, setting in SETTINGS.items() if environ.get(setting.variable)}
    yield ENVIRONMENT, _expanded({name: _parsed(setting, environ) for name, setting in variables.items()}, environ)


def _read(path: str, *, is_required: bool) -> bytes | None:
    try:
        return content_of(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not is_required:
            return None
        raise SettingsError("configuration", f"cannot be read: {error.strerror}", origin=path) from error


def _parsed(setting: Setting, environ: Mapping[str, str]) -> Any:
    """Return the value of a setting's variable."""
    try:
        value = setting.kind.parse(environ[setting.variable])
    except ValueError:
        value = None
    if not setting.kind.accepts(value):
        raise SettingsError(setting.variable, setting.kind.refusal(environ[setting.variable]), origin=ENVIRONMENT)
    return value


def _expanded(values: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Replace `~/` at the beginning of paths by the user's home directory, as a shell does."""

    def expand(path: str) -> str:
        return os.path.join(_home(environ), path[2:]) if path.startswith("~/") else path

    for name, value in values.items():
        if SETTINGS[name].kind is PATH:
            values[name] = expand(value)
        elif SETTINGS[name].kind is PATHS:
            values[name] = [expand(path) for path in value]
    return values


def _check(chosen: Mapping[str, Any], named_dirs: Sequence[str], origins: Mapping[str, str]) -> None:
    """Refuse settings that are of the right kind, but cannot be used."""
    for path in filter(os.path.isfile, named_dirs):
        reason = "a file where a directory is needed; to use only this database: --db FILE"
        raise SettingsError(path, reason, origin="database_dirs")
    if not chosen["data_dir"]:
        raise SettingsError("--data-dir", "empty", origin=COMMAND_LINE)
    account = ("account_id", "license_key_file")
    for name, partner in (account, account[::-1]):
        if chosen.get(name) and not chosen.get(partner):
            raise SettingsError(name, f"needs {partner}, too", origin=origins[name])


def _xdg(environ: Mapping[str, str], kind: str, default: str) -> str:
    """Return geocli's directory of a kind; by XDG, a variable that is not absolute is ignored."""
    base = environ.get(f"XDG_{kind}_HOME", "")
    return os.path.join(base if os.path.isabs(base) else os.path.join(_home(environ), default), "geocli")


def _home(environ: Mapping[str, str]) -> str:
    try:
        return environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        # A user of a container may have no name.
        return "/"


def shows_flags() -> bool:
    """Return whether the terminal is known to show flags; most show two letters, or nothing.

    Within tmux or screen the terminal is unknown, since they set the variables to their own names.
    """
    return os.environ.get("TERM_PROGRAM") in _FLAG_PROGRAMS or os.environ.get("TERM") in _FLAG_TERMS


_FLAG_PROGRAMS = {"Apple_Terminal", "iTerm.app", "WezTerm", "ghostty"}
_FLAG_TERMS = {"xterm-kitty", "xterm-ghostty", "wezterm"}
