"""A data directory with entries in the store, a segment and the journal; commands to run in it; and checks."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

from geocli.storage.journal import Journal
from tests.helpers.data_directories import local, stored_rows
from tests.helpers.databases import CITIES, build
from tests.helpers.geocli_process import Geocli
from tests.helpers.system_call_faults import PERMANENT_FILES

STORED, LEFT_OVER, DIRTY = "81.2.69.160", "98.0.0.1", "2001:218::1"
"""Addresses in the store, in a segment, and in the journal."""
OTHER = "98.0.0.2"
"""An address that is first looked up by the commands."""
BATCH = b"".join(b"81.2.69.%d\n" % number for number in range(256)) * 3
"""More than one block, to detect messages that are repeated for each block."""
COMMANDS: dict[str, tuple[tuple[str, ...], bytes]] = {
    "lookup": (("lookup", "-F", "ip,city", STORED, OTHER), b""),
    "batch": (("batch", "-f", "jsonl", "-F", "ip,city"), BATCH),
    "flush": (("flush",), b""),
    "stats": (("stats", "-f", "json"), b""),
    "re-resolve": (("re-resolve", "--all"), b""),
}
ANSWERS = {"lookup": 2, "batch": 768}
"""Number of answers of commands that print some."""
COUNTRIES = {"8": "GB", "9": "US", "2": "JP"}
"""Countries of addresses, by their first digit."""


@cache
def _template() -> tempfile.TemporaryDirectory[str]:
    """Create a data directory with an answer in the store, one in a segment, and one in the journal, once."""
    home = tempfile.TemporaryDirectory()
    geocli = Geocli(Path(home.name))
    build(geocli.db_dir / "GeoLite2-City.mmdb", CITIES, build_epoch=1_780_000_000)
    for ip in (STORED, LEFT_OVER):
        assert 0 == geocli("flush").returncode
        assert 0 == geocli("lookup", ip).returncode
    assert Journal(local(geocli.data_dir)).seal(9) is not None
    assert 0 == geocli("lookup", DIRTY).returncode
    return home


def prepared(home: Path) -> Geocli:
    """Return geocli with a copy of that directory, and short timeouts."""
    geocli = Geocli(home)
    for name in ("data", "databases"):
        shutil.copytree(Path(_template().name) / name, home / name, dirs_exist_ok=True)
    geocli.data_dir.chmod(0o700)
    geocli.environ |= {"GEOCLI_BUSY_TIMEOUT": "0.02", "GEOCLI_LOCK_TIMEOUT": "1"}
    return geocli


def is_all_there(geocli: Geocli, promised: set[str]) -> None:
    """Flush, and check that all acknowledged addresses are stored, and nothing else remains."""
    run = geocli("flush")
    assert (0, b"", b"") == (run.returncode, run.stdout, run.stderr)
    assert {ip: COUNTRIES[ip[0]] for ip in promised} == dict(stored_rows(geocli, "ip, country_code"))
    with closing(sqlite3.connect(geocli.data_dir / "geocli.db")) as db:
        assert [("ok",)] == db.execute("PRAGMA integrity_check").fetchall()
    assert set() == set(os.listdir(geocli.data_dir)) - PERMANENT_FILES
