"""The configured web services and their keys."""

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
IP_API_BATCH = 100
"""Maximum number of addresses of a request."""
MAX_KEY_BYTES = 1024


def configured(
    settings: Settings,
    directory: Callable[[], DataDirectory],
    now: Callable[[], datetime],
    warn: Callable[[GeocliError], None],
) -> list[Service]:
    """Return the configured services in their order.

    `directory` returns the directory of their pauses; `warn` is called for each key file that is readable by all users.
    """

    @cache
    def maxmind_key() -> str:
        return _key(settings.maxmind_host, settings.license_key_file, warn)

    @cache
    def ip_api_key() -> str | None:
        return _key(IP_API, settings.ip_api_key_file, warn) if settings.ip_api_key_file else None

    def maxmind() -> Ask:
        from geocli.resolvers.maxmind_web import MaxMind

        host, edition = settings.maxmind_host, settings.maxmind_service
        seconds, language = settings.service_timeout_seconds, settings.language
        return MaxMind(host, edition, settings.account_id, maxmind_key(), seconds, language=language)

    def ip_api() -> Ask:
        from geocli.resolvers.ip_api import IpApi

        return IpApi(IP_API, ip_api_url, ip_api_key(), settings.service_timeout_seconds, settings.language)

    default_url = IP_API_KEYED_URL if settings.ip_api_key_file else IP_API_URL
    ip_api_url = (settings.ip_api_url or default_url).rstrip("/")
    kinds: list[tuple[Any, ...]] = []
    if settings.account_id:
        kinds += [(settings.maxmind_host, 1, maxmind, maxmind_key, "maxmind", settings.maxmind_service)]
    if settings.ip_api:
        kinds += [(IP_API, IP_API_BATCH, ip_api, ip_api_key, "ip-api", ip_api_url)]
    return [Service(*kind, settings=settings, directory=directory, now=now) for kind in kinds]


def read_keys(services: Iterable[object]) -> None:
    """Read the keys of services."""
    for service in services:
        if isinstance(service, Service):
            service.read_key()


def _key(service: str, path: str, warn: Callable[[GeocliError], None]) -> str:
    """Return the key of a file."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = (file.read(MAX_KEY_BYTES) if stat.S_ISREG(mode) else b"").strip()
    except OSError as error:
        name = "…" if may_be_key(path) else path  # the key instead of its path
        raise ServiceError(service, f"unreadable key file: {name}: {error.strerror}") from None
    if not (text.isascii() and text.decode("latin-1").isprintable() and text and b" " not in text):
        raise ServiceError(service, f"no key in {path}")
    if mode & stat.S_IROTH:
        warn(ExposedError(path))
    return text.decode("ascii")
