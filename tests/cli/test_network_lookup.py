"""Networks and ranges among addresses: in lists, tables and JSON, and as arguments of `lookup`."""

from __future__ import annotations

import csv
import io
import json
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geocli import address_ranges
from geocli.address_ranges import AddressRange
from geocli.cache import GeoCache
from geocli.engine.network_lookup import NetworkLookup
from tests.helpers.command_output import complaint, complaints, objects
from tests.helpers.data_directories import dirty
from tests.helpers.databases import LONDON, TOKYO, build
from tests.helpers.record_families import FAMILIES
from tests.helpers.search_trees import Trie

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli


pytestmark = pytest.mark.measured
FIELDS = ("-F", "ip,status,country_code,city,asn")
ANSWERS = {
    "81.2.69.0/24": "81.2.69.0/24,resolved,GB,London,",
    "81.2.69.130/25": "81.2.69.128/25,resolved,GB,London,20712",
    "81.2.69.1-81.2.69.9": "81.2.69.1-81.2.69.9,resolved,GB,London,",
    "81.2.69.120 - 81.2.69.140": "81.2.69.120-81.2.69.140,resolved,GB,London,",
    "81.2.69.160/32": "81.2.69.160,resolved,GB,London,20712",
    "81.2.68.0/23": "81.2.68.0/23,unresolved,,,",
    "2001:218::/32": "2001:218::/32,resolved,JP,Tokyo,2914",
    "2001:218::1-2001:218::ffff": "2001:218::1-2001:218::ffff,resolved,JP,Tokyo,2914",
    "0.0.0.0/0": "0.0.0.0/0,unresolved,,,",
    "::/0": "::/0,unresolved,,,",
    "10.0.0.0/8": "10.0.0.0/8,special,,,",
    "10.0.0.0/7": "10.0.0.0/7,unresolved,,,",
    "2002:5102:4500::/40": "2002:5102:4500::/40,resolved,GB,London,",
    "64:ff9b::81.2.69.0/121": "64:ff9b::5102:4500/121,resolved,GB,London,",
    "2001:0:5102:4500::/64": "2001:0:5102:4500::/64,unresolved,,,",
    "81.2.69.0/33": "81.2.69.0/33,invalid,,,",
    "81.2.69.9-81.2.69.1": "81.2.69.9-81.2.69.1,invalid,,,",
    "98.0.0.0": '98.0.0.0,resolved,US,"Winston, ""Salem""",',
}
"""Lines of a list, and the rows of their answers."""


@pytest.mark.parametrize("repeats", [1, 2000])
def test_one_row_a_line(located: Geocli, repeats: int) -> None:
    """The fields that hold for the whole network; the same in input that is large enough for the kernel."""
    text = "".join(f"{line}\n" for line in ANSWERS)
    run = located("batch", *FIELDS, stdin=text.encode() * repeats)

    assert ["ip,status,country_code,city,asn", *[*ANSWERS.values()] * repeats] == run.stdout.decode().splitlines()
    assert "81.2.69.130/25: has host bits; looked up as 81.2.69.128/25" == complaints(run)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        *("{} # a note", "{}\t# a note", "{} ; SBL256894", "{},malware", "  {}", "{}\r"),
        '"{}"',
    ],
)
@pytest.mark.parametrize("network", ["81.2.69.0/24", "81.2.69.1-81.2.69.9", "81.2.69.1 - 81.2.69.9"])
@pytest.mark.parametrize("repeats", [1, 5000])
def test_networks_in_feeds(located: Geocli, line: str, network: str, repeats: int) -> None:
    """They may have notes, as addresses may."""
    run = located("batch", *FIELDS, stdin=f"# a feed\n{line.format(network)}\n".encode() * repeats)
    rows = list(csv.DictReader(io.StringIO(run.stdout.decode())))[1::2]

    assert [(network.replace(" ", ""), "GB")] * repeats == [(row["ip"], row["country_code"]) for row in rows]


