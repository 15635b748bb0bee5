"""The journal format: entries are read as they were encoded, and damage affects only the damaged frames."""

from __future__ import annotations

import io
import json
import tracemalloc
from datetime import UTC, datetime, timedelta
from hashlib import blake2b, shake_128
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocli.models import Entry, Place
from geocli.storage.frames import MAX_BYTES, Frame, encode, head, loaded, members_of, pack, payload, unpack
from geocli.storage.place_encoding import SHARED_MEMBERS, SHARED_TRAITS, member_texts
from geocli.storage.recovery import MAX_REPAIRS, Damage, scan
from tests.helpers.entries import AT, SOURCES, resolved, unresolved

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOPBACK = Entry(ip="::1", status="special")
ANYTHING = Entry(ip="::", status="special")
BROADCAST = Entry(ip="255.255.255.255", status="special")
LARGE = resolved(place=Place(org="x" * 10_000))

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
INSTANTS = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda instant: instant.replace(microsecond=0)
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
PLACES = st.builds(
    Place,
    country_code=st.none() | TEXTS,
    city=st.none() | TEXTS,
    latitude=st.none() | NUMBERS,
    longitude=st.none() | NUMBERS,
    asn=st.none() | st.integers(0, 2**32 - 1),
    org=st.none() | TEXTS,
    traits=st.none() | st.dictionaries(TEXTS, JSON_VALUES, max_size=3),
)
ENTRIES = st.builds(
    Entry,
    ip=st.ip_addresses().map(str),
    status=st.sampled_from(["resolved", "special", "unresolved"]),
    scope=st.none() | st.sampled_from(["private", "loopback"]),
    place=PLACES,
    source=st.none() | TEXTS,
    prefix_len=st.none() | st.integers(0, 128),
    built_at=st.none() | INSTANTS,
    resolved_at=st.none() | st.sampled_from([AT, AT + timedelta(seconds=1)]) | INSTANTS,
    retry_at=st.none() | INSTANTS,
    generation=st.sampled_from(["", SOURCES]) | TEXTS,
)


def journal(*entries: Entry) -> bytes:
    """Return a journal to which each entry was appended separately."""
    return b"".join(encode(payload) for entry in entries for payload in pack([entry]))


def read(data: bytes) -> list[Frame | Damage]:
    return [item for _, item in scan(io.BytesIO(data))]


def entries_in(data: bytes) -> list[Entry]:
    return [entry for result in read(data) if isinstance(result, Frame) for entry in result.entries()]


def damage_in(data: bytes) -> list[bytes]:
    return [result.data for result in read(data) if isinstance(result, Damage)]


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit >> 3] ^= 1 << (bit & 7)
    return bytes(changed)


def payload_with(**changes: Any) -> bytes:
    """Return the payload of one entry with some keys of it changed."""
    fields: dict[str, Any] = {"at": "2026-06-01T12:00:00Z", "generation": ""}
    fields |= {"places": [{"status": "special"}], "rows": [["::1", 0, None]]}
    return json.dumps(fields | changes).encode()


def place_with(**changes: Any) -> bytes:
    return payload_with(places=[{"status": "resolved", **changes}])


def compact(payload: bytes) -> bytes:
    """Return JSON as geocli writes it, without blanks."""
    return json.dumps(json.loads(payload), separators=(",", ":")).encode()


def test_frame_is_as_documented() -> None:
    """A frame is magic, length, BLAKE2b-64 of length and payload, and one line of ASCII JSON."""
    payload = next(pack([resolved(place=Place(city="Zürich\n"))]))
    length = b"%08x" % len(payload)
    digest = blake2b(length + payload, digest_size=8).hexdigest().encode()
    assert b"G1 " + length + b" " + digest + b" " + payload + b"\n" == encode(payload)
    assert payload.isascii()
    assert b"\n" not in payload


