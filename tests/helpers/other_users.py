"""Run geocli as other users: without the privileges of root, or as a member of a group."""

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
"""Runs a program of root to which file permissions apply."""
PROJECT = Path(__file__).parents[2]
MEMBER, GROUP = 64321, 54321
"""A user and a group that do not exist on the machine."""


def unprivileged(geocli: Geocli) -> Geocli:
    """Let geocli run as a user to whom file permissions apply."""
    if IS_ROOT:
        if not shutil.which("setpriv"):
            pytest.skip("root may write everywhere, and setpriv (util-linux) is not installed")
        geocli.command = (*UNPRIVILEGED, *geocli.command)  # type: ignore[assignment]
    return geocli


def as_user(geocli: Geocli, *, prefix: tuple[str, ...] = ()) -> Geocli:
    """Return geocli with the same data directory, run by an ordinary user who is a member of the group."""
    member = Geocli.__new__(Geocli)
    member.__dict__ |= geocli.__dict__
    identity = ("setpriv", f"--reuid={MEMBER}", f"--regid={MEMBER}", f"--groups={GROUP}", "--inh-caps=-all")
    member.command = (*_where_all_may_read(), *identity, *prefix, *Geocli.command)  # type: ignore[assignment]
    member.environ = {name: text for name, text in geocli.environ.items() if not name.startswith("COV")}
    if reason := _missing(member):
        pytest.skip(reason)
    return member


def _missing(geocli: Geocli) -> str | None:
    """Return why no other user can run geocli here, None if one can."""
    if not IS_ROOT:
        return "needs root, to become another user"
    if not shutil.which("setpriv") or not shutil.which("unshare"):
        return "needs setpriv and unshare (util-linux), to become another user"
    run = geocli("--version")
    return None if run.returncode == 0 else f"no other user can run geocli here: {run.stderr.decode()}"


@cache
def _where_all_may_read() -> tuple[str, ...]:
    """Return a command prefix that makes Python and geocli readable for all users, if they are in root's home.

    In a mount namespace of the program, directories that other users may not enter are covered by empty ones, in
    which the needed directories are mounted again (mount_namespaces(7)).
    """
    paths = [Path(path).resolve() for path in {sys.base_prefix, sys.prefix, str(PROJECT)}]
    covered = {path: parent for path in paths if (parent := next(_closed_parents(path), None)) is not None}
    lines = ["set -e", "mount -t tmpfs none /mnt"]
    for number, path in enumerate(covered):
        lines += [f"mkdir /mnt/{number}", f"mount --bind {quote(str(path))} /mnt/{number}"]
    lines += [f"mount -t tmpfs -o mode=755 none {quote(str(parent))}" for parent in sorted(set(covered.values()))]
    for number, path in enumerate(covered):
        lines += [f"mkdir -p {quote(str(path))}", f"mount --bind /mnt/{number} {quote(str(path))}"]
    script = "\n".join([*(lines if covered else []), f"cd {quote(str(PROJECT))}", 'exec "$@"'])
    return ("unshare", "--mount", "sh", "-c", script, "sh")


def _closed_parents(path: Path) -> Iterator[Path]:
    """Return the parent directories that other users may not enter, the highest first."""
    return (parent for parent in reversed(path.parents) if not parent.stat().st_mode & stat.S_IXOTH)
