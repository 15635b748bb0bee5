"""Use small pages of memory, since the engine makes large tables for little input as well."""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PR_SET_THP_DISABLE = 41  # linux/prctl.h


@contextmanager
def small_pages() -> Iterator[None]:
    """Forbid huge pages in this process and in those that it starts; zeroing them takes half the time of a test."""
    control = ctypes.CDLL(None).prctl
    control(PR_SET_THP_DISABLE, 1, 0, 0, 0)
    yield
    control(PR_SET_THP_DISABLE, 0, 0, 0, 0)
