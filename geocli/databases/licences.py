"""What licences ask those to show who show the data."""

from __future__ import annotations

ATTRIBUTIONS = {
    "rir": "Country of registration: the regional internet registries and the NRO (https://www.nro.net), CC BY 4.0",
    "dbip": "IP geolocation by DB-IP (https://db-ip.com), CC BY 4.0",
    "geolite": "This product includes GeoLite data created by MaxMind, available from https://www.maxmind.com",
    "ipinfo": "IP address data powered by IPinfo (https://ipinfo.io), CC BY-SA 4.0",
    "iplocate": "IP address data by IPLocate (https://www.iplocate.io), CC BY-SA 4.0",
}
"""By a word in the type, the description or the name of a database; without hyphens, in lower case."""


def attribution_of(described: str) -> str | None:
    """Return the attribution for data that are described so, None if no licence is known to ask for one."""
    text = described.lower().replace("-", "")
    return next((sentence for word, sentence in ATTRIBUTIONS.items() if word in text and word != "rir"), None)
