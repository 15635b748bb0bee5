"""GeoIP.conf and `GEOIPUPDATE_*`, the settings of MaxMind's geoipupdate, as far as every command needs them."""

from __future__ import annotations

from geocli.immutable import Value
from geocli.setting_files import content_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GEOIP_CONFS = ("/etc/GeoIP.conf", "/usr/local/etc/GeoIP.conf")
"""Default paths of the file (GeoIP.conf(5))."""


class GeoIPConf(Value):
    """Settings of geoipupdate."""

    path: str
    """The file, which may be missing if a variable names it; empty if there is none."""
    database_directory: str
    """Directory that geoipupdate installs databases in; empty for its default."""
    has_license_key: bool
    """Whether there is a licence key."""
    license_key_file: str
    """File that contains the licence key; empty if a variable contains it."""


def read_geoip_conf(environ: Mapping[str, str]) -> GeoIPConf:
    """Return the settings of geoipupdate; variables override the file, and a missing file is not an error."""
    named = environ.get("GEOIPUPDATE_CONF_FILE", "")
    path, values = _first_readable([named] if named else GEOIP_CONFS)
    key_file = environ.get("GEOIPUPDATE_LICENSE_KEY_FILE", "")
    is_in_variable = bool(environ.get("GEOIPUPDATE_LICENSE_KEY") or key_file)
    is_in_file = "LicenseKey" in values
    return GeoIPConf(
        path=named or path,
        database_directory=environ.get("GEOIPUPDATE_DB_DIR") or values.get("DatabaseDirectory", ""),
        has_license_key=is_in_variable or is_in_file,
        license_key_file=key_file or (path if is_in_file and not is_in_variable else ""),
    )


def _first_readable(paths: Iterable[str]) -> tuple[str, dict[str, str]]:
    for path in paths:
        try:
            lines = content_of(path).splitlines()
        except OSError:
            continue
        words = [line.decode(errors="replace").split(None, 1) for line in lines]
        return path, {word[0]: word[1].strip() for word in words if len(word) > 1}
    return "", {}
