"""A batch gives the same rows and journal entries as single lookups, and they are the same on both paths."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import count, product
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from geocli import addresses
from geocli.batch.reader import READ_BYTES
from geocli.batch.request import BatchRequest
from geocli.batch.run import run
from geocli.batch.scheduler import SMALL_BYTES
from geocli.cache import GeoCache
from geocli.databases.discovery import digest_of
from geocli.errors import BusyError
from geocli.settings import Settings
from geocli.storage.frames import TARGET_BYTES
from geocli.storage.journal import Journal
from tests.helpers.database_contents import (
    NUMBERS,
    WORLDS,
)
from tests.helpers.databases import LONDON, TOKYO, build
from tests.helpers.odd_addresses import ODD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from geocli.batch.run import BatchReport
    from geocli.errors import GeocliError
    from geocli.models import Entry
    from tests.helpers.clock import Clock
    from tests.helpers.database_contents import Databases

    Address: TypeAlias = IPv4Address | IPv6Address

SOME_LINES = 400
"""Number of lines for the scalar path."""
HALF = (1 << 64) - 1

REQUESTS: list[dict[str, Any]] = [
    *({"format": format_} for format_ in ("csv", "tsv", "jsonl", "value")),
    *({"format": format_, "fields": ("network", "ip", "traits")} for format_ in ("csv", "tsv", "jsonl", "value")),
    {"fields": ("traits", "ip", "traits.accuracy_radius", "ip", "network", "network")},
    {"format": "jsonl", "fields": ("traits.isp", "traits.is_anonymous", "error", "resolved_at", "built_at", "scope")},
]
FOR_ONE_FIELD: list[dict[str, Any]] = [
    *(
        {"fields": (name,), "with_header": False}
        for name in ("network", "ip", "traits", "traits.accuracy_radius", "built_at", "source", "cached", "resolved_at")
    ),
    *({"format": "jsonl", "fields": (name,)} for name in ("network", "resolved_at", "traits.accuracy_radius")),
    {"fields": ("city",), "end": "\0"},
]
CASES = [*product(WORLDS, REQUESTS), *product(("none", "three", "flat and nested", "unknown and known"), FOR_ONE_FIELD)]
"""Single fields may have another form than several; with databases in which they exist or not."""


class BatchRunner:
    """Databases, and caches that use them."""

    def __init__(self, home: Path, clock: Clock, databases: Databases, *, named: bool = False) -> None:
        self.home, self._clock, self._runs = home, clock, 0
        self.problems: list[GeocliError] = []
        self.paths = [
            build(home / f"{name}.mmdb", networks, edition=name, ip_version=version, build_epoch=1_780_000_000)
            for name, (networks, version) in databases.items()
        ]
        self._sources: dict[str, Any] = (
            {"databases": tuple(map(str, self.paths))} if named else {"database_dirs": (str(home),)}
        )

    def cache(self, name: str = "data") -> GeoCache:
        chosen = Settings(data_dir=str(self.home / name), **self._sources)
        return GeoCache(settings=chosen, clock=self._clock, on_problem=self.problems.append)

    def answer(
        self,
        pieces: Sequence[bytes],
        *,
        name: str = "data",
        on_read: Callable[[int], None] = lambda _: None,
        **options: Any,
    ) -> tuple[bytes, BatchReport]:
        """Answer pieces of input, each as a file, and return the output and the report."""
        self._runs += 1
        files = [self.home / f"in-{self._runs}-{number}" for number, _ in enumerate(pieces)]
        for file, piece in zip(files, pieces, strict=True):
            file.write_bytes(piece)
        out = self.home / f"out-{self._runs}"
        with self.cache(name) as cache:
            report = run(cache, BatchRequest(files=tuple(map(str, files)), output=str(out), **options), on_read)
        return out.read_bytes(), report

    def dirty(self, name: str) -> list[Entry]:
        with self.cache(name) as cache:
            return list(cache.journal.dirty())


@pytest.fixture
def runner_of(tmp_path: Path, clock: Clock) -> Callable[..., BatchRunner]:
    def build_runner(databases: Databases, **options: Any) -> BatchRunner:
        return BatchRunner(tmp_path, clock, databases, **options)

    return build_runner


def near(prefix: str) -> list[str]:
    """Return the first and last address of a network, and their neighbours."""
    network = ip_network(prefix)
    kind = IPv4Address if network.version == 4 else IPv6Address
    numbers = {int(network[0]) - 1, int(network[0]), int(network[0]) + 1, int(network[-1]), int(network[-1]) + 1}
    return [str(kind(number)) for number in sorted(numbers) if 0 <= number < 1 << network.max_prefixlen]


def some(count: int, first: int = 1) -> list[Address]:
    """Return addresses of both families from everywhere, the same in each run."""
    mixed = [number * 0x9E3779B97F4A7C15F39CC0605CEDC835 & ((1 << 128) - 1) for number in range(first, first + count)]
    kinds = (IPv4Address, lambda number: IPv4Address(0x01020000 | number & 0x3FFFF))
    kinds_v6 = (lambda number: IPv6Address(number >> 3 | 1 << 125), IPv6Address)
    return [kinds_v6[at & 1](number) if at % 3 == 0 else kinds[at & 1](number >> 96) for at, number in enumerate(mixed)]


def lines() -> list[str]:
    """Return lines of every kind, some of them twice, enough for the kernel."""
    every = {name for databases in WORLDS.values() for networks, _ in databases.values() for name in networks}
    edges = [address for prefix in sorted(every) for address in near(prefix)]
    texts = [*edges, *ODD, *map(str, some(900)), *edges[:50], *ODD]
    assert len("\n".join(texts)) > SMALL_BYTES
    return texts


LINES = lines()


def together(texts: Sequence[str], end: str = "\n") -> list[bytes]:
    return ["".join(f"{text}{end}" for text in texts).encode()]


def one_by_one(texts: Sequence[str], end: str = "\n") -> list[bytes]:
    """Divide lines into pieces for the scalar path."""
    pieces = [together(texts[at : at + SOME_LINES], end)[0] for at in range(0, len(texts), SOME_LINES)]
    assert all(len(piece) < SMALL_BYTES for piece in pieces)
    return pieces


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize(("databases", "request_"), CASES, ids=repr)
def test_the_rows_are_the_same(runner_of: Callable[..., BatchRunner], databases: str, request_: dict[str, Any]) -> None:
    """Byte for byte, in every format, for every choice of fields and databases."""
    runner, end = runner_of(WORLDS[databases]), request_.get("end", "\n")
    expected, _ = runner.answer(one_by_one(LINES, end), mode="no-cache", **request_)
    actual, _ = runner.answer(together(LINES, end), mode="no-cache", **request_)

    assert expected.split(end.encode()) == actual.split(end.encode())
    problems = {*map(str, runner.problems)}
    unanswered = {problem for problem in problems if "networks are answered from databases" in problem}
    assert (databases == "none") == bool(unanswered)
    assert {"10.0.0.1/8: has host bits; looked up as 10.0.0.0/8"} == problems - unanswered


@pytest.mark.parametrize("databases", ["none", "three", "flat and nested", "unknown and known"])
@pytest.mark.parametrize(
    "fields",
    [None, ("network",), ("network", "country_code"), ("asn", "network", "ip", "network", "city"), ("traits",)],
)
def test_the_labels_are_the_same(
    runner_of: Callable[..., BatchRunner], databases: str, fields: tuple[str, ...] | None
) -> None:
    """Each label omits unknown fields, and is `unknown` without any."""
    runner = runner_of(WORLDS[databases])
    expected, _ = runner.answer(one_by_one(LINES), mode="no-cache", input="log", fields=fields)
    actual, _ = runner.answer(together(LINES), mode="no-cache", input="log", fields=fields)

    assert expected.splitlines() == actual.splitlines()
    assert not any(word in actual for word in (b"[, ", b", ]", b"[]"))


@pytest.mark.parametrize("databases", ["City and ASN", "ASN", "flat", "unknown", "any kind and known"])
def test_the_rows_are_the_same_where_databases_are_named(runner_of: Callable[..., BatchRunner], databases: str) -> None:
    """With --db no other source is asked, and other addresses are unresolved."""
    runner = runner_of(WORLDS[databases], named=True)
    expected, _ = runner.answer(one_by_one(LINES), mode="no-cache", format="jsonl")
    actual, _ = runner.answer(together(LINES), mode="no-cache", format="jsonl")

    assert expected.splitlines() == actual.splitlines()
    assert b'"unresolved"' in actual


@pytest.mark.parametrize("fields", [("city",), ("traits.x",), ("status", "error"), ("ip",), ("network",)])
@pytest.mark.parametrize("text", ["x", "10.0.0.1", "1.2.3.4", "2a00::1", "255.255.255.255", "::", ""])
def test_the_rows_are_the_same_where_all_lines_are(
    runner_of: Callable[..., BatchRunner], text: str, fields: tuple[str, ...]
) -> None:
    """Also where not one of many lines is an address, or all of them are of one kind."""
    runner = runner_of(WORLDS["City and ASN"])
    once, _ = runner.answer(together([text]), mode="no-cache", fields=fields, with_header=False)
    count = SMALL_BYTES // (len(text) + 1) + 1
    actual, _ = runner.answer(together([text] * count), mode="no-cache", fields=fields, with_header=False)

    assert once * count == actual


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("databases", WORLDS)
def test_the_same_entries_are_appended(runner_of: Callable[..., BatchRunner], databases: str, named: bool) -> None:  # noqa: FBT001 (a parameter)
    """The same entry for each address, once; and the same rows."""
    if named and not WORLDS[databases]:
        pytest.skip("there is nothing to name")
    runner = runner_of(WORLDS[databases], named=named)
    expected, _ = runner.answer(one_by_one(LINES), name="one", format="jsonl", fields=("ip", "status", "source"))
    actual, _ = runner.answer(together(LINES), name="many", format="jsonl", fields=("ip", "status", "source"))
    scalar, vectorised = ({entry.ip: entry for entry in runner.dirty(name)} for name in ("one", "many"))

    assert expected.splitlines() == actual.splitlines()
    assert [] == [
        (scalar.get(ip), vectorised.get(ip))
        for ip in scalar.keys() | vectorised.keys()
        if scalar.get(ip) != vectorised.get(ip)
    ]
    assert {1} == set(Counter(entry.ip for entry in runner.dirty("many")).values())


def test_an_address_is_appended_once_in_a_run(runner_of: Callable[..., BatchRunner]) -> None:
    """Although it occurs in many blocks; and frames have the usual size."""
    runner = runner_of(WORLDS["three"])
    texts = [str(address) for address in some(20_000)]
    runner.answer(together([*texts, *texts, *reversed(texts)]), jobs=2)
    entries = [entry.ip for entry in runner.dirty("data")]
    frames = (runner.home / "data" / "journal").read_bytes().splitlines(keepends=True)

    assert sorted({str(addresses.parse(text)) for text in texts}) == sorted(entries)
    assert len(frames) > 3
    assert max(map(len, frames)) <= TARGET_BYTES


def test_appended_entries_are_found(runner_of: Callable[..., BatchRunner]) -> None:
    """After a flush each address is in the store, and no source is asked."""
    runner = runner_of(WORLDS["City and ASN"])
    texts = [str(address) for address in some(2_000)]
    fields = ("ip", "status", "country_code", "city", "asn", "org", "network", "source", "built_at", "traits")
    expected, _ = runner.answer(together(texts), format="jsonl", fields=fields)
    with runner.cache() as cache:
        assert len({str(addresses.parse(text)) for text in texts}) == cache.flush_dirty().flushed
    actual, _ = runner.answer(together(texts), format="jsonl", fields=fields, mode="cached-only")

    assert expected.splitlines() == actual.splitlines()


@pytest.mark.slow
@pytest.mark.no_cover
def test_the_order_does_not_depend_on_the_threads(runner_of: Callable[..., BatchRunner]) -> None:
    """A row for each line, in order, with any number of threads; and the same entries."""
    runner = runner_of(WORLDS["City and ASN"])
    texts = [str(address) for address in some(45_000)] * 3
    assert len("\n".join(texts)) > 3 * READ_BYTES
    expected, _ = runner.answer(together(texts), name="data-1", jobs=1)
    entries = {entry.ip: entry for entry in runner.dirty("data-1")}
    for jobs in (2, 4):
        actual, _ = runner.answer(together(texts), name=f"data-{jobs}", jobs=jobs)
        assert expected == actual
        assert entries == {entry.ip: entry for entry in runner.dirty(f"data-{jobs}")}
    assert texts == [row.split(",")[0] for row in expected.decode().splitlines()[1:]]


@pytest.mark.parametrize("mode", ["cache", "no-cache"])
@pytest.mark.parametrize(
    ("last", "status"), [("1.2.3.4", 0), ("10.0.0.1", 0), ("x", 1), ("9.9.9.9", 1), ("2a00:0:0:1::", 0), ("3001::", 1)]
)
def test_strict_and_the_counts(runner_of: Callable[..., BatchRunner], last: str, status: int, mode: str) -> None:
    """One line without an answer among thousands is enough; each row is counted."""
    runner = runner_of(WORLDS["City and ASN"], named=True)
    texts = ["1.2.3.4"] * 2000 + ["10.0.0.1"] * 5 + [last]
    ways = [
        runner.answer(pieces, mode=mode, name=f"{n}", is_strict=True, is_counted=True)
        for n, pieces in enumerate([one_by_one(texts), together(texts)])
    ]

    assert [status, status] == [report.exit_status for _, report in ways]
    assert ways[0][1].counts == ways[1][1].counts
    assert len(texts) == ways[1][1].counts.total()


@pytest.mark.slow
def test_a_replaced_database_is_noticed(runner_of: Callable[..., BatchRunner]) -> None:
    """From the next block on the answers are those of the new one, with its generation."""
    runner = runner_of({"GeoLite2-City": ({"1.0.0.0/8": LONDON}, 6)})
    texts = [str(IPv4Address(0x01000000 + number)) for number in range(3 * READ_BYTES // 10)]
    reads, digests = 0, [digest_of(str(runner.paths[0]))]

    def replace(_: int) -> None:
        nonlocal reads
        reads += 1
        if reads == 2:
            build(runner.paths[0], {"1.0.0.0/8": TOKYO}, build_epoch=1_790_000_000)
            digests.append(digest_of(str(runner.paths[0])))

    actual, _ = runner.answer(together(texts), on_read=replace, fields=("city",), format="value")
    cities = actual.decode().split()
    before = cities.index("Tokyo")

    assert ["London"] * before + ["Tokyo"] * (len(texts) - before) == cities
    assert 0 < before < len(texts)
    entries = [(entry.place.city, entry.generation.partition(",")[0]) for entry in runner.dirty("data")]
    assert {
        ("London", f"GeoLite2-City@{digests[0]}"): before,
        ("Tokyo", f"GeoLite2-City@{digests[1]}"): len(texts) - before,
    } == Counter(entries)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_answers_of_a_replacing_database_are_appended(runner_of: Callable[..., BatchRunner], jobs: int) -> None:
    """If an address occurs again, the last printed answer is the last appended one."""
    runner = runner_of({"GeoLite2-City": ({"1.0.0.0/8": LONDON}, 6)})
    texts = [str(IPv4Address(0x01000000 + number)) for number in range(READ_BYTES // 11)]

    reads = count()

    def replace(_: int) -> None:
        if next(reads) == 4:  # while the second of three times the same is read
            build(runner.paths[0], {"1.0.0.0/8": TOKYO}, build_epoch=1_790_000_000)

    actual, _ = runner.answer(together(texts * 3), on_read=replace, fields=("city",), format="value", jobs=jobs)
    cities = actual.decode().split()
    entries = {entry.ip: entry.place.city for entry in runner.dirty("data")}

    assert ["London"] * len(texts) == cities[: len(texts)]
    assert ["Tokyo"] * len(texts) == cities[-len(texts) :] == [entries[text] for text in texts]


@pytest.mark.parametrize("jobs", [1, 2])
def test_answers_that_were_not_appended_are_appended_later(
    runner_of: Callable[..., BatchRunner], monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    """The lock of the journal may be free for a later block."""
    runner = runner_of(WORLDS["City and ASN"])
    texts = [str(address) for address in some(20_000)]
    append, tries = Journal.append_packed, count()

    def fails_once(journal: Journal, payloads: Iterable[bytes], is_current: Callable[[], bool]) -> bool:
        packed = list(payloads)
        if next(tries) == 0:
            raise BusyError("journal", 10)
        return append(journal, packed, is_current)

    monkeypatch.setattr(Journal, "append_packed", fails_once)
    runner.answer(together(texts * 5), jobs=jobs)

    assert {str(addresses.parse(text)) for text in texts} == {entry.ip for entry in runner.dirty("data")}


def damage_record(path: Path) -> None:
    """Give Tokyo's name an invalid type."""
    data = bytearray(path.read_bytes())
    data[data.index(b"\x45Tokyo")] = 0x05
    path.write_bytes(data)


