"""The web services that a user has set up, and their keys."""

from __future__ import annotations

import os
import stat
from functools import cache

from geocli.errors import ExposedError, ServiceError
from geocli.resolvers.web_services import Service
from geocli.sanitize import may_be_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from typing import Any

    from geocli.errors import GeocliError
    from geocli.resolvers.web_services import Ask
    from geocli.settings import Settings
    from geocli.storage.directory import DataDirectory

IP_API, IP_API_URL, IP_API_KEYED_URL = "ip-api", "http://ip-api.com", "https://pro.ip-api.com"
IP_API_TAKES = 100
"""Addresses of one request; more are refused."""
MOST_KEY_BYTES = 1024


def configured(
    chosen: Settings,
    directory: Callable[[], DataDirectory],
    now: Callable[[], datetime],
    warn: Callable[[GeocliError], None],
) -> list[Service]:
    """Return the services that a user has set up, in the order in which they are asked.

    Args:
        chosen: the settings.
        directory: returns where it is kept when a service may be asked again.
        now: the clock.
        warn: told of keys that others can read.

    """

    @cache
    def maxmind_key() -> str:
        return _key(chosen.maxmind_host, chosen.license_key_file, warn)

    @cache
    def ip_api_key() -> str | None:
        return _key(IP_API, chosen.ip_api_key_file, warn) if chosen.ip_api_key_file else None

    def maxmind() -> Ask:
        from geocli.resolvers.maxmind_web import MaxMind

        host, edition = chosen.maxmind_host, chosen.maxmind_service
        seconds, language = chosen.service_timeout_seconds, chosen.language
        return MaxMind(host, edition, chosen.account_id, maxmind_key(), seconds, language=language)

    def ip_api() -> Ask:
        from geocli.resolvers.ip_api import IpApi

        return IpApi(IP_API, ip_api_url, ip_api_key(), chosen.service_timeout_seconds, chosen.language)

    default_url = IP_API_KEYED_URL if chosen.ip_api_key_file else IP_API_URL
    ip_api_url = (chosen.ip_api_url or default_url).rstrip("/")
    kinds: list[tuple[Any, ...]] = []
    if chosen.account_id:
        kinds += [(chosen.maxmind_host, 1, maxmind, maxmind_key, "maxmind", chosen.maxmind_service)]
    if chosen.ip_api:
        kinds += [(IP_API, IP_API_TAKES, ip_api, ip_api_key, "ip-api", ip_api_url)]
    return [Service(*kind, chosen=chosen, directory=directory, now=now) for kind in kinds]


def read_keys(services: Iterable[object]) -> None:
    """Read the keys of those services that have one."""
    for service in services:
        if isinstance(service, Service):
            service.read_key()


def _key(service: str, path: str, warn: Callable[[GeocliError], None]) -> str:
    """Return the key in a file.

    Raises:
        ServiceError: there is none.

    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = (file.read(MOST_KEY_BYTES) if stat.S_ISREG(mode) else b"").strip()
    except OSError as error:
        shown = "…" if may_be_key(path) else path  # a key in place of its file
        raise ServiceError(service, f"its key cannot be read: {shown}: {error.strerror}") from None
    if not (text.isascii() and text.decode("latin-1").isprintable() and text and b" " not in text):
        raise ServiceError(service, f"there is no key in {path}")
    if mode & stat.S_IROTH:
        warn(ExposedError(path))
    return text.decode("ascii")
