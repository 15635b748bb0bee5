"""The batch endpoint of ip-api.com: 100 addresses a request, 15 requests a minute.

See https://ip-api.com/docs/api:batch. Without a key it uses plain HTTP, and is for non-commercial use only.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import requests

from geocli.backoff import seconds_of
from geocli.errors import ServiceError
from geocli.http import BoundedSession, Limits, error_of, json_of
from geocli.languages import by_preference
from geocli.models import ENGLISH, Answer
from geocli.resolvers.mmdb_schemas import place_from
from geocli.resolvers.web_services import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geocli.addresses import Address

MAX_BYTES = 256 * 1024
"""Maximum size of an answer; those for 100 addresses have about 50,000 bytes."""
_NAMES = {
    "continentCode": "continent_code",
    "countryCode": "country_code",
    "country": "country_name",
    "regionName": "region",
    "city": "city",
    "zip": "postal_code",
    "lat": "latitude",
    "lon": "longitude",
    "timezone": "time_zone",
    "isp": "isp",
    "org": "organization",
    "mobile": "is_mobile",
    "proxy": "is_proxy",
    "hosting": "is_hosting",
}
"""Requested fields, and their names in databases."""
_FIELDS = ",".join(("status", "message", "query", "as", *_NAMES))
_LANGUAGES = ("en", "de", "es", "pt-BR", "fr", "ja", "zh-CN", "ru")
"""Supported languages of names."""
_NOWHERE = {"private range", "reserved range"}
"""Messages that mean that an address has no place."""


class IpApi:
    """Asks for up to 100 addresses at once."""

    def __init__(self, name: str, url: str, key: str | None, timeout_seconds: float, language: str) -> None:
        self._name, self._url = name, f"{url}/batch"
        self._parameters = {"fields": _FIELDS} | ({"key": key} if key else {})
        if (nearest := by_preference(_LANGUAGES, language)[0]) != ENGLISH:
            self._parameters["lang"] = nearest
        self._session = BoundedSession(Limits.within(timeout_seconds, MAX_BYTES))

    def __call__(self, addresses: Sequence[Address]) -> Reply:
        """Return the answers for addresses; those that failed are missing.

        Raises ServiceError, HttpError or errors of parsing if there is no answer, or it is unusable.
        """
        response = self._session.post(self._url, params=self._parameters, json=list(map(str, addresses)))
        if response.status_code != requests.codes.ok:
            raise error_of(response)
        records = self._records(response.content, addresses)
        pairs = zip(addresses, records, strict=True)
        answers = {address: self._answer(record) for address, record in pairs if _is_answer(record)}
        requests_left, pause_seconds = (seconds_of(response.headers.get(name, "")) for name in ("X-Rl", "X-Ttl"))
        return Reply(answers=answers, pause_seconds=pause_seconds or 0 if requests_left == 0 else 0)

    def _records(self, content: bytes, addresses: Sequence[Address]) -> list[dict[str, Any]]:
        """Return the records of an answer, in the order of the addresses."""
        records = json_of(content)
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise ServiceError(self._name, "unreadable answer: not a list of objects")
        if [ip_address(str(record.get("query"))) for record in records] != list(addresses):
            raise ServiceError(self._name, "answer for other addresses")
        return records

    def _answer(self, record: dict[str, Any]) -> Answer | None:
        number, _, org = record["as"].partition(" ") if isinstance(record.get("as"), str) else ("", "", "")
        named = {name: record.get(field) for field, name in _NAMES.items()}
        place = place_from({**named, "asn": number, "org": org})
        return Answer(place=place, source=self._name) if vars(place) else None


def _is_answer(record: dict[str, Any]) -> bool:
    """Return whether the request for an address did not fail."""
    return record.get("status") == "success" or record.get("message") in _NOWHERE
