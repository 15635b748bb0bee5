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
from collections import deque

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
_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Damage(Value):
    """Bytes of a journal that are no frame."""

    offset_bytes: int
    """Where they begin."""
    data: bytes
    """What they are."""
    is_last: bool = False
    """Whether the journal ends there."""


class Frame(Value):
    """What one frame says, each distinct place once."""

    at: str
    """When its entries were resolved: UTC, ISO 8601; empty if that is not known."""
    generation: str
    """The local sources that were there to be asked."""
    files: list[tuple[str, int, int, int, str]]
    """Path, inode, size in bytes, modification time in ns, and label of each database that was there."""
    places: list[dict[str, Any]]
    """What an entry and its place say, without what is unknown; instants as text."""
    rows: list[tuple[str, int, int | None]]
    """Address, number of its place, and prefix length, in the order in which they were appended."""

    def entries(self) -> Iterator[Entry]:
        """Return the entries in the order in which they were appended."""
        shapes = [self._shape(place) for place in self.places]
        for ip, number, prefix_len in self.rows:
            yield shapes[number].replace(ip=ip, prefix_len=prefix_len)

    def _shape(self, said: dict[str, Any]) -> Entry:
        about: dict[str, Any] = {name: said.get(name) for name in _ENTRY_KEYS}
        about |= {name: instant(about[name]) for name in ("built_at", "retry_at")}
        place = Place(**{name: said[name] for name in Place.field_names & said.keys()})
        return Entry(ip="", place=place, resolved_at=instant(self.at or None), generation=self.generation, **about)


def encode(payload: bytes) -> bytes:
    """Return the frame that holds a payload."""
    length = b"%08x" % len(payload)
    return b"%s%s %s %s\n" % (MAGIC, length, _digest(length, payload), payload)


def pack(entries: Iterable[Entry], files: Iterable[tuple[DatabaseFile, str]] = ()) -> Iterator[bytes]:
    """Return the payloads that hold these entries in their order, each distinct place once a payload.

    Entries that were resolved at different instants, or with different sources, go to different payloads.

    Raises:
        ValueError: an entry is larger than a reader takes.

    """
    listed = _json([[*file.identity, label] for file, label in files if file.path.isprintable()])
    draft = _Draft("")
    for entry in entries:
        at = instant_text(entry.resolved_at) if entry.resolved_at else ""
        head = f'{{"at":{_json(at)},"generation":{_json(entry.generation)},"files":{listed}'
        place = _place_text(entry)
        if draft.rows and (head != draft.head or not draft.has_room(entry, place)):
            yield draft.payload()
            draft = _Draft(head)
        draft.head = head
        draft.add(entry, place)
    if draft.rows:
        yield draft.payload()


class _Draft:
    """A payload that is being filled."""

    def __init__(self, head: str) -> None:
        self.head = head
        self.places: dict[str, int] = {}
        self.rows: list[str] = []
        self.size_bytes = HEADER_BYTES + 100

    def has_room(self, entry: Entry, place: str) -> bool:
        new_bytes = len(entry.ip) + 20 + (0 if place in self.places else len(place))
        return len(self.head) + self.size_bytes + new_bytes <= TARGET_BYTES

    def add(self, entry: Entry, place: str) -> None:
        if place not in self.places:
            self.places[place] = len(self.places)
            self.size_bytes += len(place) + 1
        self.rows.append(_json([entry.ip, self.places[place], entry.prefix_len]))
        self.size_bytes += len(self.rows[-1]) + 1

    def payload(self) -> bytes:
        payload = f'{self.head},"places":[{",".join(self.places)}],"rows":[{",".join(self.rows)}]}}'.encode("ascii")
        if len(payload) > MOST_BYTES:
            raise ValueError(f"an entry of {len(payload)} bytes is more than a frame holds")
        return payload


def _place_text(entry: Entry) -> str:
    said = {name: getattr(entry, name) for name in _ENTRY_KEYS}
    said |= {name: instant_text(said[name]) for name in ("built_at", "retry_at") if said[name]}
    said |= entry.place.as_dict()
    return _json({name: what for name, what in said.items() if what is not None})


