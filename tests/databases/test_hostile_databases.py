"""Databases that are made to exhaust a reader: each command ends, names the file, and other databases answer."""

from __future__ import annotations

import gzip
import re
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from geocli.databases.database import MAX_RECORD_BYTES, MAX_TYPE_CHARS, Database
from geocli.databases.discovery import examine
from geocli.databases.tree_nodes import MAX_PATHS, check_tree
from tests.helpers.command_output import complaints, objects
from tests.helpers.databases import LONDON, build

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pytest_httpserver import HTTPServer

    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow
MEMORY_KB = 1_500_000
"""Address space of a command; a tenth of it is used where nothing is hostile."""
ADDRESS = "81.2.69.160"


def control(kind: int, size: int) -> bytes:
    """Encode the type and the size of a value (MaxMind DB specification 2.0, data field format)."""
    low, rest = size, b""
    if size >= 65821:
        low, rest = 31, (size - 65821).to_bytes(3, "big")
    elif size >= 285:
        low, rest = 30, (size - 285).to_bytes(2, "big")
    elif size >= 29:
        low, rest = 29, bytes([size - 29])
    return (bytes([kind << 5 | low]) if kind < 8 else bytes([low, kind - 7])) + rest


def string(text: bytes) -> bytes:
    return control(2, len(text)) + text


def number(kind: int, value: int) -> bytes:
    data = value.to_bytes(8, "big").lstrip(b"\0")
    return control(kind, len(data)) + data


def array(count: int, items: bytes) -> bytes:
    return control(11, count) + items


def record(**values: bytes) -> bytes:
    return control(7, len(values)) + b"".join(string(name.encode()) + value for name, value in values.items())


def pointer(to: int) -> bytes:
    return b"\x38" + struct.pack(">I", to)


def database(
    nodes: Sequence[tuple[int, int]], data: bytes, *, edition: bytes = b"Hostile-City", ip_version: int = 4
) -> bytes:
    """Put a file together; records from `len(nodes) + 16` on lead to the data."""
    tree = b"".join(left.to_bytes(3, "big") + right.to_bytes(3, "big") for left, right in nodes)
    metadata = record(
        node_count=number(6, len(nodes)),
        record_size=number(5, 24),
        ip_version=number(5, ip_version),
        database_type=string(edition),
        languages=array(1, string(b"en")),
        binary_format_major_version=number(5, 2),
        binary_format_minor_version=number(5, 0),
        build_epoch=number(9, 1_780_000_000),
        description=record(en=string(b"x")),
    )
    return tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + metadata


def everywhere(data: bytes, **options: Any) -> bytes:
    """Put a file together in which each address has the first record of the data."""
    return database([(17, 17)], data, **options)


def chain(depth: int, last: int, ip_version: int = 4) -> bytes:
    """Put a file together in which both ways lead from each node to the next."""
    nodes = [(at + 1, at + 1) for at in range(depth - 1)]
    return database([*nodes, (last, last)], record(country_code=string(b"DE")), ip_version=ip_version)


def pointers(count: int, leaf: bytes) -> bytes:
    """Encode an array of pointers to one value, as the value of a key."""
    head = record(country_code=string(b"DE"), many=b"")
    start = len(head) + len(control(11, count))
    return everywhere(head + array(count, pointer(start + 5 * count) * count) + leaf)


def doubled(levels: int) -> bytes:
    """Encode arrays that each lead ten times to the next one."""
    head = record(country_code=string(b"DE"), many=b"")
    size = len(array(10, pointer(0) * 10))
    arrays = (array(10, pointer(len(head) + size * (level + 1)) * 10) for level in range(levels))
    return everywhere(head + b"".join(arrays) + string(b"x"))


def trait(size: int) -> bytes:
    return record(country_code=string(b"DE"), trait=string(b"x" * size))


