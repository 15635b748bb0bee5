"""Databases of realistic size, and input for them; artificial and deterministic.

Networks end where those of GeoLite2-City do: each node of the search tree is split by chance, and the chances
are those that a random address met at each depth of GeoLite2-City in June 2026. That gives as many networks of
each length as there are. mmdb-writer's `insert_network` takes 60 us for each; so the tree is made of
mmdb-writer's nodes, and networks that have the same record share a leaf, which is encoded once.
"""

from __future__ import annotations

import gc
import multiprocessing
import random
import socket
import sys
from functools import cache
from itertools import accumulate, cycle
from typing import TYPE_CHECKING, Any

import maxminddb
from mmdb_writer import MMDBWriter, SearchTreeLeaf, SearchTreeNode

from geocli.countries import country_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from mmdb_writer import TreeChild

PLACES, OPERATORS = 116_000, 90_000
IPV6_SEED = 17  # with it, each block has some thousands of networks, and all have 90,000
CHUNK = 1_000_000
DEEPEST_CITY, DEEPEST_OPERATOR = 28, 19
"""No network is longer. Real ones end at 32, but the last four bits double their number and are rarely met."""
ENDS = dict(enumerate((5, 23, 21, 34, 40, 44, 62, 93, 179, 125, 142, 194, 455, 315, 435, 454, 691, 433, 319, 306), 8))
"""How many of a thousand IPv4 prefixes of that length are not split any further."""
UNUSED = {0, 10, 127, *range(224, 256)}
"""First octets without any record."""
IPV6_BLOCKS = (0x200, 0x240, 0x260, 0x280, 0x2A0, 0x2C0)
"""The first 12 bits of allocated networks."""
GLOBAL_UNICAST = 1 << 125, 3
"""First address of 2000::/3, and its length."""
COUNTRIES = "US CN JP GB DE FR BR KR CA IT AU NL RU IN ES SE MX TW CH PL ZA ID TR AR VN BE FI NO DK CZ".split()  # noqa: SIM905
SYLLABLES = "ba be bi da de do ka ke ki ko la le li lo ma me mi mo na ne no ra re ri sa se so ta te to va vi".split()  # noqa: SIM905
ALPHABETS: dict[str, dict[int, int]] = {
    "de": {},
    "en": {},
    "es": {},
    "fr": {},
    "ja": {letter: letter - ord("a") + 0x30A1 for letter in range(ord("a"), ord("{"))},
    "pt-BR": {},
    "ru": {letter: letter - ord("a") + 0x0430 for letter in range(ord("a"), ord("{"))},
    "zh-CN": {letter: letter - ord("a") + 0x5C0F for letter in range(ord("a"), ord("{"))},
}
"""Languages of a City database, and the letters that they write a name in."""


def make_in_child(make: Callable[..., None], path: Path, *arguments: object) -> None:
    """Make a file in a child: programs that this process starts later would begin with its peak memory."""
    child = multiprocessing.get_context("fork").Process(target=make, args=(path, *arguments))
    child.start()
    child.join()
    if child.exitcode:
        sys.exit(f"cannot make {path.name}")


def build_city(path: Path) -> None:
    """Write a database like GeoLite2-City, for both families."""
    _write(path, "GeoLite2-City", [_city(number) for number in range(PLACES)], DEEPEST_CITY)


def build_flat_city(path: Path) -> None:
    """Write the same networks with the same places, in the schema of ip-location-db."""
    _write(path, "city flat", [_flat(_city(number)) for number in range(PLACES)], DEEPEST_CITY)


def build_asn(path: Path) -> None:
    """Write a database like GeoLite2-ASN; its networks are larger, and begin and end elsewhere."""
    records = [_operator(number) for number in range(OPERATORS)]
    _write(path, "GeoLite2-ASN", records, DEEPEST_OPERATOR)


