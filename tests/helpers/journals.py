"""Frames of the journal, and large journals."""

from __future__ import annotations

import json
from socket import inet_ntoa
from typing import TYPE_CHECKING

from geocli.storage.frames import Frame, encode, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from geocli.models import Entry

HEAD = '{"at":"2026-06-01T12:00:00Z","generation":"GeoLite2-City@1780000000, rir@3.3.170"'


def framed(entries: Iterable[Entry]) -> list[Frame]:
    """Return the frames of entries."""
    return [unpack(payload) for payload in pack(entries)]


def write_journal(path: Path, entries: int, places: Sequence[dict[str, object]]) -> None:
    """Write a journal as a large batch would: distinct addresses in random order, which share places."""
    texts = [json.dumps(place, separators=(",", ":")) for place in places]
    frame_rows = max(10, 60_000 // (len(texts[0]) + 25)) if len(texts) > 1_000 else 2_000
    with path.open("wb") as out:
        for start in range(0, entries, frame_rows):
            numbers = range(start, min(start + frame_rows, entries))
            used = [texts[number * 7919 % len(texts)] for number in numbers][: len(texts)]
            # Multiplication by an odd number maps each number to a different address.
            ips = (inet_ntoa((number * 2654435761 & 0xFFFFFFFF).to_bytes(4)) for number in numbers)
            rows = ",".join(f'["{ip}",{number % len(used)},24]' for number, ip in enumerate(ips))
            out.write(encode(f'{HEAD},"places":[{",".join(used)}],"rows":[{rows}]}}'.encode()))
