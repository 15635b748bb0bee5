"""Settings: defaults < system file < user file < environment < flags.

Directories follow the XDG Base Directory Specification 0.8; the package platformdirs does the same, but
takes 7 ms to import, which is most of what a cached lookup may cost.
"""

from __future__ import annotations

import os
import pwd
from contextlib import suppress

from geocli.errors import SettingsError
from geocli.immutable import Value
from geocli.sanitize import may_be_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

SYSTEM_CONFIG = "/etc/geocli/config.toml"
SYSTEM_DATA_DIR = "/var/lib/geocli"
SYSTEM_DATABASE_DIRS = ("/usr/share/GeoIP", "/var/lib/GeoIP", "/usr/local/share/GeoIP")
GEOIP_CONFS = ("/etc/GeoIP.conf", "/usr/local/etc/GeoIP.conf")
"""Where MaxMind's geoipupdate keeps its settings; see GeoIP.conf(5)."""

_FORMS = {
    "data_dir": "a text",
    "database_dirs": "a list of texts",
    "system_databases": "true or false",
    "built_in_data": "true or false",
    "dbip_url": "a text",
    "lock_timeout_seconds": "a number of seconds",
    "busy_timeout_seconds": "a number of seconds",
    "allow_network_fs": "true or false",
    "account_id": "a whole number",
    "license_key_file": "a text",
    "maxmind_host": "the name of a host",
    "maxmind_service": "city, country or insights",
    "ip_api": "true or false",
    "ip_api_key_file": "a text",
    "ip_api_url": "a text",
    "service_timeout_seconds": "a number of seconds",
    "service_wait_seconds": "a number of seconds",
    "service_lifetime_days": "a number of days",
    "journal_limit_mb": "a whole number",
    "language": "a language like de or pt-BR",
}
"""What may stand in a configuration file, and in which form."""
_VARIABLES = {name: f"GEOCLI_{name.upper()}" for name in _FORMS} | {
    "database_dirs": "GEOCLI_DB_DIR",
    "lock_timeout_seconds": "GEOCLI_LOCK_TIMEOUT",
    "busy_timeout_seconds": "GEOCLI_BUSY_TIMEOUT",
}
"""The variables of the environment that say the same."""
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_MOST = {"a number of seconds": 1e9 - 1, "a number of days": 366, "a whole number": 1 << 53}
_PATHS = frozenset({"data_dir", "database_dirs", "license_key_file", "ip_api_key_file"})
_ACCOUNT = ("account_id", "license_key_file")
_HOST_MARKS = frozenset(".-:")