def _write(path: Path, edition: str, records: list[dict[str, Any]], deepest: int) -> None:
    gc.disable()  # millions of nodes, none of them garbage
    writer = MMDBWriter(6, edition, [*ALPHABETS], f"{edition}, made up", ipv4_compatible=True)
    writer.tree = _tree([SearchTreeLeaf(record) for record in records], _chance(deepest), deepest)
    writer.to_db_file(str(path))
    gc.enable()


def _chance(seed: int | str) -> random.Random:
    return random.Random(seed)  # noqa: S311  # not secret, but reproducible


def _tree(leaves: list[SearchTreeLeaf], chance: random.Random, deepest: int) -> SearchTreeNode:
    """Grow the networks of both families, and put those of IPv4 at ::/96."""
    pick = _picker(leaves, chance)
    octets = {octet: _ipv4(8, deepest, pick, chance.random) for octet in range(256) if octet not in UNUSED}
    embedded = _joined(octets, 8)
    for _ in range(96 - 12):
        embedded = SearchTreeNode(embedded)
    blocks = {block: _ipv6(12, pick, _chance(IPV6_SEED + block).random) for block in IPV6_BLOCKS}
    return _joined({0: embedded, **blocks}, 12)


def _picker(leaves: list[SearchTreeLeaf], chance: random.Random) -> Callable[[], SearchTreeLeaf]:
    """Return a function that chooses a record, about as often as random addresses have those of GeoLite2-City.

    Of those addresses, 27 % had the most frequent record (the United States, and no more), 59 % one of the first
    hundred, 70 % one of the first thousand, and 87 % one of the first ten thousand.
    """
    count, draw = len(leaves), chance.random

    def pick() -> SearchTreeLeaf:
        kind = draw()
        if kind < 0.25:
            return leaves[0]
        return leaves[int(1000 ** draw() if kind < 0.68 else count * draw() ** 3)]

    return pick


def _joined(children: Mapping[int, TreeChild], bits: int) -> SearchTreeNode:
    """Return a tree with these children at a depth below its root."""
    get = children.get
    parents = {at: SearchTreeNode(get(2 * at), get(2 * at + 1)) for at in sorted({at >> 1 for at in children})}
    return _joined(parents, bits - 1) if bits > 1 else parents[0]


def _ipv4(length: int, deepest: int, pick: Callable[[], SearchTreeLeaf], draw: Callable[[], float]) -> TreeChild:
    """Return a prefix of that length: a network, or both of its halves."""
    if length == deepest or draw() * 1000 < ENDS[length]:
        return pick()
    below = length + 1
    return SearchTreeNode(_ipv4(below, deepest, pick, draw), _ipv4(below, deepest, pick, draw))


def _ipv6(length: int, pick: Callable[[], SearchTreeLeaf], draw: Callable[[], float]) -> TreeChild:
    """Return a prefix of that length, most of them with nothing in it; networks are /29 to /32, and /48."""
    if length > 12 and draw() < (0.3 if length < 22 else 0.12):
        return None
    if length == 48 or (length >= 29 and draw() < (0.9 if length == 32 else 0.1)):
        return pick()
    if length > 32:  # one customer's network
        bit, child = draw() < 0.5, _ipv6(length + 1, pick, draw)
        return child and SearchTreeNode(*((child, None) if bit else (None, child)))
    return SearchTreeNode(_ipv6(length + 1, pick, draw), _ipv6(length + 1, pick, draw))