def test_payload_is_as_documented() -> None:
    """A payload has the time, the sources, each distinct place once, and a row for each address."""
    entries = [resolved("81.2.69.160"), unresolved("1.1.1.1"), resolved("81.2.69.161", prefix_len=None)]
    (payload,) = pack(entries)
    fields = json.loads(payload)
    assert ["at", "generation", "places", "rows"] == list(fields)
    assert "2026-06-01T12:00:00Z" == fields["at"]
    assert SOURCES == fields["generation"]
    assert ["resolved", "unresolved"] == [place["status"] for place in fields["places"]]
    assert [["81.2.69.160", 0, 27], ["1.1.1.1", 1, None], ["81.2.69.161", 0, None]] == fields["rows"]


def test_members_of_earlier_releases_are_ignored() -> None:
    """Earlier releases recorded the files of databases, too; their frames are read."""
    payload = payload_with(files=[["/usr/share/GeoIP/GeoLite2-City.mmdb", 7, 60_000_000, 1 << 60, "City@1"]])
    assert ["::1"] == [entry.ip for entry in unpack(payload).entries()]


def test_no_entries_make_no_payload() -> None:
    """Without entries there is no payload."""
    assert [] == list(pack([]))


@pytest.mark.parametrize("changes", [{"resolved_at": AT + timedelta(seconds=1)}, {"generation": "rir@1"}])
def test_other_instants_and_sources_go_to_other_payloads(changes: dict[str, Any]) -> None:
    """Entries share a payload only if they were resolved at the same instant with the same sources."""
    entries = [resolved("1.1.1.1"), resolved("1.1.1.2", **changes), resolved("1.1.1.3", **changes)]
    assert [1, 2] == [len(unpack(payload).rows) for payload in pack(entries)]


@given(st.lists(ENTRIES, max_size=8))
def test_entries_are_read_back(entries: list[Entry]) -> None:
    """Any entries are read unchanged, in order."""
    actual = read(b"".join(map(encode, pack(entries))))
    assert entries == [entry for frame in actual if isinstance(frame, Frame) for entry in frame.entries()]
    assert [] == [damage for damage in actual if isinstance(damage, Damage)]


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param([resolved(f"10.0.{n >> 8}.{n & 255}") for n in range(9_000)], id="same place"),
        pytest.param([resolved(str(n), place=Place(city=str(n))) for n in range(3_000)], id="distinct places"),
        pytest.param([resolved(str(n), place=Place(city="x" * 32_600)) for n in range(4)], id="large places"),
        pytest.param([resolved(str(n), place=Place(city=f"{n}" * 32_690)) for n in range(4)], id="two to a frame"),
    ],
)
def test_frames_are_at_most_64_kib(entries: list[Entry]) -> None:
    """Many entries are spread over frames of at most 64 KiB each, header included."""
    frames = [encode(payload) for payload in pack(entries)]
    assert [] == [len(frame) for frame in frames if len(frame) > 64 * 1024]
    assert entries == entries_in(b"".join(frames))


def test_entry_larger_than_a_frame_gets_its_own() -> None:
    """An entry larger than 64 KiB goes to a frame of its own, and is read back."""
    huge = resolved("1.1.1.2", place=Place(org="x" * 100_000))
    entries = [resolved("1.1.1.1"), huge, resolved("1.1.1.3")]
    payloads = list(pack(entries))
    assert [["1.1.1.1"], ["1.1.1.2"], ["1.1.1.3"]] == [
        [e.ip for e in unpack(payload).entries()] for payload in payloads
    ]
    assert entries == entries_in(b"".join(map(encode, payloads)))


def test_no_payload_is_too_large_to_read() -> None:
    """An entry too large for the reader is an error, or reduced: it is never acknowledged and then unreadable."""
    huge = resolved(place=Place(country_code="GB", traits={"note": "x" * MAX_BYTES}))
    try:
        frames = b"".join(map(encode, pack([huge])))
    except ValueError:
        return
    assert ["81.2.69.160"] == [entry.ip for entry in entries_in(frames)]


