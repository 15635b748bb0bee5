r"""The journal's format: checksummed frames, one a line, and a reader that believes nothing.

A frame is `G1 LENGTH DIGEST PAYLOAD\n`. LENGTH is that of the payload, in 8 hex digits. DIGEST is BLAKE2b
(RFC 7693) with 64 bits over LENGTH and PAYLOAD, in 16 hex digits. PAYLOAD is one line of ASCII JSON:

    {"at": "2026-11-23T20:31:49Z", "generation": "GeoLite2-City@1781725941, rir@3.3.170",
     "files": [[path, inode, size, mtime_ns, "GeoLite2-City@1781725941"], ...],
     "places": [{"status": "resolved", "source": "GeoLite2-City", "country_code": "GB", ...}, ...],
     "rows": [["81.2.69.160", 0, 27], ...]}

Each row names an address, the number of its place in `places`, and the length of the prefix that the
answer holds for, or null.
"""

from __future__ import annotations

import json

from geocli.entries import Entry, Place, instant, instant_text
from geocli.values import Value

try:  # as the standard library's `random` does: hashlib loads OpenSSL, which takes 3 ms of each start
    from _blake2 import blake2b
except ImportError:  # pragma: no cover
    from hashlib import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, BinaryIO

    from geocli.databases.discovery import DatabaseFile

MAGIC = b"G1 "
HEADER_BYTES = len(b"G1 00000000 0011223344556677 ")
TARGET_BYTES = 64 * 1024
"""A writer packs entries into frames of at most this size, where one entry alone is not larger."""
MOST_BYTES = 1024 * 1024
"""A reader takes a longer payload for damage."""
REPAIR_BYTES = 4096
"""Damage up to this size is searched for the one flipped bit that explains it."""
MOST_REPAIRS = 64
"""A journal that is damaged in more places than this is quarantined rather than searched."""

_ENTRY_KEYS = ("status", "scope", "source", "built_at", "retry_at")
_TYPES: dict[str, tuple[type, ...]] = dict.fromkeys((*Place.field_names, *_ENTRY_KEYS), (str,))
_TYPES |= {"latitude": (float, int), "longitude": (float, int), "asn": (int,), "traits": (dict,)}


class Damage(Value):
    """Bytes of a journal that are no frame."""

    offset_bytes: int
    """Where they begin."""
    data: bytes
    """What they are."""


class Frame(Value):
    """What one frame says."""

    entries: list[Entry]
    """Entries in the order in which they were appended."""
    files: list[tuple[str, int, int, int, str]]
    """Path, inode, size in bytes, modification time in ns, and label of each database that was there."""


def encode(payload: bytes) -> bytes:
    """Return the frame that holds a payload."""
    length = b"%08x" % len(payload)
    return b"%s%s %s %s\n" % (MAGIC, length, _digest(length, payload), payload)


def pack(entries: Iterable[Entry], files: Iterable[tuple[DatabaseFile, str]] = ()) -> Iterator[bytes]:
    """Return the payloads that hold these entries in their order, each distinct place once a payload.

    Entries that were resolved at different instants, or with different sources, go to different payloads.
    """
    listed = json.dumps([[*file.identity, label] for file, label in files])
    places: dict[str, int] = {}
    rows: list[str] = []
    size, head = 0, ""
    for entry in entries:
        at = instant_text(entry.resolved_at) if entry.resolved_at else ""
        entry_head = f'{{"at":{json.dumps(at)},"generation":{json.dumps(entry.generation)},"files":{listed}'
        place = _place_text(entry)
        if rows and (entry_head != head or size + len(place) + len(entry.ip) + 20 > TARGET_BYTES):
            yield _payload(head, places, rows)
            places, rows, size = {}, [], 0
        head = entry_head
        if place not in places:
            places[place] = len(places)
            size += len(place) + 1
        rows.append(json.dumps([entry.ip, places[place], entry.prefix_len], separators=(",", ":")))
        size += len(rows[-1]) + 1
    if rows:
        yield _payload(head, places, rows)


def _payload(head: str, places: Iterable[str], rows: list[str]) -> bytes:
    return f'{head},"places":[{",".join(places)}],"rows":[{",".join(rows)}]}}'.encode("ascii")


def _place_text(entry: Entry) -> str:
    said = {name: getattr(entry, name) for name in _ENTRY_KEYS}
    said |= {name: instant_text(said[name]) for name in ("built_at", "retry_at") if said[name]}
    said |= entry.place.as_dict()
    known = {name: what for name, what in said.items() if what is not None}
    return json.dumps(known, separators=(",", ":"), allow_nan=False)


def unpack(payload: bytes) -> Frame:
    """Return what a payload says.

    Raises:
        ValueError: it is not JSON, or not of the right form.

    """
    try:
        said = json.loads(payload)
        at, generation = instant(said["at"] or None), said["generation"]
        files = [
            (str(path), int(inode), int(size), int(mtime), str(label))
            for path, inode, size, mtime, label in said["files"]
        ]
        shapes = [_entry_from(place) for place in said["places"]]
        entries = [
            shapes[number].replace(
                ip=_typed(ip, (str,)),
                prefix_len=_typed(length, (int, type(None))),
                resolved_at=at,
                generation=_typed(generation, (str,)),
            )
            for ip, number, length in said["rows"]
        ]
    except (LookupError, TypeError, RecursionError) as error:
        raise ValueError(repr(error)) from error
    return Frame(entries=entries, files=files)


