r"""The journal's format: checksummed frames, one a line, the one place that knows it.

A frame is `G1 LENGTH DIGEST PAYLOAD\n`. LENGTH is that of the payload, in 8 hex digits. DIGEST is BLAKE2b
(RFC 7693) with 64 bits over LENGTH and PAYLOAD, in 16 hex digits. PAYLOAD is one line of ASCII JSON:

    {"at": "2026-11-23T20:31:49Z", "generation": "GeoLite2-City@9f86d081884c..., rir@3.3.170",
     "places": [{"status": "resolved", "source": "GeoLite2-City", "country_code": "GB", ...}, ...],
     "rows": [["81.2.69.160", 0, 27], ...]}

Each row names an address, the number of its place in `places`, and the length of the prefix that the
answer holds for, or null. Other members, as those that earlier releases wrote, are ignored, as are frames
without rows (`journal_summaries`). Where there are many rows, they are written shorter:

     "ips": "81.2.69.160 81.2.69.161 2.125.160.216 ...",
     "places": [{"status": "resolved", "source": "GeoLite2-City", "country_code": "GB", ...,
                 "places": [{"city": "Boxford", ...}, {"city": "London", ...}]}, ...],
     "rows": [[2, 0, 27], [1, 1, 29], ...]}

Then each row says how many of the addresses it is about. And an element of `places` that has some itself is none,
but says what these have in common, also of their `traits`; they are numbered in the order in which they stand there.
"""

from __future__ import annotations

import json
from collections import deque
from functools import lru_cache
from itertools import islice
from json.encoder import encode_basestring_ascii

from geocli.hashing import blake2b
from geocli.immutable import Value
from geocli.models import Entry, Place
from geocli.storage.store_rows import check_json
from geocli.timestamps import instant, instant_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from typing import Any

MAGIC = b"G1 "
HEADER_BYTES = len(b"G1 00000000 0011223344556677 ")
TARGET_BYTES = 64 * 1024
"""A writer packs entries into frames of at most this size, where one entry alone is not larger."""
MAX_BYTES = 1024 * 1024
"""A reader takes a longer payload for damage."""
MAX_CHECKED_BYTES = 32 << 20
"""About so much text of places a reader keeps, so that it checks each once."""

_ENTRY_KEYS = ("status", "scope", "source", "built_at", "retry_at")
_TYPES: dict[str, tuple[type, ...]] = dict.fromkeys((*Place.field_names, *_ENTRY_KEYS), (str,))
_TYPES |= {"latitude": (float, int), "longitude": (float, int), "asn": (int,), "traits": (dict,)}
_FLAT = {str, int, bool, type(None)}
compact_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_KEYS = {name: f'"{name}":' for name in (*_ENTRY_KEYS, *Place.field_names)}


class Frame(Value):
    """What one frame says, each distinct place once."""

    at: str
    """When its entries were resolved: UTC, ISO 8601; empty if that is not known."""
    generation: str
    """The sources that were there to be asked."""
    places: list[bytes]
    """What an entry and its place say, without what is unknown, as JSON, whose members may be divided among two lines.

    Instants are texts.
    """
    rows: list[tuple[str, int, int | None]]
    """Address, number of its place, and prefix length, in the order in which they were appended."""

    def entries(self) -> Iterator[Entry]:
        """Return the entries in the order in which they were appended."""
        shapes = [self.shape(number) for number in range(len(self.places))]
        for ip, number, prefix_len in self.rows:
            yield shapes[number].replace(ip=ip, prefix_len=prefix_len)

    def shape(self, number: int) -> Entry:
        """Return an entry of a place, without address and prefix."""
        said = loaded(self.places[number])
        about: dict[str, Any] = {name: said.get(name) for name in _ENTRY_KEYS}
        about |= {name: instant(about[name]) for name in ("built_at", "retry_at")}
        place = Place(**{name: said[name] for name in Place.field_names & said.keys()})
        return Entry(ip="", place=place, resolved_at=instant(self.at or None), generation=self.generation, **about)


def encode(payload: bytes) -> bytes:
    """Return the frame that holds a payload."""
    return b"".join(parts(payload))


def parts(payload: bytes) -> tuple[bytes, bytes, bytes]:
    """Return what a frame consists of, to be put together by who has many."""
    length = b"%08x" % len(payload)
    return b"%s%s %s " % (MAGIC, length, _digest(length, payload)), payload, b"\n"