WRONG = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"{", id="no JSON"),
    pytest.param(b"\xff", id="no UTF-8"),
    pytest.param(b"[" * 200_000, id="nested too deeply"),
    pytest.param(b"null", id="null"),
    pytest.param(b"1", id="a number"),
    pytest.param(b"[]", id="a list"),
    pytest.param(b'"rows"', id="a string"),
    pytest.param(b"{}", id="no keys"),
    pytest.param(b'{"at":' + b"9" * 5000 + b"}", id="a number of 5000 digits"),
    pytest.param(payload_with(at=5), id="at: number"),
    pytest.param(payload_with(at=[1]), id="at: list"),
    pytest.param(payload_with(at="yesterday"), id="at: no instant"),
    pytest.param(payload_with(at="2026-06-01T12:00:00"), id="at: no time zone"),
    pytest.param(payload_with(at="0001-01-01T00:00:00+10:00"), id="at: before the year 1"),
    pytest.param(payload_with(generation=None), id="generation: null"),
    pytest.param(payload_with(generation="\ud800"), id="generation: lone surrogate"),
    pytest.param(payload_with(places=None), id="places: null"),
    pytest.param(payload_with(places=["x"]), id="places: texts"),
    pytest.param(payload_with(places=[[]]), id="places: lists"),
    pytest.param(payload_with(places=[None]), id="places: nulls"),
    pytest.param(payload_with(places=[{}]), id="place without a status"),
    pytest.param(place_with(status=None), id="status: null"),
    pytest.param(place_with(city=1), id="city: number"),
    pytest.param(place_with(city="\udcff"), id="city: lone surrogate"),
    pytest.param(place_with(latitude="51"), id="latitude: text"),
    pytest.param(place_with(latitude=1 << 63), id="latitude: huge"),
    pytest.param(place_with(asn=1.5), id="asn: fraction"),
    pytest.param(place_with(asn=1 << 63), id="asn: huge"),
    pytest.param(place_with(asn=-(1 << 70)), id="asn: hugely negative"),
    pytest.param(place_with(traits=[]), id="traits: list"),
    pytest.param(place_with(traits={"isp": "\ud800"}), id="traits: lone surrogate"),
    pytest.param(place_with(traits={"\ud800": 1}), id="traits: key a lone surrogate"),
    pytest.param(place_with(traits={"isp": ["\ud800"]}), id="traits: lone surrogate in a list"),
    pytest.param(place_with(built_at="x"), id="built_at: no instant"),
    pytest.param(place_with(built_at="0001-01-01T00:00:00+10:00"), id="built_at: before the year 1"),
    pytest.param(place_with(retry_at=5), id="retry_at: number"),
    pytest.param(payload_with(rows={}, places=5), id="rows: a dict"),
    pytest.param(payload_with(rows=[["::1"]]), id="row too short"),
    pytest.param(payload_with(rows=[["::1", 1, None]]), id="row: no such place"),
    pytest.param(payload_with(rows=[["::1", -1, None]]), id="row: a place from the end"),
    pytest.param(payload_with(rows=[["::1", None, None]]), id="row: place null"),
    pytest.param(payload_with(rows=[["::1", "0", None]]), id="row: place a string"),
    pytest.param(payload_with(rows=[[1, 0, None]]), id="row: ip a number"),
    pytest.param(payload_with(rows=[[["::1"], 0, None]]), id="row: ip a list"),
    pytest.param(payload_with(rows=[[{}, 0, None]]), id="row: ip a dict"),
    pytest.param(payload_with(rows=[["\ud800", 0, None]]), id="row: ip a lone surrogate"),
    pytest.param(payload_with(rows=[["::1", 0, "8"]]), id="row: length a string"),
    pytest.param(payload_with(rows=[["::1", 0, 1 << 63]]), id="row: huge length"),
    pytest.param(place_with(altitude=35), id="a field of a newer geocli"),
    pytest.param(place_with(places=5), id="places of a place: a number"),
    pytest.param(place_with(places={}), id="places of a place: a dict"),
    pytest.param(place_with(places=[]), id="places of a place: none"),
    pytest.param(place_with(places=[5]), id="places of a place: a list of numbers"),
    pytest.param(place_with(places=[{"places": [{"city": "Oslo"}]}]), id="places of a place of a place"),
    pytest.param(place_with(places=[{"city": 5}]), id="places of a place: a city that is a number"),
    pytest.param(place_with(traits={}, places=[{"traits": 5}]), id="places of a place: traits that are a number"),
    pytest.param(place_with(traits=5, places=[{"traits": {}}]), id="traits of several places: a number"),
    pytest.param(compact(place_with(traits=5, places=[{"traits": {}}])), id="the same without blanks"),
    pytest.param(payload_with(rows=[[1, 0, None]], ips=5), id="ips: a number"),
    pytest.param(payload_with(rows=[["::1", 0, None]], ips="::1"), id="ips: not counted"),
    pytest.param(payload_with(rows=[[1, 0, None]], ips="::1 ::2"), id="ips: too many"),
    pytest.param(payload_with(rows=[[3, 0, None]], ips="::1 ::2"), id="ips: too few"),
    pytest.param(payload_with(rows=[[3, 0, None], [-1, 0, None]], ips="::1 ::2"), id="ips: less than none"),
    pytest.param(payload_with(rows=[[2, 0, None], [0, 0, None]], ips="::1 ::2"), id="ips: none of them"),
    pytest.param(payload_with(rows=[[True, 0, None]], ips="::1"), id="ips: not counted by a number"),
    pytest.param(payload_with(rows=[], ips="::1"), id="ips: no rows"),
    pytest.param(payload_with(rows=[[1, 0, None]], ips=""), id="ips: empty"),
    pytest.param(payload_with(rows=[[3, 0, None]], ips="::1  ::2"), id="ips: two blanks"),
    pytest.param(payload_with(rows=[[2, 1, None]], ips="::1 ::2"), id="ips: no such place"),
]


