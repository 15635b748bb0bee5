"""The kernel gives the rows of the scalar path, which is the definition, for any bytes and any databases."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from geocli.batch.request import BatchRequest
from geocli.batch.run import run
from geocli.batch.scheduler import SMALL_BYTES
from geocli.cache import GeoCache
from geocli.settings import Settings
from tests.helpers.database_contents import FLAT, MORE_CITIES, NUMBERS, TRAITS
from tests.helpers.odd_addresses import ODD
from tests.helpers.record_strategies import RECORDS
from tests.helpers.search_trees import SEPARATOR_BYTES, SIZES, Trie

if TYPE_CHECKING:
    from pathlib import Path

    from geocli.errors import GeocliError
    from geocli.models import Entry
    from tests.helpers.clock import Clock

pytestmark = pytest.mark.slow

_homes = count()
EDITIONS = ("GeoLite2-City", "GeoLite2-ASN", "Own", "GeoIP2-ISP")
KNOWN = [record for networks in (MORE_CITIES, NUMBERS, TRAITS, FLAT) for record in networks.values()]
PLACES = (
    *("0.0.0.0/1", "1.0.0.0/8", "1.2.0.0/16", "1.2.3.0/24", "1.2.3.4/32", "10.0.0.0/8", "100.64.0.0/9", "128.0.0.0/1"),
    *("81.2.69.0/24", "192.0.2.0/25", "224.0.0.0/4", "::/1", "2000::/3", "2a00::/12", "2a00:1450::/32", "fd00::/8"),
    *("2a00:1450:4000::1/128", "2001:db8::/32", "2002::/16", "64:ff9b::/96", "8000::/1", "::1/128", "ff00::/8"),
)
NETWORKS = st.sampled_from(PLACES) | st.tuples(st.ip_addresses().map(str), st.integers(1, 32)).map(
    lambda drawn: f"{drawn[0]}/{drawn[1]}"
)
ALIASES = ("::ffff:0:0/96", "2002::/16", "2001::/32")


class Drawn(NamedTuple):
    """A database to write."""

    networks: dict[str, Any]
    record_size: int
    ip_version: int
    aliases: set[str]
    damage: list[tuple[int, int]]
    """Positions in the tree and the data, and the bytes to write there."""


DATABASES = st.builds(
    Drawn,
    st.dictionaries(NETWORKS, RECORDS | st.sampled_from(KNOWN), min_size=1, max_size=8),
    st.sampled_from(SIZES),
    st.sampled_from([4, 6]),
    st.sets(st.sampled_from(ALIASES)),
    st.just([]),
)
DAMAGED = st.builds(
    lambda database, damage: database._replace(damage=damage),
    DATABASES,
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=6),
)


def near(prefix: str) -> list[str]:
    """Return the first and last address of a network, and their neighbours."""
    network = ip_network(prefix, strict=False)
    kind = IPv4Address if network.version == 4 else IPv6Address
    edges = {int(network[0]) - 1, int(network[0]), int(network[-1]), int(network[-1]) + 1}
    return [str(kind(number)) for number in edges if 0 <= number < 1 << network.max_prefixlen]


EDGES = [text for prefix in PLACES for text in near(prefix)]
TEXTS = st.lists(
    st.sampled_from(EDGES) | st.sampled_from(ODD) | st.ip_addresses().map(str) | st.text(max_size=8), max_size=30
)


def lines(databases: list[Drawn], texts: list[str]) -> list[str]:
    """Return texts, and addresses within and next to each network of the databases."""
    return [*(text for drawn in databases for prefix in drawn.networks for text in near(prefix)), *texts, "1.2.3.4"]


FIELDS = st.none() | st.lists(
    st.sampled_from(["ip", "network", "city", "asn", "org", "traits", "traits.isp", "status", "source", "latitude"]),
    min_size=1,
    max_size=6,
    unique=True,
).map(tuple)
MODES = st.sampled_from(["no-cache", "cache"])
PER_TEST = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


class World:
    """Databases, and caches that use them."""

    def __init__(self, home: Path, clock: Clock, databases: list[Drawn], *, is_named: bool) -> None:
        self.home, self._clock = home / str(next(_homes)), clock
        self.home.mkdir()
        paths = [self._written(number, database) for number, database in enumerate(databases)]
        self._sources: dict[str, Any] = (
            {"databases": tuple(paths)} if is_named else {"database_dirs": (str(self.home),)}
        )

    def _written(self, number: int, drawn: Drawn) -> str:
        edition = EDITIONS[number % len(EDITIONS)]
        path = self.home / f"{edition}.mmdb"
        networks = {str(ip_network(prefix, strict=False)): record for prefix, record in drawn.networks.items()}
        if drawn.ip_version == 4:
            networks = {prefix: record for prefix, record in networks.items() if ":" not in prefix}
        trie = Trie(networks, drawn.ip_version)
        if drawn.ip_version == 6:
            trie.alias(*drawn.aliases)
        trie.write(path, drawn.record_size, records=networks, edition=edition)
        data = bytearray(path.read_bytes())
        size_bytes = data.index(b"\xab\xcd\xefMaxMind.com")
        tree_bytes = len(trie.nodes) * drawn.record_size // 4
        for at, byte in drawn.damage:
            place = at % (size_bytes - SEPARATOR_BYTES)
            data[place if place < tree_bytes else place + SEPARATOR_BYTES] = byte
        path.write_bytes(data)
        return str(path)

    def answer(self, name: str, text: bytes, **options: Any) -> tuple[bytes, int, set[str], dict[str, Entry]]:
        """Return the rows of a text, the exit status, the reported problems, and the entries in the journal."""
        problems: list[GeocliError] = []
        file, out = self.home / f"{name}.in", self.home / f"{name}.out"
        file.write_bytes(text)
        chosen = Settings(data_dir=str(self.home / name), **self._sources)
        with GeoCache(settings=chosen, clock=self._clock, on_problem=problems.append) as cache:
            report = run(cache, BatchRequest(files=(str(file),), output=str(out), **options))
            entries = {entry.ip: entry for entry in cache.journal.dirty()} if options["mode"] == "cache" else {}
        return out.read_bytes(), report.exit_status, {str(problem) for problem in problems}, entries

    def compare(self, header: bytes, body: bytes, **options: Any) -> None:
        """Answer a text by the scalar path, and repetitions of it by the kernel, and compare all results."""
        times = SMALL_BYTES // len(body) + 1
        first, *_ = self.answer("none", header, **options)
        rows, *expected = self.answer("one", header + body, **options)
        assert len(header + body) < SMALL_BYTES
        many, *actual = self.answer("many", header + body * times, **options)

        assert (first + rows[len(first) :] * times).split(b"\n") == many.split(b"\n")
        assert expected == actual


@PER_TEST
@given(
    databases=st.lists(DATABASES, max_size=3),
    texts=TEXTS,
    format_=st.sampled_from(["csv", "tsv", "jsonl", "value"]),
    fields=FIELDS,
    mode=MODES,
    is_named=st.booleans(),
)
def test_lists(  # noqa: PLR0913 (drawn)
    tmp_path: Path,
    clock: Clock,
    *,
    databases: list[Drawn],
    texts: list[str],
    format_: str,
    fields: tuple[str, ...] | None,
    mode: str,
    is_named: bool,
) -> None:
    """In every format, from any databases, with the journal and without it."""
    world = World(tmp_path, clock, databases, is_named=is_named and bool(databases))
    body = "".join(f"{text}\n" for text in lines(databases, texts)).encode("utf-8", "surrogatepass")
    # A list does not begin with the name of a field: that would be a header.
    world.compare(b"1.2.3.4\n", body, format=format_, fields=fields, mode=mode)


@PER_TEST
@given(databases=st.lists(DAMAGED, min_size=1, max_size=3), texts=TEXTS, mode=MODES)
def test_damaged_databases(
    tmp_path: Path, clock: Clock, *, databases: list[Drawn], texts: list[str], mode: str
) -> None:
    """For any bytes of trees and records: the same rows, problems and journal entries."""
    world = World(tmp_path, clock, databases, is_named=False)
    body = "".join(f"{text}\n" for text in lines(databases, texts)).encode("utf-8", "surrogatepass")
    world.compare(b"", body, format="jsonl", fields=("ip", "status", "city", "network", "traits", "error"), mode=mode)


@PER_TEST
@given(databases=st.lists(DATABASES, max_size=2), texts=TEXTS, fields=FIELDS, mode=MODES, quoted=st.booleans())
def test_tables(  # noqa: PLR0913 (drawn)
    tmp_path: Path,
    clock: Clock,
    *,
    databases: list[Drawn],
    texts: list[str],
    fields: tuple[str, ...] | None,
    mode: str,
    quoted: bool,
) -> None:
    """Rows of CSV, with too few cells or too many."""
    world = World(tmp_path, clock, databases, is_named=False)
    rows = [f"a,{text}".replace('"', "").replace("\r", "") for text in lines(databases, texts)]
    rows += [f'"b","{text}",c'.replace("\r", "") for text in texts if quoted and '"' not in text]
    body = "".join(f"{row}\n" for row in rows).encode("utf-8", "surrogatepass")
    world.compare(b"name,ip\n", body, input="csv", fields=fields, prefix="geo_", mode=mode)


@PER_TEST
@given(databases=st.lists(DATABASES, max_size=2), texts=TEXTS, fields=FIELDS, mode=MODES, junk=st.text(max_size=20))
def test_json_lines(  # noqa: PLR0913 (drawn)
    tmp_path: Path,
    clock: Clock,
    *,
    databases: list[Drawn],
    texts: list[str],
    fields: tuple[str, ...] | None,
    mode: str,
    junk: str,
) -> None:
    """Objects, and lines that are not objects."""
    world = World(tmp_path, clock, databases, is_named=False)
    rows = [json.dumps({"a": 1, "ip": text}) for text in lines(databases, texts)] + [junk.replace("\n", "")]
    world.compare(b"", "".join(f"{row}\n" for row in rows).encode(), input="jsonl", fields=fields, mode=mode)


ATOMS = st.sampled_from(
    [
        *(
            b" ",
            b",",
            b":",
            b"/",
            b"/24",
            b"[",
            b"]",
            b"x",
            b"\n",
            b'"',
            b".",
            b"from ",
            b"Chrome/",
            b"\xff",
            b"\0",
            b"\t",
        ),
        *(b"1.2.3.4", b"1.2.3.0", b"10.0.0.1", b"2a00:1450:4000::1", b"::ffff:1.2.3.4", b"999.1.1.1", b"1[.]2[.]3[.]4"),
        *(b" [unknown]", b" [private]", b" [JP]", b"1.2.3.4 [Tokyo, JP]", b"fe80::1%eth0", b"81.2.69.160:80"),
    ]
)
LOGS = st.lists(ATOMS | st.binary(max_size=6), max_size=40).map(b"".join)


@PER_TEST
@given(databases=st.lists(DATABASES, max_size=2), text=LOGS, fields=FIELDS, mode=MODES, is_extract=st.booleans())
@example(databases=[], text=b"::ffff:1.2.3.4 [unknown]\n", fields=("network",), mode="no-cache", is_extract=False)
@example(databases=[], text=b"a,::ffff:10.0.0.1,b\n", fields=("status", "source"), mode="no-cache", is_extract=False)
def test_logs(  # noqa: PLR0913 (drawn)
    tmp_path: Path,
    clock: Clock,
    *,
    databases: list[Drawn],
    text: bytes,
    fields: tuple[str, ...] | None,
    mode: str,
    is_extract: bool,
) -> None:
    """Any bytes, labelled or extracted."""
    world = World(tmp_path, clock, databases, is_named=False)
    options: dict[str, Any] = {"is_extract": True, "with_header": False} if is_extract else {}
    world.compare(
        b"",
        b"a line\n" + text + " ".join(lines(databases, [])).encode() + b"\n",
        input="log",
        fields=fields,
        mode=mode,
        **options,
    )


@pytest.mark.parametrize("seed", range(3))
def test_many_records(tmp_path: Path, clock: Clock, seed: int) -> None:
    """More than one call reads, of several databases, in any order."""
    networks = {f"1.{at >> 8}.{at & 255}.0/24": KNOWN[(at * 7 + seed) % len(KNOWN)] for at in range(1500)}
    own = {prefix: {"city": f"City {number}", "asn": number} for number, prefix in enumerate(networks)}
    drawn = [Drawn(records, SIZES[seed], 4, set(), []) for records in (networks, own)]
    world = World(tmp_path, clock, drawn, is_named=False)
    texts = [f"1.{at >> 8}.{at & 255}.{at % 7}\n" for at in range(0, 1500, 2)]
    world.compare(b"", "".join(texts).encode(), format="jsonl", fields=None, mode="cache")


@pytest.mark.parametrize("format_", ["csv", "tsv", "jsonl", "value"])
@pytest.mark.parametrize("fields", [None, ("city", "source", "ip"), ("traits", "org"), ("traits.k\x1f\1", "network")])
def test_placeholders_of_the_kernel_in_values(
    tmp_path: Path, clock: Clock, format_: str, fields: tuple[str, ...] | None
) -> None:
    """In names of databases and in records, these control characters are ordinary text."""
    controls = "".join(map(chr, range(32)))
    city = {"city": {"names": {"en": f"A{controls}B"}}, "country": {"iso_code": "GB"}, f"k{controls}": f"v{controls}"}
    operator = {"autonomous_system_number": 5, "autonomous_system_organization": f"o{controls}", "k\x1f\1": controls}
    networks = {"a": {"1.0.0.0/8": city}, "b": {"1.0.0.0/9": operator}}
    world = World(tmp_path, clock, [], is_named=False)
    for name, records in networks.items():
        Trie(records, 4).write(world.home / f"{name}.mmdb", 24, records=records, edition=f"Ed{controls}{name}")

    world.compare(b"", b"1.2.3.4\n1.200.3.4\n10.0.0.1\n", format=format_, fields=fields, mode="cache")
