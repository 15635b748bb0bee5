"""`geocli networks` lists the networks of a selection, in each format, or writes nothing."""

from __future__ import annotations

import csv
import io
import resource
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from tests.helpers.command_output import complaint, complaints, objects
from tests.helpers.databases import NETWORKS, build, damage_record
from tests.helpers.search_trees import Trie

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli


pytestmark = pytest.mark.measured
BUILT = "# GeoLite2-City, built 2026-05-28\n# GeoLite2-ASN, built 2026-05-28\n"
ATTRIBUTION = "# This product includes GeoLite data created by MaxMind, available from https://www.maxmind.com\n"


def listed(geocli: Geocli, *arguments: str) -> list[str]:
    run = geocli("networks", *arguments)
    assert (0, b"") == (run.returncode, run.stderr)
    return run.stdout.decode().splitlines()


@pytest.mark.parametrize(
    ("arguments", "networks"),
    [
        (("--country", "GB"), ["81.2.69.0/24"]),
        (("--country", "gb,US"), ["81.2.69.0/24", "98.0.0.0/24"]),
        (("--country", "GB", "--country", "JP"), ["81.2.69.0/24", "2001:218::/32"]),
        (("--country", "GB,JP", "-4"), ["81.2.69.0/24"]),
        (("--country", "GB,JP", "-6"), ["2001:218::/32"]),
        (("--country", "GB,JP", "-4", "-6"), ["81.2.69.0/24", "2001:218::/32"]),
        (("--asn", "AS20712"), ["81.2.69.128/25"]),
        (("--asn", "20712,2914"), ["81.2.69.128/25", "2001:218::/32"]),
        (("--only", "city=tokyo"), ["2001:218::/32"]),
        (("--only", "continent_code=EU", "--except", "asn=20712"), ["81.2.69.0/25"]),
        (("--country", "GB", "--no-aggregate"), ["81.2.69.0/25", "81.2.69.128/25"]),
        (("--country", "GB", "-f", "range"), ["81.2.69.0-81.2.69.255"]),
        (("--country", "GB", "-f", "range", "--no-aggregate"), ["81.2.69.0-81.2.69.127", "81.2.69.128-81.2.69.255"]),
        (("--only", "status=resolved", "--except", "country_code=US,JP"), ["81.2.69.0/24"]),
        (("--only", "scope=loopback"), ["127.0.0.0/8", "::1/128"]),
    ],
)
def test_networks_of_a_selection(located: Geocli, arguments: tuple[str, ...], networks: list[str]) -> None:
    """The merged answers of both databases count; neighbours are merged, and IPv4 comes first."""
    assert networks == listed(located, *arguments)


def test_csv_and_json_have_fields(located: Geocli) -> None:
    """By default those that are selected by; neighbours are merged if all fields are the same."""
    assert ["network,country_code", "81.2.69.0/24,GB"] == listed(located, "--country", "GB", "-f", "csv")
    rows = csv.DictReader(
        io.StringIO(located("networks", "--country", "GB", "-f", "csv", "-F", "org,city").stdout.decode())
    )
    assert [
        {"network": "81.2.69.0/25", "org": "", "city": "London"},
        {"network": "81.2.69.128/25", "org": "Andrews & Arnold Ltd", "city": "London"},
    ] == list(rows)
    assert [{"network": "98.0.0.0/24", "city": 'Winston, "Salem"'}] == objects(
        located("networks", "--country", "US", "-f", "jsonl", "-F", "city").stdout
    )
    assert ["network,city", '98.0.0.0/24,"Winston, ""Salem"""'] == listed(
        located, "--country", "US", "-f", "csv", "-F", "city"
    )


def test_a_file_for_nftables(located: Geocli) -> None:
    """The sets are defined, emptied and filled in one transaction; a family without networks has an empty set."""
    assert (
        f"""# country_code=GB
{BUILT}{ATTRIBUTION}table inet geocli {{
	set geocli_gb_ipv4 {{
		type ipv4_addr
		flags interval
	}}
	set geocli_gb_ipv6 {{
		type ipv6_addr
		flags interval
	}}
}}
flush set inet geocli geocli_gb_ipv4
flush set inet geocli geocli_gb_ipv6
add element inet geocli geocli_gb_ipv4 {{
	81.2.69.0/24,
}}
""".splitlines()
        == listed(located, "--country", "GB", "-f", "nft")
    )