@pytest.mark.parametrize("payload", WRONG)
def test_wrong_payload_is_rejected(payload: bytes) -> None:
    """A payload of the wrong form is rejected as a whole, with ValueError only."""
    with pytest.raises(ValueError):  # noqa: PT011 (whatever json says)
        unpack(payload)


@pytest.mark.parametrize("payload", WRONG)
def test_wrong_payload_with_a_valid_digest_is_damage(payload: bytes) -> None:
    """A frame of the wrong form is damage, byte for byte; its neighbours are read."""
    before, after = journal(LOOPBACK), journal(ANYTHING)
    first, damage, last = read(before + encode(payload) + after)
    assert [LOOPBACK, ANYTHING] == [entry for f in (first, last) if isinstance(f, Frame) for entry in f.entries()]
    assert isinstance(damage, Damage)
    assert encode(payload).rstrip(b"\n") == damage.data.rstrip(b"\n")


def test_damaged_frame_of_the_wrong_form_is_damage() -> None:
    """A frame that one bit flip would make sound, but not of a form that is known, is damage."""
    frame = flipped(encode(place_with(altitude=35)), 300)
    assert [LOOPBACK] == entries_in(frame + journal(LOOPBACK))
    assert [frame.rstrip(b"\n")] == [data.rstrip(b"\n") for data in damage_in(frame + journal(LOOPBACK))]


@pytest.mark.parametrize("form", [bytes, compact])
def test_places_share_what_they_have_in_common(form: Callable[[bytes], bytes]) -> None:
    """A shared element of `places` adds its members to its places; traits are merged."""
    swiss = {"status": "resolved", "country_code": "CH", "traits": {"continent_code": "EU"}}
    towns: list[dict[str, Any]] = [
        {"city": "Bern", "traits": {"metro_code": 1}},
        {"city": "Thun"},
        {"status": "resolved"},
    ]
    rows = [[2, 1, None], [1, 0, 8], [1, 2, None], [1, 3, None]]
    special = {"status": "special", "places": [{"scope": "private"}]}
    frame = unpack(
        form(payload_with(places=[{**swiss, "places": towns}, special], rows=rows, ips="::1 ::2 ::3 ::4 ::5"))
    )
    assert [("::1", 1, None), ("::2", 1, None), ("::3", 0, 8), ("::4", 2, None), ("::5", 3, None)] == frame.rows
    assert [
        {**swiss, "city": "Bern", "traits": {"continent_code": "EU", "metro_code": 1}},
        {**swiss, "city": "Thun"},
        swiss,
        {"status": "special", "scope": "private"},
    ] == [loaded(place) for place in frame.places]


