"""Numbers that keys were given are found again, for many keys at once."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocli.bulk.numbering import UNKNOWN, Numbering, hashed

KEYS = st.lists(st.integers(0, 12) | st.sampled_from([(1 << 64) - 1, 1 << 63, 1 << 32]), max_size=20)


def keys(numbers: list[int]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array(numbers, np.uint64)


@given(st.lists(KEYS, max_size=5))
def test_numbers_follow_each_other(asked: list[list[int]]) -> None:
    """The same key has the same number, others have others, and there is no gap between them."""
    numbering = Numbering()
    known: dict[int, int] = {}
    for one in asked:
        assert [known.get(key, UNKNOWN) for key in one] == numbering.get(keys(one)).tolist()
        found = numbering.dense(keys(one)).tolist()
        known |= zip(one, found, strict=True)

        assert [known[key] for key in one] == found
        assert sorted(known.values()) == list(range(len(numbering)))


def test_keys_get_the_numbers_that_they_are_given() -> None:
    """Also 0, and the largest one."""
    numbering = Numbering()
    numbering.add(keys([0, (1 << 64) - 1]), np.array([7, -5]))
    numbering.add(keys([3]), np.array([7]))

    assert [7, UNKNOWN, 7, -5] == numbering.get(keys([0, 1, 3, (1 << 64) - 1])).tolist()
    assert [[7, UNKNOWN], [7, -5]] == numbering.get(keys([0, 1, 3, (1 << 64) - 1]).reshape(2, 2)).tolist()


@pytest.mark.parametrize("step", [pow(0x9E3779B97F4A7C15, -1, 1 << 64), 1, 1 << 32, 1 << 48])
@pytest.mark.parametrize("words", [1, 2])
@pytest.mark.parametrize("seed", range(20))
def test_keys_that_are_chosen_do_not_meet(step: int, words: int, seed: int) -> None:
    """Addresses and databases may be made by an attacker; their keys are spread over the slots, by any secret."""
    drawn = np.frombuffer(random.Random(seed).randbytes(24), np.uint64)  # noqa: S311 (the same in each run)
    chosen = np.arange(1, 30_001, dtype=np.uint64) * np.uint64(step)
    slots = hashed([chosen] * words, 1 << 16, drawn | np.array([0, 1, 1], np.uint64))

    assert len(np.unique(slots)) > 20_000
    assert 0 <= slots.min() <= slots.max() < 1 << 16


def test_many_keys() -> None:
    """However many there are, and however they are spread."""
    numbering = Numbering()
    found: dict[int, int] = {}
    for factor in (1, 1 << 20, 0x9E3779B97F4A7C15):
        many = np.arange(1, 3000, dtype=np.uint64) * np.uint64(factor)
        found |= zip(many.tolist(), numbering.dense(many).tolist(), strict=True)
    everything = keys([*found])

    assert [*found.values()] == numbering.get(everything).tolist()
    assert list(range(len(numbering))) == sorted(found.values())
    assert {UNKNOWN} == set(numbering.get(everything ^ np.uint64(1 << 63)).tolist())
