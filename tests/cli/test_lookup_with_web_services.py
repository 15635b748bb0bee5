"""Commands that ask a web service: real processes, and a real server on loopback."""

from __future__ import annotations

import csv
import io
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers.command_output import complaint, complaints, objects
from tests.helpers.data_directories import dirty, stored_rows
from tests.helpers.stores import change
from tests.helpers.waiting import PATIENCE_SECONDS, wait_for
from tests.helpers.web_services import Web

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow

KNOWN, UNKNOWN, SPECIAL = "81.2.69.160", "45.45.45.45", "10.0.0.1"


@pytest.fixture(scope="module", params=["ip-api"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with Web(request.param, tmp_path_factory.mktemp("web")) as server:
        yield server


@pytest.fixture
def web(server: Web, geocli: Geocli) -> Web:
    """Return a web service that geocli asks for addresses without a place in the databases; no built-in data."""
    server.begin()
    geocli.environ |= {**server.environ, "GEOCLI_BUILT_IN_DATA": "false", "GEOCLI_SERVICE_TIMEOUT_SECONDS": "5"}
    return server


def addresses(count: int, first: str = "45") -> list[str]:
    return [f"{first}.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(count)]


def list_of(path: Path, texts: list[str]) -> str:
    path.write_text("".join(f"{text}\n" for text in texts))
    return str(path)


class TestLookup:
    @pytest.mark.parametrize("server", ["ip-api", "maxmind"], indirect=True)
    def test_an_answer(self, located: Geocli, web: Web) -> None:
        """The service is asked for addresses without an answer, and the answer is appended before it is printed."""
        run = located("lookup", KNOWN, UNKNOWN, SPECIAL)
        assert (0, b"") == (run.returncode, run.stderr)
        assert [[UNKNOWN]] == web.requests
        first, request, special = objects(run.stdout)
        assert ("London", "GeoLite2-City+GeoLite2-ASN") == (first["city"], first["source"])
        assert ("Osaka", "JP", web.name, False) == tuple(
            request[name] for name in ("city", "country_code", "source", "cached")
        )
        assert "special" == special["status"]
        assert {KNOWN, UNKNOWN, SPECIAL} == {entry.ip for entry in dirty(located)}

    @pytest.mark.parametrize("flushed", [True, False])
    def test_the_next_process_does_not_ask_again(self, geocli: Geocli, web: Web, flushed: bool) -> None:  # noqa: FBT001
        """The answer is found in the journal and in the store."""
        geocli("lookup", UNKNOWN)
        if flushed:
            geocli("flush")
        (entry,) = objects(geocli("lookup", UNKNOWN).stdout)
        assert ("Osaka", True) == (entry["city"], entry["cached"])
        assert 1 == len(web.requests)

    def test_the_built_in_data_are_local(self, geocli: Geocli, web: Web) -> None:
        """By default the country of registration is an answer, and no service is asked; with --refresh one is."""
        geocli.environ.pop("GEOCLI_BUILT_IN_DATA")
        assert "rir" == objects(geocli("lookup", UNKNOWN).stdout)[0]["source"]
        assert [] == web.requests
        assert "Osaka" == objects(geocli("lookup", "--refresh", UNKNOWN).stdout)[0]["city"]
        geocli("flush")
        assert "Osaka" == objects(geocli("lookup", UNKNOWN).stdout)[0]["city"]
        assert 1 == len(web.requests)

    @pytest.mark.parametrize(
        ("status", "exit_status", "reason"),
        [(500, 3, "HTTP 500"), (429, 75, "too many requests")],
    )
    def test_failures(self, geocli: Geocli, web: Web, status: int, exit_status: int, reason: str) -> None:
        """One message, with 3 or 75; nothing is stored, and the next process sends no request."""
        web.behave = web.raw("", status)
        run = geocli("lookup", UNKNOWN, "45.45.45.46")
        assert (exit_status, f"ip-api: {reason}") == (run.returncode, complaint(run))
        assert ["unresolved"] * 2 == [entry["status"] for entry in objects(run.stdout)]
        assert [] == dirty(geocli)
        run = geocli("lookup", UNKNOWN)
        assert exit_status == run.returncode
        assert complaint(run).endswith(f" s: {reason}")
        assert 1 == len(web.requests)
        assert 0 == geocli("lookup", SPECIAL).returncode

    def test_named_databases_alone(self, located: Geocli, web: Web) -> None:
        """With --db no other source is asked."""
        run = located("lookup", "--db", str(located.db_dir / "GeoLite2-City.mmdb"), UNKNOWN)
        assert (1, []) == (run.returncode, web.requests)

    def test_an_exposed_key(self, geocli: Geocli, web: Web) -> None:
        """A key file that others can read is reported once, and is not a failure."""
        os.chmod(web.key_file, 0o644)
        run = geocli("lookup", UNKNOWN, environ={"GEOCLI_IP_API_KEY_FILE": web.key_file})
        assert (0, f"{web.key_file}: other users can read this key; run: chmod o-r") == (run.returncode, complaint(run))

    def test_by_the_configuration(self, geocli: Geocli, web: Web, tmp_path: Path) -> None:
        """A file turns a service on as well as the environment does."""
        url = geocli.environ.pop("GEOCLI_IP_API_URL")
        del geocli.environ["GEOCLI_IP_API"]
        assert 1 == geocli("lookup", UNKNOWN).returncode
        assert [] == web.requests
        (tmp_path / "config.toml").write_text(f'system_databases = false\nip_api = true\nip_api_url = "{url}"\n')
        assert 0 == geocli("lookup", UNKNOWN).returncode


class TestSettings:
    def test_a_service_with_other_settings_is_another(self, geocli: Geocli, web: Web) -> None:
        """An answer is fresh only for the same settings of the service; after a change, the service is asked."""
        assert "Osaka" == objects(geocli("lookup", UNKNOWN).stdout)[0]["city"]
        assert objects(geocli("lookup", UNKNOWN).stdout)[0]["cached"]
        other_url = geocli.environ["GEOCLI_IP_API_URL"].replace("127.0.0.1", "localhost")
        for cached in (False, True):
            run = geocli("lookup", UNKNOWN, environ={"GEOCLI_IP_API_URL": other_url})
            assert cached is objects(run.stdout)[0]["cached"]
        assert [[UNKNOWN]] * 2 == web.requests

    def test_an_answer_of_an_earlier_release_stays_fresh(self, geocli: Geocli, web: Web) -> None:
        """Earlier releases recorded services by name alone: after an upgrade their answers are not requested again."""
        assert geocli("lookup", UNKNOWN).returncode == geocli("flush").returncode == 0
        change(str(geocli.data_dir / "geocli.db"), "UPDATE generations SET sources = 'ip-api'")
        assert "Osaka" == objects(geocli("lookup", UNKNOWN).stdout)[0]["city"]
        run = geocli("re-resolve", "--json")
        assert 0 == run.returncode
        assert objects(geocli("lookup", UNKNOWN).stdout)[0]["cached"]
        assert [[UNKNOWN]] == web.requests


class TestBatch:
    @pytest.mark.parametrize("options", [(), ("--no-cache",)])
    @pytest.mark.parametrize("jobs", ["1", "2"])
    def test_full_batches(self, located: Geocli, web: Web, tmp_path: Path, options: tuple[str, ...], jobs: str) -> None:
        """The databases answer in bulk; the other distinct addresses are requested together, a hundred at a time."""
        unknown = addresses(400)
        texts = [text for number in range(100_000) for text in (f"81.2.69.{number & 255}", unknown[number % 400])]
        run = located("batch", "-j", jobs, *options, "-F", "ip,city,source", list_of(tmp_path / "list", texts))
        assert (0, b"") == (run.returncode, run.stderr)
        rows = list(csv.reader(io.StringIO(run.stdout.decode())))[1:]
        assert texts == [row[0] for row in rows]
        assert {("London", "GeoLite2-City"), ("London", "GeoLite2-City+GeoLite2-ASN"), ("Osaka", "ip-api")} == {
            (city, source) for _, city, source in rows
        }
        assert [100] * 4 == [len(request) for request in web.requests]
        assert unknown == [ip for request in web.requests for ip in request]
        if not options:
            assert {*unknown, *(f"81.2.69.{number}" for number in range(256))} == {e.ip for e in dirty(located)}

    def test_some_of_each_block(self, located: Geocli, web: Web, tmp_path: Path) -> None:
        """Few unknown addresses in each block are gathered over several blocks, rather than sent block by block."""
        texts = ["81.2.69.1"] * 200_000
        texts[::2000] = addresses(100)
        run = located("batch", "-F", "ip,city", "--no-header", list_of(tmp_path / "list", texts))
        assert 0 == run.returncode
        assert texts == [line.partition(",")[0] for line in run.stdout.decode().splitlines()]
        assert sorted(addresses(100)) == sorted(ip for request in web.requests for ip in request)
        assert len(web.requests) <= 5

    @pytest.mark.parametrize("options", [(), ("--no-cache",)])
    def test_a_network_alone_is_not_a_place(
        self, located: Geocli, web: Web, tmp_path: Path, options: tuple[str, ...]
    ) -> None:
        """In bulk as in a lookup, a record with a network only has no place."""
        (located.db_dir / "GeoLite2-City.mmdb").unlink()
        texts = ["81.2.69.160"] * 3000 + ["81.2.69.1"] * 3000
        run = located("batch", "-F", "ip,city,asn,source", "--no-header", *options, list_of(tmp_path / "list", texts))
        assert [["81.2.69.160", "81.2.69.1"]] == web.requests
        expected = {"81.2.69.160,Osaka,20712,GeoLite2-ASN+ip-api", "81.2.69.1,Osaka,64496,ip-api"}
        assert expected == set(run.stdout.decode().splitlines())

    def test_refresh(self, located: Geocli, web: Web, tmp_path: Path) -> None:
        """With --refresh the service is asked for every distinct address once."""
        texts = [*addresses(150), KNOWN, SPECIAL] * 400
        run = located("batch", "--refresh", "-F", "city", "-f", "value", list_of(tmp_path / "list", texts))
        assert [100, 51] == [len(request) for request in web.requests]
        assert (["Osaka"] * 151 + [""]) * 400 == run.stdout.decode().splitlines()

    @pytest.mark.parametrize("is_flushed", [False, True])
    @pytest.mark.parametrize("count", [1, 20_000])
    def test_the_size_of_the_input_changes_no_answer(
        self, located: Geocli, web: Web, tmp_path: Path, count: int, *, is_flushed: bool
    ) -> None:
        """Answers that were paid for with --refresh are used while they are fresh, in input of any size."""
        assert located("lookup", KNOWN).returncode == 0
        assert located("flush").returncode == 0
        assert "Osaka" == objects(located("lookup", "--refresh", KNOWN).stdout)[0]["city"]
        if is_flushed:
            assert located("flush").returncode == 0
        texts = [KNOWN, "81.2.69.161"] * count
        run = located("batch", "-F", "ip,city", "-f", "value", list_of(tmp_path / "list", texts))
        assert [f"{KNOWN}\tOsaka", "81.2.69.161\tLondon"] * count == run.stdout.decode().splitlines()
        assert "Osaka" == objects(located("lookup", KNOWN).stdout)[0]["city"]
        assert [[KNOWN]] == web.requests

    def test_failures(self, located: Geocli, web: Web, tmp_path: Path) -> None:
        """A failing service is asked once, and the status is 3; answers of the databases are printed and stored."""
        web.behave = web.raw("", 500)
        texts = [text for pair in zip(addresses(3000), ["81.2.69.1"] * 3000, strict=True) for text in pair]
        run = located("batch", "-F", "status", "-f", "value", list_of(tmp_path / "list", texts))
        assert (3, ["ip-api: HTTP 500"]) == (run.returncode, complaints(run))
        assert ["unresolved", "resolved"] * 3000 == run.stdout.decode().splitlines()
        assert 1 == len(web.requests)
        assert ["81.2.69.1"] == [entry.ip for entry in dirty(located)]

    def test_a_rate_limit_is_waited_for(self, geocli: Geocli, web: Web, tmp_path: Path) -> None:
        """A batch waits for the end of a rate limit, rather than leave rows without an answer."""
        web.headers = {"X-Rl": "0", "X-Ttl": "1"}
        run = geocli("batch", "-F", "city", "-f", "value", list_of(tmp_path / "list", addresses(150)))
        assert (0, ["Osaka"] * 150) == (run.returncode, run.stdout.decode().splitlines())
        assert [100, 50] == [len(request) for request in web.requests]


class TestReResolve:
    @pytest.fixture
    def unknown(self, geocli: Geocli, web: Web, tmp_path: Path) -> list[str]:
        """Store 620 addresses that were unresolved before there was a service."""
        texts = addresses(620)
        geocli("batch", list_of(tmp_path / "list", texts), environ={"GEOCLI_IP_API": "false"})
        geocli("flush")
        assert [("unresolved",)] == sorted(set(stored_rows(geocli, "status")))
        assert [] == web.requests
        return texts

    def _report(self, geocli: Geocli, *options: str) -> dict[str, Any]:
        run = geocli("re-resolve", "--json", *options)
        assert (0, b"") == (run.returncode, run.stderr)
        result: dict[str, Any] = json.loads(run.stdout)
        return result

    @pytest.mark.usefixtures("unknown")
    def test_a_new_service(self, geocli: Geocli, web: Web) -> None:
        """Unresolved rows are due as soon as there is a service; they are requested in full batches, once."""
        web.unknown = {"45.0.0.7"}
        expected = {"retried": 620, "found": 619, "changed": 0, "unknown": 1}
        assert expected == self._report(geocli)
        assert [100, 100, 100, 100, 100, 100, 20] == [len(request) for request in web.requests]
        assert 0 == self._report(geocli)["retried"]
        assert [("resolved",)] * 619 == [row for row in stored_rows(geocli, "status") if row != ("unresolved",)]

    @pytest.mark.usefixtures("unknown")
    def test_limit(self, geocli: Geocli, web: Web) -> None:
        """A limit bounds the rows and the requests; the next run continues with the other rows."""
        assert 150 == self._report(geocli, "--limit", "150")["retried"]
        assert 150 == self._report(geocli, "--limit", "150")["retried"]
        assert 300 == len({ip for request in web.requests for ip in request})
        assert 320 == self._report(geocli, "--dry-run")["retried"]

    def test_a_run_that_is_killed(self, geocli: Geocli, web: Web, unknown: list[str]) -> None:
        """Its answers are stored, and the next run requests only the rest."""
        web.later = [web.answer] * 5
        web.behave = web.dawdle
        with geocli.start("re-resolve") as process:
            wait_for(lambda: len(web.requests) == 6)
            process.kill()
            process.communicate(timeout=PATIENCE_SECONDS)
        first = [ip for request in web.requests[:5] for ip in request]
        web.begin()
        assert {"retried": 120, "found": 120, "changed": 0, "unknown": 0} == self._report(geocli)
        assert sorted(unknown) == sorted([*first, *(ip for request in web.requests for ip in request)])

    @pytest.mark.usefixtures("unknown")
    def test_another_run_at_the_same_time(self, geocli: Geocli, web: Web) -> None:
        """It is left to the first one, silently, so that cron may start the next before one has ended."""
        web.behave = web.dawdle
        with geocli.start("re-resolve") as process:
            wait_for(lambda: web.requests)
            run = geocli("re-resolve", "--json")
            assert (0, b"", b"") == (run.returncode, run.stdout, run.stderr)
            assert 620 == self._report(geocli, "--dry-run")["retried"]
            process.kill()
            process.communicate(timeout=PATIENCE_SECONDS)
        assert 1 == len(web.requests)

    @pytest.mark.usefixtures("unknown")
    def test_a_service_that_fails(self, geocli: Geocli, web: Web) -> None:
        """It is asked once, by this run and the next; the rows stay due, and local sources are asked."""
        web.behave = web.raw("", 503)
        run = geocli("re-resolve", "--json")
        assert "ip-api: HTTP 503" == complaint(run)
        assert {"retried": 620, "found": 0, "changed": 0, "unknown": 620} == json.loads(run.stdout)
        assert complaint(geocli("re-resolve")).endswith(" s: HTTP 503")
        assert 1 == len(web.requests)
        assert 620 == self._report(geocli, "--dry-run")["retried"]

    def test_answers_of_a_service(self, geocli: Geocli, web: Web) -> None:
        """They are fresh for their lifetime, then due; a changed country is logged."""
        assert 0 == geocli("lookup", UNKNOWN).returncode
        assert 0 == self._report(geocli)["retried"]
        geocli("flush")
        change(str(geocli.data_dir / "geocli.db"), "UPDATE geo_cache SET retry_at = '2026-01-01T00:00:00Z'")
        web.behave = web.raw(json.dumps([{**web.record(UNKNOWN), "countryCode": "KR"}]))
        run = geocli("-v", "re-resolve", "--json")
        assert {"retried": 1, "found": 0, "changed": 1, "unknown": 0} == json.loads(run.stdout)
        lines = [json.loads(line) for line in run.stderr.decode().splitlines() if line.startswith("{")]
        (event,) = (line for line in lines if line["event"] == "country changed")
        assert (UNKNOWN, "JP", "KR") == (event["ip"], event["before"], event["after"])
        assert [(UNKNOWN, "KR")] == stored_rows(geocli, "ip, country_code")
