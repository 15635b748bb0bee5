"""The form of input is recognised by its first line, as soon as it arrives."""

from __future__ import annotations

import gzip
import json
import lzma
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocli.batch.input_detection import by_name, completed
from geocli.batch.list_notes import is_comment
from geocli.batch.request import BatchRequest
from geocli.errors import SettingsError
from tests.helpers.command_output import complaint
from tests.helpers.waiting import read_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

ZEEK = (
    r"#separator \x09"
    "\n#set_separator\t,\n#fields\tts\tuid\tid.orig_h\tid.orig_p\n#types\ttime\tstring\taddr\tport\n"
)
W3C = "#Software: Microsoft Internet Information Services 10.0\n#Version: 1.0\n#Fields: date time s-ip cs-method c-ip\n"
FEODO = """\
################################################################
# abuse.ch Feodo Tracker Botnet C2 IP Blocklist (CSV)          #
################################################################
#
"first_seen_utc","dst_ip","dst_port","c2_status","last_online","malware"
"""

LISTS = {
    "address": "81.2.69.160",
    "IPv6": "2001:218::1",
    "with a port": "[2001:218::1]:443",
    "defanged": "81[.]2[.]69[.]160",
    "quoted": "'81.2.69.160'",
    "Spamhaus DROP": "; Spamhaus DROP List 2026/11/30 - (c) 2026 The Spamhaus Project\n1.10.16.0/20 ; SBL256894",
    "FireHOL netset": "#\n# firehol_level1\n#\n# ipv4 hash:net ipset\n#\n0.0.0.0/8",
    "ipsum": "# IPsum Threat Intelligence Feed\n#\n81.2.69.160\t11",
    "AlienVault": "46.4.123.15#4#2#Malicious Host#DE##51.2993,9.49",
    "note after a comma": "81.2.69.160,seen 07:57:14",
    "note in words": "81.2.69.160 a scanner",
    "comment after": '81.2.69.160 # seen [2026-11-30 07:57:14] "scan"',
    "two addresses": "81.2.69.160 98.0.0.1",
    "quoted cells": '"81.2.69.160","x"',
    "range": "81.2.69.0-81.2.69.255",
    "range with blanks": "81.2.69.0 - 81.2.69.255 , 000 , Bogon",
    "hosts": "127.0.0.1 localhost",
    "banned with time": "81.2.69.160 \t2026-11-30 07:57:14 + 600 = 2026-11-30 08:07:14",
    "host name": "example.com",
    "words": "Hello, world",
    "ss": "State      Recv-Q Send-Q Local Address:Port   Peer Address:Port   Process",
    "iptables": "Chain INPUT (policy ACCEPT)\ntarget     prot opt source               destination",
    "journal": "-- Logs begin at Mon 2026-11-30 07:57:14 UTC.",
    "version": "version 1.2.3.4",
    "unusual header": "name,age",
    "no address of the internet": "name,zip,ship,ZIP",
    "only comments": "# nothing\n\n",
    "nothing": "",
}
LOGS = {
    "nginx": '81.2.69.160 - - [30/Nov/2026:07:57:14 +0000] "GET / HTTP/1.1" 200 612 "-" "Mozilla/5.0"',
    "nginx, IPv6": '2001:218::1 - - [30/Nov/2026:07:57:14 +0000] "GET / HTTP/1.1" 200 612 "-" "Mozilla/5.0"',
    "Apache, hosts": 'example.com:443 81.2.69.160 - - [30/Nov/2026:07:57:14 +0000] "GET / HTTP/1.1" 200 6',
    "Apache errors": "[Mon Nov 30 07:57:14.1 2026] [core:error] [pid 5] [client 81.2.69.160:51] File does not exist",
    "nginx errors": "2026/11/30 07:57:14 [error] 12#12: *1 open() failed, client: 81.2.69.160, server: _",
    "sshd": "Nov 30 07:57:14 host sshd[1]: Failed password for root from 81.2.69.160 port 51234 ssh2",
    "sshd, ISO": "2026-11-30T07:57:14.123+00:00 host sshd[1]: Accepted publickey for root from 81.2.69.160 port 5",
    "fail2ban": "2026-11-30 07:57:14,123 fail2ban.actions        [12]: NOTICE  [sshd] Ban 81.2.69.160",
    "Postfix": "Nov 30 07:57:14 mail postfix/smtpd[12]: connect from unknown[81.2.69.160]",
    "Exim": "2026-11-30 07:57:14 1abcDE-0001xy-AB <= a@example.com H=(host) [81.2.69.160] P=esmtp S=1234",
    "last": "root     pts/0        81.2.69.160      Mon Nov 30 07:57   still logged in",
    "netstat": "tcp        0      0 10.0.0.1:22   81.2.69.160:51234   ESTABLISHED",
    "iptables rule": "-A INPUT -s 81.2.69.160/32 -j DROP",
    "Squid": "1616161616.123    120 81.2.69.160 TCP_MISS/200 1234 GET http://example.com/ - HIER_DIRECT/98.0.0.1 -",
    "tcpdump": "07:57:14.123456 IP 81.2.69.160.51234 > 98.0.0.1.443: Flags [S], seq 1",
    "ASA": "%ASA-6-302013: Built inbound TCP connection 1 for outside:81.2.69.160/51234 to inside:10.0.0.1/443",
    "fail2ban-client banned": "[{'sshd': ['81.2.69.160', '98.0.0.1']}, {'nginx': []}]",
    "flow log": "2 123456789010 eni-1235b8ca 81.2.69.160 10.0.0.1 49761 3389 6 20 4249 14185 14186 REJECT OK",
    "balancer": "https 2026-11-30T07:57:14.186641Z app/lb/50dc6c495c 81.2.69.160:2817 10.0.0.1:80 0.086 0.048",
    "uniq -c": "     12 81.2.69.160",
    "mail": "Received: from mail.example (mail.example [81.2.69.160]) by mx",
    "ping": "PING 81.2.69.160 (81.2.69.160) 56(84) bytes of data.",
    "traceroute": "traceroute to example.com (81.2.69.160), 30 hops max, 60 byte packets",
    "URL": "http://81.2.69.160/malware.exe",
    "nginx rule": "deny 81.2.69.160;",
    "long line": f'81.2.69.160 - - [30/Nov/2026:07:57:14 +0000] "GET /{"x" * 9000} HTTP/1.1" 200 612',
    "labelled": "81.2.69.160 [London, GB]",
    "IIS without -c": f"{W3C}2026-11-30 07:57:14 10.0.0.1 GET 81.2.69.160",
    "Zeek without -c": f"{ZEEK}1616161.123\tCxyz\t81.2.69.160\t51234",
    "CSV without a header": '"2021-01-17 07:44:46","81.2.69.160","4643","online"',
}
OBJECTS = {
    "ip": '{"ip": "81.2.69.160"}',
    "CloudTrail": '{"eventVersion":"1.08","sourceIPAddress":"81.2.69.160","userAgent":"x"}',
    "CloudTrail document": '{"Records":[{"eventVersion":"1.08","sourceIPAddress":"81.2.69.160"}]}',
    "Suricata": '{"timestamp":"2026-11-30T07:57:14.1+0000","event_type":"alert","src_ip":"81.2.69.160"}',
    "Zeek": '{"ts":1616.1,"uid":"C","id.orig_h":"81.2.69.160","id.resp_h":"10.0.0.1"}',
    "journal": '{"__CURSOR":"s=1","MESSAGE":"Failed password for root from 81.2.69.160 port 22 ssh2"}',
    "Spamhaus": '{"cidr":"81.2.69.0/24","sblid":"SBL1","rir":"ripencc"}',
    "blanks": '  { "ip" : "81.2.69.160" }',
    "empty": "{}",
    "document": '{\n  "ip": "81.2.69.160"\n}',
    "array": "[\n  {}\n]",
    "array in a line": '[{"ip":"81.2.69.160"}]',
}
TABLES = {
    "ip": ("ip\n81.2.69.160", ","),
    "case": ("IP,Country,ISP", ","),
    "quotes": ('"IP","CountryCode","AbuseConfidenceScore"', ","),
    "two": ("src_ip,dst_ip,bytes", ","),
    "tabs": ("date\tclient_ip\tpath", "\t"),
    "semicolons": ("date;remote_addr;path", ";"),
    "bars": ("ip|asn", "|"),
    "index": (",ip,name", ","),
    "words": ("Source IP Address,Destination", ","),
    "dots": ("time,source.ip,destination.ip", ","),
    "camel": ("ClientIP,ClientRequestHost", ","),
    "Feodo": (FEODO, ","),
    "BOM": ("\ufeffip,name", ","),
    "BOM and comment": ("\ufeff# feed\nip,name", ","),
    "any ip": ("date,actor_ip,zip", ","),
    "IPv4": ("name,ipv4_addr", ","),
    "real IP": ("time;realip", ";"),
    "networks": ("network,geoname_id,is_anycast", ","),
    "CIDR": ("cidr;asn;country", ";"),
    "prefixes": ("ip_prefix\tregion\tservice", "\t"),
    "psql": (" id |   ip\n----+-------------\n  1 | 81.2.69.160", "|"),
    "SiLK": ("sIP|dIP|sPort|dPort", "|"),
    "tshark": ("frame.time\tip.src\tip.dst", "\t"),
    "proxy": ("time;X-Forwarded-For", ";"),
    "comment": ("# abuse.ch\n#\n# Firstseen,DstIP,DstPort\n2026-11-30 07:57:14,81.2.69.160,443", ","),
    "comment with tabs": ("#IP\tlast seen\n81.2.69.160\t2026-11-30", "\t"),
    "carriage return": ("date,c-ip\r\n2026-11-30,81.2.69.160\r", ","),
    "Excel": ("sep=;\r\nNummer;IP-Adresse\r\n", ";"),
    "Excel with tabs": ("\ufeffSEP=\t\r\nNummer\tIP-Adresse\r\n", "\t"),
    "Excel with quotes": ('"sep=,"\nNummer,IP-Adresse\n', ","),
    "comma in a cell": ('"name, first";ip', ";"),
}


