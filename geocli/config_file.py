"""A configuration file: TOML, each key of which must be a setting."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from geocli.errors import SettingsError
from geocli.models import unknown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from geocli.setting_kinds import Kind


def parse_config(data: bytes, path: str, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """Return the settings of a file; raise SettingsError if it is not TOML, or a key or a value cannot be used."""
    try:
        text = data.decode("utf-8-sig")
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError("configuration", f"not TOML: {error}", origin=path) from error
    for name, value in values.items():
        if name in kinds and kinds[name].accepts(value):
            continue
        reason = kinds[name].refusal(value) if name in kinds else unknown("key", name, list(kinds))
        raise SettingsError(name, reason, origin=path, line=_line_of(name, text))
    return values


def _line_of(name: str, text: str) -> int:
    """Return the line of a key in valid TOML, which tomllib does not tell.

    A text cut between two statements is valid, too. So the key's statement begins after the last valid prefix that
    does not contain the key.
    """
    lines = text.split("\n")
    start = 0
    for end in range(1, len(lines) + 1):
        try:
            values = tomllib.loads("\n".join(lines[:end]) + "\n")
        except ValueError:
            # The prefix ends inside a statement.
            continue
        if name in values:
            break
        start = end
    return start + 1
