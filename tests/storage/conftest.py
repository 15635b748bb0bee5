"""Fixtures of the tests of storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from geocli.storage.journal import Journal
from tests.helpers.data_directories import local

if TYPE_CHECKING:
    from pathlib import Path

    from geocli.storage.directory import DataDirectory


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    return local(tmp_path / "data")


@pytest.fixture
def journal(directory: DataDirectory) -> Journal:
    return Journal(directory, lock_timeout_seconds=5)