def _completed(text: str | bytes, **options: Any) -> BatchRequest:
    data = text.encode() if isinstance(text, str) else text
    request, read = completed(BatchRequest(**options), BytesIO(data).read)
    assert data == b"".join(iter(lambda: read(7), b""))
    return request


@pytest.mark.parametrize(
    ("text", "form"),
    [
        *((text, "list") for text in LISTS.values()),
        *((text, "log") for text in LOGS.values()),
        *((text, "jsonl") for text in OBJECTS.values()),
        *((text, "csv") for text, _ in TABLES.values()),
    ],
    ids=[*LISTS, *LOGS, *OBJECTS, *TABLES],
)
def test_the_first_line_with_content_decides(text: str, form: str) -> None:
    """With or without a newline, and whatever follows; no data are lost."""
    assert form == _completed(text).input
    if not all(is_comment(line.encode()) for line in text.splitlines()):
        assert form == _completed(f"{text}\n\xff\n").input


@pytest.mark.parametrize(("text", "delimiter"), TABLES.values(), ids=TABLES)
def test_the_delimiter_of_a_header_is_recognised(text: str, delimiter: str) -> None:
    """It is the one that separates the usual name from other names."""
    assert delimiter == _completed(text).delimiter


@pytest.mark.parametrize("options", [{"format": "csv"}, {"format": "jsonl"}, {"with_header": False}, {"end": "\0"}])
@pytest.mark.parametrize("text", LOGS.values(), ids=LOGS)
def test_with_options_for_rows_a_log_is_a_list(text: str, options: dict[str, Any]) -> None:
    """Undecided input is a list, as it always was."""
    assert "list" == _completed(text, **options).input


