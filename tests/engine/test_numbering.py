"""Each combination of records has a number of its own."""

from __future__ import annotations

import random
from ctypes import c_uint64
from itertools import groupby, product
from typing import TYPE_CHECKING

import pytest

from geocli.databases.database import Database
from geocli.databases.discovery import examine
from geocli.engine.kernel import FIRST_NUMBER, Numbering
from tests.helpers.kernel_walks import Walk, Walker
from tests.helpers.search_trees import SEPARATOR_BYTES, Trie, metadata, node_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LEVELS = 13
"""Levels of a tree of 8,192 networks."""


def opened(path: Path) -> Database:
    return Database(examine(str(path)))


def full_tree(path: Path, offsets: Sequence[int]) -> Database:
    """Write an IPv4 tree in which each /13 network has a record, at these offsets."""
    node_count = (1 << LEVELS) - 1
    children = [*range(1, node_count), *(node_count + offset for offset in offsets)]
    nodes = b"".join(node_bytes(children[at], children[at + 1], 32) for at in range(0, len(children), 2))
    with path.open("wb") as out:
        out.write(nodes + bytes(SEPARATOR_BYTES))
        out.seek(max(offsets) + 16, 1)
        out.write(metadata(node_count, 32, 4))
    return opened(path)


def address(network: int) -> str:
    number = network << (32 - LEVELS)
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


EVERY = [address(network) for network in range(1 << LEVELS)]


def used(numbering: Numbering) -> list[bool]:
    """Return whether each slot has a key."""
    words = (c_uint64 * (2 * numbering.mask + 2)).from_address(numbering.slots)[:]
    return [key != 0 for key in words[::2]]


def longest_run(slots: Sequence[bool]) -> int:
    return max(len(list(run)) for is_used, run in groupby(slots) if is_used)


@pytest.mark.parametrize("step", [16, 1 << 10, 1 << 16, 0x3_9E37])
@pytest.mark.parametrize("seed", range(5))
def test_records_placed_by_an_attacker_do_not_collide(tmp_path: Path, step: int, seed: int) -> None:
    """A secret distributes the keys over the slots: for any secret, the longest run of used slots is short."""
    walker = Walker([full_tree(tmp_path / "a.mmdb", [16 + step * at for at in range(1 << LEVELS)])])
    drawn = random.Random(seed)  # noqa: S311 (the same in each run)
    numbering = Numbering.from_address(walker.table.engine.numberings)
    numbering.secret[:] = drawn.getrandbits(64), *(drawn.getrandbits(64) | 1 for _ in range(2))
    walks = walker.walk(EVERY)
    slots = used(numbering)

    assert [16 + step * at for at in range(1 << LEVELS)] == [
        walk.offsets[0] for walk in walks if isinstance(walk, Walk)
    ]
    assert 1 << LEVELS == numbering.count == sum(slots)
    assert 20 > longest_run(slots)


def test_each_combination_has_a_number(tmp_path: Path) -> None:
    """Combinations of scopes and records of several databases; each has the same number whenever it occurs."""
    databases = [
        opened(Trie(networks, ip_version=4).write(tmp_path / f"{number}.mmdb", 24))
        for number, networks in enumerate((["1.0.0.0/10", "10.0.0.0/8"], ["1.0.0.0/9", "1.32.0.0/11"], ["1.16.0.0/12"]))
    ]
    walker = Walker(databases, has_scopes=True)
    texts = [f"{first}.{second}.0.1" for first, second in product((1, 2, 10, 127), range(0, 256, 8))]
    walks = walker.walk([*texts, *texts])
    distinct = {(walk.scope, walk.offsets) for walk in walks if isinstance(walk, Walk)}

    assert walks[: len(texts)] == walks[len(texts) :] == walker.walk(texts)
    assert len(distinct) == walker.table.engine.next_number - FIRST_NUMBER
    assert 7 == len(distinct)


def test_without_databases_scopes_have_numbers() -> None:
    """Those of special addresses."""
    walker = Walker([], has_scopes=True)
    walks = walker.walk(["1.2.3.4", "10.0.0.1", "8.8.8.8", "127.0.0.1", "10.0.0.2"])

    assert walks[0] == walks[2]
    assert [walk.scope for walk in walks[1::3] if isinstance(walk, Walk)] == [walks[1].scope] * 2  # type: ignore[union-attr]
    assert FIRST_NUMBER + 3 == walker.table.engine.next_number


def test_answers_without_a_free_number_are_left_to_the_scalar_path(tmp_path: Path) -> None:
    """The answers that have numbers stay."""
    walker = Walker([full_tree(tmp_path / "a.mmdb", [16 + 16 * at for at in range(1 << LEVELS)])])
    known = walker.walk(EVERY[:100])
    walker.table.engine.next_number = walker.table.engine.max_numbers - 3
    walks = walker.walk(EVERY[:200])

    assert known == walks[:100]
    assert ["single"] * 97 == walks[103:]
    assert "single" not in walks[:103]
    assert known == walker.walk(EVERY[:100])


@pytest.mark.parametrize("database", [0, 1])
def test_a_full_hash_table_takes_no_more(tmp_path: Path, database: int) -> None:
    """For any of the databases: otherwise probing would never end."""
    offsets = [16 + 16 * at for at in range(1 << LEVELS)]
    walker = Walker([full_tree(tmp_path / f"{name}.mmdb", offsets) for name in "ab"])
    numberings = (Numbering * 2).from_address(walker.table.engine.numberings)
    numberings[database].capacity = 50
    walks = walker.walk(EVERY[:100])

    assert ["single"] * 50 == walks[50:]
    assert [(offset, offset) for offset in offsets[:50]] == [
        walk.offsets for walk in walks[:50] if isinstance(walk, Walk)
    ]
