"""Addresses and times of a journal, read without parsing its places, which are most of its bytes."""

from __future__ import annotations

import json
import os
from functools import lru_cache

from geocli.storage.frames import loaded, rows_of, unpack_or_none
from geocli.storage.recovery import regions
from geocli.timestamps import instant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from typing import BinaryIO, TypeAlias

    from geocli.storage.snapshots import NumberedFile

    Row: TypeAlias = tuple[str, int, int | None]
    """Address, number of its place, and prefix length."""

PART_BYTES = 8 << 20
"""Journal size for each set of distinct addresses, which takes about 60 MB."""


def outline(payload: bytes) -> tuple[str, list[Row]]:
    """Return the time of resolution and the rows of a payload.

    Raises:
        ValueError: it is not JSON, or not of the right form.

    """
    head, _, rest = payload.partition(b',"places":[')
    _, _, rows = rest.rpartition(b'],"rows":[')
    try:
        try:
            members = json.loads(b'%b,"rows":[%b' % (head, rows))
        except ValueError:  # JSON, perhaps, that geocli did not write
            members = json.loads(payload)
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
    """Return the number of entries in sound frames, and the time of the oldest."""
    entries, instants = 0, set[str]()
    for _, at, rows in outlines(files):
        entries += len(rows)
        instants.add(at)
    return entries, min(filter(None, map(instant, instants - {""})), default=None)


def distinct(files: Sequence[BinaryIO], part_bytes: int = PART_BYTES) -> Iterator[set[str]]:
    """Yield the addresses, each once, in sets of bounded size; the files are read once for each set."""
    parts = 1 + sum(os.fstat(file.fileno()).st_size for file in files) // part_bytes
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