def test_networks_in_tables(located: Geocli) -> None:
    """A range is not taken for several addresses."""
    table = b'ip,n\n81.2.69.0/24,1\n"81.2.69.120 - 81.2.69.140",2\n81.2.69.1/32,3\n'
    lines = [{"ip": "81.2.69.0/24"}, {"ip": "81.2.69.120 - 81.2.69.140"}, "81.2.69.0/24"]
    csv_rows = located("batch", "-F", "country_code", stdin=table).stdout
    rows = objects(located("batch", *FIELDS, stdin="".join(f"{json.dumps(line)}\n" for line in lines).encode()).stdout)

    assert b'ip,n,country_code\n81.2.69.0/24,1,GB\n"81.2.69.120 - 81.2.69.140",2,GB\n81.2.69.1/32,3,GB\n' == csv_rows
    assert ["81.2.69.0/24", "81.2.69.120-81.2.69.140"] == [line["geo"]["ip"] for line in rows[:2]]
    assert ["resolved", "resolved", "invalid"] == [line["geo"]["status"] for line in rows]


def test_networks_in_logs_are_those_of_their_addresses(located: Geocli) -> None:
    """As before, a network is labelled like its first address."""
    run = located("batch", "-i", "log", stdin=b"route 81.2.69.128/25 up\n")

    assert b"route 81.2.69.128/25 [London, GB] up\n" == run.stdout


def test_networks_are_not_cached(located: Geocli) -> None:
    """Nothing goes to the journal, and nothing comes from the cache."""
    assert 0 == located("lookup", "-q", "81.2.69.0/24").returncode
    assert 0 == located("batch", stdin=b"81.2.69.0/24\n81.2.69.1/32\n").returncode
    assert ["81.2.69.1"] == [entry.ip for entry in dirty(located)]
    run = located("batch", "--cached-only", "-F", "ip,status,error", stdin=b"81.2.69.0/24\n")
    assert b"81.2.69.0/24,unresolved,networks are not cached" in run.stdout


def test_lookup_prints_each_network(located: Geocli) -> None:
    """In their order, among addresses; a range is divided into networks."""
    run = located("lookup", "-F", "ip,network,asn", "81.2.69.120-81.2.69.140", "98.0.0.1", "81.2.69.1/24")

    assert [
        ("81.2.69.120/29", "81.2.69.120/29", None),
        ("81.2.69.128/29", "81.2.69.128/29", 20712),
        ("81.2.69.136/30", "81.2.69.136/30", 20712),
        ("81.2.69.140/32", "81.2.69.140/32", 20712),
        ("98.0.0.1", "98.0.0.0/24", None),
        ("81.2.69.0/25", "81.2.69.0/25", None),
        ("81.2.69.128/25", "81.2.69.128/25", 20712),
    ] == [tuple(row.values()) for row in objects(run.stdout)]
    assert "81.2.69.1/24: has host bits; looked up as 81.2.69.0/24" == complaint(run)


@pytest.mark.parametrize("format_", ["json", "jsonl", "csv", "tsv", "value"])
def test_lookup_in_each_format(located: Geocli, format_: str) -> None:
    """As addresses are printed."""
    output = located("lookup", "-f", format_, "-F", "ip,asn", "81.2.69.0/24").stdout.decode()
    expected = {
        "json": '[\n  {"ip": "81.2.69.0/25", "asn": null},\n  {"ip": "81.2.69.128/25", "asn": 20712}\n]\n',
        "jsonl": '{"ip": "81.2.69.0/25", "asn": null}\n{"ip": "81.2.69.128/25", "asn": 20712}\n',
        "csv": "ip,asn\n81.2.69.0/25,\n81.2.69.128/25,20712\n",
        "tsv": "ip\tasn\n81.2.69.0/25\t\n81.2.69.128/25\t20712\n",
        "value": "81.2.69.0/25\t\n81.2.69.128/25\t20712\n",
    }

    assert expected[format_] == output


