"""Root in another user's directory becomes that user, as by `su` of logrotate, before anything there is opened.

Else a user who exchanges the directory for a link meanwhile would let root write elsewhere. Only the command line does
this: the user and the groups of a process are those of all of its threads.
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

    Raises:
        StorageError: that is not possible, as in a container without that capability.

    """
    group, groups = _groups(owner)
    try:
        os.setgroups(groups)
        os.setegid(group)
        os.seteuid(owner.st_uid)
    except OSError as error:
        reason = f"it belongs to user {owner.st_uid}, whom root cannot become here: {error.strerror}"
        raise StorageError(path, f"cannot be the data directory: {reason}") from error
    _keep_importing()


@contextmanager
def acting_as_owner(path: str) -> Iterator[None]:
    """Let root be the owner of a directory meanwhile, if that is another user.

    Raises:
        StorageError: as `become`.

    """
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
    """Return the group that new files get, and all groups of a user: those of a login, for one who has no name none.

    The group is that of the directory if the user is a member of it. Root's group has rights of its own.
    """
    try:
        user = pwd.getpwuid(owner.st_uid)
    except KeyError:
        return owner.st_gid or owner.st_uid, []
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    return (owner.st_gid if owner.st_gid in groups else user.pw_gid), groups


def _keep_importing() -> None:
    """Let modules be imported that only root can read, as of a Python in root's home; find out their release now."""
    hidden = [path for path in sys.path if path and not os.access(path, os.R_OK | os.X_OK, effective_ids=True)]
    user = os.geteuid()
    os.seteuid(0)
    try:
        if any(map(os.path.exists, hidden)) and not any(isinstance(finder, _RootsModules) for finder in sys.meta_path):
            from geocli.resolvers.registries import release

            release()  # which reads the directory of the package
            sys.meta_path.insert(sys.meta_path.index(PathFinder), _RootsModules())
    finally:
        os.seteuid(user)


class _RootsModules:
    """Finds and loads modules as root, in the thread that imports them alone (setfsuid(2))."""

    def __init__(self) -> None:
        from ctypes import CDLL

        self._setfsuid = CDLL(None).setfsuid

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read files as root meanwhile."""
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
    """Loads a module as root, otherwise as its own loader does."""

    def __init__(self, finder: _RootsModules, loader: Any) -> None:
        self._finder, self._loader = finder, loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> Any:
        """Make a module; that of an extension is read now."""
        with self._finder.reading():
            return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Read a module, and run it."""
        with self._finder.reading():
            self._loader.exec_module(module)
