"""Settings: defaults < system file < user file < environment < flags.

Directories follow the XDG Base Directory Specification 0.8; the package platformdirs does the same, but
takes 7 ms to import, which is most of what a cached lookup may cost.
"""

from __future__ import annotations

import os
import pwd
from math import isfinite

from geocli.errors import SettingsError
from geocli.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

SYSTEM_CONFIG = "/etc/geocli/config.toml"
SYSTEM_DATA_DIR = "/var/lib/geocli"
SYSTEM_DATABASE_DIRS = ("/usr/share/GeoIP", "/var/lib/GeoIP", "/usr/local/share/GeoIP")
GEOIP_CONFS = ("/etc/GeoIP.conf", "/usr/local/etc/GeoIP.conf")
"""Where MaxMind's geoipupdate keeps its settings; see GeoIP.conf(5)."""

_VARIABLES = {
    "data_dir": "GEOCLI_DATA_DIR",
    "database_dirs": "GEOCLI_DB_DIR",
    "lock_timeout_seconds": "GEOCLI_LOCK_TIMEOUT",
    "busy_timeout_seconds": "GEOCLI_BUSY_TIMEOUT",
}
_FORMS = {
    "data_dir": "a text",
    "database_dirs": "a list of texts",
    "lock_timeout_seconds": "a number of seconds",
    "busy_timeout_seconds": "a number of seconds",
    "allow_network_fs": "true or false",
    "system_databases": "true or false",
    "dbip_url": "a text",
}
"""What may stand in a configuration file, and in which form."""


class Settings(Value):
    """What a user may choose."""

    data_dir: str
    """Directory of the journal and the store."""
    database_dirs: tuple[str, ...] = ()
    """Directories that are searched for .mmdb files, in this order."""
    update_dir: str = ""
    """Directory that `db update` installs databases in."""
    maxmind_dir: str = ""
    """The same for editions of MaxMind."""
    geoip_conf: str = ""
    """The settings of MaxMind's geoipupdate, if there are any."""
    has_maxmind_account: bool = False
    """Whether these, or `GEOIPUPDATE_*`, have a licence key."""
    system_databases: bool = True
    """Whether the directories that other programs install databases in are searched too."""
    dbip_url: str = "https://download.db-ip.com/free"
    """Where `db update` gets the databases of DB-IP, or of a mirror."""
    databases: tuple[str, ...] = ()
    """Files that are asked instead of all that would be found."""
    lock_timeout_seconds: float = 10.0
    """How long to wait for another process's lock."""
    busy_timeout_seconds: float = 30.0
    """How long to wait for another program's SQLite transaction."""
    allow_network_fs: bool = False
    """Whether the data directory may be on a network file system."""


def load(
    environ: Mapping[str, str] | None = None,
    *,
    config: str | None = None,
    data_dir: str | None = None,
    databases: Sequence[str] = (),
    is_root: bool | None = None,
) -> Settings:
    """Read the settings from where users leave them.

    Args:
        environ: the environment; default `os.environ`.
        config: the only configuration file to read, as `--config` names it.
        data_dir: as `--data-dir` names it.
        databases: as `--db` names them.
        is_root: whether the system's directories are the default ones; default: for the user root.

    Raises:
        SettingsError: a file or a variable says what cannot be.

    """
    environ = os.environ if environ is None else environ
    is_root = os.geteuid() == 0 if is_root is None else is_root
    chosen: dict[str, Any] = {"data_dir": SYSTEM_DATA_DIR if is_root else _xdg(environ, "STATE", ".local/state")}
    listed: list[str] = []
    for path, required in _configs(environ, config):
        said = _read(path, required=required)
        listed = [*said.pop("database_dirs", []), *listed]
        chosen |= said
    said = _from(environ)
    listed = [*said.pop("database_dirs", []), *listed]
    chosen |= said | ({} if data_dir is None else {"data_dir": data_dir})
    if not chosen["data_dir"]:
        raise SettingsError("--data-dir", "empty", origin="command line")
    own = _xdg(environ, "DATA", ".local/share")
    update_dir = (listed or [SYSTEM_DATABASE_DIRS[1] if is_root else own])[0]
    conf, geoip = _geoip_conf(environ)
    is_shared = chosen.get("system_databases", True)
    geoip_dirs = [geoip["DatabaseDirectory"]] if is_shared and "DatabaseDirectory" in geoip else []
    return Settings(
        **chosen,
        database_dirs=(*listed, own, *geoip_dirs, *(SYSTEM_DATABASE_DIRS if is_shared else ())),
        update_dir=update_dir,
        maxmind_dir=(*geoip_dirs, update_dir)[0],
        geoip_conf=conf,
        has_maxmind_account="LicenseKey" in geoip,
        databases=tuple(databases),
    )


