"""Addresses are found in any text, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.address_spans import PADDING, spans

ATOMS = [
    *(b"1.2.3.4", b"255.255.255.255", b"256.1.1.1", b"1.2.3", b"01.2.3.4", b"::", b"::1", b"2001:db8::1"),
    *(b"fe80::1%eth0", b"::ffff:1.2.3.4", b"1:2:3:4:5:6:7:8", b"1:2:3:4:5:6:1.2.3.4", b"12:34:56"),
    *(b"aa:bb:cc:dd:ee:ff", b" ", b":", b".", b"-", b"/", b"[", b"]", b"x", b"g", b"a", b"_", b"\xff", b"\n", b"%"),
    *(b"5", b",", b"Chrome/", b"(", b'"', b"@", b"\0", b';v="', b"1.2.0.0", b"Safari/5.1", b"a/", b"\\/"),
    *(b';v=\\"', b"/16", b"Net/"),
]
TEXTS = st.lists(st.sampled_from(ATOMS), max_size=14).map(b"".join)


def _addresses(text: bytes) -> list[bytes]:
    starts, ends, _ = spans(text)
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


@settings(max_examples=500, deadline=None)
@given(TEXTS)
def test_the_kernel_finds_what_the_definition_finds(text: bytes) -> None:
    """The kernel looks only around dots and colons; it misses nothing, adds nothing, and spans do not overlap."""
    starts, _, stops = spans(text)

    assert all(stop <= start for stop, start in zip(stops, starts[1:], strict=False))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b"1.2.3.4", [b"1.2.3.4"]),
        (b"185.1.2.3", [b"185.1.2.3"]),
        (b"x85.1.2.3 85.1.2.3x _85.1.2.3", []),
        (b"1.2.3.4.5 1.2.3", []),
        (b"From 1.2.3.4. And 5.6.7.8, (9.9.9.9)!", [b"1.2.3.4", b"5.6.7.8", b"9.9.9.9"]),
        (b"1.1.1.1-2.2.2.2", [b"1.1.1.1", b"2.2.2.2"]),
        (b"tcp 1.2.3.4:443 [2001:db8::1]:443", [b"1.2.3.4", b"2001:db8::1"]),
        (b"client:2001:db8::5 addr:1.2.3.4", [b"2001:db8::5", b"1.2.3.4"]),
        (b"fe80::1%eth0 up", [b"fe80::1%eth0"]),
        (b"at 12:34:56 from aa:bb:cc:dd:ee:ff std::string", []),
        (b"12:34:56:1.2.3.4", [b"1.2.3.4"]),
        (b"::ffff:1.2.3.4", [b"::ffff:1.2.3.4"]),
        (b"\xff1.2.3.4\xfe", [b"1.2.3.4"]),
        (b"GET http://8.8.8.8/ 10.0.0.0/8", [b"8.8.8.8", b"10.0.0.0"]),
        (b'"Mozilla/5.0 (X11) Chrome/126.0.0.0 Safari/537.36" "Edg/126.0.0.0"', []),
        (b"GET /path/1.2.3.4 HTTP/1.1", [b"1.2.3.4"]),
        (b"MAC=52:54:00:12:34:56:fe:54:00:12:34:56:08:00 SRC=91.240.118.172", [b"91.240.118.172"]),
        (b"key aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99, WWN 50:06:01:60:3b:20:1a:2c", []),
        (b"2001:db8:0:0:0:0:0:1:443 20:01:0:0:0:0:0:1", [b"2001:db8:0:0:0:0:0:1", b"20:01:0:0:0:0:0:1"]),
        (b"\x1b[1;31m1.2.3.4\x1b[0m \x1b[m2001:db8::1\x1b[m 5\x1b[7m.6.7.8", [b"1.2.3.4", b"2001:db8::1"]),
    ],
)
def test_boundaries(text: bytes, expected: list[bytes]) -> None:
    """An address is not part of a longer word or number, nor the version of a product."""
    assert expected == _addresses(text)


@pytest.mark.parametrize(
    "text",
    [
        b"GET / Mozilla/5.0+(X11)+Gecko+Chrome/126.0.0.0+Safari/537.36 - 200",
        rb'{"ua": "Mozilla\/5.0 (X11) Chrome\/126.0.0.0 Safari\/537.36"}',
        rb"{\"ua\": \"Mozilla/5.0 (X11) Chrome/126.0.0.0\"}",
        b"<Chrome/126.0.0.0> b'Chrome/126.0.0.0'",
        b'sec-ch-ua-full-version-list: "Chromium";v="126.0.6478.127", "Google Chrome";v="126.0.0.0"',
        b"(KHTML, like Gecko) Chrome/124.0.0.0 Whale/3.26.244.14 Safari/537.36",
        b'"WhatsApp/2.24.11.79 A"',
        rb'{"h": "\"Google Chrome\";v=\"126.0.0.0\", \"Chromium\";v=\"126.0.6478.127\""}',
    ],
)
def test_versions_are_not_addresses(text: bytes) -> None:
    """In user agents, in any encoding of these."""
    assert _addresses(text) == _addresses(PADDING + text) == []


@pytest.mark.parametrize(
    "text",
    [
        *(
            b"host.example.com/8.8.8.8:80",
            b"localhost/8.8.8.8:9092",
            b"Deny tcp src outside/8.8.8.8(123)",
            b"tcp/8.8.8.8",
        ),
        *(b"udp/8.8.8.8:53", b"eth0/8.8.8.8 up", b"IPv4/8.8.8.8", b"/8.8.8.8:51234", b"outside:8.8.8.8/51234"),
        *(b'"GET / HTTP/1.1" 200 TCP/8.8.8.8', b'ip="8.8.8.8"', b'{"ip":"8.8.8.8"}', b"Kafka/8.8.8.8:9092 Zk/3.4"),
        b"Safari/537.36\nWeb/8.8.8.8\nSafari/537.36",
        *(b'"Net/8.8.8.8/24"', b"Net/8.8.8.8/32 Safari/5.1", rb'{"m": "{\"ip\":\"8.8.8.8\"}"}'),
    ],
)
def test_addresses_after_names_are_not_versions(text: bytes) -> None:
    """Java, Cisco and others write a name or a protocol, a slash, and an address."""
    assert _addresses(text) == _addresses(PADDING + text) == [b"8.8.8.8"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'"Node/2001:db8::1"', b"2001:db8::1"),
        (b"Node/2001:db8::1 Safari/5.1", b"2001:db8::1"),
        (b"Net/93.184.0.0/16.", b"93.184.0.0"),
    ],
)
def test_ipv6_addresses_and_networks_are_not_versions(text: bytes, expected: bytes) -> None:
    """After any name."""
    assert _addresses(text) == _addresses(PADDING + text) == [expected]


@pytest.mark.parametrize("text", [b"1.2.3.4 ", b"2001:db8::1 x ", b"no address at all, "])
def test_long_text_is_searched_like_short_text(text: bytes) -> None:
    """The kernel is used above some length, with the same result."""
    times = 2 * len(PADDING) // len(text)

    assert times * _addresses(text) == _addresses(times * text)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            b'81.2.69.160 - - [25/Nov/2026:13:22:11 +0000] "GET / HTTP/1.1" 200 612 "-" "curl/8.5.0"',
            [b"81.2.69.160"],
        ),
        (b"Nov 25 13:22:11 web sshd[411]: Invalid user admin from 2001:218::1 port 40022", [b"2001:218::1"]),
        (b"2026-11-25 13:22:11,042 fail2ban.actions [77]: NOTICE [sshd] Ban 81.2.69.160", [b"81.2.69.160"]),
        (b"postfix/smtpd[9]: connect from mail.example[98.0.0.1]", [b"98.0.0.1"]),
        (b"SRC=10.0.0.1 DST=98.0.0.1 LEN=60", [b"10.0.0.1", b"98.0.0.1"]),
    ],
)
def test_lines_of_real_programs(line: bytes, expected: list[bytes]) -> None:
    """Times, versions, ports and process numbers are not addresses."""
    assert expected == _addresses(line)