def pack(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Return the payloads that hold these entries in their order, each distinct place once a payload.

    Entries that were resolved at different instants, or with different sources, go to different payloads.

    Raises:
        ValueError: an entry is larger than a reader takes.

    """
    draft = _Draft("")
    for entry in entries:
        start = head(entry.resolved_at, entry.generation)
        place = place_text(members_of(entry))
        if draft.rows and (start != draft.head or not draft.has_room(entry, place)):
            yield draft.payload()
            draft = _Draft(start)
        draft.head = start
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
        self.rows.append(compact_json([entry.ip, self.places[place], entry.prefix_len]))
        self.size_bytes += len(self.rows[-1]) + 1

    def payload(self) -> bytes:
        return payload(self.head, [",".join(self.places).encode("ascii")], [",".join(self.rows).encode("ascii")])


@lru_cache(16)  # entries that are resolved together begin alike
def head(at: datetime | None, generation: str) -> str:
    """Return what a payload begins with: when its entries were resolved, and which sources were there."""
    return f'{{"at":{compact_json(instant_text(at) if at else "")},"generation":{compact_json(generation)}'


def payload(head: str, places: Iterable[bytes], rows: Iterable[bytes], ips: bytes = b"") -> bytes:
    """Put a payload together from its head, from the pieces of its places and of its rows, with their commas.

    Args:
        head: as `head` returns it.
        places: pieces of text, with all commas.
        rows: likewise.
        ips: the addresses that rows only count.

    Raises:
        ValueError: it is larger than a reader takes.

    """
    begin = b'%b,"ips":"%b"' % (head.encode("ascii"), ips) if ips else head.encode("ascii")
    whole = b"".join((begin, b',"places":[', *places, b'],"rows":[', *rows, b"]}"))
    if len(whole) > MAX_BYTES:
        raise ValueError(f"an entry of {len(whole)} bytes is more than a frame holds")
    return whole


def members_of(entry: Entry) -> dict[str, Any]:
    """Return what is known of an entry and its place, but for its address, by field; instants as text."""
    said = {name: getattr(entry, name) for name in _ENTRY_KEYS} | vars(entry.place)
    said |= {name: instant_text(said[name]) for name in ("built_at", "retry_at") if said[name]}
    return {name: what for name, what in said.items() if what is not None}


def place_text(members: Mapping[str, Any]) -> str:
    """Return such members as one place of a payload."""
    texts = [
        f"{_KEYS[name]}{encode_basestring_ascii(what) if isinstance(what, str) else compact_json(what)}"
        for name, what in members.items()
    ]
    return f"{{{','.join(texts)}}}"


def loaded(place: bytes) -> dict[str, Any]:
    """Return the members of a place of a frame."""
    shared, _, own = place.decode().partition("\n")
    said: dict[str, Any] = _joined(_shared(shared), json.loads(own)) if own else json.loads(shared)
    return said


_shared = lru_cache(16)(json.loads)  # each may be as large as a frame


def _joined(shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Put members together; of traits, all are taken."""
    said = shared | own
    if "traits" in shared and "traits" in own:
        said["traits"] = {**shared["traits"], **own["traits"]}
    return said


def unpack(payload: bytes, known: set[bytes] | None = None) -> Frame:
    """Return what a payload says.

    Args:
        payload: the JSON.
        known: texts of places that are of the right form; those of this payload are added.

    Raises:
        ValueError: it is not JSON, or not of the right form.

    """
    try:
        said = _loaded(payload, set() if known is None else known)
        rows = rows_of(said["rows"], said.get("ips"))
        frame = Frame(at=said["at"], generation=said["generation"], places=said["places"], rows=rows)
        _check(frame)
    except (LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(repr(error)) from error
    return frame


def unpack_or_none(payload: bytes, checked: set[bytes] | None = None) -> Frame | None:
    """Return the frame of a payload, as `unpack`, but None if it is malformed."""
    try:
        return unpack(payload, checked)
    except ValueError:
        return None


def rows_of(rows: list[list[Any]], ips: str | None) -> list[tuple[str, int, int | None]]:
    """Return a row for each address, of rows that name one, or that say how many of `ips` they are about."""
    if ips is None:
        return [(ip, number, prefix_len) for ip, number, prefix_len in rows]
    rest = ips.split(" ")
    counts = [count for count, _, _ in rows]
    _check_types(counts, int, within=range(1, len(rest) + 1))
    if sum(counts) != len(rest) or "" in rest:
        raise ValueError(f"{len(rest)} addresses, {sum(counts)} in rows")
    each = iter(rest)
    return [(ip, number, prefix_len) for count, number, prefix_len in rows for ip in islice(each, count)]


def _loaded(payload: bytes, known: set[bytes]) -> dict[str, Any]:
    """Read the JSON of a payload, but leave its places as text, each of which is checked once.

    The quotes of what is searched for would be escaped in a text, so they divide the payload where they should.
    """
    if not payload.isascii():
        raise ValueError("not ASCII")
    if b"\\ud" in payload.lower():  # a surrogate, of which only a pair is a character
        json.dumps(json.loads(payload), ensure_ascii=False).encode()
    head, _, rest = payload.partition(b',"places":[')
    texts, _, rows = rest.rpartition(b'],"rows":[')
    try:
        places = _places(texts, known)
        said = json.loads(b'%b,"rows":[%b' % (head, rows))
    except (ValueError, TypeError, AttributeError, LookupError):  # not written as here, but JSON perhaps
        said = json.loads(payload)
        members = [*_each(said["places"])]
        _check_places(members)
        places = [compact_json(place).encode() for place in members]
    return {**said, "places": places}


def _each(elements: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for element in elements:
        shared = {name: what for name, what in element.items() if name != "places"}
        yield from (_joined(shared, own) for own in element.get("places", [{}]))


def _places(texts: bytes, known: set[bytes]) -> list[bytes]:
    if not (texts.startswith(b'{"') and texts.endswith(b"}")):
        raise ValueError("not a list of places")
    if texts.endswith(b"}]}"):
        places = [place for element in texts[2:-3].split(b'}]},{"') for place in _sharing(element)]
    else:
        places = [b'{"%b}' % text for text in texts[2:-1].split(b'},{"')]
    if new := set(places) - known:
        _check_places([*map(loaded, new)])
        if len(known) * len(texts) > MAX_CHECKED_BYTES * len(places):
            known.clear()
        known |= new
    return places


def _sharing(element: bytes) -> list[bytes]:
    """Return the places that have in common what an element says."""
    shared, _, own = element.partition(b',"places":[{"')
    return [b'{"%b}\n{"%b}' % (shared, members) for members in own.split(b'},{"')]


def _check_places(places: list[dict[str, Any]]) -> None:
    """Refuse what is not of the right types, and what SQLite would refuse."""
    _check_types(places, dict)
    _check_types([place["status"] for place in places], str)
    for name in set().union(*places):
        said = [place[name] for place in places if name in place]
        _check_types(said, *_TYPES[name])
        if name.endswith("_at"):
            deque(map(instant, said), maxlen=0)
        elif name == "traits":
            nested = [traits for traits in said if not _FLAT.issuperset(map(type, traits.values()))]
            deque(map(check_json, nested), maxlen=0)


def _check(frame: Frame) -> None:
    """Refuse what is not of the right types, and what SQLite would refuse."""
    _check_types([frame.at, frame.generation], str)
    instant(frame.at or None)
    ips, numbers, prefix_lens = zip(*frame.rows, strict=True) if frame.rows else ((), (), ())
    _check_types(ips, str)
    _check_types(numbers, int, within=range(len(frame.places)))
    _check_types(prefix_lens, int, type(None), within=range(129))


def _check_types(values: Sequence[Any], *types: type, within: range = range(-(1 << 63), 1 << 63)) -> None:
    """Raise ValueError unless each value is of one of the types, and in the range if it is an integer."""
    if not set(map(type, values)) <= set(types):
        raise ValueError(f"{values!r:.80} is not {types}")
    if int in types:
        numbers = [value for value in values if type(value) is int] or [within.start]
        if not (min(numbers) in within and max(numbers) in within):
            raise ValueError(f"{min(numbers)} to {max(numbers)} is not in {within}")


def payload_at(data: bytes, start: int = 0) -> bytes | None:
    """Return the payload of the frame that begins at an offset, None if no whole, sound frame does."""
    header = data[start : start + HEADER_BYTES]
    if len(header) < HEADER_BYTES or not header.startswith(MAGIC) or header[11:12] + header[28:29] != b"  ":
        return None
    try:
        length = int(header[3:11], 16)
    except ValueError:
        return None
    payload = data[start + HEADER_BYTES : start + HEADER_BYTES + length]
    if length > MAX_BYTES or len(payload) < length or _digest(header[3:11], payload) != header[12:28]:
        return None
    return payload


def _digest(length: bytes, payload: bytes) -> bytes:
    digest = blake2b(length, digest_size=8)
    digest.update(payload)
    return digest.hexdigest().encode()