def test_a_file_for_ipset(located: Geocli) -> None:
    """New sets are filled, then swapped for those in use."""
    assert (
        f"""# country_code=GB
{BUILT}{ATTRIBUTION}create geocli_gb_ipv4 hash:net family inet maxelem 16777216 -exist
create geocli_gb_new4 hash:net family inet maxelem 16777216 -exist
flush geocli_gb_new4
add geocli_gb_new4 81.2.69.0/24
swap geocli_gb_new4 geocli_gb_ipv4
destroy geocli_gb_new4
""".splitlines()
        == listed(located, "--country", "GB", "-f", "ipset", "-4")
    )


def test_a_block_for_nginx(located: Geocli) -> None:
    """The name can be chosen."""
    assert (
        f"""# asn=20712,2914
{BUILT}{ATTRIBUTION}geo $ours {{
    default 0;
    81.2.69.128/25 1;
    2001:218::/32 1;
}}
""".splitlines()
        == listed(located, "--asn", "20712,AS2914", "-f", "nginx", "--name", "ours")
    )


def test_ipset_has_no_prefix_of_0_bits(geocli: Geocli) -> None:
    """The whole address space is two networks there."""
    everything = {"country": {"iso_code": "NL"}}
    records = {"0.0.0.0/1": everything, "128.0.0.0/1": everything}
    Trie(records, ip_version=4).write(geocli.db_dir / "a.mmdb", 24, records=records)
    added = [line for line in listed(geocli, "--country", "NL", "-f", "ipset") if line.startswith("add ")]

    assert ["0.0.0.0/0"] == listed(geocli, "--country", "NL")
    assert ["add geocli_nl_new4 0.0.0.0/1", "add geocli_nl_new4 128.0.0.0/1"] == added


def test_a_file_is_replaced_when_it_is_complete(located: Geocli, tmp_path: Path) -> None:
    """The output is the same as on standard output, and the same each time."""
    path = tmp_path / "networks"
    path.write_text("old")

    assert [] == listed(located, "--country", "GB", "-o", str(path))
    assert listed(located, "--country", "GB") == path.read_text().splitlines()
    assert [path.name] == [each.name for each in tmp_path.iterdir() if each.is_file() and "networks" in each.name]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--asn", "64496"), 1, "networks: no network of the databases has asn=64496; nothing was written"),
        (
            ("--country", "TV", "-4"),
            1,
            "networks: no network of the databases has country_code=TV; nothing was written",
        ),
        (("--country", "UK"), 2, "--country: UK: not the code of a country; did you mean GB (United Kingdom)?"),
        (("--only", "region=x"), 1, "no network of the databases has region=x"),
        (("--only", "domain=x"), 2, "networks: domain: no database has this field; see geocli db list"),
    ],
)
def test_nothing_is_overwritten(
    located: Geocli, tmp_path: Path, arguments: tuple[str, ...], status: int, message: str
) -> None:
    """If no network is selected, or none can be, there is an error, and no output at all."""
    path = tmp_path / "networks"
    path.write_text("old")
    for options in ((), ("-o", str(path)), *(("-f", format_, "-o", str(path)) for format_ in ("csv", "nft", "ipset"))):
        run = located("networks", *arguments, *options)

        assert (status, b"") == (run.returncode, run.stdout)
        assert message in complaint(run)
    assert "old" == path.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "command line: networks: choose some with --country, --asn, --only or --except"),
        (("--only", "ip=8.8.8.8"), "command line: ip: a field of addresses, not of networks"),
        (
            ("--country", "GB", "-f", "csv", "-F", "cached"),
            "command line: cached: a field of addresses, not of networks",
        ),
        (("--country", "GB", "-F", "asn"), "command line: -F: cannot be used with -f cidr"),
        (("--country", "GB", "--name", "a"), "command line: --name: cannot be used with -f cidr"),
        (("--country", "GB", "-f", "nft", "--name", "a b"), "--name a b: not a name of at most 26 letters"),
        (("--country", "GB", "-f", "nft", "--name", "x" * 27), "not a name of at most 26 letters"),
    ],
)
def test_wrong_usage(located: Geocli, arguments: tuple[str, ...], message: str) -> None:
    """An error names the option."""
    run = located("networks", *arguments)

    assert (2, b"") == (run.returncode, run.stdout)
    assert message in complaint(run)


