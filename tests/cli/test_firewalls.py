"""Files of `geocli networks` in nftables, ipset and nginx, each in a network namespace of its own, and the recipes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from tests.helpers.databases import LONDON, TOKYO, build
from tests.helpers.documentation import PAGES, ROOT, code_blocks
from tests.helpers.search_trees import Trie

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli

pytestmark = pytest.mark.slow


def in_namespace(script: str, *, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a script of the shell in a network namespace of its own."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    command = ["unshare", "-n", "sh", "-ec", script]
    return subprocess.run(command, input=stdin, env={**os.environ, "PATH": path}, capture_output=True, check=False)


def succeeds(script: str) -> bool:
    return shutil.which("unshare") is not None and in_namespace(script).returncode == 0


needs_nft = pytest.mark.skipif(not succeeds("nft list ruleset"), reason="needs root, and Debian's package nftables")
needs_ipset = pytest.mark.skipif(
    not succeeds("ipset create a hash:net; ipset destroy a"),
    reason="needs root, Debian's package ipset, and a kernel with it",
)
needs_nginx = pytest.mark.skipif(not succeeds("nginx -v"), reason="needs Debian's package nginx-light")
SELECTIONS = {
    "a country": ("--country", "GB"),
    "two families": ("--country", "GB,JP"),
    "one family": ("--country", "GB,JP", "-6"),
    "no aggregate": ("--country", "GB,JP", "--no-aggregate"),
    "everything else": ("--except", "country_code=GB"),
    "any text": ("--only", "org=Andrews & Arnold Ltd,\x1b[31m}\n; flush ruleset #"),
    "everything": ("--except", "country_code=NL"),
}
HALVES = {"0.0.0.0/0": ("0.0.0.0/1", "128.0.0.0/1")}
each_selection = pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS)


def write_list(geocli: Geocli, path: Path, format_: str, *selection: str) -> set[str]:
    """Write a file, and return the networks that it should have."""
    assert 0 == geocli("networks", *selection, "-f", format_, "-o", str(path)).returncode
    return set(geocli("networks", *selection).stdout.decode().split())


def halved(networks: set[str]) -> set[str]:
    """Divide the network of all addresses of IPv4."""
    return {half for text in networks for half in HALVES.get(text, (text,))}


def name_in(path: Path, pattern: str) -> str:
    (name, *_) = re.findall(pattern, path.read_text(), re.MULTILINE)
    return str(name)


@needs_nft
@each_selection
def test_nft_loads_a_file_again_and_again(located: Geocli, tmp_path: Path, selection: tuple[str, ...]) -> None:
    """It checks the file, and the sets have the networks, however often it is loaded, and whatever they had."""
    path = tmp_path / "networks.nft"
    networks = write_list(located, path, "nft", *selection)
    sets = re.findall(r"^\tset (\S+)", path.read_text(), re.MULTILINE)
    old = (
        f"nft add element inet geocli {sets[-1]} {{ 2001:db8:ffff::/48 }}" if "--no-aggregate" in selection else "true"
    )
    run = in_namespace(f"nft -c -f {path}; nft -f {path}; {old}; nft -f {path}; nft -n list table inet geocli")
    elements = ",".join(re.findall(r"elements = \{([^}]*)\}", run.stdout.decode()))
    loaded = {each.strip() for each in elements.split(",") if each.strip()}

    assert (0, b"") == (run.returncode, run.stderr)
    assert networks == {str(ip_network(each)) for each in loaded}


@needs_ipset
@each_selection
def test_ipset_restores_a_file_again_and_again(located: Geocli, tmp_path: Path, selection: tuple[str, ...]) -> None:
    """The sets have the networks, however often it is restored, and whatever they had; no other set is left."""
    path = tmp_path / "networks.ipset"
    networks = write_list(located, path, "ipset", *selection)
    restore = f"ipset restore <{path}"
    run = in_namespace(f"{restore}; {restore}; ipset save")
    added = re.findall(r"^add (\S+) (\S+)$", run.stdout.decode(), re.MULTILINE)

    assert (0, b"") == (run.returncode, run.stderr)
    expected = {
        half for text in networks for half in ("0.0.0.0/1 128.0.0.0/1" if text == "0.0.0.0/0" else text).split()
    }
    assert expected == {str(ip_network(network)) for _, network in added}
    assert all("_ipv" in name for name in re.findall(r"^create (\S+)", run.stdout.decode(), re.MULTILINE))


@needs_nginx
@each_selection
def test_nginx_accepts_a_file(located: Geocli, tmp_path: Path, selection: tuple[str, ...]) -> None:
    """The variable can be used in a configuration."""
    path = tmp_path / "networks.conf"
    networks = write_list(located, path, "nginx", *selection)
    name = name_in(path, r"^geo \$(\S+) \{$")
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"error_log stderr; pid {tmp_path}/pid; events {{}}\n"
        f"http {{ include {path}; server {{ listen 127.0.0.1:8080; if (${name}) {{ return 403; }} }} }}\n"
    )
    run = in_namespace(f"nginx -t -q -p {tmp_path} -c {config}")

    assert (0, b"") == (run.returncode, run.stderr)
    assert halved(networks) == set(re.findall(r"^    (\S+) 1;$", path.read_text(), re.MULTILINE))


@needs_nft
@needs_ipset
def test_all_addresses(geocli: Geocli, tmp_path: Path) -> None:
    """A database with one country for everything is a list like any other."""
    records = dict.fromkeys(("0.0.0.0/1", "128.0.0.0/1", "8000::/1"), LONDON)
    Trie(records).write(geocli.db_dir / "GeoLite2-City.mmdb", 24, records=records)
    for format_, load in (("nft", "nft -f"), ("ipset", "ipset restore -file")):
        path = tmp_path / format_
        write_list(geocli, path, format_, "--country", "GB")
        run = in_namespace(f"{load} {path}; {load} {path}")

        assert (0, b"") == (run.returncode, run.stderr)


@needs_nft
def test_the_line_for_cron_keeps_a_set_current(geocli: Geocli, tmp_path: Path) -> None:
    """It prints nothing; when the networks of the country have changed, so has the set; else an error is printed."""
    (line,) = code_blocks(PAGES["recipes"], "cron")
    (rules,) = code_blocks(PAGES["recipes"], "nft")
    command = line.strip().split(" ", 5)[5].replace("/etc/nftables-gb.nft", f"{tmp_path}/gb.nft")
    (tmp_path / "nftables.conf").write_text(rules.replace("/etc/nftables-gb.nft", f"{tmp_path}/gb.nft"))
    program, newer = tmp_path / "geocli", tmp_path / "newer"
    # Instead of downloading a database, it takes the next one.
    program.write_text(
        f"""#!/bin/sh
[ "$1" = db ] && exec mv "$(ls {newer}/*.mmdb | head -n 1)" {geocli.db_dir}/GeoLite2-City.mmdb
exec {" ".join(geocli.command)} "$@"
"""
    )
    program.chmod(0o755)
    newer.mkdir()
    for number, records in enumerate(({"81.2.69.0/24": LONDON}, {"98.0.0.0/24": LONDON}, {"98.0.0.0/24": TOKYO})):
        build(newer / f"{number}.mmdb", records)
    steps = [command, f"/usr/sbin/nft -f {tmp_path}/nftables.conf", command, command, "/usr/sbin/nft -n list ruleset"]
    run = subprocess.run(
        ["unshare", "-n", "sh", "-c", "\n".join(steps)],
        env={**geocli.environ, "GEOCLI": str(program), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        cwd=tmp_path,
    )

    assert b"geocli: networks: no network of the databases has country_code=GB; nothing was written\n" == run.stderr
    assert b"elements = { 98.0.0.0/24 }" in run.stdout
    assert b"81.2.69.0/24" not in run.stdout
    assert b"ip saddr != @geocli_gb_ipv4 drop" in run.stdout