@pytest.mark.parametrize(
    ("text", "column", "form", "delimiter"),
    [
        ("a,b\n", "b", "csv", ","),
        ("a;b\n", "b", "csv", ";"),
        ("a\tb\n", "b", "csv", "\t"),
        ("version srcaddr dstaddr\n", "srcaddr", "csv", " "),
        ("a b,c\n", "c", "csv", ","),
        ("a,b\n", "c", "csv", None),
        ('{"b": 1}\n', "b", "jsonl", None),
        ('{\n"b": 1\n}\n', "b", "jsonl", None),
        ("\ufeffb;c\n", "b", "csv", ";"),
        ('\ufeff{"b": 1}\n', "b", "jsonl", None),
        (W3C, "c-ip", "csv", None),
        (ZEEK, "id.orig_h", "csv", None),
        (LOGS["sshd"], "b", "csv", None),
        ("", "b", "csv", None),
    ],
)
def test_a_column_means_a_table(text: str, column: str, form: str, delimiter: str | None) -> None:
    """Of JSON lines or CSV with that column in its header."""
    request = _completed(text, columns=(column,))

    assert (form, delimiter) == (request.input, request.delimiter)


@pytest.mark.parametrize(
    ("text", "form"), [(ZEEK, "csv"), (W3C, "csv"), ('{"a": "81.2.69.160"}', "jsonl"), ("a,b", "csv"), ("x", None)]
)
def test_a_log_may_be_a_table_with_a_column(text: str, form: str | None) -> None:
    """By its first line; without -c, its name decides."""
    options: dict[str, Any] = {"files": ("conn.log",), "columns": ("a",)}
    if form is None:
        with pytest.raises(SettingsError, match="-c: cannot be used with log input"):
            _completed(text, **options)
    else:
        assert form == _completed(text, **options).input
    assert "log" == _completed(text, files=("conn.log",)).input