TREES = {
    "IPv4 as a graph": chain(32, 32),
    "IPv4 as a graph with records": chain(32, 48),
    "IPv6 as a graph": chain(128, 128, 6),
    "IPv6 as a graph with records": chain(128, 144, 6),
    "a loop": database([(0, 0)], trait(1)),
    "a long loop": database([(1, 2), (2, 2), (0, 2)], trait(1)),
    "too deep": database([(at + 1, 40) for at in range(39)] + [(40, 40)], trait(1)),
}
TREE = r"damaged: its search tree (leads to the same nodes again and again|is deeper than addresses have bits)"
RECORDS = {
    "2^22 pointers": pointers(1 << 22, string(b"x")),
    "pointers to large strings": pointers(10_000, string(b"x" * 100_000)),
    "many pointers": pointers(60_000, string(b"x")),
    "pointers to pointers to pointers": doubled(9),
    "nested": everywhere(record(country_code=string(b"DE"), deep=control(11, 1) * 100_000 + number(5, 1))),
    "a trait of 1 MB": everywhere(trait(1_000_000)),
    "a trait of 40 kB": everywhere(trait(40_000)),
    "control characters": everywhere(record(country_code=string(b"DE"), trait=string(b"\x01" * 1_000_000))),
    "a name of 1 MB": everywhere(record(country_code=string(b"DE"), city=string(b"x" * 1_000_000))),
    "a key of 1 MB": everywhere(control(7, 1) + string(b"k" * 1_000_000) + string(b"x")),
    "many keys": everywhere(control(7, 20_000) + b"".join(string(b"%d" % key) + string(b"") for key in range(20_000))),
    "1 MB of bytes": everywhere(record(country_code=string(b"DE"), blob=control(4, 1_000_000) + bytes(1_000_000))),
    "a list of 60,000": everywhere(record(country_code=string(b"DE"), flags=array(60_000, number(5, 1) * 60_000))),
    "a string of 1 MB": everywhere(string(b"x" * 1_000_000)),
    "a pointer to itself": everywhere(pointer(0)),
}
METADATA = {
    "a type of 100 kB": everywhere(trait(1), edition=b"T" * 100_000),
    "a type of 300 characters": everywhere(trait(1), edition=b"T" * 300),
}


