"""Missing directories and fields without values are reported."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers.command_output import complaint, complaints
from tests.helpers.databases import CITIES, NETWORKS, build

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

GB = "81.2.69.160"
REASON = "does not exist, but GEOCLI_DB_DIR or database_dirs names it"


@pytest.fixture
def missing_directory(located: Geocli) -> Path:
    """Configure a missing directory after an existing one."""
    path = located.db_dir.parent / "gone"
    located.environ["GEOCLI_DB_DIR"] = f"{located.db_dir}:{path}"
    return path


def test_the_list_shows_a_missing_directory(located: Geocli, missing_directory: Path) -> None:
    """As an unusable database, after the usable ones."""
    ran = located("db", "list", "-f", "json")
    assert (0, b"") == (ran.returncode, ran.stderr)
    *_, last = json.loads(ran.stdout)
    assert (str(missing_directory), f"{missing_directory}: {REASON}") == (last["path"], last["error"])
    assert REASON.encode() in located("db", "list", "-f", "table").stdout


def test_it_is_unhealthy(located: Geocli, missing_directory: Path) -> None:
    """A monitor sees it until the directory exists."""
    for name in ("City", "ASN"):
        records: dict[str, Any] = CITIES if name == "City" else NETWORKS
        build(located.db_dir / f"GeoLite2-{name}.mmdb", records, edition=f"GeoLite2-{name}")
    ran = located("stats", "--check")
    assert (1, f"{missing_directory}: {REASON}") == (ran.returncode, complaints(ran)[0])
    missing_directory.mkdir()
    assert 0 == located("stats", "--check").returncode


@pytest.mark.parametrize("origin", ["environment", "configuration"])
@pytest.mark.parametrize("count", [1, 3000])
def test_a_batch_reports_it_once(located: Geocli, missing_directory: Path, count: int, origin: str) -> None:
    """When sources are asked, for input of any size; the answers are those of the existing databases."""
    if origin == "configuration":
        config = located.db_dir.parent / "config.toml"
        config.write_text(f'system_databases = false\ndatabase_dirs = ["{located.db_dir}", "{missing_directory}"]\n')
        del located.environ["GEOCLI_DB_DIR"]
    texts = [f"81.2.69.{number % 256}\n" for number in range(count)]
    ran = located("batch", "-f", "value", "-F", "city", stdin="".join(texts).encode())
    assert b"London\n" * count == ran.stdout
    assert (0, f"{missing_directory}: {REASON}") == (ran.returncode, complaint(ran))


def test_a_lookup_reports_it_once_and_a_hit_never(located: Geocli, missing_directory: Path) -> None:
    """An answer from the cache needs no directory; flush and --cached-only print nothing, either."""
    ran = located("lookup", GB, "81.2.69.161")
    assert (0, f"{missing_directory}: {REASON}") == (ran.returncode, complaint(ran))
    for arguments in (("lookup", GB), ("flush",), ("lookup", GB), ("lookup", "--cached-only", GB), ("db", "verify")):
        ran = located(*arguments)
        assert (0, b"") == (ran.returncode, ran.stderr), arguments


def test_named_files_need_no_directory(located: Geocli, missing_directory: Path) -> None:
    """With `--db` no directory is searched."""
    ran = located("lookup", "--db", str(located.db_dir / "GeoLite2-City.mmdb"), GB)
    assert (0, b"", False) == (ran.returncode, ran.stderr, missing_directory.exists())


@pytest.mark.parametrize("command", ["lookup", "small batch", "large batch"])
class TestEmptyFields:
    """A field that no resolved row has."""

    @staticmethod
    def complaints(geocli: Geocli, command: str, fields: str, *options: str, ip: str = GB) -> list[str]:
        """Return the messages on standard error."""
        if command == "lookup":
            ran = geocli("lookup", *options, "-F", fields, ip)
        else:
            count = 3000 if command == "large batch" else 1
            ran = geocli("batch", *options, "-F", fields, stdin=f"{ip}\n".encode() * count)
        assert 0 == ran.returncode
        return complaints(ran)

    def test_is_reported_once_with_a_remedy(self, geocli: Geocli, command: str) -> None:
        """Without databases, installing some helps; the built-in data have countries."""
        message = "city: empty in every resolved row; for databases that have it: geocli db update"
        assert [message] == self.complaints(geocli, command, "ip,country_code,city")
        expected = [message.replace("city", name) for name in ("city", "asn")]
        assert expected == self.complaints(geocli, command, "city,source,asn,scope,error")
        assert ["traits.isp: empty in every resolved row"] == self.complaints(
            geocli, command, "country_code,traits.isp"
        )

    def test_without_a_remedy_where_there_is_none(self, located: Geocli, command: str) -> None:
        """If there is a database of cities already, databases are given by --db, or with --cached-only."""
        assert ["region: empty in every resolved row"] == self.complaints(located, command, "region", ip="2001:218::1")
        asn = str(located.db_dir / "GeoLite2-ASN.mmdb")
        assert ["city: empty in every resolved row"] == self.complaints(located, command, "city,asn", "--db", asn)

    def test_no_message_if_a_row_has_the_field(self, located: Geocli, command: str) -> None:
        """Nor for special rows alone, nor without a choice of fields."""
        fields = "city,asn,network,built_at,traits.accuracy_radius,cached,resolved_at"
        assert [] == self.complaints(located, command, fields)
        assert [] == self.complaints(located, command, "city,scope", ip="10.0.0.1")
        assert b"" == located("batch", stdin=b"2001:218::1\n").stderr


def test_one_row_that_has_it_is_enough(located: Geocli) -> None:
    """Rows without a field are usual; logs and CSV are checked in the same way."""
    assert b"" == located("lookup", "-F", "region", GB, "2001:218::1").stderr
    ran = located("batch", "-i", "log", "-F", "postal_code", stdin=b"from 2001:218::1\n" * 3000)
    assert "postal_code: empty in every resolved row" == complaint(ran)


def test_a_quiet_lookup_prints_no_message(geocli: Geocli) -> None:
    """With `-q` the exit status is enough."""
    assert b"" == geocli("lookup", "-q", "-F", "city", GB).stderr
