"""Frames and files of the journal, and large journals."""

from __future__ import annotations

import json
from pathlib import Path
from socket import inet_ntoa
from typing import TYPE_CHECKING

from geocli.models import settle
from geocli.storage.frames import Frame, encode, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geocli.models import Entry
    from geocli.storage.directory import DataDirectory
    from geocli.storage.journal import Journal

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


def put(directory: DataDirectory, data: bytes, name: str = "journal") -> None:
    """Write a file of the journal."""
    directory.prepare()
    Path(directory.file(name)).write_bytes(data)


def segment_name(number: int) -> str:
    """Return the name of a segment."""
    return f"journal.{number}-00000000-0000-4000-8000-{number:012}.draining"


def compact_frame(*ips: str) -> bytes:
    """Return a frame of the shorter form, as batches write it."""
    places = '"places":[{"status":"resolved","country_code":"GB","places":[{"city":"A"},{"city":"B"}]}]'
    rows = f"[{len(ips) - 1},0,24],[1,1,null]" if len(ips) > 1 else "[1,1,null]"
    return encode(f'{HEAD},"ips":"{" ".join(ips)}",{places},"rows":[{rows}]}}'.encode())


def newest_entries(journal: Journal) -> dict[str, Entry]:
    """Return the newest entry of each address, from all entries in their order."""
    result: dict[str, Entry] = {}
    for entry in journal.dirty():
        result[entry.ip] = settle(result.get(entry.ip), entry)
    return result