@pytest.mark.parametrize(
    ("edition", "arguments", "field"),
    [
        ("dbip-country-lite", ("--country", "GB"), "country_code"),
        ("dbip-city-lite", ("--only", "city=London"), "city"),
    ],
)
def test_a_field_that_no_database_has(geocli: Geocli, edition: str, arguments: tuple[str, ...], field: str) -> None:
    """The message says how to get a database that has it."""
    build(geocli.db_dir / "GeoLite2-ASN.mmdb", NETWORKS, edition="GeoLite2-ASN")
    run = geocli("networks", *arguments)

    assert (2, b"") == (run.returncode, run.stdout)
    assert f"networks: {field}: no database has this field; get one with: geocli db update {edition}" == complaint(run)


def test_without_any_database(geocli: Geocli) -> None:
    """The built-in data answer addresses, but have no networks."""
    run = geocli("networks", "--country", "NL")

    assert (2, b"") == (run.returncode, run.stdout)
    assert complaint(run).endswith(
        "the built-in data have no networks; get one with: geocli db update dbip-country-lite"
    )


def test_a_value_that_no_network_has(located: Geocli) -> None:
    """It is reported, but the others are written."""
    run = located("networks", "--country", "GB,TV")

    assert (0, b"81.2.69.0/24\n") == (run.returncode, run.stdout)
    assert ["country_code=TV: no selected network has it"] == complaints(run)


def test_the_code_eu_is_not_a_country(located: Geocli) -> None:
    """Some registrations have it; the error names the option for the members of the union."""
    run = located("networks", "--country", "EU")

    assert 1 == run.returncode
    assert complaint(run).endswith("for the countries of the European Union: --only is_in_european_union=true")


def test_a_damaged_database(located: Geocli, tmp_path: Path) -> None:
    """An incomplete list is not written."""
    damage_record(located.db_dir / "GeoLite2-City.mmdb")
    path = tmp_path / "networks"
    run = located("networks", "--only", "city=London", "-o", str(path))

    assert 3 == run.returncode
    assert "GeoLite2-City.mmdb: damaged" in complaint(run)
    assert not path.exists()


def test_a_database_that_cannot_be_read(located: Geocli) -> None:
    """Its networks might be missing, or others might not be selected with it."""
    (located.db_dir / "empty.mmdb").touch()
    run = located("networks", "--country", "GB")

    assert (3, b"") == (run.returncode, run.stdout)
    assert complaint(run).endswith("empty.mmdb: empty")


def test_no_cache_is_made(located: Geocli) -> None:
    """Networks are neither cached nor looked up there."""
    assert ["81.2.69.0/24"] == listed(located, "--country", "GB")
    assert not located.data_dir.exists()


def test_names_in_another_language(located: Geocli) -> None:
    """Values are those of the configured language."""
    run = located("networks", "--only", "country_name=Vereinigtes Königreich", environ={"GEOCLI_LANGUAGE": "de"})

    assert b"81.2.69.0/24\n" == run.stdout


@pytest.mark.slow
def test_all_networks_of_ipv6_take_little_memory(geocli: Geocli) -> None:
    """Everything but one country is selected, and written as it is found."""
    records = {f"{at >> 8 & 255}.{at & 255}.0.0/16": {"country_code": "NL"} for at in range(0, 1 << 16, 2)}
    Trie(records).write(geocli.db_dir / "a.mmdb", 24, records=records, edition="country")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    networks = [ip_network(line) for line in listed(geocli, "--except", "country_code=NL")]

    assert (1 << 15) < len(networks)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss <= max(before, 150_000)
