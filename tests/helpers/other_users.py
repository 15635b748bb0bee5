"""Other people: users whom permissions stop, and members of a group, who run geocli as processes of their own."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from functools import cache
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import pytest

from tests.helpers.geocli_process import Geocli

if TYPE_CHECKING:
    from collections.abc import Iterator

IS_ROOT = os.geteuid() == 0
UNPRIVILEGED = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner")
"""Starts a program for which file permissions hold, though it is root's."""
PROJECT = Path(__file__).parents[2]
MEMBER, GROUP = 64321, 54321
"""A user and a group that are nobody else's."""


def unprivileged(geocli: Geocli) -> Geocli:
    """Run geocli from now on as somebody for whom file permissions hold."""
    if IS_ROOT:
        if not shutil.which("setpriv"):
            pytest.skip("root may write everywhere, and setpriv (util-linux) is not installed")
        geocli.command = (*UNPRIVILEGED, *geocli.command)  # type: ignore[assignment]
    return geocli


def as_user(geocli: Geocli, *, prefix: tuple[str, ...] = ()) -> Geocli:
    """Return geocli with the same data directory, run by an ordinary user who is a member of a group."""
    other = Geocli.__new__(Geocli)
    other.__dict__ |= geocli.__dict__
    who = ("setpriv", f"--reuid={MEMBER}", f"--regid={MEMBER}", f"--groups={GROUP}", "--inh-caps=-all")
    other.command = (*_where_all_may_read(), *who, *prefix, *Geocli.command)  # type: ignore[assignment]
    other.environ = {name: text for name, text in geocli.environ.items() if not name.startswith("COV")}
    if reason := _missing(other):
        pytest.skip(reason)
    return other


def _missing(geocli: Geocli) -> str | None:
    """Say why no other user can run geocli here, None if one can."""
    if not IS_ROOT:
        return "needs root, to become another user"
    if not shutil.which("setpriv") or not shutil.which("unshare"):
        return "needs setpriv and unshare (util-linux), to become another user"
    run = geocli("--version")
    return None if run.returncode == 0 else f"no other user can run geocli here: {run.stderr.decode()}"


@cache
def _where_all_may_read() -> tuple[str, ...]:
    """Return what starts a program where Python and geocli can be read by everybody, who may be in root's home.

    The directories that nobody else may enter are covered by empty ones, for that program alone, and what
    is to be read is put in its place again (mount_namespaces(7)).
    """
    needed = [Path(path).resolve() for path in {sys.base_prefix, sys.prefix, str(PROJECT)}]
    closed = {path: parent for path in needed if (parent := next(_closed(path), None)) is not None}
    lines = ["set -e", "mount -t tmpfs none /mnt"]
    for number, path in enumerate(closed):
        lines += [f"mkdir /mnt/{number}", f"mount --bind {quote(str(path))} /mnt/{number}"]
    lines += [f"mount -t tmpfs -o mode=755 none {quote(str(parent))}" for parent in sorted(set(closed.values()))]
    for number, path in enumerate(closed):
        lines += [f"mkdir -p {quote(str(path))}", f"mount --bind /mnt/{number} {quote(str(path))}"]
    script = "\n".join([*(lines if closed else []), f"cd {quote(str(PROJECT))}", 'exec "$@"'])
    return ("unshare", "--mount", "sh", "-c", script, "sh")


def _closed(path: Path) -> Iterator[Path]:
    """Return the directories above a path that others may not enter, the highest first."""
    return (parent for parent in reversed(path.parents) if not parent.stat().st_mode & stat.S_IXOTH)