@pytest.mark.parametrize("form", [bytes, compact])
def test_single_places_next_to_groups(form: Callable[[bytes], bytes]) -> None:
    """Elements that are places, and elements that contain some, are numbered together."""
    places = [{"status": "special"}, {"status": "resolved", "places": [{"city": "Oslo"}, {"city": "Moss"}]}]
    for order in ([0, 1], [1, 0]):
        frame = unpack(form(payload_with(places=[places[number] for number in order])))
        actual = [loaded(place).get("city") for place in frame.places]
        assert {0: [None, "Oslo", "Moss"], 1: ["Oslo", "Moss", None]}[order[0]] == actual


def sharing(columns: dict[str, list[Any]]) -> list[bytes]:
    """Return elements of places from columns of their members, each with what it shares and one place."""
    traits = columns.get("traits", [None] * len(columns["status"]))
    halves = []
    for is_shared in (True, False):
        texts = [
            member_texts(name, column, ",")
            for name, column in columns.items()
            if name != "traits" and (name in SHARED_MEMBERS) == is_shared
        ]
        own = [
            {name: value for name, value in (members or {}).items() if (name in SHARED_TRAITS) == is_shared}
            for members in traits
        ]
        names = dict.fromkeys(name for members in own for name in members)
        inner = zip(*(member_texts(name, [members.get(name) for members in own], ",") for name in names), strict=True)
        ends = [f'"traits":{{{"".join(row)[:-1]}}},' if any(row) else "" for row in inner] or [""] * len(traits)
        halves.append(["".join(row) for row in zip(*texts, ends, strict=True)])
    return [f'{{{shared}"places":[{{{own[:-1]}}}]}}'.encode() for shared, own in zip(*halves, strict=True)]


@given(st.lists(ENTRIES, min_size=1, max_size=6))
def test_places_from_columns_are_read_as_they_were(entries: list[Entry]) -> None:
    """Places that are encoded together are read as they were."""
    fields = [members_of(entry) for entry in entries]
    columns = {
        name: [members.get(name) for members in fields] for name in dict.fromkeys(name for m in fields for name in m)
    }
    frame = unpack(payload(head(AT, ""), [b",".join(sharing(columns))], []))
    for members in fields:
        if traits := {name: value for name, value in members.pop("traits", {}).items() if value is not None}:
            members["traits"] = traits
    assert fields == [loaded(place) for place in frame.places]


@pytest.mark.parametrize(
    "odd",
    [
        {"traits": 7, "places": [{"traits": {"a": 1}}]},
        {"places": [{"x": 1}, {"y": 2}]},
        [{"a": [{"b": 1}]}, {"c": 2}],
        [[{"a": 1}], {"b": 2}, [{"c": [{"d": 1}]}, {"e": 2}]],
        '"},{"',
        '"}]},{"',
        ',"places":[{"',
        {"a": {"b": [{"c": 1}]}, "d": [{"e": 1}]},
    ],
)
@pytest.mark.parametrize("name", ["continent_name", "x", 'y"},{"'])
@pytest.mark.parametrize("order", [1, -1])
def test_traits_that_look_like_places(odd: Any, name: str, order: int) -> None:
    """A trait may be any JSON; a frame is divided where it should be, all the same."""
    fields: list[dict[str, Any]] = [
        {"status": "resolved", "city": "Bern"},
        {"status": "resolved", "traits": {name: odd}},
    ]
    fields = fields[::order]
    columns = {key: [members.get(key) for members in fields] for key in ("status", "city", "traits")}
    frame = unpack(payload(head(AT, ""), [b",".join(sharing(columns))], []))

    assert fields == [loaded(place) for place in frame.places]


