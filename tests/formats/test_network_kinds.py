"""Traits of networks in words."""

from __future__ import annotations

from typing import Any

import pytest

from geocli.formats.network_kinds import kinds_of


@pytest.mark.parametrize(
    ("traits", "expected"),
    [
        ({"is_anonymous": True, "is_anonymous_vpn": True, "is_tor_exit_node": True}, "VPN, Tor exit node"),
        ({"is_hosting_provider": True, "is_public_proxy": True, "is_residential_proxy": True},
         "hosting, public proxy, residential proxy"),
        ({"is_mobile": True, "is_proxy": True, "is_hosting": False}, "mobile, proxy"),
        ({"vpn": "true", "tor": "", "relay": "1", "hosting": "false", "service": "Example"}, "VPN (Example), relay"),
        ({"privacy_vpn": True, "anonymizer_is_tor_exit_node": True}, "VPN, Tor exit node"),
        ({"proxy_type": "VPN/DCH"}, "VPN, hosting"),
        ({"proxy_type": "-", "is_anycast": True}, "anycast"),
        ({"is_anonymous": True}, "anonymous"),
        ({"is_anonymous": False, "registered_country_code": "US", "odd": ["x"], "nested": {}}, ""),
        (None, ""),
    ],
)  # fmt: skip
def test_the_names_of_several_makers_have_the_same_words(traits: dict[str, Any] | None, expected: str) -> None:
    """There is a word for each trait that is true, and none for those that are false, unknown or unrelated."""
    assert expected == kinds_of(traits)