@pytest.fixture
def limited(geocli: Geocli) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Return geocli with little memory, a sound database, a hostile one, and no built-in data."""
    build(geocli.db_dir / "ASN.mmdb", {"81.2.69.0/24": LONDON}, edition="Sound-City")
    program = ["sh", "-c", f'ulimit -v {MEMORY_KB}; exec "$@"', "sh", *geocli.command]
    environ = {**geocli.environ, "GEOCLI_BUILT_IN_DATA": "false", "NO_PROXY": "*"}

    def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [*program, *arguments]
        return subprocess.run(command, input=stdin, env=environ, capture_output=True, timeout=60, check=False)

    return run


def _names(path: Path, run: subprocess.CompletedProcess[bytes]) -> bool:
    """Return whether a command printed one message, about this file."""
    messages = complaints(run)
    return len(messages) == 1 and messages[0].startswith(f"{path}: ")


@pytest.mark.parametrize("name", [*RECORDS, *METADATA])
def test_the_other_database_answers(geocli: Geocli, limited: Any, name: str) -> None:
    """A lookup and a batch report the file, and have the answer of the other; nothing about it is stored for long."""
    path = geocli.db_dir / "Hostile.mmdb"
    path.write_bytes((RECORDS | METADATA)[name])
    looked_up = limited("lookup", ADDRESS)
    addresses = "".join(f"81.2.{at >> 8}.{at & 255}\n" for at in range(20_000)).encode()
    batch = limited("batch", "-F", "city", "-f", "value", stdin=addresses)

    assert (0, True) == (looked_up.returncode, _names(path, looked_up))
    assert ("London", "Sound-City") == tuple(objects(looked_up.stdout)[0][field] for field in ("city", "source"))
    assert _names(path, batch)
    assert 256 == batch.stdout.split(b"\n").count(b"London")
    assert 20_000 == batch.stdout.count(b"\n")
    assert 0 == limited("flush").returncode


@pytest.mark.parametrize("name", [*TREES, *RECORDS, *METADATA])
def test_checking_ends(geocli: Geocli, limited: Any, name: str) -> None:
    """`db verify` reports that the file is damaged and the other sound; `db list` lists both."""
    path = geocli.db_dir / "Hostile.mmdb"
    path.write_bytes((TREES | RECORDS | METADATA)[name])
    verified, listed = limited("db", "verify"), limited("db", "list", "-f", "json")

    assert (3, True) == (verified.returncode, _names(path, verified))
    assert b": 1 networks, sound" in verified.stdout
    assert name not in TREES or re.search(TREE, complaints(verified)[0])
    assert 0 == listed.returncode
    assert {str(path), f"{geocli.db_dir}/ASN.mmdb"} == set(re.findall(r'"path": "([^"]+)"', listed.stdout.decode()))


@pytest.mark.parametrize("name", [*TREES, "2^22 pointers", "a type of 100 kB"])
@pytest.mark.parametrize("edition", ["dbip-city-lite", "GeoLite2-Connection-Type"])
def test_an_update_ends(geocli: Geocli, limited: Any, httpserver: HTTPServer, name: str, edition: str) -> None:
    """`db update` refuses the file, and the old one stays."""
    data = (TREES | RECORDS | METADATA)[name]
    httpserver.expect_request(re.compile("/free/.*")).respond_with_data(gzip.compress(data, 1))
    config = geocli.db_dir.parent / "config.toml"
    config.write_text(f'system_databases = false\ndbip_url = "{httpserver.url_for("/free")}"\n')
    process = limited("db", "update", edition if edition.startswith("dbip") else "dbip-asn-lite")

    assert 3 == process.returncode
    assert re.search(r"\.mmdb\.gz: not a usable database: ", complaints(process)[0])
    assert ["ASN.mmdb"] == [path.name for path in geocli.db_dir.glob("*.mmdb")]


def test_many_large_records(geocli: Geocli, limited: Any) -> None:
    """Of records just below the maximum size, only as many are in memory as the limit allows."""
    leaf = string(b"x" * (MAX_RECORD_BYTES - 1000))
    count = 1 << 15
    records = [record(country_code=string(b"DE"), id=number(6, at + 1), trait=pointer(0)) for at in range(count)]
    starts = [len(leaf)]
    for data in records:
        starts.append(starts[-1] + len(data))
    nodes = [(2 * at + 1, 2 * at + 2) for at in range(count - 1)]
    leaves = [len(nodes) + 16 + start for start in starts]
    first = count // 2 - 1
    nodes[first:] = [(leaves[2 * at], leaves[2 * at + 1]) for at in range(len(nodes) - first)]
    (geocli.db_dir / "Hostile.mmdb").write_bytes(database(nodes, leaf + b"".join(records)))
    addresses = "".join(f"{64 + (at >> 7)}.{(at & 127) << 1}.0.1\n" for at in range(4096)).encode() * 3
    batch = limited("batch", "--no-cache", "-F", "country_code,traits.id", "-f", "csv", "--no-header", stdin=addresses)

    assert (0, b"") == (batch.returncode, batch.stderr)
    rows = batch.stdout.decode().splitlines()
    assert {"DE"} == {row.partition(",")[0] for row in rows}
    assert len(addresses.split()) == len(rows)
    assert len(set(rows)) > 1000


@pytest.mark.parametrize("record_size", [24, 28, 32])
def test_a_sound_tree(tmp_path: Path, record_size: int) -> None:
    """Trees of each size of records are found sound, with the ways into the tree of IPv4 that writers add."""
    path = build(tmp_path / "a.mmdb", {"81.2.69.0/24": LONDON, "2001:218::/32": LONDON})
    database = Database(examine(str(path)))
    check_tree(database)
    if record_size > 24:
        path.write_bytes(_widened(path.read_bytes(), database.reader.metadata().node_count, record_size))
        check_tree(Database(examine(str(path))))
        assert (LONDON, 120) == Database(examine(str(path))).reader.get_with_prefix_len(f"::{ADDRESS}")


def _widened(data: bytes, node_count: int, record_size: int) -> bytes:
    """Write the records of nodes with more bits."""
    records = [int.from_bytes(data[at : at + 3], "big") for at in range(0, node_count * 6, 3)]
    nodes = zip(records[::2], records[1::2], strict=True)
    tree = b"".join(_node(left, right, record_size) for left, right in nodes)
    return (tree + data[node_count * 6 :]).replace(b"record_size\xa1\x18", b"record_size\xa1" + bytes([record_size]))


def _node(left: int, right: int, record_size: int) -> bytes:
    if record_size == 32:
        return left.to_bytes(4, "big") + right.to_bytes(4, "big")
    middle = (left >> 24) << 4 | right >> 24
    return (left & 0xFFFFFF).to_bytes(3, "big") + bytes([middle]) + (right & 0xFFFFFF).to_bytes(3, "big")


def test_limits_are_far_above_sound_databases() -> None:
    """The longest type of known databases, the largest record of MaxMind, and the aliases of the IPv4 tree."""
    assert MAX_TYPE_CHARS > 2 * len("ipinfo standard_location_extended_v2_sample.mmdb")
    assert MAX_RECORD_BYTES > 5 * 3000
    assert MAX_PATHS > 5