def test_lookup_shows_the_distinct_answers(geocli: Geocli) -> None:
    """Those with the most addresses first, and their networks; `--top` limits them."""
    records = {"11.0.0.0/24": LONDON, "11.0.2.0/24": LONDON, "11.0.4.0/24": LONDON, "11.0.1.0/24": TOKYO}
    build(geocli.db_dir / "GeoLite2-City.mmdb", records)
    shown = geocli("lookup", "-f", "table", "-F", "city", "11.0.0.0/21").stdout.decode()
    lines = [line.split() for line in shown.splitlines() if line.strip() and "─" not in line]

    assert [
        ["11.0.0.0/21:", "3", "answers"],
        ["networks", "addresses", "share", "city"],
        ["11.0.3.0/24,", "11.0.5.0-11.0.7.255", "1,024", "50.0%"],
        ["11.0.0.0/24,", "11.0.2.0/24", "and", "1", "more", "768", "37.5%", "London"],
        ["11.0.1.0/24", "256", "12.5%", "Tokyo"],
    ] == lines
    top = geocli("lookup", "-f", "table", "--top", "1", "11.0.0.0/21").stdout.decode().splitlines()
    assert "2 more; --top 3 shows all" == top[-1].strip()
    everything = geocli("lookup", "-f", "table", "-F", "city", "--top", f"{10**30}", "11.0.0.0/21")
    assert shown == everything.stdout.decode()


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("81.2.69.0/24",), 0),
        (("10.0.0.0/8",), 0),
        (("11.0.0.0/24",), 1),
        (("0.0.0.0/0",), 0),
        (("11.0.0.0/24", "81.2.69.0/24"), 1),
        (("81.2.69.0/24", "nowhere"), 2),
        (("81.2.69.0/24", "--cached-only"), 1),
    ],
)
def test_the_exit_status_of_lookup(located: Geocli, arguments: tuple[str, ...], status: int) -> None:
    """It is 1 if no address of a network has an answer, with and without output."""
    assert status == located("lookup", *arguments).returncode
    assert status == located("lookup", "-q", *arguments).returncode


def test_without_a_database(geocli: Geocli) -> None:
    """The built-in data answer addresses only."""
    run = geocli("lookup", "193.0.6.0/24")

    assert (3, b"") == (run.returncode, run.stdout)
    assert complaint(run).endswith(
        "networks are answered from databases; get one with: geocli db update dbip-country-lite"
    )


@pytest.mark.parametrize("repeats", [1, 5000])
def test_a_feed_without_a_database(geocli: Geocli, repeats: int) -> None:
    """The exit status has a reason, once."""
    run = geocli("batch", "-f", "value", "-F", "status", stdin=b"8.8.8.8\n193.0.6.0/24\n1.1.1.0/24\n" * repeats)

    assert (3, b"resolved\nunresolved\nunresolved\n" * repeats) == (run.returncode, run.stdout)
    assert complaint(run).startswith("193.0.6.0/24: networks are answered from databases; get one with: ")


_paths = count()
PREFIXES = st.tuples(st.ip_addresses(v=4), st.integers(20, 32)).map(
    lambda pair: f"11.0.{int(pair[0]) >> 8 & 255}.{int(pair[0]) & 255}/{pair[1]}"
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prefixes=st.dictionaries(PREFIXES, st.integers(0, len(FAMILIES["GeoLite2-City"]) - 1), max_size=8),
    asns=st.dictionaries(PREFIXES, st.integers(0, len(FAMILIES["GeoLite2-ASN"]) - 1), max_size=4),
    bounds=st.tuples(st.integers(0, 1 << 16), st.integers(0, 60)),
)
def test_what_holds_for_a_range_holds_for_all_its_addresses(
    tmp_path: Path, prefixes: dict[str, int], asns: dict[str, int], bounds: tuple[int, int]
) -> None:
    """And what holds for all its addresses holds for the range."""
    paths = []
    for edition, numbers in (("GeoLite2-City", prefixes), ("GeoLite2-ASN", asns)):
        records = {prefix: FAMILIES[edition][number] for prefix, number in numbers.items()}
        path = tmp_path / f"{next(_paths)}.mmdb"
        paths.append(Trie(records, ip_version=4).write(path, 24, records=records, edition=edition))
    first = (11 << 24) + bounds[0]
    network = address_ranges.parse(
        f"{address_ranges.address(4, first)}-{address_ranges.address(4, first + 1 + bounds[1])}"
    )
    assert isinstance(network, AddressRange)
    with GeoCache(tmp_path / "data", databases=paths) as cache:
        entry = NetworkLookup(cache).entry(network, "no-cache")
        addresses = [address_ranges.address(4, number) for number in range(network.first, network.last + 1)]
        places = [without_traits(each.place.as_dict()) for each in cache.lookup_batch(addresses, mode="no-cache")]
    common = {name: value for name, value in places[0].items() if all(place.get(name) == value for place in places)}

    assert common == without_traits(entry.place.as_dict())
    assert ("resolved" if common else "unresolved") == entry.status


def without_traits(place: dict[str, Any]) -> dict[str, Any]:
    """Return the known fields and traits of a place."""
    traits = {f"traits.{name}": value for name, value in (place["traits"] or {}).items()}
    return {name: value for name, value in place.items() if value is not None and name != "traits"} | traits