def damage_tree(path: Path) -> None:
    """Make the right half of all addresses point between the tree and the data."""
    data = bytearray(path.read_bytes())
    zeros = data.index(bytes(16), 6)
    data[3:6] = (zeros // 6 + 1).to_bytes(3, "big")
    path.write_bytes(data)


def test_very_many_databases(runner_of: Callable[..., BatchRunner]) -> None:
    """More than the kernel can distinguish are left to the scalar path."""
    several = {f"City{number:02}": ({f"{number + 11}.0.0.0/8": {"city": str(number)}}, 4) for number in range(33)}
    runner = runner_of(several)
    texts = [f"{number}.1.2.3" for number in range(5, 50)]
    expected, _ = runner.answer(one_by_one(texts), mode="no-cache")
    actual, _ = runner.answer(together(texts), mode="no-cache")

    assert expected.splitlines() == actual.splitlines()
    assert b"43.1.2.3,resolved,,,,32," in actual


@pytest.mark.parametrize("mode", ["no-cache", "cache"])
@pytest.mark.parametrize("damage", [damage_record, damage_tree])
def test_a_damaged_database_has_the_same_results(
    runner_of: Callable[..., BatchRunner], damage: Callable[[Path], None], mode: str
) -> None:
    """The rows, the exit status, the entries and the messages are those of a lookup."""
    networks = {"1.0.0.0/8": TOKYO, "81.2.69.0/24": LONDON, "98.0.0.0/24": LONDON, "150.1.0.0/16": LONDON}
    runner = runner_of({"GeoLite2-City": (networks, 4), "GeoLite2-ASN": (NUMBERS, 6)})
    damage(runner.paths[0])
    texts = [*(str(IPv4Address(number << 22)) for number in range(1 << 10)), "81.2.69.160", "150.1.2.3", "1.2.3.4"] * 2
    fields = ("ip", "status", "city", "asn", "source", "error", "network")
    actual = []
    for name, pieces in (("one", one_by_one(texts)), ("many", together(texts))):
        runner.problems.clear()
        rows, report = runner.answer(pieces, name=name, mode=mode, fields=fields)
        entries = {entry.ip: entry for entry in runner.dirty(name)} if mode == "cache" else {}
        actual.append((rows.splitlines(), report.exit_status, entries, {str(problem) for problem in runner.problems}))

    assert actual[0][0] == actual[1][0]
    assert actual[0] == actual[1]
    assert 1 == len(actual[0][3])


def edges(version: int) -> list[Address]:
    """Return the first and last address of each special range, and their neighbours."""
    kind = IPv4Address if version == 4 else IPv6Address
    most = (1 << (32 if version == 4 else 128)) - 1
    ends = [end + step for first, last, _ in addresses.ranges(version) for end in (first, last) for step in (-1, 0, 1)]
    return [kind(number) for number in sorted({0, most, *ends}) if 0 <= number <= most]


@pytest.mark.parametrize("version", [4, 6])
def test_special_addresses_at_every_edge(runner_of: Callable[..., BatchRunner], version: int) -> None:
    """The scope is that of a lookup, which also decides on addresses that embed one, and so is the row."""
    actual = edges(version)
    runner = runner_of(WORLDS["City and ASN"])
    texts = list(map(str, actual)) * (SMALL_BYTES // len(actual) + 1)
    rows, _ = runner.answer(
        together(texts), mode="no-cache", format="jsonl", fields=("ip", "status", "scope", "network")
    )
    once, _ = runner.answer(
        together(texts[: len(actual)]), mode="no-cache", format="jsonl", fields=("ip", "status", "scope", "network")
    )
    assert once * (len(texts) // len(actual)) == rows