def _xdg(environ: Mapping[str, str], kind: str, default: str) -> str:
    """Return geocli's directory of a kind; a variable that is not absolute is ignored, as XDG says."""
    base = environ.get(f"XDG_{kind}_HOME", "")
    home = environ.get("HOME") or _home()
    return os.path.join(base if os.path.isabs(base) else os.path.join(home, default), "geocli")


def _home() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a container's user without a name
        return "/"


def _configs(environ: Mapping[str, str], config: str | None) -> list[tuple[str, bool]]:
    """Return the configuration files in rising precedence, and whether each must be there."""
    if named := config or environ.get("GEOCLI_CONFIG"):
        return [(named, True)]
    return [(SYSTEM_CONFIG, False), (os.path.join(_xdg(environ, "CONFIG", ".config"), "config.toml"), False)]


def _read(path: str, *, required: bool) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not required:
            return {}
        raise SettingsError("configuration", f"cannot be read: {error.strerror}", origin=path) from error
    import tomllib

    try:
        said = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise SettingsError("configuration", f"not TOML: {error}", origin=path) from error
    for name, value in said.items():
        if name not in _FORMS:
            from geocli.entries import unknown

            raise SettingsError(name, unknown("key", name, list(_FORMS)), origin=path)
        if not _fits(_FORMS[name], value):
            raise SettingsError(name, f"{value!r} is not {_FORMS[name]}", origin=path)
    return said


def _fits(form: str, value: object) -> bool:
    if form == "a list of texts":
        return isinstance(value, list) and all(isinstance(text, str) and text for text in value)
    if form == "a number of seconds":
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9
    if form == "true or false":
        return isinstance(value, bool)
    return isinstance(value, str) and value != ""


def _from(environ: Mapping[str, str]) -> dict[str, Any]:
    said: dict[str, Any] = {name: environ[variable] for name, variable in _VARIABLES.items() if environ.get(variable)}
    said |= {name: _seconds(_VARIABLES[name], text) for name, text in said.items() if name.endswith("_seconds")}
    if "database_dirs" in said:
        said["database_dirs"] = [path for path in said["database_dirs"].split(":") if path]
    return said


def _seconds(variable: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not (isfinite(seconds) and 0 <= seconds < 1e9):
        raise SettingsError(variable, f"{text!r} is not a number of seconds", origin="environment")
    return seconds


def _geoip_conf(environ: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return where the settings of geoipupdate are, and what they, or its variables, say of directory and account."""
    named = environ.get("GEOIPUPDATE_CONF_FILE")
    found: tuple[str, dict[str, str]] = "", {}
    for path in [named] if named else GEOIP_CONFS:
        try:
            with open(path, encoding="utf-8", errors="replace") as lines:
                words = [line.split(None, 1) for line in lines]
        except OSError:
            continue
        found = path, {word[0]: word[1].strip() for word in words if len(word) > 1}
        break
    said = {key: environ[name] for name, key in _GEOIPUPDATE.items() if environ.get(name)}
    return named or found[0], found[1] | said


_GEOIPUPDATE = {
    "GEOIPUPDATE_DB_DIR": "DatabaseDirectory",
    "GEOIPUPDATE_LICENSE_KEY": "LicenseKey",
    "GEOIPUPDATE_LICENSE_KEY_FILE": "LicenseKey",
}


def shows_flags(environ: Mapping[str, str] | None = None) -> bool:
    """Tell whether the terminal is one of those that are known to show flags; most show two letters, or nothing.

    Inside tmux or screen nobody knows, and these set the variables to their own names.

    Args:
        environ: the environment; default `os.environ`.

    """
    environ = os.environ if environ is None else environ
    return environ.get("TERM_PROGRAM") in _FLAG_PROGRAMS or environ.get("TERM") in _FLAG_TERMS


_FLAG_PROGRAMS = {"Apple_Terminal", "iTerm.app", "WezTerm", "ghostty"}
_FLAG_TERMS = {"xterm-kitty", "xterm-ghostty", "wezterm"}
