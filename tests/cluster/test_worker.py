"""The task of a worker, tested without a cluster."""

from __future__ import annotations

import os
import shutil
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from geocli.batch.request import BatchRequest
from geocli.cache import GeoCache
from geocli.cluster import worker
from geocli.cluster.messages import Job, job_of
from geocli.cluster.splits import Part, split
from geocli.cluster.worker import MemoryJournal, payloads_of, run_part
from geocli.databases.discovery import digest_of
from geocli.errors import (
    ClusterError,
    DatabaseError,
    MissingDatabaseError,
    SettingsError,
)
from geocli.resolvers.registries import RirResolver
from geocli.storage.frames import TARGET_BYTES, unpack
from tests.helpers.databases import CITIES, LONDON, build

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

pytestmark = [pytest.mark.slow, pytest.mark.measured]

LINES = b"81.2.69.160\nnonsense\n10.0.0.1\n"


class Bench:
    """A job, and directories of a worker."""

    def __init__(self, geocli: Geocli, home: Path) -> None:
        self.geocli, self.home = geocli, home
        self.scratch, self.work = home / "scratch", home / "work"
        self.source = home / "list"
        for path in (self.scratch, self.work):
            path.mkdir()
        self.source.write_bytes(LINES)

    def job(self, **options: Any) -> Job:
        request = BatchRequest(**{"files": (str(self.source),), "fields": ("ip", "country_code", "source"), **options})
        with GeoCache(settings=self.geocli.settings()) as cache:
            return job_of(cache, request, f"file://{self.work}")

    def part(self, block_bytes: int = 1000) -> Part:
        return split(BatchRequest(files=(str(self.source),)), block_bytes)[0]

    def run_part(self, job: Job) -> bytes:
        result = run_part(job, self.part(), str(self.scratch))
        return (self.work / result.rows).read_bytes()


@pytest.fixture
def bench(located: Geocli, tmp_path: Path) -> Bench:
    return Bench(located, tmp_path)


ANSWERED = b"""\
ip,country_code,source
81.2.69.160,GB,GeoLite2-City+GeoLite2-ASN
nonsense,,
10.0.0.1,,iana
"""


def test_a_part_is_answered(bench: Bench) -> None:
    """The rows are written to a file, and nothing to a cache."""
    assert ANSWERED == bench.run_part(bench.job())
    assert [] == list(bench.scratch.iterdir())
    assert not bench.geocli.data_dir.exists()