def unpack(payload: bytes) -> Frame:
    """Return what a payload says.

    Raises:
        ValueError: it is not JSON, or not of the right form.

    """
    try:
        said = json.loads(payload)
        files = [(path, inode, size, mtime, label) for path, inode, size, mtime, label in said["files"]]
        rows = [(ip, number, prefix_len) for ip, number, prefix_len in said["rows"]]
        frame = Frame(at=said["at"], generation=said["generation"], files=files, places=said["places"], rows=rows)
        _check(frame)
    except (LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(repr(error)) from error
    return frame


def _check(frame: Frame) -> None:
    """Refuse what is not of the right types, and what SQLite would refuse."""
    _check_types([frame.at, frame.generation], str)
    instant(frame.at or None)
    for path, inode, size, mtime, label in frame.files:
        _check_types([path, label], str)
        _check_types([inode, size, mtime], int)
    _check_types(frame.places, dict)
    _check_types([place["status"] for place in frame.places], str)
    for name in set().union(*frame.places):
        said = [place[name] for place in frame.places if name in place]
        _check_types(said, *_TYPES[name])
        if name.endswith("_at"):
            deque(map(instant, said), maxlen=0)
    _check_types([ip for ip, _, _ in frame.rows], str)
    _check_types([number for _, number, _ in frame.rows], int, within=range(len(frame.places)))
    _check_types([prefix_len for _, _, prefix_len in frame.rows], int, type(None), within=range(129))


def _check_types(values: list[Any], *types: type, within: range = range(-(1 << 63), 1 << 63)) -> None:
    """Raise ValueError unless each value is of one of the types, can be encoded, and is in the range."""
    if not set(map(type, values)) <= set(types):
        raise ValueError(f"{values!r:.80} is not {types}")
    if str in types:
        "".join(values).encode()  # which refuses lone surrogates
    if dict in types:
        json.dumps(values, ensure_ascii=False).encode()
    numbers = [value for value in values if type(value) is int]
    if numbers and not (min(numbers) in within and max(numbers) in within):
        raise ValueError(f"{min(numbers)} to {max(numbers)} is not in {within}")


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
    fix = _Repairs()
    for region in _regions(stream):
        if isinstance(region, Frame):
            yield region
        else:
            yield from _salvaged(region, fix)


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


def _regions(stream: BinaryIO) -> Iterator[Frame | Damage]:
    """Divide a journal into sound frames, and all that lies between them."""
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
            yield _frame(payload) or Damage(offset_bytes=window.offset_bytes, data=encode(payload))
            window.take(HEADER_BYTES + len(payload))
            window.take(window.data[window.position : window.position + 1] == b"\n")
    if bad:
        yield Damage(offset_bytes=window.offset_bytes - len(bad), data=bytes(bad), is_last=True)


def _frame(payload: bytes) -> Frame | None:
    """Return the frame of a payload that has the right digest, None if it is of the wrong form all the same."""
    try:
        return unpack(payload)
    except ValueError:
        return None


def _salvaged(damage: Damage, fix: _Repairs) -> Iterator[Frame | Damage]:
    """Return the frame that one flipped bit made of damage, else what is not empty, line by line.

    A last line that was cut short is left out, unless it is a whole frame but for one bit.
    """
    if frame := fix(damage.data):
        yield frame
        return
    lines = damage.data.split(b"\n")
    tail, offset_bytes = lines[-1], damage.offset_bytes
    for line in lines:
        is_torn = damage.is_last and line is tail and MAGIC.startswith(tail[: len(MAGIC)])
        frame = fix(line) if damage.data.strip(b"\n") != line else None
        if frame or (line.strip(b"\0") and not is_torn):
            yield frame or Damage(offset_bytes=offset_bytes, data=line)
        offset_bytes += len(line) + 1


class _Repairs:
    """Repairs, as many as one journal may take."""

    def __init__(self) -> None:
        self.left = MOST_REPAIRS

    def __call__(self, data: bytes) -> Frame | None:
        if not self.left or not HEADER_BYTES < len(data) <= REPAIR_BYTES:
            return None
        self.left -= 1
        return repair(data)


def repair(data: bytes) -> Frame | None:
    """Find the one bit of a small damaged frame whose flip makes it sound, and return the frame.

    A digest of 64 bits takes a wrong repair for right once in 2^49 tries of this size.
    """
    if not HEADER_BYTES < len(data) <= REPAIR_BYTES:
        return None
    trial = bytearray(data)
    is_length_sound = data[3:11] in {b"%08x" % (len(data) - HEADER_BYTES - end) for end in (0, 1)}
    for number in range((len(trial) if is_length_sound else HEADER_BYTES) * 8):
        trial[number >> 3] ^= 1 << (number & 7)
        payload = _payload_at(bytes(trial), 0)
        if payload is not None and HEADER_BYTES + len(payload) >= len(trial) - 1:
            return _frame(payload)
        trial[number >> 3] ^= 1 << (number & 7)
    return None