class Settings(Value):
    """What a user may choose."""

    data_dir: str
    """Directory of the journal and the store."""
    database_dirs: tuple[str, ...] = ()
    """Directories that are searched for .mmdb files, in this order."""
    named_dirs: tuple[str, ...] = ()
    """Those of them that the user named."""
    update_dir: str = ""
    """Directory that `db update` installs databases in."""
    maxmind_dir: str = ""
    """The same for editions of MaxMind."""
    geoip_conf: str = ""
    """The settings of MaxMind's geoipupdate, if there are any."""
    has_maxmind_account: bool = False
    """Whether these, or `GEOIPUPDATE_*`, have a licence key."""
    maxmind_key_file: str = ""
    """The file that this key is in, if it is in one."""
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
    built_in_data: bool = True
    """Whether the built-in countries of registration are asked where no database knows."""
    account_id: int = 0
    """Of MaxMind's web services; 0: they are not asked."""
    license_key_file: str = ""
    """File that holds the licence key of that account."""
    maxmind_host: str = "geoip.maxmind.com"
    """Which of MaxMind's web services are asked; `geolite.info` for GeoLite."""
    maxmind_service: str = "city"
    """What they are asked for: `city`, `country` or `insights`."""
    ip_api: bool = False
    """Whether ip-api.com is asked."""
    ip_api_key_file: str = ""
    """File that holds a key for ip-api.com, which is then asked by HTTPS."""
    ip_api_url: str = ""
    """Where ip-api.com is, if not at its usual place."""
    service_timeout_seconds: float = 10.0
    """How long one answer of a web service may take, all in all."""
    service_wait_seconds: float = 60.0
    """How long to wait for the end of a web service's rate limit."""
    journal_limit_mb: int = 64
    """Past how many MB of the journal a batch flushes at its end, and `stats --check` warns."""
    service_lifetime_days: float = 30.0
    """How long an answer of a web service holds."""
    language: str = "en"
    """Language of names, where a source has names in it; else they are in English."""


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
    origins: dict[str, str] = {}
    for path, required in _configs(environ, config):
        said = _at_home(_read(path, required=required), environ)
        origins |= dict.fromkeys(said, path)
        listed = [*said.pop("database_dirs", []), *listed]
        chosen |= said
    said = _at_home(_from(environ), environ)
    listed = [*said.pop("database_dirs", []), *listed]
    for path in filter(os.path.isfile, listed):
        reason = "a file where a directory is needed; to ask this one: --db FILE"
        raise SettingsError(path, reason, origin="database_dirs")
    chosen |= said | ({} if data_dir is None else {"data_dir": data_dir})
    if "language" in chosen:
        chosen["language"] = _canonical(chosen["language"])
    if not chosen["data_dir"]:
        raise SettingsError("--data-dir", "empty", origin="command line")
    for name, other in (_ACCOUNT, _ACCOUNT[::-1]):
        if chosen.get(name) and not chosen.get(other):
            raise SettingsError(name, f"does not go without {other}", origin=origins.get(name, "environment"))
    own = _xdg(environ, "DATA", ".local/share")
    update_dir = (listed or [SYSTEM_DATABASE_DIRS[1] if is_root else own])[0]
    conf, key_file, geoip = _geoip_conf(environ)
    is_shared = chosen.get("system_databases", True)
    geoip_dirs = [geoip["DatabaseDirectory"]] if is_shared and "DatabaseDirectory" in geoip else []
    return Settings(
        **chosen,
        named_dirs=tuple(listed),
        database_dirs=(*listed, own, *geoip_dirs, *(SYSTEM_DATABASE_DIRS if is_shared else ())),
        update_dir=update_dir,
        maxmind_dir=(*geoip_dirs, update_dir)[0],
        geoip_conf=conf,
        has_maxmind_account="LicenseKey" in geoip,
        maxmind_key_file=key_file,
        databases=tuple(databases),
    )


