"""Addresses and times of a journal, read without parsing its places, which are most of its bytes."""

from __future__ import annotations

import os
from functools import lru_cache, partial

from geocli.json_coding import parse_json
from geocli.storage.frames import HEADER_BYTES, MAGIC, MAX_BYTES, loaded, rows_of, unpack_or_none
from geocli.storage.recovery import regions
from geocli.timestamps import instant, instant_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from typing import BinaryIO, TypeAlias

    from geocli.storage.segments import NumberedFile

    Row: TypeAlias = tuple[str, int, int | None]
    """Address, number of its place, and prefix length."""

PART_BYTES = 8 << 20
"""Journal size for each set of distinct addresses, which takes about 60 MB."""


def outline(payload: bytes) -> tuple[str, list[Row]]:
    """Return the time of resolution and the rows of a payload, or raise ValueError."""
    head, _, rest = payload.partition(b',"places":[')
    _, _, rows = rest.rpartition(b'],"rows":[')
    try:
        try:
            members = parse_json((b'%b,"rows":[%b' % (head, rows)).decode())
        except ValueError:  # JSON, perhaps, that geocli did not write
            members = parse_json(payload.decode())
        _instant(members["at"])
        return members["at"], rows_of(members["rows"], members.get("ips"))
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(repr(error)) from error


@lru_cache(64)
def _instant(at: str) -> datetime | None:
    return instant(at or None)


def outlines(files: Sequence[BinaryIO]) -> Iterator[tuple[bytes, str, list[Row]]]:
    """Yield each well-formed payload with its outline."""
    for file in files:
        file.seek(0)
        for _, _, payload in regions(file):
            if isinstance(payload, bytes):
                try:
                    at, rows = outline(payload)
                except ValueError:
                    continue
                yield payload, at, rows


def count(files: Sequence[BinaryIO]) -> tuple[int, datetime | None]:
    """Return the number of entries in frames, and the time of the oldest.

    A frame counts if it is a line of the length that it names. Its digest, which takes as long again, is not checked.
    """
    entries, oldest_at, oldest = 0, "", None
    for payload in _lines(files):
        try:
            at, number = _at_and_count(payload)
            if at and number and (not oldest or at < oldest_at):
                oldest, oldest_at = instant(at), at
        except ValueError:
            continue
        entries += number
    return entries, oldest


def _lines(files: Sequence[BinaryIO]) -> Iterator[bytes]:
    """Yield the payload of each line that has the length of its frame."""
    for file in files:
        file.seek(0)
        for line in iter(partial(file.readline, HEADER_BYTES + MAX_BYTES + 1), b""):
            payload = line[HEADER_BYTES:].removesuffix(b"\n")
            if line.startswith(b"%b%08x " % (MAGIC, len(payload))):
                yield payload


def _at_and_count(payload: bytes) -> tuple[str, int]:
    """Return the time of resolution of a payload, as `instant_text`, and the number of its entries.

    Small payloads that geocli wrote are not parsed: each row begins with a quoted address.
    """
    rows = payload.rfind(b'],"rows":[[')
    number = payload.count(b'["', rows)
    if rows >= 0 and number == payload.count(b"[", rows) - 1 and payload[:7] + payload[26:28] == b'{"at":"Z"':
        return payload[7:27].decode(), number
    at, entries = outline(payload)
    when = instant(at or None)
    return instant_text(when) if when else "", len(entries)


def distinct(files: Sequence[BinaryIO]) -> Iterator[set[str]]:
    """Yield the addresses, each once, in sets of bounded size; the files are read once for each set."""
    parts = 1 + sum(os.fstat(file.fileno()).st_size for file in files) // PART_BYTES
    for part in range(parts):
        yield {ip for _, _, rows in outlines(files) for ip, _, _ in rows if hash(ip) % parts == part}


def with_retry_times(files: Sequence[NumberedFile]) -> set[str]:
    """Return the addresses of answers that have a retry time."""
    ips: set[str] = set()
    for _, file in files:
        for _, _, payload in regions(file):
            if isinstance(payload, bytes) and b'"retry_at"' in payload and (frame := unpack_or_none(payload)):
                places = [loaded(place) for place in frame.places]
                is_timed = [place["status"] != "unresolved" and "retry_at" in place for place in places]
                ips |= {ip for ip, number, _ in frame.rows if is_timed[number]}
    return ips
