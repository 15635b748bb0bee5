"""ip-api.com's batch endpoint: a hundred addresses a request, fifteen requests a minute.

See https://ip-api.com/docs/api:batch. Without a key it is plain HTTP, and for non-commercial use alone.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import requests

from geocli.errors import ServiceError
from geocli.http import BoundedSession, Limits, error_of, json_of, seconds_of
from geocli.languages import by_preference
from geocli.models import ENGLISH, Answer
from geocli.resolvers.mmdb_schemas import place_from
from geocli.resolvers.web_services import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geocli.addresses import Address

MAX_BYTES = 256 * 1024
"""A hundred addresses take about 50,000."""
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
"""What is asked for, and what databases call it."""
_FIELDS = ",".join(("status", "message", "query", "as", *_NAMES))
_LANGUAGES = ("en", "de", "es", "pt-BR", "fr", "ja", "zh-CN", "ru")
"""Languages that names can be asked for in."""
_NOWHERE = {"private range", "reserved range"}
"""Reasons for no answer that are answers."""


class IpApi:
    """Asks for up to a hundred addresses at once."""

    def __init__(self, name: str, url: str, key: str | None, timeout_seconds: float, language: str) -> None:
        """Take the service's name, where it is, the key if any, how long it may take, and the language of names."""
        self._name, self._url = name, f"{url}/batch"
        self._parameters = {"fields": _FIELDS} | ({"key": key} if key else {})
        if (nearest := by_preference(_LANGUAGES, language)[0]) != ENGLISH:
            self._parameters["lang"] = nearest
        limits = Limits(
            connect_seconds=timeout_seconds,
            idle_seconds=timeout_seconds,
            whole_seconds=timeout_seconds,
            max_bytes=MAX_BYTES,
        )
        self._session = BoundedSession(limits)

    def __call__(self, addresses: Sequence[Address]) -> Reply:
        """Return what is said of each address; one that failed by itself is left out.

        Raises:
            ServiceError, HttpError: there is no answer, or it cannot be used; or what parsing raises.

        """
        response = self._session.post(self._url, params=self._parameters, json=list(map(str, addresses)))
        if response.status_code != requests.codes.ok:
            raise error_of(response)
        entries = json_of(response.content)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ServiceError(self._name, "an answer that is no list of answers")
        if [ip_address(str(entry.get("query"))) for entry in entries] != list(addresses):
            raise ServiceError(self._name, "an answer for other addresses")
        pairs = zip(addresses, entries, strict=True)
        answers = {address: self._answer(said) for address, said in pairs if _is_answer(said)}
        left, pause_seconds = (seconds_of(response.headers.get(name, "")) for name in ("X-Rl", "X-Ttl"))
        return Reply(answers=answers, pause_seconds=pause_seconds or 0 if left == 0 else 0)

    def _answer(self, said: dict[str, Any]) -> Answer | None:
        number, _, org = said["as"].partition(" ") if isinstance(said.get("as"), str) else ("", "", "")
        named = {ours: said.get(its) for its, ours in _NAMES.items()}
        place = place_from({**named, "asn": number, "org": org})
        return Answer(place=place, source=self._name) if vars(place) else None


def _is_answer(said: dict[str, Any]) -> bool:
    """Tell whether an address did not fail by itself."""
    return said.get("status") == "success" or said.get("message") in _NOWHERE
