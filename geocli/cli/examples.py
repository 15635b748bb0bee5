"""The end of each command's help: examples, and the names of fields."""

from __future__ import annotations

from geocli.models import FIELDS, FIELDS_ON_REQUEST

EXAMPLES = {
    "": ("geocli 8.8.8.8", "geocli batch access.log"),
    "lookup": ("geocli lookup 8.8.8.8 2001:4860:4860::8888", "geocli lookup -f value -F country_code 8.8.8.8"),
    "batch": ("geocli batch access.log", "geocli batch -c src_ip -F country_code,asn -o located.csv connections.csv"),
    "networks": ("geocli networks --country GB,JP", "geocli networks --asn 20712 -4 -f nft -o as20712.nft"),
    "flush": ("geocli flush --json", "geocli flush --wait 30"),
    "re-resolve": ("geocli re-resolve --dry-run", "geocli re-resolve --older-than 30d --limit 1000"),
    "stats": ("geocli stats --by asn --top 5", "geocli stats -f prometheus -o geocli.prom"),
    "clear": ("geocli clear --unresolved", "geocli clear --older-than 90d"),
    "docs": ("geocli docs", "geocli docs inputs"),
    "db": ("geocli db update", "geocli db list"),
    "db list": ("geocli db list", "geocli db list -f json"),
    "db update": ("geocli db update", "geocli db update dbip-city-lite dbip-asn-lite"),
    "db verify": ("geocli db verify", "geocli db verify GeoLite2-City.mmdb"),
}
"""Two command lines for each command."""
HAVE_FIELDS = ("lookup", "batch")
"""Commands that print fields."""


def epilog(command: str) -> str:
    """Return the end of the help of a command."""
    examples = "\n".join(f"$ {example}" for example in EXAMPLES[command])
    if command not in HAVE_FIELDS:
        return examples
    return f"Fields: {', '.join((*FIELDS, *FIELDS_ON_REQUEST, 'traits.NAME'))}.\n\n{examples}"
