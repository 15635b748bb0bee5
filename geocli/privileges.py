"""In a directory of another user, root becomes that user before any file is opened, as logrotate does with `su`.

Otherwise that user could replace the directory by a link, and make root write elsewhere. Only the command line does
this, since all threads of a process share its user and groups.
"""

from __future__ import annotations

import os
import pwd
import sys
from contextlib import contextmanager
from importlib.machinery import PathFinder

from geocli.errors import StorageError
from geocli.files.ownership import other_owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any


def become(owner: os.stat_result, path: str) -> None:
    """Take the user and the groups of the owner of a directory.

    Raises StorageError if this is not permitted, as in a container without that capability.
    """
    group, groups = _groups(owner)
    try:
        os.setgroups(groups)
        os.setegid(group)
        os.seteuid(owner.st_uid)
    except OSError as error:
        reason = f"it belongs to user {owner.st_uid}, and root may not become that user: {error.strerror}"
        raise StorageError(path, f"cannot be used as data directory: {reason}") from error
    _keep_importing()


@contextmanager
def acting_as_owner(path: str) -> Iterator[None]:
    """Make root the owner of a directory within the block, if that is another user; raises like `become`."""
    if (owner := other_owner(path)) is None:
        yield
        return
    before = os.getegid(), os.getgroups()
    try:
        become(owner, path)
        yield
    finally:
        os.seteuid(0)
        os.setegid(before[0])
        os.setgroups(before[1])


def _groups(owner: os.stat_result) -> tuple[int, list[int]]:
    """Return the group of new files, and the groups of a login of the user, none for a user without a name.

    New files get the group of the directory if the user is a member of it. A user without a name does not get root's
    group, which has rights of its own.
    """
    try:
        user = pwd.getpwuid(owner.st_uid)
    except KeyError:
        return owner.st_gid or owner.st_uid, []
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    return (owner.st_gid if owner.st_gid in groups else user.pw_gid), groups


def _keep_importing() -> None:
    """Keep modules importable that only root can read, as of a Python in root's home."""
    hidden = [path for path in sys.path if path and not os.access(path, os.R_OK | os.X_OK, effective_ids=True)]
    user = os.geteuid()
    os.seteuid(0)
    try:
        if any(map(os.path.exists, hidden)) and not any(isinstance(finder, _RootsModules) for finder in sys.meta_path):
            from geocli.resolvers.registries import release

            release()  # cached, since it reads the directory of the package
            sys.meta_path.insert(sys.meta_path.index(PathFinder), _RootsModules())
    finally:
        os.seteuid(user)


class _RootsModules:
    """Finds and loads modules as root, only in the importing thread (setfsuid(2))."""

    def __init__(self) -> None:
        from ctypes import CDLL

        self._setfsuid = CDLL(None).setfsuid

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read files as root within the block."""
        before = self._setfsuid(0)
        try:
            yield
        finally:
            self._setfsuid(before)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module as Python does."""
        with self.reading():
            spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _RootsLoader(self, spec.loader)  # type: ignore[assignment]
        return spec


class _RootsLoader:
    """Loads a module as root; otherwise like its own loader."""

    def __init__(self, finder: _RootsModules, loader: Any) -> None:
        self._finder, self._loader = finder, loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> Any:
        """Create a module; an extension module is read now."""
        with self._finder.reading():
            return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Read and run a module."""
        with self._finder.reading():
            self._loader.exec_module(module)