def test_unknown_keys_are_ignored() -> None:
    """A frame of a newer geocli may have more members, if its rows are unchanged."""
    assert ["::1"] == [entry.ip for entry in unpack(payload_with(host="a", version=3)).entries()]


@pytest.mark.parametrize("text", [b"", b"\n", b"\n\n\n", b"\0" * 4096, b"\0" * (3 * MAX_BYTES), b"\0\n\0\n"])
def test_emptiness_is_not_damage(text: bytes) -> None:
    """Empty lines and blocks of zeros are skipped, before, between and after frames."""
    first, second = journal(LOOPBACK), journal(ANYTHING)
    data = text + first + text + second + text
    assert [LOOPBACK, ANYTHING] == entries_in(data)
    assert [] == damage_in(data)


def test_every_truncation_leaves_the_whole_frames_and_no_damage() -> None:
    """Wherever a journal is truncated, whole frames are read, and the torn frame is ignored."""
    first, second = journal(LOOPBACK), journal(ANYTHING)
    for size in range(len(first + second) + 1):
        whole = [LOOPBACK] * (size >= len(first) - 1) + [ANYTHING] * (size >= len(first + second) - 1)
        assert whole == entries_in((first + second)[:size]), size
        assert [] == damage_in((first + second)[:size]), size


def test_every_torn_frame_is_survived_by_the_next_append() -> None:
    """After a torn frame, the newline and the frame that the next writer appends are read."""
    first, second = journal(LOOPBACK), journal(ANYTHING)
    for size in range(1, len(first) - 1):
        assert [ANYTHING] == entries_in(first[:size] + b"\n" + second), size
        assert [first[:size]] == damage_in(first[:size] + b"\n" + second), size


def test_torn_frame_that_ends_in_zeros_is_silent() -> None:
    """A power cut may leave zeros where the end of the last frame was to be."""
    torn = journal(ANYTHING)[:80]
    assert [LOOPBACK] == entries_in(journal(LOOPBACK) + torn + b"\0" * 4000)
    assert [] == damage_in(journal(LOOPBACK) + torn + b"\0" * 4000)


def test_every_bit_flip_in_small_frames_is_repaired() -> None:
    """Whichever bit of two small frames flips, both are read as they were."""
    data = journal(LOOPBACK, ANYTHING)
    newlines = (data.index(b"\n"), len(data) - 1)
    for bit in range(len(data) * 8):
        actual = read(flipped(data, bit))
        damage = [piece.data for piece in actual if isinstance(piece, Damage)]
        assert [LOOPBACK, ANYTHING] == [e for frame in actual if isinstance(frame, Frame) for e in frame.entries()], bit
        assert ([flipped(b"\n", bit & 7)] if bit >> 3 in newlines else []) == damage, bit


@pytest.mark.parametrize("before", [b"", b"garbage\n"])
@pytest.mark.parametrize("bit", [40, 200, 300, 500, 800])
def test_bit_flip_in_a_last_frame_without_its_newline_is_repaired(before: bytes, bit: int) -> None:
    """A last frame without only its newline is not taken for a torn one because of a flipped bit."""
    assert [LOOPBACK] == entries_in(before + flipped(journal(LOOPBACK)[:-1], bit))


@pytest.mark.parametrize("count", [2, 20])
def test_adjacent_flips_are_repaired_each(count: int) -> None:
    """Neighbouring small frames with one flipped bit each are all repaired."""
    entries = [Entry(ip=f"10.0.0.{number}", status="special") for number in range(count)]
    assert entries == entries_in(b"".join(flipped(journal(entry), 500) for entry in entries))