def test_the_next_part_does_not_wait_for_the_disk(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next part starts when all rows are written, before they are synced, which may take long."""
    happened: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: happened.append("synced"))

    result = run_part(bench.job(), bench.part(), str(bench.scratch), lambda: happened.append("written"))

    assert ["written", "synced"] == happened
    assert ANSWERED == (bench.work / result.rows).read_bytes()


def test_answers_are_returned_as_frames(bench: Bench) -> None:
    """New answers are returned as the journal stores them, with the sources of the coordinator."""
    job = bench.job()

    result = run_part(job, bench.part(), str(bench.scratch))

    (frame,) = [unpack(payload) for payloads in payloads_of(result.frames) for payload in payloads]
    assert {"81.2.69.160", "10.0.0.1"} == {row[0] for row in frame.rows}
    assert ", ".join(label for label, _ in job.sources) == frame.generation


def test_without_a_cache_no_answers_are_returned(bench: Bench) -> None:
    """With `--no-cache` no answers are returned."""
    result = run_part(bench.job(mode="no-cache"), bench.part(), str(bench.scratch))

    assert [] == [payload for payloads in payloads_of(result.frames) for payload in payloads]


def test_frames_of_many_answers_have_the_usual_size(bench: Bench) -> None:
    """However many addresses a part has, payloads have the usual maximum size."""
    addresses = [f"{n >> 8 & 255 | 1}.{n & 255}.7.{n >> 16}" for n in range(40_000)]
    bench.source.write_text("\n".join(addresses))

    result = run_part(bench.job(), bench.part(10**7), str(bench.scratch))

    payloads = [payload for payloads in payloads_of(result.frames) for payload in payloads]
    assert len(payloads) > 5
    assert max(map(len, payloads)) <= TARGET_BYTES
    assert set(addresses) == {row[0] for payload in payloads for row in unpack(payload).rows}


@pytest.mark.parametrize("at", [5, 40, -3])
def test_damaged_frames_are_not_taken_for_answers(at: int) -> None:
    """Changed bytes are detected: each frame has a digest, and the stream has a checksum."""
    frames = MemoryJournal()
    frames.append_packed([b'{"x":%d}' % number for number in range(100)])
    compressed = bytearray(frames.compressed())
    compressed[at] ^= 1

    with pytest.raises((ValueError, zlib.error)):
        list(payloads_of(bytes(compressed)))


def test_an_invalid_stream_is_not_taken_for_answers() -> None:
    """A truncated stream, and one that does not consist of frames, are errors."""
    frames = MemoryJournal()
    frames.append_packed([b"{}"] * 3)
    compressed = frames.compressed()

    for wrong in (
        compressed[:-6],
        zlib.compress(b"no frame\n"),
        zlib.compress(zlib.decompress(compressed) + b"G1 "),
        b"",
    ):
        with pytest.raises(ValueError, match="damaged in transit"):
            list(payloads_of(wrong))


def test_a_database_that_cannot_be_read_has_no_digest(tmp_path: Path) -> None:
    """A missing database is an error that names it."""
    with pytest.raises(DatabaseError, match=r"gone.mmdb: cannot be read: No such file"):
        digest_of(str(tmp_path / "gone.mmdb"))


def test_a_missing_database_is_requested_and_copied_once(bench: Bench) -> None:
    """A worker without a database requests it; it uses the copy from then on."""
    job = bench.job()
    for sent in job.databases:
        shutil.move(sent.path, f"{sent.path}.away")

    with pytest.raises(MissingDatabaseError, match=r"mmdb: a worker does not have this database"):
        bench.run_part(job)
    for sent in job.databases:
        shutil.copy(f"{sent.path}.away", bench.work / sent.digest)
    assert ANSWERED == bench.run_part(job)
    for sent in job.databases:
        (bench.work / sent.digest).unlink()
    assert ANSWERED == bench.run_part(job)


def test_another_build_in_the_same_place_is_not_used(bench: Bench) -> None:
    """A file with another digest is not used, even if it has the same name and build."""
    job = bench.job()
    city = bench.geocli.db_dir / "GeoLite2-City.mmdb"
    copy = bench.work / next(sent.digest for sent in job.databases if sent.path == str(city))
    copy.write_bytes(city.read_bytes())
    build(city, {"81.2.69.0/24": {"country": {"iso_code": "FR"}}}, build_epoch=1_780_000_000)

    assert ANSWERED == bench.run_part(job)


def test_a_damaged_copy_is_an_error(bench: Bench) -> None:
    """A copy whose digest differs is an error, and nothing is answered."""
    job = bench.job()
    sent = job.databases[0]
    shutil.move(sent.path, f"{sent.path}.away")
    (bench.work / sent.digest).write_bytes(b"something else")

    with pytest.raises(DatabaseError, match="the copy that a worker received is damaged"):
        bench.run_part(job)
    assert [bench.work / sent.digest] == list(bench.work.iterdir())


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_database_that_is_replaced_during_a_part_is_an_error(bench: Bench, *, is_gone: bool) -> None:
    """No part has answers of two builds, or without one of the databases."""
    job = bench.job()
    state = worker._JobState(job, str(bench.scratch))  # noqa: SLF001 (between its two steps)
    resolvers = state.resolvers()
    city = bench.geocli.db_dir / "GeoLite2-City.mmdb"
    if is_gone:
        city.unlink()
    else:
        build(city, {**CITIES, "1.0.0.0/24": LONDON})

    with pytest.raises(DatabaseError, match=r"GeoLite2-City.mmdb: (was replaced meanwhile|cannot be read: No such)"):
        state.run_part(bench.part(), resolvers, print)
    assert [] == list(bench.work.iterdir())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": "9.9"}, "a worker: has geocli .*, not 9.9"),
        ({"sources": (("rir@0.1", None),), "databases": ()}, "a worker: has rir@3.*, not rir@0.1"),
    ],
)
def test_another_release_is_an_error(bench: Bench, changes: dict[str, Any], reason: str) -> None:
    """A worker with another version of geocli or other built-in data answers nothing."""
    with pytest.raises(ClusterError, match=reason):
        bench.run_part(bench.job().replace(**changes))


def test_rows_that_cannot_be_written_are_an_error(bench: Bench) -> None:
    """The error says that a worker cannot write to the directory."""
    job = bench.job().replace(work=f"file://{bench.home}/nowhere")

    with pytest.raises(ClusterError, match=r"nowhere: a worker cannot write there: .*No such file") as caught:
        bench.run_part(job)
    assert 1 == caught.value.exit_status


def test_sources_other_than_databases_are_refused(bench: Bench) -> None:
    """A source that workers do not have is refused, not ignored."""
    configured = bench.geocli.settings()
    refused = "--cluster: only databases can be asked; name them with --db"

    for options in (
        {"settings": configured, "resolvers": [RirResolver()]},
        {"settings": configured.replace(ip_api=True)},
    ):
        with GeoCache(**options) as cache, pytest.raises(SettingsError, match=refused):
            job_of(cache, BatchRequest(), "file:///nowhere")


def test_a_damaged_database_is_an_error(bench: Bench) -> None:
    """One machine would answer without the database; workers might decide differently, so it is an error."""
    (bench.geocli.db_dir / "damaged.mmdb").write_bytes(b"nothing")

    with pytest.raises(DatabaseError, match=r"damaged.mmdb: not a readable MaxMind DB"):
        bench.job()
