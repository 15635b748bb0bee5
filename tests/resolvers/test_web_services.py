"""Web services: bounded in time and size, with as few requests as allowed, and pauses when they request them."""

from __future__ import annotations

import gzip
import json
import os
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from geocli.errors import ExposedError, GeocliError, ServiceError
from geocli.resolvers.chain import default_services
from geocli.resolvers.configured_services import IP_API_KEYED_URL, IP_API_URL
from geocli.settings import load
from geocli.storage.directory import DataDirectory
from tests.helpers import misbehaving_servers as servers
from tests.helpers.web_services import Web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from geocli.addresses import Address
    from geocli.resolvers.protocols import Service
    from geocli.settings import Settings
    from tests.helpers.clock import Clock
    from tests.helpers.geocli_process import Geocli

FIRST, SECOND = (ip_address(text) for text in ("45.45.45.45", "2001:db9::1"))
only_ip_api = pytest.mark.parametrize("served", ["ip-api"], indirect=True)


class Desk:
    """Asks one service, as processes one after another would."""

    def __init__(self, web: Web, chosen: Settings, clock: Clock) -> None:
        self.web, self.chosen, self.clock = web, chosen, clock
        self.warnings: list[GeocliError] = []
        self.problems: list[Any] = []
        self.key_file = web.key_file

    def service(self, **changes: Any) -> Service:
        """Return the service as a new process has it."""
        chosen = self.chosen.replace(**changes)
        (result,) = default_services(chosen, lambda: DataDirectory(chosen.data_dir), self.clock, self.warnings.append)
        return result

    def ask(self, *addresses: Address, **changes: Any) -> dict[Address, Any]:
        """Look up addresses, and return the answers."""
        return dict(self.service(**changes).resolve_many(addresses, self.problems.append))

    @property
    def reported(self) -> list[str]:
        """The reported problems, without the name of the service."""
        return [str(problem).removeprefix(f"{self.web.name}: ") for problem in self.problems]