@pytest.mark.parametrize(
    ("value", "column"),
    [
        ({"customer": {"address": "1 Main St"}, "client": {"ip": "8.8.8.8"}}, "client.ip"),
        ({"address": "1 Main St", "remote_addr": "8.8.8.8, 10.0.0.1"}, "remote_addr"),
        ({"Records": [{"eventName": "x", "sourceIPAddress": "8.8.8.8"}]}, "Records[].sourceIPAddress"),
        ({"events": [{"ip": "8.8.8.8"}], "client": {"ip": "8.8.8.8"}}, "client.ip"),
        ({"events": [], "hosts": ["8.8.8.8"]}, None),
        ({"customer": {"address": "1 Main St"}}, None),
        ({"ip": "x", "src_ip": "x"}, "ip"),
        ({"src_ip": "x", "ip": "x"}, "ip"),
        ({"dst_ip": "x", "src_ip": "x"}, "src_ip"),
        ({"eventName": "x", "sourceIPAddress": "x"}, "sourceIPAddress"),
        ({"ts": 1, "id.orig_h": "x", "id.resp_h": "x"}, "id.orig_h"),
        ({"source": {"ip": "x"}, "destination": {"ip": "x"}}, "source.ip"),
        ({"httpRequest": {"remoteIp": "8.8.8.8"}}, "httpRequest.remoteIp"),
        ({"src_ip": 5, "dst_ip": "x"}, "dst_ip"),
        ({"network": "8.8.8.0/24", "asn": "AS15169"}, "network"),
        ({"network": "8.8.8.0/24", "ip": "x"}, "network"),
        ({"network": "8.8.8.0/24", "dst_ip": "8.8.8.8"}, "dst_ip"),
        ({"prefixes": [{"ip_prefix": "8.8.8.0/24", "region": "x"}]}, "prefixes[].ip_prefix"),
        ({"prefix": "8.8.8.0/24"}, None),
        ({"a": 1}, None),
        ({}, None),
        (["x"], None),
    ],
)
def test_the_key_of_json_lines_is_that_of_the_first_line(value: object, column: str | None) -> None:
    """If it is usual, also in nested objects; -c overrides it."""
    line = json.dumps(value) + "\n"

    assert (() if column is None else (column,)) == _completed(line, input="jsonl").columns
    assert ("a",) == _completed(line, columns=("a",)).columns


def test_the_key_of_a_line_that_is_not_utf_8() -> None:
    """Bytes in other values do not matter."""
    assert ("client_ip",) == _completed(b'{"uri": "\xff", "client_ip": "8.8.8.8"}\n').columns


@pytest.mark.parametrize(
    ("files", "form"),
    [
        (("a.csv", "b"), "csv"),
        (("b", "a.csv"), "csv"),
        (("access.log", "access.log.1"), "log"),
        (("a", "b"), "list"),
        (("eve.json",), "jsonl"),
    ],
)
def test_names_decide_for_all_files(files: tuple[str, ...], form: str) -> None:
    """Undecided names do not contradict the others."""
    assert form == _completed("81.2.69.160\n", files=files).input


