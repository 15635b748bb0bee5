"""Fixtures of the tests of batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers.batches import Batch
from tests.helpers.small_pages import small_pages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.geocli_process import Geocli


@pytest.fixture(autouse=True, scope="module")
def _small_pages() -> Iterator[None]:
    with small_pages():
        yield


@pytest.fixture
def batch(located: Geocli, tmp_path: Path) -> Batch:
    """Answer input in this process, with a City and an ASN database."""
    return Batch(located, tmp_path)