def _city(number: int) -> dict[str, Any]:
    """Return the record of a place; the first ones, which most networks have, have only the country."""
    chance = _chance(number)
    code = COUNTRIES[int(len(COUNTRIES) * chance.random() ** 2)] if number >= len(COUNTRIES) else COUNTRIES[number]
    country = _country(code)
    record: dict[str, Any] = {
        "continent": {"code": "EU", "geoname_id": 6_255_148, "names": _names("Europe")},
        "country": country,
        "registered_country": country,
        "location": {
            "accuracy_radius": chance.choice((5, 10, 20, 50, 100, 200, 500, 1000)),
            "latitude": (chance.randrange(-400_000, 350_000) * 2 + 1) / 10_000,  # an odd number: 5.0 would be
            "longitude": (chance.randrange(-900_000, 900_000) * 2 + 1) / 10_000,  # the radius 5 to mmdb-writer
            "time_zone": f"Europe/{_word(code, 3)}",
        },
    }
    if number < len(COUNTRIES):
        return record
    region = chance.randrange(20)
    name = _word(f"city {number}", chance.randrange(2, 6))
    record["city"] = {"geoname_id": 2_000_000 + number, "names": _names(name, all_of_them=chance.random() < 0.4)}
    record["subdivisions"] = [
        {"iso_code": f"{region:02}", "geoname_id": 1_000_000 + region, "names": _names(_word(f"{code} {region}", 4))}
    ]
    if chance.random() < 0.8:
        record["postal"] = {"code": f"{chance.randrange(10_000, 100_000)}"}
    return record


@cache
def _country(code: str) -> dict[str, Any]:
    return {
        "geoname_id": 3_000_000 + COUNTRIES.index(code),
        "is_in_european_union": True,
        "iso_code": code,
        "names": _names(country_name(code) or code),
    }


def _names(name: str, *, all_of_them: bool = True) -> dict[str, str]:
    """Return a name in the languages of a City database, or in those that small towns have names in."""
    languages = ALPHABETS if all_of_them else ("en", "ru") if len(name) > 6 else ("en",)
    return {tag: name.lower().translate(ALPHABETS[tag]) if ALPHABETS[tag] else name for tag in languages}


@cache
def _word(seed: str, syllables: int) -> str:
    return "".join(_chance(seed).choices(SYLLABLES, k=syllables)).title()


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """Bring a record into the schema of ip-location-db, which leaves nothing out."""
    location = record["location"]
    return {
        "city": record["city"]["names"]["en"] if "city" in record else "",
        "country_code": record["country"]["iso_code"],
        "latitude": location["latitude"],
        "longitude": location["longitude"],
        "postcode": record.get("postal", {}).get("code", ""),
        "state1": record["subdivisions"][0]["names"]["en"] if "subdivisions" in record else "",
        "state2": "",
        "timezone": location["time_zone"],
    }


def _operator(number: int) -> dict[str, Any]:
    name = _word(f"operator {number}", _chance(number).randrange(2, 8))
    return {"autonomous_system_number": 1000 + number, "autonomous_system_organization": f"{name} Telecom"}


def write_random(path: Path, lines: int) -> None:
    """Write IPv4 addresses from everywhere, none of them twice."""
    with path.open("w") as out:
        for begin in range(0, lines, CHUNK):
            out.writelines(f"{ip}\n" for ip in _scattered(begin, min(begin + CHUNK, lines)))


def _scattered(begin: int, end: int) -> list[str]:
    """Return a part of all IPv4 addresses in an order like chance: MurmurHash3's finalizer, which is a permutation."""
    once = [(number ^ number >> 16) * 0x85EBCA6B & 0xFFFFFFFF for number in range(begin, end)]
    twice = [(number ^ number >> 13) * 0xC2B2AE35 & 0xFFFFFFFF for number in once]
    return [socket.inet_ntoa((number ^ number >> 16).to_bytes(4)) for number in twice]


def write_popular(path: Path, lines: int, distinct: int) -> None:
    """Write few addresses many times: the second one half as often as the first, the third a third (Zipf)."""
    used = [ip for ip in _scattered(0, 2 * distinct) if int(ip.partition(".")[0]) not in UNUSED]
    known = [f"{ip}\n" for ip in used[:distinct]]
    weights = list(accumulate(1 / rank for rank in range(1, distinct + 1)))
    chance = _chance(lines)
    with path.open("w") as out:
        for begin in range(0, lines, CHUNK):
            out.writelines(chance.choices(known, cum_weights=weights, k=min(CHUNK, lines - begin)))