@given(
    text=st.one_of(
        st.sampled_from([*LISTS.values(), *LOGS.values(), *OBJECTS.values(), *(text for text, _ in TABLES.values())]),
        st.text(max_size=40),
    ).map(lambda text: f"{text}\n".encode()),
    sizes=st.lists(st.integers(1, 50), min_size=1),
)
def test_the_pieces_in_which_input_arrives_do_not_matter(text: bytes, sizes: list[int]) -> None:
    """The form is the same, and after the first line nothing more is read."""
    stream, reads = BytesIO(text), [0]

    def read(_: int) -> bytes:
        reads[0] += 1
        before = text[: stream.tell()].removeprefix(b"\xef\xbb\xbf")
        decided = [line for line in before.split(b"\n")[:-1] if not is_comment(line)]
        assert not decided, "read on after the line that decides"
        return stream.read(sizes[reads[0] % len(sizes)])

    request, _ = completed(BatchRequest(), read)

    assert _completed(text) == request


@pytest.mark.parametrize(
    ("lines", "options", "expected"),
    [
        ([b"81.2.69.160\n"], (), [b"country_code\n", b"GB\n"]),
        ([b"# feed\n", b"81.2.69.160\t5\n"], (), [b"country_code\n", b'""\n', b"GB\n"]),
        ([b"x 81.2.69.160\n"], (), [b"x 81.2.69.160 [GB]\n"]),
        ([b'{"ip": "81.2.69.160"}\n'], (), [b'{"ip": "81.2.69.160", "geo": {"country_code": "GB"}}\n']),
        ([b"ip;n\n", b"81.2.69.160;1\n"], (), [b"ip;n;country_code\n", b"81.2.69.160;1;GB\n"]),
        ([b"a;b\n", b"1;81.2.69.160\n"], ("-c", "b"), [b"a;b;country_code\n", b"1;81.2.69.160;GB\n"]),
    ],
    ids=["list", "feed", "log", "objects", "table", "column"],
)
def test_lines_are_recognised_as_they_arrive(
    located: Geocli, lines: list[bytes], options: tuple[str, ...], expected: list[bytes]
) -> None:
    """As in `tail -f FILE | geocli batch`: rows are written before the next line arrives."""
    with located.start("batch", "-F", "country_code", *options, bufsize=0) as process:
        assert process.stdin is not None
        for line in lines:
            process.stdin.write(line)
        assert expected == [read_line(process.stdout) for _ in expected]
        process.stdin.write(lines[-1])
        assert expected[-1] == read_line(process.stdout)
        _, errors = process.communicate(timeout=60)

    assert (0, b"") == (process.returncode, errors)


def test_an_incomplete_line_is_waited_for(located: Geocli) -> None:
    """A line is complete when its newline arrives."""
    with located.start("batch", "-F", "country_code", bufsize=0) as process:
        assert process.stdin is not None
        for piece in (b"", b"x 81.2.", b"69.160 ", b"y\n"):
            process.stdin.write(piece)
        assert b"x 81.2.69.160 [GB] y\n" == read_line(process.stdout)


