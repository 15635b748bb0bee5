"""Web services on loopback, which answer or misbehave as the test sets it."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import struct
from functools import cache
from ipaddress import ip_network
from threading import Event
from typing import TYPE_CHECKING, Any

import trustme
from pytest_httpserver import HTTPServer
from werkzeug import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Self

    from werkzeug import Request

OSAKA: dict[str, Any] = {
    "country": {"iso_code": "JP", "names": {"en": "Japan"}, "is_in_european_union": False},
    "city": {"names": {"en": "Osaka"}},
    "location": {"latitude": 34.7, "longitude": 135.5, "time_zone": "Asia/Tokyo"},
}
"""Response of MaxMind."""
OSAKA_BY_IP_API: dict[str, Any] = {
    "status": "success",
    "countryCode": "JP",
    "country": "Japan",
    "regionName": "",
    "city": "Osaka",
    "lat": 34.7,
    "lon": 135.5,
    "timezone": "Asia/Tokyo",
    "isp": "Example Net",
    "as": "AS64496 Example, Inc.",
    "mobile": False,
    "proxy": True,
}
"""Response of ip-api.com, without the address."""


@cache
def _certificate() -> tuple[trustme.CA, trustme.LeafCert]:
    authority = trustme.CA()
    return authority, authority.issue_cert("127.0.0.1")


class Web:
    """A server that behaves like one of the services."""

    def __init__(self, kind: str, home: Path) -> None:
        self.is_maxmind = kind == "maxmind"
        self._home = home
        self.context = self._tls() if self.is_maxmind else None
        self._server = HTTPServer("127.0.0.1", 0, ssl_context=self.context, threaded=True)
        self._server.expect_request(re.compile("")).respond_with_handler(self._handled)
        self._released = Event()
        self.begin()

    def begin(self) -> None:
        """Behave as the service does, and clear the recorded requests."""
        self._released.set()
        self._released = Event()
        self.behave: Callable[[Request], Response] = self.answer
        self.later: list[Callable[[Request], Response]] = []
        """Behaviour for the next requests, in order."""
        self.unknown: set[str] = set()
        """Addresses without an answer."""
        self.requests: list[list[str]] = []
        """The addresses of each request."""
        self.headers: dict[str, str] = {}
        """Headers of each response."""
        self.request: Request | None = None
        """The last request."""
        key = self._home / "key"
        key.touch(mode=0o600)
        key.chmod(0o600)
        key.write_text("s3cret-key\n")
        self.key_file = str(key)

    def _tls(self) -> ssl.SSLContext:
        authority, certificate = _certificate()
        authority.cert_pem.write_to_path(str(self._home / "ca.pem"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        return context

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.stop()

    @property
    def name(self) -> str:
        """Name of the service, as in `source`."""
        return f"127.0.0.1:{self._server.port}" if self.is_maxmind else "ip-api"

    @property
    def environ(self) -> dict[str, str]:
        """Variables that configure geocli to use this server."""
        if not self.is_maxmind:
            url = f"http://127.0.0.1:{self._server.port}/"
            return {"NO_PROXY": "*", "GEOCLI_IP_API": "true", "GEOCLI_IP_API_URL": url}
        return {
            "NO_PROXY": "*",
            "REQUESTS_CA_BUNDLE": str(self._home / "ca.pem"),
            "GEOCLI_ACCOUNT_ID": "42",
            "GEOCLI_LICENSE_KEY_FILE": self.key_file,
            "GEOCLI_MAXMIND_HOST": self.name,
        }

    def _handled(self, request: Request) -> Response:
        self.request = request
        self.requests.append([request.path.rpartition("/")[2]] if self.is_maxmind else json.loads(request.data))
        return self.later.pop(0)(request) if self.later else self.behave(request)

    def answer(self, _: Request) -> Response:
        """Answer as the service does."""
        records = [self.record(ip) for ip in self.requests[-1]]
        if not self.is_maxmind:
            return self.json(records)
        if self.requests[-1][0] in self.unknown:
            return self.json({"code": "IP_ADDRESS_NOT_FOUND", "error": "not in our database"}, status=404)
        return self.json(records[0])

    def record(self, ip: str) -> dict[str, Any]:
        """Return the response for one address."""
        if self.is_maxmind:
            network = str(ip_network(f"{ip}/24", strict=False))
            numbers = {"autonomous_system_number": 64496, "autonomous_system_organization": "Example, Inc."}
            return {
                **OSAKA,
                "traits": {"ip_address": ip, "network": network, **numbers},
                "maxmind": {"queries_remaining": 9},
            }
        if ip in self.unknown:
            return {"status": "fail", "message": "reserved range", "query": ip}
        return {**OSAKA_BY_IP_API, "query": ip}

    def json(self, body: Any, status: int = 200) -> Response:
        """Return a response of JSON."""
        return Response(json.dumps(body), status, self.headers, content_type="application/json")

    def raw(self, body: bytes | str, status: int = 200, **headers: str) -> Callable[[Request], Response]:
        """Return a function that answers each request with this response."""
        return lambda _: Response(body, status, headers, content_type="application/json")

    def dawdle(self, _: Request) -> Response:
        """Send nothing until the test ends."""
        self._released.wait(60)
        return Response()

    def drip(self, _: Request) -> Response:
        """Send the header, and then a byte every 50 ms."""
        released = self._released

        def drops() -> Iterator[bytes]:
            while not released.wait(0.05):
                yield b" "

        return Response(drops(), content_type="application/json")

    def pour(self, _: Request) -> Response:
        """Send an endless body."""
        return Response((b" " * 4096 for _ in range(1 << 16)), content_type="application/json")

    def reset(self, request: Request) -> Response:
        """Reset the connection."""
        connection = request.environ["werkzeug.socket"]
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.dup2(os.open(os.devnull, os.O_RDWR), connection.fileno())
        return Response()
