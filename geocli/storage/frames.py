r"""The journal's format: checksummed frames, one a line.

A frame is `G1 LENGTH DIGEST PAYLOAD\n`. LENGTH is that of the payload, in 8 hex digits. DIGEST is BLAKE2b
(RFC 7693) with 64 bits over LENGTH and PAYLOAD, in 16 hex digits. PAYLOAD is one line of ASCII JSON:

    {"at": "2026-11-23T20:31:49Z", "generation": "GeoLite2-City@9f86d081884c..., rir@3.3.170",
     "places": [{"status": "resolved", "source": "GeoLite2-City", "country_code": "GB", ...}, ...],
     "rows": [["81.2.69.160", 0, 27], ...]}

Each row has an address, the number of its place in `places`, and the prefix length of the answer's network, or null.
Unknown members, as of earlier releases, are ignored, and so are frames without rows (`journal_summaries`). Many rows
are written in a shorter form:

     "ips": "81.2.69.160 81.2.69.161 2.125.160.216 ...",
     "places": [{"status": "resolved", "source": "GeoLite2-City", "country_code": "GB", ...,
                 "places": [{"city": "Boxford", ...}, {"city": "London", ...}]}, ...],
     "rows": [[2, 0, 27], [1, 1, 29], ...]}

Here each row begins with the number of its addresses. An element of `places` that has `places` itself contains what
these have in common, also of their `traits`; they are numbered in their order.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from operator import attrgetter

from geocli.hashing import blake2b
from geocli.immutable import Value
from geocli.json_coding import compact_json, encode_basestring_ascii, parse_json, readable_json
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
"""Maximum size of the frames that a writer makes, unless one entry is larger."""
MAX_BYTES = 1024 * 1024
"""Maximum size of a payload; a reader treats a longer one as damage."""
MAX_TEXTS = 20_000
"""Maximum number of places of which a writer remembers the text, in about 15 MB."""
MAX_CHECKED_BYTES = 32 << 20
"""Size of the places that a reader remembers, so as to check each once."""

_ENTRY_KEYS = ("status", "scope", "source", "built_at", "retry_at")
_other_members = attrgetter(*_ENTRY_KEYS)
_TYPES: dict[str, tuple[type, ...]] = dict.fromkeys((*Place.field_names, *_ENTRY_KEYS), (str,))
_TYPES |= {"latitude": (float, int), "longitude": (float, int), "asn": (int,), "traits": (dict,)}
_FLAT = {str, int, bool, type(None)}
_KEYS = {name: f'"{name}":' for name in (*_ENTRY_KEYS, *Place.field_names)}


class Frame(Value):
    """The content of one frame, with each distinct place once."""

    at: str
    """When its entries were resolved: UTC, ISO 8601; empty if unknown."""
    generation: str
    """Labels of the sources."""
    places: list[bytes]
    """Known members of an entry and its place as JSON; two lines if some members are shared with other places."""
    rows: list[tuple[str, int, int | None]]
    """Address, number of its place, and prefix length, in the order of appends."""

    def entries(self) -> Iterator[Entry]:
        """Return the entries in the order of appends."""
        shapes = [self.shape(number) for number in range(len(self.places))]
        for ip, number, prefix_len in self.rows:
            yield shapes[number].replace(ip=ip, prefix_len=prefix_len)

    def shape(self, number: int) -> Entry:
        """Return an entry of a place, without address and prefix."""
        members = loaded(self.places[number])
        fields: dict[str, Any] = {name: members.get(name) for name in _ENTRY_KEYS}
        fields |= {name: instant(fields[name]) for name in ("built_at", "retry_at")}
        place = Place(**{name: members[name] for name in Place.field_names & members.keys()})
        return Entry(ip="", place=place, resolved_at=instant(self.at or None), generation=self.generation, **fields)


def encode(payload: bytes) -> bytes:
    """Return the frame of a payload."""
    length = b"%08x" % len(payload)
    return b"%b%b %b %b\n" % (MAGIC, length, _digest(length, payload), payload)


def pack(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Return payloads of entries in their order, with each distinct place once a payload.

    All entries of a payload have the same time of resolution and the same generation. Raises ValueError if an entry is
    larger than `MAX_BYTES`.
    """
    draft = _Draft("")
    for entry in entries:
        start, place = head(entry.resolved_at, entry.generation), _text_of(entry)
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
        prefix = "null" if entry.prefix_len is None else entry.prefix_len
        self.rows.append(f"[{encode_basestring_ascii(entry.ip)},{self.places[place]},{prefix}]")
        self.size_bytes += len(self.rows[-1]) + 1

    def payload(self) -> bytes:
        return payload(self.head, [",".join(self.places).encode("ascii")], [",".join(self.rows).encode("ascii")])


@lru_cache(16)  # entries that were resolved together have the same
def head(at: datetime | None, generation: str) -> str:
    """Return the beginning of a payload: time of resolution, and generation."""
    return f'{{"at":{compact_json(instant_text(at) if at else "")},"generation":{compact_json(generation)}'


def payload(head: str, places: Iterable[bytes], rows: Iterable[bytes], ips: bytes = b"") -> bytes:
    """Join a payload, or raise ValueError if it is larger than `MAX_BYTES`.

    `head` is the result of `head`; `places` and `rows` are pieces of their JSON, including commas; `ips` are the
    addresses of rows that only count them.
    """
    begin = b'%b,"ips":"%b"' % (head.encode("ascii"), ips) if ips else head.encode("ascii")
    whole = b"".join((begin, b',"places":[', *places, b'],"rows":[', *rows, b"]}"))
    if len(whole) > MAX_BYTES:
        raise ValueError(f"an entry of {len(whole)} bytes does not fit into a frame")
    return whole