def _at_home(said: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Let `~/` at the beginning of a path stand for the user's directory, as a shell does."""
    home = environ.get("HOME") or _home()

    def found(path: str) -> str:
        return os.path.join(home, path[2:]) if path.startswith("~/") else path

    for name in _PATHS & said.keys():
        said[name] = list(map(found, said[name])) if isinstance(said[name], list) else found(said[name])
    return said


def _xdg(environ: Mapping[str, str], kind: str, default: str) -> str:
    """Return geocli's directory of a kind; a variable that is not absolute is ignored, as XDG says."""
    base = environ.get(f"XDG_{kind}_HOME", "")
    own = os.path.join(environ.get("HOME") or _home(), default)
    return os.path.join(base if os.path.isabs(base) else own, "geocli")


def _home() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return "/"  # a container's user without a name


def _configs(environ: Mapping[str, str], config: str | None) -> list[tuple[str, bool]]:
    """Return the configuration files in rising precedence, and whether each must be there."""
    if named := config or environ.get("GEOCLI_CONFIG"):
        return [(named, True)]
    return [(SYSTEM_CONFIG, False), (os.path.join(_xdg(environ, "CONFIG", ".config"), "config.toml"), False)]


def _read(path: str, *, required: bool) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not required:
            return {}
        raise SettingsError("configuration", f"cannot be read: {error.strerror}", origin=path) from error
    import tomllib

    try:
        text = data.decode("utf-8-sig")
        said = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError("configuration", f"not TOML: {error}", origin=path) from error
    for name, value in said.items():
        if name in _FORMS and _fits(_FORMS[name], value):
            continue
        from geocli.models import unknown

        reason = f"{_shown(value)} is not {_FORMS[name]}" if name in _FORMS else unknown("key", name, list(_FORMS))
        raise SettingsError(name, reason, origin=path, line=_line_of(name, text))
    return said


def _line_of(name: str, text: str) -> int:
    """Return the line that a key of a sound TOML text stands in, which tomllib does not tell.

    What ends between two statements is sound, too. So the key is in the statement that begins after the last sound
    beginning of the text without it.
    """
    import tomllib

    lines = text.split("\n")
    start = 0
    for end in range(1, len(lines) + 1):
        try:
            said = tomllib.loads("\n".join(lines[:end]) + "\n")
        except ValueError:  # in the middle of a statement
            continue
        if name in said:
            break
        start = end
    return start + 1


def _fits(form: str, value: Any) -> bool:
    """Tell whether a value is of a form."""
    if form == "true or false":
        return isinstance(value, bool)
    if form == "a list of texts":
        return isinstance(value, list) and all(isinstance(text, str) and text and "\0" not in text for text in value)
    if form in _MOST:
        kinds = int if form == "a whole number" else int | float
        return isinstance(value, kinds) and not isinstance(value, bool) and 0 <= value <= _MOST[form]
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    return bool(_CHECKS[form](value)) if form in _CHECKS else value in form.replace(" or", ",").split(", ")


def _canonical(language: str) -> str:
    from geocli.languages import canonical

    return canonical(language)


_CHECKS: dict[str, Callable[[str], object]] = {
    "a text": bool,
    "the name of a host": lambda text: all(char.isascii() and (char.isalnum() or char in _HOST_MARKS) for char in text),
    _FORMS["language"]: _canonical,  # an empty string for what is not a language
}


def _from(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what the environment says; an empty variable says nothing."""
    given = {name: environ[variable] for name, variable in _VARIABLES.items() if environ.get(variable)}
    return {name: _read_variable(_VARIABLES[name], _FORMS[name], text) for name, text in given.items()}


def _read_variable(variable: str, form: str, text: str) -> Any:
    value: Any = text
    if form == "true or false":
        value = _WORDS.get(text.lower())
    elif form == "a list of texts":
        value = [path for path in text.split(":") if path]
    elif form in _MOST:
        with suppress(ValueError):
            value = int(text) if form == "a whole number" else float(text)
    if not _fits(form, value):
        raise SettingsError(variable, f"{_shown(text)} is not {form}", origin="environment")
    return value


def _shown(value: Any) -> str:
    return "'…'" if isinstance(value, str) and may_be_key(value) else repr(value)


def _geoip_conf(environ: Mapping[str, str]) -> tuple[str, str, dict[str, str]]:
    """Return the file of geoipupdate's settings, that of the key, and what it or variables say of directory and key."""
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
    in_conf = found[0] if "LicenseKey" in found[1] and "LicenseKey" not in said else ""
    return named or found[0], environ.get("GEOIPUPDATE_LICENSE_KEY_FILE") or in_conf, found[1] | said


_GEOIPUPDATE = {
    "GEOIPUPDATE_DB_DIR": "DatabaseDirectory",
    "GEOIPUPDATE_LICENSE_KEY": "LicenseKey",
    "GEOIPUPDATE_LICENSE_KEY_FILE": "LicenseKey",
}


def shows_flags(environ: Mapping[str, str] | None = None) -> bool:
    """Tell whether the terminal is one of those that are known to show flags; most show two letters, or nothing.

    Inside tmux or screen nobody knows, and these set the variables to their own names.
    """
    environ = os.environ if environ is None else environ
    return environ.get("TERM_PROGRAM") in _FLAG_PROGRAMS or environ.get("TERM") in _FLAG_TERMS


_FLAG_PROGRAMS = {"Apple_Terminal", "iTerm.app", "WezTerm", "ghostty"}
_FLAG_TERMS = {"xterm-kitty", "xterm-ghostty", "wezterm"}
