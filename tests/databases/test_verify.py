"""Verification of databases: by the hash of the installed file, by their metadata, and completely."""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from geocli.databases.verify import REPORT_NETWORKS, verify
from geocli.errors import DatabaseError, HashMismatchError
from tests.helpers.databases import LONDON, build
from tests.helpers.terminals import on_terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

DO = "reinstall it with: geocli db update, or write a new file and mv it to this path"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Build a database of two networks, with its sidecar."""
    path = build(tmp_path / "a.mmdb", {"8.8.8.0/24": {"country_code": "US"}, "2001:218::/32": LONDON})
    sidecar(path)
    return path


def sidecar(path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (path.parent / f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n")


def test_sound(path: Path) -> None:
    """A sound database is read to its end, and its networks are counted by the kind of their records."""
    assert {"map": 2} == verify(str(path))


def test_without_a_hash(path: Path) -> None:
    """A database that another program installed has no sidecar, and is read."""
    os.unlink(f"{path}.sha256")
    assert {"map": 2} == verify(str(path))


def test_other_bytes(path: Path) -> None:
    """A flipped bit that the reader does not notice is detected by the hash, and the error has both."""
    data = path.read_bytes()
    changed = data.replace(b"US", b"UA")
    path.write_bytes(changed)
    with pytest.raises(HashMismatchError) as caught:
        verify(str(path))
    expected, actual = (hashlib.sha256(content).hexdigest() for content in (data, changed))
    assert f"{path}: SHA-256 is {actual}, expected {expected}" == str(caught.value)
    assert (expected, actual) == (caught.value.expected, caught.value.actual)


def test_other_hash(path: Path) -> None:
    """A sidecar with anything but the hash is a mismatch, too."""
    (path.parent / f"{path.name}.sha256").write_bytes(b"\xff no hash\n")
    with pytest.raises(HashMismatchError):
        verify(str(path))


def test_unreadable_sidecar(path: Path) -> None:
    """A sidecar that is not a file is an error that names it."""
    os.unlink(f"{path}.sha256")
    os.mkdir(f"{path}.sha256")
    with pytest.raises(DatabaseError, match=rf"^{path}\.sha256: cannot be read: Is a directory$"):
        verify(str(path))


def test_missing(tmp_path: Path) -> None:
    """A missing file is an error that names it."""
    with pytest.raises(DatabaseError, match=rf"^{tmp_path}/none\.mmdb: cannot be read: No such file"):
        verify(str(tmp_path / "none.mmdb"))


def spoil_data(data: bytes) -> bytes:
    """Make all strings longer than the file."""
    start, end = data.index(b"\0" * 16) + 16, data.index(b"\xab\xcd\xefMaxMind.com")
    return data[:start] + b"\x5f" + b"\xff" * (end - start - 1) + data[end:]


def loop(data: bytes) -> bytes:
    """Make the last node of the tree point to its root."""
    end = data.index(b"\0" * 16)
    return data[: end - 3] + bytes(3) + data[end:]


def point_beyond(data: bytes) -> bytes:
    """Make the last node of the tree point past the data."""
    end = data.index(b"\0" * 16)
    return data[: end - 3] + b"\x7f\xff\xff" + data[end:]


def add_node(data: bytes) -> bytes:
    """Shift the tree by a byte, so that it ends where no separator is."""
    return b"\0" + data


def set_value(key: bytes, value: bytes) -> Callable[[bytes], bytes]:
    """Return a function that writes a value of the same length to the metadata (MaxMind DB spec, data field format)."""

    def change(data: bytes) -> bytes:
        at = data.rindex(key) + len(key)
        return data[:at] + value + data[at + len(value) :]

    return change


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_data, "damaged: Iteration error: "),
        (loop, "damaged: its search tree is deeper than addresses have bits"),
        (point_beyond, "damaged: Iteration error: "),
        (add_node, "the size of its search tree is not that of its metadata"),
        (set_value(b"binary_format_major_version", b"\xa1\x03"), "not a readable MaxMind DB"),
        (set_value(b"record_size", b"\xa1\x14"), "not a readable MaxMind DB"),
        (set_value(b"node_count", b"\xc1\x01"), "the size of its search tree is not that of its metadata"),
    ],
    ids=["data", "loop", "pointer", "shifted", "version", "record size", "node count"],
)
def test_damaged(path: Path, spoil: Callable[[bytes], bytes], reason: str) -> None:
    """Without a sidecar, damage that makes the file unreadable is detected, and the error has a remedy."""
    os.unlink(f"{path}.sha256")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DatabaseError) as caught:
        verify(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)


def test_damage_has_a_remedy(path: Path) -> None:
    """The remedy does not overwrite the file in place."""
    os.unlink(f"{path}.sha256")
    path.write_bytes(spoil_data(path.read_bytes()))
    with pytest.raises(DatabaseError, match=rf"^{path}: damaged: .*; {DO}$"):
        verify(str(path))


def test_metadata_without_a_type(tmp_path: Path) -> None:
    """A database without a type is invalid."""
    path = build(tmp_path / "a.mmdb", {"8.8.8.0/24": LONDON}, edition="")
    with pytest.raises(DatabaseError, match=rf"^{path}: damaged: no type or no date in its metadata; {DO}$"):
        verify(str(path))


def test_nothing_in_it(path: Path) -> None:
    """A database without networks is useless."""
    data = path.read_bytes()
    end = data.index(b"\0" * 16)
    node_count = end // 6
    records = [int.from_bytes(data[at : at + 3], "big") for at in range(0, end, 3)]
    emptied = b"".join(min(record, node_count).to_bytes(3, "big") for record in records)
    path.write_bytes(emptied + data[end:])
    sidecar(path)
    with pytest.raises(DatabaseError, match=rf"^{path}: contains no network; {DO}$"):
        verify(str(path))


def test_progress(tmp_path: Path) -> None:
    """The callback gets the number of networks read, and an estimate of their total."""
    records = {f"{1 + n // 65536}.{n // 256 % 256}.{n % 256}.0/24": {"asn": n} for n in range(REPORT_NETWORKS + 1)}
    path = build(tmp_path / "a.mmdb", records)
    reads: list[tuple[str, int, int | None]] = []
    assert {"map": REPORT_NETWORKS + 1} == verify(str(path), lambda *words: reads.append(words))
    ((name, count, total),) = reads
    assert (str(path), REPORT_NETWORKS) == (name, count)
    assert total is not None
    assert count <= total <= 2 * count


def test_bar_on_a_terminal(geocli: Geocli) -> None:
    """`db verify` shows how far it is on a terminal, and leaves the line of each file."""
    records = {f"{1 + n // 65536}.{n // 256 % 256}.{n % 256}.0/24": {"asn": n} for n in range(REPORT_NETWORKS + 1)}
    path = build(geocli.db_dir / "a.mmdb", records)
    status, output = on_terminal(geocli, "db", "verify", environ={"COLUMNS": "200"})
    assert re.search(rf"a\.mmdb .*{REPORT_NETWORKS}/\d+", output)
    assert output.endswith(f"{path}: {REPORT_NETWORKS + 1} networks, sound; records: map\n")
    assert 0 == status


KINDS: list[tuple[Any, str]] = [
    ({"a": 1}, "map"),
    ({}, "map"),
    (["a"], "list"),
    ("GB", "string"),
    (True, "boolean"),
    (7, "number"),
    (2.5, "number"),
]


@pytest.mark.parametrize(("record", "kind"), KINDS, ids=[repr(record) for record, _ in KINDS])
def test_kind_of_records(geocli: Geocli, record: Any, kind: str) -> None:
    """`db verify` and `db list` show the type of the records."""
    path = build(geocli.db_dir / "a.mmdb", {"81.2.69.0/24": record})
    assert f"{path}: 1 networks, sound; records: {kind}\n".encode() == geocli("db", "verify").stdout
    assert [kind] == [row["kind"] for row in json.loads(geocli("db", "list").stdout)]
    (row,) = (line for line in geocli("db", "list", "-f", "table").stdout.decode().splitlines() if str(path) in line)
    assert kind in row.split()


def test_records_of_several_kinds(geocli: Geocli) -> None:
    """`db verify` counts each kind, the most frequent first."""
    records = {"81.2.69.0/24": "GB", "98.0.0.0/24": 7, "99.0.0.0/24": "US"}
    path = build(geocli.db_dir / "a.mmdb", records)
    assert f"{path}: 3 networks, sound; records: 2 string, 1 number\n".encode() == geocli("db", "verify").stdout


def test_kind_of_a_damaged_record(geocli: Geocli) -> None:
    """A database whose first record cannot be read is listed without a kind."""
    path = build(geocli.db_dir / "a.mmdb", {"81.2.69.0/24": {"city": "London"}})
    data = path.read_bytes()
    at = data.index(bytes(16)) + 16
    path.write_bytes(data[:at] + b"\x5f\xff\xff\xff" + data[at + 4 :])
    run = geocli("db", "list")
    assert (0, [None]) == (run.returncode, [row["kind"] for row in json.loads(run.stdout)])
