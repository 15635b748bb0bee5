"""A data directory with answers everywhere, what is asked of it in trouble, and what must be there after."""

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
from tests.helpers.system_call_faults import KEPT

STORED, LEFT_OVER, DIRTY = "81.2.69.160", "98.0.0.1", "2001:218::1"
"""What is in the store, in a segment, and in the journal before the trouble."""
OTHER = "98.0.0.2"
"""What is asked for during the trouble for the first time."""
BATCH = b"".join(b"81.2.69.%d\n" % number for number in range(256)) * 3
"""More than a block, so that what is said for each block would be said twice."""
COMMANDS: dict[str, tuple[tuple[str, ...], bytes]] = {
    "lookup": (("lookup", "-F", "ip,city", STORED, OTHER), b""),
    "batch": (("batch", "-f", "jsonl", "-F", "ip,city"), BATCH),
    "flush": (("flush",), b""),
    "stats": (("stats", "-f", "json"), b""),
    "re-resolve": (("re-resolve", "--all"), b""),
}
ANSWERS = {"lookup": 2, "batch": 768}
"""How many answers each of the commands that answer has to give."""
COUNTRIES = {"8": "GB", "9": "US", "2": "JP"}
"""Where addresses are, by how they begin."""


@cache
def _template() -> tempfile.TemporaryDirectory[str]:
    """Make a data directory with an answer in the store, one in a segment, and one in the journal, once."""
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
    """Return geocli with a copy of that directory, without patience."""
    geocli = Geocli(home)
    for name in ("data", "databases"):
        shutil.copytree(Path(_template().name) / name, home / name, dirs_exist_ok=True)
    geocli.data_dir.chmod(0o700)
    geocli.environ |= {"GEOCLI_BUSY_TIMEOUT": "0.02", "GEOCLI_LOCK_TIMEOUT": "1"}
    return geocli


def is_all_there(geocli: Geocli, promised: set[str]) -> None:
    """Flush when all is well again, and look for all that was promised, and for nothing else."""
    healed = geocli("flush")
    assert (0, b"", b"") == (healed.returncode, healed.stdout, healed.stderr)
    assert {ip: COUNTRIES[ip[0]] for ip in promised} == dict(stored_rows(geocli, "ip, country_code"))
    with closing(sqlite3.connect(geocli.data_dir / "geocli.db")) as db:
        assert [("ok",)] == db.execute("PRAGMA integrity_check").fetchall()
    assert set() == set(os.listdir(geocli.data_dir)) - KEPT
