"""Fixtures of the tests of the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers.small_pages import small_pages

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True, scope="module")
def _small_pages() -> Iterator[None]:
    with small_pages():
        yield
