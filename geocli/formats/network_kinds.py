"""Traits of networks that hide their users, or that are not for people at home, in words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_WORDS = {
    "anonymous_vpn": "VPN",
    "vpn": "VPN",
    "tor_exit_node": "Tor exit node",
    "tor": "Tor",
    "hosting_provider": "hosting",
    "hosting": "hosting",
    "datacenter": "hosting",
    "public_proxy": "public proxy",
    "residential_proxy": "residential proxy",
    "res_proxy": "residential proxy",
    "proxy": "proxy",
    "legitimate_proxy": "corporate proxy",
    "relay": "relay",
    "anycast": "anycast",
    "mobile": "mobile",
    "satellite_provider": "satellite",
    "satellite": "satellite",
}
"""Words for the names of flags in databases of MaxMind, IPinfo and others, and in ip-api.com."""
_PROXY_TYPES = {
    "VPN": "VPN",
    "TOR": "Tor exit node",
    "DCH": "hosting",
    "CDN": "hosting",
    "PUB": "public proxy",
    "WEB": "web proxy",
    "RES": "residential proxy",
    "CPN": "relay",
    "EPN": "corporate proxy",
    "SES": "search engine",
}
"""Words for the values of IP2Proxy."""
_PREFIX = re.compile(r"(?:(?:anonymizer|privacy|security|threat)_)*(?:is_)?")
_SERVICES = ("provider_name", "anonymizer_provider_name", "privacy_service", "service")
_TRUE = {True, "true", "True", "1", "yes", "Y"}


def kinds_of(traits: Mapping[str, Any] | None) -> str:
    """Return the words for the traits that are true, separated by commas; an anonymous network is named only if alone.

    >>> kinds_of({"is_anonymous": True, "is_anonymous_vpn": True, "provider_name": "ExampleVPN", "is_hosting": False})
    'VPN (ExampleVPN)'
    """
    traits = traits or {}
    words = [*dict.fromkeys(_words(traits))]
    service = next((traits[name] for name in _SERVICES if isinstance(traits.get(name), str)), None)
    if "VPN" in words and service:
        words[words.index("VPN")] = f"VPN ({service})"
    is_anonymous = any(_is_true(value) and _bare(name) == "anonymous" for name, value in traits.items())
    return ", ".join(words) or ("anonymous" if is_anonymous else "")


def _words(traits: Mapping[str, Any]) -> Iterator[str]:
    for name, value in traits.items():
        if name == "proxy_type" and isinstance(value, str):
            yield from (_PROXY_TYPES[code] for code in value.upper().split("/") if code in _PROXY_TYPES)
        elif _is_true(value) and (word := _WORDS.get(_bare(name))):
            yield word


def _is_true(value: object) -> bool:
    return isinstance(value, str | int) and value in _TRUE


def _bare(name: str) -> str:
    return _PREFIX.sub("", name, count=1)