def test_the_recognised_form_is_logged(located: Geocli, tmp_path: Path) -> None:
    """With the reason, if a name, an option or the first line decides."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"ip\n81.2.69.160\n")
    runs = [
        located("-v", "batch", stdin=b"ip;n\n81.2.69.160;1\n"),
        located("-v", "batch", str(path)),
        located("-v", "batch", "--extract", stdin=b"x\n"),
    ]
    events = [
        event for run in runs for event in map(json.loads, run.stderr.splitlines()) if event["event"] == "recognised"
    ]

    assert [
        {"input": "csv", "delimiter": ";", "because": "the first line is a header"},
        {"input": "csv", "because": f"the name of {path}"},
        {"input": "log", "because": "--extract"},
    ] == [{name: event[name] for name in ("input", "delimiter", "because") if name in event} for event in events]


@pytest.mark.parametrize("text", [LISTS["ipsum"], LOGS["nginx"], TABLES["ip"][0], OBJECTS["Suricata"]])
def test_compressed_files_are_recognised(located: Geocli, tmp_path: Path, text: str) -> None:
    """As the decompressed ones, whose output they have."""
    paths: dict[Path, Callable[[bytes], bytes]] = {
        tmp_path / "a": lambda data: data,
        tmp_path / "b.gz": gzip.compress,
        tmp_path / "c.xz": lzma.compress,
    }
    outputs = []
    for path, compress in paths.items():
        path.write_bytes(compress(f"{text}\n".encode()))
        outputs.append(located("batch", "-F", "city", str(path)).stdout)

    assert 1 == len({*outputs})
    assert b"London" in outputs[0]


def test_options_are_checked_when_the_form_is_known(located: Geocli) -> None:
    """They are refused in one line, and nothing is printed."""
    run = located("batch", "--prefix", "geo_", stdin=b"81.2.69.160\n")

    assert (2, b"") == (run.returncode, run.stdout)
    assert "command line: --prefix: cannot be used with list input; it needs -i csv or -i jsonl" == complaint(run)


@pytest.mark.slow
@pytest.mark.parametrize("text", [LISTS["ipsum"], LOGS["nginx"], f"{TABLES['two'][0]}\n81.2.69.160,,", OBJECTS["Zeek"]])
def test_a_cluster_recognises_the_same(located: Geocli, tmp_path: Path, text: str) -> None:
    """Once for all parts: the rows are those of one machine."""
    path = tmp_path / "input"
    head, _, line = text.rpartition("\n")
    path.write_text((f"{head}\n" if head else "") + f"{line}\n" * 20_000)
    options = ("batch", "-F", "city", "--no-cache", str(path), "-o")
    alone = located(*options, str(tmp_path / "alone"))
    clustered = located(*options, str(tmp_path / "out"), "--cluster", "local:1", "--block-size", "300kB", "--merge")

    assert [0, 0] == [alone.returncode, clustered.returncode]
    assert (tmp_path / "alone").read_bytes() == (tmp_path / "out").read_bytes()
    assert b"London" in (tmp_path / "alone").read_bytes()


def test_the_form_is_that_of_the_name(located: Geocli, tmp_path: Path) -> None:
    """A file that ends in .tsv is read, and written, with tabs; also one in capitals."""
    path = tmp_path / "A.TSV"
    path.write_bytes(b"a\tip\nx,y\t81.2.69.160\n")
    run = located("batch", "-F", "country_code,city", str(path))

    assert (0, b"", b"a\tip\tcountry_code\tcity\nx,y\t81.2.69.160\tGB\tLondon\n") == (
        run.returncode,
        run.stderr,
        run.stdout,
    )


FILE_NAMES = {
    "csv": ("a.csv", "a.tsv", "a.CSV", "a.csv.gz", "a.csv.xz", "a.tsv.gz"),
    "jsonl": ("eve.json", "a.jsonl", "a.ndjson", "eve.json-20261126.gz"),
    "log": (
        *("/var/log/nginx/access.log", "a.log.gz", "a.log.1.bz2", "access.log.1", "access.log.12.gz"),
        *("access.log-20261126.gz", "error.log.old", "httpd/access_log", "ssl_access_log-20261126"),
        *("/var/log/syslog", "messages-20261126", "secure.1", "x.log.2026-11-26.gz"),
        *("exim_mainlog", "mainlog-20261126", "rejectlog.01", "authlog.0.gz", "xferlog"),
        *("catalina.out", "nohup.out", "auth.log.2.xz", "db1.err", "daemon.log.1"),
        *("localhost_access_log.2026-11-30.txt", "u_ex261130.log", "maillog", "daemon"),
        *("localhost_access_log..2026-11-30.07.txt", "a.log.txt", "mail.warn", "security.0"),
    ),
    "list": (
        *("a.txt", "csv", "a.d/b", "a.csv/b", "-", "a.", "x", "1.2.3.4", "log.1", "a.1"),
        *("syslog/list", "messages.txt", "log", "mylog", "10.0.0.1-10.0.0.9", "access_log.txt"),
    ),
}


@pytest.mark.parametrize(("name", "form"), [(name, form) for form, names in FILE_NAMES.items() for name in names])
def test_the_form_follows_from_the_name(name: str, form: str) -> None:
    """The last extension counts, except those of compressed and rotated files."""
    assert form == (by_name(name) or "list")
