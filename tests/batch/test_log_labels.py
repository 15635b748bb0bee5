"""Labels in logs do not shift columns, follow the prefix length of networks, and are not inserted twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow

LONDON, PLACE = "81.2.69.160", " [London, GB]"
COMMALESS = " [London GB]"
"""The label in comma-separated values."""
NEW_YORK = {"country": {"iso_code": "US"}, "city": {"names": {"en": "Washington, D.C."}}}
FILLER = "without an address\n" * 3000
"""Long enough for the kernel."""


def labelled(geocli: Geocli, text: str, *options: str) -> str:
    """Label a log, and check that it is labelled in the same way within long input."""
    short = geocli("batch", "-i", "log", *options, stdin=text.encode()).stdout.decode()
    long = geocli("batch", "-i", "log", *options, stdin=(FILLER + text).encode()).stdout.decode()

    assert FILLER + short == long
    return short


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a,{},b", f"a,{LONDON}{COMMALESS},b"),
        ("{},b", f"{LONDON}{COMMALESS},b"),
        ("a,{}", f"a,{LONDON}{COMMALESS}"),
        ("a, {}, b", f"a, {LONDON}{COMMALESS}, b"),
        ('"a","{}","b"', f'"a","{LONDON}{COMMALESS}","b"'),
        ('"{}","b"', f'"{LONDON}{COMMALESS}","b"'),
        ("a,{},{},b", f"a,{LONDON}{COMMALESS},{LONDON}{COMMALESS},b"),
        ("a,{}\r", f"a,{LONDON}{COMMALESS}\r"),
        ("a,81.2.69.160/32,b", f"a,81.2.69.160/32{COMMALESS},b"),
        ("a,[2001:218::1]:80,b", "a,[2001:218::1 [Tokyo, JP]]:80,b"),
        ("a,2001:218::1,b", "a,2001:218::1 [Tokyo JP],b"),
        ("from {}, port 22", f"from {LONDON}{PLACE}, port 22"),
        ("a,{} b", f"a,{LONDON}{PLACE} b"),
        ("a {},b", f"a {LONDON}{PLACE},b"),
        ("a,{}:80,b", f"a,{LONDON}{PLACE}:80,b"),
        ('{{"ip":"{}","b":1}}', f'{{"ip":"{LONDON}{PLACE}","b":1}}'),
        ("{}", f"{LONDON}{PLACE}"),
        (" {} ", f" {LONDON}{PLACE} "),
        ("a,\n{}\n,b", f"a,\n{LONDON}{PLACE}\n,b"),
    ],
)
def test_a_label_between_commas_has_no_comma(located: Geocli, line: str, expected: str) -> None:
    """So the columns of filterlog, PAN-OS and CSV do not shift; anywhere else it has one."""
    assert f"{expected}\n" == labelled(located, line.format(LONDON, LONDON) + "\n")


def test_commas_of_names_are_removed(located: Geocli, tmp_path_factory: pytest.TempPathFactory) -> None:
    """In labels between commas."""
    from tests.helpers.databases import build

    path = build(tmp_path_factory.mktemp("db") / "City.mmdb", {"98.0.0.0/24": NEW_YORK})
    line = labelled(located, "a,98.0.0.1,b\n98.0.0.1\n", "--no-cache", "--db", str(path))

    assert "a,98.0.0.1 [Washington D.C. US],b\n98.0.0.1 [Washington, D.C., US]\n" == line


@pytest.mark.parametrize("options", [(), ("-F", "ip"), ("-F", "network"), ("-F", "city,network,ip"), ("-F", "asn")])
@pytest.mark.parametrize(
    "text",
    [
        f"from {LONDON} port 22 to 2001:218::1\n",
        f"a,{LONDON},{LONDON},b\n{LONDON}\n",
        "81.2.69.0/24 and 81.2.69.1/24\n",
        f"{LONDON} [London, FR] 10.0.0.1, 8.8.8.8 [x]\n",
    ],
)
def test_a_labelled_log_is_unchanged(located: Geocli, text: str, options: tuple[str, ...]) -> None:
    """A label that is in the text already is not inserted again, and the addresses in it get no labels."""
    once = labelled(located, text, *options)

    assert text != once
    assert once == labelled(located, once, *options)


def test_other_text_in_brackets_is_not_a_label(located: Geocli) -> None:
    """Text in brackets after an address may be anything."""
    line = f"{LONDON} [preauth] {LONDON} [London, GBR] {LONDON} [London, GB]x\n"
    expected = f"{LONDON}{PLACE} [preauth] {LONDON}{PLACE} [London, GBR] {LONDON} [London, GB]x\n"

    assert expected == labelled(located, line)


@pytest.mark.parametrize(
    ("text", "expected", "rows"),
    [
        ("deny 81.2.69.0/24;", "deny 81.2.69.0/24 [London, GB];", "81.2.69.0/24"),
        ("81.2.69.160/32 x", "81.2.69.160/32 [London, GB] x", "81.2.69.160/32"),
        ("2001:218::/32 x", "2001:218::/32 [Tokyo, JP] x", "2001:218::/32"),
        ("81[.]2[.]69[.]0/24", "81[.]2[.]69[.]0/24 [London, GB]", "81.2.69.0/24"),
        ("::ffff:81.2.69.0/120", "::ffff:81.2.69.0/120 [London, GB]", "81.2.69.0/24"),
        ("81.2.69.160/25", "81.2.69.160 [London, GB]/25", "81.2.69.160"),
        ("81.2.69.160/53", "81.2.69.160 [London, GB]/53", "81.2.69.160"),
        ("81.2.69.0/33", "81.2.69.0 [London, GB]/33", "81.2.69.0"),
        ("81.2.69.0/024", "81.2.69.0 [London, GB]/024", "81.2.69.0"),
        ("81.2.69.0/24x", "81.2.69.0 [London, GB]/24x", "81.2.69.0"),
        ("2001:218::1/443", "2001:218::1 [Tokyo, JP]/443", "2001:218::1"),
        ("0.0.0.0/0 via", "0.0.0.0/0 [unspecified] via", "0.0.0.0/0"),
        ("*>i81.2.69.0/24 10.0.0.1", "*>i81.2.69.0/24 [London, GB] 10.0.0.1 [private]", "81.2.69.0/24\n10.0.0.1"),
    ],
)
def test_a_network_keeps_its_prefix(located: Geocli, text: str, expected: str, rows: str) -> None:
    """The label follows the prefix length, which rows include; a port after a slash is not a prefix length."""
    for lines in (text, FILLER + text):
        options = ("-f", "value", "-F", "ip")
        extracted = located("batch", "--extract", *options, stdin=f"{lines}\n".encode())

        assert f"{rows}\n" == extracted.stdout.decode()
    assert f"{expected}\n" == labelled(located, f"{text}\n")


def test_a_network_has_the_answer_of_its_first_address(located: Geocli) -> None:
    """In all formats; the journal has the address."""
    text = FILLER + "81.2.69.128/25 and 81.2.69.0/24\n"
    run = located("batch", "--extract", "-f", "jsonl", "-F", "ip,city,asn", stdin=text.encode())

    rows = [
        b'{"ip": "81.2.69.128/25", "city": "London", "asn": 20712}',
        b'{"ip": "81.2.69.0/24", "city": "London", "asn": null}',
    ]

    assert rows == run.stdout.splitlines()
    assert b"81.2.69.0\n" == located("lookup", "--cached-only", "-f", "value", "-F", "ip", "81.2.69.0").stdout
