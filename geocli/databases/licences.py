"""Attributions that the licences of databases require."""

from __future__ import annotations

ATTRIBUTIONS = {
    "rir": "Country of registration: the regional internet registries and the NRO (https://www.nro.net), CC BY 4.0",
    "dbip": "IP geolocation by DB-IP (https://db-ip.com), CC BY 4.0",
    "geolite": "This product includes GeoLite data created by MaxMind, available from https://www.maxmind.com",
    "ipinfo": "IP address data powered by IPinfo (https://ipinfo.io), CC BY-SA 4.0",
    "iplocate": "IP address data by IPLocate (https://www.iplocate.io), CC BY-SA 4.0",
}
"""Attributions by a word in the type, the description or the name of a database, in lower case without hyphens."""


def attribution_of(described: str) -> str | None:
    """Return the attribution for a description of a database, None if none is required, as far as known."""
    text = described.lower().replace("-", "")
    return next((sentence for word, sentence in ATTRIBUTIONS.items() if word in text and word != "rir"), None)