@pytest.fixture(scope="module", params=["maxmind", "ip-api"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Run a server for each of the services."""
    with Web(request.param, tmp_path_factory.mktemp("web")) as server:
        yield server


@pytest.fixture
def web(served: Web) -> Web:
    """Return a server without recorded requests."""
    served.begin()
    return served


@pytest.fixture
def desk(web: Web, geocli: Geocli, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Return a desk that waits for answers, but not to ask."""
    for name, text in web.environ.items():
        monkeypatch.setenv(name, text)
    chosen = load({**geocli.environ, **web.environ}).replace(service_timeout_seconds=30.0, service_wait_seconds=0.0)
    return Desk(web, chosen, clock)


def _other(web: Web) -> str:
    body = web.record("45.45.45.46")
    return json.dumps(body if web.is_maxmind else [body])


def _changed(web: Web, **changes: Any) -> str:
    body = web.record(str(FIRST)) | changes
    return json.dumps(body if web.is_maxmind else [body])


UNREADABLE = "unreadable answer ("
WRONG = ("unreadable answer", "answer for other addresses")
"""Of MaxMind, and of ip-api.com."""
MISBEHAVIOUR: dict[str, tuple[Callable[[Web], Any], str | tuple[str, ...]]] = {
    "slow": (lambda web: web.dawdle, "no complete answer within 0.5 s"),
    "dripping": (lambda web: web.drip, "no complete answer within 0.5 s"),
    "reset": (lambda web: web.reset, "request failed: "),
    "500": (lambda web: web.raw("oops", 500), "HTTP 500"),
    "503": (lambda web: web.raw("", 503), "HTTP 503"),
    "403": (lambda web: web.raw("<html>", 403), "HTTP 403"),
    "429": (lambda web: web.raw("", 429), "too many requests"),
    "redirect": (lambda web: web.raw("", 302, Location="http://127.0.0.1:1/"), "redirected, which is not followed"),
    "to itself": (lambda web: web.raw("", 307, Location="/"), "redirected, which is not followed"),
    "garbage": (lambda web: web.raw(b"\xff\x00{"), "unreadable answer"),
    "cut short": (lambda web: web.raw('{"traits": {'), "unreadable answer"),
    "empty": (lambda web: web.raw(""), "unreadable answer"),
    "nested": (lambda web: web.raw("[" * 20_000), "unreadable answer"),
    "a number": (lambda web: web.raw("17"), "unreadable answer"),
    "a list of numbers": (lambda web: web.raw("[17]"), "unreadable answer"),
    "null": (lambda web: web.raw("null"), "unreadable answer"),
    "nothing said": (lambda web: web.raw("{}" if web.is_maxmind else "[{}]"), "unreadable answer"),
    "half a character": (lambda web: web.raw(_changed(web, city="\ud800")), "unreadable answer"),
    "not UTF-8": (lambda web: web.raw(_changed(web, city="~").replace("~", "\xe9").encode("latin-1")), UNREADABLE),
    "a key twice": (
        lambda web: web.raw(
            _changed(web)
            .replace('"traits"', '"a": 1, "a": 2, "traits"', 1)
            .replace('"query"', '"a": 1, "a": 2, "query"')
        ),
        UNREADABLE,
    ),
    "compressed": (
        lambda web: web.raw(gzip.compress(_changed(web).encode()), 200, **{"Content-Encoding": "gzip"}),
        UNREADABLE,
    ),
    "HTML": (lambda web: web.raw("<!DOCTYPE html><title>Sign in</title>"), UNREADABLE),
    "an integer without an end": (
        lambda web: web.raw(_changed(web, city=0).replace(" 0", " 1" + "0" * 5000)),
        UNREADABLE,
    ),
    "a list for an object": (lambda web: web.raw(f"[{_changed(web)}]"), "unreadable answer"),
    "an object for a list": (lambda web: web.raw('{"traits": []}'), "unreadable answer"),
    "a list for traits": (
        lambda web: web.raw(_changed(web, traits=[]) if web.is_maxmind else "[[]]"),
        "unreadable answer",
    ),
    "one too many": (lambda web: web.raw("[%s, %s]" % ((json.dumps(web.record(str(FIRST))),) * 2)), WRONG),
    "204": (lambda web: web.raw("", 204), "HTTP 204"),
    "206": (lambda web: web.raw(_changed(web), 206), "HTTP 206"),
    "300": (lambda web: web.raw("", 300), "HTTP 300"),
    "304": (lambda web: web.raw("", 304), "HTTP 304"),
    "401": (lambda web: web.raw("", 401), "HTTP 401"),
    "402": (lambda web: web.raw("\xff", 402), "HTTP 402"),
    "404": (lambda web: web.raw("<html>", 404), "HTTP 404"),
    "to a file": (lambda web: web.raw("", 301, Location="file:///etc/passwd"), "redirected, which is not followed"),
    "another address": (lambda web: web.raw(_other(web)), "answer for "),
    "huge": (lambda web: web.raw(b" " * (1 << 20)), "answer of more than "),
    "endless": (lambda web: web.pour, "answer of more than "),
}


class TestMisbehaviour:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", MISBEHAVIOUR)
    def test_every_failure_is_a_service_error(self, desk: Desk, name: str) -> None:
        """It is reported once, there are no answers, and then no process asks the service for a while."""
        behave, reason = MISBEHAVIOUR[name]
        desk.web.behave = behave(desk.web)
        limit = servers.seconds_for("".join(reason), 0.5)
        for _ in range(2):
            assert {} == desk.ask(FIRST, service_timeout_seconds=limit)
        assert [ServiceError] * 2 == [type(problem) for problem in desk.problems]
        first, second = desk.reported
        assert first.startswith(reason)
        assert second == f"not asked for another 30 s: {first}"
        assert 1 == len(desk.web.requests)
        assert "s3cret-key" not in "".join(desk.reported)

    @pytest.mark.parametrize("name", servers.MISBEHAVIOUR)
    def test_below_http(self, desk: Desk, name: str) -> None:
        """The same holds for bytes that are not HTTP, in time."""
        answer, reason = servers.MISBEHAVIOUR[name]
        with servers.serving(answer, desk.web.context) as url:
            where = {"maxmind_host": url.rpartition("/")[2], "ip_api_url": url}
            assert {} == desk.ask(FIRST, **where, service_timeout_seconds=servers.seconds_for(reason, 0.2))
        assert desk.reported[0].removeprefix(f"{where['maxmind_host']}: ").startswith(tuple(reason.split("|")))

    @pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400", "1" + "0" * 400])
    def test_invalid_numbers(self, desk: Desk, number: str) -> None:
        """Invalid numbers and values of wrong types are dropped; the rest of the answer is used."""
        names = ("latitude", "longitude") if desk.web.is_maxmind else ("lat", "lon", "as")
        odd = dict.fromkeys(names, "@")
        text = _changed(desk.web, **({"location": odd} if desk.web.is_maxmind else odd)).replace('"@"', number)
        desk.web.behave = desk.web.raw(text)
        place = desk.ask(FIRST)[FIRST].place
        assert [] == desk.reported
        assert ("Osaka", None, None) == (place.city, place.latitude, place.longitude)

    def test_cookies(self, desk: Desk) -> None:
        """Cookies are dropped, also on the same connection."""
        desk.web.headers = {"Set-Cookie": "id=1; Path=/"}
        service = desk.service()
        for address in (FIRST, FIRST + 1):
            assert [address] == list(service.resolve_many([address], desk.problems.append))
        assert desk.web.request is not None
        assert "Cookie" not in desk.web.request.headers

    @pytest.mark.parametrize(
        "retry_after",
        ["Mon, 01 Jun 2026 12:01:30 GMT", "Monday, 01-Jun-26 12:01:30 GMT", "Mon Jun  1 12:01:30 2026", "90"],
    )
    @pytest.mark.parametrize("status", [429, 503])
    def test_retry_after(self, desk: Desk, status: int, retry_after: str) -> None:
        """Each form of Retry-After is observed."""
        desk.web.behave = desk.web.raw("", status, **{"Retry-After": retry_after})
        for _ in range(2):
            desk.ask(FIRST)
        assert desk.reported[1].startswith("not asked for another 90 s: ")
        desk.clock.forward(seconds=91)
        desk.web.behave = desk.web.answer
        assert [FIRST] == list(desk.ask(FIRST))

    def test_unreachable(self, desk: Desk) -> None:
        """An unreachable service is a failure, and the message has the reason, without the address."""
        assert {} == desk.ask(FIRST, maxmind_host="127.0.0.1:1", ip_api_url="http://127.0.0.1:1")
        assert desk.reported[0].endswith("request failed: Connection refused")

    def test_no_such_host(self, desk: Desk) -> None:
        """So is an unknown host name."""
        assert {} == desk.ask(FIRST, maxmind_host="no.invalid", ip_api_url="http://no.invalid")
        assert "request failed: " in desk.reported[0]

    @pytest.mark.parametrize("value", ["text", 17, None, True, [], {}, [{}], 1e400])
    def test_values_of_wrong_types(self, desk: Desk, value: object) -> None:
        """Values of the wrong type are dropped; the others are kept, and can be stored."""
        names = ("country", "city", "location", "continent", "subdivisions", "postal")
        odd = dict.fromkeys(names if desk.web.is_maxmind else ("countryCode", "lat", "zip", "as", "mobile"), value)
        desk.web.behave = desk.web.raw(_changed(desk.web, **odd))
        answer = desk.ask(FIRST)[FIRST]
        assert [] == desk.reported
        assert "Asia/Tokyo" == answer.place.time_zone or desk.web.is_maxmind
        assert None is answer.place.latitude or value == 17

    def test_one_reply_after_a_failure(self, desk: Desk) -> None:
        """After the pause the service is asked again; after more failures in a row, after longer pauses."""
        desk.web.behave = desk.web.raw("", 500)
        for seconds in (30, 60, 120):
            desk.ask(FIRST)
            desk.ask(FIRST)
            assert f"not asked for another {seconds} s: HTTP 500" == desk.reported[-1]
            desk.clock.forward(seconds=seconds)
        desk.clock.forward(seconds=1)
        desk.web.behave = desk.web.answer
        assert "Osaka" == desk.ask(FIRST)[FIRST].place.city
        desk.web.behave = desk.web.raw("", 500)
        desk.ask(FIRST)
        desk.ask(FIRST)
        assert "not asked for another 30 s: HTTP 500" == desk.reported[-1]

    @pytest.mark.parametrize(
        ("asked_for", "seconds"), [("7", 7), ("100000", 86_400), ("0", 30), ("soon", 30), ("", 30)]
    )
    def test_429_with_retry_after(self, desk: Desk, asked_for: str, seconds: int) -> None:
        """Retry-After with 429 is observed, up to a day; the exit status is 75."""
        desk.web.behave = desk.web.raw("", 429, **{"Retry-After": asked_for})
        desk.ask(FIRST)
        desk.ask(FIRST)
        assert f"not asked for another {seconds} s: too many requests" == desk.reported[-1]
        assert (75, 429) == (desk.problems[-1].exit_status, desk.problems[-1].status)

    def test_503_with_retry_after(self, desk: Desk) -> None:
        """Retry-After with 503 is, too, but 75 is for 429 only."""
        desk.web.behave = desk.web.raw("", 503, **{"Retry-After": "300"})
        desk.ask(FIRST)
        desk.ask(FIRST)
        assert "not asked for another 300 s: HTTP 503" == desk.reported[-1]
        assert (3, 503) == (desk.problems[-1].exit_status, desk.problems[-1].status)

    def test_the_first_failure_is_the_last_request(self, desk: Desk) -> None:
        """Addresses after a failure are not sent, and earlier answers are returned."""
        addresses = [FIRST + number for number in range(2 if desk.web.is_maxmind else 150)]
        desk.web.later = [desk.web.answer, desk.web.raw("", 503)]
        actual = desk.ask(*addresses, *(SECOND + number for number in range(250)))
        assert addresses[: 1 if desk.web.is_maxmind else 100] == list(actual)
        assert ["HTTP 503"] == desk.reported


class TestRequests:
    def test_known_and_unknown(self, desk: Desk) -> None:
        """An address without a record is an answer, not a failure, for both address families."""
        desk.web.unknown = {str(SECOND)}
        actual = desk.ask(FIRST, SECOND)
        assert [FIRST, SECOND] == list(actual)
        assert None is actual[SECOND]
        assert ("JP", "Osaka", 64496, "Example, Inc.") == tuple(
            getattr(actual[FIRST].place, name) for name in ("country_code", "city", "asn", "org")
        )
        assert (desk.web.name, None) == (actual[FIRST].source, actual[FIRST].built_at)
        assert (24 if desk.web.is_maxmind else None) == actual[FIRST].prefix_len
        assert False is actual[FIRST].place.traits["is_in_european_union" if desk.web.is_maxmind else "is_mobile"]
        assert [] == desk.reported

    @pytest.mark.parametrize("count", [1, 99, 100, 101, 200])
    def test_full_batches(self, desk: Desk, count: int) -> None:
        """ip-api.com gets a hundred addresses a request, MaxMind one, which is all that it takes."""
        if desk.web.is_maxmind:
            count = min(count, 3)
        addresses = [FIRST + number for number in range(count)]
        assert addresses == list(desk.ask(*addresses))
        takes = 1 if desk.web.is_maxmind else 100
        assert [count // takes, count % takes > 0] == [
            sum(len(request) == takes for request in desk.web.requests),
            any(len(request) < takes for request in desk.web.requests),
        ]

    def test_a_working_service_creates_no_file(self, desk: Desk, geocli: Geocli) -> None:
        """Without a pause, no file is created."""
        desk.ask(FIRST)
        assert not geocli.data_dir.exists()

    @pytest.mark.parametrize("served", ["maxmind"], indirect=True)
    @pytest.mark.parametrize("network", [None, 7, "45.45.46.0/24", "45.45.45.45/24", "2001:db8::/32", "here"])
    def test_a_foreign_network(self, desk: Desk, network: object) -> None:
        """An invalid prefix, or one without the address, is dropped; the rest of the answer is used."""
        traits = {"ip_address": str(FIRST), "network": network, "is_anonymous": False}
        desk.web.behave = desk.web.raw(_changed(desk.web, traits=traits))
        answer = desk.ask(FIRST)[FIRST]
        assert (None, "Osaka", False) == (answer.prefix_len, answer.place.city, answer.place.traits["is_anonymous"])

    @only_ip_api
    def test_rate_limit(self, desk: Desk) -> None:
        """When ip-api.com reports that no requests are left, no process sends one for the given time."""
        desk.web.headers = {"X-Rl": "0", "X-Ttl": "43"}
        assert [FIRST] == list(desk.ask(FIRST))
        assert {} == desk.ask(SECOND)
        assert ["not asked for another 43 s: its rate limit was reached"] == desk.reported
        assert 75 == desk.problems[0].exit_status
        desk.clock.forward(seconds=44)
        desk.web.headers = {"X-Rl": "14", "X-Ttl": "60"}
        assert [SECOND] == list(desk.ask(SECOND))
        assert [SECOND] == list(desk.ask(SECOND))

    @only_ip_api
    def test_a_rate_limit_is_waited_for(self, desk: Desk) -> None:
        """If it ends soon enough, for a batch that would else be in vain; a failure is never waited for."""
        desk.web.headers = {"X-Rl": "0", "X-Ttl": "1"}
        addresses = [FIRST + number for number in range(150)]
        assert addresses == list(desk.ask(*addresses, service_wait_seconds=2.0))
        assert [] == desk.reported
        desk.clock.forward(seconds=10)
        desk.web.behave = desk.web.raw("", 500)
        desk.ask(FIRST, SECOND, service_wait_seconds=1000.0)
        desk.ask(FIRST, service_wait_seconds=1000.0)
        assert "not asked for another 30 s: HTTP 500" == desk.reported[-1]

    @only_ip_api
    def test_one_address_fails_by_itself(self, desk: Desk) -> None:
        """Answers for the other addresses of its batch are used, and the failure is not an answer."""
        body = [desk.web.record(str(FIRST)), {"status": "fail", "message": "try later", "query": str(SECOND)}]
        desk.web.behave = desk.web.raw(json.dumps(body))
        assert [FIRST] == list(desk.ask(FIRST, SECOND))
        assert ["no answer for 1 of 2 addresses"] == desk.reported


class TestKeys:
    def test_the_key_is_sent(self, desk: Desk) -> None:
        """A key goes with each request, and nowhere else."""
        desk.ask(FIRST, maxmind_service="insights", ip_api_key_file=desk.key_file)
        assert desk.web.request is not None
        if desk.web.is_maxmind:
            sent = desk.web.request.authorization
            assert ("42", "s3cret-key") == (sent and sent.username, sent and sent.password)
            assert f"/geoip/v2.1/insights/{FIRST}" == desk.web.request.path
        else:
            assert "s3cret-key" == desk.web.request.args["key"]
        assert [] == desk.warnings

    def test_others_can_read_it(self, desk: Desk) -> None:
        """This is reported, and the key is used."""
        os.chmod(desk.key_file, 0o644)
        assert [FIRST] == list(desk.ask(FIRST, ip_api_key_file=desk.key_file))
        assert [f"{desk.key_file}: other users can read this key; run: chmod o-r"] == list(map(str, desk.warnings))
        assert isinstance(desk.warnings[0], ExposedError)

    @pytest.mark.parametrize("text", ["", " \n", "two words", "caf\xe9", "a\tb", "\0"])
    def test_no_key(self, desk: Desk, text: str, tmp_path: Path) -> None:
        """A file without a key is named; nothing is sent, and nothing is to be waited for."""
        path = tmp_path / "nokey"
        path.write_text(text)
        desk.ask(FIRST, ip_api_key_file=str(path), license_key_file=str(path))
        assert [f"no key in {path}"] == desk.reported
        assert [] == desk.web.requests

    def test_a_pipe_is_not_a_key_file(self, desk: Desk, tmp_path: Path) -> None:
        """A file that may be endless is not read."""
        path = str(tmp_path / "pipe")
        os.mkfifo(path)
        desk.ask(FIRST, ip_api_key_file=path, license_key_file=path)
        assert [f"no key in {path}"] == desk.reported

    def test_a_missing_key(self, desk: Desk, tmp_path: Path) -> None:
        """A missing file is reported with the reason."""
        path = str(tmp_path / "missing")
        desk.ask(FIRST, ip_api_key_file=path, license_key_file=path)
        assert [f"unreadable key file: {path}: No such file or directory"] == desk.reported

    @pytest.mark.parametrize(
        ("code", "status", "reason"),
        [
            (
                "AUTHORIZATION_INVALID",
                401,
                "the account ID or the licence key is wrong; see account_id and license_key_file",
            ),
            ("OUT_OF_QUERIES", 402, "out of queries"),
            ("PERMISSION_REQUIRED", 403, "not permitted for this account; see maxmind_service"),
            ("IP_ADDRESS_INVALID", 400, "the request was refused"),
        ],
    )
    def test_errors_of_maxmind(self, desk: Desk, code: str, status: int, reason: str) -> None:
        """The codes of MaxMind become messages with a remedy; ip-api.com has only the status."""
        desk.web.behave = desk.web.raw(json.dumps({"code": code, "error": "\x1b[2J"}), status)
        assert {} == desk.ask(FIRST)
        assert [reason if desk.web.is_maxmind else f"HTTP {status}"] == desk.reported


def test_where_the_services_are() -> None:
    """By default MaxMind is asked at its own host, and ip-api.com by HTTPS if there is a key for it."""
    base = load({"GEOCLI_DATA_DIR": "/nowhere"})
    assert "geoip.maxmind.com" == base.maxmind_host
    assert ("http://ip-api.com", "https://pro.ip-api.com") == (IP_API_URL, IP_API_KEYED_URL)


@pytest.mark.parametrize(
    ("names", "changes"),
    [
        ([], {}),
        (["ip-api"], {"ip_api": True}),
        (["geolite.info"], {"account_id": 1, "license_key_file": "/key", "maxmind_host": "geolite.info"}),
        (["geoip.maxmind.com", "ip-api"], {"account_id": 1, "license_key_file": "/key", "ip_api": True}),
        ([], {"ip_api": True, "databases": ("/a.mmdb",)}),
    ],
)
def test_services_are_off_unless_configured(names: list[str], changes: dict[str, Any], clock: Clock) -> None:
    """The settings determine the services, MaxMind first; with --db, none are asked."""
    chosen = load({"GEOCLI_DATA_DIR": "/nowhere"}).replace(**changes)
    actual = default_services(chosen, lambda: DataDirectory("/nowhere"), clock, lambda _: None)
    assert names == [service.name for service in actual]