def _entry_from(said: dict[str, Any]) -> Entry:
    for name, what in said.items():
        _typed(what, _TYPES[name])
    entry = {name: said.pop(name, None) for name in _ENTRY_KEYS}
    entry |= {name: instant(entry[name]) for name in ("built_at", "retry_at")}
    return Entry(ip="", place=Place(**said), **entry)


def _typed(what: Any, kind: tuple[type, ...]) -> Any:
    if isinstance(what, str):
        what.encode()  # which refuses lone surrogates, as SQLite does
    if isinstance(what, kind) and not (isinstance(what, int) and abs(what) >= 1 << 63):
        return what
    msg = f"{what!r} is not {kind}"
    raise TypeError(msg)


def _digest(length: bytes, payload: bytes) -> bytes:
    return blake2b(length + payload, digest_size=8).hexdigest().encode()


def _payload_at(data: bytes, start: int) -> bytes | None:
    """Return the payload of the frame that begins at an offset, None if no whole, sound frame does."""
    header = data[start : start + HEADER_BYTES]
    if len(header) < HEADER_BYTES or not header.startswith(MAGIC) or header[11:12] + header[28:29] != b"  ":
        return None
    try:
        length = int(header[3:11], 16)
    except ValueError:
        return None
    payload = data[start + HEADER_BYTES : start + HEADER_BYTES + length]
    if length > MOST_BYTES or len(payload) < length or _digest(header[3:11], payload) != header[12:28]:
        return None
    return payload


def scan(stream: BinaryIO) -> Iterator[Frame | Damage]:
    """Read a journal to its end, in bounded memory: what is sound as frames, what is not as damage.

    After damage the reader looks for the next sound frame. One flipped bit in a small frame is repaired.
    Empty lines and zeros (what a power cut leaves of a block) are skipped; so is a last frame that is cut
    short, because nobody was told that it was kept.
    """
    repairs = 0
    for region in _regions(stream):
        if isinstance(region, bytes):
            try:
                yield unpack(region)
            except ValueError:
                yield Damage(offset_bytes=-1, data=encode(region))
            continue
        for piece in _pieces(region):
            repairs += 1
            yield (repair(piece.data) if repairs <= MOST_REPAIRS else None) or piece


class _Window:
    """The part of a file that the reader looks at: a whole frame from `position` on, or all to the end."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.data, self.position, self.offset_bytes = stream, b"", 0, 0

    def fill(self) -> bool:
        """Read on if needed; False at the end."""
        if len(self.data) - self.position < MOST_BYTES + HEADER_BYTES + 1:
            self.data = self.data[self.position :] + self.stream.read(4 * MOST_BYTES)
            self.position = 0
        return self.position < len(self.data)

    def take(self, count: int) -> bytes:
        """Return the next bytes, and step over them."""
        taken = self.data[self.position : self.position + count]
        self.position += len(taken)
        self.offset_bytes += len(taken)
        return taken

    def take_bad(self) -> bytes:
        """Return all up to where the next frame could begin."""
        found = self.data.find(MAGIC, self.position + 1)
        end = found if found >= 0 else len(self.data) - len(MAGIC) + 1
        return self.take(max(end - self.position, 1))


def _regions(stream: BinaryIO) -> Iterator[bytes | Damage]:
    """Divide a journal into the payloads of sound frames, and all that lies between them."""
    window = _Window(stream)
    bad = bytearray()
    while window.fill():
        payload = _payload_at(window.data, window.position)
        if payload is None:
            bad += window.take_bad()
        if bad and (payload is not None or len(bad) > MOST_BYTES):
            yield Damage(offset_bytes=window.offset_bytes - len(bad), data=bytes(bad))
            bad.clear()
        if payload is not None:
            yield payload
            window.take(HEADER_BYTES + len(payload))
            window.position += window.data[window.position : window.position + 1] == b"\n"
    if bad:
        yield from _without_torn_tail(Damage(offset_bytes=window.offset_bytes - len(bad), data=bytes(bad)))


def _without_torn_tail(damage: Damage) -> Iterator[Damage]:
    """Leave out a last frame that was cut short, unless one flipped bit makes it look like that."""
    head, newline, tail = damage.data.rpartition(b"\n")
    if MAGIC.startswith(tail[: len(MAGIC)]) and repair(damage.data) is None and repair(tail) is None:
        damage = damage.replace(data=head + newline)
    yield damage


def _pieces(damage: Damage) -> Iterator[Damage]:
    """Divide damage into lines, unless a flipped bit made two of one; leave out what is empty."""
    if len(damage.data) <= MOST_BYTES and repair(damage.data):
        yield damage
        return
    offset_bytes = damage.offset_bytes
    for line in damage.data.split(b"\n"):
        if line.strip(b"\0"):
            yield Damage(offset_bytes=offset_bytes, data=line)
        offset_bytes += len(line) + 1


def repair(data: bytes) -> Frame | None:
    """Find the one bit of a small damaged frame whose flip makes it sound, and return the frame.

    A digest of 64 bits takes a wrong repair for right once in 2^49 tries of this size.
    """
    if not HEADER_BYTES < len(data) <= REPAIR_BYTES:
        return None
    trial = bytearray(data)
    for number in range(len(trial) * 8):
        trial[number >> 3] ^= 1 << (number & 7)
        payload = _payload_at(bytes(trial), 0)
        if payload is not None and HEADER_BYTES + len(payload) >= len(trial) - 1:
            return unpack(payload)
        trial[number >> 3] ^= 1 << (number & 7)
    return None
