"""What several databases say of many addresses is what they say of each."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geocli.bulk.outputs import Output
from geocli.bulk.records import Records
from geocli.bulk.rendered import MARK_BYTE, marks
from geocli.bulk.tree import NOTHING, Tree
from geocli.databases.discovery import Database, examine
from geocli.entries import FIELDS, FIELDS_ON_REQUEST, JSON_FIELDS, instant_text, merge
from geocli.errors import DatabaseError
from geocli.resolvers.mmdb import ask
from tests.building import build

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geocli.bulk.records import Merged
    from geocli.entries import Answer

_paths = count()
CODES = st.sampled_from(["GB", "de", "xx1", "", "ZZ"])
TEXTS = st.sampled_from(["", "x", "London", "2"])
VALUES = TEXTS | CODES | st.integers(0, 70_000) | st.booleans() | st.floats(-200, 200)
NAMES = st.dictionaries(st.sampled_from(["en", "de"]), TEXTS | st.integers(0, 3), max_size=2) | TEXTS
NAMED = st.fixed_dictionaries(
    {}, optional={"iso_code": CODES, "code": CODES, "names": NAMES, "name": TEXTS, "geoname_id": VALUES}
)
LOCATION = st.dictionaries(st.sampled_from(["latitude", "longitude", "time_zone", "accuracy_radius", "city"]), VALUES)
NETWORK = {
    "autonomous_system_number": st.sampled_from([1, 2]),
    "autonomous_system_organization": TEXTS,
    "isp": TEXTS,
    "organization": TEXTS,
    "asn": st.sampled_from(["AS1", "AS2", "AS", 2, 1 << 40]),
    "is_anonymous": st.booleans(),
}
FLAT = dict.fromkeys(("country_code", "country_name", "city", "state1", "latitude", "lon", "zip"), VALUES)
NESTED = {
    "country": NAMED,
    "registered_country": NAMED,
    "city": NAMED,
    "continent": NAMED,
    "subdivisions": st.lists(NAMED, max_size=2) | TEXTS,
    "location": LOCATION,
    "traits": st.fixed_dictionaries({}, optional=NETWORK),
    "postal": NAMED | TEXTS,
}
RECORDS = (
    st.fixed_dictionaries({}, optional=NESTED)
    | st.fixed_dictionaries({}, optional=FLAT | {"country": CODES | TEXTS} | NETWORK)
    | st.fixed_dictionaries({}, optional=NESTED | NETWORK)
    | st.fixed_dictionaries({}, optional=NETWORK)
)
COUNT = 6


def opened(path: Path, records: Sequence[dict[str, Any] | None]) -> Database:
    """Write records for 1.0.0.0/8, 2.0.0.0/8, ..., and open them."""
    networks = {f"{number}.0.0.0/8": record for number, record in enumerate(records, 1) if record is not None}
    build(path, networks, edition=path.stem, ip_version=4, build_epoch=1_780_000_000)
    return Database(examine(str(path), 0))


def asked(databases: Sequence[Database], output: Output) -> list[Merged]:
    """Return what is said of the first addresses, of the others, and of all of them, as far as it is written."""
    trees = [Tree.of(database) for database in databases]
    addresses = (np.arange(1, COUNT + 1) << 24).astype(np.uint32)
    offsets = np.stack([tree.walk(addresses)[0] for tree in trees], axis=1).astype(np.uint32)
    records = Records(databases, trees, output, is_kept=False)
    texts = [f"{number}.0.0.0".encode() for number in range(1, COUNT + 1)]
    parts = [*np.split(np.arange(COUNT), [COUNT // 2]), np.arange(COUNT)]
    return [records.merged(offsets[places], texts, places) for places in parts]


def together(databases: Sequence[Database], *, with_traits: bool) -> list[tuple[dict[str, Any], int, bool, bool]]:
    """Return what is known of each address, who says so, whether it is known where it is, and whether it is damaged."""
    rows = [
        (
            {name: column[at] for name, column in merged.columns.items() if column[at] is not None},
            int(merged.sources[at]),
            bool(merged.knows_where[at]),
            bool(merged.is_damaged[at]),
        )
        for merged in asked(databases, Output("jsonl", JSON_FIELDS if with_traits else FIELDS))
        for at in range(len(merged.sources))
    ]
    assert rows[:COUNT] == rows[COUNT:]
    return rows[:COUNT]


def alone(databases: Sequence[Database], ip: str) -> tuple[Answer | None, int]:
    """Return what is said of one address, and by whom."""
    whole: Answer | None = None
    sources = 0
    for bit, database in enumerate(databases):
        said = ask(database, ip)  # type: ignore[arg-type]
        if said is not None:
            both = said if whole is None else merge(whole, said)
            sources |= (both is not whole) << bit
            whole = both
    return whole, sources


@pytest.mark.parametrize("with_traits", [True, False])
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(st.lists(st.none() | RECORDS, min_size=COUNT, max_size=COUNT), min_size=1, max_size=3))
def test_any_records(tmp_path: Path, said: list[list[dict[str, Any] | None]], *, with_traits: bool) -> None:
    """Of any shapes, from any number of databases: the same fields, sources and traits as `ask` and `merge` have."""
    home = tmp_path / str(next(_paths))
    home.mkdir()
    databases = [opened(home / f"Edition-{number}.mmdb", records) for number, records in enumerate(said)]
    for number, (found, sources, knows_where, is_damaged) in enumerate(together(databases, with_traits=with_traits), 1):
        answer, asked = alone(databases, f"{number}.0.0.0")
        expected: dict[str, Any] = {}
        if answer is not None and answer.built_at is not None:
            origin = {"status": "resolved", "source": answer.source, "built_at": instant_text(answer.built_at)}
            expected = {name: what for name, what in vars(answer.place).items() if what is not None} | origin
        if not with_traits:
            expected.pop("traits", None)
            found.pop("traits", None)

        assert repr(sorted(expected.items())) == repr(sorted(found.items()))
        assert (asked, answer is not None and answer.knows_where, False) == (sources, knows_where, is_damaged)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    said=st.lists(st.lists(st.none() | RECORDS, min_size=COUNT, max_size=COUNT), min_size=1, max_size=3),
    fields=st.lists(st.sampled_from([*FIELDS, *FIELDS_ON_REQUEST]), min_size=1, max_size=12, unique=True),
    format_=st.sampled_from(["csv", "tsv", "value"]),
)
def test_lines_say_what_is_known(
    tmp_path: Path, said: list[list[dict[str, Any] | None]], fields: list[str], format_: str
) -> None:
    """A line that is made of what is wanted of each record is that of all that the databases say together."""
    home = tmp_path / str(next(_paths))
    home.mkdir()
    databases = [opened(home / f"Edition-{number}.mmdb", records) for number, records in enumerate(said)]
    output = Output(format_, fields)
    found = asked(databases, output)
    for merged, known in zip(found, asked(databases, Output("jsonl", FIELDS)), strict=True):
        columns = {name: column.tolist() for name, column in known.columns.items()}
        lines = list(output.lines(columns, marks(output), len(known.sources)))

        assert not (merged.is_written & ~(output.is_plain & known.knows_where)).any()
        assert [line for line, is_written in zip(lines, merged.is_written, strict=True) if is_written] == written(
            merged
        )
        wanted = {name: column.tolist() for name, column in merged.columns.items()}
        unwritten = zip(lines, output.lines(wanted, marks(output), len(known.sources)), merged.is_written, strict=True)
        assert all(line == same for line, same, is_written in unwritten if not is_written)
        assert (known.sources == merged.sources).all()
        assert (known.knows_where == merged.knows_where).all()


def written(merged: Merged) -> list[str]:
    """Return the lines that are known, without their ends."""
    rows = zip(*(segment[merged.is_written].tolist() for segment in merged.segments), strict=True)
    return [MARK_BYTE.join(row).decode().removesuffix("\n") for row in rows]


def test_lines_of_two_databases_are_put_together(tmp_path: Path) -> None:
    """Of City and ASN, for instance; what has no place is left to others."""
    cities = [{"country_code": "GB", "city": f"City {number}"} for number in range(COUNT)]
    networks = [{"autonomous_system_number": 1 + number % 2} for number in range(COUNT)]
    names = ["ip", "city", "asn", "source", "country_code"]
    databases = [
        opened(tmp_path / f"{name}.mmdb", said) for name, said in (("A", [*cities[:-1], None]), ("B", networks))
    ]
    *_, merged = asked(databases, Output("csv", names))

    assert [f"\0,City {number},{1 + number % 2},A+B,GB" for number in range(COUNT - 1)] == written(merged)
    assert [True] * (COUNT - 1) + [False] == merged.is_written.tolist()
    assert ["GB"] * (COUNT - 1) == merged.columns["country_code"][:-1].tolist()


def test_a_damaged_record_spoils_no_other(tmp_path: Path) -> None:
    """It is reported as such, and the others are read."""
    path = tmp_path / "Edition.mmdb"
    texts = [f"City number {number}" for number in range(COUNT)]
    opened(path, [{"city": text} for text in texts])
    data = path.read_bytes().replace(b"City number 3", b"City\xffnumber 3")
    path.write_bytes(data)
    found = together([Database(examine(str(path), 0))], with_traits=False)
    expected = [None if "3" in text else text for text in texts]

    assert expected == [said.get("city") for said, _, _, _ in found]
    assert [text is None for text in expected] == [is_damaged for _, _, _, is_damaged in found]
    with pytest.raises(DatabaseError):
        alone([Database(examine(str(path), 0))], "4.0.0.0")


def test_nothing_is_said_where_there_is_no_record(tmp_path: Path) -> None:
    """Not even the name of a database."""
    database = opened(tmp_path / "Edition.mmdb", [None, {}, {"a": {}}, *[{"city": "x"}] * 3])
    found = together([database], with_traits=True)

    assert ({}, 0, False, False) == found[0]
    assert ({}, 0, False, False) == found[1]
    assert NOTHING == 0