def test_repairs_have_an_end() -> None:
    """A journal damaged in more places than are searched is set aside rather than searched for hours."""
    entries = [Entry(ip=f"10.0.0.{number}", status="special") for number in range(MAX_REPAIRS + 2)]
    data = b"".join(flipped(journal(entry), 500) for entry in entries)
    assert entries[:MAX_REPAIRS] == entries_in(data)
    assert 2 == len(damage_in(data))


def test_two_flips_in_one_frame_are_damage() -> None:
    """A frame with two flipped bits is never guessed at: it is damage, byte for byte, and its neighbours are read."""
    bad = flipped(flipped(journal(LOOPBACK), 400), 700)
    assert [ANYTHING, BROADCAST] == entries_in(journal(ANYTHING) + bad + journal(BROADCAST))
    assert [bad.rstrip(b"\n")] == damage_in(journal(ANYTHING) + bad + journal(BROADCAST))


@given(st.integers(0, len(journal(LARGE)) * 8 - 1))
def test_bit_flip_in_a_large_frame_affects_only_that_frame(bit: int) -> None:
    """A frame too large to repair is damage as a whole, or read; its neighbours are read."""
    bad = flipped(journal(LARGE), bit)
    data = journal(LOOPBACK) + bad + journal(ANYTHING)
    actual, damage = entries_in(data), b"".join(damage_in(data))
    if LARGE in actual:  # the flip hit the newline at its end
        assert [LOOPBACK, LARGE, ANYTHING] == actual
        assert bad[-1:] == damage
    else:
        assert [LOOPBACK, ANYTHING] == actual
        assert bad.replace(b"\n", b"") == damage


@pytest.mark.parametrize(
    ("data", "expected", "damage"),
    [
        pytest.param([LOOPBACK, LOOPBACK], [LOOPBACK, LOOPBACK], [], id="a frame twice"),
        pytest.param([b"half of ", LOOPBACK], [LOOPBACK], [b"half of "], id="text runs into a frame"),
        pytest.param([journal(LOOPBACK)[:50], ANYTHING], [ANYTHING], [journal(LOOPBACK)[:50]], id="first half"),
        pytest.param(
            [LOOPBACK, journal(BROADCAST)[60:], ANYTHING],
            [LOOPBACK, ANYTHING],
            [journal(BROADCAST)[60:-1]],
            id="second half",
        ),
        pytest.param([LOOPBACK, b"a\nb\n", ANYTHING], [LOOPBACK, ANYTHING], [b"a", b"b"], id="lines"),
        pytest.param([LOOPBACK, b"no newline"], [LOOPBACK], [b"no newline"], id="text at the end"),
        pytest.param([LOOPBACK, b"\xff\0\x01"], [LOOPBACK], [b"\xff\0\x01"], id="binary at the end"),
        pytest.param([b"\0\0\0x", LOOPBACK], [LOOPBACK], [b"\0\0\0x"], id="zeros and text"),
        pytest.param([b"G1 \n", LOOPBACK], [LOOPBACK], [b"G1 "], id="magic alone"),
        pytest.param([b"G1 0000zzzz 0011223344556677 \n", LOOPBACK], [LOOPBACK], None, id="length is no number"),
        pytest.param([b"G1 00000005_0011223344556677_abcde\n", LOOPBACK], [LOOPBACK], None, id="no spaces"),
        pytest.param([b"G1 -0000001 0011223344556677 \n", LOOPBACK], [LOOPBACK], None, id="negative length"),
        pytest.param([b"G1 ffffffff 0011223344556677 \n", LOOPBACK], [LOOPBACK], None, id="longer than the file"),
        pytest.param([b"G2" + journal(BROADCAST)[2:] * 2, LOOPBACK], [LOOPBACK], None, id="another format"),
    ],
)
def test_everything_but_frames_is_damage(
    data: list[Entry | bytes], expected: list[Entry], damage: list[bytes] | None
) -> None:
    """The reader finds the sound frames, and returns everything else as damage."""
    joined = b"".join(piece if isinstance(piece, bytes) else journal(piece) for piece in data)
    assert expected == entries_in(joined)
    assert (damage or [piece for piece in b"".join(p for p in data if isinstance(p, bytes)).split(b"\n") if piece]) == (
        damage_in(joined)
    )