def write_mixed(path: Path, lines: int, database: Path) -> None:
    """Write IPv4 and IPv6 in turns; four of five IPv6 addresses are in networks of the database."""
    networks = list(_ipv6_networks(database))
    chance = _chance(lines)
    with path.open("w") as out:
        for begin in range(0, lines // 2, CHUNK):
            for ip in _scattered(begin, min(begin + CHUNK, lines // 2)):
                network = chance.choice(networks) if chance.random() < 0.8 else GLOBAL_UNICAST
                out.write(f"{ip}\n{_address_in(network, chance)}\n")


def write_known(path: Path, lines: int, database: Path) -> None:
    """Write IPv6 addresses in networks of a database."""
    networks, chance = list(_ipv6_networks(database)), _chance(lines)
    with path.open("w") as out:
        out.writelines(f"{_address_in(chance.choice(networks), chance)}\n" for _ in range(lines))


def write_unknown(path: Path, lines: int, database: Path) -> None:
    """Write IPv6 addresses that are in no network of a database."""
    chance = _chance(lines)
    with maxminddb.open_database(database) as reader, path.open("w") as out:
        for _ in range(lines):
            while reader.get(ip := _address_in(GLOBAL_UNICAST, chance)) is not None:
                pass
            out.write(f"{ip}\n")


def _address_in(network: tuple[int, int], chance: random.Random) -> str:
    first, length = network
    return socket.inet_ntop(socket.AF_INET6, (first | chance.getrandbits(128 - length)).to_bytes(16, "big"))


def _ipv6_networks(database: Path) -> Iterator[tuple[int, int]]:
    """Return the first address and the length of each network in 2000::/3."""
    with maxminddb.open_database(database) as reader:
        at = 1 << 125
        while at < 2 << 125:
            record, length = reader.get_with_prefix_len(socket.inet_ntop(socket.AF_INET6, at.to_bytes(16, "big")))
            if record is not None:
                yield at, length
            at += 1 << 128 - length


def write_csv(path: Path, addresses: Path) -> None:
    """Write the addresses as the second of five columns."""
    _write_rows(path, addresses, "time,ip,method,path,status\n", "2026-06-01T12:00:{:02},{},GET,/item/{},200\n")


def write_jsonl(path: Path, addresses: Path) -> None:
    """Write the same as JSON lines."""
    _write_rows(
        path, addresses, "", '{{"time": "2026-06-01T12:00:{:02}", "ip": "{}", "path": "/item/{}", "status": 200}}\n'
    )


def write_log(path: Path, addresses: Path) -> None:
    """Write the lines that a web server would have logged, in the combined format."""
    request = '{1} - - [01/Jun/2026:12:00:{0:02} +0000] "GET /item/{2} HTTP/1.1" 200 5123 "https://example.org/" '
    agent = '"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"\n'
    _write_rows(path, addresses, "", request + agent)


def write_json_log(path: Path, addresses: Path) -> None:
    """Write the same as a service that logs JSON, with a user agent that has a version of four numbers."""
    row = '{{"ts":"2026-06-01T12:00:{:02}.250Z","level":"info","msg":"request","remote_addr":"{}","uri":"/item/{}",'
    agent = '"ua":"Mozilla/5.0 (X11) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"}}\n'
    _write_rows(path, addresses, "", f'{row}"status":200,{agent}')


def write_mail_log(path: Path, addresses: Path) -> None:
    """Write connections to a mail server, in the format of syslog."""
    _write_rows(path, addresses, "", "Jun  1 12:00:{:02} mx postfix/smtpd[411]: connect from unknown[{}], number {}\n")


def _write_rows(path: Path, addresses: Path, header: str, row: str) -> None:
    """Write a row for each address: a second, the address and a number go into it."""
    with path.open("w") as out, addresses.open() as lines:
        out.write(header)
        out.writelines(
            row.format(second, line.rstrip(), number)
            for second, (number, line) in zip(cycle(range(60)), enumerate(lines), strict=False)
        )
