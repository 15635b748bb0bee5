"""MaxMind's web services, GeoIP2 and GeoLite, by MaxMind's client: one address a request."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, cast

import requests
from geoip2.errors import (
    AddressNotFoundError,
    AuthenticationError,
    GeoIP2Error,
    HTTPError,
    OutOfQueriesError,
    PermissionRequiredError,
)
from geoip2.webservice import Client

from geocli.errors import ServiceError
from geocli.http import BoundedSession, Limits, json_of
from geocli.models import Answer
from geocli.resolvers.mmdb_schemas import place_from
from geocli.resolvers.web_services import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geocli.addresses import Address

MAX_BYTES = 64 * 1024
"""Maximum size of an answer; those of Insights have about 3,000 bytes."""
_REASONS = {
    AuthenticationError: "the account ID or the licence key is wrong; see account_id and license_key_file",
    OutOfQueriesError: "out of queries",
    PermissionRequiredError: "not permitted for this account; see maxmind_service",
    GeoIP2Error: "unreadable answer",
}


class MaxMind:
    """Asks for one address at a time."""

    def __init__(  # noqa: PLR0913 (the parameters of requests)
        self, host: str, edition: str, account_id: int, key: str | None, timeout_seconds: float, *, language: str
    ) -> None:
        self._host, self._edition, self._language = host, edition, language
        self._client = _RecordClient(account_id, key or "", host, timeout_seconds)

    def __call__(self, addresses: Sequence[Address]) -> Reply:
        """Return the answer for the one address.

        Raises ServiceError or errors of libraries if there is no answer, or it is for another address.
        """
        (address,) = addresses
        try:
            record = self._client.record(self._edition, address)
        except AddressNotFoundError:
            return Reply(answers={address: None})
        except HTTPError as error:
            raise ServiceError(self._host, f"HTTP {error.http_status}", status=error.http_status) from error
        except GeoIP2Error as error:
            raise ServiceError(self._host, _REASONS.get(type(error), "the request was refused")) from error
        traits = record["traits"]
        if ip_address(str(traits.pop("ip_address", None))) != address:
            raise ServiceError(self._host, "answer for another address")
        prefix_len = _prefix_len(traits.pop("network", None), address)
        record.pop("maxmind", None)  # the number of queries that are left
        place = place_from(record, self._language)
        answer = Answer(place=place, source=self._host, prefix_len=prefix_len) if vars(place) else None
        return Reply(answers={address: answer})


def _prefix_len(network: object, address: Address) -> int | None:
    with suppress(ValueError):
        parsed = ip_network(str(network))
        return parsed.prefixlen if address in parsed else None
    return None


class _RecordClient(Client):
    """MaxMind's client with a bounded session, returning raw records, since its models drop values that are False."""

    def __init__(self, account_id: int, key: str, host: str, timeout: float) -> None:
        super().__init__(account_id, key, host, timeout=timeout)
        default_session = self._session
        self._session = BoundedSession(Limits.within(timeout, MAX_BYTES))
        self._session.auth = default_session.auth
        self._session.headers["Accept"] = "application/json"

    def record(self, edition: str, address: Address) -> dict[str, Any]:
        uri = self._uri(edition, str(address))
        response = self._session.get(uri)
        if response.status_code != requests.codes.ok:
            kind = response.headers.get("Content-Type", "")
            raise self._exception_for_error(response.status_code, kind, response.text, uri)
        return cast("dict[str, Any]", json_of(response.content))