_texts: dict[tuple[object, ...], tuple[str, Place]] = {}


def _text_of(entry: Entry) -> str:
    """Return the JSON of the known members of an entry and its place, without its address; most places recur.

    It is remembered by the identity of the place, since equal places may have other text: True == 1.
    """
    key = id(entry.place), *_other_members(entry)
    remembered = _texts.get(key)
    if remembered is None:
        if len(_texts) >= MAX_TEXTS:
            _texts.clear()
        remembered = _texts[key] = place_text(members_of(entry)), entry.place  # which keeps its id
    return remembered[0]


def members_of(entry: Entry) -> dict[str, Any]:
    """Return the known members of an entry and its place, without its address; instants as strings."""
    fields = {name: getattr(entry, name) for name in _ENTRY_KEYS} | vars(entry.place)
    fields |= {name: instant_text(fields[name]) for name in ("built_at", "retry_at") if fields[name]}
    return {name: value for name, value in fields.items() if value is not None}


def place_text(members: Mapping[str, Any]) -> str:
    """Return members as the JSON of one place."""
    texts = [
        f"{_KEYS[name]}{encode_basestring_ascii(value) if isinstance(value, str) else compact_json(value)}"
        for name, value in members.items()
    ]
    return f"{{{','.join(texts)}}}"


def loaded(place: bytes) -> dict[str, Any]:
    """Return the members of a place of a frame."""
    shared, _, own = place.decode().partition("\n")
    members: dict[str, Any] = _joined(_shared(shared), parse_json(own)) if own else parse_json(shared)
    return members


_shared = lru_cache(16)(parse_json)  # each may be as large as a frame


def _joined(shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Merge members, and their traits."""
    members = shared | own
    if "traits" in shared and "traits" in own:
        members["traits"] = {**shared["traits"], **own["traits"]}
    return members


def unpack(payload: bytes, checked: set[bytes] | None = None) -> Frame:
    """Return the frame of a payload, or raise ValueError; places that are well-formed are added to `checked`."""
    try:
        members = _loaded(payload, set() if checked is None else checked)
        rows = rows_of(members["rows"], members.get("ips"))
        frame = Frame(at=members["at"], generation=members["generation"], places=members["places"], rows=rows)
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
    """Return a row for each address; without `ips`, rows have an address, else a number of them."""
    if ips is None:
        if not {type(ip) for ip, _, _ in rows} <= {str}:
            raise ValueError(f"an address in {rows!r:.80} is not a string")
        return [(ip, number, prefix_len) for ip, number, prefix_len in rows]
    rest = ips.split(" ")
    counts = [count for count, _, _ in rows]
    _check_types(counts, int, within=range(1, len(rest) + 1))
    if sum(counts) != len(rest) or "" in rest:
        raise ValueError(f"{len(rest)} addresses, {sum(counts)} in rows")
    addresses = iter(rest)
    return [(ip, number, prefix_len) for count, number, prefix_len in rows for ip in islice(addresses, count)]


def _loaded(payload: bytes, checked: set[bytes]) -> dict[str, Any]:
    """Parse a payload, except its places, which are JSON, checked once each.

    Quotes are escaped in JSON strings, so the separators that are searched for are never part of one.
    """
    if not payload.isascii():
        raise ValueError("not ASCII")
    if b"\\ud" in payload.lower():  # fails on unpaired surrogates
        readable_json(parse_json(payload.decode())).encode()
    head, _, rest = payload.partition(b',"places":[')
    texts, _, rows = rest.rpartition(b'],"rows":[')
    try:
        places = _places(texts, checked)
        members = parse_json((b'%b,"rows":[%b' % (head, rows)).decode())
    except (ValueError, TypeError, AttributeError, LookupError):  # JSON, perhaps, that geocli did not write
        members = parse_json(payload.decode())
        elements = [*_each(members["places"])]
        _check_places(elements)
        places = [compact_json(place).encode() for place in elements]
    return {**members, "places": places}


def _each(elements: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for element in elements:
        shared = {name: value for name, value in element.items() if name != "places"}
        yield from (_joined(shared, own) for own in element.get("places", [{}]))


def _places(texts: bytes, checked: set[bytes]) -> list[bytes]:
    if not (texts.startswith(b'{"') and texts.endswith(b"}")):
        raise ValueError("not a list of places")
    if texts.endswith(b"}]}"):
        places = [place for element in texts[2:-3].split(b'}]},{"') for place in _sharing(element)]
    else:
        places = [b'{"%b}' % text for text in texts[2:-1].split(b'},{"')]
    if new := set(places) - checked:
        _check_places([*map(loaded, new)])
        if len(checked) * len(texts) > MAX_CHECKED_BYTES * len(places):
            checked.clear()
        checked |= new
    return places


def _sharing(element: bytes) -> list[bytes]:
    """Return the places that share the members of an element."""
    shared, _, own = element.partition(b',"places":[{"')
    return [b'{"%b}\n{"%b}' % (shared, members) for members in own.split(b'},{"')]


def _check_places(places: list[dict[str, Any]]) -> None:
    """Raise ValueError unless all values have the right types, and SQLite can store them."""
    _check_types(places, dict)
    _check_types([place["status"] for place in places], str)
    for name in set().union(*places):
        values = [place[name] for place in places if name in place]
        _check_types(values, *_TYPES[name])
        for value in values if name.endswith("_at") else ():
            instant(value)
        for traits in values if name == "traits" else ():
            if not _FLAT.issuperset(map(type, traits.values())):
                check_json(traits)


def _check(frame: Frame) -> None:
    """Raise ValueError unless all values have the right types, and SQLite can store them."""
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
    """Return the payload of the frame at an offset, None if there is no complete, sound frame."""
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