def test_overlong_frame_is_damage() -> None:
    """A payload longer than any writer makes is damage, digest or not."""
    overlong = encode(payload_with(note="x" * MAX_BYTES))
    assert [LOOPBACK] == entries_in(overlong + journal(LOOPBACK))
    assert overlong[:-1] == b"".join(damage_in(overlong + journal(LOOPBACK)))


def test_frame_inside_a_payload_is_not_read() -> None:
    """Text in a database that looks like a frame is not one, even when the frame around it is damaged."""
    inner = journal(ANYTHING).decode()
    outer = journal(resolved(place=Place(org=inner)))
    damaged = flipped(flipped(outer, 500), 1500)
    assert [inner] == [entry.place.org for entry in entries_in(outer)]
    assert [LOOPBACK] == entries_in(damaged + journal(LOOPBACK))
    assert [damaged[:-1]] == damage_in(damaged + journal(LOOPBACK))


def test_offset_of_damage() -> None:
    """The offset of damage is that of its bytes in the file."""
    data = journal(LOOPBACK, ANYTHING) + b"one\ntwo\n" + journal(BROADCAST) + b"three\n" + encode(b"{}")
    actual = {piece.data.rstrip(b"\n"): piece.offset_bytes for piece in read(data) if isinstance(piece, Damage)}
    assert {bad: data.index(bad) for bad in (b"one", b"two", b"three", encode(b"{}")[:-1])} == actual


def test_frames_over_many_reads_are_all_found() -> None:
    """Frames across the blocks in which a large file is read are found."""
    entries = [resolved(str(number), place=Place(org=str(number) * 15_000)) for number in range(250)]
    data = journal(*entries)
    assert 2 * 4 * MAX_BYTES < len(data)
    assert entries == entries_in(data)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_between_frames_hide_none(before: bytes, between: bytes) -> None:
    """Whatever lies before and between frames, they are read, and nothing else is."""
    assert [LOOPBACK, ANYTHING] == entries_in(before + journal(LOOPBACK) + between + journal(ANYTHING))


@given(st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3)), max_size=4))
def test_overwritten_bytes_never_make_a_wrong_row(changes: list[tuple[int, bytes]]) -> None:
    """However bytes of a journal are overwritten, every row that is read is one that was appended."""
    original = journal(LOOPBACK, ANYTHING, BROADCAST)
    data = bytearray(original)
    for offset, text in changes:
        data[offset : offset + len(text)] = text
    assert [] == [entry for entry in entries_in(bytes(data)) if entry not in (LOOPBACK, ANYTHING, BROADCAST)]


def test_magic_everywhere_does_not_stop_the_reader() -> None:
    """Garbage that looks like the beginning of a frame everywhere does not hide the frame after it."""
    garbage = b"G1 " * 100_000
    assert [LOOPBACK] == entries_in(garbage + journal(LOOPBACK))
    assert garbage == b"".join(damage_in(garbage + journal(LOOPBACK)))


@pytest.mark.slow
def test_garbage_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """40 MB of garbage need no more memory than 10 MB, are all returned, and do not hide the frame after them."""
    garbage = shake_128(b"").digest(10_000_000)
    expected = sum(len(line) for line in garbage.split(b"\n"))
    peaks = []
    for times in (1, 4):
        path = tmp_path / str(times)
        path.write_bytes((garbage + b"\n") * times + journal(LOOPBACK))
        entries: list[Entry] = []
        size_bytes = 0
        tracemalloc.start()
        with path.open("rb") as stream:
            for _, actual in scan(stream):
                if isinstance(actual, Frame):
                    entries += actual.entries()
                else:
                    size_bytes += len(actual.data)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert [LOOPBACK] == entries
        assert expected * times == pytest.approx(size_bytes, rel=0.001)  # lines of zeros alone are ignored
    assert peaks[1] < 1.3 * peaks[0]
