"""Users without write access read a copy of the store, made as `geocli docs store` describes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.helpers.documentation import PAGES
from tests.helpers.geocli_process import Geocli
from tests.helpers.other_users import IS_ROOT, MEMBER, as_user

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SELECT = "SELECT ip, country_code FROM geo_cache"

pytestmark = pytest.mark.skipif(
    not (IS_ROOT and shutil.which("setpriv") and shutil.which("sqlite3")),
    reason="needs root, setpriv (util-linux) and sqlite3, to read as another user",
)


def read(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the sqlite3 shell as a user with read access only."""
    user = ("setpriv", f"--reuid={MEMBER}", f"--regid={MEMBER}", "--clear-groups")
    return subprocess.run([*user, "sqlite3", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def readable(shared: Path) -> Iterator[Geocli]:
    """Run geocli with a store that other users may read, in a directory that they may enter and list."""
    geocli = Geocli(shared)
    assert [0, 0] == [geocli(*arguments).returncode for arguments in (("lookup", "8.8.8.8"), ("flush",))]
    geocli.data_dir.chmod(0o755)
    (geocli.data_dir / "geocli.db").chmod(0o644)
    before = os.getcwd()
    os.chdir(shared)
    yield geocli
    os.chdir(before)


def test_store_cannot_be_read_without_permission_to_write(readable: Geocli) -> None:
    """SQLite fails with the message that the page quotes; geocli asks the sources, and reports the reason."""
    run = read(str(readable.data_dir / "geocli.db"), SELECT)
    lookup = as_user(readable)("lookup", "--no-cache", "-f", "value", "8.8.8.8")

    assert run.returncode
    assert "attempt to write a readonly database" in run.stderr
    assert "attempt to write a readonly database" in PAGES["store"]
    assert (0, b"US\n") == (lookup.returncode, lookup.stdout)


def test_copy_made_by_the_page_can_be_read(readable: Geocli, shared: Path) -> None:
    """The command of the page, run by a user with write access, makes a file that needs no other files."""
    (command,) = re.findall(r"^\$ (sqlite3 .*\.backup .*)$", PAGES["store"], re.MULTILINE)
    subprocess.run(["sh", "-c", command], env=readable.environ, check=True, capture_output=True)
    (shared / "report.db").chmod(0o644)

    for arguments in (("report.db",), ("-readonly", "report.db")):
        run = read(*arguments, SELECT)
        assert (0, "8.8.8.8|US\n", "") == (run.returncode, run.stdout, run.stderr)
    assert [] == [name for name in os.listdir(shared) if name.startswith(("copy.db", "report.db-"))]


def test_copy_includes_the_wal(readable: Geocli, shared: Path) -> None:
    """While another process reads, the copy includes rows that are only in the WAL."""
    database = str(readable.data_dir / "geocli.db")
    code = f"c = sqlite3.connect({database!r}); c.execute({SELECT!r}).fetchone(); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", f"import sqlite3, sys; {code}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        assert [0, 0] == [readable(*arguments).returncode for arguments in (("lookup", "1.1.1.1"), ("flush",))]
        subprocess.run(["sqlite3", database, ".backup report.db"], check=True)
        shutil.copy(database, shared / "alone.db")
        counts = [
            subprocess.run(["sqlite3", name, "SELECT COUNT(*) FROM geo_cache"], capture_output=True, check=True).stdout
            for name in ("report.db", "alone.db")
        ]
        reader.kill()

    assert [b"2\n", b"1\n"] == counts
